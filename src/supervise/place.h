/* SPDX-License-Identifier: MIT
 *
 * Where workers' cgroups go, between configuration and process/subtree.h; and in words, for the log and --check.
 */
#ifndef CHARGEHAND_SUPERVISE_PLACE_H
#define CHARGEHAND_SUPERVISE_PLACE_H

#include "config/config.h"
#include "process/subtree.h"

#define PLACE_TEXT_MAX 1024

/* As subtree_open(). look_only: for --check. */
int place_open(const struct config *config, bool look_only, struct subtree **ret, char **ret_message) _must_check_;

/* "cgroups below /sys/fs/cgroup/... (unit)", "no cgroups: ...". Returns buffer. */
char *place_show(const struct subtree *s, char buffer[PLACE_TEXT_MAX]);

#endif
