/* SPDX-License-Identifier: MIT
 *
 * Passes over JSON that nobody looks into, as fast as it can be done in plain C: a string to its closing quote, a value
 * to its closing bracket. Brackets are counted and not matched by kind; nothing is validated. Can stop after any byte.
 */
#ifndef CHARGEHAND_FAKTORY_CROSS_H
#define CHARGEHAND_FAKTORY_CROSS_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>

/* Go's decoder gives up at this depth, and so the server has never stored a job that is nested deeper. */
#define CROSS_DEPTH_MAX 10000

/* All zero is the beginning of a string; with depth 1 it is the inside of an object or array. */
struct cross {
	uint32_t depth;
	bool in_string;
	bool escape;   /* the byte behind a backslash is still to come */
	bool too_deep; /* given up */
};

/* From anywhere inside a string. Returns its closing quote, or end. */
const char *cross_string(const char *p, const char *end, struct cross *c);

/* From anywhere inside an object or array. Returns what is behind its closing bracket, with depth 0, or end. */
const char *cross_value(const char *p, const char *end, struct cross *c);

#endif
