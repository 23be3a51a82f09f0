/* SPDX-License-Identifier: MIT
 *
 * hold N: a worker that fetches N jobs, says "PID N" on standard output, and waits to be killed. As small as a process
 * can be, so that its own end takes the kernel no time.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reads until the mark has come n times. */
static void until(int fd, const char *mark, int n)
{
	static char buffer[65536];
	size_t bytes = 0, mark_bytes = strlen(mark), keep;

	while (n > 0) {
		ssize_t got = recv(fd, buffer + bytes, sizeof(buffer) - bytes, 0);
		char *p = buffer, *found;

		if (got <= 0) {
			perror("hold: recv");
			exit(1);
		}
		bytes += (size_t)got;
		while ((found = memmem(p, bytes - (size_t)(p - buffer), mark, mark_bytes))) {
			n--;
			p = found + mark_bytes;
		}
		keep = bytes - (size_t)(p - buffer);
		if (keep > mark_bytes - 1) {
			p += keep - (mark_bytes - 1);
			keep = mark_bytes - 1;
		}
		memmove(buffer, p, keep);
		bytes = keep;
	}
}

static void say(int fd, const char *text, int n)
{
	if (write(fd, text, (size_t)n) != n) {
		perror("hold: write");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *url = getenv("FAKTORY_URL"), *colon = url ? strrchr(url, ':') : NULL;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int n = argc == 2 ? atoi(argv[1]) : 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[256];

	if (!colon || n < 1) {
		fprintf(stderr, "usage: FAKTORY_URL=tcp://127.0.0.1:PORT hold N\n");
		return 2;
	}
	address.sin_port = htons((uint16_t)atoi(colon + 1));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("hold: connect");
		return 1;
	}
	until(fd, "+HI", 1);
	say(fd, text,
	    snprintf(text, sizeof(text),
		     "HELLO {\"hostname\":\"bench\",\"wid\":\"hold-%d\",\"pid\":%d,\"labels\":[],\"v\":2}\r\n",
		     (int)getpid(), (int)getpid()));
	until(fd, "+OK", 1);
	for (int i = 0; i < n; i++) {
		say(fd, "FETCH s300\r\n", 12);
		until(fd, "\"retry\":25}", 1);
	}
	say(STDOUT_FILENO, text, snprintf(text, sizeof(text), "%d %d\n", (int)getpid(), n));
	for (;;)
		pause();
}
