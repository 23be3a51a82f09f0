/* SPDX-License-Identifier: MIT
 *
 * The last bytes of a worker's stderr, in a ring of fixed size, and the last lines out of it for a backtrace. Pure.
 */
#ifndef CHARGEHAND_PROCESS_TAIL_H
#define CHARGEHAND_PROCESS_TAIL_H

#include "base/macro.h"
#include "faktory/fail.h"
#include <stddef.h>
#include <stdint.h>

/* 50 lines of 160 bytes; allocated when the first byte comes, so a silent worker costs nothing. */
#define TAIL_BYTES 8192

struct tail {
	char *ring; /* NULL until the first byte */
	size_t end; /* where the next byte goes */
	uint64_t total;
};

void tail_append(struct tail *t, const char *p, size_t bytes);
void tail_done(struct tail *t);

/* The last lines, oldest first, at most FAIL_BACKTRACE_MAX. An unfinished last line counts, a first one that was cut
 * by the ring's end does not (unless it is the only one). Empty lines are left out. ret_lines point into *ret_buffer,
 * which is malloc'ed and the caller's (NULL when there are none). Returns the number of lines or -ENOMEM. */
int tail_lines(const struct tail *t, const char *ret_lines[FAIL_BACKTRACE_MAX], char **ret_buffer) _must_check_;

#endif
