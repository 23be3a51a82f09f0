/* SPDX-License-Identifier: MIT
 *
 * One report: whether it may still be sent, and what it becomes when the server has done half of it.
 */
#include "report/internal.h"

#include "base/log.h"
#include "faktory/fail.h"
#include "faktory/jid.h"
#include <assert.h>

const char *report_outcome_to_string(enum report_outcome outcome)
{
	static const char *const names[] = {
		[REPORT_SETTLED] = "settled",     [REPORT_NOT_FOUND] = "not found", [REPORT_TOO_LATE] = "too late",
		[REPORT_OVERTAKEN] = "overtaken", [REPORT_REFUSED] = "refused",     [REPORT_HALF_DONE] = "half done",
	};
	static_assert(ARRAY_SIZE(names) == _REPORT_OUTCOME_MAX, "each outcome has a name");

	return (unsigned)outcome < _REPORT_OUTCOME_MAX ? names[outcome] : "?";
}

bool report_is_overtaken(const struct report *p)
{
	return p->hold->state != HOLD_GONE && !hold_is_newest(p->hold);
}

/* ACKs have no such moment, nor has a return that was sent before, for its ACK may have been carried out: rule 2. */
bool report_is_late(const struct report *p, usec_t now)
{
	bool begun = p->ack_answered || p->hold->fail_first_usec > 0;
	bool may_be = kind_is_fail(p->kind) || (p->kind == REPORT_RETURN && !begun);

	if (may_be && now > hold_fail_until_usec(p->hold))
		return true;
	return p->kind != REPORT_RETURN && report_is_overtaken(p);
}

void report_free(struct report *p)
{
	hold_unref(p->hold);
	free(p->line);
	free(p);
}

/* A FAIL that was half done: the server has forgotten the reservation, and at the end of its lease drops the job. Where
 * the job is at hand, it is pushed again; the ACK before it changes nothing any more. */
bool report_push_again(struct report *p, const char *server_text)
{
	char jid[JID_SHOW_MAX], *line;
	struct hold *h = p->hold;
	size_t bytes, ack_bytes;

	if (p->kind != REPORT_FAIL || h->state != HOLD_FAILING || !h->body ||
	    return_write(h->jid, h->jid_bytes, h->body, h->body_bytes, &line, &bytes, &ack_bytes) < 0)
		return false;
	log_error("%s: job %s: the server failed in the middle of its FAIL (%s); its body is at hand, and is pushed "
		  "again",
		  h->holder->name, jid_show(jid, h->jid, h->jid_bytes), server_text);
	ledger_set_state(h, HOLD_RETURNING);
	ledger_report(h, REPORT_RETURN, line, bytes, ack_bytes);
	free(p->line);
	p->kind = REPORT_RETURN;
	p->line = line;
	p->line_bytes = bytes;
	p->ack_bytes = ack_bytes;
	return true;
}
