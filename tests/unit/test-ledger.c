/* SPDX-License-Identifier: MIT
 *
 * Holds of several holders against a plain list of them, every arrow between states, and the bounds of a lease.
 */
#include "ledger/ledger.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static struct ledger *ledger;
static struct holder one, two;

static void setup(void)
{
	cr_assert(eq(int, ledger_new(&ledger), 0));
	holder_init(&one, "mail.1");
	holder_init(&two, "mail.2");
}

static void teardown(void)
{
	ledger = ledger_free(ledger);
	holder_done(&one);
	holder_done(&two);
}

TestSuite(ledger, .init = setup, .fini = teardown, .timeout = 60);

static struct job job_of(const char *jid)
{
	struct job job = {.jid_bytes = (uint16_t)strlen(jid)};

	memcpy(job.jid, jid, job.jid_bytes);
	strcpy(job.queue, "default");
	strcpy(job.jobtype, "Mail");
	return job;
}

static struct hold *add(struct holder *holder, const char *jid)
{
	struct job job = job_of(jid);
	struct hold *h = NULL;

	cr_assert(eq(int, ledger_add(ledger, holder, &job, 100, 200, &h), 0));
	return h;
}

static void expect_found(const struct holder *holder, const char *jid, const struct hold *want)
{
	cr_expect(eq(ptr, ledger_find(ledger, holder, jid, strlen(jid)), (void *)want), "%s of %s", jid, holder->name);
}

static void expect_newest(const char *jid, const struct hold *want)
{
	cr_expect(eq(ptr, ledger_find_newest(ledger, jid, strlen(jid)), (void *)want), "%s", jid);
}

Test(ledger, a_hold_is_in_it_from_add_to_settle)
{
	struct job job = job_of("1234567890abcdef");
	struct hold *h;

	job.have_retry = true;
	job.retry = 0;
	job.retry_count = 3;
	job.reserve_for = 70;
	job.custom_has_enterprise = true;
	expect_newest("1234567890abcdef", NULL);
	cr_assert(eq(int, ledger_add(ledger, &one, &job, 5, 7, &h), 0));
	memset(&job, 'x', sizeof(job)); /* copied */
	cr_expect(eq(int, h->state, HOLD_HELD));
	cr_expect(eq(ptr, h->holder, &one));
	cr_expect(eq(str, h->jid, (char *)"1234567890abcdef"));
	cr_expect(eq(int, h->jid_bytes, 16));
	cr_expect(eq(str, h->queue, (char *)"default"));
	cr_expect(eq(str, h->jobtype, (char *)"Mail"));
	cr_expect(eq(u64, h->fetched_usec, 5));
	cr_expect(eq(u64, h->received_usec, 7));
	cr_expect(eq(u64, h->lease_sec, 70));
	cr_expect(h->have_retry);
	cr_expect(eq(i64, h->retry, 0));
	cr_expect(eq(i64, h->retry_count, 3));
	cr_expect(h->enterprise);
	cr_expect(eq(ptr, h->body, NULL));
	cr_expect(eq(sz, ledger_n_holds(ledger), 1));
	cr_expect(eq(sz, one.n_holds, 1));
	cr_expect(eq(ptr, LIST_FIRST(&one.holds), h));
	expect_found(&one, "1234567890abcdef", h);
	expect_found(&two, "1234567890abcdef", NULL);
	expect_newest("1234567890abcdef", h);
	expect_newest("1234567890abcde", NULL);
	expect_newest("", NULL);

	hold_ref(h);
	ledger_settle(h);
	cr_expect(eq(int, h->state, HOLD_GONE));
	cr_expect(eq(ptr, h->holder, NULL));
	cr_expect(eq(str, h->jid, (char *)"1234567890abcdef"));
	cr_expect(eq(sz, ledger_n_holds(ledger), 0));
	cr_expect(eq(sz, one.n_holds, 0));
	expect_newest("1234567890abcdef", NULL);
	cr_expect(eq(ptr, hold_unref(h), NULL));
	cr_expect(eq(ptr, hold_unref(NULL), NULL));
}

