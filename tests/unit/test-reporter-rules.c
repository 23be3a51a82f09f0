/* SPDX-License-Identifier: MIT
 *
 * The reporter's rules 1 to 3 (report/reporter.h): until when a report is sent, how often, and over which link.
 */
#include "reporter.h"

/* ---- rule 1: a FAIL is sent until its last moment and never later */

Test(reporter, a_fail_whose_time_is_over_is_not_sent)
{
	server.answer = say_ok;
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(add("jid-000001", UNTIL_USEC + USEC_PER_MSEC));
	send_fail(add("jid-000002", UNTIL_USEC - USEC_PER_SEC));
	send_worker(add("jid-000003", UNTIL_USEC + USEC_PER_MSEC), REPORT_WORKER_FAIL);
	send_worker(add("jid-000004", UNTIL_USEC + USEC_PER_MSEC), REPORT_WORKER_ACK);
	in_call = true;
	reporter_flush(reporter);
	in_call = false;
	LOOP_UNTIL(base, n_told == 4);
	cr_assert_eq(server.n_lines, 2);
	cr_assert(line_is(0, "FAIL", "jid-000002"));
	cr_assert(line_is(1, "ACK", "jid-000004"), "an ACK has no such moment");
	check_told(0, "jid-000001", REPORT_TOO_LATE, "");
	check_told(1, "jid-000003", REPORT_TOO_LATE, "");
	cr_assert_eq(ledger_n_holds(ledger), 0, "left to its lease");
}

Test(reporter, while_the_server_is_away_fails_run_out_of_time)
{
	server_go(&server);
	LOOP_UNTIL(base, !reporter_is_ready(reporter));
	send_fail(add("jid-000001", UNTIL_USEC - 300 * USEC_PER_MSEC));
	send_worker(add("jid-000002", UNTIL_USEC - 300 * USEC_PER_MSEC), REPORT_WORKER_ACK);
	loop_drain(base);
	cr_assert_eq(n_told, 0);
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000001", REPORT_TOO_LATE, "");
	server.answer = say_ok;
	server_come_back(&server);
	LOOP_UNTIL(base, n_told == 2);
	check_told(1, "jid-000002", REPORT_SETTLED, "");
	cr_assert_eq(server.n_lines, 1);
}

Test(reporter, a_fail_is_repeated_for_ten_seconds_from_its_first_sending)
{
	struct hold *old = hold_ref(add("jid-000001", 0)), *young = hold_ref(add("jid-000002", 0));

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(old);
	send_fail(young);
	LOOP_UNTIL(base, server.n_lines == 2);
	/* As if it had been sent first so long ago. */
	cr_assert_gt(old->fail_first_usec, 0);
	old->fail_first_usec -= LEDGER_FAIL_REPEAT_USEC + USEC_PER_MSEC;
	young->fail_first_usec -= LEDGER_FAIL_REPEAT_USEC / 2;
	usec_t first = young->fail_first_usec;

	server.answer = say_ok;
	server_hang_up(&server);
	LOOP_UNTIL(base, n_told == 2);
	check_told(0, "jid-000001", REPORT_TOO_LATE, "");
	check_told(1, "jid-000002", REPORT_SETTLED, "");
	cr_assert_eq(server.n_lines, 3);
	cr_assert(line_is(2, "FAIL", "jid-000002"));
	cr_assert_eq(young->fail_first_usec, first, "a repetition is no first sending");
	hold_unref(old);
	hold_unref(young);
}

Test(reporter, a_silent_link_is_given_up_while_a_fail_can_be_repeated)
{
	struct hold *h = hold_ref(add("jid-000001", 0));

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(h);
	send_worker(add("jid-000002", 0), REPORT_WORKER_ACK);
	LOOP_UNTIL(base, server.n_lines == 2);
	LOOP_UNTIL(base, server.n_resets == 1);
	cr_assert_geq(clock_now_usec(), usec_add(h->fail_first_usec, LINK_HASTY_USEC), "its answer could still come");
	server.answer = say_ok;
	LOOP_UNTIL(base, n_told == 2);
	cr_assert(line_is(2, "FAIL", "jid-000001"));
	cr_assert(line_is(3, "ACK", "jid-000002"));
	check_told(0, "jid-000001", REPORT_SETTLED, "");
	hold_unref(h);
}

Test(reporter, a_link_that_answers_something_is_not_silent)
{
	send_fails(5);
	LOOP_UNTIL(base, server.n_lines == 5);
	usec_t begun = clock_now_usec();
	for (unsigned i = 1; i <= 4; i++) {
		LOOP_UNTIL(base, clock_now_usec() > begun + i * 2 * USEC_PER_SEC);
		server_say(&server, "+OK\r\n");
		LOOP_UNTIL(base, n_told == i);
	}
	cr_assert_eq(server.n_connections, 1, "the last of them has waited for 8 s, and was not silent for 2");
}

