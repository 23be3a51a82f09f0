/* SPDX-License-Identifier: MIT
 *
 * The cgroups around a worker, for the cause of a death: those above its leaf, or where it has none the one that it
 * shares with chargehand and those above that. Whose limit was it, and was it systemd-oomd? Only read, never written:
 * in most containers nothing else is allowed.
 *
 * A group's own "oom" in memory.events.local rises where its limit was hit; "oom_kill" rises where the victim was.
 */
#ifndef CHARGEHAND_PROCESS_SURROUNDINGS_H
#define CHARGEHAND_PROCESS_SURROUNDINGS_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>

#define SURROUNDINGS_MAX 8

struct surroundings {
	struct surrounding {
		int fd;
		char *path;         /* below the mount: "/system.slice/mail.service" */
	} groups[SURROUNDINGS_MAX]; /* the nearest first */
	unsigned n;
	int v1_fd; /* the memory controller of cgroup v1; -EBADF */
};

struct surroundings_counts {
	uint64_t oom_kill; /* of the nearest group: of use where that is the worker's own */
	uint64_t oom[SURROUNDINGS_MAX];
	uint64_t oomd[SURROUNDINGS_MAX]; /* the xattrs of systemd-oomd(8) */
};

/* dir is below mount, or the same; either may be NULL. What cannot be opened is left out. */
int surroundings_open(const char *mount, const char *dir, const char *v1_memory_dir,
		      struct surroundings *ret) _must_check_;
void surroundings_close(struct surroundings *s);

void surroundings_read(const struct surroundings *s, struct surroundings_counts *ret);

/* Does the nearest group tell of kills at all? */
bool surroundings_tell(const struct surroundings *s);

/* The nearest group whose own limit was hit in between; -ENOENT. */
int surroundings_find_limit(const struct surroundings *s, const struct surroundings_counts *before,
			    const struct surroundings_counts *after);
/* The nearest group that systemd-oomd acted on in between; -ENOENT. */
int surroundings_find_oomd(const struct surroundings *s, const struct surroundings_counts *before,
			   const struct surroundings_counts *after);
uint64_t surroundings_limit(const struct surroundings *s, int i); /* memory.max; UINT64_MAX none */

/* user.oomd_ooms and user.oomd_kill of a group: their sum; 0 without. */
uint64_t surroundings_read_oomd(int dir_fd);

#endif
