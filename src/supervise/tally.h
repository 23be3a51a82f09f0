/* SPDX-License-Identifier: MIT
 *
 * The kernel's count of processes that it killed in one cgroup for lack of memory, and how many of them are accounted
 * for: as the death of a worker's first process, or as that of a process which the worker outlived. What is not
 * accounted for would convict a later kill -9 (hazards 37).
 *
 * Of a process that is outlived the file's notification is the only news. It comes once per 10 ms at most, before or
 * after the death of the victim: so it says only that the count is to be looked at, some time later.
 */
#ifndef CHARGEHAND_SUPERVISE_TALLY_H
#define CHARGEHAND_SUPERVISE_TALLY_H

#include "supervise/watch.h"
#include <stdbool.h>
#include <stdint.h>

struct tally_ops {
	/* May a first process be the victim, and its end still to come? */
	bool (*may_be_first)(void *userdata);
	/* n kills are now accounted for as outlived. */
	void (*on_outlived)(void *userdata, uint64_t n);
};

struct tally {
	uint64_t kills, oom; /* accounted for: oom_kill and oom */
	uint64_t n_outlived; /* since the beginning */

	/* private */
	int fd; /* -EBADF while not open */
	uint64_t seen;
	const struct tally_ops *ops;
	void *userdata;
	bool watched; /* there are notifications */
	struct watch watch;
	struct event timer;
};

/* A tally that is not open counts nothing. -ENOENT: there is no such file. Where there are no notifications (cgroup v1)
 * it is open all the same, and looks when tally_look() says so. */
void tally_init(struct tally *t);
int tally_open(struct tally *t, struct event_base *base, int dir_fd, const char *file, const struct tally_ops *ops,
	       void *userdata);
void tally_close(struct tally *t);
bool tally_is_open(const struct tally *t);

/* By how much the counts have risen above what is accounted for. */
void tally_read(const struct tally *t, uint64_t *ret_kills, uint64_t *ret_oom);

/* One of them was the death of a first process. The others are looked at later. */
void tally_account(struct tally *t);
/* All of them were outlived. Returns how many. */
uint64_t tally_account_outlived(struct tally *t);
/* There may be something to account for, as after any death. */
void tally_look(struct tally *t);

#endif
