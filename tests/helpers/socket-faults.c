/* SPDX-License-Identifier: MIT */
#include "socket-faults.h"

#include "base/macro.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RULES_MAX 16
#define SHORT (-1)

enum call {
	CALL_RECV,
	CALL_SEND,
	CALL_ACCEPT,
	CALL_CONNECT,
	CALL_SOCKET,
	_CALL_MAX,
};

struct rule {
	enum call call;
	int what; /* errno, or SHORT */
	unsigned every, times, skip, n_calls, n_met;
};

static struct rule rules[RULES_MAX];
static size_t n_rules;
static unsigned n_met;

static enum call call_from_string(const char *s)
{
	static const char *const names[] = {"recv", "send", "accept", "connect", "socket"};
	static_assert(ARRAY_SIZE(names) == _CALL_MAX, "each call has a name");

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(s, names[i]) == 0)
			return (enum call)i;
	return _CALL_MAX;
}

static int what_from_string(const char *s)
{
	static const struct {
		const char *name;
		int what;
	} all[] = {
		{"short", SHORT},
		{"EINTR", EINTR},
		{"EAGAIN", EAGAIN},
		{"EPIPE", EPIPE},
		{"ECONNRESET", ECONNRESET},
		{"ECONNABORTED", ECONNABORTED},
		{"ETIMEDOUT", ETIMEDOUT},
		{"EHOSTUNREACH", EHOSTUNREACH},
		{"EADDRNOTAVAIL", EADDRNOTAVAIL},
		{"ENOBUFS", ENOBUFS},
		{"ENOMEM", ENOMEM},
		{"EMFILE", EMFILE},
		{"ENFILE", ENFILE},
		{"EPROTO", EPROTO},
		{"EPERM", EPERM},
		{"EIO", EIO},
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (strcmp(s, all[i].name) == 0)
			return all[i].what;
	return 0;
}

void socket_faults_set(const char *text)
{
	_cleanup_free_ char *copy = strdup(text ? text : "");
	char *rest = copy, *word;

	n_rules = 0;
	n_met = 0;
	while (rest && (word = strsep(&rest, ",")) && *word) {
		struct rule r = {.every = 1};
		char call[16], what[16];
		int n = sscanf(word, "%15[^:]:%15[^:]:%u:%u:%u", call, what, &r.every, &r.times, &r.skip);

		r.call = n >= 2 ? call_from_string(call) : _CALL_MAX;
		r.what = n >= 2 ? what_from_string(what) : 0;
		if (r.call == _CALL_MAX || r.what == 0 || r.every == 0 || n_rules == RULES_MAX) {
			(void)fprintf(stderr, "socket-faults: what is '%s'?\n", word);
			abort();
		}
		rules[n_rules++] = r;
	}
}

unsigned socket_faults_met(void)
{
	return n_met;
}

__attribute__((constructor)) static void socket_faults_begin(void)
{
	socket_faults_set(getenv("CHARGEHAND_SOCKET_FAULTS"));
}

static int fault_of(enum call call)
{
	for (size_t i = 0; i < n_rules; i++) {
		struct rule *r = &rules[i];

		if (r->call != call || (r->times > 0 && r->n_met == r->times))
			continue;
		if (r->n_calls++ < r->skip || (r->n_calls - r->skip) % r->every != 0)
			continue;
		r->n_met++;
		n_met++;
		return r->what;
	}
	return 0;
}

static bool is_tcp(int fd)
{
	int domain = 0, type = 0;
	socklen_t bytes = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && (domain == AF_INET || domain == AF_INET6) &&
	       type == SOCK_STREAM;
}

/* 0 or SHORT: the call is made. */
static int fault_at(enum call call, int fd)
{
	return n_rules > 0 && is_tcp(fd) ? fault_of(call) : 0;
}

static int fail_with(int error)
{
	errno = error;
	return -1;
}

/* Who gets less than there is, or nothing, is told of the rest by an event, and events may be edges (epoll(7)). What is
 * set is what was set before: it is the setting that makes the kernel look for readers and writers to wake. */
static void tell_readable(int fd)
{
	const int any = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &any, sizeof(any));
}

static void tell_writable(int fd)
{
	int room;
	socklen_t bytes = sizeof(room);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &bytes) < 0)
		return;
	room /= 2; /* the kernel doubles it (socket(7)) */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

ssize_t __real_recv(int fd, void *p, size_t bytes, int flags);
ssize_t __wrap_recv(int fd, void *p, size_t bytes, int flags);
ssize_t __wrap_recv(int fd, void *p, size_t bytes, int flags)
{
	int fault = fault_at(CALL_RECV, fd);
	ssize_t n;

	if (fault == EAGAIN)
		tell_readable(fd);
	if (fault > 0)
		return fail_with(fault);
	n = __real_recv(fd, p, fault == SHORT && bytes > 0 ? 1 : bytes, flags);
	if (fault == SHORT && n > 0)
		tell_readable(fd);
	return n;
}

/* What recv(3) becomes where the size of the buffer is known (_FORTIFY_SOURCE). */
ssize_t __wrap___recv_chk(int fd, void *p, size_t bytes, size_t size, int flags);
ssize_t __wrap___recv_chk(int fd, void *p, size_t bytes, size_t size, int flags)
{
	if (bytes > size)
		abort();
	return __wrap_recv(fd, p, bytes, flags);
}

ssize_t __real_send(int fd, const void *p, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t bytes, int flags)
{
	int fault = fault_at(CALL_SEND, fd);

	if (fault == EAGAIN)
		tell_writable(fd);
	if (fault > 0)
		return fail_with(fault);
	return __real_send(fd, p, fault == SHORT && bytes > 0 ? 1 : bytes, flags);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
	int fault = fault_at(CALL_SEND, fd);

	if (fault == EAGAIN)
		tell_writable(fd);
	if (fault > 0)
		return fail_with(fault);
	if (fault == SHORT && m->msg_iovlen > 0 && m->msg_iov[0].iov_len > 0)
		return __real_send(fd, m->msg_iov[0].iov_base, 1, flags);
	return __real_sendmsg(fd, m, flags);
}

int __real_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
	int fault = fault_at(CALL_ACCEPT, fd), accepted;

	if (fault <= 0)
		return __real_accept4(fd, address, bytes, flags);
	/* A connection that was gone before it was accepted has left the queue. */
	if (fault == ECONNABORTED || fault == EPROTO) {
		accepted = __real_accept4(fd, address, bytes, flags);
		if (accepted < 0)
			return accepted;
		(void)close(accepted);
	}
	return fail_with(fault);
}

int __real_connect(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
	int fault = fault_at(CALL_CONNECT, fd);

	if (fault == EINTR)
		(void)__real_connect(fd, address, bytes); /* it goes on by itself (connect(3p)) */
	return fault > 0 ? fail_with(fault) : __real_connect(fd, address, bytes);
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
	bool tcp = (domain == AF_INET || domain == AF_INET6) && (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM;
	int fault = n_rules > 0 && tcp ? fault_of(CALL_SOCKET) : 0;

	return fault > 0 ? fail_with(fault) : __real_socket(domain, type, protocol);
}
