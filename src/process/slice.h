/* SPDX-License-Identifier: MIT
 *
 * How long a process may run before others have their turn on its processor. From Linux 6.12 on it may ask for a slice
 * of its own: the longer it is, the sooner the process gives way to one that it wakes, for whose slice ends first goes
 * first (Documentation/scheduler/sched-eevdf.rst; sched_setattr(2), sched_runtime with SCHED_OTHER).
 *
 * Where there is one processor, a gateway that has handed on a command had better give way: when it runs again the
 * answer is there. That saves it a fifth of the time that a command costs, and the worker a tenth of its wait. Where
 * there are more, one that has nothing to do takes over who has given way, and each command moves from one to the
 * other: a session alone on two processors had 66 µs to wait for a command instead of 34. With 50 sessions it is the
 * same either way.
 */
#ifndef CHARGEHAND_PROCESS_SLICE_H
#define CHARGEHAND_PROCESS_SLICE_H

#include <stdint.h>

/* Doubles this process's slice where it may run on one processor only (sched_getaffinity(2)). 0 with what it was, for
 * its children; *ret_before_nsec is unchanged otherwise. -EOPNOTSUPP: there are more, the kernel is older, the policy
 * is another one than SCHED_OTHER and SCHED_BATCH, or there is a filter of system calls, which might end the process
 * for the asking (SystemCallFilter=~@resources of a systemd unit). */
int slice_lengthen(uint64_t *ret_before_nsec);

/* In a child, between fork and exec: async-signal-safe. 0: leaves it as it is. What cannot be had is not had. */
void slice_set(uint64_t nsec);

#endif
