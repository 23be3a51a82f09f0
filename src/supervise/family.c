/* SPDX-License-Identifier: MIT
 *
 * A leaf tells that it is empty by news of its cgroup.events. Without a leaf the ends of orphans come as SIGCHLD (see
 * program.c), and a short timer runs for those that are not ours, only while something is left.
 */
#include "supervise/family.h"

#include <event2/event.h>
#include <signal.h>

#define FAMILY_POLL_FIRST_USEC (10 * USEC_PER_MSEC)
#define FAMILY_POLL_MAX_USEC (200 * USEC_PER_MSEC)

void family_init(struct family *f, struct event_base *base, const char *mark, void (*callback)(void *userdata),
		 void *userdata)
{
	*f = (struct family){
		.tree.mark = mark,
		.base = base,
		.callback = callback,
		.userdata = userdata,
		.watch.epoll_fd = -EBADF,
	};
}

int family_done(struct family *f, struct cgroup_leaf **ret_leaf)
{
	int r;

	family_unwatch(f);
	tree_withdraw(&f->tree);
	r = cgroup_leaf_remove(f->leaf);
	if (r < 0)
		*ret_leaf = f->leaf;
	f->leaf = NULL;
	return r;
}

bool family_is_alive(const struct family *f)
{
	if (f->leaf) {
		int r = cgroup_leaf_is_populated(f->leaf);
		if (r >= 0)
			return r;
	}
	return f->pid > 0 && tree_is_alive(&f->tree, f->pid) > 0;
}

void family_kill(const struct family *f)
{
	if (f->leaf && cgroup_leaf_kill(f->leaf) >= 0)
		return;
	(void)tree_kill(&f->tree, SIGKILL);
}

struct pid_search {
	pid_t pid;
	bool found;
};

static int compare_pid(pid_t pid, void *userdata)
{
	struct pid_search *s = userdata;
	s->found = pid == s->pid;
	return s->found;
}

bool family_has_pid(const struct family *f, pid_t pid)
{
	struct pid_search s = {.pid = pid};

	if (!f->leaf)
		return tree_contains(&f->tree, pid);
	(void)cgroup_leaf_each_pid(f->leaf, compare_pid, &s);
	return s.found;
}

bool family_has_peer(const struct family *f, const struct peer_info *info)
{
	if (f->leaf && info->have_cgroup)
		return cgroup_leaf_contains(f->leaf, info->cgroup_id);
	return tree_has_uid(&f->tree, info->uid);
}

static void family_on_watch(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct family *f = userdata;
	f->callback(f->userdata);
}

static void family_arm_poll(struct family *f)
{
	struct timeval tv = usec_to_timeval(f->poll_usec);
	(void)event_add(&f->poll, &tv);
	f->poll_usec = MIN(f->poll_usec * 2, FAMILY_POLL_MAX_USEC);
}

static void family_on_poll(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct family *f = userdata;
	family_arm_poll(f);
	f->callback(f->userdata); /* may end the watch */
}

void family_watch(struct family *f)
{
	if (f->watching)
		return;
	f->watching = true;
	if (f->leaf && f->leaf->events_fd >= 0 &&
	    watch_open(&f->watch, f->base, f->leaf->events_fd, EV_READ | EV_PERSIST, family_on_watch, f) == 0)
		return;
	f->polling = true;
	f->poll_usec = FAMILY_POLL_FIRST_USEC;
	(void)event_assign(&f->poll, f->base, -1, 0, family_on_poll, f);
	family_arm_poll(f);
}

void family_unwatch(struct family *f)
{
	if (!f->watching)
		return;
	f->watching = false;
	watch_close(&f->watch);
	if (f->polling) {
		event_del(&f->poll);
		f->polling = false;
	}
}
