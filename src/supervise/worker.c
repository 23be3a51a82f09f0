/* SPDX-License-Identifier: MIT
 *
 * The stages of a worker's life: what each does when it begins, and what it waits for.
 */
#include "supervise/internal.h"

#include "base/log.h"
#include "process/pidfd.h"

#include <signal.h>
#include <sys/wait.h>

/* An empty FETCH takes the server two seconds (faktory-live); a little more, and TERM goes out all the same. */
#define WORKER_QUIET_USEC (2200 * USEC_PER_MSEC)

/* Between the answer to the last FETCH and SIGTERM: a worker that is told to end while the job is still on its way from
 * the socket to its queue drops it (CDRX, pyfaktory, Node; faktory-clients, rule 39). */
#define WORKER_TAKE_USEC (50 * USEC_PER_MSEC)

/* What SIGKILL has not ended by then is stuck in the kernel, or not ours to end (hazards 21). */
#define WORKER_KILL_USEC (5 * USEC_PER_SEC)

static void worker_set_state(struct worker *w, enum worker_state state, enum worker_event event);

void worker_arm(struct worker *w, usec_t usec)
{
	struct timeval tv = usec_to_timeval(usec);
	if (event_add(&w->timer, &tv) < 0)
		log_error("%s: a timer cannot be had", w->name);
}

static void worker_signal_main(struct worker *w, int signal)
{
	if (w->pidfd >= 0 && !w->ended)
		(void)pidfd_signal(w->pidfd, signal);
}

/* ---- what a stage does when it begins */

static void worker_begin_stop(struct worker *w)
{
	w->stop_asked = true;
	listener_set_quiet(w->listener, true);
}

static void enter_running(struct worker *w)
{
	w->ops->on_greeted(w->owner, w);
}

static void enter_quieting(struct worker *w)
{
	worker_begin_stop(w);
	worker_arm(w, WORKER_QUIET_USEC);
	worker_look(w);
}

static void enter_stopping(struct worker *w)
{
	unsigned n_told = 0;

	listener_strand_fetches(w->listener);
	w->stop_usec = clock_now_usec();
	w->deadline_usec = usec_add(w->stop_usec, w->shop->config->stop_grace_usec);
	worker_arm(w, w->shop->config->stop_grace_usec);
	log_info("%s: sending SIGTERM", w->name);
	if (w->shop->config->stop_target == STOP_TARGET_HELLO)
		n_told = members_terminate(&w->members);
	if (n_told == 0 || w->main_said_hello)
		worker_signal_main(w, SIGTERM);
}

static void enter_killing(struct worker *w)
{
	worker_begin_stop(w);
	listener_strand_fetches(w->listener);
	w->evidence.stop = DEATH_STOP_GRACE;
	if (w->hurried)
		w->evidence.stop_grace_usec = w->stop_usec ? usec_sub(clock_now_usec(), w->stop_usec) : 0;
	log_warning("%s (pid %d) has not ended; killing it", w->name, w->family.pid);
	family_kill(&w->family);
	worker_signal_main(w, SIGKILL);
	worker_arm(w, WORKER_KILL_USEC);
}

static void enter_lingering(struct worker *w)
{
	usec_t grace_usec = w->shop->config->stop_grace_usec;

	w->deadline_usec = usec_add(w->stop_usec ? w->stop_usec : w->evidence.ended_usec, grace_usec);
	if (w->stop_asked)
		(void)members_terminate(&w->members);
	family_watch(&w->family);
	worker_look(w);
}

static void enter_sweeping(struct worker *w)
{
	if (!family_is_alive(&w->family)) {
		worker_handle(w, WORKER_EVENT_EMPTY);
		return;
	}
	family_watch(&w->family);
	if (w->evidence.stop != DEATH_STOP_GRACE)
		w->evidence.killed_by_us = true;
	family_kill(&w->family);
	worker_arm(w, WORKER_KILL_USEC);
	if (!family_is_alive(&w->family))
		worker_handle(w, WORKER_EVENT_EMPTY);
}

/* SIGKILL does not end it: everything goes on as if it had. Its end is reaped whenever it comes. */
static void worker_presume_ended(struct worker *w)
{
	w->evidence.exit = (struct exit_info){.pid = w->family.pid, .code = CLD_KILLED, .status = SIGKILL};
	w->evidence.ended_usec = clock_now_usec();
	w->end_told = true;
	w->ops->on_ended(w->owner, w);
}

static void enter_draining(struct worker *w)
{
	if (!w->ended)
		worker_presume_ended(w);
	listener_set_dead(w->listener);
	if (listener_is_drained(w->listener))
		worker_handle(w, WORKER_EVENT_DRAINED);
	else
		worker_arm(w, WORKER_KILL_USEC);
}

static void enter_settling(struct worker *w)
{
	w->n_lost = undertaker_n_held(w);
	if (w->n_lost > 0) {
		pump_drain(&w->pump);
		undertaker_fail_all(w);
	}
	members_done(&w->members);
	if (w->end_told) {
		worker_log_drained(w);
		w->ops->on_drained(w->owner, w);
	}
	worker_look(w);
}

static void enter_gone(struct worker *w)
{
	w->ops->on_gone(w->owner, w);
}

static void (*const enter[_WORKER_STATE_MAX])(struct worker *w) = {
	[WORKER_RUNNING] = enter_running,   [WORKER_QUIETING] = enter_quieting,   [WORKER_STOPPING] = enter_stopping,
	[WORKER_KILLING] = enter_killing,   [WORKER_LINGERING] = enter_lingering, [WORKER_SWEEPING] = enter_sweeping,
	[WORKER_DRAINING] = enter_draining, [WORKER_SETTLING] = enter_settling,   [WORKER_GONE] = enter_gone,
};

