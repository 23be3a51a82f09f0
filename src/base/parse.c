/* SPDX-License-Identifier: MIT
 *
 * Numbers, durations and sizes from text, and back to text for people. Integer arithmetic throughout, so that
 * "0.1s" is exactly 100000 µs and an overflow is seen.
 */
#include "base/parse.h"
#include "base/macro.h"
#include <string.h>

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit duration_units[] = {
	{"ms", USEC_PER_MSEC}, {"s", USEC_PER_SEC}, {"m", USEC_PER_MINUTE}, {"h", USEC_PER_HOUR}, {"d", USEC_PER_DAY},
};

static const struct unit size_units[] = {
	{"", 1},
	{"B", 1},
	{"K", UINT64_C(1) << 10},
	{"M", UINT64_C(1) << 20},
	{"G", UINT64_C(1) << 30},
	{"T", UINT64_C(1) << 40},
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Crosses digits. Their value stops at UINT64_MAX with *overflow set. */
static const char *take_digits(const char *s, uint64_t *value, bool *overflow)
{
	*value = 0;
	for (; is_digit(*s); s++)
		if (__builtin_mul_overflow(*value, UINT64_C(10), value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*s - '0'), value)) {
			*overflow = true;
			*value = UINT64_MAX;
		}
	return s;
}

/* "12", "1.5": digits on both sides of the point. */
struct number {
	uint64_t whole;
	const char *fraction; /* digits, or NULL */
	bool overflow;
};

/* What follows the number is in *ret_unit. */
static int number_parse(const char *s, struct number *ret, const char **ret_unit)
{
	struct number n = {0};
	const char *end = take_digits(s, &n.whole, &n.overflow);

	if (end == s)
		return -EINVAL;
	if (*end == '.') {
		n.fraction = end + 1;
		for (end = n.fraction; is_digit(*end); end++)
			;
		if (end == n.fraction)
			return -EINVAL;
	}
	*ret = n;
	*ret_unit = end;
	return 0;
}

