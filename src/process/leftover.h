/* SPDX-License-Identifier: MIT
 *
 * Processes that an earlier chargehand left: nobody reads what they still say about their jobs, so they are ended
 * before anything is decided about those. Found by the mark in their environment, and a first process by its pid as
 * well, which counts only together with the time of its start (/proc/PID/stat, proc(5)): a pid alone may be somebody
 * else's by now.
 */
#ifndef CHARGEHAND_PROCESS_LEFTOVER_H
#define CHARGEHAND_PROCESS_LEFTOVER_H

#include "base/clock.h"
#include "base/macro.h"
#include <sys/types.h>

struct leftover {
	const char *mark;     /* value of CHARGEHAND_WORKER; borrowed */
	pid_t pid;            /* of the first process; 0: not known, or of another boot */
	uint64_t start_ticks; /* when it was started */
};

/* SIGKILL to all of them, again until none is found: a process may fork meanwhile. Waits for their ends (pidfd,
 * poll(2)), so it is for the time before the loop runs. *ret_n: how many were ended, on failure too. -ETIMEDOUT when
 * some do not end; -errno. */
int leftover_end(const struct leftover *left, size_t n_left, usec_t timeout_usec, unsigned *ret_n) _must_check_;

#endif
