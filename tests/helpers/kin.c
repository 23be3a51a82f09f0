/* SPDX-License-Identifier: MIT
 *
 * A process with relatives of every kind: kin MODE. The one that stays writes its pid and a line end to standard
 * output and waits to be killed; should nobody do so it ends by itself after half a minute.
 *
 *   wait      stays
 *   child     has a child that stays, and stays (the pids of both, the child's first)
 *   orphan    leaves a child in its process group that stays, exits 0
 *   daemon    leaves a child in a session of its own that stays, exits 0
 *   stranger  the same, and the child has executed itself with an empty environment
 *   thread    its first thread ends, another stays
 *   race      lines of processes, each of which forks the next, in a session of its own, and ends, as fast as they
 *             can; it does not stay itself
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LIFE_SEC 30
#define RACE_LINES 2

static void stay(void)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", getpid());

	alarm(LIFE_SEC);
	if (write(STDOUT_FILENO, text, (size_t)n) != n)
		_exit(1);
	for (;;)
		pause();
}

static void *stay_in_thread(void *userdata)
{
	(void)userdata;
	/* The test is told when the first thread has gone: its state is then Z. */
	for (;;) {
		char line[512] = "";
		FILE *f = fopen("/proc/self/stat", "re");
		if (f && fgets(line, sizeof(line), f) && strstr(line, ") Z "))
			stay();
		if (f)
			fclose(f);
		usleep(1000);
	}
	return NULL;
}

static void race(void)
{
	time_t end = time(NULL) + LIFE_SEC;

	for (int i = 0; i < RACE_LINES; i++)
		if (fork() == 0)
			while (time(NULL) < end)
				if (fork() > 0 || setsid() < 0)
					_exit(0);
	_exit(0);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	char *const self[] = {argv[0], (char *)"wait", NULL};
	char *const nothing[] = {NULL};
	pthread_t thread;

	if (strcmp(mode, "wait") == 0)
		stay();
	if (strcmp(mode, "thread") == 0 && pthread_create(&thread, NULL, stay_in_thread, NULL) == 0)
		pthread_exit(NULL);
	if (strcmp(mode, "race") == 0)
		race();
	pid_t pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		if (strcmp(mode, "daemon") == 0 || strcmp(mode, "stranger") == 0)
			setsid();
		if (strcmp(mode, "stranger") == 0)
			execve(argv[0], self, nothing);
		stay();
	}
	if (strcmp(mode, "child") == 0)
		stay();
	return 0;
}
