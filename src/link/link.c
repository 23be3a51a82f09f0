/* SPDX-License-Identifier: MIT
 *
 * One connection to the server, as link.h tells it. Two timers' work is done by one event, which exists only while it
 * is needed: redial, handshake limit and command limit never run at the same time. An idle link has no timer at all.
 */
#include "link/link.h"
#include "base/log.h"
#include "link/stream.h"
#include <event2/event.h>
#include <event2/util.h>
#include <stdio.h>
#include <string.h>

struct link {
	struct stream stream;
	struct dialer *dialer;
	const struct link_ops *ops;
	void *owner;
	const struct hello *hello;
	STAILQ_HEAD(, link_request) requests;

	enum link_state state;
	uint8_t attempts; /* dials since the last answer of a server */
	bool streaming;   /* parts of the present reply have been passed on */
	bool active;      /* something moved since the command timer was armed */
	bool doubtful;    /* the reply in `in` is an error that may be the server's last word */
	bool *gone;       /* set when the link is closed or freed inside a callback */

	struct dial *dial;
	struct event *timer; /* NULL while not needed */
	struct hi *hi;       /* between HI and +OK */
	struct hash_turn turn;

	struct resp resp;
	char *in; /* the part of a reply that came so far, while it may still be passed on whole */
	size_t in_bytes, in_size;
};

/* One buffer for all links: what is read is dealt with, or copied, before the callback returns. */
static char scratch[STREAM_READ_BYTES];

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

static void link_set_timer(struct link *l, usec_t usec);

static void link_drop_timer(struct link *l)
{
	if (l->timer)
		event_free(TAKE_PTR(l->timer));
}

static void link_drop_input(struct link *l)
{
	free(TAKE_PTR(l->in));
	l->in_bytes = l->in_size = 0;
	l->doubtful = false;
}

