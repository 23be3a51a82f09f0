/* SPDX-License-Identifier: MIT
 *
 * The journal: the ledger on disk, in the file "journal" of the state directory, so that chargehand's own death loses
 * nothing. A record that has been copied into the file (window.h) outlives a SIGKILL at any instruction, since the
 * kernel has it; one that was being copied is a torn tail. A cut of the power it outlives as far as journal_sync says.
 *
 * Cost: one copy per record, its checksum included; two while the file is being rewritten.
 *
 * Invariants:
 *   1. "journal" is a whole journal or is not there. It is made as "journal.new" and renamed; the file before it takes
 *      that name and is used again, for to free it would stop the loop for up to 10 ms.
 *   2. A hold is written only into space that is reserved (fallocate(2)), with enough more for an ACK, a
 *      first-sent time and an end of every hold that is in the file. So these can be written whatever has become
 *      of the disk.
 *   3. What can no longer be kept up to date is withdrawn: a journal that calls a finished job held would do harm
 *      at the next start, where none only leaves jobs to their leases.
 *   4. Nothing that was found and could not be read is overwritten: it gets another name.
 *
 * Nothing here is refused for want of disk. While the state is not JOURNAL_GOOD, what could not be written is kept in
 * memory, and every second a new file with all that is live is tried.
 *
 * The caller holds the state directory's lock. Does not log, waits for nothing but what JOURNAL_SYNC_ALWAYS asks for,
 * and has no timer: journal_work() is called when on_due() has said so, or when journal_fd() is readable.
 */
#ifndef CHARGEHAND_LEDGER_JOURNAL_H
#define CHARGEHAND_LEDGER_JOURNAL_H

#include "base/clock.h"
#include "base/macro.h"
#include "ledger/record.h"
#include "ledger/window.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

enum journal_sync {
	JOURNAL_SYNC_NEVER,    /* when the kernel thinks fit, within half a minute */
	JOURNAL_SYNC_INTERVAL, /* begun within 50 ms, in the kernel's background */
	JOURNAL_SYNC_ALWAYS,   /* at journal_barrier(), which waits for it */
	_JOURNAL_SYNC_MAX,
};
const char *journal_sync_to_string(enum journal_sync sync);

enum journal_state {
	JOURNAL_GOOD,
	JOURNAL_PARTIAL,   /* what is in the file is right, but not all is in it */
	JOURNAL_WITHDRAWN, /* there is no file */
	_JOURNAL_STATE_MAX,
};
const char *journal_state_to_string(enum journal_state state);

/* For tests. As the system calls, with errno; finish_sync as syncer_finish(). */
struct syncer;
struct journal_io {
	int (*openat)(int dir_fd, const char *path, int flags, mode_t mode);
	ssize_t (*pwrite)(int fd, const void *p, size_t bytes, off_t at);
	int (*fallocate)(int fd, int mode, off_t at, off_t bytes);
	int (*fdatasync)(int fd);
	int (*renameat2)(int old_dir_fd, const char *old_path, int new_dir_fd, const char *new_path, unsigned flags);
	int (*unlinkat)(int dir_fd, const char *path, int flags);
	int (*finish_sync)(struct syncer *s);
	window_mmap mmap; /* NULL: all is written */
};
extern const struct journal_io journal_kernel_io;

#define JOURNAL_SYNC_INTERVAL_USEC (50 * USEC_PER_MSEC)
#define JOURNAL_RETRY_USEC (1 * USEC_PER_SEC)

struct journal;
struct journal_entry; /* one hold's place in the journal */

struct journal_settings {
	int dir_fd;          /* of the state directory; borrowed, outlives the journal */
	const char *server;  /* "host:port": a journal is about the jobs of one server */
	const char *boot_id; /* NULL: the kernel's */
	enum journal_sync sync;
	const struct journal_io *io; /* NULL: the kernel's */

	/* Called out of any function below but journal_open(). error: 0 when all is good again. */
	void (*on_state)(void *userdata, enum journal_state state, int error);
	/* journal_work() is wanted at this time, CLOCK_BOOTTIME, earlier than was said before; 0: in the next turn. */
	void (*on_due)(void *userdata, usec_t due_usec);
	void *userdata;
};

/* Another worker's life, this chargehand's or an earlier one's. */
struct journal_worker {
	uint64_t id;
	char *name, *mark, *cgroup;
	pid_t pid; /* 0: not known */
	uint64_t start_ticks;
	bool other_boot; /* pid and start_ticks mean nothing */
	bool gone;
	size_t n_holds; /* in the journal */
	/* private */
	TAILQ_ENTRY(journal_worker) next;
	bool in_file;
};

