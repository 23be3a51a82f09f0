/* SPDX-License-Identifier: MIT
 *
 * Real processes: what they find inside, both ways to start them, and each way to fail.
 */
#include "process/spawn.h"

#include "base/fileio.h"
#include "child.h"
#include "own-slice.h"
#include "process/slice.h"

#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>

TestSuite(spawn, .timeout = 60);

static char text[CHILD_TEXT_MAX];

/* Runs show-self and leaves its output in `text`. */
static struct spawned show_self(struct spawn_args *args)
{
	static char *argv[] = {NULL, (char *)"one", (char *)"two words", NULL};
	bool exec_failed = true;
	struct spawned s;
	int out, in;

	argv[0] = (char *)helper_path("show-self");
	make_pipe(&out, &in);
	if (!args->argv)
		args->argv = argv;
	if (args->stdout_fd < 0)
		args->stdout_fd = in;
	cr_assert(eq(int, process_spawn(args, &s, &exec_failed), 0));
	cr_assert(not(exec_failed));
	close(in);
	read_all(out, text);
	close(out);
	cr_assert(eq(int, wait_status(s.pid), 0));
	return s;
}

static void expect(const char *key, const char *want)
{
	const char *have = value_of(text, key);

	cr_assert(not(eq(ptr, (void *)have, NULL)), "no %s in: %s", key, text);
	cr_expect(eq(str, (char *)have, (char *)want), "%s", key);
}

static void expect_number(const char *key, long long want)
{
	char number[32];

	(void)snprintf(number, sizeof(number), "%lld", want);
	expect(key, number);
}

static void on_signal(int signal)
{
	(void)signal;
}

/* All that could be handed on by mistake. */
static void make_a_mess(void)
{
	sigset_t some;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGRTMIN + 1, SIG_IGN);
	signal(SIGUSR1, on_signal);
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	sigaddset(&some, SIGCHLD);
	sigprocmask(SIG_BLOCK, &some, NULL);
	cr_assert(ge(int, fcntl(STDERR_FILENO, F_DUPFD, 50), 50));
	cr_assert(ge(int, fcntl(STDERR_FILENO, F_DUPFD, 500), 500));
}

static void check_clean_child(bool used_fork)
{
	struct spawn_args args = child_args(NULL, -1);
	char *const envp[] = {(char *)"ONE=1", (char *)"TWO=2", NULL};
	sigset_t mask;

	make_a_mess();
	args.envp = envp;
	struct spawned s = show_self(&args);
	cr_expect(eq(int, s.used_fork, used_fork));
	expect_number("pid", s.pid);
	expect_number("ppid", getpid());
	expect_number("pgid", s.pid);
	expect_number("sid", s.pid);
	expect_number("pdeathsig", SIGKILL);
	expect("SigBlk", "0000000000000000");
	/* 32 and 33 belong to the C library: its posix_spawn(3), by which make runs this, leaves them ignored. */
	cr_expect(eq(u64, strtoull(value_of(text, "SigIgn"), NULL, 16) & ~UINT64_C(0x180000000), 0));
	expect("SigPnd", "0000000000000000");
	expect("fds", "0 1 2");
	expect("arg1", "one");
	expect("arg2", "two words");
	cr_expect(eq(ptr, (void *)value_of(text, "arg3"), NULL));
	cr_expect(not(eq(ptr, strstr(text, "\nenv: ONE=1\nenv: TWO=2\n"), NULL)), "%s", text);

	/* The parent is as it was. */
	sigprocmask(SIG_SETMASK, NULL, &mask);
	cr_expect(eq(int, sigismember(&mask, SIGTERM), 1));
	cr_expect(eq(int, sigismember(&mask, SIGHUP), 0));
	cr_expect(eq(int, fcntl(s.pidfd, F_GETFD), FD_CLOEXEC));
}

Test(spawn, a_child_is_clean)
{
	check_clean_child(false);
}

Test(spawn, a_child_is_clean_by_fork)
{
	spawn_pretend_no_clone3(true);
	check_clean_child(true);
}

Test(spawn, many_leave_no_descriptor_and_no_process)
{
	struct spawn_args args = child_args(NULL, -1);
	int before = open("/dev/null", O_RDONLY);

	close(before);
	for (int i = 0; i < 20; i++) {
		spawn_pretend_no_clone3(i % 2);
		args.stdout_fd = -1;
		close(show_self(&args).pidfd);
	}
	int after = open("/dev/null", O_RDONLY);
	cr_expect(eq(int, after, before));
	close(after);
	cr_expect(eq(int, waitpid(-1, NULL, WNOHANG), -1));
	cr_expect(eq(int, errno, ECHILD));
}

