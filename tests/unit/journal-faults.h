/* SPDX-License-Identifier: MIT
 *
 * The journal's system calls, failing as a test asks for, and waiting for it to be well again.
 */
#ifndef CHARGEHAND_TESTS_UNIT_JOURNAL_FAULTS_H
#define CHARGEHAND_TESTS_UNIT_JOURNAL_FAULTS_H

#include "journal-model.h"

#include "ledger/syncer.h"

#include <poll.h>

enum call {
	CALL_OPENAT,
	CALL_PWRITE,
	CALL_FALLOCATE,
	CALL_FDATASYNC,
	CALL_RENAMEAT2,
	CALL_UNLINKAT,
	CALL_FINISH_SYNC,
	_CALL_MAX
};

static const char *const call_names[] = {"openat",    "pwrite",   "fallocate",  "fdatasync",
					 "renameat2", "unlinkat", "finish_sync"};

static struct {
	unsigned made[_CALL_MAX];
	enum call what;
	unsigned from, to; /* these fail, counted from 1 */
	int error;
	bool short_write; /* half of it is written first */
	bool no_unlink;
	bool disk_full; /* nothing can be reserved, and only what is reserved can be written */
} fault;

static inline bool fails(enum call call)
{
	unsigned n = ++fault.made[call];

	if (call != fault.what || n < fault.from || n > fault.to)
		return false;
	errno = fault.error;
	return true;
}

static inline int io_openat(int fd, const char *path, int flags, mode_t mode)
{
	return fails(CALL_OPENAT) ? -1 : openat(fd, path, flags, mode);
}

static inline ssize_t io_pwrite(int fd, const void *p, size_t bytes, off_t at)
{
	struct stat st;

	if (fails(CALL_PWRITE)) {
		if (!fault.short_write)
			return -1;
		fault.short_write = false;
		fault.to++; /* the rest of it fails */
		return pwrite(fd, p, bytes / 2, at);
	}
	if (fault.disk_full && fstat(fd, &st) == 0 && at + (off_t)bytes > st.st_size) {
		errno = ENOSPC;
		return -1;
	}
	return pwrite(fd, p, bytes, at);
}

static inline int io_fallocate(int fd, int mode, off_t at, off_t bytes)
{
	if (fails(CALL_FALLOCATE))
		return -1;
	if (fault.disk_full) {
		errno = ENOSPC;
		return -1;
	}
	return fallocate(fd, mode, at, bytes);
}

static inline int io_fdatasync(int fd)
{
	return fails(CALL_FDATASYNC) ? -1 : fdatasync(fd);
}

static inline int io_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
	return fails(CALL_RENAMEAT2) ? -1 : renameat2(a, from, b, to, flags);
}

static inline int io_unlinkat(int fd, const char *path, int flags)
{
	if (fault.no_unlink) {
		errno = EPERM;
		return -1;
	}
	return fails(CALL_UNLINKAT) ? -1 : unlinkat(fd, path, flags);
}

static inline int io_finish_sync(struct syncer *s)
{
	int r = syncer_finish(s);

	if (r == -EAGAIN)
		return r;
	return fails(CALL_FINISH_SYNC) ? -errno : r;
}

static const struct journal_io io = {io_openat,    io_pwrite,   io_fallocate,  io_fdatasync,
				     io_renameat2, io_unlinkat, io_finish_sync};

static unsigned n_states, n_dues;
static enum journal_state last_state;
static int last_error;
static usec_t last_due;

static inline void on_state(_unused_ void *userdata, enum journal_state state, int error)
{
	n_states++;
	last_state = state;
	last_error = error;
}

static inline void on_due(_unused_ void *userdata, usec_t due)
{
	n_dues++;
	last_due = due;
}

static inline struct journal_settings faulty_settings(enum journal_sync sync)
{
	struct journal_settings s = settings_of();

	s.io = &io;
	s.sync = sync;
	s.on_state = on_state;
	s.on_due = on_due;
	return s;
}

static inline void setup(void)
{
	memset(&fault, 0, sizeof(fault));
	n_states = n_dues = 0;
	last_due = USEC_NEVER;
	last_state = JOURNAL_GOOD;
	open_dir();
}

/* As many turns as it takes, each later than any retry. */
static inline void let_it_recover(struct journal *j)
{
	usec_t now = clock_now_usec() + 10 * USEC_PER_SEC;

	for (unsigned i = 0; i < 10000; i++) {
		struct pollfd p = {.fd = journal_fd(j), .events = POLLIN};
		usec_t due = journal_work(j, now);

		if (due == USEC_NEVER && status_of(j).state == JOURNAL_GOOD)
			return;
		if (due > now && p.fd >= 0)
			(void)poll(&p, 1, 100);
		now += 2 * USEC_PER_SEC;
	}
	cr_fatal("it is %s, %s", journal_state_to_string(status_of(j).state), strerror(-status_of(j).error));
}

/* So much is written and over that the file is to be rewritten. */
static inline void churn(struct journal *j)
{
	char text[1024];

	memset(text, 'x', sizeof(text));
	for (unsigned i = 0; i < 1200; i++) {
		struct journal_entry *e = add_hold(j, "jid-of-no-use", NULL);

		journal_report(j, e, REPORT_FAIL, text, sizeof(text), 0);
		journal_remove(j, e);
	}
}

#endif
