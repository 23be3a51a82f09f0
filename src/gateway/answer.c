/* SPDX-License-Identifier: MIT
 *
 * What comes from the server: the reply to each request, what it does to the ledger, and what the session is told. A
 * request outlives its session: its reply still settles a hold, or brings a stray.
 */
#include "base/log.h"
#include "faktory/fail.h"
#include "gateway/internal.h"
#include <string.h>

/* A FETCH reply that is too long to be held: what is known of its job so far. */
struct long_job {
	struct job_scan scan;
	struct hold *hold; /* a reference, from the jid on */
	bool untracked;
};

void answer_drop_long_job(struct request *r)
{
	if (r->job) {
		hold_unref(r->job->hold);
		free(TAKE_PTR(r->job));
	}
}

void answer_keep_body(const struct listener *l, struct hold *h, const char *body, size_t body_bytes)
{
	if (body_bytes <= l->gateway->settings.keep_body_bytes && hold_keep_body(h, body, body_bytes) < 0)
		log_error("%s: out of memory for the body of a job that may have to go back.", l->holder.name);
}

void answer_stray(struct listener *l, struct hold *h, const char *body, size_t body_bytes)
{
	char shown[JID_SHOW_MAX];

	if (body)
		answer_keep_body(l, h, body, body_bytes);
	log_info("%s: job %s was given out for a session that can no longer take it.", l->holder.name,
		 jid_show(shown, h->jid, h->jid_bytes));
	ledger_set_state(h, HOLD_STRAY);
	l->gateway->ops->on_stray(l->worker, h);
}

static void answer_untracked(const struct listener *l, const struct job *job)
{
	log_error("%s: a job came %s: it is passed on, but chargehand can do nothing for it should its worker die.",
		  l->holder.name, job->jid_too_long ? "whose jid is too long to follow" : "without a jid");
}

static void answer_job(struct request *r, struct session *s, const struct link_reply *reply)
{
	static struct job_scan scan;
	struct listener *l = r->listener;
	const char *body;
	size_t body_bytes;
	struct hold *h;

	resp_body(reply->resp, reply->bytes, reply->n_bytes, &body, &body_bytes);
	job_scan_init(&scan, JOB_SCAN_FETCHED);
	job_scan_feed(&scan, body, body_bytes);
	if (scan.job.jid_bytes == 0) {
		answer_untracked(l, &scan.job);
		if (s)
			session_answer(s, reply->bytes, reply->n_bytes);
		return;
	}
	if (ledger_add(l->gateway->ledger, &l->holder, &scan.job, r->base.sent_usec, clock_turn_usec(), &h) < 0) {
		/* Not handed over: at the end of its lease the server will have it again. */
		log_error("%s: out of memory; a job is left to the end of its lease.", l->holder.name);
		if (s)
			session_end(s);
		return;
	}
	h->pid = r->pid;
	if (!s || s->eof || l->dead) {
		answer_stray(l, h, body, body_bytes);
		return;
	}
	ledger_barrier(l->gateway->ledger);
	session_hand_over(s, h, reply);
}

/* A reply in parts stops where the session is slower than the server. */
static void answer_pause(const struct session *s, const struct link_reply *reply)
{
	if (!reply->last && stream_backlog_bytes(&s->stream) > STREAM_BACKLOG_HIGH_BYTES)
		link_pause(s->link);
}

static void answer_forward(struct session *s, const struct link_reply *reply)
{
	if (!s || s->over)
		return;
	session_answer(s, reply->bytes, reply->n_bytes);
	answer_pause(s, reply);
}

/* In parts. The hold is entered at the jid, with the shortest lease there is, before the worker has seen that far; the
 * rest is known before the last part goes out (hazards 27). */
static void answer_long_job(struct request *r, struct session *s, const struct link_reply *reply)
{
	struct listener *l = r->listener;
	const char *body = reply->bytes;
	size_t body_bytes = reply->n_bytes;
	struct long_job *j = r->job;

	if (reply->first) {
		r->job = j = calloc(1, sizeof *j);
		if (!j) {
			if (s)
				session_end(s);
			return;
		}
		job_scan_init(&j->scan, JOB_SCAN_FETCHED);
		body += reply->resp->header_bytes;
		body_bytes -= reply->resp->header_bytes;
	}
	if (!j)
		return;
	job_scan_feed(&j->scan, body, body_bytes);
	if (!j->hold && !j->untracked && j->scan.job.jid_bytes > 0) {
		struct hold *h;
		int64_t reserve_for = j->scan.job.reserve_for;

		if (!j->scan.done)
			j->scan.job.reserve_for = 1; /* clamped to the minimum */
		if (ledger_add(l->gateway->ledger, &l->holder, &j->scan.job, r->base.sent_usec, clock_now_usec(), &h) <
		    0)
			j->untracked = true;
		else {
			h->pid = r->pid;
			j->hold = hold_ref(h);
		}
		j->scan.job.reserve_for = reserve_for;
	}
	if (reply->last && j->hold) {
		j->hold->received_usec = clock_now_usec();
		ledger_update(j->hold, &j->scan.job);
		if (!s || s->eof || l->dead) {
			/* Its worker may have died meanwhile, and the job with it: then it is being FAILed. */
			if (j->hold->state == HOLD_HELD)
				answer_stray(l, j->hold, NULL, 0);
			return;
		}
	} else if (reply->last)
		answer_untracked(l, &j->scan.job);
	if (!s || s->over)
		return;
	ledger_barrier(l->gateway->ledger);
	session_hand_over(s, j->hold, reply);
	answer_pause(s, reply);
}

