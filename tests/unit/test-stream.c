/* SPDX-License-Identifier: MIT */
#include "link/stream.h"

#include "loop.h"

#include <criterion/criterion.h>
#include <string.h>

#define BIG ((size_t)4 * 1024 * 1024)

static struct event_base *base;
static struct stream *s; /* on the heap, so that a use after its owner freed it is seen */
static int peer;
static unsigned n_readable, n_drained, n_broken;
static int broken_error;
static size_t drained_backlog[4];
static bool free_in_callback, read_in_callback;
static ssize_t last_read;
static size_t all_read;

static void owner_free(void)
{
	stream_close(s, false);
	free(s);
	s = NULL;
}

static void on_readable(struct stream *stream)
{
	char got[64];

	n_readable++;
	if (read_in_callback) {
		last_read = stream_read(stream, got, sizeof(got));
		all_read += last_read > 0 ? (size_t)last_read : 0;
	}
	if (free_in_callback)
		owner_free();
}

static void on_drained(struct stream *stream)
{
	if (n_drained < ARRAY_SIZE(drained_backlog))
		drained_backlog[n_drained] = stream_backlog_bytes(stream);
	n_drained++;
	if (free_in_callback && stream_backlog_bytes(stream) == 0)
		owner_free();
}

static void on_broken(_unused_ struct stream *stream, int error)
{
	n_broken++;
	broken_error = error;
	if (free_in_callback)
		owner_free();
}

static const struct stream_ops ops = {
	.is_answered = true,
	.on_readable = on_readable,
	.on_drained = on_drained,
	.on_broken = on_broken,
};

static void setup(void)
{
	int fds[2], small = 32 * 1024;

	base = event_base_new();
	cr_assert_not_null(base);
	loop_tcp_pair(fds);
	/* The kernel would take megabytes otherwise. */
	cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	s = malloc(sizeof(*s));
	cr_assert_not_null(s);
	stream_init(s);
	cr_assert_eq(stream_open(s, base, fds[0], &ops), 0);
	peer = fds[1];
}

static void teardown(void)
{
	if (s)
		owner_free();
	close_fd(peer);
	event_base_free(base);
}

TestSuite(stream, .init = setup, .fini = teardown, .timeout = 60);

static char *pattern(size_t bytes, unsigned seed)
{
	char *p = malloc(bytes);

	cr_assert_not_null(p);
	for (size_t i = 0; i < bytes; i++)
		p[i] = (char)((i * 31 + i / 251 + seed) & 0xff);
	return p;
}

/* What the peer has received by now. */
static size_t peer_read(char *to, size_t room)
{
	size_t n = 0;

	while (n < room) {
		ssize_t k = recv(peer, to + n, room - n, MSG_DONTWAIT);

		if (k <= 0)
			break;
		n += (size_t)k;
	}
	return n;
}

static void peer_read_all(char *to, size_t bytes)
{
	size_t n = 0;

	LOOP_UNTIL(base, (n += peer_read(to + n, bytes - n)) == bytes);
}

Test(stream, what_the_kernel_takes_is_sent_at_once)
{
	char got[16];

	cr_assert_eq(stream_write(s, "FETCH q\r\n", 9), 0);
	cr_assert_eq(recv(peer, got, sizeof(got), 0), 9, "without a turn of the loop");
	cr_assert_eq(memcmp(got, "FETCH q\r\n", 9), 0);
	cr_assert_eq(stream_backlog_bytes(s), 0);
	cr_assert_null(s->outbox, "nothing waits, so nothing is held");
	loop_drain(base);
	cr_assert_eq(n_drained + n_readable + n_broken, 0);
}

