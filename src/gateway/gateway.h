/* SPDX-License-Identifier: MIT
 *
 * The gateway: what all workers' listeners share, and what it asks of the layer above. It ends the protocol on both
 * sides (design.md 4): sessions below listeners on one side, links to the server on the other, the ledger between.
 *
 * The gateway never decides that a worker is dead, and sends no FAIL of its own: it tells what happened through
 * gateway_ops, and is told with listener_set_dead() and the like.
 */
#ifndef CHARGEHAND_GATEWAY_GATEWAY_H
#define CHARGEHAND_GATEWAY_GATEWAY_H

#include "base/macro.h"
#include "faktory/handshake.h"
#include "ledger/ledger.h"
#include "ledger/report.h"
#include "link/dial.h"
#include <netinet/in.h>
#include <stdbool.h>

struct gateway;
struct listener;

struct gateway_ops {
	/* Is the process at the other end one of the worker's? local: the listener's address. */
	bool (*on_peer)(void *worker, const struct sockaddr_in *peer, const struct sockaddr_in *local);
	/* A session has said HELLO. pid and wid as it named them; believe neither. */
	void (*on_hello)(void *worker, const struct hello *hello);
	/* The server told the worker to terminate (BEAT answer): an exit that follows was asked for. */
	void (*on_terminate)(void *worker);
	/* The worker's own report has lost its link, or found none: it must reach the server in some other way, as what
	 * it is. The hold is SETTLING. line is malloc'ed and given away. */
	void (*on_report)(void *worker, struct hold *hold, enum report_kind kind, char *line, size_t line_bytes);
	/* The server gave out a job that nobody can take. The hold is STRAY; hold->body is there when it could be kept.
	 */
	void (*on_stray)(void *worker, struct hold *hold);
	/* A hold of a dead worker is HELD (again): the server refused its report. */
	void (*on_refused)(void *worker, struct hold *hold);
	/* The server's storage has failed in the middle of the worker's own FAIL: it no longer holds the job, and will
	 * drop it at the end of its lease (faktory-live N3). The hold is settled after the call. */
	void (*on_half_done)(void *worker, struct hold *hold, const char *server_text);
	/* May a living worker's report be given to on_report now? False: it waits in its session. */
	bool (*has_room)(void *worker);
	/* A wid of the worker has been silent for so long that the server would cut its links off (hazards 13). False:
	 * nothing could be done about it now. */
	bool (*on_silent)(void *worker, const char *wid);
	/* Something has ended that one may have been waiting for: a session, its input, a FETCH, a hold. May come
	 * often; asks for a look at the listener_* predicates after the present turn, not in the call. */
	void (*on_change)(void *worker);
	/* The same where the other end of a session is gone, and the worker perhaps with it. */
	void (*on_eof)(void *worker);
};

struct gateway_settings {
	unsigned sessions_max;  /* per worker */
	size_t keep_body_bytes; /* a stray's body is kept up to this size */
};
#define GATEWAY_SESSIONS_MAX 4000 /* the server's own limit is 2000 connections, of all workers together */

/* base, ledger, dialer and ops are borrowed and outlive the gateway. */
int gateway_new(struct event_base *base, struct ledger *ledger, struct dialer *dialer,
		const struct gateway_settings *settings, const struct gateway_ops *ops,
		struct gateway **ret) _must_check_;
struct gateway *gateway_free(struct gateway *g); /* all listeners must have been freed */

#endif
