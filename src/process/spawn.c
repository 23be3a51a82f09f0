/* SPDX-License-Identifier: MIT
 *
 * One child, from clone3(2) to execve(2). Whatever needs memory is prepared by the parent, so that the child makes
 * only async-signal-safe calls; it has a copy of the parent's memory (neither CLONE_VM nor CLONE_VFORK: the parent
 * goes on to be the owner of its stack, its errno and its signal handlers, and a supervisor is small enough to copy).
 *
 * The parent-death signal comes when the *thread* that called process_spawn() ends, so only the main thread may call
 * it; and it is cleared when the child executes a set-user-ID program or changes its user (gosu, su-exec, sudo). What
 * such a worker leaves when chargehand is killed is ended at the next start, by its cgroup or its CHARGEHAND_WORKER=.
 */
#include "process/spawn.h"

#include "base/fileio.h"
#include "process/pidfd.h"
#include "process/slice.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <linux/types.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

/* confstr(_CS_PATH), as execvp(3) has it where PATH is not set. */
#define DEFAULT_PATH "/bin:/usr/bin"
#define SHELL "/bin/sh"

static bool pretend_no_clone3;

/* linux/sched.h of 5.3 to 5.6 has no cgroup. */
struct clone3_args {
	__aligned_u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
		cgroup;
};

/* What the child tells before it dies. */
struct child_error {
	int error;
	int in_exec;
};

struct child_plan {
	const struct spawn_args *args;
	pid_t parent;
	int error_fd, error_read_fd;
	int go_fd;      /* a byte comes when the parent has placed the child; -EBADF without the detour */
	char **paths;   /* to try, in order */
	char **sh_argv; /* SHELL, path, argv[1] …: for a file that is no binary and has no #! */
};

void spawn_pretend_no_clone3(bool yes)
{
	pretend_no_clone3 = yes;
}

static const char *path_of(char *const *envp)
{
	for (; envp && *envp; envp++)
		if (strncmp(*envp, "PATH=", 5) == 0)
			return *envp + 5;
	return DEFAULT_PATH;
}

/* Every file that execvpe(3) would try, in one allocation: the pointers, then their text. */
static int list_candidates(const char *file, char *const *envp, char ***ret)
{
	const char *path = strchr(file, '/') ? "" : path_of(envp);
	size_t n = 1, file_bytes = strlen(file) + 1;

	if (!*file)
		return -ENOENT;
	for (const char *p = path; *p; p++)
		n += *p == ':';
	char **paths = malloc((n + 1) * sizeof(*paths) + strlen(path) + n * (1 + file_bytes));
	if (!paths)
		return -ENOMEM;

	char *at = (char *)(paths + n + 1);
	for (size_t i = 0; i < n; i++) {
		size_t bytes = strcspn(path, ":");
		paths[i] = at;
		memcpy(at, path, bytes);
		at += bytes;
		if (bytes > 0)
			*at++ = '/'; /* an empty element is the current directory */
		memcpy(at, file, file_bytes);
		at += file_bytes;
		path += bytes + (path[bytes] == ':');
	}
	paths[n] = NULL;
	*ret = paths;
	return 0;
}

static char **make_sh_argv(char *const *argv)
{
	size_t n = 0;
	while (argv[n])
		n++;
	char **sh_argv = calloc(n + 2, sizeof(*sh_argv));
	if (!sh_argv)
		return NULL;
	sh_argv[0] = (char *)SHELL;
	for (size_t i = 1; i < n; i++)
		sh_argv[i + 1] = argv[i];
	return sh_argv;
}

static _noreturn_ void child_give_up(const struct child_plan *plan, bool in_exec)
{
	struct child_error e = {.error = errno, .in_exec = in_exec};
	/* Eight bytes into an empty pipe: all or nothing. */
	if (write(plan->error_fd, &e, sizeof(e)) < 0)
		_exit(126);
	_exit(127);
}

/* Handlers would go at exec, what is ignored would stay. */
static void child_reset_signals(void)
{
	const struct sigaction sa = {.sa_handler = SIG_DFL};

	for (int signal = 1; signal < NSIG; signal++)
		(void)sigaction(signal, &sa, NULL); /* EINVAL for KILL, STOP and the C library's own */
}

static int child_move_above_stdio(int fd)
{
	return fd >= 0 && fd <= 2 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : fd;
}

