/* SPDX-License-Identifier: MIT
 *
 * One heir for each worker that the journal names: a holder, for its jobs.
 */
#include "supervise/estate.h"

#include "base/entry.h"
#include "base/log.h"
#include "base/parse.h"
#include "faktory/fail.h"
#include "faktory/jid.h"
#include "ledger/keep.h"
#include "process/death.h"
#include "process/leftover.h"
#include "supervise/internal.h"

#include <stdio.h>
#include <string.h>

/* For processes to end after SIGKILL. One that is stuck in the kernel runs none of its code before its end. */
#define ESTATE_END_USEC (5 * USEC_PER_SEC)

struct heir {
	struct holder holder;
	char *name;
	pid_t pid;
	const struct journal_worker *worker; /* while the estate is taken over */
	size_t n_lost;                       /* jobs without a report */
};

struct estate {
	const struct workshop *shop;
	usec_t now, wall_now; /* of the taking over: what the leases are measured against */
	size_t n_fails, n_reports, n_late;
	size_t n_heirs;
	struct heir heirs[]; /* the last one for holds of nobody known */
};

/* ---- workers */

static int estate_list_workers(struct estate *e)
{
	const struct journal_worker *w = journal_first_worker(e->shop->journal);

	for (size_t i = 0; i < e->n_heirs; i++, w = w ? journal_next_worker(w) : NULL) {
		struct heir *h = &e->heirs[i];
		h->name = strdup(w ? w->name : "a worker");
		if (!h->name)
			return -ENOMEM;
		h->worker = w;
		h->pid = w ? w->pid : 0;
		holder_init(&h->holder, h->name);
	}
	return 0;
}

static void estate_end_workers(struct estate *e)
{
	_cleanup_free_ struct leftover *left = calloc(e->n_heirs, sizeof(*left));
	size_t n_left = 0;
	unsigned n = 0;
	int r = left ? 0 : -ENOMEM;

	for (size_t i = 0; left && i < e->n_heirs; i++) {
		const struct journal_worker *w = e->heirs[i].worker;
		if (!w || w->other_boot || w->gone)
			continue;
		left[n_left++] = (struct leftover){.mark = w->mark, .pid = w->pid, .start_ticks = w->start_ticks};
	}
	if (n_left > 0)
		r = leftover_end(left, n_left, ESTATE_END_USEC, &n);
	if (n > 0)
		log_notice("%u process%s of workers that an earlier chargehand had left %s ended", n,
			   n == 1 ? "" : "es", n == 1 ? "is" : "are");
	if (r < 0)
		(void)log_warning_errno(
			r, "Not all workers of an earlier chargehand could be ended: %m; going on without");
}

static void estate_strike_workers(struct estate *e)
{
	struct journal_worker *w, *next;

	for (w = journal_first_worker(e->shop->journal); w; w = next) {
		next = journal_next_worker(w);
		journal_remove_worker(e->shop->journal, w);
	}
}

/* ---- jobs */

static struct heir *estate_heir_of(struct estate *e, const struct journal_worker *w)
{
	for (size_t i = 0; i < e->n_heirs; i++)
		if (e->heirs[i].worker == w)
			return &e->heirs[i];
	return &e->heirs[e->n_heirs - 1];
}

static void estate_tell_left(const struct heir *heir, const struct hold *hold, int error)
{
	char jid[JID_SHOW_MAX];
	struct log_entry e;

	log_entry_begin(&e, LOG_ERR, NULL);
	log_entry_field(&e, "CHARGEHAND_WORKER", "%s", heir->name);
	log_entry_field(&e, "CHARGEHAND_JID", "%s", jid_show(jid, hold->jid, hold->jid_bytes));
	errno = -error;
	log_entry_end(&e, "job %s (%s), held by an earlier chargehand's worker, is left to the end of its lease: %m",
		      jid_show(jid, hold->jid, hold->jid_bytes), hold->jobtype);
}

static int estate_fail(struct estate *e, struct heir *heir, struct hold *hold)
{
	char message[FAIL_MESSAGE_MAX + 1], held[FORMAT_DURATION_MAX];
	const struct fail f = {
		.errtype = death_cause_to_errtype(DEATH_SUPERVISOR_DIED),
		.message = message,
	};
	size_t line_bytes;
	char *line;
	int r;

	(void)snprintf(
		message, sizeof(message),
		"chargehand, which looked after %s (pid %d), died, and the worker was ended with it; it held %zu "
		"job%s, this one since %s before the next chargehand's start",
		heir->name, heir->pid, MAX(heir->n_lost, (size_t)1), heir->n_lost > 1 ? "s" : "",
		format_duration(held, usec_sub(e->now, hold->received_usec)));
	r = fail_write(&f, hold->jid, hold->jid_bytes, &line, &line_bytes);
	return r < 0 ? r : undertaker_report(e->shop, hold, HOLD_FAILING, REPORT_FAIL, line, line_bytes, 0);
}

