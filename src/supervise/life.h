/* SPDX-License-Identifier: MIT
 *
 * The stages of one worker's life, and what leads from one to the next. Pure: worker.c does what a stage asks for.
 *
 *   state     │ HELLO   STOP     HURRY    QUIESCED TIMEOUT  ENDED    HOLDING   UNBURDEN. EMPTY    DRAINED  SETTLED
 *   ──────────┼───────────────────────────────────────────────────────────────────────────────────────────────────
 *   starting  │ running quieting killing  ·        = warns  sweeping lingering ·         ·        ·        ·
 *   running   │ =       quieting killing  ·        ·        sweeping lingering ·         ·        ·        ·
 *   quieting  │ =       =        killing  = soon   stopping sweeping lingering ·         ·        ·        ·
 *   stopping  │ =       =        killing  ·        killing  sweeping lingering ·         ·        ·        ·
 *   killing   │ =       =        =        ·        draining sweeping sweeping  ·         ·        ·        ·
 *   lingering │ =       = tells  sweeping ·        sweeping ·        ·         sweeping  draining ·        ·
 *   sweeping  │ =       =        =        ·        draining ·        ·         ·         draining ·        ·
 *   draining  │ =       =        =        ·        = closes =        =         ·         ·        settling ·
 *   settling  │ =       =        =        ·        ·        =        =         ·         ·        ·        gone
 *   gone      │ =       =        =        ·        ·        =        =         ·         ·        ·        ·
 *
 *   =  stays where it is     ·  cannot happen: a bug, which is logged and changes nothing
 *
 * killing ends in draining by TIMEOUT when the kernel does not let go of the first process; its end comes later then.
 */
#ifndef CHARGEHAND_SUPERVISE_LIFE_H
#define CHARGEHAND_SUPERVISE_LIFE_H

#include "base/macro.h"
#include <stdbool.h>

enum worker_state {
	WORKER_STARTING, /* started, and has not said HELLO */
	WORKER_RUNNING,
	WORKER_QUIETING,  /* a stop was asked for: nothing is fetched any more, what is upstream is waited for (hazards
			     18) */
	WORKER_STOPPING,  /* SIGTERM was sent; the grace runs */
	WORKER_KILLING,   /* SIGKILL was sent to all, the first process included */
	WORKER_LINGERING, /* the first process has ended; others may still finish jobs (hazards 10, 11) */
	WORKER_SWEEPING,  /* the first process has ended; what it left was killed */
	WORKER_DRAINING,  /* no process is left; what it wrote is read to its end */
	WORKER_SETTLING,  /* its jobs are FAILed; answers are waited for */
	WORKER_GONE,
	_WORKER_STATE_MAX,
	_WORKER_STATE_INVALID = -EINVAL,
};

enum worker_event {
	WORKER_EVENT_HELLO,
	WORKER_EVENT_STOP,          /* somebody wants it to end */
	WORKER_EVENT_HURRY,         /* … and now: no grace */
	WORKER_EVENT_QUIESCED,      /* no FETCH is at the server */
	WORKER_EVENT_TIMEOUT,       /* of the present state */
	WORKER_EVENT_ENDED,         /* the first process; nothing that it left may go on */
	WORKER_EVENT_ENDED_HOLDING, /* the first process; others live, and may finish jobs */
	WORKER_EVENT_UNBURDENED,    /* no job is in hand any more */
	WORKER_EVENT_EMPTY,         /* no process is left */
	WORKER_EVENT_DRAINED,
	WORKER_EVENT_SETTLED,
	_WORKER_EVENT_MAX,
};

const char *worker_state_to_string(enum worker_state state);
const char *worker_event_to_string(enum worker_event event);

/* The state that follows, the same one for "=", _WORKER_STATE_INVALID for what cannot happen. */
enum worker_state worker_state_next(enum worker_state state, enum worker_event event);

/* No process of the worker is known to be alive. */
static inline bool worker_state_is_dead(enum worker_state state)
{
	return state >= WORKER_DRAINING;
}

#endif
