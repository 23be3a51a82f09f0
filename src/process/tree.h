/* SPDX-License-Identifier: MIT
 *
 * A worker's processes where it has no leaf: its session and process group, and the orphans that came to chargehand
 * as their subreaper (prctl(2), PR_SET_CHILD_SUBREAPER), told apart by a unique CHARGEHAND_WORKER= in their environment
 * (hazards 22). Descendants with a living parent hide behind that parent; once it is gone they are orphans too.
 */
#ifndef CHARGEHAND_PROCESS_TREE_H
#define CHARGEHAND_PROCESS_TREE_H

#include "base/macro.h"
#include <stdbool.h>
#include <sys/types.h>
#include <uthash.h>

#define TREE_VARIABLE "CHARGEHAND_WORKER"

int tree_become_subreaper(void) _must_check_;

struct tree {
	pid_t pgid;       /* of the first process: its pid */
	const char *mark; /* value of CHARGEHAND_WORKER; borrowed */

	/* private */
	bool announced, refused;
	UT_hash_handle hh;
};

/* Optional: the first process is a child of ours and not reaped, so it is nobody else's orphan, and the other trees
 * need not read its environment to see that. To be withdrawn before it is reaped. */
void tree_announce(struct tree *t);
void tree_withdraw(struct tree *t);

/* 1 when a process of the tree other than `except` (0 for none) still lives: a child of ours in the process group or
 * session, or one that carries the mark; 0 when not; -errno. Zombies do not live. `except` may be a zombie that is
 * still to be reaped. Cheap: one read of /proc/thread-self/children, and one waitid(2) for each child but `except`. */
int tree_is_alive(const struct tree *t, pid_t except);

/* Calls back for each living child of ours that is no announced tree's first process: orphans that came to chargehand.
 * Until it returns non-zero, which is returned; 0; -errno. */
int tree_each_orphan(int (*callback)(pid_t pid, void *userdata), void *userdata);

/* SIGKILL (or another signal) to every process of the tree that can be found; returns how many, or -errno. To be
 * repeated until tree_is_alive() is 0: a process may fork meanwhile. */
int tree_kill(const struct tree *t, int signal);

/* True when pid belongs to the tree: by process group, session, or mark in /proc/PID/environ. */
bool tree_contains(const struct tree *t, pid_t pid);

/* True when a live process of the tree has this uid (effective or real): for strangers without a leaf. */
bool tree_has_uid(const struct tree *t, uid_t uid);

/* For tests: as on a kernel without CONFIG_PROC_CHILDREN, where /proc is scanned instead. */
void tree_pretend_no_children(bool yes);

#endif