/* number * factor, rounded down. UINT64_MAX is no result: it means "never" and "unlimited" elsewhere. */
static int number_scale(const struct number *n, uint64_t factor, uint64_t *ret)
{
	uint64_t value, digits = 0, divisor = 1;

	if (n->overflow || __builtin_mul_overflow(n->whole, factor, &value))
		return -ERANGE;
	/* Six places are a microsecond of a second; further ones are crossed, not counted. No overflow: the largest
	 * factor is a terabyte, 2^40. */
	for (const char *p = n->fraction; p && is_digit(*p) && divisor < UINT64_C(1000000); p++) {
		digits = digits * 10 + (uint64_t)(*p - '0');
		divisor *= 10;
	}
	if (__builtin_add_overflow(value, factor * digits / divisor, &value) || value == UINT64_MAX)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_u64(const char *s, uint64_t *ret)
{
	uint64_t value;
	bool overflow = false;
	const char *end = take_digits(s, &value, &overflow);

	if (end == s || *end != '\0')
		return -EINVAL;
	if (overflow)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_unsigned(const char *s, unsigned min, unsigned max, unsigned *ret)
{
	uint64_t value;
	int r = parse_u64(s, &value);

	if (r < 0)
		return r;
	if (value < min || value > max)
		return -ERANGE;
	*ret = (unsigned)value;
	return 0;
}

int parse_duration(const char *s, usec_t *ret_usec)
{
	struct number n;
	const char *unit;
	int r = number_parse(s, &n, &unit);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(duration_units); i++)
		if (strcmp(unit, duration_units[i].name) == 0)
			return number_scale(&n, duration_units[i].factor, ret_usec);
	if (*unit == '\0' && !n.fraction && !n.overflow && n.whole == 0) {
		*ret_usec = 0;
		return 0;
	}
	return -EINVAL;
}

int parse_size(const char *s, uint64_t *ret_bytes)
{
	struct number n;
	const char *unit;
	char name[2] = "";
	int r = number_parse(s, &n, &unit);

	if (r < 0)
		return r;
	name[0] = *unit;
	if (*unit != '\0') {
		/* "512K", "512KB", "512KiB", and "17B", but neither "17BB" nor "17iB". */
		const char *rest = unit + 1;
		if (*rest != '\0' && (*unit == 'B' || (strcmp(rest, "B") != 0 && strcmp(rest, "iB") != 0)))
			return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(size_units); i++)
		if (strcmp(name, size_units[i].name) == 0) {
			if (n.fraction && size_units[i].factor == 1)
				return -EINVAL;
			return number_scale(&n, size_units[i].factor, ret_bytes);
		}
	return -EINVAL;
}

int parse_ipv4(const char *s, uint32_t *ret)
{
	uint32_t address = 0;

	for (unsigned i = 0; i < 4; i++) {
		bool overflow = false;
		const char *begin;
		uint64_t part;

		if (i > 0 && *s++ != '.')
			return -EINVAL;
		begin = s;
		s = take_digits(s, &part, &overflow);
		if (s == begin || part > 255 || (*begin == '0' && s > begin + 1))
			return -EINVAL;
		address = address << 8 | (uint32_t)part;
	}
	if (*s)
		return -EINVAL;
	*ret = address;
	return 0;
}

int parse_bool(const char *s, bool *ret)
{
	static const char *const words[][2] = {{"no", "yes"}, {"false", "true"}, {"off", "on"}, {"0", "1"}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		for (size_t value = 0; value < 2; value++)
			if (strcmp(s, words[i][value]) == 0) {
				*ret = value == 1;
				return 0;
			}
	return -EINVAL;
}

/* These make the message of a FAIL, for which a job waits: printf(3) takes ten times as long. */
char *format_u64(char *to, uint64_t n)
{
	char digits[20], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	return mempcpy(to, p, (size_t)(digits + sizeof(digits) - p));
}

/* "17", "17.4" */
static char *format_tenths(char *to, uint64_t whole, uint64_t tenths, bool always)
{
	to = format_u64(to, whole);
	if (tenths > 0 || always) {
		*to++ = '.';
		*to++ = (char)('0' + tenths);
	}
	return to;
}

char *format_duration(char buffer[FORMAT_DURATION_MAX], usec_t usec)
{
	static const struct {
		usec_t big, small;
		char big_name, small_name;
	} pairs[] = {
		{USEC_PER_DAY, USEC_PER_HOUR, 'd', 'h'},
		{USEC_PER_HOUR, USEC_PER_MINUTE, 'h', 'm'},
		{USEC_PER_MINUTE, USEC_PER_SEC, 'm', 's'},
	};
	char *p;

	if (usec == USEC_NEVER)
		return strcpy(buffer, "never");
	/* Cut, not rounded: 59.96 s is not a minute yet. */
	if (usec < USEC_PER_MINUTE) {
		usec_t unit = usec < USEC_PER_SEC ? USEC_PER_MSEC : USEC_PER_SEC;
		p = format_tenths(buffer, usec / unit, usec % unit / (unit / 10), true);
		strcpy(p, unit == USEC_PER_SEC ? " s" : " ms");
		return buffer;
	}
	size_t i = 0;
	while (usec < pairs[i].big)
		i++;
	usec_t small = usec % pairs[i].big / pairs[i].small;
	p = format_u64(buffer, usec / pairs[i].big);
	*p++ = pairs[i].big_name;
	if (small > 0) {
		*p++ = ' ';
		p = format_u64(p, small);
		*p++ = pairs[i].small_name;
	}
	*p = 0;
	return buffer;
}

char *format_size(char buffer[FORMAT_SIZE_MAX], uint64_t bytes)
{
	static const char *const names[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
	size_t i = 0;
	uint64_t unit = 1, whole, tenths;

	for (;; i++, unit <<= 10) {
		whole = bytes / unit;
		tenths = (bytes % unit * 10 + unit / 2) / unit;
		/* Three digits are precise enough without a decimal. */
		if (whole >= 100 && i > 0) {
			whole += tenths >= 5;
			tenths = 0;
		}
		if (tenths == 10) {
			whole++;
			tenths = 0;
		}
		if (whole < 1024 || i + 1 == ARRAY_SIZE(names))
			break;
	}
	strcpy(format_tenths(buffer, whole, tenths, false), names[i]);
	return buffer;
}
