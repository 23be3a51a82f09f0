/* SPDX-License-Identifier: MIT
 *
 * The slice of this process, as the kernel tells it, whatever src/process/slice.c makes of it, and the one processor
 * that it is about. <linux/sched/types.h> does not go together with the <sched.h> of glibc 2.41.
 */
#ifndef CHARGEHAND_TESTS_OWN_SLICE_H
#define CHARGEHAND_TESTS_OWN_SLICE_H

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 0 where the kernel does not tell (it does from 6.12 on), and under a policy that has none. */
static inline uint64_t own_slice_nsec(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime_nsec, deadline_nsec, period_nsec;
	} attr;

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0U) < 0)
		return 0;
	return attr.policy == SCHED_OTHER || attr.policy == SCHED_BATCH ? attr.runtime_nsec : 0;
}

/* Of those that it may run on, to the first one. Returns how many they were. */
static inline int stay_on_one_processor(void)
{
	cpu_set_t all, one;
	int first = 0;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return -1;
	while (!CPU_ISSET(first, &all))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	return sched_setaffinity(0, sizeof(one), &one) < 0 ? -1 : CPU_COUNT(&all);
}

#endif