/* As what it was; its record is there already. */
static int estate_resend(struct estate *e, struct hold *hold, const struct journal_found *found)
{
	const struct record_report *report = &found->report;
	const char *from = report->line.p;
	size_t line_bytes = report->line.bytes, ack_bytes = report->ack_bytes;
	char *line = NULL;
	int r = 0;

	if (report->kind == REPORT_RETURN && found->ack_answered) {
		from += ack_bytes;
		line_bytes -= ack_bytes;
		ack_bytes = 0;
	}
	if (report->kind == REPORT_WORKER_ACK) {
		r = ack_write(hold->jid, hold->jid_bytes, &line, &line_bytes);
	} else {
		line = malloc(line_bytes);
		if (line)
			memcpy(line, from, line_bytes);
	}
	if (r < 0 || !line)
		return -ENOMEM;
	if (report->kind == REPORT_RETURN) {
		ledger_set_state(hold, HOLD_STRAY);
		ledger_set_state(hold, HOLD_RETURNING);
	} else {
		ledger_set_state(hold, report->kind == REPORT_FAIL ? HOLD_FAILING : HOLD_SETTLING);
	}
	return reporter_send(e->shop->reporter, hold, report->kind, line, line_bytes, ack_bytes);
}

/* Is there anything that can be sent again? Of a long FAIL only that there was one is known. */
static bool is_whole(const struct journal_found *found)
{
	const struct record_report *r = &found->report;

	if (!found->have_report || r->none)
		return false;
	if (r->kind == REPORT_WORKER_ACK)
		return true;
	return r->line.bytes > 0 && (r->kind != REPORT_RETURN || r->ack_bytes < r->line.bytes);
}

/* May something still be said about it? An ACK may, as long as nobody else can have finished the job meanwhile. */
static bool is_in_time(const struct estate *e, const struct journal_found *found, usec_t left_usec)
{
	const struct record_hold *h = &found->hold;

	if (h->doubtful)
		return false;
	if (left_usec > 0)
		return true;
	return is_whole(found) && found->report.kind != REPORT_FAIL && found->report.kind != REPORT_WORKER_FAIL &&
	       e->wall_now >= h->wall_usec &&
	       e->wall_now - h->wall_usec < h->lease_sec * USEC_PER_SEC + LEDGER_FORGET_AFTER_USEC;
}

static void estate_drop(struct estate *e, const struct heir *heir, const struct journal_found *found)
{
	char jid[JID_SHOW_MAX];
	struct log_entry entry;

	e->n_late++;
	jid_show(jid, found->hold.jid.p, found->hold.jid.bytes);
	log_entry_begin(&entry, LOG_WARNING, NULL);
	log_entry_field(&entry, "CHARGEHAND_WORKER", "%s", heir->name);
	log_entry_field(&entry, "CHARGEHAND_JID", "%s", jid);
	log_entry_end(&entry, "job %s (%.*s), held by an earlier chargehand's worker, is left to the server: %s", jid,
		      (int)found->hold.jobtype.bytes, found->hold.jobtype.p,
		      found->hold.doubtful ? "it is not certain that it was still held" : "its lease is over");
	journal_remove(e->shop->journal, found->entry);
}

static int estate_restore(struct estate *e, const struct journal_found *found)
{
	struct heir *heir = estate_heir_of(e, found->worker);
	struct hold *hold;
	int r;

	if (!is_in_time(e, found, journal_lease_left_usec(&found->hold, e->now, e->wall_now))) {
		estate_drop(e, heir, found);
		return 0;
	}
	r = keep_restore(e->shop->ledger, &heir->holder, found, e->now, e->wall_now, &hold);
	if (r < 0)
		return r;
	if (!is_whole(found)) {
		heir->n_lost++;
		return 0; /* how many there are is said in each */
	}
	e->n_reports++;
	r = estate_resend(e, hold, found);
	if (r < 0)
		estate_tell_left(heir, hold, r);
	return 0;
}