Test(spawn, a_slice_is_the_one_given)
{
	struct spawn_args args = child_args(NULL, -1);

	if (stay_on_one_processor() < 0 || slice_lengthen(&args.slice_nsec) < 0)
		cr_skip("no slices here");
	show_self(&args);
	expect_number("slice", (long long)args.slice_nsec);
	cr_expect(ne(u64, own_slice_nsec(), args.slice_nsec));

	args.stdout_fd = -1;
	args.slice_nsec = 0;
	show_self(&args);
	expect_number("slice", (long long)own_slice_nsec());
}

Test(spawn, limits_and_score_are_those_given)
{
	struct spawn_args args = child_args(NULL, -1);
	struct rlimit limit;
	char want[64];

	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
	limit.rlim_cur = 123;
	args.nofile = &limit;
	args.oom_score_adj = "777"; /* raising is always allowed */
	show_self(&args);
	(void)snprintf(want, sizeof(want), "123 %llu", (unsigned long long)limit.rlim_max);
	expect("nofile", want);
	expect("oom_score_adj", "777");

	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
	cr_expect(ne(u64, limit.rlim_cur, 123));
}

/* Who may not write to its own file of the score (see restore_oom_score()), nor could have lowered it: but to raise it
 * is the same. */
static _noreturn_ void be_a_user_without_rights(int stdin_fd, int go_fd, int stdout_fd)
{
	char *const argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)"read x; cat /proc/self/oom_score_adj", NULL};
	struct spawn_args args = child_args(argv, stdout_fd);
	bool exec_failed;
	struct spawned s;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if ((geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) || prctl(PR_SET_DUMPABLE, 0) < 0)
		_exit(2);
	if (fileio_write_at(AT_FDCWD, "/proc/self/oom_score_adj", "555") != -EACCES)
		_exit(3);
	args.stdin_fd = stdin_fd;
	args.oom_score_adj = "555";
	if (process_spawn(&args, &s, &exec_failed) < 0 || write(go_fd, "\n", 1) != 1)
		_exit(4);
	(void)waitpid(s.pid, NULL, 0);
	_exit(0);
}

Test(spawn, the_score_of_a_user_without_rights_is_that_which_is_given)
{
	int out, in, stdin_fd, go_fd;

	make_pipe(&out, &in);
	make_pipe(&stdin_fd, &go_fd);
	pid_t pid = fork();
	if (pid == 0)
		be_a_user_without_rights(stdin_fd, go_fd, in);
	close(in);
	read_all(out, text);
	cr_assert(eq(int, wait_status(pid), 0));
	cr_expect(eq(str, text, "555\n"));
}

Test(spawn, a_limit_that_cannot_be_set_is_no_failed_exec)
{
	const struct rlimit impossible = {.rlim_cur = 10, .rlim_max = 5};
	char *const argv[] = {(char *)"/bin/true", NULL};
	struct spawn_args args = child_args(argv, -1);
	bool exec_failed = true;
	struct spawned s;

	args.nofile = &impossible;
	cr_expect(eq(int, process_spawn(&args, &s, &exec_failed), -EINVAL));
	cr_expect(not(exec_failed));
	cr_expect(eq(int, waitpid(-1, NULL, 0), -1), "a child was left");
}

static unsigned long long inode_of(int fd)
{
	struct stat st;

	cr_assert(eq(int, fstat(fd, &st), 0));
	return st.st_ino;
}

Test(spawn, stdio_may_come_from_its_own_numbers_in_another_order)
{
	struct spawn_args args = child_args(NULL, -1);
	int a_out, a_in, b_out, b_in;

	make_pipe(&a_out, &a_in);
	make_pipe(&b_out, &b_in);
	cr_assert(eq(int, dup2(a_out, 0), 0));
	cr_assert(eq(int, dup3(b_in, 2, O_CLOEXEC), 2));
	unsigned long long zero = inode_of(0), two = inode_of(2);
	args.stdin_fd = 2;
	args.stderr_fd = 0;
	show_self(&args);
	expect_number("inode0", (long long)two);
	expect_number("inode2", (long long)zero);
	expect("fds", "0 1 2");

	/* Inherited means open in the child, whatever its flags here. */
	args.stdin_fd = args.stderr_fd = args.stdout_fd = -1;
	show_self(&args);
	expect_number("inode0", (long long)zero);
	expect_number("inode2", (long long)two);
}

