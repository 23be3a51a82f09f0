/* SPDX-License-Identifier: MIT
 *
 * Finds the end of a reply. A line ends with "\r\n" and with nothing less: the text of an -ERR can hold a bare "\n",
 * for it repeats job IDs decoded. Of a bulk only the length is looked at, so that a reply costs the same whatever its
 * size.
 */
#include "faktory/resp.h"

#include <string.h>

/* No length of more digits can be real, and no count of bytes below it can overflow. */
#define LENGTH_MAX ((uint64_t)INT64_MAX / 4)

#define OK_LINE "+OK\r\n"

void resp_reset(struct resp *r)
{
	*r = (struct resp){0};
}

static bool kind_has_length(char kind)
{
	return kind == '$' || kind == '*';
}

/* One element, or the whole reply, has come to its end. */
static void element_end(struct resp *r)
{
	while (r->depth > 0) {
		if (--r->elements[r->depth - 1] > 0)
			return;
		r->depth--;
	}
	r->done = true;
}

static int line_begin(struct resp *r, char kind)
{
	if (!strchr("+-:$*", kind) || kind == '\0')
		return -EBADMSG;
	r->line_is_first = r->kind == 0;
	if (r->line_is_first) {
		r->kind = kind;
		r->header_bytes = 1;
	}
	r->in_line = true;
	r->line_kind = kind;
	r->cr = r->negative = r->any_digit = false;
	r->number = 0;
	return 0;
}

/* The line is complete. */
static int line_end(struct resp *r)
{
	bool nil = r->negative;

	r->in_line = r->cr = false;
	if (kind_has_length(r->line_kind) && (!r->any_digit || (nil && r->number != 1)))
		return -EBADMSG;
	if (r->line_is_first) {
		r->header_done = true;
		r->nil = nil;
		if (r->line_kind == '$' && !nil)
			r->body_bytes = r->number;
	}
	if (r->line_kind == '$' && !nil) {
		r->left = r->number + 2;
		return 0;
	}
	if (r->line_kind == '*' && !nil && r->number > 0) {
		if (r->depth == RESP_DEPTH_MAX)
			return -EBADMSG;
		r->elements[r->depth++] = r->number;
		return 0;
	}
	element_end(r);
	return 0;
}

static int length_digit(struct resp *r, char c)
{
	if (c == '-' && !r->negative && !r->any_digit) {
		r->negative = true;
		return 0;
	}
	if (c < '0' || c > '9')
		return -EBADMSG;
	/* No "-0", no "007": such a thing is no length but a stream that has lost its step. */
	if ((r->any_digit && r->number == 0) || (r->negative && c == '0'))
		return -EBADMSG;
	if (r->number > LENGTH_MAX / 10)
		return -EBADMSG;
	r->number = r->number * 10 + (uint64_t)(c - '0');
	r->any_digit = true;
	return 0;
}

/* "$12\r\n": short, so byte by byte. */
static int scan_length(struct resp *r, const char *p, const char *end, const char **ret_p)
{
	int k;

	for (; p < end && r->in_line; p++) {
		if (r->cr) {
			if (*p != '\n')
				return -EBADMSG;
			k = line_end(r);
		} else if (*p == '\r') {
			r->cr = true;
			k = 0;
		} else {
			k = length_digit(r, *p);
		}
		if (k < 0)
			return k;
	}
	*ret_p = p;
	return 0;
}

/* "+OK\r\n", "-ERR …\r\n": of any length, up to a "\n" behind a "\r". */
static int scan_text(struct resp *r, const char *p, const char *end, const char **ret_p)
{
	int k = 0;

	while (p < end && r->in_line) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		const char *stop = newline ? newline + 1 : end;

		if (newline && (newline > p ? newline[-1] == '\r' : r->cr))
			k = line_end(r);
		else
			r->cr = stop[-1] == '\r';
		p = stop;
	}
	*ret_p = p;
	return k;
}

/* Keeps the head of the first line, and drops the line end again once it is known to be one. */
static void head_add(struct resp *r, const char *p, size_t bytes)
{
	uint32_t text_bytes;
	size_t n = MIN(bytes, (size_t)(RESP_HEAD_MAX - 1 - r->head_bytes));

	memcpy(r->head + r->head_bytes, p, n);
	r->head_bytes = (uint8_t)(r->head_bytes + n);
	r->header_bytes = (uint32_t)MIN((uint64_t)r->header_bytes + bytes, (uint64_t)UINT32_MAX);
	if (r->header_done) {
		text_bytes = r->header_bytes - 3;
		r->head_bytes = (uint8_t)MIN((uint32_t)r->head_bytes, text_bytes);
	}
	r->head[r->head_bytes] = '\0';
}

