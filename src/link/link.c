/* SPDX-License-Identifier: MIT
 *
 * One connection to the server, as link.h tells it. Two timers' work is done by one event, which exists only while it
 * is needed: redial, handshake limit and command limit never run at the same time. An idle link has no timer at all.
 */
#include "link/link.h"
#include "base/log.h"
#include "link/internal.h"
#include <event2/event.h>
#include <event2/util.h>
#include <stdio.h>
#include <string.h>

const char *link_state_to_string(enum link_state state)
{
	static const char *const names[_LINK_STATE_MAX] = {
		[LINK_IDLE] = "idle",
		[LINK_WAITING] = "waiting",
		[LINK_DIALLING] = "dialling",
		[LINK_GREETING] = "greeting",
		[LINK_GREETED] = "greeted",
		[LINK_HASHING] = "hashing",
		[LINK_AUTHENTICATING] = "authenticating",
		[LINK_READY] = "ready",
	};
	return names[state];
}

static void link_drop_timer(struct link *l)
{
	if (l->timer)
		event_free(TAKE_PTR(l->timer));
}

static void link_drop_greeting(struct link *l)
{
	if (l->greeting) {
		dialer_leave_turn(l->dialer, &l->greeting->turn);
		free(TAKE_PTR(l->greeting));
	}
}

/* The one writer of l->state. What is not legal in the new state is undone here. */
static void link_set_state(struct link *l, enum link_state state)
{
	l->state = state;
	if (state != LINK_DIALLING)
		l->dial = dial_cancel(l->dial);
	if (state == LINK_IDLE || state == LINK_WAITING || state == LINK_READY) {
		link_drop_timer(l);
		link_drop_greeting(l);
	}
	if (state == LINK_IDLE || state == LINK_WAITING) {
		link_drop_partial(l);
		l->streaming = false;
	}
}

void link_close(struct link *l, bool reset)
{
	stream_close(&l->stream, reset);
	link_set_state(l, LINK_IDLE);
	if (l->gone)
		*l->gone = true;
	l->gone = NULL;
}

/* The connection has ended, whoever ended it. A command without an answer must not be carried out later by bytes that
 * the kernel still sends (hazards 16), hence the reset. */
void link_lose(struct link *l, const char *why)
{
	/* An error that ends the connection is no part of what was asked for. */
	char kind = l->partial ? l->partial->resp.kind : 0;
	bool partial = (l->streaming || kind) && kind != '-';
	bool gone = false;
	char reason[128];

	/* For a loop over its input the link is gone, whatever becomes of it. */
	if (l->gone)
		*l->gone = true;
	/* why may lie in l->partial, which the new state does away with. */
	snprintf(reason, sizeof reason, "%s", why);
	log_debug("Link lost in state %s: %s", link_state_to_string(l->state), reason);
	stream_close(&l->stream, !STAILQ_EMPTY(&l->requests));
	link_set_state(l, LINK_WAITING);
	l->gone = &gone;
	l->ops->on_lost(l, partial && !STAILQ_EMPTY(&l->requests), reason);
	if (gone)
		return;
	l->gone = NULL;
	if (l->state != LINK_WAITING)
		return;

	usec_t delay = MIN(LINK_REDIAL_FIRST_USEC << MIN(l->attempts, 10), LINK_REDIAL_MAX_USEC);
	uint32_t random;
	evutil_secure_rng_get_bytes(&random, sizeof random);
	if (l->attempts < UINT8_MAX)
		l->attempts++;
	link_set_timer(l, delay + random % (delay / 2));
}

static void link_hash(struct hash_turn *turn)
{
	const struct greeting *g = container_of(turn, struct greeting, turn);
	struct link *l = g->link;
	_cleanup_free_ char *line = NULL;
	size_t bytes;

	stream_send_batch(); /* others need not wait for this hash */
	int r = hello_write(l->hello, &g->hi, dialer_url(l->dialer)->password, &line, &bytes);
	link_set_state(l, LINK_AUTHENTICATING);
	if (r >= 0)
		r = stream_write(&l->stream, line, bytes);
	if (r < 0) /* told from the loop: the caller may be the owner */
		event_active(&l->stream.read_event, EV_READ, 0);
}

