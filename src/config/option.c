/* SPDX-License-Identifier: MIT
 *
 * The rows, one function for each kind of value, and --help.
 */
#include "config/option.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "config/name.h"
#include <stdio.h>
#include <string.h>

/* ---- kinds of values */

static int set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int find_word(const char *const *words, size_t n, const char *value)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(value, words[i]) == 0)
			return (int)i;
	return -EINVAL;
}

static int set_path(char **field, const char *value, const char **why)
{
	/* chargehand does not change its directory, but an error message and another chargehand's lock should not
	 * depend on where it was started. */
	if (*value != '/') {
		*why = "an absolute path";
		return -EINVAL;
	}
	return set_string(field, value);
}

/* "none" takes away what another source has set. */
static int set_limit(uint64_t *field, const char *value, int (*parse)(const char *, uint64_t *))
{
	uint64_t limit = CONFIG_UNLIMITED;

	if (strcmp(value, "none") != 0 && (parse(value, &limit) < 0 || limit == 0))
		return -EINVAL;
	*field = limit;
	return 0;
}

static int set_duration(usec_t *field, const char *value)
{
	return parse_duration(value, field) < 0 ? -EINVAL : 0;
}

/* ---- one function for each row */

static int set_server(struct config *c, const char *value, const char **why)
{
	struct server_url url = {0};
	int r = server_url_parse(value, &url, why);

	if (r < 0)
		return r;
	if (url.tls) {
		server_url_done(&url);
		*why = "this build speaks no TLS to the server: tcp://... is what it can";
		return -EINVAL;
	}
	server_url_done(&c->server);
	c->server = url;
	return 0;
}

static int set_name(struct config *c, const char *value, const char **why)
{
	(void)why;
	return config_name_is_valid(value) ? set_string(&c->name, value) : -EINVAL;
}

static int set_instances(struct config *c, const char *value, const char **why)
{
	(void)why;
	return parse_unsigned(value, 1, CONFIG_INSTANCES_MAX, &c->instances) < 0 ? -EINVAL : 0;
}

static const char *const restart_words[] = {
	[RESTART_ALWAYS] = "always",
	[RESTART_ON_FAILURE] = "on-failure",
	[RESTART_NEVER] = "never",
};
_Static_assert(ARRAY_SIZE(restart_words) == _RESTART_MAX, "a word for each policy");

static int set_restart(struct config *c, const char *value, const char **why)
{
	int i = find_word(restart_words, ARRAY_SIZE(restart_words), value);

	(void)why;
	if (i < 0)
		return i;
	c->restart = (enum restart_policy)i;
	return 0;
}

static const char *const stop_target_words[] = {
	[STOP_TARGET_MAIN] = "main",
	[STOP_TARGET_HELLO] = "hello",
};
_Static_assert(ARRAY_SIZE(stop_target_words) == _STOP_TARGET_MAX, "a word for each target");

static int set_stop_target(struct config *c, const char *value, const char **why)
{
	int i = find_word(stop_target_words, ARRAY_SIZE(stop_target_words), value);

	(void)why;
	if (i < 0)
		return i;
	c->stop_target = (enum stop_target)i;
	return 0;
}

static int set_stop_grace(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_duration(&c->stop_grace_usec, value);
}

static int set_healthy(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_duration(&c->healthy_usec, value);
}

static int set_linger(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_duration(&c->linger_usec, value);
}

static int set_memory_max(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_limit(&c->memory_max_bytes, value, parse_size);
}

static int set_memory_high(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_limit(&c->memory_high_bytes, value, parse_size);
}

/* Unlike the others it may be 0. */
static int set_swap_max(struct config *c, const char *value, const char **why)
{
	uint64_t limit = CONFIG_UNLIMITED;

	(void)why;
	if (strcmp(value, "none") != 0 && parse_size(value, &limit) < 0)
		return -EINVAL;
	c->swap_max_bytes = limit;
	return 0;
}

static int set_pids_max(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_limit(&c->pids_max, value, parse_u64);
}

