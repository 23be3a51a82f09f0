/* SPDX-License-Identifier: MIT
 *
 * The index: one entry for each jid (decoded, as the server compares it), with its holds newest first, beside each
 * holder's own list. Nearly every jid has one hold, so the entry lies in the allocation of the hold that brought the
 * jid, and keeps a reference to that hold for as long as a hold of the jid is left.
 */
#include "ledger/ledger.h"

#include "faktory/jid.h"
#include "ledger/checksum.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define HASH_FUNCTION(p, bytes, hash) ((hash) = (unsigned)checksum((p), (bytes), 0))
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->refused = true)
#include <uthash.h>

struct jid_entry {
	UT_hash_handle hh;
	LIST_HEAD(, hold) holds; /* newest first */
	struct hold *owner;      /* whose allocation this lies in */
	bool refused;            /* by uthash, for want of memory */
};

struct ledger {
	struct jid_entry *index;
	struct jid_entry *permanent; /* of no jid: uthash would free its tables with the last hold and make them anew */
	uint64_t last_generation;
	size_t n_holds;
	const struct ledger_sink *sink;
	void *sink_userdata;
};

/* A jid in the spelling that is compared: mostly the raw bytes themselves. */
struct jid_key {
	const char *p;
	size_t bytes;
	char decoded[JID_DECODED_MAX];
};

static const char *const state_names[] = {
	[HOLD_HELD] = "held",   [HOLD_SETTLING] = "settling",   [HOLD_FAILING] = "failing",
	[HOLD_STRAY] = "stray", [HOLD_RETURNING] = "returning", [HOLD_GONE] = "gone",
};
static_assert(ARRAY_SIZE(state_names) == _HOLD_STATE_MAX, "each state has a name");

#define TO(state) (1U << (state))

/* The arrows of ledger.h. Every state may end: a lease runs out whatever was going to happen. */
static const unsigned legal_next[] = {
	[HOLD_HELD] = TO(HOLD_SETTLING) | TO(HOLD_FAILING) | TO(HOLD_STRAY) | TO(HOLD_GONE),
	[HOLD_SETTLING] = TO(HOLD_HELD) | TO(HOLD_GONE),
	[HOLD_FAILING] = TO(HOLD_RETURNING) | TO(HOLD_GONE),
	[HOLD_STRAY] = TO(HOLD_RETURNING) | TO(HOLD_FAILING) | TO(HOLD_GONE),
	[HOLD_RETURNING] = TO(HOLD_STRAY) | TO(HOLD_FAILING) | TO(HOLD_GONE),
	[HOLD_GONE] = 0,
};
static_assert(ARRAY_SIZE(legal_next) == _HOLD_STATE_MAX, "each state has its arrows");

const char *hold_state_to_string(enum hold_state state)
{
	return (unsigned)state < _HOLD_STATE_MAX ? state_names[state] : "?";
}

static void jid_key_init(struct jid_key *k, const char *raw, size_t raw_bytes)
{
	ssize_t n;

	k->p = raw;
	k->bytes = raw_bytes;
	if (jid_is_plain(raw, raw_bytes))
		return;
	/* What does not decode was never a JSON string; it is equal to itself and to nothing else. */
	n = jid_decode(raw, raw_bytes, k->decoded, sizeof(k->decoded));
	if (n >= 0) {
		k->p = k->decoded;
		k->bytes = (size_t)n;
	}
}

static struct jid_entry *index_find(const struct ledger *l, const struct jid_key *k, unsigned *ret_hash)
{
	struct jid_entry *entry;

	HASH_VALUE(k->p, k->bytes, *ret_hash);
	HASH_FIND_BYHASHVALUE(hh, l->index, k->p, k->bytes, *ret_hash, entry);
	return entry;
}

int ledger_new(struct ledger **ret)
{
	_cleanup_free_ struct ledger *l = calloc(1, sizeof(*l));
	_cleanup_free_ struct jid_entry *permanent = calloc(1, sizeof(*permanent));

	if (!l || !permanent)
		return -ENOMEM;
	HASH_ADD_KEYPTR(hh, l->index, "", 0, permanent);
	if (permanent->refused)
		return -ENOMEM;
	l->permanent = TAKE_PTR(permanent);
	*ret = TAKE_PTR(l);
	return 0;
}

