/* SPDX-License-Identifier: MIT
 *
 * A reply of which a part has come: what the scanner knows of it, and its bytes so far, while it may still be passed on
 * whole.
 */
#ifndef CHARGEHAND_LINK_PARTIAL_H
#define CHARGEHAND_LINK_PARTIAL_H

#include "base/macro.h"
#include "faktory/resp.h"
#include <stdbool.h>
#include <stddef.h>

struct partial {
	struct resp resp;
	char *in; /* malloc'ed; NULL when nothing is kept */
	size_t in_bytes, in_size;
};

/* Keeps bytes that resp has scanned. -ENOMEM: nothing is changed. */
int partial_add(struct partial *partial, const char *p, size_t bytes) _must_check_;

/* Is the reply, with as many bytes more, longer than what is passed on whole (LINK_WHOLE_BYTES)? */
bool partial_is_long(const struct partial *partial, size_t more_bytes);

#endif
