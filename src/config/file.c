/* SPDX-License-Identifier: MIT
 *
 * inih splits the lines; what they mean is decided here. inih tells its handler no line number, so the reader that it
 * calls for each line counts them.
 */
#include "config/file.h"
#include "base/fileio.h"
#include "base/macro.h"
#include "config/name.h"
#include "config/nearest.h"
#include "config/option.h"
#include "config/words.h"
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* For a command line of some length. */
#define LINE_BYTES_MAX 8192

/* inih cuts the name of a section to this many bytes. */
#define SECTION_BYTES_MAX 49

#define PROGRAM_PREFIX "program "

struct parser {
	const char *path;
	const char *next; /* what is still to be read */
	int line;
	struct config *config;
	struct config_file_found found;
	char program[CONFIG_NAME_MAX + 1]; /* "" before its section */
	unsigned long long seen;           /* a bit for each row of the table */
	int result;
	char *message;
};

_printf_(2, 3) static void refuse(struct parser *p, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int n;

	/* Where inih cannot be told to stop, the first error is the one to tell. */
	if (p->result < 0)
		return;
	p->result = -EINVAL;
	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		p->result = -ENOMEM;
	} else if (asprintf(&p->message, "%s:%d: %s", p->path, p->line, text) < 0) {
		p->message = NULL;
		p->result = -ENOMEM;
	}
}

/* fgets(3) for inih. The end of the text, and an error, end the reading. */
static char *read_line(char *buffer, int room, void *stream)
{
	struct parser *p = stream;
	size_t bytes = strcspn(p->next, "\n");

	if (p->result < 0 || *p->next == '\0')
		return NULL;
	p->line++;
	if (bytes + 2 > (size_t)room) {
		refuse(p, "a line of %zu bytes: at most %d are read", bytes, room - 2);
		return NULL;
	}
	bytes += p->next[bytes] == '\n';
	memcpy(buffer, p->next, bytes);
	buffer[bytes] = '\0';
	p->next += bytes;
	return buffer;
}

static bool enter_program(struct parser *p, const char *name)
{
	if (strlen(PROGRAM_PREFIX) + strlen(name) >= SECTION_BYTES_MAX || !config_name_is_valid(name)) {
		refuse(p, "[program %s]: the name: %s", name, option_find("name")->expected);
		return false;
	}
	if (p->program[0] == '\0')
		memcpy(p->program, name, strlen(name) + 1);
	if (strcmp(p->program, name) == 0)
		return true;
	refuse(p,
	       "[program %s]: one chargehand runs one program, and [program %s] came first: start another chargehand",
	       name, p->program);
	return false;
}

static void set_command(struct parser *p, const char *value)
{
	const char *why = NULL;
	char **words = NULL;
	int r = words_split(value, &words, &why);

	if (r == -ENOMEM) {
		p->result = r;
		return;
	}
	if (r < 0) {
		refuse(p, "command: \"%s\": %s", value, why);
		return;
	}
	free(p->config->command);
	p->config->command = words;
	p->found.command = true;
}

static void set_row(struct parser *p, const struct option_row *row, const char *value)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long bit = 1ULL << (row - option_table);
	int r;

	if (p->seen & bit) {
		refuse(p, "%s: a second time: once is right", row->name);
		return;
	}
	p->seen |= bit;
	if (!row->set) {
		set_command(p, value);
		return;
	}
	r = option_set(row, p->config, "", value, &text);
	if (r == -EINVAL)
		refuse(p, "%s", text);
	else if (r < 0)
		p->result = r;
	else if (strcmp(row->name, "server") == 0)
		p->found.server = true;
}

static void refuse_unknown(struct parser *p, const char *key)
{
	const struct option_row *meant = nearest_option(key, strlen(key), OPTION_COMMAND_LINE);

	if (meant)
		refuse(p, "%s: unknown: did you mean %s? The keys are in chargehand(8)", key, meant->name);
	else
		refuse(p, "%s: unknown: the keys are in chargehand(8)", key);
}

