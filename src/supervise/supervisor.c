/* SPDX-License-Identifier: MIT
 *
 * Puts everything together, runs the loop, and takes everything apart again. Signals of a person and answers of the
 * server end here; what a single worker goes through is worker.c's.
 */
#include "supervise/supervisor.h"

#include "base/log.h"
#include "base/status.h"
#include "config/elsewhere.h"
#include "link/stream.h"
#include "process/tree.h"
#include "supervise/bookkeeper.h"
#include "supervise/estate.h"
#include "supervise/herald.h"
#include "supervise/outcome.h"
#include "supervise/place.h"
#include "supervise/program.h"
#include "supervise/signals.h"
#include "supervise/terminal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* How long a stop waits for answers of a server that is away, and of one that is there but says nothing. */
#define PATIENCE_USEC (10 * USEC_PER_SEC)
#define PATIENCE_ROUNDS 6

/* A worker that has not said HELLO by then keeps nobody else waiting: it may never say it to chargehand. */
#define READY_USEC (30 * USEC_PER_SEC)

/* Holds past their leases are looked for no more often than this, and only while there are any. */
#define FORGET_EVERY_USEC USEC_PER_MINUTE

struct supervisor {
	const struct config *config;
	struct workshop shop;
	struct dialer *dialer;
	struct signals *signals;
	struct program *program;
	struct bookkeeper *bookkeeper;
	struct estate *estate;
	struct remnant_list remnants;
	struct herald *herald; /* NULL: nobody wants to know */
	struct event *patience, *forget;
	unsigned n_patience;
	bool stopping, patience_armed, forget_armed, gave_up;
};

/* ---- the server's answers */

static void supervisor_on_answer(void *userdata, struct holder *holder, struct hold *hold, enum report_kind kind,
				 enum report_outcome outcome, const char *server_text)
{
	struct supervisor *s = userdata;

	outcome_log(holder->name, hold, kind, outcome, server_text);
	program_report_answered(s->program, holder, hold, kind, outcome);
	estate_report_answered(s->estate, holder, hold);
}

/* ---- timers */

static void supervisor_arm(struct event *event, usec_t usec, bool *ret_armed)
{
	struct timeval tv = usec_to_timeval(usec);
	*ret_armed = event_add(event, &tv) == 0;
}

static void supervisor_give_up(struct supervisor *s)
{
	size_t n = ledger_n_holds(s->shop.ledger);

	if (n > 0)
		log_error("Ending without the server's answer to all that was reported; %zu job%s left %s", n,
			  n == 1 ? " is" : "s are",
			  s->shop.journal ? "in the journal, for the next start" : "to the end of their leases");
	else
		log_warning("Ending without the server's answer to a FETCH; a job that it still gives out for it is "
			    "left to "
			    "the end of its lease");
	program_log_left(s->program);
	estate_log_left(s->estate);
	s->gave_up = true;
}

static void supervisor_on_patience(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct supervisor *s = userdata;

	bool there = reporter_is_ready(s->shop.reporter) || reporter_is_silent(s->shop.reporter);

	/* A link without an answer is given up by its own rules; so there are not many rounds to wait. */
	if (there && ++s->n_patience < PATIENCE_ROUNDS)
		supervisor_arm(s->patience, PATIENCE_USEC, &s->patience_armed);
	else
		supervisor_give_up(s);
}

static void supervisor_on_forget(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct supervisor *s = userdata;
	usec_t now = clock_now_usec(), due_usec = program_forget_holds(s->program, now);

	s->forget_armed = false;
	if (due_usec != USEC_NEVER)
		supervisor_arm(s->forget, MAX(usec_sub(due_usec, now), FORGET_EVERY_USEC), &s->forget_armed);
}

/* ---- signals */

static void supervisor_stop(struct supervisor *s, int signal)
{
	const char *name = signal == SIGINT ? "SIGINT" : "SIGTERM";

	if (!s->stopping) {
		log_notice("%s: stopping", name);
		s->stopping = true;
		program_stop(s->program);
	} else if (program_is_settling(s->program) && !reporter_is_ready(s->shop.reporter)) {
		supervisor_give_up(s);
	} else {
		log_notice("%s again: ending all workers now", name);
		program_hurry(s->program);
	}
}

static void supervisor_set_quiet(struct supervisor *s, bool quiet)
{
	if (s->stopping)
		return;
	log_notice(quiet ? "SIGTSTP: quiet, no more jobs are fetched" : "SIGCONT: fetching jobs");
	program_set_quiet(s->program, quiet);
}

