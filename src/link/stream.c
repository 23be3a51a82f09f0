/* SPDX-License-Identifier: MIT
 *
 * The stream: recv(2) and send(2) straight away, and an outbox for what the kernel does not take. The outbox (an
 * evbuffer and a write event) is made when it is needed and freed when it is empty, since most streams never need one.
 *
 * Does not decide how much may wait: the owner asks stream_backlog_bytes() and stops its source.
 */
#include "link/stream.h"
#include <assert.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Chunks given to one sendmsg(2). An evbuffer's chunks grow with what is added, so a few are a lot of bytes. */
#define OUTBOX_CHUNKS 16

/* When the last look was in vain, one write in so many is followed by another. */
#define LOOK_EVERY 4

static unsigned n_open; /* streams of all owners */

/* By what they are listed as. */
LIST_HEAD(stream_list, stream);
static struct stream_list unfinished = LIST_HEAD_INITIALIZER(unfinished);
static struct {
	struct stream_list streams;
	struct event timer;
	bool armed;
} doubts = {.streams = LIST_HEAD_INITIALIZER(doubts.streams)};

/* Since the last look. */
static struct stream *written;
static unsigned n_written;
static bool read_any; /* what the last stream_read() was good for */

/* What a turn says in short, until its end. */
static struct {
	bool open; /* there is a turn, and its end will come */
	unsigned n_pieces;
	size_t n_bytes;
	struct piece {
		struct stream *stream; /* NULL: sent, or no longer to be */
		size_t at, n_bytes;
		size_t told_bytes; /* at its end: on_sent is called for these */
	} pieces[STREAM_BATCH_PIECES];
	char bytes[STREAM_BATCH_BYTES];
} batch;

struct outbox {
	struct evbuffer *buffer;
	struct event write_event;
	bool above_high;
};

static void outbox_free(struct outbox *o)
{
	if (!o)
		return;
	(void)event_del(&o->write_event);
	evbuffer_free(o->buffer);
	free(o);
}

/* MSG_NOSIGNAL and not evbuffer_write(), which would need SIGPIPE to be ignored: workers inherit what is ignored. */
static ssize_t outbox_send(struct outbox *o, int fd)
{
	struct evbuffer_iovec chunks[OUTBOX_CHUNKS];
	int n = evbuffer_peek(o->buffer, -1, NULL, chunks, OUTBOX_CHUNKS);
	struct msghdr message = {
		.msg_iov = chunks,
		.msg_iovlen = (size_t)MIN(n, OUTBOX_CHUNKS),
	};
	ssize_t sent;

	do
		sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);

	if (sent < 0)
		return -errno;
	(void)evbuffer_drain(o->buffer, (size_t)sent);
	return sent;
}

static void stream_unlist(struct stream *s)
{
	if (s->listed != STREAM_UNLISTED)
		LIST_REMOVE(s, in_list);
	s->listed = STREAM_UNLISTED;
}

/* Not in the middle of a turn: an event that is made active there has its turn in the same one, and nobody else gets
 * in between. */
static void stream_activate_unfinished(void)
{
	struct stream *s;

	while ((s = LIST_FIRST(&unfinished))) {
		stream_unlist(s);
		event_active(&s->read_event, EV_READ, 0);
	}
}

static void stream_list(struct stream *s, struct stream_list *list, enum stream_listed listed)
{
	stream_unlist(s);
	LIST_INSERT_HEAD(list, s, in_list);
	s->listed = listed;
}

static void stream_list_unfinished(struct stream *s)
{
	if (s->listed == STREAM_UNFINISHED)
		return;
	stream_list(s, &unfinished, STREAM_UNFINISHED);
	if (!batch.open)
		stream_activate_unfinished();
}

/* They are read with the next turn's events: a worker's death has to be seen before its last words, and here it may be
 * that no event was asked for, as after a SIGCONT. */
static void stream_settle_doubts(_unused_ evutil_socket_t fd, _unused_ short what, _unused_ void *userdata)
{
	doubts.armed = false;
	while (!LIST_EMPTY(&doubts.streams))
		stream_list_unfinished(LIST_FIRST(&doubts.streams));
}

static void stream_list_doubtful(struct stream *s)
{
	const struct timeval soon = {.tv_usec = STREAM_DOUBT_USEC};

	if (s->listed == STREAM_DOUBTFUL)
		return;
	stream_list(s, &doubts.streams, STREAM_DOUBTFUL);
	if (doubts.armed)
		return;
	(void)event_assign(&doubts.timer, event_get_base(&s->read_event), -1, 0, stream_settle_doubts, NULL);
	doubts.armed = event_add(&doubts.timer, &soon) == 0;
}

