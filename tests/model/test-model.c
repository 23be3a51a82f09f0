/* SPDX-License-Identifier: MIT
 *
 * With all rules nothing wrong can be reached; without any one of them something can, it is known what, and how it
 * comes to it is shown. Alone, and with figures of one's own:
 *
 *   test-model RULE
 *   test-model RUNS CUTS KILLS DEATHS RESTARTS ERRORS SILENCES SECOND-THOUGHTS      3 runs take some gigabytes
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const wrong_names[_WRONG_MAX] = {
	[WRONG_NOTHING] = "nothing is wrong",
	[WRONG_LEFT_BEHIND] = "a job is left behind",
	[WRONG_FINISHED_FAILED] = "a job is FAILed whose report had been made",
	[WRONG_LIVING_FAILED] = "a job is FAILed while its worker lives",
	[WRONG_OTHERS_FAILED] = "somebody else's run is FAILed",
	[WRONG_OTHERS_ENDED] = "somebody else's reservation is ended",
	[WRONG_UNRUN_FAILED] = "a job is FAILed that could have gone back",
	[WRONG_VANISHED] = "the job has vanished",
};

#define NO_FAULTS                                                                                                      \
	{                                                                                                              \
		.cuts = 0                                                                                              \
	}

/* What comes of it without the rule, in what bounds. */
static const struct entry {
	const char *name;
	enum wrong wrong;
	struct bounds bounds;
} entries[_RULE_MAX] = {
	[RULE_DRAIN] = {"drain", WRONG_FINISHED_FAILED, {1, {.kills = 1}, false}},
	[RULE_MARGIN] = {"margin", WRONG_VANISHED, {1, {.kills = 1}, false}},
	[RULE_LOWER_BOUND] = {"lower-bound", WRONG_VANISHED, {1, {.kills = 1}, false}},
	[RULE_RECALL] = {"recall", WRONG_VANISHED, {1, {.kills = 1}, false}},
	[RULE_RESET] = {"reset", WRONG_VANISHED, {2, {.kills = 1, .cuts = 1}, false}},
	[RULE_REPEAT_LIMIT] = {"repeat-limit", WRONG_OTHERS_FAILED, {2, {.kills = 1, .cuts = 1}, false}},
	[RULE_SILENCE] = {"silence", WRONG_LEFT_BEHIND, {1, {.kills = 1, .silences = 1}, false}},
	[RULE_SENT_JOURNALED] = {"sent-journaled", WRONG_OTHERS_FAILED, {2, {.kills = 1, .deaths = 1}, false}},
	[RULE_LATE_FAIL_IS_ANSWERED] = {"late-fail-is-answered", WRONG_VANISHED, {1, NO_FAULTS, false}},
	[RULE_SESSION_LIMIT] = {"session-limit", WRONG_VANISHED, {1, NO_FAULTS, false}},
	[RULE_NEWER_HOLD_FENCE] = {"newer-hold-fence", WRONG_OTHERS_ENDED, {2, NO_FAULTS, false}},
	[RULE_RELEASE_ON_ANSWER] = {"release-on-answer", WRONG_LEFT_BEHIND, {1, {.cuts = 1}, false}},
	[RULE_REPEAT] = {"repeat", WRONG_LEFT_BEHIND, {1, {.cuts = 1}, false}},
	[RULE_FIRST_REPORT_WINS] = {"first-report-wins", WRONG_FINISHED_FAILED, {1, NO_FAULTS, true}},
	[RULE_GENERATION] = {"generation", WRONG_LEFT_BEHIND, {2, {.kills = 1}, false}},
	[RULE_JOURNAL_BEFORE_WORKER] = {"journal-before-worker", WRONG_LEFT_BEHIND, {1, {.deaths = 1}, false}},
	[RULE_REPORT_BEFORE_FORWARD] = {"report-before-forward", WRONG_FINISHED_FAILED, {1, {.deaths = 1}, false}},
	[RULE_LEFTOVERS_FIRST] = {"leftovers-first", WRONG_LIVING_FAILED, {1, {.deaths = 1}, false}},
	[RULE_KEEP_LINK] = {"keep-link", WRONG_LEFT_BEHIND, {1, {.kills = 1}, false}},
	[RULE_STRAY_RETURNS] = {"stray-returns", WRONG_UNRUN_FAILED, {1, {.kills = 1}, false}},
	[RULE_ACK_BEFORE_PUSHB] = {"ack-before-pushb", WRONG_VANISHED, {2, {.kills = 1}, false}},
	[RULE_RETURN_JOURNALED] = {"return-journaled",
				   WRONG_VANISHED,
				   {1, {.cuts = 1, .kills = 1, .deaths = 1}, false}},
	[RULE_RETURN_IN_TIME] = {"return-in-time", WRONG_OTHERS_ENDED, {2, {.kills = 1}, false}},
	[RULE_HALF_DONE_IS_TOLD] = {"half-done-is-told", WRONG_VANISHED, {1, {.kills = 1, .errors = 1}, false}},
};

