/* SPDX-License-Identifier: MIT
 *
 * What the two files of a link share:
 *
 *   link.c     the connection's life: dialled, greeted, lost; and what goes up
 *   reply.c    what comes down
 */
#ifndef CHARGEHAND_LINK_INTERNAL_H
#define CHARGEHAND_LINK_INTERNAL_H

#include "faktory/resp.h"
#include "link/link.h"
#include "link/stream.h"

/* Why a link is lost to what never was one's server. */
#define LINK_NO_SERVER "what answers there does not greet as a Faktory server of protocol version 2"

/* Between HI and +OK. */
struct greeting {
	struct link *link;
	struct hi hi;
	struct hash_turn turn;
};

/* A reply of which a part has come. */
struct partial {
	struct resp resp;
	char *in; /* that part, while it may still be passed on whole; NULL when nothing is kept */
	size_t in_bytes, in_size;
};

/* Most sessions do nothing most of the time, and each has one of these: what is needed now and then is apart. */
struct link {
	struct stream stream;
	struct dialer *dialer;
	const struct link_ops *ops;
	void *owner;
	const struct hello *hello;
	STAILQ_HEAD(, link_request) requests;

	enum link_state state:8;
	uint8_t attempts; /* dials since the last answer of a server */
	bool streaming;   /* parts of the present reply have been passed on */
	bool active;      /* something moved since the command timer was armed */
	uint8_t n_quiet;  /* so often in a row it has fired and nothing had moved */
	bool doubtful;    /* the partial reply is a whole error that may be the server's last word */
	bool *gone;       /* set when the link is closed or freed inside a callback */

	/* NULL while not needed */
	struct dial *dial;
	struct event *timer;
	struct greeting *greeting;
	struct partial *partial; /* in reply.c: `present` while the link is being read */
};

/* link.c */
void link_lose(struct link *l, const char *why); /* the connection has ended, whoever ended it */
void link_on_greeting(struct link *l);           /* a whole line before READY, in l->partial */
void link_set_timer(struct link *l, usec_t usec);

/* reply.c */
void link_on_readable(struct stream *s);
bool link_believe(struct link *l); /* what it had doubts about was no last word. False: the link is gone */
void link_drop_partial(struct link *l);

#endif
