/* SPDX-License-Identifier: MIT
 *
 * A model of a hold's life, small enough to be searched in every order of events: one job; workers A and B of one
 * chargehand, and a stranger who fetches from the same queue past chargehand; the server with its queue, its retries,
 * the reservations that it has stored and the one that it has in memory, and its reaper; links that lose what is on
 * them, in either direction, or fall silent; a chargehand that dies anywhere and starts again with its journal; a
 * server that restarts.
 *
 * What corresponds to what:
 *   server.c    the server as it was found to behave: FAIL takes the reservation in memory first and the stored one
 *               after it, the reaper the other way round; all of it keyed by the jid alone
 *   chargehand.c
 *     enter, hand over     src/gateway/answer.c (answer_job), src/ledger/keep.c
 *     read a line          src/gateway/intake.c (intake_report and what it calls)
 *     certify, return      src/supervise/undertaker.c; that it is drained before: src/supervise/worker.c
 *     send, recall         src/report/outgoing.c, src/report/reporter.c, src/ledger/ledger.c (hold_fail_until_usec)
 *     give up              src/link/link.c (link_look)
 *     read an answer       src/gateway/answer.c (answer_report), src/report/reporter.c (reporter_on_verdict)
 *     start                src/supervise/estate.c, src/ledger/keep.c (keep_restore)
 *   world.c     workers, links, time, and what goes wrong; time is no clock but what can come before what
 *
 * Taken for granted: the server carries out what has reached it before its margin or the 15 s of a retry are over; the
 * kernel gives up what the network does not take within 4 s (src/link/dial.h), for a chargehand that has died as well;
 * what lies at the server when its link is given up is carried out, if at all, before those 15 s are over;
 * what that one had sent of a return has arrived, or never will, when the next one sends it again. A return that met
 * with a lost link may have been carried out: it is repeated all the same, and there are two of the job then. From
 * there on only its vanishing counts.
 *
 * Not in it: several jobs (in the server nothing connects them but load), `retry` 0 (FAIL then deletes the job, as the
 * end of the lease would), long replies in parts, reports that the server refuses, TRACK, a person who has a retry run
 * at once, a FAIL that was half done and whose body is at hand, the journal's own faults
 * (tests/unit/test-journal-faults.c), and what the server loses by itself when it is killed.
 */
#ifndef CHARGEHAND_TESTS_MODEL_H
#define CHARGEHAND_TESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The rules that can be taken out. */
enum rule {
	RULE_NONE,
	RULE_DRAIN,        /* design.md 5: what the dead had written is read before anything is FAILed */
	RULE_MARGIN,       /* P3: chargehand sends no FAIL close to the end of the lease */
	RULE_LOWER_BOUND,  /* the lease counts from FETCH sent, not from the reply */
	RULE_RECALL,       /* hazards 16: a FAIL without an answer is recalled at its limit */
	RULE_RESET,        /* hazards 16: a link with a FAIL is reset before anything is sent again */
	RULE_REPEAT_LIMIT, /* hazards 1: a FAIL is not repeated 10 s after it was first sent */
	RULE_SILENCE, /* hazards 1: a link that brings no answer to a report is given up before that, and it is repeated
		       */
	RULE_SENT_JOURNALED,        /* hazards 1: nor by the next chargehand */
	RULE_LATE_FAIL_IS_ANSWERED, /* P3: from the margin on a worker's own FAIL does not reach the server */
	RULE_SESSION_LIMIT,         /* hazards 16: what a session's link cannot bring soon the kernel gives up */
	RULE_NEWER_HOLD_FENCE,      /* hazards 6: nor does its ACK when another worker is known to have the job */
	RULE_RELEASE_ON_ANSWER,     /* a hold ends at the server's answer, not at the request */
	RULE_REPEAT,                /* hazards 3: a report without an answer is sent again */
	RULE_FIRST_REPORT_WINS,     /* hazards 3: of two reports for one hold */
	RULE_GENERATION,            /* hazards 17: an answer ends the hold that its report was read for */
	RULE_JOURNAL_BEFORE_WORKER, /* P7: the journal has the hold before the worker has the job */
	RULE_REPORT_BEFORE_FORWARD, /* hazards 2: and the report before the server has it */
	RULE_LEFTOVERS_FIRST,   /* P7: workers that outlived their chargehand are ended before their jobs are FAILed */
	RULE_KEEP_LINK,         /* hazards 8: a FETCH whose worker has gone keeps its link */
	RULE_STRAY_RETURNS,     /* hazards 7: a stray goes back to its queue, it is not FAILed */
	RULE_ACK_BEFORE_PUSHB,  /* hazards 7: in this order */
	RULE_RETURN_JOURNALED,  /* hazards 7: with its body in the journal */
	RULE_RETURN_IN_TIME,    /* P3: one that was never sent is not begun once the lease may be over */
	RULE_HALF_DONE_IS_TOLD, /* hazards 5: a FAIL that met a storage error is not repeated but spoken of */
	_RULE_MAX,
};

/* What must not happen. */
enum wrong {
	WRONG_NOTHING,
	WRONG_LEFT_BEHIND,     /* P1, P7, P8: a dead worker's job, or a report taken over, that nobody will bring */
	WRONG_FINISHED_FAILED, /* P2: a job whose ACK or FAIL had reached chargehand */
	WRONG_LIVING_FAILED,   /* P2: one whose worker may still finish it */
	WRONG_OTHERS_FAILED,   /* P3: somebody else's run */
	WRONG_OTHERS_ENDED,    /* P3: the reservation of somebody of whom chargehand knew, or can have known */
	WRONG_UNRUN_FAILED,    /* P4: a job that nobody has run, and that could have gone back */
	WRONG_VANISHED,        /* P3, P4: a job in no queue and no reservation, not finished, and nobody was told */
	_WRONG_MAX,
};

