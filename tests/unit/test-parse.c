/* SPDX-License-Identifier: MIT
 *
 * Every form that people may write, every form that they may not, and the borders of the numbers.
 */
#include "base/parse.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <inttypes.h>

#define UNTOUCHED UINT64_C(0xabad1dea)

struct row {
	const char *text;
	int result;
	uint64_t value;
};

static const struct row duration_rows[] = {
	{"0", 0, 0},
	{"0s", 0, 0},
	{"500ms", 0, 500000},
	{"45s", 0, 45 * USEC_PER_SEC},
	{"10m", 0, 10 * USEC_PER_MINUTE},
	{"2h", 0, 2 * USEC_PER_HOUR},
	{"1d", 0, USEC_PER_DAY},
	{"1.5s", 0, 1500000},
	{"0.1s", 0, 100000},
	{"0.000001s", 0, 1},
	{"0.0000019s", 0, 1},
	{"1.5ms", 0, 1500},
	{"0.5d", 0, USEC_PER_DAY / 2},
	{"007s", 0, 7000000},
	{"", -EINVAL, 0},
	{"s", -EINVAL, 0},
	{"45", -EINVAL, 0},
	{"0.0", -EINVAL, 0},
	{"45 s", -EINVAL, 0},
	{" 45s", -EINVAL, 0},
	{"45s ", -EINVAL, 0},
	{"-1s", -EINVAL, 0},
	{"+1s", -EINVAL, 0},
	{"1.s", -EINVAL, 0},
	{".5s", -EINVAL, 0},
	{"1.5.5s", -EINVAL, 0},
	{"1m30s", -EINVAL, 0},
	{"45S", -EINVAL, 0},
	{"0x10s", -EINVAL, 0},
	{"1e3s", -EINVAL, 0},
	{"18446744073709551615ms", -ERANGE, 0},
	{"18446744073709551616ms", -ERANGE, 0},
	{"99999999999999999999999999s", -ERANGE, 0},
	{"18446744073709551.614ms", 0, UINT64_MAX - 1},
	{"18446744073709551.615ms", -ERANGE, 0},
	{"18446744073709551.616ms", -ERANGE, 0},
	{"18446744073709551616", -EINVAL, 0},
};

Test(parse, duration)
{
	for (const struct row *row = duration_rows; row < duration_rows + ARRAY_SIZE(duration_rows); row++) {
		usec_t value = UNTOUCHED;
		int r = parse_duration(row->text, &value);

		cr_assert(eq(int, r, row->result), "\"%s\"", row->text);
		cr_assert(eq(u64, value, row->result == 0 ? row->value : UNTOUCHED), "\"%s\"", row->text);
	}
}

static const struct row size_rows[] = {
	{"0", 0, 0},
	{"4096", 0, 4096},
	{"17B", 0, 17},
	{"512K", 0, 512 << 10},
	{"512KB", 0, 512 << 10},
	{"512KiB", 0, 512 << 10},
	{"512M", 0, 512 << 20},
	{"1.5G", 0, UINT64_C(3) << 29},
	{"1T", 0, UINT64_C(1) << 40},
	{"0.5TiB", 0, UINT64_C(1) << 39},
	{"18446744073709551614", 0, UINT64_MAX - 1},
	{"18446744073709551615", -ERANGE, 0},
	{"18446744073709551616", -ERANGE, 0},
	{"16777215T", 0, UINT64_C(16777215) << 40},
	{"16777216T", -ERANGE, 0},
	{"", -EINVAL, 0},
	{"K", -EINVAL, 0},
	{"1.5", -EINVAL, 0},
	{"1.5B", -EINVAL, 0},
	{"512k", -EINVAL, 0},
	{"512 K", -EINVAL, 0},
	{"512Kb", -EINVAL, 0},
	{"512Ki", -EINVAL, 0},
	{"17BB", -EINVAL, 0},
	{"17iB", -EINVAL, 0},
	{"17BiB", -EINVAL, 0},
	{"-1K", -EINVAL, 0},
	{"1E", -EINVAL, 0},
};

