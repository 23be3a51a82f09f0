/* SPDX-License-Identifier: MIT
 *
 * What the reporter's three files share: reporter.c has the queue and the link's life, outgoing.c what goes up the
 * link, report.c the single report.
 */
#ifndef CHARGEHAND_REPORT_INTERNAL_H
#define CHARGEHAND_REPORT_INTERNAL_H

#include "base/clock.h"
#include "faktory/handshake.h"
#include "link/link.h"
#include "report/reporter.h"
#include <assert.h>
#include <event2/event_struct.h>

enum part_kind {
	PART_REPORT, /* the whole of a report, or the ACK of a return */
	PART_PUSHB,
	PART_BEAT,
};

struct part {
	struct link_request request;
	enum part_kind kind;
	struct report *report; /* NULL for PART_BEAT */
};

struct report {
	TAILQ_ENTRY(report) next;
	struct hold *hold;
	enum report_kind kind;
	bool ack_answered; /* REPORT_RETURN: only its PUSHB is left to do */
	char *line;
	size_t line_bytes, ack_bytes;
	size_t counted_bytes; /* for reporter_has_room() */
	struct part part, pushb;
};

TAILQ_HEAD(report_list, report);

/* A FAIL without an answer so long after the last moment to send it is recalled by resetting the connection. A second
 * remains of the margin, and of the 15 s after which a job that was FAILed can be with another worker (hazards 1). */
#define RECALL_AFTER_USEC (4 * USEC_PER_SEC)
static_assert(RECALL_AFTER_USEC < LEDGER_FAIL_MARGIN_USEC, "a FAIL is recalled before its lease can end");

struct reporter {
	struct link *link;
	struct ledger *ledger;
	reporter_callback callback;
	void *userdata;
	struct hello hello;
	char *address; /* for log lines */

	struct report_list waiting, flying, resting, late;
	size_t n_reports, n_flying, n_fails_flying;
	size_t n_bytes, n_flying_bytes; /* of all reports, of those */

	struct event turn_event; /* the end of this turn of the loop */
	struct event rest_timer;
	struct event recall_timer; /* pending only while a FAIL is flying */
	usec_t recall_usec;

	usec_t lost_usec; /* 0 while the server is there */
	bool ever_ready, password_told;
	bool silent; /* how it was lost the last time */
};

static inline bool kind_is_fail(enum report_kind kind)
{
	return kind == REPORT_FAIL || kind == REPORT_WORKER_FAIL;
}

static inline bool kind_is_workers(enum report_kind kind)
{
	return kind == REPORT_WORKER_ACK || kind == REPORT_WORKER_FAIL;
}

/* Rule 4: keyed by jid alone on the server, it would end the newer hold's reservation. */
bool report_is_overtaken(const struct report *p);

/* Rules 1 and 4: not to be sent, or not again. */
bool report_is_late(const struct report *p, usec_t now);

/* A FAIL that was half done becomes a return where the job's body is at hand, and says so. False: it is not. */
bool report_push_again(struct report *p, const char *server_text);

void report_free(struct report *p); /* in no list any more */

/* reporter.c */
void reporter_set_timer(struct event *timer, usec_t usec);

/* outgoing.c */
void reporter_send_waiting(struct reporter *r); /* as many as may go; what is too late goes to r->late */
void reporter_remove_flying(struct reporter *r, struct report *p);
void reporter_on_returned(struct report *p); /* the ACK of a return is answered, or is not to be sent */

#endif