/* Nothing can follow: the command before it may have gone out in part. Not every reason (ENOBUFS, ENOMEM) is an end to
 * the other side as well, and an owner who does not look at what stream_write() returns is to see it in reading. */
static int stream_fail(struct stream *s, int error)
{
	s->error = (uint16_t)error;
	outbox_free(TAKE_PTR(s->outbox));
	(void)shutdown(s->fd, SHUT_RDWR);
	return -error;
}

static void stream_on_writable(_unused_ evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct stream *s = userdata;
	struct outbox *o = s->outbox;
	size_t before = evbuffer_get_length(o->buffer), left;
	ssize_t sent;

	/* Until it takes no more: it tells once of having room again. */
	do
		sent = outbox_send(o, s->fd);
	while (sent > 0 && evbuffer_get_length(o->buffer) > 0);
	if (sent < 0 && sent != -EAGAIN) {
		(void)stream_fail(s, (int)-sent);
		s->ops->on_broken(s, s->error);
		return;
	}

	left = evbuffer_get_length(o->buffer);
	if (left == before)
		return;
	if (left == 0) {
		outbox_free(TAKE_PTR(s->outbox));
		s->ops->on_drained(s);
	} else if (o->above_high && left < STREAM_BACKLOG_LOW_BYTES) {
		o->above_high = false;
		s->ops->on_drained(s);
	}
	/* s may be gone: nothing follows a callback. */
}

static void stream_on_readable(_unused_ evutil_socket_t fd, short what, void *userdata)
{
	struct stream *s = userdata;

	if (what & EV_CLOSED)
		s->ending = true;
	s->ops->on_readable(s);
}

static int stream_make_outbox(struct stream *s)
{
	struct outbox *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->buffer = evbuffer_new();
	if (!o->buffer) {
		free(o);
		return -ENOMEM;
	}

	(void)event_assign(&o->write_event, event_get_base(&s->read_event), s->fd, EV_WRITE | EV_ET | EV_PERSIST,
			   stream_on_writable, s);
	if (event_add(&o->write_event, NULL) < 0) {
		outbox_free(o);
		return -ENOMEM;
	}
	s->outbox = o;
	return 0;
}

static int stream_keep(struct stream *s, const char *p, size_t bytes)
{
	if (!s->outbox) {
		int r = stream_make_outbox(s);

		if (r < 0)
			return r;
	}
	if (evbuffer_add(s->outbox->buffer, p, bytes) < 0)
		return -ENOMEM;

	if (evbuffer_get_length(s->outbox->buffer) > STREAM_BACKLOG_HIGH_BYTES)
		s->outbox->above_high = true;
	return 0;
}

void stream_choose_loopback_congestion(int fd)
{
	static const char name[] = "reno";

	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof(name) - 1);
}

void stream_init(struct stream *s)
{
	*s = (struct stream){.fd = -EBADF};
}

int stream_open(struct stream *s, struct event_base *base, int fd, const struct stream_ops *ops)
{
	*s = (struct stream){.fd = fd, .ops = ops};
	if (event_assign(&s->read_event, base, fd, EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, stream_on_readable, s) ||
	    event_add(&s->read_event, NULL) < 0) {
		stream_init(s);
		return -ENOMEM;
	}
	s->reading = true;
	n_open++;
	return 0;
}

