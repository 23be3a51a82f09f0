/* SPDX-License-Identifier: MIT
 *
 * The state directory's lock: one at a time, told whose, and gone with its holder.
 */
#include "ledger/statedir.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char top[] = "/tmp/chargehand-test-XXXXXX";
static char path[64], lock[80];
static int dir = -EBADF, other_dir = -EBADF, fd = -EBADF;
static pid_t holder;

static void setup(void)
{
	cr_assert(not(eq(ptr, mkdtemp(top), NULL)));
	(void)snprintf(path, sizeof(path), "%s/a/b", top);
	(void)snprintf(lock, sizeof(lock), "%s/" STATEDIR_LOCK, path);
}

static void teardown(void)
{
	char parent[64];

	fd = close_fd(fd);
	dir = close_fd(dir);
	(void)snprintf(parent, sizeof(parent), "%s/a", top);
	(void)unlink(lock);
	(void)rmdir(path);
	(void)unlink(parent);
	(void)rmdir(parent);
	(void)rmdir(top);
}

TestSuite(statedir, .init = setup, .fini = teardown);

Test(statedir, is_made_for_its_owner_alone)
{
	struct stat st;

	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), 0));
	cr_assert(eq(int, fstat(dir, &st), 0));
	cr_assert(eq(uint, st.st_mode & 07777, 0700));
	cr_assert(eq(int, fcntl(dir, F_GETFD), FD_CLOEXEC));
	cr_assert(eq(int, stat(lock, &st), 0));
	cr_assert(eq(uint, st.st_mode & 07777, 0600));
	cr_assert(eq(int, fcntl(fd, F_GETFD), FD_CLOEXEC));
}

Test(statedir, roots_own_does_not_shut_out_those_of_other_users)
{
	char parent[64];
	struct stat st;

	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), 0));
	(void)snprintf(parent, sizeof(parent), "%s/a", top);
	cr_assert(eq(int, stat(parent, &st), 0));
	cr_assert(eq(uint, st.st_mode & 07777, geteuid() == 0 ? 0755 : 0700));
}

Test(statedir, has_one_holder_who_can_be_told)
{
	int other = -EBADF;

	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), 0));
	cr_assert(eq(int, statedir_lock(path, &other_dir, &other, &holder), -EWOULDBLOCK));
	cr_assert(all(eq(int, other, -EBADF), eq(int, holder, getpid())));
	holder = 0;
	cr_assert(eq(int, statedir_check(path, &holder), -EWOULDBLOCK));
	cr_assert(eq(int, holder, getpid()));

	fd = close_fd(fd);
	cr_assert(eq(int, statedir_check(path, &holder), 0));
	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), 0));
}

Test(statedir, a_lock_without_a_pid_is_a_lock)
{
	int other = -EBADF;

	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), 0));
	cr_assert(eq(int, ftruncate(fd, 0), 0));
	holder = 4711;
	cr_assert(eq(int, statedir_lock(path, &other_dir, &other, &holder), -EWOULDBLOCK));
	cr_assert(eq(int, holder, 0));
	cr_assert(eq(i64, pwrite(fd, "nonsense\n", 9, 0), 9));
	cr_assert(eq(int, statedir_lock(path, &other_dir, &other, &holder), -EWOULDBLOCK));
	cr_assert(eq(int, holder, 0));
}

Test(statedir, check_makes_nothing)
{
	struct stat st;

	cr_assert(eq(int, statedir_check(path, &holder), 0));
	cr_assert(eq(int, stat(path, &st), -1));
	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), 0));
	fd = close_fd(fd);
	(void)unlink(lock);
	cr_assert(eq(int, statedir_check(path, &holder), 0));
	cr_assert(eq(int, stat(lock, &st), -1));
}

Test(statedir, what_is_no_directory_is_refused)
{
	char file[64];
	int made;

	(void)snprintf(file, sizeof(file), "%s/a", top);
	made = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(ge(int, made, 0));
	(void)close(made);
	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), -ENOTDIR));
	cr_assert(eq(int, statedir_lock(file, &dir, &fd, &holder), -ENOTDIR));
	cr_assert(eq(int, statedir_check(path, &holder), -ENOTDIR));
	cr_assert(eq(int, statedir_check(file, &holder), -ENOTDIR));
	cr_assert(eq(int, fd, -EBADF));
}

Test(statedir, a_link_in_the_locks_place_is_refused)
{
	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), 0));
	fd = close_fd(fd);
	(void)unlink(lock);
	cr_assert(eq(int, symlink("/dev/null", lock), 0));
	cr_assert(eq(int, statedir_lock(path, &dir, &fd, &holder), -ELOOP));
}
