/* SPDX-License-Identifier: MIT
 *
 * One worker's standard error: read as soon as something is there, whoever reads on the other side, so that no worker
 * ever waits; passed on to the outlet and remembered for the backtrace of its death certificate.
 */
#ifndef CHARGEHAND_SUPERVISE_PUMP_H
#define CHARGEHAND_SUPERVISE_PUMP_H

#include "base/macro.h"
#include "process/tail.h"
#include "supervise/outlet.h"
#include <event2/event_struct.h>
#include <stdbool.h>

struct pump {
	int fd; /* -EBADF: not open */
	bool ended; /* its end has been read */
	struct event event;
	struct tail tail;
	struct outlet *outlet;
};

/* Takes the reading end of a pipe, non-blocking, on success. */
int pump_open(struct pump *p, struct event_base *base, int fd, struct outlet *outlet) _must_check_;

/* Reads what is there now: the last words of a worker that has just ended. */
void pump_drain(struct pump *p);

/* All zero bytes and fd = -EBADF is a pump that was never open. */
void pump_close(struct pump *p);

#endif
