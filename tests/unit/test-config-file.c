/* SPDX-License-Identifier: MIT
 *
 * The file: what may stand where, whether it or another source counts, and what errors say.
 */
#include "loaded-config.h"
#include <fcntl.h>
#include <stdio.h>
#include <syslog.h>

TestSuite(config_file, .fini = unload);

static char file_path[] = "/tmp/chargehand-test-XXXXXX";
static bool file_made;

/* The text as a file of its own; gone at the end of the test by remove_file(). */
static char *file(const char *text)
{
	int fd = file_made ? open(file_path, O_WRONLY | O_TRUNC | O_CLOEXEC) : mkostemp(file_path, O_CLOEXEC);

	file_made = true;
	cr_assert(ge(int, fd, 0));
	cr_assert(eq(i64, write(fd, text, strlen(text)), (ssize_t)strlen(text)));
	(void)close(fd);
	return file_path;
}

static void remove_file(void)
{
	if (file_made)
		(void)unlink(file_path);
	unload();
}

Test(config_file, a_whole_file, .fini = remove_file)
{
	char *path = file("# comment\n"
			  "[chargehand]\n"
			  "server = tcp://:pw@h:1\n"
			  "cgroup = none\n"
			  "state-dir=/var/lib/x\n"
			  "log-level = debug\n"
			  "\n"
			  "; comment\n"
			  "[program mail]\n"
			  "command = sh -c 'echo hello ; exec worker'\n"
			  "instances = 2\n"
			  "restart = always\n"
			  "healthy = 10s\n"
			  "stop-grace = 30s\n"
			  "stop-target = hello\n"
			  "linger = 1s\n"
			  "keep-body = 1M\n"
			  "memory-max = 1G\n"
			  "memory-high = 900M\n"
			  "pids-max = 50\n"
			  "cpu-max = 200%\n"
			  "oom-group = yes\n");

	cr_assert(eq(int, LOAD("--config", path), CONFIG_OK), "%s", message);
	cr_assert(eq(str, config->server.host, "h"));
	cr_assert(eq(str, (char *)config->server_source, "file"));
	cr_assert(eq(int, config->cgroup_mode, CGROUP_NONE));
	cr_assert(eq(str, config->state_dir, "/var/lib/x"));
	cr_assert(config->state_dir_asked);
	cr_assert(eq(int, config->log_level, LOG_DEBUG));
	cr_assert(eq(str, config->name, "mail"));
	cr_assert(eq(str, config->command[0], "sh"));
	cr_assert(eq(str, config->command[2], "echo hello ; exec worker"));
	cr_assert(eq(uint, config->instances, 2));
	cr_assert(eq(int, config->restart, RESTART_ALWAYS));
	cr_assert(eq(u64, config->healthy_usec, 10 * USEC_PER_SEC));
	cr_assert(eq(u64, config->stop_grace_usec, 30 * USEC_PER_SEC));
	cr_assert(eq(int, config->stop_target, STOP_TARGET_HELLO));
	cr_assert(eq(u64, config->linger_usec, USEC_PER_SEC));
	cr_assert(eq(u64, config->keep_body_bytes, 1 << 20));
	cr_assert(eq(u64, config->memory_max_bytes, 1 << 30));
	cr_assert(eq(u64, config->memory_high_bytes, 900 << 20));
	cr_assert(eq(u64, config->pids_max, 50));
	cr_assert(eq(uint, config->cpu_percent, 200));
	cr_assert(config->oom_group);
}

