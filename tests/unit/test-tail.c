/* SPDX-License-Identifier: MIT
 *
 * The ring against a plain string, however the bytes come.
 */
#include "process/tail.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

TestSuite(tail);

static struct tail tail;
static const char *lines[FAIL_BACKTRACE_MAX];
static char *buffer;

static void take(int want)
{
	cr_assert(eq(int, tail_lines(&tail, lines, &buffer), want));
}

static void expect_line(int i, const char *want)
{
	cr_expect(eq(str, (char *)lines[i], (char *)want), "line %d", i);
}

static void drop(void)
{
	free(buffer);
	buffer = NULL;
	tail_done(&tail);
}

static void append(const char *s)
{
	tail_append(&tail, s, strlen(s));
}

Test(tail, silence_costs_nothing)
{
	buffer = (char *)1;
	append("");
	cr_expect(eq(ptr, tail.ring, NULL));
	take(0);
	cr_expect(eq(ptr, buffer, NULL));
	tail_done(&tail);
}

Test(tail, lines_come_oldest_first)
{
	append("one\ntw");
	append("o\n\n\r\nthree\r\n");
	append("unfinished");
	take(4);
	expect_line(0, "one");
	expect_line(1, "two");
	expect_line(2, "three");
	expect_line(3, "unfinished");
	drop();
}

Test(tail, nothing_but_line_ends_is_nothing)
{
	append("\n\n\r\n\n");
	take(0);
	cr_expect(eq(ptr, buffer, NULL));
	drop();
}

Test(tail, a_nul_does_not_cut_a_line)
{
	tail_append(&tail, "a\0b\0\nc\n", 7);
	take(2);
	expect_line(0, "a?b?");
	expect_line(1, "c");
	drop();
}

Test(tail, the_last_fifty_are_kept)
{
	char line[32];

	for (int i = 0; i < 120; i++) {
		(void)snprintf(line, sizeof(line), "line %d\n", i);
		append(line);
	}
	take(FAIL_BACKTRACE_MAX);
	expect_line(0, "line 70");
	expect_line(49, "line 119");
	drop();
}

Test(tail, a_first_line_that_was_cut_does_not_count)
{
	char *long_text = malloc(TAIL_BYTES);

	memset(long_text, 'x', TAIL_BYTES);
	tail_append(&tail, long_text, TAIL_BYTES);
	append("y\nlast\n");
	take(1);
	expect_line(0, "last");
	drop();

	/* unless there is no other */
	tail_append(&tail, long_text, TAIL_BYTES);
	append("y\n");
	take(1);
	cr_expect(eq(sz, strlen(lines[0]), TAIL_BYTES - 1));
	cr_expect(eq(chr, lines[0][TAIL_BYTES - 2], 'y'));
	drop();

	/* One that just fits was not. */
	long_text[TAIL_BYTES - 3] = '\n';
	long_text[TAIL_BYTES - 1] = '\n';
	tail_append(&tail, long_text, TAIL_BYTES);
	take(2);
	cr_expect(eq(sz, strlen(lines[0]), TAIL_BYTES - 3));
	expect_line(1, "x");
	drop();
	free(long_text);
}

static uint32_t seed = 1;

static uint32_t next_random(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

/* What tail_lines() should find in all that was ever written. */
static int lines_of(char *text, size_t bytes, const char *want[])
{
	static const char *all[TAIL_BYTES];
	size_t start = bytes > TAIL_BYTES ? bytes - TAIL_BYTES : 0;
	int n = 0, taken = 0;

	text[bytes] = 0;
	if (start > 0) {
		char *line_end = strchr(text + start, '\n');
		if (line_end && line_end[1])
			start = (size_t)(line_end + 1 - text);
	}
	for (char *line = strtok(text + start, "\n"); line; line = strtok(NULL, "\n"))
		all[n++] = line;
	for (int i = n > FAIL_BACKTRACE_MAX ? n - FAIL_BACKTRACE_MAX : 0; i < n; i++)
		want[taken++] = all[i];
	return taken;
}

Test(tail, any_split_of_any_text_gives_the_same_lines)
{
	static char text[40001], copy[40001];
	const char *want[FAIL_BACKTRACE_MAX];

	for (int trial = 0; trial < 300; trial++) {
		size_t bytes = 1 + next_random(trial % 3 ? 200 : 40000);
		uint32_t line_every = 1 + next_random(trial % 5 ? 12 : 600);
		for (size_t i = 0; i < bytes; i++)
			text[i] = next_random(line_every + 1) ? (char)('a' + next_random(26)) : '\n';
		for (size_t at = 0; at < bytes;) {
			size_t piece = 1 + next_random(trial % 2 ? 20 : 20000);
			piece = MIN(piece, bytes - at);
			tail_append(&tail, text + at, piece);
			at += piece;
		}
		memcpy(copy, text, bytes);
		int n = lines_of(copy, bytes, want);
		take(n);
		for (int i = 0; i < n; i++)
			cr_assert(eq(str, (char *)lines[i], (char *)want[i]), "trial %d, line %d of %d", trial, i, n);
		drop();
	}
}