/* Sources may be any descriptors, 0 to 2 in another order among them. */
static int child_set_stdio(const struct spawn_args *args)
{
	int source[3] = {args->stdin_fd, args->stdout_fd, args->stderr_fd};

	for (int fd = 0; fd < 3; fd++) {
		int moved = child_move_above_stdio(source[fd]);
		if (moved < 0 && source[fd] >= 0)
			return -1;
		source[fd] = moved;
	}
	for (int fd = 0; fd < 3; fd++) {
		if (source[fd] >= 0) {
			if (dup2(source[fd], fd) < 0)
				return -1;
		} else {
			(void)fcntl(fd, F_SETFD, 0); /* EBADF: it was closed, and stays so */
		}
	}
	return 0;
}

/* Without close_range(2) of 5.11. opendir(3) would need memory. */
static void child_set_cloexec_by_proc(void)
{
	struct {
		uint64_t inode;
		int64_t offset;
		unsigned short bytes;
		unsigned char type;
		char name[];
	} * entry;
	_Alignas(8) char buffer[2048];
	int dir_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;

	if (dir_fd < 0)
		return;
	while ((n = syscall(SYS_getdents64, dir_fd, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < n; at += entry->bytes) {
			int fd = 0;
			entry = (void *)(buffer + at);
			if (entry->name[0] == '.')
				continue;
			for (const char *p = entry->name; *p; p++)
				fd = fd * 10 + (*p - '0');
			if (fd > 2)
				(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		}
	}
}

static void child_set_cloexec(void)
{
	if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		child_set_cloexec_by_proc();
}

/* A score may always be raised. A process that is not dumpable and not root's cannot open its own file: see
 * restore_oom_score(). */
static void child_set_oom_score(const char *score)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t n = write(fd, score, strlen(score));
	(void)n;
	(void)close(fd);
}

/* As execvpe(3) goes through PATH. */
static void child_exec(const struct child_plan *plan)
{
	bool denied = false;

	for (char **path = plan->paths; *path; path++) {
		(void)execve(*path, plan->args->argv, plan->args->envp);
		if (errno == ENOEXEC) {
			plan->sh_argv[1] = *path;
			(void)execve(SHELL, plan->sh_argv, plan->args->envp);
			return;
		}
		if (errno == EACCES)
			denied = true;
		else if (errno != ENOENT && errno != ESTALE && errno != ENOTDIR && errno != ENODEV &&
			 errno != ETIMEDOUT)
			return;
	}
	if (denied)
		errno = EACCES;
}

static _noreturn_ void child_run(struct child_plan *plan)
{
	const struct spawn_args *args = plan->args;
	sigset_t none;

	/* The parent may be gone already; then nobody would send the signal, and whoever is the parent now is not it
	 * (which need not be 1: a subreaper). */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		child_give_up(plan, false);
	if (getppid() != plan->parent)
		_exit(127);

	/* A pipe among 0 to 2 (chargehand was started without them) would be handed on, and exec never be seen. */
	(void)close(plan->error_read_fd);
	int error_fd = child_move_above_stdio(plan->error_fd);
	if (error_fd != plan->error_fd)
		(void)close(plan->error_fd);
	plan->error_fd = error_fd;
	if (plan->go_fd >= 0) {
		char byte;
		ssize_t n;
		do
			n = read(plan->go_fd, &byte, 1);
		while (n < 0 && errno == EINTR);
		if (n != 1)
			_exit(127);
		(void)close(plan->go_fd);
	}

	child_reset_signals();
	if (child_set_stdio(args) < 0)
		child_give_up(plan, false);
	if (args->foreground) {
		/* Fails where standard input is not the controlling terminal; then there is nothing to be had. All
		 * signals are blocked, SIGTTOU among them. */
		if (setpgid(0, 0) < 0)
			child_give_up(plan, false);
		(void)tcsetpgrp(STDIN_FILENO, getpid());
	} else if (setsid() < 0) {
		child_give_up(plan, false);
	}
	if (args->oom_score_adj)
		child_set_oom_score(args->oom_score_adj);
	slice_set(args->slice_nsec);
	child_set_cloexec();
	if (args->nofile && setrlimit(RLIMIT_NOFILE, args->nofile) < 0)
		child_give_up(plan, false);

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	child_exec(plan);
	child_give_up(plan, true);
}

/* 0 in the child, its pid in the parent, -errno. */
static pid_t clone_child(int cgroup_fd, int *ret_pidfd)
{
	int pidfd = -EBADF;
	struct clone3_args args = {
		.flags = CLONE_PIDFD | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = cgroup_fd >= 0 ? (unsigned)cgroup_fd : 0,
	};

	if (pretend_no_clone3)
		return -ENOSYS;
	/* Kernels before 5.7 know no `cgroup` and refuse a longer structure unless the rest is zero. */
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	*ret_pidfd = pidfd;
	return pid;
}

/* Refused as a whole by the kernel (ENOSYS; E2BIG, EINVAL: no CLONE_INTO_CGROUP) or by a seccomp profile (ENOSYS,
 * EPERM), as against a fork that cannot be had just now. */
static bool is_clone3_refused(int r)
{
	return r == -ENOSYS || r == -EPERM || r == -EINVAL || r == -E2BIG;
}

static int place_in_cgroup(int cgroup_fd, pid_t pid)
{
	char text[16];
	_cleanup_close_ int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int n = snprintf(text, sizeof(text), "%d", pid);
	return write(fd, text, (size_t)n) < 0 ? -errno : 0;
}

static void end_child(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* The detour: the child waits until it has been placed. */
static pid_t fork_child(struct child_plan *plan, int *ret_pidfd)
{
	_cleanup_close_ int go_read = -EBADF, go_write = -EBADF, pidfd = -EBADF;
	int fds[2], r = 0;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	go_read = fds[0];
	go_write = fds[1];
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		(void)close(TAKE_FD(go_write)); /* else its own copy would keep it from seeing the parent's end */
		plan->go_fd = TAKE_FD(go_read);
		return 0;
	}

	if (plan->args->cgroup_fd >= 0)
		r = place_in_cgroup(plan->args->cgroup_fd, pid);
	if (r == 0) {
		pidfd = process_pidfd(pid);
		if (pidfd < 0)
			r = pidfd;
	}
	if (r == 0 && write(go_write, "", 1) < 0)
		r = -errno;
	if (r < 0) {
		end_child(pid);
		return r;
	}
	*ret_pidfd = TAKE_FD(pidfd);
	return pid;
}

/* Until exec has closed the pipe. A child that was killed before says nothing either: its pidfd will tell. */
static int await_exec(int fd, bool *ret_exec_failed)
{
	struct child_error e;
	ssize_t n;

	do
		n = read(fd, &e, sizeof(e));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n != sizeof(e))
		return 0;
	*ret_exec_failed = e.in_exec;
	return -e.error;
}

