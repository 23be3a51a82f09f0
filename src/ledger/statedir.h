/* SPDX-License-Identifier: MIT
 *
 * The directory of what must outlive chargehand, and the lock that keeps a second one out of it (flock(2), so that it
 * ends with the process, however that ends).
 */
#ifndef CHARGEHAND_LEDGER_STATEDIR_H
#define CHARGEHAND_LEDGER_STATEDIR_H

#include "base/macro.h"
#include <sys/types.h>

#define STATEDIR_LOCK "lock"

/* Makes the directory and its parents where they are missing (mode 0700: jobs may hold anything), and locks it.
 * *ret_dir_fd is the directory, *ret_lock_fd the lock, held until it is closed. -EWOULDBLOCK when somebody else has it:
 * *ret_holder is then a pid, or 0 when it cannot be told. */
int statedir_lock(const char *path, int *ret_dir_fd, int *ret_lock_fd, pid_t *ret_holder) _must_check_;

/* Could it be used? 0, or what statedir_lock() would say; makes nothing and locks nothing for longer than the call. */
int statedir_check(const char *path, pid_t *ret_holder) _must_check_;

#endif
