/* SPDX-License-Identifier: MIT
 *
 * Which record goes into which file, and what follows when it cannot.
 *
 * A hold that does not fit makes the journal partial: what is in it stays right. An end, a first-sent time or a report
 * that does not fit, although its space was reserved, would make it wrong: it is withdrawn. Either way what is missing
 * is kept in memory, and a rewrite brings all of it to the disk again.
 */
#include "ledger/internal.h"

#include <string.h>

/* ---- records */

char *journal_encode(struct journal *j, const struct record *r, size_t *ret_bytes)
{
	size_t bytes = record_bytes(r);

	if (bytes > RECORD_PAYLOAD_MAX)
		return NULL;
	if (bytes > j->scratch_bytes) {
		size_t size = MAX(bytes, (size_t)4096);
		char *p = realloc(j->scratch, size);
		if (!p)
			return NULL;
		j->scratch = p;
		j->scratch_bytes = size;
	}
	record_encode(r, j->store.salt, j->scratch);
	*ret_bytes = bytes;
	return j->scratch;
}

struct record_text journal_text(const char *s)
{
	return (struct record_text){.p = s, .bytes = strlen(s)};
}

struct record journal_header_record(const struct journal *j)
{
	return (struct record){
		.type = RECORD_HEADER,
		.header =
			{
				.boot_usec = clock_now_usec(),
				.wall_usec = clock_wall_usec(),
				.boot_id = journal_text(j->boot_id),
				.server = journal_text(j->server),
			},
	};
}

struct record journal_worker_record(const struct journal_worker *w)
{
	return (struct record){
		.type = RECORD_WORKER,
		.worker =
			{
				.id = w->id,
				.pid = w->pid,
				.start_ticks = w->start_ticks,
				.other_boot = w->other_boot,
				.gone = w->gone,
				.name = journal_text(w->name),
				.mark = journal_text(w->mark),
				.cgroup = journal_text(w->cgroup),
			},
	};
}

struct record journal_sent_record(const struct journal_entry *e, enum record_step step)
{
	return (struct record){
		.type = RECORD_SENT,
		.sent =
			{
				.generation = e->generation,
				.step = step,
				.other_boot = e->sent_other_boot,
				.boot_usec = e->sent_usec,
				.wall_usec = e->sent_wall_usec,
			},
	};
}

int journal_append_to_new(struct journal *j, char *p, size_t bytes, uint32_t more_holds, uint32_t *ret_at)
{
	struct store *s = &j->rewrite.store;
	int r = 0;

	if (!store_has_room(s, bytes, more_holds))
		r = store_grow(j, s,
			       s->used + bytes + STORE_AHEAD_BYTES +
				       HOLD_CLAIM_BYTES * (uint64_t)(s->n_holds + more_holds));
	if (r == 0) {
		record_seal(p, bytes, s->salt);
		r = store_append(j, s, p, bytes, ret_at);
	}
	if (r < 0)
		journal_give_up_rewrite(j, r);
	return r;
}

/* Into space that is set aside for something else only where there is no other. */
int journal_append(struct journal *j, const char *p, size_t bytes, uint32_t more_holds, uint32_t *ret_at)
{
	struct store *s = &j->store;

	if (!store_has_room(s, bytes, more_holds)) {
		/* While it is partial the disk is asked once a second, by the rewrite. */
		int r = j->state == JOURNAL_GOOD
				? store_grow(j, s,
					     s->used + bytes + HEADER_CLAIM_BYTES +
						     HOLD_CLAIM_BYTES * (uint64_t)(s->n_holds + more_holds))
				: -ENOSPC;
		if (r < 0)
			return r;
	}
	int r = store_append(j, s, p, bytes, ret_at);
	if (r == 0)
		journal_mark_dirty(j);
	return r;
}

/* Into space that was reserved with the hold's. */
static int append_claimed(struct journal *j, const char *p, size_t bytes, uint32_t *ret_at)
{
	int r = store_append(j, &j->store, p, bytes, ret_at);

	if (r == 0)
		journal_mark_dirty(j);
	return r;
}

/* What must not be missing. */
static void append_small(struct journal *j, struct journal_entry *e, const struct record *record)
{
	uint32_t at;
	size_t bytes;
	char *p = journal_encode(j, record, &bytes);
	int r = p ? 0 : -ENOMEM;

	if (journal_has_file(j) && e->in_file) {
		if (r == 0)
			r = append_claimed(j, p, bytes, &at);
		if (r < 0)
			journal_withdraw(j, r);
	}
	if (j->rewrite.running && e->in_new) {
		if (!p)
			journal_give_up_rewrite(j, -ENOMEM);
		else
			(void)journal_append_to_new(j, p, bytes, 0, &at);
	}
}

void piece_drop(struct journal *j, struct piece *p)
{
	j->live_bytes -= p->bytes;
	free(p->memory);
	*p = (struct piece){.at = NOWHERE, .new_at = NOWHERE};
}

/* Replaces the entry's record of this kind. claimed: its space has been reserved with the hold's. Returns why it is not
 * in the file, or 0. */