Test(reporter, a_silent_link_gets_no_more)
{
	struct hold *later = hold_ref(add("jid-000002", 0));

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(add("jid-000001", 0));
	LOOP_UNTIL(base, server.n_lines == 1);
	usec_t begun = clock_now_usec();
	LOOP_UNTIL(base, clock_now_usec() > begun + USEC_PER_SEC);
	send_fail(later);
	loop_drain(base);
	cr_assert_eq(server.n_lines, 1);
	cr_assert_eq(later->fail_first_usec, 0, "its ten seconds have not begun");

	server_say(&server, "+OK\r\n");
	LOOP_UNTIL(base, server.n_lines == 2);
	cr_assert(line_is(1, "FAIL", "jid-000002"));
	hold_unref(later);
}

Test(reporter, no_more_are_on_their_way_than_can_be_answered_in_time)
{
	char jid[32];

	send_fails(3000);
	LOOP_UNTIL(base, server.n_lines >= 2000);
	loop_drain(base);
	cr_assert_eq(server.n_lines, 2000);

	/* Each answer makes room for one more. */
	server_say(&server, "+OK\r\n+OK\r\n+OK\r\n");
	LOOP_UNTIL(base, server.n_lines == 2003);
	loop_drain(base);
	cr_assert_eq(server.n_lines, 2003);
	server.answer = say_ok;
	for (unsigned i = 0; i < 2000; i++)
		server_say(&server, "+OK\r\n");
	LOOP_UNTIL(base, n_told == 3000);
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(jid, sizeof(jid), "jid-%06u", i);
		cr_assert_str_eq(told[i].jid, jid);
		cr_assert(line_is(i, "FAIL", jid));
	}
}

Test(reporter, of_long_ones_fewer)
{
	char jid[32];

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	for (unsigned i = 0; i < 100; i++) {
		char *line;
		int n;

		snprintf(jid, sizeof(jid), "jid-%06u", i);
		struct hold *h = add(jid, 0);
		n = asprintf(&line, "FAIL {\"jid\":\"%s\",\"message\":\"%0*d\"}\r\n", jid, 50 * 1024, 0);
		cr_assert_gt(n, 0);
		ledger_set_state(h, HOLD_SETTLING);
		give(h, REPORT_WORKER_FAIL, line, (size_t)n, 0);
	}
	LOOP_UNTIL(base, server.n_lines >= 40);
	loop_drain(base);
	cr_assert_lt(server.n_lines, 45);
	server.answer = say_ok;
	for (unsigned i = server.n_lines; i > 0; i--)
		server_say(&server, "+OK\r\n");
	LOOP_UNTIL(base, n_told == 100);
	cr_assert_eq(server.n_lines, 100);
}

/* ---- rule 2: ACKs for as long as it takes, returns as a pair until the ACK is answered */

Test(reporter, an_ack_is_repeated_on_each_new_link)
{
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_worker(add("jid-000001", 0), REPORT_WORKER_ACK);
	for (unsigned i = 1; i <= 3; i++) {
		LOOP_UNTIL(base, server.n_lines == i);
		cr_assert(line_is(i - 1, "ACK", "jid-000001"));
		server_hang_up(&server);
	}
	server.answer = say_ok;
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000001", REPORT_SETTLED, "");
}

Test(reporter, a_return_is_repeated_as_a_pair_until_its_ack_is_answered)
{
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_return(add("jid-000001", 0));
	LOOP_UNTIL(base, server.n_lines == 2);
	server_hang_up(&server);

	LOOP_UNTIL(base, server.n_lines == 4);
	cr_assert(line_is(2, "ACK", "jid-000001"));
	cr_assert(line_is(3, "PUSHB", "jid-000001"));
	server_say(&server, "+OK\r\n");
	loop_drain(base);
	server_hang_up(&server);

	/* The job may be with somebody else by now: an ACK would finish it. */
	LOOP_UNTIL(base, server.n_lines == 5);
	cr_assert(line_is(4, "PUSHB", "jid-000001"));
	server_say(&server, "$2\r\n{}\r\n");
	LOOP_UNTIL(base, n_told == 1);
	loop_drain(base);
	cr_assert_eq(server.n_lines, 5);
	check_told(0, "jid-000001", REPORT_SETTLED, "");
}

/* ---- rule 4 */

Test(reporter, nothing_is_said_of_a_job_of_which_a_newer_hold_is_known)
{
	server.answer = say_ok;
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	struct hold *acked = add("jid-000001", 0), *failed = add("jid-000002", 0), *returned = add("jid-000003", 0);
	(void)add("jid-000001", 0);
	(void)add("jid-000002", 0);
	(void)add("jid-000003", 0);
	send_worker(acked, REPORT_WORKER_ACK);
	send_fail(failed);
	send_return(returned);
	LOOP_UNTIL(base, n_told == 3);
	check_told(0, "jid-000001", REPORT_OVERTAKEN, "");
	check_told(1, "jid-000002", REPORT_OVERTAKEN, "");
	check_told(2, "jid-000003", REPORT_SETTLED, "");
	cr_assert_eq(server.n_lines, 1);
	cr_assert(line_is(0, "PUSHB",
			  "jid-000003")); /* or the job would be lost; the ACK would be that of the newer one */
}

