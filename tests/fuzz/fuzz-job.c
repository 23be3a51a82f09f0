/* SPDX-License-Identifier: MIT
 *
 * One JSON object in one of the three modes. The first byte chooses mode and split. Whole and split must agree in all
 * that is told; and where json-c calls the text a JSON object, the scan must have come to the same jid.
 */
#include "faktory/job.h"

#include "fuzz.h"

#include <json-c/json.h>

static void scan(struct job_scan *s, enum job_scan_mode mode, const uint8_t *data, size_t size, struct pieces *pieces)
{
	size_t done = 0;

	job_scan_init(s, mode);
	while (done < size) {
		size_t piece = pieces ? pieces_next(pieces, size - done) : size - done;
		char *copy = malloc(piece);

		CHECK(copy);
		memcpy(copy, data + done, piece);
		job_scan_feed(s, copy, piece);
		free(copy);
		done += piece;
	}
}

static void check_same(const struct job_scan *a, const struct job_scan *b)
{
	CHECK(a->done == b->done && a->broken == b->broken);
	CHECK(!(a->done && a->broken));
	CHECK(a->job.jid_bytes == b->job.jid_bytes && a->job.jid_too_long == b->job.jid_too_long);
	CHECK(a->job.jid_bytes <= JID_RAW_MAX);
	CHECK(memcmp(a->job.jid, b->job.jid, a->job.jid_bytes) == 0);
	CHECK(memchr(a->job.queue, '\0', sizeof(a->job.queue)) && memchr(a->job.jobtype, '\0', sizeof(a->job.jobtype)));
	CHECK(memchr(a->job.wid, '\0', sizeof(a->job.wid)));
	CHECK(strcmp(a->job.queue, b->job.queue) == 0 && strcmp(a->job.jobtype, b->job.jobtype) == 0);
	CHECK(strcmp(a->job.wid, b->job.wid) == 0);
	CHECK(a->job.reserve_for == b->job.reserve_for);
	CHECK(a->job.have_retry == b->job.have_retry && a->job.retry == b->job.retry);
	CHECK(a->job.retry_count == b->job.retry_count);
	CHECK(a->job.custom_has_enterprise == b->job.custom_has_enterprise);
}

/* json-c leaves bad UTF-8 as it is, and half a pair it turns into something else: such texts are no judge. */
static void check_against_json(const struct job_scan *s, const uint8_t *data, size_t size)
{
	struct json_tokener *tokener;
	struct json_object *o, *v = NULL;
	char decoded[JID_DECODED_MAX];
	ssize_t n;

	for (size_t i = 0; i < size; i++)
		if (data[i] < 0x20 || data[i] >= 0x7f || (data[i] == '\\' && i + 1 < size && data[i + 1] == 'u'))
			return;
	tokener = json_tokener_new();
	CHECK(tokener);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	o = json_tokener_parse_ex(tokener, (const char *)data, (int)size);
	if (json_object_is_type(o, json_type_object) && s->done) {
		json_object_object_get_ex(o, "jid", &v);
		n = jid_decode(s->job.jid, s->job.jid_bytes, decoded, sizeof(decoded));
		CHECK(n >= 0);
		if (!s->job.jid_too_long && json_object_is_type(v, json_type_string)) {
			CHECK(n == json_object_get_string_len(v));
			CHECK(memcmp(decoded, json_object_get_string(v), (size_t)n) == 0);
		} else {
			CHECK(n == 0);
		}
	}
	json_object_put(o);
	json_tokener_free(tokener);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct job_scan whole, split;
	struct pieces pieces;
	enum job_scan_mode mode;

	if (size == 0)
		return 0;
	mode = (enum job_scan_mode)(*data % 3);
	pieces.state = *data / 3;
	data++;
	size--;
	scan(&whole, mode, data, size, NULL);
	scan(&split, mode, data, size, &pieces);
	check_same(&whole, &split);
	if (mode == JOB_SCAN_FETCHED)
		check_against_json(&whole, data, size);
	CHECK(job_lease_sec(whole.job.reserve_for) >= 60 && job_lease_sec(whole.job.reserve_for) <= 86400);
	return 0;
}
