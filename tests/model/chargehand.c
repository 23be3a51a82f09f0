/* SPDX-License-Identifier: MIT
 *
 * chargehand: what it does next, each step cut where a SIGKILL would make a difference.
 */
#include "model.h"

static const char *const ways[] = {[BY_SESSION] = "on the session's link", [BY_REPORTER] = "on the reporter's link"};

/* The hold is settled, or left to its lease. */
static void let_go(struct run *r)
{
	r->hold = GONE;
	r->kind = NO_KIND;
	r->way = NO_WAY;
	r->j_hold = GONE;
}

static void next_enter(struct search *s, const struct state *from, unsigned i)
{
	struct state st = *from;
	struct run *r = &st.run[i];

	if (r->reply == COMING) {
		r->reply = ENTERED;
		r->late = r->phase;
		r->hold = HELD;
		r->j_hold = keeps(s, RULE_JOURNAL_BEFORE_WORKER) ? HELD : NO_HOLD;
		emit(s, &st, "chargehand reads the job of run %u%s", i + 1, r->j_hold ? "; it is in the journal" : "");
	} else if (r->reply == ENTERED && r->hold == HELD && st.life[r->who] == ALIVE) {
		r->reply = GIVEN;
		emit(s, &st, "chargehand hands the job to %s", who_names[r->who]);
	} else if (r->reply == GIVEN && r->hold == HELD && r->j_hold == NO_HOLD) {
		r->j_hold = HELD;
		emit(s, &st, "run %u is written into the journal", i + 1);
	}
}

/* Has a worker of this chargehand fetched the job since? */
static bool newer_is_known(const struct state *st, unsigned i, bool anothers)
{
	for (unsigned k = i + 1; k < st->n_runs; k++)
		if ((st->run[k].hold == HELD || st->run[k].hold == REPORTED) &&
		    !(anothers && st->run[k].who == st->run[i].who))
			return true;
	return false;
}

static void next_read(struct search *s, const struct state *from, unsigned i)
{
	struct state st = *from;
	struct run *r = &st.run[i];
	enum kind line = r->line;

	if (line == NO_KIND)
		return;
	r->line = NO_KIND;
	if (keeps(s, RULE_NEWER_HOLD_FENCE) && newer_is_known(&st, i, true)) {
		if (r->hold == HELD)
			let_go(r);
		emit(s, &st, "chargehand reads the %s of run %u, answers it itself, for another has the job",
		     kind_names[line], i + 1);
		return;
	}
	if (r->hold == REPORTED && !keeps(s, RULE_FIRST_REPORT_WINS)) {
		struct message *m = message_new(&st, i, line);
		m->by = BY_SESSION;
		emit(s, &st, "chargehand reads the %s of run %u and sends it after the first", kind_names[line], i + 1);
		return;
	}
	if (r->hold != HELD) {
		emit(s, &st, "chargehand reads the %s of run %u and answers it itself", kind_names[line], i + 1);
		return;
	}
	if (line == FAIL && r->phase != LIVE && keeps(s, RULE_LATE_FAIL_IS_ANSWERED)) {
		let_go(r);
		emit(s, &st, "chargehand reads the FAIL of run %u, and leaves the job to the reaper", i + 1);
		return;
	}
	r->hold = REPORTED;
	r->kind = line;
	r->way = BY_SESSION;
	if (keeps(s, RULE_REPORT_BEFORE_FORWARD))
		r->j_kind = line;
	emit(s, &st, "chargehand reads the %s of run %u%s", kind_names[line], i + 1,
	     r->j_kind ? "; it is in the journal" : "");
}

static bool is_drained(const struct state *st, enum who who)
{
	for (unsigned i = 0; i < st->n_runs; i++)
		if (st->run[i].who == who && st->run[i].line != NO_KIND)
			return false;
	return true;
}

/* A hold of the dead that nothing was said about. */
static void next_undertake(struct search *s, const struct state *from, unsigned i)
{
	struct state st = *from;
	struct run *r = &st.run[i];
	bool stray = r->reply == ENTERED && !r->excused;

	if (r->hold != HELD || st.life[r->who] == ALIVE || (keeps(s, RULE_DRAIN) && !is_drained(&st, r->who)))
		return;
	r->hold = REPORTED;
	r->way = BY_REPORTER;
	r->kind = stray && keeps(s, RULE_STRAY_RETURNS) ? RETURN : OWN_FAIL;
	if (r->kind == OWN_FAIL || keeps(s, RULE_RETURN_JOURNALED))
		r->j_kind = r->kind;
	emit(s, &st, r->kind == RETURN ? "run %u is a stray: it is to go back" : "the job of run %u is to be FAILed",
	     i + 1);
}