static int on_key(void *userdata, const char *section, const char *key, const char *value)
{
	struct parser *p = userdata;
	const struct option_row *row = option_find(key);
	bool in_program = strncmp(section, PROGRAM_PREFIX, strlen(PROGRAM_PREFIX)) == 0;

	if (p->result < 0)
		return 0;
	if (!value)
		value = "";
	if (in_program) {
		const char *name = section + strlen(PROGRAM_PREFIX);
		name += strspn(name, " \t");
		if (!enter_program(p, name))
			return 0;
	} else if (strcmp(section, "chargehand") != 0) {
		if (section[0] == '\0')
			refuse(p, "%s: a key stands below [chargehand] or [program NAME]", key);
		else
			refuse(p, "[%s]: unknown: the sections are [chargehand] and [program NAME]", section);
		return 0;
	}

	if (!row || (row->scope == OPTION_COMMAND_LINE && strcmp(row->name, "name") != 0))
		refuse_unknown(p, key);
	else if (row->scope == OPTION_COMMAND_LINE)
		refuse(p, "name: it stands in the section's own line: [program NAME]");
	else if (in_program && row->scope == OPTION_SUPERVISOR)
		refuse(p, "%s: its place is [chargehand]", key);
	else if (!in_program && row->scope != OPTION_SUPERVISOR)
		refuse(p, "%s: its place is [program NAME]", key);
	else
		set_row(p, row, value);
	return p->result == 0;
}

/* Where inih can be asked: values may hold " ;" and any length, and an indented line is no continuation. */
static void set_up_inih(void)
{
#if HAVE_DECL_INI_ALLOW_INLINE_COMMENTS
	ini_allow_inline_comments = false;
#endif
#if HAVE_DECL_INI_ALLOW_MULTILINE
	ini_allow_multiline = false;
#endif
#if HAVE_DECL_INI_MAX_LINE
	ini_max_line = LINE_BYTES_MAX;
#endif
}

int config_file_parse(const char *path, const char *text, struct config *c, struct config_file_found *ret_found,
		      char **ret_message)
{
	struct parser p = {.path = path, .next = text, .config = c};
	int r;

	set_up_inih();
	r = ini_parse_stream(read_line, &p, on_key, &p);
	/* r is the first line that inih or on_key() did not like; p.line is on_key()'s, or the last. */
	if (r > 0 && (p.result == 0 || r < p.line)) {
		free(p.message);
		p.result = 0;
		p.line = r;
		refuse(&p, "neither [SECTION] nor KEY = VALUE");
	} else if (p.result == 0 && r < 0) {
		p.result = -ENOMEM;
	}
	if (p.result == 0 && p.program[0] != '\0') {
		char *name = strdup(p.program);
		if (!name)
			return -ENOMEM;
		free(c->name);
		c->name = name;
		p.found.name = true;
	}
	if (p.result == -EINVAL)
		*ret_message = p.message;
	else if (p.result == 0)
		*ret_found = p.found;
	return p.result;
}

int config_file_read(const char *path, struct config *c, struct config_file_found *ret_found, char **ret_message)
{
	_cleanup_free_ char *text = NULL;
	size_t bytes;
	int r = fileio_read_at(AT_FDCWD, path, CONFIG_FILE_BYTES_MAX, &text, &bytes), n;

	if (r == -ENOMEM)
		return r;
	if (r == 0 && strlen(text) != bytes)
		r = -EILSEQ;
	if (r < 0) {
		n = asprintf(ret_message, "%s: %s", path,
			     r == -EFBIG    ? "more than a megabyte: no configuration file"
			     : r == -EILSEQ ? "a NUL byte: no configuration file"
					    : strerror(-r));
		return n < 0 ? -ENOMEM : -EINVAL;
	}
	return config_file_parse(path, text, c, ret_found, ret_message);
}
