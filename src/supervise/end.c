/* SPDX-License-Identifier: MIT
 *
 * The end of a worker's first process: how it ended, what that means for the rest of it, and the log line.
 *
 * A death that leaves nothing to wait for goes from the pidfd's event to the FAIL's send(2) within one call of
 * worker_check_end(): no timer, no further turn of the loop, and whatever can be done later is done later.
 *
 * It begins at the pidfd's event and not before, though a big victim's memory is freed before that: 38 ms for 500 MB,
 * 300 ms for 2 GB. That it is doomed shows earlier, by memory.events, and that its threads are on their way out by
 * PF_EXITING; but not that it is silent. The one sign of that is the end of file, which comes when the last descriptor
 * is closed, and the kernel closes them after it has freed the memory. Until then to find nothing to read says nothing:
 * what is in a send queue still flows; the socket may be shared with a process that has left the leaf, or lie in a
 * message to one; and a list of threads, read one by one, is of no one moment. A FAIL before the last ACK has been read
 * would run a finished job again, and what would be won is a fraction of a second (hazards 36).
 */
#include "supervise/internal.h"

#include "base/entry.h"
#include "base/log.h"

#include <signal.h>
#include <sys/wait.h>

static void worker_gather_evidence(struct worker *w, const struct exit_info *exit)
{
	struct death_evidence *e = &w->evidence;

	e->exit = *exit;
	e->ended_usec = clock_now_usec();
	if (e->stop == DEATH_STOP_NONE && (w->stop_asked || (w->terminated && exit->code == CLD_EXITED)))
		e->stop = DEATH_STOP_BEFORE;
	if (exit->code != CLD_EXITED && exit->status == w->forwarded_signal)
		e->signal_sender = w->forwarded_from;
	memory_gather(w->shop->memory, w->family.leaf, &w->tally, e);
}

/* May others of its processes still bring its jobs to a good end? */
static bool worker_may_linger(const struct worker *w)
{
	const struct exit_info *exit = &w->evidence.exit;
	bool by_our_term = w->stop_usec > 0 && exit->code == CLD_KILLED && exit->status == SIGTERM;

	if (exit->code != CLD_EXITED && !by_our_term)
		return false;
	if (undertaker_n_held(w) == 0 && !(w->stop_asked && members_n_alive(&w->members) > 0))
		return false;
	return family_is_alive(&w->family);
}

/* An end that nobody asked for is a death to those who search the journal. */
static void worker_begin_entry(const struct worker *w, int level, struct log_entry *e)
{
	const struct exit_info *exit = &w->evidence.exit;
	enum death_cause cause = death_classify(&w->evidence);
	bool oom = cause == DEATH_WORKER_OUT_OF_MEMORY || cause == DEATH_HOST_OUT_OF_MEMORY;

	log_entry_begin(e, level, level > LOG_WARNING ? NULL : oom ? LOG_ID_OUT_OF_MEMORY : LOG_ID_DEATH);
	log_entry_field(e, "CHARGEHAND_WORKER", "%s", w->name);
	log_entry_field(e, "CHARGEHAND_PID", "%d", exit->pid);
	log_entry_field(e, "CHARGEHAND_CAUSE", "%s", death_cause_to_errtype(cause));
	log_entry_field(e, "CHARGEHAND_EXIT_CODE", "%s",
			exit->code == CLD_EXITED   ? "exited"
			: exit->code == CLD_DUMPED ? "dumped"
						   : "killed");
	log_entry_field(e, "CHARGEHAND_EXIT_STATUS", "%d", exit->status);
}

static void worker_add_jids(const struct worker *w, struct log_entry *e)
{
	const struct hold *hold;
	char jid[JID_SHOW_MAX];

	log_entry_field(e, "CHARGEHAND_JOBS", "%zu", w->n_lost);
	if (!e->wanted)
		return;
	LIST_FOREACH (hold, &listener_holder(w->listener)->holds, in_holder)
		if (hold->state == HOLD_FAILING)
			log_entry_field(e, "CHARGEHAND_JID", "%s", jid_show(jid, hold->jid, hold->jid_bytes));
}

static void worker_log_end(const struct worker *w)
{
	char text[FAIL_MESSAGE_MAX], memory[FAIL_MESSAGE_MAX] = "";
	struct log_entry e;
	int level = w->evidence.stop != DEATH_STOP_NONE || (w->evidence.exit.code == CLD_EXITED &&
							    w->evidence.exit.status == 0 && w->n_lost == 0)
			    ? LOG_NOTICE
			    : LOG_WARNING;

	(void)death_format(&w->evidence, text, sizeof(text));
	/* Of an end that was a matter of course nobody wants to know how large it was. */
	if (level <= LOG_WARNING)
		(void)death_format_memory(&w->evidence, memory, sizeof(memory));
	worker_begin_entry(w, level, &e);
	if (w->state < WORKER_SETTLING) {
		log_entry_end(&e, "%s%s; waiting for the rest of it, with %zu job%s in hand", text, memory,
			      undertaker_n_held(w), undertaker_n_held(w) == 1 ? "" : "s");
		return;
	}
	worker_add_jids(w, &e);
	if (w->n_lost == 0)
		log_entry_end(&e, "%s%s; it held no job", text, memory);
	else
		log_entry_end(&e, "%s%s; %zu job%s FAILed as %s", text, memory, w->n_lost,
			      w->n_lost == 1 ? " is" : "s are", death_cause_to_errtype(w->certificate.cause));
}

/* All that was said is read, some time after the first process ended, which was a death enough. */
void worker_log_drained(const struct worker *w)
{
	struct log_entry e;

	if (w->n_lost == 0) {
		log_info("%s: the last of its processes has gone, and left no job", w->name);
		return;
	}
	log_entry_begin(&e, LOG_WARNING, NULL);
	log_entry_field(&e, "CHARGEHAND_WORKER", "%s", w->name);
	log_entry_field(&e, "CHARGEHAND_CAUSE", "%s", death_cause_to_errtype(w->certificate.cause));
	worker_add_jids(w, &e);
	log_entry_end(&e, "%s: the last of its processes has gone; %zu job%s FAILed as %s", w->name, w->n_lost,
		      w->n_lost == 1 ? " is" : "s are", death_cause_to_errtype(w->certificate.cause));
}

void worker_check_end(struct worker *w)
{
	struct exit_info exit;
	bool was_known = w->end_told; /* it was given up on before */
	int r;

	if (w->ended || w->pidfd < 0)
		return;
	r = reap_peek(w->pidfd, &exit);
	if (r == -EAGAIN)
		return;
	if (r < 0) /* somebody else has reaped it: how it ended is not known */
		exit = (struct exit_info){.pid = w->family.pid, .code = CLD_KILLED, .status = SIGKILL};
	w->ended = true;
	if (!was_known)
		worker_gather_evidence(w, &exit);
	worker_handle(w, !was_known && worker_may_linger(w) ? WORKER_EVENT_ENDED_HOLDING : WORKER_EVENT_ENDED);
	memory_catch_up(w->shop->memory, &w->tally);

	/* Not before the family was looked at and killed: until now its pid was its own. */
	tree_withdraw(&w->family.tree);
	(void)reap_pidfd(w->pidfd, &exit);
	event_del(&w->pidfd_event);
	w->pidfd = close_fd(w->pidfd);
	if (was_known)
		return;
	worker_log_end(w);
	w->end_told = true;
	w->ops->on_ended(w->owner, w);
	if (w->state >= WORKER_SETTLING)
		w->ops->on_drained(w->owner, w);
}
