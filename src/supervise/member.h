/* SPDX-License-Identifier: MIT
 *
 * Processes of a worker that said HELLO, other than its first one: a cluster master's children, what a wrapper script
 * runs. A pid that a client says counts only if its pidfd was opened first and the process is then one of the worker's
 * (hazards 12).
 */
#ifndef CHARGEHAND_SUPERVISE_MEMBER_H
#define CHARGEHAND_SUPERVISE_MEMBER_H

#include "supervise/family.h"
#include <stdbool.h>
#include <sys/queue.h>

/* Each costs a descriptor; a worker with more is served all the same, and the death of those is seen with the worker's.
 */
#define MEMBERS_MAX 1024

struct member {
	pid_t pid;
	bool told; /* SIGTERM was sent */
	bool dead;

	/* private */
	struct members *members;
	int pidfd;
	struct event event;
	LIST_ENTRY(member) entry;
};

/* Orphans of a worker beyond this many are taken for old ones. */
#define ORPHANS_KNOWN_MAX 64

struct members {
	LIST_HEAD(, member) list;
	unsigned n, n_dead; /* n_dead of n */
	struct event_base *base;
	void (*callback)(void *userdata); /* one of them has died: from the loop */
	void *userdata;
	pid_t orphans[ORPHANS_KNOWN_MAX]; /* that were there before a member died: daemons of the worker's */
	unsigned n_orphans;
};

void members_init(struct members *m, struct event_base *base, void (*callback)(void *userdata), void *userdata);
void members_done(struct members *m);

/* A HELLO named the pid. True when it is (or has become) a member. */
bool members_add(struct members *m, const struct family *f, pid_t pid);

/* SIGKILL to the processes of the leaf that became orphans since the last HELLO or the last death that was dealt with:
 * a member that has died leaves its children so, and they might still finish its jobs (hazards 12). How many there
 * were. */
unsigned members_kill_new_orphans(struct members *m, const struct family *f);
/* Those that are there now are to be left alone. */
void members_note_orphans(struct members *m, const struct family *f);

unsigned members_n_alive(const struct members *m);

/* SIGTERM once to each that lives and was not told yet; how many were. */
unsigned members_terminate(struct members *m);

struct member *member_free(struct member *member);

#endif
