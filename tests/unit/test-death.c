/* SPDX-License-Identifier: MIT
 *
 * Evidence in, cause and words out.
 */
#include "process/death.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

TestSuite(death);

#define EXITED(n)                                                                                                      \
	{                                                                                                              \
		.pid = 4711, .code = CLD_EXITED, .status = (n)                                                         \
	}
#define KILLED(n)                                                                                                      \
	{                                                                                                              \
		.pid = 4711, .code = CLD_KILLED, .status = (n)                                                         \
	}
#define DUMPED(n)                                                                                                      \
	{                                                                                                              \
		.pid = 4711, .code = CLD_DUMPED, .status = (n)                                                         \
	}
#define LIFE .worker = "mail.1", .started_usec = 5 * USEC_PER_SEC, .ended_usec = 11525 * USEC_PER_SEC
#define MEMORY(kills, own) .have_memory_events = true, .oom_kill_rise = (kills), .oom_rise = (own)
#define GROUP(name, bytes) .limit_group = (name), .limit_group_bytes = (bytes)
#define AFTER " 3h 12m after its start"

struct row {
	enum death_cause cause;
	const char *text; /* of death_format() */
	struct death_evidence e;
};

static const struct row rows[] = {
	{DEATH_WORKER_SIGNALED,
	 "mail.1 (pid 4711) was killed by SIGSEGV (core dumped) 3h 12m after its start",
	 {LIFE, .exit = DUMPED(SIGSEGV)}},
	{DEATH_WORKER_SIGNALED,
	 "mail.1 (pid 4711) was killed by SIGKILL 3h 12m after its start",
	 {LIFE, .exit = KILLED(SIGKILL)}},
	{DEATH_WORKER_SIGNALED,
	 "mail.1 (pid 4711) was killed by signal 44 3h 12m after its start",
	 {LIFE, .exit = KILLED(44)}},
	{DEATH_WORKER_EXITED,
	 "mail.1 (pid 4711) exited with status 0 3h 12m after its start",
	 {LIFE, .exit = EXITED(0)}},
	{DEATH_WORKER_EXITED,
	 "mail.1 (pid 4711) exited with status 255 3h 12m after its start; chargehand killed the processes it left "
	 "behind",
	 {LIFE, .exit = EXITED(255), .killed_by_us = true}},
	/* Both counters and SIGKILL: its own limit. */
	{DEATH_WORKER_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel at its own memory limit 3h 12m after its start",
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(1, 1)}},
	{DEATH_WORKER_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel, as a whole, at its own memory limit" AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(5, 1), .oom_group = true}},
	/* Not its own limit's doing. */
	{DEATH_HOST_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel for lack of memory of the whole machine, below its own "
	 "limit," AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(2, 0), .sees_machine = true}},
	{DEATH_HOST_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel for lack of memory outside of what can be seen from here, below "
	 "its "
	 "own limit," AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(1, 0)}},
	{DEATH_HOST_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel at the memory limit of the cgroup /system.slice/mail.service, "
	 "around "
	 "its own (200 MiB), below its own limit," AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(1, 0), GROUP("/system.slice/mail.service", (uint64_t)200 << 20),
	  .sees_machine = true}},
	{DEATH_HOST_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by systemd-oomd for a shortage of memory outside of it," AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(0, 0), .oomd = true, .sees_machine = true}},
	{DEATH_HOST_OUT_OF_MEMORY, NULL, {LIFE, .exit = KILLED(SIGKILL), .oomd = true}},
	/* systemd-oomd sends SIGKILL and nothing else. */
	{DEATH_WORKER_SIGNALED, NULL, {LIFE, .exit = KILLED(SIGTERM), MEMORY(0, 0), .oomd = true}},
	/* No leaf: the shared group counts, and its limit is not the worker's own. */
	{DEATH_HOST_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel at the memory limit of its container (64 MiB)," AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(1, 1), GROUP("/", (uint64_t)64 << 20), .shared = true}},
	{DEATH_HOST_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel at the memory limit of the cgroup that it shares with chargehand "
	 "(64 MiB)," AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(1, 0), GROUP("", (uint64_t)64 << 20), .shared = true}},
	{DEATH_HOST_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel at the memory limit of the cgroup /a/b, which it shares with "
	 "chargehand," AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(1, 0), GROUP("/a/b", UINT64_MAX), .shared = true}},
	{DEATH_HOST_OUT_OF_MEMORY,
	 "mail.1 (pid 4711) was killed by the kernel for lack of memory outside of what can be seen from here," AFTER,
	 {LIFE, .exit = KILLED(SIGKILL), MEMORY(1, 1), .shared = true}},
	{DEATH_WORKER_SIGNALED,
	 "mail.1 (pid 4711) was killed by SIGUSR1, which process 99 had sent to chargehand," AFTER,
	 {LIFE, .exit = KILLED(SIGUSR1), .signal_sender = 99}},
	/* A child was killed, and the worker gave up by itself. */
	{DEATH_WORKER_EXITED, NULL, {LIFE, .exit = EXITED(1), MEMORY(1, 1)}},
	{DEATH_WORKER_SIGNALED, NULL, {LIFE, .exit = KILLED(SIGTERM), MEMORY(1, 1)}},
	/* oom alone rises without any kill (memory pressure that passed), and an administrator's kill -9 counts none.
	 */
	{DEATH_WORKER_SIGNALED, NULL, {LIFE, .exit = KILLED(SIGKILL), MEMORY(0, 3)}},
	/* Counters that were not read prove nothing. */
	{DEATH_WORKER_SIGNALED, NULL, {LIFE, .exit = KILLED(SIGKILL), .oom_kill_rise = 1, .oom_rise = 1}},
	{DEATH_WORKER_HUNG,
	 "mail.1 (pid 4711) hung and was ended by chargehand 3h 12m after its start",
	 {LIFE, .exit = KILLED(SIGKILL), .hung = true, MEMORY(1, 1)}},
	{DEATH_WORKER_STOPPED,
	 "mail.1 (pid 4711) was told to stop and killed at the end of its grace of 45.0 s, 3h 12m after its start",
	 {LIFE, .exit = KILLED(SIGKILL), .stop = DEATH_STOP_GRACE, .stop_grace_usec = 45 * USEC_PER_SEC, MEMORY(1, 1)}},
	{DEATH_WORKER_STOPPED,
	 "mail.1 (pid 4711) was told to stop and exited with status 0 before the end of its grace, 3h 12m after its "
	 "start",
	 {LIFE, .exit = EXITED(0), .stop = DEATH_STOP_BEFORE}},
	{DEATH_WORKER_STOPPED,
	 "mail.1 (pid 4711) was told to stop and was killed by SIGTERM before the end of its grace, 3h 12m after its "
	 "start",
	 {LIFE, .exit = KILLED(SIGTERM), .stop = DEATH_STOP_BEFORE}},
	{DEATH_WORKER_OUT_OF_MEMORY, NULL, {LIFE, .exit = KILLED(SIGKILL), .stop = DEATH_STOP_BEFORE, MEMORY(1, 1)}},
};

