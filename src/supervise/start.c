/* SPDX-License-Identifier: MIT
 *
 * Everything that a worker needs before its first instruction, in the order in which it must be there: its leaf, its
 * listener, its environment with the listener's port, its standard error; then the process itself. And the way back.
 */
#include "supervise/internal.h"

#include "base/entry.h"
#include "base/log.h"
#include "config/environment.h"
#include "link/stream.h"
#include "process/procstat.h"
#include "process/spawn.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>

/* A worker that has not said HELLO by now takes its jobs elsewhere (faktory-clients, rule 27), or hangs. */
#define WORKER_HELLO_USEC (30 * USEC_PER_SEC)

/* Names of leaves that are in use already: by what another chargehand left. */
#define LEAF_NAME_TRIES 100

static void worker_on_timer(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	worker_handle(userdata, WORKER_EVENT_TIMEOUT);
}

static void worker_on_pidfd(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	worker_check_end(userdata);
}

static void worker_on_family(void *userdata)
{
	worker_look(userdata);
}

/* Unique on this machine for as long as it runs, so that it tells whose orphan a process is (hazards 22). */
static void worker_make_mark(struct worker *w)
{
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = clock_now_usec() ^ (uint64_t)getpid() << 48;
	(void)snprintf(w->mark, sizeof(w->mark), "%s-%016" PRIx64, w->name, random);
}

static bool worker_may_be_victim(void *userdata)
{
	return worker_is_ending(userdata);
}

/* The main process has outlived it, and so its jobs have, or the library has FAILed them (faktory-clients, rule 19). */
static void worker_on_outlived(void *userdata, uint64_t n)
{
	const struct worker *w = userdata;
	struct log_entry e;

	/* Nobody has outlived what died with it; its certificate has the number. */
	if (w->state > WORKER_LINGERING)
		return;
	log_entry_begin(&e, LOG_WARNING, LOG_ID_OUT_OF_MEMORY);
	log_entry_field(&e, "CHARGEHAND_WORKER", "%s", w->name);
	log_entry_end(&e,
		      "%s: the kernel has killed %" PRIu64 " of its processes for lack of memory; it goes on without",
		      w->name, n);
	w->ops->on_outlived(w->owner, n);
}

static const struct tally_ops worker_tally_ops = {
	.may_be_first = worker_may_be_victim,
	.on_outlived = worker_on_outlived,
};

static int worker_make_leaf(struct worker *w, unsigned generation, const char **ret_what)
{
	const struct config *c = w->shop->config;
	const struct cgroup_limits limits = {
		.memory_max = c->memory_max_bytes,
		.memory_high = c->memory_high_bytes,
		.swap_max = c->swap_max_bytes,
		.pids_max = c->pids_max,
		.cpu_percent = c->cpu_percent,
		.oom_group = c->oom_group,
	};
	char name[WORKER_NAME_MAX + 32];
	int r = -EEXIST;

	for (unsigned i = 0; r == -EEXIST && i < LEAF_NAME_TRIES; i++) {
		(void)snprintf(name, sizeof(name), i ? "%s-%u.%u" : "%s-%u", w->name, generation, i);
		r = cgroup_leaf_new(w->shop->subtree->fd, name, &limits, &w->family.leaf, ret_what);
	}
	/* Where there is no memory controller there are no events of it. */
	if (r == 0)
		(void)tally_open(&w->tally, w->shop->base, w->family.leaf->dir_fd, "memory.events", &worker_tally_ops,
				 w);
	return r;
}

static int worker_make_stderr(struct worker *w, int *ret_write_fd)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK); /* this end's open file alone */
	r = pump_open(&w->pump, w->shop->base, fds[0], w->shop->outlet);
	if (r < 0) {
		close_fd(fds[0]);
		close_fd(fds[1]);
		return r;
	}
	*ret_write_fd = fds[1];
	return 0;
}