/* ---- what an event means to a stage that goes on */

/* The kernel, or a process outside of the worker, keeps a session open: what can be read is read, and that is all. */
static void worker_give_up_sessions(struct worker *w)
{
	log_warning("%s: something still has its connections open; going on without", w->name);
	listener_give_up_sessions(w->listener);
	if (listener_is_drained(w->listener))
		worker_handle(w, WORKER_EVENT_DRAINED);
}

static void worker_stop_lingering(struct worker *w)
{
	usec_t now = clock_now_usec();

	if (w->stop_asked)
		return;
	worker_begin_stop(w);
	w->stop_usec = now;
	w->deadline_usec = MIN(w->deadline_usec, usec_add(now, w->shop->config->stop_grace_usec));
	(void)members_terminate(&w->members);
	worker_look(w);
}

static void worker_stay(struct worker *w, enum worker_event event)
{
	if (event == WORKER_EVENT_TIMEOUT && w->state == WORKER_STARTING)
		log_warning("%s (pid %d) has not said HELLO to chargehand: does it take the server's address from "
			    "FAKTORY_URL? What it fetches elsewhere is not looked after",
			    w->name, w->family.pid);
	else if (event == WORKER_EVENT_TIMEOUT && w->state == WORKER_DRAINING)
		worker_give_up_sessions(w);
	else if (event == WORKER_EVENT_QUIESCED && !w->quiesced)
		worker_arm(w, WORKER_TAKE_USEC);
	else if (event == WORKER_EVENT_STOP && w->state == WORKER_LINGERING)
		worker_stop_lingering(w);
	w->quiesced = w->quiesced || event == WORKER_EVENT_QUIESCED;
}

/* What a stage that ends by its time, rather than by what it waited for, has to say. */
static void worker_explain_timeout(const struct worker *w)
{
	if (w->state == WORKER_SWEEPING || w->state == WORKER_KILLING)
		log_warning("%s: not all of its processes have ended after SIGKILL; going on without", w->name);
	else if (w->state == WORKER_LINGERING)
		log_notice("%s: killing the processes that it left behind", w->name);
}

void worker_handle(struct worker *w, enum worker_event event)
{
	enum worker_state next = worker_state_next(w->state, event);

	if (next == _WORKER_STATE_INVALID) {
		log_error("%s: event %s in state %s: this is a bug", w->name, worker_event_to_string(event),
			  worker_state_to_string(w->state));
	} else if (next == w->state) {
		worker_stay(w, event);
	} else {
		if (event == WORKER_EVENT_TIMEOUT)
			worker_explain_timeout(w);
		worker_set_state(w, next, event);
	}
}

/* The only writer of w->state. */
static void worker_set_state(struct worker *w, enum worker_state state, enum worker_event event)
{
	log_debug("%s: %s -> %s (%s)", w->name, worker_state_to_string(w->state), worker_state_to_string(state),
		  worker_event_to_string(event));
	event_del(&w->timer);
	if (state != WORKER_LINGERING && state != WORKER_SWEEPING)
		family_unwatch(&w->family);
	w->state = state;
	if (enter[state])
		enter[state](w);
}

/* ---- from outside */

void worker_stop(struct worker *w)
{
	worker_handle(w, WORKER_EVENT_STOP);
}

void worker_hurry(struct worker *w)
{
	w->hurried = true;
	worker_handle(w, WORKER_EVENT_HURRY);
}

void worker_set_quiet(struct worker *w, bool quiet)
{
	/* A stop stays quiet; the dead fetch nothing. */
	if (w->state == WORKER_STARTING || w->state == WORKER_RUNNING)
		listener_set_quiet(w->listener, quiet);
}

void worker_forward_signal(struct worker *w, int signal, pid_t sender)
{
	w->forwarded_signal = signal;
	w->forwarded_from = sender;
	worker_signal_main(w, signal);
}

void worker_report_answered(struct worker *w, struct hold *hold, enum report_outcome outcome)
{
	/* A FAIL that was sent again and is not known was executed the first time. */
	listener_report_answered(w->listener, hold,
				 outcome == REPORT_SETTLED || outcome == REPORT_NOT_FOUND ||
					 outcome == REPORT_OVERTAKEN);
	if (hold->state == HOLD_HELD && w->state == WORKER_SETTLING)
		undertaker_fail_one(w, hold);
}

const char *worker_name(const struct worker *w)
{
	return w->name;
}

pid_t worker_pid(const struct worker *w)
{
	return w->family.pid;
}

enum worker_state worker_get_state(const struct worker *w)
{
	return w->state;
}

const struct holder *worker_holder(const struct worker *w)
{
	return listener_holder(w->listener);
}

bool worker_has_ended(const struct worker *w)
{
	return w->end_told;
}

bool worker_is_ending(const struct worker *w)
{
	return !w->ended && w->family.pid > 0 && process_is_ending(w->family.pid);
}

const struct exit_info *worker_exit(const struct worker *w)
{
	return &w->evidence.exit;
}

usec_t worker_lived_usec(const struct worker *w)
{
	return usec_sub(w->evidence.ended_usec, w->evidence.started_usec);
}

bool worker_was_asked_to_end(const struct worker *w)
{
	return w->evidence.stop != DEATH_STOP_NONE;
}

size_t worker_n_lost(const struct worker *w)
{
	return w->n_lost;
}
