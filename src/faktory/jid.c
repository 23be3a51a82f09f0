/* SPDX-License-Identifier: MIT
 *
 * Decodes a JSON string the way the server does (Go's encoding/json), so that two spellings of one job ID compare
 * equal here exactly when they do there. What Go forgives (bad UTF-8, half a surrogate pair) becomes U+FFFD; what it
 * refuses (a raw control character, an unknown escape) is -EINVAL.
 */
#include "faktory/jid.h"
#include "faktory/eight.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define REPLACEMENT 0xfffdu

/* Four hexadecimal digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
	int32_t value = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (c >= 'a' && c <= 'f')
			digit = c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			digit = c - 'A' + 10;
		else
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

static size_t utf8_encode(char out[4], uint32_t rune)
{
	if (rune < 0x80) {
		out[0] = (char)rune;
		return 1;
	}
	if (rune < 0x800) {
		out[0] = (char)(0xc0 | rune >> 6);
		out[1] = (char)(0x80 | (rune & 0x3f));
		return 2;
	}
	if (rune < 0x10000) {
		out[0] = (char)(0xe0 | rune >> 12);
		out[1] = (char)(0x80 | (rune >> 6 & 0x3f));
		out[2] = (char)(0x80 | (rune & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | rune >> 18);
	out[1] = (char)(0x80 | (rune >> 12 & 0x3f));
	out[2] = (char)(0x80 | (rune >> 6 & 0x3f));
	out[3] = (char)(0x80 | (rune & 0x3f));
	return 4;
}

size_t utf8_decode(const char *p, size_t bytes, uint32_t *ret_rune)
{
	const unsigned char *u = (const unsigned char *)p;
	unsigned char low = 0x80, high = 0xbf; /* what the second byte may be (Unicode, table 3-7) */
	size_t n;
	uint32_t rune;

	if (u[0] < 0x80) {
		*ret_rune = u[0];
		return 1;
	}
	if (u[0] >= 0xc2 && u[0] <= 0xdf) {
		n = 2;
		rune = u[0] & 0x1fu;
	} else if (u[0] >= 0xe0 && u[0] <= 0xef) {
		n = 3;
		rune = u[0] & 0x0fu;
		if (u[0] == 0xe0)
			low = 0xa0;
		if (u[0] == 0xed)
			high = 0x9f; /* surrogates are no characters */
	} else if (u[0] >= 0xf0 && u[0] <= 0xf4) {
		n = 4;
		rune = u[0] & 0x07u;
		if (u[0] == 0xf0)
			low = 0x90;
		if (u[0] == 0xf4)
			high = 0x8f;
	} else {
		return 0;
	}
	if (bytes < n || u[1] < low || u[1] > high)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		rune = rune << 6 | (u[i] & 0x3fu);
	}
	*ret_rune = rune;
	return n;
}

/* What stands behind a backslash. Returns the bytes used, 0 for a broken escape. */
static size_t escape_decode(const char *p, const char *end, uint32_t *ret_rune)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char *name;
	int32_t first, second;

	if (p == end)
		return 0;
	if (*p != 'u') {
		name = *p ? strchr(names, *p) : NULL;
		if (!name)
			return 0;
		*ret_rune = (unsigned char)values[name - names];
		return 1;
	}
	first = hex4(p + 1, end);
	if (first < 0)
		return 0;
	if (first < 0xd800 || first > 0xdfff) {
		*ret_rune = (uint32_t)first;
		return 5;
	}
	/* Half a pair stands for itself: the second escape is then read as one of its own. */
	second = end - p >= 11 && p[5] == '\\' && p[6] == 'u' ? hex4(p + 7, end) : -1;
	if (first < 0xdc00 && second >= 0xdc00 && second <= 0xdfff) {
		*ret_rune = 0x10000u + ((uint32_t)(first - 0xd800) << 10) + (uint32_t)(second - 0xdc00);
		return 11;
	}
	*ret_rune = REPLACEMENT;
	return 5;
}

/* Eight at a time: every report and every job passes here. */
bool jid_is_plain(const char *raw, size_t bytes)
{
	uint64_t rest = EACH_BYTE * 'x';

	for (; bytes >= 8; raw += 8, bytes -= 8)
		if (!eight_are_plain(eight_load(raw)))
			return false;
	memcpy(&rest, raw, bytes);
	return eight_are_plain(rest);
}

ssize_t jid_decode(const char *raw, size_t raw_bytes, char *out, size_t out_bytes)
{
	const char *p = raw, *end = raw + raw_bytes;
	size_t n = 0;

	while (p < end) {
		char encoded[4];
		uint32_t rune = REPLACEMENT;
		size_t used, bytes;

		if ((unsigned char)*p < 0x20 || *p == '"')
			return -EINVAL;
		if (*p == '\\') {
			used = escape_decode(p + 1, end, &rune);
			if (used == 0)
				return -EINVAL;
			p += 1 + used;
		} else {
			used = utf8_decode(p, (size_t)(end - p), &rune);
			p += used ? used : 1;
		}
		bytes = utf8_encode(encoded, rune);
		if (out_bytes - n < bytes)
			return -ENOBUFS;
		memcpy(out + n, encoded, bytes);
		n += bytes;
	}
	return (ssize_t)n;
}

char *jid_show(char buffer[JID_SHOW_MAX], const char *jid, size_t bytes)
{
	size_t n = MIN(bytes, (size_t)JID_SHOW_MAX - 1);

	for (size_t i = 0; i < n; i++)
		buffer[i] = jid[i] >= ' ' && jid[i] <= '~' ? jid[i] : '?';
	buffer[n] = '\0';
	return buffer;
}
