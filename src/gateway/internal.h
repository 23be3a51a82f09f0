/* SPDX-License-Identifier: MIT
 *
 * What the files of this directory share: the structs, and who calls whom.
 *
 *   listener.c   the socket, the timer, what the layer above asks for
 *   session.c    a session's life: greeted, open, at its end, gone
 *   intake.c     what comes from the worker: lines, the command that each is, where it goes
 *   gather.c     the report that is long, but not too long
 *   upload.c     the line that is too long to be held in memory
 *   request.c    the command under way
 *   answer.c     what comes from the server: replies, and what each does to ledger and session
 *   wait.c       a session that waits for a link, a time or the reporter, and what it is told in the end
 *   retired.c    links without a session: waiting for a last reply, or spare
 *   identity.c   the HELLOs of a worker
 *
 * No session is freed inside a function of its own: it goes to the gateway's graveyard, which is emptied when the
 * callback has returned. So a pointer to a session is good until then, and session_is_over() tells whether there is any
 * use in it.
 */
#ifndef CHARGEHAND_GATEWAY_INTERNAL_H
#define CHARGEHAND_GATEWAY_INTERNAL_H

#include "faktory/command.h"
#include "gateway/gateway.h"
#include "gateway/listener.h"
#include "link/link.h"
#include "link/stream.h"

/* Running out of memory while a table grows must not end the program: HASH_ADD leaves hh.tbl NULL instead. */
#ifndef HASH_NONFATAL_OOM
#define HASH_NONFATAL_OOM 1
#endif
#include <uthash.h>

/* A line up to this length is held in memory until it is whole; a longer one passes as it comes. Also what a session
 * may send ahead while it waits for an answer. */
#define LINE_HELD_MAX (64 * 1024)

/* The same for an ACK or FAIL, of which so many may be longer at a time. With the copy that a link has of it a seat
 * costs twice this. */
#define REPORT_HELD_MAX ((size_t)1 << 20)
#define SEATS_MAX 8

/* The server closes a connection that has not said HELLO after two seconds, so does chargehand. */
#define HELLO_LIMIT_USEC (2 * USEC_PER_SEC)

/* An empty FETCH is answered after two seconds by the server, and so by chargehand. */
#define FETCH_NIL_USEC (2 * USEC_PER_SEC)

/* A FETCH that has no answer by now gets nil from chargehand, and what comes later is a stray: Elixir's clients give
 * up at 4 and 5 s, Go's and Ruby's at 5 s, and all of them would lose the job (hazards 45). */
#define FETCH_LATE_USEC (3500 * USEC_PER_MSEC)

/* How often a session looks whether its report can be taken in hand. */
#define ROOM_WAIT_USEC (200 * USEC_PER_MSEC)

/* How long a command waits for a link: FETCH so briefly that link and late answer together stay below 4 s. */
#define LINK_WAIT_FETCH_USEC (400 * USEC_PER_MSEC)
#define LINK_WAIT_USEC (2 * USEC_PER_SEC)

/* A report whose link is gone is confirmed by chargehand, which has it in hand, when the server has not done so in this
 * time (hazards 3). */
#define REPORT_WAIT_USEC (1 * USEC_PER_SEC)

/* The same while its link seems to be there: it may be half open. Libraries wait for 2 to 5 s, then repeat an ACK on
 * another connection, and FAIL the job on a third. */
#define ANSWER_LATE_USEC (1500 * USEC_PER_MSEC)

/* The server cuts off a wid after 60 s of silence, looked at every 15 s (hazards 13). */
#define BEAT_SILENCE_USEC (40 * USEC_PER_SEC)
#define BEAT_AGAIN_USEC USEC_PER_SEC /* when it could not be sent */

/* A link that is no longer needed is kept so long for a session that says the same HELLO: clients that open one
 * connection per command then cost no dial and no hash each. */
#define SPARE_KEEP_USEC (5 * USEC_PER_SEC)
#define SPARE_MAX 64

struct gateway {
	struct event_base *base;
	struct ledger *ledger;
	struct dialer *dialer;
	struct gateway_settings settings;
	const struct gateway_ops *ops;
	TAILQ_HEAD(, session) graveyard;
	struct event *bury, *bury_soon;
	STAILQ_HEAD(, link_request) spare_requests;
	unsigned n_spare_requests;
	unsigned n_seated; /* long reports in hand; may be more than SEATS_MAX when their worker is dead */
};

