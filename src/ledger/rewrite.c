/* SPDX-License-Identifier: MIT
 *
 * A new file with all that is live, made beside the old one: to be rid of what is not (compaction), to begin after a
 * start, and to have a whole journal again after the disk was full. The workers at once, for they are few; then the
 * holds, some in each step. A record about a hold that has been copied, or that is new, goes to both files meanwhile,
 * so that each of the two is whole at any time. The last step renames.
 */
#include "ledger/internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Records are collected and go out in one write for each step. */
struct collector {
	struct journal *j;
	char *p;
	size_t bytes, size;
};

static uint32_t collector_at(const struct collector *c)
{
	return c->j->rewrite.store.used + (uint32_t)c->bytes;
}

static char *collector_reserve(struct collector *c, size_t bytes)
{
	if (c->bytes + bytes > c->size) {
		size_t size = MAX(2 * c->size, c->bytes + bytes);
		char *p = realloc(c->p, size);
		if (!p)
			return NULL;
		c->p = p;
		c->size = size;
	}
	return c->p + c->bytes;
}

static int collect_record(struct collector *c, const struct record *r)
{
	size_t bytes = record_bytes(r);
	char *p = collector_reserve(c, bytes);

	if (!p)
		return -ENOMEM;
	record_encode(r, c->j->rewrite.store.salt, p);
	c->bytes += bytes;
	return 0;
}

/* As it is, from memory or from the old file; checked, for a bad record would hide all behind it from the next start.
 */
static int collect_piece(struct collector *c, struct piece *piece)
{
	struct record r;
	size_t bytes;
	char *p;

	if (piece->bytes == 0)
		return 0;
	p = collector_reserve(c, piece->bytes);
	if (!p)
		return -ENOMEM;
	if (piece->memory)
		memcpy(p, piece->memory, piece->bytes);
	else if (piece->at == NOWHERE || store_read(&c->j->store, piece->at, p, piece->bytes) < 0 ||
		 record_decode(p, piece->bytes, c->j->store.salt, &r, &bytes) < 0 || bytes != piece->bytes)
		return -ENODATA; /* lost: for want of memory, or on the disk */
	record_seal(p, piece->bytes, c->j->rewrite.store.salt);
	piece->new_at = collector_at(c);
	c->bytes += piece->bytes;
	return 0;
}

/* A hold whose record is lost is not in the new file, and nothing about it: at worst it is left to its lease. */
static int collect_entry(struct collector *c, struct journal_entry *e)
{
	size_t before = c->bytes;
	struct record r;
	int q;

	q = collect_piece(c, &e->hold);
	if (q == 0)
		q = collect_piece(c, &e->report);
	if (q == 0 && e->have_sent) {
		r = journal_sent_record(e, RECORD_FIRST_SENT);
		q = collect_record(c, &r);
	}
	if (q == 0 && e->ack_answered) {
		r = journal_sent_record(e, RECORD_ACK_ANSWERED);
		q = collect_record(c, &r);
	}
	if (q < 0)
		c->bytes = before;
	else
		e->in_new = true;
	return q == -ENODATA ? 0 : q;
}

static int collector_flush(struct collector *c)
{
	struct store *s = &c->j->rewrite.store;
	uint32_t at;
	int r;

	if (c->bytes == 0)
		return 0;
	r = store_has_room(s, c->bytes, 0)
		    ? 0
		    : store_grow(c->j, s,
				 s->used + c->bytes + STORE_AHEAD_BYTES + HOLD_CLAIM_BYTES * (uint64_t)s->n_holds);
	if (r == 0)
		r = store_append(c->j, s, c->p, c->bytes, &at);
	c->bytes = 0;
	return r;
}

static int rewrite_workers(struct journal *j)
{
	_cleanup_free_ char *buffer = NULL;
	struct collector c = {.j = j};
	struct journal_worker *w;
	int r = 0;

	TAILQ_FOREACH (w, &j->workers, next) {
		struct record record = journal_worker_record(w);

		if (r == 0)
			r = collect_record(&c, &record);
	}
	buffer = c.p;
	return r < 0 ? r : collector_flush(&c);
}

int rewrite_begin(struct journal *j)
{
	struct rewrite *w = &j->rewrite;
	int r;

	assert(!w->running);
	w->running = true;
	w->copied = false;
	w->cursor = TAILQ_FIRST(&j->entries);
	w->store = (struct store){
		.fd = j->spare.fd,
		.allocated = j->spare.allocated,
		.stale_to = MAX(j->spare.used, j->spare.stale_to),
		.window = j->spare.window,
	};
	w->store.window.refused = false; /* what was at fault may be over */
	j->spare = (struct store){.fd = -EBADF};
	r = store_begin(j, JOURNAL_NEW_NAME, j->live_bytes + HOLD_CLAIM_BYTES * (uint64_t)j->n_entries, &w->store);
	if (r == 0)
		r = rewrite_workers(j);
	if (r < 0)
		rewrite_abort(j, r);
	return r;
}

