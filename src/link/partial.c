/* SPDX-License-Identifier: MIT
 *
 * What there is of a reply, in one piece.
 */
#include "link/partial.h"
#include "link/link.h"
#include <string.h>

int partial_add(struct partial *partial, const char *p, size_t bytes)
{
	const struct resp *r = &partial->resp;
	size_t want = partial->in_bytes + bytes;

	if (want > partial->in_size) {
		/* A bulk says how long it will be; anything else grows by doubling. */
		if (r->kind == '$' && r->header_done && !r->nil)
			want = MAX(want, r->header_bytes + (size_t)r->body_bytes + 2);
		else
			want = MAX(want, 2 * partial->in_size);
		char *grown = realloc(partial->in, want);
		if (!grown)
			return -ENOMEM;
		partial->in = grown;
		partial->in_size = want;
	}
	memcpy(partial->in + partial->in_bytes, p, bytes);
	partial->in_bytes += bytes;
	return 0;
}

bool partial_is_long(const struct partial *partial, size_t more_bytes)
{
	const struct resp *r = &partial->resp;

	return partial->in_bytes + more_bytes > LINK_WHOLE_BYTES ||
	       (r->kind == '$' && r->header_done && r->body_bytes > LINK_WHOLE_BYTES - r->header_bytes - 2);
}
