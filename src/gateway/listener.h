/* SPDX-License-Identifier: MIT
 *
 * One worker's door: a listening socket on 127.0.0.1 with a port of its own, open from before the worker's start until
 * its last process is gone. The listener *is* the worker's identity: wid and pid are what a client says about itself,
 * whole programs share one wid. It owns the worker's sessions, their links, and the worker's side of the ledger.
 */
#ifndef CHARGEHAND_GATEWAY_LISTENER_H
#define CHARGEHAND_GATEWAY_LISTENER_H

#include "gateway/gateway.h"
#include <stdbool.h>

/* name is borrowed ("mail.1"); worker is handed to gateway_ops. The socket listens when this returns. */
int listener_new(struct gateway *g, const char *name, void *worker, struct listener **ret) _must_check_;

/* Frees what is left: sessions are closed, links cut. The ledger must hold nothing of the worker any more. */
struct listener *listener_free(struct listener *l);

uint16_t listener_port(const struct listener *l);
struct holder *listener_holder(struct listener *l);

/* FETCH is answered with nil by chargehand itself, two seconds after it came, as a quiet worker's is by the server; all
 * else goes on. Reversible. */
void listener_set_quiet(struct listener *l, bool quiet);

/* FETCHes that are at the server now for a session that is still there. */
unsigned listener_n_fetches(const struct listener *l);

/* Answers those with nil and leaves their replies to be strays. */
void listener_strand_fetches(struct listener *l);

/* Sessions whose other end still has them open. */
unsigned listener_n_sessions(const struct listener *l);

/* The same for sessions that named this pid in their HELLO. */
unsigned listener_n_sessions_of(const struct listener *l, pid_t pid);

/* The last process of the worker is gone. What its sessions and the socket's backlog still hold is read to the end and
 * whole commands are carried out, FETCH and BEAT excepted (hazards 9); FETCHes under way become strays. */
void listener_set_dead(struct listener *l);

/* Everything that the dead worker has written is read and dealt with: a hold that is HELD now will not be
 * reported by anybody else. Until then, wait for on_change. */
bool listener_is_drained(struct listener *l);

/* No longer waits for the end of sessions whose other end does not close (a process outside the worker's cgroup, or
 * stuck in the kernel, has them; hazards 21): reads what is there, then closes. */
void listener_give_up_sessions(struct listener *l);

/* Drained, no request of the worker's waits for an answer of the server, no FETCH is under way: nothing more can come
 * of it, and it may be freed once its holds are settled. */
bool listener_is_finished(const struct listener *l);

/* The reporter has an answer for a report that came by on_report: a session that waits for it gets it. `ok`: +OK, else
 * "-ERR Job not found". */
void listener_report_answered(struct listener *l, struct hold *hold, bool ok);

#endif