Test(ledger, the_newest_that_no_report_is_under_way_for_comes_first)
{
	struct hold *old = add(&one, "jid-jid-jid"), *others = add(&two, "jid-jid-jid"),
		    *new = add(&one, "jid-jid-jid");

	cr_expect(lt(u64, old->generation, others->generation));
	cr_expect(lt(u64, others->generation, new->generation));
	cr_expect(eq(sz, one.n_holds, 2));
	expect_found(&one, "jid-jid-jid", new);
	expect_found(&two, "jid-jid-jid", others);
	expect_newest("jid-jid-jid", new);

	ledger_set_state(new, HOLD_SETTLING);
	expect_found(&one, "jid-jid-jid", old);
	ledger_set_state(old, HOLD_SETTLING);
	expect_found(&one, "jid-jid-jid", new);
	ledger_set_state(old, HOLD_HELD); /* refused */
	expect_found(&one, "jid-jid-jid", old);
	expect_newest("jid-jid-jid", new);

	ledger_settle(new);
	expect_newest("jid-jid-jid", others);
	expect_found(&one, "jid-jid-jid", old);
	struct hold *again = add(&one, "jid-jid-jid");
	cr_expect(eq(u64, again->generation, 4));
}

/* The index entry lies in the allocation of the hold that came first. */
Test(ledger, a_jid_stays_known_when_its_first_hold_goes_before_the_others)
{
	static const char *const jids[] = {"plain-jid", "spelled-\\u0061-jid"};

	for (size_t i = 0; i < ARRAY_SIZE(jids); i++) {
		struct hold *first = add(&one, jids[i]), *second = add(&two, jids[i]), *third = add(&two, jids[i]);

		ledger_settle(first);
		expect_newest(jids[i], third);
		ledger_settle(third);
		expect_newest(jids[i], second);
		struct hold *fourth = add(&one, jids[i]);
		expect_newest(jids[i], fourth);
		ledger_settle(second);
		ledger_settle(fourth);
		expect_newest(jids[i], NULL);
		cr_expect(eq(sz, ledger_n_holds(ledger), 0));
	}
}

Test(ledger, a_jid_is_the_same_however_it_is_spelled)
{
	struct hold *h = add(&one, "caf\\u00e9<jid>");

	expect_found(&one, "café<jid>", h);
	expect_found(&one, "caf\\u00E9\\u003cjid\\u003e", h);
	expect_found(&one, "\\u0063af\xc3\xa9<jid>", h);
	expect_found(&one, "cafe<jid>", NULL);
	/* The raw bytes go out again as they came. */
	cr_expect(eq(str, h->jid, (char *)"caf\\u00e9<jid>"));
	/* What is no JSON string equals itself alone. */
	struct hold *broken = add(&one, "broken\\");
	expect_found(&one, "broken\\", broken);
	expect_found(&one, "broken", NULL);
}

Test(ledger, the_longest_jid_of_the_widest_bytes_fits)
{
	struct job job = {.jid_bytes = JID_RAW_MAX};
	struct hold *h;

	memset(job.jid, 0xff, sizeof(job.jid)); /* each becomes U+FFFD */
	cr_assert(eq(int, ledger_add(ledger, &one, &job, 0, 0, &h), 0));
	cr_expect(eq(ptr, ledger_find(ledger, &one, job.jid, JID_RAW_MAX), h));
	cr_expect(eq(ptr, ledger_find(ledger, &one, job.jid, JID_RAW_MAX - 1), NULL));
}

Test(ledger, what_comes_after_the_jid_is_taken_later)
{
	struct job job = job_of("jid-jid-jid");
	struct hold *h;

	job.queue[0] = job.jobtype[0] = 0;
	cr_assert(eq(int, ledger_add(ledger, &one, &job, 0, 0, &h), 0));
	cr_expect(eq(str, h->queue, (char *)""));
	cr_expect(eq(u64, h->lease_sec, 1800));
	memset(job.queue, 'q', JOB_QUEUE_MAX - 1);
	memset(job.jobtype, 't', JOB_QUEUE_MAX - 1);
	job.queue[JOB_QUEUE_MAX - 1] = job.jobtype[JOB_QUEUE_MAX - 1] = 0;
	job.reserve_for = 120;
	job.have_retry = true;
	job.retry = -1;
	ledger_update(h, &job);
	cr_expect(eq(str, h->queue, job.queue));
	cr_expect(eq(str, h->jobtype, job.jobtype));
	cr_expect(eq(u64, h->lease_sec, 120));
	cr_expect(eq(i64, h->retry, -1));

	/* What is known already has only the room that it needs, and stays. */
	h = add(&one, "other-jid");
	ledger_update(h, &job);
	cr_expect(eq(str, h->queue, (char *)"default"));
	cr_expect(eq(u64, h->lease_sec, 120));
}

