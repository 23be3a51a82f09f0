/* SPDX-License-Identifier: MIT
 *
 * An unconnected socket: the manager may be executed anew between two datagrams.
 */
#include "base/notify.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify_socket {
	int fd;
	struct sockaddr_un address;
	socklen_t address_bytes;
};

int notify_socket_new(const char *address, struct notify_socket **ret)
{
	size_t bytes = strlen(address);
	struct notify_socket *n;

	if (bytes < 2 || (address[0] != '/' && address[0] != '@'))
		return -EAFNOSUPPORT;
	if (bytes >= sizeof(n->address.sun_path))
		return -ENAMETOOLONG;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->address.sun_family = AF_UNIX;
	memcpy(n->address.sun_path, address, bytes);
	n->address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
	if (address[0] == '@')
		n->address.sun_path[0] = 0;
	else
		n->address_bytes++;
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0) {
		int r = -errno;
		free(n);
		return r;
	}
	*ret = n;
	return 0;
}

struct notify_socket *notify_socket_free(struct notify_socket *n)
{
	if (n) {
		close_fd(n->fd);
		free(n);
	}
	return NULL;
}

int notify_send(const struct notify_socket *n, const char *text, size_t bytes)
{
	ssize_t sent = sendto(n->fd, text, bytes, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&n->address,
			      n->address_bytes);

	return sent < 0 ? -errno : 0;
}
