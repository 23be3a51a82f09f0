/* SPDX-License-Identifier: MIT
 *
 * What is to be told is first owed, and then sent with whatever else is.
 */
#include "supervise/herald.h"

#include "base/log.h"
#include "base/notify.h"
#include "base/parse.h"
#include "config/environment.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* STATUS is for eyes. */
#define STATUS_EVERY_USEC USEC_PER_SEC
/* The manager has not read what it was told. */
#define AGAIN_USEC (100 * USEC_PER_MSEC)
/* Told every so often, a stop may take so much longer. */
#define EXTEND_EVERY_USEC (5 * USEC_PER_SEC)
#define EXTEND_BY_USEC (20 * USEC_PER_SEC)

enum {
	OWE_RELOADING = 1 << 0, /* in a datagram of its own: READY must not overtake it */
	OWE_READY = 1 << 1,
	OWE_STOPPING = 1 << 2,
	OWE_EXTENSION = 1 << 3,
	OWE_WATCHDOG = 1 << 4,
	OWE_STATUS = 1 << 5,
};

struct herald {
	struct notify_socket *socket;
	struct event *watchdog, *extend, *overdue, *again;
	unsigned owed;
	bool ready, reloading, is_overdue, have_news, failed;
	struct news news;
	usec_t status_usec; /* when one was sent last */
};

static void arm(struct event *event, usec_t usec)
{
	struct timeval tv = usec_to_timeval(usec);

	if (event_add(event, &tv) < 0)
		log_error("Out of memory: a timer for the service manager cannot be had");
}

/* ---- sending */

static size_t add(char *text, size_t bytes, size_t room, const char *line)
{
	int n = snprintf(text + bytes, room - bytes, "%s\n", line);

	return MIN(bytes + (size_t)MAX(n, 0), room - 1);
}

/* 0, or what notify_send() says; what was sent is no longer owed. */
static int send_owed(struct herald *h, unsigned what)
{
	char text[NEWS_TEXT_MAX + 256], line[NEWS_TEXT_MAX + 16], status[NEWS_TEXT_MAX];
	size_t bytes = 0, room = sizeof(text);
	int r;

	if (what & OWE_RELOADING) {
		(void)snprintf(line, sizeof(line), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_monotonic_usec());
		bytes = add(text, bytes, room, line);
	}
	if (what & OWE_READY)
		bytes = add(text, bytes, room, "READY=1");
	if (what & OWE_STOPPING)
		bytes = add(text, bytes, room, "STOPPING=1");
	if (what & OWE_EXTENSION) {
		(void)snprintf(line, sizeof(line), "EXTEND_TIMEOUT_USEC=%" PRIu64, EXTEND_BY_USEC);
		bytes = add(text, bytes, room, line);
	}
	if (what & OWE_WATCHDOG)
		bytes = add(text, bytes, room, "WATCHDOG=1");
	if (what & OWE_STATUS) {
		(void)snprintf(line, sizeof(line), "STATUS=%s", news_format(&h->news, status));
		bytes = add(text, bytes, room, line);
		h->status_usec = clock_now_usec();
	}
	r = notify_send(h->socket, text, bytes);
	if (r == 0)
		h->owed &= ~what;
	return r;
}

static void herald_flush(struct herald *h)
{
	usec_t due_usec = usec_add(h->status_usec, STATUS_EVERY_USEC), now;
	int r = 0;

	if (!h->owed || event_pending(h->again, EV_TIMEOUT, NULL))
		return;
	now = clock_now_usec();
	if (h->owed == OWE_STATUS && h->status_usec > 0 && now < due_usec) {
		arm(h->again, usec_sub(due_usec, now));
		return;
	}
	if (h->owed & OWE_RELOADING)
		r = send_owed(h, OWE_RELOADING);
	if (r == 0 && h->owed)
		r = send_owed(h, h->owed);
	if (r == -EAGAIN || r == -ENOBUFS) {
		arm(h->again, AGAIN_USEC);
	} else if (r < 0) {
		/* Gone, or never there. Should it come back, there will be other news. */
		h->owed = 0;
		if (!h->failed)
			(void)log_warning_errno(r, "The service manager cannot be told how chargehand is: %m");
		h->failed = true;
	}
}

