/* SPDX-License-Identifier: MIT
 *
 * A list; workers with many processes have tens of them.
 */
#include "supervise/member.h"

#include "process/pidfd.h"

#include <event2/event.h>
#include <signal.h>

void members_init(struct members *m, struct event_base *base, void (*callback)(void *userdata), void *userdata)
{
	*m = (struct members){.base = base, .callback = callback, .userdata = userdata};
	LIST_INIT(&m->list);
}

void members_done(struct members *m)
{
	while (!LIST_EMPTY(&m->list))
		member_free(LIST_FIRST(&m->list));
}

struct member *member_free(struct member *member)
{
	LIST_REMOVE(member, entry);
	member->members->n--;
	member->members->n_dead -= member->dead;
	event_del(&member->event);
	close_fd(member->pidfd);
	free(member);
	return NULL;
}

static void member_on_exit(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct member *member = userdata;
	member->dead = true;
	member->members->n_dead++;
	member->members->callback(member->members->userdata);
}

bool members_add(struct members *m, const struct family *f, pid_t pid)
{
	struct member *member;

	if (pid <= 0 || pid == f->pid)
		return false;
	LIST_FOREACH (member, &m->list, entry)
		if (member->pid == pid && !member->dead)
			return true;
	if (m->n >= MEMBERS_MAX)
		return false;

	_cleanup_close_ int pidfd = process_pidfd(pid);
	if (pidfd < 0 || !family_has_pid(f, pid))
		return false;
	member = calloc(1, sizeof(*member));
	if (!member)
		return false;
	*member = (struct member){.pid = pid, .members = m, .pidfd = pidfd};
	if (event_assign(&member->event, m->base, pidfd, EV_READ, member_on_exit, member) < 0 ||
	    event_add(&member->event, NULL) < 0) {
		free(member);
		return false;
	}
	(void)TAKE_FD(pidfd);
	LIST_INSERT_HEAD(&m->list, member, entry);
	m->n++;
	if (f->leaf)
		members_note_orphans(m, f);
	return true;
}

struct orphan_search {
	struct members *members;
	const struct family *family;
	unsigned n_killed;
};

static int note_orphan(pid_t pid, void *userdata)
{
	struct orphan_search *s = userdata;
	struct members *m = s->members;

	if (family_has_pid(s->family, pid))
		m->orphans[m->n_orphans++] = pid;
	return m->n_orphans == ORPHANS_KNOWN_MAX;
}

void members_note_orphans(struct members *m, const struct family *f)
{
	struct orphan_search s = {.members = m, .family = f};

	m->n_orphans = 0;
	(void)tree_each_orphan(note_orphan, &s);
}

static int kill_new_orphan(pid_t pid, void *userdata)
{
	struct orphan_search *s = userdata;

	for (unsigned i = 0; i < s->members->n_orphans; i++)
		if (s->members->orphans[i] == pid)
			return 0;
	/* A child of ours that is not reaped: its pid is its own. */
	if (s->members->n_orphans < ORPHANS_KNOWN_MAX && family_has_pid(s->family, pid) && kill(pid, SIGKILL) == 0)
		s->n_killed++;
	return 0;
}

unsigned members_kill_new_orphans(struct members *m, const struct family *f)
{
	struct orphan_search s = {.members = m, .family = f};

	(void)tree_each_orphan(kill_new_orphan, &s);
	return s.n_killed;
}

unsigned members_n_alive(const struct members *m)
{
	const struct member *member;
	unsigned n = 0;

	LIST_FOREACH (member, &m->list, entry)
		n += !member->dead;
	return n;
}

unsigned members_terminate(struct members *m)
{
	struct member *member;
	unsigned n = 0;

	LIST_FOREACH (member, &m->list, entry) {
		if (member->dead || member->told)
			continue;
		member->told = true;
		if (pidfd_signal(member->pidfd, SIGTERM) == 0)
			n++;
	}
	return n;
}
