/* SPDX-License-Identifier: MIT
 *
 * The journal's beginning and end, and the workers in it: few, so that each is kept whole in memory.
 */
#include "ledger/internal.h"

#include "base/fileio.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

static int kernel_openat(int dir_fd, const char *path, int flags, mode_t mode)
{
	return openat(dir_fd, path, flags, mode);
}

/* Not every musl has it; and what plain renameat(2) can do is not to fail where the other is not to be had. */
static int kernel_renameat2(int old_dir_fd, const char *old_path, int new_dir_fd, const char *new_path, unsigned flags)
{
	if (flags == 0)
		return renameat(old_dir_fd, old_path, new_dir_fd, new_path);
	return (int)syscall(SYS_renameat2, old_dir_fd, old_path, new_dir_fd, new_path, flags);
}

const struct journal_io journal_kernel_io = {
	.openat = kernel_openat,
	.pwrite = pwrite,
	.fallocate = fallocate,
	.fdatasync = fdatasync,
	.renameat2 = kernel_renameat2,
	.unlinkat = unlinkat,
	.finish_sync = syncer_finish,
	.mmap = mmap,
};

/* ---- workers */

static void worker_write(struct journal *j, struct journal_worker *w, const struct record *record)
{
	size_t bytes;
	char *p = journal_encode(j, record, &bytes);
	uint32_t at;
	int r = p ? 0 : -ENOMEM;

	if (r == 0 && journal_has_file(j))
		r = journal_append(j, p, bytes, 0, &at);
	/* Without it a leftover process might be missed at the next start, no more. */
	if (r < 0)
		journal_degrade(j, JOURNAL_PARTIAL, r);
	if (j->rewrite.running) {
		if (p)
			(void)journal_append_to_new(j, p, bytes, 0, &at);
		else
			journal_give_up_rewrite(j, -ENOMEM);
	}
	w->in_file = true;
	journal_announce(j);
}

int journal_add_worker(struct journal *j, const char *name, const char *mark, const char *cgroup,
		       struct journal_worker **ret)
{
	struct journal_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->name = strdup(name);
	w->mark = strdup(mark);
	w->cgroup = strdup(cgroup);
	if (!w->name || !w->mark || !w->cgroup) {
		free(w->name);
		free(w->mark);
		free(w->cgroup);
		free(w);
		return -ENOMEM;
	}
	w->id = ++j->last_worker;
	const struct record r = journal_worker_record(w);
	j->live_bytes += record_bytes(&r);
	TAILQ_INSERT_TAIL(&j->workers, w, next);
	worker_write(j, w, &r);
	*ret = w;
	return 0;
}

void journal_set_worker_pid(struct journal *j, struct journal_worker *w, pid_t pid, uint64_t start_ticks)
{
	w->pid = pid;
	w->start_ticks = start_ticks;
	w->other_boot = false;
	const struct record r = journal_worker_record(w);
	worker_write(j, w, &r);
}

void journal_free_worker(struct journal *j, struct journal_worker *w)
{
	const struct record r = journal_worker_record(w);

	j->live_bytes -= record_bytes(&r);
	TAILQ_REMOVE(&j->workers, w, next);
	free(w->name);
	free(w->mark);
	free(w->cgroup);
	free(w);
}

void journal_remove_worker(struct journal *j, struct journal_worker *w)
{
	const struct record r = {.type = RECORD_WORKER_GONE, .gone = w->id};

	if (!w->gone)
		worker_write(j, w, &r);
	w->gone = true;
	if (w->n_holds == 0)
		journal_free_worker(j, w);
}

struct journal_worker *journal_first_worker(const struct journal *j)
{
	return TAILQ_FIRST(&j->workers);
}

struct journal_worker *journal_next_worker(const struct journal_worker *w)
{
	return TAILQ_NEXT(w, next);
}

/* ---- what was found */

const struct journal_found *journal_found(const struct journal *j, size_t *ret_n)
{
	*ret_n = j->n_found;
	return j->found;
}

void journal_drop_found(struct journal *j)
{
	free(TAKE_PTR(j->found));
	free(TAKE_PTR(j->found_bytes));
	j->n_found = 0;
}

usec_t journal_lease_left_usec(const struct record_hold *h, usec_t now, usec_t wall_now)
{
	usec_t lease = h->lease_sec > USEC_NEVER / USEC_PER_SEC ? USEC_NEVER : h->lease_sec * USEC_PER_SEC, age;

	/* A clock that went back cannot tell how much time has passed. */
	if (h->doubtful)
		return 0;
	if (!h->other_boot) {
		if (now < h->received_usec)
			return 0;
		age = usec_sub(now, h->fetched_usec);
	} else {
		if (wall_now < h->wall_usec)
			return 0;
		age = usec_add(usec_sub(wall_now, h->wall_usec), usec_sub(h->received_usec, h->fetched_usec));
		age = usec_add(age, JOURNAL_WALL_MARGIN_USEC);
	}
	return usec_sub(lease, age);
}

