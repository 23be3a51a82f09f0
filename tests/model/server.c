/* SPDX-License-Identifier: MIT
 *
 * The server, and the stranger who has no chargehand.
 */
#include "model.h"

/* ACK takes whatever reservation the jid has; returns whose it was, + 1. */
static unsigned acknowledge(struct state *st, bool storage_error)
{
	unsigned taken = st->memory;

	st->memory = 0;
	if (taken > 0 && !storage_error)
		st->run[taken - 1].stored = 0;
	return taken;
}

static void judge_taken(struct state *st, const struct message *m, unsigned taken)
{
	const struct run *own = &st->run[m->run];

	if (taken == 0 || st->doubled)
		return;
	if (taken - 1U == m->run) {
		if (is_fail(m->kind) && own->said == ACK && !own->excused)
			st->wrong = WRONG_FINISHED_FAILED;
	} else if (is_fail(m->kind)) {
		st->wrong = WRONG_OTHERS_FAILED;
	} else if (!m->again && !(m->kind == ACK && m->blind) && st->run[taken - 1].who != own->who) {
		st->wrong = WRONG_OTHERS_ENDED;
	}
}

/* All of an ACK, the first half of a FAIL, the first command of a return. */
static void execute(struct search *s, const struct state *from, size_t i, bool storage_error)
{
	struct state st = *from;
	struct message *m = &st.message[i];
	const char *name = kind_names[m->kind];
	unsigned taken = 0;

	switch (m->kind) {
	case ACK:
		taken = acknowledge(&st, storage_error);
		m->stage = storage_error ? STORAGE_ERROR : DONE;
		if (storage_error) /* what is stored stays so, whatever is said from now on */
			st.run[m->run].excused = 1;
		break;
	case FAIL:
	case OWN_FAIL:
		taken = st.memory;
		st.memory = 0;
		m->taken = (uint8_t)taken;
		m->stage = taken == 0 ? NOT_FOUND : storage_error ? STORAGE_ERROR : HALF;
		break;
	case RETURN:
		m->stage = HALF;
		if (keeps(s, RULE_ACK_BEFORE_PUSHB)) {
			taken = acknowledge(&st, false);
			name = "ACK of the return";
		} else {
			st.queue++;
			name = "PUSHB of the return";
		}
		break;
	default:
		st.queue++;
		st.doubled |= m->again;
		m->stage = DONE;
	}
	judge_taken(&st, m, taken);
	if (storage_error) {
		st.left.errors--;
		emit(s, &st, "the server begins the %s of run %d, and cannot store what follows", name, m->run + 1);
	} else if (m->stage == NOT_FOUND) {
		emit(s, &st, "the server knows nothing of what the %s of run %d is about", name, m->run + 1);
	} else {
		emit(s, &st, "the server %s the %s of run %d%s", m->stage == HALF ? "begins" : "executes", name,
		     m->run + 1, taken > 0 && taken - 1U != m->run ? ", and it ends another run" : "");
	}
}

/* The second half of a FAIL, the second command of a return. */
static void complete(struct search *s, const struct state *from, size_t i)
{
	struct state st = *from;
	struct message *m = &st.message[i];

	m->stage = DONE;
	if (m->kind == RETURN && keeps(s, RULE_ACK_BEFORE_PUSHB)) {
		st.queue++;
		st.doubled |= m->again;
		emit(s, &st, "the server executes the PUSHB of the return of run %d", m->run + 1);
	} else if (m->kind == RETURN) {
		m->again = 1; /* judged by what comes of it */
		(void)acknowledge(&st, false);
		emit(s, &st, "the server executes the ACK of the return of run %d", m->run + 1);
	} else if (st.run[m->taken - 1].stored) {
		st.run[m->taken - 1].stored = 0;
		m->taken = 0;
		st.retries++;
		emit(s, &st, "the server puts the job to the retries: +OK to the %s of run %d", kind_names[m->kind],
		     m->run + 1);
	} else {
		m->taken = 0;
		emit(s, &st, "the server finds nothing stored, and does nothing: +OK to the %s of run %d",
		     kind_names[m->kind], m->run + 1);
	}
}

static void next_commands(struct search *s, const struct state *from)
{
	for (size_t i = 0; i < MESSAGES; i++) {
		const struct message *m = &from->message[i];

		if (m->kind == NO_KIND || (m->silent && !m->orphan))
			continue;
		if (m->stage == GOING)
			execute(s, from, i, false);
		if (m->stage == GOING && from->left.errors > 0 && from->memory > 0 &&
		    (m->kind == ACK || is_fail(m->kind)))
			execute(s, from, i, true);
		if (m->stage == HALF)
			complete(s, from, i);
	}
}