/* HI has come and the HELLO is known. Hashing takes milliseconds, so it is done in turns. */
static void link_say_hello(struct link *l)
{
	link_set_state(l, LINK_HASHING);
	if (l->greeting->hi.iterations > 0 && dialer_url(l->dialer)->password)
		dialer_take_turn(l->dialer, &l->greeting->turn);
	else
		link_hash(&l->greeting->turn);
}

/* A whole line in the course of the handshake; l->partial tells it. */
void link_on_greeting(struct link *l)
{
	const struct resp *r = &l->partial->resp;

	if (r->kind == '-') {
		link_lose(l, r->head);
		return;
	}
	if (l->state == LINK_GREETING) {
		if (r->kind != '+' || hi_parse(r->head, r->head_bytes, &l->greeting->hi) < 0) {
			link_lose(l, LINK_NO_SERVER);
			return;
		}
		link_set_state(l, LINK_GREETED);
		if (l->hello)
			link_say_hello(l);
	} else if (l->state == LINK_AUTHENTICATING && resp_is_ok(r)) {
		link_set_state(l, LINK_READY);
		l->ops->on_ready(l);
	} else
		link_lose(l, "the server did not keep to the handshake");
}

static void link_on_drained(struct stream *s)
{
	struct link *l = container_of(s, struct link, stream);

	if (l->state == LINK_READY)
		l->ops->on_drained(l);
}

/* What the server had said by then counts, a job that it gave out above all: it is read, and then comes the end. */
static void link_on_broken(_unused_ struct stream *s, _unused_ int error)
{
}

static const struct stream_ops link_stream_ops = {
	.is_answered = true,
	.on_readable = link_on_readable,
	.on_drained = link_on_drained,
	.on_broken = link_on_broken,
};

static void link_on_dialled(int fd, const char *what, void *userdata)
{
	struct link *l = userdata;

	l->dial = NULL;
	if (fd < 0) {
		link_lose(l, what);
		return;
	}
	l->greeting = calloc(1, sizeof *l->greeting);
	if (!l->greeting || stream_open(&l->stream, dialer_base(l->dialer), fd, &link_stream_ops) < 0) {
		close_fd(fd);
		link_lose(l, "out of memory");
		return;
	}
	l->greeting->link = l;
	l->greeting->turn.callback = link_hash;
	link_set_state(l, LINK_GREETING);
	link_set_timer(l, LINK_HANDSHAKE_USEC);
}

static void link_start_dial(struct link *l)
{
	link_set_state(l, LINK_DIALLING);
	int r = dial_start(l->dialer, link_on_dialled, l, &l->dial);
	if (r < 0) {
		/* Out of descriptors or memory: like a refusal, but told from the loop. */
		log_debug("Cannot dial: %s", strerror(-r));
		link_set_state(l, LINK_WAITING);
		link_set_timer(l, LINK_REDIAL_MAX_USEC);
	}
}

/* How long the oldest request may go without an answer while nothing moves. */
static usec_t link_limit_usec(const struct link *l)
{
	const struct link_request *r;

	if (STAILQ_FIRST(&l->requests)->patient)
		return USEC_NEVER;
	STAILQ_FOREACH (r, &l->requests, next)
		if (!r->hasty)
			return LINK_COMMAND_USEC;
	return LINK_HASTY_USEC;
}

/* Is there still something to wait for, and sense in it? A link that only a FETCH is under way on needs no looks. */
static void link_look(struct link *l)
{
	const struct link_request *first = STAILQ_FIRST(&l->requests);
	usec_t limit;

	l->n_quiet = l->active ? 0 : (uint8_t)MIN(l->n_quiet + 1, UINT8_MAX);
	l->active = false;
	if (!first || (first->patient && !STAILQ_NEXT(first, next))) {
		link_drop_timer(l);
		return;
	}
	limit = link_limit_usec(l);
	if (l->n_quiet * LINK_LOOK_USEC >= limit && clock_now_usec() >= usec_add(first->sent_usec, limit))
		link_lose(l, "no answer to a command");
	else
		link_set_timer(l, LINK_LOOK_USEC);
}

