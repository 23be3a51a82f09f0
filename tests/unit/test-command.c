/* SPDX-License-Identifier: MIT */
#include "faktory/command.h"

#include "split.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

struct row {
	char line[64];
	enum verb verb;
	char args[64];
};

static struct row rows[] = {
	{"HELLO {\"v\":2}\r\n", VERB_HELLO, "{\"v\":2}"},
	{"FETCH default\n", VERB_FETCH, "default"},
	{"FETCH a b  c\r\n", VERB_FETCH, "a b  c"},
	{"FETCH\r\n", VERB_FETCH, ""},
	{"FETCH \r\n", VERB_FETCH, ""},
	{"ACK {\"jid\":\"x\"}\n", VERB_ACK, "{\"jid\":\"x\"}"},
	{"ACK  {}\n", VERB_ACK, " {}"},
	{"FAIL {}\r\n", VERB_FAIL, "{}"},
	{"BEAT {}\r\n", VERB_BEAT, "{}"},
	{"PUSH {}\r\n", VERB_PUSH, "{}"},
	{"PUSHB []\r\n", VERB_PUSHB, "[]"},
	{"PUSHBX []\r\n", VERB_OTHER, "[]"},
	{"END\n", VERB_END, ""},
	{"END\r\n", VERB_END, ""},
	{"END now\r\n", VERB_END, "now"},
	{"end\r\n", VERB_OTHER, ""},
	{"END\r\r\n", VERB_OTHER, ""}, /* the server takes one "\r" off, no more */
	{"END\t\n", VERB_OTHER, ""},
	{"INFO\r\n", VERB_OTHER, ""},
	{"HELLO{}\r\n", VERB_OTHER, ""},
	{"TRACK SET {}\r\n", VERB_OTHER, "SET {}"},
	{"MUTATE {\"cmd\":\"x\"}\r\n", VERB_OTHER, "{\"cmd\":\"x\"}"},
	{"\n", VERB_OTHER, ""},
	{"\r\n", VERB_OTHER, ""},
	{" FETCH a\n", VERB_OTHER, "FETCH a"},
	{"other x\n", VERB_OTHER, "x"},
	{"FETCH a\rb\n", VERB_FETCH, "a\rb"},
};

ParameterizedTestParameters(command, lines)
{
	return cr_make_param_array(struct row, rows, ARRAY_SIZE(rows));
}

ParameterizedTest(struct row *r, command, lines)
{
	size_t bytes = strlen(r->line);
	struct command c;

	/* With more behind it, which is not touched. */
	char stream[80];
	strcpy(stream, r->line);
	strcat(stream, "ACK {}\r\n");
	cr_assert(command_next(stream, strlen(stream), &c), "%s", r->line);
	cr_assert_eq(c.line, stream);
	cr_assert_eq(c.line_bytes, bytes);
	cr_assert_eq(c.verb, r->verb, "%s is %s", r->line, verb_to_string(c.verb));
	cr_assert_eq(c.args_bytes, strlen(r->args), "%s", r->line);
	cr_assert_eq(memcmp(c.args, r->args, c.args_bytes), 0, "%s", r->line);

	for (size_t n = 0; n < bytes; n++) {
		char *copy = split_copy(r->line, n);
		cr_assert_not(command_next(copy, n, &c), "%s at %zu", r->line, n);
		/* What is known from the beginning of a line is never taken back. */
		enum verb early = command_verb(copy, n);
		cr_assert(early == VERB_OTHER || early == r->verb, "%s at %zu", r->line, n);
		if (n >= VERB_BYTES_MAX)
			cr_assert_eq(early, r->verb, "%s at %zu", r->line, n);
		free(copy);
	}
	cr_assert_eq(command_verb(r->line, bytes), r->verb, "%s", r->line);
}

Test(command, nothing_is_no_line)
{
	struct command c;

	cr_assert_not(command_next("", 0, &c));
	cr_assert_eq(command_verb("", 0), VERB_OTHER);
}

Test(command, pipelined_lines_come_one_by_one)
{
	static const char stream[] = "FETCH a\nACK {\"jid\":\"1\"}\r\nEND\n";
	static const enum verb expected[] = {VERB_FETCH, VERB_ACK, VERB_END};
	const char *p = stream;
	size_t left = STRLEN("FETCH a\nACK {\"jid\":\"1\"}\r\nEND\n");
	struct command c;
	unsigned n = 0;

	for (; command_next(p, left, &c); n++) {
		cr_assert_lt(n, ARRAY_SIZE(expected));
		cr_assert_eq(c.verb, expected[n]);
		p += c.line_bytes;
		left -= c.line_bytes;
	}
	cr_assert_eq(n, ARRAY_SIZE(expected));
	cr_assert_eq(left, 0);
}

Test(command, every_verb_has_its_name)
{
	cr_assert_str_eq(verb_to_string(VERB_OTHER), "other");
	cr_assert_str_eq(verb_to_string(_VERB_MAX), "invalid");
	for (int v = VERB_OTHER + 1; v < _VERB_MAX; v++) {
		const char *name = verb_to_string((enum verb)v);
		char line[16];

		/* with its line end it still decides within VERB_BYTES_MAX */
		cr_assert_leq(strlen(name) + 2, VERB_BYTES_MAX);
		strcpy(line, name);
		strcat(line, " x\n");
		cr_assert_eq(command_verb(line, strlen(line)), (enum verb)v);
	}
}
