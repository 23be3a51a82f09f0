/* SPDX-License-Identifier: MIT
 *
 * A ring of bytes; lines are looked for only when they are asked for, which is once in a worker's life.
 */
#include "process/tail.h"

#include <string.h>

void tail_append(struct tail *t, const char *p, size_t bytes)
{
	if (bytes == 0)
		return;
	if (!t->ring) {
		/* For want of memory the backtrace is shorter; nothing else depends on it. */
		t->ring = malloc(TAIL_BYTES);
		if (!t->ring)
			return;
	}
	t->total += bytes;
	if (bytes > TAIL_BYTES) {
		p += bytes - TAIL_BYTES;
		bytes = TAIL_BYTES;
	}
	size_t first = MIN(bytes, TAIL_BYTES - t->end);
	memcpy(t->ring + t->end, p, first);
	memcpy(t->ring, p + first, bytes - first);
	t->end = (t->end + bytes) % TAIL_BYTES;
}

void tail_done(struct tail *t)
{
	free(t->ring);
	*t = (struct tail){.ring = NULL};
}

/* Ends the line that begins at p, and returns its length: without CR, and without NUL, which a string cannot hold. */
static size_t close_line(char *p, size_t bytes)
{
	if (bytes > 0 && p[bytes - 1] == '\r')
		bytes--;
	for (char *nul = p; (nul = memchr(nul, 0, bytes - (size_t)(nul - p)));)
		*nul = '?';
	p[bytes] = 0;
	return bytes;
}

int tail_lines(const struct tail *t, const char *ret_lines[FAIL_BACKTRACE_MAX], char **ret_buffer)
{
	size_t bytes = (size_t)MIN(t->total, (uint64_t)TAIL_BYTES);
	_cleanup_free_ char *buffer = NULL;
	int n = 0;

	*ret_buffer = NULL;
	if (!t->ring || bytes == 0)
		return 0;
	buffer = malloc(bytes + 1);
	if (!buffer)
		return -ENOMEM;
	size_t start = t->total > TAIL_BYTES ? t->end : 0;
	memcpy(buffer, t->ring + start, bytes - start);
	memcpy(buffer + bytes - start, t->ring, start);

	char *from = buffer, *to = buffer + bytes;
	if (t->total > TAIL_BYTES) {
		char *line_end = memchr(from, '\n', bytes);
		if (line_end && line_end + 1 < to)
			from = line_end + 1;
	}

	/* Backwards, since only the last lines are wanted. */
	if (to[-1] == '\n')
		to--;
	while (n < FAIL_BACKTRACE_MAX) {
		char *line_end = memrchr(from, '\n', (size_t)(to - from));
		char *line = line_end ? line_end + 1 : from;
		if (close_line(line, (size_t)(to - line)) > 0)
			ret_lines[n++] = line;
		if (!line_end)
			break;
		to = line_end;
	}
	for (int i = 0; i < n / 2; i++) {
		const char *line = ret_lines[i];
		ret_lines[i] = ret_lines[n - 1 - i];
		ret_lines[n - 1 - i] = line;
	}
	if (n > 0)
		*ret_buffer = TAKE_PTR(buffer);
	return n;
}