static void link_on_timer(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct link *l = userdata;

	switch (l->state) {
	case LINK_WAITING:
		link_drop_timer(l);
		link_start_dial(l);
		return;
	case LINK_READY:
		if (l->doubtful) {
			if (!link_believe(l))
				return;
			l->active = true;
		}
		link_look(l);
		return;
	default:
		link_lose(l, "no answer to the handshake");
	}
}

void link_set_timer(struct link *l, usec_t usec)
{
	struct timeval tv = usec_to_timeval(usec);

	if (!l->timer)
		l->timer = event_new(dialer_base(l->dialer), -1, 0, link_on_timer, l);
	if (!l->timer || event_add(l->timer, &tv) < 0)
		log_error("Out of memory: a link to the server has no timer.");
}

int link_new(struct dialer *dialer, const struct link_ops *ops, void *owner, struct link **ret)
{
	struct link *l = calloc(1, sizeof *l);

	if (!l)
		return -ENOMEM;
	l->dialer = dialer;
	l->ops = ops;
	l->owner = owner;
	STAILQ_INIT(&l->requests);
	stream_init(&l->stream);
	*ret = l;
	return 0;
}

struct link *link_free(struct link *l)
{
	if (l) {
		link_close(l, !STAILQ_EMPTY(&l->requests));
		free(l);
	}
	return NULL;
}

void *link_owner(const struct link *l)
{
	return l->owner;
}

void link_set_owner(struct link *l, const struct link_ops *ops, void *owner)
{
	l->ops = ops;
	l->owner = owner;
}

void link_dial(struct link *l)
{
	if (l->state == LINK_IDLE)
		link_start_dial(l);
}

void link_set_hello(struct link *l, const struct hello *hello)
{
	l->hello = hello;
	if (hello && l->state == LINK_GREETED)
		link_say_hello(l);
}

enum link_state link_get_state(const struct link *l)
{
	return l->state;
}

/* What is sent after it is no answer to a hasty one. */
static void link_count_write(struct link *l)
{
	if (STAILQ_EMPTY(&l->requests) || !STAILQ_FIRST(&l->requests)->hasty)
		l->active = true;
}

void link_send(struct link *l, struct link_request *request, usec_t now, const char *p, size_t bytes)
{
	request->sent_usec = now;
	STAILQ_INSERT_TAIL(&l->requests, request, next);
	if (!l->timer && !request->patient) {
		l->active = false;
		l->n_quiet = 0;
		link_set_timer(l, LINK_LOOK_USEC);
	}
	link_count_write(l);
	if (stream_write_batched(&l->stream, p, bytes) < 0)
		event_active(&l->stream.read_event, EV_READ, 0);
}

void link_send_more(struct link *l, const char *p, size_t bytes)
{
	link_count_write(l);
	if (stream_write(&l->stream, p, bytes) < 0)
		event_active(&l->stream.read_event, EV_READ, 0);
}

bool link_is_full(const struct link *l)
{
	return stream_backlog_bytes(&l->stream) > STREAM_BACKLOG_HIGH_BYTES;
}

void link_pause(struct link *l)
{
	stream_pause(&l->stream);
}

void link_resume(struct link *l)
{
	if (stream_resume(&l->stream) < 0)
		event_active(&l->stream.read_event, EV_READ, 0);
}

struct link_request *link_first_request(const struct link *l)
{
	return STAILQ_FIRST(&l->requests);
}

struct link_request *link_take_request(struct link *l)
{
	struct link_request *request = STAILQ_FIRST(&l->requests);

	if (request)
		STAILQ_REMOVE_HEAD(&l->requests, next);
	return request;
}

bool link_has_requests(const struct link *l)
{
	return !STAILQ_EMPTY(&l->requests);
}
