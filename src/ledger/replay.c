/* SPDX-License-Identifier: MIT
 *
 * What is in a journal that was found. Its records are read in order; where one cannot be read, the next good one is
 * looked for: if there is none, this was the end, torn or not, and what an earlier use of the file has left behind it
 * is of no interest. If there is one, something in the middle is damaged: the file is put aside, and holds that were
 * not heard of again behind the damage are doubtful, for their end may have been in it.
 */
#include "ledger/internal.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(added) ((added)->refused = true)
#include <uthash.h>

/* Checksums tried in search of a good record, in bytes: what a job's producer wrote may look like many. */
#define SEARCH_BUDGET ((size_t)64 << 20)

struct replayed {
	UT_hash_handle hh; /* by generation; walked in the order of arrival */
	uint64_t generation;
	struct journal_found found;
	struct record_sent answered;
	uint32_t hold_at, hold_bytes, report_at, report_bytes;
	bool must_encode; /* differs from what is in the file */
	bool before_damage;
	bool refused; /* by uthash, for want of memory */
};

struct replay {
	struct journal *j;
	const char *p;
	size_t bytes;
	struct replayed *holds;
	bool other_boot; /* the records that are read now */
	bool headed;
	bool other_server;
};

static bool text_is(struct record_text t, const char *s)
{
	return t.bytes == strlen(s) && memcmp(t.p, s, t.bytes) == 0;
}

static char *text_dup(struct record_text t)
{
	return strndup(t.p, t.bytes);
}

static struct replayed *replay_find(struct replay *p, uint64_t generation)
{
	struct replayed *h;

	HASH_FIND(hh, p->holds, &generation, sizeof(generation), h);
	return h;
}

static int replay_worker(struct replay *p, const struct record_worker *r)
{
	struct journal *j = p->j;
	struct journal_worker *w;

	j->last_worker = MAX(j->last_worker, r->id);
	TAILQ_FOREACH (w, &j->workers, next)
		if (w->id == r->id)
			break;
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			return -ENOMEM;
		w->id = r->id;
		TAILQ_INSERT_TAIL(&j->workers, w, next);
	}
	free(w->name);
	free(w->mark);
	free(w->cgroup);
	w->name = text_dup(r->name);
	w->mark = text_dup(r->mark);
	w->cgroup = text_dup(r->cgroup);
	if (!w->name || !w->mark || !w->cgroup)
		return -ENOMEM;
	w->pid = r->pid;
	w->start_ticks = r->start_ticks;
	w->gone = r->gone;
	w->other_boot = r->other_boot || p->other_boot;
	return 0;
}

static int replay_hold(struct replay *p, const struct record_hold *r, size_t at, size_t bytes)
{
	struct replayed *h = replay_find(p, r->generation);

	p->j->last_generation = MAX(p->j->last_generation, r->generation);
	if (!h) {
		h = calloc(1, sizeof(*h));
		if (!h)
			return -ENOMEM;
		h->generation = r->generation;
		HASH_ADD(hh, p->holds, generation, sizeof(h->generation), h);
		if (h->refused) {
			free(h);
			return -ENOMEM;
		}
	}
	h->found.hold = *r;
	h->found.hold.other_boot = r->other_boot || p->other_boot;
	h->must_encode = h->found.hold.other_boot != r->other_boot;
	h->hold_at = (uint32_t)at;
	h->hold_bytes = (uint32_t)bytes;
	h->before_damage = false;
	return 0;
}

static void replay_report(struct replay *p, const struct record_report *r, size_t at, size_t bytes)
{
	struct replayed *h = replay_find(p, r->generation);

	if (!h)
		return;
	h->found.have_report = !r->none;
	h->found.have_sent = h->found.have_sent && !r->none;
	h->found.report = *r;
	h->report_at = (uint32_t)at;
	h->report_bytes = (uint32_t)bytes;
	h->before_damage = false;
}

static void replay_sent(struct replay *p, const struct record_sent *r)
{
	struct replayed *h = replay_find(p, r->generation);

	if (!h)
		return;
	h->before_damage = false;
	if (r->step == RECORD_ACK_ANSWERED) {
		h->found.ack_answered = true;
	} else {
		h->found.have_sent = true;
		h->found.sent = *r;
		h->found.sent.other_boot = r->other_boot || p->other_boot;
	}
}

static void replay_gone(struct replay *p, uint64_t generation)
{
	struct replayed *h = replay_find(p, generation);

	if (!h)
		return;
	HASH_DEL(p->holds, h);
	free(h);
}

