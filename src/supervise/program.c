/* SPDX-License-Identifier: MIT
 *
 * Slots and who comes next in them.
 */
#include "supervise/program.h"

#include "base/entry.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/status.h"
#include "supervise/backoff.h"
#include "supervise/internal.h"
#include "supervise/terminal.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define JOBS_NAMED_MAX 10

/* So many short lives in a row are no accident: the next start is 1.6 s away, and the one after that twice as far. */
#define CRASH_LOOP_LIVES 5

struct slot {
	struct program *program;
	char name[WORKER_NAME_MAX]; /* "mail.1" */
	unsigned generation;
	struct worker *worker;    /* whose first process lives, or NULL */
	struct worker *undecided; /* exited with 0: whether that was a failure is known when it is drained */
	struct backoff backoff;
	struct event restart; /* due, or waiting for its time */
	bool greeted;         /* the worker has said HELLO */
	bool done;            /* nothing is started in it any more */
};

struct program {
	const struct workshop *shop;
	struct worker_list workers, gone;
	bool ever_started, stopping, quiet;
	int last_status;
	unsigned n_running, n_greeted, n_left;
	uint64_t n_deaths, n_lost, n_outlived, n_vanishing;
	unsigned n_slots;
	struct slot slots[];
};

static const struct worker_ops slot_ops;

/* ---- a slot */

static void slot_finish(struct slot *s)
{
	event_del(&s->restart);
	s->done = true;
}

static void slot_restart_after(struct slot *s, usec_t wait_usec)
{
	struct timeval tv = usec_to_timeval(wait_usec);
	char wait[FORMAT_DURATION_MAX];

	if (wait_usec == 0) {
		event_active(&s->restart, EV_TIMEOUT, 0);
		return;
	}
	log_info("%s: restarting in %s", s->name, format_duration(wait, wait_usec));
	if (event_add(&s->restart, &tv) < 0)
		event_active(&s->restart, EV_TIMEOUT, 0);
}

/* Before the next start. */
static void slot_wait(struct slot *s, usec_t wait_usec)
{
	char wait[FORMAT_DURATION_MAX];
	struct log_entry e;

	slot_restart_after(s, wait_usec);
	if (s->backoff.failures != CRASH_LOOP_LIVES)
		return;
	log_entry_begin(&e, LOG_WARNING, LOG_ID_CRASH_LOOP);
	log_entry_field(&e, "CHARGEHAND_WORKER", "%s", s->name);
	log_entry_end(
		&e, "%s does not stay up: %d short lives in a row; it is started again in %s, then less and less often",
		s->name, CRASH_LOOP_LIVES, format_duration(wait, wait_usec));
}

/* 0, -errno; positive: the exit status for a command that cannot be run. */
static int slot_start(struct slot *s)
{
	struct program *p = s->program;
	struct start_failure failure;
	struct worker *w;
	int r;

	r = worker_start(p->shop, s->name, ++s->generation, &slot_ops, s, &w, &failure);
	if (r == 0) {
		p->ever_started = true;
		s->worker = w;
		p->n_running++;
		p->n_left++;
		TAILQ_INSERT_TAIL(&p->workers, w, entry);
		if (p->quiet)
			worker_set_quiet(w, true);
		return 0;
	}
	if (failure.kind == START_FAILED_EXEC) {
		log_error_errno(r, "Cannot run %s: %m", p->shop->config->command[0]);
		return p->ever_started ? r : r == -ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
	}
	log_error_errno(r, "%s: cannot be started for want of %s: %m", s->name, failure.what);
	if (p->ever_started)
		return r;
	if (failure.kind == START_FAILED_CGROUP)
		return STATUS_CONFIG;
	if (r == -EPERM || r == -ENOSYS) {
		log_error("It would be no different the next time: a filter of system calls forbids something that "
			  "chargehand cannot do without, pidfd_open(2) perhaps, or the kernel is older than 5.4");
		return STATUS_OS_ERROR;
	}
	return r;
}

static void slot_on_restart(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct slot *s = userdata;

	if (s->done || s->worker)
		return;
	if (slot_start(s) < 0)
		slot_wait(s, backoff_fail(&s->backoff));
}

static void slot_end_by_itself(struct slot *s, const struct worker *w)
{
	s->program->last_status = exit_info_to_status(worker_exit(w));
	slot_finish(s);
}

static void slot_restart(struct slot *s, const struct worker *w)
{
	usec_t healthy_usec = s->program->shop->config->healthy_usec;

	slot_wait(s, backoff_next(&s->backoff, worker_lived_usec(w), healthy_usec));
}

