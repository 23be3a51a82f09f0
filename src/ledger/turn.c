/* SPDX-License-Identifier: MIT
 *
 * The journal's states, when there is something to do, and the doing of it: rewrite, sync, reserve.
 */
#include "ledger/internal.h"

#include <assert.h>

const char *journal_sync_to_string(enum journal_sync sync)
{
	static const char *const names[] = {"never", "interval", "always"};
	static_assert(ARRAY_SIZE(names) == _JOURNAL_SYNC_MAX, "each has a name");

	return (unsigned)sync < _JOURNAL_SYNC_MAX ? names[sync] : "?";
}

const char *journal_state_to_string(enum journal_state state)
{
	static const char *const names[] = {"good", "partial", "withdrawn"};
	static_assert(ARRAY_SIZE(names) == _JOURNAL_STATE_MAX, "each has a name");

	return (unsigned)state < _JOURNAL_STATE_MAX ? names[state] : "?";
}

/* ---- when there is something to do */

static usec_t journal_next_due(const struct journal *j)
{
	bool syncing_new = j->rewrite.running && j->rewrite.copied && j->syncing != SYNCING_NOTHING;
	usec_t due = USEC_NEVER;

	if (j->rewrite.running && !syncing_new)
		return 0;
	if (!j->rewrite.running && j->state != JOURNAL_GOOD)
		due = j->retry_usec;
	else if (!j->rewrite.running && j->store.used > REWRITE_MIN_BYTES + 2 * j->live_bytes)
		due = j->retry_usec;
	if (j->state == JOURNAL_GOOD && !store_has_room(&j->store, STORE_AHEAD_BYTES, 0))
		due = MIN(due, j->retry_usec);
	if (j->dirty && j->syncing == SYNCING_NOTHING && j->syncer.event_fd >= 0)
		due = MIN(due, usec_add(j->dirty_usec, JOURNAL_SYNC_INTERVAL_USEC));
	return due;
}

void journal_announce(struct journal *j)
{
	usec_t due = journal_next_due(j);

	if (due >= j->due_usec)
		return;
	j->due_usec = due;
	if (j->on_due)
		j->on_due(j->userdata, due);
}

void journal_mark_dirty(struct journal *j)
{
	if (j->dirty || j->sync == JOURNAL_SYNC_NEVER)
		return;
	j->dirty = true;
	j->dirty_usec = clock_now_usec();
}

/* ---- states */

void journal_set_state(struct journal *j, enum journal_state state, int error)
{
	bool changed = state != j->state;

	j->state = state;
	j->error = error;
	if (!changed)
		return;
	j->since_usec = clock_now_usec();
	j->retry_usec = state == JOURNAL_GOOD ? 0 : usec_add(j->since_usec, JOURNAL_RETRY_USEC);
	if (j->on_state)
		j->on_state(j->userdata, state, error);
}

/* A rewrite under way is what cures it, and need not wait. */
void journal_degrade(struct journal *j, enum journal_state state, int error)
{
	if (state > j->state)
		journal_set_state(j, state, error);
}

/* The file says what is no longer so, and cannot be told. Its descriptor stays: records are read from it. */
void journal_withdraw(struct journal *j, int error)
{
	if (j->io->unlinkat(j->dir_fd, JOURNAL_NAME, 0) < 0 && errno != ENOENT)
		(void)store_wipe(j, &j->store, 0, RECORD_PREAMBLE_BYTES);
	journal_degrade(j, JOURNAL_WITHDRAWN, error);
}

/* The journal in use does not depend on it. */
void journal_give_up_rewrite(struct journal *j, int error)
{
	rewrite_abort(j, error);
	if (j->syncing == SYNCING_NEW)
		j->syncing = SYNCING_GIVEN_UP; /* its end says nothing about the next one */
	if (j->state != JOURNAL_GOOD)
		j->error = error;
	j->retry_usec = usec_add(clock_now_usec(), JOURNAL_RETRY_USEC);
}

enum journal_state journal_get_state(const struct journal *j)
{
	return j->state;
}

bool journal_has_file(const struct journal *j)
{
	return j->state != JOURNAL_WITHDRAWN;
}

/* ---- the owner's turn */

int journal_sync_now(struct journal *j)
{
	/* Some file systems know no such thing of a directory. */
	if (j->directory_dirty && j->io->fdatasync(j->dir_fd) < 0 && errno != EINVAL)
		return -errno;
	j->directory_dirty = false;
	if (j->dirty && j->store.fd >= 0 && j->io->fdatasync(j->store.fd) < 0)
		return -errno;
	j->dirty = false;
	j->n_syncs++;
	return 0;
}