Test(config_file, the_command_line_wins_over_the_file_and_the_file_over_the_environment, .fini = remove_file)
{
	char *envp[] = {"FAKTORY_URL=tcp://environment:1", "STATE_DIRECTORY=/from/environment:/second", NULL};
	char *path = file("[chargehand]\nserver = tcp://file:2\n"
			  "[program mail]\ncommand = from-file\ninstances = 2\nstop-grace = 30s\nmemory-max = 1G\n");

	cr_assert(eq(int, LOAD_WITH(envp, "--config", path), CONFIG_OK), "%s", message);
	cr_assert(eq(str, config->server.host, "file"));
	cr_assert(eq(str, config->state_dir, "/from/environment"));
	cr_assert(config->state_dir_asked);
	cr_assert(eq(uint, config->instances, 2));

	cr_assert(eq(int,
		     LOAD_WITH(envp, "--instances", "3", "--server", "tcp://line:3", "--name", "other", "--memory-max",
			       "none", "--config", path, "--state-dir", "/from/line", "--", "from-line"),
		     CONFIG_OK));
	cr_assert(eq(str, config->server.host, "line"));
	cr_assert(eq(str, (char *)config->server_source, "--server"));
	cr_assert(eq(uint, config->instances, 3));
	cr_assert(eq(str, config->name, "other"));
	cr_assert(eq(str, config->command[0], "from-line"));
	cr_assert(eq(str, config->state_dir, "/from/line"));
	cr_assert(eq(u64, config->memory_max_bytes, CONFIG_UNLIMITED));
	cr_assert(eq(u64, config->stop_grace_usec, 30 * USEC_PER_SEC));

	path = file("[program mail]\ncommand = from-file\n");
	cr_assert(eq(int, LOAD_WITH(envp, "--config", path), CONFIG_OK));
	cr_assert(eq(str, config->server.host, "environment"));
	cr_assert(eq(str, (char *)config->server_source, "FAKTORY_URL"));
}

static const char *const wrong_files[][2] = {
	{"x = 1\n", "f.conf:1: x: a key stands below [chargehand] or [program NAME]"},
	{"[other]\nx = 1\n", "f.conf:2: [other]: unknown: the sections are [chargehand] and [program NAME]"},
	{"[chargehand]\nnonsense = 1\n", "f.conf:2: nonsense: unknown: the keys are in chargehand(8)"},
	{"[program p]\nstop_grace = 1s\n",
	 "f.conf:2: stop_grace: unknown: did you mean stop-grace? The keys are in chargehand(8)"},
	{"[chargehand]\ncheck = 1\n", "f.conf:2: check: unknown: the keys are in chargehand(8)"},
	{"[chargehand]\nconfig = /f\n", "f.conf:2: config: unknown: the keys are in chargehand(8)"},
	{"[chargehand]\ninstances = 1\n", "f.conf:2: instances: its place is [program NAME]"},
	{"[chargehand]\ncommand = x\n", "f.conf:2: command: its place is [program NAME]"},
	{"[program p]\ncgroup = none\n", "f.conf:2: cgroup: its place is [chargehand]"},
	{"[program p]\nname = q\n", "f.conf:2: name: it stands in the section's own line: [program NAME]"},
	{"[program p]\ninstances = 1\ninstances = 2\n", "f.conf:3: instances: a second time: once is right"},
	{"[program p]\ncommand = x\n[program q]\n\ncommand = y\n",
	 "f.conf:5: [program q]: one chargehand runs one program, and [program p] came first: start another "
	 "chargehand"},
	{"[program p]\ncommand = x | y\n",
	 "f.conf:2: command: \"x | y\": this is no shell: put '...' around |&;<>()$`*?[]{}!, or run sh -c '...'"},
	{"[program p]\ncommand = 'x\n", "f.conf:2: command: \"'x\": a ' is missing"},
	{"[program p]\ncommand =\n", "f.conf:2: command: \"\": a command is missing"},
	{"[chargehand]\n\njust words\n", "f.conf:3: neither [SECTION] nor KEY = VALUE"},
	{"[chargehand]\n[program p\n", "f.conf:2: neither [SECTION] nor KEY = VALUE"},
	/* of two errors the first */
	{"[chargehand]\njust words\nnonsense = 1\n", "f.conf:2: neither [SECTION] nor KEY = VALUE"},
	{"[chargehand]\nnonsense = 1\njust words\n", "f.conf:2: nonsense: unknown: the keys are in chargehand(8)"},
};

