/* SPDX-License-Identifier: MIT
 *
 * All processes of one worker, whatever keeps them together: a cgroup leaf, or where there is none a session, a process
 * group and a mark in the environment (process/tree.h).
 */
#ifndef CHARGEHAND_SUPERVISE_FAMILY_H
#define CHARGEHAND_SUPERVISE_FAMILY_H

#include "base/clock.h"
#include "process/cgroup.h"
#include "process/peer.h"
#include "process/tree.h"
#include "supervise/watch.h"

struct family {
	pid_t pid; /* the first process; 0 before it is started */
	struct tree tree;
	struct cgroup_leaf *leaf; /* owned; NULL: none */

	/* private */
	struct event_base *base;
	void (*callback)(void *userdata);
	void *userdata;
	struct watch watch; /* of the leaf's events */
	struct event poll;
	bool watching, polling;
	usec_t poll_usec;
};

/* mark is borrowed. The callback comes from the event loop while family_watch() is on, whenever the answer of
 * family_is_alive() may have changed. */
void family_init(struct family *f, struct event_base *base, const char *mark, void (*callback)(void *userdata),
		 void *userdata);
/* Takes the leaf away with it. -errno when it cannot be removed, -EBUSY because something still lives in it; then it is
 * the caller's, in *ret_leaf. */
int family_done(struct family *f, struct cgroup_leaf **ret_leaf);

/* Is any process left? The first one does not count once it is a zombie, reaped or not. */
bool family_is_alive(const struct family *f);

void family_kill(const struct family *f);

/* Is the process one of them? Its pidfd must have been opened before, so that the pid means one process only. */
bool family_has_pid(const struct family *f, pid_t pid);

/* Is it one of them that made the socket? With a leaf its cgroup alone decides, without one the uid (hazards 35). */
bool family_has_peer(const struct family *f, const struct peer_info *info);

void family_watch(struct family *f);
void family_unwatch(struct family *f);

#endif
