/* SPDX-License-Identifier: MIT
 *
 * One file of the journal. What lies behind the last record is zeros, at least as many as make an end; in a file that
 * is used again they are written just ahead of the records, into pages that these are about to touch anyway.
 */
#include "ledger/internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

static const char zeros[4096];

static int write_all(const struct journal *j, int fd, const char *p, size_t bytes, off_t at, size_t *ret_done)
{
	size_t done = 0;

	*ret_done = 0;
	while (done < bytes) {
		ssize_t n = j->io->pwrite(fd, p + done, bytes - done, at + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		done += (size_t)n;
		*ret_done = done;
	}
	return 0;
}

int store_wipe(struct journal *j, const struct store *s, uint32_t from, uint32_t to)
{
	size_t done;
	int r = 0;

	for (; r == 0 && from < to; from += (uint32_t)done)
		r = write_all(j, s->fd, zeros, MIN((size_t)(to - from), sizeof(zeros)), from, &done);
	return r;
}

int store_grow(struct journal *j, struct store *s, uint64_t bytes)
{
	uint64_t step = MAX(STORE_GROW_BYTES, s->allocated / 4);
	uint64_t size = (MAX(bytes, s->allocated + step) + 4095) & ~(uint64_t)4095;
	int r;

	if (bytes > STORE_BYTES_MAX)
		return -EFBIG;
	size = MIN(size, STORE_BYTES_MAX);
	do
		r = j->io->fallocate(s->fd, 0, s->allocated, (off_t)(size - s->allocated));
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		r = store_wipe(j, s, s->allocated, (uint32_t)size); /* zeros reserve as well */
	else if (r < 0)
		r = -errno;
	if (r == 0)
		s->allocated = (uint32_t)size;
	return r;
}

bool store_has_room(const struct store *s, size_t bytes, uint32_t more_holds)
{
	uint64_t claims = HEADER_CLAIM_BYTES + (uint64_t)HOLD_CLAIM_BYTES * (s->n_holds + more_holds);

	return s->used + bytes + claims <= s->allocated;
}

/* *ret_done: how many bytes may have been changed when it fails. */
static int store_put(const struct journal *j, struct store *s, uint32_t at, const char *p, size_t bytes,
		     size_t *ret_done)
{
	int r = j->io->mmap ? window_copy(&s->window, j->io->mmap, s->fd, s->allocated, at, p, bytes) : -EOPNOTSUPP;
	size_t copied = r == -EIO ? bytes : 0;

	if (r == 0)
		return 0;
	r = write_all(j, s->fd, p, bytes, at, ret_done);
	*ret_done = MAX(*ret_done, copied);
	return r;
}

/* Behind so many more bytes there will be an end. */
static int store_clear_ahead(const struct journal *j, struct store *s, size_t bytes)
{
	uint64_t end = s->used + (uint64_t)bytes + RECORD_HEAD_BYTES;

	while (s->clear_to < s->stale_to && s->clear_to < end) {
		size_t n = MIN(STORE_CLEAR_BYTES, s->stale_to - s->clear_to), done;
		int r = store_put(j, s, s->clear_to, zeros, n, &done);

		if (r < 0)
			return r;
		s->clear_to += (uint32_t)n;
	}
	return 0;
}

int store_append(struct journal *j, struct store *s, const char *p, size_t bytes, uint32_t *ret_at)
{
	size_t done;
	int r = 0;

	if (s->used + (uint64_t)bytes > s->allocated)
		r = store_grow(
			j, s, s->used + (uint64_t)bytes + HEADER_CLAIM_BYTES + HOLD_CLAIM_BYTES * (uint64_t)s->n_holds);
	if (r == 0)
		r = store_clear_ahead(j, s, bytes);
	if (r < 0)
		return r;
	r = store_put(j, s, s->used, p, bytes, &done);
	if (r < 0) {
		(void)store_wipe(j, s, s->used, s->used + (uint32_t)done);
		return r;
	}
	*ret_at = s->used;
	s->used += (uint32_t)bytes;
	return 0;
}

int store_read(const struct store *s, uint32_t at, char *p, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = pread(s->fd, p, bytes, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += (uint32_t)n;
		bytes -= (size_t)n;
	}
	return 0;
}

void store_close(struct store *s)
{
	window_close(&s->window);
	*s = (struct store){.fd = close_fd(s->fd)};
}

int store_begin(struct journal *j, const char *name, uint64_t bytes, struct store *s)
{
	char preamble[RECORD_PREAMBLE_BYTES], *p;
	struct record header = journal_header_record(j);
	size_t header_bytes = record_bytes(&header);
	uint32_t at;
	int r = 0;

	if (s->fd < 0) {
		*s = (struct store){
			.fd = j->io->openat(j->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600),
		};
		if (s->fd < 0)
			return -errno;
	}
	/* What an earlier use may have left on the disk must not be read as this file's, should the power fail. */
	if (getrandom(&s->salt, sizeof(s->salt), GRND_NONBLOCK) != (ssize_t)sizeof(s->salt))
		s->salt += clock_wall_usec();
	bytes += sizeof(preamble) + header_bytes + HEADER_CLAIM_BYTES + STORE_AHEAD_BYTES;
	if (bytes > s->allocated)
		r = store_grow(j, s, bytes);
	if (r < 0)
		return r;
	record_encode_preamble(s->salt, preamble);
	r = store_append(j, s, preamble, sizeof(preamble), &at);
	if (r < 0)
		return r;
	p = journal_encode(j, &header, &header_bytes);
	if (!p)
		return -ENOMEM;
	record_seal(p, header_bytes, s->salt);
	return store_append(j, s, p, header_bytes, &at);
}
