/* SPDX-License-Identifier: MIT
 *
 * Cause and wording. A thousand jobs can die with one worker, and each has a message of its own: so text is put
 * together by memcpy(3), and nothing but a signal without a name goes through printf(3).
 */
#include "process/death.h"

#include "base/parse.h"

#include <assert.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static const char *const errtypes[] = {
	[DEATH_WORKER_OUT_OF_MEMORY] = "WorkerOutOfMemory",
	[DEATH_HOST_OUT_OF_MEMORY] = "HostOutOfMemory",
	[DEATH_WORKER_SIGNALED] = "WorkerSignaled",
	[DEATH_WORKER_EXITED] = "WorkerExited",
	[DEATH_WORKER_HUNG] = "WorkerHung",
	[DEATH_WORKER_STOPPED] = "WorkerStopped",
	[DEATH_JOB_STRANDED] = "JobStranded",
	[DEATH_SUPERVISOR_DIED] = "SupervisorDied",
};
static_assert(ARRAY_SIZE(errtypes) == _DEATH_CAUSE_MAX, "each cause has its errtype");

/* sigabbrev_np(3) is of one C library only. */
static const char *const signal_names[] = {
	[SIGHUP] = "SIGHUP",       [SIGINT] = "SIGINT",   [SIGQUIT] = "SIGQUIT", [SIGILL] = "SIGILL",
	[SIGTRAP] = "SIGTRAP",     [SIGABRT] = "SIGABRT", [SIGBUS] = "SIGBUS",   [SIGFPE] = "SIGFPE",
	[SIGKILL] = "SIGKILL",     [SIGUSR1] = "SIGUSR1", [SIGSEGV] = "SIGSEGV", [SIGUSR2] = "SIGUSR2",
	[SIGPIPE] = "SIGPIPE",     [SIGALRM] = "SIGALRM", [SIGTERM] = "SIGTERM", [SIGCHLD] = "SIGCHLD",
	[SIGCONT] = "SIGCONT",     [SIGSTOP] = "SIGSTOP", [SIGTSTP] = "SIGTSTP", [SIGTTIN] = "SIGTTIN",
	[SIGTTOU] = "SIGTTOU",     [SIGURG] = "SIGURG",   [SIGXCPU] = "SIGXCPU", [SIGXFSZ] = "SIGXFSZ",
	[SIGVTALRM] = "SIGVTALRM", [SIGPROF] = "SIGPROF", [SIGPWR] = "SIGPWR",   [SIGWINCH] = "SIGWINCH",
	[SIGIO] = "SIGIO",         [SIGSYS] = "SIGSYS",
#ifdef SIGSTKFLT
	[SIGSTKFLT] = "SIGSTKFLT",
#endif
};

/* A string that is cut where its room ends, and counts what it would have been. */
struct text {
	char *buffer;
	size_t room; /* with the terminator */
	size_t bytes;
};

const char *death_cause_to_errtype(enum death_cause cause)
{
	return (unsigned)cause < _DEATH_CAUSE_MAX ? errtypes[cause] : "?";
}

static bool was_signaled(const struct exit_info *e)
{
	return e->code == CLD_KILLED || e->code == CLD_DUMPED;
}

static bool was_killed(const struct exit_info *e)
{
	return was_signaled(e) && e->status == SIGKILL;
}

/* oom_kill alone may tell of a child that the worker outlived; oom alone may rise without any kill. The leaf's own oom
 * rises when it was the leaf's limit that was hit. systemd-oomd kills by itself, so that the kernel counts nothing. */
static bool by_kernel(const struct death_evidence *e)
{
	return was_killed(&e->exit) && e->have_memory_events && e->oom_kill_rise > 0;
}

static bool ran_out_of_memory(const struct death_evidence *e)
{
	return by_kernel(e) || (was_killed(&e->exit) && e->oomd);
}

