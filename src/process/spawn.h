/* SPDX-License-Identifier: MIT
 *
 * Starts one process: clone3(2) with a pidfd, born in its cgroup where there is one, with a clean inside: default
 * signals, empty mask, no descriptors but 0-2, its own session (or, on a terminal, its own foreground process group), a
 * parent-death signal, the resource limits, the OOM score and the slice that chargehand itself was started with.
 *
 * Where clone3 is refused (ENOSYS by Docker's default seccomp profile, hazards 33): fork, the child blocks on a
 * pipe, the parent writes cgroup.procs and opens a pidfd, and lets it go.
 */
#ifndef CHARGEHAND_PROCESS_SPAWN_H
#define CHARGEHAND_PROCESS_SPAWN_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct spawn_args {
	char *const *argv; /* argv[0] is looked up in PATH of envp, as execvpe(3) does */
	char *const *envp;
	int stdin_fd, stdout_fd;     /* -1: inherited */
	int stderr_fd;               /* -1: inherited */
	int cgroup_fd;               /* directory of the leaf; -1: none */
	bool foreground;             /* standard input is a terminal: own process group, made its foreground one */
	const struct rlimit *nofile; /* what chargehand was started with; NULL: unchanged */
	const char *oom_score_adj;   /* text for /proc/self/oom_score_adj; NULL: unchanged */
	uint64_t slice_nsec;         /* slice.h; 0: unchanged */
};

struct spawned {
	pid_t pid;
	int pidfd;      /* CLOEXEC, the caller's */
	bool used_fork; /* the fallback was taken */
};

/* Blocks until exec has succeeded or failed (a CLOEXEC pipe tells), which takes as long as exec itself does.
 * Returns 0, or -errno. A failed exec is -errno with *ret_exec_failed true (ENOENT and EACCES become 127 and 126); the
 * child is then reaped already. */
int process_spawn(const struct spawn_args *args, struct spawned *ret, bool *ret_exec_failed) _must_check_;

/* For tests: makes clone3 fail with ENOSYS in this process from now on. */
void spawn_pretend_no_clone3(bool yes);

#endif
