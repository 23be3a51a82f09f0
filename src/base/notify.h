/* SPDX-License-Identifier: MIT
 *
 * The socket by which a process tells the service manager that started it how it is: sd_notify(3), whose protocol is
 * one datagram of lines "NAME=value", and stable.
 */
#ifndef CHARGEHAND_BASE_NOTIFY_H
#define CHARGEHAND_BASE_NOTIFY_H

#include "base/macro.h"
#include <stddef.h>

struct notify_socket;

/* address: what $NOTIFY_SOCKET says, a path or "@" and an abstract name. -EAFNOSUPPORT for anything else (vsock), which
 * is of virtual machines. Nobody need listen there. */
int notify_socket_new(const char *address, struct notify_socket **ret) _must_check_;
struct notify_socket *notify_socket_free(struct notify_socket *n); /* returns NULL; accepts NULL */

/* Never waits: -EAGAIN when the manager has not read what was sent before. -errno. */
int notify_send(const struct notify_socket *n, const char *text, size_t bytes) _must_check_;

#endif
