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

/* Each costs a descriptor; a worker with more is served all the same, and the death of those is seen with the worker's. */
#define MEMBERS_MAX 1024

struct member {
	pid_t pid;
	bool told;  /* SIGTERM was sent */
	bool dead;

	/* private */
	struct members *members;
	int pidfd;
	struct event event;
	LIST_ENTRY(member) entry;
};

struct members {
	LIST_HEAD(, member) list;
	unsigned n;
	struct event_base *base;
	void (*callback)(void *userdata); /* one of them has died: from the loop */
	void *userdata;
};

void members_init(struct members *m, struct event_base *base, void (*callback)(void *userdata), void *userdata);
void members_done(struct members *m);

/* A HELLO named the pid. True when it is (or has become) a member. */
bool members_add(struct members *m, const struct family *f, pid_t pid);

unsigned members_n_alive(const struct members *m);

/* SIGTERM once to each that lives and was not told yet; how many were. */
unsigned members_terminate(struct members *m);

struct member *member_free(struct member *member);

#endif
