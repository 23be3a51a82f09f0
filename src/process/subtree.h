/* SPDX-License-Identifier: MIT
 *
 * Where workers' leaves go: finds the part of the cgroup tree that chargehand may use, makes itself at home there, and
 * leaves it as it was. In this order:
 *
 *   1. the unit's own group, where systemd has delegated it (Delegate=yes)
 *   2. a transient scope asked of systemd, from a session or user slice only: out of a service it would pull
 *      chargehand away from its unit (hazards 38)
 *   3. the group that chargehand is in, where no systemd has a say in it: containers with a writable cgroup
 *   4. nowhere
 *
 * In a unit or scope chargehand sits in the child "chargehand", beside the leaves. Elsewhere it makes one directory for
 * the leaves, and for itself where it has to move, and holds a lock on it: one whose lock nobody holds is a leftover.
 */
#ifndef CHARGEHAND_PROCESS_SUBTREE_H
#define CHARGEHAND_PROCESS_SUBTREE_H

#include "base/macro.h"
#include "process/owngroup.h"
#include "process/surroundings.h"
#include <stdbool.h>

enum subtree_kind {
	SUBTREE_NONE,
	SUBTREE_GIVEN, /* --cgroup PATH */
	SUBTREE_UNIT,
	SUBTREE_SCOPE,
	SUBTREE_OWN,
	_SUBTREE_KIND_MAX,
};
/* "cgroups in the unit", "no cgroups": for a status. NULL for SUBTREE_GIVEN: it was asked for. */
const char *subtree_kind_to_place(enum subtree_kind kind);

struct subtree_request {
	bool none;              /* not wanted */
	const char *path;       /* the one to be used; NULL: find one */
	const char *name;       /* for a directory, and for a scope */
	bool memory, pids, cpu; /* controllers that limits need; the first two are enabled wherever they are */
	bool look_only;         /* say what would be taken, and change nothing */
};

struct subtree {
	enum subtree_kind kind;
	int fd;                 /* leaves are made below it; -EBADF for SUBTREE_NONE, and when only looked */
	char *path;             /* of fd in the file system; NULL without */
	bool memory, pids, cpu; /* what leaves can be limited in */
	char why[320];          /* this one rather than another, and what is missing */
	struct own_group own;   /* where chargehand was started */
	struct surroundings around;
	unsigned n_swept; /* groups that an earlier chargehand had left */

	/* private */
	int own_fd, home_fd; /* where it came from; the directory that it made */
	char *home;          /* its name, below base_fd */
	int base_fd;
	bool moved, memory_on, pids_on, cpu_on; /* to be undone */
};

/* -errno only when the path that was asked for, or a controller, cannot be had: *ret_message says it (malloc'ed, may be
 * NULL). What is merely found missing is told in why. */
int subtree_open(const struct subtree_request *request, struct subtree **ret, char **ret_message) _must_check_;

/* When the last leaf is gone. Returns NULL; accepts NULL. */
struct subtree *subtree_close(struct subtree *s);

#endif
