/* SPDX-License-Identifier: MIT
 *
 * A session's life: greeted as soon as it is accepted, its link dialled in the same breath, open after HELLO, and over
 * when its other end is at its end and every answer that is owed has been given. What is under way then goes on
 * without it.
 */
#include "base/log.h"
#include "gateway/internal.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* One buffer for all sessions: what is read is dealt with, or copied, before the callback returns. */
static char scratch[STREAM_READ_BYTES];

static const struct link_ops session_link_ops;

static void session_update_reading(struct session *s)
{
	bool want = (s->in_bytes == 0 || s->in_bytes < gather_input_max(s)) &&
		    !(s->link && link_is_full(s->link) && link_is_ready(s->link));

	if (s->over || s->eof || want == s->stream.reading)
		return;
	if (want)
		(void)stream_resume(&s->stream);
	else
		stream_pause(&s->stream);
}

void session_want_link(struct session *s)
{
	struct listener *l = s->listener;

	if (!s->link && s->identity) {
		s->link = retired_take_spare(l, s->identity);
		if (s->link)
			link_set_owner(s->link, &session_link_ops, s);
	}
	if (!s->link && link_new(l->gateway->dialer, &session_link_ops, s, &s->link) < 0)
		return; /* what waits for it runs into its time limit */
	if (s->identity)
		link_set_hello(s->link, &s->identity->hello);
	link_dial(s->link);
}

/* Gives the link away with what is under way on it. */
static void session_release_link(struct session *s)
{
	if (s->link)
		retired_release(s->listener, TAKE_PTR(s->link), s->identity);
}

static bool session_took_all(const struct session *s)
{
	return !s->stream.error && stream_backlog_bytes(&s->stream) == 0;
}

/* The reply could not be handed over whole: nobody has run that job. */
static void session_drop_undelivered(struct session *s, bool delivered)
{
	struct hold *h = TAKE_PTR(s->undelivered);

	if (!h)
		return;
	if (delivered)
		hold_drop_body(h);
	else if (h->state == HOLD_HELD)
		answer_stray(s->listener, h, NULL, 0);
	hold_unref(h);
}

void session_end(struct session *s)
{
	struct listener *l = s->listener;

	if (s->over)
		return;
	s->over = true;
	wait_clear(s);
	gather_end(s);
	if (s->upload) {
		/* Half a line is at the server: without its end it is not carried out, nor may anything follow it. */
		struct link_request *base;

		upload_drop(s);
		while ((base = link_take_request(s->link)))
			request_on_lost(container_of(base, struct request, base), false);
		s->link = link_free(s->link);
	}
	for (const struct link_request *base = s->link ? link_first_request(s->link) : NULL; base;
	     base = STAILQ_NEXT(base, next))
		request_detach(container_of(base, struct request, base));
	stream_flush(&s->stream);
	session_drop_undelivered(s, session_took_all(s));
	session_release_link(s);
	if (!s->identity)
		TAILQ_REMOVE(&l->greeting, s, in_queue);
	s->identity = identity_unref(l, s->identity);
	if (!s->eof)
		l->n_open--;
	TAILQ_REMOVE(&l->sessions, s, in_sessions);
	l->n_sessions--;
	if (!s->eof || stream_backlog_bytes(&s->stream) > 0 || l->holder.n_holds == 0)
		stream_close(&s->stream, false);
	gateway_take_session(l->gateway, s);
	if (l->accept_again_usec != USEC_NEVER)
		listener_arm(l, 0);
	listener_changed(l);
}

void session_answer(struct session *s, const char *p, size_t bytes)
{
	/* A write that fails tells that the other end is gone; reading says so as well, and in order. */
	if (!s->over && stream_write_batched(&s->stream, p, bytes) < 0)
		log_debug("%s: a session did not take its answer.", s->listener->holder.name);
}

/* The other end may be gone, or its socket full. */
static void session_on_sent(struct stream *stream, const char *p, size_t bytes)
{
	struct session *s = container_of(stream, struct session, stream);
	const char *body;

	/* Until all of it has reached the kernel, nobody can have run the job. */
	if (session_took_all(s)) {
		s->undelivered = hold_unref(s->undelivered);
		return;
	}
	body = (const char *)memchr(p, '\n', bytes) + 1;
	answer_keep_body(s->listener, s->undelivered, body, bytes - (size_t)(body - p) - STRLEN("\r\n"));
}

void session_hand_over(struct session *s, struct hold *h, const struct link_reply *reply)
{
	if (s->over)
		return;
	if (reply->last && s->undelivered) {
		stream_flush(&s->stream);
		session_drop_undelivered(s, !s->stream.error);
	}
	if (reply->first && reply->last) {
		s->undelivered = hold_ref(h);
		stream_write_told(&s->stream, reply->bytes, reply->n_bytes);
		return;
	}
	if (stream_write(&s->stream, reply->bytes, reply->n_bytes) < 0)
		log_debug("%s: a session did not take what it has fetched.", s->listener->holder.name);
	if (reply->last && h && !session_took_all(s))
		s->undelivered = hold_ref(h);
}

