/* SPDX-License-Identifier: MIT
 *
 * The ledger: every job that the server gave out to one of our workers and that nobody has settled yet.
 *
 * A hold belongs to (holder, jid); a holder is one worker. The same jid can be held twice, by two workers or by one:
 * one of the two leases has then run out, or the job was pushed again by itself (hazards 17). So each hold carries a
 * generation, from one counter for the whole ledger; a report points at the hold that it was read for, never at "the
 * jid". Invariants:
 *   1. A hold is in the ledger's index and in its holder's list from ledger_add() until ledger_settle() or
 *      ledger_leave(), and in neither afterwards.
 *   2. Whoever keeps a pointer to a hold keeps a reference. A hold that has left the ledger is HOLD_GONE and stays
 *      valid until the last reference is dropped.
 *   3. The state changes through ledger_set_state() alone.
 *
 *           ledger_add              report read            server's +OK / "Job not found" to FAIL
 *      ──────────────► HELD ────────────────────► SETTLING ──────────────────────────► GONE
 *                       ▲  │                        │
 *                       │  └─ worker dead ─► FAILING┼─ answered, or its time is over ─► GONE
 *                       └───── server refuses ──────┘
 *      A job for nobody (stray): HELD ─► STRAY ─► RETURNING ─► GONE, back to STRAY when the link was lost, or on to
 *      FAILING where it cannot go back to its queue; from there to RETURNING all the same when its FAIL was half done,
 * for the server has lost it then (hazards 5). From every state ledger_settle() leads to GONE.
 *
 * Pure: no descriptor, no clock, no libevent. Every operation is O(1) in the number of holds and workers.
 */
#ifndef CHARGEHAND_LEDGER_LEDGER_H
#define CHARGEHAND_LEDGER_LEDGER_H

#include "base/clock.h"
#include "base/macro.h"
#include "faktory/job.h"
#include "ledger/report.h"
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

enum hold_state {
	HOLD_HELD,
	HOLD_SETTLING,  /* an ACK or FAIL of the worker is on its way */
	HOLD_FAILING,   /* the reporter's FAIL is waiting or on its way */
	HOLD_STRAY,     /* nobody can take it */
	HOLD_RETURNING, /* on its way back to the queue */
	HOLD_GONE,
	_HOLD_STATE_MAX,
};
const char *hold_state_to_string(enum hold_state state);

/* The last moment at which chargehand sends a FAIL of its own lies this much before the earliest end of the lease:
 * 1000 pipelined FAILs took 1.5 s on a busy server, other connections waited up to 0.95 s, leases use the server's
 * wall clock, and a FAIL that overlaps the reaper loses the job, answered +OK (faktory-live 2). */
#define LEDGER_FAIL_MARGIN_USEC (5 * USEC_PER_SEC)

/* A hold of a worker that lives on after its lease ended is forgotten this long after the latest end of the lease:
 * the reaper runs each 15 s; some minutes leave room for the server's absence (hazards 24). */
#define LEDGER_FORGET_AFTER_USEC (5 * USEC_PER_MINUTE)

struct ledger;
struct holder;

struct hold {
	uint64_t generation;
	enum hold_state state;
	struct holder *holder; /* NULL once gone */
	pid_t pid;             /* which process said HELLO on the session that fetched it; 0 unknown */

	usec_t fetched_usec;  /* FETCH sent: the lease cannot have begun earlier … */
	usec_t received_usec; /* … nor later than its reply's arrival */
	uint64_t lease_sec;

	bool have_retry;
	int64_t retry, retry_count;
	bool enterprise; /* custom holds bid, unique_for or track */

	bool in_transit; /* the worker's report for it is with the reporter: a later one is answered in its stead */
	usec_t fail_first_usec; /* when the first FAIL for it, or its return, was sent, 0 never, or refused: no
				   repetition of a FAIL 10 s after (hazards 1) */

	void *sink_data; /* the sink's; NULL: it knows nothing of this hold */

	/* A copy of the job while a stray could still come of it, else NULL; owned by the hold (hazards 28). */
	char *body;
	size_t body_bytes;

	char *jid; /* raw JSON bytes, terminated; owned */
	uint16_t jid_bytes;
	char *queue, *jobtype; /* terminated, cut; inside the same allocation */

	/* private */
	unsigned references;
	struct ledger *ledger;
	LIST_ENTRY(hold) in_holder;
	struct jid_entry *entry;
	LIST_ENTRY(hold) in_entry;
};

/* One worker's side of the ledger; embedded in its owner, who calls holder_init() and, when no hold is left,
 * holder_done(). */
struct holder {
	const char *name; /* "mail.1"; borrowed, outlives the holder */
	LIST_HEAD(, hold) holds;
	size_t n_holds;
	void *sink_data; /* the sink's: which worker this is; set by whoever made it known there */
};

/* Whoever keeps the ledger where it outlives chargehand: told of each step before anybody else can see what follows
 * from it. Nothing it meets is a reason to refuse a job, but want of memory. */