static int worker_spawn(struct worker *w, struct start_failure *failure)
{
	const struct workshop *shop = w->shop;
	_cleanup_close_ int stderr_fd = -EBADF;
	_cleanup_free_ char **envp = NULL;
	struct spawned spawned;
	bool exec_failed;
	int r;

	failure->what = "an environment";
	r = environment_for_worker(shop->start->environ, shop->config, listener_port(w->listener), w->mark, &envp);
	if (r < 0)
		return r;
	failure->what = "a pipe for its standard error";
	r = worker_make_stderr(w, &stderr_fd);
	if (r < 0)
		return r;

	const struct spawn_args args = {
		.argv = shop->config->command,
		.envp = envp,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = stderr_fd,
		.cgroup_fd = w->family.leaf ? w->family.leaf->dir_fd : -1,
		.foreground = shop->terminal,
		.nofile = &shop->start->nofile,
		.oom_score_adj = shop->start->oom_score_adj,
		.slice_nsec = shop->start->slice_nsec,
	};
	stream_send_batch(); /* a clone of a large process takes long */
	failure->what = "a process";
	w->evidence.started_usec = clock_now_usec();
	r = process_spawn(&args, &spawned, &exec_failed);
	if (r < 0) {
		if (exec_failed)
			failure->kind = START_FAILED_EXEC;
		return r;
	}
	w->pidfd = spawned.pidfd;
	w->family.pid = w->family.tree.pgid = spawned.pid;
	tree_announce(&w->family.tree);
	if (event_assign(&w->pidfd_event, shop->base, w->pidfd, EV_READ | EV_PERSIST, worker_on_pidfd, w) < 0 ||
	    event_priority_set(&w->pidfd_event, 0) < 0 || event_add(&w->pidfd_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

/* Known to the journal before its first job is, so that the next chargehand finds what is left of it. */
static int worker_record(struct worker *w)
{
	const char *leaf = w->family.leaf ? w->family.leaf->name : "";
	int r;

	if (!w->shop->journal)
		return 0;
	r = journal_add_worker(w->shop->journal, w->name, w->mark, leaf, &w->record);
	if (r == 0)
		listener_holder(w->listener)->sink_data = w->record;
	return r;
}

static void worker_record_pid(struct worker *w)
{
	struct proc_stat stat;

	if (w->record && proc_stat_read(w->family.pid, &stat) == 0)
		journal_set_worker_pid(w->shop->journal, w->record, w->family.pid, stat.start_ticks);
}

static int worker_prepare(struct worker *w, unsigned generation, struct start_failure *failure)
{
	int r;

	if (w->shop->subtree->fd >= 0) {
		failure->what = "a cgroup";
		r = worker_make_leaf(w, generation, &failure->what);
		if (r < 0) {
			failure->kind = START_FAILED_CGROUP;
			return r;
		}
	}
	failure->what = "a listening socket";
	r = listener_new(w->shop->gateway, w->name, w, &w->listener);
	if (r < 0)
		return r;
	failure->what = "memory";
	r = worker_record(w);
	if (r < 0)
		return r;
	r = worker_spawn(w, failure);
	if (r == 0)
		worker_record_pid(w);
	return r;
}

int worker_start(const struct workshop *shop, const char *name, unsigned generation, const struct worker_ops *ops,
		 void *owner, struct worker **ret, struct start_failure *ret_failure)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r;

	*ret_failure = (struct start_failure){.kind = START_FAILED_RESOURCES, .what = "memory"};
	if (!w)
		return -ENOMEM;
	*w = (struct worker){
		.shop = shop,
		.ops = ops,
		.owner = owner,
		.name = name,
		.state = WORKER_STARTING,
		.pidfd = -EBADF,
		.pump.fd = -EBADF,
		.evidence =
			{
				.worker = name,
				.memory_max_bytes = CGROUP_UNLIMITED,
				.stop_grace_usec = shop->config->stop_grace_usec,
				.oom_group = shop->config->oom_group,
			},
	};
	tally_init(&w->tally);
	worker_make_mark(w);
	family_init(&w->family, shop->base, w->mark, worker_on_family, w);
	members_init(&w->members, shop->base, worker_on_family, w);
	(void)event_assign(&w->timer, shop->base, -1, 0, worker_on_timer, w);
	worker_init_look(w);

	r = worker_prepare(w, generation, ret_failure);
	if (r < 0) {
		worker_free(w);
		return r;
	}
	worker_arm(w, WORKER_HELLO_USEC);
	log_notice("%s: started (pid %d), listening on 127.0.0.1:%u", w->name, w->family.pid,
		   listener_port(w->listener));
	*ret = w;
	return 0;
}

/* What is not settled is the next chargehand's, and so are processes that would not end. */
static void worker_leave_jobs(struct worker *w)
{
	struct holder *holder = listener_holder(w->listener);

	while (!LIST_EMPTY(&holder->holds))
		ledger_leave(LIST_FIRST(&holder->holds));
	if (w->record && (w->state == WORKER_GONE || w->family.pid == 0))
		journal_remove_worker(w->shop->journal, w->record);
	w->record = NULL;
}

struct worker *worker_free(struct worker *w)
{
	struct cgroup_leaf *leaf = NULL;
	int r;

	if (!w)
		return NULL;
	event_del(&w->timer);
	event_del(&w->look);
	if (w->pidfd >= 0 && !w->ended) {
		event_del(&w->pidfd_event);
		family_kill(&w->family);
	}
	close_fd(w->pidfd);
	pump_close(&w->pump);
	members_done(&w->members);
	if (w->listener) {
		worker_leave_jobs(w);
		listener_free(w->listener);
	}
	tally_close(&w->tally);
	r = family_done(&w->family, &leaf);
	if (r < 0)
		remnant_add(w->shop->remnants, w->shop->base, leaf, r);
	undertaker_done(w);
	free(w);
	return NULL;
}
