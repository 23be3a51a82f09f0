/* SPDX-License-Identifier: MIT
 *
 * The commands that chargehand writes. A death can cost a thousand FAILs, so a text is written once into a buffer on
 * the stack that its limit bounds, and joined to the rest in one allocation of the right size.
 *
 * Limits count what the server sees after decoding. Good UTF-8 goes out as \uXXXX and comes back as it was; a byte that
 * is no character, or a control character with no business on a web page, is made visible as \xNN.
 */
#include "faktory/fail.h"
#include "faktory/eight.h"
#include "faktory/jid.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* No decoded byte needs more than three on the wire: "é", two bytes, is \u00e9. */
#define WIRE_MAX(decoded) (3 * (decoded))

#define ELLIPSIS "..."

/* A tail is kept until all of its jobs are answered for, so what it does not need is given back; but no less than this,
 * for that takes its time before the first FAIL goes out. */
#define TAIL_SPARE_BYTES 1024

#define FAIL_BEGIN "FAIL {\"jid\":\""
#define FAIL_MESSAGE "\",\"message\":\""
#define ACK_BEGIN "ACK {\"jid\":\""
#define PUSHB_BEGIN "PUSHB ["
#define PUSHB_END "]\r\n"
#define BEAT_BEGIN "BEAT {\"wid\":\""
#define OBJECT_END "\"}\r\n"

/* Appends a literal; no NUL behind it. */
#define PUT(p, literal) mempcpy(p, literal, STRLEN(literal))

static const char hex[] = "0123456789abcdef";

static char *unit_write(char *to, uint32_t unit)
{
	*to++ = '\\';
	*to++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*to++ = hex[unit >> shift & 15];
	return to;
}

static char *rune_write(char *to, uint32_t rune)
{
	if (rune < 0x10000)
		return unit_write(to, rune);
	rune -= 0x10000;
	to = unit_write(to, 0xd800 + (rune >> 10));
	return unit_write(to, 0xdc00 + (rune & 0x3ff));
}