struct ledger *ledger_free(struct ledger *l)
{
	if (!l)
		return NULL;
	HASH_DEL(l->index, l->permanent);
	free(l->permanent);
	/* The last hold of an entry takes the entry with it. */
	while (l->index)
		ledger_leave(LIST_FIRST(&l->index->holds));
	assert(l->n_holds == 0);
	free(l);
	return NULL;
}

void ledger_set_sink(struct ledger *l, const struct ledger_sink *sink, void *userdata)
{
	l->sink = sink;
	l->sink_userdata = userdata;
}

void holder_init(struct holder *h, const char *name)
{
	*h = (struct holder){.name = name};
	LIST_INIT(&h->holds);
}

void holder_done(struct holder *h)
{
	assert(LIST_EMPTY(&h->holds) && h->n_holds == 0);
	h->name = NULL;
}

size_t ledger_n_holds(const struct ledger *l)
{
	return l->n_holds;
}

static size_t room_for_text(const char *s)
{
	/* What is not known yet may come with ledger_update(). */
	return *s ? strnlen(s, JOB_QUEUE_MAX - 1) + 1 : JOB_QUEUE_MAX;
}

static char *put(char **at, const char *p, size_t bytes, size_t room)
{
	char *s = *at;
	memcpy(s, p, bytes);
	s[bytes] = 0;
	*at += room;
	return s;
}

/* The hold, its strings, and, for a jid that is not in the index, an entry and a key that is not spelled as the raw
 * jid. The entry comes first after the hold, for its alignment. */
static struct hold *hold_new(const struct job *job, const struct jid_key *k, struct jid_entry **ret_new_entry)
{
	size_t queue_room = room_for_text(job->queue), jobtype_room = room_for_text(job->jobtype);
	size_t key_bytes = ret_new_entry && k->p == k->decoded ? k->bytes : 0;
	size_t entry_bytes = ret_new_entry ? sizeof(struct jid_entry) : 0;
	struct hold *h = malloc(sizeof(*h) + entry_bytes + key_bytes + job->jid_bytes + 1U + queue_room + jobtype_room);
	if (!h)
		return NULL;

	char *at = (char *)(h + 1) + entry_bytes;
	*h = (struct hold){.state = HOLD_HELD, .references = 1, .jid_bytes = job->jid_bytes};
	if (key_bytes > 0) {
		memcpy(at, k->p, key_bytes);
		at += key_bytes;
	}
	h->jid = put(&at, job->jid, job->jid_bytes, job->jid_bytes + 1U);
	h->queue = put(&at, job->queue, strnlen(job->queue, JOB_QUEUE_MAX - 1), queue_room);
	h->jobtype = put(&at, job->jobtype, strnlen(job->jobtype, JOB_QUEUE_MAX - 1), jobtype_room);

	if (ret_new_entry) {
		struct jid_entry *entry = (struct jid_entry *)(h + 1);
		*entry = (struct jid_entry){.owner = h};
		LIST_INIT(&entry->holds);
		*ret_new_entry = entry;
	}
	return h;
}

static void hold_take_values(struct hold *h, const struct job *job)
{
	h->lease_sec = job_lease_sec(job->reserve_for);
	h->have_retry = job->have_retry;
	h->retry = job->retry;
	h->retry_count = job->retry_count;
	h->enterprise = job->custom_has_enterprise;
}

/* What tells that the hold is there comes last: until then it can still be refused. */
static int ledger_enter(struct ledger *l, struct holder *holder, struct hold *h, struct jid_entry *entry,
			struct jid_entry *new_entry, const struct jid_key *k, unsigned hash)
{
	if (new_entry) {
		const char *key = k->p == k->decoded ? (char *)(new_entry + 1) : h->jid;
		HASH_ADD_KEYPTR_BYHASHVALUE(hh, l->index, key, k->bytes, hash, new_entry);
		if (new_entry->refused)
			return -ENOMEM;
		hold_ref(h); /* the entry's */
		entry = new_entry;
	}
	h->holder = holder;
	h->ledger = l;
	h->entry = entry;
	LIST_INSERT_HEAD(&entry->holds, h, in_entry);
	LIST_INSERT_HEAD(&holder->holds, h, in_holder);
	holder->n_holds++;
	l->n_holds++;
	return 0;
}

