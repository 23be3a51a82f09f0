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

#include "base/clock.h"
#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>

#define SURROUNDINGS_MAX 12

struct surroundings {
	struct surrounding {
		int fd;
		char *path;         /* below the mount: "/system.slice/mail.service" */
		bool memory;        /* has the memory controller, and so what it counts and whom systemd-oomd kills */
	} groups[SURROUNDINGS_MAX]; /* the nearest first */
	unsigned n;
	int v1_fd;         /* the memory controller of cgroup v1; -EBADF */
	bool sees_machine; /* the last one is the machine's own root, and not that of a container */
};

struct surroundings_counts {
	uint64_t oom[SURROUNDINGS_MAX];
	uint64_t oomd[SURROUNDINGS_MAX]; /* the xattrs of systemd-oomd(8) */
	uint64_t v1_fails;               /* how often the limit of the group of cgroup v1 was hit */
};

/* Counts of before, to compare new ones with. Several workers can die of one shortage, one shortly after the other:
 * what the first of them shows is not forgotten before the others have been looked at. */
struct surroundings_past {
	struct surroundings_counts counts, latest;
	usec_t latest_usec; /* 0: there are no later ones */
};

/* dir is below mount, or the same; either may be NULL. What cannot be opened is left out. */
int surroundings_open(const char *mount, const char *dir, const char *v1_memory_dir,
		      struct surroundings *ret) _must_check_;
void surroundings_close(struct surroundings *s);

void surroundings_read(const struct surroundings *s, struct surroundings_counts *ret);

/* Where kills are counted that happen in the nearest group itself: a directory and the name of a file for
 * cgroup_read_flat(), whose key is "oom_kill". -ENOENT: nowhere. */
int surroundings_kill_file(const struct surroundings *s, int *ret_dir_fd, const char **ret_file);

/* Reads, and gives what to compare with past->counts. now is of one clock in all calls. */
void surroundings_compare(const struct surroundings *s, struct surroundings_past *past, usec_t now,
			  struct surroundings_counts *ret);

/* The nearest group whose own limit was hit in between; -ENOENT. */
int surroundings_find_limit(const struct surroundings *s, const struct surroundings_counts *before,
			    const struct surroundings_counts *after);
/* The nearest group that systemd-oomd has acted on since; -ENOENT. Reads nothing else, and leaves it to
 * surroundings_compare() to take note: what is looked at before a report has to be little. */
int surroundings_find_oomd(const struct surroundings *s, struct surroundings_past *past, usec_t now);
uint64_t surroundings_limit(const struct surroundings *s, int i); /* memory.max; UINT64_MAX none */
uint64_t surroundings_v1_limit(const struct surroundings *s);

/* user.oomd_ooms and user.oomd_kill of a group: their sum; 0 without. */
uint64_t surroundings_read_oomd(int dir_fd);

#endif
