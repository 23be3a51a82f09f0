/* SPDX-License-Identifier: MIT
 *
 * The dialer. A numeric address is connected to at once, a name is looked up first; then one address after the other.
 *
 * Does not redial: link.c does, with its backoff.
 */
#include "link/dial.h"
#include "base/clock.h"
#include "base/parse.h"
#include "link/lookup.h"
#include "link/stream.h"
#include <assert.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define DIAL_KEEPALIVE_INTERVAL_SEC 5
#define DIAL_KEEPALIVE_PROBES 3

struct dialer {
	struct event_base *base;
	const struct server_url *url;
	const char *resolv_conf;
	char port[8];
	struct evutil_addrinfo ipv4; /* what the URL names by number is here, with its address, */
	struct sockaddr_in ipv4_address;
	struct evutil_addrinfo *parsed;        /* or has been read by the C library; */
	const struct evutil_addrinfo *numeric; /* one of the two. NULL: a name, to be looked up */
	unsigned n_dials;

	struct event turn_event;
	bool turn_taken; /* somebody has hashed and the loop has not polled since */
	struct hash_turn *first_turn, **last_turn;
};

struct dial {
	struct dialer *dialer;
	dial_callback callback;
	void *userdata;

	usec_t deadline_usec;
	struct lookup *lookup;
	struct evutil_addrinfo *addresses; /* looked up, and to be freed */
	const struct evutil_addrinfo *next;

	int fd;             /* -EBADF, or being connected */
	struct event event; /* fd's, with its limit; or the lookup's limit; or a timer of zero: go on from the loop */
	int error;          /* of the last step that failed, positive, with its text */
	const char *what;
};

static void dial_go_on(struct dial *d);

/* ---- the connection */

static void dial_set_options(int fd)
{
	const struct {
		int level, option, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, DIAL_IDLE_SEC},
		{IPPROTO_TCP, TCP_KEEPINTVL, DIAL_KEEPALIVE_INTERVAL_SEC},
		{IPPROTO_TCP, TCP_KEEPCNT, DIAL_KEEPALIVE_PROBES},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, DIAL_USER_TIMEOUT_MSEC},
	};

	/* None of them can fail on a TCP socket of a kernel that chargehand runs on, and a link without works too. */
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].option, &options[i].value, sizeof(options[i].value));
}

static bool address_is_loopback(const struct sockaddr *a)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;

	if (a->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
	return a->sa_family == AF_INET && ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* TCP lets a socket connect to itself where its own port is the one that nobody listens on (a free port that the
 * kernel has just given it). That is no server. */
static bool dial_is_self_connected(int fd)
{
	struct sockaddr_storage local = {0}, peer = {0};
	socklen_t local_bytes = sizeof(local), peer_bytes = sizeof(peer);

	return getsockname(fd, (struct sockaddr *)&local, &local_bytes) == 0 &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_bytes) == 0 && local_bytes == peer_bytes &&
	       memcmp(&local, &peer, local_bytes) == 0;
}

/* For d->fd, or for the time to pass: what was waited for before has come, or is no longer waited for. */
static int dial_wait(struct dial *d, short what, event_callback_fn callback, usec_t limit_usec)
{
	struct timeval limit = usec_to_timeval(limit_usec);

	(void)event_assign(&d->event, d->dialer->base, d->fd, what, callback, d);
	return event_add(&d->event, &limit) < 0 ? -ENOMEM : 0;
}

static void dial_release(struct dial *d)
{
	(void)event_del(&d->event);
	d->fd = close_fd(d->fd);
	d->lookup = lookup_cancel(d->lookup);
	if (d->addresses)
		evutil_freeaddrinfo(d->addresses);
	d->dialer->n_dials--;
	free(d);
}

static void dial_finish(struct dial *d, int fd, const char *what)
{
	dial_callback callback = d->callback;
	void *userdata = d->userdata;

	dial_release(d);
	callback(fd, what, userdata);
}

static void dial_set_error(struct dial *d, int error)
{
	d->error = error;
	d->what = strerror(error); /* static for every errno there is */
}

