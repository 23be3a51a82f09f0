/* SPDX-License-Identifier: MIT
 *
 * chargehand --check: what works here and what does not, one line each, on standard output. Starts nothing.
 */
#ifndef CHARGEHAND_SUPERVISE_CHECK_H
#define CHARGEHAND_SUPERVISE_CHECK_H

#include "base/macro.h"
#include "config/config.h"
#include "supervise/supervisor.h"
#include <stdio.h>

/* Returns 0 when chargehand would start and reach the server, else the exit status of the first thing that is wrong.
 * What is merely missing (a cgroup, a look-up of peers) is told and costs nothing. */
int check_run(const struct config *config, const struct supervisor_start *start, FILE *out) _must_check_;

#endif
