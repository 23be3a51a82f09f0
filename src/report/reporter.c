/* SPDX-License-Identifier: MIT
 *
 * The reporter's queue and its link. A report is in one of four lists: waiting to be sent, flying (sent, not answered),
 * resting (to be sent again after a while), or late (its time is over, its owner is to be told from the loop).
 *
 * Does not write reports, and does not decide what becomes of a worker: both belong to the layer above.
 */
#include "report/reporter.h"
#include "base/clock.h"
#include "base/entry.h"
#include "base/log.h"
#include "faktory/fail.h"
#include "faktory/handshake.h"
#include "report/internal.h"
#include "report/verdict.h"
#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <string.h>

/* With so much in hand no more is asked for: while the server is away, memory must not grow with what workers say. */
#define ROOM_BYTES ((size_t)16 << 20)

/* An ACK that met a storage error is repeated so often. */
#define REST_USEC USEC_PER_SEC

/* How the link, too, says that the server took a connection, and was silent. */
#define NO_ANSWER "no answer"

/* p is in no list any more. */
static void reporter_finish(struct reporter *r, struct report *p, enum report_outcome outcome, const char *server_text)
{
	struct holder *holder = p->hold->holder;

	r->n_reports--;
	r->n_bytes -= p->counted_bytes;

	/* It may have ended in another way meanwhile, and its holder with it: then there is nobody to tell. */
	if (p->hold->state != HOLD_GONE) {
		if (outcome == REPORT_REFUSED && kind_is_workers(p->kind))
			ledger_set_state(p->hold, HOLD_HELD);
		else
			ledger_settle(p->hold);
		r->callback(r->userdata, holder, p->hold, p->kind, outcome, server_text);
	}
	report_free(p);
}

static void reporter_finish_late(struct reporter *r)
{
	struct report *p;

	while ((p = TAILQ_FIRST(&r->late))) {
		TAILQ_REMOVE(&r->late, p, next);
		reporter_finish(r, p, report_is_overtaken(p) ? REPORT_OVERTAKEN : REPORT_TOO_LATE, "");
	}
}

static void reporter_sort_out_late(struct reporter *r, usec_t now)
{
	struct report *p, *next;

	for (p = TAILQ_FIRST(&r->waiting); p; p = next) {
		next = TAILQ_NEXT(p, next);
		if (report_is_late(p, now)) {
			TAILQ_REMOVE(&r->waiting, p, next);
			TAILQ_INSERT_TAIL(&r->late, p, next);
		}
	}
}

void reporter_set_timer(struct event *timer, usec_t usec)
{
	struct timeval tv = usec_to_timeval(usec);

	if (event_add(timer, &tv) < 0)
		log_error("Out of memory: the reporter has no timer.");
}

/* ---- turns and rests */

static void reporter_on_turn(_unused_ evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct reporter *r = userdata;

	reporter_send_waiting(r);
	reporter_finish_late(r);
}

static void reporter_on_rested(_unused_ evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct reporter *r = userdata;

	TAILQ_CONCAT(&r->waiting, &r->resting, next);
	reporter_send_waiting(r);
	reporter_finish_late(r);
}

static void reporter_rest(struct reporter *r, struct report *p)
{
	if (TAILQ_EMPTY(&r->resting))
		reporter_set_timer(&r->rest_timer, REST_USEC);
	TAILQ_INSERT_TAIL(&r->resting, p, next);
}

/* ---- loss */

/* Takes back what has no answer: in front of the rest, in the order it had. */
static void reporter_take_back(struct reporter *r)
{
	struct link_request *request;
	struct report *p;

	while ((request = link_take_request(r->link))) {
		struct part *part = container_of(request, struct part, request);

		if (part->kind == PART_BEAT)
			free(part);
	}
	while ((p = TAILQ_LAST(&r->flying, report_list))) {
		reporter_remove_flying(r, p);
		TAILQ_INSERT_HEAD(&r->waiting, p, next);
	}
	reporter_sort_out_late(r, clock_now_usec());
}

/* Once for each time that the server goes, not for each attempt; a wrong password is another matter than no server. */
static void reporter_log_loss(struct reporter *r, const char *why)
{
	bool password = strstr(why, "Invalid password");
	struct log_entry e;

	if (password && !r->password_told) {
		log_error("The server %s refuses the password.", r->address);
	} else if (!password && r->lost_usec == 0) {
		log_entry_begin(&e, LOG_WARNING, LOG_ID_SERVER_LOST);
		log_entry_field(&e, "CHARGEHAND_SERVER", "%s", r->address);
		log_entry_field(&e, "CHARGEHAND_REPORTS", "%zu", r->n_reports);
		log_entry_end(&e, "The server %s %s: %s. It will be tried again until it answers; %zu reports wait.",
			      r->address, r->ever_ready ? "is lost" : "cannot be reached", why, r->n_reports);
	}
	r->password_told = r->password_told || password;
	r->silent = strncmp(why, NO_ANSWER, STRLEN(NO_ANSWER)) == 0;
	if (r->lost_usec == 0)
		r->lost_usec = clock_now_usec();
}

