/* SPDX-License-Identifier: MIT
 *
 * How a process ended: looked at first (WNOWAIT, so that /proc and the cgroup can still be read), then reaped.
 * waitid(P_ALL, WNOWAIT) returns the same first zombie for ever (hazards 34); so first processes are looked at through
 * their pidfd, and orphans are found by P_ALL only to be reaped by pid.
 */
#ifndef CHARGEHAND_PROCESS_REAP_H
#define CHARGEHAND_PROCESS_REAP_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct exit_info {
	pid_t pid;
	int code;               /* CLD_EXITED, CLD_KILLED or CLD_DUMPED (waitid(2)) */
	int status;             /* exit status, or signal */
	uint64_t max_rss_bytes; /* ru_maxrss: of the largest process among it and the children that it has reaped */
};

/* 0 and *ret filled when it has ended; -EAGAIN when it has not; -errno. Reaps nothing. */
int reap_peek(int pidfd, struct exit_info *ret) _must_check_;

/* Reaps what reap_peek() has seen. */
int reap_pidfd(int pidfd, struct exit_info *info);

/* The next child that has ended, without reaping it: 0 and its pid, or -EAGAIN when there is none, -ECHILD when there
 * are no children at all. */
int reap_next(pid_t *ret_pid) _must_check_;

/* Reaps the orphan pid. */
void reap_orphan(pid_t pid);

/* Is it killed or exiting, though it may not have ended yet? A process with much memory takes long over its end, and
 * one that the kernel cannot interrupt longer. True as well when it has ended, reaped or not. */
bool process_is_ending(pid_t pid);

/* 0..255 as a shell has it: the status, or 128 + signal. */
int exit_info_to_status(const struct exit_info *e);

#endif