static void slot_decide(struct slot *s, const struct worker *w)
{
	const struct exit_info *exit = worker_exit(w);

	if (s->done)
		return;
	if (worker_was_asked_to_end(w)) {
		s->program->last_status = 0;
		slot_finish(s);
		return;
	}
	switch (s->program->shop->config->restart) {
	case RESTART_ALWAYS:
		slot_restart(s, w);
		return;
	case RESTART_ON_FAILURE:
		if (exit->code != CLD_EXITED || exit->status != 0)
			slot_restart(s, w);
		else
			s->undecided = (struct worker *)w;
		return;
	default:
		slot_end_by_itself(s, w);
	}
}

static void slot_on_greeted(void *owner, struct worker *w)
{
	struct slot *s = owner;

	if (s->worker != w || s->greeted)
		return;
	s->greeted = true;
	s->program->n_greeted++;
}

static void slot_count_end(struct slot *s, const struct worker *w)
{
	struct program *p = s->program;

	if (s->worker == w) {
		s->worker = NULL;
		p->n_running--;
		p->n_greeted -= s->greeted;
		s->greeted = false;
	}
	if (!worker_was_asked_to_end(w) && exit_info_to_status(worker_exit(w)) != 0)
		p->n_deaths++;
}

static void slot_on_ended(void *owner, struct worker *w)
{
	struct slot *s = owner;
	const struct workshop *shop = s->program->shop;

	slot_count_end(s, w);
	if (shop->terminal)
		terminal_take_back();
	if (s->program->stopping) {
		slot_finish(s);
	} else if (shop->terminal && terminal_end_was_meant(worker_exit(w))) {
		if (!s->done)
			slot_end_by_itself(s, w);
	} else {
		slot_decide(s, w);
	}
}

static void slot_on_drained(void *owner, struct worker *w)
{
	struct slot *s = owner;

	s->program->n_lost += worker_n_lost(w);
	if (s->undecided != w)
		return;
	s->undecided = NULL;
	if (s->done)
		return;
	if (worker_n_lost(w) > 0)
		slot_restart(s, w);
	else
		slot_end_by_itself(s, w);
}

static void slot_on_gone(void *owner, struct worker *w)
{
	struct program *p = ((struct slot *)owner)->program;

	TAILQ_REMOVE(&p->workers, w, entry);
	TAILQ_INSERT_TAIL(&p->gone, w, entry);
	p->n_left--;
}

static void slot_on_vanishing(void *owner)
{
	struct slot *s = owner;

	s->program->n_vanishing++;
}

static void slot_on_outlived(void *owner, uint64_t n)
{
	struct slot *s = owner;

	program_count_outlived(s->program, n);
}

static const struct worker_ops slot_ops = {
	.on_greeted = slot_on_greeted,
	.on_ended = slot_on_ended,
	.on_outlived = slot_on_outlived,
	.on_vanishing = slot_on_vanishing,
	.on_drained = slot_on_drained,
	.on_gone = slot_on_gone,
};

/* ---- the program */

int program_new(const struct workshop *shop, struct program **ret)
{
	unsigned n = shop->config->instances;
	struct program *p = calloc(1, sizeof(*p) + n * sizeof(p->slots[0]));

	if (!p)
		return -ENOMEM;
	p->shop = shop;
	p->n_slots = n;
	TAILQ_INIT(&p->workers);
	TAILQ_INIT(&p->gone);
	for (unsigned i = 0; i < n; i++) {
		struct slot *s = &p->slots[i];
		s->program = p;
		(void)snprintf(s->name, sizeof(s->name), "%s.%u", shop->config->name, i + 1);
		(void)event_assign(&s->restart, shop->base, -1, 0, slot_on_restart, s);
	}
	*ret = p;
	return 0;
}

struct program *program_free(struct program *p)
{
	struct worker *w;

	if (!p)
		return NULL;
	for (unsigned i = 0; i < p->n_slots; i++)
		event_del(&p->slots[i].restart);
	while ((w = TAILQ_FIRST(&p->workers))) {
		TAILQ_REMOVE(&p->workers, w, entry);
		worker_free(w);
	}
	program_bury(p);
	free(p);
	return NULL;
}

void program_bury(struct program *p)
{
	struct worker *w;

	while ((w = TAILQ_FIRST(&p->gone))) {
		TAILQ_REMOVE(&p->gone, w, entry);
		worker_free(w);
	}
}

int program_start(struct program *p)
{
	for (unsigned i = 0; i < p->n_slots; i++) {
		struct slot *s = &p->slots[i];
		int r = slot_start(s);
		if (r > 0)
			return r;
		if (r < 0)
			slot_wait(s, backoff_fail(&s->backoff));
	}
	return 0;
}

