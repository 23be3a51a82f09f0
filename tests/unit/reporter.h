/* SPDX-License-Identifier: MIT
 *
 * A reporter and the scripted server that it talks to, in one event loop, for the two programs that test it.
 */
#ifndef CHARGEHAND_TESTS_UNIT_REPORTER_H
#define CHARGEHAND_TESTS_UNIT_REPORTER_H

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
#define UNTIL_USEC (LEASE_SEC * USEC_PER_SEC - LEDGER_FAIL_MARGIN_USEC)

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

static inline void on_outcome(_unused_ void *userdata, struct holder *whose, struct hold *hold, enum report_kind kind,
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

static inline void setup(void)
{
	log_set_level(LOG_CRIT);
	base = event_base_new();
	cr_assert_not_null(base);
	server_start(&server, base);
	url = (struct server_url){.host = (char *)"127.0.0.1", .port = server.port};
	cr_assert_eq(dialer_new(base, &url, &dialer), 0);
	cr_assert_eq(ledger_new(&ledger), 0);
	holder_init(&holder, "test.1");
	cr_assert_eq(reporter_new(dialer, ledger, on_outcome, NULL, &reporter), 0);
}

static inline void teardown(void)
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
static inline struct hold *add(const char *jid, usec_t age_usec)
{
	struct job job = {.queue = "default", .jobtype = "echo", .reserve_for = LEASE_SEC};
	usec_t fetched = usec_sub(clock_now_usec(), age_usec);
	struct hold *h;

	job.jid_bytes = (uint16_t)strlen(jid);
	memcpy(job.jid, jid, job.jid_bytes);
	cr_assert_eq(ledger_add(ledger, &holder, &job, fetched, fetched, &h), 0);
	return h;
}

static inline void give(struct hold *h, enum report_kind kind, char *line, size_t bytes, size_t ack_bytes)
{
	in_call = true;
	cr_assert_eq(reporter_send(reporter, h, kind, line, bytes, ack_bytes), 0);
	in_call = false;
}

static inline void send_fail(struct hold *h)
{
	const struct fail f = {.errtype = "WorkerSignaled", .message = "was killed by SIGKILL"};
	char *line;
	size_t bytes;

	cr_assert_eq(fail_write(&f, h->jid, h->jid_bytes, &line, &bytes), 0);
	ledger_set_state(h, HOLD_FAILING);
	give(h, REPORT_FAIL, line, bytes, 0);
}

/* Of jid-000000 and as many as there are to be, when the link is ready. */
static inline void send_fails(unsigned n)
{
	char jid[32];

	LOOP_UNTIL(base, reporter_is_ready(reporter));
	for (unsigned i = 0; i < n; i++) {
		snprintf(jid, sizeof(jid), "jid-%06u", i);
		send_fail(add(jid, 0));
	}
}

static inline void send_worker(struct hold *h, enum report_kind kind)
{
	char *line;
	int n = asprintf(&line, "%s {\"jid\":\"%s\"}\r\n", kind == REPORT_WORKER_ACK ? "ACK" : "FAIL", h->jid);

	cr_assert_gt(n, 0);
	ledger_set_state(h, HOLD_SETTLING);
	give(h, kind, line, (size_t)n, 0);
}

static inline void send_return(struct hold *h)
{
	char body[128], *line;
	int n = snprintf(body, sizeof(body), "{\"jid\":\"%s\",\"queue\":\"default\"}", h->jid);
	size_t bytes, ack_bytes;

	cr_assert_eq(return_write(h->jid, h->jid_bytes, body, (size_t)n, &line, &bytes, &ack_bytes), 0);
	ledger_set_state(h, HOLD_STRAY);
	ledger_set_state(h, HOLD_RETURNING);
	give(h, REPORT_RETURN, line, bytes, ack_bytes);
}

static inline const char *say_ok(const char *line)
{
	return strncmp(line, "PUSHB ", 6) == 0 ? "$2\r\n{}\r\n" : "+OK\r\n";
}

static inline bool line_is(unsigned i, const char *verb, const char *jid)
{
	return i < server.n_lines && strncmp(server.lines[i], verb, strlen(verb)) == 0 &&
	       server.lines[i][strlen(verb)] == ' ' && strstr(server.lines[i], jid);
}

static inline void check_told(unsigned i, const char *jid, enum report_outcome outcome, const char *text)
{
	cr_assert_lt(i, n_told);
	cr_assert_str_eq(told[i].jid, jid);
	cr_assert_eq(told[i].outcome, outcome, "%s: %s instead of %s", jid, report_outcome_to_string(told[i].outcome),
		     report_outcome_to_string(outcome));
	cr_assert_str_eq(told[i].text, text);
}

#endif
