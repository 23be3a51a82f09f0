/* SPDX-License-Identifier: MIT
 *
 * How long a slot waits for its next worker.
 */
#include "supervise/backoff.h"

#include "base/macro.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define HEALTHY USEC_PER_MINUTE

Test(backoff, doubles_up_to_a_minute)
{
	static const unsigned expected_msec[] = {100,  200,   400,   800,   1600,  3200,
						 6400, 12800, 25600, 51200, 60000, 60000};
	struct backoff b = {0};

	for (size_t i = 0; i < ARRAY_SIZE(expected_msec); i++)
		cr_assert(eq(u64, backoff_next(&b, 0, HEALTHY), expected_msec[i] * USEC_PER_MSEC), "life %zu", i);
}

Test(backoff, stays_at_the_most_for_ever)
{
	struct backoff b = {0};

	for (unsigned i = 0; i < 100000; i++)
		(void)backoff_next(&b, HEALTHY - 1, HEALTHY);
	cr_assert(eq(u64, backoff_next(&b, 0, HEALTHY), BACKOFF_MAX_USEC));
}

Test(backoff, a_healthy_life_is_followed_at_once_and_clears_the_past)
{
	struct backoff b = {0};

	for (unsigned i = 0; i < 5; i++)
		(void)backoff_next(&b, 0, HEALTHY);
	cr_assert(eq(u64, backoff_next(&b, HEALTHY, HEALTHY), 0));
	cr_assert(eq(u64, backoff_next(&b, HEALTHY - 1, HEALTHY), BACKOFF_FIRST_USEC));
}

Test(backoff, a_start_that_fails_is_no_life)
{
	struct backoff b = {0};

	cr_assert(eq(u64, backoff_fail(&b), BACKOFF_FIRST_USEC));
	cr_assert(eq(u64, backoff_fail(&b), 2 * BACKOFF_FIRST_USEC));
	cr_assert(eq(u64, backoff_next(&b, 0, HEALTHY), 4 * BACKOFF_FIRST_USEC));
}

Test(backoff, every_life_is_healthy_when_nothing_is_asked_of_it)
{
	struct backoff b = {0};

	cr_assert(eq(u64, backoff_next(&b, 0, 0), 0));
	cr_assert(eq(u64, backoff_next(&b, 0, 0), 0));
}
