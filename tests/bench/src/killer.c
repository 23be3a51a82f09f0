/* SPDX-License-Identifier: MIT
 *
 * killer N: reads N lines from standard input, each with a process ID first; 5 ms after each it sends SIGKILL. At the
 * end it says when it killed, in nanoseconds (CLOCK_MONOTONIC), one a line.
 *
 * It reads the victims' own lines and says nothing meanwhile, so that nobody else has to run: a script in Python that
 * is woken between two kills leaves caches so empty that the next report is 30 µs later.
 *
 * It stays on the first processor, and its victims (hold.c) fall asleep on the last. A victim that sleeps where its
 * killer runs dies elsewhere, far from its own memory, which takes some 10 µs more.
 */
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void stay_on_first_processor(void)
{
	cpu_set_t all, first;
	int i = 0;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	while (i < CPU_SETSIZE && !CPU_ISSET(i, &all))
		i++;
	CPU_ZERO(&first);
	CPU_SET(i, &first);
	(void)sched_setaffinity(0, sizeof(first), &first);
}

int main(int argc, char **argv)
{
	int n = argc == 2 ? atoi(argv[1]) : 0;
	int64_t *killed_at = calloc((size_t)n, sizeof(*killed_at));
	char line[64];

	if (n < 1 || !killed_at)
		return 2;
	stay_on_first_processor();
	setvbuf(stdin, NULL, _IONBF, 0); /* the line after the last is the next killer's */
	for (int i = 0; i < n; i++) {
		struct timespec t;
		int pid;

		if (!fgets(line, sizeof(line), stdin) || (pid = atoi(line)) < 2)
			return 1;
		usleep(5000);
		clock_gettime(CLOCK_MONOTONIC, &t);
		kill(pid, SIGKILL);
		killed_at[i] = t.tv_sec * 1000000000LL + t.tv_nsec;
	}
	for (int i = 0; i < n; i++)
		printf("%lld\n", (long long)killed_at[i]);
	return 0;
}
