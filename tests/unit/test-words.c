/* SPDX-License-Identifier: MIT
 *
 * The command of the configuration file: what is split how, and what is refused.
 */
#include "config/words.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

struct row {
	const char *text;
	const char *words; /* each ended by '|'; NULL: refused */
};

static const struct row rows[] = {
	{"worker", "worker|"},
	{"  bundle \t exec  faktory-worker ", "bundle|exec|faktory-worker|"},
	{"a 'b c' d", "a|b c|d|"},
	{"a 'b'\"c\"d", "a|bcd|"},
	{"a '' \"\" b", "a|||b|"},
	{"a '\\ \" $x `y` *'", "a|\\ \" $x `y` *|"},
	{"a \"it's; & |\"", "a|it's; & ||"},
	{"a \"\\\" \\\\ \\$ \\` \\n\"", "a|\" \\ $ ` \\n|"},
	{"a\\ b c\\;", "a b|c;|"},
	{"a \\'b", "a|'b|"},
	{"./run --queue=q1,q2 -c 5 @x %y a=b c#d e~", "./run|--queue=q1,q2|-c|5|@x|%y|a=b|c#d|e~|"},
	{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f|"},
	{"a ''", "a||"},
	{"", NULL},
	{"   ", NULL},
	{"''", NULL},
	{"a 'b", NULL},
	{"a \"b", NULL},
	{"a \"b\\\"", NULL},
	{"a \\", NULL},
	{"a $HOME", NULL},
	{"a \"$HOME\"", NULL},
	{"a `b`", NULL},
	{"a \"`b`\"", NULL},
	{"a | b", NULL},
	{"a && b", NULL},
	{"a; b", NULL},
	{"a > f", NULL},
	{"a < f", NULL},
	{"(a)", NULL},
	{"a *.c", NULL},
	{"a {b,c}", NULL},
	{"a [b]", NULL},
	{"a b?", NULL},
	{"a !b", NULL},
	{"a # b", NULL},
	{"a ~/b", NULL},
};

Test(words, are_split_as_a_shell_would_or_refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char **words = NULL, joined[256] = "";
		const char *error = NULL;
		int r = words_split(rows[i].text, &words, &error);
		if (!rows[i].words) {
			cr_assert(eq(int, r, -EINVAL), "%s", rows[i].text);
			cr_assert(all(ne(ptr, (void *)error, NULL), eq(ptr, words, NULL)), "%s", rows[i].text);
			continue;
		}
		cr_assert(eq(int, r, 0), "%s: %s", rows[i].text, error);
		cr_assert(eq(ptr, (void *)error, NULL), "%s", rows[i].text);
		for (char **w = words; *w; w++)
			strcat(strcat(joined, *w), "|");
		cr_assert(eq(str, joined, (char *)rows[i].words), "%s", rows[i].text);
		free(words);
	}
}
