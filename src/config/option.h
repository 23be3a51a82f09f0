/* SPDX-License-Identifier: MIT
 *
 * The one table of options. The command line, the configuration file, --help, the defaults and the test that compares
 * manual and sample with all of them are made from it; nothing else knows an option's name.
 */
#ifndef CHARGEHAND_CONFIG_OPTION_H
#define CHARGEHAND_CONFIG_OPTION_H

#include "base/macro.h"
#include "config/config.h"
#include <stddef.h>

enum option_scope {
	OPTION_COMMAND_LINE, /* no key of the file */
	OPTION_SUPERVISOR,   /* [chargehand] */
	OPTION_PROGRAM,      /* [program NAME] */
	OPTION_FILE_PROGRAM, /* [program NAME] only: no option */
};

struct option_row {
	const char *name;     /* "stop-grace": --stop-grace, and the key of the file */
	const char *argument; /* what --help calls the value; NULL when there is none */
	enum option_scope scope;
	const char *initial; /* the default, in the form in which it could be given; NULL when it is found otherwise */
	const char *initial_text; /* ... and then this says how */
	const char *help;         /* what it does; lines separated by "\n" */
	const char *expected;     /* what a right value looks like: ends an error message */
	bool secret;              /* the value is not repeated in messages */

	/* 0; -EINVAL, with *why set where it can be told better than by `expected`; -ENOMEM. NULL: the option is
	 * handled by whoever reads the source. */
	int (*set)(struct config *c, const char *value, const char **why);
};

/* In the order of --help and of the manual. */
extern const struct option_row option_table[];
extern const size_t option_table_rows;

/* NULL when there is none. */
const struct option_row *option_find(const char *name);

/* row->set(); -EINVAL makes *ret_message "NAME: "VALUE": EXPECTED" (malloc'ed), where NAME is prefix and the row's
 * name. */
int option_set(const struct option_row *row, struct config *c, const char *prefix, const char *value,
	       char **ret_message) _must_check_;

/* All of `chargehand --help`, malloc'ed. NULL without memory. */
char *option_help(void);

#endif
