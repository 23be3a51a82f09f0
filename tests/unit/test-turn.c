/* SPDX-License-Identifier: MIT
 *
 * What a turn of the loop does with streams: it sends what was left to its end, and looks for an answer there.
 */
#include "link/stream.h"

#include "loop.h"

#include <criterion/criterion.h>
#include <string.h>

#define ROOM ((size_t)64 * 1024)

static struct event_base *base;
static struct stream *s, *other; /* on the heap, so that a use after their owner freed them is seen */
static int peer, other_peer;
static unsigned n_readable;
static bool free_in_callback, read_in_callback, answer_in_callback;
static ssize_t last_read;

static void drop(struct stream **stream, bool reset)
{
	stream_close(*stream, reset);
	free(TAKE_PTR(*stream));
}

static void on_readable(struct stream *stream)
{
	char got[64];

	n_readable++;
	if (read_in_callback)
		last_read = stream_read(stream, got, sizeof(got));
	if (answer_in_callback)
		cr_assert_eq(stream_write_batched(other, "+OK\r\n", 5), 0);
	if (free_in_callback)
		drop(&s, false);
}

static void on_other_event(_unused_ struct stream *stream)
{
}

static void on_broken(_unused_ struct stream *stream, _unused_ int error)
{
}

static const struct stream_ops ops = {
	.is_answered = true,
	.on_readable = on_readable,
	.on_drained = on_other_event,
	.on_broken = on_broken,
};
static const struct stream_ops session_ops = {
	.on_readable = on_readable,
	.on_drained = on_other_event,
	.on_broken = on_broken,
};

static struct stream *open_one(const struct stream_ops *its_ops, int *ret_peer)
{
	struct stream *one = malloc(sizeof(*one));
	int fds[2];

	cr_assert_not_null(one);
	loop_tcp_pair(fds);
	cr_assert_eq(stream_open(one, base, fds[0], its_ops), 0);
	*ret_peer = fds[1];
	return one;
}

static void setup(void)
{
	base = event_base_new();
	cr_assert_not_null(base);
	s = open_one(&ops, &peer);
	other = open_one(&session_ops, &other_peer);
}

static void teardown(void)
{
	if (s)
		drop(&s, false);
	if (other)
		drop(&other, false);
	close_fd(peer);
	close_fd(other_peer);
	event_base_free(base);
}

TestSuite(turn, .init = setup, .fini = teardown, .timeout = 60);

static void expect_nothing(int fd)
{
	char got[64];

	cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	cr_assert_eq(errno, EAGAIN);
}

/* Over loopback what is sent is there when send(2) returns. */
static void expect(int fd, const char *text)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got), MSG_DONTWAIT);

	cr_assert_eq(n, (ssize_t)strlen(text), "%zd bytes for %s", n, text);
	cr_assert_eq(memcmp(got, text, (size_t)n), 0);
}

static void batch(struct stream *stream, const char *text)
{
	cr_assert_eq(stream_write_batched(stream, text, strlen(text)), 0);
}

Test(turn, what_may_wait_is_sent_at_its_end)
{
	stream_begin_turn();
	batch(s, "BEAT 1\r\n");
	batch(s, "ACK 2\r\n");
	batch(other, "+OK\r\n");
	expect_nothing(peer);
	expect_nothing(other_peer);
	cr_assert_eq(stream_backlog_bytes(s), 0);

	stream_end_turn();
	expect(peer, "BEAT 1\r\nACK 2\r\n");
	expect(other_peer, "+OK\r\n");
	stream_begin_turn();
	stream_end_turn();
	expect_nothing(peer);
}

Test(turn, outside_of_one_nothing_waits)
{
	batch(s, "BEAT\r\n");
	expect(peer, "BEAT\r\n");
	stream_begin_turn();
	stream_end_turn();
	batch(s, "BEAT\r\n");
	expect(peer, "BEAT\r\n");
}

Test(turn, before_something_long_all_is_sent)
{
	stream_begin_turn();
	batch(s, "one");
	stream_send_batch();
	expect(peer, "one");
	batch(s, "two");
	expect_nothing(peer);
	stream_end_turn();
	expect(peer, "two");
}