static int scan_line(struct resp *r, const char *p, const char *end, const char **ret_p)
{
	bool first = r->line_is_first;
	const char *q = p;
	int k;

	if (kind_has_length(r->line_kind))
		k = scan_length(r, p, end, &q);
	else
		k = scan_text(r, p, end, &q);
	if (k < 0)
		return k;
	if (first)
		head_add(r, p, (size_t)(q - p));
	*ret_p = q;
	return 0;
}

/* The body is skipped; the last two bytes of `left` are its line end. */
static int scan_bulk(struct resp *r, const char *p, const char *end, const char **ret_p)
{
	uint64_t skip;

	if (r->left > 2) {
		skip = MIN(r->left - 2, (uint64_t)(end - p));
		p += skip;
		r->left -= skip;
	}
	for (; p < end && r->left > 0 && r->left <= 2; p++) {
		if (*p != (r->left == 2 ? '\r' : '\n'))
			return -EBADMSG;
		if (--r->left == 0) {
			p++;
			element_end(r);
			break;
		}
	}
	*ret_p = p;
	return 0;
}

int resp_scan(struct resp *r, const char *p, size_t bytes, size_t *ret_consumed)
{
	const char *start = p, *end = p + bytes;
	int k;

	/* More than half of all replies are this one, whole. */
	if (!r->kind && bytes >= STRLEN(OK_LINE) && memcmp(p, OK_LINE, STRLEN(OK_LINE)) == 0) {
		r->kind = '+';
		r->header_done = r->done = true;
		r->header_bytes = STRLEN(OK_LINE);
		r->head_bytes = 2;
		memcpy(r->head, "OK", 2);
		*ret_consumed = STRLEN(OK_LINE);
		return 0;
	}
	while (p < end && !r->done) {
		if (r->left > 0) {
			k = scan_bulk(r, p, end, &p);
		} else if (r->in_line) {
			k = scan_line(r, p, end, &p);
		} else {
			k = line_begin(r, *p);
			p++;
		}
		if (k < 0)
			return k;
	}
	*ret_consumed = (size_t)(p - start);
	return 0;
}

bool resp_is_ok(const struct resp *r)
{
	return r->kind == '+' && r->header_done && r->head_bytes == 2 && memcmp(r->head, "OK", 2) == 0;
}

static const struct {
	const char *begins;
	enum resp_error class;
} error_table[] = {
	{"Job not found", RESP_ERROR_NOT_FOUND},
	{"Invalid password", RESP_ERROR_PASSWORD},
	{"shutdown in progress", RESP_ERROR_UNAVAILABLE},
	{"redis: client is closed", RESP_ERROR_UNAVAILABLE},
	{"too many connections", RESP_ERROR_UNAVAILABLE},
	/* what the server says before it touches anything */
	{"invalid ", RESP_ERROR_REFUSED},
	{"missing ", RESP_ERROR_REFUSED},
	{"unknown ", RESP_ERROR_REFUSED},
	{"internal error", RESP_ERROR_REFUSED},
	{"batch ", RESP_ERROR_REFUSED},
	{"tracking ", RESP_ERROR_REFUSED},
	{"jobs must ", RESP_ERROR_REFUSED},
	{"jobs cannot ", RESP_ERROR_REFUSED},
	{"must call ", RESP_ERROR_REFUSED},
	{"no such ", RESP_ERROR_REFUSED},
	{"QUEUE", RESP_ERROR_REFUSED},
	{"PUSHB", RESP_ERROR_REFUSED},
};

enum resp_error resp_error_class(const struct resp *r)
{
	const char *text = r->head;

	/* Another code than ERR is that of a server extension that refused, such as NOTUNIQUE. */
	if (strncmp(text, "ERR ", 4) != 0)
		return RESP_ERROR_REFUSED;
	text += 4;
	for (size_t i = 0; i < ARRAY_SIZE(error_table); i++)
		if (strncmp(text, error_table[i].begins, strlen(error_table[i].begins)) == 0)
			return error_table[i].class;
	/* The server passes on whatever its storage said, in any words; its own refusals are the few above. Asking
	 * again is harmless for an ACK, and a FAIL that was half done must be named, so this is the safe guess. */
	return RESP_ERROR_STORAGE;
}

void resp_body(const struct resp *r, const char *p, size_t bytes, const char **ret_body, size_t *ret_bytes)
{
	uint64_t n = 0;

	*ret_body = p;
	*ret_bytes = 0;
	if (!r->header_done || r->nil || r->kind == '*')
		return;
	if (r->kind == '$') {
		if (bytes < r->header_bytes || bytes - r->header_bytes < r->body_bytes)
			return;
		*ret_body = p + r->header_bytes;
		n = r->body_bytes;
	} else {
		if (bytes < r->header_bytes)
			return;
		*ret_body = p + 1;
		n = r->header_bytes - 3;
	}
	*ret_bytes = (size_t)n;
}
