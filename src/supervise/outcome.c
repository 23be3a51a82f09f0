/* SPDX-License-Identifier: MIT
 *
 * Nothing is put together for a line that nobody wants: there is one for each job.
 */
#include "supervise/outcome.h"

#include "base/entry.h"
#include "base/log.h"

#include <stdio.h>

static bool is_discarded(const struct hold *hold, enum report_kind kind, enum report_outcome outcome)
{
	return outcome == REPORT_SETTLED && kind == REPORT_FAIL && hold->have_retry && hold->retry == 0;
}

static int outcome_level(enum report_outcome outcome, bool discarded)
{
	if (outcome == REPORT_REFUSED || outcome == REPORT_HALF_DONE)
		return LOG_ERR;
	return discarded || outcome == REPORT_TOO_LATE ? LOG_WARNING : LOG_INFO;
}

static void outcome_format(char *text, size_t room, const char *report, enum report_outcome outcome, bool discarded,
			   const char *server_text)
{
	switch (outcome) {
	case REPORT_SETTLED:
		if (discarded)
			(void)snprintf(text, room, "the server has discarded it: it may not be retried");
		else
			(void)snprintf(text, room, "the server has taken its %s", report);
		break;
	case REPORT_NOT_FOUND:
		(void)snprintf(text, room, "the server no longer knows it");
		break;
	case REPORT_TOO_LATE:
		(void)snprintf(text, room, "too late for its %s; the server takes it back at the end of its lease",
			       report);
		break;
	case REPORT_OVERTAKEN:
		(void)snprintf(text, room, "in other hands since; nothing is said of it");
		break;
	case REPORT_REFUSED:
		(void)snprintf(text, room, "the server refuses its %s: %s", report, server_text);
		break;
	case REPORT_HALF_DONE:
		(void)snprintf(text, room,
			       "the server failed in the middle of its %s: it will vanish at the end of its "
			       "reservation, unless it is pushed again: %s",
			       report, server_text);
		break;
	default:
		(void)snprintf(text, room, "%s", report_outcome_to_string(outcome));
	}
}

void outcome_log(const char *worker, const struct hold *hold, enum report_kind kind, enum report_outcome outcome,
		 const char *server_text)
{
	bool discarded = is_discarded(hold, kind, outcome);
	const char *report = report_kind_to_string(kind);
	int level = outcome_level(outcome, discarded);
	char jid[JID_SHOW_MAX], text[1024];
	struct log_entry e;

	if (!log_enabled(level))
		return;
	jid_show(jid, hold->jid, hold->jid_bytes);
	outcome_format(text, sizeof(text), report, outcome, discarded, server_text);
	log_entry_begin(&e, level, outcome == REPORT_HALF_DONE ? LOG_ID_JOB_VANISHES : NULL);
	log_entry_field(&e, "CHARGEHAND_WORKER", "%s", worker);
	log_entry_field(&e, "CHARGEHAND_JID", "%s", jid);
	log_entry_field(&e, "CHARGEHAND_REPORT", "%s", report);
	log_entry_field(&e, "CHARGEHAND_OUTCOME", "%s", discarded ? "discarded" : report_outcome_to_string(outcome));
	log_entry_end(&e, "%s: job %s (%s): %s", worker, jid, hold->jobtype, text);
}