static int replay_record(struct replay *p, const struct record *r, size_t at, size_t bytes)
{
	struct journal_worker *w;

	switch (r->type) {
	case RECORD_HEADER:
		p->other_boot = r->header.boot_id.bytes == 0 || !text_is(r->header.boot_id, p->j->boot_id);
		p->other_server = p->other_server || !text_is(r->header.server, p->j->server);
		p->headed = true;
		return 0;
	case RECORD_WORKER:
		return replay_worker(p, &r->worker);
	case RECORD_WORKER_GONE:
		TAILQ_FOREACH (w, &p->j->workers, next)
			if (w->id == r->gone)
				w->gone = true;
		return 0;
	case RECORD_HOLD:
		return replay_hold(p, &r->hold, at, bytes);
	case RECORD_REPORT:
		replay_report(p, &r->report, at, bytes);
		return 0;
	case RECORD_SENT:
		replay_sent(p, &r->sent);
		return 0;
	case RECORD_GONE:
		replay_gone(p, r->gone);
		return 0;
	case RECORD_END:
	case _RECORD_TYPE_MAX:
		break;
	}
	return -EBADMSG;
}

/* The next good record behind a place where none is; p->bytes: none. */
static size_t replay_search(const struct replay *p, size_t at)
{
	size_t budget = SEARCH_BUDGET, record_bytes_, left;
	struct record r;

	for (at += 8; at + RECORD_HEAD_BYTES <= p->bytes && budget > 0; at += 8) {
		uint32_t payload;
		int q;

		memcpy(&payload, p->p + at, sizeof(payload));
		if (payload == 0)
			continue;
		q = record_decode(p->p + at, p->bytes - at, p->j->store.salt, &r, &record_bytes_);
		if (q == 0 || q == -EPROTONOSUPPORT)
			return at;
		left = MIN((size_t)le32toh(payload), p->bytes - at);
		budget -= MIN(budget, left);
	}
	return p->bytes;
}

/* How much of a record is there: up to what ends a file, where that is not here. */
static size_t replay_torn_bytes(const struct replay *p, size_t at)
{
	size_t to = at;

	while (to < p->bytes && !record_is_zeros(p->p + to, MIN(p->bytes - to, (size_t)RECORD_HEAD_BYTES)))
		to = MIN(to + 8, p->bytes);
	return to - at;
}

static void replay_doubt(struct replay *p)
{
	struct replayed *h;

	for (h = p->holds; h; h = h->hh.next)
		h->before_damage = true;
}

/* *ret_end: behind the last good record. */
static int replay_records(struct replay *p, struct journal_opening *o, size_t *ret_end)
{
	size_t at = RECORD_PREAMBLE_BYTES, bytes, next;
	struct record r;
	int q;

	for (;;) {
		q = record_decode(p->p + at, p->bytes - at, p->j->store.salt, &r, &bytes);
		if (q == 0) {
			if (!p->headed && r.type != RECORD_HEADER)
				return -EBADMSG;
			q = replay_record(p, &r, at, bytes);
			if (q < 0)
				return q;
			at += bytes;
			continue;
		}
		if (q == -EPROTONOSUPPORT || !p->headed)
			return q == -EPROTONOSUPPORT ? q : -EBADMSG;
		*ret_end = at;
		next = replay_search(p, at);
		if (next == p->bytes) {
			o->cut_bytes = replay_torn_bytes(p, at);
			return 0;
		}
		o->damaged_bytes += next - at;
		replay_doubt(p);
		at = next;
	}
}

/* ---- what was read becomes the journal's */

static char *encode_anew(struct journal *j, const struct record *r, uint32_t *ret_bytes)
{
	size_t bytes = record_bytes(r);
	char *p = malloc(bytes);

	if (p)
		record_encode(r, j->store.salt, p);
	*ret_bytes = (uint32_t)bytes;
	return p;
}

static int replay_adopt(struct replay *p, struct replayed *h, struct journal_found *found)
{
	struct journal_entry *e = calloc(1, sizeof(*e));
	struct journal *j = p->j;
	struct journal_worker *w;

	if (!e)
		return -ENOMEM;
	TAILQ_FOREACH (w, &j->workers, next)
		if (w->id == h->found.hold.worker)
			break;
	if (h->before_damage && !h->found.hold.doubtful)
		h->found.hold.doubtful = h->must_encode = true;
	*e = (struct journal_entry){
		.generation = h->generation,
		.worker = w,
		.hold = {.bytes = h->hold_bytes, .at = h->hold_at, .new_at = NOWHERE},
		.report = {.at = NOWHERE, .new_at = NOWHERE},
		.have_sent = h->found.have_sent,
		.sent_usec = h->found.sent.boot_usec,
		.sent_wall_usec = h->found.sent.wall_usec,
		.sent_other_boot = h->found.sent.other_boot,
		.ack_answered = h->found.ack_answered,
		.in_file = true,
	};
	if (h->found.have_report) {
		e->report.bytes = h->report_bytes;
		e->report.at = h->report_at;
	}
	if (h->must_encode) {
		const struct record r = {.type = RECORD_HOLD, .hold = h->found.hold};
		e->hold.memory = encode_anew(j, &r, &e->hold.bytes);
		if (!e->hold.memory) {
			free(e);
			return -ENOMEM;
		}
	}
	if (w)
		w->n_holds++;
	TAILQ_INSERT_TAIL(&j->entries, e, next);
	j->n_entries++;
	j->live_bytes +=
		e->hold.bytes + e->report.bytes + SENT_BYTES * ((uint64_t)e->have_sent + (uint64_t)e->ack_answered);
	*found = h->found;
	found->entry = e;
	found->worker = w;
	return 0;
}