static void reporter_on_lost(struct link *l, _unused_ bool partial, const char *why)
{
	struct reporter *r = link_owner(l);

	reporter_take_back(r);
	reporter_log_loss(r, why);
	reporter_finish_late(r);
}

static usec_t reporter_next_recall_usec(const struct reporter *r)
{
	usec_t earliest = USEC_NEVER;
	const struct report *p;

	TAILQ_FOREACH (p, &r->flying, next)
		if (kind_is_fail(p->kind))
			earliest = MIN(earliest, usec_add(hold_fail_until_usec(p->hold), RECALL_AFTER_USEC));
	return earliest;
}

static void reporter_on_recall(_unused_ evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct reporter *r = userdata;
	usec_t now = clock_now_usec();

	/* The one that the timer was set for may have been answered. */
	r->recall_usec = reporter_next_recall_usec(r);
	if (r->recall_usec > now) {
		reporter_set_timer(&r->recall_timer, usec_sub(r->recall_usec, now));
		return;
	}
	link_close(r->link, true);
	reporter_take_back(r);
	reporter_log_loss(r, NO_ANSWER " to a FAIL in time");
	reporter_finish_late(r);
	link_dial(r->link);
}

static void reporter_on_ready(struct link *l)
{
	struct reporter *r = link_owner(l);

	if (r->lost_usec > 0)
		log_notice("The server %s is %s after %.1f s.", r->address, r->ever_ready ? "back" : "there",
			   (double)usec_sub(clock_now_usec(), r->lost_usec) / (double)USEC_PER_SEC);
	r->lost_usec = 0;
	r->ever_ready = true;
	r->password_told = r->silent = false;

	reporter_sort_out_late(r, clock_now_usec());
	reporter_send_waiting(r);
	reporter_finish_late(r);
}

/* ---- answers */

static void reporter_on_verdict(struct reporter *r, struct report *p, enum verdict v, const char *text)
{
	static const enum report_outcome outcomes[] = {
		[VERDICT_DONE] = REPORT_SETTLED,
		[VERDICT_NOT_FOUND] = REPORT_NOT_FOUND,
		[VERDICT_REFUSED] = REPORT_REFUSED,
		[VERDICT_HALF_DONE] = REPORT_HALF_DONE,
	};

	reporter_remove_flying(r, p);
	if (v == VERDICT_AGAIN) {
		log_debug("%s of %s will be repeated: %s", report_kind_to_string(p->kind), p->hold->jid, text);
		reporter_rest(r, p);
	} else if (v == VERDICT_HALF_DONE && report_push_again(p, text)) {
		reporter_rest(r, p);
	} else {
		reporter_finish(r, p, outcomes[v], text);
	}
}

static void reporter_on_reply(struct link *l, struct link_request *request, const struct link_reply *reply)
{
	struct part *part = container_of(request, struct part, request);
	struct reporter *r = link_owner(l);
	struct report *p = part->report;
	char text[VERDICT_TEXT_MAX] = "";

	/* Only a map of errors could be so long that it comes in parts, and its first text is enough. */
	if (!reply->last)
		return;

	if (part->kind == PART_BEAT)
		free(part);
	else if (part->kind == PART_PUSHB)
		reporter_on_verdict(r, p, verdict_of_pushb(reply->resp, reply->bytes, reply->n_bytes, text), text);
	else if (p->kind == REPORT_RETURN)
		reporter_on_returned(p);
	else if (p->kind == REPORT_WORKER_ACK)
		reporter_on_verdict(r, p, verdict_of_ack(reply->resp, text), text);
	else
		reporter_on_verdict(r, p, verdict_of_fail(reply->resp, text), text);
	/* There is room for more, or the link is not silent any more. */
	if (!TAILQ_EMPTY(&r->waiting))
		event_active(&r->turn_event, EV_TIMEOUT, 0);
}

static void reporter_on_drained(struct link *l)
{
	struct reporter *r = link_owner(l);

	reporter_send_waiting(r);
	reporter_finish_late(r);
}

static const struct link_ops reporter_link_ops = {
	.on_ready = reporter_on_ready,
	.on_reply = reporter_on_reply,
	.on_lost = reporter_on_lost,
	.on_drained = reporter_on_drained,
};

/* ---- for the layer above */

