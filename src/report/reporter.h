/* SPDX-License-Identifier: MIT
 *
 * The reporter: sends FAIL for the dead on a link of its own that is always ready, and everything else about jobs
 * that no session's link can carry: a worker's ACK or FAIL whose link was lost, strays on their way back, heartbeats in
 * a silent worker's stead. Never behind a FETCH; pipelined; in the order given.
 *
 * Rules (hazards 1, 5, 7, 16):
 *   1. A FAIL is sent until hold_fail_until_usec() and never later; a hold whose time is over is left to its lease.
 *   2. An ACK is repeated for as long as it takes. ACK and PUSHB of a stray are begun in the time of rule 1, for the
 *      ACK would end the next run's reservation; then repeated as a pair until the ACK is answered, then PUSHB alone:
 *      so that at worst a job runs twice, and none is lost.
 *   3. A link with an unanswered FAIL is closed with RST before anything is sent again. One that brings no answer to a
 *      report is given up after LINK_HASTY_USEC, so that a FAIL can be repeated within its ten seconds; nothing new is
 *      said into one that has been silent for a second, so that what was not said yet keeps the time of its lease. Not
 *      so behind a return, which is not repeated in a hurry.
 *   4. Nothing is said of a job while a newer hold of it is known (hazards 6); of a return only the PUSHB is left.
 *   5. A hold leaves the ledger when the server has answered.
 */
#ifndef CHARGEHAND_REPORT_REPORTER_H
#define CHARGEHAND_REPORT_REPORTER_H

#include "base/macro.h"
#include "ledger/ledger.h"
#include "ledger/report.h"
#include "link/dial.h"
#include <stdbool.h>

struct reporter;

enum report_outcome {
	REPORT_SETTLED,   /* +OK */
	REPORT_NOT_FOUND, /* FAIL: the server no longer knows it; settled all the same */
	REPORT_TOO_LATE,  /* not sent, or not sent again: left to the end of the lease */
	REPORT_OVERTAKEN, /* the same: one of our workers has the job anew, and it would be said of that run */
	REPORT_REFUSED,   /* an -ERR that sending again would not cure */
	REPORT_HALF_DONE, /* FAIL met a storage error, and the job's body is not at hand to push it again: the job will
			     vanish at the end of its lease (faktory-live N3) */
	_REPORT_OUTCOME_MAX,
};
const char *report_outcome_to_string(enum report_outcome outcome);

/* The hold has been settled or, for REPORT_REFUSED of a worker's own report, is HELD again. The hold is valid during
 * the call. holder: whose it is, or was: hold->holder is NULL once it is settled. server_text: what the server said,
 * for the log; "" when nothing. Comes from the event loop only, never out of a call of the owner's. */
typedef void (*reporter_callback)(void *userdata, struct holder *holder, struct hold *hold, enum report_kind kind,
				  enum report_outcome outcome, const char *server_text);

/* dialer and ledger are borrowed. */
int reporter_new(struct dialer *dialer, struct ledger *ledger, reporter_callback callback, void *userdata,
		 struct reporter **ret) _must_check_;
struct reporter *reporter_free(struct reporter *r); /* gives up what is left */

/* Takes the line (malloc'ed) on success and on failure. The hold is FAILING, SETTLING or RETURNING as fits the kind.
 * ack_bytes: REPORT_RETURN only, where the second command begins; 0 when the ACK has been answered and is not in
 * the line. -ENOMEM. All reports given in one turn of the loop go out in one write at its end, or at
 * reporter_flush(). */
int reporter_send(struct reporter *r, struct hold *hold, enum report_kind kind, char *line, size_t line_bytes,
		  size_t ack_bytes) _must_check_;
void reporter_flush(struct reporter *r);

/* BEAT {"wid":…}. False: not sent, for the link is down. */
bool reporter_beat(struct reporter *r, const char *wid);

/* Reports without an answer so far. */
size_t reporter_n_waiting(const struct reporter *r);
bool reporter_is_ready(const struct reporter *r);

/* Not ready, though the server can be connected to: it did not answer in time, or does not greet. */
bool reporter_is_silent(const struct reporter *r);

/* False: so much is waiting that what can wait elsewhere should. All is taken nevertheless. */
bool reporter_has_room(const struct reporter *r);

#endif
