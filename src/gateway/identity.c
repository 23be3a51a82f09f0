/* SPDX-License-Identifier: MIT
 *
 * The HELLOs of one worker, each kept once: a pool of sessions says the same bytes on every one of them. Also knows
 * when each wid was last heard of, since the server cuts off a silent one and a FETCH that is running then strands its
 * job.
 */
#include "gateway/internal.h"
#include <stdio.h>
#include <string.h>

int identity_get(struct listener *l, struct hello *hello, struct identity **ret)
{
	struct identity *i;

	HASH_FIND(hh, l->identities, hello->json, hello->json_bytes, i);
	if (i) {
		hello_done(hello);
	} else {
		i = calloc(1, sizeof *i);
		if (!i)
			return -ENOMEM;
		i->hello = *hello;
		*hello = (struct hello){0};
		i->beaten_usec = clock_now_usec();
		int n = snprintf(i->quoted_wid, sizeof i->quoted_wid, "\"%s\"", i->hello.wid);
		i->quoted_bytes = (uint16_t)n;
		HASH_ADD_KEYPTR(hh, l->identities, i->hello.json, i->hello.json_bytes, i);
		if (!i->hh.tbl) {
			hello_done(&i->hello);
			free(i);
			return -ENOMEM;
		}
		if (i->hello.wid[0])
			listener_arm(l, i->beaten_usec + BEAT_SILENCE_USEC);
	}
	*ret = identity_ref(i);
	return 0;
}

struct identity *identity_ref(struct identity *i)
{
	if (i)
		i->references++;
	return i;
}

struct identity *identity_unref(struct listener *l, struct identity *i)
{
	if (i && --i->references == 0) {
		HASH_DELETE(hh, l->identities, i);
		hello_done(&i->hello);
		free(i);
	}
	return NULL;
}

bool identity_is_named(const struct identity *i, const char *args, size_t bytes)
{
#define OPENING "{\"wid\":"
	if (!i->hello.wid[0])
		return false;
	/* Most libraries write it first, some with a blank before it. */
	for (size_t at = STRLEN(OPENING); at <= STRLEN(OPENING) + 1; at++)
		if (bytes >= at + i->quoted_bytes && memcmp(args + at, i->quoted_wid, i->quoted_bytes) == 0)
			return true;
	return memmem(args, bytes, i->quoted_wid, i->quoted_bytes);
}

/* A BEAT may come on any connection, even on one without a wid (faktory-live 9). */
void identity_beat(struct listener *l, const char *wid, usec_t now)
{
	for (struct identity *i = l->identities; i; i = i->hh.next)
		if (strcmp(i->hello.wid, wid) == 0)
			i->beaten_usec = now;
}

void identity_expire(struct listener *l, usec_t now)
{
	for (struct identity *i = l->identities; i; i = i->hh.next)
		if (i->hello.wid[0] && now >= i->beaten_usec + BEAT_SILENCE_USEC) {
			bool done = l->gateway->ops->on_silent(l->worker, i->hello.wid);

			identity_beat(l, i->hello.wid, done ? now : now + BEAT_AGAIN_USEC - BEAT_SILENCE_USEC);
		}
}

usec_t identity_next_usec(const struct listener *l)
{
	usec_t due = USEC_NEVER;

	for (const struct identity *i = l->identities; i; i = i->hh.next)
		if (i->hello.wid[0])
			due = MIN(due, i->beaten_usec + BEAT_SILENCE_USEC);
	return due;
}
