/* SPDX-License-Identifier: MIT
 *
 * Keeps a ledger in a journal: the sink that turns holds into records, and the way back at start. Neither ledger nor
 * journal knows of the other.
 *
 *   start   journal_open(), end leftover workers, keep_restore() what was found, keep_attach(), journal_drop_found()
 *   worker  holder->sink_data = what journal_add_worker() gave, before the first job comes
 *   end     ledger_free() (which leaves holds to the next start), journal_close()
 */
#ifndef CHARGEHAND_LEDGER_KEEP_H
#define CHARGEHAND_LEDGER_KEEP_H

#include "base/macro.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"

void keep_attach(struct ledger *l, struct journal *j);

/* Enters a hold that was found into the ledger, HELD, with as much of its lease as is certain. Its report, if there is
 * one, is in `found`: to be sent as what it was. fail_first_usec is set so that a FAIL that was sent is repeated within
 * LEDGER_FAIL_REPEAT_USEC of that time and in the same boot only. -ENOMEM; -EINVAL: a jid that cannot be one. */
int keep_restore(struct ledger *l, struct holder *holder, const struct journal_found *found, usec_t now,
		 usec_t wall_now, struct hold **ret) _must_check_;

#endif
