/* SPDX-License-Identifier: MIT
 *
 * Leaves that could not be removed with their worker: something in them is stuck in the kernel, as on a disk or a file
 * server that does not answer, and not even SIGKILL has ended it so far (hazards 21). Nobody waits for it; the leaf
 * goes when the kernel tells that it is empty.
 */
#ifndef CHARGEHAND_SUPERVISE_REMNANT_H
#define CHARGEHAND_SUPERVISE_REMNANT_H

#include "process/cgroup.h"
#include <event2/event.h>
#include <sys/queue.h>

struct remnant;
LIST_HEAD(remnant_list, remnant);

/* Takes the leaf. What its removal has said so far is in error, -errno; only after -EBUSY is there something to wait
 * for. */
void remnant_add(struct remnant_list *list, struct event_base *base, struct cgroup_leaf *leaf, int error);

/* What is still not empty is left to the next start. */
void remnant_free_all(struct remnant_list *list);

#endif
