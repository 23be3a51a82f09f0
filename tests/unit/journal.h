/* SPDX-License-Identifier: MIT
 *
 * For tests of the journal: a directory of their own, a journal in it, files of it by hand.
 */
#ifndef CHARGEHAND_TESTS_UNIT_JOURNAL_H
#define CHARGEHAND_TESTS_UNIT_JOURNAL_H

#include "ledger/journal.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char dir_path[256];
static int dir_fd = -1;

static inline void open_dir(void)
{
	const char *top = getenv("TMPDIR");

	(void)snprintf(dir_path, sizeof(dir_path), "%s/chargehand-journal-XXXXXX", top ? top : "/tmp");
	cr_assert(not(eq(ptr, mkdtemp(dir_path), NULL)));
	dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(ge(int, dir_fd, 0));
}

static inline unsigned count_files(const char *prefix)
{
	DIR *d = opendir(dir_path);
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
	if (d)
		closedir(d);
	return n;
}

/* A test that failed half-way has left directories in it as well. */
static inline void empty_dir_at(int fd)
{
	DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || unlinkat(fd, e->d_name, 0) == 0)
			continue;
		int below = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below < 0)
			continue;
		empty_dir_at(below);
		(void)close(below);
		(void)unlinkat(fd, e->d_name, AT_REMOVEDIR);
	}
	if (d)
		closedir(d);
}

static inline void empty_dir(void)
{
	empty_dir_at(dir_fd);
}

static inline void close_dir(void)
{
	empty_dir();
	(void)rmdir(dir_path);
	(void)close(dir_fd);
	dir_fd = -1;
}

static inline bool file_exists(const char *name)
{
	return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline char *read_whole(const char *name, size_t *ret_bytes)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *p;

	cr_assert(ge(int, fd, 0), "%s", name);
	cr_assert(eq(int, fstat(fd, &st), 0));
	p = malloc((size_t)st.st_size + 1);
	cr_assert(eq(sz, (size_t)read(fd, p, (size_t)st.st_size), (size_t)st.st_size));
	close(fd);
	*ret_bytes = (size_t)st.st_size;
	return p;
}

static inline void write_whole(const char *name, const char *p, size_t bytes)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(sz, (size_t)write(fd, p, bytes), bytes));
	close(fd);
}

/* Behind the last byte that is not zero, up to the end of its record. */
static inline size_t used_bytes(const char *p, size_t bytes)
{
	while (bytes > 0 && p[bytes - 1] == '\0')
		bytes--;
	return (bytes + 7) & ~(size_t)7;
}

static struct journal_opening opening;

static inline struct journal_settings settings_of(void)
{
	return (struct journal_settings){.dir_fd = dir_fd, .server = "faktory:7419", .boot_id = "this-boot"};
}

static inline struct journal *open_with(const struct journal_settings *s)
{
	struct journal *j = NULL;
	int r = journal_open(s, &j, &opening);

	cr_assert(eq(int, r, 0), "journal_open: %s", strerror(-r));
	return j;
}

static inline struct journal *open_journal(void)
{
	const struct journal_settings s = settings_of();

	return open_with(&s);
}

static inline struct record_text text_of(const char *s)
{
	return (struct record_text){.p = s, .bytes = strlen(s)};
}

static inline bool text_is(struct record_text t, const char *s)
{
	return t.bytes == strlen(s) && memcmp(t.p, s, t.bytes) == 0;
}

static inline struct record_hold hold_of(const char *jid)
{
	return (struct record_hold){
		.fetched_usec = 10 * USEC_PER_SEC,
		.received_usec = 11 * USEC_PER_SEC,
		.wall_usec = 1000 * USEC_PER_SEC,
		.lease_sec = 1800,
		.jid = text_of(jid),
		.queue = text_of("default"),
		.jobtype = text_of("Mail"),
	};
}

static inline struct journal_entry *add_hold(struct journal *j, const char *jid, struct journal_worker *w)
{
	struct record_hold h = hold_of(jid);
	struct journal_entry *e = NULL;

	cr_assert(eq(int, journal_add(j, &h, w, &e), 0));
	return e;
}

static inline const struct journal_found *find_found(const struct journal *j, const char *jid)
{
	size_t n;
	const struct journal_found *f = journal_found(j, &n);

	for (size_t i = 0; i < n; i++)
		if (text_is(f[i].hold.jid, jid))
			return &f[i];
	return NULL;
}

static inline size_t n_found(const struct journal *j)
{
	size_t n;

	(void)journal_found(j, &n);
	return n;
}

static inline struct journal_status status_of(const struct journal *j)
{
	struct journal_status s;

	journal_get_status(j, &s);
	return s;
}

#endif
