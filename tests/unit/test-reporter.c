/* SPDX-License-Identifier: MIT
 *
 * The reporter: the plain way, what answers mean, and its end. Its rules about time are in test-reporter-rules.c.
 */
#include "reporter.h"

/* ---- the plain way */

Test(reporter, says_hello_as_a_producer_and_is_ready)
{
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	cr_assert_not_null(strstr(server.hello, "\"v\":2"), "%s", server.hello);
	cr_assert_not_null(strstr(server.hello, "\"chargehand-"), "%s", server.hello);
	cr_assert_null(strstr(server.hello, "wid"), "%s", server.hello);
	cr_assert_eq(server.n_connections, 1);
}

Test(reporter, settles_on_the_answer_and_not_before)
{
	struct hold *h = hold_ref(add("jid-000001", 0));

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(h);
	cr_assert_eq(reporter_n_waiting(reporter), 1);
	LOOP_UNTIL(base, server.n_lines == 1);
	cr_assert(line_is(0, "FAIL", "jid-000001"), "%s", server.lines[0]);
	loop_drain(base);
	cr_assert_eq(h->state, HOLD_FAILING);
	cr_assert_gt(h->fail_first_usec, 0);
	cr_assert_eq(n_told, 0);

	server_say(&server, "+OK\r\n");
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000001", REPORT_SETTLED, "");
	cr_assert_eq(ledger_n_holds(ledger), 0);
	cr_assert_eq(reporter_n_waiting(reporter), 0);
	hold_unref(h);
}

Test(reporter, waits_for_the_link_and_keeps_the_order)
{
	server.answer = say_ok;
	send_fail(add("jid-000001", 0));
	send_worker(add("jid-000002", 0), REPORT_WORKER_ACK);
	send_return(add("jid-000003", 0));
	send_worker(add("jid-000004", 0), REPORT_WORKER_FAIL);
	LOOP_UNTIL(base, n_told == 4);
	cr_assert_eq(server.n_lines, 5);
	cr_assert(line_is(0, "FAIL", "jid-000001"));
	cr_assert(line_is(1, "ACK", "jid-000002"));
	cr_assert(line_is(2, "ACK", "jid-000003"));
	cr_assert(line_is(3, "PUSHB", "jid-000003"));
	cr_assert(line_is(4, "FAIL", "jid-000004"));
	cr_assert_str_eq(server.lines[3], "PUSHB [{\"jid\":\"jid-000003\",\"queue\":\"default\"}]");
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(told[i].outcome, REPORT_SETTLED);
	cr_assert_eq(ledger_n_holds(ledger), 0);
}

Test(reporter, flush_sends_without_a_turn_of_the_loop)
{
	char got[256] = "";

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(add("jid-000001", 0));
	send_fail(add("jid-000002", 0));
	cr_assert_eq(recv(server.fd, got, sizeof(got), MSG_DONTWAIT), -1, "sent too early to be joined");
	in_call = true;
	reporter_flush(reporter);
	in_call = false;
	cr_assert_gt(recv(server.fd, got, sizeof(got) - 1, MSG_DONTWAIT), 0);
	cr_assert_not_null(strstr(got, "jid-000001"));
	cr_assert_not_null(strstr(got, "jid-000002"), "not in one write: %s", got);
}

Test(reporter, beats_and_does_not_mind_the_answer)
{
	reporter_beat(reporter, "w1"); /* no link: forgotten */
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	reporter_beat(reporter, "w2");
	reporter_beat(reporter, "w3");
	send_fail(add("jid-000001", 0));
	LOOP_UNTIL(base, server.n_lines == 3);
	cr_assert_str_eq(server.lines[0], "BEAT {\"wid\":\"w2\"}");
	cr_assert_eq(reporter_n_waiting(reporter), 1);
	server_say(&server, "$17\r\n{\"state\":\"quiet\"}\r\n-ERR Unknown worker w3\r\n+OK\r\n");
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000001", REPORT_SETTLED, "");

	/* Unanswered at a loss they are forgotten, too. */
	reporter_beat(reporter, "w4");
	LOOP_UNTIL(base, server.n_lines == 4);
	server_hang_up(&server);
	LOOP_UNTIL(base, server.n_connections == 2 && reporter_is_ready(reporter));
	loop_drain(base);
	cr_assert_eq(server.n_lines, 4);
}

/* ---- what an answer means */

