/* SPDX-License-Identifier: MIT
 *
 * How things stand, in numbers that cost nothing to keep and to compare, and in one line for people. Pure.
 */
#ifndef CHARGEHAND_SUPERVISE_NEWS_H
#define CHARGEHAND_SUPERVISE_NEWS_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>

#define NEWS_TEXT_MAX 256

struct news {
	unsigned n_slots;
	unsigned n_running;        /* slots whose worker's first process lives */
	unsigned n_greeted;        /* ... and has said HELLO */
	unsigned n_left;           /* workers of which something is left to be done, the dying included */
	uint64_t n_deaths, n_lost; /* since the start: ends that nobody asked for; jobs in hand at any end */
	uint64_t n_outlived;       /* processes that the kernel killed for lack of memory, and no worker with them */
	uint64_t n_vanishing;      /* jobs that the server will lose, for it failed in the middle of their FAIL */
	size_t n_holds;            /* told only while it is to become less: when quiet, and stopping */
	bool quiet, stopping, server_away;
	bool journal_failing; /* should chargehand die now, jobs are left to their leases */
	const char *place;    /* subtree_kind_to_place(); borrowed and always the same, NULL: as asked */
};

bool news_is_same(const struct news *a, const struct news *b); /* in what is told */

/* "4 of 4 workers running; 2 deaths since the start; 7 jobs FAILed; cgroups in the unit". Returns buffer. */
char *news_format(const struct news *n, char buffer[NEWS_TEXT_MAX]);

#endif