struct ledger_sink {
	/* Before the hold is in the ledger; sets h->sink_data. -ENOMEM: it is not entered. */
	int (*add)(void *userdata, struct hold *h, const struct holder *holder);
	/* The others are called for holds with sink_data alone. */
	void (*update)(void *userdata, struct hold *h);
	void (*report)(void *userdata, struct hold *h, enum report_kind kind, const char *line, size_t line_bytes,
		       size_t ack_bytes);
	void (*report_refused)(void *userdata, struct hold *h);
	void (*sent)(void *userdata, struct hold *h, usec_t now);
	void (*ack_answered)(void *userdata, struct hold *h);
	void (*gone)(void *userdata, struct hold *h);
	void (*barrier)(void *userdata);
};

int ledger_new(struct ledger **ret) _must_check_;
struct ledger *ledger_free(struct ledger *l); /* leaves what is left; holders must outlive it or be empty */
DEFINE_CLEANUP(ledger, ledger_free)

/* NULL: none. Holds that are in the ledger already are not told of. sink is borrowed. */
void ledger_set_sink(struct ledger *l, const struct ledger_sink *sink, void *userdata);

void holder_init(struct holder *h, const char *name);
void holder_done(struct holder *h); /* asserts that it is empty */

size_t ledger_n_holds(const struct ledger *l);

/* Enters a job that the server gave out. job->jid_bytes must not be 0. The ledger copies what it needs. *ret is a
 * borrowed pointer. An older hold of the same (holder, jid) stays: it has a generation of its own.
 * -ENOMEM: nothing was entered. */
int ledger_add(struct ledger *l, struct holder *holder, const struct job *job, usec_t fetched_usec,
	       usec_t received_usec, struct hold **ret) _must_check_;

/* Enters a hold that an earlier chargehand left, which the sink knows already. */
int ledger_restore(struct ledger *l, struct holder *holder, const struct job *job, usec_t fetched_usec,
		   usec_t received_usec, uint64_t lease_sec, void *sink_data, struct hold **ret) _must_check_;

/* What a long reply brings after the jid (hazards 27): the hold was entered with what was known. */
void ledger_update(struct hold *h, const struct job *job);

/* The newest hold of the jid (raw JSON bytes, any spelling) that this worker has and that no report is under way for;
 * else the newest of this worker in any state; else NULL. */
struct hold *ledger_find(struct ledger *l, const struct holder *holder, const char *jid, size_t jid_bytes);

/* The newest hold of the jid whoever has it, or NULL. */
struct hold *ledger_find_newest(struct ledger *l, const char *jid, size_t jid_bytes);

/* True when no later hold of its jid exists, whoever has it. The hold is in the ledger. */
bool hold_is_newest(const struct hold *h);

/* Asserts that the arrow exists in the diagram above. */
void ledger_set_state(struct hold *h, enum hold_state state);

/* For the sink alone; none of them changes the state.
 * A report has been read, or made, and is about to go its way. line is borrowed, and may be NULL where it is not at
 * hand. ack_bytes: REPORT_RETURN, where its second command begins. */
void ledger_report(struct hold *h, enum report_kind kind, const char *line, size_t line_bytes, size_t ack_bytes);
/* A FAIL, or a return, is about to be sent. Sets fail_first_usec, once; to be called before the first byte goes out
 * (hazards 1). */
void ledger_mark_sent(struct hold *h, usec_t now);
/* Of a return: its ACK must not be sent again. */
void ledger_mark_ack_answered(struct hold *h);
/* What was told so far is about to be relied on: bytes go out that follow from it. Once for any number of holds. */
void ledger_barrier(struct ledger *l);

/* The job is finished with, or can no longer be: takes it out. The pointer may be invalid afterwards unless the caller
 * has a reference. */
void ledger_settle(struct hold *h);

/* The same, but the sink is not told: chargehand ends, and the hold is left to the next one. */
void ledger_leave(struct hold *h);

struct hold *hold_ref(struct hold *h);
struct hold *hold_unref(struct hold *h); /* returns NULL; accepts NULL */

/* Keeps a copy of the job's body. -ENOMEM. */
int hold_keep_body(struct hold *h, const char *body, size_t bytes) _must_check_;
void hold_drop_body(struct hold *h);

/* The bounds of the lease: it ends somewhere between the two. */
usec_t hold_lease_end_min_usec(const struct hold *h);
usec_t hold_lease_end_max_usec(const struct hold *h);

/* Until when chargehand may send a FAIL: hold_lease_end_min - margin, and fail_first + 10 s once one was sent. */
#define LEDGER_FAIL_REPEAT_USEC (10 * USEC_PER_SEC)
usec_t hold_fail_until_usec(const struct hold *h);

/* True when the lease is certainly over and so long ago that nobody needs to know of the hold. */
bool hold_is_forgettable(const struct hold *h, usec_t now);

#endif
