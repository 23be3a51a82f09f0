/* SPDX-License-Identifier: MIT
 *
 * A look at a worker when something has changed, at the end of a turn of the loop: is what its present stage waits for
 * there? However often something changes in one turn, there is one look.
 */
#include "supervise/internal.h"

#include "base/log.h"

#include <stdio.h>

/* A process that said HELLO has died, and the worker has not. Its jobs died with it once nobody else has its sessions.
 * Without a leaf a pid proves too little (hazards 12): its jobs are the worker's. */
static void look_at_members(struct worker *w)
{
	struct member *member, *next;

	for (member = LIST_FIRST(&w->members.list); member; member = next) {
		next = LIST_NEXT(member, entry);
		if (!member->dead || (w->family.leaf && listener_n_sessions_of(w->listener, member->pid) > 0))
			continue;
		if (w->family.leaf && !w->ended) {
			/* The whole worker is dying, and its end has its cause. */
			if (process_is_ending(w->family.pid))
				continue;
			if (undertaker_n_held_by(w, member->pid) > 0 &&
			    members_kill_new_orphans(&w->members, &w->family) > 0)
				continue; /* their ends come as SIGCHLD */
			undertaker_fail_member(w, member->pid, tally_account_outlived(&w->tally));
			members_note_orphans(&w->members, &w->family);
		}
		member_free(member);
	}
}

static void look_at_lingering(struct worker *w)
{
	usec_t now = clock_now_usec(), until_usec = w->deadline_usec;

	if (!family_is_alive(&w->family)) {
		worker_handle(w, WORKER_EVENT_EMPTY);
		return;
	}
	if (undertaker_n_held(w) == 0 && !(w->stop_asked && members_n_alive(&w->members) > 0)) {
		worker_handle(w, WORKER_EVENT_UNBURDENED);
		return;
	}
	if (listener_n_sessions(w->listener) > 0) {
		w->sessions_gone_usec = 0;
	} else {
		if (w->sessions_gone_usec == 0)
			w->sessions_gone_usec = now;
		until_usec = MIN(until_usec, usec_add(w->sessions_gone_usec, w->shop->config->linger_usec));
	}
	worker_arm(w, usec_sub(until_usec, now));
}

static void look_at_sweeping(struct worker *w)
{
	if (!family_is_alive(&w->family))
		worker_handle(w, WORKER_EVENT_EMPTY);
	else if (!w->family.leaf)
		family_kill(&w->family); /* what was forked away meanwhile, or has only now become ours */
}

static void worker_on_look(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct worker *w = userdata;

	/* Sessions end some 10 µs before the pidfd tells: by now it may, and the next turn is 20 µs away. */
	if (w->may_have_ended)
		worker_check_end(w);
	w->may_have_ended = false;
	look_at_members(w);
	switch (w->state) {
	case WORKER_QUIETING:
		if (listener_n_fetches(w->listener) == 0)
			worker_handle(w, WORKER_EVENT_QUIESCED);
		break;
	case WORKER_LINGERING:
		look_at_lingering(w);
		break;
	case WORKER_SWEEPING:
		look_at_sweeping(w);
		break;
	case WORKER_DRAINING:
		if (listener_is_drained(w->listener))
			worker_handle(w, WORKER_EVENT_DRAINED);
		break;
	case WORKER_SETTLING:
		if (listener_holder(w->listener)->n_holds == 0 && listener_is_finished(w->listener))
			worker_handle(w, WORKER_EVENT_SETTLED);
		break;
	default:
		break;
	}
}

void worker_init_look(struct worker *w)
{
	(void)event_assign(&w->look, w->shop->base, -1, 0, worker_on_look, w);
}

void worker_look(struct worker *w)
{
	event_active(&w->look, EV_TIMEOUT, 0);
}

usec_t worker_forget_holds(struct worker *w, usec_t now)
{
	usec_t again_usec = USEC_NEVER;
	struct hold *hold, *next;
	char jid[JID_SHOW_MAX];

	for (hold = LIST_FIRST(&listener_holder(w->listener)->holds); hold; hold = next) {
		next = LIST_NEXT(hold, in_holder);
		if (hold->state != HOLD_HELD)
			continue;
		if (!hold_is_forgettable(hold, now)) {
			usec_t due_usec = usec_add(hold_lease_end_max_usec(hold), LEDGER_FORGET_AFTER_USEC);
			again_usec = MIN(again_usec, due_usec);
			continue;
		}
		log_warning("%s has not reported job %s (%s) before its deadline; the server has taken it back, and "
			    "chargehand forgets it",
			    w->name, jid_show(jid, hold->jid, hold->jid_bytes), hold->jobtype);
		ledger_settle(hold);
	}
	return again_usec;
}
