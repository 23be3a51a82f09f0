/* SPDX-License-Identifier: MIT
 *
 * Splits the `command` of the configuration file as a POSIX shell splits a simple command, without any expansion:
 * blanks separate; '…' takes everything; "…" takes everything but \" \\ \$ \`; \ takes the next character. A bare
 * character that would mean something else to a shell is refused, rather than given to the command as it is. Pure.
 */
#ifndef CHARGEHAND_CONFIG_WORDS_H
#define CHARGEHAND_CONFIG_WORDS_H

#include "base/macro.h"

/* *ret is one NULL-terminated allocation, for free(3). -EINVAL with *ret_error a static sentence; -ENOMEM. No words at
 * all are -EINVAL. */
int words_split(const char *text, char ***ret, const char **ret_error) _must_check_;

#endif
