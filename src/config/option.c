/* SPDX-License-Identifier: MIT
 *
 * The rows, and --help.
 */
#include "config/option.h"
#include "base/macro.h"
#include "config/value.h"
#include <stdio.h>
#include <string.h>

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
		.set = value_set_server,
	},
	{
		.name = "name",
		.argument = "NAME",
		.scope = OPTION_COMMAND_LINE,
		.initial_text = "base name of COMMAND",
		.help = "name of the program; its workers are NAME.1, NAME.2 ...",
		.expected = "up to 40 letters, digits, '-', '_' and '.', beginning with a letter or digit",
		.set = value_set_name,
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
		.set = value_set_instances,
	},
	{
		.name = "restart",
		.argument = "always|on-failure|never",
		.scope = OPTION_PROGRAM,
		.initial = "on-failure",
		.help = "which ends of a worker that nobody asked for start a new one;\n"
			"a failure is anything but exit 0 without jobs in hand",
		.expected = "always, on-failure or never",
		.set = value_set_restart,
	},
	{
		.name = "healthy",
		.argument = "DURATION",
		.scope = OPTION_PROGRAM,
		.initial = "1m",
		.help = "a life this long is followed by a restart at once; after\n"
			"a shorter one the wait is 100 ms, then doubles up to 60 s",
		.expected = EXPECTED_DURATION,
		.set = value_set_healthy,
	},
	{
		.name = "stop-grace",
		.argument = "DURATION",
		.scope = OPTION_PROGRAM,
		.initial = "45s",
		.help = "how long a worker has from SIGTERM to SIGKILL",
		.expected = EXPECTED_DURATION,
		.set = value_set_stop_grace,
	},
	{
		.name = "stop-target",
		.argument = "main|hello",
		.scope = OPTION_PROGRAM,
		.initial = "main",
		.help = "which processes of a worker get the SIGTERM: the first one,\n"
			"or those that said HELLO",
		.expected = "main or hello",
		.set = value_set_stop_target,
	},
	{
		.name = "linger",
		.argument = "DURATION",
		.scope = OPTION_PROGRAM,
		.initial = "2s",
		.help = "how long forked children may live on after the worker's exit\n"
			"once they have closed every connection",
		.expected = EXPECTED_DURATION,
		.set = value_set_linger,
	},
	{
		.name = "keep-body",
		.argument = "SIZE",
		.scope = OPTION_PROGRAM,
		.initial = "16K",
		.help = "jobs up to this size go back to their queue, unharmed, when\n"
			"the worker that asked for them has gone",
		.expected = "a size up to 1G, such as 16K",
		.set = value_set_keep_body,
	},
	{
		.name = "cgroup",
		.argument = "auto|none|PATH",
		.scope = OPTION_SUPERVISOR,
		.initial = "auto",
		.help = "the cgroup v2 directory below which each worker has its own",
		.expected = "auto, none or the absolute path of a cgroup2 directory",
		.set = value_set_cgroup,
	},
	{
		.name = "memory-max",
		.argument = "SIZE",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "memory of one worker, above which it is killed",
		.expected = EXPECTED_LIMIT_SIZE,
		.set = value_set_memory_max,
	},
	{
		.name = "memory-high",
		.argument = "SIZE",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "memory of one worker, above which it is slowed down",
		.expected = EXPECTED_LIMIT_SIZE,
		.set = value_set_memory_high,
	},
	{
		.name = "swap-max",
		.argument = "SIZE",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "swap space of one worker; 0 for none of it",
		.expected = "a size such as 0 or 512M, or none",
		.set = value_set_swap_max,
	},
	{
		.name = "pids-max",
		.argument = "N",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "processes and threads of one worker",
		.expected = "a number from 1, or none",
		.set = value_set_pids_max,
	},
	{
		.name = "cpu-max",
		.argument = "PERCENT",
		.scope = OPTION_PROGRAM,
		.initial = "none",
		.help = "processor time of one worker; 150 is one and a half processors",
		.expected = "a percentage such as 50 or 150%, or none",
		.set = value_set_cpu_max,
	},
	{
		.name = "oom-group",
		.argument = "yes|no",
		.scope = OPTION_PROGRAM,
		.initial = "no",
		.help = "whether being out of memory ends the whole worker rather than\n"
			"one process of it",
		.expected = "yes or no",
		.set = value_set_oom_group,
	},
	{
		.name = "state-dir",
		.argument = "DIR",
		.scope = OPTION_SUPERVISOR,
		.initial_text = "$STATE_DIRECTORY; below /var/lib/chargehand as root,\n"
				"else below $XDG_STATE_HOME/chargehand",
		.help = "where what must outlive chargehand is kept; one chargehand each",
		.expected = "an absolute path",
		.set = value_set_state_dir,
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
		.set = value_set_journal_sync,
	},
	{
		.name = "log-level",
		.argument = "LEVEL",
		.scope = OPTION_SUPERVISOR,
		.initial = "notice",
		.help = "error, warning, notice, info or debug",
		.expected = "error, warning, notice, info or debug",
		.set = value_set_log_level,
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