static int put_piece(struct journal *j, struct journal_entry *e, struct piece *piece, char *p, size_t bytes,
		     bool claimed)
{
	uint32_t at = NOWHERE, new_at = NOWHERE;
	bool is_hold = piece == &e->hold;
	char *memory = NULL;
	int r = -ENOENT;

	/* What is not in the file stays out of it: what was said about it meanwhile is missing there as well. */
	bool is_new = is_hold && piece->bytes == 0;
	if (journal_has_file(j) && (is_new || e->in_file)) {
		r = claimed ? append_claimed(j, p, bytes, &at) : journal_append(j, p, bytes, is_new, &at);
		if (r < 0)
			at = NOWHERE;
		else if (is_new) {
			e->in_file = true;
			j->store.n_holds++;
		}
	}
	/* What is still to be copied is copied with this; what is new is not copied. */
	if (j->rewrite.running && (e->in_new || is_new) &&
	    journal_append_to_new(j, p, bytes, is_new, &new_at) == 0 && is_new) {
		e->in_new = true;
		j->rewrite.store.n_holds++;
	}
	if (at == NOWHERE) {
		memory = malloc(bytes);
		if (memory)
			memcpy(memory, p, bytes);
	}
	piece_drop(j, piece);
	/* Not as a whole from where it was put together: that load would wait for all that was just written to the file. */
	piece->bytes = (uint32_t)bytes;
	piece->at = at;
	piece->new_at = new_at;
	piece->memory = memory;
	j->live_bytes += bytes;
	return r == -ENOENT ? 0 : r;
}

static int put_hold(struct journal *j, struct journal_entry *e, struct record_hold *hold)
{
	const struct record record = {.type = RECORD_HOLD, .hold = *hold};
	size_t bytes;
	char *p = journal_encode(j, &record, &bytes);
	int r;

	if (!p)
		return -ENOMEM;
	r = put_piece(j, e, &e->hold, p, bytes, false);
	if (r < 0)
		journal_degrade(j, JOURNAL_PARTIAL, r);
	return 0;
}

int journal_add(struct journal *j, struct record_hold *hold, struct journal_worker *worker, struct journal_entry **ret)
{
	struct journal_entry *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	hold->generation = e->generation = ++j->last_generation;
	hold->worker = worker ? worker->id : 0;
	e->hold.at = e->hold.new_at = e->report.at = e->report.new_at = NOWHERE;
	r = put_hold(j, e, hold);
	if (r < 0) {
		free(e);
		return r;
	}
	e->worker = worker;
	if (worker)
		worker->n_holds++;
	TAILQ_INSERT_TAIL(&j->entries, e, next);
	j->n_entries++;
	*ret = e;
	journal_announce(j);
	return 0;
}

void journal_update(struct journal *j, struct journal_entry *e, struct record_hold *hold)
{
	hold->generation = e->generation;
	hold->worker = e->worker ? e->worker->id : 0;
	/* Without memory the earlier record stands: it has the shorter lease. */
	(void)put_hold(j, e, hold);
	journal_announce(j);
}

static void put_report(struct journal *j, struct journal_entry *e, struct record_report *report)
{
	struct record record = {.type = RECORD_REPORT, .report = *report};
	bool has_file = journal_has_file(j) && e->in_file, short_one = report->line.bytes == 0;
	size_t bytes;
	char *p = journal_encode(j, &record, &bytes);
	int why = p ? put_piece(j, e, &e->report, p, bytes, short_one) : -ENOMEM;
	uint32_t at;
	int r;

	if (why == 0 || !has_file)
		return;
	if (!short_one) {
		/* That this much has been said is known without its line. The whole of it is in memory. */
		record.report.line.bytes = 0;
		p = journal_encode(j, &record, &bytes);
		r = p ? append_claimed(j, p, bytes, &at) : -ENOMEM;
		if (r == 0) {
			journal_degrade(j, JOURNAL_PARTIAL, why);
			return;
		}
	}
	journal_withdraw(j, why);
}

void journal_report(struct journal *j, struct journal_entry *e, enum report_kind kind, const char *line,
		    size_t line_bytes, size_t ack_bytes)
{
	struct record_report report = {
		.generation = e->generation,
		.kind = kind,
		.ack_bytes = (uint32_t)ack_bytes,
		.line = {.p = line, .bytes = kind == REPORT_WORKER_ACK ? 0 : line_bytes}, /* it follows from the jid */
	};

	put_report(j, e, &report);
	journal_announce(j);
}

void journal_withdraw_report(struct journal *j, struct journal_entry *e)
{
	const struct record record = {
		.type = RECORD_REPORT,
		.report = {.generation = e->generation, .none = true},
	};

	if (e->report.bytes == 0)
		return;
	append_small(j, e, &record);
	piece_drop(j, &e->report);
	if (e->have_sent)
		j->live_bytes -= SENT_BYTES;
	e->have_sent = false;
	journal_announce(j);
}

void journal_sent(struct journal *j, struct journal_entry *e, usec_t now)
{
	if (e->have_sent)
		return;
	e->have_sent = true;
	e->sent_usec = now;
	e->sent_wall_usec = clock_wall_usec();
	j->live_bytes += SENT_BYTES;
	const struct record record = journal_sent_record(e, RECORD_FIRST_SENT);
	append_small(j, e, &record);
	journal_announce(j);
}

void journal_ack_answered(struct journal *j, struct journal_entry *e)
{
	if (e->ack_answered)
		return;
	e->ack_answered = true;
	j->live_bytes += SENT_BYTES;
	const struct record record = journal_sent_record(e, RECORD_ACK_ANSWERED);
	append_small(j, e, &record);
	journal_announce(j);
}

void journal_remove(struct journal *j, struct journal_entry *e)
{
	const struct record record = {.type = RECORD_GONE, .gone = e->generation};
	struct journal_worker *w = e->worker;

	append_small(j, e, &record);
	if (journal_has_file(j) && e->in_file)
		j->store.n_holds--;
	rewrite_forget(j, e);
	piece_drop(j, &e->hold);
	piece_drop(j, &e->report);
	j->live_bytes -= SENT_BYTES * ((uint64_t)e->have_sent + (uint64_t)e->ack_answered);
	TAILQ_REMOVE(&j->entries, e, next);
	j->n_entries--;
	free(e);
	if (w && --w->n_holds == 0 && w->gone)
		journal_free_worker(j, w);
	journal_announce(j);
}
