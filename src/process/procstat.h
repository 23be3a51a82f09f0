/* SPDX-License-Identifier: MIT
 *
 * /proc/PID/stat (proc(5)): of its 52 fields those that somebody here asks for. The second, the name, is any bytes in
 * parentheses, others among them; nothing behind it is text.
 */
#ifndef CHARGEHAND_PROCESS_PROCSTAT_H
#define CHARGEHAND_PROCESS_PROCSTAT_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
	char state;
	pid_t parent_pid;
	uint64_t flags;       /* PF_* of the kernel's include/linux/sched.h */
	uint64_t start_ticks; /* since the boot */
};

/* -EBADMSG: not what the kernel writes; *ret is unchanged. */
int proc_stat_parse(const char *text, struct proc_stat *ret) _must_check_;

/* -ESRCH: there is no such process; -errno. */
int proc_stat_read(pid_t pid, struct proc_stat *ret) _must_check_;

/* A process frees its memory and closes its descriptors first, and can be waited for some time later; in between it
 * says so. Of several threads this is the first one. */
bool proc_stat_is_exiting(const struct proc_stat *s);

#endif
