/* SPDX-License-Identifier: MIT
 *
 * Every option, right and wrong, on the command line and in the file; which source wins; and what errors say.
 */
#include "config/nearest.h"
#include "config/option.h"
#include "loaded-config.h"
#include <stdio.h>
#include <syslog.h>

TestSuite(config, .fini = unload);

Test(config, defaults)
{
	cr_assert(eq(int, LOAD("/usr/bin/worker", "-c", "5"), CONFIG_OK));
	cr_assert(eq(str, config->server.host, "localhost"));
	cr_assert(eq(uint, config->server.port, 7419));
	cr_assert(eq(str, (char *)config->server_source, "default"));
	cr_assert(eq(ptr, config->provider_variable, NULL));
	cr_assert(eq(str, config->name, "worker"));
	cr_assert(eq(str, config->command[0], "/usr/bin/worker"));
	cr_assert(eq(str, config->command[2], "5"));
	cr_assert(eq(ptr, config->command[3], NULL));
	cr_assert(eq(uint, config->instances, 1));
	cr_assert(eq(int, config->restart, RESTART_ON_FAILURE));
	cr_assert(eq(u64, config->stop_grace_usec, 45 * USEC_PER_SEC));
	cr_assert(eq(u64, config->healthy_usec, USEC_PER_MINUTE));
	cr_assert(eq(u64, config->linger_usec, 2 * USEC_PER_SEC));
	cr_assert(eq(int, config->stop_target, STOP_TARGET_MAIN));
	cr_assert(eq(u64, config->keep_body_bytes, 16384));
	cr_assert(eq(int, config->cgroup_mode, CGROUP_AUTO));
	cr_assert(eq(u64, config->memory_max_bytes, CONFIG_UNLIMITED));
	cr_assert(eq(u64, config->memory_high_bytes, CONFIG_UNLIMITED));
	cr_assert(eq(u64, config->pids_max, CONFIG_UNLIMITED));
	cr_assert(eq(uint, config->cpu_percent, 0));
	cr_assert(not(config->oom_group));
	cr_assert(not(config->check));
	cr_assert(not(config->state_dir_asked));
	cr_assert(eq(int, config->log_level, LOG_NOTICE));
}

Test(config, every_option_of_the_command_line)
{
	cr_assert(eq(int,
		     LOAD("--server", "tcp://:p%40ss@h.example:1234/ns", "--name", "mail", "--instances=3", "--restart",
			  "always", "--healthy", "5s", "--stop-grace", "1m", "--stop-target", "hello", "--linger", "0",
			  "--keep-body", "0"),
		     CONFIG_USAGE));
	cr_assert(eq(int,
		     LOAD("--server", "tcp://:p%40ss@h.example:1234/ns", "--name", "mail", "--instances=3", "--restart",
			  "always", "--healthy", "5s", "--stop-grace", "1m", "--stop-target", "hello", "--linger", "0",
			  "--keep-body", "0", "--", "worker", "--name", "other"),
		     CONFIG_OK));
	cr_assert(eq(str, config->server.host, "h.example"));
	cr_assert(eq(uint, config->server.port, 1234));
	cr_assert(eq(str, config->server.password, "p@ss"));
	cr_assert(eq(str, (char *)config->server_source, "--server"));
	cr_assert(eq(str, config->name, "mail"));
	cr_assert(eq(uint, config->instances, 3));
	cr_assert(eq(int, config->restart, RESTART_ALWAYS));
	cr_assert(eq(u64, config->healthy_usec, 5 * USEC_PER_SEC));
	cr_assert(eq(u64, config->stop_grace_usec, USEC_PER_MINUTE));
	cr_assert(eq(int, config->stop_target, STOP_TARGET_HELLO));
	cr_assert(eq(u64, config->linger_usec, 0));
	cr_assert(eq(u64, config->keep_body_bytes, 0));
	cr_assert(eq(str, config->command[1], "--name"));

	cr_assert(eq(int,
		     LOAD("--cgroup", "/sys/fs/cgroup/x", "--memory-max", "512M", "--memory-high", "1.5G", "--pids-max",
			  "100", "--cpu-max", "150%", "--oom-group", "yes", "--state-dir", "/s", "--log-level", "debug",
			  "--restart", "never", "w"),
		     CONFIG_OK));
	cr_assert(eq(int, config->cgroup_mode, CGROUP_PATH));
	cr_assert(eq(str, config->cgroup_path, "/sys/fs/cgroup/x"));
	cr_assert(eq(u64, config->memory_max_bytes, 512 << 20));
	cr_assert(eq(u64, config->memory_high_bytes, UINT64_C(3) << 29));
	cr_assert(eq(u64, config->pids_max, 100));
	cr_assert(eq(uint, config->cpu_percent, 150));
	cr_assert(config->oom_group);
	cr_assert(eq(str, config->state_dir, "/s"));
	cr_assert(config->state_dir_asked);
	cr_assert(eq(int, config->log_level, LOG_DEBUG));
	cr_assert(eq(int, config->restart, RESTART_NEVER));

	cr_assert(eq(int, LOAD("--cgroup", "none", "--cpu-max", "50", "--memory-max", "none", "--oom-group=no", "w"),
		     CONFIG_OK));
	cr_assert(eq(int, config->cgroup_mode, CGROUP_NONE));
	cr_assert(eq(uint, config->cpu_percent, 50));
	cr_assert(eq(u64, config->memory_max_bytes, CONFIG_UNLIMITED));

	cr_assert(eq(int, LOAD("--check"), CONFIG_OK));
	cr_assert(config->check);
	cr_assert(eq(ptr, config->command, NULL));
	cr_assert(eq(int, LOAD("--help", "--instances", "5"), CONFIG_HELP));
	cr_assert(eq(int, LOAD("--version"), CONFIG_VERSION));
}

