/* SPDX-License-Identifier: MIT
 *
 * Some small files for each death. Nothing here waits, and nothing is read between deaths but what has news.
 */
#include "supervise/memory.h"

#include <signal.h>
#include <sys/wait.h>

struct memory {
	const struct subtree *subtree;
	struct surroundings_past past;
	usec_t unread_usec;  /* of a death before whose report only what could matter was read; 0: none */
	struct tally shared; /* of the group that workers share whose leaves count nothing */
};

int memory_new(struct event_base *base, const struct subtree *subtree, const struct tally_ops *ops, void *userdata,
	       struct memory **ret)
{
	struct memory *m = calloc(1, sizeof(*m));
	const char *file;
	int dir_fd;

	if (!m)
		return -ENOMEM;
	m->subtree = subtree;
	tally_init(&m->shared);
	surroundings_read(&subtree->around, &m->past.counts);
	/* What cannot be opened does not tell, which --check says. */
	if (!subtree->memory && surroundings_kill_file(&subtree->around, &dir_fd, &file) == 0)
		(void)tally_open(&m->shared, base, dir_fd, file, ops, userdata);
	*ret = m;
	return 0;
}

struct memory *memory_free(struct memory *m)
{
	if (!m)
		return NULL;
	tally_close(&m->shared);
	free(m);
	return NULL;
}

/* What counts the kills of a worker: its leaf, or all workers' group where leaves count nothing. */
static struct tally *memory_tally(struct memory *m, struct tally *leaf_tally)
{
	return tally_is_open(leaf_tally) ? leaf_tally : &m->shared;
}

/* Whose limit was it, that was not the leaf's own? */
static void memory_find_limit(const struct memory *m, const struct surroundings_counts *now, struct death_evidence *e)
{
	const struct surroundings *s = &m->subtree->around;
	int i;

	if (s->v1_fd >= 0 && e->shared) {
		if (now->v1_fails > m->past.counts.v1_fails) {
			e->limit_group = "";
			e->limit_group_bytes = surroundings_v1_limit(s);
		}
		return;
	}
	i = surroundings_find_limit(s, &m->past.counts, now);
	if (i < 0)
		return;
	e->limit_group = s->groups[i].path;
	e->limit_group_bytes = surroundings_limit(s, i);
}

void memory_gather(struct memory *m, const struct cgroup_leaf *leaf, struct tally *leaf_tally, struct death_evidence *e)
{
	struct tally *t = memory_tally(m, leaf_tally);
	const struct surroundings *s = &m->subtree->around;
	struct surroundings_counts now;

	e->shared = t == &m->shared; /* also of leaves without a memory controller, as on hybrid machines */
	e->sees_machine = s->sees_machine;
	if (leaf && m->subtree->memory)
		cgroup_leaf_read_memory(leaf, &e->memory_peak_bytes, &e->memory_max_bytes);
	if (!e->shared)
		e->n_killed_before = t->n_outlived;
	if (tally_is_open(t)) {
		tally_read(t, &e->oom_kill_rise, &e->oom_rise);
		e->have_memory_events = true;
	}
	/* A SIGKILL of chargehand's own needs no cause. */
	if (e->exit.code == CLD_EXITED || e->exit.status != SIGKILL || e->stop == DEATH_STOP_GRACE || e->hung)
		return;
	if (e->oom_kill_rise > 0) {
		surroundings_compare(s, &m->past, e->ended_usec, &now);
		tally_account(t);
		memory_find_limit(m, &now, e);
		return;
	}
	m->unread_usec = e->ended_usec;
	e->oomd = (leaf && m->subtree->memory && surroundings_read_oomd(leaf->dir_fd) > 0) ||
		  surroundings_find_oomd(s, &m->past, e->ended_usec) >= 0;
}

void memory_catch_up(struct memory *m, struct tally *leaf_tally)
{
	struct surroundings_counts now;

	tally_look(memory_tally(m, leaf_tally));
	if (m->unread_usec > 0)
		surroundings_compare(&m->subtree->around, &m->past, m->unread_usec, &now);
	m->unread_usec = 0;
}
