/* SPDX-License-Identifier: MIT
 *
 * The server's address: tcp://:PASSWORD@HOST:PORT, and which environment variable a worker is told its own by.
 */
#ifndef CHARGEHAND_FAKTORY_URL_H
#define CHARGEHAND_FAKTORY_URL_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>

#define URL_PORT_DEFAULT 7419

struct server_url {
	bool tls;   /* tcp+tls:// */
	char *host; /* owned; an IPv6 literal without its brackets */
	uint16_t port;
	char *password; /* owned; percent-decoded; NULL when none */
	char *username; /* owned; percent-decoded; NULL when none */
	char *path;     /* owned; with its slash, "" when none: kept for workers that read a namespace from it */
};

/* Accepts tcp:// and tcp+tls://, a host name, an IPv4 or bracketed IPv6 literal, and a port (7419 when absent). Returns
 * -EINVAL otherwise, with *ret_error set to a static sentence that says what is wrong and what would be right.
 * *ret_error never repeats the URL, which may hold a password. */
int server_url_parse(const char *url, struct server_url *ret, const char **ret_error) _must_check_;
void server_url_done(struct server_url *u);

/* "tcp://HOST:PORT" without password, for logs. malloc'ed. NULL without memory. */
char *server_url_show(const struct server_url *u);

/* What a worker's own variables are set to: tcp://127.0.0.1:PORT and the path. malloc'ed. NULL without memory. */
char *server_url_for_worker(const struct server_url *u, uint16_t port);

#endif