/* 1: all is copied. On failure the rewrite has been given up. */
int rewrite_step(struct journal *j)
{
	struct collector c = {.j = j, .p = malloc(REWRITE_STEP_BYTES), .size = REWRITE_STEP_BYTES};
	_cleanup_free_ char *buffer = NULL;
	struct rewrite *w = &j->rewrite;
	int r = c.p ? 0 : -ENOMEM;

	for (unsigned n = 0; r == 0 && w->cursor && n < REWRITE_STEP_RECORDS && c.bytes < REWRITE_STEP_BYTES; n++) {
		struct journal_entry *e = w->cursor;

		w->cursor = TAILQ_NEXT(e, next);
		if (e->in_new)
			continue; /* came after the beginning */
		r = collect_entry(&c, e);
		w->store.n_holds += e->in_new;
	}
	if (r == 0)
		r = collector_flush(&c);
	buffer = c.p;
	if (r < 0) {
		rewrite_abort(j, r);
		return r;
	}
	w->copied = !w->cursor;
	return w->copied;
}

static void rewrite_clear(struct journal *j, bool take)
{
	struct journal_entry *e;

	TAILQ_FOREACH (e, &j->entries, next) {
		struct piece *pieces[] = {&e->hold, &e->report};

		for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
			struct piece *p = pieces[i];
			if (take) {
				p->at = e->in_new ? p->new_at : NOWHERE;
				if (p->at != NOWHERE)
					free(TAKE_PTR(p->memory));
			}
			p->new_at = NOWHERE;
		}
		if (take)
			e->in_file = e->in_new;
		e->in_new = false;
	}
}

/* The file is kept for the next time where only its size was at fault: its space is worth having on a full disk. */
static void rewrite_keep_spare(struct journal *j, struct store *s, bool keep)
{
	if (s->fd >= 0 && (!keep || s->allocated > SPARE_MAX_BYTES + 4 * j->live_bytes)) {
		(void)j->io->unlinkat(j->dir_fd, JOURNAL_NEW_NAME, 0);
		store_close(s);
	}
	j->spare = *s;
	*s = (struct store){.fd = -EBADF};
}

void rewrite_abort(struct journal *j, int error)
{
	if (!j->rewrite.running)
		return;
	j->rewrite.running = false;
	j->rewrite.cursor = NULL;
	rewrite_keep_spare(j, &j->rewrite.store, error == -ENOSPC || error == -EDQUOT);
	rewrite_clear(j, false);
}

/* The old file stays under the new one's name where that can be had: to free it may take the kernel 10 ms. */
static int rewrite_rename(struct journal *j, bool *ret_kept)
{
	*ret_kept = journal_has_file(j) &&
		    j->io->renameat2(j->dir_fd, JOURNAL_NEW_NAME, j->dir_fd, JOURNAL_NAME, RENAME_EXCHANGE) == 0;
	if (*ret_kept || j->io->renameat2(j->dir_fd, JOURNAL_NEW_NAME, j->dir_fd, JOURNAL_NAME, 0) == 0)
		return 0;
	return -errno;
}

int rewrite_finish(struct journal *j)
{
	struct rewrite *w = &j->rewrite;
	bool kept = false;
	int r = 0;

	assert(w->running && w->copied && !w->cursor);
	if (j->sync == JOURNAL_SYNC_ALWAYS && j->io->fdatasync(w->store.fd) < 0)
		r = -errno;
	if (r == 0)
		r = rewrite_rename(j, &kept);
	if (r < 0) {
		rewrite_abort(j, r);
		return r;
	}
	if (kept)
		rewrite_keep_spare(j, &j->store, true);
	else
		store_close(&j->store);
	j->store = w->store;
	w->running = false;
	w->store.fd = -EBADF;
	rewrite_clear(j, true);
	j->n_rewrites++;
	j->directory_dirty = true;
	journal_mark_dirty(j);
	return 0;
}

void rewrite_forget(struct journal *j, const struct journal_entry *e)
{
	if (j->rewrite.cursor == e)
		j->rewrite.cursor = TAILQ_NEXT(e, next);
	if (j->rewrite.running && e->in_new)
		j->rewrite.store.n_holds--;
}
