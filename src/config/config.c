/* SPDX-License-Identifier: MIT
 *
 * Brings the sources together: defaults, then the environment, then the file, then the command line. What an earlier
 * source said wrongly is an error even where a later one would have replaced it, the environment's server excepted.
 */
#include "config/config.h"
#include "base/macro.h"
#include "config/environment.h"
#include "config/file.h"
#include "config/name.h"
#include "config/nearest.h"
#include "config/option.h"
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SERVER_DEFAULT "tcp://localhost:7419"

/* getopt_long(3)'s values for the rows of the table; above every character. */
#define OPTION_VALUE_FIRST 1000

/* One more than the table will ever have rows. */
#define OPTIONS_MAX 64

/* A parsed command line: for each row the value of its last occurrence. */
struct command_line {
	const char *given[OPTIONS_MAX];
	char *const *command; /* NULL when none */
};

_printf_(3, 4) static int say(char **ret_message, int result, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(ret_message, format, ap);
	va_end(ap);
	return n < 0 ? -ENOMEM : result;
}

static const char *value_of(const struct command_line *line, const char *name)
{
	return line->given[option_find(name) - option_table];
}

static int say_unknown(const char *word, char **ret_message)
{
	/* Up to a '=': what follows may be a password. */
	size_t bytes = strcspn(word, "="), dashes = strspn(word, "-");
	const struct option_row *meant =
		bytes > dashes ? nearest_option(word + dashes, bytes - dashes, OPTION_FILE_PROGRAM) : NULL;

	if (meant)
		return say(ret_message, CONFIG_USAGE, "%.*s: unknown option: did you mean --%s? --help lists them all",
			   (int)bytes, word, meant->name);
	return say(ret_message, CONFIG_USAGE, "%.*s: unknown option: --help lists them all", (int)bytes, word);
}

static int read_command_line(int argc, char *const argv[], struct command_line *ret, char **ret_message)
{
	struct option long_options[OPTIONS_MAX];
	struct command_line line = {0};
	int value;

	memset(long_options, 0, sizeof(long_options));
	for (size_t i = 0, n = 0; i < option_table_rows; i++) {
		if (option_table[i].scope == OPTION_FILE_PROGRAM)
			continue;
		long_options[n].name = option_table[i].name;
		long_options[n].has_arg = option_table[i].argument ? required_argument : no_argument;
		long_options[n].val = OPTION_VALUE_FIRST + (int)i;
		n++;
	}

	/* 0 rather than 1 makes glibc and musl begin anew. '+': COMMAND's options are its own. */
	optind = 0;
	opterr = 0;
	for (;;) {
		/* The word that is being looked at; getopt has not set optind when it has not been called. */
		const char *word = argv[optind > 0 ? optind : 1];
		value = getopt_long(argc, argv, "+:", long_options, NULL);
		if (value == -1)
			break;
		if (value == ':')
			return say(ret_message, CONFIG_USAGE, "--%s: a value is missing: %s",
				   option_table[optopt - OPTION_VALUE_FIRST].name,
				   option_table[optopt - OPTION_VALUE_FIRST].expected);
		if (value == '?' && optopt >= OPTION_VALUE_FIRST)
			return say(ret_message, CONFIG_USAGE, "--%s: takes no value",
				   option_table[optopt - OPTION_VALUE_FIRST].name);
		if (value == '?')
			return say_unknown(word, ret_message);
		line.given[value - OPTION_VALUE_FIRST] = optarg ? optarg : "";
	}
	if (optind < argc)
		line.command = argv + optind;
	*ret = line;
	return CONFIG_OK;
}

