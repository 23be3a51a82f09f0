/* SPDX-License-Identifier: MIT
 *
 * Workers, links and time, everything that can go wrong, and the judgement of a state.
 */
#include "model.h"

#include <stdlib.h>

const char *const who_names[] = {[A] = "A", [B] = "B", [STRANGER] = "the stranger"};
const char *const kind_names[] = {
	[NO_KIND] = "nothing",   [ACK] = "ACK",       [FAIL] = "FAIL",
	[OWN_FAIL] = "own FAIL", [RETURN] = "return", [PUSHB] = "PUSHB",
};

struct message *message_new(struct state *st, unsigned run, enum kind kind)
{
	for (size_t i = 0; i < MESSAGES; i++)
		if (st->message[i].kind == NO_KIND) {
			st->message[i] = (struct message){.kind = (uint8_t)kind, .run = (uint8_t)run};
			return &st->message[i];
		}
	abort(); /* MESSAGES is too small for these bounds */
}

void message_lose(const struct search *s, struct state *st, struct message *m)
{
	struct run *r = &st->run[m->run];

	/* The one answer that told of it. */
	if (m->stage == STORAGE_ERROR && is_fail(m->kind))
		st->told = 1;
	if (!m->orphan && st->up && r->way == FLYING)
		r->way = keeps(s, RULE_REPEAT) ? BY_REPORTER : NO_WAY;
}

/* ---- workers */

static void next_worker(struct search *s, const struct state *from, unsigned i)
{
	struct state st = *from;
	struct run *r = &st.run[i];

	if (st.life[r->who] != ALIVE || r->reply != GIVEN)
		return;
	if (!r->said) {
		r->said = r->line = ACK;
		r->heard = st.done = 1;
		emit(s, &st, "%s finishes run %u; its ACK lies at chargehand", who_names[r->who], i + 1);
		r->said = r->line = FAIL;
		st.done = from->done;
		emit(s, &st, "%s fails run %u; its FAIL lies at chargehand", who_names[r->who], i + 1);
	} else if (s->bounds->second_thoughts && r->said == ACK && !r->said_again && r->hold == REPORTED) {
		r->said_again = 1;
		r->line = FAIL;
		emit(s, &st, "%s has no answer to its ACK of run %u, and says FAIL", who_names[r->who], i + 1);
	}
}

static void next_life(struct search *s, const struct state *from, unsigned who)
{
	struct state st = *from;

	if (from->life[who] == ORPHANED) {
		st.life[who] = DEAD;
		emit(s, &st, "%s ends, without its chargehand", who_names[who]);
	} else if (from->life[who] == ALIVE && from->left.kills > 0) {
		st.left.kills--;
		st.life[who] = DEAD;
		st.fetching[who] = FETCH_LEFT;
		emit(s, &st, "%s is killed", who_names[who]);
	}
}

/* ---- links */

static void next_cut(struct search *s, const struct state *from, size_t n)
{
	struct state st = *from;
	struct message *m = &st.message[n];

	bool is_fault = !m->orphan || m->stage == HALF;

	/* What nobody waits for may get lost without a further fault. */
	if (m->kind == NO_KIND || (is_fault && from->left.cuts == 0))
		return;
	st.left.cuts -= is_fault;
	message_lose(s, &st, m);
	if (m->stage == HALF && !m->orphan) {
		m->orphan = 1;
		emit(s, &st, "the link with the %s of run %d is lost while the server is at it", kind_names[m->kind],
		     m->run + 1);
	}
	if (m->stage == HALF && m->kind != RETURN)
		return;
	if (m->stage == GOING && !m->orphan && !keeps(s, RULE_RESET)) {
		m->orphan = m->stuck = 1;
		emit(s, &st, "the link with the %s of run %d hangs, and is closed without a reset", kind_names[m->kind],
		     m->run + 1);
	}
	m->kind = NO_KIND;
	emit(s, &st, "%s of run %d is lost with its link",
	     from->message[n].stage == GOING  ? kind_names[from->message[n].kind]
	     : from->message[n].stage == HALF ? "the second half of the return"
					      : "the answer to a report",
	     m->run + 1);
}

