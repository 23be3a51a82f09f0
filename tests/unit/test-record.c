/* SPDX-License-Identifier: MIT
 *
 * Every type of record there and back; cut at each byte; each byte flipped; other versions.
 */
#include "ledger/record.h"

#include "ledger/checksum.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define SALT UINT64_C(0x1234567890abcdef)
#define TEXT(s) ((struct record_text){.p = (s), .bytes = sizeof(s) - 1})

TestSuite(record, .timeout = 60);

static const struct record samples[] = {
	{.type = RECORD_HEADER, .header = {1, UINT64_MAX, TEXT("b0-0t"), TEXT("faktory.example:7419")}},
	{.type = RECORD_HEADER, .header = {0, 0, TEXT(""), TEXT("")}},
	{.type = RECORD_WORKER,
	 .worker = {.id = 7,
		    .pid = 4711,
		    .start_ticks = UINT64_MAX,
		    .name = TEXT("mail.1"),
		    .mark = TEXT("m"),
		    .cgroup = TEXT("/a")}},
	{.type = RECORD_WORKER,
	 .worker =
		 {.id = 1, .other_boot = true, .gone = true, .name = TEXT("x"), .mark = TEXT(""), .cgroup = TEXT("")}},
	{.type = RECORD_WORKER_GONE, .gone = 7},
	{.type = RECORD_HOLD,
	 .hold = {.generation = 1,
		  .worker = 7,
		  .pid = -1,
		  .fetched_usec = 2,
		  .received_usec = 3,
		  .wall_usec = 4,
		  .lease_sec = 1800,
		  .have_retry = true,
		  .retry = -1,
		  .retry_count = INT64_MIN,
		  .jid = TEXT("0123456789"),
		  .queue = TEXT("default"),
		  .jobtype = TEXT("Mail"),
		  .body = TEXT("{\"jid\":\"0123456789\"}")}},
	{.type = RECORD_HOLD,
	 .hold = {.generation = UINT64_MAX,
		  .other_boot = true,
		  .doubtful = true,
		  .enterprise = true,
		  .jid = TEXT("12345678"),
		  .queue = TEXT(""),
		  .jobtype = TEXT(""),
		  .body = TEXT("")}},
	{.type = RECORD_REPORT, .report = {.generation = 1, .kind = REPORT_WORKER_ACK, .line = TEXT("")}},
	{.type = RECORD_REPORT, .report = {.generation = 2, .kind = REPORT_WORKER_FAIL, .line = TEXT("FAIL {}\r\n")}},
	{.type = RECORD_REPORT, .report = {.generation = 3, .kind = REPORT_FAIL, .line = TEXT("FAIL")}},
	{.type = RECORD_REPORT,
	 .report = {.generation = 4, .kind = REPORT_RETURN, .ack_bytes = 3, .line = TEXT("ACKPUSHB")}},
	{.type = RECORD_REPORT, .report = {.generation = 5, .none = true, .line = TEXT("")}},
	{.type = RECORD_SENT, .sent = {1, RECORD_FIRST_SENT, false, 10, 20}},
	{.type = RECORD_SENT, .sent = {1, RECORD_ACK_ANSWERED, true, 11, 21}},
	{.type = RECORD_GONE, .gone = UINT64_MAX},
};

static bool same_text(struct record_text a, struct record_text b)
{
	return a.bytes == b.bytes && memcmp(a.p, b.p, a.bytes) == 0;
}