Test(stream, a_backlog_is_written_in_order_and_told_of)
{
	_cleanup_free_ char *first = pattern(BIG, 1), *got = malloc(BIG + 5);

	cr_assert_not_null(got);
	cr_assert_eq(stream_write(s, first, BIG), 0);
	cr_assert_gt(stream_backlog_bytes(s), STREAM_BACKLOG_HIGH_BYTES, "the kernel took all of it: no test");

	/* Now there is room in the kernel again: what comes later must not overtake. */
	size_t n = peer_read(got, BIG / 2);
	cr_assert_gt(n, 0);
	cr_assert_eq(stream_write(s, "after", 5), 0);
	cr_assert_eq(n_drained, 0, "callbacks come from the loop only");

	peer_read_all(got + n, BIG + 5 - n);
	LOOP_UNTIL(base, stream_backlog_bytes(s) == 0);
	cr_assert_eq(memcmp(got, first, BIG), 0);
	cr_assert_eq(memcmp(got + BIG, "after", 5), 0);
	cr_assert_null(s->outbox);
	cr_assert_geq(n_drained, 1);
	cr_assert_leq(n_drained, 2);
	for (unsigned i = 0; i < n_drained; i++)
		cr_assert_lt(drained_backlog[i], STREAM_BACKLOG_LOW_BYTES);
	cr_assert_eq(drained_backlog[n_drained - 1], 0);
	cr_assert_eq(n_broken, 0);
}

Test(stream, a_small_backlog_is_told_of_when_it_is_empty)
{
	_cleanup_free_ char *bytes = pattern(BIG, 7), *got = malloc(BIG);
	size_t written = 0;

	cr_assert_not_null(got);
	while (stream_backlog_bytes(s) < STREAM_BACKLOG_LOW_BYTES + 10000) {
		cr_assert_eq(stream_write(s, bytes + written, 4096), 0);
		written += 4096;
	}
	cr_assert_lt(stream_backlog_bytes(s), STREAM_BACKLOG_HIGH_BYTES);
	peer_read_all(got, written);
	LOOP_UNTIL(base, !s->outbox);
	loop_drain(base);
	cr_assert_eq(n_drained, 1);
	cr_assert_eq(drained_backlog[0], 0);
}

Test(stream, a_backlog_that_is_emptied_can_come_again)
{
	_cleanup_free_ char *bytes = pattern(BIG, 2), *got = malloc(BIG);

	cr_assert_not_null(got);
	for (unsigned round = 1; round <= 3; round++) {
		unsigned before = n_drained;

		cr_assert_eq(stream_write(s, bytes, BIG), 0);
		cr_assert_gt(stream_backlog_bytes(s), 0);
		peer_read_all(got, BIG);
		LOOP_UNTIL(base, !s->outbox);
		cr_assert_eq(memcmp(got, bytes, BIG), 0);
		cr_assert_gt(n_drained, before);
	}
}

Test(stream, paused_it_is_silent_and_resumed_it_reads)
{
	char got[8];

	stream_pause(s);
	cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
	loop_drain(base);
	cr_assert_eq(n_readable, 0);

	cr_assert_eq(stream_resume(s), 0);
	LOOP_UNTIL(base, n_readable > 0);
	cr_assert_eq(stream_read(s, got, sizeof(got)), 5);
	cr_assert_eq(memcmp(got, "+OK\r\n", 5), 0);
	cr_assert_eq(stream_read(s, got, sizeof(got)), -EAGAIN);
}

Test(stream, a_peer_that_closes_is_an_end)
{
	char got[8];

	shutdown(peer, SHUT_WR);
	LOOP_UNTIL(base, n_readable > 0);
	cr_assert_eq(stream_read(s, got, sizeof(got)), 0);
	/* It may still be written to: the other half is open. */
	cr_assert_eq(stream_write(s, "x", 1), 0);
	cr_assert_eq(recv(peer, got, sizeof(got), 0), 1);
}

