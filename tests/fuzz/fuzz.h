/* SPDX-License-Identifier: MIT
 *
 * For the fuzz targets: a check that stays in every build, and pieces of a size that the input's first byte decides.
 */
#ifndef CHARGEHAND_TESTS_FUZZ_H
#define CHARGEHAND_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                  \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

struct pieces {
	uint32_t state;
};

/* seed 0 gives single bytes, any other one pieces of 1 to 16. */
static inline size_t pieces_next(struct pieces *p, size_t left)
{
	size_t n = 1;

	if (p->state) {
		p->state = p->state * 1664525u + 1013904223u;
		if (!p->state)
			p->state = 1;
		n = 1 + (p->state >> 28);
	}
	return n < left ? n : left;
}

#endif