static void check_closed_stdio(bool by_fork)
{
	char *const argv[] = {(char *)helper_path("show-self"), NULL};
	int out, in;

	make_pipe(&out, &in);
	pid_t pid = fork();
	if (pid == 0) {
		struct spawn_args args = child_args(argv, in);
		struct spawned s;
		bool exec_failed;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(0);
		close(1);
		close(2);
		spawn_pretend_no_clone3(by_fork);
		if (process_spawn(&args, &s, &exec_failed) < 0)
			_exit(2);
		_exit(waitpid(s.pid, NULL, 0) == s.pid ? 0 : 3);
	}
	close(in);
	read_all(out, text);
	cr_expect(eq(int, wait_status(pid), 0));
	expect("fds", "1");
}

Test(spawn, a_parent_without_stdio_hands_on_no_pipe_of_its_own)
{
	check_closed_stdio(false);
	check_closed_stdio(true);
}

Test(spawn, on_a_terminal_the_child_is_its_foreground_group)
{
	char *const argv[] = {(char *)helper_path("show-self"), NULL};
	int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), out, in;
	char name[64];

	cr_assert(ge(int, terminal, 0));
	cr_assert(eq(int, grantpt(terminal), 0));
	cr_assert(eq(int, unlockpt(terminal), 0));
	cr_assert(eq(int, ptsname_r(terminal, name, sizeof(name)), 0));
	make_pipe(&out, &in);
	pid_t pid = fork();
	if (pid == 0) {
		struct spawn_args args = child_args(argv, in);
		struct spawned s;
		bool exec_failed;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setsid() < 0)
			_exit(2);
		args.stdin_fd = open(name, O_RDWR); /* becomes the controlling terminal */
		args.foreground = true;
		if (args.stdin_fd < 0 || process_spawn(&args, &s, &exec_failed) < 0)
			_exit(3);
		_exit(waitpid(s.pid, NULL, 0) == s.pid ? 0 : 4);
	}
	close(in);
	read_all(out, text);
	cr_expect(eq(int, wait_status(pid), 0));
	char *child = strdup(value_of(text, "pid"));
	expect("pgid", child);
	expect("tpgid", child);
	free(child);
	expect_number("sid", pid);
	expect("SigBlk", "0000000000000000");
	close(terminal);
}

Test(spawn, the_child_dies_with_its_parent)
{
	char *const argv[] = {(char *)helper_path("kin"), (char *)"wait", NULL};

	for (int by_fork = 0; by_fork < 2; by_fork++) {
		int out, in;
		make_pipe(&out, &in);
		cr_assert(eq(int, prctl(PR_SET_CHILD_SUBREAPER, 1), 0));
		pid_t parent = fork();
		if (parent == 0) {
			struct spawn_args args = child_args(argv, in);
			struct spawned s;
			bool exec_failed;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			spawn_pretend_no_clone3(by_fork);
			if (process_spawn(&args, &s, &exec_failed) < 0)
				_exit(2);
			for (;;)
				pause();
		}
		close(in);
		pid_t child = read_pid(out);
		kill(parent, SIGKILL);
		wait_status(parent);
		int status = wait_status(child);
		bool killed = WIFSIGNALED(status);
		int by = WTERMSIG(status);
		cr_expect(killed);
		cr_expect(eq(int, by, SIGKILL));
		close(out);
	}
}

/* ---- exec */

static char directory[] = "/tmp/chargehand-test-XXXXXX";

static void make_directory(void)
{
	cr_assert(not(eq(ptr, mkdtemp(directory), NULL)));
}

static void remove_directory(void)
{
	static const char *const names[] = {"script", "plain", "sub/script", "sub"};
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		(void)remove(path);
	}
	(void)rmdir(directory);
}

TestSuite(spawn_exec, .timeout = 60, .init = make_directory, .fini = remove_directory);

static char *put_file(const char *name, const char *content, mode_t mode)
{
	static char path[128];
	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *f = fopen(path, "we");
	cr_assert(not(eq(ptr, f, NULL)));
	fputs(content, f);
	fclose(f);
	cr_assert(eq(int, chmod(path, mode), 0));
	return path;
}

static void expect_failed_exec(char *const *argv, char *const *envp, int want)
{
	struct spawn_args args = child_args(argv, -1);

	args.envp = envp;
	for (int by_fork = 0; by_fork < 2; by_fork++) {
		struct spawned s = {.pid = -7};
		bool exec_failed = false;

		spawn_pretend_no_clone3(by_fork);
		int r = process_spawn(&args, &s, &exec_failed);
		cr_expect(eq(int, r, want), "%s", argv[0]);
		cr_expect(exec_failed);
		cr_expect(eq(int, s.pid, -7), "written on failure");
		r = waitpid(-1, NULL, 0);
		cr_expect(eq(int, r, -1), "a child was left");
	}
}

