/* SPDX-License-Identifier: MIT
 *
 * Leaves orphans to process 1 of its container, as wrappers and job runners do: litter N [COMMAND [ARGUMENT...]]. Each
 * is a grandchild that ends when its parent has. Then the command takes its place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	for (long n = argc > 1 ? atol(argv[1]) : 0; n > 0; n--) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(fork() < 0);
		if (pid < 0 || waitpid(pid, NULL, 0) < 0) {
			perror("litter");
			return 1;
		}
	}
	if (argc < 3)
		return 0;
	execvp(argv[2], argv + 2);
	return 127;
}