/* May it be sent, or sent again? */
static bool is_in_time(const struct search *s, const struct run *r)
{
	unsigned phase = keeps(s, RULE_LOWER_BOUND) ? r->phase : (unsigned)(r->phase - r->late);

	if (r->way == BY_SESSION)
		return true; /* that was seen to when it was read, in the same turn */
	if (r->kind == RETURN)
		return !keeps(s, RULE_RETURN_IN_TIME) || r->knows_sent || phase == LIVE;
	if (!is_fail(r->kind))
		return true;
	if (keeps(s, RULE_MARGIN) ? phase != LIVE : phase == OVER)
		return false;
	return !(keeps(s, RULE_REPEAT_LIMIT) && r->knows_sent && r->age == OLD);
}

static enum wrong judge_sent(const struct state *st, const struct run *r)
{
	if (r->kind != OWN_FAIL)
		return WRONG_NOTHING;
	if (r->heard)
		return WRONG_FINISHED_FAILED;
	if (st->life[r->who] != DEAD)
		return WRONG_LIVING_FAILED;
	return r->reply == ENTERED && !r->excused ? WRONG_UNRUN_FAILED : WRONG_NOTHING;
}

static void next_send(struct search *s, const struct state *from, unsigned i)
{
	struct state st = *from;
	struct run *r = &st.run[i];
	bool overtaken = keeps(s, RULE_NEWER_HOLD_FENCE) && r->way == BY_REPORTER && newer_is_known(&st, i, false);
	enum kind kind = r->kind == RETURN && (r->ack_answered || overtaken) ? PUSHB : r->kind;
	enum way way = r->way;
	struct message *m;

	if (way != BY_SESSION && way != BY_REPORTER)
		return;
	if (!is_in_time(s, r) || (overtaken && kind != PUSHB)) {
		let_go(r);
		emit(s, &st, "it is too late for the %s of run %u: it is left to its lease", kind_names[kind], i + 1);
		return;
	}
	m = message_new(&st, i, kind);
	m->by = way;
	m->sent_late = r->phase != LIVE;
	m->blind = !newer_is_known(&st, i, true);
	m->again = r->returning;
	st.wrong = judge_sent(&st, r);
	if (is_fail(kind) || kind == RETURN) {
		r->knows_sent = 1;
		r->j_sent = keeps(s, RULE_SENT_JOURNALED);
	}
	r->repeated |= is_fail(kind) && r->age != UNSENT;
	if (is_fail(kind) && r->age == UNSENT)
		r->age = FRESH;
	if (kind == RETURN)
		r->returning = 1;
	r->way = FLYING;
	if (!keeps(s, RULE_RELEASE_ON_ANSWER))
		let_go(r);
	emit(s, &st, "chargehand sends the %s of run %u %s", kind_names[kind], i + 1, ways[way]);
}

static void settle(const struct search *s, struct state *st, unsigned i)
{
	if (!keeps(s, RULE_GENERATION))
		for (unsigned k = st->n_runs; k-- > i;)
			if (st->run[k].who == st->run[i].who &&
			    (st->run[k].hold == HELD || st->run[k].hold == REPORTED)) {
				i = k;
				break;
			}
	let_go(&st->run[i]);
}

