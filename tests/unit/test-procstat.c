/* SPDX-License-Identifier: MIT
 *
 * What proc(5) promises, names that try to be fields, and this process itself.
 */
#include "process/procstat.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(procstat);

#define BEHIND "4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654321 10 11"

Test(procstat, fields_are_told_by_their_numbers)
{
	struct proc_stat s;

	cr_assert(eq(int, proc_stat_parse("77 (worker) S 42 77 77 0 -1 " BEHIND "\n", &s), 0));
	cr_expect(eq(chr, s.state, 'S'));
	cr_expect(eq(int, s.parent_pid, 42));
	cr_expect(eq(u64, s.flags, 4194560));
	cr_expect(eq(u64, s.start_ticks, 987654321));
	cr_expect(not(proc_stat_is_exiting(&s)));
}

Test(procstat, a_name_is_any_bytes)
{
	struct proc_stat s;

	cr_assert(eq(int, proc_stat_parse("77 (a) Z 1 (b c) R 42 77 77 0 -1 " BEHIND, &s), 0));
	cr_expect(eq(chr, s.state, 'R'));
	cr_expect(eq(int, s.parent_pid, 42));
}

Test(procstat, who_is_exiting)
{
	struct proc_stat s;

	cr_assert(eq(int, proc_stat_parse("77 (a) Z 42 77 77 0 -1 " BEHIND, &s), 0));
	cr_expect(proc_stat_is_exiting(&s));
	cr_assert(eq(int, proc_stat_parse("77 (a) R 42 77 77 0 -1 4194564 1 2 3 4 5 6 7 8 20 0 1 0 9 10", &s), 0));
	cr_expect(proc_stat_is_exiting(&s), "PF_EXITING");
}

Test(procstat, what_is_cut_short_is_refused)
{
	const char whole[] = "77 (worker) S 42 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654321";
	struct proc_stat s = {.state = '?'};
	char text[sizeof(whole)];

	for (size_t n = 0; n < sizeof(whole) - sizeof("987654321"); n++) {
		memcpy(text, whole, n);
		text[n] = '\0';
		cr_expect(eq(int, proc_stat_parse(text, &s), -EBADMSG), "%zu bytes", n);
	}
	cr_expect(eq(chr, s.state, '?'), "unchanged");
}

Test(procstat, this_process)
{
	struct proc_stat s;

	prctl(PR_SET_NAME, ") Z 1 (");
	cr_assert(eq(int, proc_stat_read(getpid(), &s), 0));
	cr_expect(eq(chr, s.state, 'R'));
	cr_expect(eq(int, s.parent_pid, getppid()));
	cr_expect(gt(u64, s.start_ticks, 0));
	cr_expect(not(proc_stat_is_exiting(&s)));
}

Test(procstat, a_zombie_and_one_that_is_gone)
{
	struct proc_stat s;
	siginfo_t info;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	cr_assert(eq(int, waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0));
	cr_assert(eq(int, proc_stat_read(pid, &s), 0));
	cr_expect(eq(chr, s.state, 'Z'));
	cr_expect(proc_stat_is_exiting(&s));
	cr_assert(eq(int, waitpid(pid, NULL, 0), pid));
	cr_expect(eq(int, proc_stat_read(pid, &s), -ESRCH));
}