static int estate_restore_all(struct estate *e)
{
	const struct journal_found *found;
	int r = 0;
	size_t n;

	found = journal_found(e->shop->journal, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = estate_restore(e, &found[i]);
	keep_attach(e->shop->ledger, e->shop->journal);
	return r;
}

/* An entry as that of a worker's death, of which it is one, though nobody was there to see it. */
static void estate_fail_heir(struct estate *e, struct heir *heir)
{
	const char *errtype = death_cause_to_errtype(DEATH_SUPERVISOR_DIED);
	struct hold *hold, *next;
	struct log_entry entry;
	char jid[JID_SHOW_MAX];
	size_t n = 0;

	if (heir->n_lost == 0)
		return;
	log_entry_begin(&entry, LOG_WARNING, LOG_ID_SUPERVISOR_DIED);
	log_entry_field(&entry, "CHARGEHAND_WORKER", "%s", heir->name);
	log_entry_field(&entry, "CHARGEHAND_PID", "%d", heir->pid);
	log_entry_field(&entry, "CHARGEHAND_CAUSE", "%s", errtype);
	log_entry_field(&entry, "CHARGEHAND_JOBS", "%zu", heir->n_lost);
	for (hold = LIST_FIRST(&heir->holder.holds); hold; hold = next) {
		next = LIST_NEXT(hold, in_holder);
		if (hold->state != HOLD_HELD)
			continue;
		int r = estate_fail(e, heir, hold);
		if (r < 0) {
			estate_tell_left(heir, hold, r);
			continue;
		}
		log_entry_field(&entry, "CHARGEHAND_JID", "%s", jid_show(jid, hold->jid, hold->jid_bytes));
		n++;
	}
	log_entry_end(&entry, "%s (pid %d) has gone with the chargehand that looked after it; %zu job%s FAILed as %s",
		      heir->name, heir->pid, n, n == 1 ? " is" : "s are", errtype);
	e->n_fails += n;
}

static void estate_fail_all(struct estate *e)
{
	for (size_t i = 0; i < e->n_heirs; i++) {
		estate_fail_heir(e, &e->heirs[i]);
		e->heirs[i].worker = NULL;
	}
}

static void estate_log(const struct estate *e)
{
	size_t n = e->n_fails + e->n_reports + e->n_late;

	if (n > 0)
		log_notice("An earlier chargehand has left %zu job%s: %zu to be FAILed as %s, %zu whose report is sent "
			   "again, "
			   "%zu left to the server",
			   n, n == 1 ? "" : "s", e->n_fails, death_cause_to_errtype(DEATH_SUPERVISOR_DIED),
			   e->n_reports, e->n_late);
}

/* ---- for the layer above */

int estate_take_over(const struct workshop *shop, struct estate **ret)
{
	const struct journal_worker *w;
	struct estate *e;
	size_t n = 1;
	int r;

	for (w = journal_first_worker(shop->journal); w; w = journal_next_worker(w))
		n++;
	e = calloc(1, sizeof(*e) + n * sizeof(e->heirs[0]));
	if (!e)
		return -ENOMEM;
	e->shop = shop;
	e->n_heirs = n;
	r = estate_list_workers(e);
	if (r < 0) {
		estate_free(e);
		return r;
	}
	estate_end_workers(e);
	e->now = clock_now_usec();
	e->wall_now = clock_wall_usec();
	r = estate_restore_all(e);
	if (r < 0) {
		estate_free(e);
		return r;
	}
	estate_fail_all(e);
	estate_strike_workers(e);
	journal_drop_found(shop->journal);
	estate_log(e);
	*ret = e;
	return 0;
}

struct estate *estate_free(struct estate *e)
{
	if (!e)
		return NULL;
	for (size_t i = 0; i < e->n_heirs; i++) {
		struct heir *h = &e->heirs[i];
		if (!h->name)
			continue;
		while (!LIST_EMPTY(&h->holder.holds))
			ledger_leave(LIST_FIRST(&h->holder.holds));
		holder_done(&h->holder);
		free(h->name);
	}
	free(e);
	return NULL;
}

bool estate_is_settled(const struct estate *e)
{
	for (size_t i = 0; e && i < e->n_heirs; i++)
		if (e->heirs[i].holder.n_holds > 0)
			return false;
	return true;
}

void estate_report_answered(struct estate *e, const struct holder *holder, struct hold *hold)
{
	/* The worker's own report was refused, and the worker is no more. */
	for (size_t i = 0; e && i < e->n_heirs; i++)
		if (&e->heirs[i].holder == holder && hold->state == HOLD_HELD) {
			int r = estate_fail(e, &e->heirs[i], hold);
			if (r < 0)
				estate_tell_left(&e->heirs[i], hold, r);
		}
}

void estate_log_left(const struct estate *e)
{
	const struct hold *h;
	char jid[JID_SHOW_MAX];

	for (size_t i = 0; e && i < e->n_heirs; i++)
		LIST_FOREACH (h, &e->heirs[i].holder.holds, in_holder)
			log_error("%s: job %s (%s) is left %s", e->heirs[i].name, jid_show(jid, h->jid, h->jid_bytes),
				  h->jobtype, hold_state_to_string(h->state));
}