/* A wrong value for each row that takes one, or the table has a row without a test. */
static const char *const wrong[][3] = {
	{"server", "http://h", "http://h"},
	{"server", "tcp://h:99999", "99999"},
	{"server", "tcp+tls://:secret@h:1", "secret"},
	{"name", "", ""},
	{"name", "-x", ""},
	{"name", "a/b", ""},
	{"name", "..", ""},
	{"name", "12345678901234567890123456789012345678901", ""},
	{"instances", "0", ""},
	{"instances", "1001", ""},
	{"instances", "x", ""},
	{"instances", "", ""},
	{"restart", "On-failure", ""},
	{"healthy", "5", ""},
	{"stop-grace", "-5s", ""},
	{"stop-target", "all", ""},
	{"linger", "99999999999999999999s", ""},
	{"keep-body", "2G", ""},
	{"keep-body", "16k", ""},
	{"journal-sync", "sometimes", ""},
	{"cgroup", "relative/path", ""},
	{"cgroup", "", ""},
	{"memory-max", "0", ""},
	{"memory-max", "lots", ""},
	{"memory-high", "0K", ""},
	{"memory-high", "max", ""},
	{"swap-max", "-1", ""},
	{"swap-max", "all", ""},
	{"pids-max", "0", ""},
	{"pids-max", "-1", ""},
	{"cpu-max", "0%", ""},
	{"cpu-max", "%", ""},
	{"cpu-max", "", ""},
	{"cpu-max", "1.5", ""},
	{"cpu-max", "50%%", ""},
	{"cpu-max", "1234567890123456789", ""},
	{"oom-group", "maybe", ""},
	{"state-dir", "relative", ""},
	{"log-level", "loud", ""},
};

