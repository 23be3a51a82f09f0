/* SPDX-License-Identifier: MIT
 *
 * What comes from the worker: whole lines, and what becomes of each. A command is dealt with, or it stays at the head
 * of the session's input: because a FETCH is under way (nothing is sent behind one), because it needs a link that is
 * not ready, or because an answer of our own would overtake the server's.
 */
#include "base/log.h"
#include "gateway/internal.h"
#include <stdio.h>
#include <string.h>

#define OK_REPLY "+OK\r\n"

/* Sends the command as it came. NULL: the session is over for want of memory. hold: a report's, which the reporter can
 * bring should this link be silent. */
static struct request *intake_send(struct session *s, enum request_kind kind, const struct command *c,
				   struct hold *hold, usec_t now)
{
	struct request *r = request_new(s, kind);

	if (!r) {
		log_error("%s: out of memory; a session is closed.", s->listener->holder.name);
		session_end(s);
		return NULL;
	}
	r->base.patient = kind == REQUEST_FETCH;
	r->base.hasty = hold || kind == REQUEST_BEAT;
	link_send(s->link, &r->base, now, c->line, c->line_bytes);
	if (kind != REQUEST_FETCH && kind != REQUEST_PASS)
		listener_arm(s->listener, now + ANSWER_LATE_USEC);
	return r;
}

/* False when there is no link yet: the command waits for it. */
static bool intake_has_link(struct session *s, usec_t wait_usec)
{
	if (link_is_ready(s->link))
		return true;
	session_want_link(s);
	wait_for_link(s, wait_usec);
	return false;
}

static bool intake_pass(struct session *s, enum request_kind kind, const struct command *c, usec_t now)
{
	if (!intake_has_link(s, LINK_WAIT_USEC))
		return false;
	(void)intake_send(s, kind, c, NULL, now);
	return true;
}

/* Nobody reads the answer of a dead worker's or a half-closed session's FETCH: it would fetch for the dead (hazards 9).
 */
static bool intake_is_deaf(const struct session *s)
{
	return s->eof || s->listener->dead;
}

static bool intake_fetch(struct session *s, const struct command *c)
{
	struct listener *l = s->listener;
	usec_t now = clock_turn_usec();
	struct request *r;

	if (intake_is_deaf(s))
		return true;
	if (l->quiet) {
		if (s->n_requests > 0)
			return false;
		wait_for_answer(s, 0, true, now + FETCH_NIL_USEC);
		return true;
	}
	if (!intake_has_link(s, LINK_WAIT_FETCH_USEC))
		return false;
	r = intake_send(s, REQUEST_FETCH, c, NULL, now);
	if (r) {
		r->pid = s->identity->hello.pid;
		r->in_fetches = true;
		s->fetch = r;
		TAILQ_INSERT_TAIL(&l->fetches, r, in_queue);
		l->n_fetches++;
		listener_arm(l, now + FETCH_LATE_USEC);
	}
	return true;
}

static bool intake_beat(struct session *s, const struct command *c)
{
	static struct job_scan scan;

	usec_t now = clock_turn_usec();

	if (intake_is_deaf(s))
		return true;
	/* Mostly for the wid of its own session: then there is no need to look for whose it is. */
	if (identity_is_named(s->identity, c->args, c->args_bytes)) {
		identity_beat(s->listener, s->identity->hello.wid, now);
	} else {
		job_scan_init(&scan, JOB_SCAN_FOLDED);
		job_scan_feed(&scan, c->args, c->args_bytes);
		if (scan.job.wid[0])
			identity_beat(s->listener, scan.job.wid, now);
	}
	return intake_pass(s, REQUEST_BEAT, c, now);
}

/* Answers a report in the server's stead, in its turn. */
static bool intake_answer_report(struct session *s, const struct job *job, bool ok)
{
	char reply[64 + JID_RAW_MAX];

	if (s->n_requests > 0)
		return false;
	if (ok)
		session_answer(s, OK_REPLY, STRLEN(OK_REPLY));
	else {
		int n = snprintf(reply, sizeof reply, "-ERR Job not found %.*s\r\n", (int)job->jid_bytes, job->jid);
		session_answer(s, reply, (size_t)n);
	}
	return true;
}

