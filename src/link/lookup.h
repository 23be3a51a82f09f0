/* SPDX-License-Identifier: MIT
 *
 * Looks up a host name without blocking. An evdns_base lives as long as the look-up, so resolv.conf and hosts are read
 * anew each time, and neither a descriptor nor a timer is left in between.
 */
#ifndef CHARGEHAND_LINK_LOOKUP_H
#define CHARGEHAND_LINK_LOOKUP_H

#include "base/macro.h"
#include <event2/event.h>
#include <event2/util.h>

#define LOOKUP_RESOLV_CONF "/etc/resolv.conf"

struct lookup;

/* Loads what looks names up, unless it is linked or loaded already: reads files, so it is for the start of a program
 * that will call lookup_start(), which does it where nobody has. 0, or -EOPNOTSUPP with what is missing in *ret_message
 * (malloc'ed, may be NULL). */
int lookup_load(char **ret_message) _must_check_;

/* addresses: to be freed with evutil_freeaddrinfo() by the receiver, NULL when there are none: then error is -errno and
 * what a static text that says all. */
typedef void (*lookup_callback)(struct evutil_addrinfo *addresses, int error, const char *what, void *userdata);

/* The callback comes exactly once, from the event loop, never after lookup_cancel(). Sets no limit to the time of all
 * tries together. 0, -ENOMEM, or as lookup_load(). */
int lookup_start(struct event_base *base, const char *resolv_conf, const char *host, const char *port,
		 lookup_callback callback, void *userdata, struct lookup **ret) _must_check_;

/* Returns NULL; accepts NULL. What evdns still owes is freed some turns of the loop later. */
struct lookup *lookup_cancel(struct lookup *k);

#endif