Test(parse, size)
{
	for (const struct row *row = size_rows; row < size_rows + ARRAY_SIZE(size_rows); row++) {
		uint64_t value = UNTOUCHED;
		int r = parse_size(row->text, &value);

		cr_assert(eq(int, r, row->result), "\"%s\"", row->text);
		cr_assert(eq(u64, value, row->result == 0 ? row->value : UNTOUCHED), "\"%s\"", row->text);
	}
}

static const struct row number_rows[] = {
	{"0", 0, 0},
	{"007", 0, 7},
	{"18446744073709551615", 0, UINT64_MAX},
	{"18446744073709551616", -ERANGE, 0},
	{"184467440737095516150", -ERANGE, 0},
	{"", -EINVAL, 0},
	{"-1", -EINVAL, 0},
	{"+1", -EINVAL, 0},
	{" 1", -EINVAL, 0},
	{"1 ", -EINVAL, 0},
	{"1\n", -EINVAL, 0},
	{"0x1", -EINVAL, 0},
	{"1.0", -EINVAL, 0},
	{"99999999999999999999x", -EINVAL, 0},
};

Test(parse, number)
{
	for (const struct row *row = number_rows; row < number_rows + ARRAY_SIZE(number_rows); row++) {
		uint64_t value = UNTOUCHED;
		int r = parse_u64(row->text, &value);

		cr_assert(eq(int, r, row->result), "\"%s\"", row->text);
		cr_assert(eq(u64, value, row->result == 0 ? row->value : UNTOUCHED), "\"%s\"", row->text);
	}
}

Test(parse, unsigned_stays_within_its_bounds)
{
	unsigned value = 5;

	cr_assert(eq(int, parse_unsigned("0", 1, 1000, &value), -ERANGE));
	cr_assert(eq(int, parse_unsigned("1001", 1, 1000, &value), -ERANGE));
	cr_assert(eq(int, parse_unsigned("4294967297", 1, 1000, &value), -ERANGE));
	cr_assert(eq(int, parse_unsigned("one", 1, 1000, &value), -EINVAL));
	cr_assert(eq(uint, value, 5));
	cr_assert(eq(int, parse_unsigned("1", 1, 1000, &value), 0));
	cr_assert(eq(uint, value, 1));
	cr_assert(eq(int, parse_unsigned("1000", 1, 1000, &value), 0));
	cr_assert(eq(uint, value, 1000));
}

static const struct row ipv4_rows[] = {
	{"127.0.0.1", 0, 0x7f000001},
	{"0.0.0.0", 0, 0},
	{"255.255.255.255", 0, 0xffffffff},
	{"192.0.2.10", 0, 0xc000020a},
	{"", -EINVAL, 0},
	{"127.0.0", -EINVAL, 0},
	{"127.0.0.", -EINVAL, 0},
	{"127.0.0.1.", -EINVAL, 0},
	{".127.0.0.1", -EINVAL, 0},
	{"127..0.1", -EINVAL, 0},
	{"127.1", -EINVAL, 0},
	{"256.0.0.1", -EINVAL, 0},
	{"127.0.0.01", -EINVAL, 0},
	{"00.0.0.1", -EINVAL, 0},
	{"0x7f.0.0.1", -EINVAL, 0},
	{"127.0.0.1 ", -EINVAL, 0},
	{" 127.0.0.1", -EINVAL, 0},
	{"127.0.0.-1", -EINVAL, 0},
	{"127.0.0.1.example", -EINVAL, 0},
	{"1.2.3.18446744073709551617", -EINVAL, 0},
	{"localhost", -EINVAL, 0},
};

Test(parse, ipv4)
{
	for (const struct row *row = ipv4_rows; row < ipv4_rows + ARRAY_SIZE(ipv4_rows); row++) {
		uint32_t value = (uint32_t)UNTOUCHED;
		int r = parse_ipv4(row->text, &value);

		cr_expect(eq(int, r, row->result), "%s", row->text);
		cr_expect(eq(u32, value, r == 0 ? (uint32_t)row->value : (uint32_t)UNTOUCHED), "%s", row->text);
	}
}

