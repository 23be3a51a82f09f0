/* SPDX-License-Identifier: MIT
 *
 * Both kinds of address, and that nothing waits.
 */
#include "base/notify.h"

#include "datagrams.h"

TestSuite(notify, .fini = datagrams_close, .timeout = 30);

static void check_arrival(void)
{
	struct notify_socket *n;

	cr_assert(eq(int, notify_socket_new(datagrams.path, &n), 0));
	cr_assert(eq(int, notify_send(n, "READY=1\n", 8), 0));
	cr_assert(eq(int, notify_send(n, "WATCHDOG=1", 10), 0));
	cr_expect(eq(str, datagrams_next(), "READY=1\n"));
	cr_expect(eq(str, datagrams_next(), "WATCHDOG=1"));
	(void)notify_socket_free(n);
}

Test(notify, a_path)
{
	datagrams_open();
	check_arrival();
}

Test(notify, an_abstract_name)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "@chargehand-test-%d", getpid());
	datagrams_bind(name);
	check_arrival();
}

Test(notify, addresses_that_are_none)
{
	static const char *const rows[] = {"", "/", "@", "vsock:2:1234", "relative/path"};
	struct notify_socket *n = NULL;
	char long_path[200];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect(eq(int, notify_socket_new(rows[i], &n), -EAFNOSUPPORT), "%s", rows[i]);
	memset(long_path, '/', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = 0;
	cr_expect(eq(int, notify_socket_new(long_path, &n), -ENAMETOOLONG));
}

Test(notify, nobody_there_and_nobody_reading)
{
	struct notify_socket *n;
	int i, r = 0;

	datagrams_open();
	cr_assert(eq(int, notify_socket_new(datagrams.path, &n), 0));
	for (i = 0; i < 10000 && r == 0; i++)
		r = notify_send(n, "x", 1);
	cr_expect(eq(int, r, -EAGAIN));
	datagrams_close();
	cr_expect(eq(int, notify_send(n, "x", 1), -ENOENT));
	(void)notify_socket_free(n);
}
