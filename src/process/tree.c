/* SPDX-License-Identifier: MIT
 *
 * Whoever is a subreaper has every descendant below one of its own children, and only it removes children from its
 * list (by reaping them): so the kernel's list of children, and waitid(2) for who of them has ended, is all that
 * tells whether a tree lives. kill(-pgid, 0) does not: a group whose only member is a zombie answers it too.
 */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(t) ((t)->refused = true)
#include "process/tree.h"

#include "process/procstat.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NEEDLE_BYTES 256
#define EXEC_TRIES 4

struct pids {
	pid_t *p;
	size_t n, room;
};

static bool pretend_no_children;
static struct tree *announced; /* by pgid */

void tree_pretend_no_children(bool yes)
{
	pretend_no_children = yes;
}

static void pids_done(struct pids *pids)
{
	free(pids->p);
}
#define _cleanup_pids_ _cleanup_(pids_done)

static int pids_add(struct pids *pids, pid_t pid)
{
	if (pids->n == pids->room) {
		size_t room = pids->room ? 2 * pids->room : 32;
		pid_t *p = realloc(pids->p, room * sizeof(*p));
		if (!p)
			return -ENOMEM;
		pids->p = p;
		pids->room = room;
	}
	pids->p[pids->n++] = pid;
	return 0;
}

static bool is_number(const char *s)
{
	return *s >= '1' && *s <= '9';
}

/* "4711 4712 ", in as many pieces as the kernel likes. */
static int read_children_fd(int fd, struct pids *pids)
{
	char buffer[2048];
	off_t offset = 0;
	pid_t pid = 0;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = pread(fd, buffer, sizeof(buffer), offset)) != 0) {
		if (n < 0)
			return -errno;
		offset += n;
		for (const char *p = buffer; r == 0 && p < buffer + n; p++) {
			if (*p >= '0' && *p <= '9') {
				pid = pid * 10 + (*p - '0');
			} else if (pid > 0) {
				r = pids_add(pids, pid);
				pid = 0;
			}
		}
	}
	if (r == 0 && pid > 0)
		r = pids_add(pids, pid);
	return r;
}

static int read_children(const char *path, struct pids *pids)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : read_children_fd(fd, pids);
}

/* The file stays open: to open it takes ten times as long as to read it, between a worker's death and its FAILs. */
static int read_own_children(struct pids *pids)
{
	static int fd = -EBADF;
	static pid_t owner; /* a forked process has the same fd, of its parent's file */
	pid_t pid = getpid();

	if (owner != pid) {
		fd = close_fd(fd);
		fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		owner = pid;
	}
	return read_children_fd(fd, pids);
}

/* A child belongs to the thread that forked it, an orphan to any. */
static int children_by_threads(pid_t pid, struct pids *pids)
{
	char path[64];
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *dir = opendir(path);
	if (!dir)
		return -errno;
	for (const struct dirent *d; r == 0 && (d = readdir(dir));) {
		if (!is_number(d->d_name))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", pid, d->d_name);
		r = read_children(path, pids);
		if (r == -ESRCH)
			r = 0; /* a thread that ended */
	}
	(void)closedir(dir);
	return r;
}

/* A kernel without CONFIG_PROC_CHILDREN. */
static int children_by_scan(pid_t parent, struct pids *pids)
{
	DIR *dir = opendir("/proc");
	struct proc_stat stat;
	int r = 0;

	if (!dir)
		return -errno;
	for (const struct dirent *d; r == 0 && (d = readdir(dir));) {
		pid_t pid = (pid_t)strtol(d->d_name, NULL, 10);

		if (is_number(d->d_name) && proc_stat_read(pid, &stat) == 0 && stat.parent_pid == parent)
			r = pids_add(pids, pid);
	}
	(void)closedir(dir);
	return r;
}

/* A process that is gone has no children: no error. */
static int children_of(pid_t pid, struct pids *pids)
{
	static int have_children = -1;
	int r;

	if (have_children < 0)
		have_children = access("/proc/thread-self/children", R_OK) == 0;
	if (!have_children || pretend_no_children)
		return children_by_scan(pid, pids);
	r = children_by_threads(pid, pids);
	return r == -ENOENT || r == -ESRCH ? 0 : r;
}

static int own_children(struct pids *pids)
{
	int r;

	/* The main thread has all of them, unless others fork. */
	if (!pretend_no_children && syscall(SYS_gettid) == getpid()) {
		r = read_own_children(pids);
		if (r != -ENOENT)
			return r;
	}
	return children_of(getpid(), pids);
}

/* Of a child of ours. Unlike the state in /proc/PID/stat this is right where the first thread has ended before the
 * others. */
static bool is_child_alive(pid_t pid)
{
	siginfo_t si = {.si_pid = 0};

	return waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid == 0;
}

/* 1, 0, or -EAGAIN when the environment could not be seen. */
static int find_in_environ(pid_t pid, const char *needle, size_t needle_bytes)
{
	char path[40], buffer[4096 + NEEDLE_BYTES];
	size_t have = 1; /* a NUL in front of the first entry, as there is one in front of each other */
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	buffer[0] = 0;
	n = read(fd, buffer + have, sizeof(buffer) - have);
	if (n == 0)
		return -EAGAIN;
	while (n > 0) {
		have += (size_t)n;
		if (memmem(buffer, have, needle, needle_bytes))
			return 1;
		size_t keep = MIN(have, needle_bytes - 1);
		memmove(buffer, buffer + have - keep, keep);
		have = keep;
		n = read(fd, buffer + have, sizeof(buffer) - have);
	}
	return 0;
}

