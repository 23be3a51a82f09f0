/* SPDX-License-Identifier: MIT
 *
 * chain N: what the kernel alone needs from a death to its report, N times: kill(2) of a small process, its pidfd
 * readable, waitid(2), 200 bytes sent on a connection that is ready, received by another process. No program can be
 * faster. Prints nanoseconds, one a line.
 */
#include <arpa/inet.h>
#include <linux/sched.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 200

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

static pid_t start_victim(int *ret_pidfd)
{
	struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)ret_pidfd, .exit_signal = SIGCHLD};
	int ready[2];
	char c;
	pid_t pid;

	if (pipe(ready) < 0)
		die("pipe");
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		die("clone3");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		die("victim");
	close(ready[0]);
	return pid;
}

static void connect_pair(int *ret_client, int *ret_server)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	*ret_client = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, bytes) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes) < 0 ||
	    connect(*ret_client, (struct sockaddr *)&address, bytes) < 0)
		die("connect");
	*ret_server = accept(listener, NULL, NULL);
	setsockopt(*ret_client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(*ret_server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
}

static int watch(int fd)
{
	struct epoll_event e = {.events = EPOLLIN};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
	return epoll_fd;
}

static void wait_for(int epoll_fd)
{
	struct epoll_event e;

	if (epoll_wait(epoll_fd, &e, 1, -1) != 1)
		die("epoll_wait");
}

/* The message says when the kill was. */
static void receive(int fd, int n)
{
	int epoll_fd = watch(fd);

	for (int i = 0; i < n; i++) {
		char message[MESSAGE_BYTES];
		int64_t at, killed_at;

		wait_for(epoll_fd);
		if (recv(fd, message, sizeof(message), MSG_WAITALL) != sizeof(message))
			_exit(1);
		at = now();
		memcpy(&killed_at, message, sizeof(killed_at));
		printf("%lld\n", (long long)(at - killed_at));
		if (send(fd, "k", 1, 0) != 1)
			_exit(1);
	}
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	int n = argc == 2 ? atoi(argv[1]) : 0, client, server;
	pid_t receiver;

	if (n < 1)
		return 2;
	connect_pair(&client, &server);
	receiver = fork();
	if (receiver == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(client);
		receive(server, n);
	}
	close(server);

	for (int i = 0; i < n; i++) {
		char message[MESSAGE_BYTES] = {0}, answer;
		int pidfd, epoll_fd;
		pid_t victim = start_victim(&pidfd);
		siginfo_t info;
		int64_t killed_at;

		epoll_fd = watch(pidfd);
		usleep(5000);
		killed_at = now();
		kill(victim, SIGKILL);
		wait_for(epoll_fd);
		waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
		memcpy(message, &killed_at, sizeof(killed_at));
		if (send(client, message, sizeof(message), 0) != sizeof(message) || recv(client, &answer, 1, 0) != 1)
			die("chain");
		close(epoll_fd);
		close(pidfd);
	}
	close(client);
	waitpid(receiver, NULL, 0);
	return 0;
}
