/* SPDX-License-Identifier: MIT
 *
 * waitid(2) by pidfd to look, by pid to reap.
 */
#include "process/reap.h"

#include "base/fileio.h"
#include "process/procstat.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* wait.h of older C libraries lacks it; the kernel has it since 5.4. */
#define ID_PIDFD ((idtype_t)3)

#define PROC_FILE_BYTES_MAX ((size_t)1 << 20) /* a user can be in many groups */

/* As the system call fills it, whatever the width of the C library's time_t. */
struct kernel_rusage {
	long user_time[2], system_time[2];
	long max_rss_kib;
	long others[13];
};

int reap_peek(int pidfd, struct exit_info *ret)
{
	struct kernel_rusage usage = {.max_rss_kib = 0};
	siginfo_t si = {.si_pid = 0};

	/* The C library's waitid() keeps the usage for itself, and the reports do not wait for the reaping. */
	if (syscall(SYS_waitid, ID_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG | WNOWAIT, &usage) < 0)
		return -errno;
	if (si.si_pid == 0)
		return -EAGAIN;
	*ret = (struct exit_info){.pid = si.si_pid, .code = si.si_code, .status = si.si_status};
	ret->max_rss_bytes = (uint64_t)usage.max_rss_kib * 1024;
	return 0;
}

int reap_pidfd(int pidfd, struct exit_info *info)
{
	struct exit_info seen;
	int r;

	r = reap_peek(pidfd, &seen);
	if (r < 0)
		return r;
	/* A zombie keeps its pid, so from here on the pid is as good as the pidfd. */
	if (waitpid(seen.pid, NULL, WNOHANG) < 0)
		return -errno;
	*info = seen;
	return 0;
}

int reap_next(pid_t *ret_pid)
{
	siginfo_t si = {.si_pid = 0};

	if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		return -errno;
	if (si.si_pid == 0)
		return -EAGAIN;
	*ret_pid = si.si_pid;
	return 0;
}

void reap_orphan(pid_t pid)
{
	(void)waitpid(pid, NULL, WNOHANG);
}

/* The set behind "SigPnd:\t" or "ShdPnd:\t" in /proc/PID/status. */
static bool is_pending(const char *status, const char *key, int signal)
{
	const char *p = strstr(status, key);

	return p && strtoull(p + strlen(key), NULL, 16) >> (signal - 1) & 1;
}

bool process_is_ending(pid_t pid)
{
	_cleanup_free_ char *status = NULL;
	struct proc_stat stat;
	char path[32];
	size_t bytes;

	/* A fatal signal is pending for each thread until the thread takes it, and then the thread is exiting. */
	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (fileio_read_at(AT_FDCWD, path, PROC_FILE_BYTES_MAX, &status, &bytes) < 0)
		return true;
	if (is_pending(status, "\nSigPnd:", SIGKILL) || is_pending(status, "\nShdPnd:", SIGKILL))
		return true;
	return proc_stat_read(pid, &stat) < 0 || proc_stat_is_exiting(&stat);
}

int exit_info_to_status(const struct exit_info *e)
{
	if (e->code == CLD_EXITED)
		return e->status & 0xff;
	return MIN(128 + e->status, 255);
}
