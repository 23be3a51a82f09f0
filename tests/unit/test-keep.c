/* SPDX-License-Identifier: MIT
 *
 * A ledger and its journal: each step of a hold's life is in the next start's journal, and a hold comes back with the
 * time it has left; and what the ledger tells a sink, in which order.
 */
#include "journal.h"

#include "ledger/keep.h"

static struct ledger *ledger;
static struct holder holder;
static struct journal *journal;

static void setup(void)
{
	struct journal_worker *w;

	open_dir();
	journal = open_journal();
	cr_assert(eq(int, ledger_new(&ledger), 0));
	holder_init(&holder, "mail.1");
	cr_assert(eq(int, journal_add_worker(journal, "mail.1", "mark", "", &w), 0));
	holder.sink_data = w;
	keep_attach(ledger, journal);
}

static void teardown(void)
{
	ledger = ledger_free(ledger);
	journal = journal_close(journal);
	close_dir();
}

TestSuite(keep, .init = setup, .fini = teardown, .timeout = 60);

static struct job job_of(const char *jid)
{
	struct job job = {.jid_bytes = (uint16_t)strlen(jid),
			  .reserve_for = 600,
			  .have_retry = true,
			  .retry = 3,
			  .retry_count = 1};

	memcpy(job.jid, jid, job.jid_bytes);
	strcpy(job.queue, "default");
	strcpy(job.jobtype, "Mail");
	return job;
}

static struct hold *add(const char *jid)
{
	struct job job = job_of(jid);
	struct hold *h = NULL;

	cr_assert(eq(int, ledger_add(ledger, &holder, &job, 100 * USEC_PER_SEC, 101 * USEC_PER_SEC, &h), 0));
	cr_assert(not(eq(ptr, h->sink_data, NULL)));
	return h;
}

/* This chargehand dies, the next one starts. */
static void restart(void)
{
	ledger = ledger_free(ledger);
	holder_done(&holder);
	journal_close(journal);
	journal = open_journal();
	cr_assert(eq(int, ledger_new(&ledger), 0));
	holder_init(&holder, "mail.1");
	keep_attach(ledger, journal);
}

Test(keep, a_hold_is_found_until_it_is_settled)
{
	struct hold *h = add("jid-to-be-settled");

	(void)add("jid-to-be-left");
	ledger_settle(h);
	restart();
	cr_expect(eq(sz, n_found(journal), 1));
	const struct journal_found *f = find_found(journal, "jid-to-be-left");
	cr_assert(not(eq(ptr, (void *)f, NULL)));
	cr_expect(text_is(f->hold.queue, "default"));
	cr_expect(text_is(f->hold.jobtype, "Mail"));
	cr_expect(eq(u64, f->hold.lease_sec, 600));
	cr_expect(eq(u64, f->hold.fetched_usec, 100 * USEC_PER_SEC));
	cr_expect(eq(u64, f->hold.received_usec, 101 * USEC_PER_SEC));
	cr_expect(f->hold.have_retry);
	cr_expect(eq(i64, f->hold.retry, 3));
	cr_assert(not(eq(ptr, f->worker, NULL)));
	cr_expect(eq(str, f->worker->name, (char *)"mail.1"));
}

Test(keep, a_hold_that_is_left_is_found)
{
	ledger_leave(add("jid-to-be-left"));
	cr_expect(eq(sz, ledger_n_holds(ledger), 0));
	restart();
	cr_expect(eq(sz, n_found(journal), 1));
}

Test(keep, what_a_long_reply_brought_is_found)
{
	struct job job = job_of("jid-of-a-long-job");
	struct hold *h;

	job.reserve_for = 1;
	job.queue[0] = '\0';
	cr_assert(eq(int, ledger_add(ledger, &holder, &job, 1, 2, &h), 0));
	job.reserve_for = 3000;
	strcpy(job.queue, "late");
	ledger_update(h, &job);
	restart();
	const struct journal_found *f = find_found(journal, "jid-of-a-long-job");
	cr_assert(not(eq(ptr, (void *)f, NULL)));
	cr_expect(eq(u64, f->hold.lease_sec, 3000));
	cr_expect(text_is(f->hold.queue, "late"));
}

