/* SPDX-License-Identifier: MIT
 *
 * The journal in the running program: opened at start, given its turns by the event loop, and spoken for in the log.
 */
#ifndef CHARGEHAND_SUPERVISE_BOOKKEEPER_H
#define CHARGEHAND_SUPERVISE_BOOKKEEPER_H

#include "config/config.h"
#include "ledger/journal.h"
#include <event2/event.h>

struct bookkeeper;

/* state_dir_fd: locked, borrowed. Negative, with result 0 and *ret NULL: there is none, and nothing is remembered. 0,
 * or -errno when chargehand must not run: the journal is another version's, or one that was asked for cannot be kept;
 * that has been logged. */
int bookkeeper_new(struct event_base *base, const struct config *config, int state_dir_fd,
		   struct bookkeeper **ret) _must_check_;
/* What is in the journal is for the next start. Returns NULL; accepts NULL. */
struct bookkeeper *bookkeeper_free(struct bookkeeper *b);

/* Between two turns of the loop: what the journal asked for in the last one gets its timer. Accepts NULL. */
void bookkeeper_end_turn(struct bookkeeper *b);

/* NULL when there is none: accepts NULL. */
struct journal *bookkeeper_journal(const struct bookkeeper *b);

/* There is a journal, and it does not hold all that it should: the disk is full, say. Accepts NULL. */
bool bookkeeper_is_failing(const struct bookkeeper *b);

#endif