static void answer_fetch(struct request *r, struct session *s, const struct link_reply *reply)
{
	const struct resp *resp = reply->resp;

	if (resp->kind == '$' && !resp->nil) {
		if (reply->first && reply->last)
			answer_job(r, s, reply);
		else
			answer_long_job(r, s, reply);
	} else
		answer_forward(s, reply);
}

/* The server would not have the report: the job is held as before, and a dead worker's must be reported by somebody. */
static void answer_refused(struct listener *l, struct hold *h)
{
	if (h->state != HOLD_SETTLING)
		return;
	ledger_set_state(h, HOLD_HELD);
	if (l->dead)
		l->gateway->ops->on_refused(l->worker, h);
}

/* The report goes on through the reporter; the session, if one waits, has its answer in a second at the latest. False
 * when there is nothing that could be sent. */
static bool answer_hand_over(struct request *r, struct session *s)
{
	struct listener *l = r->listener;
	struct hold *h = r->hold;
	char *line = TAKE_PTR(r->line);
	size_t line_bytes = r->line_bytes;

	if (h->state == HOLD_GONE || h->in_transit) {
		free(line); /* settled, or handed over, by another report for it */
	} else {
		if (!line && (r->kind == REQUEST_FAIL || ack_write(h->jid, h->jid_bytes, &line, &line_bytes) < 0)) {
			answer_refused(l, h);
			return false;
		}
		h->in_transit = true;
		l->gateway->ops->on_report(l->worker, h,
					   r->kind == REQUEST_ACK ? REPORT_WORKER_ACK : REPORT_WORKER_FAIL, line,
					   line_bytes);
	}
	if (s && !s->over && !l->dead) {
		wait_for_answer(s, 1, false, clock_now_usec() + REPORT_WAIT_USEC);
		hold_unref(s->reported);
		s->reported = hold_ref(h);
	}
	return true;
}

static void answer_report(struct request *r, struct session *s, const struct link_reply *reply)
{
	struct listener *l = r->listener;
	struct hold *h = r->hold;

	/* Parts of a long answer: an echo of the whole line. Its first part says all. */
	if (reply->first && h && h->state != HOLD_GONE) {
		enum resp_error error = reply->resp->kind == '-' ? resp_error_class(reply->resp) : RESP_ERROR_REFUSED;

		if (reply->resp->kind == '+' || (r->kind == REQUEST_FAIL && error == RESP_ERROR_NOT_FOUND)) {
			ledger_settle(h);
			listener_changed(l);
		} else if (error == RESP_ERROR_STORAGE && r->kind == REQUEST_ACK) {
			/* Half done: an ACK may be repeated, and is what completes it (hazards 5). */
			if (answer_hand_over(r, s))
				return;
		} else if (error == RESP_ERROR_STORAGE) {
			l->gateway->ops->on_half_done(l->worker, h, reply->resp->head);
			ledger_settle(h);
			listener_changed(l);
		} else
			answer_refused(l, h);
	}
	answer_forward(s, reply);
}

static void answer_beat(struct request *r, struct session *s, const struct link_reply *reply)
{
	if (reply->resp->kind == '$' && reply->first && reply->last &&
	    memmem(reply->bytes, reply->n_bytes, "\"terminate\"", STRLEN("\"terminate\"")))
		r->listener->gateway->ops->on_terminate(r->listener->worker);
	answer_forward(s, reply);
}

void request_on_reply(struct request *r, const struct link_reply *reply)
{
	struct session *s = r->session;

	/* Detached first, so that what is called from here finds the session as it is after the answer. */
	if (reply->last) {
		request_detach(r);
		if (r->kind == REQUEST_FETCH)
			listener_changed(r->listener);
	}
	switch (r->kind) {
	case REQUEST_FETCH:
		answer_fetch(r, s, reply);
		break;
	case REQUEST_ACK:
	case REQUEST_FAIL:
		answer_report(r, s, reply);
		break;
	case REQUEST_BEAT:
		answer_beat(r, s, reply);
		break;
	case REQUEST_PASS:
		answer_forward(s, reply);
		break;
	}
	if (reply->last) {
		request_free(r);
		if (s)
			session_advance(s);
	}
}

/* Its link is gone and its reply will not come. partial: the server had begun to answer it. */
void request_on_lost(struct request *r, bool partial)
{
	struct session *s = r->session;
	usec_t now = clock_now_usec();

	request_detach(r);
	if (s && s->over)
		s = NULL;
	switch (r->kind) {
	case REQUEST_FETCH:
		if (r->job) {
			/* Half a job has been passed on: the session cannot be saved, the job can. */
			struct hold *h = r->job->hold;

			if (s)
				session_end(s);
			if (h && h->state == HOLD_HELD)
				answer_stray(r->listener, h, NULL, 0);
		} else if (s)
			wait_for_answer(s, 0, true, MAX(now, r->base.sent_usec + FETCH_NIL_USEC));
		if (partial && !r->job)
			log_warning("%s: the link was lost in the middle of a job's delivery; what job it was is not "
				    "known, and "
				    "it is left to the end of its lease.",
				    r->listener->holder.name);
		listener_changed(r->listener);
		break;
	case REQUEST_ACK:
	case REQUEST_FAIL:
		if (!(r->hold && answer_hand_over(r, s)) && s)
			session_end(s);
		break;
	case REQUEST_BEAT:
		if (s)
			wait_for_answer(s, 1, false, now);
		break;
	case REQUEST_PASS:
		if (s)
			session_end(s);
		break;
	}
	request_free(r);
}
