/* SPDX-License-Identifier: MIT
 *
 * A line that is too long to be held: it passes as it comes, in pieces of one read, with bounded memory. What it is
 * about is known when its end comes, so only the line end is held back until then: without it the server carries
 * nothing out (faktory-live 11).
 */
#include "gateway/internal.h"
#include <string.h>

struct upload {
	enum verb verb;
	struct request *request;
	bool in_args;         /* the verb is behind us */
	struct job_scan scan; /* ACK and FAIL */
};

/* True when the line now passes; false when it has to wait for a link, or the session has ended. */
bool upload_begin(struct session *s, const char *p, size_t bytes)
{
	struct upload *u;

	if (!link_is_ready(s->link)) {
		session_want_link(s);
		wait_for_link(s, LINK_WAIT_USEC);
		return false;
	}
	u = calloc(1, sizeof *u);
	if (u)
		u->request = request_new(s, REQUEST_PASS);
	if (!u || !u->request) {
		free(u);
		session_end(s);
		return false;
	}
	u->verb = command_verb(p, bytes);
	job_scan_init(&u->scan, u->verb == VERB_ACK ? JOB_SCAN_EXACT : JOB_SCAN_FOLDED);
	link_send(s->link, &u->request->base, clock_now_usec(), p, 0);
	s->upload = u;
	return true;
}

/* The session ends, or its link is lost, in the middle of the line. The request is its link's. */
void upload_drop(struct session *s)
{
	free(TAKE_PTR(s->upload));
}

/* The whole of a long ACK or FAIL but its end has gone out. True when the end may follow. */
static bool upload_decide(struct session *s, struct upload *u)
{
	const struct job *job = &u->scan.job;
	struct listener *l = s->listener;
	struct hold *h, *newest;

	if ((u->verb != VERB_ACK && u->verb != VERB_FAIL) || job->jid_bytes == 0)
		return true;
	h = ledger_find(l->gateway->ledger, &l->holder, job->jid, job->jid_bytes);
	newest = ledger_find_newest(l->gateway->ledger, job->jid, job->jid_bytes);
	if (newest && newest->holder != &l->holder && (!h || newest->generation > h->generation))
		return false;
	if (h && u->verb == VERB_FAIL && clock_now_usec() > hold_fail_until_usec(h))
		return false;
	if (h && h->state == HOLD_SETTLING && !intake_can_follow(s, h))
		return false;
	if (h) {
		u->request->kind = u->verb == VERB_ACK ? REQUEST_ACK : REQUEST_FAIL;
		u->request->hold = hold_ref(h);
		if (h->state == HOLD_HELD)
			ledger_set_state(h, HOLD_SETTLING);
		/* The line itself is gone by: only that there was one can be kept. */
		ledger_report(h, u->verb == VERB_ACK ? REPORT_WORKER_ACK : REPORT_WORKER_FAIL, NULL, 0, 0);
		if (u->verb == VERB_FAIL)
			ledger_mark_sent(h, clock_now_usec());
		ledger_barrier(l->gateway->ledger);
	}
	return true;
}

/* The report must not be carried out, and most of it is at the server: so its line never ends, and the worker is
 * answered as the server answers a job that it does not know. */
static void upload_refuse(struct session *s)
{
	bool alone = link_first_request(s->link) == &s->upload->request->base;
	bool ack = s->upload->verb == VERB_ACK;

	upload_drop(s);
	if (!alone) {
		session_end(s);
		return;
	}
	request_free(container_of(link_take_request(s->link), struct request, base));
	link_close(s->link, true);
	link_dial(s->link);
	if (ack)
		session_answer(s, "+OK\r\n", STRLEN("+OK\r\n"));
	else
		session_answer(s, "-ERR Job not found\r\n", STRLEN("-ERR Job not found\r\n"));
}

/* Returns what was dealt with: all, or up to the end of the line. */
size_t upload_feed(struct session *s, const char *p, size_t bytes)
{
	struct upload *u = s->upload;
	const char *end = memchr(p, '\n', bytes);
	size_t n = end ? (size_t)(end - p) + 1 : bytes;
	const char *args = p;
	size_t args_bytes = n;

	if (u->verb == VERB_ACK || u->verb == VERB_FAIL) {
		if (!u->in_args) {
			args = memchr(p, ' ', n);
			args_bytes = args ? n - (size_t)(args - p) : 0;
			u->in_args = args;
		}
		if (args)
			job_scan_feed(&u->scan, args, args_bytes);
	}
	if (end && !upload_decide(s, u)) {
		upload_refuse(s);
		return n;
	}
	link_send_more(s->link, p, n);
	if (end)
		upload_drop(s);
	return n;
}
