/* SPDX-License-Identifier: MIT
 *
 * What a death is told to have had to do with memory, by counters in plain files: of a worker that has no leaf, in the
 * unit of groups.h.
 */
#include "supervise/memory.h"

#include "groups.h"
#include "loop.h"
#include <signal.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static char slice[128];
static struct event_base *base;
static struct subtree subtree;
static struct memory *memory;
static struct tally no_leaf;
static uint64_t n_outlived;

static bool nobody_is_ending(_unused_ void *userdata)
{
	return false;
}

static void on_outlived(_unused_ void *userdata, uint64_t n)
{
	n_outlived += n;
}

static const struct tally_ops ops = {.may_be_first = nobody_is_ending, .on_outlived = on_outlived};

static void begin(void)
{
	set_up();
	(void)snprintf(slice, sizeof(slice), "%s/system.slice", top);
	base = event_base_new();
	cr_assert_not_null(base);
	subtree = (struct subtree){.kind = SUBTREE_NONE, .fd = -EBADF};
	cr_assert(eq(int, surroundings_open(top, unit, NULL, &subtree.around), 0));
	cr_assert(eq(int, memory_new(base, &subtree, &ops, NULL, &memory), 0));
	tally_init(&no_leaf);
}

static void end(void)
{
	memory = memory_free(memory);
	surroundings_close(&subtree.around);
	event_base_free(base);
	tear_down();
}

TestSuite(memory, .init = begin, .fini = end, .timeout = 60);

/* Of a kill -9, so many seconds after the start; with its report on the way. */
static struct death_evidence die(unsigned at_sec)
{
	struct death_evidence e = {
		.exit = {.pid = 4711, .code = CLD_KILLED, .status = SIGKILL},
		.ended_usec = at_sec * USEC_PER_SEC,
	};

	memory_gather(memory, NULL, &no_leaf, &e);
	memory_catch_up(memory, &no_leaf);
	return e;
}

Test(memory, the_group_that_it_shares_tells)
{
	struct death_evidence e = die(10);

	cr_expect(e.shared && e.have_memory_events && e.sees_machine);
	cr_expect(eq(u64, e.oom_kill_rise, 0));
	cr_expect(eq(int, death_classify(&e), DEATH_WORKER_SIGNALED));

	put(unit, "memory.events.local", "max 3\noom 2\noom_kill 5\n");
	e = die(20);
	cr_expect(eq(u64, e.oom_kill_rise, 1));
	cr_assert_not_null(e.limit_group);
	cr_expect(eq(str, (char *)e.limit_group, "/system.slice/mail.service"));
	e = die(30);
	cr_expect(eq(u64, e.oom_kill_rise, 0), "it is accounted for");
}

/* cgroup v1 has no news of it, so that each death is the occasion to look. */
Test(memory, a_kill_that_was_outlived_is_told_after_a_death)
{
	struct death_evidence e = {
		.exit = {.pid = 4711, .code = CLD_EXITED, .status = 1},
		.ended_usec = 10 * USEC_PER_SEC,
	};

	put(unit, "memory.events.local", "max 3\noom 2\noom_kill 5\n");
	memory_gather(memory, NULL, &no_leaf, &e);
	cr_expect(eq(u64, n_outlived, 0));
	memory_catch_up(memory, &no_leaf);
	LOOP_UNTIL(base, n_outlived == 1);
}

Test(memory, a_limit_that_somebody_else_has_died_of_is_no_cause_later)
{
	struct death_evidence e;

	/* Its slice was short of memory, and it was killed by somebody else meanwhile ... */
	put(slice, "memory.events.local", "max 3\noom 1\noom_kill 0\n");
	e = die(10);
	cr_expect(eq(int, death_classify(&e), DEATH_WORKER_SIGNALED));
	/* ... and much later the whole machine. */
	put(unit, "memory.events.local", "max 3\noom 1\noom_kill 5\n");
	e = die(20);
	cr_expect(eq(u64, e.oom_kill_rise, 1));
	cr_expect(eq(ptr, (void *)e.limit_group, NULL), "%s", e.limit_group);
}

Test(memory, systemd_oomd_has_marked_a_group_around)
{
	if (setxattr(slice, "user.oomd_kill", "1", 1, 0) < 0) {
		int error = errno;

		end(); /* a test that is skipped is not torn down */
		cr_skip_test("%s takes no attributes: %s", slice, strerror(error));
	}
	struct death_evidence e = die(10);

	cr_expect(e.oomd);
	cr_expect(eq(int, death_classify(&e), DEATH_HOST_OUT_OF_MEMORY));
	e = die(10);
	cr_expect(e.oomd, "another victim of the same");
	e = die(20);
	cr_expect(not(e.oomd), "it is an old story");
}
