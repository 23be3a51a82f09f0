/* SPDX-License-Identifier: MIT
 *
 * Two ways for two kinds of data: memchr(3) for long strings, and for everything else eight bytes at a time in one
 * register, so that short strings of random lengths cost no mispredicted branch each.
 */
#include "faktory/cross.h"
#include "faktory/eight.h"

#include <string.h>

/* How far a string is crossed in small steps before memchr(3) is called, whose start costs more than most strings. */
#define STRING_STEPWISE 32

const char *cross_string(const char *p, const char *end, struct cross *c)
{
	if (c->escape && p < end) {
		c->escape = false;
		p++;
	}
	while (p < end) {
		const char *stop = end - p > STRING_STEPWISE ? p + STRING_STEPWISE : end, *quote, *limit, *b;

		while (p < stop) {
			if (end - p >= 8) {
				unsigned n = eight_find_mark(eight_load(p));

				p += n;
				if (n == 8)
					continue;
			}
			if (*p == '"')
				return p;
			if (*p == '\\') {
				if (++p == end) {
					c->escape = true;
					return end;
				}
			}
			p++;
		}
		if (p >= end)
			break;
		quote = memchr(p, '"', (size_t)(end - p));
		limit = quote ? quote : end;
		for (b = limit; b > p && b[-1] == '\\'; b--)
			;
		if ((limit - b) % 2 == 0)
			return limit;
		if (!quote) {
			c->escape = true;
			return end;
		}
		p = quote + 1;
	}
	return end;
}

/* Goes on outside of strings as long as nothing needs a closer look: no backslash, no long string, not the
 * bracket that closes the value. */
static const char *cross_blocks(const char *p, const char *end, struct cross *c)
{
	uint64_t in_string = 0; /* EACH_BYTE or 0 */

	for (; end - p >= 8; p += 8) {
		uint64_t bytes, quotes, inside, opening, closing, sunk;

		bytes = eight_load(p);
		quotes = eight_equal(bytes, '"');
		if (eight_equal(bytes, '\\') || (in_string && !quotes))
			break;
		inside = (quotes * EACH_BYTE & EACH_BYTE) ^ in_string;
		bytes |= EACH_BYTE * 0x20; /* "[" becomes "{", "]" becomes "}" */
		opening = eight_equal(bytes, '{') & ~inside;
		closing = eight_equal(bytes, '}') & ~inside;
		if (opening | closing) {
			/* How much less deep each byte is than the block's beginning, plus 64 so as never to borrow. */
			sunk = closing * EACH_BYTE + EACH_BYTE * 64 - opening * EACH_BYTE;
			if (c->depth <= 8 && eight_equal(sunk, (unsigned char)(64 + c->depth)))
				break;
			if (c->depth + 8 > CROSS_DEPTH_MAX)
				break;
			c->depth = c->depth + 64 - (uint32_t)(sunk >> 56);
		}
		in_string = (inside >> 56) * EACH_BYTE;
	}
	c->in_string = in_string != 0;
	return p;
}

const char *cross_value(const char *p, const char *end, struct cross *c)
{
	while (p < end) {
		const char *stop;

		if (c->in_string) {
			p = cross_string(p, end, c);
			if (p == end)
				return end;
			c->in_string = false;
			p++;
		}
		p = cross_blocks(p, end, c);
		/* A block that was left alone, or what is shorter than one. */
		stop = end - p > 8 ? p + 8 : end;
		while (p < stop && !c->in_string)
			switch (*p++) {
			case '"':
				c->in_string = true;
				break;
			case '[':
			case '{':
				if (++c->depth > CROSS_DEPTH_MAX) {
					c->too_deep = true;
					return p;
				}
				break;
			case ']':
			case '}':
				if (--c->depth == 0)
					return p;
			}
	}
	return p;
}
