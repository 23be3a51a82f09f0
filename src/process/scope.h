/* SPDX-License-Identifier: MIT
 *
 * A transient scope for this process, asked of systemd over D-Bus (org.freedesktop.systemd1(5), StartTransientUnit):
 * what `systemd-run --scope -p Delegate=yes` does; and what else only systemd knows. Needs libsystemd.
 */
#ifndef CHARGEHAND_PROCESS_SCOPE_H
#define CHARGEHAND_PROCESS_SCOPE_H

#include "base/clock.h"
#include "base/macro.h"
#include <stdbool.h>

/* Blocks until this process is in the scope, for about timeout_usec at most for each of the two steps. 0, or -errno
 * with a sentence in *ret_message (malloc'ed, may be NULL). -EOPNOTSUPP: built without libsystemd. */
int scope_enter(bool user_manager, const char *name, const char *description, usec_t timeout_usec,
		char **ret_message) _must_check_;

/* Is there somebody to ask? As above. */
int scope_check(bool user_manager, char **ret_message) _must_check_;

/* Has the service that this process is in Delegate=yes? 1, 0, or as above. */
int scope_service_is_delegated(bool user_manager, char **ret_message) _must_check_;

#endif
