/* SPDX-License-Identifier: MIT
 *
 * The other end of what is told by datagrams: systemd's, or its journal's.
 */
#ifndef CHARGEHAND_TESTS_DATAGRAMS_H
#define CHARGEHAND_TESTS_DATAGRAMS_H

#include "base/macro.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* One at a time in each test process. */
static struct {
	int fd;
	char directory[32], path[64]; /* a file, or "@" and an abstract name */
	char text[16384];
	ssize_t bytes;
} datagrams = {.fd = -EBADF};

static inline void datagrams_bind(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t bytes = strlen(path);

	(void)snprintf(datagrams.path, sizeof(datagrams.path), "%s", path);
	memcpy(address.sun_path, path, bytes);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	datagrams.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert(ge(int, datagrams.fd, 0));
	cr_assert(eq(int,
		     bind(datagrams.fd, (const struct sockaddr *)&address,
			  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + (path[0] != '@'))),
		     0));
}

static inline void datagrams_open(void)
{
	char path[64];

	strcpy(datagrams.directory, "/tmp/chargehand-test-XXXXXX");
	cr_assert(not(eq(ptr, mkdtemp(datagrams.directory), NULL)));
	(void)snprintf(path, sizeof(path), "%s/socket", datagrams.directory);
	datagrams_bind(path);
}

static inline void datagrams_close(void)
{
	datagrams.fd = close_fd(datagrams.fd);
	if (datagrams.path[0] == '/')
		(void)unlink(datagrams.path);
	if (datagrams.directory[0])
		(void)rmdir(datagrams.directory);
}

/* The next one, "" when there is none. */
static inline char *datagrams_next(void)
{
	datagrams.bytes = recv(datagrams.fd, datagrams.text, sizeof(datagrams.text) - 1, 0);
	datagrams.text[MAX(datagrams.bytes, 0)] = 0;
	return datagrams.text;
}

#endif
