/* SPDX-License-Identifier: MIT
 *
 * One directory, one lock file with the holder's pid in it.
 */
#include "ledger/statedir.h"
#include "base/fileio.h"
#include "base/macro.h"
#include "base/parse.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

static pid_t read_holder(int dir_fd)
{
	char text[32];
	size_t bytes;
	unsigned pid;

	if (fileio_read_into_at(dir_fd, STATEDIR_LOCK, text, sizeof(text), &bytes) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return parse_unsigned(text, 1, INT_MAX, &pid) < 0 ? 0 : (pid_t)pid;
}

static int lock_file(int dir_fd, int flags, int *ret_fd, pid_t *ret_holder)
{
	_cleanup_close_ int fd = openat(dir_fd, STATEDIR_LOCK, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			*ret_holder = read_holder(dir_fd);
		return -errno;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int statedir_lock(const char *path, int *ret_dir_fd, int *ret_lock_fd, pid_t *ret_holder)
{
	_cleanup_close_ int dir_fd = -EBADF;
	/* Below /var/lib/chargehand there are those of other users, too: units with User=. */
	int fd, r = fileio_mkdir_parents(path, geteuid() == 0 ? 0755 : 0700, 0700);

	if (r < 0)
		return r;
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	r = lock_file(dir_fd, O_RDWR | O_CREAT, &fd, ret_holder);
	if (r < 0)
		return r;
	/* Only for the message of one who comes later: a full disk is the journal's matter. */
	if (ftruncate(fd, 0) == 0)
		(void)dprintf(fd, "%d\n", getpid());
	*ret_dir_fd = TAKE_FD(dir_fd);
	*ret_lock_fd = fd;
	return 0;
}

/* Could a directory be made at path? The nearest parent that exists decides. */
static int check_parent(const char *path)
{
	_cleanup_free_ char *parent = strdup(path);
	char *slash;

	if (!parent)
		return -ENOMEM;
	while ((slash = strrchr(parent, '/')) && slash != parent) {
		*slash = '\0';
		if (access(parent, W_OK | X_OK) == 0)
			return 0;
		if (errno != ENOENT)
			return -errno;
	}
	return access("/", W_OK | X_OK) < 0 ? -errno : 0;
}

int statedir_check(const char *path, pid_t *ret_holder)
{
	_cleanup_close_ int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
	int r;

	if (dir_fd < 0)
		return errno == ENOENT ? check_parent(path) : -errno;
	if (faccessat(dir_fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return -errno;
	r = lock_file(dir_fd, O_RDWR, &fd, ret_holder);
	return r == -ENOENT ? 0 : r;
}