/* No link: the reporter brings it to the server, as what it is, and the worker has its +OK in a second at the latest.
 */
static bool intake_report_in_transit(struct session *s, const struct command *c, struct hold *h)
{
	enum report_kind kind = c->verb == VERB_ACK ? REPORT_WORKER_ACK : REPORT_WORKER_FAIL;
	struct listener *l = s->listener;
	char *line;

	if (!l->dead && !l->gateway->ops->has_room(l->worker)) {
		session_want_link(s);
		wait_for_room(s);
		return false;
	}
	line = malloc(c->line_bytes);
	if (!line) {
		session_end(s);
		return true;
	}
	memcpy(line, c->line, c->line_bytes);
	if (h->state == HOLD_HELD)
		ledger_set_state(h, HOLD_SETTLING);
	h->in_transit = true;
	ledger_report(h, kind, c->line, c->line_bytes, 0);
	ledger_barrier(l->gateway->ledger);
	if (!l->dead) {
		wait_for_answer(s, 1, false, clock_now_usec() + REPORT_WAIT_USEC);
		s->reported = hold_ref(h);
		session_want_link(s);
	}
	l->gateway->ops->on_report(l->worker, h, kind, line, c->line_bytes);
	return true;
}

static bool intake_report_on_link(struct session *s, const struct command *c, struct hold *h, usec_t now)
{
	_cleanup_free_ char *copy = NULL;
	struct request *r;

	if (h && c->verb == VERB_FAIL) {
		/* Should the link be lost it is sent again. */
		copy = malloc(c->line_bytes);
		if (!copy) {
			session_end(s);
			return true;
		}
		memcpy(copy, c->line, c->line_bytes);
	}
	if (h) {
		/* In the journal first: what the server has been told must not be told otherwise by the next chargehand
		 * (hazards 2). */
		ledger_report(h, c->verb == VERB_ACK ? REPORT_WORKER_ACK : REPORT_WORKER_FAIL, c->line, c->line_bytes,
			      0);
		if (c->verb == VERB_FAIL)
			ledger_mark_sent(h, now);
		ledger_barrier(s->listener->gateway->ledger);
	}
	r = intake_send(s, c->verb == VERB_ACK ? REQUEST_ACK : REQUEST_FAIL, c, h, now);
	if (r && h) {
		r->hold = hold_ref(h);
		r->line = TAKE_PTR(copy);
		r->line_bytes = r->line ? c->line_bytes : 0;
		if (r->line)
			gather_pass_seat(s, r);
		if (h->state == HOLD_HELD)
			ledger_set_state(h, HOLD_SETTLING);
	}
	return true;
}

/* Another report for the hold is under way. The first one counts: a FAIL that took another way could overtake the ACK
 * of a job that is finished (hazards 3). Behind it on the same link it does no harm, and has an answer of its own. */
bool intake_can_follow(const struct session *s, const struct hold *h)
{
	if (h->in_transit || !link_is_ready(s->link))
		return false;
	for (const struct link_request *base = link_first_request(s->link); base; base = STAILQ_NEXT(base, next))
		if (container_of(base, const struct request, base)->hold == h)
			return true;
	return false;
}