/* ---- beginning */

static char *read_boot_id(void)
{
	char text[64];
	size_t bytes;

	/* Where there is none no boot is like another: the wall clock decides then. */
	if (fileio_read_into_at(AT_FDCWD, BOOT_ID_PATH, text, sizeof(text), &bytes) < 0)
		return strdup("");
	text[strcspn(text, "\n")] = '\0';
	return strdup(text);
}

/* Nothing else happens until it is done. */
static int rewrite_whole(struct journal *j)
{
	int r = rewrite_begin(j);

	while (r == 0)
		r = rewrite_step(j);
	if (r < 0)
		return r;
	if (j->sync != JOURNAL_SYNC_NEVER && j->io->fdatasync(j->rewrite.store.fd) < 0) {
		r = -errno;
		rewrite_abort(j, r);
		return r;
	}
	return rewrite_finish(j);
}

/* Every chargehand begins a file of its own. Without space for one it goes on in the one that it found. */
static void journal_begin_file(struct journal *j, struct journal_opening *o)
{
	const struct record header = journal_header_record(j);
	int r = rewrite_whole(j);
	size_t bytes;
	uint32_t at;
	char *p;

	if (r == 0) {
		j->state = JOURNAL_GOOD;
		if (j->sync == JOURNAL_SYNC_NEVER)
			return;
		r = journal_sync_now(j);
		if (r < 0) {
			o->error = r;
			journal_degrade(j, JOURNAL_PARTIAL, r);
		}
		return;
	}
	o->error = r;
	j->retry_usec = usec_add(clock_now_usec(), JOURNAL_RETRY_USEC);
	if (!journal_has_file(j))
		return;
	journal_degrade(j, JOURNAL_PARTIAL, r);
	p = journal_encode(j, &header, &bytes);
	r = p ? store_append(j, &j->store, p, bytes, &at) : -ENOMEM;
	if (r < 0)
		journal_withdraw(j, r);
}

int journal_open(const struct journal_settings *settings, struct journal **ret, struct journal_opening *ret_opening)
{
	_cleanup_(cleanup_journal) struct journal *j = calloc(1, sizeof(*j));
	int r;

	*ret_opening = (struct journal_opening){.aside = JOURNAL_ASIDE_NOT};
	if (!j)
		return -ENOMEM;
	j->dir_fd = settings->dir_fd;
	j->io = settings->io ? settings->io : &journal_kernel_io;
	j->sync = settings->sync;
	j->state = JOURNAL_WITHDRAWN;
	j->since_usec = clock_now_usec();
	j->due_usec = USEC_NEVER;
	j->store.fd = j->rewrite.store.fd = j->spare.fd = j->syncer.event_fd = -EBADF;
	TAILQ_INIT(&j->entries);
	TAILQ_INIT(&j->workers);
	j->server = strdup(settings->server);
	j->boot_id = settings->boot_id ? strdup(settings->boot_id) : read_boot_id();
	if (!j->server || !j->boot_id)
		return -ENOMEM;
	if (j->sync == JOURNAL_SYNC_INTERVAL)
		ret_opening->sync_error = syncer_init(&j->syncer);

	r = journal_replay(j, ret_opening);
	if (r < 0)
		return r;
	journal_begin_file(j, ret_opening);
	j->error = ret_opening->error;
	j->on_state = settings->on_state;
	j->on_due = settings->on_due;
	j->userdata = settings->userdata;
	journal_announce(j);
	*ret = TAKE_PTR(j);
	return 0;
}

struct journal *journal_close(struct journal *j)
{
	struct journal_entry *e;

	if (!j)
		return NULL;
	syncer_done(&j->syncer);
	rewrite_abort(j, -ECANCELED);
	if (j->spare.fd >= 0)
		(void)j->io->unlinkat(j->dir_fd, JOURNAL_NEW_NAME, 0);
	store_close(&j->spare);
	store_close(&j->store);
	while ((e = TAILQ_FIRST(&j->entries))) {
		TAILQ_REMOVE(&j->entries, e, next);
		piece_drop(j, &e->hold);
		piece_drop(j, &e->report);
		free(e);
	}
	while (!TAILQ_EMPTY(&j->workers))
		journal_free_worker(j, TAILQ_FIRST(&j->workers));
	journal_drop_found(j);
	free(j->scratch);
	free(j->server);
	free(j->boot_id);
	free(j);
	return NULL;
}
