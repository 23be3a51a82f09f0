/* SPDX-License-Identifier: MIT
 *
 * The kernel counts a kill before it sends the signal, and a big process takes hundreds of milliseconds to end after
 * it. So a count that has risen is judged when it has been known for a while, and only if nobody is on the way out
 * then; else the end of that process comes here first, by tally_account().
 */
#include "supervise/tally.h"

#include "base/clock.h"
#include "process/cgroup.h"

#include <fcntl.h>
#include <string.h>

/* From the news to the look at it, and from there to the judgement: under pressure there can be news all the time. */
#define TALLY_WAIT_USEC (100 * USEC_PER_MSEC)

static void tally_arm(struct tally *t)
{
	struct timeval tv = usec_to_timeval(TALLY_WAIT_USEC);

	if (t->fd >= 0 && !event_pending(&t->timer, EV_TIMEOUT, NULL))
		(void)event_add(&t->timer, &tv);
}

/* By its own descriptor, which arms the notification again; any other read of the descriptor would eat one. */
static void tally_count(const struct tally *t, uint64_t *ret_kills, uint64_t *ret_oom)
{
	char text[512];
	ssize_t n;

	do
		n = pread(t->fd, text, sizeof(text) - 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0) { /* the group is gone */
		*ret_kills = t->kills;
		*ret_oom = t->oom;
		return;
	}
	text[n] = 0;
	*ret_kills = cgroup_flat_value(text, "oom_kill");
	*ret_oom = cgroup_flat_value(text, "oom");
}

static void tally_on_news(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	tally_arm(userdata);
}

static void tally_outlive(struct tally *t, uint64_t kills, uint64_t oom)
{
	uint64_t n = kills - t->kills;

	t->kills = kills;
	t->oom = oom;
	t->n_outlived += n;
	if (n > 0)
		t->ops->on_outlived(t->userdata, n);
}

static void tally_on_timer(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct tally *t = userdata;
	uint64_t kills, oom;

	tally_count(t, &kills, &oom);
	if (t->watched)
		(void)event_add(&t->watch.event, NULL);
	if (kills == t->kills)
		return;
	if (kills != t->seen) {
		t->seen = kills;
		tally_arm(t);
		return;
	}
	if (!t->ops->may_be_first(t->userdata))
		tally_outlive(t, kills, oom);
}

void tally_init(struct tally *t)
{
	*t = (struct tally){.fd = -EBADF, .watch.epoll_fd = -EBADF};
}

int tally_open(struct tally *t, struct event_base *base, int dir_fd, const char *file, const struct tally_ops *ops,
	       void *userdata)
{
	tally_init(t);
	t->fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC);
	if (t->fd < 0)
		return -errno;
	t->ops = ops;
	t->userdata = userdata;
	(void)event_assign(&t->timer, base, -1, 0, tally_on_timer, t);
	tally_count(t, &t->kills, &t->oom);
	t->seen = t->kills;
	t->watched = watch_open(&t->watch, base, t->fd, EV_READ, tally_on_news, t) == 0;
	return 0;
}

void tally_close(struct tally *t)
{
	if (t->fd < 0)
		return;
	watch_close(&t->watch);
	event_del(&t->timer);
	t->fd = close_fd(t->fd);
}

bool tally_is_open(const struct tally *t)
{
	return t->fd >= 0;
}

void tally_read(const struct tally *t, uint64_t *ret_kills, uint64_t *ret_oom)
{
	uint64_t kills, oom;

	*ret_kills = *ret_oom = 0;
	if (t->fd < 0)
		return;
	tally_count(t, &kills, &oom);
	*ret_kills = kills - t->kills;
	*ret_oom = oom - t->oom;
}

void tally_account(struct tally *t)
{
	t->kills++;
	tally_arm(t);
}

uint64_t tally_account_outlived(struct tally *t)
{
	uint64_t kills, oom;

	tally_read(t, &kills, &oom);
	tally_outlive(t, t->kills + kills, t->oom + oom);
	return kills;
}

void tally_look(struct tally *t)
{
	tally_arm(t);
}
