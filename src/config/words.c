/* SPDX-License-Identifier: MIT
 *
 * The splitter, in one pass: the words never need more bytes than the text.
 */
#include "config/words.h"
#include "base/macro.h"
#include <string.h>

/* '#' and '~' only mean something at the beginning of a word; '=' in COMMAND's first would be an assignment, which is
 * left to /usr/bin/env. */
#define SHELL_ONLY "|&;<>()$`*?[]{}!"

struct splitter {
	const char *in;
	char *out;
	const char *error;
};

/* Everything to the closing quote. */
static void take_quoted(struct splitter *s, char quote)
{
	for (s->in++; *s->in != quote; s->in++) {
		if (*s->in == '\0') {
			s->error = quote == '"' ? "a \" is missing" : "a ' is missing";
			return;
		}
		if (quote == '"' && *s->in == '\\' && s->in[1] != '\0' && strchr("\"\\$`", s->in[1]))
			s->in++;
		else if (quote == '"' && strchr("$`", *s->in)) {
			s->error = "nothing is expanded here: put '...' around $ and `, or run sh -c '...'";
			return;
		}
		*s->out++ = *s->in;
	}
	s->in++;
}

static void take_word(struct splitter *s)
{
	if (*s->in == '#' || *s->in == '~') {
		s->error = "nothing is expanded here: put '...' around a # or ~ that begins a word";
		return;
	}
	while (!s->error && *s->in != '\0' && *s->in != ' ' && *s->in != '\t') {
		if (*s->in == '\'' || *s->in == '"') {
			take_quoted(s, *s->in);
		} else if (*s->in == '\\') {
			if (s->in[1] == '\0') {
				s->error = "a character is missing behind the last \\";
				return;
			}
			*s->out++ = s->in[1];
			s->in += 2;
		} else if (strchr(SHELL_ONLY, *s->in)) {
			s->error = "this is no shell: put '...' around |&;<>()$`*?[]{}!, or run sh -c '...'";
			return;
		} else {
			*s->out++ = *s->in++;
		}
	}
	*s->out++ = '\0';
}

int words_split(const char *text, char ***ret, const char **ret_error)
{
	/* Each word but the last has a blank behind it, so there are no more than this. */
	size_t bytes = strlen(text), words_max = bytes / 2 + 1, n = 0;
	_cleanup_free_ char **words = malloc((words_max + 1) * sizeof(char *) + bytes + 1);

	if (!words)
		return -ENOMEM;
	struct splitter s = {.in = text, .out = (char *)(words + words_max + 1)};
	for (;;) {
		s.in += strspn(s.in, " \t");
		if (*s.in == '\0')
			break;
		words[n++] = s.out;
		take_word(&s);
		if (s.error) {
			*ret_error = s.error;
			return -EINVAL;
		}
	}
	words[n] = NULL;
	if (n == 0 || *words[0] == '\0') {
		*ret_error = "a command is missing";
		return -EINVAL;
	}
	*ret = TAKE_PTR(words);
	return 0;
}