/* Reports only: with a return nobody hurries, and what comes of it is the same as of a link that is cut. One that has
 * had no answer for ten seconds is out of time, silent or slow. */
static void next_silence(struct search *s, const struct state *from, size_t n)
{
	struct state st = *from;
	struct message *m = &st.message[n];

	if ((m->kind != ACK && !is_fail(m->kind)) || m->orphan || m->silent || m->stage == HALF ||
	    from->left.silences == 0 || (is_fail(m->kind) && from->run[m->run].age == OLD))
		return;
	st.left.silences--;
	m->silent = 1;
	emit(s, &st, "the link with the %s of run %d falls silent",
	     m->stage == GOING ? kind_names[m->kind] : "answer to a report", m->run + 1);
}

static void next_cut_reply(struct search *s, const struct state *from, unsigned i)
{
	struct state st = *from;

	if (from->left.cuts == 0 || from->run[i].reply != COMING)
		return;
	st.left.cuts--;
	st.run[i].reply = LOST;
	st.run[i].excused = 1;
	emit(s, &st, "the job of run %u is lost with its link", i + 1);
}

/* ---- chargehand's death */

static void lose_memory(struct run *r)
{
	if (r->line && !r->said_again)
		r->heard = 0;
	if (r->line || r->reply == COMING || r->reply == ENTERED)
		r->excused = 1;
	if (r->reply == COMING)
		r->reply = LOST;
	r->line = r->hold = r->kind = r->way = r->knows_sent = r->ack_answered = 0;
}

static void next_death(struct search *s, const struct state *from)
{
	struct state st = *from;

	if (!from->up || from->left.deaths == 0)
		return;
	st.left.deaths--;
	st.up = 0;
	for (unsigned i = 0; i < st.n_runs; i++)
		if (st.run[i].who != STRANGER)
			lose_memory(&st.run[i]);
	for (unsigned who = A; who <= B; who++) {
		if (st.life[who] == ALIVE || st.fetching[who])
			st.fetching[who] = FETCH_LOST;
		if (st.life[who] == ALIVE)
			st.life[who] = ORPHANED;
	}
	for (size_t n = 0; n < MESSAGES; n++) {
		struct message *m = &st.message[n];

		m->orphan = m->kind != NO_KIND;
		if (m->kind != NO_KIND && m->stage >= DONE) {
			message_lose(s, &st, m);
			m->kind = NO_KIND;
		}
	}
	emit(s, &st, "chargehand is killed");
}

/* ---- time */

/* What takes a millisecond, or happens within one turn of the loop, is over before any time has passed. */
static bool time_stands(const struct state *st)
{
	if (st->in_hand > 0)
		return true;
	for (size_t n = 0; n < MESSAGES; n++)
		if (is_fail(st->message[n].kind) && st->message[n].stage == HALF)
			return true;
	for (unsigned i = 0; i < st->n_runs; i++)
		if (st->run[i].way == BY_SESSION)
			return true;
	return false;
}

/* What was sent with the margin to go is answered before the lease can end, or it is recalled, or the kernel has given
 * it up. */
static bool is_awaited(const struct search *s, const struct state *st, unsigned i)
{
	for (size_t n = 0; n < MESSAGES; n++) {
		const struct message *m = &st->message[n];

		if ((is_fail(m->kind) || m->kind == RETURN) && m->run == i && m->stage == GOING && !m->sent_late &&
		    !m->stuck && keeps(s, m->by == BY_REPORTER ? RULE_RECALL : RULE_SESSION_LIMIT))
			return true;
	}
	return false;
}

/* Chargehand gives its link up before its time is over. */
static bool is_given_up_first(const struct search *s, const struct state *st, unsigned i)
{
	if (!keeps(s, RULE_SILENCE) || st->run[i].repeated)
		return false;
	for (size_t n = 0; n < MESSAGES; n++)
		if (is_fail(st->message[n].kind) && st->message[n].run == i && st->message[n].silent &&
		    !st->message[n].orphan)
			return true;
	return false;
}

