/* SPDX-License-Identifier: MIT
 *
 * Two streams as chargehand has them, a link and a session, with their other ends, for the two programs that test what
 * a turn of the loop does with streams.
 */
#ifndef CHARGEHAND_TESTS_UNIT_TURN_H
#define CHARGEHAND_TESTS_UNIT_TURN_H

#include "link/stream.h"

#include "loop.h"

#include <criterion/criterion.h>
#include <string.h>

static struct event_base *base;
static struct stream *s, *other; /* on the heap, so that a use after their owner freed them is seen */
static int peer, other_peer;
static unsigned n_readable;
static bool free_in_callback, read_in_callback, answer_in_callback;
static ssize_t last_read;
static unsigned n_sent;
static char sent_text[64];
static int sent_error;
static size_t sent_backlog;

static inline void drop(struct stream **stream, bool reset)
{
	stream_close(*stream, reset);
	free(TAKE_PTR(*stream));
}

static inline void on_readable(struct stream *stream)
{
	char got[64];

	n_readable++;
	if (read_in_callback)
		last_read = stream_read(stream, got, sizeof(got));
	if (answer_in_callback)
		cr_assert_eq(stream_write_batched(other, "+OK\r\n", 5), 0);
	if (free_in_callback && s)
		drop(&s, false);
}

static inline void on_other_event(_unused_ struct stream *stream)
{
}

static inline void on_broken(_unused_ struct stream *stream, _unused_ int error)
{
}

static inline void on_sent(struct stream *stream, const char *p, size_t bytes)
{
	n_sent++;
	sent_text[0] = 0;
	strncat(sent_text, p, MIN(bytes, sizeof(sent_text) - 1));
	sent_error = stream->error;
	sent_backlog = stream_backlog_bytes(stream);
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
	.on_sent = on_sent,
};

static inline struct stream *open_one(const struct stream_ops *its_ops, int *ret_peer)
{
	struct stream *one = malloc(sizeof(*one));
	int fds[2];

	cr_assert_not_null(one);
	loop_tcp_pair(fds);
	cr_assert_eq(stream_open(one, base, fds[0], its_ops), 0);
	*ret_peer = fds[1];
	return one;
}

static inline void setup(void)
{
	base = event_base_new();
	cr_assert_not_null(base);
	s = open_one(&ops, &peer);
	other = open_one(&session_ops, &other_peer);
}

static inline void teardown(void)
{
	if (s)
		drop(&s, false);
	if (other)
		drop(&other, false);
	close_fd(peer);
	close_fd(other_peer);
	event_base_free(base);
}

static inline void expect_nothing(int fd)
{
	char got[64];

	cr_assert_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	cr_assert_eq(errno, EAGAIN);
}

/* Over loopback what is sent is there when send(2) returns. */
static inline void expect(int fd, const char *text)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got), MSG_DONTWAIT);

	cr_assert_eq(n, (ssize_t)strlen(text), "%zd bytes for %s", n, text);
	cr_assert_eq(memcmp(got, text, (size_t)n), 0);
}

static inline void batch(struct stream *stream, const char *text)
{
	cr_assert_eq(stream_write_batched(stream, text, strlen(text)), 0);
}

static inline void peer_reset(int *fd)
{
	struct linger linger = {.l_onoff = 1};

	cr_assert_eq(setsockopt(*fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	*fd = close_fd(*fd);
}

static inline void turn(void)
{
	stream_begin_turn();
	loop_turn(base);
	stream_end_turn();
}

#endif
