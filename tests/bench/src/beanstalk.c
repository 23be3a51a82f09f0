/* SPDX-License-Identifier: MIT
 *
 * beanstalk HOLD KILLER PORT N JOBS MB [PROCS]: beanstalkd puts a job back the moment the connection that reserved it
 * ends. N times the program HOLD (hold.c) holds JOBS jobs on one connection and is killed by KILLER (killer.c), as
 * chargehand's workers are: who kills must be as cold for the one as for the other. A consumer that waits for the jobs
 * measures from just before kill(2) until it has the first and the last. At the end it prints "FIRST LAST" in
 * nanoseconds, a line for each time. PROCS: the cgroup.procs of the group that each victim is in.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MARK "JOBMARK!" /* every job's body */

static int64_t first_at; /* when until() saw the mark for the first time */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int dial(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = 60};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static void say(int fd, const char *text, int times)
{
	size_t bytes = strlen(text), all = bytes * (size_t)times, sent = 0;
	char *copy = malloc(all);

	if (!copy)
		die("malloc");
	for (int i = 0; i < times; i++)
		memcpy(copy + bytes * (size_t)i, text, bytes);
	while (sent < all) {
		ssize_t n = send(fd, copy + sent, all - sent, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		sent += (size_t)n;
	}
	free(copy);
}

static void until(int fd, const char *mark, int n)
{
	static char buffer[65536];
	size_t bytes = 0, mark_bytes = strlen(mark), keep;

	first_at = 0;
	while (n > 0) {
		ssize_t got = recv(fd, buffer + bytes, sizeof(buffer) - bytes, 0);
		char *p = buffer, *found;

		if (got <= 0)
			die("recv");
		bytes += (size_t)got;
		while ((found = memmem(p, bytes - (size_t)(p - buffer), mark, mark_bytes))) {
			if (first_at == 0)
				first_at = now();
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

static void enter_group(const char *procs)
{
	int fd = open(procs, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		die(procs);
}

static pid_t start_victim(const char *hold, const char *port, const char *n_jobs, const char *mb, const char *procs)
{
	int ready[2];
	char c;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		die("pipe");
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (procs)
			enter_group(procs);
		dup2(ready[1], STDOUT_FILENO);
		execl(hold, hold, "beanstalk", port, n_jobs, mb, (char *)NULL);
		_exit(127);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		die("victim");
	close(ready[0]);
	return pid;
}

/* Takes n pids from *ret_to, and says on *ret_from when it killed them. */
static void start_killer(const char *killer, const char *n, FILE **ret_to, FILE **ret_from)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
		die("pipe");
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		execl(killer, killer, n, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	*ret_to = fdopen(to[1], "w");
	*ret_from = fdopen(from[0], "r");
	if (!*ret_to || !*ret_from)
		die("fdopen");
}

/* Deletes what the consumer's end has put back, so that the next round does not meet it. */
static void clean_up(int port, int n_jobs)
{
	int fd = dial(port);
	FILE *in = fdopen(dup(fd), "r");
	char line[64], delete[64];
	unsigned long id;

	for (int i = 0; i < n_jobs; i++) {
		say(fd, "reserve-with-timeout 5\r\n", 1);
		if (!in || !fgets(line, sizeof(line), in) || sscanf(line, "RESERVED %lu", &id) != 1 ||
		    !fgets(line, sizeof(line), in))
			die("beanstalkd has lost a job");
		snprintf(delete, sizeof(delete), "delete %lu\r\n", id);
		say(fd, delete, 1);
		if (!fgets(line, sizeof(line), in) || strncmp(line, "DELETED", 7) != 0)
			die("delete");
	}
	fclose(in);
	close(fd);
}

int main(int argc, char **argv)
{
	bool given = argc == 7 || argc == 8;
	int port = given ? atoi(argv[3]) : 0, n = given ? atoi(argv[4]) : 0, n_jobs = given ? atoi(argv[5]) : 0;
	struct times {
		int64_t first_at, last_at;
	} *times = calloc(n > 0 ? (size_t)n : 1, sizeof(*times));
	FILE *to_killer, *from_killer;

	if (port < 1 || n < 1 || n_jobs < 1 || !times)
		return 2;
	start_killer(argv[2], argv[4], &to_killer, &from_killer);
	for (int i = 0; i < n; i++) {
		int producer = dial(port), consumer;
		pid_t victim;

		say(producer, "put 0 0 600 8\r\n" MARK "\r\n", n_jobs);
		until(producer, "INSERTED", n_jobs);
		close(producer);
		victim = start_victim(argv[1], argv[3], argv[5], argv[6], argv[7]);

		consumer = dial(port);
		say(consumer, "reserve\r\n", n_jobs);
		if (fprintf(to_killer, "%d\n", victim) < 0 || fflush(to_killer) == EOF)
			die("killer");
		until(consumer, MARK, n_jobs);
		times[i] = (struct times){.first_at = first_at, .last_at = now()};
		waitpid(victim, NULL, 0);
		close(consumer);
		clean_up(port, n_jobs);
	}
	for (int i = 0; i < n; i++) {
		long long killed_at;

		if (fscanf(from_killer, "%lld", &killed_at) != 1)
			die("killer");
		if (times[i].first_at < killed_at) {
			fprintf(stderr, "beanstalk: a job was there before the kill\n");
			return 1;
		}
		printf("%lld %lld\n", times[i].first_at - killed_at, times[i].last_at - killed_at);
	}
	return 0;
}