static bool same(const struct record *a, const struct record *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case RECORD_HEADER:
		return a->header.boot_usec == b->header.boot_usec && a->header.wall_usec == b->header.wall_usec &&
		       same_text(a->header.boot_id, b->header.boot_id) && same_text(a->header.server, b->header.server);
	case RECORD_WORKER:
		return a->worker.id == b->worker.id && a->worker.pid == b->worker.pid &&
		       a->worker.start_ticks == b->worker.start_ticks && a->worker.other_boot == b->worker.other_boot &&
		       a->worker.gone == b->worker.gone && same_text(a->worker.name, b->worker.name) &&
		       same_text(a->worker.mark, b->worker.mark) && same_text(a->worker.cgroup, b->worker.cgroup);
	case RECORD_HOLD:
		return a->hold.generation == b->hold.generation && a->hold.worker == b->hold.worker &&
		       a->hold.pid == b->hold.pid && a->hold.fetched_usec == b->hold.fetched_usec &&
		       a->hold.received_usec == b->hold.received_usec && a->hold.wall_usec == b->hold.wall_usec &&
		       a->hold.lease_sec == b->hold.lease_sec && a->hold.other_boot == b->hold.other_boot &&
		       a->hold.doubtful == b->hold.doubtful && a->hold.enterprise == b->hold.enterprise &&
		       a->hold.have_retry == b->hold.have_retry && a->hold.retry == b->hold.retry &&
		       a->hold.retry_count == b->hold.retry_count && same_text(a->hold.jid, b->hold.jid) &&
		       same_text(a->hold.queue, b->hold.queue) && same_text(a->hold.jobtype, b->hold.jobtype) &&
		       same_text(a->hold.body, b->hold.body);
	case RECORD_REPORT:
		return a->report.generation == b->report.generation && a->report.none == b->report.none &&
		       a->report.kind == b->report.kind && a->report.ack_bytes == b->report.ack_bytes &&
		       same_text(a->report.line, b->report.line);
	case RECORD_SENT:
		return a->sent.generation == b->sent.generation && a->sent.step == b->sent.step &&
		       a->sent.other_boot == b->sent.other_boot && a->sent.boot_usec == b->sent.boot_usec &&
		       a->sent.wall_usec == b->sent.wall_usec;
	default:
		return a->gone == b->gone;
	}
}

static char *encode(const struct record *r, size_t *ret_bytes)
{
	size_t bytes = record_bytes(r);
	char *p = malloc(bytes); /* no byte more, for the sanitizer's sake */

	cr_assert(not(eq(ptr, p, NULL)));
	cr_assert(eq(sz, bytes % 8, 0));
	memset(p, 0x5a, bytes);
	record_encode(r, SALT, p);
	*ret_bytes = bytes;
	return p;
}

/* From a copy that ends where it is said to. */
static int decode(const char *p, size_t bytes, uint64_t salt)
{
	struct record r;
	size_t n;
	char *copy = malloc(bytes + (bytes == 0));
	int q;

	memcpy(copy, p, bytes);
	q = record_decode(copy, bytes, salt, &r, &n);
	free(copy);
	return q;
}

Test(record, comes_back_as_it_went)
{
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct record r;
		size_t bytes, n = 0;
		char *p = encode(&samples[i], &bytes);

		cr_assert(eq(int, record_decode(p, bytes, SALT, &r, &n), 0), "sample %zu", i);
		cr_expect(eq(sz, n, bytes));
		cr_expect(same(&r, &samples[i]), "sample %zu", i);
		free(p);
	}
}

Test(record, cut_at_any_byte_is_none)
{
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		size_t bytes;
		char *p = encode(&samples[i], &bytes);

		cr_expect(eq(int, decode(p, 0, SALT), -ENODATA));
		for (size_t n = 1; n < bytes; n++)
			cr_expect(eq(int, decode(p, n, SALT), p[0] == 0 && n < 2 ? -ENODATA : -EBADMSG),
				  "sample %zu at %zu", i, n);
		free(p);
	}
}

Test(record, with_any_bit_flipped_is_none)
{
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		size_t bytes;
		char *p = encode(&samples[i], &bytes);

		for (size_t bit = 0; bit < 8 * bytes; bit++) {
			p[bit / 8] = (char)(p[bit / 8] ^ 1 << bit % 8);
			cr_expect(eq(int, decode(p, bytes, SALT), -EBADMSG), "sample %zu, bit %zu", i, bit);
			p[bit / 8] = (char)(p[bit / 8] ^ 1 << bit % 8);
		}
		for (size_t at = 0; at < bytes; at++) {
			p[at] = (char)~p[at];
			cr_expect(eq(int, decode(p, bytes, SALT), -EBADMSG), "sample %zu, byte %zu", i, at);
			p[at] = (char)~p[at];
		}
		free(p);
	}
}

Test(record, of_another_file_is_none_until_it_is_sealed_for_this_one)
{
	size_t bytes;
	char *p = encode(&samples[5], &bytes);

	cr_expect(eq(int, decode(p, bytes, SALT + 1), -EBADMSG));
	record_seal(p, bytes, SALT + 1);
	cr_expect(eq(int, decode(p, bytes, SALT + 1), 0));
	cr_expect(eq(int, decode(p, bytes, SALT), -EBADMSG));
	free(p);
}

