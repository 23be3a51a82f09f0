/* SPDX-License-Identifier: MIT
 *
 * A stream of replies. The first byte of the input chooses the split; whole and split must end with the same state.
 */
#include "faktory/resp.h"

#include "fuzz.h"

struct outcome {
	unsigned replies;
	int error;
	uint64_t consumed;
	uint64_t digest; /* of every reply's fields */
	struct resp last;
};

static void digest_add(struct outcome *o, uint64_t n)
{
	o->digest = (o->digest ^ n) * 0x100000001b3u;
}

static void follow(struct outcome *o, const uint8_t *data, size_t size, struct pieces *pieces)
{
	struct resp r = {0};
	size_t done = 0, consumed;

	*o = (struct outcome){0};
	while (done < size) {
		size_t piece = pieces ? pieces_next(pieces, size - done) : size - done;
		char *copy = malloc(piece);

		CHECK(copy);
		memcpy(copy, data + done, piece);
		o->error = resp_scan(&r, copy, piece, &consumed);
		if (o->error < 0) {
			free(copy);
			o->last = (struct resp){0};
			return;
		}
		CHECK(consumed > 0 && (consumed == piece || (consumed < piece && r.done)));
		CHECK(r.head_bytes < RESP_HEAD_MAX && r.head[r.head_bytes] == '\0');
		CHECK(r.depth <= RESP_DEPTH_MAX);
		free(copy);
		done += consumed;
		o->consumed += consumed;
		if (r.done) {
			CHECK(r.header_done);
			o->replies++;
			digest_add(o, (uint64_t)r.kind);
			digest_add(o, r.nil);
			digest_add(o, r.header_bytes);
			digest_add(o, r.body_bytes);
			for (unsigned i = 0; i < r.head_bytes; i++)
				digest_add(o, (uint8_t)r.head[i]);
			digest_add(o, (uint64_t)resp_error_class(&r));
			digest_add(o, resp_is_ok(&r));
			resp_reset(&r);
		}
	}
	o->last = r;
}

/* A reply that lies in one piece gives its body within that piece. */
static void check_body(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *body;
	struct resp r = {0};
	size_t consumed, bytes;

	if (resp_scan(&r, p, size, &consumed) < 0)
		return;
	resp_body(&r, p, consumed, &body, &bytes);
	CHECK(body >= p && body + bytes <= p + size);
	if (r.done && r.kind == '$' && !r.nil)
		CHECK(bytes == r.body_bytes && consumed == r.header_bytes + bytes + 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, split;
	struct pieces pieces;

	if (size == 0)
		return 0;
	pieces.state = *data++;
	size--;
	follow(&whole, data, size, NULL);
	follow(&split, data, size, &pieces);
	CHECK(whole.error == split.error);
	CHECK(whole.replies == split.replies);
	CHECK(whole.digest == split.digest);
	if (!whole.error) {
		CHECK(whole.consumed == size && split.consumed == size);
		CHECK(whole.last.kind == split.last.kind && whole.last.header_done == split.last.header_done);
		CHECK(whole.last.left == split.last.left && whole.last.depth == split.last.depth);
		CHECK(whole.last.header_bytes == split.last.header_bytes);
		CHECK(strcmp(whole.last.head, split.last.head) == 0);
	}
	check_body(data, size);
	return 0;
}
