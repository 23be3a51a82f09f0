/* SPDX-License-Identifier: MIT
 *
 * A session that waits: for its link, for the time at which chargehand answers in the server's stead, or for what the
 * reporter learns. Nothing of its input goes on meanwhile, so answers stay in order. The sessions of a listener
 * that wait are in one list, by due time, behind one timer.
 */
#include "base/log.h"
#include "gateway/internal.h"
#include <string.h>

static void wait_enqueue(struct session *s, usec_t due_usec)
{
	struct session_list *list = &s->listener->waiting;
	struct session *before;

	/* Almost always the last one due: so looked for from the end. */
	s->due_usec = due_usec;
	TAILQ_FOREACH_REVERSE(before, list, session_list, in_queue)
	if (before->due_usec <= due_usec)
		break;
	if (before)
		TAILQ_INSERT_AFTER(list, before, s, in_queue);
	else
		TAILQ_INSERT_HEAD(list, s, in_queue);
	listener_arm(s->listener, due_usec);
}

void wait_clear(struct session *s)
{
	if (s->wait != WAIT_NONE)
		TAILQ_REMOVE(&s->listener->waiting, s, in_queue);
	s->wait = WAIT_NONE;
	s->n_oks = 0;
	s->nil = false;
	s->reported = hold_unref(s->reported);
}

void wait_for_link(struct session *s, usec_t usec)
{
	if (s->wait == WAIT_LINK)
		return;
	s->wait = WAIT_LINK;
	wait_enqueue(s, clock_now_usec() + usec);
}

/* Whatever else it sends stays in the kernel's buffers, and then in the worker. */
void wait_for_room(struct session *s)
{
	s->wait = WAIT_ROOM;
	wait_enqueue(s, clock_now_usec() + ROOM_WAIT_USEC);
}

/* Answers already due are joined: a lost link can take a report and the FETCH behind it with it. */
void wait_for_answer(struct session *s, unsigned n_oks, bool nil, usec_t due_usec)
{
	if (s->wait != WAIT_NONE)
		TAILQ_REMOVE(&s->listener->waiting, s, in_queue);
	s->wait = WAIT_ANSWER;
	s->n_oks = (uint8_t)MIN(s->n_oks + n_oks, UINT8_MAX);
	s->nil = s->nil || nil;
	wait_enqueue(s, due_usec);
}

/* Each answer is a write of its own: libraries take one read for one reply. */
static void wait_give_answers(struct session *s)
{
	unsigned n_oks = s->n_oks;
	bool nil = s->nil;

	wait_clear(s);
	while (n_oks-- > 0)
		session_answer(s, "+OK\r\n", STRLEN("+OK\r\n"));
	if (nil)
		session_answer(s, "$-1\r\n", STRLEN("$-1\r\n"));
}

/* No link has come: what waits at the head of the input is answered as design.md 4 says, or, where only the server
 * could answer, the session ends as a broken connection would end it. */
static void wait_without_link(struct session *s)
{
	enum verb verb = command_verb(s->in, s->in_bytes);
	struct command command;
	bool whole = command_next(s->in, s->in_bytes, &command);
	usec_t now = clock_now_usec();

	if (whole && verb == VERB_FETCH) {
		/* Part of the two seconds has passed. */
		wait_clear(s);
		wait_for_answer(s, 0, true, now + FETCH_NIL_USEC - LINK_WAIT_FETCH_USEC);
	} else if (whole && verb == VERB_BEAT) {
		wait_clear(s);
		wait_for_answer(s, 1, false, now);
	} else {
		if (!whole && (verb == VERB_ACK || verb == VERB_FAIL))
			log_warning(
				"%s: a%s of more than %zu KiB cannot be kept while the server is away: its session is "
				"closed.",
				s->listener->holder.name, verb == VERB_ACK ? "n ACK" : " FAIL", REPORT_HELD_MAX >> 10);
		session_end(s);
		return;
	}
	session_drop_input(s, command.line_bytes);
}

void wait_expire(struct listener *l, usec_t now)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&l->waiting)) && s->due_usec <= now) {
		if (s->wait == WAIT_LINK) {
			wait_without_link(s);
			continue;
		}
		if (s->wait == WAIT_ROOM)
			wait_clear(s);
		else
			wait_give_answers(s);
		session_advance(s);
	}
}

usec_t wait_next_usec(const struct listener *l)
{
	const struct session *s = TAILQ_FIRST(&l->waiting);

	return s ? s->due_usec : USEC_NEVER;
}
