/* SPDX-License-Identifier: MIT
 *
 * What an earlier chargehand left when it died (P7): workers without a supervisor, and jobs that were in their hands.
 *
 * The processes are ended first: as long as one of them lives it may go on with its job, though nobody hears of it any
 * more. Then each hold that the journal has is settled: a report that was on its way is sent as what it was, a stray
 * goes back to its queue, and everything else is FAILed as SupervisorDied; as far as leases allow. What is settled
 * leaves the journal at the server's answer, not before: so this chargehand may die in the middle of it as well.
 */
#ifndef CHARGEHAND_SUPERVISE_ESTATE_H
#define CHARGEHAND_SUPERVISE_ESTATE_H

#include "supervise/worker.h"

struct estate;

/* To be called before the first worker is started; waits some seconds at most for processes to end. shop has journal,
 * ledger and reporter. -ENOMEM: nothing was taken over, and all of it is still in the journal. */
int estate_take_over(const struct workshop *shop, struct estate **ret) _must_check_;

/* What is not settled is left to the next start. Returns NULL; accepts NULL. */
struct estate *estate_free(struct estate *e);

bool estate_is_settled(const struct estate *e); /* accepts NULL */

/* For every answer that reporter.h tells of; does nothing where the holder is not of the estate. */
void estate_report_answered(struct estate *e, const struct holder *holder, struct hold *hold);

/* Names what is left, for the log. Accepts NULL. */
void estate_log_left(const struct estate *e);

#endif
