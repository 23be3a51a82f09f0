/* SPDX-License-Identifier: MIT
 *
 * Trees of real processes: what lives, what only seems to, what belongs to somebody else.
 */
#include "process/tree.h"

#include "child.h"
#include "process/reap.h"

#include <signal.h>
#include <sys/prctl.h>

#define MARK "mail.1-0badcafe"
#define OTHER_MARK "mail.1-0badcaf" /* the beginning of the other */

static char *const marked[] = {(char *)"A=1", (char *)TREE_VARIABLE "=" MARK, NULL};
static char *const marked_first[] = {(char *)TREE_VARIABLE "=" MARK, (char *)"A=1", NULL};
static char *const other_marked[] = {(char *)"X" TREE_VARIABLE "=" MARK, (char *)TREE_VARIABLE "=" OTHER_MARK,
				     (char *)"A=" TREE_VARIABLE "=" MARK, NULL};

static char *const unmarked[] = {(char *)"A=1", NULL};

static int out = -EBADF, in = -EBADF;

static void setup(void)
{
	cr_assert(eq(int, tree_become_subreaper(), 0));
	make_pipe(&out, &in);
}

/* Every descendant is ours; none is left, whatever went wrong. */
static void teardown(void)
{
	pid_t pid;

	tree_pretend_no_children(false);
	for (;;) {
		const struct tree everything = {.mark = MARK};
		(void)tree_kill(&everything, SIGKILL);
		if (reap_next(&pid) == -ECHILD)
			break;
		pid = waitpid(-1, NULL, 0);
		if (pid < 0)
			break;
	}
	out = close_fd(out);
	in = close_fd(in);
}

TestSuite(tree, .init = setup, .fini = teardown, .timeout = 60);

static struct spawned start(const char *mode, char *const *envp)
{
	char *const argv[] = {(char *)helper_path("kin"), (char *)mode, NULL};
	struct spawn_args args = child_args(argv, in);
	bool exec_failed;
	struct spawned s;

	args.envp = envp;
	cr_assert(eq(int, process_spawn(&args, &s, &exec_failed), 0));
	return s;
}

static struct tree tree_of(const struct spawned *s)
{
	return (struct tree){.pgid = s->pid, .mark = MARK};
}

/* Ended, and not reaped. */
static void await_zombie(const struct spawned *s)
{
	struct exit_info info;

	await_readable(s->pidfd);
	cr_assert(eq(int, reap_peek(s->pidfd, &info), 0));
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	wait_status(pid);
}

Test(tree, a_first_process_lives_until_it_ends)
{
	struct spawned s = start("wait", marked);
	const struct tree t = tree_of(&s);

	read_pid(out);
	cr_expect(eq(int, tree_is_alive(&t, 0), 1));
	cr_expect(eq(int, tree_is_alive(&t, s.pid), 0), "it is the exception");
	cr_expect(tree_contains(&t, s.pid));
	cr_expect(not(tree_contains(&t, getpid())));

	kill(s.pid, SIGKILL);
	await_zombie(&s);
	/* What makes a look at the group alone worthless. */
	cr_expect(eq(int, kill(-s.pid, 0), 0));
	cr_expect(eq(int, tree_is_alive(&t, 0), 0), "a zombie lives");
	cr_expect(eq(int, tree_is_alive(&t, s.pid), 0));
	wait_status(s.pid);
	cr_expect(eq(int, tree_is_alive(&t, 0), 0));
	cr_expect(eq(int, tree_kill(&t, SIGKILL), 0));
}

/* The one that stays is found, told apart from another worker's processes, and killed. */
static void check_orphan(const char *mode, char *const *envp, bool found)
{
	struct spawned other = start("wait", other_marked);
	pid_t other_pid = read_pid(out);
	struct spawned s = start(mode, envp);
	const struct tree t = tree_of(&s), t_other = {.pgid = other.pid, .mark = OTHER_MARK};
	pid_t child = read_pid(out);

	await_zombie(&s);
	cr_expect(ne(int, child, s.pid));
	cr_expect(eq(int, tree_is_alive(&t, s.pid), found), "%s", mode);
	cr_expect(eq(int, tree_contains(&t, child), found), "%s", mode);
	cr_expect(not(tree_contains(&t, other_pid)));
	cr_expect(not(tree_contains(&t_other, child)));
	cr_expect(eq(int, tree_is_alive(&t_other, 0), 1));
	cr_expect(eq(int, tree_is_alive(&t_other, other.pid), 0));

	/* Also when the first process has been reaped. */
	wait_status(s.pid);
	cr_expect(eq(int, tree_is_alive(&t, 0), found));
	cr_expect(eq(int, tree_kill(&t, SIGKILL), found));
	if (found) {
		int status = wait_status(child);
		int by = WTERMSIG(status);
		cr_expect(eq(int, by, SIGKILL));
	} else {
		end(child);
	}
	cr_expect(eq(int, tree_is_alive(&t, 0), 0));
	cr_expect(eq(int, tree_is_alive(&t_other, 0), 1), "another worker was killed");
	end(other_pid);
	close(s.pidfd);
	close(other.pidfd);
}