static void supervisor_on_signal(void *userdata, int signal, pid_t sender)
{
	struct supervisor *s = userdata;

	switch (signal) {
	case SIGTERM:
	case SIGINT:
		supervisor_stop(s, signal);
		break;
	case SIGTSTP:
		supervisor_set_quiet(s, true);
		break;
	case SIGCONT:
		supervisor_set_quiet(s, false);
		break;
	case SIGCHLD:
		program_reap(s->program);
		break;
	case SIGHUP:
		herald_begin_reload(s->herald);
		log_notice("SIGHUP: there is nothing to be loaded again");
		herald_end_reload(s->herald);
		break;
	default:
		/* As an init would: libraries print their threads, or rotate logs, by such. Not those of a terminal. */
		if (sender != 0) {
			log_info("%s from process %d is passed on to the workers", strsignal(signal), sender);
			program_forward_signal(s->program, signal, sender);
		}
	}
}

static const int signals_wanted[] = {
	SIGTERM, SIGINT, SIGTSTP, SIGCONT, SIGCHLD, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, 0,
};

/* ---- the life of all this */

static int supervisor_open_cgroup(struct supervisor *s)
{
	_cleanup_free_ char *message = NULL;
	int r = place_open(s->config, false, &s->shop.subtree, &message);

	if (r < 0) {
		log_error("%s", message ? message : strerror(-r));
		return r;
	}
	if (s->shop.subtree->n_swept > 0)
		log_notice("%u cgroup%s that an earlier chargehand had left %s removed", s->shop.subtree->n_swept,
			   s->shop.subtree->n_swept == 1 ? "" : "s", s->shop.subtree->n_swept == 1 ? "is" : "are");
	return 0;
}

static int supervisor_new_base(struct supervisor *s)
{
	struct event_config *c = event_config_new();

	if (!c)
		return -ENOMEM;
	/* One thread, and timers that need not be exact to the microsecond. */
	(void)event_config_set_flag(c, EVENT_BASE_FLAG_NOLOCK);
	s->shop.base = event_base_new_with_config(c);
	event_config_free(c);
	/* A death goes before everything else that the same turn brings: see start.c. */
	return s->shop.base && event_base_priority_init(s->shop.base, 2) == 0 ? 0 : -ENOMEM;
}

static int supervisor_new_timers(struct supervisor *s)
{
	s->patience = event_new(s->shop.base, -1, 0, supervisor_on_patience, s);
	s->forget = event_new(s->shop.base, -1, 0, supervisor_on_forget, s);
	return s->patience && s->forget ? 0 : -ENOMEM;
}

static bool supervisor_may_be_victim(void *userdata)
{
	const struct supervisor *s = userdata;

	return s->program && program_has_ending(s->program);
}

static void supervisor_on_outlived(void *userdata, uint64_t n)
{
	struct supervisor *s = userdata;

	log_warning("The kernel has killed %" PRIu64
		    " process%s for lack of memory in the cgroup that chargehand shares "
		    "with its workers; no worker has died of it",
		    n, n == 1 ? "" : "es");
	program_count_outlived(s->program, n);
}

static const struct tally_ops shared_tally_ops = {
	.may_be_first = supervisor_may_be_victim,
	.on_outlived = supervisor_on_outlived,
};

static int supervisor_open(struct supervisor *s)
{
	const struct gateway_settings settings = {
		.sessions_max = GATEWAY_SESSIONS_MAX,
		.keep_body_bytes = s->config->keep_body_bytes,
	};
	struct workshop *shop = &s->shop;
	int r;

	r = supervisor_new_base(s);
	if (r == 0)
		r = supervisor_new_timers(s);
	if (r == 0)
		r = signals_new(shop->base, signals_wanted, supervisor_on_signal, s, &s->signals);
	if (r == 0)
		r = outlet_new(shop->base, STDERR_FILENO, &shop->outlet);
	if (r == 0)
		r = ledger_new(&shop->ledger);
	if (r == 0)
		r = dialer_new(shop->base, &s->config->server, &s->dialer);
	if (r == 0)
		r = reporter_new(s->dialer, shop->ledger, supervisor_on_answer, s, &shop->reporter);
	if (r == 0)
		r = gateway_new(shop->base, shop->ledger, s->dialer, &settings, &worker_gateway_ops, &shop->gateway);
	if (r == 0)
		r = memory_new(shop->base, shop->subtree, &shared_tally_ops, s, &shop->memory);
	if (r == 0)
		r = program_new(shop, &s->program);
	if (r < 0)
		return log_error_errno(r, "Cannot start: %m");
	return 0;
}

/* 0, or the exit status. */
static int supervisor_take_over(struct supervisor *s)
{
	int r = bookkeeper_new(s->shop.base, s->config, s->shop.start->state_dir_fd, &s->bookkeeper);

	if (r < 0)
		return STATUS_CONFIG;
	s->shop.journal = bookkeeper_journal(s->bookkeeper);
	if (!s->shop.journal)
		return 0;
	r = estate_take_over(&s->shop, &s->estate);
	if (r < 0) {
		(void)log_error_errno(r, "Cannot take over what an earlier chargehand has left: %m");
		return STATUS_OS_ERROR;
	}
	return 0;
}