static int ledger_new_hold(struct ledger *l, struct holder *holder, const struct job *job, const struct hold *values,
			   struct hold **ret)
{
	struct jid_entry *entry, *new_entry = NULL;
	struct jid_key k;
	struct hold *h;
	unsigned hash;
	int r = 0;

	assert(job->jid_bytes > 0);
	jid_key_init(&k, job->jid, job->jid_bytes);
	entry = index_find(l, &k, &hash);
	h = hold_new(job, &k, entry ? NULL : &new_entry);
	if (!h)
		return -ENOMEM;
	hold_take_values(h, job);
	h->generation = ++l->last_generation;
	h->fetched_usec = values->fetched_usec;
	h->received_usec = values->received_usec;
	h->sink_data = values->sink_data;
	if (values->lease_sec > 0)
		h->lease_sec = values->lease_sec;
	else if (l->sink)
		r = l->sink->add(l->sink_userdata, h, holder);
	if (r == 0) {
		r = ledger_enter(l, holder, h, entry, new_entry, &k, hash);
		if (r < 0 && l->sink && h->sink_data && values->lease_sec == 0)
			l->sink->gone(l->sink_userdata, h);
	}
	if (r < 0) {
		free(h);
		return r;
	}
	*ret = h;
	return 0;
}

int ledger_add(struct ledger *l, struct holder *holder, const struct job *job, usec_t fetched_usec,
	       usec_t received_usec, struct hold **ret)
{
	const struct hold values = {.fetched_usec = fetched_usec, .received_usec = received_usec};

	return ledger_new_hold(l, holder, job, &values, ret);
}

int ledger_restore(struct ledger *l, struct holder *holder, const struct job *job, usec_t fetched_usec,
		   usec_t received_usec, uint64_t lease_sec, void *sink_data, struct hold **ret)
{
	const struct hold values = {
		.fetched_usec = fetched_usec,
		.received_usec = received_usec,
		.lease_sec = MAX(lease_sec, (uint64_t)1), /* 0 means a hold that the sink does not know */
		.sink_data = sink_data,
	};

	return ledger_new_hold(l, holder, job, &values, ret);
}

/* NULL: nobody to tell. */
static const struct ledger_sink *sink_of(const struct hold *h)
{
	return h->sink_data && h->ledger ? h->ledger->sink : NULL;
}

static void fill_text(char *text, const char *from)
{
	if (*text)
		return;
	size_t n = strnlen(from, JOB_QUEUE_MAX - 1); /* room_for_text() left this much */
	memcpy(text, from, n);
	text[n] = 0;
}

void ledger_update(struct hold *h, const struct job *job)
{
	hold_take_values(h, job);
	fill_text(h->queue, job->queue);
	fill_text(h->jobtype, job->jobtype);
	if (sink_of(h))
		sink_of(h)->update(h->ledger->sink_userdata, h);
}

struct hold *ledger_find(struct ledger *l, const struct holder *holder, const char *jid, size_t jid_bytes)
{
	struct hold *h, *newest = NULL;
	struct jid_entry *entry;
	struct jid_key k;
	unsigned hash;

	jid_key_init(&k, jid, jid_bytes);
	entry = index_find(l, &k, &hash);
	if (!entry)
		return NULL;
	LIST_FOREACH (h, &entry->holds, in_entry) {
		if (h->holder != holder)
			continue;
		if (h->state == HOLD_HELD)
			return h;
		if (!newest)
			newest = h;
	}
	return newest;
}

bool hold_is_newest(const struct hold *h)
{
	return LIST_FIRST(&h->entry->holds) == h;
}

struct hold *ledger_find_newest(struct ledger *l, const char *jid, size_t jid_bytes)
{
	struct jid_entry *entry;
	struct jid_key k;
	unsigned hash;

	jid_key_init(&k, jid, jid_bytes);
	entry = index_find(l, &k, &hash);
	return entry ? LIST_FIRST(&entry->holds) : NULL;
}

