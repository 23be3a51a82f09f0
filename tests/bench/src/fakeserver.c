/* SPDX-License-Identifier: MIT
 *
 * fakeserver: as little of a Faktory server as a measurement needs, so that what is measured is what stands before it.
 * One thread, no queue: each FETCH is answered at once with a fresh job, and each jid can be settled once.
 *
 * Prints "PORT n" when it is ready, and then, for each FAIL, "JID NANOSECONDS" (CLOCK_MONOTONIC, when it was read): not
 * before everything has been read, for a write in between would be part of the measurement.
 *
 * A queue's name chooses the job: "s300" has 300 bytes, "s1000000" a million; "empty" is answered with nil after two
 * seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILLER_BYTES ((size_t)64 * 1024)
#define READ_BYTES ((size_t)64 * 1024)
#define TURN_BYTES (8 * FILLER_BYTES) /* then the others have their turn */
#define NIL_AFTER_NSEC 2000000000LL
#define JID_BYTES 24
#define SMALL_JOB_BYTES 4096

struct connection {
	int fd;
	bool want_out, closing, waiting;
	char *in;
	size_t in_bytes, in_size, scanned;
	char *out;
	size_t out_bytes, out_sent, out_size;
	size_t filler_bytes; /* of a large job, to be sent behind out */
	char tail[256];      /* and then this */
	size_t tail_bytes;
	int64_t nil_at;
	TAILQ_ENTRY(connection) next; /* waiting for nil, oldest first */
};

static TAILQ_HEAD(, connection) waiting = TAILQ_HEAD_INITIALIZER(waiting);
static int epoll_fd;
static char filler[FILLER_BYTES];
static uint64_t n_jobs;
static uint64_t *unsettled; /* a bit for each job */
static size_t n_words;