static bool has_mark(pid_t pid, const char *mark)
{
	char needle[NEEDLE_BYTES] = "";
	int n = snprintf(needle + 1, sizeof(needle) - 1, TREE_VARIABLE "=%s", mark);
	int r = 0;

	if (n < 0 || (size_t)n >= sizeof(needle) - 1)
		return false;
	/* In the middle of an execve(2) the environment is empty for some microseconds. */
	for (int i = 0; i < EXEC_TRIES; i++) {
		r = find_in_environ(pid, needle, (size_t)n + 2);
		if (r != -EAGAIN)
			break;
		(void)sched_yield();
	}
	return r == 1;
}

int tree_become_subreaper(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) < 0 ? -errno : 0;
}

bool tree_contains(const struct tree *t, pid_t pid)
{
	if (t->pgid > 0 && (getpgid(pid) == t->pgid || getsid(pid) == t->pgid))
		return true;
	return has_mark(pid, t->mark);
}

void tree_announce(struct tree *t)
{
	if (t->announced || t->pgid <= 0)
		return;
	t->refused = false;
	HASH_ADD_INT(announced, pgid, t);
	t->announced = !t->refused; /* for want of memory the others read on */
}

void tree_withdraw(struct tree *t)
{
	if (t->announced)
		HASH_DEL(announced, t);
	t->announced = false;
}

static bool is_first_of_another(const struct tree *t, pid_t pid)
{
	const struct tree *found;

	HASH_FIND_INT(announced, &pid, found);
	return found && found != t;
}

int tree_is_alive(const struct tree *t, pid_t except)
{
	_cleanup_pids_ struct pids children = {.n = 0};
	int r = own_children(&children);

	if (r < 0)
		return r;
	for (size_t i = 0; i < children.n; i++) {
		pid_t pid = children.p[i];
		if (pid != except && !is_first_of_another(t, pid) && is_child_alive(pid) && tree_contains(t, pid))
			return 1;
	}
	return 0;
}

int tree_each_orphan(int (*callback)(pid_t pid, void *userdata), void *userdata)
{
	_cleanup_pids_ struct pids children = {.n = 0};
	int r = own_children(&children);

	for (size_t i = 0; r == 0 && i < children.n; i++)
		if (!is_first_of_another(NULL, children.p[i]) && is_child_alive(children.p[i]))
			r = callback(children.p[i], userdata);
	return r;
}

/* The children of ours that live and belong to the tree, and everything below them. *ret_group_is_ours: a child of
 * ours, or its zombie, is in the process group, so that the number means nobody else's. */
static int list_tree(const struct tree *t, struct pids *pids, bool *ret_group_is_ours)
{
	_cleanup_pids_ struct pids children = {.n = 0};
	int r = own_children(&children);

	*ret_group_is_ours = false;
	for (size_t i = 0; r == 0 && i < children.n; i++) {
		pid_t pid = children.p[i];
		if (is_first_of_another(t, pid))
			continue;
		if (getpgid(pid) == t->pgid)
			*ret_group_is_ours = true;
		if (is_child_alive(pid) && tree_contains(t, pid))
			r = pids_add(pids, pid);
	}
	for (size_t i = 0; r == 0 && i < pids->n; i++)
		r = children_of(pids->p[i], pids);
	return r;
}

int tree_kill(const struct tree *t, int signal)
{
	_cleanup_pids_ struct pids pids = {.n = 0};
	bool group_is_ours;
	int killed = 0, r;

	r = list_tree(t, &pids, &group_is_ours);
	if (r < 0)
		return r;
	/* All of the group at one moment, so that nobody in it forks away. Another signal must not come twice. */
	if (signal == SIGKILL && group_is_ours && t->pgid > 1)
		(void)kill(-t->pgid, SIGKILL);
	for (size_t i = 0; i < pids.n; i++)
		if (kill(pids.p[i], signal) == 0)
			killed++;
	return killed;
}

/* Without a descriptor, of which there may be none left when many connect at once. The directory belongs to the
 * effective user, dumpable or not (unlike the files in it; proc(5)). */
static bool has_effective_uid(pid_t pid, uid_t uid)
{
	char path[40];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d", pid);
	return stat(path, &st) == 0 && st.st_uid == uid;
}

/* "Uid:\treal\teffective\t…" of a process that is no zombie. */
static bool has_uid(pid_t pid, uid_t uid)
{
	char path[40], text[2048];
	unsigned long real, effective;
	char *end;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = 0;
	const char *state = strstr(text, "\nState:\t"), *uids = strstr(text, "\nUid:\t");
	if (!state || state[STRLEN("\nState:\t")] == 'Z' || !uids)
		return false;
	real = strtoul(uids + STRLEN("\nUid:\t"), &end, 10);
	effective = strtoul(end, NULL, 10);
	return real == uid || effective == uid;
}

bool tree_has_uid(const struct tree *t, uid_t uid)
{
	_cleanup_pids_ struct pids pids = {.n = 0};
	bool group_is_ours;

	/* Mostly the first process itself. */
	if (is_child_alive(t->pgid) && (has_effective_uid(t->pgid, uid) || has_uid(t->pgid, uid)))
		return true;
	if (list_tree(t, &pids, &group_is_ours) < 0)
		return false;
	for (size_t i = 0; i < pids.n; i++)
		if (has_uid(pids.p[i], uid))
			return true;
	return false;
}