Test(ledger, a_body_is_a_copy_that_goes_when_the_job_is_settled)
{
	struct hold *h = hold_ref(add(&one, "jid-jid-jid"));
	char body[] = "{\"jid\":\"jid-jid-jid\"}";

	cr_assert(eq(int, hold_keep_body(h, "old", 3), 0));
	cr_assert(eq(int, hold_keep_body(h, body, strlen(body)), 0));
	body[0] = 'x';
	cr_expect(eq(sz, h->body_bytes, strlen(body)));
	cr_expect(eq(int, memcmp(h->body, "{\"jid\":\"jid-jid-jid\"}", h->body_bytes), 0));
	hold_drop_body(h);
	cr_expect(eq(ptr, h->body, NULL));
	cr_expect(eq(sz, h->body_bytes, 0));
	cr_assert(eq(int, hold_keep_body(h, "new", 3), 0));
	ledger_settle(h);
	cr_expect(eq(ptr, h->body, NULL));
	hold_unref(h);
}

/* ---- states */

static const struct arrow {
	enum hold_state from, to;
} arrows[] = {
	{HOLD_HELD, HOLD_SETTLING},   {HOLD_HELD, HOLD_FAILING},      {HOLD_HELD, HOLD_STRAY},
	{HOLD_SETTLING, HOLD_HELD},   {HOLD_STRAY, HOLD_RETURNING},   {HOLD_STRAY, HOLD_FAILING},
	{HOLD_RETURNING, HOLD_STRAY}, {HOLD_RETURNING, HOLD_FAILING}, {HOLD_FAILING, HOLD_RETURNING},
};

static bool is_legal(enum hold_state from, enum hold_state to)
{
	for (size_t i = 0; i < ARRAY_SIZE(arrows); i++)
		if (arrows[i].from == from && arrows[i].to == to)
			return true;
	return false;
}

static struct hold *add_in_state(enum hold_state state)
{
	struct hold *h = add(&one, "jid-jid-jid");

	if (state == HOLD_RETURNING)
		ledger_set_state(h, HOLD_STRAY);
	if (state != HOLD_HELD)
		ledger_set_state(h, state);
	return h;
}

/* In a child, for it may abort. */
static bool is_refused(struct hold *h, enum hold_state to)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		ledger_set_state(h, to);
		_exit(0);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

Test(ledger, only_the_arrows_of_the_diagram_exist)
{
#ifdef NDEBUG
	cr_skip_test("assert() is compiled out");
#endif
	for (int from = 0; from < HOLD_GONE; from++) {
		for (int to = 0; to < _HOLD_STATE_MAX; to++) {
			struct hold *h = add_in_state((enum hold_state)from);
			bool refused = is_refused(h, (enum hold_state)to);
			cr_expect(eq(int, refused, !is_legal((enum hold_state)from, (enum hold_state)to)), "%s to %s",
				  hold_state_to_string((enum hold_state)from),
				  hold_state_to_string((enum hold_state)to));
			if (!refused)
				ledger_set_state(h, (enum hold_state)to);
			ledger_settle(h); /* from every state */
		}
	}
	struct hold *gone = hold_ref(add(&one, "jid-jid-jid"));
	ledger_settle(gone);
	cr_expect(is_refused(gone, HOLD_HELD));
	hold_unref(gone);
}

Test(ledger, states_have_names)
{
	cr_expect(eq(str, (char *)hold_state_to_string(HOLD_HELD), (char *)"held"));
	cr_expect(eq(str, (char *)hold_state_to_string(HOLD_GONE), (char *)"gone"));
	cr_expect(eq(str, (char *)hold_state_to_string(_HOLD_STATE_MAX), (char *)"?"));
}

/* ---- leases */

