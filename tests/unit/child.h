/* SPDX-License-Identifier: MIT
 *
 * Children for tests: the programs of tests/helpers, started by process_spawn(), and what they write.
 */
#ifndef CHARGEHAND_TESTS_UNIT_CHILD_H
#define CHARGEHAND_TESTS_UNIT_CHILD_H

#include "process/spawn.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

#define CHILD_TEXT_MAX 65536

static inline const char *helper_path(const char *name)
{
	static char path[4096];
	const char *top = getenv("TOP_BUILDDIR");
	char *absolute = realpath(top ? top : ".", NULL);

	cr_assert(not(eq(ptr, absolute, NULL)));
	(void)snprintf(path, sizeof(path), "%s/tests/helpers/%s", absolute, name);
	free(absolute);
	cr_assert(eq(int, access(path, X_OK), 0), "%s is missing: set TOP_BUILDDIR", path);
	return path;
}

static inline struct spawn_args child_args(char *const *argv, int stdout_fd)
{
	return (struct spawn_args){
		.argv = argv,
		.envp = environ,
		.stdin_fd = -1,
		.stdout_fd = stdout_fd,
		.stderr_fd = -1,
		.cgroup_fd = -1,
	};
}

static inline void make_pipe(int *ret_read, int *ret_write)
{
	int fds[2];

	cr_assert(eq(int, pipe2(fds, O_CLOEXEC), 0));
	*ret_read = fds[0];
	*ret_write = fds[1];
}

/* To its end, terminated. */
static inline void read_all(int fd, char text[CHILD_TEXT_MAX])
{
	size_t bytes = 0;
	ssize_t n;

	while ((n = read(fd, text + bytes, CHILD_TEXT_MAX - 1 - bytes)) > 0)
		bytes += (size_t)n;
	text[bytes] = 0;
}

/* The next line, as a number. */
static inline pid_t read_pid(int fd)
{
	pid_t pid = 0;
	char c = 0;

	while (read(fd, &c, 1) == 1 && c != '\n')
		pid = pid * 10 + (c - '0');
	cr_assert(eq(chr, c, '\n'), "the child ended before it said its pid");
	return pid;
}

static inline void await_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	cr_assert(eq(int, poll(&p, 1, 20000), 1), "nothing happened in 20 s");
}

static inline int wait_status(pid_t pid)
{
	int status = -1;

	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	return status;
}

/* The value of "key: value" in a text of lines, in a buffer that the next call overwrites; NULL when there is none. */
static inline const char *value_of(const char *text, const char *key)
{
	static char value[4096];
	size_t n = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, n) == 0 && line[n] == ':') {
			const char *p = line + n + 1;
			p += strspn(p, " \t");
			(void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(p, "\n"), p);
			return value;
		}
	}
	return NULL;
}

#endif
