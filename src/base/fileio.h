/* SPDX-License-Identifier: MIT
 *
 * Small files, read and written whole. Paths are relative to a directory descriptor (AT_FDCWD for the current
 * directory), so that tests can point at a tree of their own. All return 0 or -errno.
 */
#ifndef CHARGEHAND_BASE_FILEIO_H
#define CHARGEHAND_BASE_FILEIO_H

#include "base/macro.h"
#include <stddef.h>
#include <sys/types.h>

/* Reads a file of at most limit_bytes, as of /proc and cgroupfs, whose size stat(2) does not tell. *ret is malloc'ed,
 * NUL-terminated, and the caller's. -EFBIG when it is longer. */
int fileio_read_at(int dir_fd, const char *path, size_t limit_bytes, char **ret, size_t *ret_bytes) _must_check_;

/* The same into a buffer of the caller, always terminated; for files whose length is known to be small. */
int fileio_read_into_at(int dir_fd, const char *path, char *buffer, size_t buffer_bytes,
			size_t *ret_bytes) _must_check_;

/* One write(2) of the string to a file that exists (an attribute of the kernel): never creates, never truncates. */
int fileio_write_at(int dir_fd, const char *path, const char *text) _must_check_;

/* mkdir -p: the directory with mode, what is missing above it with parent_mode. 0 as well when all of it was there. */
int fileio_mkdir_parents(const char *path, mode_t parent_mode, mode_t mode) _must_check_;

#endif