static int set_cpu_max(struct config *c, const char *value, const char **why)
{
	char digits[16];
	unsigned percent = 0;
	size_t n = strlen(value);

	(void)why;
	if (strcmp(value, "none") != 0) {
		if (n > 0 && value[n - 1] == '%')
			n--;
		if (n >= sizeof(digits))
			return -EINVAL;
		memcpy(digits, value, n);
		digits[n] = '\0';
		if (parse_unsigned(digits, 1, 100000, &percent) < 0)
			return -EINVAL;
	}
	c->cpu_percent = percent;
	return 0;
}

static int set_oom_group(struct config *c, const char *value, const char **why)
{
	(void)why;
	return parse_bool(value, &c->oom_group);
}

static const char *const cgroup_words[] = {
	[CGROUP_AUTO] = "auto",
	[CGROUP_NONE] = "none",
	[CGROUP_PATH] = "PATH",
};
_Static_assert(ARRAY_SIZE(cgroup_words) == _CGROUP_MODE_MAX, "a word for each mode");

static int set_cgroup(struct config *c, const char *value, const char **why)
{
	int i = find_word(cgroup_words, CGROUP_PATH, value);

	if (i < 0) {
		const char *ignored = NULL;
		int r = set_path(&c->cgroup_path, value, &ignored);
		if (r < 0)
			return r;
		i = CGROUP_PATH;
	}
	(void)why;
	c->cgroup_mode = (enum cgroup_mode)i;
	return 0;
}

static int set_state_dir(struct config *c, const char *value, const char **why)
{
	int r = set_path(&c->state_dir, value, why);

	if (r == 0)
		c->state_dir_asked = true;
	return r;
}

static const char *const sync_words[] = {
	[SYNC_NEVER] = "never",
	[SYNC_INTERVAL] = "interval",
	[SYNC_ALWAYS] = "always",
};
_Static_assert(ARRAY_SIZE(sync_words) == _SYNC_MAX, "a word for each policy");

static int set_journal_sync(struct config *c, const char *value, const char **why)
{
	int i = find_word(sync_words, ARRAY_SIZE(sync_words), value);

	(void)why;
	if (i < 0)
		return i;
	c->journal_sync = (enum sync_policy)i;
	return 0;
}

static int set_keep_body(struct config *c, const char *value, const char **why)
{
	uint64_t bytes;

	(void)why;
	/* Each job of a FETCH that is on its way may cost this much. */
	if (parse_size(value, &bytes) < 0 || bytes > UINT64_C(1) << 30)
		return -EINVAL;
	c->keep_body_bytes = bytes;
	return 0;
}

static int set_log_level(struct config *c, const char *value, const char **why)
{
	int level = log_level_from_string(value);

	(void)why;
	if (level < 0)
		return -EINVAL;
	c->log_level = level;
	return 0;
}

/* ---- the table */

#define EXPECTED_DURATION "a duration such as 500ms, 45s or 10m"
#define EXPECTED_LIMIT_SIZE "a size such as 512M or 1.5G, or none"