Test(turn, the_order_is_that_of_the_writes)
{
	stream_begin_turn();
	batch(s, "one ");
	cr_assert_eq(stream_write(s, "two ", 4), 0);
	expect(peer, "one two ");
	batch(s, "three ");
	batch(other, "+OK\r\n");
	batch(s, "four");
	batch(other, "+OK\r\n");
	stream_end_turn();
	expect(peer, "three four");
	expect(other_peer, "+OK\r\n+OK\r\n");
}

Test(turn, a_write_that_must_not_wait_keeps_nobody_else)
{
	stream_begin_turn();
	batch(other, "+OK\r\n");
	cr_assert_eq(stream_write(s, "FAIL\r\n", 6), 0);
	expect(peer, "FAIL\r\n");
	expect_nothing(other_peer);
	stream_end_turn();
	expect(other_peer, "+OK\r\n");
}

Test(turn, what_is_long_is_sent_behind_what_waits)
{
	_cleanup_free_ char *bytes = calloc(1, ROOM), *got = malloc(ROOM);
	size_t n = STREAM_BATCHED_MAX_BYTES + 1;

	cr_assert(bytes && got);
	for (unsigned batched = 0; batched < 2; batched++) {
		stream_begin_turn();
		batch(other, "+OK\r\n");
		batch(s, "one");
		cr_assert_eq((batched ? stream_write_batched : stream_write)(s, bytes, n), 0);
		expect(other_peer, "+OK\r\n");
		cr_assert_eq(recv(peer, got, ROOM, MSG_DONTWAIT), (ssize_t)n + 3);
		cr_assert_eq(memcmp(got, "one", 3), 0);
		stream_end_turn();
		expect_nothing(peer);
	}
}

/* More bytes, and more streams in turns, than there is room for. */
Test(turn, when_there_is_no_more_room_it_is_sent)
{
	_cleanup_free_ char *sent = malloc(ROOM), *got = malloc(ROOM);
	size_t n = 0, n_got = 0;

	cr_assert(sent && got);
	for (size_t i = 0; i < ROOM; i++)
		sent[i] = (char)(i * 7 + i / 250);
	for (size_t piece = 1; piece <= STREAM_BATCHED_MAX_BYTES; piece = piece * 3 + 1) {
		n = n_got = 0;
		stream_begin_turn();
		while (n + piece <= ROOM / 2) {
			cr_assert_eq(stream_write_batched(s, sent + n, piece), 0);
			if (n < 1000)
				batch(other, "x");
			n += piece;
		}
		stream_end_turn();
		for (ssize_t k; (k = recv(peer, got + n_got, ROOM - n_got, MSG_DONTWAIT)) > 0;)
			n_got += (size_t)k;
		cr_assert_eq(n_got, n);
		cr_assert_eq(memcmp(got, sent, n), 0, "in pieces of %zu", piece);
		while (recv(other_peer, got, ROOM, MSG_DONTWAIT) > 0)
			;
	}
}

Test(turn, behind_a_backlog_it_comes_behind)
{
	size_t size = (size_t)8 * 1024 * 1024, n = 0;
	_cleanup_free_ char *bytes = calloc(1, size), *got = malloc(size + 5);

	cr_assert(bytes && got);
	cr_assert_eq(stream_write(s, bytes, size), 0);
	size_t backlog = stream_backlog_bytes(s);
	cr_assert_gt(backlog, 0);
	stream_begin_turn();
	batch(s, "after");
	cr_assert_eq(stream_backlog_bytes(s), backlog + 5, "it counts at once");
	stream_end_turn();
	LOOP_UNTIL(base, ({
			   ssize_t k = recv(peer, got + n, size + 5 - n, MSG_DONTWAIT);
			   n += k > 0 ? (size_t)k : 0;
			   n == size + 5;
		   }));
	cr_assert_eq(memcmp(got + size, "after", 5), 0);
}

Test(turn, a_close_sends_what_waits_and_a_reset_recalls_it)
{
	stream_begin_turn();
	batch(s, "bye");
	batch(other, "never");
	drop(&s, false);
	drop(&other, true);
	expect(peer, "bye");
	char got[8];
	cr_assert_eq(recv(other_peer, got, sizeof(got), MSG_DONTWAIT), -1);
	cr_assert_eq(errno, ECONNRESET);
	stream_end_turn();
	cr_assert_eq(recv(peer, got, sizeof(got), MSG_DONTWAIT), 0);
}