/* The one writer of l->state. What is not legal in the new state is undone here. */
static void link_set_state(struct link *l, enum link_state state)
{
	l->state = state;
	if (state != LINK_HASHING)
		dialer_leave_turn(l->dialer, &l->turn);
	if (state != LINK_DIALLING)
		l->dial = dial_cancel(l->dial);
	if (state == LINK_IDLE || state == LINK_WAITING || state == LINK_READY) {
		link_drop_timer(l);
		free(TAKE_PTR(l->hi));
	}
	if (state == LINK_IDLE || state == LINK_WAITING) {
		link_drop_input(l);
		resp_reset(&l->resp);
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
static void link_lose(struct link *l, const char *why)
{
	/* An error that ends the connection is no part of what was asked for. */
	bool partial = (l->streaming || l->in_bytes > 0 || l->resp.kind) && l->resp.kind != '-';
	bool gone = false;
	char reason[128];

	/* For a loop over its input the link is gone, whatever becomes of it. */
	if (l->gone)
		*l->gone = true;
	/* why may lie in l->resp, which the new state clears. */
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
	struct link *l = container_of(turn, struct link, turn);
	_cleanup_free_ char *line = NULL;
	size_t bytes;

	int r = hello_write(l->hello, l->hi, dialer_url(l->dialer)->password, &line, &bytes);
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
	if (l->hi->iterations > 0 && dialer_url(l->dialer)->password)
		dialer_take_turn(l->dialer, &l->turn);
	else
		link_hash(&l->turn);
}

/* A whole line in the course of the handshake; l->resp tells it. */
static void link_on_greeting(struct link *l)
{
	struct resp *r = &l->resp;

	if (r->kind == '-') {
		link_lose(l, r->head);
		return;
	}
	if (l->state == LINK_GREETING) {
		if (r->kind != '+' || !l->hi || hi_parse(r->head, r->head_bytes, l->hi) < 0) {
			link_lose(l, "what answers there does not greet as a Faktory server of protocol version 2");
			return;
		}
		resp_reset(r);
		link_set_state(l, LINK_GREETED);
		if (l->hello)
			link_say_hello(l);
	} else if (l->state == LINK_AUTHENTICATING && resp_is_ok(r)) {
		resp_reset(r);
		link_set_state(l, LINK_READY);
		l->ops->on_ready(l);
	} else
		link_lose(l, "the server did not keep to the handshake");
}

static void link_deliver(struct link *l, const char *p, size_t bytes)
{
	struct link_request *request = STAILQ_FIRST(&l->requests);
	struct link_reply reply = {
		.resp = &l->resp,
		.bytes = p,
		.n_bytes = bytes,
		.first = !l->streaming,
		.last = l->resp.done,
	};

	l->attempts = 0;
	if (reply.last)
		STAILQ_REMOVE_HEAD(&l->requests, next);
	l->streaming = !reply.last;
	l->ops->on_reply(l, request, &reply);
}

static int link_keep_input(struct link *l, const char *p, size_t bytes)
{
	size_t want = l->in_bytes + bytes;

	if (want > l->in_size) {
		/* A bulk says how long it will be; anything else grows by doubling. */
		if (l->resp.kind == '$' && l->resp.header_done && !l->resp.nil)
			want = MAX(want, l->resp.header_bytes + (size_t)l->resp.body_bytes + 2);
		else
			want = MAX(want, 2 * l->in_size);
		char *grown = realloc(l->in, want);
		if (!grown)
			return -ENOMEM;
		l->in = grown;
		l->in_size = want;
	}
	memcpy(l->in + l->in_bytes, p, bytes);
	l->in_bytes += bytes;
	return 0;
}

static bool link_reply_is_long(const struct link *l, size_t more_bytes)
{
	const struct resp *r = &l->resp;

	return l->in_bytes + more_bytes > LINK_WHOLE_BYTES ||
	       (r->kind == '$' && r->header_done && r->body_bytes > LINK_WHOLE_BYTES - r->header_bytes - 2);
}

/* Any error that is followed by the end of the connection tells of the server's end, and nothing about the command
 * (hazards 5). So one in words that are not known to be about the command waits a moment, if nothing is behind it. */
static bool link_doubts(const struct link *l)
{
	return l->resp.done && l->resp.kind == '-' && resp_error_class(&l->resp) == RESP_ERROR_STORAGE && !l->streaming;
}

static void link_lose_doubtful(struct link *l, const char *why)
{
	char text[RESP_HEAD_MAX];

	memcpy(text, l->resp.head, sizeof text);
	link_drop_input(l);
	resp_reset(&l->resp);
	link_lose(l, text[0] ? text : why);
}

/* It was no last word. False: the link is gone. */
static bool link_believe(struct link *l)
{
	_cleanup_free_ char *in = TAKE_PTR(l->in);
	size_t in_bytes = l->in_bytes;
	bool gone = false;

	link_drop_input(l);
	l->gone = &gone;
	link_deliver(l, in, in_bytes);
	if (gone)
		return false;
	l->gone = NULL;
	resp_reset(&l->resp);
	return true;
}

/* Bytes of one reply: all that is left of it, or all that there is. */
static void link_on_reply_bytes(struct link *l, const char *p, size_t bytes, bool last)
{
	const struct resp *r = &l->resp;

	if (r->done && r->kind == '-' && resp_error_class(r) == RESP_ERROR_UNAVAILABLE && !l->streaming) {
		/* Not executed, and the connection ends with it. "too many connections" comes unasked, behind the
		 * +OK to HELLO, and must not pass for the answer to what was sent meanwhile (hazards 5). */
		link_lose(l, r->head);
		return;
	}
	if (STAILQ_EMPTY(&l->requests)) {
		if (r->done)
			link_lose(l, r->kind == '-' ? r->head : "the server sent a reply to nothing");
		return;
	}
	if (last && link_doubts(l) && link_keep_input(l, p, bytes) == 0) {
		l->doubtful = true;
		link_set_timer(l, LINK_DOUBT_USEC);
		return;
	}
	if (!l->streaming && l->in_bytes == 0 && (r->done || link_reply_is_long(l, bytes))) {
		link_deliver(l, p, bytes);
		return;
	}
	if (l->streaming) {
		link_deliver(l, p, bytes);
		return;
	}
	if (link_keep_input(l, p, bytes) < 0) {
		link_lose(l, "out of memory");
		return;
	}
	if (r->done || link_reply_is_long(l, 0)) {
		_cleanup_free_ char *in = TAKE_PTR(l->in);
		size_t in_bytes = l->in_bytes;

		link_drop_input(l);
		link_deliver(l, in, in_bytes);
	}
}

static void link_on_readable(struct stream *s)
{
	struct link *l = container_of(s, struct link, stream);
	const char *p = scratch;
	bool gone = false;

	ssize_t n = stream_read(s, scratch, sizeof scratch);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		const char *why = s->error ? strerror(s->error) : n == 0 ? "closed by the server" : strerror((int)-n);

		if (l->doubtful)
			link_lose_doubtful(l, why);
		else
			link_lose(l, why);
		return;
	}

	if (l->doubtful && !link_believe(l))
		return;
	l->active = true;
	l->gone = &gone;
	while (n > 0) {
		size_t used;

		if (resp_scan(&l->resp, p, (size_t)n, &used) < 0) {
			link_lose(l, "the server sent bytes that are no reply");
			return;
		}
		if (l->state == LINK_READY)
			link_on_reply_bytes(l, p, used, used == (size_t)n);
		else if (l->resp.done)
			link_on_greeting(l);
		if (gone)
			return;
		if (l->resp.done && !l->doubtful)
			resp_reset(&l->resp);
		p += used;
		n -= (ssize_t)used;
	}
	l->gone = NULL;
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
	l->hi = malloc(sizeof *l->hi);
	if (!l->hi || stream_open(&l->stream, dialer_base(l->dialer), fd, &link_stream_ops) < 0) {
		close_fd(fd);
		link_lose(l, "out of memory");
		return;
	}
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

static void link_on_timer(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct link *l = userdata;

	switch (l->state) {
	case LINK_WAITING:
		link_drop_timer(l);
		link_start_dial(l);
		return;
	case LINK_READY: {
		const struct link_request *first;

		if (l->doubtful) {
			if (!link_believe(l))
				return;
			l->active = true;
		}
		first = STAILQ_FIRST(&l->requests);
		if (!first)
			link_drop_timer(l);
		else if (first->patient || l->active) {
			l->active = false;
			link_set_timer(l, LINK_COMMAND_USEC);
		} else
			link_lose(l, "no answer to a command");
		return;
	}
	default:
		link_lose(l, "no answer to the handshake");
	}
}

static void link_set_timer(struct link *l, usec_t usec)
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
	l->turn.callback = link_hash;
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

void link_send(struct link *l, struct link_request *request, usec_t now, const char *p, size_t bytes)
{
	request->sent_usec = now;
	STAILQ_INSERT_TAIL(&l->requests, request, next);
	if (!l->timer && !request->patient)
		link_set_timer(l, LINK_COMMAND_USEC);
	link_send_more(l, p, bytes);
}

void link_send_more(struct link *l, const char *p, size_t bytes)
{
	l->active = true;
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