static struct stamp {
	char jid[JID_BYTES];
	int64_t at;
} * stamps;
static size_t n_stamps, stamps_size;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *grow(void *p, size_t bytes)
{
	p = realloc(p, bytes);
	if (!p)
		die("realloc");
	return p;
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void put(struct connection *c, const char *p, size_t bytes)
{
	if (c->out_sent == c->out_bytes)
		c->out_sent = c->out_bytes = 0;
	if (c->out_bytes + bytes > c->out_size) {
		c->out_size = 2 * (c->out_bytes + bytes) + 512;
		c->out = grow(c->out, c->out_size);
	}
	memcpy(c->out + c->out_bytes, p, bytes);
	c->out_bytes += bytes;
}
#define PUT(c, literal) put(c, literal, sizeof(literal) - 1)

/* The jid of an ACK or FAIL, or NULL. It is eight letters and a number of 16 hexadecimal digits. */
static const char *find_jid(const char *p, size_t bytes)
{
	const char *jid = memmem(p, bytes, "\"jid\":", 6), *end = p + bytes;

	if (!jid)
		return NULL;
	for (jid += 6; jid < end && *jid == ' ';)
		jid++;
	return end - jid > JID_BYTES && *jid == '"' ? jid + 1 : NULL;
}

static bool settle(const char *jid)
{
	char digits[17] = "", *end;
	uint64_t id;

	if (!jid)
		return false;
	memcpy(digits, jid + 8, 16);
	id = strtoull(digits, &end, 16);
	if (*end || id >= n_jobs || !(unsettled[id / 64] >> (id % 64) & 1))
		return false;
	unsettled[id / 64] &= ~(1ULL << (id % 64));
	return true;
}

static void fetch(struct connection *c, const char *queue, size_t bytes)
{
	static const char tail[] = "\"],\"created_at\":\"2026-01-01T00:00:00.000000000Z\","
				   "\"enqueued_at\":\"2026-01-01T00:00:00.000000001Z\",\"retry\":25}\r\n";
	size_t size = 300, name_bytes = 0, fixed, fill;
	char head[256], length[32];
	uint64_t id;
	int n;

	while (name_bytes < bytes && name_bytes < 64 && queue[name_bytes] != ' ')
		name_bytes++;
	if (name_bytes == 5 && memcmp(queue, "empty", 5) == 0) {
		c->waiting = true;
		c->nil_at = now() + NIL_AFTER_NSEC;
		TAILQ_INSERT_TAIL(&waiting, c, next);
		return;
	}
	if (name_bytes > 1 && queue[0] == 's')
		size = strtoull(queue + 1, NULL, 10);

	id = n_jobs++;
	if (id / 64 >= n_words) {
		unsettled = grow(unsettled, (2 * n_words + 1024) * sizeof(*unsettled));
		memset(unsettled + n_words, 0, (n_words + 1024) * sizeof(*unsettled));
		n_words = 2 * n_words + 1024;
	}
	unsettled[id / 64] |= 1ULL << (id % 64);

	n = snprintf(head, sizeof(head),
		     "{\"jid\":\"benchjob%016llx\",\"queue\":\"%.*s\",\"jobtype\":\"bench\",\"args\":[\"",
		     (unsigned long long)id, (int)name_bytes, queue);
	fixed = (size_t)n + sizeof(tail) - 3;
	fill = size > fixed ? size - fixed : 0;
	put(c, length, (size_t)snprintf(length, sizeof(length), "$%zu\r\n", fixed + fill));
	put(c, head, (size_t)n);
	if (fill <= SMALL_JOB_BYTES) {
		put(c, filler, fill);
		put(c, tail, sizeof(tail) - 1);
	} else {
		c->filler_bytes = fill;
		c->tail_bytes = sizeof(tail) - 1;
		memcpy(c->tail, tail, c->tail_bytes);
	}
}

static void stamp(const char *jid)
{
	if (!jid)
		return;
	if (n_stamps == stamps_size) {
		stamps_size = 2 * stamps_size + 4096;
		stamps = grow(stamps, stamps_size * sizeof(*stamps));
	}
	memcpy(stamps[n_stamps].jid, jid, JID_BYTES);
	stamps[n_stamps++].at = now();
}

static void say_stamps(void)
{
	for (size_t i = 0; i < n_stamps; i++)
		printf("%.*s %lld\n", JID_BYTES, stamps[i].jid, (long long)stamps[i].at);
	if (n_stamps > 0)
		fflush(stdout);
	n_stamps = 0;
}

static void command(struct connection *c, const char *line, size_t bytes)
{
	const char *space = memchr(line, ' ', bytes);
	size_t verb = space ? (size_t)(space - line) : bytes;
	const char *args = space ? space + 1 : line + bytes;
	size_t n_args = (size_t)(line + bytes - args);

#define IS(literal) (verb == sizeof(literal) - 1 && memcmp(line, literal, verb) == 0)
	if (IS("FETCH")) {
		fetch(c, args, n_args);
	} else if (IS("ACK") || IS("FAIL")) {
		const char *jid = find_jid(args, n_args);

		if (IS("FAIL"))
			stamp(jid);
		if (settle(jid))
			PUT(c, "+OK\r\n");
		else
			PUT(c, "-ERR Job not found\r\n");
	} else if (IS("END")) {
		c->closing = true;
	} else if (IS("HELLO") || IS("BEAT") || IS("PUSH")) {
		PUT(c, "+OK\r\n");
	} else if (IS("PUSHB")) {
		PUT(c, "$2\r\n{}\r\n");
	} else {
		PUT(c, "-ERR unknown command\r\n");
	}
}

static void stop_waiting(struct connection *c)
{
	if (c->waiting)
		TAILQ_REMOVE(&waiting, c, next);
	c->waiting = false;
}

static void drop(struct connection *c)
{
	stop_waiting(c);
	close(c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

/* 0 when all is out, 1 when there is more, -1 when the other end is gone. */
static int flush(struct connection *c)
{
	size_t sent = 0;

	while (c->out_sent < c->out_bytes || c->filler_bytes > 0 || c->tail_bytes > 0) {
		struct iovec v[10];
		struct msghdr message = {.msg_iov = v};
		size_t left = c->filler_bytes, part;
		ssize_t n;

		if (sent >= TURN_BYTES)
			return 1;
		if (c->out_sent < c->out_bytes)
			v[message.msg_iovlen++] = (struct iovec){c->out + c->out_sent, c->out_bytes - c->out_sent};
		while (left > 0 && message.msg_iovlen < 9) {
			part = left < FILLER_BYTES ? left : FILLER_BYTES;
			v[message.msg_iovlen++] = (struct iovec){filler, part};
			left -= part;
		}
		if (left == 0 && c->tail_bytes > 0)
			v[message.msg_iovlen++] = (struct iovec){c->tail, c->tail_bytes};
		n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? 1 : -1;
		sent += (size_t)n;

		left = (size_t)n;
		part = c->out_bytes - c->out_sent < left ? c->out_bytes - c->out_sent : left;
		c->out_sent += part;
		left -= part;
		part = c->filler_bytes < left ? c->filler_bytes : left;
		c->filler_bytes -= part;
		left -= part;
		memmove(c->tail, c->tail + left, c->tail_bytes - left);
		c->tail_bytes -= left;
	}
	return 0;
}

/* Whole lines of the input, until one of them has to wait. */
static void run(struct connection *c)
{
	char *p = c->in, *end = c->in + c->in_bytes;

	while (!c->waiting && c->filler_bytes == 0 && !c->closing) {
		char *newline = memchr(p + c->scanned, '\n', (size_t)(end - p) - c->scanned);

		if (!newline) {
			c->scanned = (size_t)(end - p);
			break;
		}
		c->scanned = 0;
		command(c, p, (size_t)(newline - p) - (newline > p && newline[-1] == '\r'));
		p = newline + 1;
	}
	c->in_bytes = (size_t)(end - p);
	if (p != c->in)
		memmove(c->in, p, c->in_bytes);
}

static void pump(struct connection *c)
{
	for (;;) {
		run(c);
		int r = flush(c);

		if (r < 0 || (r == 0 && c->closing)) {
			drop(c);
			return;
		}
		if ((r == 1) != c->want_out) {
			c->want_out = r == 1;
			struct epoll_event e = {.events = EPOLLIN | (c->want_out ? EPOLLOUT : 0), .data.ptr = c};
			epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
		}
		if (r == 1 || c->waiting || c->scanned == c->in_bytes)
			return;
	}
}

static void receive(struct connection *c)
{
	ssize_t n;

	if (c->in_size - c->in_bytes < READ_BYTES) {
		c->in_size = 2 * c->in_size + READ_BYTES;
		c->in = grow(c->in, c->in_size);
	}
	n = recv(c->fd, c->in + c->in_bytes, c->in_size - c->in_bytes, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		drop(c);
		return;
	}
	if (n > 0)
		c->in_bytes += (size_t)n;
	pump(c);
}

static void accept_all(int listener)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct connection *c = grow(NULL, sizeof(*c));
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

		*c = (struct connection){.fd = fd};
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
		PUT(c, "+HI {\"v\":2}\r\n");
		pump(c);
	}
}

static int next_nil_msec(void)
{
	int64_t left;

	if (TAILQ_EMPTY(&waiting))
		return -1;
	left = TAILQ_FIRST(&waiting)->nil_at - now();
	return left < 0 ? 0 : (int)(left / 1000000) + 1;
}

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event e = {.events = EPOLLIN}, events[256];
	socklen_t bytes = sizeof(address);
	struct rlimit limit;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(filler, 'x', sizeof(filler));
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 4096) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes) < 0)
		die("listen");
	printf("PORT %d\n", ntohs(address.sin_port));
	fflush(stdout);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);

	for (;;) {
		int n = epoll_wait(epoll_fd, events, 256, n_stamps > 0 ? 0 : next_nil_msec());

		if (n == 0)
			say_stamps();
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;

			if (!c)
				accept_all(listener);
			else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
				receive(c);
			else
				pump(c);
		}
		while (!TAILQ_EMPTY(&waiting) && TAILQ_FIRST(&waiting)->nil_at <= now()) {
			struct connection *c = TAILQ_FIRST(&waiting);

			stop_waiting(c);
			PUT(c, "$-1\r\n");
			pump(c);
		}
	}
}