static void next_reaper(struct search *s, const struct state *from)
{
	struct state st = *from;

	if (from->in_hand > 0) {
		st.in_hand = 0;
		if (st.memory > 0) {
			st.memory = 0;
			st.retries++;
			emit(s, &st, "the reaper puts the job to the retries");
		} else {
			emit(s, &st, "the reaper finds no reservation in memory, and drops the job");
		}
		return;
	}
	for (unsigned r = 0; r < from->n_runs; r++) {
		if (!from->run[r].stored || from->run[r].phase != OVER)
			continue;
		st = *from;
		st.run[r].stored = 0;
		st.in_hand = (uint8_t)(r + 1);
		emit(s, &st, "the reaper takes the stored reservation of run %u", r + 1);
	}
}

static void give_out(struct search *s, const struct state *from, enum who who)
{
	struct state st = *from;
	struct run *r = &st.run[st.n_runs];

	st.queue--;
	st.n_runs++;
	*r = (struct run){.who = (uint8_t)who, .stored = 1, .reply = COMING};
	st.memory = st.n_runs;
	if (who == STRANGER) {
		r->reply = GIVEN;
		emit(s, &st, "the server gives the job to a stranger: run %d", st.n_runs);
		return;
	}
	if (st.life[who] == ALIVE) {
		emit(s, &st, "the server gives the job out for %s: run %d", who_names[who], st.n_runs);
		return;
	}
	if (st.fetching[who] == FETCH_LOST) {
		r->reply = LOST;
		r->excused = 1;
	} else if (!keeps(s, RULE_KEEP_LINK)) {
		r->reply = LOST;
	}
	st.fetching[who] = NO_FETCH;
	emit(s, &st, "the server gives the job out for the FETCH of %s, who is dead: run %d%s", who_names[who],
	     st.n_runs, r->reply == LOST ? ", which reaches nobody" : "");
}

static void next_fetch(struct search *s, const struct state *from)
{
	if (from->queue == 0 || from->n_runs >= s->bounds->runs)
		return;
	for (unsigned who = A; who <= B; who++) {
		/* A and B are alike: A comes first. */
		if (who == B && (from->n_runs == 0 || from->run[0].who == STRANGER))
			continue;
		if (from->life[who] == ALIVE || from->fetching[who])
			give_out(s, from, who);
	}
	give_out(s, from, STRANGER);
}

static void next_stranger(struct search *s, const struct state *from)
{
	for (unsigned i = 0; i < from->n_runs; i++) {
		struct state st = *from;
		struct run *r = &st.run[i];
		unsigned taken = st.memory;

		if (r->who != STRANGER || r->said || r->phase != LIVE)
			continue;
		r->said = ACK;
		st.done = 1;
		(void)acknowledge(&st, false);
		emit(s, &st, "the stranger finishes run %u", i + 1);

		st = *from;
		r->said = FAIL;
		st.memory = 0;
		if (taken > 0 && st.run[taken - 1].stored) {
			st.run[taken - 1].stored = 0;
			st.retries++;
		}
		emit(s, &st, "the stranger fails run %u%s", i + 1, taken > 0 ? "" : ", and is told \"Job not found\"");
	}
}

static void next_retry(struct search *s, const struct state *from)
{
	struct state st = *from;

	if (from->retries == 0 || from->in_hand > 0)
		return;
	/* 15 s at the earliest after the FAIL: what was first sent before it is old by then, and what is still on its
	 * way by then has met with no limit. */
	for (unsigned i = 0; i < from->n_runs; i++)
		if (from->run[i].age == FRESH)
			return;
	for (size_t i = 0; i < MESSAGES; i++) {
		const struct message *m = &from->message[i];
		bool limited = m->by == BY_SESSION || keeps(s, RULE_RECALL);

		if (is_fail(m->kind) && (m->stage == HALF || (m->stage == GOING && limited && !m->stuck)))
			return;
	}
	st.retries--;
	st.queue++;
	emit(s, &st, "15 s and more after its failure the job is in its queue again");
}

static void next_restart(struct search *s, const struct state *from)
{
	struct state st = *from;

	if (from->left.restarts == 0 || from->in_hand > 0)
		return;
	for (size_t i = 0; i < MESSAGES; i++)
		if (from->message[i].orphan && from->message[i].stage == HALF && is_fail(from->message[i].kind))
			return;
	st.left.restarts--;
	st.memory = 0;
	for (unsigned i = 0; i < st.n_runs; i++) {
		if (st.run[i].stored)
			st.memory = (uint8_t)(i + 1);
		if (st.run[i].reply == COMING) {
			st.run[i].reply = LOST;
			st.run[i].excused = 1;
		}
	}
	for (size_t i = 0; i < MESSAGES; i++) {
		struct message *m = &st.message[i];

		if (m->kind == NO_KIND)
			continue;
		if (m->stage == HALF && is_fail(m->kind))
			m->stage = GOING; /* it was not stored: the reservation is read from the disk again */
		message_lose(s, &st, m);
		m->kind = NO_KIND;
	}
	emit(s, &st, "the server is restarted, and every link is lost");
}

void server_next(struct search *s, const struct state *from)
{
	next_commands(s, from);
	next_reaper(s, from);
	next_retry(s, from);
	next_fetch(s, from);
	next_stranger(s, from);
	next_restart(s, from);
}