enum death_cause death_classify(const struct death_evidence *e)
{
	if (e->hung)
		return DEATH_WORKER_HUNG;
	/* The SIGKILL at the end of the grace is chargehand's own, whatever the counters say of earlier children. */
	if (e->stop == DEATH_STOP_GRACE)
		return DEATH_WORKER_STOPPED;
	if (ran_out_of_memory(e))
		return by_kernel(e) && e->oom_rise > 0 && !e->shared ? DEATH_WORKER_OUT_OF_MEMORY
								     : DEATH_HOST_OUT_OF_MEMORY;
	if (e->stop == DEATH_STOP_BEFORE)
		return DEATH_WORKER_STOPPED;
	return was_signaled(&e->exit) ? DEATH_WORKER_SIGNALED : DEATH_WORKER_EXITED;
}

const char *death_signal_name(int signal, char buffer[16])
{
	if (signal > 0 && (size_t)signal < ARRAY_SIZE(signal_names) && signal_names[signal])
		return signal_names[signal];
	(void)snprintf(buffer, 16, "signal %d", signal);
	return buffer;
}

static struct text text_begin(char *buffer, size_t room)
{
	if (room > 0)
		buffer[0] = 0;
	return (struct text){.buffer = buffer, .room = room};
}

static void put(struct text *t, const char *s)
{
	size_t bytes = strlen(s);
	if (t->bytes + 1 < t->room) {
		size_t n = MIN(bytes, t->room - 1 - t->bytes);
		memcpy(t->buffer + t->bytes, s, n);
		t->buffer[t->bytes + n] = 0;
	}
	t->bytes += bytes;
}

static void put_number(struct text *t, uint64_t n)
{
	char digits[21];

	*format_u64(digits, n) = 0;
	put(t, digits);
}

static void put_duration(struct text *t, usec_t usec)
{
	char buffer[FORMAT_DURATION_MAX];
	put(t, format_duration(buffer, usec));
}

static void put_size(struct text *t, uint64_t bytes)
{
	char buffer[FORMAT_SIZE_MAX];
	put(t, format_size(buffer, bytes));
}

/* "was killed by SIGSEGV (core dumped)", "exited with status 3" */
static void put_exit(struct text *t, const struct exit_info *e)
{
	char buffer[16];

	if (!was_signaled(e)) {
		put(t, "exited with status ");
		put_number(t, (uint64_t)(e->status & 0xff));
		return;
	}
	put(t, "was killed by ");
	put(t, death_signal_name(e->status, buffer));
	if (e->code == CLD_DUMPED)
		put(t, " (core dumped)");
}

/* Of a group around: the name, and the limit that was hit. */
static void put_group(struct text *t, const struct death_evidence *e)
{
	if (strcmp(e->limit_group, "/") == 0) {
		put(t, "its container");
	} else if (!*e->limit_group) {
		put(t, "the cgroup that it shares with chargehand");
	} else {
		put(t, "the cgroup ");
		put(t, e->limit_group);
		put(t, e->shared ? ", which it shares with chargehand" : ", around its own");
	}
	if (e->limit_group_bytes != UINT64_MAX) {
		put(t, " (");
		put_size(t, e->limit_group_bytes);
		put(t, ")");
	}
}

static void put_shortage(struct text *t, const struct death_evidence *e)
{
	put(t, "was killed by ");
	if (!by_kernel(e)) {
		put(t, "systemd-oomd for a shortage of memory outside of it,");
		return;
	}
	put(t, "the kernel ");
	if (e->limit_group) {
		put(t, "at the memory limit of ");
		put_group(t, e);
	} else if (e->sees_machine) {
		put(t, "for lack of memory of the whole machine");
	} else {
		put(t, "for lack of memory outside of what can be seen from here");
	}
	put(t, e->shared ? "," : ", below its own limit,");
}

static void put_sender(struct text *t, const struct death_evidence *e)
{
	if (e->signal_sender <= 0 || !was_signaled(&e->exit))
		return;
	put(t, ", which process ");
	put_number(t, (uint64_t)e->signal_sender);
	put(t, " had sent to chargehand,");
}

