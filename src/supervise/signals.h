/* SPDX-License-Identifier: MIT
 *
 * Signals as events of the loop: signalfd(2). Those asked for are blocked from signals_new() to signals_free();
 * SIGPIPE is ignored, and SIGTTOU of a terminal that belongs to a worker.
 */
#ifndef CHARGEHAND_SUPERVISE_SIGNALS_H
#define CHARGEHAND_SUPERVISE_SIGNALS_H

#include "base/macro.h"
#include <event2/event.h>
#include <sys/types.h>

struct signals;

/* sender: 0 when the kernel sent it. */
typedef void (*signals_callback)(void *userdata, int signal, pid_t sender);

/* wanted: ended by 0. */
int signals_new(struct event_base *base, const int *wanted, signals_callback callback, void *userdata,
		struct signals **ret) _must_check_;
struct signals *signals_free(struct signals *s);

#endif