/* A hold that the last chargehand left. Texts are valid until journal_drop_found(). */
struct journal_found {
	struct journal_entry *entry;
	struct journal_worker *worker; /* NULL: not known */
	struct record_hold hold;       /* doubtful: best left alone */
	bool have_report;
	struct record_report report;
	bool have_sent, ack_answered;
	struct record_sent sent; /* the first time a FAIL for it was sent */
};

enum journal_aside {
	JOURNAL_ASIDE_NOT,
	JOURNAL_ASIDE_UNREADABLE, /* nothing could be made of it */
	JOURNAL_ASIDE_DAMAGED,    /* a part could not be read, with good records behind it; the rest was used */
	JOURNAL_ASIDE_SERVER, /* of another server: its holds are in the file that was kept, its workers are found */
};

struct journal_opening {
	uint64_t cut_bytes;     /* torn at the end of the file */
	uint64_t damaged_bytes; /* unreadable, with good records behind them */
	enum journal_aside aside;
	char aside_name[40];
	uint32_t version; /* -EPROTONOSUPPORT: what was found */
	int sync_error;   /* JOURNAL_SYNC_INTERVAL cannot be had here: as JOURNAL_SYNC_NEVER */
	int error;        /* the state is not good, and why */
};

/* Reads what the last chargehand left and begins a new file with it, all of it once more: dying here, or later, changes
 * nothing. -EPROTONOSUPPORT: another version's, nothing was touched. -errno otherwise: it could neither be read nor put
 * aside. A full disk is no error here: see ret_opening->error. */
int journal_open(const struct journal_settings *settings, struct journal **ret,
		 struct journal_opening *ret_opening) _must_check_;
/* Leaves the file as it is: what is in it is for the next start. Accepts NULL. */
struct journal *journal_close(struct journal *j);
DEFINE_CLEANUP(journal, journal_close)

const struct journal_found *journal_found(const struct journal *j, size_t *ret_n);
void journal_drop_found(struct journal *j);

/* How long the lease of a hold that was found goes on for certain, 0 when that cannot be told: by CLOCK_BOOTTIME while
 * the boot is the same, else by the wall clock, less a margin for it. LEDGER_FAIL_MARGIN_USEC is not taken off. */
#define JOURNAL_WALL_MARGIN_USEC (1 * USEC_PER_MINUTE)
usec_t journal_lease_left_usec(const struct record_hold *h, usec_t now, usec_t wall_now);

/* ---- workers: all of them, those found included. mark: the value of CHARGEHAND_WORKER. cgroup may be "". */
int journal_add_worker(struct journal *j, const char *name, const char *mark, const char *cgroup,
		       struct journal_worker **ret) _must_check_;
void journal_set_worker_pid(struct journal *j, struct journal_worker *w, pid_t pid, uint64_t start_ticks);
/* Its last process is gone. The pointer is valid for as long as holds of it are in the journal. */
void journal_remove_worker(struct journal *j, struct journal_worker *w);
struct journal_worker *journal_first_worker(const struct journal *j);
struct journal_worker *journal_next_worker(const struct journal_worker *w);

/* ---- holds. Fills in hold->generation and hold->worker; worker may be NULL. -ENOMEM: nothing was entered. */
int journal_add(struct journal *j, struct record_hold *hold, struct journal_worker *worker,
		struct journal_entry **ret) _must_check_;
/* More has become known: the whole of it. */
void journal_update(struct journal *j, struct journal_entry *e, struct record_hold *hold);
/* To be called before the report is sent. An ACK needs no line. */
void journal_report(struct journal *j, struct journal_entry *e, enum report_kind kind, const char *line,
		    size_t line_bytes, size_t ack_bytes);
/* It was refused: there is none, and nothing has been sent. */
void journal_withdraw_report(struct journal *j, struct journal_entry *e);
/* Before a FAIL, or a return, is sent for the first time; later calls do nothing. */
void journal_sent(struct journal *j, struct journal_entry *e, usec_t now);
void journal_ack_answered(struct journal *j, struct journal_entry *e);
void journal_remove(struct journal *j, struct journal_entry *e);

/* ---- the owner's turn */

/* JOURNAL_SYNC_ALWAYS: to be called before what depends on the last records goes out, once for any number of them. */
void journal_barrier(struct journal *j);
/* Returns when to come again; USEC_NEVER: not before on_due(). Some 20 µs at a time, at most 0.2 ms
 * (0.5 ms with 10,000 holds). */
usec_t journal_work(struct journal *j, usec_t now);
int journal_fd(const struct journal *j); /* -EBADF: none */

enum journal_state journal_get_state(const struct journal *j);

struct journal_status {
	enum journal_state state;
	int error;
	usec_t since_usec; /* of the state */
	size_t n_holds, n_unwritten;
	uint64_t file_bytes, live_bytes;
	uint64_t n_rewrites, n_syncs;
};
void journal_get_status(const struct journal *j, struct journal_status *ret);

#endif