/* One HELLO, shared by all sessions and links that said the same bytes. */
struct identity {
	struct hello hello;
	char quoted_wid[JOB_WID_MAX + 2]; /* as it stands in nearly every BEAT */
	uint16_t quoted_bytes;
	unsigned references;
	usec_t beaten_usec; /* last BEAT for its wid, or its first HELLO */
	UT_hash_handle hh;
};

TAILQ_HEAD(session_list, session);

struct listener {
	struct gateway *gateway;
	void *worker;
	struct holder holder;
	struct sockaddr_in address;
	int fd;
	struct event accept_event;
	struct event timer;
	usec_t timer_due_usec;    /* USEC_NEVER: not armed */
	usec_t accept_again_usec; /* out of descriptors: try again then; USEC_NEVER: accepting */
	bool quiet, dead, gave_up;
	bool backlog_empty; /* dead: accept(2) has said EAGAIN */
	bool accept_told;   /* that it fails, and has not succeeded since */

	struct session_list sessions;
	unsigned n_sessions;           /* in the list */
	unsigned n_open;               /* whose other end still has them open */
	struct session_list greeting;  /* that have not said HELLO, oldest first */
	struct session_list waiting;   /* by due time, the first due first */
	TAILQ_HEAD(, request) fetches; /* under way for a session, oldest first */
	unsigned n_fetches;
	unsigned n_requests;                       /* under way, with or without a session */
	TAILQ_HEAD(retired_list, retired) retired; /* links without a session: waiting for replies … */
	struct retired_list spares;                /* … and with nothing under way, oldest first */
	unsigned n_spares;
	struct identity *identities;
};

enum session_wait {
	WAIT_NONE,
	WAIT_LINK,   /* the command at the head of the input needs a link */
	WAIT_ROOM,   /* the report at the head of the input has no link, and others are in hand that have none */
	WAIT_ANSWER, /* local answers are due: n_oks times +OK, then nil if so */
};

struct upload;
struct session {
	struct stream stream;
	struct listener *listener;
	struct link *link;         /* NULL: none wanted at the moment */
	struct identity *identity; /* NULL before HELLO */
	struct request *fetch;     /* a FETCH under way: nothing behind it is sent before its answer */
	unsigned n_requests;       /* under way, fetch included */
	uint32_t gathered_bytes;   /* of a long report at the head of the input: no line end up to here */

	char *in; /* input not dealt with yet: a partial line, or what waits; NULL when there is none */
	uint32_t in_bytes, in_size;
	struct upload *upload; /* a long line is passing */

	struct hold *undelivered; /* its reply is not known to have reached the kernel */
	struct hold *reported;    /* WAIT_ANSWER: the reporter has it, and its answer comes first */

	enum session_wait wait:8;
	uint8_t n_oks;
	bool nil;
	bool eof;        /* nothing more will be read */
	bool ended;      /* END, or a broken connection: what is left of the input is of no interest */
	bool over;       /* in the graveyard */
	bool seated;     /* a long report is at the head of the input, and may stay there */
	usec_t due_usec; /* greeting or waiting: until when */

	TAILQ_ENTRY(session) in_sessions; /* later: in the graveyard */
	TAILQ_ENTRY(session) in_queue;    /* greeting or waiting */
};

enum request_kind {
	REQUEST_PASS,
	REQUEST_FETCH,
	REQUEST_ACK,
	REQUEST_FAIL,
	REQUEST_BEAT,
};

struct long_job;
struct request {
	struct link_request base;
	enum request_kind kind;
	bool in_fetches;
	bool seated; /* FAIL: its line is a long one */
	struct listener *listener;
	struct session *session; /* NULL: nobody waits for the answer any more */
	struct hold *hold;       /* ACK, FAIL: a reference */
	char *line;              /* FAIL: a copy, should the link be lost */
	size_t line_bytes;
	struct long_job *job; /* FETCH: a long reply is passing */
	pid_t pid;            /* FETCH: who asked */
	TAILQ_ENTRY(request) in_queue;
};