ssize_t stream_read(struct stream *s, char *buffer, size_t bytes)
{
	ssize_t n;

	if (n_open > STREAM_ALONE_MAX)
		bytes = MIN(bytes, (size_t)STREAM_READ_BESIDE_BYTES);
	do
		n = recv(s->fd, buffer, bytes, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	read_any = n >= 0;
	if (n < 0)
		return -errno;
	if (n > 0 && s->reading) {
		if ((size_t)n == bytes || s->ending)
			stream_list_unfinished(s);
		else
			stream_list_doubtful(s);
	}
	return n;
}

/* 0 when something can be written. */
static int stream_refusal(const struct stream *s)
{
	return s->fd < 0 ? -EPIPE : -s->error;
}

static int stream_send(struct stream *s, const char *p, size_t bytes)
{
	ssize_t sent = 0;
	int r;

	/* Behind a backlog, what comes later must wait its turn. */
	if (!s->outbox) {
		do
			sent = send(s->fd, p, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		while (sent < 0 && errno == EINTR);

		if (sent < 0 && errno != EAGAIN)
			return stream_fail(s, errno);
		if (sent < 0)
			sent = 0;
		if ((size_t)sent == bytes) {
			written = s;
			n_written++;
			return 0;
		}
	}

	r = stream_keep(s, p + sent, bytes - (size_t)sent);
	return r < 0 ? stream_fail(s, -r) : 0;
}

static struct piece *stream_take_piece(struct stream *s)
{
	struct piece *piece = s->piece > 0 ? &batch.pieces[s->piece - 1] : NULL;

	s->piece = 0;
	if (piece)
		piece->stream = NULL;
	return piece;
}

/* What it is told of a failure is what it will see in reading. */
void stream_flush(struct stream *s)
{
	const struct piece *piece = stream_take_piece(s);
	const char *end;

	if (!piece)
		return;
	end = batch.bytes + piece->at + piece->n_bytes;
	(void)stream_send(s, batch.bytes + piece->at, piece->n_bytes);
	if (piece->told_bytes > 0)
		s->ops->on_sent(s, end - piece->told_bytes, piece->told_bytes);
}

/* What is told of is the last in its piece. */
static bool stream_can_append(const struct stream *s)
{
	return s->piece == batch.n_pieces && (s->piece == 0 || batch.pieces[s->piece - 1].told_bytes == 0);
}

void stream_send_batch(void)
{
	for (unsigned i = 0; i < batch.n_pieces; i++)
		if (batch.pieces[i].stream)
			stream_flush(batch.pieces[i].stream);
	batch.n_pieces = 0;
	batch.n_bytes = 0;
}

int stream_write(struct stream *s, const char *p, size_t bytes)
{
	int r;

	if (bytes > STREAM_BATCHED_MAX_BYTES)
		stream_send_batch(); /* this takes its time */
	else
		stream_flush(s);
	r = stream_refusal(s);
	return r < 0 || bytes == 0 ? r : stream_send(s, p, bytes);
}

int stream_write_batched(struct stream *s, const char *p, size_t bytes)
{
	int r;

	if (!batch.open || s->outbox || bytes > STREAM_BATCHED_MAX_BYTES)
		return stream_write(s, p, bytes);
	if (bytes > STREAM_BATCH_BYTES - batch.n_bytes || batch.n_pieces == STREAM_BATCH_PIECES)
		stream_send_batch();
	if (!stream_can_append(s))
		stream_flush(s); /* others have written since */
	r = stream_refusal(s);
	if (r < 0 || bytes == 0)
		return r;

	if (s->piece == 0) {
		batch.pieces[batch.n_pieces++] = (struct piece){.stream = s, .at = batch.n_bytes};
		s->piece = (uint8_t)batch.n_pieces;
	}
	memcpy(batch.bytes + batch.n_bytes, p, bytes);
	batch.pieces[s->piece - 1].n_bytes += bytes;
	batch.n_bytes += bytes;
	return 0;
}

void stream_write_told(struct stream *s, const char *p, size_t bytes)
{
	if (stream_write_batched(s, p, bytes) == 0 && s->piece > 0)
		batch.pieces[s->piece - 1].told_bytes = bytes;
	else
		s->ops->on_sent(s, p, bytes);
}

/* Reads the stream that was written in this turn, if there was only one and it is of those that are answered. */
static void stream_look_again(void)
{
	static bool answered;
	static unsigned n_passed_over;
	struct stream *s = TAKE_PTR(written);
	unsigned n = n_written;

	n_written = 0;
	if (n != 1 || !s || !s->ops->is_answered || !s->reading || (!answered && ++n_passed_over % LOOK_EVERY != 0))
		return;
	read_any = false;
	s->ops->on_readable(s);
	answered = read_any;
}

void stream_begin_turn(void)
{
	batch.open = true;
}

void stream_end_turn(void)
{
	stream_send_batch();
	stream_look_again();
	stream_send_batch();
	batch.open = false;
	stream_activate_unfinished();
}

size_t stream_backlog_bytes(const struct stream *s)
{
	return s->outbox ? evbuffer_get_length(s->outbox->buffer) : 0;
}

void stream_pause(struct stream *s)
{
	if (!s->reading)
		return;
	(void)event_del(&s->read_event);
	stream_unlist(s); /* all that is there is told of anew when it is resumed */
	s->reading = false;
}

int stream_resume(struct stream *s)
{
	if (s->reading || s->fd < 0)
		return 0;
	if (event_add(&s->read_event, NULL) < 0)
		return -ENOMEM;
	s->reading = true;
	return 0;
}

void stream_close(struct stream *s, bool reset)
{
	if (s->fd < 0)
		return;

	if (reset)
		(void)stream_take_piece(s);
	else
		stream_flush(s);
	if (written == s)
		written = NULL;
	(void)event_del(&s->read_event); /* which may be active even though it is paused */
	stream_unlist(s);
	s->reading = false;
	outbox_free(TAKE_PTR(s->outbox));
	if (reset) {
		struct linger linger = {.l_onoff = 1, .l_linger = 0};

		(void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	}
	s->fd = close_fd(s->fd);
	if (--n_open == 0 && doubts.armed) {
		(void)event_del(&doubts.timer);
		doubts.armed = false;
	}
}