/* ACK and FAIL: keyed by jid alone on the server, so whose job it is now is looked up here first. */
static bool intake_report(struct session *s, const struct command *c)
{
	static struct job_scan scan;
	const struct job *job = &scan.job;
	struct listener *l = s->listener;
	struct hold *h, *newest;
	usec_t now = clock_turn_usec();

	job_scan_init(&scan, c->verb == VERB_ACK ? JOB_SCAN_EXACT : JOB_SCAN_FOLDED);
	job_scan_feed(&scan, c->args, c->args_bytes);
	if (job->jid_bytes == 0)
		return intake_pass(s, REQUEST_PASS, c, now);

	h = ledger_find(l->gateway->ledger, &l->holder, job->jid, job->jid_bytes);
	newest = h && hold_is_newest(h) ? h : ledger_find_newest(l->gateway->ledger, job->jid, job->jid_bytes);
	if (newest && newest->holder != &l->holder && (!h || newest->generation > h->generation)) {
		/* Another worker has it since: its reservation would end (hazards 6). */
		if (!intake_answer_report(s, job, c->verb == VERB_ACK))
			return false;
		if (h && h->state == HOLD_HELD)
			ledger_settle(h);
		return true;
	}
	if (h && h->state == HOLD_SETTLING && !intake_can_follow(s, h))
		return intake_answer_report(s, job, true);
	if (h && c->verb == VERB_FAIL && now > hold_fail_until_usec(h)) {
		/* From here on the job is the reaper's: a FAIL that meets it loses the job (faktory-live 2), and one
		 * may be on its way for DIAL_USER_TIMEOUT_MSEC, which is less than the margin. */
		if (!intake_answer_report(s, job, false))
			return false;
		if (h->state == HOLD_HELD)
			ledger_settle(h);
		return true;
	}
	if (link_is_ready(s->link))
		return intake_report_on_link(s, c, h, now);
	if (!h)
		return intake_pass(s, REQUEST_PASS, c, now);
	return intake_report_in_transit(s, c, h);
}

/* The first line. What the server would close the connection for, without a word, is closed here. */
static void intake_hello(struct session *s, const struct command *c)
{
	struct listener *l = s->listener;
	struct hello hello;

	if (c->verb != VERB_HELLO || hello_parse(c->args, c->args_bytes, &hello) < 0) {
		log_info("%s: a session did not begin with a HELLO that the server would take; it is closed.",
			 l->holder.name);
		session_end(s);
		return;
	}
	if (identity_get(l, &hello, &s->identity) < 0) {
		hello_done(&hello);
		session_end(s);
		return;
	}
	TAILQ_REMOVE(&l->greeting, s, in_queue);
	session_answer(s, OK_REPLY, STRLEN(OK_REPLY));
	if (!l->dead) {
		session_want_link(s);
		l->gateway->ops->on_hello(l->worker, &s->identity->hello);
	}
}

/* Whether these first bytes can still become a HELLO. */
static bool intake_may_be_hello(struct session *s, const char *p, size_t bytes)
{
#define OPENING "HELLO {"
	if (memcmp(p, OPENING, MIN(bytes, STRLEN(OPENING))) == 0 && bytes < LINE_HELD_MAX)
		return true;
	if (p[0] == 0x16)
		log_warning("%s: a session began with TLS. Workers speak plain TCP to chargehand: turn TLS off in the "
			    "worker's own configuration.",
			    s->listener->holder.name);
	return false;
}

/* False: it waits, at the head of the input. */
static bool intake_command(struct session *s, const struct command *c)
{
	if (!s->identity) {
		intake_hello(s, c);
		return true;
	}
	switch (c->verb) {
	case VERB_END:
		s->ended = true;
		return true;
	case VERB_FETCH:
		return intake_fetch(s, c);
	case VERB_BEAT:
		return intake_beat(s, c);
	case VERB_ACK:
	case VERB_FAIL:
		return intake_report(s, c);
	default:
		return intake_pass(s, REQUEST_PASS, c, clock_turn_usec());
	}
}

size_t intake_feed(struct session *s, const char *p, size_t bytes)
{
	size_t used = 0;

	while (used < bytes && s->wait == WAIT_NONE && !s->fetch && !s->over && !s->ended) {
		struct command c;

		if (s->upload) {
			used += upload_feed(s, p + used, bytes - used);
			continue;
		}
		if (!s->identity && !intake_may_be_hello(s, p + used, bytes - used)) {
			session_end(s);
			break;
		}
		if (gather_is_partial(s, p + used, bytes - used) || !command_next(p + used, bytes - used, &c)) {
			if (bytes - used < LINE_HELD_MAX || gather_begin(s, p + used, bytes - used) ||
			    !upload_begin(s, p + used, bytes - used))
				break;
			gather_end(s);
			continue;
		}
		if (!intake_command(s, &c))
			break;
		gather_end(s);
		used += c.line_bytes;
	}
	return used;
}
