/* SPDX-License-Identifier: MIT
 *
 * Owns everything: the event loop, the ledger, the gateway, the reporter, and one program with its slots. Runs until
 * the last worker has ended and everything about its jobs is settled.
 */
#ifndef CHARGEHAND_SUPERVISE_SUPERVISOR_H
#define CHARGEHAND_SUPERVISE_SUPERVISOR_H

#include "base/macro.h"
#include "config/config.h"
#include <stdint.h>
#include <sys/resource.h>

/* What main() found out before it changed anything of the process. */
struct supervisor_start {
	char *const *environ;      /* what chargehand was started with; workers' environments are made of it */
	struct rlimit nofile;      /* the limit that workers get back */
	const char *oom_score_adj; /* the score that workers get back; NULL unknown */
	uint64_t slice_nsec;       /* the slice that workers get back; 0: chargehand has left its own alone */
	int state_dir_fd;          /* locked; borrowed; negative: none */
};

/* Returns the exit status of design.md section 8. Everything that must be said has been logged. */
int supervisor_run(const struct config *config, const struct supervisor_start *start) _must_check_;

#endif