const struct option_row option_table[] = {
	{
		.name = "server",
		.argument = "URL",
		.scope = OPTION_SUPERVISOR,
		.initial_text = "FAKTORY_PROVIDER, FAKTORY_URL, tcp://localhost:7419",
		.help = "the Faktory server: tcp://:PASSWORD@HOST:PORT",
		.expected = "a URL such as tcp://:PASSWORD@HOST:7419",
		.secret = true,
		.set = set_server,
	},
	{
		.name = "name",
		.argument = "NAME",
		.scope = OPTION_COMMAND_LINE,
		.initial_text = "base name of COMMAND",
		.help = "name of the program; its workers are NAME.1, NAME.2 ...",
		.expected = "up to 40 letters, digits, '-', '_' and '.', beginning with a letter or digit",
		.set = set_name,
	},
	{
		.name = "command",
		.argument = "COMMAND",
		.scope = OPTION_FILE_PROGRAM,
		.initial_text = "none",
		.help = "the command and its arguments",
		.expected = "words, quoted as in a shell, without variables or wildcards",
	},
	{
		.name = "instances",
		.argument = "N",
		.scope = OPTION_PROGRAM,
		.initial = "1",
		.help = "how many workers to run",
		.expected = "a number from 1 to 1000",
		.set = set_instances,
	},
	{
		.name = "restart",
		.argument = "always|on-failure|never",
		.scope = OPTION_PROGRAM,
		.initial = "on-failure",
		.help = "which ends of a worker that nobody asked for start a new one;\n"
			"a failure is anything but exit 0 without jobs in hand",
		.expected = "always, on-failure or never",
		.set = set_restart,
	},
	{
		.name = "healthy",
		.argument = "DURATION",
		.scope = OPTION_PROGRAM,
		.initial = "1m",
		.help = "a life this long is followed by a restart at once; after\n"
			"a shorter one the wait is 100 ms, then doubles up to 60 s",
		.expected = EXPECTED_DURATION,
		.set = set_healthy,
	},
	{
		.name = "stop-grace",
		.argument = "DURATION",
		.scope = OPTION_PROGRAM,
		.initial = "45s",
		.help = "how long a worker has from SIGTERM to SIGKILL",
		.expected = EXPECTED_DURATION,
		.set = set_stop_grace,
	},
	{
		.name = "stop-target",
		.argument = "main|hello",
		.scope = OPTION_PROGRAM,
		.initial = "main",
		.help = "which processes of a worker get the SIGTERM: the first one,\n"
			"or those that said HELLO",
		.expected = "main or hello",
		.set = set_stop_target,
	},
	{
		.name = "linger",
		.argument = "DURATION",
		.scope = OPTION_PROGRAM,
		.initial = "2s",
		.help = "how long forked children may live on after the worker's exit\n"
			"once they have closed every connection",
		.expected = EXPECTED_DURATION,
		.set = set_linger,
	},
	{
		.name = "keep-body",
		.argument = "SIZE",
		.scope = OPTION_PROGRAM,
		.initial = "16K",
		.help = "jobs up to this size go back to their queue, unharmed, when\n"
			"the worker that asked for them has gone",
		.expected = "a size up to 1G, such as 16K",
		.set = set_keep_body,
	},
	{
		.name = "cgroup",
		.argument = "auto|none|PATH",
		.scope = OPTION_SUPERVISOR,
		.initial = "auto",
		.help = "the cgroup v2 directory below which each worker has its own",
		.expected = "auto, none or the absolute path of a cgroup2 directory",
		.set = set_cgroup,
	},
	{
		.name = "memory-max",
		.argument = "SIZE",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "memory of one worker, above which it is killed",
		.expected = EXPECTED_LIMIT_SIZE,
		.set = set_memory_max,
	},
	{
		.name = "memory-high",
		.argument = "SIZE",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "memory of one worker, above which it is slowed down",
		.expected = EXPECTED_LIMIT_SIZE,
		.set = set_memory_high,
	},
	{
		.name = "swap-max",
		.argument = "SIZE",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "swap space of one worker; 0 for none of it",
		.expected = "a size such as 0 or 512M, or none",
		.set = set_swap_max,
	},
	{
		.name = "pids-max",
		.argument = "N",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "processes and threads of one worker",
		.expected = "a number from 1, or none",
		.set = set_pids_max,
	},
	{
		.name = "cpu-max",
		.argument = "PERCENT",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "processor time of one worker; 150 is one and a half processors",
		.expected = "a percentage such as 50 or 150%, or none",
		.set = set_cpu_max,
	},
	{
		.name = "oom-group",
		.argument = "yes|no",
		.scope = OPTION_PROGRAM,
		.initial = "no",
		.help = "whether being out of memory ends the whole worker rather than\n"
			"one process of it",
		.expected = "yes or no",
		.set = set_oom_group,
	},
	{
		.name = "state-dir",
		.argument = "DIR",
		.scope = OPTION_SUPERVISOR,
		.initial_text = "$STATE_DIRECTORY; below /var/lib/chargehand as root,\n"
				"else below $XDG_STATE_HOME/chargehand",
		.help = "where what must outlive chargehand is kept; one chargehand each",
		.expected = "an absolute path",
		.set = set_state_dir,
	},
	{
		.name = "journal-sync",
		.argument = "never|interval|always",
		.scope = OPTION_SUPERVISOR,
		.initial = "interval",
		.help = "how soon what is written there is on the disk, should the\n"
			"power fail: when the kernel likes, within 50 ms, or before\n"
			"anybody is told",
		.expected = "never, interval or always",
		.set = set_journal_sync,
	},
	{
		.name = "log-level",
		.argument = "LEVEL",
		.scope = OPTION_SUPERVISOR,
		.initial = "notice",
		.help = "error, warning, notice, info or debug",
		.expected = "error, warning, notice, info or debug",
		.set = set_log_level,
	},
	{
		.name = "config",
		.argument = "FILE",
		.scope = OPTION_COMMAND_LINE,
		.initial_text = "none",
		.help = "read these options, and the command, from a file",
		.expected = "the path of a file",
	},
	{
		.name = "check",
		.scope = OPTION_COMMAND_LINE,
		.help = "check configuration and host, say what works here and what\n"
			"does not, and start nothing",
	},
	{
		.name = "help",
		.scope = OPTION_COMMAND_LINE,
		.help = "print this",
	},
	{
		.name = "version",
		.scope = OPTION_COMMAND_LINE,
		.help = "print the version",
	},
};
const size_t option_table_rows = ARRAY_SIZE(option_table);

