/* SPDX-License-Identifier: MIT
 *
 * A scripted server for tests, in the test's own event loop: it greets, keeps every line it gets, and answers what the
 * test tells it to, or nothing. One connection at a time; a new one takes the place of the old.
 */
#ifndef CHARGEHAND_TESTS_SERVER_H
#define CHARGEHAND_TESTS_SERVER_H

#include "loop.h"
#include <stdio.h>
#include <string.h>

#define SERVER_LINES_MAX 8192

struct server {
	struct event_base *base;
	int listener, fd;
	uint16_t port;
	struct event *accept_event, *read_event;
	char *in;
	size_t in_bytes, in_size;

	char *lines[SERVER_LINES_MAX]; /* without line end; HELLOs are not kept here */
	unsigned n_lines, n_answered;
	unsigned n_connections, n_resets, n_ends;
	char hello[512];

	const char *greeting;     /* instead of the usual one */
	const char *hello_answer; /* instead of +OK */
	/* What to answer, NULL for nothing now. */
	const char *(*answer)(const char *line);
};

static inline void server_say(struct server *s, const char *text)
{
	size_t n = strlen(text);

	if (s->fd >= 0)
		cr_assert_eq(send(s->fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
}

static inline void server_hang_up(struct server *s)
{
	if (s->read_event)
		event_free(TAKE_PTR(s->read_event));
	s->fd = close_fd(s->fd);
	s->in_bytes = 0;
}

/* The client sees the end, and the server can still see how the client ends. */
static inline void server_half_close(struct server *s)
{
	shutdown(s->fd, SHUT_WR);
}

static inline void server_on_line(struct server *s, char *line)
{
	const char *answer;

	if (strncmp(line, "HELLO ", 6) == 0) {
		snprintf(s->hello, sizeof(s->hello), "%s", line + 6);
		server_say(s, s->hello_answer ? s->hello_answer : "+OK\r\n");
		return;
	}
	cr_assert_lt(s->n_lines, SERVER_LINES_MAX);
	s->lines[s->n_lines] = strdup(line);
	answer = s->answer ? s->answer(s->lines[s->n_lines]) : NULL;
	s->n_lines++;
	if (answer) {
		s->n_answered++;
		server_say(s, answer);
	}
}

static inline void server_on_readable(_unused_ evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct server *s = userdata;
	int mine = s->fd;
	char *line, *end;
	ssize_t n;

	if (s->in_size - s->in_bytes < 65536) {
		s->in_size += 1024 * 1024;
		s->in = realloc(s->in, s->in_size);
		cr_assert_not_null(s->in);
	}
	n = recv(s->fd, s->in + s->in_bytes, s->in_size - s->in_bytes - 1, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		if (n < 0 && errno == ECONNRESET)
			s->n_resets++;
		else
			s->n_ends++;
		server_hang_up(s);
		return;
	}
	s->in_bytes += (size_t)n;
	line = s->in;
	while ((end = memchr(line, '\n', s->in_bytes - (size_t)(line - s->in)))) {
		*end = '\0';
		if (end > line && end[-1] == '\r')
			end[-1] = '\0';
		server_on_line(s, line);
		if (s->fd != mine)
			return;
		line = end + 1;
	}
	s->in_bytes -= (size_t)(line - s->in);
	memmove(s->in, line, s->in_bytes);
}

static inline void server_on_connection(_unused_ evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct server *s = userdata;
	int new_fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (new_fd < 0)
		return;
	/* The listener may be looked at before the old connection, and how that ended is of interest. */
	if (s->fd >= 0)
		server_on_readable(s->fd, EV_READ, s);
	server_hang_up(s);
	s->fd = new_fd;
	s->n_connections++;
	s->read_event = event_new(s->base, s->fd, EV_READ | EV_PERSIST, server_on_readable, s);
	cr_assert_eq(event_add(s->read_event, NULL), 0);
	server_say(s, s->greeting ? s->greeting : "+HI {\"v\":2}\r\n");
}

static inline void server_listen(struct server *s)
{
	s->accept_event = event_new(s->base, s->listener, EV_READ | EV_PERSIST, server_on_connection, s);
	cr_assert_eq(event_add(s->accept_event, NULL), 0);
}

static inline void server_start(struct server *s, struct event_base *base)
{
	*s = (struct server){.base = base, .fd = -EBADF};
	s->listener = loop_listen(&s->port);
	server_listen(s);
}

/* Away: nothing listens on the port until server_come_back(). */
static inline void server_go(struct server *s)
{
	event_free(TAKE_PTR(s->accept_event));
	s->listener = close_fd(s->listener);
	server_hang_up(s);
}

static inline void server_come_back(struct server *s)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;

	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_eq(setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	cr_assert_eq(bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(s->listener, 64), 0);
	server_listen(s);
}

static inline void server_stop(struct server *s)
{
	if (s->accept_event)
		event_free(s->accept_event);
	close_fd(s->listener);
	server_hang_up(s);
	for (unsigned i = 0; i < s->n_lines; i++)
		free(s->lines[i]);
	free(s->in);
}

#endif
