/* SPDX-License-Identifier: MIT
 *
 * What became of a report, for the log: one line for each job, or an entry of the journal that can be found by it.
 */
#ifndef CHARGEHAND_SUPERVISE_OUTCOME_H
#define CHARGEHAND_SUPERVISE_OUTCOME_H

#include "report/reporter.h"

/* worker: whose job it was. The rest is as reporter_callback has it. */
void outcome_log(const char *worker, const struct hold *hold, enum report_kind kind, enum report_outcome outcome,
		 const char *server_text);

#endif
