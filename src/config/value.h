/* SPDX-License-Identifier: MIT
 *
 * Reads the value of each option, checks it, and puts it into the configuration: what option_row.set points at. For
 * option.c alone.
 *
 * 0; -EINVAL, with *why set where it can be told better than by the row's `expected`; -ENOMEM. c is unchanged on
 * failure.
 */
#ifndef CHARGEHAND_CONFIG_VALUE_H
#define CHARGEHAND_CONFIG_VALUE_H

#include "config/config.h"

int value_set_server(struct config *c, const char *value, const char **why);
int value_set_name(struct config *c, const char *value, const char **why);
int value_set_instances(struct config *c, const char *value, const char **why);
int value_set_restart(struct config *c, const char *value, const char **why);
int value_set_stop_target(struct config *c, const char *value, const char **why);
int value_set_stop_grace(struct config *c, const char *value, const char **why);
int value_set_healthy(struct config *c, const char *value, const char **why);
int value_set_linger(struct config *c, const char *value, const char **why);
int value_set_memory_max(struct config *c, const char *value, const char **why);
int value_set_memory_high(struct config *c, const char *value, const char **why);
int value_set_swap_max(struct config *c, const char *value, const char **why);
int value_set_pids_max(struct config *c, const char *value, const char **why);
int value_set_cpu_max(struct config *c, const char *value, const char **why);
int value_set_oom_group(struct config *c, const char *value, const char **why);
int value_set_cgroup(struct config *c, const char *value, const char **why);
int value_set_state_dir(struct config *c, const char *value, const char **why);
int value_set_journal_sync(struct config *c, const char *value, const char **why);
int value_set_keep_body(struct config *c, const char *value, const char **why);
int value_set_log_level(struct config *c, const char *value, const char **why);

#endif