static void supervisor_open_optional(struct supervisor *s)
{
	int r;

	r = tree_become_subreaper();
	if (r < 0)
		(void)log_warning_errno(r, "Orphans of workers cannot be followed: %m");
	(void)tree_is_alive(&(struct tree){.mark = ""}, 0); /* what it opens is open before the first death */
	r = peer_lookup_new(&s->shop.peers);
	if (r < 0)
		(void)log_warning_errno(r, "It cannot be told who connects to a worker's listener: %m");
	r = herald_new(s->shop.base, s->shop.start->environ, READY_USEC, &s->herald);
	if (r < 0)
		(void)log_warning_errno(r, "NOTIFY_SOCKET: the service manager cannot be told how chargehand is: %m");
	s->shop.terminal = s->config->instances == 1 && terminal_is_ours();
}

static void supervisor_log_start(const struct supervisor *s)
{
	_cleanup_free_ char *server = server_url_show(&s->config->server);
	unsigned n = s->config->instances;
	char place[PLACE_TEXT_MAX];
	const char *inside;

	log_notice("%s: %u worker%s; server %s; %s", s->config->name, n, n == 1 ? "" : "s", server ? server : "?",
		   place_show(s->shop.subtree, place));
	inside = elsewhere_find(s->config->command[0]);
	if (inside)
		log_warning("%s: " ELSEWHERE_TEXT "%s", s->config->command[0], inside);
}

static void supervisor_close(struct supervisor *s)
{
	struct workshop *shop = &s->shop;

	/* The reporter first: it has references to holds, which the workers' listeners must not have any more. */
	shop->reporter = reporter_free(shop->reporter);
	s->estate = estate_free(s->estate);
	s->program = program_free(s->program);
	remnant_free_all(&s->remnants);
	shop->gateway = gateway_free(shop->gateway);
	s->dialer = dialer_free(s->dialer);
	shop->ledger = ledger_free(shop->ledger);
	s->bookkeeper = bookkeeper_free(s->bookkeeper);
	shop->peers = peer_lookup_free(shop->peers);
	shop->outlet = outlet_free(shop->outlet);
	s->herald = herald_free(s->herald);
	s->signals = signals_free(s->signals);
	if (s->patience)
		event_free(s->patience);
	if (s->forget)
		event_free(s->forget);
	shop->memory = memory_free(shop->memory);
	shop->subtree = subtree_close(shop->subtree);
	if (shop->base)
		event_base_free(shop->base);
	libevent_global_shutdown();
}

/* ---- the loop */

static void supervisor_tell(struct supervisor *s)
{
	struct news news;

	if (!s->herald)
		return;
	news = (struct news){
		.n_holds = ledger_n_holds(s->shop.ledger),
		.stopping = s->stopping,
		.server_away = !reporter_is_ready(s->shop.reporter),
		.journal_failing = bookkeeper_is_failing(s->bookkeeper),
		.place = s->config->cgroup_mode == CGROUP_AUTO ? subtree_kind_to_place(s->shop.subtree->kind) : NULL,
	};
	program_tell(s->program, &news);
	herald_tell(s->herald, &news);
}

/* What is decided between two turns, when no callback is on the stack. */
static bool supervisor_end_turn(struct supervisor *s)
{
	program_bury(s->program);
	bookkeeper_end_turn(s->bookkeeper);
	supervisor_tell(s);
	if (s->gave_up || (program_is_finished(s->program) && estate_is_settled(s->estate)))
		return false;
	if (!s->patience_armed && program_is_settling(s->program))
		supervisor_arm(s->patience, PATIENCE_USEC, &s->patience_armed);
	if (!s->forget_armed && ledger_n_holds(s->shop.ledger) > 0)
		supervisor_arm(s->forget, LEDGER_FORGET_AFTER_USEC + FORGET_EVERY_USEC, &s->forget_armed);
	return true;
}

static int supervisor_loop(struct supervisor *s)
{
	int status = program_start(s->program);

	if (status != 0)
		return status;
	while (supervisor_end_turn(s)) {
		clock_begin_turn();
		stream_begin_turn();
		if (event_base_loop(s->shop.base, EVLOOP_ONCE) < 0) {
			log_error("The event loop has failed");
			return STATUS_OS_ERROR;
		}
		stream_end_turn();
		clock_end_turn();
	}
	return s->stopping ? 0 : program_exit_status(s->program);
}

int supervisor_run(const struct config *config, const struct supervisor_start *start)
{
	struct supervisor s = {
		.config = config,
		.shop = {.config = config, .start = start, .remnants = &s.remnants},
	};
	int status;

	if (supervisor_open_cgroup(&s) < 0)
		return STATUS_CONFIG;
	if (supervisor_open(&s) < 0) {
		supervisor_close(&s);
		return STATUS_OS_ERROR;
	}
	supervisor_open_optional(&s);
	supervisor_log_start(&s);
	status = supervisor_take_over(&s);
	if (status == 0)
		status = supervisor_loop(&s);
	supervisor_close(&s);
	return status;
}