static void next_time(struct search *s, const struct state *from, unsigned i)
{
	const struct run *r = &from->run[i];
	struct state st = *from;

	if (r->age == FRESH && !is_given_up_first(s, from, i)) {
		st.run[i].age = OLD;
		emit(s, &st, "10 s have passed since a FAIL of run %u was first sent", i + 1);
		st = *from;
	}
	/* An earlier lease ends earlier. */
	if (r->phase == OVER || (i > 0 && from->run[i - 1].phase == r->phase && from->run[i - 1].phase != OVER))
		return;
	if (!r->stored && r->hold != HELD && r->hold != REPORTED && i + 1U == from->n_runs)
		return; /* nobody asks */
	if (r->phase == CLOSE && is_awaited(s, from, i))
		return;
	st.run[i].phase++;
	emit(s, &st, r->phase == LIVE ? "the lease of run %u is close to its end" : "the lease of run %u is over",
	     i + 1);
}

void world_next(struct search *s, const struct state *from)
{
	for (unsigned i = 0; i < from->n_runs; i++) {
		if (from->run[i].who != STRANGER)
			next_worker(s, from, i);
		next_cut_reply(s, from, i);
	}
	next_life(s, from, A);
	next_life(s, from, B);
	for (size_t n = 0; n < MESSAGES; n++) {
		next_cut(s, from, n);
		next_silence(s, from, n);
	}
	next_death(s, from);
	if (!time_stands(from))
		for (unsigned i = 0; i < from->n_runs; i++)
			next_time(s, from, i);
}

/* ---- judgement */

/* Is there anything left that chargehand, or the server in its stead, will do about it? */
static bool is_seen_to(const struct state *st, unsigned i)
{
	const struct run *r = &st->run[i];

	if (r->line || r->reply == COMING || (r->hold == HELD && (r->reply == ENTERED || st->life[r->who] != ALIVE)))
		return true;
	if (r->hold == REPORTED && (r->way == BY_SESSION || r->way == BY_REPORTER))
		return true;
	for (size_t n = 0; n < MESSAGES; n++)
		if (st->message[n].kind != NO_KIND && st->message[n].run == i)
			return true;
	return false;
}

static bool is_left_behind(const struct state *st, unsigned i)
{
	const struct run *r = &st->run[i];

	if (!st->up || st->told || st->doubled || r->who == STRANGER || r->excused || st->memory != i + 1 || !r->stored)
		return false;
	if (r->phase != LIVE || (r->age == OLD && !r->wasted)) /* left to the lease */
		return false;
	return (st->life[r->who] != ALIVE || r->heard) && !is_seen_to(st, i);
}

static bool is_somewhere(const struct state *st)
{
	bool stored = false;

	if (st->done || st->told || st->queue > 0 || st->retries > 0)
		return true;
	for (unsigned i = 0; i < st->n_runs; i++) {
		const struct run *r = &st->run[i];

		stored = stored || r->stored;
		if (st->up ? r->hold == REPORTED && r->kind == RETURN && r->way == BY_REPORTER
			   : r->j_hold == HELD && r->j_kind == RETURN)
			return true;
	}
	if (st->memory > 0 && (stored || st->in_hand > 0))
		return true;
	for (size_t n = 0; n < MESSAGES; n++) {
		const struct message *m = &st->message[n];

		if ((m->kind == RETURN || m->kind == PUSHB) && m->stage < DONE)
			return true;
		if (is_fail(m->kind) &&
		    ((m->stage == HALF && st->run[m->taken - 1].stored) || m->stage == STORAGE_ERROR))
			return true;
	}
	return false;
}

enum wrong state_judge(const struct state *st)
{
	if (st->wrong)
		return st->wrong;
	for (unsigned i = 0; i < st->n_runs; i++)
		if (is_left_behind(st, i))
			return WRONG_LEFT_BEHIND;
	return is_somewhere(st) ? WRONG_NOTHING : WRONG_VANISHED;
}
