/* SPDX-License-Identifier: MIT */
#include "faktory/jid.h"

#include "split.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>

struct row {
	char raw[48];
	size_t raw_bytes;
	ssize_t result;
	char decoded[64];
};

#define GOOD(raw, decoded)                                                                                             \
	{                                                                                                              \
		raw, sizeof(raw) - 1, sizeof(decoded) - 1, decoded                                                     \
	}
#define BAD(raw)                                                                                                       \
	{                                                                                                              \
		raw, sizeof(raw) - 1, -EINVAL, ""                                                                      \
	}
#define R "\xef\xbf\xbd" /* U+FFFD */

static struct row rows[] = {
	GOOD("", ""),
	GOOD("0123456789abcdef", "0123456789abcdef"),
	GOOD("\\u0061\\u0062C", "abC"),
	GOOD("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"),
	GOOD("\\u003c\\u003E", "<>"),
	GOOD("\\u00e9", "\xc3\xa9"),
	GOOD("\\u00E9", "\xc3\xa9"),
	GOOD("\xc3\xa9", "\xc3\xa9"),
	GOOD("\\u20ac", "\xe2\x82\xac"),
	GOOD("\xe2\x82\xac", "\xe2\x82\xac"),
	GOOD("\\ud83d\\ude00", "\xf0\x9f\x98\x80"),
	GOOD("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"),
	GOOD("\\udbff\\udfff", "\xf4\x8f\xbf\xbf"),
	GOOD("a\\u0000b", "a\0b"),
	GOOD("\x7f", "\x7f"),
	/* half a pair */
	GOOD("\\ud83d", R),
	GOOD("\\ude00", R),
	GOOD("\\ude00\\ud83d", R R),
	GOOD("\\ud83d\\ud83d\\ude00", R "\xf0\x9f\x98\x80"),
	GOOD("\\ud83dx", R "x"),
	GOOD("\\ud83d\\n", R "\n"),
	GOOD("\\ud83d\\u0041", R "A"),
	/* bad UTF-8: one U+FFFD a byte */
	GOOD("\xff", R),
	GOOD("\x80x", R "x"),
	GOOD("\xc3", R),
	GOOD("\xc3(", R "("),
	GOOD("\xc0\xaf", R R),
	GOOD("\xe0\x80\xaf", R R R),
	GOOD("\xe2\x82", R R),
	GOOD("\xed\xa0\x80", R R R),
	GOOD("\xf0\x9f\x98", R R R),
	GOOD("\xf4\x90\x80\x80", R R R R),
	GOOD("\xf5\x80\x80\x80", R R R R),
	GOOD("\xe2\x82\xac\x80", "\xe2\x82\xac" R),
	BAD("\\"),
	BAD("\\x41"),
	BAD("\\'"),
	BAD("\\u"),
	BAD("\\u12"),
	BAD("\\u123"),
	BAD("\\u12g4"),
	BAD("\\U0041"),
	BAD("\\ud83d\\u12"),
	BAD("\\ud83d\\"),
	BAD("a\tb"),
	BAD("a\nb"),
	BAD("a\0b"),
	BAD("a\x1f"),
	BAD("a\"b"),
};

ParameterizedTestParameters(jid, decode)
{
	return cr_make_param_array(struct row, rows, ARRAY_SIZE(rows));
}

ParameterizedTest(struct row *r, jid, decode)
{
	char *raw = split_copy(r->raw, r->raw_bytes);
	char out[3 * 48];
	ssize_t n = jid_decode(raw, r->raw_bytes, out, sizeof(out));

	cr_assert_eq(n, r->result, "%s gives %zd", r->raw, n);
	if (n >= 0) {
		cr_assert_eq(memcmp(out, r->decoded, (size_t)n), 0, "%s", r->raw);
		cr_assert_leq((size_t)n, 3 * r->raw_bytes);

		/* Room for exactly that much is enough, and one byte less is not. */
		char *tight = split_copy(out, (size_t)n);
		cr_assert_eq(jid_decode(raw, r->raw_bytes, tight, (size_t)n), n);
		if (n > 0)
			cr_assert_eq(jid_decode(raw, r->raw_bytes, tight, (size_t)n - 1), -ENOBUFS);
		free(tight);
	}
	free(raw);
}

Test(jid, the_longest_fits_always)
{
	char raw[JID_RAW_MAX], out[JID_DECODED_MAX];

	memset(raw, 0xff, sizeof(raw));
	cr_assert_eq(jid_decode(raw, sizeof(raw), out, sizeof(out)), JID_DECODED_MAX);
}

Test(jid, spellings_of_one_jid_are_equal)
{
	static const char *const spellings[] = {"job<\xc3\xa9>", "job\\u003c\xc3\xa9\\u003e",
						"\\u006aob\\u003C\\u00E9>"};
	char first[64], other[64];
	ssize_t n = jid_decode(spellings[0], strlen(spellings[0]), first, sizeof(first));

	cr_assert_eq(n, 7);
	for (size_t i = 1; i < ARRAY_SIZE(spellings); i++) {
		cr_assert_eq(jid_decode(spellings[i], strlen(spellings[i]), other, sizeof(other)), n);
		cr_assert_eq(memcmp(first, other, (size_t)n), 0);
	}
}

Test(jid, utf8_decode_gives_the_character)
{
	uint32_t rune = 0;

	cr_assert_eq(utf8_decode("A", 1, &rune), 1);
	cr_assert_eq(rune, 'A');
	cr_assert_eq(utf8_decode("\xc3\xa9z", 3, &rune), 2);
	cr_assert_eq(rune, 0xe9);
	cr_assert_eq(utf8_decode("\xf0\x9f\x98\x80", 4, &rune), 4);
	cr_assert_eq(rune, 0x1f600);
	cr_assert_eq(utf8_decode("\xf0\x9f\x98\x80", 3, &rune), 0);
}

Test(jid, show_is_printable_and_cut)
{
	char buffer[JID_SHOW_MAX], jid[200];

	cr_assert_str_eq(jid_show(buffer, "abc", 3), "abc");
	cr_assert_str_eq(jid_show(buffer, "", 0), "");
	cr_assert_str_eq(jid_show(buffer, "a\tb\x7f\xc3\xa9~ ", 8), "a?b???~ ");
	memset(jid, 'x', sizeof(jid));
	cr_assert_eq(strlen(jid_show(buffer, jid, sizeof(jid))), JID_SHOW_MAX - 1);
	cr_assert_eq(jid_show(buffer, jid, sizeof(jid)), buffer);
}

static bool is_plain_byte(unsigned char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

/* Each byte beside each other, at each place among eight, and in what is left behind eight. */
Test(jid, plain_is_what_stands_for_itself)
{
	for (unsigned a = 0; a < 256; a++)
		for (unsigned b = 0; b < 256; b++)
			for (size_t at = 0; at < 11; at++) {
				char jid[13];

				memset(jid, 'm', sizeof(jid));
				jid[at] = (char)a;
				jid[at + 1] = (char)b;
				cr_assert_eq(jid_is_plain(jid, 12),
					     is_plain_byte((unsigned char)a) && is_plain_byte((unsigned char)b),
					     "%u %u at %zu", a, b, at);
			}
	cr_assert(jid_is_plain("", 0));
}
