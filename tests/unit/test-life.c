/* SPDX-License-Identifier: MIT
 *
 * Every pair of a stage and an event, against what follows from the rules rather than from a second copy of the table.
 */
#include "supervise/life.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdbool.h>

#define EACH_STATE(s) for (enum worker_state s = 0; s < _WORKER_STATE_MAX; s++)
#define EACH_EVENT(e) for (enum worker_event e = 0; e < _WORKER_EVENT_MAX; e++)

static bool has_first_process(enum worker_state s)
{
	return s <= WORKER_KILLING;
}

Test(life, every_state_and_event_has_a_name_of_its_own)
{
	EACH_STATE (s)
		for (enum worker_state t = 0; t < s; t++)
			cr_assert(ne(str, (char *)worker_state_to_string(s), (char *)worker_state_to_string(t)));
	EACH_EVENT (e)
		for (enum worker_event f = 0; f < e; f++)
			cr_assert(ne(str, (char *)worker_event_to_string(e), (char *)worker_event_to_string(f)));
	cr_assert(eq(str, (char *)worker_state_to_string(_WORKER_STATE_MAX), "?"));
	cr_assert(eq(str, (char *)worker_event_to_string(_WORKER_EVENT_MAX), "?"));
}

Test(life, never_goes_back)
{
	EACH_STATE (s) {
		EACH_EVENT (e) {
			enum worker_state next = worker_state_next(s, e);
			cr_assert(next == _WORKER_STATE_INVALID || (next >= s && next < _WORKER_STATE_MAX), "%s + %s",
				  worker_state_to_string(s), worker_event_to_string(e));
		}
	}
}

/* What people, workers and the kernel do is never out of place. */
Test(life, events_from_outside_are_accepted_in_every_state)
{
	static const enum worker_event outside[] = {WORKER_EVENT_STOP, WORKER_EVENT_HURRY, WORKER_EVENT_HELLO};

	EACH_STATE (s)
		for (size_t i = 0; i < ARRAY_SIZE(outside); i++)
			cr_assert(worker_state_next(s, outside[i]) != _WORKER_STATE_INVALID, "%s + %s",
				  worker_state_to_string(s), worker_event_to_string(outside[i]));
}

Test(life, the_first_process_ends_once_or_after_it_was_given_up)
{
	EACH_STATE (s) {
		enum worker_state ended = worker_state_next(s, WORKER_EVENT_ENDED);
		enum worker_state holding = worker_state_next(s, WORKER_EVENT_ENDED_HOLDING);

		if (has_first_process(s)) {
			cr_assert(eq(int, ended, WORKER_SWEEPING));
			cr_assert(holding == (s == WORKER_KILLING ? WORKER_SWEEPING : WORKER_LINGERING));
		} else if (s >= WORKER_DRAINING) {
			cr_assert(ended == s && holding == s);
		} else {
			cr_assert(ended == _WORKER_STATE_INVALID && holding == _WORKER_STATE_INVALID);
		}
	}
}

Test(life, a_stop_always_wins)
{
	EACH_STATE (s) {
		enum worker_state stop = worker_state_next(s, WORKER_EVENT_STOP);
		enum worker_state hurry = worker_state_next(s, WORKER_EVENT_HURRY);

		cr_assert(stop >= WORKER_QUIETING);
		cr_assert(hurry >= WORKER_KILLING && hurry != WORKER_LINGERING);
	}
}

/* Nobody is killed, and nothing is FAILed, while the first process may still do its work. */
Test(life, nothing_but_ends_and_times_lead_to_a_dead_worker)
{
	EACH_STATE (s) {
		EACH_EVENT (e) {
			enum worker_state next = worker_state_next(s, e);
			if (next == _WORKER_STATE_INVALID || worker_state_is_dead(s) || !worker_state_is_dead(next))
				continue;
			cr_assert(next == WORKER_DRAINING);
			cr_assert(e == WORKER_EVENT_EMPTY ||
				  (e == WORKER_EVENT_TIMEOUT && (s == WORKER_KILLING || s == WORKER_SWEEPING)));
		}
	}
}

Test(life, every_state_but_the_last_can_be_left_and_all_are_reached)
{
	bool reached[_WORKER_STATE_MAX] = {[WORKER_STARTING] = true};

	EACH_STATE (s) {
		bool left = false;
		EACH_EVENT (e) {
			enum worker_state next = worker_state_next(s, e);
			if (next == _WORKER_STATE_INVALID || next == s)
				continue;
			left = true;
			reached[next] = true;
		}
		cr_assert(left == (s != WORKER_GONE), "%s", worker_state_to_string(s));
	}
	EACH_STATE (s)
		cr_assert(reached[s], "%s", worker_state_to_string(s));
}

/* A stage whose time is over has somewhere to go or something to say; the others have no timer. */
Test(life, timeouts)
{
	static const enum worker_state expected[_WORKER_STATE_MAX] = {
		[WORKER_STARTING] = WORKER_STARTING,       [WORKER_RUNNING] = _WORKER_STATE_INVALID,
		[WORKER_QUIETING] = WORKER_STOPPING,       [WORKER_STOPPING] = WORKER_KILLING,
		[WORKER_KILLING] = WORKER_DRAINING,        [WORKER_LINGERING] = WORKER_SWEEPING,
		[WORKER_SWEEPING] = WORKER_DRAINING,       [WORKER_DRAINING] = WORKER_DRAINING,
		[WORKER_SETTLING] = _WORKER_STATE_INVALID, [WORKER_GONE] = _WORKER_STATE_INVALID,
	};

	EACH_STATE (s)
		cr_assert(eq(int, worker_state_next(s, WORKER_EVENT_TIMEOUT), expected[s]), "%s",
			  worker_state_to_string(s));
}

Test(life, the_usual_ways)
{
	static const enum worker_event ways[][8] = {
		/* killed while it works */
		{WORKER_EVENT_HELLO, WORKER_EVENT_ENDED, WORKER_EVENT_EMPTY, WORKER_EVENT_DRAINED,
		 WORKER_EVENT_SETTLED},
		/* stopped, and deaf */
		{WORKER_EVENT_STOP, WORKER_EVENT_QUIESCED, WORKER_EVENT_TIMEOUT, WORKER_EVENT_TIMEOUT,
		 WORKER_EVENT_ENDED, WORKER_EVENT_EMPTY, WORKER_EVENT_DRAINED, WORKER_EVENT_SETTLED},
		/* a child that finishes the job */
		{WORKER_EVENT_ENDED_HOLDING, WORKER_EVENT_UNBURDENED, WORKER_EVENT_EMPTY, WORKER_EVENT_DRAINED,
		 WORKER_EVENT_SETTLED},
		/* stuck in the kernel */
		{WORKER_EVENT_HURRY, WORKER_EVENT_TIMEOUT, WORKER_EVENT_TIMEOUT, WORKER_EVENT_DRAINED,
		 WORKER_EVENT_ENDED, WORKER_EVENT_SETTLED},
	};
	static const size_t lengths[] = {5, 8, 5, 6};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		enum worker_state s = WORKER_STARTING;
		for (size_t k = 0; k < lengths[i]; k++) {
			s = worker_state_next(s, ways[i][k]);
			cr_assert(s != _WORKER_STATE_INVALID, "way %zu, step %zu", i, k);
		}
		cr_assert(eq(int, s, WORKER_GONE), "way %zu", i);
	}
}
