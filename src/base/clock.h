/* SPDX-License-Identifier: MIT
 *
 * Time. Everything that waits or compares uses one clock, CLOCK_BOOTTIME in microseconds (clock_gettime(2)): it is
 * not moved by anybody who sets the wall clock, and it goes on while the machine is suspended, as the server's
 * reservations do. Pure code never reads it: it takes `now` as an argument.
 */
#ifndef CHARGEHAND_BASE_CLOCK_H
#define CHARGEHAND_BASE_CLOCK_H

#include <stdint.h>
#include <sys/time.h>

typedef uint64_t usec_t;

#define USEC_PER_MSEC ((usec_t)1000)
#define USEC_PER_SEC ((usec_t)1000000)
#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MINUTE)
#define USEC_PER_DAY (24 * USEC_PER_HOUR)
#define USEC_NEVER UINT64_MAX

/* CLOCK_BOOTTIME. A vDSO call of some 30 ns. */
usec_t clock_now_usec(void);

/* The same, read once in a turn of the event loop: for what happens with each command, dozens of which make a turn.
 * Outside of turns it is clock_now_usec(). */
usec_t clock_turn_usec(void);
void clock_begin_turn(void);
void clock_end_turn(void);

/* CLOCK_MONOTONIC: only for systemd, which compares by it. */
usec_t clock_monotonic_usec(void);

/* CLOCK_REALTIME: only for what leaves the machine or its present boot. */
usec_t clock_wall_usec(void);

/* a + b and a - b that stop at USEC_NEVER and 0 instead of wrapping. USEC_NEVER plus anything is USEC_NEVER. */
usec_t usec_add(usec_t a, usec_t b);
usec_t usec_sub(usec_t a, usec_t b);

struct timeval usec_to_timeval(usec_t usec);

#endif
