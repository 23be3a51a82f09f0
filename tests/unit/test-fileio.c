/* SPDX-License-Identifier: MIT
 *
 * Files below a directory of the test's own: at, below and above each limit, and each way to fail.
 */
#include "base/fileio.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char directory[] = "/tmp/chargehand-test-XXXXXX";
static int dir_fd = -EBADF;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void setup(void)
{
	cr_assert(not(eq(ptr, mkdtemp(directory), NULL)));
	dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert(ge(int, dir_fd, 0));
}

static void teardown(void)
{
	dir_fd = close_fd(dir_fd);
	(void)nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(fileio, .init = setup, .fini = teardown);

static void put(const char *name, size_t bytes)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert(ge(int, fd, 0));
	for (size_t i = 0; i < bytes; i++)
		cr_assert(eq(i64, write(fd, &"abcdefg"[i % 7], 1), 1));
	(void)close(fd);
}

Test(fileio, read_gives_the_whole_file)
{
	/* around the size of one read */
	static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 10000};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *text = NULL;
		size_t bytes = 99;
		put("f", sizes[i]);
		cr_assert(eq(int, fileio_read_at(dir_fd, "f", 10000, &text, &bytes), 0));
		cr_assert(eq(sz, bytes, sizes[i]));
		cr_assert(eq(sz, strlen(text), sizes[i]));
		if (bytes > 0)
			cr_assert(eq(chr, text[bytes - 1], "abcdefg"[(bytes - 1) % 7]));
		free(text);
	}
}

Test(fileio, read_refuses_more_than_the_limit)
{
	char *text = NULL;
	size_t bytes = 99;

	put("f", 5000);
	cr_assert(eq(int, fileio_read_at(dir_fd, "f", 4999, &text, &bytes), -EFBIG));
	cr_assert(eq(int, fileio_read_at(dir_fd, "f", 0, &text, &bytes), -EFBIG));
	cr_assert(eq(int, fileio_read_at(dir_fd, "nothing", 10, &text, &bytes), -ENOENT));
	cr_assert(eq(int, fileio_read_at(dir_fd, ".", 10, &text, &bytes), -EISDIR));
	cr_assert(all(eq(ptr, text, NULL), eq(sz, bytes, 99)));
	cr_assert(eq(int, fileio_read_at(dir_fd, "f", 5000, &text, &bytes), 0));
	free(text);
}

Test(fileio, read_works_on_files_without_a_size)
{
	char *text = NULL;
	size_t bytes = 0;

	cr_assert(eq(int, fileio_read_at(AT_FDCWD, "/proc/self/stat", 4096, &text, &bytes), 0));
	cr_assert(gt(sz, bytes, 10));
	free(text);
}

Test(fileio, read_into_fills_a_buffer_and_always_ends_it)
{
	char buffer[8];
	size_t bytes = 99;

	put("f", 7);
	cr_assert(eq(int, fileio_read_into_at(dir_fd, "f", buffer, sizeof(buffer), &bytes), 0));
	cr_assert(all(eq(sz, bytes, 7), eq(str, buffer, "abcdefg")));
	put("f", 8);
	bytes = 99;
	cr_assert(eq(int, fileio_read_into_at(dir_fd, "f", buffer, sizeof(buffer), &bytes), -EFBIG));
	cr_assert(all(eq(sz, bytes, 99), eq(str, buffer, "abcdefg")));
	put("f", 0);
	cr_assert(eq(int, fileio_read_into_at(dir_fd, "f", buffer, sizeof(buffer), &bytes), 0));
	cr_assert(all(eq(sz, bytes, 0), eq(str, buffer, "")));
	cr_assert(eq(int, fileio_read_into_at(dir_fd, "nothing", buffer, sizeof(buffer), &bytes), -ENOENT));
}

Test(fileio, write_neither_creates_nor_truncates)
{
	char *text = NULL;
	size_t bytes;

	cr_assert(eq(int, fileio_write_at(dir_fd, "f", "x"), -ENOENT));
	put("f", 7);
	cr_assert(eq(int, fileio_write_at(dir_fd, "f", "XY"), 0));
	cr_assert(eq(int, fileio_read_at(dir_fd, "f", 100, &text, &bytes), 0));
	cr_assert(eq(str, text, "XYcdefg"));
	free(text);
	cr_assert(eq(int, fileio_write_at(AT_FDCWD, "/dev/full", "x"), -ENOSPC));
}

Test(fileio, mkdir_parents_makes_what_is_missing)
{
	char path[128];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/a//b/c/", directory);
	cr_assert(eq(int, fileio_mkdir_parents(path, 0750, 0700), 0));
	cr_assert(eq(int, fileio_mkdir_parents(path, 0750, 0700), 0));
	cr_assert(eq(int, fstatat(dir_fd, "a/b/c", &st, 0), 0));
	cr_assert(eq(uint, st.st_mode & 07777, 0700));
	cr_assert(eq(int, fstatat(dir_fd, "a/b", &st, 0), 0));
	cr_assert(eq(uint, st.st_mode & 07777, 0750));

	put("a/file", 1);
	(void)snprintf(path, sizeof(path), "%s/a/file/b", directory);
	cr_assert(eq(int, fileio_mkdir_parents(path, 0750, 0700), -ENOTDIR));
	(void)snprintf(path, sizeof(path), "%s/a/file", directory);
	cr_assert(eq(int, fileio_mkdir_parents(path, 0750, 0700), -ENOTDIR));
	cr_assert(eq(int, fileio_mkdir_parents("", 0750, 0700), -ENOENT));
	cr_assert(eq(int, fileio_mkdir_parents("/", 0750, 0700), 0));
	cr_assert(lt(int, fileio_mkdir_parents("/proc/nothing/here", 0750, 0700), 0));
}
