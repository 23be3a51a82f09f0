/* SPDX-License-Identifier: MIT
 *
 * read(2) until nothing is there, within bounds.
 */
#include "supervise/pump.h"

/* One turn's share: what a pipe holds by default (pipe(7)). What a living process goes on to write comes with the next
 * turn, and does not keep anybody else waiting. */
#define PUMP_TURN_BYTES (64 * 1024)
#define PUMP_READ_BYTES (16 * 1024)

static bool pump_read(struct pump *p)
{
	static char buffer[PUMP_READ_BYTES]; /* one thread; used within this call only */
	ssize_t n;

	do
		n = read(p->fd, buffer, sizeof(buffer));
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		tail_append(&p->tail, buffer, (size_t)n);
		outlet_write(p->outlet, buffer, (size_t)n);
		return (size_t)n == sizeof(buffer);
	}
	p->ended = n == 0 || errno != EAGAIN;
	return false;
}

static void pump_on_readable(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct pump *p = userdata;

	/* A turn after its end was read: at the end of a worker there is no time for it (supervise/end.c). */
	if (p->ended)
		event_del(&p->event);
	pump_drain(p);
}

int pump_open(struct pump *p, struct event_base *base, int fd, struct outlet *outlet)
{
	*p = (struct pump){.fd = -EBADF, .outlet = outlet};
	if (event_assign(&p->event, base, fd, EV_READ | EV_PERSIST, pump_on_readable, p) < 0 ||
	    event_add(&p->event, NULL) < 0)
		return -ENOMEM;
	p->fd = fd;
	return 0;
}

void pump_drain(struct pump *p)
{
	for (size_t bytes = 0; p->fd >= 0 && !p->ended && bytes < PUMP_TURN_BYTES; bytes += PUMP_READ_BYTES)
		if (!pump_read(p))
			break;
}

void pump_close(struct pump *p)
{
	if (p->fd >= 0) {
		event_del(&p->event);
		p->fd = close_fd(p->fd);
	}
	tail_done(&p->tail);
}
