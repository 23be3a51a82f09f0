/* SPDX-License-Identifier: MIT
 *
 * The clocks run and are the ones meant; sums stop at their ends.
 */
#include "base/clock.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <time.h>

static usec_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

Test(clock, now_lies_between_two_looks_at_the_boot_clock)
{
	usec_t before = read_clock(CLOCK_BOOTTIME), now = clock_now_usec(), after = read_clock(CLOCK_BOOTTIME);

	cr_assert(all(ge(u64, now, before), le(u64, now, after)));
}

Test(clock, monotonic_lies_between_two_looks_at_its_clock)
{
	usec_t before = read_clock(CLOCK_MONOTONIC), now = clock_monotonic_usec(), after = read_clock(CLOCK_MONOTONIC);

	cr_assert(all(ge(u64, now, before), le(u64, now, after)));
}

Test(clock, wall_lies_between_two_looks_at_the_wall_clock)
{
	usec_t before = read_clock(CLOCK_REALTIME), now = clock_wall_usec(), after = read_clock(CLOCK_REALTIME);

	cr_assert(all(ge(u64, now, before), le(u64, now, after)));
}

Test(clock, in_a_turn_it_is_read_once)
{
	usec_t first, before = clock_now_usec(), outside = clock_turn_usec();

	cr_assert(all(ge(u64, outside, before), le(u64, outside, clock_now_usec())));
	for (int i = 0; i < 2; i++) {
		clock_begin_turn();
		before = clock_now_usec();
		while (clock_now_usec() == before)
			;
		first = clock_turn_usec();
		cr_assert(gt(u64, first, before));
		while (clock_now_usec() == first)
			;
		cr_assert(eq(u64, clock_turn_usec(), first));
	}
	clock_end_turn();
	cr_assert(gt(u64, clock_turn_usec(), first));
}

Test(clock, sums_stop_at_the_ends)
{
	cr_assert(eq(u64, usec_add(2, 3), 5));
	cr_assert(eq(u64, usec_add(USEC_NEVER - 1, 1), USEC_NEVER));
	cr_assert(eq(u64, usec_add(USEC_NEVER - 1, 2), USEC_NEVER));
	cr_assert(eq(u64, usec_add(USEC_NEVER, 0), USEC_NEVER));
	cr_assert(eq(u64, usec_add(7, USEC_NEVER), USEC_NEVER));
	cr_assert(eq(u64, usec_sub(5, 3), 2));
	cr_assert(eq(u64, usec_sub(3, 3), 0));
	cr_assert(eq(u64, usec_sub(3, 5), 0));
	cr_assert(eq(u64, usec_sub(USEC_NEVER, 5), USEC_NEVER));
}

Test(clock, timeval_keeps_both_parts_and_is_bounded)
{
	struct timeval tv = usec_to_timeval(12 * USEC_PER_SEC + 345678);

	cr_assert(all(eq(i64, tv.tv_sec, 12), eq(i64, tv.tv_usec, 345678)));
	tv = usec_to_timeval(USEC_NEVER);
	cr_assert(all(eq(i64, tv.tv_sec, 365 * 86400), eq(i64, tv.tv_usec, 0)));
}
