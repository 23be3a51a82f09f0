/* SPDX-License-Identifier: MIT
 *
 * What a worker finds in its environment.
 */
#include "config/environment.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static struct config config = {.server = {.host = "faktory.example", .port = 7419, .path = "", .password = "s3cret"}};

static size_t count(char **envp)
{
	size_t n = 0;

	while (envp[n])
		n++;
	return n;
}

static const char *get(char **envp, const char *name)
{
	const char *value = environment_get(envp, name);

	return value ? value : "(unset)";
}

Test(environment, the_server_becomes_the_listener)
{
	char *before[] = {"PATH=/bin", "FAKTORY_URL=tcp://:s3cret@faktory.example:7419", "HOME=/", NULL};
	char **after = NULL;

	cr_assert(eq(int, environment_for_worker(before, &config, 4711, "m.1.1", &after), 0));
	cr_assert(eq(sz, count(after), 4));
	cr_assert(eq(str, (char *)get(after, "FAKTORY_URL"), "tcp://127.0.0.1:4711"));
	cr_assert(eq(str, (char *)get(after, "CHARGEHAND_WORKER"), "m.1.1"));
	cr_assert(eq(ptr, after[0], before[0]));
	cr_assert(eq(ptr, after[1], before[2]));
	for (char **e = after; *e; e++)
		cr_assert(eq(ptr, strstr(*e, "s3cret"), NULL), "%s", *e);
	free(after);
}

Test(environment, works_with_nothing_before)
{
	char *before[] = {NULL};
	char **after = NULL;

	cr_assert(eq(int, environment_for_worker(before, &config, 1, "m", &after), 0));
	cr_assert(eq(sz, count(after), 2));
	free(after);
}

Test(environment, the_path_is_kept_for_those_who_read_a_namespace_from_it)
{
	struct config c = config;
	char *before[] = {NULL};
	char **after = NULL;

	c.server.path = "/ns";
	cr_assert(eq(int, environment_for_worker(before, &c, 65535, "m", &after), 0));
	cr_assert(eq(str, (char *)get(after, "FAKTORY_URL"), "tcp://127.0.0.1:65535/ns"));
	free(after);
}

Test(environment, the_providers_variable_is_rewritten_too)
{
	char *before[] = {"FAKTORY_PROVIDER=MY_URL", "MY_URL=tcp://:s3cret@h:1", "MY_URL_2=x",
			  "FAKTORY_URL=tcp://other:2", NULL};
	struct config c = config;
	char **after = NULL;

	c.provider_variable = "MY_URL";
	cr_assert(eq(int, environment_for_worker(before, &c, 4711, "m", &after), 0));
	cr_assert(eq(sz, count(after), 5));
	cr_assert(eq(str, (char *)get(after, "FAKTORY_PROVIDER"), "MY_URL"));
	cr_assert(eq(str, (char *)get(after, "MY_URL"), "tcp://127.0.0.1:4711"));
	cr_assert(eq(str, (char *)get(after, "MY_URL_2"), "x"));
	cr_assert(eq(str, (char *)get(after, "FAKTORY_URL"), "tcp://127.0.0.1:4711"));
	free(after);

	c.provider_variable = "FAKTORY_URL";
	cr_assert(eq(int, environment_for_worker(before, &c, 4711, "m", &after), 0));
	cr_assert(eq(sz, count(after), 5));
	cr_assert(eq(str, (char *)get(after, "FAKTORY_URL"), "tcp://127.0.0.1:4711"));
	free(after);
}

Test(environment, what_systemd_said_to_chargehand_alone_is_dropped)
{
	char *before[] = {"NOTIFY_SOCKET=/run/n",
			  "WATCHDOG_USEC=1",
			  "WATCHDOG_PID=2",
			  "LISTEN_PID=3",
			  "LISTEN_FDS=1",
			  "LISTEN_FDNAMES=a",
			  "LISTEN_PIDFDID=5",
			  "CREDENTIALS_DIRECTORY=/c",
			  "JOURNAL_STREAM=8:9",
			  "CHARGEHAND_WORKER=outer",
			  "LISTEN_ADDR=0.0.0.0:80",
			  "WATCHDOG=no",
			  "INVOCATION_ID=x",
			  "NOTIFY_SOCKET_2=x",
			  "novalue",
			  NULL};
	char **after = NULL;

	cr_assert(eq(int, environment_for_worker(before, &config, 1, "inner", &after), 0));
	cr_assert(eq(sz, count(after), 7));
	cr_assert(eq(str, after[0], "LISTEN_ADDR=0.0.0.0:80"));
	cr_assert(eq(str, after[1], "WATCHDOG=no"));
	cr_assert(eq(str, after[2], "INVOCATION_ID=x"));
	cr_assert(eq(str, after[3], "NOTIFY_SOCKET_2=x"));
	cr_assert(eq(str, after[4], "novalue"));
	cr_assert(eq(str, (char *)get(after, "CHARGEHAND_WORKER"), "inner"));
	free(after);
}

Test(environment, get_finds_whole_names_only)
{
	char *envp[] = {"AB=1", "A=2", "A=3", "EMPTY=", NULL};

	cr_assert(eq(str, (char *)get(envp, "A"), "2"));
	cr_assert(eq(str, (char *)get(envp, "EMPTY"), ""));
	cr_assert(eq(str, (char *)get(envp, "B"), "(unset)"));
}
