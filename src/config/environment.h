/* SPDX-License-Identifier: MIT
 *
 * A worker's environment: chargehand's own, with the server's address replaced by the worker's listener, the worker's
 * mark, and without what systemd said to chargehand alone (hazards 42). Pure.
 */
#ifndef CHARGEHAND_CONFIG_ENVIRONMENT_H
#define CHARGEHAND_CONFIG_ENVIRONMENT_H

#include "base/macro.h"
#include "config/config.h"
#include <stdint.h>

#define ENVIRONMENT_MARK "CHARGEHAND_WORKER"

/* FAKTORY_URL, and the variable that FAKTORY_PROVIDER names, become tcp://127.0.0.1:PORT and the path of the server's
 * URL; FAKTORY_PROVIDER stays; CHARGEHAND_WORKER is set to mark. *ret is one allocation, for free(3), and borrows the
 * unchanged strings of envp. -ENOMEM. */
int environment_for_worker(char *const *envp, const struct config *c, uint16_t port, const char *mark,
			   char ***ret) _must_check_;

/* The value of a variable, or NULL when it is unset. */
const char *environment_get(char *const *envp, const char *name);

#endif