Test(config, wrong_values_are_told_with_what_would_be_right)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		const struct option_row *row = option_find(wrong[i][0]);
		char option[64], expected[256];
		cr_assert(ne(ptr, (void *)row, NULL), "%s", wrong[i][0]);
		(void)snprintf(option, sizeof(option), "--%s", wrong[i][0]);
		cr_assert(eq(int, LOAD(option, (char *)wrong[i][1], "w"), CONFIG_USAGE), "%s %s", option, wrong[i][1]);
		if (row->secret) {
			(void)snprintf(expected, sizeof(expected), "--%s: ", row->name);
			cr_assert(eq(ptr, strstr(message, wrong[i][2]), NULL), "%s", message);
		} else {
			(void)snprintf(expected, sizeof(expected), "--%s: \"%s\": ", row->name, wrong[i][1]);
			cr_assert(ne(ptr, strstr(message, row->expected), NULL), "%s", message);
		}
		cr_assert(eq(int, strncmp(message, expected, strlen(expected)), 0), "%s", message);
		cr_assert(eq(ptr, strchr(message, '\n'), NULL), "%s", message);

		/* The same in the file. */
		if (row->scope == OPTION_COMMAND_LINE)
			continue;
		char text[256];
		(void)snprintf(text, sizeof(text), "# first\n[%s]\n\n%s = %s\n",
			       row->scope == OPTION_SUPERVISOR ? "chargehand" : "program p", row->name, wrong[i][1]);
		cr_assert(eq(int, parse_file(text), -EINVAL), "%s", text);
		(void)snprintf(expected, sizeof(expected), "f.conf:4: %s: ", row->name);
		cr_assert(eq(int, strncmp(message, expected, strlen(expected)), 0), "%s", message);
	}
	for (size_t i = 0; i < option_table_rows; i++) {
		bool found = !option_table[i].set;
		for (size_t k = 0; k < ARRAY_SIZE(wrong); k++)
			found |= strcmp(wrong[k][0], option_table[i].name) == 0;
		cr_assert(found, "no wrong value is tried for %s", option_table[i].name);
	}
}

