/* SPDX-License-Identifier: MIT
 *
 * Tells the service manager (systemd, or whoever has set NOTIFY_SOCKET) how chargehand is, as sd_notify(3) has it:
 *
 *   READY=1               every worker has said HELLO, or a time has passed
 *   STATUS=…              a line for systemctl(1), when it has changed, at most once a second
 *   WATCHDOG=1            from the loop, twice in each WATCHDOG_USEC; without these no timer runs
 *   RELOADING=1, READY=1  around a reload
 *   STOPPING=1            and EXTEND_TIMEOUT_USEC for as long as the stop goes on: it ends by its own rules
 *
 * Nothing waits for the manager: what it does not take at once is told again a little later.
 */
#ifndef CHARGEHAND_SUPERVISE_HERALD_H
#define CHARGEHAND_SUPERVISE_HERALD_H

#include "base/clock.h"
#include "base/macro.h"
#include "supervise/news.h"
#include <event2/event.h>

struct herald;

/* envp: what chargehand was started with. ready_usec: after so long it is ready in any case. *ret is NULL where nobody
 * wants to be told; all functions accept that.
 * -EAFNOSUPPORT, -ENAMETOOLONG: the address cannot be used. */
int herald_new(struct event_base *base, char *const *envp, usec_t ready_usec, struct herald **ret) _must_check_;
struct herald *herald_free(struct herald *h);

/* At the end of each turn of the loop: decides what of it is to be told. */
void herald_tell(struct herald *h, const struct news *news);

void herald_begin_reload(struct herald *h);
void herald_end_reload(struct herald *h);

/* Of envp: the interval at which the manager wants to hear of this process; USEC_NEVER. For --check as well. */
usec_t herald_watchdog_usec(char *const *envp);

#endif
