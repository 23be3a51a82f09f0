/* SPDX-License-Identifier: MIT
 *
 * Eight bytes of text at a time in one register, without a branch for each. Flags are 0x01 in the byte they stand for,
 * and a product with EACH_BYTE adds up every byte's flag and those of the bytes before it.
 */
#ifndef CHARGEHAND_FAKTORY_EIGHT_H
#define CHARGEHAND_FAKTORY_EIGHT_H

#include <stdbool.h>
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

/* Which is the first quote or backslash; 8: none. In half the steps of eight_equal(), for a borrow from the byte that
 * is equal flags only bytes behind it. */
static inline unsigned eight_find_mark(uint64_t bytes)
{
	uint64_t quote = bytes ^ EACH_BYTE * '"', backslash = bytes ^ EACH_BYTE * '\\';
	uint64_t hits = ((quote - EACH_BYTE) & ~quote) | ((backslash - EACH_BYTE) & ~backslash);

	hits &= EACH_BYTE << 7;
	return hits ? (unsigned)__builtin_ctzll(hits) / 8 : 8;
}

/* Whether each is from ' ' to '~', no quote and no backslash: in a JSON string it stands for itself. A byte that is not
 * shows in its highest bit; and what it borrows from the next, or carries into it, can only make that one look so too.
 */
static inline bool eight_are_plain(uint64_t bytes)
{
	uint64_t past_tilde = bytes | (bytes + EACH_BYTE), below_space = bytes - EACH_BYTE * ' ';
	uint64_t quote = (bytes ^ EACH_BYTE * '"') - EACH_BYTE, backslash = (bytes ^ EACH_BYTE * '\\') - EACH_BYTE;

	return ((past_tilde | below_space | quote | backslash) & EACH_BYTE << 7) == 0;
}

#endif
