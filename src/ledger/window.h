/* SPDX-License-Identifier: MIT
 *
 * A piece of a file that is mapped, and moves on with what is appended: a record is copied there, without a system
 * call. Three pwrite(2) for each job were 1.2 of the 20 µs of processor time that its FETCH and ACK cost, and the
 * copies take 0.2. What is copied is in the page cache as what is written would be: it outlives this process, and
 * fdatasync(2) finds it.
 *
 * Where a page cannot be had for it (a disk that is full in spite of fallocate(2), an error of it, a file that somebody
 * cuts off) the kernel says so by SIGBUS (mmap(2)). It is caught for the length of the copy (hazards 40); the window
 * is not used again, and the caller does what it would have done without one.
 */
#ifndef CHARGEHAND_LEDGER_WINDOW_H
#define CHARGEHAND_LEDGER_WINDOW_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A window is one of the pieces of this length that a file consists of. Its pages count as resident memory once they
 * are touched; what is longer than the second figure is written. */
#define WINDOW_BYTES ((size_t)512 << 10)
#define WINDOW_COPY_MAX ((size_t)16 << 10)

/* All zero: nothing is mapped yet. */
struct window {
	char *p;
	uint64_t at; /* in the file */
	size_t bytes;
	bool refused;
};

typedef void *(*window_mmap)(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);

/* Copies into the file, which is file_bytes long. -EOPNOTSUPP: it is to be written, for it cannot be mapped, is too
 * short, or the bytes are too many or not all in one window; -EIO: some of it may have been copied. `map` is mmap(2).
 */
int window_copy(struct window *w, window_mmap map, int fd, uint64_t file_bytes, uint64_t at, const char *p,
		size_t bytes) _must_check_;

void window_close(struct window *w);

#endif
