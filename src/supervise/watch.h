/* SPDX-License-Identifier: MIT
 *
 * News of a file of cgroupfs. The kernel gives them as EPOLLPRI, which libevent does not know: so an epoll(7) instance
 * of its own stands between.
 */
#ifndef CHARGEHAND_SUPERVISE_WATCH_H
#define CHARGEHAND_SUPERVISE_WATCH_H

#include "base/macro.h"
#include <event2/event.h>
#include <event2/event_struct.h>

struct watch {
	int epoll_fd; /* -EBADF while not open */
	struct event event;
};

/* fd is borrowed. events: EV_READ, and EV_PERSIST or not. The callback comes until the descriptor is read at offset 0,
 * and again from the next news on. */
int watch_open(struct watch *w, struct event_base *base, int fd, short events, event_callback_fn callback,
	       void *userdata) _must_check_;
void watch_close(struct watch *w);

#endif
