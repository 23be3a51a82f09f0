/* SPDX-License-Identifier: MIT
 *
 * Looked at, then reaped: every kind of end, and several at a time.
 */
#include "process/reap.h"

#include "child.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

TestSuite(reap, .timeout = 60);

enum how { BY_EXIT, BY_SIGNAL, NEVER };

static pid_t start(enum how how, int number, int *ret_pidfd)
{
	pid_t pid = fork();

	if (pid == 0) {
		const struct rlimit no_core = {0};

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setrlimit(RLIMIT_CORE, &no_core);
		if (how == BY_EXIT)
			_exit(number);
		if (how == BY_SIGNAL) {
			signal(number, SIG_DFL);
			(void)kill(getpid(), number);
		}
		for (;;)
			pause();
	}
	cr_assert(gt(int, pid, 0));
	*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	cr_assert(ge(int, *ret_pidfd, 0));
	return pid;
}

static void check_end(enum how how, int number, int code, int shell_status)
{
	struct exit_info first = {.pid = 0}, second = {.pid = 0}, last = {.pid = 0};
	int pidfd;
	pid_t pid = start(how, number, &pidfd);

	await_readable(pidfd);
	cr_expect(eq(int, reap_peek(pidfd, &first), 0));
	cr_expect(eq(int, first.pid, pid));
	cr_expect(eq(int, first.code, code), "%d", number);
	cr_expect(eq(int, first.status, number));
	cr_expect(gt(u64, first.max_rss_bytes, 4096));
	cr_expect(eq(int, exit_info_to_status(&first), shell_status));
	/* Looking reaps nothing. */
	cr_expect(eq(int, reap_peek(pidfd, &second), 0));
	cr_expect(eq(int, second.pid, pid));

	cr_expect(eq(int, reap_pidfd(pidfd, &last), 0));
	cr_expect(eq(int, last.pid, pid));
	cr_expect(eq(int, last.code, code));
	cr_expect(eq(int, last.status, number));
	cr_expect(gt(u64, last.max_rss_bytes, 4096));
	cr_expect(eq(int, reap_peek(pidfd, &first), -ECHILD));
	cr_expect(eq(int, reap_pidfd(pidfd, &first), -ECHILD));
	close(pidfd);
}

Test(reap, every_end_is_told)
{
	check_end(BY_EXIT, 0, CLD_EXITED, 0);
	check_end(BY_EXIT, 1, CLD_EXITED, 1);
	check_end(BY_EXIT, 255, CLD_EXITED, 255);
	check_end(BY_SIGNAL, SIGKILL, CLD_KILLED, 137);
	check_end(BY_SIGNAL, SIGTERM, CLD_KILLED, 143);
	check_end(BY_SIGNAL, SIGSEGV, CLD_KILLED, 139);
	check_end(BY_SIGNAL, SIGRTMIN + 3, CLD_KILLED, 128 + SIGRTMIN + 3);
}

Test(reap, a_core_dump_counts_as_a_signal)
{
	const struct exit_info dumped = {.pid = 1, .code = CLD_DUMPED, .status = SIGSEGV};

	cr_expect(eq(int, exit_info_to_status(&dumped), 139));
}

Test(reap, the_living_are_left_alone)
{
	struct exit_info info = {.pid = -7};
	int pidfd;
	pid_t pid = start(NEVER, 0, &pidfd);
	pid_t next = -7;

	cr_expect(eq(int, reap_peek(pidfd, &info), -EAGAIN));
	cr_expect(eq(int, reap_pidfd(pidfd, &info), -EAGAIN));
	cr_expect(eq(int, reap_next(&next), -EAGAIN));
	cr_expect(eq(int, info.pid, -7), "written on failure");
	cr_expect(eq(int, next, -7), "written on failure");
	kill(pid, SIGKILL);
	await_readable(pidfd);
	cr_expect(eq(int, reap_pidfd(pidfd, &info), 0));
	close(pidfd);
}

Test(reap, orphans_are_found_one_after_another_and_a_first_process_is_left_for_its_owner)
{
	int first_fd, other_fd, n = 0;
	pid_t first = start(BY_EXIT, 3, &first_fd), other = start(BY_SIGNAL, SIGKILL, &other_fd), pid;
	struct exit_info info;

	await_readable(first_fd);
	await_readable(other_fd);
	/* The same one is shown until somebody reaps it. */
	cr_assert(eq(int, reap_next(&pid), 0));
	cr_expect(eq(int, pid == first || pid == other, 1));
	pid_t again;
	cr_assert(eq(int, reap_next(&again), 0));
	cr_expect(eq(int, again, pid));

	for (; n < 2 && reap_next(&pid) == 0; n++) {
		if (pid == other) {
			reap_orphan(pid);
		} else {
			cr_expect(eq(int, pid, first));
			cr_expect(eq(int, reap_pidfd(first_fd, &info), 0));
			cr_expect(eq(int, info.status, 3));
		}
	}
	cr_expect(eq(int, n, 2));
	cr_expect(eq(int, reap_next(&pid), -ECHILD));
	reap_orphan(other); /* nothing to do, and it does not wait */
	close(first_fd);
	close(other_fd);
}

Test(reap, a_process_that_is_killed_is_ending_and_so_is_a_zombie)
{
	int pidfd;
	pid_t pid = start(NEVER, 0, &pidfd);
	struct exit_info info;

	cr_expect(not(process_is_ending(pid)));
	cr_expect(not(process_is_ending(getpid())));
	cr_assert(eq(int, kill(pid, SIGKILL), 0));
	await_readable(pidfd);
	cr_expect(process_is_ending(pid));
	cr_assert(eq(int, reap_pidfd(pidfd, &info), 0));
	cr_expect(process_is_ending(pid));
	(void)close(pidfd);
}
