/* SPDX-License-Identifier: MIT
 *
 * Splits what a worker sends into lines, verb and argument, by the server's own rules: a line ends with "\n", a "\r"
 * right before it belongs to the end, and the verb ends at the first space. Copies nothing and judges no argument.
 */
#include "faktory/command.h"

#include <assert.h>
#include <string.h>

#define VERB(text)                                                                                                     \
	{                                                                                                              \
		.name = text, .bytes = STRLEN(text)                                                                    \
	}

static const struct {
	char name[VERB_BYTES_MAX];
	size_t bytes;
} verbs[] = {
	[VERB_OTHER] = VERB("other"), [VERB_HELLO] = VERB("HELLO"), [VERB_FETCH] = VERB("FETCH"),
	[VERB_ACK] = VERB("ACK"),     [VERB_FAIL] = VERB("FAIL"),   [VERB_BEAT] = VERB("BEAT"),
	[VERB_PUSH] = VERB("PUSH"),   [VERB_PUSHB] = VERB("PUSHB"), [VERB_END] = VERB("END"),
};
static_assert(ARRAY_SIZE(verbs) == _VERB_MAX, "every verb has a name");

const char *verb_to_string(enum verb verb)
{
	return (unsigned)verb < _VERB_MAX ? verbs[verb].name : "invalid";
}

/* The verb of exactly these bytes. */
static enum verb verb_from_bytes(const char *p, size_t bytes)
{
	for (unsigned v = VERB_OTHER + 1; v < _VERB_MAX; v++)
		if (verbs[v].bytes == bytes && verbs[v].name[0] == *p && memcmp(verbs[v].name, p, bytes) == 0)
			return (enum verb)v;
	return VERB_OTHER;
}

enum verb command_verb(const char *line, size_t bytes)
{
	size_t seen = MIN(bytes, (size_t)VERB_BYTES_MAX);

	for (size_t i = 0; i < seen; i++) {
		if (line[i] == ' ')
			return verb_from_bytes(line, i);
		if (line[i] == '\n')
			return verb_from_bytes(line, i > 0 && line[i - 1] == '\r' ? i - 1 : i);
	}
	return VERB_OTHER;
}

bool command_next(const char *p, size_t bytes, struct command *ret)
{
	const char *newline, *end, *space;

	newline = bytes > 0 ? memchr(p, '\n', bytes) : NULL;
	if (!newline)
		return false;
	end = newline > p && newline[-1] == '\r' ? newline - 1 : newline;
	space = end > p ? memchr(p, ' ', (size_t)(end - p)) : NULL;

	*ret = (struct command){
		.verb = verb_from_bytes(p, (size_t)((space ? space : end) - p)),
		.line = p,
		.line_bytes = (size_t)(newline + 1 - p),
		.args = space ? space + 1 : end,
		.args_bytes = space ? (size_t)(end - space - 1) : 0,
	};
	return true;
}