struct retired {
	struct listener *listener;
	struct link *link;
	struct identity *identity;
	usec_t spare_since_usec;
	bool is_spare;
	TAILQ_ENTRY(retired) entry;
};

/* gateway.c */
#define GRAVEYARD_USEC 2000
void gateway_take_session(struct gateway *g, struct session *s); /* which is over: frees it after the callback */

/* listener.c */
void listener_arm(struct listener *l, usec_t due_usec); /* the timer fires no later than this */
void listener_changed(struct listener *l);
void listener_accept(struct listener *l);

/* session.c */
int session_new(struct listener *l, int fd) _must_check_;
void session_advance(struct session *s);                  /* does whatever can be done now; may end the session */
void session_drop_input(struct session *s, size_t bytes); /* from its head: they have been dealt with */
void session_end(struct session *s);                      /* closes it now; what is under way becomes somebody else's */
void session_answer(struct session *s, const char *p, size_t bytes); /* one reply, one write, by the end of the turn */
/* What it has fetched, or a part of it; should it not reach the kernel the job is a stray. */
void session_hand_over(struct session *s, struct hold *h, const struct link_reply *reply);
void session_read(struct session *s, bool to_the_end);
void session_mark_eof(struct session *s);
void session_want_link(struct session *s);              /* a spare one, or a new one that is dialled */
void session_strand_fetch(struct session *s, bool nil); /* its link is retired with the FETCH on it */
usec_t session_late_usec(const struct session *s);      /* when what is under way is answered in the server's stead */
void session_answer_late(struct session *s);            /* its link is retired with all that is under way */
bool session_is_drained(const struct session *s);
static inline bool session_is_over(const struct session *s)
{
	return s->over;
}

/* intake.c */
size_t intake_feed(struct session *s, const char *p, size_t bytes);    /* returns what was dealt with */
bool intake_can_follow(const struct session *s, const struct hold *h); /* another report, behind the one under way */

/* gather.c */
bool gather_begin(struct session *s, const char *p, size_t bytes);
bool gather_is_partial(const struct session *s, const char *p, size_t bytes);
size_t gather_input_max(const struct session *s);
void gather_end(struct session *s);
void gather_pass_seat(struct session *s, struct request *r);

/* upload.c */
bool upload_begin(struct session *s, const char *p, size_t bytes);
size_t upload_feed(struct session *s, const char *p, size_t bytes);
void upload_drop(struct session *s);

/* request.c */
struct request *request_new(struct session *s, enum request_kind kind);
void request_free(struct request *r);
void request_detach(struct request *r); /* from its session and the list of FETCHes */
void request_free_spares(struct gateway *g);

/* answer.c */
void answer_drop_long_job(struct request *r);
void request_on_reply(struct request *r, const struct link_reply *reply);
void request_on_lost(struct request *r, bool partial);
/* With the hold, unless it is larger than what is kept. */
void answer_keep_body(const struct listener *l, struct hold *h, const char *body, size_t body_bytes);
void answer_stray(struct listener *l, struct hold *hold, const char *body, size_t body_bytes);

/* wait.c */
void wait_for_link(struct session *s, usec_t usec);
void wait_for_room(struct session *s);
void wait_for_answer(struct session *s, unsigned n_oks, bool nil, usec_t due_usec);
void wait_clear(struct session *s);
void wait_expire(struct listener *l, usec_t now);
usec_t wait_next_usec(const struct listener *l);

/* retired.c */
void retired_release(struct listener *l, struct link *link, struct identity *identity);
struct link *retired_take_spare(struct listener *l, struct identity *identity);
void retired_expire(struct listener *l, usec_t now);
usec_t retired_next_usec(const struct listener *l);
void retired_close_spares(struct listener *l);
void retired_free_all(struct listener *l);

/* identity.c */
int identity_get(struct listener *l, struct hello *hello, struct identity **ret) _must_check_; /* takes hello */
struct identity *identity_ref(struct identity *i);
struct identity *identity_unref(struct listener *l, struct identity *i);
bool identity_is_named(const struct identity *i, const char *args, size_t bytes); /* by a BEAT: its own wid */
void identity_beat(struct listener *l, const char *wid, usec_t now);
void identity_expire(struct listener *l, usec_t now);
usec_t identity_next_usec(const struct listener *l);

#endif