Test(reporter, of_two_holds_of_one_job_the_newer_one_is_failed)
{
	server.answer = say_ok;
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	struct hold *older = add("jid-000001", 0), *newer = add("jid-000001", 0);
	send_fail(newer);
	send_fail(older);
	LOOP_UNTIL(base, n_told == 2);
	cr_assert_eq(server.n_lines, 1);
}

/* By then the job may be somebody else's, whose reservation its ACK would end. */
Test(reporter, a_return_is_not_begun_when_its_lease_may_be_over)
{
	server.answer = say_ok;
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_return(add("jid-000001", UNTIL_USEC + USEC_PER_SEC));
	send_return(add("jid-000002", UNTIL_USEC - 10 * USEC_PER_SEC));
	LOOP_UNTIL(base, n_told == 2);
	check_told(0, "jid-000001", REPORT_TOO_LATE, "");
	check_told(1, "jid-000002", REPORT_SETTLED, "");
	cr_assert_eq(server.n_lines, 2);
	cr_assert(line_is(0, "ACK", "jid-000002"));
}

/* Its ACK may have been carried out, and then the job is nowhere else. */
Test(reporter, a_return_that_was_begun_is_brought_to_its_end)
{
	struct hold *h = hold_ref(add("jid-000001", UNTIL_USEC - 300 * USEC_PER_MSEC));
	usec_t until = hold_fail_until_usec(h);

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_return(h);
	LOOP_UNTIL(base, server.n_lines == 2);
	cr_assert_gt(h->fail_first_usec, 0, "the next chargehand must know that it was sent");
	LOOP_UNTIL(base, clock_now_usec() > until);
	server.answer = say_ok;
	server_half_close(&server);
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000001", REPORT_SETTLED, "");
	cr_assert(line_is(2, "ACK", "jid-000001"));
	cr_assert(line_is(3, "PUSHB", "jid-000001"));
	hold_unref(h);
}

Test(reporter, what_pushb_could_not_store_is_repeated_or_told)
{
	static const char storage[] = "{\"jid-000001\":\"OOM command not allowed when used memory > 'maxmemory'.\"}";
	static const char refused[] = "{\"jid-000002\":\"jobs must have an args parameter\"}";
	char answer[512];

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_return(add("jid-000001", 0));
	send_return(add("jid-000002", 0));
	LOOP_UNTIL(base, server.n_lines == 4);
	snprintf(answer, sizeof(answer), "-ERR NOREPLICAS no\r\n$%zu\r\n%s\r\n+OK\r\n$%zu\r\n%s\r\n", strlen(storage),
		 storage, strlen(refused), refused);
	server_say(&server, answer);
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000002", REPORT_REFUSED, "jobs must have an args parameter");

	LOOP_UNTIL(base, server.n_lines == 5);
	cr_assert(line_is(4, "PUSHB", "jid-000001"), "the ACK must not follow its PUSHB");
	server_say(&server, "$2\r\n{}\r\n");
	LOOP_UNTIL(base, n_told == 2);
	check_told(1, "jid-000001", REPORT_SETTLED, "");
}

/* ---- rule 3: reset before anything is sent again */

Test(reporter, a_link_with_an_unanswered_fail_ends_in_a_reset)
{
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(add("jid-000001", 0));
	LOOP_UNTIL(base, server.n_lines == 1);
	server_half_close(&server);
	/* The listener is looked at before the old connection otherwise. */
	LOOP_UNTIL(base, server.n_resets + server.n_ends == 1);
	cr_assert_eq(server.n_resets, 1, "closed with FIN: what is in its send queue will still arrive");
	cr_assert_eq(server.n_connections, 1, "dialled before");
	server.answer = say_ok;
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000001", REPORT_SETTLED, "");
}

Test(reporter, a_link_is_reset_when_an_unanswered_fail_is_out_of_time)
{
	struct hold *h = hold_ref(add("jid-000001", UNTIL_USEC - 300 * USEC_PER_MSEC));

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(h);
	send_worker(add("jid-000002", 0), REPORT_WORKER_ACK);
	LOOP_UNTIL(base, server.n_lines == 2);
	LOOP_UNTIL(base, server.n_resets == 1);
	cr_assert_lt(clock_now_usec(), hold_lease_end_min_usec(h));
	check_told(0, "jid-000001", REPORT_TOO_LATE, "");
	server.answer = say_ok;
	LOOP_UNTIL(base, n_told == 2);
	check_told(1, "jid-000002", REPORT_SETTLED, "");
	cr_assert(line_is(2, "ACK", "jid-000002"));
	hold_unref(h);
}

Test(reporter, no_timer_is_left_when_all_is_answered)
{
	server.answer = say_ok;
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	int idle = event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED);
	send_fail(add("jid-000001", 0));
	LOOP_UNTIL(base, n_told == 1);
	loop_drain(base);
	/* Among the link's own there is its command timer, which ends by itself. */
	cr_assert_leq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), idle + 1);
}
