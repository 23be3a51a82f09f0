/* SPDX-License-Identifier: MIT
 *
 * killer: reads process IDs from standard input, one a line; after 5 ms of quiet it sends SIGKILL and says when, in
 * nanoseconds (CLOCK_MONOTONIC). A program that does nothing else, so that the processor is free at that moment.
 */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	struct timespec t;
	int pid;

	while (scanf("%d", &pid) == 1) {
		usleep(5000);
		clock_gettime(CLOCK_MONOTONIC, &t);
		kill(pid, SIGKILL);
		usleep(5000); /* its own line is not to be in the way either */
		printf("%lld\n", t.tv_sec * 1000000000LL + t.tv_nsec);
		fflush(stdout);
	}
	return 0;
}
