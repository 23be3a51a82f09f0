/* SPDX-License-Identifier: MIT
 *
 * What a turn of the loop does with streams: it sends what was left to its end, and looks for an answer there.
 */
#include "turn.h"

#define ROOM ((size_t)64 * 1024)

TestSuite(turn, .init = setup, .fini = teardown, .timeout = 60);

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
	peer_reset(&peer);
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

static void tell(const char *text)
{
	stream_write_told(other, text, strlen(text));
}

static void expect_told(unsigned n, const char *text)
{
	cr_assert_eq(n_sent, n, "told %u times, and not %u", n_sent, n);
	cr_assert_str_eq(sent_text, text);
}

Test(turn, what_is_to_be_told_of_is_told_when_it_is_sent)
{
	tell("job 0");
	expect_told(1, "job 0");
	expect(other_peer, "job 0");

	stream_begin_turn();
	batch(other, "+OK\r\n");
	tell("job 1");
	expect_nothing(other_peer);
	cr_assert_eq(n_sent, 1, "not before it is sent");
	stream_end_turn();
	expect_told(2, "job 1");
	expect(other_peer, "+OK\r\njob 1");
	cr_assert_eq(sent_error, 0);
	cr_assert_eq(sent_backlog, 0);

	/* The next one sends it, as anything else does that comes behind. */
	stream_begin_turn();
	tell("job 2");
	tell("job 3");
	expect_told(3, "job 2");
	batch(other, "+OK\r\n");
	expect_told(4, "job 3");
	stream_flush(other);
	stream_flush(s);
	expect(other_peer, "job 2job 3+OK\r\n");
	tell("job 4");
	stream_flush(other);
	expect_told(5, "job 4");
	tell("job 5");
	stream_send_batch();
	expect_told(6, "job 5");
	tell("job 6");
	drop(&other, false);
	expect_told(7, "job 6");
	expect(other_peer, "job 4job 5job 6");
	stream_end_turn();
	cr_assert_eq(n_sent, 7);
}

Test(turn, what_is_too_long_to_wait_is_told_of_at_once)
{
	_cleanup_free_ char *bytes = malloc(STREAM_BATCHED_MAX_BYTES + 1), *got = malloc(ROOM);

	cr_assert(bytes && got);
	memset(bytes, 'x', STREAM_BATCHED_MAX_BYTES + 1);
	stream_begin_turn();
	stream_write_told(other, bytes, STREAM_BATCHED_MAX_BYTES + 1);
	cr_assert_eq(n_sent, 1);
	cr_assert_eq(recv(other_peer, got, ROOM, MSG_DONTWAIT), (ssize_t)STREAM_BATCHED_MAX_BYTES + 1);
	stream_end_turn();
	cr_assert_eq(n_sent, 1);
}

Test(turn, what_cannot_be_sent_is_told_of_with_its_error)
{
	peer_reset(&other_peer);
	stream_begin_turn();
	tell("job 1");
	stream_end_turn();
	expect_told(1, "job 1");
	cr_assert(sent_error == EPIPE || sent_error == ECONNRESET, "%d", sent_error);

	stream_begin_turn();
	tell("job 2");
	expect_told(2, "job 2");
	cr_assert_neq(sent_error, 0);
	stream_end_turn();
	cr_assert_eq(n_sent, 2);

	unsigned before = n_readable;
	LOOP_UNTIL(base, n_readable > before);
}

Test(turn, what_the_kernel_does_not_take_is_told_of_with_its_backlog)
{
	char one[STREAM_BATCHED_MAX_BYTES - 1];

	memset(one, 'x', sizeof(one));
	for (unsigned n = 0; stream_backlog_bytes(other) == 0; n++) {
		cr_assert_eq(n_sent, n);
		cr_assert_eq(sent_backlog, 0);
		stream_begin_turn();
		stream_write_told(other, one, sizeof(one));
		stream_end_turn();
	}
	cr_assert_eq(sent_backlog, stream_backlog_bytes(other));
	cr_assert_eq(sent_error, 0);
	unsigned before = n_sent;
	stream_begin_turn();
	tell("job");
	expect_told(before + 1, "job");
	cr_assert_eq(sent_backlog, stream_backlog_bytes(other), "it is behind the backlog at once");
	stream_end_turn();
	cr_assert_eq(n_sent, before + 1);
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