Test(reporter, errors_are_several_things)
{
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(add("jid-000001", 0));
	send_fail(add("jid-000002", 0));
	send_fail(add("jid-000003", 0));
	send_worker(add("jid-000004", 0), REPORT_WORKER_FAIL);
	send_worker(add("jid-000005", 0), REPORT_WORKER_ACK);
	send_worker(add("jid-000006", 0), REPORT_WORKER_FAIL);
	LOOP_UNTIL(base, server.n_lines == 6);
	server_say(&server, "-ERR Job not found jid-000001\r\n"
			    "-ERR NOREPLICAS Not enough good replicas to write.\r\n"
			    "-ERR invalid FAIL\r\n"
			    "-ERR invalid FAIL\r\n"
			    "-ERR missing JID\r\n"
			    "-ERR Job not found jid-000006\r\n");
	LOOP_UNTIL(base, n_told == 6);
	check_told(0, "jid-000001", REPORT_NOT_FOUND, "ERR Job not found jid-000001");
	check_told(1, "jid-000002", REPORT_HALF_DONE, "ERR NOREPLICAS Not enough good replicas to write.");
	check_told(2, "jid-000003", REPORT_REFUSED, "ERR invalid FAIL");
	check_told(3, "jid-000004", REPORT_REFUSED, "ERR invalid FAIL");
	check_told(4, "jid-000005", REPORT_REFUSED, "ERR missing JID");
	check_told(5, "jid-000006", REPORT_NOT_FOUND, "ERR Job not found jid-000006");
	cr_assert_eq(ledger_n_holds(ledger), 2, "the worker's own two refused ones are held again");
}

static unsigned n_storage_errors;
static const char *say_storage_error_twice(const char *line)
{
	if (n_storage_errors < 2 && strncmp(line, "ACK ", 4) == 0) {
		n_storage_errors++;
		return "-ERR NOREPLICAS Not enough good replicas to write.\r\n";
	}
	return say_ok(line);
}

Test(reporter, an_ack_is_repeated_after_a_storage_error_but_not_at_once)
{
	usec_t before = clock_now_usec();

	server.answer = say_storage_error_twice;
	send_worker(add("jid-000001", 0), REPORT_WORKER_ACK);
	send_fail(add("jid-000002", 0));
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000002", REPORT_SETTLED, ""); /* nobody waits behind it */
	LOOP_UNTIL(base, n_told == 2);
	check_told(1, "jid-000001", REPORT_SETTLED, "");
	cr_assert_eq(server.n_lines, 4);
	cr_assert_gt(clock_now_usec() - before, 1500 * USEC_PER_MSEC, "three ACKs in a storm");
}

Test(reporter, shutdown_in_progress_is_no_answer)
{
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(add("jid-000001", 0));
	send_worker(add("jid-000002", 0), REPORT_WORKER_ACK);
	send_fail(add("jid-000003", 0));
	LOOP_UNTIL(base, server.n_lines == 3);
	server.answer = say_ok;
	server_say(&server, "+OK\r\n-ERR shutdown in progress\r\n");
	LOOP_UNTIL(base, n_told == 3);
	cr_assert_eq(server.n_connections, 2);
	cr_assert_eq(server.n_lines, 5);
	cr_assert(line_is(3, "ACK", "jid-000002"));
	cr_assert(line_is(4, "FAIL", "jid-000003"));
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(told[i].outcome, REPORT_SETTLED);
}

Test(reporter, too_many_connections_behind_hello_answers_no_report)
{
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(add("jid-000001", 0));
	LOOP_UNTIL(base, server.n_lines == 1);
	server.hello_answer = "+OK\r\n-ERR too many connections\r\n";
	server_hang_up(&server);
	LOOP_UNTIL(base, server.n_connections == 3);
	cr_assert_eq(n_told, 0, "told: %s", report_outcome_to_string(told[0].outcome));
	server.hello_answer = NULL;
	server.answer = say_ok;
	LOOP_UNTIL(base, n_told == 1);
	check_told(0, "jid-000001", REPORT_SETTLED, "");
}

