/* SPDX-License-Identifier: MIT */
#include "link/dial.h"

#include "dns.h"
#include "loop.h"

#include <criterion/criterion.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

static struct event_base *base;
static struct dns dns;
static struct dialer *dialer;
static struct server_url url;
static struct dial *dial;
static unsigned n_calls;
static int result;
static const char *result_what;
static bool in_start;

static void on_dialled(int fd, const char *what, void *userdata)
{
	cr_assert_not(in_start, "called back out of dial_start()");
	cr_assert_eq(userdata, &url);
	n_calls++;
	dial = NULL;
	result = fd;
	result_what = what;
}

static void start(const char *host, uint16_t port)
{
	dialer = dialer_free(dialer);
	url.host = (char *)host;
	url.port = port;
	cr_assert_eq(dialer_new(base, &url, &dialer), 0);
	dialer_set_resolv_conf(dialer, dns.resolv_conf);
	in_start = true;
	cr_assert_eq(dial_start(dialer, on_dialled, &url, &dial), 0);
	in_start = false;
}

static void setup(void)
{
	base = event_base_new();
	cr_assert_not_null(base);
	dns_start(&dns, base);
	url.host = (char *)"127.0.0.1";
	cr_assert_eq(dialer_new(base, &url, &dialer), 0);
}

static void teardown(void)
{
	dialer_free(dialer);
	dns_stop(&dns);
	event_base_free(base);
}

TestSuite(dial, .init = setup, .fini = teardown, .timeout = 60);

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t bytes = sizeof(value);

	cr_assert_eq(getsockopt(fd, level, name, &value, &bytes), 0);
	return value;
}

static const char *congestion_control(int fd)
{
	static char name[16];
	socklen_t bytes = sizeof(name);

	cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &bytes), 0);
	return name;
}

Test(dial, a_numeric_address_is_connected_to)
{
	uint16_t port;
	int listener = loop_listen(&port);

	dns.v4 = dns.v6 = DNS_NOTHING;
	start("127.0.0.1", port);
	LOOP_UNTIL(base, n_calls > 0);
	cr_assert_geq(result, 0, "%s", result_what);
	cr_assert_eq(dns.n_questions, 0);

	cr_assert(fcntl(result, F_GETFL) & O_NONBLOCK);
	cr_assert(fcntl(result, F_GETFD) & FD_CLOEXEC);
	cr_assert_neq(option(result, IPPROTO_TCP, TCP_NODELAY), 0);
	cr_assert_neq(option(result, SOL_SOCKET, SO_KEEPALIVE), 0);
	cr_assert_eq(option(result, IPPROTO_TCP, TCP_KEEPIDLE), DIAL_IDLE_SEC);
	cr_assert_leq(option(result, IPPROTO_TCP, TCP_KEEPINTVL), DIAL_IDLE_SEC);
	cr_assert_leq(option(result, IPPROTO_TCP, TCP_KEEPCNT), 5);
	cr_assert_eq(option(result, IPPROTO_TCP, TCP_USER_TIMEOUT), DIAL_USER_TIMEOUT_MSEC);
	cr_assert_str_eq(congestion_control(result), "reno");

	int other = accept(listener, NULL, NULL);
	cr_assert_geq(other, 0);
	close(other);
	close(result);
	close(listener);
}

/* A network of our own, with nothing but a loopback interface. */
static void enter_network(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd;

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		cr_skip_test("no network namespace can be made here");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		cr_skip_test("the network namespace cannot be set up here");
	close(fd);
}

/* That its interface is the loopback one such an address does not tell. */
static void give_address(const char *address)
{
	struct ifreq second = {.ifr_name = "lo:1"};
	struct sockaddr_in *a = (struct sockaddr_in *)&second.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	a->sin_family = AF_INET;
	cr_assert_eq(inet_pton(AF_INET, address, &a->sin_addr), 1);
	cr_assert_eq(ioctl(fd, SIOCSIFADDR, &second), 0);
	close(fd);
}

Test(dial, a_server_elsewhere_is_sent_to_as_the_system_says)
{
	static const char *const hosts[] = {"127.0.0.1", "::1", "10.9.8.7", "::ffff:10.9.8.7"};
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	socklen_t bytes = sizeof(any);

	enter_network();
	give_address("10.9.8.7");
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *systems = strdup(congestion_control(listener));
	if (strcmp(systems, "reno") == 0)
		cr_skip_test("the system says what chargehand chooses");
	cr_assert_eq(bind(listener, (struct sockaddr *)&any, bytes), 0, "%s", strerror(errno));
	cr_assert_eq(listen(listener, 8), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&any, &bytes), 0);
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		n_calls = 0;
		start(hosts[i], ntohs(any.sin6_port));
		LOOP_UNTIL(base, n_calls > 0);
		cr_assert_geq(result, 0, "%s: %s", hosts[i], result_what);
		cr_expect_str_eq(congestion_control(result), i < 2 ? "reno" : systems, "%s", hosts[i]);
		close_fd(result);
	}
	free(systems);
	close(listener);
}