static void herald_owe(struct herald *h, unsigned what)
{
	h->owed |= what;
	/* What matters does not wait for the time of the next STATUS. */
	if (what != OWE_STATUS)
		event_del(h->again);
	herald_flush(h);
}

/* ---- timers */

static void herald_on_watchdog(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	herald_owe(userdata, OWE_WATCHDOG);
}

static void herald_on_extend(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	herald_owe(userdata, OWE_EXTENSION);
}

/* The turn that this timer makes ends in herald_tell(). */
static void herald_on_overdue(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct herald *h = userdata;

	h->is_overdue = true;
}

static void herald_on_again(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	herald_flush(userdata);
}

usec_t herald_watchdog_usec(char *const *envp)
{
	const char *text = environment_get(envp, "WATCHDOG_USEC"), *pid_text = environment_get(envp, "WATCHDOG_PID");
	uint64_t usec, pid;

	if (!text || parse_u64(text, &usec) < 0 || usec == 0)
		return USEC_NEVER;
	if (pid_text && (parse_u64(pid_text, &pid) < 0 || pid != (uint64_t)getpid()))
		return USEC_NEVER; /* it is meant for another process */
	return usec;
}

static int herald_new_timers(struct herald *h, struct event_base *base, usec_t watchdog_usec, usec_t ready_usec)
{
	h->watchdog = event_new(base, -1, EV_PERSIST, herald_on_watchdog, h);
	h->extend = event_new(base, -1, EV_PERSIST, herald_on_extend, h);
	h->overdue = event_new(base, -1, 0, herald_on_overdue, h);
	h->again = event_new(base, -1, 0, herald_on_again, h);
	if (!h->watchdog || !h->extend || !h->overdue || !h->again)
		return -ENOMEM;
	if (watchdog_usec != USEC_NEVER)
		arm(h->watchdog, watchdog_usec / 2);
	arm(h->overdue, ready_usec);
	return 0;
}

int herald_new(struct event_base *base, char *const *envp, usec_t ready_usec, struct herald **ret)
{
	const char *address = environment_get(envp, "NOTIFY_SOCKET");
	struct herald *h;
	int r;

	*ret = NULL;
	if (!address)
		return 0;
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	r = notify_socket_new(address, &h->socket);
	if (r == 0)
		r = herald_new_timers(h, base, herald_watchdog_usec(envp), ready_usec);
	if (r < 0) {
		herald_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

struct herald *herald_free(struct herald *h)
{
	if (!h)
		return NULL;
	struct event *const events[] = {h->watchdog, h->extend, h->overdue, h->again};
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	notify_socket_free(h->socket);
	free(h);
	return NULL;
}

/* ---- what is to be told */

void herald_tell(struct herald *h, const struct news *news)
{
	unsigned owed = 0;

	if (!h)
		return;
	if (!h->ready && !news->stopping && (news->n_greeted >= news->n_slots || h->is_overdue)) {
		h->ready = true;
		event_del(h->overdue);
		owed |= OWE_READY;
	}
	if (news->stopping && !h->news.stopping) {
		event_del(h->overdue);
		arm(h->extend, EXTEND_EVERY_USEC);
		owed |= OWE_STOPPING | OWE_EXTENSION;
	}
	if (!h->have_news || !news_is_same(news, &h->news))
		owed |= OWE_STATUS;
	h->have_news = true;
	h->news = *news;
	if (owed)
		herald_owe(h, owed);
}

void herald_begin_reload(struct herald *h)
{
	/* Before it is ready nobody can ask for one by the manager. */
	if (!h || !h->ready || h->news.stopping)
		return;
	h->reloading = true;
	herald_owe(h, OWE_RELOADING);
}

void herald_end_reload(struct herald *h)
{
	if (!h || !h->reloading)
		return;
	h->reloading = false;
	herald_owe(h, OWE_READY);
}
