/* SPDX-License-Identifier: MIT
 *
 * pidfd_open(2) and pidfd_send_signal(2), which Debian 12's C library does not have yet: -errno on failure.
 */
#ifndef CHARGEHAND_PROCESS_PIDFD_H
#define CHARGEHAND_PROCESS_PIDFD_H

#include "base/macro.h"
#include <sys/syscall.h>
#include <sys/types.h>

/* The same numbers on every architecture; unknown to old headers. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* The descriptor is close-on-exec. */
static inline _must_check_ int process_pidfd(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : (int)fd;
}

static inline int pidfd_signal(int pidfd, int signal)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

#endif
