/* SPDX-License-Identifier: MIT
 *
 * One worker: a process tree, the listener that it alone may use, and its jobs, from the first fork to the moment at
 * which the server has answered the last report about it. Its stages are those of life.h. What comes after it in its
 * slot is another worker; program.c decides whether there is one.
 *
 * Files: worker.c (the stages), start.c (before the first), end.c (of the first process), look.c (has something
 * changed?), door.c (what the gateway asks and tells), undertaker.c (FAILs and death certificates).
 */
#ifndef CHARGEHAND_SUPERVISE_WORKER_H
#define CHARGEHAND_SUPERVISE_WORKER_H

#include "config/config.h"
#include "gateway/listener.h"
#include "ledger/journal.h"
#include "process/peer.h"
#include "process/reap.h"
#include "process/subtree.h"
#include "report/reporter.h"
#include "supervise/life.h"
#include "supervise/memory.h"
#include "supervise/outlet.h"
#include "supervise/remnant.h"
#include "supervise/supervisor.h"
#include <sys/queue.h>

/* What all workers share; borrowed. */
struct workshop {
	const struct config *config;
	const struct supervisor_start *start;
	struct event_base *base;
	struct ledger *ledger;
	struct journal *journal; /* NULL: nothing is remembered */
	struct gateway *gateway;
	struct reporter *reporter;
	struct peer_lookup *peers; /* NULL: strangers cannot be told */
	struct outlet *outlet;
	struct subtree *subtree; /* for leaves, where there are any */
	struct memory *memory;
	struct remnant_list *remnants;
	bool terminal; /* the only worker gets the terminal that chargehand has */
};

struct worker;

struct worker_ops {
	/* It has said its first HELLO. */
	void (*on_greeted)(void *owner, struct worker *w);
	/* The first process has ended, or will not end. The slot is free. */
	void (*on_ended)(void *owner, struct worker *w);
	/* The kernel has killed n of its processes for lack of memory, and not the first one. */
	void (*on_outlived)(void *owner, uint64_t n);
	/* The server will lose a job of it, whose own FAIL was half done. */
	void (*on_vanishing)(void *owner);
	/* Everything it said is read: worker_n_lost() is known. */
	void (*on_drained)(void *owner, struct worker *w);
	/* Nothing more will come of it. To be freed after the present turn of the loop, not in the call. */
	void (*on_gone)(void *owner, struct worker *w);
};

struct start_failure {
	enum {
		START_FAILED_RESOURCES, /* may be there next time */
		START_FAILED_CGROUP,    /* the leaf or a limit of it */
		START_FAILED_EXEC,      /* the command cannot be run */
	} kind;
	const char *what; /* could not be had */
};

/* Starts "NAME.N". name is borrowed. 0, or -errno with *ret_failure set. */
int worker_start(const struct workshop *shop, const char *name, unsigned generation, const struct worker_ops *ops,
		 void *owner, struct worker **ret, struct start_failure *ret_failure) _must_check_;

/* Whatever its state; jobs that are still not settled are left to the next start. Accepts NULL. */
struct worker *worker_free(struct worker *w);

/* All are accepted in any state. */
void worker_stop(struct worker *w);
void worker_hurry(struct worker *w);
void worker_set_quiet(struct worker *w, bool quiet);
void worker_forward_signal(struct worker *w, int signal, pid_t sender);

/* Has the first process ended? To be called when a child of its pid, or of no known pid, has. */
void worker_check_end(struct worker *w);

/* Something changed that it may be waiting for. */
void worker_look(struct worker *w);

/* Forgets holds of a worker that lives on after their leases (hazards 24). Returns when to come again; USEC_NEVER:
 * there are no holds. */
usec_t worker_forget_holds(struct worker *w, usec_t now);

/* A report that came from the worker itself has its answer. */
void worker_report_answered(struct worker *w, struct hold *hold, enum report_outcome outcome);

const char *worker_name(const struct worker *w);
pid_t worker_pid(const struct worker *w);
enum worker_state worker_get_state(const struct worker *w);
const struct holder *worker_holder(const struct worker *w);
bool worker_has_ended(const struct worker *w);
bool worker_is_ending(const struct worker *w); /* its first process, which is still to be seen to end */

/* Once it has ended. */
const struct exit_info *worker_exit(const struct worker *w);
usec_t worker_lived_usec(const struct worker *w);
bool worker_was_asked_to_end(const struct worker *w); /* by chargehand, or by the server's web page */
size_t worker_n_lost(const struct worker *w);         /* jobs in hand when all was read */

extern const struct gateway_ops worker_gateway_ops;

/* In program.c's list of all workers. */
TAILQ_HEAD(worker_list, worker);

#endif
