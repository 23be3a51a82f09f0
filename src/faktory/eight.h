/* SPDX-License-Identifier: MIT
 *
 * Eight bytes of text at a time in one register, without a branch for each. Flags are 0x01 in the byte they stand for,
 * and a product with EACH_BYTE adds up every byte's flag and those of the bytes before it.
 */
#ifndef CHARGEHAND_FAKTORY_EIGHT_H
#define CHARGEHAND_FAKTORY_EIGHT_H

#include <stdint.h>
#include <string.h>

#define EACH_BYTE UINT64_C(0x0101010101010101)

/* The first byte in memory is the lowest. */
static inline uint64_t eight_load(const char *p)
{
	uint64_t bytes;

	memcpy(&bytes, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	bytes = __builtin_bswap64(bytes);
#endif
	return bytes;
}

static inline uint64_t eight_equal(uint64_t bytes, unsigned char c)
{
	uint64_t x = bytes ^ (EACH_BYTE * c);

	return ~(((x & (EACH_BYTE * 0x7f)) + EACH_BYTE * 0x7f) | x) >> 7 & EACH_BYTE;
}

/* Like eight_equal() as far as the first byte that is equal, for half the steps: behind it others may be flagged as
 * well. Flags are 0x80. */
static inline uint64_t eight_first(uint64_t bytes, unsigned char c)
{
	uint64_t x = bytes ^ (EACH_BYTE * c);

	return (x - EACH_BYTE) & ~x & EACH_BYTE * 0x80;
}

#endif