Test(death, causes)
{
	char text[FAIL_MESSAGE_MAX + 1];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		cr_expect(eq(int, death_classify(&row->e), row->cause), "row %zu", i);
		int n = death_format(&row->e, text, sizeof(text));
		cr_expect(eq(int, n, (int)strlen(text)), "row %zu", i);
		if (row->text)
			cr_expect(eq(str, text, (char *)row->text), "row %zu", i);
	}
}

Test(death, errtypes_are_those_of_the_manual)
{
	static const char *const want[] = {"WorkerOutOfMemory", "HostOutOfMemory", "WorkerSignaled", "WorkerExited",
					   "WorkerHung",        "WorkerStopped",   "JobStranded",    "SupervisorDied"};

	cr_assert(eq(sz, ARRAY_SIZE(want), (size_t)_DEATH_CAUSE_MAX));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		cr_expect(eq(str, (char *)death_cause_to_errtype((enum death_cause)i), (char *)want[i]));
}

Test(death, signals_have_their_names)
{
	char buffer[16];

	cr_expect(eq(str, (char *)death_signal_name(SIGBUS, buffer), (char *)"SIGBUS"));
	cr_expect(eq(str, (char *)death_signal_name(SIGSYS, buffer), (char *)"SIGSYS"));
	cr_expect(eq(str, (char *)death_signal_name(0, buffer), (char *)"signal 0"));
	cr_expect(eq(str, (char *)death_signal_name(64, buffer), (char *)"signal 64"));
	cr_expect(eq(str, (char *)death_signal_name(-5, buffer), (char *)"signal -5"));
}

