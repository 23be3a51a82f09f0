/* SPDX-License-Identifier: MIT
 *
 * For the parsers' tests: hands the same bytes over whole, byte by byte, and in pieces of random lengths. Each piece is
 * a copy of its own size on the heap, so that a sanitizer sees a parser that reads beyond it.
 */
#ifndef CHARGEHAND_TESTS_SPLIT_H
#define CHARGEHAND_TESTS_SPLIT_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SPLIT_WHOLE 0
#define SPLIT_BYTES 1
#define SPLIT_ROUNDS 40 /* every round from 2 on is a seed */

struct split {
	unsigned round;
	uint64_t state;
};

static inline void split_init(struct split *s, unsigned round)
{
	s->round = round;
	s->state = 0x9e3779b97f4a7c15u * (round + 1);
}

static inline uint64_t split_random(struct split *s)
{
	s->state ^= s->state << 13;
	s->state ^= s->state >> 7;
	s->state ^= s->state << 17;
	return s->state;
}

/* How many of the bytes that are left come next. */
static inline size_t split_next(struct split *s, size_t left)
{
	size_t n;

	if (s->round == SPLIT_WHOLE)
		return left;
	n = s->round == SPLIT_BYTES ? 1 : 1 + (size_t)(split_random(s) % (s->round % 2 ? 7 : 40));
	return n < left ? n : left;
}

static inline char *split_copy(const char *p, size_t bytes)
{
	char *copy = malloc(bytes ? bytes : 1);

	if (!copy)
		abort();
	memcpy(copy, p, bytes);
	return copy;
}

#endif