/* All that getaddrinfo(3) takes for a number, and no name server is asked whether it is one. */
Test(dial, so_are_the_other_ways_to_write_one)
{
	static const char *const hosts[] = {"127.1",       "0x7f.0.0.1", "2130706433",
					    "0177.0.0.01", "::1",        "::ffff:127.0.0.1"};
	uint16_t port;
	int listener = loop_listen(&port);

	dns.v4 = dns.v6 = DNS_NOTHING;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		n_calls = 0;
		start(hosts[i], port);
		LOOP_UNTIL(base, n_calls > 0);
		if (strcmp(hosts[i], "::1") == 0)
			cr_assert_lt(result, 0); /* the listener is not there */
		else
			cr_assert_geq(result, 0, "%s: %s", hosts[i], result_what);
		close_fd(result);
	}
	cr_assert_eq(dns.n_questions, 0);
	close(listener);
}

Test(dial, a_refusal_is_told_from_the_loop)
{
	uint16_t port;

	close(loop_listen(&port));
	start("127.0.0.1", port);
	LOOP_UNTIL(base, n_calls > 0);
	cr_assert_eq(result, -ECONNREFUSED);
	cr_assert_str_eq(result_what, "Connection refused");
}

Test(dial, what_fails_at_once_is_told_from_the_loop_too)
{
	start("255.255.255.255", 1); /* the kernel says no in connect(2) itself */
	LOOP_UNTIL(base, n_calls > 0);
	cr_assert_lt(result, 0);
	cr_assert_not_null(result_what);
	loop_drain(base);
	cr_assert_eq(n_calls, 1);
}

Test(dial, each_address_is_tried_in_turn)
{
	uint16_t port;
	int listener = loop_listen(&port);

	dns.v4 = DNS_ADDRESS;
	/* One where the kernel refuses at once, one where nobody listens, and one that is right. */
	dns.v4_addresses[0] = "255.255.255.255";
	dns.v4_addresses[1] = "127.0.0.2";
	dns.v4_addresses[2] = "127.0.0.1";
	start("faktory.example", port);
	LOOP_UNTIL(base, n_calls > 0);
	cr_assert_geq(result, 0, "%s", result_what);
	close(result);
	close(listener);
}

Test(dial, the_last_error_is_told_when_no_address_answers)
{
	uint16_t port;

	close(loop_listen(&port));
	dns.v4 = DNS_ADDRESS;
	dns.v4_addresses[0] = "127.0.0.2";
	dns.v4_addresses[1] = "127.0.0.1";
	start("faktory.example", port);
	LOOP_UNTIL(base, n_calls > 0);
	cr_assert_eq(result, -ECONNREFUSED);
}

/* A listener whose backlog is full swallows what comes, as an address without a route behind it does. */
static int listen_full(const char *address_text, uint16_t port, int *fillers, unsigned n_fillers)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(inet_pton(AF_INET, address_text, &address.sin_addr), 1);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 0), 0);
	for (unsigned i = 0; i < n_fillers; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(fillers[i], (struct sockaddr *)&address, sizeof(address));
	}
	return fd;
}

Test(dial, an_address_that_swallows_packets_leaves_time_for_the_next)
{
	int fillers[4];
	uint16_t port;
	int listener = loop_listen(&port), full = listen_full("127.0.0.2", port, fillers, 4);
	usec_t before = clock_now_usec();

	dns.v4 = DNS_ADDRESS;
	dns.v4_addresses[0] = "127.0.0.2";
	dns.v4_addresses[1] = "127.0.0.1";
	start("faktory.example", port);
	LOOP_UNTIL(base, n_calls > 0);
	cr_assert_geq(result, 0, "%s", result_what);
	cr_assert_gt(clock_now_usec() - before, USEC_PER_SEC, "no test: the first address answered");
	close(result);
	for (unsigned i = 0; i < 4; i++)
		close(fillers[i]);
	close(full);
	close(listener);
}

Test(dial, all_of_it_ends_in_time)
{
	int fillers[4];
	uint16_t port;
	int listener = loop_listen(&port), full = listen_full("127.0.0.2", port, fillers, 4);
	usec_t before = clock_now_usec();

	start("127.0.0.2", port);
	LOOP_UNTIL(base, n_calls > 0);
	cr_assert_eq(result, -ETIMEDOUT);
	cr_assert_lt(clock_now_usec() - before, (DIAL_TIMEOUT_SEC + 1) * USEC_PER_SEC);
	for (unsigned i = 0; i < 4; i++)
		close(fillers[i]);
	close(full);
	close(listener);
}

Test(dial, a_silent_name_server_ends_in_time_and_blocks_nobody)
{
	usec_t before = clock_now_usec(), turn, longest = 0;

	dns.v4 = dns.v6 = DNS_NOTHING;
	start("faktory.example", 7419);
	while (n_calls == 0) {
		turn = clock_now_usec();
		loop_turn(base); /* itself waits for 10 ms at most */
		longest = MAX(longest, clock_now_usec() - turn);
		cr_assert_lt(turn - before, (DIAL_TIMEOUT_SEC + 1) * USEC_PER_SEC);
	}
	cr_assert_lt(result, 0);
	cr_assert_not_null(result_what);
	cr_assert_lt(longest, USEC_PER_SEC);
}

