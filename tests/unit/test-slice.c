/* SPDX-License-Identifier: MIT
 *
 * The slice of this process, of which each test has one of its own.
 */
#include "own-slice.h"
#include "process/slice.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

TestSuite(slice, .timeout = 60);

/* Kernels before 6.12 do not tell. */
static uint64_t need_slice(void)
{
	uint64_t nsec = own_slice_nsec();

	if (nsec == 0)
		cr_skip("this kernel knows no slices (6.12 does)");
	cr_assert(ge(int, stay_on_one_processor(), 1));
	return nsec;
}

Test(slice, is_twice_as_long_and_can_be_given_back)
{
	uint64_t first = need_slice(), before = 0;

	cr_assert(eq(int, slice_lengthen(&before), 0));
	cr_expect(eq(u64, before, first));
	cr_expect(eq(u64, own_slice_nsec(), 2 * first));
	slice_set(0);
	cr_expect(eq(u64, own_slice_nsec(), 2 * first));
	slice_set(before);
	cr_expect(eq(u64, own_slice_nsec(), first));
}

Test(slice, is_left_alone_where_there_are_more_processors)
{
	uint64_t first = own_slice_nsec(), before = 42;
	cpu_set_t set;

	cr_assert(eq(int, sched_getaffinity(0, sizeof(set), &set), 0));
	if (CPU_COUNT(&set) == 1)
		cr_skip("there is one processor here");
	cr_expect(eq(int, slice_lengthen(&before), -EOPNOTSUPP));
	cr_expect(eq(u64, before, 42));
	cr_expect(eq(u64, own_slice_nsec(), first));
}

Test(slice, is_all_that_changes)
{
	const struct sched_param none = {0};
	uint64_t before;

	(void)need_slice();
	cr_assert(eq(int, setpriority(PRIO_PROCESS, 0, 7), 0));
	cr_assert(eq(int, sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none), 0));
	cr_assert(eq(int, slice_lengthen(&before), 0));
	slice_set(before);
	cr_expect(eq(int, getpriority(PRIO_PROCESS, 0), 7));
	cr_expect(eq(int, sched_getscheduler(0), SCHED_BATCH | SCHED_RESET_ON_FORK));
}

Test(slice, is_left_alone_under_another_policy)
{
	const struct sched_param none = {0};
	uint64_t before = 42;

	cr_assert(ge(int, stay_on_one_processor(), 1));
	cr_assert(eq(int, sched_setscheduler(0, SCHED_IDLE, &none), 0));
	cr_expect(eq(int, slice_lengthen(&before), -EOPNOTSUPP));
	cr_expect(eq(u64, before, 42));
	cr_expect(eq(int, sched_getscheduler(0), SCHED_IDLE));
}

Test(slice, is_not_asked_for_under_a_filter)
{
	struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	const struct sock_fprog program = {.len = 1, .filter = allow};
	uint64_t before = 42, first = own_slice_nsec();

	cr_assert(ge(int, stay_on_one_processor(), 1));
	cr_assert(eq(int, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0));
	cr_assert(eq(int, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0));
	cr_expect(eq(int, slice_lengthen(&before), -EOPNOTSUPP));
	cr_expect(eq(u64, before, 42));
	cr_expect(eq(u64, own_slice_nsec(), first));
}
