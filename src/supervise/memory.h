/* SPDX-License-Identifier: MIT
 *
 * What a shortage of memory had to do with the death of a worker: evidence from the kernel's counters, and from marks
 * of systemd-oomd, in the worker's leaf and around it. Where it has no leaf the cgroup that it shares with chargehand
 * tells, which in most containers can be read though not written.
 *
 * Counters are read when a death is looked at, and compared with what was accounted for before (tally.h). They are up
 * by then: the kernel counts first and kills afterwards.
 */
#ifndef CHARGEHAND_SUPERVISE_MEMORY_H
#define CHARGEHAND_SUPERVISE_MEMORY_H

#include "process/cgroup.h"
#include "process/death.h"
#include "process/subtree.h"
#include "supervise/tally.h"

/* Of all workers. */
struct memory;

/* All are borrowed. ops is that of the cgroup which workers share who have no leaves; with leaves nothing calls it. */
int memory_new(struct event_base *base, const struct subtree *subtree, const struct tally_ops *ops, void *userdata,
	       struct memory **ret) _must_check_;
struct memory *memory_free(struct memory *m); /* accepts NULL */

/* exit, ended_usec and stop are filled in; this adds what the kernel tells of memory. leaf may be NULL, and leaf_tally
 * is then not open. */
void memory_gather(struct memory *m, const struct cgroup_leaf *leaf, struct tally *leaf_tally,
		   struct death_evidence *e);

/* Takes note, for later deaths, of what did not matter to the one just looked at: when its reports are on their way.
 * leaf_tally as above. */
void memory_catch_up(struct memory *m, struct tally *leaf_tally);

#endif
