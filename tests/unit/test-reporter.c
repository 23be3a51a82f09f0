/* SPDX-License-Identifier: MIT */
#include "report/reporter.h"

#include "base/log.h"
#include "faktory/fail.h"
#include "link/link.h"
#include "loop.h"
#include "server.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define LEASE_SEC 1800

static struct event_base *base;
static struct server server;
static struct server_url url;
static struct dialer *dialer;
static struct ledger *ledger;
static struct holder holder;
static struct reporter *reporter;

/* What was told, in order. */
static struct {
	char jid[32];
	enum report_kind kind;
	enum report_outcome outcome;
	char text[128];
} told[4096];
static unsigned n_told;
static bool in_call; /* of the owner's: nothing may be told then */

static void on_outcome(_unused_ void *userdata, struct holder *whose, struct hold *hold, enum report_kind kind,
		       enum report_outcome outcome, const char *text)
{
	cr_assert_not(in_call, "told out of a call of the owner's");
	cr_assert_eq(whose, &holder);
	if (outcome == REPORT_REFUSED && (kind == REPORT_WORKER_ACK || kind == REPORT_WORKER_FAIL))
		cr_assert_eq(hold->state, HOLD_HELD);
	else
		cr_assert_eq(hold->state, HOLD_GONE);
	cr_assert_lt(n_told, ARRAY_SIZE(told));
	snprintf(told[n_told].jid, sizeof(told[n_told].jid), "%s", hold->jid);
	told[n_told].kind = kind;
	told[n_told].outcome = outcome;
	snprintf(told[n_told].text, sizeof(told[n_told].text), "%.100s", text);
	n_told++;
}

static void setup(void)
{
	log_set_level(LOG_CRIT);
	base = event_base_new();
	cr_assert_not_null(base);
	server_start(&server, base);
	url = (struct server_url){.host = (char *)"127.0.0.1", .port = server.port};
	cr_assert_eq(dialer_new(base, &url, &dialer), 0);
	cr_assert_eq(ledger_new(&ledger), 0);
	holder_init(&holder, "test.1");
	cr_assert_eq(reporter_new(dialer, on_outcome, NULL, &reporter), 0);
}

static void teardown(void)
{
	reporter_free(reporter);
	ledger_free(ledger);
	holder_done(&holder);
	dialer_free(dialer);
	server_stop(&server);
	event_base_free(base);
}

TestSuite(reporter, .init = setup, .fini = teardown, .timeout = 60);

/* Whose lease began so long ago. */
static struct hold *add(const char *jid, usec_t age_usec)
{
	struct job job = {.queue = "default", .jobtype = "echo", .reserve_for = LEASE_SEC};
	usec_t fetched = usec_sub(clock_now_usec(), age_usec);
	struct hold *h;

	job.jid_bytes = (uint16_t)strlen(jid);
	memcpy(job.jid, jid, job.jid_bytes);
	cr_assert_eq(ledger_add(ledger, &holder, &job, fetched, fetched, &h), 0);
	return h;
}

static void give(struct hold *h, enum report_kind kind, char *line, size_t bytes, size_t ack_bytes)
{
	in_call = true;
	cr_assert_eq(reporter_send(reporter, h, kind, line, bytes, ack_bytes), 0);
	in_call = false;
}

static void send_fail(struct hold *h)
{
	const struct fail f = {.errtype = "WorkerSignaled", .message = "was killed by SIGKILL"};
	char *line;
	size_t bytes;

	cr_assert_eq(fail_write(&f, h->jid, h->jid_bytes, &line, &bytes), 0);
	ledger_set_state(h, HOLD_FAILING);
	give(h, REPORT_FAIL, line, bytes, 0);
}

static void send_worker(struct hold *h, enum report_kind kind)
{
	char *line;
	int n = asprintf(&line, "%s {\"jid\":\"%s\"}\r\n", kind == REPORT_WORKER_ACK ? "ACK" : "FAIL", h->jid);

	cr_assert_gt(n, 0);
	ledger_set_state(h, HOLD_SETTLING);
	give(h, kind, line, (size_t)n, 0);
}

static void send_return(struct hold *h)
{
	char body[128], *line;
	int n = snprintf(body, sizeof(body), "{\"jid\":\"%s\",\"queue\":\"default\"}", h->jid);
	size_t bytes, ack_bytes;

	cr_assert_eq(return_write(h->jid, h->jid_bytes, body, (size_t)n, &line, &bytes, &ack_bytes), 0);
	ledger_set_state(h, HOLD_STRAY);
	ledger_set_state(h, HOLD_RETURNING);
	give(h, REPORT_RETURN, line, bytes, ack_bytes);
}

static const char *say_ok(const char *line)
{
	return strncmp(line, "PUSHB ", 6) == 0 ? "$2\r\n{}\r\n" : "+OK\r\n";
}

static bool line_is(unsigned i, const char *verb, const char *jid)
{
	return i < server.n_lines && strncmp(server.lines[i], verb, strlen(verb)) == 0 &&
	       server.lines[i][strlen(verb)] == ' ' && strstr(server.lines[i], jid);
}

static void check_told(unsigned i, const char *jid, enum report_outcome outcome, const char *text)
{
	cr_assert_lt(i, n_told);
	cr_assert_str_eq(told[i].jid, jid);
	cr_assert_eq(told[i].outcome, outcome, "%s: %s instead of %s", jid, report_outcome_to_string(told[i].outcome),
		     report_outcome_to_string(outcome));
	cr_assert_str_eq(told[i].text, text);
}

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

/* ---- rule 1: a FAIL is sent until its last moment and never later */

#define UNTIL_USEC (LEASE_SEC * USEC_PER_SEC - LEDGER_FAIL_MARGIN_USEC)

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

Test(reporter, no_more_are_on_their_way_than_can_be_answered_in_time)
{
	char jid[32];

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(jid, sizeof(jid), "jid-%06u", i);
		send_fail(add(jid, 0));
	}
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
