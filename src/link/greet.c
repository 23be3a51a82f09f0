/* SPDX-License-Identifier: MIT
 *
 * Blocking sockets with a timeout on each call; a name is looked up with getaddrinfo(3), which has its own.
 */
#include "link/greet.h"
#include "base/macro.h"
#include "faktory/handshake.h"
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* No wid: the server takes it for a client that only pushes, and shows no worker. */
#define GREET_HELLO "{\"hostname\":\"chargehand\",\"v\":2}"

static int connect_one(const struct addrinfo *address, usec_t timeout_usec, int *ret_fd)
{
	_cleanup_close_ int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
	struct timeval tv = usec_to_timeval(timeout_usec);

	/* SO_SNDTIMEO is the limit of connect(2) as well (socket(7)). */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) < 0)
		return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int connect_any(const struct server_url *url, usec_t timeout_usec, int *ret_fd, char text[GREET_TEXT_MAX])
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char port[8];
	int r;

	(void)snprintf(port, sizeof(port), "%u", (unsigned)url->port);
	r = getaddrinfo(url->host, port, &hints, &list);
	if (r != 0) {
		(void)snprintf(text, GREET_TEXT_MAX, "its name is not found: %s", gai_strerror(r));
		return -EHOSTUNREACH;
	}
	r = -EHOSTUNREACH;
	for (struct addrinfo *a = list; a && r < 0; a = a->ai_next)
		r = connect_one(a, timeout_usec, ret_fd);
	freeaddrinfo(list);
	if (r < 0)
		(void)snprintf(text, GREET_TEXT_MAX, "no connection: %s", strerror(-r));
	return r;
}

/* A line without its end, cut to fit. Byte by byte: what the server sends next must stay where it is, and it is no
 * more than two lines. */
static int read_line(int fd, char *line, size_t room, char text[GREET_TEXT_MAX])
{
	size_t used = 0;
	ssize_t n;
	char c;

	for (;;) {
		do
			n = read(fd, &c, 1);
		while (n < 0 && errno == EINTR);
		if (n <= 0)
			break;
		if (c == '\n') {
			line[used] = '\0';
			return 0;
		}
		if (c != '\r' && used + 1 < room)
			line[used++] = c;
	}
	int r = n == 0 ? -ECONNRESET : errno == EAGAIN ? -ETIMEDOUT : -errno;
	(void)snprintf(text, GREET_TEXT_MAX, "no answer: %s", n == 0 ? "it has closed the connection" : strerror(-r));
	return r;
}

static int say_hello(int fd, const struct server_url *url, const struct hi *hi)
{
	static const char end[] = "END\r\n";
	_cleanup_free_ char *line = NULL;
	struct hello hello = {0};
	size_t bytes;
	int r = hello_parse(GREET_HELLO, STRLEN(GREET_HELLO), &hello);

	if (r == 0)
		r = hello_write(&hello, hi, url->password, &line, &bytes);
	if (r == 0 && send(fd, line, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
		r = -errno;
	/* Behind it at once; it is obeyed after the answer. */
	if (r == 0)
		(void)send(fd, end, sizeof(end) - 1, MSG_NOSIGNAL);
	hello_done(&hello);
	return r;
}

int server_greet(const struct server_url *url, usec_t timeout_usec, char text[GREET_TEXT_MAX])
{
	_cleanup_close_ int fd = -EBADF;
	char line[GREET_TEXT_MAX - 48];
	struct hi hi;
	int r = connect_any(url, timeout_usec, &fd, text);

	if (r == 0)
		r = read_line(fd, line, sizeof(line), text);
	if (r < 0)
		return r;
	r = line[0] == '+' ? hi_parse(line + 1, strlen(line) - 1, &hi) : -EBADMSG;
	if (r < 0) {
		(void)snprintf(text, GREET_TEXT_MAX, "no Faktory server that is known here: %s", line);
		return r;
	}
	if (hi.iterations > 0 && !url->password) {
		(void)snprintf(text, GREET_TEXT_MAX, "it wants a password, and its URL has none");
		return -EACCES;
	}
	r = say_hello(fd, url, &hi);
	if (r < 0) {
		(void)snprintf(text, GREET_TEXT_MAX, "HELLO could not be sent: %s", strerror(-r));
		return r;
	}
	r = read_line(fd, line, sizeof(line), text);
	if (r == 0 && strcmp(line, "+OK") != 0) {
		(void)snprintf(text, GREET_TEXT_MAX, "it says: %s", line);
		return -EACCES;
	}
	return r;
}