bool session_is_drained(const struct session *s)
{
	return s->eof && !s->upload && s->wait == WAIT_NONE && (s->ended || s->in_bytes == 0);
}

/* A session that nothing waits in has no buffer. */
void session_drop_input(struct session *s, size_t bytes)
{
	s->in_bytes -= (uint32_t)bytes;
	if (s->in_bytes > 0)
		memmove(s->in, s->in + bytes, s->in_bytes);
	else {
		free(TAKE_PTR(s->in));
		s->in_size = 0;
	}
}

/* A last line without its end does not count, as on the server (faktory-live 11). */
static void session_finish(struct session *s)
{
	if (s->upload) {
		session_end(s);
		return;
	}
	stream_flush(&s->stream); /* what is batched is no backlog yet */
	session_drop_input(s, s->in_bytes);
	gather_end(s);
	if (s->fetch && s->n_requests == 1)
		session_strand_fetch(s, false);
	if (s->n_requests == 0 && stream_backlog_bytes(&s->stream) == 0)
		session_end(s);
	else if (s->eof && s->listener->dead)
		session_end(s); /* nobody is there to read the answers */
}

void session_advance(struct session *s)
{
	size_t done;

	if (s->over)
		return;
	if (s->in_bytes > 0 && !s->ended) {
		done = intake_feed(s, s->in, s->in_bytes);
		if (s->over)
			return;
		session_drop_input(s, done);
	}
	if ((s->eof || s->ended) && s->wait == WAIT_NONE && (!s->fetch || s->n_requests == 1 || s->ended)) {
		bool more = !s->ended && s->in_bytes > 0 && memchr(s->in, '\n', s->in_bytes);

		/* Whole lines behind a FETCH that nobody waits for any more: on with them. */
		if (more && s->fetch) {
			session_strand_fetch(s, false);
			session_advance(s);
			return;
		}
		if (!more || s->ended)
			session_finish(s);
	}
	session_update_reading(s);
}

void session_strand_fetch(struct session *s, bool nil)
{
	if (!s->fetch || link_first_request(s->link) != &s->fetch->base)
		return; /* earlier answers are owed first: the caller comes again */
	request_detach(s->fetch);
	session_release_link(s);
	if (nil)
		session_answer(s, "$-1\r\n", STRLEN("$-1\r\n"));
}

/* USEC_NEVER where only the server can answer. A FETCH alone is listener.c's, for it may wait longer. */
usec_t session_late_usec(const struct session *s)
{
	const struct link_request *first = s->link ? link_first_request(s->link) : NULL;

	for (const struct link_request *base = first; base; base = STAILQ_NEXT(base, next)) {
		const struct request *r = container_of(base, const struct request, base);

		if (r->kind == REQUEST_PASS || (r->kind == REQUEST_FETCH && base == first) ||
		    (r->kind != REQUEST_BEAT && r->kind != REQUEST_FETCH && !r->hold))
			return USEC_NEVER;
	}
	return first ? first->sent_usec + ANSWER_LATE_USEC : USEC_NEVER;
}

/* What the server says to it in the end still settles the holds; the session goes on with another link. */
void session_answer_late(struct session *s)
{
	usec_t now = clock_now_usec();

	for (struct link_request *base = link_first_request(s->link); base; base = STAILQ_NEXT(base, next)) {
		struct request *r = container_of(base, struct request, base);

		request_detach(r);
		if (r->kind == REQUEST_FETCH)
			wait_for_answer(s, 0, true, MAX(now, base->sent_usec + FETCH_NIL_USEC));
		else
			session_answer(s, "+OK\r\n", STRLEN("+OK\r\n"));
	}
	session_release_link(s);
	session_want_link(s);
	session_advance(s);
}

void session_mark_eof(struct session *s)
{
	if (s->eof || s->over)
		return;
	s->eof = true;
	s->listener->n_open--;
	s->listener->gateway->ops->on_eof(s->listener->worker);
}

static int session_keep_input(struct session *s, const char *p, size_t bytes)
{
	size_t want = s->in_bytes + bytes;

	if (want > s->in_size) {
		size_t size = s->seated ? want + STREAM_READ_BYTES : want;
		char *grown = realloc(s->in, size);

		if (!grown)
			return -ENOMEM;
		s->in = grown;
		s->in_size = (uint32_t)size;
	}
	memcpy(s->in + s->in_bytes, p, bytes);
	s->in_bytes += (uint32_t)bytes;
	return 0;
}

