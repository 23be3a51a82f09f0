/* SPDX-License-Identifier: MIT
 *
 * What a program is called, and where its state is kept when nobody says so. Pure.
 */
#ifndef CHARGEHAND_CONFIG_NAME_H
#define CHARGEHAND_CONFIG_NAME_H

#include "base/macro.h"
#include "config/config.h"
#include <stdbool.h>
#include <sys/types.h>

/* 1 to CONFIG_NAME_MAX letters, digits, '-', '_' and '.', the first a letter or digit: safe as a directory's name. */
bool config_name_is_valid(const char *name);

/* The base name of a command with other characters made '-', cut to fit; "worker" where nothing is left. malloc'ed;
 * NULL without memory. */
char *config_name_from_command(const char *command);

/* Everybody's command is `bundle` or `node`: so a default directory is told apart by a hash of the server's host and
 * port, working directory and command as well (hazards 41). *ret is malloc'ed, and NULL with result 0 where the
 * environment names no place. -ENOMEM. c->name and c->command are set. */
int config_default_state_dir(const struct config *c, uid_t uid, const char *working_directory, char *const *envp,
			     char **ret) _must_check_;

#endif
