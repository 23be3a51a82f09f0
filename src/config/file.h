/* SPDX-License-Identifier: MIT
 *
 * The configuration file: [chargehand] and one [program NAME], the option table's rows as keys.
 */
#ifndef CHARGEHAND_CONFIG_FILE_H
#define CHARGEHAND_CONFIG_FILE_H

#include "base/macro.h"
#include "config/config.h"
#include <stdbool.h>

#define CONFIG_FILE_BYTES_MAX (1024 * 1024)

struct config_file_found {
	bool server, name, command; /* which of these the file has set */
};

/* Sets in *c what the file at path says. -EINVAL with *ret_message, "FILE:LINE: KEY: "VALUE": ..." (malloc'ed), for
 * anything that is not right, a file that cannot be read included; -ENOMEM. */
int config_file_read(const char *path, struct config *c, struct config_file_found *ret_found,
		     char **ret_message) _must_check_;

/* The same for a text in memory; path only names it. */
int config_file_parse(const char *path, const char *text, struct config *c, struct config_file_found *ret_found,
		      char **ret_message) _must_check_;

#endif
