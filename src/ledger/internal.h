/* SPDX-License-Identifier: MIT
 *
 * What the journal's files share.
 *
 *   store.c    one file: reserves space, appends records, reads them back
 *   window.c   the mapped piece of it that records are copied into
 *   replay.c   what is in a file that was found
 *   rewrite.c  a new file with all that is live, in small steps, while the journal is in use
 *   journal.c  which record goes where, and what is done when it cannot
 *   turn.c     states, and what is done in the owner's turns
 *   open.c     beginning and end, and the workers
 */
#ifndef CHARGEHAND_LEDGER_INTERNAL_H
#define CHARGEHAND_LEDGER_INTERNAL_H

#include "ledger/journal.h"
#include "ledger/syncer.h"

#define JOURNAL_NAME "journal"
#define JOURNAL_NEW_NAME "journal.new"

/* Space is reserved in pieces of this size at least; a call takes 10 to 50 µs. */
#define STORE_GROW_BYTES ((uint32_t)256 << 10)
#define STORE_AHEAD_BYTES ((uint32_t)32 << 10) /* less than this is left: more is reserved at the next turn */
#define STORE_BYTES_MAX ((uint32_t)1 << 30)
#define STORE_CLEAR_BYTES 1024U /* at once, ahead of the records */

/* Of each hold that is in a file, for what may follow: two reports without a line, first-sent time, ACK answered, end.
 */
#define HOLD_CLAIM_BYTES 216U
/* Once in a file: the header of a chargehand that finds the disk full. */
#define HEADER_CLAIM_BYTES 512U

/* A file is rewritten when it is larger than this plus twice what is live in it. So it stays in the window, and in the
 * processor's cache. */
#define REWRITE_MIN_BYTES ((uint64_t)256 << 10)

/* One step of a rewrite: about 0.05 ms. */
#define REWRITE_STEP_RECORDS 64
#define REWRITE_STEP_BYTES ((size_t)32 << 10)

/* A file of more than this, and four times what is live, is not kept as a spare one. */
#define SPARE_MAX_BYTES ((uint64_t)4 << 20)

#define SENT_BYTES 48U /* of a RECORD_SENT */

struct store {
	int fd;
	uint64_t salt;
	uint32_t used, allocated;
	/* Behind `used` are zeros, but for what an earlier use has left between these two. */
	uint32_t clear_to, stale_to;
	uint32_t n_holds; /* that have a claim */
	struct window window;
};

#define NOWHERE UINT32_MAX

/* One record of an entry: where it is in the file, and where in the new one. */
struct piece {
	uint32_t bytes; /* 0: there is none */
	uint32_t at, new_at;
	char *memory; /* a copy, while it is not in the file */
};

struct journal_entry {
	TAILQ_ENTRY(journal_entry) next;
	uint64_t generation;
	struct journal_worker *worker;
	struct piece hold, report;
	usec_t sent_usec, sent_wall_usec;
	bool have_sent, sent_other_boot, ack_answered;
	bool in_file, in_new; /* a record of the hold is, and what follows must be as well */
};

TAILQ_HEAD(journal_entry_list, journal_entry);
TAILQ_HEAD(journal_worker_list, journal_worker);

enum journal_syncing {
	SYNCING_NOTHING,
	SYNCING_FILE,
	SYNCING_NEW,
	SYNCING_DIRECTORY,
	SYNCING_GIVEN_UP,
};

struct rewrite {
	bool running, copied;
	struct store store;
	struct journal_entry *cursor; /* the next to be copied */
};

struct journal {
	int dir_fd;
	const struct journal_io *io;
	enum journal_sync sync;
	char *server, *boot_id;
	void (*on_state)(void *userdata, enum journal_state state, int error);
	void (*on_due)(void *userdata, usec_t due_usec);
	void *userdata;

	enum journal_state state;
	int error;
	usec_t since_usec, retry_usec;

	struct store store;
	struct rewrite rewrite;
	struct store spare; /* the file before this one, to be used again */
	struct journal_entry_list entries;
	struct journal_worker_list workers;
	uint64_t last_generation, last_worker;
	size_t n_entries, n_workers;
	uint64_t live_bytes;

	struct syncer syncer;
	enum journal_syncing syncing;
	bool dirty, directory_dirty;
	usec_t dirty_usec;
	usec_t due_usec; /* that on_due() was told */

	char *scratch;
	size_t scratch_bytes;
	char *found_bytes; /* the file that was found */
	struct journal_found *found;
	size_t n_found;
	uint64_t n_rewrites, n_syncs;
};

/* journal.c */
char *journal_encode(struct journal *j, const struct record *r,
		     size_t *ret_bytes) _must_check_; /* valid until the next */
struct record_text journal_text(const char *s);
struct record journal_header_record(const struct journal *j);
struct record journal_worker_record(const struct journal_worker *w);
struct record journal_sent_record(const struct journal_entry *e, enum record_step step);
/* Into space that is not claimed, with the claims of so many more holds left behind it. */
int journal_append(struct journal *j, const char *p, size_t bytes, uint32_t more_holds, uint32_t *ret_at) _must_check_;
/* Seals it for that file. On failure the rewrite has been given up. */
int journal_append_to_new(struct journal *j, char *p, size_t bytes, uint32_t more_holds, uint32_t *ret_at);
void piece_drop(struct journal *j, struct piece *p);

/* turn.c */
bool journal_has_file(const struct journal *j);
void journal_set_state(struct journal *j, enum journal_state state, int error);
void journal_degrade(struct journal *j, enum journal_state state, int error);
void journal_withdraw(struct journal *j, int error);
void journal_give_up_rewrite(struct journal *j, int error);
void journal_mark_dirty(struct journal *j);
void journal_announce(struct journal *j);
int journal_sync_now(struct journal *j) _must_check_;

/* open.c */
void journal_free_worker(struct journal *j, struct journal_worker *w);

/* store.c */
/* Preamble and header, and room for `bytes` of records. *s is a file of which nothing is used, or has fd -EBADF: then
 * one is made, and is there on failure as well if its fd says so. */
int store_begin(struct journal *j, const char *name, uint64_t bytes, struct store *s) _must_check_;
void store_close(struct store *s);
int store_grow(struct journal *j, struct store *s, uint64_t bytes) _must_check_;
bool store_has_room(const struct store *s, size_t bytes, uint32_t more_holds);
/* At the end, without asking what the space was meant for; grows where there is none. */
int store_append(struct journal *j, struct store *s, const char *p, size_t bytes, uint32_t *ret_at) _must_check_;
int store_read(const struct store *s, uint32_t at, char *p, size_t bytes) _must_check_;
int store_wipe(struct journal *j, const struct store *s, uint32_t from, uint32_t to);

/* rewrite.c: 0, or 1 when done */
int rewrite_begin(struct journal *j) _must_check_;
int rewrite_step(struct journal *j) _must_check_;
int rewrite_finish(struct journal *j) _must_check_; /* all is copied, and synced as far as it must be */
void rewrite_abort(struct journal *j, int error);
void rewrite_forget(struct journal *j, const struct journal_entry *e); /* before it is freed */

/* replay.c */
int journal_replay(struct journal *j, struct journal_opening *o) _must_check_;

#endif