/* With all rules. Each of the above lies within one of them. */
static const struct bounds wholes[] = {
	{1, {.cuts = 1, .kills = 1, .deaths = 1, .restarts = 1, .errors = 1, .silences = 1}, true},
	{2, {.cuts = 1, .kills = 1}, false},
	{2, {.kills = 1, .deaths = 1}, false},
	{2, {.kills = 1, .silences = 1}, false},
	{2, {.cuts = 1, .silences = 1}, false},
	{2, {.kills = 1, .errors = 1}, false},
	{2, {.cuts = 1, .restarts = 1}, false},
	{2, {.kills = 2}, true},
};

static unsigned n_tests, n_bad;

static void print_result(const struct result *r, double seconds)
{
	printf("# %zu states, %zu steps, %.1f s\n", r->n_states, r->n_steps, seconds);
	if (!r->wrong)
		return;
	for (char *rest = r->trace, *line; (line = strsep(&rest, "\n"));)
		if (*line)
			printf("# %s\n", line);
	printf("#     %s\n", wrong_names[r->wrong]);
}

static void check(const struct bounds *b, enum rule without, enum wrong want, const char *what)
{
	struct timespec before, after;
	struct result r;
	bool good;

	(void)clock_gettime(CLOCK_MONOTONIC, &before);
	search_all(b, without, &r);
	(void)clock_gettime(CLOCK_MONOTONIC, &after);
	good = r.wrong == want;
	n_tests++;
	n_bad += !good;
	print_result(&r, (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9);
	printf("%s %u - %s: %s\n", good ? "ok" : "not ok", n_tests, what, wrong_names[want]);
	(void)fflush(stdout);
	free(r.trace);
}

static void check_without(enum rule rule)
{
	char what[64];

	(void)snprintf(what, sizeof(what), "without %s", entries[rule].name);
	check(&entries[rule].bounds, rule, entries[rule].wrong, what);
}

static void check_whole(const struct bounds *b)
{
	const struct faults *f = &b->faults;
	char what[160];

	(void)snprintf(what, sizeof(what),
		       "%u runs, %u links lost and %u silent, %u workers and %u chargehands killed, %u restarts, "
		       "%u storage errors%s",
		       b->runs, f->cuts, f->silences, f->kills, f->deaths, f->restarts, f->errors,
		       b->second_thoughts ? ", second thoughts" : "");
	check(b, RULE_NONE, WRONG_NOTHING, what);
}

static bool lies_within(const struct bounds *a, const struct bounds *b)
{
	const struct faults *f = &a->faults, *g = &b->faults;

	return a->runs <= b->runs && f->cuts <= g->cuts && f->kills <= g->kills && f->deaths <= g->deaths &&
	       f->restarts <= g->restarts && f->errors <= g->errors && f->silences <= g->silences &&
	       a->second_thoughts <= b->second_thoughts;
}

/* Else it would not be known that it is the rule which makes the difference. */
static void check_that_wholes_cover(void)
{
	bool good = true;

	for (unsigned r = RULE_NONE + 1; r < _RULE_MAX; r++) {
		bool covered = false;

		for (size_t i = 0; i < sizeof(wholes) / sizeof(wholes[0]); i++)
			covered = covered || lies_within(&entries[r].bounds, &wholes[i]);
		if (!covered)
			printf("# %s is not\n", entries[r].name);
		good = good && covered;
	}
	n_tests++;
	n_bad += !good;
	printf("%s %u - each is searched with its rule as well\n", good ? "ok" : "not ok", n_tests);
}

static uint8_t number(const char *word)
{
	return (uint8_t)strtoul(word, NULL, 10);
}

int main(int argc, char *argv[])
{
	if (argc == 9) {
		const struct bounds b = {
			number(argv[1]),
			{number(argv[2]), number(argv[3]), number(argv[4]), number(argv[5]), number(argv[6]),
			 number(argv[7])},
			number(argv[8]) > 0,
		};
		check_whole(&b);
	} else {
		for (unsigned r = RULE_NONE + 1; r < _RULE_MAX; r++)
			if (argc == 1 || strcmp(argv[1], entries[r].name) == 0)
				check_without(r);
		for (size_t i = 0; argc == 1 && i < sizeof(wholes) / sizeof(wholes[0]); i++)
			check_whole(&wholes[i]);
		check_that_wholes_cover();
	}
	printf("1..%u\n", n_tests);
	return n_bad > 0;
}