#define RUNS 3
#define MESSAGES 6

enum who { A, B, STRANGER, _WHO_MAX };
enum life { ALIVE, ORPHANED, DEAD }; /* orphaned: chargehand has died */
/* Of the dead: still at the server; the same, with a link that chargehand's death has ended. */
enum fetching { NO_FETCH, FETCH_LEFT, FETCH_LOST };
enum phase { LIVE, CLOSE, OVER }; /* of a lease: more than the margin is left; less; the reaper may have it */
enum age { UNSENT, FRESH, OLD };  /* of a FAIL since it was first sent: old from 10 s on */
enum reply { COMING, ENTERED, GIVEN, LOST };
enum hold_is { NO_HOLD, HELD, REPORTED, GONE };
enum kind { NO_KIND, ACK, FAIL, OWN_FAIL, RETURN, PUSHB };
enum way { NO_WAY, BY_SESSION, BY_REPORTER, FLYING }; /* of a report: by what it will be sent, or that it was */
enum stage { GOING, HALF, DONE, NOT_FOUND, STORAGE_ERROR };

/* One FETCH that brought the job, and what came of it. Bytes only, so that states can be compared as memory. */
struct run {
	uint8_t who;
	uint8_t phase, late; /* of the lease; the phase in which the reply came */
	uint8_t stored;      /* its reservation is on the server's disk */
	uint8_t reply;
	uint8_t said, said_again; /* what the worker ever said */
	uint8_t line;             /* what lies in chargehand's receive queue */
	uint8_t heard;            /* a report reached that queue, and was not lost with a chargehand */
	uint8_t excused;          /* beyond reach: its reply or report was on a link or in chargehand when that died */

	uint8_t hold, kind, way;                        /* in the ledger; its report */
	uint8_t knows_sent;                             /* chargehand knows that a FAIL, or a return, was sent */
	uint8_t ack_answered;                           /* of the return */
	uint8_t j_hold, j_kind, j_sent, j_ack_answered; /* the same in the journal */
	uint8_t age, returning;                         /* of its FAIL, and that a return was sent: in truth */
	uint8_t repeated, wasted; /* a FAIL was sent again; all its time was spent on one silent link */
};

/* A command on a link, or its answer. */
struct message {
	uint8_t kind; /* NO_KIND: none */
	uint8_t run, stage;
	uint8_t taken;     /* FAIL: whose reservation the server has in hand, + 1 */
	uint8_t by;        /* session or reporter */
	uint8_t sent_late; /* when less than the margin was left */
	uint8_t orphan;    /* nobody waits for the answer */
	uint8_t stuck;     /* a closed link goes on sending it, who knows for how long */
	uint8_t silent;    /* its link takes it and brings nothing, neither to the server nor from it */
	uint8_t blind;     /* no newer hold was known when it was sent */
	uint8_t again;     /* a return, not for the first time */
};

struct faults {
	uint8_t cuts, kills, deaths, restarts,
		errors;   /* of links, workers, chargehand; of the server; of its storage */
	uint8_t silences; /* of links */
};

struct state {
	uint8_t queue, retries;
	uint8_t memory;     /* whose reservation the server has in memory, + 1 */
	uint8_t in_hand;    /* whose stored one the reaper has taken, + 1 */
	uint8_t done, told; /* somebody has finished the job; it was said that it will vanish */
	uint8_t doubled;    /* a return was repeated, and there may be two of the job: the price of losing none */

	uint8_t life[_WHO_MAX], fetching[_WHO_MAX]; /* the living always are */
	uint8_t up;                                 /* chargehand */
	uint8_t n_runs;
	struct faults left;
	struct run run[RUNS];
	struct message message[MESSAGES];
	uint8_t wrong;
};

struct bounds {
	unsigned runs;
	struct faults faults;
	bool second_thoughts; /* a worker whose ACK has no answer says FAIL (Ruby's, Python's) */
};

struct result {
	enum wrong wrong;
	size_t n_states, n_steps;
	char *trace; /* how it came to that, in words; malloc'ed, NULL when nothing is wrong */
};

/* Breadth first, so that the trace is a shortest one. */
void search_all(const struct bounds *bounds, enum rule without, struct result *ret);

/* ---- between the parts of the model */

struct search {
	enum rule without;
	const struct bounds *bounds;
	/* private */
	struct table *table;
	size_t from;
	const struct state *wanted; /* describe the step to this one */
	char *words;
	size_t words_bytes, n_steps;
};

static inline bool keeps(const struct search *s, enum rule r)
{
	return s->without != r;
}
static inline bool is_fail(unsigned kind)
{
	return kind == FAIL || kind == OWN_FAIL;
}

/* A next state, and what happened in words. */
void emit(struct search *s, const struct state *next, const char *format, ...) __attribute__((format(printf, 3, 4)));

void server_next(struct search *s, const struct state *from);
void chargehand_next(struct search *s, const struct state *from);
void world_next(struct search *s, const struct state *from);

/* What is wrong with a state as it stands. */
enum wrong state_judge(const struct state *st);

struct message *message_new(struct state *st, unsigned run, enum kind kind);
/* The link that it is on is gone. Whoever sent it sends it again, if anybody does. */
void message_lose(const struct search *s, struct state *st, struct message *m);

extern const char *const kind_names[], *const who_names[];

#endif
