/* SPDX-License-Identifier: MIT
 *
 * Every state that can be reached, once, in the order of the number of steps. Only states and where they came from are
 * kept; how a step reads is found by taking it again.
 */
#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOWHERE UINT32_MAX

struct table {
	struct state *states;
	uint32_t *parents;
	size_t n, room;
	uint32_t *slots; /* state + 1; 0 is free */
	size_t n_slots;  /* a power of two */
};

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "out of memory\n");
		abort();
	}
	return p;
}

static uint64_t hash(const struct state *st)
{
	const char *p = (const char *)st;
	uint64_t h = 14695981039346656037U;

	for (size_t i = 0; i < sizeof(*st); i += sizeof(h)) {
		uint64_t word = 0;

		memcpy(&word, p + i, sizeof(*st) - i < sizeof(word) ? sizeof(*st) - i : sizeof(word));
		h = (h ^ word) * 1099511628211U;
		h ^= h >> 32;
	}
	return h;
}

static void table_grow(struct table *t)
{
	t->room = t->room ? 2 * t->room : 4096;
	t->states = must(realloc(t->states, t->room * sizeof(*t->states)));
	t->parents = must(realloc(t->parents, t->room * sizeof(*t->parents)));
	t->n_slots = 4 * t->room;
	free(t->slots);
	t->slots = must(calloc(t->n_slots, sizeof(*t->slots)));
	for (size_t i = 0; i < t->n; i++) {
		size_t at = hash(&t->states[i]) & (t->n_slots - 1);

		while (t->slots[at])
			at = (at + 1) & (t->n_slots - 1);
		t->slots[at] = (uint32_t)i + 1;
	}
}

static void table_add(struct table *t, const struct state *st, size_t parent)
{
	size_t at;

	if (t->n == t->room)
		table_grow(t);
	for (at = hash(st) & (t->n_slots - 1); t->slots[at]; at = (at + 1) & (t->n_slots - 1))
		if (memcmp(&t->states[t->slots[at] - 1], st, sizeof(*st)) == 0)
			return;
	t->states[t->n] = *st;
	t->parents[t->n] = (uint32_t)parent;
	t->slots[at] = (uint32_t)++t->n;
}

/* Nothing that is still to come depends on it. */
static bool run_is_over(const struct state *st, unsigned i)
{
	const struct run *r = &st->run[i];
	bool silent = r->who == STRANGER ? r->said || r->phase != LIVE
					 : r->said || r->reply == LOST || st->life[r->who] != ALIVE;

	if (!silent || r->stored || st->memory == i + 1 || st->in_hand == i + 1 || r->line || r->reply < GIVEN)
		return false;
	if (r->hold == HELD || r->hold == REPORTED || r->j_hold == HELD)
		return false;
	for (size_t n = 0; n < MESSAGES; n++)
		if (st->message[n].kind != NO_KIND && (st->message[n].run == i || st->message[n].taken == i + 1))
			return false;
	return true;
}

/* States that differ in what means nothing are one: the order of messages, and what is left in an empty place. */
static void canonicalize(struct state *st)
{
	struct message sorted[MESSAGES] = {{.kind = NO_KIND}};
	size_t n_sorted = 0, at;

	for (size_t n = 0; n < MESSAGES; n++) {
		if (st->message[n].kind == NO_KIND)
			continue;
		for (at = n_sorted++; at > 0 && memcmp(&sorted[at - 1], &st->message[n], sizeof(sorted[0])) < 0; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = st->message[n];
	}
	memcpy(st->message, sorted, sizeof(sorted));
	for (unsigned i = 0; i < st->n_runs; i++)
		if (run_is_over(st, i))
			st->run[i] = (struct run){.who = st->run[i].who, .phase = OVER, .reply = LOST, .hold = GONE};
}

void emit(struct search *s, const struct state *next, const char *format, ...)
{
	struct state st = *next;
	va_list args;

	canonicalize(&st);
	if (!s->wanted) {
		s->n_steps++;
		table_add(s->table, &st, s->from);
		return;
	}
	if (s->words || memcmp(&st, s->wanted, sizeof(st)) != 0)
		return;
	va_start(args, format);
	if (vasprintf(&s->words, format, args) < 0)
		s->words = must(NULL);
	va_end(args);
}

static void next_all(struct search *s, const struct state *from)
{
	server_next(s, from);
	chargehand_next(s, from);
	world_next(s, from);
}

/* How it came to the last state, one line for each step. */
static char *trace(struct search *s)
{
	struct table *t = s->table;
	uint32_t path[1024];
	size_t n = 0, bytes = 0;
	char *text = NULL;
	FILE *f = must(open_memstream(&text, &bytes));

	for (uint32_t at = (uint32_t)t->n - 1; at != NOWHERE && n < 1024; at = t->parents[at])
		path[n++] = at;
	for (size_t k = n - 1, step = 1; k-- > 0; step++) {
		s->wanted = &t->states[path[k]];
		next_all(s, &t->states[path[k + 1]]);
		fprintf(f, "%3zu %s\n", step, s->words ? s->words : "?");
		free(s->words);
		s->words = NULL;
	}
	s->wanted = NULL;
	if (fclose(f) != 0)
		must(NULL);
	return text;
}

void search_all(const struct bounds *bounds, enum rule without, struct result *ret)
{
	struct table t = {.n = 0};
	struct search s = {.without = without, .bounds = bounds, .table = &t};
	const struct state first = {.queue = 1, .up = 1, .left = bounds->faults};
	size_t looked = 0;

	*ret = (struct result){.wrong = WRONG_NOTHING};
	table_add(&t, &first, NOWHERE);
	for (s.from = 0; s.from < t.n && !ret->wrong; s.from++) {
		struct state from = t.states[s.from]; /* the table moves when it grows */

		next_all(&s, &from);
		for (; looked < t.n && !ret->wrong; looked++) {
			ret->wrong = state_judge(&t.states[looked]);
			if (ret->wrong)
				t.n = looked + 1;
		}
	}
	ret->n_states = t.n;
	ret->n_steps = s.n_steps;
	if (ret->wrong)
		ret->trace = trace(&s);
	free(t.states);
	free(t.parents);
	free(t.slots);
}