const char *restart_policy_to_string(enum restart_policy policy)
{
	return restart_words[policy];
}

const char *cgroup_mode_to_string(enum cgroup_mode mode)
{
	return cgroup_words[mode];
}

const char *stop_target_to_string(enum stop_target target)
{
	return stop_target_words[target];
}

const char *sync_policy_to_string(enum sync_policy policy)
{
	return sync_words[policy];
}

const struct option_row *option_find(const char *name)
{
	for (size_t i = 0; i < option_table_rows; i++)
		if (strcmp(option_table[i].name, name) == 0)
			return &option_table[i];
	return NULL;
}

int option_set(const struct option_row *row, struct config *c, const char *prefix, const char *value,
	       char **ret_message)
{
	const char *why = row->expected;
	int r = row->set(c, value, &why), n;

	if (r != -EINVAL)
		return r;
	if (row->secret)
		n = asprintf(ret_message, "%s%s: %s", prefix, row->name, why);
	else
		n = asprintf(ret_message, "%s%s: \"%s\": %s", prefix, row->name, value, why);
	return n < 0 ? -ENOMEM : -EINVAL;
}

/* Writes text in a column of its own: what follows a "\n" is indented. */
static void print_column(FILE *f, const char *text, int indent)
{
	for (; *text; text++) {
		(void)fputc(*text, f);
		if (*text == '\n')
			(void)fprintf(f, "%*s", indent, "");
	}
}

char *option_help(void)
{
	enum { INDENT = 8 };
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	if (!f)
		return NULL;
	(void)fputs("Usage: chargehand [OPTION...] [--] COMMAND [ARGUMENT...]\n"
		    "       chargehand [OPTION...] --config FILE\n"
		    "\n"
		    "Runs a Faktory worker, and FAILs the jobs it holds the moment it dies.\n"
		    "\n",
		    f);
	for (size_t i = 0; i < option_table_rows; i++) {
		const struct option_row *row = &option_table[i];
		const char *initial = row->initial ? row->initial : row->initial_text;
		if (row->scope == OPTION_FILE_PROGRAM)
			continue;
		(void)fprintf(f, "  --%s%s%s\n%*s", row->name, row->argument ? " " : "",
			      row->argument ? row->argument : "", INDENT, "");
		print_column(f, row->help, INDENT);
		if (initial && strcmp(initial, "none") != 0) {
			(void)fprintf(f, "\n%*sdefault: ", INDENT, "");
			print_column(f, initial, INDENT);
		}
		(void)fputc('\n', f);
	}
	(void)fputs("\n"
		    "A duration is a number with ms, s, m, h or d; a size one with K, M, G or T.\n"
		    "The options are keys of the file too: --server, --cgroup, --state-dir,\n"
		    "--journal-sync and --log-level in [chargehand], the others in\n"
		    "[program NAME] beside command.\n"
		    "More is in chargehand(8).\n",
		    f);
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