Test(death, a_job_is_told_of_memory_and_of_its_own_time)
{
	struct death_evidence e = {LIFE, .exit = DUMPED(SIGSEGV), .memory_max_bytes = UINT64_MAX};
	char text[FAIL_MESSAGE_MAX + 1];

	death_format_job(&e, 1, 400, text, sizeof(text));
	cr_expect(eq(str, text,
		     (char *)"mail.1 (pid 4711) was killed by SIGSEGV (core dumped) 3h 12m after its start; it held 1 "
			     "job, this one for 0.4 ms"));

	e.memory_peak_bytes = (uint64_t)812 << 20;
	death_format_job(&e, 3, 12300 * USEC_PER_MSEC, text, sizeof(text));
	cr_expect(eq(str, text,
		     (char *)"mail.1 (pid 4711) was killed by SIGSEGV (core dumped) 3h 12m after its start; memory "
			     "peak 812 MiB; it held 3 jobs, this one for 12.3 s"));

	e.memory_max_bytes = (uint64_t)1 << 30;
	int n = death_format_job(&e, 3, 12300 * USEC_PER_MSEC, text, sizeof(text));
	cr_expect(eq(str, text,
		     (char *)"mail.1 (pid 4711) was killed by SIGSEGV (core dumped) 3h 12m after its start; memory "
			     "peak 812 MiB of 1 GiB; it held 3 jobs, this one for 12.3 s"));
	cr_expect(eq(int, n, (int)strlen(text)));
}

static void check_memory(const struct death_evidence *e, const char *want)
{
	char text[FAIL_MESSAGE_MAX + 1];
	int n = death_format_memory(e, text, sizeof(text));

	cr_expect(eq(str, text, (char *)want));
	cr_expect(eq(int, n, (int)strlen(want)));
}

Test(death, what_is_known_of_memory)
{
	struct death_evidence e = {LIFE, .exit = KILLED(SIGKILL), .memory_max_bytes = UINT64_MAX};

	check_memory(&e, "");
	e.exit.max_rss_bytes = (uint64_t)30 << 20;
	check_memory(&e, "; its largest process had 30 MiB");
	e.memory_max_bytes = (uint64_t)64 << 20;
	check_memory(&e, "; its largest process had 30 MiB of 64 MiB");
	e.memory_peak_bytes = (uint64_t)63 << 20;
	check_memory(&e, "; memory peak 63 MiB of 64 MiB");
}

Test(death, who_else_was_killed)
{
	struct death_evidence e = {LIFE, .exit = KILLED(SIGKILL), .memory_max_bytes = UINT64_MAX, MEMORY(1, 1)};

	check_memory(&e, "");
	e.oom_kill_rise = 2;
	check_memory(&e, "; the kernel killed 1 other process of it for lack of memory");
	e.n_killed_before = 3;
	check_memory(&e, "; the kernel killed 4 other processes of it for lack of memory");
	/* Not of a group kill: it counts one more than there are processes. */
	e.n_killed_before = 0;
	e.oom_group = true;
	check_memory(&e, "");
	/* A master that gives up when the kernel takes its child. */
	e = (struct death_evidence){LIFE, .exit = EXITED(1), .memory_max_bytes = UINT64_MAX, MEMORY(1, 1)};
	check_memory(&e, "; the kernel killed 1 other process of it for lack of memory");
	e = (struct death_evidence){LIFE, .exit = KILLED(SIGKILL), .memory_max_bytes = UINT64_MAX, MEMORY(3, 0),
				    .shared = true};
	check_memory(&e, "; the kernel killed 2 other processes of that cgroup for lack of memory");
}

Test(death, text_is_cut_where_its_room_ends_and_never_longer_than_the_server_takes)
{
	struct death_evidence e = {LIFE, .exit = DUMPED(SIGSEGV), .memory_max_bytes = UINT64_MAX};
	char whole[FAIL_MESSAGE_MAX + 1], text[2 * FAIL_MESSAGE_MAX], name[1201];

	int n = death_format_job(&e, 2, USEC_PER_SEC, whole, sizeof(whole));
	for (size_t room = 0; room <= (size_t)n + 1; room++) {
		memset(text, '#', sizeof(text));
		cr_assert(eq(int, death_format_job(&e, 2, USEC_PER_SEC, text, room), n));
		if (room > 0) {
			cr_assert(eq(sz, strlen(text), room - 1));
			cr_assert(eq(int, strncmp(text, whole, room - 1), 0));
		}
		cr_assert(eq(chr, text[room], '#'), "written behind its room of %zu", room);
	}

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	e.worker = name;
	n = death_format_job(&e, 2, USEC_PER_SEC, text, sizeof(text));
	cr_expect(eq(sz, strlen(text), FAIL_MESSAGE_MAX));
	cr_expect(gt(int, n, 1200));
}

Test(death, a_clock_that_stands_wrong_gives_no_age_of_millions_of_years)
{
	struct death_evidence e = {.worker = "a", .exit = EXITED(1), .started_usec = 10, .ended_usec = 5};
	char text[200];

	death_format(&e, text, sizeof(text));
	cr_expect(eq(str, text, (char *)"a (pid 4711) exited with status 1 0.0 ms after its start"));
}