void journal_barrier(struct journal *j)
{
	if (j->sync != JOURNAL_SYNC_ALWAYS || !j->dirty || !journal_has_file(j))
		return;
	int r = journal_sync_now(j);
	if (r < 0) {
		/* What was not written may be gone from the page cache as well: only a new file can be trusted. */
		j->dirty = false;
		journal_degrade(j, JOURNAL_PARTIAL, r);
		journal_announce(j);
	}
}

static void journal_end_sync(struct journal *j)
{
	enum journal_syncing what = j->syncing;
	int r = what == SYNCING_NOTHING ? -EAGAIN : j->io->finish_sync(&j->syncer);

	if (r == -EAGAIN)
		return;
	j->syncing = SYNCING_NOTHING;
	j->n_syncs++;
	if (what == SYNCING_FILE && r < 0)
		journal_degrade(j, JOURNAL_PARTIAL, r);
	if (what == SYNCING_DIRECTORY)
		j->directory_dirty = false;
	if (what == SYNCING_NEW && j->rewrite.running && j->rewrite.copied) {
		r = r < 0 ? r : rewrite_finish(j);
		if (r < 0)
			journal_give_up_rewrite(j, r);
		else
			journal_set_state(j, JOURNAL_GOOD, 0);
	}
}

static void journal_begin_sync(struct journal *j, usec_t now)
{
	if (j->sync != JOURNAL_SYNC_INTERVAL || j->syncing != SYNCING_NOTHING || !j->dirty ||
	    now < usec_add(j->dirty_usec, JOURNAL_SYNC_INTERVAL_USEC))
		return;
	if (j->directory_dirty && syncer_start(&j->syncer, j->dir_fd) == 0) {
		j->syncing = SYNCING_DIRECTORY;
		return;
	}
	j->directory_dirty = false;
	j->dirty = false;
	if (journal_has_file(j) && syncer_start(&j->syncer, j->store.fd) == 0)
		j->syncing = SYNCING_FILE;
}

static void journal_advance_rewrite(struct journal *j, usec_t now)
{
	struct rewrite *w = &j->rewrite;
	bool wanted = j->state != JOURNAL_GOOD || j->store.used > REWRITE_MIN_BYTES + 2 * j->live_bytes;
	int r = 0;

	if (!w->running) {
		if (!wanted || now < j->retry_usec)
			return;
		r = rewrite_begin(j);
	} else if (!w->copied) {
		r = rewrite_step(j);
	} else if (j->syncing == SYNCING_NOTHING) {
		if (j->sync == JOURNAL_SYNC_INTERVAL && syncer_start(&j->syncer, w->store.fd) == 0) {
			j->syncing = SYNCING_NEW;
			return;
		}
		r = rewrite_finish(j);
		if (r == 0)
			journal_set_state(j, JOURNAL_GOOD, 0);
	}
	if (r < 0)
		journal_give_up_rewrite(j, r);
}

usec_t journal_work(struct journal *j, usec_t now)
{
	journal_end_sync(j);
	journal_advance_rewrite(j, now);
	journal_begin_sync(j, now);
	if (j->state == JOURNAL_GOOD && !store_has_room(&j->store, STORE_AHEAD_BYTES, 0) && now >= j->retry_usec &&
	    store_grow(j, &j->store, 0) < 0)
		j->retry_usec = usec_add(now, JOURNAL_RETRY_USEC); /* not needed yet */
	j->due_usec = journal_next_due(j);
	return j->due_usec;
}

int journal_fd(const struct journal *j)
{
	return j->syncer.event_fd;
}

void journal_get_status(const struct journal *j, struct journal_status *ret)
{
	const struct journal_entry *e;

	*ret = (struct journal_status){
		.state = j->state,
		.error = j->error,
		.since_usec = j->since_usec,
		.n_holds = j->n_entries,
		.file_bytes = journal_has_file(j) ? j->store.allocated : 0,
		.live_bytes = j->live_bytes,
		.n_rewrites = j->n_rewrites,
		.n_syncs = j->n_syncs,
	};
	if (j->state != JOURNAL_GOOD)
		TAILQ_FOREACH (e, &j->entries, next)
			ret->n_unwritten += !journal_has_file(j) || e->hold.memory || e->report.memory || !e->in_file;
}