/* Every text of up to eight characters of these. */
Test(parse, ipv4_is_what_inet_pton_takes)
{
	static const char characters[] = "\0"
					 "0.1256";
	const unsigned n_characters = sizeof(characters) - 1;
	unsigned n_right = 0;

	for (unsigned n = 0; n < 5764801 /* seven to the eighth */; n++) {
		struct in_addr theirs;
		uint32_t ours = 0;
		char text[9] = "";
		unsigned rest = n;

		for (unsigned i = 0; i < 8; i++, rest /= n_characters)
			text[i] = characters[rest % n_characters];
		bool right = inet_pton(AF_INET, text, &theirs) == 1;
		cr_assert(eq(int, parse_ipv4(text, &ours) == 0, right), "%s", text);
		if (right)
			cr_assert(eq(u32, htonl(ours), theirs.s_addr), "%s", text);
		n_right += right;
	}
	cr_assert_gt(n_right, 1000);
}

Test(parse, bool_knows_four_pairs)
{
	static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};
	bool value;

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		value = false;
		cr_assert(eq(int, parse_bool(yes[i], &value), 0));
		cr_assert(value, "%s", yes[i]);
		cr_assert(eq(int, parse_bool(no[i], &value), 0));
		cr_assert(not(value), "%s", no[i]);
	}
	value = true;
	cr_assert(eq(int, parse_bool("", &value), -EINVAL));
	cr_assert(eq(int, parse_bool("Yes", &value), -EINVAL));
	cr_assert(eq(int, parse_bool("y", &value), -EINVAL));
	cr_assert(eq(int, parse_bool("yes ", &value), -EINVAL));
	cr_assert(value);
}

static const struct row duration_texts[] = {
	{"0.0 ms", 0, 0},
	{"0.4 ms", 0, 499},
	{"999.9 ms", 0, 999999},
	{"1.0 s", 0, 1000000},
	{"12.3 s", 0, 12345678},
	{"59.9 s", 0, 59999999},
	{"1m", 0, 60000000},
	{"3m 12s", 0, 192 * USEC_PER_SEC},
	{"59m 59s", 0, USEC_PER_HOUR - 1},
	{"3h 12m", 0, 3 * USEC_PER_HOUR + 12 * USEC_PER_MINUTE + 59 * USEC_PER_SEC},
	{"2d 4h", 0, 52 * USEC_PER_HOUR},
	{"2d", 0, 48 * USEC_PER_HOUR + 59 * USEC_PER_MINUTE},
	{"never", 0, USEC_NEVER},
	{"213503982d 8h", 0, USEC_NEVER - 1},
};

Test(parse, duration_for_people)
{
	for (const struct row *row = duration_texts; row < duration_texts + ARRAY_SIZE(duration_texts); row++) {
		char buffer[FORMAT_DURATION_MAX];

		cr_assert(eq(str, format_duration(buffer, row->value), (char *)row->text));
	}
}

static const struct row size_texts[] = {
	{"0 B", 0, 0},
	{"17 B", 0, 17},
	{"1023 B", 0, 1023},
	{"1 KiB", 0, 1024},
	{"1.5 KiB", 0, 1536},
	{"812 MiB", 0, UINT64_C(812) << 20},
	{"812 MiB", 0, (UINT64_C(812) << 20) + (100 << 10)},
	{"1 GiB", 0, UINT64_C(1) << 30},
	{"1 GiB", 0, (UINT64_C(1) << 30) - 1},
	{"1.5 GiB", 0, UINT64_C(3) << 29},
	{"2 GiB", 0, (UINT64_C(1) << 31) - (1 << 20)},
	{"99.9 TiB", 0, (UINT64_C(999) << 40) / 10},
	{"16 EiB", 0, UINT64_MAX},
};

Test(parse, size_for_people)
{
	for (const struct row *row = size_texts; row < size_texts + ARRAY_SIZE(size_texts); row++) {
		char buffer[FORMAT_SIZE_MAX];

		cr_assert(eq(str, format_size(buffer, row->value), (char *)row->text), "%" PRIu64, row->value);
	}
}