Test(keep, reports_are_found_as_what_they_were)
{
	static const char line[] = "FAIL {\"jid\":\"jid-failed\"}\r\n", pair[] = "ACK …\r\nPUSHB …\r\n";
	struct hold *h = add("jid-acked");

	ledger_set_state(h, HOLD_SETTLING);
	ledger_report(h, REPORT_WORKER_ACK, NULL, 0, 0);
	h = add("jid-failed");
	ledger_set_state(h, HOLD_SETTLING);
	ledger_report(h, REPORT_WORKER_FAIL, line, strlen(line), 0);
	ledger_mark_sent(h, 123);
	ledger_mark_sent(h, 456);
	cr_expect(eq(u64, h->fail_first_usec, 123));
	h = add("jid-refused");
	ledger_set_state(h, HOLD_SETTLING);
	ledger_report(h, REPORT_WORKER_ACK, NULL, 0, 0);
	ledger_set_state(h, HOLD_HELD);
	h = add("jid-returned");
	ledger_set_state(h, HOLD_STRAY);
	ledger_set_state(h, HOLD_RETURNING);
	ledger_report(h, REPORT_RETURN, pair, strlen(pair), 7);
	ledger_mark_ack_answered(h);
	ledger_barrier(ledger);

	restart();
	const struct journal_found *f = find_found(journal, "jid-acked");
	cr_expect(f->have_report);
	cr_expect(eq(int, f->report.kind, REPORT_WORKER_ACK));
	f = find_found(journal, "jid-failed");
	cr_expect(eq(int, f->report.kind, REPORT_WORKER_FAIL));
	cr_expect(text_is(f->report.line, line));
	cr_expect(f->have_sent);
	cr_expect(eq(u64, f->sent.boot_usec, 123));
	f = find_found(journal, "jid-refused");
	cr_expect(eq(int, f->have_report, false), "it is held, not acknowledged");
	f = find_found(journal, "jid-returned");
	cr_expect(eq(int, f->report.kind, REPORT_RETURN));
	cr_expect(eq(u32, f->report.ack_bytes, 7));
	cr_expect(text_is(f->report.line, pair));
	cr_expect(f->ack_answered);
}

Test(keep, a_hold_comes_back_with_what_is_left_of_its_time)
{
	struct hold *h = add("jid-that-comes-back");

	ledger_mark_sent(h, 150 * USEC_PER_SEC);
	restart();
	const struct journal_found *f = find_found(journal, "jid-that-comes-back");
	cr_assert(eq(int, keep_restore(ledger, &holder, f, 160 * USEC_PER_SEC, 0, &h), 0));
	cr_expect(eq(u64, hold_lease_end_min_usec(h), 700 * USEC_PER_SEC));
	cr_expect(eq(u64, hold_lease_end_max_usec(h), 701 * USEC_PER_SEC));
	cr_expect(eq(u64, hold_fail_until_usec(h), 160 * USEC_PER_SEC), "10 s after it was first sent");
	cr_expect(eq(str, h->queue, (char *)"default"));
	cr_expect(eq(ptr, ledger_find(ledger, &holder, "jid-that-comes-back", 19), h));
	cr_expect(eq(sz, status_of(journal).n_holds, 1), "it is not written twice");
	ledger_settle(h);
	restart();
	cr_expect(eq(sz, n_found(journal), 0));
}

Test(keep, a_hold_of_another_boot_comes_back_by_the_wall_clock)
{
	const usec_t now = 30 * USEC_PER_SEC;
	struct journal_found f;
	struct hold *h = add("jid-of-another-boot");

	ledger_mark_sent(h, 150 * USEC_PER_SEC);
	restart();
	f = *find_found(journal, "jid-of-another-boot");
	f.hold.other_boot = f.sent.other_boot = true;
	/* Received 100 s ago, fetched a second before: 600 - 101 - a minute are left, on a machine that is up for 30 s.
	 */
	cr_assert(eq(int, keep_restore(ledger, &holder, &f, now, f.hold.wall_usec + 100 * USEC_PER_SEC, &h), 0));
	cr_expect(eq(u64, hold_lease_end_min_usec(h), now + 439 * USEC_PER_SEC));
	cr_expect(lt(u64, hold_fail_until_usec(h), now), "a FAIL that was sent in another boot is not sent again");
	ledger_leave(h);
	f.have_sent = false;
	cr_assert(eq(int, keep_restore(ledger, &holder, &f, now, f.hold.wall_usec + 100 * USEC_PER_SEC, &h), 0));
	cr_expect(eq(u64, hold_fail_until_usec(h), now + 434 * USEC_PER_SEC));
	ledger_leave(h);
	cr_assert(eq(int, keep_restore(ledger, &holder, &f, now, f.hold.wall_usec - 1, &h), 0));
	cr_expect(lt(u64, hold_fail_until_usec(h), now), "nobody knows how late it is");
}