Test(config, what_was_meant)
{
	static const struct {
		const char *word;
		enum option_scope without;
		const char *meant; /* NULL: nothing */
	} rows[] = {
		{"instances", OPTION_COMMAND_LINE, "instances"}, /* itself */
		{"instance", OPTION_COMMAND_LINE, "instances"},
		{"stop_grace", OPTION_COMMAND_LINE, "stop-grace"},
		{"StopGrace", OPTION_COMMAND_LINE, "stop-grace"},
		{"satte-dir", OPTION_COMMAND_LINE, "state-dir"},
		{"state", OPTION_COMMAND_LINE, "state-dir"}, /* a beginning */
		{"stat", OPTION_COMMAND_LINE, "state-dir"},
		{"memory", OPTION_COMMAND_LINE, "memory-max"}, /* of two the first */
		{"memory_hihg", OPTION_COMMAND_LINE, "memory-high"},
		{"comand", OPTION_COMMAND_LINE, "command"},
		{"comand", OPTION_FILE_PROGRAM, NULL},
		{"cheek", OPTION_FILE_PROGRAM, "check"},
		{"chekc", OPTION_FILE_PROGRAM, "check"},
		{"cheek", OPTION_COMMAND_LINE, NULL},
		{"sever", OPTION_COMMAND_LINE, "server"},
		{"fewer", OPTION_COMMAND_LINE, NULL},
		{"st", OPTION_COMMAND_LINE, NULL},
		{"", OPTION_COMMAND_LINE, NULL},
		{"instances-of-what-is-much-too-long", OPTION_COMMAND_LINE, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct option_row *row = nearest_option(rows[i].word, strlen(rows[i].word), rows[i].without);
		cr_expect(eq(str, (char *)(row ? row->name : "nothing"),
			     (char *)(rows[i].meant ? rows[i].meant : "nothing")),
			  "%s", rows[i].word);
	}
}

Test(config, wrong_command_lines)
{
	cr_assert(eq(int, LOAD("--nonsense", "w"), CONFIG_USAGE));
	cr_assert(eq(str, message, "--nonsense: unknown option: --help lists them all"));
	cr_assert(eq(int, LOAD("--nonsense=secret", "w"), CONFIG_USAGE));
	cr_assert(eq(str, message, "--nonsense: unknown option: --help lists them all"));
	cr_assert(eq(int, LOAD("-x", "w"), CONFIG_USAGE));
	cr_assert(eq(str, message, "-x: unknown option: --help lists them all"));
	cr_assert(eq(int, LOAD("--isntances=3", "w"), CONFIG_USAGE));
	cr_assert(eq(str, message, "--isntances: unknown option: did you mean --instances? --help lists them all"));
	cr_assert(eq(int, LOAD("-config=secret", "w"), CONFIG_USAGE));
	cr_assert(eq(str, message, "-config: unknown option: did you mean --config? --help lists them all"));
	cr_assert(eq(int, LOAD("--memory", "1G", "w"), CONFIG_USAGE));
	cr_assert(eq(str, message, "--memory: unknown option: did you mean --memory-max? --help lists them all"));
	cr_assert(eq(int, LOAD("--name", "n", "--command", "w"), CONFIG_USAGE));
	cr_assert(eq(str, message, "--command: unknown option: --help lists them all"));
	cr_assert(eq(int, LOAD("--instances"), CONFIG_USAGE));
	cr_assert(eq(str, message, "--instances: a value is missing: a number from 1 to 1000"));
	cr_assert(eq(int, LOAD("--check=yes", "w"), CONFIG_USAGE));
	cr_assert(eq(str, message, "--check: takes no value"));
	cr_assert(eq(int, LOAD("--name", "x"), CONFIG_USAGE));
	cr_assert(eq(str, message, "a command is missing: chargehand [OPTION...] [--] COMMAND"));
	cr_assert(eq(int, LOAD("--"), CONFIG_USAGE));
	cr_assert(eq(int, LOAD(""), CONFIG_USAGE));
	cr_assert(eq(str, message, "COMMAND: \"\": the name of a program"));
	cr_assert(eq(ptr, config, NULL));
}

Test(config, the_last_of_two_equal_options_counts)
{
	cr_assert(eq(int, LOAD("--instances", "2", "--instances", "3", "w"), CONFIG_OK));
	cr_assert(eq(uint, config->instances, 3));
}

Test(config, the_server_from_the_environment)
{
	char *url[] = {"FAKTORY_URL=tcp://:pw@a:1", NULL};
	char *provider[] = {"FAKTORY_URL=tcp://a:1", "MY_URL=tcp://b:2", "FAKTORY_PROVIDER=MY_URL", NULL};
	char *empty[] = {"FAKTORY_URL=", "FAKTORY_PROVIDER=", NULL};

	cr_assert(eq(int, LOAD_WITH(url, "w"), CONFIG_OK));
	cr_assert(eq(str, config->server.host, "a"));
	cr_assert(eq(str, config->server.password, "pw"));
	cr_assert(eq(str, (char *)config->server_source, "FAKTORY_URL"));

	cr_assert(eq(int, LOAD_WITH(provider, "w"), CONFIG_OK));
	cr_assert(eq(str, config->server.host, "b"));
	cr_assert(eq(str, config->provider_variable, "MY_URL"));
	cr_assert(eq(str, (char *)config->server_source, "MY_URL"));

	cr_assert(eq(int, LOAD_WITH(provider, "--server", "tcp://c:3", "w"), CONFIG_OK));
	cr_assert(eq(str, config->server.host, "c"));
	cr_assert(eq(str, config->provider_variable, "MY_URL"));
	cr_assert(eq(str, (char *)config->server_source, "--server"));

	cr_assert(eq(int, LOAD_WITH(empty, "w"), CONFIG_OK));
	cr_assert(eq(str, config->server.host, "localhost"));
	cr_assert(eq(ptr, config->provider_variable, NULL));
}

Test(config, a_wrong_environment_is_a_configuration_error)
{
	char *bad_url[] = {"FAKTORY_URL=http://:secret@a:1", NULL};
	char *tls[] = {"FAKTORY_URL=tcp+tls://:secret@a:1", NULL};
	char *url_in_provider[] = {"FAKTORY_PROVIDER=tcp://:secret@a:1", NULL};
	char *unset[] = {"FAKTORY_PROVIDER=MY_URL", "FAKTORY_URL=tcp://a:1", NULL};
	char *bad_provided[] = {"FAKTORY_PROVIDER=MY_URL", "MY_URL=ftp://:secret@x", NULL};

	cr_assert(eq(int, LOAD_WITH(bad_url, "w"), CONFIG_INVALID));
	cr_assert(eq(int, strncmp(message, "FAKTORY_URL: ", 13), 0), "%s", message);
	cr_assert(eq(ptr, strstr(message, "secret"), NULL), "%s", message);
	cr_assert(eq(int, LOAD_WITH(tls, "w"), CONFIG_INVALID));
	cr_assert(eq(str, message, "FAKTORY_URL: this build speaks no TLS to the server: tcp://... is what it can"));
	cr_assert(eq(int, LOAD_WITH(url_in_provider, "w"), CONFIG_INVALID));
	cr_assert(eq(str, message,
		     "FAKTORY_PROVIDER: it holds the name of a variable, such as MY_FAKTORY_URL, and no URL"));
	cr_assert(eq(int, LOAD_WITH(unset, "w"), CONFIG_INVALID));
	cr_assert(eq(str, message, "FAKTORY_PROVIDER: \"MY_URL\": no such variable is set"));
	cr_assert(eq(int, LOAD_WITH(bad_provided, "w"), CONFIG_INVALID));
	cr_assert(eq(int, strncmp(message, "MY_URL: ", 8), 0), "%s", message);
	cr_assert(eq(ptr, strstr(message, "secret"), NULL), "%s", message);
	/* Asked for otherwise, what the environment says of the server is not looked at. */
	cr_assert(eq(int, LOAD_WITH(bad_url, "--server", "tcp://b:2", "w"), CONFIG_OK));
	cr_assert(eq(int, LOAD_WITH(unset, "--server", "tcp://b:2", "w"), CONFIG_OK));
}

Test(config, help_lists_the_whole_table_and_nothing_else)
{
	char *help = option_help(), line[128];
	size_t n_options = 0, n_expected = 0;

	cr_assert(ne(ptr, help, NULL));
	for (size_t i = 0; i < option_table_rows; i++) {
		const struct option_row *row = &option_table[i];
		if (row->scope == OPTION_FILE_PROGRAM)
			continue;
		n_expected++;
		(void)snprintf(line, sizeof(line), "\n  --%s%s%s\n", row->name, row->argument ? " " : "",
			       row->argument ? row->argument : "");
		cr_assert(ne(ptr, strstr(help, line), NULL), "%s", line);
	}
	for (char *p = help; (p = strstr(p, "\n  --")); p++)
		n_options++;
	cr_assert(eq(sz, n_options, n_expected));
	for (char *p = help; *p; p += strcspn(p, "\n") + 1)
		cr_assert(le(sz, strcspn(p, "\n"), 79), "%.80s", p);
	free(help);
}

Test(config, passwords_are_overwritten)
{
	char word[] = "tcp://:p@ss/word@h:1/ns", joined[] = "--server=tcp://u:pw@h",
	     url[] = "FAKTORY_URL=tcp://:pw@h:1";
	char mine[] = "MY_URL=tcp://:pw@h:1", other[] = "OTHER_URL=tcp://:pw@h:1", plain[] = "tcp://h:1";
	char *argv[] = {"chargehand", "--server", word, joined, "--server", plain, NULL};
	char *envp[] = {url, "FAKTORY_PROVIDER=MY_URL", mine, other, NULL};

	config_erase_passwords(6, argv, envp);
	cr_assert(eq(str, word, "tcp://xxxxxxxxxx@h:1/ns"));
	cr_assert(eq(str, joined, "--server=tcp://xxxx@h"));
	cr_assert(eq(str, plain, "tcp://h:1"));
	cr_assert(eq(str, url, "FAKTORY_URL=tcp://xxx@h:1"));
	cr_assert(eq(str, mine, "MY_URL=tcp://xxx@h:1"));
	cr_assert(eq(str, other, "OTHER_URL=tcp://:pw@h:1"));
}