static void hold_enter_state(struct hold *h, enum hold_state state)
{
	assert((unsigned)state < _HOLD_STATE_MAX);
	assert(legal_next[h->state] & TO(state));
	h->state = state;
}

void ledger_set_state(struct hold *h, enum hold_state state)
{
	bool refused = h->state == HOLD_SETTLING && state == HOLD_HELD;

	assert(state != HOLD_GONE); /* ledger_settle() takes it out as well */
	hold_enter_state(h, state);
	if (refused)
		h->fail_first_usec = 0; /* not executed, and it will not be */
	if (refused && sink_of(h))
		sink_of(h)->report_refused(h->ledger->sink_userdata, h);
}

void ledger_report(struct hold *h, enum report_kind kind, const char *line, size_t line_bytes, size_t ack_bytes)
{
	if (sink_of(h))
		sink_of(h)->report(h->ledger->sink_userdata, h, kind, line, line ? line_bytes : 0, ack_bytes);
}

void ledger_mark_sent(struct hold *h, usec_t now)
{
	if (h->fail_first_usec != 0)
		return;
	h->fail_first_usec = now;
	if (sink_of(h))
		sink_of(h)->sent(h->ledger->sink_userdata, h, now);
}

void ledger_mark_ack_answered(struct hold *h)
{
	if (sink_of(h))
		sink_of(h)->ack_answered(h->ledger->sink_userdata, h);
}

void ledger_barrier(struct ledger *l)
{
	if (l->sink)
		l->sink->barrier(l->sink_userdata);
}

void ledger_settle(struct hold *h)
{
	if (sink_of(h))
		sink_of(h)->gone(h->ledger->sink_userdata, h);
	ledger_leave(h);
}

void ledger_leave(struct hold *h)
{
	struct jid_entry *entry = h->entry;
	struct ledger *l = h->ledger;

	hold_enter_state(h, HOLD_GONE);
	LIST_REMOVE(h, in_holder);
	h->holder->n_holds--;
	h->holder = NULL;
	LIST_REMOVE(h, in_entry);
	h->entry = NULL;
	h->ledger = NULL;
	h->sink_data = NULL;
	l->n_holds--;
	hold_drop_body(h);
	if (LIST_EMPTY(&entry->holds)) {
		HASH_DEL(l->index, entry);
		hold_unref(entry->owner);
	}
	hold_unref(h);
}

struct hold *hold_ref(struct hold *h)
{
	h->references++;
	return h;
}

struct hold *hold_unref(struct hold *h)
{
	if (!h)
		return NULL;
	assert(h->references > 0);
	if (--h->references == 0) {
		assert(h->state == HOLD_GONE);
		hold_drop_body(h);
		free(h);
	}
	return NULL;
}

int hold_keep_body(struct hold *h, const char *body, size_t bytes)
{
	char *copy = malloc(bytes + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, body, bytes);
	copy[bytes] = 0;
	hold_drop_body(h);
	h->body = copy;
	h->body_bytes = bytes;
	return 0;
}

void hold_drop_body(struct hold *h)
{
	free(TAKE_PTR(h->body));
	h->body_bytes = 0;
}

static usec_t lease_usec(const struct hold *h)
{
	return h->lease_sec > USEC_NEVER / USEC_PER_SEC ? USEC_NEVER : h->lease_sec * USEC_PER_SEC;
}

usec_t hold_lease_end_min_usec(const struct hold *h)
{
	return usec_add(h->fetched_usec, lease_usec(h));
}

usec_t hold_lease_end_max_usec(const struct hold *h)
{
	return usec_add(h->received_usec, lease_usec(h));
}

usec_t hold_fail_until_usec(const struct hold *h)
{
	usec_t by_lease = usec_sub(hold_lease_end_min_usec(h), LEDGER_FAIL_MARGIN_USEC);
	if (h->fail_first_usec == 0)
		return by_lease;
	usec_t by_repeat = usec_add(h->fail_first_usec, LEDGER_FAIL_REPEAT_USEC);
	return MIN(by_lease, by_repeat);
}

bool hold_is_forgettable(const struct hold *h, usec_t now)
{
	return now >= usec_add(hold_lease_end_max_usec(h), LEDGER_FORGET_AFTER_USEC);
}