Test(dial, cancelled_it_is_silent)
{
	int fillers[4];
	uint16_t port;
	int listener = loop_listen(&port), full = listen_full("127.0.0.2", port, fillers, 4);

	start("127.0.0.2", port);
	loop_drain(base);
	dial = dial_cancel(dial);
	start("127.0.0.1", port);
	dial = dial_cancel(dial);
	start("255.255.255.255", port);
	dial = dial_cancel(dial);
	start("localhost", port);
	dial = dial_cancel(dial);
	dns.v4 = dns.v6 = DNS_NOTHING;
	start("faktory.example", port);
	LOOP_UNTIL(base, dns.n_questions > 0);
	dial = dial_cancel(dial);
	loop_drain(base);
	cr_assert_eq(n_calls, 0);
	cr_assert_null(dial_cancel(NULL));
	for (unsigned i = 0; i < 4; i++)
		close(fillers[i]);
	close(full);
	close(listener);
}

/* In a network of its own, where the kernel has few ports to choose from. */
Test(dial, a_socket_connected_to_itself_is_no_server)
{
	int range;

	enter_network();
	range = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
	if (range < 0 || write(range, "40000 40001", 11) != 11)
		cr_skip_test("the network namespace cannot be set up here");
	close(range);

	for (unsigned i = 0; i < 20; i++) {
		n_calls = 0;
		start("127.0.0.1", (uint16_t)(40000 + i % 2));
		LOOP_UNTIL(base, n_calls > 0);
		cr_assert_eq(result, -ECONNREFUSED, "%d in round %u", result, i);
	}
}

/* ---- turns of hashing */

struct asker {
	struct hash_turn turn;
	unsigned order;
	unsigned io_before; /* other I/O until then */
};

static unsigned n_hashed, n_io;

static void on_turn(struct hash_turn *t)
{
	struct asker *a = container_of(t, struct asker, turn);

	a->order = ++n_hashed;
	a->io_before = n_io;
}

static void on_io(evutil_socket_t fd, _unused_ short what, _unused_ void *userdata)
{
	char byte;

	n_io++;
	cr_assert_eq(read(fd, &byte, 1), 1);
	cr_assert_eq(write((int)(intptr_t)userdata, "x", 1), 1);
}

Test(dial, one_hash_at_a_time_with_other_work_in_between)
{
	struct asker askers[5] = {0};
	struct event *io;
	int fds[2];

	/* A pipe that is readable again whenever it has been read: others' work that never ends. */
	cr_assert_eq(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	io = event_new(base, fds[0], EV_READ | EV_PERSIST, on_io, (void *)(intptr_t)fds[1]);
	cr_assert_eq(event_add(io, NULL), 0);
	cr_assert_eq(write(fds[1], "x", 1), 1);

	for (unsigned i = 0; i < 5; i++) {
		askers[i].turn.callback = on_turn;
		dialer_take_turn(dialer, &askers[i].turn);
	}
	cr_assert_eq(n_hashed, 1, "the first one needs not wait");
	cr_assert_eq(askers[0].order, 1);
	cr_assert(askers[1].turn.waiting);

	LOOP_UNTIL(base, n_hashed == 5);
	for (unsigned i = 1; i < 5; i++) {
		cr_assert_eq(askers[i].order, i + 1, "out of turn");
		cr_assert_gt(askers[i].io_before, askers[i - 1].io_before, "two in one turn of the loop");
	}
	/* And then it is idle: no timer goes on. */
	loop_drain(base);
	unsigned now = n_hashed;
	dialer_take_turn(dialer, &askers[0].turn);
	cr_assert_eq(n_hashed, now + 1);
	event_free(io);
	loop_drain(base);
	event_del(dns.event);
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0);
	close(fds[0]);
	close(fds[1]);
}

Test(dial, who_leaves_the_queue_is_not_called)
{
	struct asker askers[6] = {0};

	for (unsigned i = 0; i < 5; i++) {
		askers[i].turn.callback = on_turn;
		dialer_take_turn(dialer, &askers[i].turn);
	}
	dialer_leave_turn(dialer, &askers[0].turn); /* had its turn already */
	dialer_leave_turn(dialer, &askers[2].turn); /* in the middle */
	dialer_leave_turn(dialer, &askers[4].turn); /* the last */
	dialer_leave_turn(dialer, &askers[4].turn);
	askers[5].turn.callback = on_turn;
	dialer_take_turn(dialer, &askers[5].turn);

	LOOP_UNTIL(base, n_hashed == 4);
	loop_drain(base);
	cr_assert_eq(n_hashed, 4);
	cr_assert_eq(askers[1].order, 2);
	cr_assert_eq(askers[3].order, 3);
	cr_assert_eq(askers[5].order, 4);
}