void program_stop(struct program *p)
{
	struct worker *w;

	p->stopping = true;
	for (unsigned i = 0; i < p->n_slots; i++)
		slot_finish(&p->slots[i]);
	TAILQ_FOREACH (w, &p->workers, entry)
		worker_stop(w);
}

void program_hurry(struct program *p)
{
	struct worker *w;

	TAILQ_FOREACH (w, &p->workers, entry)
		worker_hurry(w);
}

void program_set_quiet(struct program *p, bool quiet)
{
	struct worker *w;

	p->quiet = quiet;
	TAILQ_FOREACH (w, &p->workers, entry)
		worker_set_quiet(w, quiet);
}

void program_forward_signal(struct program *p, int signal, pid_t sender)
{
	struct worker *w;

	TAILQ_FOREACH (w, &p->workers, entry)
		worker_forward_signal(w, signal, sender);
}

void program_count_outlived(struct program *p, uint64_t n)
{
	p->n_outlived += n;
}

bool program_has_ending(const struct program *p)
{
	const struct worker *w;

	TAILQ_FOREACH (w, &p->workers, entry)
		if (worker_is_ending(w))
			return true;
	return false;
}

static struct worker *program_find_child(struct program *p, pid_t pid)
{
	struct worker *w;

	TAILQ_FOREACH (w, &p->workers, entry)
		if (worker_pid(w) == pid && w->pidfd >= 0)
			return w;
	return NULL;
}

void program_reap(struct program *p)
{
	struct worker *w;
	bool any = false;
	pid_t pid;

	while (reap_next(&pid) == 0) {
		w = program_find_child(p, pid);
		if (w)
			worker_check_end(w);
		else
			reap_orphan(pid);
		any = any || !w;
	}
	TAILQ_FOREACH (w, &p->workers, entry) {
		if (any)
			worker_look(w);
		if (p->shop->terminal && !worker_has_ended(w))
			terminal_follow_stop(worker_pid(w));
	}
}

static bool program_is_done(const struct program *p)
{
	for (unsigned i = 0; i < p->n_slots; i++)
		if (!p->slots[i].done)
			return false;
	return true;
}

bool program_is_finished(const struct program *p)
{
	return TAILQ_EMPTY(&p->workers) && TAILQ_EMPTY(&p->gone) && program_is_done(p);
}

bool program_is_settling(const struct program *p)
{
	const struct worker *w;

	if (!program_is_done(p))
		return false; /* asked once a turn, and mostly it is not */
	TAILQ_FOREACH (w, &p->workers, entry)
		if (worker_get_state(w) < WORKER_SETTLING)
			return false;
	return true;
}

int program_exit_status(const struct program *p)
{
	return p->last_status;
}

void program_tell(const struct program *p, struct news *news)
{
	news->n_slots = p->n_slots;
	news->n_running = p->n_running;
	news->n_greeted = p->n_greeted;
	news->n_left = p->n_left;
	news->n_deaths = p->n_deaths;
	news->n_lost = p->n_lost;
	news->n_outlived = p->n_outlived;
	news->n_vanishing = p->n_vanishing;
	news->quiet = p->quiet;
}

usec_t program_forget_holds(struct program *p, usec_t now)
{
	usec_t again_usec = USEC_NEVER;
	struct worker *w;

	TAILQ_FOREACH (w, &p->workers, entry) {
		usec_t due_usec = worker_forget_holds(w, now);
		again_usec = MIN(again_usec, due_usec);
	}
	return again_usec;
}

void program_report_answered(struct program *p, const struct holder *holder, struct hold *hold, enum report_kind kind,
			     enum report_outcome outcome)
{
	struct worker *w;

	if (outcome == REPORT_HALF_DONE)
		p->n_vanishing++;
	TAILQ_FOREACH (w, &p->workers, entry) {
		if (worker_holder(w) != holder)
			continue;
		if (kind == REPORT_WORKER_ACK || kind == REPORT_WORKER_FAIL)
			worker_report_answered(w, hold, outcome);
		if (holder->n_holds == 0)
			worker_look(w);
		return;
	}
}

void program_log_left(const struct program *p)
{
	const struct worker *w;
	char jid[JID_SHOW_MAX];
	size_t n_named = 0, n = 0;
	const struct hold *h;

	TAILQ_FOREACH (w, &p->workers, entry) {
		LIST_FOREACH (h, &worker_holder(w)->holds, in_holder) {
			if (n++ >= JOBS_NAMED_MAX)
				continue;
			n_named++;
			log_error("%s: job %s (%s) is left %s", worker_name(w), jid_show(jid, h->jid, h->jid_bytes),
				  h->jobtype, hold_state_to_string(h->state));
		}
	}
	if (n > n_named)
		log_error("... and %zu more jobs", n - n_named);
}
