/* SPDX-License-Identifier: MIT
 *
 * What is copied is in the file, wherever records and windows end; and what cannot be copied is told, and kills nobody.
 */
#include "ledger/window.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

static int fd = -EBADF;
static unsigned n_maps;

static void *counting_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
	n_maps++;
	return mmap(at, bytes, protection, flags, file, offset);
}

static void *no_mmap(_unused_ void *at, _unused_ size_t bytes, _unused_ int protection, _unused_ int flags,
		     _unused_ int file, _unused_ off_t offset)
{
	n_maps++;
	errno = ENODEV;
	return MAP_FAILED;
}

static void setup(void)
{
	char path[] = "/tmp/chargehand-test-XXXXXX";

	fd = mkstemp(path);
	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, unlink(path), 0));
	n_maps = 0;
}

static void teardown(void)
{
	fd = close_fd(fd);
}

TestSuite(window, .init = setup, .fini = teardown);

static void file_is(const char *expected, size_t bytes)
{
	char *found = malloc(bytes);

	cr_assert(eq(i64, pread(fd, found, bytes, 0), (int64_t)bytes));
	cr_expect(zero(int, memcmp(found, expected, bytes)));
	free(found);
}

/* Records of every length that is copied, one behind the other, as the journal appends them. */
Test(window, records_lie_where_they_should)
{
	const size_t file_bytes = 8 * WINDOW_BYTES;
	char *expected = calloc(1, file_bytes), *record = malloc(WINDOW_COPY_MAX);
	struct window w = {0};
	unsigned n_written = 0;
	uint64_t at = 0;

	cr_assert(eq(int, ftruncate(fd, (off_t)file_bytes), 0));
	for (size_t i = 1; at + WINDOW_COPY_MAX <= file_bytes; i++) {
		size_t bytes = 1 + i * i * 37 % (i % 50 ? 400 : WINDOW_COPY_MAX);
		bool in_one = at / WINDOW_BYTES == (at + bytes - 1) / WINDOW_BYTES;
		int r;

		memset(record, (int)('a' + i % 26), bytes);
		memcpy(expected + at, record, bytes);
		r = window_copy(&w, counting_mmap, fd, file_bytes, at, record, bytes);
		cr_assert(eq(int, r, in_one ? 0 : -EOPNOTSUPP), "%zu bytes at %ju", bytes, (uintmax_t)at);
		if (!in_one) {
			cr_assert(eq(i64, pwrite(fd, record, bytes, (off_t)at), (int64_t)bytes));
			n_written++;
		}
		at += bytes;
	}
	cr_expect(ge(uint, n_written, 4), "some lie across");
	cr_expect(eq(uint, n_maps, 8), "one for each window");
	file_is(expected, file_bytes);
	window_close(&w);
	file_is(expected, file_bytes);
	free(expected);
	free(record);
}

Test(window, what_was_before_and_behind_stays)
{
	struct window w = {0};
	char expected[12288];

	memset(expected, '-', sizeof(expected));
	cr_assert(eq(i64, pwrite(fd, expected, sizeof(expected), 0), (int64_t)sizeof(expected)));
	memcpy(expected + 5000, "record", 6);
	cr_assert(eq(int, window_copy(&w, mmap, fd, sizeof(expected), 5000, "record", 6), 0));
	file_is(expected, sizeof(expected));
	window_close(&w);
}

/* Others write to the same file, and see what was copied at once. */
Test(window, it_goes_together_with_writing)
{
	struct window w = {0};
	char text[8];

	cr_assert(eq(int, ftruncate(fd, 4096), 0));
	cr_assert(eq(int, window_copy(&w, mmap, fd, 4096, 0, "one", 3), 0));
	cr_assert(eq(i64, pwrite(fd, "two", 3, 3), 3));
	cr_assert(eq(int, window_copy(&w, mmap, fd, 4096, 6, "6", 1), 0));
	cr_assert(eq(i64, pread(fd, text, 7, 0), 7));
	cr_expect(zero(int, memcmp(text, "onetwo6", 7)));
	window_close(&w);
}