static void session_take(struct session *s, const char *p, size_t bytes)
{
	/* Input that waits comes first; most of the time there is none, and nothing is copied. */
	size_t done = s->in_bytes == 0 && !s->ended ? intake_feed(s, p, bytes) : 0;

	if (s->over || s->ended)
		return;
	if (done < bytes) {
		int one = 1;

		if (session_keep_input(s, p + done, bytes - done) < 0) {
			log_error("%s: out of memory; a session is closed.", s->listener->holder.name);
			session_end(s);
			return;
		}
		/* The rest of a line that is sent in two small writes waits at the worker for our acknowledgement
		 * (Nagle), and dies with it, unless the kernel is told to acknowledge at once (hazards 26). */
		(void)setsockopt(s->stream.fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
	}
}

/* One read in the normal course, so that nobody waits for a session that sends much; all there is when its
 * worker is dead. */
void session_read(struct session *s, bool to_the_end)
{
	if (to_the_end && s->in_bytes > 0)
		session_advance(s); /* it may be the beginning of a long report that had to wait */
	do {
		if (s->eof || s->over || (to_the_end && s->in_bytes >= gather_input_max(s)))
			break;
		ssize_t n = stream_read(&s->stream, scratch, sizeof scratch);
		if (n == -EAGAIN)
			break;
		if (n <= 0) {
			session_mark_eof(s);
			break;
		}
		session_take(s, scratch, (size_t)n);
		if (to_the_end)
			session_advance(s);
	} while (to_the_end);
	session_advance(s);
}

static void session_on_readable(struct stream *stream)
{
	struct session *s = container_of(stream, struct session, stream);

	/* Not when the end is read: that may be a death's first sign, and this can wait until its jobs are FAILed. */
	if (s->eof || s->over)
		stream_pause(stream);
	else
		session_read(s, false);
}

static void session_on_drained(struct stream *stream)
{
	struct session *s = container_of(stream, struct session, stream);

	if (stream_backlog_bytes(stream) == 0)
		session_drop_undelivered(s, true);
	if (s->link && link_is_ready(s->link))
		link_resume(s->link);
	session_advance(s);
}

static void session_on_broken(struct stream *stream, _unused_ int error)
{
	struct session *s = container_of(stream, struct session, stream);

	/* What it still has to say counts: it is read to the end, and only then is the session over. */
	session_drop_undelivered(s, false);
	session_read(s, true);
	session_mark_eof(s);
	session_advance(s);
}

static const struct stream_ops session_stream_ops = {
	.on_readable = session_on_readable,
	.on_drained = session_on_drained,
	.on_broken = session_on_broken,
	.on_sent = session_on_sent,
};

static void session_link_on_ready(struct link *link)
{
	struct session *s = link_owner(link);

	if (s->wait == WAIT_LINK || s->wait == WAIT_ROOM)
		wait_clear(s);
	session_advance(s);
}

static void session_link_on_reply(_unused_ struct link *link, struct link_request *base, const struct link_reply *reply)
{
	request_on_reply(container_of(base, struct request, base), reply);
}

static void session_link_on_lost(struct link *link, bool partial, _unused_ const char *why)
{
	struct session *s = link_owner(link);
	struct link_request *base;
	bool uploading = s->upload;

	/* The session may end on the way: until all is said the link is nobody's. */
	upload_drop(s);
	s->link = NULL;
	while ((base = link_take_request(link))) {
		request_on_lost(container_of(base, struct request, base), partial);
		partial = false;
	}
	if (uploading)
		session_end(s);
	if (s->over || s->link) {
		link_free(link);
		return;
	}
	s->link = link;
	session_advance(s);
}

static void session_link_on_drained(struct link *link)
{
	session_advance(link_owner(link));
}

static const struct link_ops session_link_ops = {
	.on_ready = session_link_on_ready,
	.on_reply = session_link_on_reply,
	.on_lost = session_link_on_lost,
	.on_drained = session_link_on_drained,
};

/* Takes the descriptor. */
int session_new(struct listener *l, int fd)
{
	struct session *s = calloc(1, sizeof *s);
	int r;

	if (!s || (r = stream_open(&s->stream, l->gateway->base, fd, &session_stream_ops)) < 0) {
		close_fd(fd);
		free(s);
		return -ENOMEM;
	}
	s->listener = l;
	TAILQ_INSERT_TAIL(&l->sessions, s, in_sessions);
	TAILQ_INSERT_TAIL(&l->greeting, s, in_queue);
	l->n_sessions++;
	l->n_open++;
	s->due_usec = clock_now_usec() + HELLO_LIMIT_USEC;
	listener_arm(l, s->due_usec);
	session_answer(s, HANDSHAKE_HI, STRLEN(HANDSHAKE_HI));
	/* Dialled now, the server's greeting is here when HELLO is. With links to spare HELLO decides. */
	if (!l->dead && l->n_spares == 0)
		session_want_link(s);
	return 0;
}
