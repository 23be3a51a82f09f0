/* SPDX-License-Identifier: MIT
 *
 * Streams are told of what is new and nothing else: what was not read, or not said, they must know by themselves.
 */
#include "turn.h"

TestSuite(edge, .init = setup, .fini = teardown, .timeout = 60);

/* As long as its peer sends, it can be read; that takes none of the others' time. */
Test(edge, one_that_has_more_to_read_lets_others_in_between)
{
	char bytes[640] = {0};
	unsigned n_before;

	read_in_callback = true;
	cr_assert_eq(send(peer, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	for (unsigned n = 1; n <= 10; n++) {
		stream_begin_turn();
		cr_assert_geq(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
		cr_assert_eq(n_readable, n, "once in a turn, and in each: %u", n_readable);
		cr_assert_eq(last_read, 64);
		stream_end_turn();
	}
	/* For what it knows there might be more. */
	stream_begin_turn();
	cr_assert_geq(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
	stream_end_turn();
	cr_assert_eq(last_read, -EAGAIN);
	n_before = n_readable;
	for (unsigned n = 1; n <= 10; n++) {
		stream_begin_turn();
		cr_assert_geq(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
		stream_end_turn();
	}
	cr_assert_eq(n_readable, n_before);

	/* Paused, and closed, with more to read. */
	cr_assert_eq(send(peer, bytes, 128, 0), 128);
	cr_assert_eq(send(other_peer, bytes, 128, 0), 128);
	stream_begin_turn();
	LOOP_UNTIL(base, n_readable == n_before + 2);
	stream_pause(s);
	drop(&other, false);
	stream_end_turn();
	loop_drain(base);
	cr_assert_eq(n_readable, n_before + 2);
	cr_assert_eq(stream_resume(s), 0);
	while (n_readable == n_before + 2)
		turn();
	cr_assert_eq(last_read, 64);
}

/* Both resets are here before anything is read. */
Test(edge, a_reset_behind_the_last_words_is_seen_on_each)
{
	read_in_callback = true;
	cr_assert_eq(send(other_peer, "FETCH q\r\n", 9, 0), 9);
	cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
	peer_reset(&other_peer);
	peer_reset(&peer);
	usec_t end = clock_now_usec() + LOOP_PATIENCE_USEC;
	while (n_readable < 4 && clock_now_usec() < end)
		turn();
	cr_assert_eq(n_readable, 4, "%u", n_readable);
	cr_assert_eq(last_read, -ECONNRESET);
}

Test(edge, nothing_is_left_that_would_wake_anybody)
{
	read_in_callback = true;
	cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
	cr_assert_eq(send(other_peer, "FETCH q\r\n", 9, 0), 9);
	while (n_readable < 2)
		turn();
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 3, "two streams and a timer");
	while (n_readable < 4)
		turn();
	cr_assert_eq(last_read, -EAGAIN, "looked at once more");
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 2);
}

/* With the events of the next turn, for a worker's death has to be seen before its last words. */
Test(edge, the_doubtful_are_not_read_in_the_turn_of_their_timer)
{
	unsigned before;

	read_in_callback = true;
	cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
	while (n_readable == 0)
		turn();
	before = n_readable;
	stream_begin_turn();
	LOOP_UNTIL(base, event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED) == 2);
	cr_assert_eq(n_readable, before);
	stream_end_turn();
	cr_assert_eq(n_readable, before);
	turn();
	cr_assert_eq(n_readable, before + 1);
}

/* While the one that was read last is looked at, the other one, which is on the same list, is freed. */
Test(edge, the_doubtful_may_be_closed_at_any_time)
{
	char got[16];

	cr_assert_eq(send(peer, "+OK\r\n", 5, 0), 5);
	cr_assert_eq(send(other_peer, "FETCH q\r\n", 9, 0), 9);
	cr_assert_eq(stream_read(s, got, sizeof(got)), 5);
	cr_assert_eq(stream_read(other, got, sizeof(got)), 9);
	loop_drain(base); /* their events */
	n_readable = 0;
	free_in_callback = true;
	while (n_readable == 0)
		turn();
	cr_assert_null(s);
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 1);

	cr_assert_eq(send(other_peer, "FETCH q\r\n", 9, 0), 9);
	cr_assert_eq(stream_read(other, got, sizeof(got)), 9);
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 2);
	drop(&other, false);
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0,
		     "the timer goes with the last of them");
}
