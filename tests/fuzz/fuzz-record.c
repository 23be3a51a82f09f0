/* SPDX-License-Identifier: MIT
 *
 * Bytes as a file of the journal: every record that is taken from them must encode to the same bytes again. The first
 * byte decides whether the records' checksums are made right first, for otherwise none would ever be taken.
 */
#include "ledger/record.h"

#include "fuzz.h"

#define SALT 0x5eed

static void check_round_trip(const struct record *r, const char *p, size_t bytes)
{
	char *again;

	CHECK(bytes >= RECORD_HEAD_BYTES && bytes % 8 == 0);
	if (record_bytes(r) != bytes)
		abort();
	again = malloc(bytes);
	CHECK(again);
	record_encode(r, SALT, again);
	/* Flags without a meaning, and padding that is not zero, are not kept. */
	CHECK(memcmp(again, p, 7) == 0);
	struct record twice;
	size_t n;
	CHECK(record_decode(again, bytes, SALT, &twice, &n) == 0 && n == bytes && twice.type == r->type);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool seal;
	size_t at = 0, bytes, n;
	struct record r;
	uint32_t version, payload;
	uint64_t salt;
	char *p;

	if (size == 0)
		return 0;
	seal = *data & 1;
	size--;
	p = malloc(size + 1);
	CHECK(p);
	memcpy(p, data + 1, size);
	(void)!record_decode_preamble(p, size, &version, &salt);
	while (size - at >= RECORD_HEAD_BYTES) {
		memcpy(&payload, p + at, sizeof(payload));
		n = RECORD_HEAD_BYTES + (((size_t)payload + 7) & ~(size_t)7);
		if (seal && n <= size - at)
			record_seal(p + at, n, SALT);
		if (record_decode(p + at, size - at, SALT, &r, &bytes) < 0)
			at += 8;
		else {
			CHECK(bytes <= size - at);
			check_round_trip(&r, p + at, bytes);
			at += bytes;
		}
	}
	free(p);
	return 0;
}
