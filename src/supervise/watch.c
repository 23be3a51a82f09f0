/* SPDX-License-Identifier: MIT
 *
 * One descriptor in an epoll instance, which is readable when the descriptor has news.
 */
#include "supervise/watch.h"

#include <sys/epoll.h>

int watch_open(struct watch *w, struct event_base *base, int fd, short events, event_callback_fn callback,
	       void *userdata)
{
	struct epoll_event ev = {.events = EPOLLPRI};
	_cleanup_close_ int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	w->epoll_fd = -EBADF;
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	if (event_assign(&w->event, base, epoll_fd, events, callback, userdata) < 0 || event_add(&w->event, NULL) < 0)
		return -ENOMEM;
	w->epoll_fd = TAKE_FD(epoll_fd);
	return 0;
}

void watch_close(struct watch *w)
{
	if (w->epoll_fd < 0)
		return;
	event_del(&w->event);
	w->epoll_fd = close_fd(w->epoll_fd);
}
