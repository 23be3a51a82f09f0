/* SPDX-License-Identifier: MIT
 *
 * Round by round: a walk through /proc, a pidfd for each that is found, SIGKILL, and a wait for all of them.
 */
#include "process/leftover.h"

#include "process/pidfd.h"
#include "process/procstat.h"
#include "process/tree.h"

#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

/* Of one round; what is more is for the next. */
#define FOUND_MAX 256

static bool is_leftover(const struct leftover *left, size_t n_left, pid_t pid)
{
	struct proc_stat stat;

	for (size_t i = 0; i < n_left; i++) {
		if (left[i].pid == pid && proc_stat_read(pid, &stat) == 0 && stat.start_ticks == left[i].start_ticks)
			return true;
		if (left[i].mark && *left[i].mark && tree_contains(&(struct tree){.mark = left[i].mark}, pid))
			return true;
	}
	return false;
}

/* A zombie has ended, whoever is to reap it; unlike its state in /proc this is right where the first thread has ended
 * before the others (pidfd_open(2)). */
static bool has_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* Its pidfd, or -errno: the process is looked at once more when the pidfd is there, for only then the pid is its own.
 */
static int leftover_kill(const struct leftover *left, size_t n_left, pid_t pid)
{
	_cleanup_close_ int fd = process_pidfd(pid);
	int r;

	if (fd < 0)
		return fd;
	if (has_ended(fd) || !is_leftover(left, n_left, pid))
		return -ESRCH;
	r = pidfd_signal(fd, SIGKILL);
	return r < 0 ? r : TAKE_FD(fd);
}

static int leftover_kill_all(const struct leftover *left, size_t n_left, struct pollfd found[FOUND_MAX], nfds_t *ret_n)
{
	DIR *dir = opendir("/proc");
	pid_t self = getpid();

	*ret_n = 0;
	if (!dir)
		return -errno;
	for (const struct dirent *d; *ret_n < FOUND_MAX && (d = readdir(dir));) {
		pid_t pid = (pid_t)strtol(d->d_name, NULL, 10);
		if (pid <= 0 || pid == self || !is_leftover(left, n_left, pid))
			continue;
		int fd = leftover_kill(left, n_left, pid);
		if (fd >= 0)
			found[(*ret_n)++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	(void)closedir(dir);
	return 0;
}

/* Until all have ended, or the time is over. */
static int leftover_wait(struct pollfd *found, nfds_t n, usec_t until_usec)
{
	nfds_t i = 0;

	while (i < n) {
		usec_t left_usec = usec_sub(until_usec, clock_now_usec());
		int r = poll(found + i, 1, (int)MIN(left_usec / USEC_PER_MSEC, (usec_t)INT_MAX));
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r == 0)
			return -ETIMEDOUT;
		if (r > 0)
			i++;
	}
	return 0;
}

int leftover_end(const struct leftover *left, size_t n_left, usec_t timeout_usec, unsigned *ret_n)
{
	usec_t until_usec = usec_add(clock_now_usec(), timeout_usec);
	struct pollfd found[FOUND_MAX];
	nfds_t n;
	int r;

	*ret_n = 0;
	do {
		r = leftover_kill_all(left, n_left, found, &n);
		if (r == 0)
			r = leftover_wait(found, n, until_usec);
		for (nfds_t i = 0; i < n; i++)
			close_fd(found[i].fd);
		*ret_n += (unsigned)n;
	} while (r == 0 && n > 0);
	return r;
}
