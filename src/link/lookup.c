/* SPDX-License-Identifier: MIT
 *
 * evdns_getaddrinfo(), with the care that it needs: it may call back before it returns, calls back for what was
 * cancelled as well, and looks at its base after having called back. So the base goes a turn of the loop later.
 */
#include "link/lookup.h"
#include "base/library.h"
#include <event2/dns.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

/* All of evdns that is used; SYMBOL is lib.SYMBOL here. Who names the server by its address does not have the library's
 * hundred KB. */
#define SYMBOLS(X)                                                                                                     \
	X(evdns_base_free)                                                                                             \
	X(evdns_base_new)                                                                                              \
	X(evdns_base_resolv_conf_parse)                                                                                \
	X(evdns_base_set_option)                                                                                       \
	X(evdns_getaddrinfo)                                                                                           \
	X(evdns_getaddrinfo_cancel)                                                                                    \
	X(evdns_set_log_fn)

#ifdef LIBEVENT_EXTRA_SONAME
static struct {
	SYMBOLS(LIBRARY_POINTER)
} lib;

/* Most name the server by a name, and "localhost" is one. */
LIBRARY_NOTE("names", "Looks up the Faktory server's name", "required", LIBEVENT_EXTRA_SONAME);
#else
static const struct {
	SYMBOLS(LIBRARY_POINTER)
} lib = {SYMBOLS(LIBRARY_LINKED)};
#endif

struct lookup {
	lookup_callback callback; /* NULL once cancelled */
	void *userdata;
	struct evdns_base *dns;
	struct evdns_getaddrinfo_request *request;
	struct event done_event;
	bool answered;

	struct evutil_addrinfo *addresses;
	int error;
	const char *what;
};

static const struct timeval zero_time = {0};

/* Whoever waits gives up after seconds, so one lost packet must not cost evdns's default of five. A name server that
 * never answers for AAAA must not hold up the A that is there. Letters in random case upset some servers, and glibc's
 * resolver does not do it. */
static const struct {
	const char *option, *value;
} dns_options[] = {
	{"timeout:", "1"},
	{"attempts:", "3"},
	{"initial-probe-timeout:", "1"},
	{"getaddrinfo-allow-skew:", "0.5"},
	{"randomize-case:", "0"},
};

static void dns_log_nothing(_unused_ int is_warning, _unused_ const char *text)
{
	/* Name servers that fail are told by the callback. */
}

static void lookup_free(struct lookup *k)
{
	(void)event_del(&k->done_event);
	if (k->dns)
		lib.evdns_base_free(k->dns, 0);
	if (k->addresses)
		evutil_freeaddrinfo(k->addresses);
	free(k);
}

static void lookup_on_done(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct lookup *k = userdata;
	struct evutil_addrinfo *addresses = k->callback ? TAKE_PTR(k->addresses) : NULL;
	lookup_callback callback = k->callback;
	void *owner = k->userdata;
	const char *what = k->what;
	int error = k->error;

	lookup_free(k);
	if (callback)
		callback(addresses, error, what, owner);
}

static void lookup_on_answer(int error, struct evutil_addrinfo *addresses, void *userdata)
{
	struct lookup *k = userdata;

	k->answered = true;
	k->addresses = addresses;
	if (error == EVUTIL_EAI_MEMORY) {
		k->error = -ENOMEM;
		k->what = "out of memory";
	} else if (error == 0 || error == EVUTIL_EAI_NONAME || error == EVUTIL_EAI_NODATA) {
		k->error = -ENOENT;
		k->what = "no such host name";
	} else {
		k->error = -EHOSTUNREACH;
		k->what = "the host name cannot be looked up, for no name server answers";
	}
	(void)event_add(&k->done_event, &zero_time);
}

int lookup_load(_unused_ char **ret_message)
{
#ifdef LIBEVENT_EXTRA_SONAME
	if (!lib.evdns_base_new)
		return library_load(LIBEVENT_EXTRA_SONAME, SYMBOLS(LIBRARY_NAME), &lib, ret_message);
#endif
	return 0;
}

int lookup_start(struct event_base *base, const char *resolv_conf, const char *host, const char *port,
		 lookup_callback callback, void *userdata, struct lookup **ret)
{
	struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_protocol = IPPROTO_TCP,
	};
	_cleanup_free_ char *message = NULL;
	struct lookup *k;
	int r = lookup_load(&message);

	if (r < 0)
		return r;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->callback = callback;
	k->userdata = userdata;
	(void)evtimer_assign(&k->done_event, base, lookup_on_done, k);

	lib.evdns_set_log_fn(dns_log_nothing); /* else it writes to standard error */
	k->dns = lib.evdns_base_new(base, 0);
	if (!k->dns) {
		lookup_free(k);
		return -ENOMEM;
	}
	for (size_t i = 0; i < ARRAY_SIZE(dns_options); i++)
		(void)lib.evdns_base_set_option(k->dns, dns_options[i].option, dns_options[i].value);
	/* After ours, for the administrator's options win. Without the file: 127.0.0.1, as glibc does. */
	(void)lib.evdns_base_resolv_conf_parse(k->dns, DNS_OPTIONS_ALL, resolv_conf);

	k->request = lib.evdns_getaddrinfo(k->dns, host, port, &hints, lookup_on_answer, k);
	*ret = k;
	return 0;
}

struct lookup *lookup_cancel(struct lookup *k)
{
	if (!k)
		return NULL;
	if (k->answered) { /* and done_event waits: it may never come, when chargehand is ending */
		lookup_free(k);
		return NULL;
	}
	k->callback = NULL;
	if (k->request)
		lib.evdns_getaddrinfo_cancel(k->request);
	return NULL;
}
