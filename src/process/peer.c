/* SPDX-License-Identifier: MIT
 *
 * sock_diag(7) for one socket at a time. The kernel answers a netlink request while it is being sent, so the answer is
 * there when send(2) returns.
 */
#include "process/peer.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>

/* linux/inet_diag.h before 5.9 has no name for it. */
#define DIAG_CGROUP_ID 21

/* net/tcp_states.h */
#define STATE_LISTEN 10

struct peer_lookup {
	int fd;
	uint32_t sequence;
};

struct request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 diag;
};

/* inet_diag_msg and its attributes take some 200 bytes; what is longer would be cut, and what is cut is not read. */
union reply {
	struct nlmsghdr header;
	char bytes[2048];
};

static int open_netlink(int *ret_fd)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);

	if (fd < 0)
		return -errno;
	/* Connected, it takes messages from nobody else. */
	if (connect(fd, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int send_request(struct peer_lookup *l, const struct sockaddr_in *peer, const struct sockaddr_in *local)
{
	/* From the peer's side: its own address is the source. Without NLM_F_DUMP it is a look-up in the kernel's
	 * hash, not a walk. */
	struct request q = {
		.header =
			{
				.nlmsg_len = sizeof(q),
				.nlmsg_type = SOCK_DIAG_BY_FAMILY,
				.nlmsg_flags = NLM_F_REQUEST,
				.nlmsg_seq = ++l->sequence,
			},
		.diag =
			{
				.sdiag_family = AF_INET,
				.sdiag_protocol = IPPROTO_TCP,
				.idiag_states = ~0U,
				.id =
					{
						.idiag_sport = peer->sin_port,
						.idiag_dport = local->sin_port,
						.idiag_src = {peer->sin_addr.s_addr},
						.idiag_dst = {local->sin_addr.s_addr},
						.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE},
					},
			},
	};

	return send(l->fd, &q, sizeof(q), 0) < 0 ? -errno : 0;
}

static void read_attributes(const char *p, size_t bytes, struct peer_info *info)
{
	struct nlattr attribute;

	while (bytes >= sizeof(attribute)) {
		memcpy(&attribute, p, sizeof(attribute));
		if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > bytes)
			return;
		if (attribute.nla_type == DIAG_CGROUP_ID && attribute.nla_len >= NLA_HDRLEN + sizeof(info->cgroup_id)) {
			memcpy(&info->cgroup_id, p + NLA_HDRLEN, sizeof(info->cgroup_id));
			info->have_cgroup = true;
		}
		size_t step = MIN((size_t)NLA_ALIGN(attribute.nla_len), bytes);
		p += step;
		bytes -= step;
	}
}

/* A socket that only listens on the address is not the peer: the kernel falls back to it. */
static int read_answer(const struct nlmsghdr *header, size_t bytes, bool may_listen, uint16_t peer_port,
		       struct peer_info *ret)
{
	const char *payload = NLMSG_DATA(header);
	struct peer_info info = {.have_cgroup = false};
	struct inet_diag_msg msg;

	if (header->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = NLMSG_DATA(header);
		if (bytes < NLMSG_LENGTH(sizeof(*e)))
			return -EBADMSG;
		return e->error < 0 ? e->error : -EBADMSG;
	}
	if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || bytes < NLMSG_LENGTH(sizeof(msg)))
		return -EBADMSG;
	memcpy(&msg, payload, sizeof(msg));
	if (msg.id.idiag_sport != peer_port || (msg.idiag_state == STATE_LISTEN && !may_listen))
		return -ENOENT;

	info.uid = msg.idiag_uid;
	info.orphaned = msg.idiag_inode == 0;
	read_attributes(payload + NLMSG_ALIGN(sizeof(msg)), bytes - NLMSG_LENGTH(0) - NLMSG_ALIGN(sizeof(msg)), &info);
	*ret = info;
	return 0;
}

static int look_up(struct peer_lookup *l, const struct sockaddr_in *peer, const struct sockaddr_in *local,
		   bool may_listen, struct peer_info *ret)
{
	union reply reply;
	int r;

	r = send_request(l, peer, local);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = recv(l->fd, &reply, sizeof(reply), MSG_DONTWAIT);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!NLMSG_OK(&reply.header, (size_t)n))
			return -EBADMSG;
		/* Else an answer that an earlier call did not wait for. */
		if (reply.header.nlmsg_seq == l->sequence)
			return read_answer(&reply.header, reply.header.nlmsg_len, may_listen, peer->sin_port, ret);
	}
}

/* -ENOENT is also what a kernel without tcp_diag says to everything, so it is asked for a socket that exists. */
static int check_kernel(struct peer_lookup *l)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr_in nobody = {.sin_family = AF_INET};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(address);
	struct peer_info info;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	int r = look_up(l, &address, &nobody, true, &info);
	return r == -ENOENT ? -EPROTONOSUPPORT : r;
}

int peer_lookup_new(struct peer_lookup **ret)
{
	struct peer_lookup *l = malloc(sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	*l = (struct peer_lookup){.fd = -EBADF};
	r = open_netlink(&l->fd);
	if (r == 0)
		r = check_kernel(l);
	if (r < 0) {
		peer_lookup_free(l);
		return r;
	}
	*ret = l;
	return 0;
}

struct peer_lookup *peer_lookup_free(struct peer_lookup *l)
{
	if (l) {
		close_fd(l->fd);
		free(l);
	}
	return NULL;
}

int peer_lookup_tcp(struct peer_lookup *l, const struct sockaddr_in *peer, const struct sockaddr_in *local,
		    struct peer_info *ret)
{
	return look_up(l, peer, local, false, ret);
}
