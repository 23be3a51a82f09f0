/* SPDX-License-Identifier: MIT
 *
 * One connection to the server: dialled, greeted, authenticated with the HELLO it is given, then a pipe for
 * commands whose replies come back in order. Lost, it is dialled again with backoff until its owner closes it.
 *
 *                 ┌───────────────────────── lost, refused ◄────────────────────────┐
 *                 ▼                                                                 │
 *   IDLE ──► WAITING ──► DIALLING ──► GREETING ──► GREETED ──► HASHING ──► AUTHENTICATING ──► READY
 *          (backoff)                  (await HI)  (await the    (await a                 (commands flow)
 *                                                 HELLO to use)  turn)
 *
 * The owner sees requests, in the order sent, each with its reply whole when it is at most LINK_WHOLE_BYTES long,
 * otherwise in parts. Callbacks come from the event loop only, never out of a call of the owner's, so the owner may
 * keep pointers into its own buffers across link_send(). In a callback the owner may close or free the link.
 */
#ifndef CHARGEHAND_LINK_LINK_H
#define CHARGEHAND_LINK_LINK_H

#include "base/clock.h"
#include "base/macro.h"
#include "faktory/handshake.h"
#include "faktory/resp.h"
#include "link/dial.h"
#include <stdbool.h>
#include <sys/queue.h>

#define LINK_WHOLE_BYTES (64 * 1024)

/* Redial after 50 ms, doubling to at most 2 s, each with up to a half of it added at random (design.md 10). */
#define LINK_REDIAL_FIRST_USEC (50 * USEC_PER_MSEC)
#define LINK_REDIAL_MAX_USEC (2 * USEC_PER_SEC)

/* A connected server that says no HI within this time is as good as none: a starting server listens before it serves
 * (faktory-live 7: half a second with 50 000 reservations). */
#define LINK_HANDSHAKE_USEC (5 * USEC_PER_SEC)

/* A command that is not a FETCH and has had no answer for so long: the link is given up. Jobs of 300 MB take 6 s. */
#define LINK_COMMAND_USEC (60 * USEC_PER_SEC)

/* The same where nothing but hasty requests wait for answers: six seconds in which nothing has come, and up to one more
 * until that is noticed. Longer than the five after which the server itself gives a command up and says so, for that
 * answer counts (hazards 5); so short that of the ten seconds of a FAIL three are left to dial another link and say it
 * there (hazards 1). */
#define LINK_HASTY_USEC (6 * USEC_PER_SEC)
#define LINK_LOOK_USEC USEC_PER_SEC

enum link_state {
	LINK_IDLE,
	LINK_WAITING,
	LINK_DIALLING,
	LINK_GREETING,
	LINK_GREETED,
	LINK_HASHING,
	LINK_AUTHENTICATING,
	LINK_READY,
	_LINK_STATE_MAX,
};
const char *link_state_to_string(enum link_state state);

/* How long an -ERR that may be the server's last word is held back: its end follows at once. */
#define LINK_DOUBT_USEC (100 * USEC_PER_MSEC)

struct link;

/* Embedded in the owner's own request. `patient` requests (FETCH) have no time limit (hazards 8); `hasty` ones do no
 * harm when they are sent again on another link, and should not wait long for a silent one. */
struct link_request {
	STAILQ_ENTRY(link_request) next;
	usec_t sent_usec;
	bool patient, hasty;
};

struct link_reply {
	const struct resp *resp; /* kind, head, header_bytes, body_bytes: valid during the callback */
	const char *bytes;       /* this part, as it came; valid during the callback */
	size_t n_bytes;
	bool first, last; /* both: the reply is whole */
};

struct link_ops {
	void (*on_ready)(struct link *l);
	/* After the last part the link has forgotten the request: it is the owner's to free. */
	void (*on_reply)(struct link *l, struct link_request *request, const struct link_reply *reply);
	/* The connection is gone, or could not be made. Unanswered requests are taken with link_take_request(); any
	 * that are left when the callback returns are a bug. `partial`: the first of them has had a part of its reply.
	 * The link redials by itself unless it is closed here. */
	void (*on_lost)(struct link *l, bool partial, const char *why);
	/* What was sent has reached the kernel: more can be (see link_is_full). */
	void (*on_drained)(struct link *l);
};

int link_new(struct dialer *dialer, const struct link_ops *ops, void *owner, struct link **ret) _must_check_;
struct link *link_free(struct link *l); /* closes; returns NULL; accepts NULL; the request queue must be empty */

void *link_owner(const struct link *l);
void link_set_owner(struct link *l, const struct link_ops *ops, void *owner);

/* Starts dialling; a failure is told by on_lost later. */
void link_dial(struct link *l);

/* The HELLO to use, borrowed: it must outlive the link or the next call. A link that waits for it goes on. */
void link_set_hello(struct link *l, const struct hello *hello);

enum link_state link_get_state(const struct link *l);
static inline bool link_is_ready(const struct link *l)
{
	return l && link_get_state(l) == LINK_READY;
}

/* Sends a command, or its first part, whose reply answers `request`, by the end of the turn. READY only. Never fails:
 * what cannot be sent any more is told by on_lost. */
void link_send(struct link *l, struct link_request *request, usec_t now, const char *p, size_t bytes);
/* Sends more of the command sent last, or the whole of it, at once. */
void link_send_more(struct link *l, const char *p, size_t bytes);
/* Too much is waiting: stop the source until on_drained. */
bool link_is_full(const struct link *l);

/* Stops and starts the reading of replies: the session cannot take more. */
void link_pause(struct link *l);
void link_resume(struct link *l);

struct link_request *link_first_request(const struct link *l);
struct link_request *link_take_request(struct link *l);
bool link_has_requests(const struct link *l);

/* Closes without redialling; state IDLE. reset: with RST, which recalls what has not left yet. No callback comes of it.
 */
void link_close(struct link *l, bool reset);

#endif
