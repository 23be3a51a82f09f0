/* SPDX-License-Identifier: MIT
 *
 * XXH64 as its specification words it: four lanes of 32 bytes a round, then what is left in pieces of 8, 4 and 1.
 */
#include "ledger/checksum.h"

#include <endian.h>
#include <string.h>

#define PRIME_1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME_3 UINT64_C(0x165667B19E3779F9)
#define PRIME_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME_5 UINT64_C(0x27D4EB2F165667C5)

/* Sums and products wrap: that is what the specification asks for. */
#if defined(__clang__)
#define _wraps_ __attribute__((no_sanitize("integer")))
#else
#define _wraps_
#endif

static uint64_t rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static uint64_t load_64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint32_t load_32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

_wraps_ static uint64_t mix(uint64_t lane, uint64_t input)
{
	return rotate(lane + input * PRIME_2, 31) * PRIME_1;
}

_wraps_ static uint64_t merge(uint64_t h, uint64_t lane)
{
	return (h ^ mix(0, lane)) * PRIME_1 + PRIME_4;
}

_wraps_ uint64_t checksum(const void *data, size_t bytes, uint64_t seed)
{
	const unsigned char *p = data, *end = p + bytes;
	uint64_t h = seed + PRIME_5;

	if (bytes >= 32) {
		uint64_t a = seed + PRIME_1 + PRIME_2, b = seed + PRIME_2, c = seed, d = seed - PRIME_1;

		for (; end - p >= 32; p += 32) {
			a = mix(a, load_64(p));
			b = mix(b, load_64(p + 8));
			c = mix(c, load_64(p + 16));
			d = mix(d, load_64(p + 24));
		}
		h = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
		h = merge(merge(merge(merge(h, a), b), c), d);
	}
	h += bytes;
	for (; end - p >= 8; p += 8)
		h = rotate(h ^ mix(0, load_64(p)), 27) * PRIME_1 + PRIME_4;
	if (end - p >= 4) {
		h = rotate(h ^ load_32(p) * PRIME_1, 23) * PRIME_2 + PRIME_3;
		p += 4;
	}
	for (; p < end; p++)
		h = rotate(h ^ *p * PRIME_5, 11) * PRIME_1;
	h = (h ^ h >> 33) * PRIME_2;
	h = (h ^ h >> 29) * PRIME_3;
	return h ^ h >> 32;
}
