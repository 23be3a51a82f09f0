/* SPDX-License-Identifier: MIT
 *
 * Whole small files through openat(2). Nothing here logs or remembers anything.
 */
#include "base/fileio.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define FILEIO_CHUNK 4096

static ssize_t read_retry(int fd, void *buffer, size_t bytes)
{
	ssize_t n;

	do
		n = read(fd, buffer, bytes);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int fileio_read_at(int dir_fd, const char *path, size_t limit_bytes, char **ret, size_t *ret_bytes)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_free_ char *text = NULL;
	size_t bytes = 0, room = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		/* One byte more than allowed is asked for, which tells a file of the limit from a longer one. */
		size_t want = MIN((size_t)FILEIO_CHUNK, limit_bytes - bytes + 1);
		if (bytes + want + 1 > room) {
			size_t more_room = MAX(2 * room, bytes + want + 1);
			char *more = realloc(text, more_room);
			if (!more)
				return -ENOMEM;
			text = more;
			room = more_room;
		}
		ssize_t n = read_retry(fd, text + bytes, want);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		bytes += (size_t)n;
		if (bytes > limit_bytes)
			return -EFBIG;
	}
	text[bytes] = '\0';
	*ret = TAKE_PTR(text);
	*ret_bytes = bytes;
	return 0;
}

int fileio_read_into_at(int dir_fd, const char *path, char *buffer, size_t buffer_bytes, size_t *ret_bytes)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t bytes = 0;

	if (fd < 0)
		return -errno;
	if (buffer_bytes == 0)
		return -EFBIG;
	for (;;) {
		ssize_t n = read_retry(fd, buffer + bytes, buffer_bytes - bytes);
		if (n < 0) {
			buffer[0] = '\0';
			return (int)n;
		}
		if (n == 0)
			break;
		bytes += (size_t)n;
		if (bytes == buffer_bytes) {
			buffer[buffer_bytes - 1] = '\0';
			return -EFBIG;
		}
	}
	buffer[bytes] = '\0';
	*ret_bytes = bytes;
	return 0;
}

int fileio_write_at(int dir_fd, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	size_t bytes = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = write(fd, text, bytes);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* The kernel's attributes take all of a write or nothing of it. */
	return (size_t)n == bytes ? 0 : -EIO;
}

/* 0 when path is a directory now, made or found. */
static int make_directory(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;
	/* EROFS, EACCES and ENOSPC are told of directories that exist, too. */
	int error = errno;
	if (stat(path, &st) < 0)
		return -error;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int fileio_mkdir_parents(const char *path, mode_t parent_mode, mode_t mode)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	if (*copy == '\0')
		return -ENOENT;
	for (char *end = copy + strlen(copy); end > copy + 1 && end[-1] == '/';)
		*--end = '\0';
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/' || p[-1] == '/')
			continue;
		*p = '\0';
		int r = make_directory(copy, parent_mode);
		if (r < 0)
			return r;
		*p = '/';
	}
	return make_directory(copy, mode);
}