/* systemd lowers the score of a unit that then runs as a user without rights, whose child could not raise its own again
 * before exec. Since then it is dumpable, and the file is the user's. */
static void restore_oom_score(pid_t pid, const char *score)
{
	char path[48], now[16];
	size_t bytes;

	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	if (fileio_read_into_at(AT_FDCWD, path, now, sizeof(now), &bytes) < 0 ||
	    strtol(now, NULL, 10) == strtol(score, NULL, 10))
		return;
	if (fileio_write_at(AT_FDCWD, path, score) < 0)
		return; /* a set-user-ID program; it keeps the better score */
}

int process_spawn(const struct spawn_args *args, struct spawned *ret, bool *ret_exec_failed)
{
	_cleanup_close_ int error_read = -EBADF, error_write = -EBADF, pidfd = -EBADF;
	_cleanup_free_ char **paths = NULL, **sh_argv = NULL;
	struct child_plan plan = {.args = args, .parent = getpid(), .go_fd = -EBADF};
	sigset_t all, before;
	bool used_fork = false;
	int fds[2], r;
	pid_t pid;

	*ret_exec_failed = false;
	r = list_candidates(args->argv[0], args->envp, &paths);
	if (r < 0) {
		*ret_exec_failed = r == -ENOENT;
		return r;
	}
	sh_argv = make_sh_argv(args->argv);
	if (!sh_argv)
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	error_read = fds[0];
	error_write = fds[1];
	plan.error_fd = error_write;
	plan.error_read_fd = error_read;
	plan.paths = paths;
	plan.sh_argv = sh_argv;

	/* A signal that came before the child has its own dispositions would run the parent's handlers in it, which
	 * write to descriptors that both share. */
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid = clone_child(args->cgroup_fd, &pidfd);
	if (pid < 0 && is_clone3_refused(pid)) {
		used_fork = true;
		pid = fork_child(&plan, &pidfd);
	}
	if (pid == 0)
		child_run(&plan);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return pid;

	error_write = close_fd(error_write);
	r = await_exec(error_read, ret_exec_failed);
	if (r < 0) {
		end_child(pid);
		return r;
	}
	if (args->oom_score_adj && geteuid() != 0)
		restore_oom_score(pid, args->oom_score_adj);
	*ret = (struct spawned){.pid = pid, .pidfd = TAKE_FD(pidfd), .used_fork = used_fork};
	return 0;
}
