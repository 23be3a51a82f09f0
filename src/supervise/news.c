/* SPDX-License-Identifier: MIT
 *
 * What is as it should be is not told.
 */
#include "supervise/news.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool news_is_same(const struct news *a, const struct news *b)
{
	if (a->stopping != b->stopping || a->server_away != b->server_away || a->n_deaths != b->n_deaths ||
	    a->n_lost != b->n_lost || a->n_outlived != b->n_outlived || a->n_vanishing != b->n_vanishing ||
	    a->journal_failing != b->journal_failing)
		return false;
	if (a->stopping)
		return a->n_left == b->n_left && a->n_holds == b->n_holds;
	return a->n_slots == b->n_slots && a->n_running == b->n_running && a->n_greeted == b->n_greeted &&
	       a->quiet == b->quiet && (!a->quiet || a->n_holds == b->n_holds);
}

_printf_(2, 3) static void add(char *buffer, const char *format, ...)
{
	size_t have = strlen(buffer);
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(buffer + have, NEWS_TEXT_MAX - have, format, ap);
	va_end(ap);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

char *news_format(const struct news *n, char buffer[NEWS_TEXT_MAX])
{
	unsigned n_silent = n->n_running - MIN(n->n_greeted, n->n_running);

	buffer[0] = 0;
	if (n->stopping) {
		add(buffer, "Stopping: %u worker%s left", n->n_left, plural(n->n_left));
	} else {
		add(buffer, "%u of %u worker%s running", n->n_running, n->n_slots, plural(n->n_slots));
		if (n_silent > 0)
			add(buffer, ", %u without HELLO so far", n_silent);
	}
	if (n->quiet && !n->stopping)
		add(buffer, "; quiet");
	if (n->quiet || n->stopping)
		add(buffer, ", %zu job%s in hand", n->n_holds, plural(n->n_holds));
	if (n->server_away)
		add(buffer, "; the server is away");
	if (n->journal_failing)
		add(buffer, "; the journal cannot be written");
	if (n->n_deaths > 0)
		add(buffer, "; %" PRIu64 " death%s since the start", n->n_deaths, plural(n->n_deaths));
	if (n->n_lost > 0)
		add(buffer, "; %" PRIu64 " job%s FAILed", n->n_lost, plural(n->n_lost));
	if (n->n_vanishing > 0)
		add(buffer, "; %" PRIu64 " job%s will vanish at the server", n->n_vanishing, plural(n->n_vanishing));
	if (n->n_outlived > 0)
		add(buffer, "; %" PRIu64 " process%s killed for lack of memory, outlived by %s", n->n_outlived,
		    n->n_outlived == 1 ? "" : "es", n->n_outlived == 1 ? "its worker" : "their workers");
	if (n->place && !n->stopping)
		add(buffer, "; %s", n->place);
	return buffer;
}
