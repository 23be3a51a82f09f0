/* SPDX-License-Identifier: MIT
 *
 * One signalfd in the loop.
 */
#include "supervise/signals.h"

#include <signal.h>
#include <sys/signalfd.h>

struct signals {
	int fd;
	struct event *event;
	sigset_t before;
	signals_callback callback;
	void *userdata;
};

static void signals_on_readable(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct signals *s = userdata;
	struct signalfd_siginfo si[8];
	ssize_t n = read(s->fd, si, sizeof(si));

	for (ssize_t i = 0; i < n / (ssize_t)sizeof(si[0]); i++)
		s->callback(s->userdata, (int)si[i].ssi_signo, si[i].ssi_code == SI_KERNEL ? 0 : (pid_t)si[i].ssi_pid);
}

int signals_new(struct event_base *base, const int *wanted, signals_callback callback, void *userdata,
		struct signals **ret)
{
	struct signals *s = calloc(1, sizeof(*s));
	sigset_t mask;

	if (!s)
		return -ENOMEM;
	*s = (struct signals){.fd = -EBADF, .callback = callback, .userdata = userdata};
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGTTOU, SIG_IGN);
	sigemptyset(&mask);
	for (const int *p = wanted; *p; p++)
		sigaddset(&mask, *p);
	(void)sigprocmask(SIG_BLOCK, &mask, &s->before);
	s->fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->fd >= 0)
		s->event = event_new(base, s->fd, EV_READ | EV_PERSIST, signals_on_readable, s);
	if (!s->event || event_add(s->event, NULL) < 0) {
		int r = s->fd < 0 ? -errno : -ENOMEM;
		signals_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct signals *signals_free(struct signals *s)
{
	if (!s)
		return NULL;
	if (s->event)
		event_free(s->event);
	close_fd(s->fd);
	(void)sigprocmask(SIG_SETMASK, &s->before, NULL);
	free(s);
	return NULL;
}
