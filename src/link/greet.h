/* SPDX-License-Identifier: MIT
 *
 * One whole handshake with the server, waiting for it: for --check alone. Everything else dials without waiting.
 */
#ifndef CHARGEHAND_LINK_GREET_H
#define CHARGEHAND_LINK_GREET_H

#include "base/clock.h"
#include "base/macro.h"
#include "faktory/url.h"

#define GREET_TEXT_MAX 256

/* Connects, says HELLO with the password, and END. 0 when the server has said +OK; else -errno, and text says in a few
 * words what went wrong, the server's own words included. */
int server_greet(const struct server_url *url, usec_t timeout_usec, char text[GREET_TEXT_MAX]) _must_check_;

#endif
