/* SPDX-License-Identifier: MIT
 *
 * When to start the next worker of a slot: at once after a healthy life, else 100 ms, doubling to 60 s. Pure.
 */
#ifndef CHARGEHAND_SUPERVISE_BACKOFF_H
#define CHARGEHAND_SUPERVISE_BACKOFF_H

#include "base/clock.h"

#define BACKOFF_FIRST_USEC (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_USEC (60 * USEC_PER_SEC)

struct backoff {
	unsigned failures; /* short lives in a row */
};

/* How long to wait after a life of lived_usec; healthy_usec is what counts as a healthy one. */
usec_t backoff_next(struct backoff *b, usec_t lived_usec, usec_t healthy_usec);

/* ... after a start that has failed: whatever counts as healthy, that is no life. Never 0. */
usec_t backoff_fail(struct backoff *b);

#endif
