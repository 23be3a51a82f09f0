/* SPDX-License-Identifier: MIT
 *
 * How long a process may run before others have their turn on its processor. From Linux 6.12 on it may ask for a slice
 * of its own: the longer it is, the sooner the process gives way to one that it wakes, for whose slice ends first goes
 * first (Documentation/scheduler/sched-eevdf.rst; sched_setattr(2), sched_runtime with SCHED_OTHER).
 *
 * A gateway that has handed on a command had better give way: when it runs again the answer is there. On one processor
 * with worker and server that saves it a fifth of the time that a command costs, and the worker a tenth of its wait.
 * Beside processes that never sleep a FAIL mostly comes sooner (p50 0.18 ms rather than 0.43), and at worst a slice
 * later (p99 5.1 rather than 3.4).
 */
#ifndef CHARGEHAND_PROCESS_SLICE_H
#define CHARGEHAND_PROCESS_SLICE_H

#include "base/macro.h"
#include <stdint.h>

/* Doubles this process's slice. 0 with what it was, for its children; *ret_before_nsec is unchanged otherwise.
 * -EOPNOTSUPP: the kernel is older, the policy is another one than SCHED_OTHER and SCHED_BATCH, or there is a filter of
 * system calls, which might end the process for the asking (SystemCallFilter=~@resources of a systemd unit). */
int slice_lengthen(uint64_t *ret_before_nsec) _must_check_;

/* In a child, between fork and exec: async-signal-safe. 0: leaves it as it is. What cannot be had is not had. */
void slice_set(uint64_t nsec);

#endif