static int set_defaults(struct config *c)
{
	for (size_t i = 0; i < option_table_rows; i++) {
		const struct option_row *row = &option_table[i];
		const char *why;
		int r = row->initial ? row->set(c, row->initial, &why) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* A variable that is set to nothing counts as unset, as most libraries have it. */
static const char *get_filled(char *const *envp, const char *name)
{
	const char *value = environment_get(envp, name);

	return value && *value ? value : NULL;
}

static int read_provider(struct config *c, char *const *envp, char **ret_message)
{
	const char *provider = get_filled(envp, "FAKTORY_PROVIDER");

	if (!provider)
		return CONFIG_OK;
	if (strpbrk(provider, ":="))
		return say(ret_message, CONFIG_INVALID,
			   "FAKTORY_PROVIDER: it holds the name of a variable, such as MY_FAKTORY_URL, and no URL");
	c->provider_variable = strdup(provider);
	return c->provider_variable ? CONFIG_OK : -ENOMEM;
}

static int read_server_from_environment(struct config *c, char *const *envp, char **ret_message)
{
	const char *variable = c->provider_variable ? c->provider_variable : "FAKTORY_URL";
	const char *url = get_filled(envp, variable), *why = NULL;
	int r;

	if (c->provider_variable && !url)
		return say(ret_message, CONFIG_INVALID, "FAKTORY_PROVIDER: \"%s\": no such variable is set",
			   c->provider_variable);
	c->server_source = !url ? "default" : c->provider_variable ? c->provider_variable : "FAKTORY_URL";
	r = option_find("server")->set(c, url ? url : SERVER_DEFAULT, &why);
	if (r == -EINVAL)
		return say(ret_message, CONFIG_INVALID, "%s: %s", variable, why);
	return r;
}

/* The first of $STATE_DIRECTORY, which is a list with ':' (systemd.exec(5)). */
static int read_state_directory(struct config *c, char *const *envp)
{
	const char *list = get_filled(envp, "STATE_DIRECTORY");

	if (!list || *list != '/')
		return 0;
	c->state_dir = strndup(list, strcspn(list, ":"));
	c->state_dir_asked = true;
	return c->state_dir ? 0 : -ENOMEM;
}

static int copy_command(struct config *c, char *const *words)
{
	size_t n = 0, bytes = 0;

	for (; words[n]; n++)
		bytes += strlen(words[n]) + 1;
	char **copy = malloc((n + 1) * sizeof(char *) + bytes);
	if (!copy)
		return -ENOMEM;
	char *text = (char *)(copy + n + 1);
	for (size_t i = 0; i < n; i++) {
		copy[i] = text;
		text = stpcpy(text, words[i]) + 1;
	}
	copy[n] = NULL;
	free(c->command);
	c->command = copy;
	return 0;
}

static int set_default_state_dir(struct config *c, char *const *envp)
{
	_cleanup_free_ char *here = getcwd(NULL, 0);

	if (!here && errno == ENOMEM)
		return -ENOMEM;
	/* A directory that was removed has no name. */
	return config_default_state_dir(c, geteuid(), here ? here : "", envp, &c->state_dir);
}

/* What is only known once all sources have been read. */
static int complete(struct config *c, const struct command_line *line, char *const *envp, char **ret_message)
{
	int r;

	if (!c->server.host) {
		r = read_server_from_environment(c, envp, ret_message);
		if (r != CONFIG_OK)
			return r;
	}
	if (line->command) {
		r = copy_command(c, line->command);
		if (r < 0)
			return r;
	}
	if (!c->command && !c->check) {
		if (value_of(line, "config"))
			return say(ret_message, CONFIG_INVALID,
				   "%s: a command is missing: [program NAME] with command = COMMAND",
				   value_of(line, "config"));
		return say(ret_message, CONFIG_USAGE, "a command is missing: chargehand [OPTION...] [--] COMMAND");
	}
	if (c->command && c->command[0][0] == '\0')
		return say(ret_message, CONFIG_USAGE, "COMMAND: \"\": the name of a program");
	if (!c->name) {
		c->name = config_name_from_command(c->command ? c->command[0] : "chargehand");
		if (!c->name)
			return -ENOMEM;
	}
	return c->state_dir ? 0 : set_default_state_dir(c, envp);
}

static int load_into(struct config *c, const struct command_line *line, char *const *envp, char **ret_message)
{
	struct config_file_found found = {0};
	const char *file = value_of(line, "config");
	int r = set_defaults(c);

	if (r == 0)
		r = read_state_directory(c, envp);
	if (r == 0)
		r = read_provider(c, envp, ret_message);
	if (r != CONFIG_OK)
		return r;

	if (file) {
		r = config_file_read(file, c, &found, ret_message);
		if (r < 0)
			return r == -EINVAL ? CONFIG_INVALID : r;
		c->server_source = found.server ? "file" : NULL;
	}
	for (size_t i = 0; i < option_table_rows; i++) {
		const struct option_row *row = &option_table[i];
		if (!line->given[i] || !row->set)
			continue;
		r = option_set(row, c, "--", line->given[i], ret_message);
		if (r < 0)
			return r == -EINVAL ? CONFIG_USAGE : r;
	}
	if (value_of(line, "server"))
		c->server_source = "--server";
	c->check = value_of(line, "check") != NULL;
	return complete(c, line, envp, ret_message);
}

int config_load(int argc, char *const argv[], char *const *envp, struct config **ret, char **ret_message)
{
	_cleanup_(cleanup_config) struct config *c = NULL;
	struct command_line line = {0};
	int r = read_command_line(argc, argv, &line, ret_message);

	if (r != CONFIG_OK)
		return r;
	if (value_of(&line, "help"))
		return CONFIG_HELP;
	if (value_of(&line, "version"))
		return CONFIG_VERSION;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	r = load_into(c, &line, envp, ret_message);
	if (r == CONFIG_OK)
		*ret = TAKE_PTR(c);
	return r;
}

struct config *config_free(struct config *c)
{
	if (!c)
		return NULL;
	server_url_done(&c->server);
	free(c->provider_variable);
	free(c->name);
	free(c->command);
	free(c->cgroup_path);
	free(c->state_dir);
	free(c);
	return NULL;
}

/* "tcp://USER:PASSWORD@HOST": what lies between "//" and the last '@', for a password may hold one, and a '/' too. */
static void erase_password(char *url)
{
	char *start = strstr(url, "://"), *end;

	if (!start)
		return;
	start += 3;
	end = strrchr(start, '@');
	if (end)
		memset(start, 'x', (size_t)(end - start));
}

void config_erase_passwords(int argc, char *argv[], char **envp)
{
	const char *provider = environment_get(envp, "FAKTORY_PROVIDER");

	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], "--s", 3) == 0) {
			/* --server or an abbreviation of it; the value is in this word or the next. */
			char *equals = strchr(argv[i], '=');
			if (equals)
				erase_password(equals);
			else if (i + 1 < argc)
				erase_password(argv[i + 1]);
		}
	for (char **e = envp; *e; e++) {
		size_t n = strcspn(*e, "=");
		if ((n == 11 && strncmp(*e, "FAKTORY_URL", n) == 0) ||
		    (provider && n == strlen(provider) && strncmp(*e, provider, n) == 0))
			erase_password(*e + n);
	}
}
