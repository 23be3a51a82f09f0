/* SPDX-License-Identifier: MIT
 *
 * A report that is longer than what a session may send ahead, as one with a long backtrace is: gathered in the
 * session's input until its line is whole, it is a report like any other, in the journal with its text, confirmed while
 * the server is away, and repeated. So that memory is bounded whatever workers say, only some are in hand at a time;
 * each has a seat, from before it is gathered until its text is the reporter's, or its answer is in. Without a seat it
 * passes as it comes, where there is a link, and else waits in its worker. One that is longer still only ever passes.
 * One of 1 MiB takes 2 ms of processor time in all, one of 60 KB 0.1 ms.
 */
#include "gateway/internal.h"
#include <string.h>

/* True while no more than the beginning of a long report is there: it stays in the session's input. False when it is no
 * report, or must pass as it comes. */
bool gather_begin(struct session *s, const char *p, size_t bytes)
{
	struct gateway *g = s->listener->gateway;
	enum verb verb = command_verb(p, bytes);

	if ((verb != VERB_ACK && verb != VERB_FAIL) || bytes >= REPORT_HELD_MAX)
		return false;
	if (!s->seated && g->n_seated >= SEATS_MAX && !s->listener->dead) {
		if (link_is_ready(s->link))
			return false;
		session_want_link(s);
		wait_for_room(s);
		return true;
	}
	if (!s->seated)
		g->n_seated++;
	s->seated = true;
	s->gathered_bytes = (uint32_t)bytes;
	return true;
}

/* Whether the line that is gathered has no end yet. Each byte is looked at once, however few come at a time. */
bool gather_is_partial(const struct session *s, const char *p, size_t bytes)
{
	return s->seated && !memchr(p + s->gathered_bytes, '\n', bytes - s->gathered_bytes);
}

/* How much may be kept of what comes. */
size_t gather_input_max(const struct session *s)
{
	return s->seated && s->gathered_bytes == s->in_bytes ? REPORT_HELD_MAX : LINE_HELD_MAX;
}

/* It has been dealt with, or its session ends. */
void gather_end(struct session *s)
{
	if (s->seated)
		s->listener->gateway->n_seated--;
	s->seated = false;
	s->gathered_bytes = 0;
}

/* A copy of it is kept until its answer is in. */
void gather_pass_seat(struct session *s, struct request *r)
{
	r->seated = s->seated;
	s->seated = false;
	s->gathered_bytes = 0;
}