static int replay_adopt_all(struct replay *p)
{
	unsigned n = HASH_COUNT(p->holds);
	struct journal *j = p->j;
	struct replayed *h;
	int r = 0;

	j->found = calloc(MAX(n, 1U), sizeof(*j->found));
	if (!j->found)
		return -ENOMEM;
	for (h = p->holds; h && r == 0; h = h->hh.next)
		r = replay_adopt(p, h, &j->found[j->n_found++]);
	return r;
}

static void replay_sort_workers(struct journal *j)
{
	struct journal_worker *w, *next;

	for (w = TAILQ_FIRST(&j->workers); w; w = next) {
		const struct record r = journal_worker_record(w);

		next = TAILQ_NEXT(w, next);
		j->live_bytes += record_bytes(&r);
		w->in_file = true;
		if (w->gone && w->n_holds == 0)
			journal_free_worker(j, w);
	}
}

static void replay_free(struct replay *p)
{
	struct replayed *h, *next;

	for (h = p->holds; h; h = next) {
		next = h->hh.next;
		HASH_DEL(p->holds, h);
		free(h);
	}
}

/* ---- the file */

static int put_aside(struct journal *j, struct journal_opening *o, enum journal_aside why)
{
	static const char *const names[] = {
		[JOURNAL_ASIDE_UNREADABLE] = JOURNAL_NAME ".unreadable",
		[JOURNAL_ASIDE_DAMAGED] = JOURNAL_NAME ".damaged",
		[JOURNAL_ASIDE_SERVER] = JOURNAL_NAME ".other-server",
	};
	struct stat st;
	int r = -EEXIST;

	for (unsigned i = 1; i < 1000; i++) {
		(void)snprintf(o->aside_name, sizeof(o->aside_name), i == 1 ? "%s" : "%s.%u", names[why], i);
		r = j->io->renameat2(j->dir_fd, JOURNAL_NAME, j->dir_fd, o->aside_name, RENAME_NOREPLACE) < 0 ? -errno
													      : 0;
		/* Where the file system cannot promise it, the directory's lock does. */
		if (r == -EINVAL && fstatat(j->dir_fd, o->aside_name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
			r = j->io->renameat2(j->dir_fd, JOURNAL_NAME, j->dir_fd, o->aside_name, 0) < 0 ? -errno : 0;
		else if (r == -EINVAL)
			continue;
		if (r != -EEXIST)
			break;
	}
	if (r == 0)
		o->aside = why;
	return r;
}

static int read_file(int fd, char **ret, size_t *ret_bytes)
{
	_cleanup_free_ char *p = NULL;
	struct store s = {.fd = fd};
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > STORE_BYTES_MAX)
		return -EBADMSG;
	p = malloc((size_t)st.st_size + 1);
	if (!p)
		return -ENOMEM;
	r = store_read(&s, 0, p, (size_t)st.st_size);
	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	*ret = TAKE_PTR(p);
	*ret_bytes = (size_t)st.st_size;
	return 0;
}

static int replay_file(struct replay *p, struct journal_opening *o, int fd)
{
	struct journal *j = p->j;
	size_t end = 0;
	int r;

	r = replay_records(p, o, &end);
	if (r < 0)
		return r;
	if (!p->other_server) {
		r = replay_adopt_all(p);
		if (r < 0)
			return r;
	}
	replay_sort_workers(j);
	j->store = (struct store){
		.fd = fd,
		.salt = j->store.salt,
		.used = (uint32_t)end,
		.allocated = (uint32_t)p->bytes,
		.clear_to = (uint32_t)end,
		.stale_to = (uint32_t)p->bytes,
		.n_holds = (uint32_t)j->n_entries,
	};
	if (p->other_server || o->damaged_bytes > 0)
		/* Its descriptor stays: records are read from it until there is a new file. */
		return put_aside(j, o, p->other_server ? JOURNAL_ASIDE_SERVER : JOURNAL_ASIDE_DAMAGED);
	j->state = JOURNAL_GOOD;
	return 0;
}

int journal_replay(struct journal *j, struct journal_opening *o)
{
	_cleanup_close_ int fd =
		j->io->openat(j->dir_fd, JOURNAL_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
	struct replay p = {.j = j};
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	r = fd < 0 ? -errno : read_file(fd, &j->found_bytes, &p.bytes);
	p.p = j->found_bytes;
	if (r == 0)
		r = record_decode_preamble(p.p, p.bytes, &o->version, &j->store.salt);
	if (r == -ENODATA)
		return 0; /* there is nothing in it */
	if (r == 0)
		r = replay_file(&p, o, fd);
	replay_free(&p);
	if (r == 0)
		(void)TAKE_FD(fd); /* the store's */
	if (r == -EBADMSG || r == -EISDIR || r == -ELOOP || r == -ENXIO)
		r = put_aside(j, o, JOURNAL_ASIDE_UNREADABLE);
	return r;
}
