/* SPDX-License-Identifier: MIT
 *
 * What a worker sends. Every line must come out whole and in order, whatever the beginning of it was guessed to be.
 */
#include "faktory/command.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *end = p + size;
	struct command c;

	while (command_next(p, (size_t)(end - p), &c)) {
		CHECK(c.line == p && c.line_bytes > 0 && c.line_bytes <= (size_t)(end - p));
		CHECK(p[c.line_bytes - 1] == '\n');
		CHECK(!memchr(p, '\n', c.line_bytes - 1));
		CHECK(c.args >= p && c.args + c.args_bytes < p + c.line_bytes);
		CHECK(verb_to_string(c.verb) && (unsigned)c.verb < _VERB_MAX);

		/* A line that is still incomplete has the verb it will have, or none yet. */
		for (size_t n = 0; n <= c.line_bytes && n <= 2 * VERB_BYTES_MAX; n++) {
			enum verb early = command_verb(p, n);
			CHECK(early == c.verb || early == VERB_OTHER);
			if (n >= VERB_BYTES_MAX || n == c.line_bytes)
				CHECK(early == c.verb);
		}
		/* One byte less is no line. */
		struct command none;
		CHECK(!command_next(p, c.line_bytes - 1, &none));
		p += c.line_bytes;
	}
	CHECK(!memchr(p, '\n', (size_t)(end - p)));
	return 0;
}