int reporter_send(struct reporter *r, struct hold *hold, enum report_kind kind, char *line, size_t line_bytes,
		  size_t ack_bytes)
{
	struct report *p = malloc(sizeof(*p));

	if (!p) {
		free(line);
		return -ENOMEM;
	}
	assert(kind != REPORT_RETURN || ack_bytes < line_bytes);
	*p = (struct report){
		.hold = hold_ref(hold),
		.kind = kind,
		.line = line,
		.line_bytes = line_bytes,
		.ack_bytes = ack_bytes,
		.ack_answered = kind == REPORT_RETURN && ack_bytes == 0,
		.part = {.kind = PART_REPORT, .report = p},
		.pushb = {.kind = PART_PUSHB, .report = p},
	};

	TAILQ_INSERT_TAIL(&r->waiting, p, next);
	r->n_reports++;
	p->counted_bytes = sizeof(*p) + line_bytes;
	r->n_bytes += p->counted_bytes;
	event_active(&r->turn_event, EV_TIMEOUT, 0);
	return 0;
}

void reporter_flush(struct reporter *r)
{
	reporter_send_waiting(r);
	/* Owners are called from the loop only. */
	if (!TAILQ_EMPTY(&r->late))
		event_active(&r->turn_event, EV_TIMEOUT, 0);
}

bool reporter_beat(struct reporter *r, const char *wid)
{
	_cleanup_free_ char *line = NULL;
	struct part *part;
	size_t n;

	if (!link_is_ready(r->link) || link_is_full(r->link) || beat_write(wid, &line, &n) < 0)
		return false;
	part = calloc(1, sizeof(*part));
	if (!part)
		return false;
	part->kind = PART_BEAT;
	part->request.hasty = true;
	link_send(r->link, &part->request, clock_now_usec(), line, n);
	return true;
}

bool reporter_has_room(const struct reporter *r)
{
	return r->n_bytes < ROOM_BYTES;
}

size_t reporter_n_waiting(const struct reporter *r)
{
	return r->n_reports;
}

bool reporter_is_ready(const struct reporter *r)
{
	return link_is_ready(r->link);
}

bool reporter_is_silent(const struct reporter *r)
{
	return r->silent;
}

/* No wid: to the server it is a producer, which needs no heartbeat. */
static int reporter_make_hello(struct hello *ret)
{
	char host[65] = "", json[256];
	int n;

	(void)gethostname(host, sizeof(host) - 1);
	for (char *c = host; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\')
			*c = '?';
	n = snprintf(json, sizeof(json), "{\"hostname\":\"%s\",\"pid\":%ld,\"labels\":[\"chargehand-%s\"],\"v\":2}",
		     host, (long)getpid(), PACKAGE_VERSION);
	return hello_parse(json, (size_t)n, ret);
}

int reporter_new(struct dialer *dialer, struct ledger *ledger, reporter_callback callback, void *userdata,
		 struct reporter **ret)
{
	struct event_base *base = dialer_base(dialer);
	struct reporter *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	TAILQ_INIT(&r->waiting);
	TAILQ_INIT(&r->flying);
	TAILQ_INIT(&r->resting);
	TAILQ_INIT(&r->late);
	r->ledger = ledger;
	r->callback = callback;
	r->userdata = userdata;
	r->recall_usec = USEC_NEVER;
	(void)evtimer_assign(&r->turn_event, base, reporter_on_turn, r);
	(void)evtimer_assign(&r->rest_timer, base, reporter_on_rested, r);
	(void)evtimer_assign(&r->recall_timer, base, reporter_on_recall, r);

	r->address = server_url_show(dialer_url(dialer));
	if (!r->address || reporter_make_hello(&r->hello) < 0 ||
	    link_new(dialer, &reporter_link_ops, r, &r->link) < 0) {
		reporter_free(r);
		return -ENOMEM;
	}
	link_set_hello(r->link, &r->hello);
	link_dial(r->link);
	*ret = r;
	return 0;
}

struct reporter *reporter_free(struct reporter *r)
{
	struct report *p;

	if (!r)
		return NULL;
	if (r->link) {
		link_close(r->link, link_has_requests(r->link));
		reporter_take_back(r);
		r->link = link_free(r->link);
	}
	TAILQ_CONCAT(&r->waiting, &r->resting, next);
	TAILQ_CONCAT(&r->waiting, &r->late, next);
	while ((p = TAILQ_FIRST(&r->waiting))) {
		TAILQ_REMOVE(&r->waiting, p, next);
		report_free(p);
	}
	(void)event_del(&r->turn_event);
	(void)event_del(&r->rest_timer);
	(void)event_del(&r->recall_timer);
	hello_done(&r->hello);
	free(r->address);
	free(r);
	return NULL;
}
