/* SPDX-License-Identifier: MIT
 *
 * Connecting to the server: the name is resolved anew at each dial, without blocking (evdns), every address is tried in
 * turn, and the socket comes out with TCP_NODELAY, keepalive and a user timeout set. Also rations the hashing of
 * passwords: one in a turn of the loop, for each costs milliseconds (hazards 23).
 */
#ifndef CHARGEHAND_LINK_DIAL_H
#define CHARGEHAND_LINK_DIAL_H

#include "base/macro.h"
#include "faktory/url.h"
#include <event2/event.h>
#include <stdbool.h>

/* From the first lookup to a connected socket. */
#define DIAL_TIMEOUT_SEC 5

/* A connection that the other machine no longer answers on is given up after this long, idle (keepalive) or with bytes
 * on their way (TCP_USER_TIMEOUT, tcp(7)); so a link that is neither ready nor lost does not exist for longer. A FAIL
 * that was on its way may be repeated for ten seconds, so most of them must be left (hazards 1, 16). */
#define DIAL_IDLE_SEC 15
#define DIAL_USER_TIMEOUT_MSEC 4000

struct dialer;
struct dial;

/* What dialling this server needs is loaded: for a name, the library that looks names up. Reads files, so it comes
 * before the loop. 0, or -EOPNOTSUPP with a sentence in *ret_message that says what is missing and what would be right
 * (malloc'ed, may be NULL). A dialer that is made all the same tries again with each dial. */
int dialer_prepare(const struct server_url *url, char **ret_message) _must_check_;

/* url is borrowed and outlives the dialer. */
int dialer_new(struct event_base *base, const struct server_url *url, struct dialer **ret) _must_check_;
struct dialer *dialer_free(struct dialer *d);
struct event_base *dialer_base(const struct dialer *d);
const struct server_url *dialer_url(const struct dialer *d);
void dialer_set_resolv_conf(struct dialer *d, const char *path); /* borrowed; for tests */

/* Starts; the callback comes exactly once, from the event loop, with a connected descriptor (the receiver's) or with
 * -errno and a static text that needs no errno beside it; never after dial_cancel(). The dial frees itself before the
 * callback. */
typedef void (*dial_callback)(int fd, const char *what, void *userdata);
int dial_start(struct dialer *d, dial_callback callback, void *userdata, struct dial **ret) _must_check_;
struct dial *dial_cancel(struct dial *d); /* returns NULL; accepts NULL */

/* Waits for one's turn to hash: the callback comes in this call when nobody has hashed in this turn of the loop, else
 * from the loop. A waiter must be cancelled before it is freed. */
struct hash_turn {
	struct hash_turn *next;
	void (*callback)(struct hash_turn *t);
	bool waiting;
};
void dialer_take_turn(struct dialer *d, struct hash_turn *t);
void dialer_leave_turn(struct dialer *d, struct hash_turn *t);

#endif
