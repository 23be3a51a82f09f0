/* SPDX-License-Identifier: MIT
 *
 * For tests with an event loop: it runs until a condition holds, never for a time. A condition that does not come in
 * ten seconds is a failure that names it.
 */
#ifndef CHARGEHAND_TESTS_LOOP_H
#define CHARGEHAND_TESTS_LOOP_H

#include "base/clock.h"
#include "base/macro.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#define LOOP_PATIENCE_USEC (10 * USEC_PER_SEC)

static inline void loop_no_op(_unused_ evutil_socket_t fd, _unused_ short what, _unused_ void *userdata)
{
}

/* One turn. Waits for an event, but not for ever. */
static inline void loop_turn(struct event_base *base)
{
	struct timeval limit = {.tv_usec = 10 * 1000};
	struct event *guard = evtimer_new(base, loop_no_op, NULL);

	cr_assert_not_null(guard);
	cr_assert_eq(evtimer_add(guard, &limit), 0);
	cr_assert_geq(event_base_loop(base, EVLOOP_ONCE), 0);
	event_free(guard);
}

#define LOOP_UNTIL(base, condition)                                                                                    \
	do {                                                                                                           \
		usec_t loop_end = usec_add(clock_now_usec(), LOOP_PATIENCE_USEC);                                      \
		while (!(condition)) {                                                                                 \
			cr_assert_lt(clock_now_usec(), loop_end, "waited in vain for: " #condition);                   \
			loop_turn(base);                                                                               \
		}                                                                                                      \
	} while (0)

/* What is there now, and what comes of it at once. */
static inline void loop_drain(struct event_base *base)
{
	for (int i = 0; i < 20; i++)
		cr_assert_geq(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
}

/* A listener on a free port of 127.0.0.1. */
static inline int loop_listen(uint16_t *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 64), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

/* Both ends of a TCP connection over loopback, non-blocking. */
static inline void loop_tcp_pair(int fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint16_t port;
	int listener = loop_listen(&port);

	address.sin_port = htons(port);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(fds[0], 0);
	cr_assert_eq(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	cr_assert_geq(fds[1], 0);
	close(listener);
}

#endif
