/* SPDX-License-Identifier: MIT
 *
 * stamp FILE: appends "PID NANOSECONDS" (CLOCK_MONOTONIC) as the first thing that it does, and waits to be killed. FILE
 * may be a FIFO. With "none" it only waits.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec t;
	char text[64];
	int fd, n;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (argc != 2)
		return 2;
	if (strcmp(argv[1], "none") != 0) {
		fd = open(argv[1], O_WRONLY | O_APPEND | O_CLOEXEC);
		n = snprintf(text, sizeof(text), "%d %lld\n", (int)getpid(), t.tv_sec * 1000000000LL + t.tv_nsec);
		if (fd < 0 || write(fd, text, (size_t)n) != n)
			return 1;
		close(fd);
	}
	for (;;)
		pause();
}
