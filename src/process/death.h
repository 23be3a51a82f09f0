/* SPDX-License-Identifier: MIT
 *
 * The death certificate: why a worker's jobs are FAILed, in the words that the Faktory web page will show. Pure: takes
 * evidence, gives text.
 */
#ifndef CHARGEHAND_PROCESS_DEATH_H
#define CHARGEHAND_PROCESS_DEATH_H

#include "base/clock.h"
#include "base/macro.h"
#include "faktory/fail.h"
#include "process/reap.h"
#include <stdbool.h>
#include <stdint.h>

/* errtype on the wire, label in logs and metrics */
enum death_cause {
	DEATH_WORKER_OUT_OF_MEMORY,
	DEATH_HOST_OUT_OF_MEMORY,
	DEATH_WORKER_SIGNALED,
	DEATH_WORKER_EXITED,
	DEATH_WORKER_HUNG,
	DEATH_WORKER_STOPPED,
	DEATH_JOB_STRANDED,
	DEATH_SUPERVISOR_DIED,
	_DEATH_CAUSE_MAX,
};
const char *death_cause_to_errtype(enum death_cause cause);

enum death_stop {
	DEATH_STOP_NONE,   /* nobody asked */
	DEATH_STOP_BEFORE, /* a stop was asked for; it ended by itself within the grace */
	DEATH_STOP_GRACE,  /* killed at the end of the grace */
};

struct death_evidence {
	const char *worker; /* "mail.1" */
	struct exit_info exit;
	usec_t started_usec, ended_usec;
	enum death_stop stop;
	bool hung;
	bool killed_by_us; /* the tree was killed by chargehand after the first process had ended */
	/* The counters of the leaf, risen since they were last accounted for. Where the worker has none (shared), those
	 * of the group that it is in together with chargehand, whose own limit is then one of those around. */
	bool have_memory_events;
	bool shared;
	uint64_t oom_kill_rise, oom_rise;
	uint64_t n_killed_before; /* of its processes, or of those in the shared group, while it lived on */
	bool oom_group;           /* the kernel kills all of it or nothing: it counts more kills than processes then */
	/* Outside of it: the nearest group around whose limit was hit, borrowed; NULL: none was. "/" is the root of
	 * chargehand's own cgroup namespace, which is a container's; "" the shared one, whatever its name. */
	const char *limit_group;
	uint64_t limit_group_bytes;
	bool sees_machine;   /* there is no group around that was not looked at */
	bool oomd;           /* systemd-oomd(8) says that it was its doing */
	pid_t signal_sender; /* sent the signal to chargehand, which passed it on; 0: it did not */
	uint64_t memory_peak_bytes, memory_max_bytes; /* of the leaf; 0 and UINT64_MAX: unknown, none */
	usec_t stop_grace_usec;
};

enum death_cause death_classify(const struct death_evidence *e);

/* "SIGSEGV" for 11, "signal 44" for real-time ones. */
const char *death_signal_name(int signal, char buffer[16]);

/* "mail.1 (pid 4711) was killed by SIGSEGV (core dumped) 3h 12m after its start": the part that all its jobs share,
 * also for the log. Returns the length as snprintf(3) does. */
int death_format(const struct death_evidence *e, char *buffer, size_t buffer_bytes);

/* "; memory peak 812 MiB of 1 GiB", or the size of its largest process where the kernel does not tell the peak; and
 * what else the kernel killed. May be empty. */
int death_format_memory(const struct death_evidence *e, char *buffer, size_t buffer_bytes);

/* The whole message for one job: both of these + "; it held 3 jobs, this one for 12.3 s". At most FAIL_MESSAGE_MAX
 * bytes. */
int death_format_job(const struct death_evidence *e, size_t n_held, usec_t held_usec, char *buffer,
		     size_t buffer_bytes);

#endif
