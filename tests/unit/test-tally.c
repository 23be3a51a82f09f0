/* SPDX-License-Identifier: MIT
 *
 * Kills that are counted, and who they are accounted to. The file is a plain one, of which there are no notifications:
 * those need a memory controller (tests/vm/test_memory.py).
 */
#include "supervise/tally.h"

#include "loop.h"
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(tally, .timeout = 60);

static struct {
	char path[64];
	struct event_base *base;
	struct tally tally;
	bool first; /* a first process is on its way out */
	unsigned n_asked;
	uint64_t outlived;
} t;

static bool may_be_first(_unused_ void *userdata)
{
	t.n_asked++;
	return t.first;
}

static void on_outlived(_unused_ void *userdata, uint64_t n)
{
	t.outlived += n;
}

static void count(unsigned oom, unsigned kills)
{
	FILE *f = fopen(t.path, "w");

	cr_assert_not_null(f);
	(void)fprintf(f, "low 0\nhigh 0\nmax 7\noom %u\noom_kill %u\noom_group_kill 0\n", oom, kills);
	(void)fclose(f);
}

static void set_up(void)
{
	static const struct tally_ops ops = {.may_be_first = may_be_first, .on_outlived = on_outlived};

	(void)snprintf(t.path, sizeof(t.path), "/tmp/test-tally.XXXXXX");
	(void)close(mkstemp(t.path));
	t.base = event_base_new();
	count(2, 5);
	cr_assert(eq(int, tally_open(&t.tally, t.base, AT_FDCWD, t.path, &ops, NULL), 0));
}

static void tear_down(void)
{
	tally_close(&t.tally);
	event_base_free(t.base);
	(void)unlink(t.path);
}

static void expect_rise(uint64_t want_kills, uint64_t want_oom)
{
	uint64_t kills, oom;

	tally_read(&t.tally, &kills, &oom);
	cr_expect(eq(u64, kills, want_kills));
	cr_expect(eq(u64, oom, want_oom));
}

Test(tally, what_was_there_at_the_start_counts_for_nobody, .init = set_up, .fini = tear_down)
{
	expect_rise(0, 0);
	tally_look(&t.tally);
	LOOP_UNTIL(t.base, !event_pending(&t.tally.timer, EV_TIMEOUT, NULL));
	cr_expect(eq(u64, t.outlived, 0));
}

/* Hazards 37: else a kill -9 of hours later would be blamed on memory. */
Test(tally, a_kill_that_nobody_died_of_is_told_once_and_convicts_nobody, .init = set_up, .fini = tear_down)
{
	count(3, 6);
	expect_rise(1, 1);
	tally_look(&t.tally);
	LOOP_UNTIL(t.base, t.outlived == 1);
	expect_rise(0, 0);
	cr_expect(eq(u64, t.tally.n_outlived, 1));
	tally_look(&t.tally);
	LOOP_UNTIL(t.base, !event_pending(&t.tally.timer, EV_TIMEOUT, NULL));
	cr_expect(eq(u64, t.outlived, 1));
}

/* The kernel counts first and kills afterwards. */
Test(tally, a_kill_is_not_judged_when_it_is_first_seen, .init = set_up, .fini = tear_down)
{
	usec_t begin = clock_now_usec();

	count(3, 6);
	tally_look(&t.tally);
	LOOP_UNTIL(t.base, t.n_asked > 0);
	/* Two waits of 100 ms, less what the loop's coarse clock lags behind. */
	cr_expect(ge(u64, usec_sub(clock_now_usec(), begin), 150 * USEC_PER_MSEC));
}

Test(tally, a_victim_on_its_way_out_is_waited_for, .init = set_up, .fini = tear_down)
{
	t.first = true;
	count(3, 6);
	tally_look(&t.tally);
	LOOP_UNTIL(t.base, t.n_asked > 0);
	cr_expect(eq(u64, t.outlived, 0));
	expect_rise(1, 1);
	tally_account(&t.tally);
	expect_rise(0, 1);
	t.first = false;
	LOOP_UNTIL(t.base, !event_pending(&t.tally.timer, EV_TIMEOUT, NULL));
	cr_expect(eq(u64, t.outlived, 0));
}

Test(tally, of_two_kills_one_is_a_death_and_the_other_is_outlived, .init = set_up, .fini = tear_down)
{
	count(3, 7);
	tally_account(&t.tally);
	LOOP_UNTIL(t.base, t.outlived > 0);
	cr_expect(eq(u64, t.outlived, 1));
	expect_rise(0, 0);
}

Test(tally, a_death_that_explains_them_all, .init = set_up, .fini = tear_down)
{
	count(4, 8);
	cr_expect(eq(u64, tally_account_outlived(&t.tally), 3));
	cr_expect(eq(u64, t.outlived, 3));
	cr_expect(eq(u64, tally_account_outlived(&t.tally), 0));
	expect_rise(0, 0);
}

Test(tally, a_file_that_is_not_there)
{
	struct tally none;
	uint64_t kills = 1, oom = 1;

	tally_init(&none);
	cr_expect(eq(int, tally_open(&none, NULL, AT_FDCWD, "/nonexistent/memory.events", NULL, NULL), -ENOENT));
	cr_expect(not(tally_is_open(&none)));
	tally_read(&none, &kills, &oom);
	cr_expect(eq(u64, kills + oom, 0));
	tally_look(&none);
	tally_close(&none);
}
