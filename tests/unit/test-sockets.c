/* SPDX-License-Identifier: MIT
 *
 * The stream and the dialer when the kernel says what it seldom says.
 */
#include "link/dial.h"
#include "link/stream.h"

#include "../helpers/socket-faults.h"
#include "loop.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#define PLENTY ((size_t)20000)

static struct event_base *base;
static struct stream s;
static int peer;
static unsigned n_readable, n_drained, n_broken;
static int broken_error;
static char got[PLENTY + 1];
static size_t n_got;

static void on_readable(struct stream *stream)
{
	ssize_t n = stream_read(stream, got + n_got, sizeof(got) - n_got);

	n_readable++;
	if (n > 0)
		n_got += (size_t)n;
	else if (n != -EAGAIN)
		stream_pause(stream);
}

static void on_drained(_unused_ struct stream *stream)
{
	n_drained++;
}

static void on_broken(_unused_ struct stream *stream, int error)
{
	n_broken++;
	broken_error = error;
}

static const struct stream_ops ops = {.on_readable = on_readable, .on_drained = on_drained, .on_broken = on_broken};

static void setup(void)
{
	int fds[2];

	base = event_base_new();
	cr_assert_not_null(base);
	loop_tcp_pair(fds);
	stream_init(&s);
	cr_assert_eq(stream_open(&s, base, fds[0], &ops), 0);
	peer = fds[1];
	n_readable = n_drained = n_broken = 0;
	n_got = 0;
}

static void teardown(void)
{
	socket_faults_set(NULL);
	stream_close(&s, false);
	close_fd(peer);
	event_base_free(base);
}

TestSuite(sockets, .init = setup, .fini = teardown, .timeout = 60);

static void fill(char *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (char)('a' + i * 7 % 26);
}

Test(sockets, a_byte_at_a_time_with_interruptions_everything_is_written_in_order)
{
	static char sent[PLENTY], read_back[PLENTY];
	size_t n = 0;

	fill(sent, sizeof(sent));
	socket_faults_set("send:EINTR:3,send:EAGAIN:5,send:short");
	for (size_t at = 0; at < PLENTY; at += 1000)
		cr_assert_eq(stream_write(&s, sent + at, 1000), 0);
	while (n < PLENTY) {
		loop_turn(base);
		ssize_t r = recv(peer, read_back + n, sizeof(read_back) - n, MSG_DONTWAIT);
		if (r > 0)
			n += (size_t)r;
	}
	cr_assert_gt(socket_faults_met(), PLENTY);
	cr_assert_arr_eq(read_back, sent, PLENTY);
	cr_assert_eq(stream_backlog_bytes(&s), 0);
	cr_assert_gt(n_drained, 0u);
	cr_assert_eq(n_broken, 0u);
}

Test(sockets, a_byte_at_a_time_with_interruptions_everything_is_read_in_order)
{
	static char sent[PLENTY];

	fill(sent, sizeof(sent));
	cr_assert_eq(send(peer, sent, sizeof(sent), 0), (ssize_t)sizeof(sent));
	socket_faults_set("recv:EINTR:3,recv:EAGAIN:5,recv:short");
	LOOP_UNTIL(base, n_got == PLENTY);
	cr_assert_arr_eq(got, sent, PLENTY);
}

static const char *const broken[] = {"EPIPE", "ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "ENOBUFS", "ENOMEM", "EIO"};

/* Nothing is told out of stream_write(), and whoever ignores what it returns, as a session does, must learn of it in
 * reading: a connection that takes nothing more would be waited on for ever. */
Test(sockets, a_write_that_fails_is_seen_in_reading_whatever_the_reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		char rule[32];
		int r;

		cr_assert_eq(send(peer, "last words", 10, 0), 10);
		(void)snprintf(rule, sizeof(rule), "send:%s:1:1", broken[i]);
		socket_faults_set(rule);
		r = stream_write(&s, "x", 1);
		cr_assert_lt(r, 0);
		cr_assert_eq(socket_faults_met(), 1u, "%s", rule);
		cr_assert_eq(stream_write(&s, "x", 1), r, "%s: it stays refused", rule);
		LOOP_UNTIL(base, !s.reading);
		cr_assert_eq(n_got, (size_t)10, "%s: what had come is read first", rule);
		cr_assert_eq(recv(peer, got, 1, 0), 0, "%s: the other end learns of it", rule);
		teardown();
		setup();
	}
}

Test(sockets, a_backlog_that_fails_is_told_of_whatever_the_reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		char rule[64];

		(void)snprintf(rule, sizeof(rule), "send:EAGAIN:1:1,send:%s:1:1", broken[i]);
		socket_faults_set(rule);
		cr_assert_eq(stream_write(&s, "x", 1), 0);
		LOOP_UNTIL(base, n_broken > 0);
		cr_assert_gt(broken_error, 0);
		cr_assert_eq(stream_write(&s, "x", 1), -broken_error);
		teardown();
		setup();
	}
}

/* ---- dialling */

static int dialled_fd;
static const char *dialled_what;
static bool dialled;

static void on_dialled(int fd, const char *what, _unused_ void *userdata)
{
	dialled = true;
	dialled_fd = fd;
	dialled_what = what;
}

static void dial_with(const char *rule)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	_cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char host[] = "127.0.0.1";
	struct server_url url = {.host = host};
	struct dialer *dialer;
	struct dial *dial;

	cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(listener, 8), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
	url.port = ntohs(address.sin_port);
	cr_assert_eq(dialer_new(base, &url, &dialer), 0);
	socket_faults_set(rule);
	dialled = false;
	cr_assert_eq(dial_start(dialer, on_dialled, NULL, &dial), 0);
	cr_assert_not(dialled, "told from the loop");
	LOOP_UNTIL(base, dialled);
	cr_assert_eq(socket_faults_met(), 1u);
	dialer_free(dialer);
}

Test(sockets, an_interrupted_connect_goes_on)
{
	dial_with("connect:EINTR:1:1");
	cr_assert_geq(dialled_fd, 0);
	close_fd(dialled_fd);
}

Test(sockets, a_dial_without_descriptors_is_told_from_the_loop)
{
	dial_with("socket:EMFILE:1:1");
	cr_assert_eq(dialled_fd, -EMFILE);
	cr_assert_str_eq(dialled_what, strerror(EMFILE));
}

Test(sockets, a_connect_that_fails_at_once_is_told_from_the_loop)
{
	dial_with("connect:EADDRNOTAVAIL:1:1");
	cr_assert_eq(dialled_fd, -EADDRNOTAVAIL);
}