static void dial_on_connected(_unused_ evutil_socket_t event_fd, short what, void *userdata)
{
	struct dial *d = userdata;
	int error = 0;
	socklen_t bytes = sizeof(error);

	(void)event_del(&d->event);
	if (what & EV_TIMEOUT)
		error = ETIMEDOUT;
	else if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) < 0)
		error = errno;
	else if (error == 0 && dial_is_self_connected(d->fd))
		error = ECONNREFUSED;

	if (error == 0) {
		dial_finish(d, TAKE_FD(d->fd), NULL);
		return;
	}
	d->fd = close_fd(d->fd);
	dial_set_error(d, error);
	dial_go_on(d);
}

/* What is left of the time, shared evenly with the addresses that come after: one that swallows packets, as an IPv6
 * address without a route behind it does, leaves something for the others. */
static usec_t dial_share_usec(const struct dial *d)
{
	usec_t left = usec_sub(d->deadline_usec, clock_now_usec());
	unsigned n = 0;

	for (const struct evutil_addrinfo *a = d->next; a; a = a->ai_next)
		n++;
	return n > 0 ? left / n : left;
}

static int dial_connect(struct dial *d, const struct evutil_addrinfo *a, usec_t limit_usec)
{
	int r;

	if (limit_usec == 0)
		return -ETIMEDOUT;

	d->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (d->fd < 0) {
		d->fd = -EBADF;
		return -errno;
	}
	dial_set_options(d->fd);
	if (address_is_loopback(a->ai_addr))
		stream_choose_loopback_congestion(d->fd);

	/* An interrupted one goes on by itself (connect(3p)). */
	if (connect(d->fd, a->ai_addr, (socklen_t)a->ai_addrlen) < 0 && errno != EINPROGRESS && errno != EINTR) {
		r = -errno;
		d->fd = close_fd(d->fd);
		return r;
	}
	/* A socket that is connected already is writable as well. */
	r = dial_wait(d, EV_WRITE, dial_on_connected, limit_usec);
	if (r < 0)
		d->fd = close_fd(d->fd);
	return r;
}

/* True when one of the addresses left is being connected to. */
static bool dial_try_addresses(struct dial *d)
{
	while (d->next) {
		usec_t share = dial_share_usec(d);
		const struct evutil_addrinfo *a = d->next;
		int r;

		d->next = a->ai_next;
		r = dial_connect(d, a, share);
		if (r == 0)
			return true;
		dial_set_error(d, -r);
	}
	return false;
}

static void dial_go_on(struct dial *d)
{
	(void)event_del(&d->event);
	if (!dial_try_addresses(d))
		dial_finish(d, -d->error, d->what);
}

static void dial_on_timer(_unused_ evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct dial *d = userdata;

	if (d->lookup) {
		d->error = ETIMEDOUT;
		d->what = "the host name cannot be looked up in time";
		dial_finish(d, -d->error, d->what);
	} else {
		dial_go_on(d);
	}
}

static void dial_on_lookup(struct evutil_addrinfo *addresses, int error, const char *what, void *userdata)
{
	struct dial *d = userdata;

	d->lookup = NULL;
	d->next = d->addresses = addresses;
	d->error = -error;
	d->what = what;
	dial_go_on(d);
}

int dial_start(struct dialer *dialer, dial_callback callback, void *userdata, struct dial **ret)
{
	usec_t limit_usec = DIAL_TIMEOUT_SEC * USEC_PER_SEC;
	struct dial *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->dialer = dialer;
	d->callback = callback;
	d->userdata = userdata;
	d->fd = -EBADF;
	d->deadline_usec = usec_add(clock_now_usec(), limit_usec);
	(void)evtimer_assign(&d->event, dialer->base, dial_on_timer, d);
	dialer->n_dials++;

	if (dialer->numeric) {
		d->next = dialer->numeric;
		if (dial_try_addresses(d))
			goto started;
		limit_usec = 0;
	} else {
		r = lookup_start(dialer->base, dialer->resolv_conf, dialer->url->host, dialer->port, dial_on_lookup, d,
				 &d->lookup);
		if (r < 0)
			goto fail;
	}
	r = dial_wait(d, 0, dial_on_timer, limit_usec);
	if (r < 0)
		goto fail;

started:
	*ret = d;
	return 0;

fail:
	dial_release(d);
	return r;
}

struct dial *dial_cancel(struct dial *d)
{
	if (d)
		dial_release(d);
	return NULL;
}