Test(reporter, a_wrong_password_is_said_once_and_tried_on)
{
	char text[2048] = "";
	int log = memfd_create("log", MFD_CLOEXEC);

	cr_assert_geq(log, 0);
	cr_assert_geq(dup2(log, STDERR_FILENO), 0);
	log_set_level(LOG_INFO);
	server.hello_answer = "-ERR Invalid password\r\n";
	LOOP_UNTIL(base, server.n_connections == 3);
	server.hello_answer = NULL;
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	unsigned n = server.n_connections;
	server_hang_up(&server);
	LOOP_UNTIL(base, server.n_connections == n + 1 && reporter_is_ready(reporter));

	cr_assert_gt(pread(log, text, sizeof(text) - 1, 0), 0);
	const char *refused = strstr(text, "refuses the password");
	cr_assert_not_null(refused, "%s", text);
	cr_assert_null(strstr(refused + 1, "refuses the password"), "%s", text);
	const char *there = strstr(text, " is there after ");
	cr_assert_not_null(there, "%s", text);
	const char *lost = strstr(there, " is lost: closed by the server");
	cr_assert_not_null(lost, "%s", text);
	cr_assert_not_null(strstr(lost, " is back after "), "%s", text);
	close(log);
}

/* ---- rule 4 and the rest */

Test(reporter, after_a_loss_the_order_is_kept)
{
	char jid[32];

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	for (unsigned i = 0; i < 100; i++) {
		snprintf(jid, sizeof(jid), "jid-%06u", i);
		if (i % 10 == 5)
			send_return(add(jid, 0));
		else
			send_fail(add(jid, 0));
	}
	LOOP_UNTIL(base, server.n_lines == 110);
	server_say(&server, "+OK\r\n+OK\r\n");
	LOOP_UNTIL(base, n_told == 2);
	server_hang_up(&server);
	server.answer = say_ok;
	send_fail(add("jid-000100", 0));
	LOOP_UNTIL(base, n_told == 101);
	for (unsigned i = 0; i <= 100; i++) {
		snprintf(jid, sizeof(jid), "jid-%06u", i);
		cr_assert_str_eq(told[i].jid, jid);
		cr_assert_eq(told[i].outcome, REPORT_SETTLED);
	}
	cr_assert_eq(server.n_lines, 110 + 108 + 1);
	cr_assert(line_is(110, "FAIL", "jid-000002"));
	cr_assert(line_is(218, "FAIL", "jid-000100"));
}

Test(reporter, large_reports_go_as_they_are)
{
	struct hold *h = add("jid-000001", 0);
	size_t body_bytes = 200000, bytes, ack_bytes;
	char *body = malloc(body_bytes + 1), *line;

	cr_assert_not_null(body);
	memset(body, 'x', body_bytes);
	body[body_bytes] = '\0';
	server.answer = say_ok;
	send_fail(add("jid-000000", 0));
	cr_assert_eq(return_write(h->jid, h->jid_bytes, body, body_bytes, &line, &bytes, &ack_bytes), 0);
	ledger_set_state(h, HOLD_STRAY);
	ledger_set_state(h, HOLD_RETURNING);
	give(h, REPORT_RETURN, line, bytes, ack_bytes);
	send_fail(add("jid-000002", 0));
	LOOP_UNTIL(base, n_told == 3);
	cr_assert(line_is(0, "FAIL", "jid-000000"));
	cr_assert(line_is(1, "ACK", "jid-000001"));
	cr_assert_eq(strlen(server.lines[2]), body_bytes + strlen("PUSHB []"));
	cr_assert(line_is(3, "FAIL", "jid-000002"));
	free(body);
}

Test(reporter, a_hold_that_ended_otherwise_is_nobodys)
{
	struct hold *h = add("jid-000001", 0);

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(h);
	send_fail(add("jid-000002", 0));
	LOOP_UNTIL(base, server.n_lines == 2);
	ledger_settle(h);
	server_say(&server, "+OK\r\n+OK\r\n");
	LOOP_UNTIL(base, reporter_n_waiting(reporter) == 0);
	cr_assert_eq(n_told, 1);
	check_told(0, "jid-000002", REPORT_SETTLED, "");
}

Test(reporter, freed_with_work_left_it_gives_up)
{
	LOOP_UNTIL(base, reporter_is_ready(reporter));
	send_fail(add("jid-000001", 0));
	send_return(add("jid-000002", 0));
	reporter_beat(reporter, "w1");
	LOOP_UNTIL(base, server.n_lines == 4);
	send_fail(add("jid-000003", 0));
	send_fail(add("jid-000004", UNTIL_USEC + USEC_PER_SEC));
	in_call = true;
	reporter_flush(reporter);
	reporter = reporter_free(reporter);
	in_call = false;
	LOOP_UNTIL(base, server.n_resets + server.n_ends == 1);
	cr_assert_eq(server.n_resets, 1);
	cr_assert_eq(n_told, 0);
	cr_assert_eq(ledger_n_holds(ledger), 4);
}