Test(config_file, wrong_files_are_told_with_their_line)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrong_files); i++) {
		cr_assert(eq(int, parse_file(wrong_files[i][0]), -EINVAL), "%s", wrong_files[i][0]);
		cr_assert(eq(str, message, (char *)wrong_files[i][1]), "row %zu: %s", i, message);
	}
	cr_assert(eq(int, parse_file("[program a b]\ncommand = x\n"), -EINVAL));
	cr_assert(eq(int, strncmp(message, "f.conf:2: [program a b]: the name: up to 40", 43), 0), "%s", message);
	cr_assert(eq(int, parse_file("[program 12345678901234567890123456789012345678901]\ncommand = x\n"), -EINVAL));
	cr_assert(ne(ptr, strstr(message, "the name: up to 40"), NULL), "%s", message);
	/* the longest name */
	cr_assert(eq(int, parse_file("[program 1234567890123456789012345678901234567890]\ncommand = x\n"), 0));
	cr_assert(eq(sz, strlen(config->name), CONFIG_NAME_MAX));
}

Test(config_file, a_password_in_a_wrong_line_is_not_repeated)
{
	cr_assert(eq(int, parse_file("[chargehand]\nserver = ftp://:secret@h\n"), -EINVAL));
	cr_assert(eq(ptr, strstr(message, "secret"), NULL), "%s", message);
}

Test(config_file, long_lines)
{
	static char text[20000];
	size_t n;

	(void)snprintf(text, sizeof(text), "[program p]\ncommand = %04000d\n", 7);
	cr_assert(eq(int, parse_file(text), 0), "%s", message);
	cr_assert(eq(sz, strlen(config->command[0]), 4000));
	(void)snprintf(text, sizeof(text), "[program p]\n\ncommand = %09000d\n", 7);
	cr_assert(eq(int, parse_file(text), -EINVAL));
	cr_assert(eq(int, strncmp(message, "f.conf:3: a line of 9010 bytes: ", 32), 0), "%s", message);
	/* no line end at the end */
	n = (size_t)snprintf(text, sizeof(text), "[program p]\r\ncommand = x y\r\n\r\ninstances=2");
	cr_assert(gt(sz, n, 0));
	cr_assert(eq(int, parse_file(text), 0), "%s", message);
	cr_assert(eq(str, config->command[1], "y"));
	cr_assert(eq(uint, config->instances, 2));
}

Test(config_file, files_that_cannot_be_read, .fini = remove_file)
{
	cr_assert(eq(int, LOAD("--config", "/nonexistent/f.conf"), CONFIG_INVALID));
	cr_assert(eq(str, message, "/nonexistent/f.conf: No such file or directory"));
	cr_assert(eq(int, LOAD("--config", "/"), CONFIG_INVALID));
	cr_assert(eq(str, message, "/: Is a directory"));
	cr_assert(eq(int, LOAD("--config", "/dev/zero"), CONFIG_INVALID));
	cr_assert(eq(str, message, "/dev/zero: more than a megabyte: no configuration file"));
	char *path = file("[chargehand]\nlog-level = debug\n"), expected[128];
	cr_assert(eq(int, LOAD("--config", path), CONFIG_INVALID));
	(void)snprintf(expected, sizeof(expected), "%s: a command is missing: [program NAME] with command = COMMAND",
		       path);
	cr_assert(eq(str, message, expected));
	cr_assert(eq(int, LOAD("--config", path, "w"), CONFIG_OK));
	cr_assert(eq(int, LOAD("--config", path, "--check"), CONFIG_OK));
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	cr_assert(eq(i64, pwrite(fd, "\0", 1, 15), 1));
	(void)close(fd);
	cr_assert(eq(int, LOAD("--config", path, "w"), CONFIG_INVALID));
	(void)snprintf(expected, sizeof(expected), "%s: a NUL byte: no configuration file", path);
	cr_assert(eq(str, message, expected));
}