Test(spawn_exec, what_cannot_be_run_is_told_as_a_shell_does)
{
	char path_variable[160];
	char *const envp[] = {path_variable, NULL};
	char *argv[] = {NULL, NULL};

	(void)snprintf(path_variable, sizeof(path_variable), "PATH=/nonexistent:%s:/nonexistent", directory);
	argv[0] = (char *)"/nonexistent/program";
	expect_failed_exec(argv, environ, -ENOENT);
	argv[0] = (char *)"";
	expect_failed_exec(argv, environ, -ENOENT);
	argv[0] = (char *)"no-such-program-anywhere";
	expect_failed_exec(argv, environ, -ENOENT);
	expect_failed_exec(argv, envp, -ENOENT);
	argv[0] = directory;
	expect_failed_exec(argv, environ, -EACCES);
	argv[0] = put_file("plain", "exit 0\n", 0644);
	expect_failed_exec(argv, environ, -EACCES);
	argv[0] = (char *)"plain"; /* the refusal counts more than the ENOENT after it */
	expect_failed_exec(argv, envp, -EACCES);
	argv[0] = put_file("script", "#!/nonexistent/interpreter\n", 0755);
	expect_failed_exec(argv, environ, -ENOENT);
}

static int run(char *const *argv, char *const *envp)
{
	struct spawn_args args = child_args(argv, -1);
	bool exec_failed;
	struct spawned s;
	int out, in;

	make_pipe(&out, &in);
	args.stdout_fd = in;
	args.envp = envp;
	cr_assert(eq(int, process_spawn(&args, &s, &exec_failed), 0));
	close(in);
	read_all(out, text);
	close(out);
	close(s.pidfd);
	int status = wait_status(s.pid);
	return WEXITSTATUS(status);
}

Test(spawn_exec, path_is_that_of_the_child)
{
	char path_variable[160];
	char *envp[] = {(char *)"X=1", path_variable, NULL};
	char *const argv[] = {(char *)"script", (char *)"a b", NULL};

	put_file("script", "#!/bin/sh\necho \"first $1 $X\"\nexit 7\n", 0755);
	(void)snprintf(path_variable, sizeof(path_variable), "PATH=/nonexistent:%s", directory);
	cr_expect(eq(int, run(argv, envp), 7));
	cr_expect(eq(str, text, (char *)"first a b 1\n"));

	/* An empty element is the current directory, at either end and in the middle. */
	static const char *const paths[] = {"PATH=", "PATH=:/nonexistent",
					    "PATH=/nonexistent:", "PATH=/nonexistent::/bin"};
	cr_assert(eq(int, chdir(directory), 0));
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		(void)snprintf(path_variable, sizeof(path_variable), "%s", paths[i]);
		cr_expect(eq(int, run(argv, envp), 7), "%s", paths[i]);
	}

	/* Without PATH the system's own. */
	char *const nothing[] = {NULL};
	char *const sh[] = {(char *)"sh", (char *)"-c", (char *)"exit 9", NULL};
	cr_expect(eq(int, run(sh, nothing), 9));
}

Test(spawn_exec, a_refusal_early_in_the_path_does_not_hide_a_program_later_in_it)
{
	char path_variable[200], sub[128];
	char *const envp[] = {path_variable, NULL};
	char *const argv[] = {(char *)"script", NULL};

	(void)snprintf(sub, sizeof(sub), "%s/sub", directory);
	cr_assert(eq(int, mkdir(sub, 0755), 0));
	put_file("script", "#!/bin/sh\nexit 1\n", 0644);
	put_file("sub/script", "#!/bin/sh\nexit 8\n", 0755);
	(void)snprintf(path_variable, sizeof(path_variable), "PATH=%s:%s", directory, sub);
	cr_expect(eq(int, run(argv, envp), 8));
}

Test(spawn_exec, a_file_without_interpreter_is_given_to_sh)
{
	char *const argv[] = {put_file("script", "echo \"$# $1 $2\"\nexit 5\n", 0755), (char *)"x", (char *)"y z",
			      NULL};

	cr_expect(eq(int, run(argv, environ), 5));
	cr_expect(eq(str, text, (char *)"2 x y z\n"));
	char *const alone[] = {argv[0], NULL};
	cr_expect(eq(int, run(alone, environ), 5));
	cr_expect(eq(str, text, (char *)"0  \n"));
}