Test(window, refuses_what_is_too_long_or_beyond_the_end)
{
	static const char zeros[WINDOW_COPY_MAX + 1];
	struct window w = {0};

	cr_assert(eq(int, ftruncate(fd, 2 * WINDOW_BYTES), 0));
	cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 2 * WINDOW_BYTES, 0, zeros, WINDOW_COPY_MAX + 1),
		     -EOPNOTSUPP));
	/* The file ends in the middle of the record, or before it. */
	cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 4000, 3990, zeros, 20), -EOPNOTSUPP));
	cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 4096, 4096, zeros, 20), -EOPNOTSUPP));
	cr_expect(eq(uint, n_maps, 0));
	/* That was no reason to refuse the next. */
	cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 8192, 4096, zeros, 20), 0));
	window_close(&w);
}

/* What was mapped of it ends where it did. */
Test(window, a_file_that_grows_is_mapped_anew)
{
	struct window w = {0};

	cr_assert(eq(int, ftruncate(fd, 12288), 0));
	cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 4096, 4000, "a", 1), 0));
	cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 12288, 4090, "0123456789", 10), 0));
	cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 12288, 12287, "z", 1), 0));
	cr_expect(eq(uint, n_maps, 2));
	window_close(&w);
}

Test(window, a_file_that_cannot_be_mapped_is_not_tried_again)
{
	struct window w = {0};

	cr_assert(eq(int, ftruncate(fd, 4096), 0));
	cr_expect(eq(int, window_copy(&w, no_mmap, fd, 4096, 0, "x", 1), -EOPNOTSUPP));
	cr_expect(eq(int, window_copy(&w, no_mmap, fd, 4096, 1, "x", 1), -EOPNOTSUPP));
	cr_expect(eq(uint, n_maps, 1));
	window_close(&w);
}

/* The kernel has no page for it: a file that somebody has cut off is the way to this that needs no special disk. */
Test(window, a_page_that_cannot_be_had_is_an_error)
{
	struct window w = {0};

	for (unsigned i = 0; i < 2; i++) { /* a second time: the signal is not blocked after the first */
		w = (struct window){0};
		cr_assert(eq(int, ftruncate(fd, 8192), 0));
		cr_assert(eq(int, window_copy(&w, counting_mmap, fd, 8192, 0, "x", 1), 0));
		cr_assert(eq(int, ftruncate(fd, 0), 0));
		cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 8192, 4096, "x", 1), -EIO));
		cr_expect(eq(int, window_copy(&w, counting_mmap, fd, 8192, 4096, "x", 1), -EOPNOTSUPP), "not again");
		cr_expect(eq(uint, n_maps, i + 1));
	}
	window_close(&w);
}

/* Ends a child that has used a window, in one way or another. */
static int signal_of_end(void (*end)(void))
{
	struct window w = {0};
	int status;
	pid_t pid;

	cr_assert(eq(int, ftruncate(fd, 8192), 0));
	cr_assert(eq(int, window_copy(&w, mmap, fd, 8192, 0, "x", 1), 0));
	pid = fork();
	if (pid == 0) {
		end();
		_exit(0);
	}
	cr_assert(eq(i32, waitpid(pid, &status, 0), pid));
	window_close(&w);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void fault_elsewhere(void)
{
	volatile char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);

	if (ftruncate(fd, 4096) == 0)
		*p = 'x';
}

static void kill_oneself(void)
{
	(void)kill(getpid(), SIGBUS);
}

/* Not one of ours: it ends the process, as ever. */
Test(window, another_sigbus_is_none_of_ours)
{
	cr_expect(eq(int, signal_of_end(fault_elsewhere), SIGBUS));
	cr_expect(eq(int, signal_of_end(kill_oneself), SIGBUS), "sent by kill(2)");
}
