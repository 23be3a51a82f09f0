/* SPDX-License-Identifier: MIT
 *
 * Reads the two clocks, and adds and subtracts without wrapping.
 */
#include "base/clock.h"
#include "base/macro.h"
#include <assert.h>
#include <stdbool.h>
#include <time.h>

static bool in_turn;
static usec_t turn_usec; /* 0: not read yet in this turn */

static usec_t clock_read(clockid_t id)
{
	struct timespec ts;
	int r = clock_gettime(id, &ts);

	/* Fails for an unknown clock only, and every kernel that has cgroup v2 has both. */
	assert(r == 0);
	(void)r;
	return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

usec_t clock_now_usec(void)
{
	return clock_read(CLOCK_BOOTTIME);
}

usec_t clock_turn_usec(void)
{
	if (!in_turn)
		return clock_now_usec();
	if (turn_usec == 0)
		turn_usec = clock_now_usec();
	return turn_usec;
}

void clock_begin_turn(void)
{
	in_turn = true;
	turn_usec = 0;
}

void clock_end_turn(void)
{
	in_turn = false;
}

usec_t clock_monotonic_usec(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

usec_t clock_wall_usec(void)
{
	return clock_read(CLOCK_REALTIME);
}

usec_t usec_add(usec_t a, usec_t b)
{
	return a > USEC_NEVER - b ? USEC_NEVER : a + b;
}

usec_t usec_sub(usec_t a, usec_t b)
{
	if (a == USEC_NEVER)
		return USEC_NEVER;
	return a > b ? a - b : 0;
}

struct timeval usec_to_timeval(usec_t usec)
{
	/* struct timeval is for relative times here; libevent refuses nothing, but some of its back ends multiply by
	 * 1000 in an int: a year is for ever. */
	usec_t capped = MIN(usec, 365 * USEC_PER_DAY);

	return (struct timeval){
		.tv_sec = (time_t)(capped / USEC_PER_SEC),
		.tv_usec = (suseconds_t)(capped % USEC_PER_SEC),
	};
}
