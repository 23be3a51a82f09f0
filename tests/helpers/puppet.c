/* SPDX-License-Identifier: MIT
 *
 * A worker on strings: it does one small thing at a time, as the test says, and so can be stopped between any two
 * bytes. It connects to the UNIX socket $PUPPET_CONTROL, says "PID FAKTORY_URL", and obeys one line after the other. A
 * process of its size starts in a millisecond, so that hundreds can be killed in a second.
 *
 *   connect I        dials chargehand; I, 0 to 31, names the connection from now on
 *   send I HEX       one send(2)
 *   receive I N      N bytes, or fewer at the end: answers with them in hexadecimal
 *   peek I           waits until there is something to read, and leaves it unread
 *   close I
 *   eat N            N MiB of memory, at once, for as long as it lives
 *   feed N           a child eats N MiB and exits; answers with its wait status
 *   raise SIGNAL     as if by a fault of its own: the handler is the default one
 *   exit STATUS
 *
 * Each line but the last is answered by "ok" or "error ERRNO"; the end of $PUPPET_CONTROL ends the process.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES (1 << 20)
#define CONNECTIONS 32

static int fds[CONNECTIONS];
static char line[LINE_MAX_BYTES];
static unsigned char bytes[LINE_MAX_BYTES / 2];

static int control_open(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("PUPPET_CONTROL");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!path || strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	return fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : fd;
}

static int dial(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *url = getenv("FAKTORY_URL"), *port = url ? strrchr(url, ':') : NULL;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	address.sin_port = htons((unsigned short)(port ? atoi(port + 1) : 0));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int nibble(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static ssize_t send_hex(int fd, const char *hex)
{
	size_t n = 0;

	for (; hex[0] && hex[1]; hex += 2)
		bytes[n++] = (unsigned char)(nibble(hex[0]) << 4 | nibble(hex[1]));
	return send(fd, bytes, n, MSG_NOSIGNAL);
}

static ssize_t receive_hex(int fd, size_t n, FILE *out)
{
	ssize_t got = n > 0 ? recv(fd, bytes, n, MSG_WAITALL) : 0;

	for (ssize_t i = 0; i < got; i++)
		(void)fprintf(out, "%02x", bytes[i]);
	if (got >= 0)
		(void)fputc(' ', out);
	return got;
}

/* In one system call: page by page takes seconds in a machine that is itself a process. */
static int eat(int mib)
{
	void *p = mmap(NULL, (size_t)mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
		       0);
	return p == MAP_FAILED ? -1 : 0;
}

static int feed(int mib, FILE *out)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(eat(mib) < 0);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	(void)fprintf(out, "%d ", status);
	return 0;
}

static ssize_t obey(FILE *out)
{
	char *verb = strtok(line, " \n"), *index = strtok(NULL, " \n"), *rest = strtok(NULL, " \n");
	int i = index ? atoi(index) : 0;

	if (!verb)
		return 0;
	if (strcmp(verb, "exit") == 0)
		_exit(i);
	if (strcmp(verb, "eat") == 0)
		return eat(i);
	if (strcmp(verb, "feed") == 0)
		return feed(i, out);
	if (strcmp(verb, "raise") == 0)
		return raise(i);
	if (i < 0 || i >= CONNECTIONS)
		return -1;
	if (strcmp(verb, "connect") == 0)
		return fds[i] = dial();
	if (strcmp(verb, "send") == 0)
		return send_hex(fds[i], rest ? rest : "");
	if (strcmp(verb, "receive") == 0)
		return receive_hex(fds[i], rest ? strtoul(rest, NULL, 10) : 0, out);
	if (strcmp(verb, "peek") == 0)
		return poll(&(struct pollfd){.fd = fds[i], .events = POLLIN}, 1, -1);
	if (strcmp(verb, "close") == 0)
		return close(fds[i]);
	errno = ENOSYS;
	return -1;
}

int main(void)
{
	int fd = control_open();
	FILE *in = fd < 0 ? NULL : fdopen(fd, "r"), *out = fd < 0 ? NULL : fdopen(dup(fd), "w");
	const char *url = getenv("FAKTORY_URL");

	if (!in || !out)
		return 1;
	(void)fprintf(out, "%d %s\n", getpid(), url ? url : "");
	(void)fflush(out);
	while (fgets(line, sizeof(line), in)) {
		if (obey(out) < 0)
			(void)fprintf(out, "error %d\n", errno);
		else
			(void)fputs("ok\n", out);
		(void)fflush(out);
	}
	return 0;
}