Test(tree, an_orphan_in_the_group_is_found)
{
	check_orphan("orphan", marked, true);
	check_orphan("orphan", unmarked, true);
}

Test(tree, an_orphan_with_a_session_of_its_own_is_known_by_its_mark)
{
	check_orphan("daemon", marked, true);
	check_orphan("daemon", marked_first, true);
	check_orphan("stranger", marked, false);
}

Test(tree, the_same_without_lists_of_children)
{
	tree_pretend_no_children(true);
	check_orphan("orphan", marked, true);
	check_orphan("daemon", marked, true);
	check_orphan("stranger", marked, false);
}

Test(tree, a_mark_in_a_long_environment_is_found_wherever_it_stands)
{
	/* Across every border of the pieces that it is read in. */
	static const size_t sizes[] = {4000, 4090, 4190, 4300, 4310, 4320, 4330,
				       4340, 4345, 4350, 4351, 4352, 8300, 8430};
	char *filler = malloc(10000);
	char *const envp[] = {filler, (char *)TREE_VARIABLE "=" MARK, NULL};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		memset(filler, 'f', sizes[i]);
		memcpy(filler, "F=", 2);
		filler[sizes[i]] = 0;
		struct spawned s = start("wait", envp);
		const struct tree t = {.pgid = 1, .mark = MARK}, almost = {.pgid = 1, .mark = MARK "x"};
		read_pid(out);
		cr_expect(tree_contains(&t, s.pid), "%zu", sizes[i]);
		cr_expect(not(tree_contains(&almost, s.pid)));
		end(s.pid);
		close(s.pidfd);
	}
	free(filler);
}

Test(tree, descendants_behind_a_living_parent_are_killed_too)
{
	struct spawned s = start("child", marked);
	const struct tree t = tree_of(&s);
	pid_t a = read_pid(out), b = read_pid(out), child = a == s.pid ? b : a;

	cr_expect(eq(int, tree_is_alive(&t, s.pid), 0), "it hides");
	cr_expect(eq(int, tree_kill(&t, SIGKILL), 2));
	wait_status(s.pid);
	wait_status(child);
	cr_expect(eq(int, tree_is_alive(&t, 0), 0));
}

Test(tree, a_process_whose_first_thread_has_ended_lives)
{
	struct spawned s = start("thread", marked);
	const struct tree t = tree_of(&s);

	read_pid(out);
	cr_expect(eq(int, tree_is_alive(&t, 0), 1));
	cr_expect(eq(int, tree_kill(&t, SIGKILL), 1));
	wait_status(s.pid);
	cr_expect(eq(int, tree_is_alive(&t, 0), 0));
}

Test(tree, other_signals_come_too)
{
	struct spawned s = start("orphan", marked);
	const struct tree t = tree_of(&s);
	pid_t child = read_pid(out);

	await_zombie(&s);
	cr_expect(eq(int, tree_kill(&t, SIGTERM), 1));
	int status = wait_status(child);
	int by = WTERMSIG(status);
	cr_expect(eq(int, by, SIGTERM));
	wait_status(s.pid);
}

Test(tree, a_number_that_came_to_mean_another_group_is_not_killed)
{
	/* A tree whose first process is long gone, and whose number is now a group that is no child's of ours. */
	const struct tree t = {.pgid = getpgrp(), .mark = MARK};
	const struct tree init = {.pgid = 1, .mark = MARK};

	cr_expect(eq(int, tree_kill(&t, SIGKILL), 0));
	cr_expect(eq(int, tree_kill(&init, SIGKILL), 0));
}

Test(tree, uids_are_those_of_living_members)
{
	struct spawned s = start("child", marked);
	const struct tree t = tree_of(&s);
	uid_t nobody = 65534;

	read_pid(out);
	read_pid(out);
	cr_expect(tree_has_uid(&t, getuid()));
	if (getuid() != nobody)
		cr_expect(not(tree_has_uid(&t, nobody)));
	tree_kill(&t, SIGKILL);
	await_zombie(&s);
	while (waitpid(-1, NULL, 0) > 0)
		;
	cr_expect(not(tree_has_uid(&t, getuid())));
}

Test(tree, a_descendant_that_dropped_its_rights_counts)
{
	if (getuid() != 0)
		cr_skip_test("only root can give up its rights");
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setsid();
		pid_t child = fork();
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (setuid(65534) < 0 || write(in, "1\n", 2) != 2)
				_exit(1);
		}
		for (;;)
			pause();
	}
	const struct tree t = {.pgid = pid, .mark = MARK};
	read_pid(out);
	cr_expect(tree_has_uid(&t, 65534));
	cr_expect(tree_has_uid(&t, 0));
	cr_expect(not(tree_has_uid(&t, 12345)));
	cr_expect(eq(int, tree_kill(&t, SIGKILL), 2));
	while (waitpid(-1, NULL, 0) > 0)
		;
}
