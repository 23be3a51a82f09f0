/* SPDX-License-Identifier: MIT
 *
 * A name server of a few lines for tests: one UDP socket on 127.0.0.1 in the test's own event loop. For each question
 * it is told how to answer.
 */
#ifndef CHARGEHAND_TESTS_DNS_H
#define CHARGEHAND_TESTS_DNS_H

#include "loop.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum dns_answer {
	DNS_NOTHING, /* the question is swallowed */
	DNS_NO_SUCH_NAME,
	DNS_EMPTY,
	DNS_ADDRESS,
};

struct dns {
	int fd;
	struct event *event;
	char resolv_conf[64]; /* path */
	enum dns_answer v4, v6;
	const char *v4_addresses[4], *v6_addresses[4]; /* up to a NULL */
	unsigned n_questions;
};

static inline size_t dns_put_address(unsigned char *p, int family, const char *text)
{
	static const unsigned char head[] = {0xc0, 12, 0, 0, 0, 1, 0, 0, 0, 60, 0, 0};
	size_t n = family == AF_INET ? 4 : 16;

	memcpy(p, head, sizeof(head));
	p[3] = family == AF_INET ? 1 : 28;
	p[11] = (unsigned char)n;
	cr_assert_eq(inet_pton(family, text, p + sizeof(head)), 1);
	return sizeof(head) + n;
}

static inline void dns_on_question(evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct dns *d = userdata;
	struct sockaddr_storage from;
	socklen_t from_bytes = sizeof(from);
	unsigned char p[1024];
	ssize_t got = recvfrom(fd, p, 512, 0, (struct sockaddr *)&from, &from_bytes);
	size_t n = 12;

	if (got < 17)
		return;
	d->n_questions++;
	while (n < (size_t)got && p[n])
		n += 1U + p[n];
	n += 5;
	cr_assert_leq(n, (size_t)got);

	bool six = p[n - 3] == 28;
	enum dns_answer answer = six ? d->v6 : d->v4;
	const char **addresses = six ? d->v6_addresses : d->v4_addresses;

	if (answer == DNS_NOTHING)
		return;
	p[2] = 0x81;
	p[3] = answer == DNS_NO_SUCH_NAME ? 0x83 : 0x80;
	memset(p + 4, 0, 8);
	p[5] = 1;
	if (answer == DNS_ADDRESS)
		for (; *addresses; addresses++, p[7]++)
			n += dns_put_address(p + n, six ? AF_INET6 : AF_INET, *addresses);
	cr_assert_eq(sendto(fd, p, n, 0, (struct sockaddr *)&from, from_bytes), (ssize_t)n);
}

static inline void dns_start(struct dns *d, struct event_base *base)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	char text[128];
	int fd, n;

	*d = (struct dns){.v4 = DNS_EMPTY, .v6 = DNS_EMPTY};
	d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(d->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(getsockname(d->fd, (struct sockaddr *)&address, &bytes), 0);
	d->event = event_new(base, d->fd, EV_READ | EV_PERSIST, dns_on_question, d);
	cr_assert_eq(event_add(d->event, NULL), 0);

	const char *tmp = getenv("TMPDIR");
	snprintf(d->resolv_conf, sizeof(d->resolv_conf), "%.40s/resolv.XXXXXX",
		 tmp && strlen(tmp) <= 40 ? tmp : "/tmp");
	fd = mkstemp(d->resolv_conf);
	cr_assert_geq(fd, 0);
	n = snprintf(text, sizeof(text), "nameserver 127.0.0.1:%d\nsearch invalid\n", ntohs(address.sin_port));
	cr_assert_eq(write(fd, text, (size_t)n), n);
	close(fd);
}

static inline void dns_stop(struct dns *d)
{
	event_free(d->event);
	close(d->fd);
	unlink(d->resolv_conf);
}

#endif
