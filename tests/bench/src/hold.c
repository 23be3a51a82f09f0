/* SPDX-License-Identifier: MIT
 *
 * hold N MB: a worker that fetches N jobs, says "PID N" on standard output, and waits to be killed. With 0 MB it is as
 * small as a process can be, so that its own end takes the kernel little time. hold beanstalk PORT N MB: the same for
 * beanstalkd, so that who is compared has the same victims.
 */
#include <arpa/inet.h>
#include <sched.h>
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

static int dial(const char *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("hold: connect");
		exit(1);
	}
	return fd;
}

static void reserve(const char *port, int n)
{
	int fd = dial(port);

	for (int i = 0; i < n; i++)
		say(fd, "reserve\r\n", 9);
	until(fd, "JOBMARK!", n);
}

static void fetch(const char *port, int n)
{
	int fd = dial(port);
	char text[256];

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
}

/* As a worker of some age has been. Of those the kernel has to call each when its memory goes, which takes some 10 µs;
 * otherwise it would be chance whose victims have been on one only. */
static void be_on_every_processor(void)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		(void)sched_setaffinity(0, sizeof(one), &one);
	}
	(void)sched_setaffinity(0, sizeof(all), &all);
}

int main(int argc, char **argv)
{
	const char *url = getenv("FAKTORY_URL"), *colon = url ? strrchr(url, ':') : NULL;
	int n = argc > 2 ? atoi(argv[argc - 2]) : 0;
	size_t bytes = (size_t)atoi(argv[argc - 1]) << 20;
	volatile char *memory; /* else the compiler may do without it */
	char text[64];

	if (argc == 5 && strcmp(argv[1], "beanstalk") == 0 && n > 0) {
		reserve(argv[2], n);
	} else if (argc == 3 && colon && n > 0) {
		fetch(colon + 1, n);
	} else {
		fprintf(stderr, "usage: FAKTORY_URL=tcp://127.0.0.1:PORT hold N MB, or hold beanstalk PORT N MB\n");
		return 2;
	}
	memory = malloc(bytes + 1);
	if (!memory) {
		perror("hold: malloc");
		return 1;
	}
	for (size_t i = 0; i < bytes; i += 4096)
		memory[i] = 1;
	be_on_every_processor();
	say(STDOUT_FILENO, text, snprintf(text, sizeof(text), "%d %d\n", (int)getpid(), n));
	for (;;)
		pause();
}