Test(ledger, a_fail_is_sent_before_the_earliest_end_of_the_lease_and_repeated_for_ten_seconds)
{
	struct hold h = {.fetched_usec = 1000 * USEC_PER_SEC, .received_usec = 1002 * USEC_PER_SEC, .lease_sec = 60};

	cr_expect(eq(u64, hold_lease_end_min_usec(&h), 1060 * USEC_PER_SEC));
	cr_expect(eq(u64, hold_lease_end_max_usec(&h), 1062 * USEC_PER_SEC));
	cr_expect(eq(u64, hold_fail_until_usec(&h), 1055 * USEC_PER_SEC));
	h.fail_first_usec = 1010 * USEC_PER_SEC;
	cr_expect(eq(u64, hold_fail_until_usec(&h), 1020 * USEC_PER_SEC));
	h.fail_first_usec = 1050 * USEC_PER_SEC; /* the lease still counts */
	cr_expect(eq(u64, hold_fail_until_usec(&h), 1055 * USEC_PER_SEC));

	usec_t forget = (1062 + 5 * 60) * USEC_PER_SEC;
	cr_expect(not(hold_is_forgettable(&h, forget - 1)));
	cr_expect(hold_is_forgettable(&h, forget));
}

Test(ledger, leases_at_the_ends_of_time_do_not_wrap)
{
	struct hold h = {.lease_sec = 3};

	cr_expect(eq(u64, hold_fail_until_usec(&h), 0));
	h.lease_sec = UINT64_MAX;
	cr_expect(eq(u64, hold_lease_end_min_usec(&h), USEC_NEVER));
	cr_expect(not(hold_is_forgettable(&h, USEC_NEVER - 1)));
	h.lease_sec = 60;
	h.received_usec = USEC_NEVER - 5;
	cr_expect(eq(u64, hold_lease_end_max_usec(&h), USEC_NEVER));
}

/* ---- against a model */

#define MODEL_MAX 3000
#define N_JIDS 400

static struct model {
	struct hold *hold;
	int jid, holder;
	bool referenced;
} model[MODEL_MAX];
static int n_model;

static uint32_t seed = 7;

static uint32_t next_random(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

/* Every third jid has two spellings. */
static const char *spell(char text[64], int jid)
{
	bool escaped = jid % 3 == 0 && next_random(2);

	(void)snprintf(text, 64, "%s%d-of-the-test", escaped ? "\\u006aid-" : "jid-", jid);
	return text;
}

static const struct hold *model_find(int jid, int holder)
{
	const struct hold *newest = NULL;

	for (int i = n_model - 1; i >= 0; i--) {
		if (model[i].jid != jid || (holder >= 0 && model[i].holder != holder))
			continue;
		if (holder < 0 || model[i].hold->state == HOLD_HELD)
			return model[i].hold;
		if (!newest)
			newest = model[i].hold;
	}
	return newest;
}

static void model_remove(int i)
{
	struct hold *h = model[i].hold;
	bool referenced = next_random(2);

	if (referenced)
		hold_ref(h);
	ledger_settle(h);
	if (referenced) {
		cr_assert(eq(int, h->state, HOLD_GONE));
		hold_unref(h);
	}
	memmove(&model[i], &model[i + 1], (size_t)(n_model - i - 1) * sizeof(model[0]));
	n_model--;
}

Test(ledger, any_order_of_adding_settling_and_finding_gives_what_a_list_gives)
{
	struct holder *holders[] = {&one, &two};
	char text[64];

	for (int step = 0; step < 60000; step++) {
		int jid = (int)next_random(N_JIDS), holder = (int)next_random(2);
		switch (next_random(5)) {
		case 0:
		case 1:
			if (n_model < MODEL_MAX) {
				struct hold *h = add(holders[holder], spell(text, jid));
				model[n_model++] = (struct model){.hold = h, .jid = jid, .holder = holder};
			}
			break;
		case 2:
			if (n_model > (step / 10000 % 2 ? 0 : 500)) {
				model_remove((int)next_random((uint32_t)n_model));
				if (n_model > 0)
					model_remove((int)next_random((uint32_t)n_model));
			}
			break;
		case 3:
			if (n_model > 0) {
				struct hold *h = model[next_random((uint32_t)n_model)].hold;
				ledger_set_state(h, h->state == HOLD_HELD ? HOLD_SETTLING : HOLD_HELD);
			}
			break;
		default:
			spell(text, jid);
			cr_assert(eq(ptr, ledger_find(ledger, holders[holder], text, strlen(text)),
				     (void *)model_find(jid, holder)));
			cr_assert(eq(ptr, ledger_find_newest(ledger, text, strlen(text)), (void *)model_find(jid, -1)));
		}
		cr_assert(eq(sz, ledger_n_holds(ledger), (size_t)n_model));
		cr_assert(eq(sz, one.n_holds + two.n_holds, (size_t)n_model));
	}
	cr_expect(gt(int, n_model, 10), "the test has lost its holds");
}
