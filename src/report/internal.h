/* SPDX-License-Identifier: MIT
 *
 * What the reporter's two files share: reporter.c has the queue and the link, report.c the single report.
 */
#ifndef CHARGEHAND_REPORT_INTERNAL_H
#define CHARGEHAND_REPORT_INTERNAL_H

#include "link/link.h"
#include "report/reporter.h"

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

#endif
