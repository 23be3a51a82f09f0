/* SPDX-License-Identifier: MIT
 *
 * 100 ms, 200 ms, 400 ms … 60 s for one short life after another; a healthy one pays all debts.
 */
#include "supervise/backoff.h"

#include "base/macro.h"

/* Beyond this many doublings the result no longer changes. */
#define BACKOFF_SHIFT_MAX 10U

usec_t backoff_next(struct backoff *b, usec_t lived_usec, usec_t healthy_usec)
{
	if (lived_usec < healthy_usec)
		return backoff_fail(b);
	b->failures = 0;
	return 0;
}

usec_t backoff_fail(struct backoff *b)
{
	usec_t wait_usec = BACKOFF_FIRST_USEC << MIN(b->failures, BACKOFF_SHIFT_MAX);
	if (b->failures < BACKOFF_SHIFT_MAX)
		b->failures++;
	return MIN(wait_usec, BACKOFF_MAX_USEC);
}
