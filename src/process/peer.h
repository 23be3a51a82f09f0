/* SPDX-License-Identifier: MIT
 *
 * Who is at the other end of a loopback connection: one sock_diag(7) look-up (NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY
 * for the exact pair of addresses, seen from the peer's side) tells the uid that made the socket and the cgroup it was
 * made in. A v4-mapped IPv6 peer is found by an AF_INET query; a peer that is dead already shows uid 0 in FIN_WAIT2
 * or is not found (hazards 35).
 */
#ifndef CHARGEHAND_PROCESS_PEER_H
#define CHARGEHAND_PROCESS_PEER_H

#include "base/macro.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct peer_info {
	uid_t uid;
	bool have_cgroup;
	uint64_t cgroup_id;
	bool orphaned; /* no process has it open any more (inode 0): uid tells nothing */
};

struct peer_lookup;

/* -EPROTONOSUPPORT, -EACCES …: the kernel or a sandbox gives no sock_diag; then nothing can be told of strangers. */
int peer_lookup_new(struct peer_lookup **ret) _must_check_;
struct peer_lookup *peer_lookup_free(struct peer_lookup *l);

/* peer: the remote address as accept(2) gave it; local: the listener's. 0, -ENOENT when there is no such socket any
 * more, -errno. Never blocks: the kernel answers a netlink request before send(2) returns. */
int peer_lookup_tcp(struct peer_lookup *l, const struct sockaddr_in *peer, const struct sockaddr_in *local,
		    struct peer_info *ret) _must_check_;

#endif
