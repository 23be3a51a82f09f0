/* SPDX-License-Identifier: MIT
 *
 * A directory is locked as an open file (flock(2)): the lock goes with its chargehand, however that ends.
 */
#include "process/home.h"
#include "base/fileio.h"
#include "process/cgroup.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define HOME_PREFIX "chargehand-"
#define HOME_TRIES 20
#define SWEEP_TIMEOUT_MSEC 2000

int home_enter(int dir_fd)
{
	return fileio_write_at(dir_fd, "cgroup.procs", "0");
}

int home_open_child(int dir_fd, const char *name)
{
	int fd;

	if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int home_lock_child(int dir_fd, const char *name)
{
	_cleanup_close_ int fd = home_open_child(dir_fd, name);
	struct stat ours, there;

	if (fd < 0)
		return fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	/* Another one may have taken it for a leftover before it was locked. */
	if (fstat(fd, &ours) < 0 || fstatat(dir_fd, name, &there, 0) < 0 || ours.st_ino != there.st_ino)
		return -ESTALE;
	return TAKE_FD(fd);
}

/* "mail.1-3", "mail.1-3.2": a worker's leaf (start.c) */
static bool is_leaf_name(const char *name)
{
	const char *dash = strrchr(name, '-'), *dot = dash;

	if (!dash || dash == name || !dash[1] || dash[1 + strspn(dash + 1, "0123456789.")])
		return false;
	while (dot > name && dot[-1] >= '0' && dot[-1] <= '9')
		dot--;
	return dot < dash && dot > name && dot[-1] == '.';
}

/* "chargehand-NAME-01234567", "chargehand-NAME-01234567.2": as place.c and home_make() name them. A group whose name
 * only begins like that is somebody else's, and its processes are none of ours to end. */
static bool is_home_name(const char *name)
{
	const char *dash = strrchr(name, '-');

	if (strncmp(name, HOME_PREFIX, STRLEN(HOME_PREFIX)) != 0 || dash < name + STRLEN(HOME_PREFIX) + 1)
		return false;
	dash++;
	if (strspn(dash, "0123456789abcdef") != 8)
		return false;
	return !dash[8] || (dash[8] == '.' && dash[9] && !dash[9 + strspn(dash + 9, "0123456789")]);
}

/* What an earlier chargehand left: ended and removed. Returns how many there were. */
static unsigned sweep(int dir_fd, bool (*is_ours)(const char *name), bool locked)
{
	int list_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
	unsigned n = 0;

	if (!dir) {
		close_fd(list_fd);
		return 0;
	}
	for (const struct dirent *d; (d = readdir(dir));) {
		if (d->d_type != DT_DIR || !is_ours(d->d_name))
			continue;
		_cleanup_close_ int fd = openat(dir_fd, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && (!locked || flock(fd, LOCK_EX | LOCK_NB) == 0))
			n += cgroup_sweep(dir_fd, d->d_name, SWEEP_TIMEOUT_MSEC) == 0;
	}
	(void)closedir(dir);
	return n;
}

unsigned home_sweep(int base_fd)
{
	return sweep(base_fd, is_home_name, true);
}

unsigned home_sweep_leaves(int dir_fd)
{
	return sweep(dir_fd, is_leaf_name, false);
}

int home_make(int base_fd, const char *name, char **ret_name, int *ret_fd)
{
	int r = -EWOULDBLOCK;

	for (unsigned i = 0; i < HOME_TRIES && (r == -ESTALE || r == -EWOULDBLOCK); i++) {
		_cleanup_free_ char *home = NULL;
		char suffix[16] = "";

		if (i > 0)
			(void)snprintf(suffix, sizeof(suffix), ".%u", i);
		if (asprintf(&home, HOME_PREFIX "%s%s", name, suffix) < 0) {
			home = NULL;
			return -ENOMEM;
		}
		r = home_lock_child(base_fd, home);
		if (r >= 0)
			*ret_name = TAKE_PTR(home);
	}
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}
