/* SPDX-License-Identifier: MIT
 *
 * One watch each, of the leaf's cgroup.events.
 */
#include "supervise/remnant.h"

#include "base/log.h"
#include "supervise/watch.h"

#include <limits.h>
#include <stdio.h>

struct remnant {
	LIST_ENTRY(remnant) entry;
	struct cgroup_leaf *leaf;
	struct watch watch;
};

static void remnant_free(struct remnant *r)
{
	watch_close(&r->watch);
	cgroup_leaf_free(r->leaf);
	LIST_REMOVE(r, entry);
	free(r);
}

/* True when the leaf has gone. */
static bool remnant_try(struct remnant *r)
{
	/* Read whatever it says: that asks for the next news of it. */
	if (cgroup_leaf_is_populated(r->leaf) == 1 || cgroup_leaf_remove(r->leaf) < 0)
		return false;
	r->leaf = NULL;
	remnant_free(r);
	return true;
}

static void remnant_on_watch(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct remnant *r = userdata;
	char name[NAME_MAX + 1];

	(void)snprintf(name, sizeof(name), "%s", r->leaf->name);
	if (remnant_try(r))
		log_notice("The cgroup %s has become empty, and is removed", name);
}

void remnant_add(struct remnant_list *list, struct event_base *base, struct cgroup_leaf *leaf, int error)
{
	struct remnant *r = error == -EBUSY ? calloc(1, sizeof(*r)) : NULL;

	if (!r) {
		(void)log_warning_errno(error, "The cgroup %s cannot be removed: %m", leaf->name);
		cgroup_leaf_free(leaf);
		return;
	}
	r->leaf = leaf;
	LIST_INSERT_HEAD(list, r, entry);
	error = watch_open(&r->watch, base, leaf->events_fd, EV_READ | EV_PERSIST, remnant_on_watch, r);
	/* It may have become empty before it was watched. */
	if (remnant_try(r))
		return;
	log_warning("The cgroup %s cannot be removed while a process in it does not end, as one that is stuck in the "
		    "kernel does not; it is removed %s",
		    leaf->name, error < 0 ? "at the end of chargehand" : "when that has ended");
}

void remnant_free_all(struct remnant_list *list)
{
	struct remnant *r, *next;

	for (r = LIST_FIRST(list); r; r = next) {
		next = LIST_NEXT(r, entry);
		if (remnant_try(r))
			continue;
		log_warning("The cgroup %s is not empty; it is left to the next chargehand", r->leaf->name);
		remnant_free(r);
	}
}
