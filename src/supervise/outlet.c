/* SPDX-License-Identifier: MIT
 *
 * Writing without waiting to a descriptor that must stay as it is. A socket has MSG_DONTWAIT; a pipe or terminal is
 * opened once more through /proc, which gives an open file of our own; where that is refused (another user's
 * terminal) poll(2) tells when PIPE_BUF bytes go in; a regular file never waits.
 */
#include "supervise/outlet.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define OUTLET_LAST_WORDS_USEC (500 * USEC_PER_MSEC)

enum outlet_kind {
	OUTLET_PLAIN, /* write(2) does not wait: a file, or an open file of our own */
	OUTLET_SOCKET,
	OUTLET_SHARED, /* only poll(2) helps */
	OUTLET_BROKEN, /* nobody will ever read it */
};

struct outlet {
	enum outlet_kind kind;
	int fd; /* to write to: borrowed, or own_fd */
	int own_fd;
	struct event *flush; /* at the end of the turn */
	struct event *room;  /* EV_WRITE; NULL for what epoll(7) does not take, which never says EAGAIN either */
	bool waiting;        /* room is armed */
	char *backlog;       /* NULL while empty */
	size_t start, end, size;
	uint64_t dropped_bytes;
};

static void outlet_find_kind(struct outlet *o, int fd)
{
	struct stat st;
	char path[32];

	o->fd = fd;
	if (fstat(fd, &st) < 0) {
		o->kind = OUTLET_BROKEN;
	} else if (S_ISSOCK(st.st_mode)) {
		o->kind = OUTLET_SOCKET;
	} else if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		o->own_fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		o->kind = o->own_fd >= 0 ? OUTLET_PLAIN : OUTLET_SHARED;
		if (o->own_fd >= 0)
			o->fd = o->own_fd;
	} else {
		o->kind = OUTLET_PLAIN;
	}
}

static ssize_t outlet_try(struct outlet *o, const char *p, size_t bytes)
{
	struct pollfd pfd = {.fd = o->fd, .events = POLLOUT};
	ssize_t n;

	if (o->kind == OUTLET_SOCKET) {
		n = send(o->fd, p, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		if (o->kind == OUTLET_SHARED) {
			if (poll(&pfd, 1, 0) <= 0)
				return -EAGAIN;
			bytes = MIN(bytes, (size_t)PIPE_BUF);
		}
		n = write(o->fd, p, bytes);
	}
	return n < 0 ? -errno : n;
}

static void outlet_drop_all(struct outlet *o)
{
	free(TAKE_PTR(o->backlog));
	o->start = o->end = o->size = 0;
}

static void outlet_say_dropped(struct outlet *o)
{
	char size[FORMAT_SIZE_MAX];

	if (o->dropped_bytes == 0)
		return;
	log_warning("%s of workers' standard error were dropped here: nobody read it",
		    format_size(size, o->dropped_bytes));
	o->dropped_bytes = 0;
}

/* Writes what can be written now. */
static void outlet_flush(struct outlet *o)
{
	while (o->start < o->end && o->kind != OUTLET_BROKEN) {
		ssize_t n = outlet_try(o, o->backlog + o->start, o->end - o->start);
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN) {
			if (!o->waiting && o->room)
				o->waiting = event_add(o->room, NULL) == 0;
			return;
		}
		/* The reader has gone, the disk is full: the bytes are lost, workers go on. */
		if (n == -EPIPE || n == -EIO || n == -ECONNRESET || n == -EBADF)
			o->kind = OUTLET_BROKEN;
		if (n <= 0)
			break;
		o->start += (size_t)n;
	}
	outlet_drop_all(o);
	if (o->kind != OUTLET_BROKEN)
		outlet_say_dropped(o);
}

static void outlet_on_flush(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	outlet_flush(userdata);
}

static void outlet_on_room(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct outlet *o = userdata;
	o->waiting = false;
	outlet_flush(o);
}

int outlet_new(struct event_base *base, int fd, struct outlet **ret)
{
	struct outlet *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->own_fd = -EBADF;
	outlet_find_kind(o, fd);
	o->flush = event_new(base, -1, 0, outlet_on_flush, o);
	if (o->kind != OUTLET_BROKEN)
		o->room = event_new(base, o->fd, EV_WRITE, outlet_on_room, o);
	if (!o->flush || (!o->room && o->kind != OUTLET_BROKEN)) {
		outlet_free(o);
		return -ENOMEM;
	}
	*ret = o;
	return 0;
}

static void outlet_last_words(struct outlet *o)
{
	usec_t end_usec = usec_add(clock_now_usec(), OUTLET_LAST_WORDS_USEC);

	for (;;) {
		outlet_flush(o);
		usec_t now = clock_now_usec();
		if (!o->backlog || now >= end_usec)
			return;
		struct pollfd pfd = {.fd = o->fd, .events = POLLOUT};
		(void)poll(&pfd, 1, (int)((end_usec - now) / USEC_PER_MSEC) + 1);
	}
}

struct outlet *outlet_free(struct outlet *o)
{
	if (!o)
		return NULL;
	if (o->backlog)
		outlet_last_words(o);
	outlet_drop_all(o);
	if (o->flush)
		event_free(o->flush);
	if (o->room)
		event_free(o->room);
	close_fd(o->own_fd);
	free(o);
	return NULL;
}

static bool outlet_make_room(struct outlet *o, size_t bytes)
{
	size_t used = o->end - o->start;

	if (o->size - o->end >= bytes)
		return true;
	if (o->start > 0) {
		memmove(o->backlog, o->backlog + o->start, used);
		o->start = 0;
		o->end = used;
		if (o->size - o->end >= bytes)
			return true;
	}
	if (used + bytes > OUTLET_BACKLOG_BYTES)
		return false;
	size_t size = MAX(o->size * 2, (size_t)4096);
	while (size < used + bytes)
		size *= 2;
	char *grown = realloc(o->backlog, size);
	if (!grown)
		return false;
	o->backlog = grown;
	o->size = size;
	return true;
}

void outlet_write(struct outlet *o, const char *p, size_t bytes)
{
	if (o->kind == OUTLET_BROKEN || bytes == 0)
		return;
	/* What comes after a gap would be out of place until the gap has been named. */
	if (o->dropped_bytes > 0 || !outlet_make_room(o, bytes)) {
		o->dropped_bytes += bytes;
	} else {
		memcpy(o->backlog + o->end, p, bytes);
		o->end += bytes;
	}
	if (!o->waiting)
		event_active(o->flush, EV_TIMEOUT, 0);
}