/* A good checksum, so somebody meant it: to be refused loudly, not cut off. */
Test(record, of_another_version_is_told_from_a_broken_one)
{
	size_t bytes;
	char *p = encode(&samples[5], &bytes);
	static const struct {
		const char *what;
		size_t at;
		char value;
	} changes[] = {
		{"version", 4, 2}, {"type", 6, _RECORD_TYPE_MAX}, {"type", 6, RECORD_END}, {"payload's length", 0, 81}};

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		char was = p[changes[i].at];

		p[changes[i].at] = changes[i].value;
		record_seal(p, bytes - (i == 3) * 8, SALT);
		cr_expect(not(eq(int, decode(p, bytes, SALT), 0)), "%s", changes[i].what);
		if (i < 3)
			cr_expect(eq(int, decode(p, bytes, SALT), -EPROTONOSUPPORT), "%s", changes[i].what);
		p[changes[i].at] = was;
	}
	/* A text that would end behind the payload. */
	p[RECORD_HEAD_BYTES + 68] = 127;
	record_seal(p, bytes, SALT);
	cr_expect(eq(int, decode(p, bytes, SALT), -EPROTONOSUPPORT));
	free(p);
}

Test(record, zeros_are_the_end)
{
	static const char zeros[64];

	for (size_t n = 0; n <= sizeof(zeros); n++)
		cr_expect(eq(int, decode(zeros, n, SALT), -ENODATA), "%zu", n);
	cr_expect(record_is_zeros(zeros, 64));
	cr_expect(record_is_zeros("", 0));
	cr_expect(not(record_is_zeros("\0\0x", 3)));
	cr_expect(not(record_is_zeros("x\0\0", 3)));
}

Test(record, preamble)
{
	char p[RECORD_PREAMBLE_BYTES], zeros[RECORD_PREAMBLE_BYTES] = {0};
	uint32_t version;
	uint64_t salt;

	record_encode_preamble(SALT, p);
	cr_expect(eq(int, record_decode_preamble(p, sizeof(p), &version, &salt), 0));
	cr_expect(eq(u32, version, RECORD_VERSION));
	cr_expect(eq(u64, salt, SALT));
	for (size_t n = 1; n < sizeof(p); n++)
		cr_expect(eq(int, record_decode_preamble(p, n, &version, &salt), -EBADMSG), "%zu", n);
	for (size_t at = 0; at < sizeof(p); at++) {
		p[at] = (char)(p[at] ^ 4);
		cr_expect(eq(int, record_decode_preamble(p, sizeof(p), &version, &salt), -EBADMSG), "%zu", at);
		p[at] = (char)(p[at] ^ 4);
	}
	cr_expect(eq(int, record_decode_preamble(zeros, sizeof(zeros), &version, &salt), -ENODATA));
	cr_expect(eq(int, record_decode_preamble(zeros, 0, &version, &salt), -ENODATA));

	uint64_t sum;
	p[8] = 9;
	sum = checksum(p, 24, 0);
	memcpy(p + 24, &sum, sizeof(sum)); /* on a little-endian machine */
	if (p[24] == (char)(sum & 0xff)) {
		cr_expect(eq(int, record_decode_preamble(p, sizeof(p), &version, &salt), -EPROTONOSUPPORT));
		cr_expect(eq(u32, version, 9));
	}
}

/* The specification's own examples, and one over all branches. */
Test(record, checksum_is_xxh64)
{
	cr_expect(eq(u64, checksum("", 0, 0), UINT64_C(0xef46db3751d8e999)));
	cr_expect(eq(u64, checksum("a", 1, 0), UINT64_C(0xd24ec4f1a98c6e5b)));
	cr_expect(eq(u64, checksum("abc", 3, 0), UINT64_C(0x44bc2cf5ad770999)));
	cr_expect(eq(u64, checksum("Nobody inspects the spammish repetition", 39, 0), UINT64_C(0xfbcea83c8a378bf1)));
	cr_expect(not(eq(u64, checksum("abc", 3, 1), checksum("abc", 3, 0))));
}