/* Bytes that stand for themselves inside a JSON string. */
static bool is_plain(char c)
{
	return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/* How many of the bytes before end are plain. */
static size_t plain_run(const char *p, const char *end)
{
	const char *begin = p;

	while (end - p >= 8 && eight_are_plain(eight_load(p)))
		p += 8;
	while (p < end && is_plain(*p))
		p++;
	return (size_t)(p - begin);
}

/* Writes one character that is not plain. Returns the bytes of input used, and how many the server will count. */
static size_t escape_write(const char *text, size_t bytes, char **to, size_t *ret_decoded)
{
	static const char names[] = "\"\\\t\n", letters[] = "\"\\tn";
	const char *name = strchr(names, *text);
	unsigned char c = (unsigned char)*text;
	uint32_t rune;
	size_t used;

	if (name) {
		*(*to)++ = '\\';
		*(*to)++ = letters[name - names];
		*ret_decoded = 1;
		return 1;
	}
	used = utf8_decode(text, bytes, &rune);
	if (used > 1) {
		*to = rune_write(*to, rune);
		*ret_decoded = used;
		return used;
	}
	*to = stpcpy(*to, "\\\\x");
	*(*to)++ = hex[c >> 4];
	*(*to)++ = hex[c & 15];
	*ret_decoded = 4;
	return 1;
}

/* Writes text for the inside of a JSON string, cut with "..." where the server would count more than limit bytes.
 * to has room for WIRE_MAX(limit). Returns the end. */
static char *text_write(char *to, const char *text, size_t limit)
{
	const char *p = text, *end = text + strnlen(text, limit + 1);
	char *cut = to;
	size_t n = 0;

	while (p < end) {
		char escaped[16], *e = escaped;
		size_t decoded, run = plain_run(p, end);

		if (run > 0) {
			if (n + run > limit) {
				size_t fits = limit - STRLEN(ELLIPSIS);
				if (n < fits) {
					memcpy(to, p, fits - n);
					cut = to + (fits - n);
				}
				return stpcpy(cut, ELLIPSIS);
			}
			memcpy(to, p, run);
			if (n + run <= limit - STRLEN(ELLIPSIS))
				cut = to + run;
			else if (n < limit - STRLEN(ELLIPSIS))
				cut = to + (limit - STRLEN(ELLIPSIS) - n);
			to += run;
			n += run;
			p += run;
			continue;
		}
		p += escape_write(p, strnlen(p, 4), &e, &decoded);
		if (n + decoded > limit)
			return stpcpy(cut, ELLIPSIS);
		memcpy(to, escaped, (size_t)(e - escaped));
		to += e - escaped;
		n += decoded;
		if (n <= limit - STRLEN(ELLIPSIS))
			cut = to;
	}
	return to;
}

int fail_write_tail(const struct fail *f, char **ret, size_t *ret_bytes)
{
	size_t first = f->n_backtrace > FAIL_BACKTRACE_MAX ? f->n_backtrace - FAIL_BACKTRACE_MAX : 0;
	size_t lines = f->n_backtrace - first;
	size_t room = STRLEN(",\"errtype\":\"\",\"backtrace\":[]}\r\n") + WIRE_MAX(FAIL_ERRTYPE_MAX) +
		      lines * (WIRE_MAX(FAIL_BACKTRACE_LINE_MAX) + STRLEN("\"\",")) + 1;
	char *tail, *p, *smaller;

	tail = malloc(room);
	if (!tail)
		return -ENOMEM;
	p = stpcpy(tail, ",\"errtype\":\"");
	p = text_write(p, f->errtype, FAIL_ERRTYPE_MAX);
	p = stpcpy(p, "\",\"backtrace\":[");
	for (size_t i = 0; i < lines; i++) {
		if (i > 0)
			*p++ = ',';
		*p++ = '"';
		p = text_write(p, f->backtrace[first + i], FAIL_BACKTRACE_LINE_MAX);
		*p++ = '"';
	}
	p = stpcpy(p, "]}\r\n");
	*ret_bytes = (size_t)(p - tail);
	smaller = room - *ret_bytes > TAIL_SPARE_BYTES ? realloc(tail, *ret_bytes) : NULL;
	*ret = smaller ? smaller : tail;
	return 0;
}

int fail_write_with_tail(const char *jid, size_t jid_bytes, const char *message, const char *tail, size_t tail_bytes,
			 char **ret, size_t *ret_bytes)
{
	char text[WIRE_MAX(FAIL_MESSAGE_MAX) + sizeof(ELLIPSIS)], *line, *p;
	size_t text_bytes = (size_t)(text_write(text, message, FAIL_MESSAGE_MAX) - text);

	*ret_bytes = STRLEN(FAIL_BEGIN) + jid_bytes + STRLEN(FAIL_MESSAGE) + text_bytes + 1 + tail_bytes;
	line = malloc(*ret_bytes);
	if (!line)
		return -ENOMEM;
	p = PUT(line, FAIL_BEGIN);
	p = mempcpy(p, jid, jid_bytes);
	p = PUT(p, FAIL_MESSAGE);
	p = mempcpy(p, text, text_bytes);
	*p++ = '"';
	memcpy(p, tail, tail_bytes);
	*ret = line;
	return 0;
}

int fail_write(const struct fail *f, const char *jid, size_t jid_bytes, char **ret, size_t *ret_bytes)
{
	_cleanup_free_ char *tail = NULL;
	size_t tail_bytes;
	int k;

	k = fail_write_tail(f, &tail, &tail_bytes);
	if (k < 0)
		return k;
	return fail_write_with_tail(jid, jid_bytes, f->message, tail, tail_bytes, ret, ret_bytes);
}

int return_write(const char *jid, size_t jid_bytes, const char *body, size_t body_bytes, char **ret, size_t *ret_bytes,
		 size_t *ret_ack_bytes)
{
	size_t ack_bytes = STRLEN(ACK_BEGIN) + jid_bytes + STRLEN(OBJECT_END);
	size_t push_bytes = body ? STRLEN(PUSHB_BEGIN) + body_bytes + STRLEN(PUSHB_END) : 0;
	char *p, *line;

	line = malloc(ack_bytes + push_bytes);
	if (!line)
		return -ENOMEM;
	p = PUT(line, ACK_BEGIN);
	p = mempcpy(p, jid, jid_bytes);
	p = PUT(p, OBJECT_END);
	if (body) {
		p = PUT(p, PUSHB_BEGIN);
		p = mempcpy(p, body, body_bytes);
		PUT(p, PUSHB_END);
	}
	*ret = line;
	*ret_bytes = ack_bytes + push_bytes;
	*ret_ack_bytes = ack_bytes;
	return 0;
}

int ack_write(const char *jid, size_t jid_bytes, char **ret, size_t *ret_bytes)
{
	size_t ack_bytes;

	return return_write(jid, jid_bytes, NULL, 0, ret, ret_bytes, &ack_bytes);
}

int beat_write(const char *wid, char **ret, size_t *ret_bytes)
{
	size_t bytes = strlen(wid);
	const char *end = wid + bytes;
	char *line, *p;

	line = malloc(STRLEN(BEAT_BEGIN) + 6 * bytes + STRLEN(OBJECT_END));
	if (!line)
		return -ENOMEM;
	p = PUT(line, BEAT_BEGIN);
	while (wid < end) {
		uint32_t rune = 0xfffd;
		size_t used;

		if (is_plain(*wid)) {
			*p++ = *wid++;
			continue;
		}
		/* Unlike a text for people it must come back exactly; what is no character is U+FFFD to the server. */
		used = utf8_decode(wid, (size_t)(end - wid), &rune);
		p = rune_write(p, rune);
		wid += used ? used : 1;
	}
	p = PUT(p, OBJECT_END);
	*ret = line;
	*ret_bytes = (size_t)(p - line);
	return 0;
}