static void next_answer(struct search *s, const struct state *from, size_t n)
{
	struct state st = *from;
	struct message *m = &st.message[n];
	struct run *r = &st.run[m->run];
	unsigned i = m->run + 1U;
	enum kind kind = m->kind;
	enum stage stage;

	if (kind == NO_KIND || m->orphan || m->silent)
		return;
	if (kind == RETURN && m->stage >= HALF && !r->ack_answered && keeps(s, RULE_ACK_BEFORE_PUSHB)) {
		r->ack_answered = r->j_ack_answered = 1;
		emit(s, &st, "chargehand reads the answer to the ACK of the return of run %u", i);
		return;
	}
	if (m->stage < DONE)
		return;
	stage = m->stage;
	m->kind = NO_KIND;
	if (stage == STORAGE_ERROR && (kind == ACK || !keeps(s, RULE_HALF_DONE_IS_TOLD))) {
		r->way = BY_REPORTER;
		emit(s, &st, "chargehand reads of the error, and will repeat the %s of run %u", kind_names[kind], i);
	} else if (stage == STORAGE_ERROR) {
		st.told = 1;
		settle(s, &st, i - 1);
		emit(s, &st, "chargehand reads of the error, and says that the job will vanish");
	} else {
		settle(s, &st, i - 1);
		emit(s, &st, "chargehand reads the answer to the %s of run %u", kind_names[kind], i);
	}
}

/* What had reached the server is still carried out. */
static void next_give_up(struct search *s, const struct state *from)
{
	for (size_t n = 0; keeps(s, RULE_SILENCE) && n < MESSAGES; n++) {
		struct state st = *from;
		struct message *m = &st.message[n];

		if (m->kind == NO_KIND || !m->silent || m->orphan)
			continue;
		message_lose(s, &st, m);
		if (m->stage == GOING) {
			m->orphan = 1;
			emit(s, &st, "chargehand gives the silent link up; the %s of run %d lies at the server",
			     kind_names[m->kind], m->run + 1);
		}
		m->kind = NO_KIND;
		emit(s, &st, "chargehand gives up the silent link of run %d", m->run + 1);
	}
}

static void next_recall(struct search *s, const struct state *from)
{
	for (size_t n = 0; n < MESSAGES; n++) {
		const struct message *m = &from->message[n];
		const struct run *r = &from->run[m->run];
		struct state st = *from;
		bool at_limit = r->age == OLD || r->phase != LIVE;

		if ((!is_fail(m->kind) && m->kind != RETURN) || m->stage != GOING || m->stuck || !at_limit)
			continue;
		if (!keeps(s, m->by == BY_REPORTER ? RULE_RECALL : RULE_SESSION_LIMIT))
			continue;
		message_lose(s, &st, &st.message[n]);
		st.run[m->run].wasted |= m->silent && !m->orphan && !r->repeated;
		st.message[n].kind = NO_KIND;
		emit(s, &st, "%s the %s of run %d%s",
		     m->by == BY_REPORTER && is_fail(m->kind) && !m->orphan ? "chargehand recalls"
									    : "the kernel gives up",
		     kind_names[m->kind], m->run + 1, m->orphan ? ", which nobody waits for" : "");
	}
}

static void start(struct search *s, const struct state *from)
{
	struct state st = *from;

	for (unsigned who = A; who <= B; who++)
		if (st.life[who] == ORPHANED && keeps(s, RULE_LEFTOVERS_FIRST))
			return;
	/* What the one before had sent of a return has arrived by now, or will not. */
	for (size_t n = 0; n < MESSAGES; n++)
		if (from->message[n].kind == RETURN || from->message[n].kind == PUSHB)
			return;
	st.up = 1;
	for (unsigned i = 0; i < st.n_runs; i++) {
		struct run *r = &st.run[i];

		if (r->j_hold != HELD)
			continue;
		r->hold = r->j_kind ? REPORTED : HELD;
		r->kind = r->j_kind;
		r->way = r->j_kind ? BY_REPORTER : NO_WAY;
		r->knows_sent = r->j_sent;
		r->ack_answered = r->j_ack_answered;
	}
	emit(s, &st, "a new chargehand starts with the journal");
}

void chargehand_next(struct search *s, const struct state *from)
{
	if (!from->up) {
		start(s, from);
		return;
	}
	/* Read and sent on in one turn of the loop: nothing comes between but a SIGKILL. */
	for (unsigned i = 0; i < from->n_runs; i++)
		if (from->run[i].way == BY_SESSION) {
			next_send(s, from, i);
			return;
		}
	for (unsigned i = 0; i < from->n_runs; i++) {
		if (from->run[i].who == STRANGER)
			continue;
		next_enter(s, from, i);
		next_read(s, from, i);
		next_undertake(s, from, i);
		next_send(s, from, i);
	}
	for (size_t n = 0; n < MESSAGES; n++)
		next_answer(s, from, n);
	next_give_up(s, from);
	next_recall(s, from);
}