Test(turn, a_failure_is_seen_in_reading)
{
	struct linger linger = {.l_onoff = 1};

	/* The first write may still be taken for one that is under way. */
	cr_assert_eq(setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	peer = close_fd(peer);
	stream_begin_turn();
	batch(s, "one");
	stream_end_turn();
	cr_assert(s->error == EPIPE || s->error == ECONNRESET, "%d", s->error);
	stream_begin_turn();
	cr_assert_eq(stream_write_batched(s, "two", 3), -s->error);
	stream_end_turn();
	unsigned before = n_readable;
	LOOP_UNTIL(base, n_readable > before);
}

Test(turn, what_a_look_leads_to_is_sent_as_well)
{
	read_in_callback = answer_in_callback = true;
	for (unsigned i = 0; i < 10 && n_readable == 0; i++) {
		stream_begin_turn();
		batch(s, "BEAT\r\n");
		cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
		stream_end_turn();
	}
	cr_assert_eq(n_readable, 1);
	expect(other_peer, "+OK\r\n");
}

/* Writes a command and looks, until it was looked; how many commands that took. */
static unsigned write_until_looked(unsigned limit)
{
	unsigned before = n_readable, n = 0;

	while (n_readable == before && n < limit) {
		cr_assert_eq(stream_write(s, "BEAT\r\n", 6), 0);
		cr_assert_eq(n_readable, before, "not out of stream_write()");
		stream_end_turn();
		n++;
	}
	return n;
}

Test(turn, an_answer_that_is_there_is_read_without_a_turn)
{
	unsigned limit = 10;

	read_in_callback = true;
	cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
	cr_assert_lt(write_until_looked(limit), limit);
	cr_assert_eq(last_read, 5);

	/* That was worth it, so it is done each time, until it is in vain. */
	cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
	cr_assert_eq(write_until_looked(limit), 1);
	cr_assert_eq(last_read, 5);
	cr_assert_eq(write_until_looked(limit), 1);
	cr_assert_eq(last_read, -EAGAIN);
	cr_assert_gt(write_until_looked(limit), 1);

	/* Looked once for each write and no more. */
	unsigned before = n_readable;
	stream_end_turn();
	cr_assert_eq(n_readable, before);
}

Test(turn, nobody_is_looked_at_before_others_have_had_their_turn)
{
	read_in_callback = true;
	cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
	cr_assert_eq(send(other_peer, "FETCH q\r\n", 9, 0), 9);
	for (unsigned i = 0; i < 20; i++) {
		stream_begin_turn();
		batch(s, "BEAT\r\n");
		batch(other, "BEAT\r\n");
		stream_end_turn();
	}
	cr_assert_eq(n_readable, 0, "two were written");

	stream_pause(s);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(stream_write(s, "BEAT\r\n", 6), 0);
		stream_end_turn();
	}
	cr_assert_eq(n_readable, 0, "it is paused");

	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(stream_write(other, "+OK\r\n", 5), 0);
		stream_end_turn();
	}
	cr_assert_eq(n_readable, 0, "what it says is no answer");

	cr_assert_eq(stream_write(other, "+OK\r\n", 5), 0);
	drop(&other, false);
	for (unsigned i = 0; i < 20; i++)
		stream_end_turn();
	cr_assert_eq(stream_write(s, "BEAT\r\n", 6), 0);
	drop(&s, false);
	for (unsigned i = 0; i < 20; i++)
		stream_end_turn();
	cr_assert_eq(n_readable, 0, "it is closed");
}

Test(turn, its_owner_may_free_it_when_it_is_looked_at)
{
	free_in_callback = true;
	cr_assert_eq(send(peer, "x", 1, 0), 1);
	for (unsigned i = 0; i < 10 && s; i++) {
		cr_assert_eq(stream_write(s, "BEAT\r\n", 6), 0);
		stream_end_turn();
	}
	cr_assert_null(s);
	stream_end_turn();
}
