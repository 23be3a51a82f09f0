/* SPDX-License-Identifier: MIT
 *
 * What worker.c, start.c, end.c, look.c, door.c, undertaker.c and estate.c share.
 */
#ifndef CHARGEHAND_SUPERVISE_INTERNAL_H
#define CHARGEHAND_SUPERVISE_INTERNAL_H

#include "process/death.h"
#include "supervise/family.h"
#include "supervise/member.h"
#include "supervise/pump.h"
#include "supervise/tally.h"
#include "supervise/worker.h"

#define WORKER_NAME_MAX (CONFIG_NAME_MAX + 16)

struct worker {
	const struct workshop *shop;
	const struct worker_ops *ops;
	void *owner;
	const char *name;
	char mark[WORKER_NAME_MAX + 32];
	TAILQ_ENTRY(worker) entry;

	enum worker_state state;
	struct event timer; /* what the state waits for; disarmed with it */
	struct event look;  /* a look at the end of this turn */

	struct family family;
	struct members members;
	int pidfd; /* -EBADF before the start and once reaped */
	struct event pidfd_event;
	bool may_have_ended; /* its pidfd has not told yet, but its sessions end */
	bool ended;          /* the first process */
	bool end_told;       /* ... and log and owner know */
	bool main_said_hello;
	struct pump pump;
	struct listener *listener;
	struct journal_worker *record; /* NULL: there is no journal */

	bool stop_asked;
	bool hurried;              /* somebody would not wait for the end of the grace */
	bool quiesced;             /* while quieting: no FETCH was at the server */
	bool terminated;           /* the server said so in an answer to BEAT */
	usec_t stop_usec;          /* SIGTERM was sent */
	usec_t deadline_usec;      /* of the whole stop, or of lingering */
	usec_t sessions_gone_usec; /* lingering: since when no session is open; 0 while one is */

	struct death_evidence evidence;
	struct tally tally;   /* of the leaf */
	int forwarded_signal; /* the last that was passed on to it */
	pid_t forwarded_from;
	size_t n_lost;
	struct certificate {
		bool known;
		enum death_cause cause;
		char *tail; /* fail_write_tail() */
		size_t tail_bytes;
	} certificate;
};

/* end.c */
void worker_log_drained(const struct worker *w);

/* look.c */
void worker_init_look(struct worker *w);

/* worker.c */
void worker_handle(struct worker *w, enum worker_event event);
void worker_arm(struct worker *w, usec_t usec); /* the state's timer, from now */

/* undertaker.c */
/* Into the journal and on its way; state is the one that fits. Takes the line. -ENOMEM. */
int undertaker_report(const struct workshop *shop, struct hold *hold, enum hold_state state, enum report_kind kind,
		      char *line, size_t line_bytes, size_t ack_bytes) _must_check_;
size_t undertaker_n_held(const struct worker *w);
size_t undertaker_n_held_by(const struct worker *w, pid_t pid);
void undertaker_fail_all(struct worker *w); /* of a dead worker */
void undertaker_fail_one(struct worker *w, struct hold *hold);
/* Of a process that died alone; n_killed: how many of the worker's the kernel has killed meanwhile. */
void undertaker_fail_member(struct worker *w, pid_t pid, uint64_t n_killed);
void undertaker_take_stray(struct worker *w, struct hold *hold);
void undertaker_done(struct worker *w);

#endif