/* ---- turns of hashing */

static void dialer_on_turn(_unused_ evutil_socket_t fd, _unused_ short what, void *userdata)
{
	struct dialer *d = userdata;
	struct hash_turn *t = d->first_turn;

	d->turn_taken = false;
	if (t) {
		dialer_leave_turn(d, t);
		dialer_take_turn(d, t);
	}
}

void dialer_take_turn(struct dialer *d, struct hash_turn *t)
{
	static const struct timeval zero_time = {0};

	assert(!t->waiting);

	if (d->turn_taken) {
		t->waiting = true;
		t->next = NULL;
		*d->last_turn = t;
		d->last_turn = &t->next;
		return;
	}
	/* A timer, even of zero, is looked at after the descriptors: others' I/O comes in between. */
	d->turn_taken = event_add(&d->turn_event, &zero_time) == 0;
	t->callback(t);
}

void dialer_leave_turn(struct dialer *d, struct hash_turn *t)
{
	struct hash_turn **p;

	if (!t->waiting)
		return;
	for (p = &d->first_turn; *p != t; p = &(*p)->next)
		assert(*p);
	*p = t->next;
	if (d->last_turn == &t->next)
		d->last_turn = p;
	t->waiting = false;
}

/* ---- the dialer */

/* An address that the URL names by number. What is plain is read without the C library: its readers of addresses are
 * apart from all else that is called there, and 64 KB would be resident for one call. The rest is theirs: IPv6 with its
 * scopes, and 127.1. */
static void dialer_set_numeric(struct dialer *d)
{
	const struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_protocol = IPPROTO_TCP,
		.ai_flags = EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV,
	};
	uint32_t address;

	(void)snprintf(d->port, sizeof(d->port), "%u", (unsigned)d->url->port);
	if (parse_ipv4(d->url->host, &address) < 0) {
		if (evutil_getaddrinfo(d->url->host, d->port, &hints, &d->parsed) != 0)
			d->parsed = NULL;
		d->numeric = d->parsed;
		return;
	}
	d->ipv4_address.sin_family = AF_INET;
	d->ipv4_address.sin_port = htons(d->url->port);
	d->ipv4_address.sin_addr.s_addr = htonl(address);
	d->ipv4.ai_family = AF_INET;
	d->ipv4.ai_addr = (struct sockaddr *)&d->ipv4_address;
	d->ipv4.ai_addrlen = sizeof(d->ipv4_address);
	d->numeric = &d->ipv4;
}

static void dialer_drop_numeric(struct dialer *d)
{
	if (d->parsed)
		evutil_freeaddrinfo(d->parsed);
}

int dialer_prepare(const struct server_url *url, char **ret_message)
{
	struct dialer d = {.url = url};
	_cleanup_free_ char *why = NULL;
	bool is_numeric;
	int r;

	dialer_set_numeric(&d);
	is_numeric = d.numeric;
	dialer_drop_numeric(&d);
	if (is_numeric)
		return 0;
	r = lookup_load(&why);
	if (r < 0 && asprintf(ret_message,
			      "the name \"%s\" cannot be looked up: %s; install this part of libevent, or give the "
			      "server's address as a number",
			      url->host, why ? why : strerror(-r)) < 0)
		*ret_message = NULL;
	return r;
}

int dialer_new(struct event_base *base, const struct server_url *url, struct dialer **ret)
{
	struct dialer *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->base = base;
	d->url = url;
	dialer_set_numeric(d);
	d->resolv_conf = LOOKUP_RESOLV_CONF;
	d->last_turn = &d->first_turn;
	(void)evtimer_assign(&d->turn_event, base, dialer_on_turn, d);
	*ret = d;
	return 0;
}

struct dialer *dialer_free(struct dialer *d)
{
	if (!d)
		return NULL;
	assert(d->n_dials == 0 && !d->first_turn);
	(void)event_del(&d->turn_event);
	dialer_drop_numeric(d);
	free(d);
	return NULL;
}

struct event_base *dialer_base(const struct dialer *d)
{
	return d->base;
}

const struct server_url *dialer_url(const struct dialer *d)
{
	return d->url;
}

void dialer_set_resolv_conf(struct dialer *d, const char *path)
{
	d->resolv_conf = path;
}
