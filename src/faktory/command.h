/* SPDX-License-Identifier: MIT
 *
 * What a worker sends: lines, ended by "\n" or "\r\n", of any length (faktory-clients: rules 31-33). The verb is
 * everything before the first space, and is case-sensitive (server.go, parseCommand).
 *
 * Pure: takes bytes, gives views into them.
 */
#ifndef CHARGEHAND_FAKTORY_COMMAND_H
#define CHARGEHAND_FAKTORY_COMMAND_H

#include "base/macro.h"
#include <stdbool.h>
#include <stddef.h>

enum verb {
	VERB_OTHER, /* unknown and Enterprise verbs: passed untouched */
	VERB_HELLO,
	VERB_FETCH,
	VERB_ACK,
	VERB_FAIL,
	VERB_BEAT,
	VERB_PUSH,
	VERB_PUSHB,
	VERB_END,
	_VERB_MAX,
};

const char *verb_to_string(enum verb verb);

/* No verb that chargehand knows is longer: this many bytes of a line decide. */
#define VERB_BYTES_MAX 8

struct command {
	enum verb verb;
	const char *line; /* with its line end */
	size_t line_bytes;
	const char *args; /* after the verb and one space, without line end; args_bytes may be 0 */
	size_t args_bytes;
};

/* The verb of a line that may still be incomplete: needs VERB_BYTES_MAX bytes or the line end. */
enum verb command_verb(const char *line, size_t bytes);

/* Splits off the first line of bytes. True and *ret filled when it is complete; false when no "\n" is there. */
bool command_next(const char *p, size_t bytes, struct command *ret);

#endif
