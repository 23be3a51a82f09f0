/* SPDX-License-Identifier: MIT
 *
 * One worker's leaf in a cgroup v2 tree (Documentation/admin-guide/cgroup-v2.rst). Everything goes through directory
 * descriptors, so that a test can point it at a tree of plain files.
 */
#ifndef CHARGEHAND_PROCESS_CGROUP_H
#define CHARGEHAND_PROCESS_CGROUP_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CGROUP_UNLIMITED UINT64_MAX

struct cgroup_limits {
	uint64_t memory_max, memory_high, swap_max, pids_max; /* CGROUP_UNLIMITED: not set */
	unsigned cpu_percent;                                 /* 0: not set; 150 is one and a half processors */
	bool oom_group;
};

struct cgroup_events {
	uint64_t oom, oom_kill, oom_group_kill;
};

struct cgroup_leaf {
	int parent_fd; /* borrowed */
	int dir_fd;    /* -EBADF when there is none */
	int events_fd; /* cgroup.events, for EPOLLPRI; -EBADF when there is none */
	char *name;    /* below the parent; not always the one asked for: "cpu.1" would look like the kernel's own */
	uint64_t id;   /* what sock_diag(7) calls the cgroup: its inode number */
};

/* Opens the directory below which leaves are made. -ENOENT, -ENOTDIR, -EACCES/-EROFS (not writable), -EMEDIUMTYPE when
 * it is no cgroup2 (statfs(2), CGROUP2_SUPER_MAGIC). */
int cgroup_open_parent(const char *path, int *ret_fd) _must_check_;

/* mkdir, limits, descriptors. A controller that a limit needs is enabled in the parent's cgroup.subtree_control. On
 * failure nothing is left behind and *ret_what is a static word for what could not be set ("memory.max", …). */
int cgroup_leaf_new(int parent_fd, const char *name, const struct cgroup_limits *limits, struct cgroup_leaf **ret,
		    const char **ret_what) _must_check_;
/* Writes the limits that are set, also of a leaf that lives; *ret_what as above. Never takes one away. */
int cgroup_leaf_set_limits(const struct cgroup_leaf *leaf, const struct cgroup_limits *limits,
			   const char **ret_what) _must_check_;
/* rmdir, of the groups below it too, and free. On failure (-EBUSY: not empty) the leaf is still the caller's. Accepts
 * NULL; a group that is gone already is removed. cgroup_leaf_free() leaves the directory alone. */
int cgroup_leaf_remove(struct cgroup_leaf *leaf);
struct cgroup_leaf *cgroup_leaf_free(struct cgroup_leaf *leaf);

/* cgroup.kill; where there is none (before 5.14), or it cannot be written, a loop over cgroup.procs. Vanished groups
 * are no error. */
int cgroup_leaf_kill(const struct cgroup_leaf *leaf);
/* Read at offset 0, which also re-arms EPOLLPRI. 1 populated, 0 empty, -errno. A removed group is empty. */
int cgroup_leaf_is_populated(const struct cgroup_leaf *leaf);
/* memory.events; -ENOENT without a memory controller. */
int cgroup_leaf_read_events(const struct cgroup_leaf *leaf, struct cgroup_events *ret);
/* memory.peak and memory.max; 0 and CGROUP_UNLIMITED where the kernel does not tell. */
void cgroup_leaf_read_memory(const struct cgroup_leaf *leaf, uint64_t *ret_peak, uint64_t *ret_max);
/* The pids in the leaf and below: callback for each until it returns non-zero, which is then the result; else 0
 * or -errno. */
int cgroup_leaf_each_pid(const struct cgroup_leaf *leaf, int (*callback)(pid_t pid, void *userdata), void *userdata);
/* Is the cgroup with this id the leaf or below it? (A child may make groups of its own.) */
bool cgroup_leaf_contains(const struct cgroup_leaf *leaf, uint64_t cgroup_id);

/* Of any group, by its directory. Enabled for its children: 0 as well when it is on already. */
int cgroup_enable_controller(int dir_fd, const char *controller) _must_check_;
/* Is it there to be enabled (cgroup.controllers)? */
bool cgroup_has_controller(int dir_fd, const char *controller);
/* Kills all in a group below dir_fd, waits until it is empty, for timeout_msec at most, and removes it. */
int cgroup_sweep(int dir_fd, const char *name, int timeout_msec) _must_check_;
/* Of a text in lines of "key number": 0 when there is no such line. */
uint64_t cgroup_flat_value(const char *text, const char *key);
/* The value behind a key, and a file that is one number ("max", or none: otherwise). */
int cgroup_read_flat(int dir_fd, const char *file, const char *key, uint64_t *ret);
uint64_t cgroup_read_number(int dir_fd, const char *file, uint64_t otherwise);

#endif