/* ---- what a sink is told, and when */

static char told[64];
static bool refuse;

static void tell(const char *what)
{
	strncat(told, what, sizeof(told) - strlen(told) - 1);
}

static int sink_add(void *userdata, struct hold *h, const struct holder *of)
{
	cr_expect(eq(ptr, ledger_find(userdata, of, h->jid, h->jid_bytes), NULL),
		  "it is told before anybody can see it");
	cr_expect(eq(str, h->queue, (char *)"default"));
	if (refuse)
		return -ENOMEM;
	h->sink_data = told;
	tell("a");
	return 0;
}

static void sink_update(_unused_ void *userdata, _unused_ struct hold *h)
{
	tell("u");
}

static void sink_report(_unused_ void *userdata, _unused_ struct hold *h, _unused_ enum report_kind kind,
			const char *line, size_t line_bytes, _unused_ size_t ack_bytes)
{
	cr_expect(eq(int, !line, line_bytes == 0));
	tell("r");
}

static void sink_refused(_unused_ void *userdata, _unused_ struct hold *h)
{
	tell("x");
}

static void sink_sent(_unused_ void *userdata, struct hold *h, usec_t now)
{
	cr_expect(eq(u64, h->fail_first_usec, now));
	tell("s");
}

static void sink_answered(_unused_ void *userdata, _unused_ struct hold *h)
{
	tell("w");
}

static void sink_gone(_unused_ void *userdata, struct hold *h)
{
	cr_expect(not(eq(ptr, h->holder, NULL)));
	tell("g");
}

static void sink_barrier(_unused_ void *userdata)
{
	tell("b");
}

static const struct ledger_sink sink = {sink_add,  sink_update,   sink_report, sink_refused,
					sink_sent, sink_answered, sink_gone,   sink_barrier};

Test(keep, a_sink_is_told_once_of_each_step)
{
	struct job job = job_of("jid-of-a-story");
	struct hold *h = NULL;

	ledger_set_sink(ledger, &sink, ledger);
	h = add("jid-of-a-story");
	ledger_update(h, &job);
	ledger_set_state(h, HOLD_SETTLING);
	ledger_report(h, REPORT_WORKER_FAIL, NULL, 100, 0);
	ledger_set_state(h, HOLD_HELD);
	ledger_set_state(h, HOLD_STRAY);
	ledger_set_state(h, HOLD_RETURNING);
	ledger_mark_ack_answered(h);
	ledger_set_state(h, HOLD_FAILING);
	ledger_mark_sent(h, 5);
	ledger_mark_sent(h, 6);
	ledger_barrier(ledger);
	ledger_settle(h);
	(void)add("jid-of-a-story");
	cr_expect(eq(str, told, (char *)"aurxwsbga"));
	ledger = ledger_free(ledger); /* leaves */
	cr_expect(eq(str, told, (char *)"aurxwsbga"));
	cr_assert(eq(int, ledger_new(&ledger), 0));

	ledger_set_sink(ledger, &sink, ledger);
	refuse = true;
	cr_expect(eq(int, ledger_add(ledger, &holder, &job, 1, 2, &h), -ENOMEM));
	cr_expect(eq(sz, ledger_n_holds(ledger), 0));
	cr_expect(eq(ptr, ledger_find_newest(ledger, "jid-of-a-story", 14), NULL));

	/* Without one, and for holds from before it, nobody is told. */
	ledger_set_sink(ledger, NULL, NULL);
	cr_assert(eq(int, ledger_add(ledger, &holder, &job, 1, 2, &h), 0));
	ledger_set_sink(ledger, &sink, ledger);
	ledger_mark_sent(h, 5);
	ledger_report(h, REPORT_FAIL, "x", 1, 0);
	ledger_settle(h);
	cr_expect(eq(str, told, (char *)"aurxwsbga"));
}