static void put_stop(struct text *t, const struct death_evidence *e)
{
	if (e->stop == DEATH_STOP_GRACE) {
		put(t, "was told to stop and killed at the end of its grace of ");
		put_duration(t, e->stop_grace_usec);
		put(t, ",");
		return;
	}
	put(t, "was told to stop and ");
	put_exit(t, &e->exit);
	put(t, " before the end of its grace,");
}

static void put_death(struct text *t, const struct death_evidence *e)
{
	put(t, e->worker);
	put(t, " (pid ");
	put_number(t, (uint64_t)MAX(e->exit.pid, 0));
	put(t, ") ");
	switch (death_classify(e)) {
	case DEATH_WORKER_OUT_OF_MEMORY:
		put(t, e->oom_group ? "was killed by the kernel, as a whole, at its own memory limit"
				    : "was killed by the kernel at its own memory limit");
		break;
	case DEATH_HOST_OUT_OF_MEMORY:
		put_shortage(t, e);
		break;
	case DEATH_WORKER_HUNG:
		put(t, "hung and was ended by chargehand");
		break;
	case DEATH_WORKER_STOPPED:
		put_stop(t, e);
		break;
	default:
		put_exit(t, &e->exit);
		put_sender(t, e);
		break;
	}
	put(t, " ");
	put_duration(t, usec_sub(e->ended_usec, e->started_usec));
	put(t, " after its start");
	if (e->killed_by_us)
		put(t, "; chargehand killed the processes it left behind");
}

int death_format(const struct death_evidence *e, char *buffer, size_t buffer_bytes)
{
	struct text t = text_begin(buffer, buffer_bytes);

	put_death(&t, e);
	return (int)MIN(t.bytes, (size_t)INT_MAX);
}

/* Those that the kernel killed beside the first process. */
static uint64_t count_others(const struct death_evidence *e)
{
	uint64_t n = e->n_killed_before;

	if (e->have_memory_events && !(by_kernel(e) && e->oom_group))
		n += e->oom_kill_rise - by_kernel(e);
	return n;
}

static void put_memory(struct text *t, const struct death_evidence *e)
{
	uint64_t n = count_others(e);

	if (e->memory_peak_bytes > 0) {
		put(t, "; memory peak ");
		put_size(t, e->memory_peak_bytes);
	} else if (e->exit.max_rss_bytes > 0) {
		put(t, "; its largest process had ");
		put_size(t, e->exit.max_rss_bytes);
	}
	if (e->memory_max_bytes != UINT64_MAX && (e->memory_peak_bytes > 0 || e->exit.max_rss_bytes > 0)) {
		put(t, " of ");
		put_size(t, e->memory_max_bytes);
	}
	if (n == 0)
		return;
	put(t, "; the kernel killed ");
	put_number(t, n);
	put(t, n == 1 ? " other process" : " other processes");
	put(t, e->shared ? " of that cgroup for lack of memory" : " of it for lack of memory");
}

int death_format_memory(const struct death_evidence *e, char *buffer, size_t buffer_bytes)
{
	struct text t = text_begin(buffer, buffer_bytes);

	put_memory(&t, e);
	return (int)MIN(t.bytes, (size_t)INT_MAX);
}

int death_format_job(const struct death_evidence *e, size_t n_held, usec_t held_usec, char *buffer, size_t buffer_bytes)
{
	struct text t = text_begin(buffer, MIN(buffer_bytes, (size_t)FAIL_MESSAGE_MAX + 1));

	put_death(&t, e);
	put_memory(&t, e);
	put(&t, "; it held ");
	put_number(&t, n_held);
	put(&t, n_held == 1 ? " job, this one for " : " jobs, this one for ");
	put_duration(&t, held_usec);
	return (int)MIN(t.bytes, (size_t)INT_MAX);
}
