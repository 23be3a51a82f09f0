/* SPDX-License-Identifier: MIT
 *
 * What comes from the server: where each reply ends, whether it is passed on whole or in parts, and whether it is
 * believed at once.
 */
#include "link/internal.h"
#include <string.h>

/* One buffer for all links: what is read is dealt with, or copied, before the callback returns. So is what is known of
 * the reply that it belongs to. */
static char scratch[STREAM_READ_BYTES];
static struct partial present;

/* Keeps bytes that resp has scanned. -ENOMEM: nothing is changed. */
static int partial_add(struct partial *partial, const char *p, size_t bytes)
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

/* With as many bytes more: is it longer than what is passed on whole? */
static bool partial_is_long(const struct partial *partial, size_t more_bytes)
{
	const struct resp *r = &partial->resp;

	return partial->in_bytes + more_bytes > LINK_WHOLE_BYTES ||
	       (r->kind == '$' && r->header_done && r->body_bytes > LINK_WHOLE_BYTES - r->header_bytes - 2);
}

void link_drop_partial(struct link *l)
{
	/* present.resp stays: an owner who closes the link in a callback still has it. */
	if (l->partial)
		free(TAKE_PTR(l->partial->in));
	if (l->partial != &present)
		free(l->partial);
	l->partial = NULL;
	l->doubtful = false;
}

static void link_deliver(struct link *l, const struct resp *resp, const char *p, size_t bytes)
{
	struct link_request *request = STAILQ_FIRST(&l->requests);
	struct link_reply reply = {
		.resp = resp,
		.bytes = p,
		.n_bytes = bytes,
		.first = !l->streaming,
		.last = resp->done,
	};

	l->attempts = 0;
	if (reply.last)
		STAILQ_REMOVE_HEAD(&l->requests, next);
	l->streaming = !reply.last;
	l->ops->on_reply(l, request, &reply);
}

/* Any error that is followed by the end of the connection tells of the server's end, and nothing about the command
 * (hazards 5). So one in words that are not known to be about the command waits a moment, if nothing is behind it. */
static bool link_doubts(const struct link *l, const struct resp *r)
{
	return r->done && r->kind == '-' && resp_error_class(r) == RESP_ERROR_STORAGE && !l->streaming;
}

static void link_lose_doubtful(struct link *l, const char *why)
{
	char text[RESP_HEAD_MAX];

	memcpy(text, l->partial->resp.head, sizeof text);
	link_drop_partial(l);
	link_lose(l, text[0] ? text : why);
}

/* It was no last word. False: the link is gone. */
bool link_believe(struct link *l)
{
	_cleanup_free_ struct partial *whole = TAKE_PTR(l->partial);
	_cleanup_free_ char *in = whole->in;
	bool gone = false;

	l->doubtful = false;
	l->gone = &gone;
	link_deliver(l, &whole->resp, in, whole->in_bytes);
	if (gone)
		return false;
	l->gone = NULL;
	return true;
}

/* Bytes of one reply: all that is left of it, or all that there is. */
static void link_on_reply_bytes(struct link *l, const char *p, size_t bytes, bool last)
{
	struct partial *partial = l->partial;
	const struct resp *r = &partial->resp;

	if (r->done && r->kind == '-' && resp_error_class(r) == RESP_ERROR_UNAVAILABLE && !l->streaming) {
		/* Not executed, and the connection ends with it. "too many connections" comes unasked, behind the
		 * +OK to HELLO, and must not pass for the answer to what was sent meanwhile (hazards 5). */
		link_lose(l, r->head);
		return;
	}
	if (STAILQ_EMPTY(&l->requests)) {
		if (r->done)
			link_lose(l, r->kind == '-' ? r->head : "the server sent a reply to nothing");
		return;
	}
	if (last && link_doubts(l, r) && partial_add(partial, p, bytes) == 0) {
		l->doubtful = true;
		link_set_timer(l, LINK_DOUBT_USEC);
		return;
	}
	if (l->streaming || (partial->in_bytes == 0 && (r->done || partial_is_long(partial, bytes)))) {
		link_deliver(l, r, p, bytes);
		return;
	}
	if (partial_add(partial, p, bytes) < 0) {
		link_lose(l, "out of memory");
		return;
	}
	if (r->done || partial_is_long(partial, 0)) {
		_cleanup_free_ char *in = TAKE_PTR(partial->in);
		size_t in_bytes = partial->in_bytes;

		partial->in_bytes = partial->in_size = 0;
		link_deliver(l, r, in, in_bytes);
	}
}

/* Goes on with the reply where the last read has left it. */
static void link_take_up(struct link *l)
{
	if (l->partial) {
		present = *l->partial;
		free(l->partial);
	} else
		present = (struct partial){0};
	l->partial = &present;
}

/* What has not come whole, or is not believed yet, is kept until the next read. */
static void link_put_down(struct link *l)
{
	struct partial *kept;

	if (!present.resp.kind || (present.resp.done && !l->doubtful)) {
		l->partial = NULL;
		return;
	}
	kept = malloc(sizeof *kept);
	if (!kept) {
		link_lose(l, "out of memory");
		return;
	}
	*kept = present;
	l->partial = kept;
}

void link_on_readable(struct stream *s)
{
	struct link *l = container_of(s, struct link, stream);
	const char *p = scratch;
	bool gone = false;

	ssize_t n = stream_read(s, scratch, sizeof scratch);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		const char *why = s->error ? strerror(s->error) : n == 0 ? "closed by the server" : strerror((int)-n);

		if (l->doubtful)
			link_lose_doubtful(l, why);
		else
			link_lose(l, why);
		return;
	}

	if (l->doubtful && !link_believe(l))
		return;
	l->active = true;
	l->gone = &gone;
	link_take_up(l);
	while (n > 0) {
		size_t used;

		if (present.resp.done)
			resp_reset(&present.resp);
		if (resp_scan(&present.resp, p, (size_t)n, &used) < 0) {
			link_lose(l, l->state == LINK_GREETING ? LINK_NO_SERVER
							       : "the server sent bytes that are no reply");
			return;
		}
		if (l->state == LINK_READY)
			link_on_reply_bytes(l, p, used, used == (size_t)n);
		else if (present.resp.done)
			link_on_greeting(l);
		if (gone)
			return;
		p += used;
		n -= (ssize_t)used;
	}
	l->gone = NULL;
	link_put_down(l);
}
