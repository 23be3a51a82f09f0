/* SPDX-License-Identifier: MIT
 *
 * waitid(2) by pidfd to look, by pid to reap.
 */
#include "process/reap.h"

#include <stdint.h>
#include <sys/wait.h>

/* wait.h of older C libraries lacks it; the kernel has it since 5.4. */
#define ID_PIDFD ((idtype_t)3)

int reap_peek(int pidfd, struct exit_info *ret)
{
	siginfo_t si = {.si_pid = 0};

	if (waitid(ID_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		return -errno;
	if (si.si_pid == 0)
		return -EAGAIN;
	*ret = (struct exit_info){.pid = si.si_pid, .code = si.si_code, .status = si.si_status};
	return 0;
}

int reap_pidfd(int pidfd, struct exit_info *info)
{
	struct exit_info seen;
	struct rusage usage;
	int status, r;

	r = reap_peek(pidfd, &seen);
	if (r < 0)
		return r;
	/* A zombie keeps its pid, so from here on the pid is as good as the pidfd, and wait4(2) tells the usage, which
	 * the C library's waitid() does not. */
	if (wait4(seen.pid, &status, WNOHANG, &usage) < 0)
		return -errno;
	seen.max_rss_bytes = (uint64_t)usage.ru_maxrss * 1024;
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

int exit_info_to_status(const struct exit_info *e)
{
	if (e->code == CLD_EXITED)
		return e->status & 0xff;
	return MIN(128 + e->status, 255);
}