static void peer_reset(void)
{
	struct linger linger = {.l_onoff = 1};

	cr_assert_eq(setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	peer = close_fd(peer);
}

Test(stream, a_failed_write_is_told_to_its_caller_and_to_nobody_else)
{
	peer_reset();
	int r = stream_write(s, "x", 1);
	while (r == 0)
		r = stream_write(s, "x", 1);
	cr_assert(r == -EPIPE || r == -ECONNRESET, "%d", r);
	cr_assert_eq(s->error, -r);
	cr_assert_eq(stream_write(s, "x", 1), r, "nothing follows what failed");
	cr_assert_eq(n_broken, 0);
}

Test(stream, no_write_raises_a_signal)
{
	_cleanup_free_ char *bytes = pattern(BIG, 8), *got = malloc(BIG);
	struct stream other;
	int fds[2];

	cr_assert_not_null(got);
	shutdown(s->fd, SHUT_WR);
	cr_assert_eq(stream_write(s, "x", 1), -EPIPE); /* SIGPIPE would end this process here */

	loop_tcp_pair(fds);
	cr_assert_eq(stream_open(&other, base, fds[0], &ops), 0);
	for (size_t i = 0; stream_backlog_bytes(&other) == 0; i++)
		cr_assert_eq(stream_write(&other, bytes, BIG), 0);
	shutdown(fds[0], SHUT_WR);
	LOOP_UNTIL(base, ((void)!recv(fds[1], got, BIG, 0), n_broken == 1)); /* and here */
	cr_assert_eq(broken_error, EPIPE);
	stream_close(&other, true);
	close(fds[1]);
}

Test(stream, a_backlog_that_fails_is_told_once_from_the_loop)
{
	_cleanup_free_ char *bytes = pattern(BIG, 3);

	stream_pause(s); /* as an owner under backpressure does: the error must be told all the same */
	cr_assert_eq(stream_write(s, bytes, BIG), 0);
	cr_assert_gt(stream_backlog_bytes(s), 0);
	peer_reset();
	cr_assert_eq(n_broken, 0);
	LOOP_UNTIL(base, n_broken > 0);
	loop_drain(base);
	cr_assert_eq(n_broken, 1);
	cr_assert(broken_error == ECONNRESET || broken_error == EPIPE, "%d", broken_error);
	cr_assert_eq(stream_write(s, "x", 1), -broken_error);
	cr_assert_eq(stream_backlog_bytes(s), 0);
	cr_assert_eq(n_drained, 0, "nothing was drained");
}

Test(stream, closing_is_an_end_to_the_peer_and_with_reset_a_reset)
{
	char got[8];
	int fds[2];
	struct stream other;

	stream_close(s, false);
	cr_assert_lt(s->fd, 0);
	cr_assert_eq(recv(peer, got, sizeof(got), 0), 0);
	stream_close(s, true); /* twice does no harm */

	loop_tcp_pair(fds);
	cr_assert_eq(stream_open(&other, base, fds[0], &ops), 0);
	stream_close(&other, true);
	cr_assert_eq(recv(fds[1], got, sizeof(got), 0), -1);
	cr_assert_eq(errno, ECONNRESET);
	close(fds[1]);
}

Test(stream, reset_recalls_what_has_not_left)
{
	_cleanup_free_ char *bytes = pattern(BIG, 4), *got = malloc(BIG);

	cr_assert_not_null(got);
	cr_assert_eq(stream_write(s, bytes, BIG), 0);
	cr_assert_gt(stream_backlog_bytes(s), 0);
	stream_close(s, true);
	cr_assert_lt(peer_read(got, BIG), BIG);
	cr_assert_leq(recv(peer, got, 1, 0), 0, "more came after the reset");
}

Test(stream, its_owner_may_free_it_when_it_is_readable)
{
	free_in_callback = true;
	cr_assert_eq(send(peer, "x", 1, 0), 1);
	LOOP_UNTIL(base, !s);
	loop_drain(base);
	cr_assert_eq(n_readable, 1);
}

Test(stream, its_owner_may_free_it_when_it_is_drained)
{
	_cleanup_free_ char *bytes = pattern(BIG, 5), *got = malloc(BIG);

	cr_assert_not_null(got);
	free_in_callback = true;
	cr_assert_eq(stream_write(s, bytes, BIG), 0);
	LOOP_UNTIL(base, (peer_read(got, BIG), !s));
	loop_drain(base);
	cr_assert_geq(n_drained, 1);
}

Test(stream, its_owner_may_free_it_when_it_is_broken)
{
	_cleanup_free_ char *bytes = pattern(BIG, 6);

	free_in_callback = true;
	stream_pause(s);
	cr_assert_eq(stream_write(s, bytes, BIG), 0);
	peer_reset();
	LOOP_UNTIL(base, !s);
	loop_drain(base);
	cr_assert_eq(n_broken, 1);
}

Test(stream, what_one_read_leaves_is_told_of)
{
	_cleanup_free_ char *bytes = pattern(10000, 3), *got = malloc(10000);
	size_t n = 0;

	cr_assert_not_null(got);
	cr_assert_eq(send(peer, bytes, 10000, 0), 10000);
	while (n < 10000) {
		unsigned before = n_readable;
		ssize_t k;

		LOOP_UNTIL(base, n_readable > before);
		k = stream_read(s, got + n, MIN(1000, 10000 - n));
		cr_assert_gt(k, 0);
		n += (size_t)k;
	}
	cr_assert_eq(memcmp(got, bytes, 10000), 0);
	loop_drain(base);
	shutdown(peer, SHUT_WR);
	unsigned before = n_readable;
	LOOP_UNTIL(base, n_readable > before);
	cr_assert_eq(stream_read(s, got, 1), 0);
}

/* Of a reset the event does not tell. */
Test(stream, an_end_that_came_with_the_last_words_is_told_of)
{
	for (unsigned reset = 0; reset < 2; reset++) {
		all_read = 0;
		last_read = 1;
		cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
		if (reset)
			peer_reset();
		else
			shutdown(peer, SHUT_WR);
		read_in_callback = true;
		LOOP_UNTIL(base, last_read <= 0);
		cr_assert_eq(last_read, reset ? -ECONNRESET : 0);
		cr_assert_eq(all_read, 5);
		teardown();
		setup();
	}
}

Test(stream, a_pause_loses_nothing)
{
	char got[8];

	for (unsigned i = 0; i < 3; i++) {
		unsigned before = n_readable;

		/* Told of, not read, and paused: as new when it is resumed. */
		cr_assert_eq(send(peer, "x", 1, 0), 1);
		LOOP_UNTIL(base, n_readable > before);
		stream_pause(s);
		loop_drain(base);
		before = n_readable;
		cr_assert_eq(stream_resume(s), 0);
		LOOP_UNTIL(base, n_readable > before);
		cr_assert_eq(stream_read(s, got, sizeof(got)), 1);
	}
}

Test(stream, with_a_backlog_it_is_read_as_before)
{
	_cleanup_free_ char *bytes = pattern(BIG, 2), *got = malloc(BIG);
	char small[8];

	cr_assert_not_null(got);
	cr_assert_eq(stream_write(s, bytes, BIG), 0);
	for (unsigned i = 0; i < 2; i++) {
		unsigned before = n_readable;

		cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
		LOOP_UNTIL(base, n_readable > before);
		cr_assert_eq(stream_read(s, small, sizeof(small)), 5);
		if (i == 0)
			peer_read_all(got, BIG);
	}
	LOOP_UNTIL(base, !s->outbox);
}

Test(stream, one_that_is_not_open_refuses_quietly)
{
	struct stream closed;

	stream_init(&closed);
	cr_assert_eq(stream_write(&closed, "x", 1), -EPIPE);
	cr_assert_eq(stream_backlog_bytes(&closed), 0);
	stream_pause(&closed);
	cr_assert_eq(stream_resume(&closed), 0);
	stream_close(&closed, true);
}
