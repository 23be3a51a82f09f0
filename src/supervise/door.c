/* SPDX-License-Identifier: MIT
 *
 * What the gateway asks of a worker and tells it.
 */
#include "supervise/internal.h"

#include "base/log.h"
#include "process/procstat.h"
#include "supervise/outcome.h"

#include <string.h>

/* A process closes its sockets first and can be waited for a moment later; between the two it says so in its flags. */
static bool door_worker_is_dying(const struct worker *w)
{
	struct exit_info exit;
	struct proc_stat stat;

	return w->ended || reap_peek(w->pidfd, &exit) == 0 ||
	       (proc_stat_read(w->family.pid, &stat) == 0 && proc_stat_is_exiting(&stat));
}

static bool door_on_peer(void *worker, const struct sockaddr_in *peer, const struct sockaddr_in *local)
{
	struct worker *w = worker;
	struct peer_info info = {.orphaned = true};
	int r;

	if (!w->shop->peers)
		return true;
	r = peer_lookup_tcp(w->shop->peers, peer, local, &info);
	if (r < 0 && r != -ENOENT) {
		if (log_enabled(LOG_DEBUG))
			(void)log_line_errno(LOG_DEBUG, r, "%s: cannot tell who connects: %m", w->name);
		return true;
	}
	/* Dead before it was accepted: what it said still counts if its worker dies, too (P2). */
	if (r == -ENOENT || info.orphaned)
		return door_worker_is_dying(w);
	return family_has_peer(&w->family, &info);
}

static void door_on_hello(void *worker, const struct hello *hello)
{
	struct worker *w = worker;

	if (w->ended && worker_state_is_dead(w->state))
		return;
	if (hello->pid == w->family.pid)
		w->main_said_hello = true;
	else
		(void)members_add(&w->members, &w->family, hello->pid);
	worker_handle(w, WORKER_EVENT_HELLO);
}

static void door_on_terminate(void *worker)
{
	struct worker *w = worker;

	if (!w->terminated)
		log_notice("%s: the server tells it to terminate", w->name);
	w->terminated = true;
}

static void door_on_report(void *worker, struct hold *hold, enum report_kind kind, char *line, size_t line_bytes)
{
	struct worker *w = worker;
	int r = reporter_send(w->shop->reporter, hold, kind, line, line_bytes, 0);
	if (r < 0)
		log_error_errno(r, "%s: a report is lost: %m", w->name);
}

static void door_on_stray(void *worker, struct hold *hold)
{
	undertaker_take_stray(worker, hold);
}

static void door_on_refused(void *worker, struct hold *hold)
{
	struct worker *w = worker;
	if (w->state == WORKER_SETTLING)
		undertaker_fail_one(w, hold);
}

static void door_on_half_done(void *worker, struct hold *hold, const char *server_text)
{
	struct worker *w = worker;

	outcome_log(w->name, hold, REPORT_WORKER_FAIL, REPORT_HALF_DONE, server_text);
	w->ops->on_vanishing(w->owner);
}

static bool door_has_room(void *worker)
{
	const struct worker *w = worker;
	return reporter_has_room(w->shop->reporter);
}

static bool door_on_silent(void *worker, const char *wid)
{
	struct worker *w = worker;
	return reporter_beat(w->shop->reporter, wid);
}

/* Changes come with every command; while all goes well nobody waits for one. */
static void door_on_change(void *worker)
{
	struct worker *w = worker;

	if (w->state > WORKER_RUNNING || w->members.n_dead > 0)
		worker_look(w);
}

static void door_on_eof(void *worker)
{
	struct worker *w = worker;

	w->may_have_ended = true;
	worker_look(w);
}

const struct gateway_ops worker_gateway_ops = {
	.on_peer = door_on_peer,
	.on_hello = door_on_hello,
	.on_terminate = door_on_terminate,
	.on_report = door_on_report,
	.on_stray = door_on_stray,
	.on_refused = door_on_refused,
	.on_half_done = door_on_half_done,
	.has_room = door_has_room,
	.on_silent = door_on_silent,
	.on_change = door_on_change,
	.on_eof = door_on_eof,
};
