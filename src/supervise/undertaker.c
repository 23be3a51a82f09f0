/* SPDX-License-Identifier: MIT
 *
 * Writes the reports about what the dead have left: FAIL with its certificate for a job in hand, and the way back to
 * its queue for a job that nobody has seen. Decides nothing about who is dead.
 */
#include "supervise/internal.h"

#include "base/entry.h"
#include "base/log.h"
#include "base/parse.h"
#include "faktory/fail.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

size_t undertaker_n_held(const struct worker *w)
{
	const struct hold *h;
	size_t n = 0;

	LIST_FOREACH (h, &listener_holder(w->listener)->holds, in_holder)
		n += h->state == HOLD_HELD;
	return n;
}

size_t undertaker_n_held_by(const struct worker *w, pid_t pid)
{
	const struct hold *h;
	size_t n = 0;

	LIST_FOREACH (h, &listener_holder(w->listener)->holds, in_holder)
		n += h->state == HOLD_HELD && h->pid == pid;
	return n;
}

static void log_not_failed(const struct worker *w, const struct hold *hold, int error)
{
	char jid[JID_SHOW_MAX];
	log_error_errno(error, "%s: job %s is left to the end of its lease: %m", w->name,
			jid_show(jid, hold->jid, hold->jid_bytes));
}

/* Errtype and backtrace are the same for all jobs of one death. */
static int certificate_write(struct worker *w, enum death_cause cause, struct certificate *c)
{
	const char *lines[FAIL_BACKTRACE_MAX];
	_cleanup_free_ char *buffer = NULL;
	int n, r;

	n = tail_lines(&w->pump.tail, lines, &buffer);
	if (n < 0)
		return n;
	const struct fail f = {
		.errtype = death_cause_to_errtype(cause),
		.message = "",
		.backtrace = lines,
		.n_backtrace = (size_t)n,
	};
	r = fail_write_tail(&f, &c->tail, &c->tail_bytes);
	if (r < 0)
		return r;
	c->cause = cause;
	c->known = true;
	return 0;
}

int undertaker_report(const struct workshop *shop, struct hold *hold, enum hold_state state, enum report_kind kind,
		      char *line, size_t line_bytes, size_t ack_bytes)
{
	ledger_set_state(hold, state);
	ledger_report(hold, kind, line, line_bytes, ack_bytes);
	return reporter_send(shop->reporter, hold, kind, line, line_bytes, ack_bytes);
}

static int send_fail(struct worker *w, struct hold *hold, const struct certificate *c, const char *message)
{
	size_t line_bytes;
	char *line;
	int r;

	r = fail_write_with_tail(hold->jid, hold->jid_bytes, message, c->tail, c->tail_bytes, &line, &line_bytes);
	return r < 0 ? r : undertaker_report(w->shop, hold, HOLD_FAILING, REPORT_FAIL, line, line_bytes, 0);
}

static void fail_dead(struct worker *w, struct hold *hold, usec_t now)
{
	char message[FAIL_MESSAGE_MAX + 1];
	int r = 0;

	if (!w->certificate.known)
		r = certificate_write(w, death_classify(&w->evidence), &w->certificate);
	if (r == 0) {
		(void)death_format_job(&w->evidence, MAX(w->n_lost, (size_t)1), usec_sub(now, hold->received_usec),
				       message, sizeof(message));
		r = send_fail(w, hold, &w->certificate, message);
	}
	if (r < 0)
		log_not_failed(w, hold, r);
}

void undertaker_fail_all(struct worker *w)
{
	struct hold *hold, *next;
	usec_t now = clock_now_usec();

	for (hold = LIST_FIRST(&listener_holder(w->listener)->holds); hold; hold = next) {
		next = LIST_NEXT(hold, in_holder);
		if (hold->state == HOLD_HELD)
			fail_dead(w, hold, now);
	}
	reporter_flush(w->shop->reporter);
}

void undertaker_fail_one(struct worker *w, struct hold *hold)
{
	fail_dead(w, hold, clock_now_usec());
}

void undertaker_fail_member(struct worker *w, pid_t pid, uint64_t n_killed)
{
	struct certificate c = {.known = false};
	char message[FAIL_MESSAGE_MAX + 1], held[FORMAT_DURATION_MAX], memory[96] = "";
	usec_t now = clock_now_usec();
	size_t n = undertaker_n_held_by(w, pid);
	struct hold *hold, *next;
	char jid[JID_SHOW_MAX];
	struct log_entry e;
	int r;

	if (n == 0)
		return;
	log_entry_begin(&e, LOG_NOTICE, LOG_ID_DEATH);
	log_entry_field(&e, "CHARGEHAND_WORKER", "%s", w->name);
	log_entry_field(&e, "CHARGEHAND_PID", "%d", pid);
	log_entry_field(&e, "CHARGEHAND_CAUSE", "%s", death_cause_to_errtype(DEATH_WORKER_EXITED));
	log_entry_field(&e, "CHARGEHAND_JOBS", "%zu", n);
	/* Its parent has its status; what is known here is that it is gone. The kernel counts its victims, and does not
	 * say who they are. */
	if (n_killed > 0)
		(void)snprintf(memory, sizeof(memory),
			       "; the kernel has just killed %" PRIu64 " process%s of the worker for lack of memory",
			       n_killed, n_killed == 1 ? "" : "es");
	r = certificate_write(w, DEATH_WORKER_EXITED, &c);
	for (hold = LIST_FIRST(&listener_holder(w->listener)->holds); hold; hold = next) {
		next = LIST_NEXT(hold, in_holder);
		if (hold->state != HOLD_HELD || hold->pid != pid)
			continue;
		(void)snprintf(message, sizeof(message),
			       "process %d of %s (pid %d) died%s; it held %zu job%s, this one for %s", pid, w->name,
			       w->family.pid, memory, n, n == 1 ? "" : "s",
			       format_duration(held, usec_sub(now, hold->received_usec)));
		log_entry_field(&e, "CHARGEHAND_JID", "%s", jid_show(jid, hold->jid, hold->jid_bytes));
		if (r == 0)
			r = send_fail(w, hold, &c, message);
		if (r < 0)
			log_not_failed(w, hold, r);
	}
	free(c.tail);
	reporter_flush(w->shop->reporter);
	log_entry_end(&e, "%s: its process %d died%s; %zu job%s FAILed as %s", w->name, pid, memory, n,
		      n == 1 ? " is" : "s are", death_cause_to_errtype(DEATH_WORKER_EXITED));
}

static int send_return(struct worker *w, struct hold *hold)
{
	size_t line_bytes, ack_bytes;
	char *line;
	int r;

	r = return_write(hold->jid, hold->jid_bytes, hold->body, hold->body_bytes, &line, &line_bytes, &ack_bytes);
	return r < 0 ? r : undertaker_report(w->shop, hold, HOLD_RETURNING, REPORT_RETURN, line, line_bytes, ack_bytes);
}

static int send_stranded(struct worker *w, struct hold *hold)
{
	char message[FAIL_MESSAGE_MAX + 1];
	struct certificate c = {.known = false};
	const struct fail f = {.errtype = death_cause_to_errtype(DEATH_JOB_STRANDED), .message = ""};
	int r;

	(void)snprintf(
		message, sizeof(message),
		"the server gave this job to %s, which was no longer there to take it; it never ran, and could not "
		"be put back into its queue: %s",
		w->name,
		hold->enterprise ? "it belongs to a batch, is unique or is tracked"
				 : "it is larger than what is kept of a job (--keep-body)");
	r = fail_write_tail(&f, &c.tail, &c.tail_bytes);
	if (r == 0)
		r = send_fail(w, hold, &c, message);
	free(c.tail);
	return r;
}

/* FAIL would use up a retry of a job that never ran, and delete one that has none: so it goes back whole where that can
 * be done (hazards 7). */
void undertaker_take_stray(struct worker *w, struct hold *hold)
{
	int r = hold->body && !hold->enterprise ? send_return(w, hold) : send_stranded(w, hold);
	if (r < 0)
		log_not_failed(w, hold, r);
}

void undertaker_done(struct worker *w)
{
	free(TAKE_PTR(w->certificate.tail));
	w->certificate.known = false;
}
