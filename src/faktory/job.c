/* SPDX-License-Identifier: MIT
 *
 * A JSON scanner that can stop after any byte. It knows three places: the top level and the inside of "failure" and
 * "custom", where keys are read; and everything else, which cross.c passes over. What a key means is decided at the end
 * of its value, so that the last of several equal keys wins, as it does on the server.
 */
#include "faktory/job.h"
#include "faktory/eight.h"

#include <assert.h>
#include <string.h>

enum state {
	STATE_START,
	STATE_KEY_OR_END,
	STATE_KEY,
	STATE_IN_KEY,
	STATE_COLON,
	STATE_VALUE,
	STATE_IN_STRING,
	STATE_IN_SCALAR,
	STATE_BELOW,
	STATE_AFTER,
};

enum key {
	KEY_NONE,
	KEY_JID,
	KEY_QUEUE,
	KEY_JOBTYPE,
	KEY_WID,
	KEY_RESERVE_FOR,
	KEY_RETRY,
	KEY_FAILURE,
	KEY_CUSTOM,
	KEY_RETRY_COUNT,
	KEY_ENTERPRISE,
};

enum section {
	SECTION_TOP,
	SECTION_FAILURE,
	SECTION_CUSTOM,
};

#define FETCHED (1u << JOB_SCAN_FETCHED)
#define EXACT (1u << JOB_SCAN_EXACT)
#define FOLDED (1u << JOB_SCAN_FOLDED)

static const struct {
	const char *name;
	uint8_t name_bytes;
	enum key key;
	enum section section;
	unsigned modes;
} keys[] = {
	/* by length */
	{"jid", 3, KEY_JID, SECTION_TOP, FETCHED | EXACT | FOLDED},
	{"wid", 3, KEY_WID, SECTION_TOP, FOLDED},
	{"bid", 3, KEY_ENTERPRISE, SECTION_CUSTOM, FETCHED},
	{"queue", 5, KEY_QUEUE, SECTION_TOP, FETCHED},
	{"retry", 5, KEY_RETRY, SECTION_TOP, FETCHED},
	{"track", 5, KEY_ENTERPRISE, SECTION_CUSTOM, FETCHED},
	{"custom", 6, KEY_CUSTOM, SECTION_TOP, FETCHED},
	{"jobtype", 7, KEY_JOBTYPE, SECTION_TOP, FETCHED},
	{"failure", 7, KEY_FAILURE, SECTION_TOP, FETCHED},
	{"unique_for", 10, KEY_ENTERPRISE, SECTION_CUSTOM, FETCHED},
	{"reserve_for", 11, KEY_RESERVE_FOR, SECTION_TOP, FETCHED},
	{"retry_count", 11, KEY_RETRY_COUNT, SECTION_FAILURE, FETCHED},
};
#define KEY_BYTES_MAX 11
static_assert(JOB_TEXT_MAX >= 6 * STRLEN("retry_count"), "a key spelled in escapes has room");

/* Where the keys of each length begin: most keys of a job are none of these, and need no more than a look here. */
static const uint8_t first_key[KEY_BYTES_MAX + 2] = {0, 0, 0, 0, 3, 3, 6, 7, 9, 9, 9, 10, 12};

void job_scan_init(struct job_scan *s, enum job_scan_mode mode)
{
	/* Field by field: to clear the kilobyte of text as well would cost as much as the scan of an ACK. */
	struct job *job = &s->job;

	job->jid_bytes = 0;
	job->jid_too_long = false;
	job->queue[0] = job->jobtype[0] = job->wid[0] = '\0';
	job->reserve_for = job->retry = job->retry_count = 0;
	job->have_retry = job->custom_has_enterprise = false;
	s->done = s->broken = false;
	s->mode = mode;
	s->state = STATE_START;
	s->section = SECTION_TOP;
	s->key = KEY_NONE;
	s->refused = s->text_cut = false;
	s->text_bytes = 0;
	s->value_bytes = 0;
	s->cross = (struct cross){0};
}

uint64_t job_lease_sec(int64_t reserve_for)
{
	if (reserve_for == 0)
		return 1800;
	return (uint64_t)MIN(MAX(reserve_for, (int64_t)60), (int64_t)86400);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Bytes of a number or a literal; scalar_end() says whether they make one. */
static bool is_scalar(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' || c == 'E';
}

static void text_add(struct job_scan *s, const char *p, size_t bytes)
{
	size_t n = MIN(bytes, (size_t)(JOB_TEXT_MAX - s->text_bytes));

	if (n < bytes)
		s->text_cut = true;
	memcpy(s->text + s->text_bytes, p, n);
	s->text_bytes = (uint8_t)(s->text_bytes + n);
}

static void text_reset(struct job_scan *s)
{
	s->text_bytes = 0;
	s->text_cut = false;
}

static bool name_equals(const char *name, const char *p, size_t bytes, bool fold)
{
	for (size_t i = 0; i < bytes; i++) {
		char c = fold && p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + ('a' - 'A')) : p[i];
		if (c != name[i])
			return false;
	}
	return true;
}

static void key_find(struct job_scan *s, const char *p, size_t bytes)
{
	s->key = KEY_NONE;
	if (bytes > KEY_BYTES_MAX)
		return;
	for (size_t i = first_key[bytes]; i < first_key[bytes + 1]; i++)
		if (keys[i].section == s->section && (keys[i].modes & 1u << s->mode) &&
		    name_equals(keys[i].name, p, bytes, s->mode == JOB_SCAN_FOLDED))
			s->key = (uint8_t)keys[i].key;
	if (s->key == KEY_ENTERPRISE)
		s->job.custom_has_enterprise = true;
}

/* Which key has just been read. */
static void key_end(struct job_scan *s)
{
	char decoded[3 * JOB_TEXT_MAX];
	const char *p = s->text;
	ssize_t n = s->text_bytes;

	s->key = KEY_NONE;
	s->state = STATE_COLON;
	if (s->text_cut)
		return;
	if (memchr(p, '\\', (size_t)n)) {
		n = jid_decode(s->text, s->text_bytes, decoded, sizeof(decoded));
		if (n < 0) {
			s->broken = true;
			return;
		}
		p = decoded;
	}
	key_find(s, p, (size_t)n);
}

static void jid_forget(struct job_scan *s)
{
	s->job.jid_bytes = 0;
	s->job.jid_too_long = false;
}

/* A value of a type that the present key cannot have, or of no interest. */
static void value_other(struct job_scan *s)
{
	/* ACK decodes into a map of strings, where any other value spoils the whole; FAIL and BEAT into a struct. */
	if (s->mode == JOB_SCAN_EXACT || (s->mode == JOB_SCAN_FOLDED && (s->key == KEY_JID || s->key == KEY_WID)))
		s->refused = true;
	if (s->refused || s->key == KEY_JID)
		jid_forget(s);
	if (s->key == KEY_RETRY)
		s->job.have_retry = false;
}

/* null leaves a struct's field as it is, and empties a map's. */
static void value_null(struct job_scan *s)
{
	if (s->key == KEY_JID && s->mode != JOB_SCAN_FOLDED)
		jid_forget(s);
	if (s->key == KEY_RETRY)
		s->job.have_retry = false;
}

static void value_number(struct job_scan *s, int64_t number)
{
	switch (s->key) {
	case KEY_RESERVE_FOR:
		s->job.reserve_for = number;
		break;
	case KEY_RETRY:
		s->job.retry = number;
		s->job.have_retry = true;
		break;
	case KEY_RETRY_COUNT:
		s->job.retry_count = number;
		break;
	default:
		value_other(s);
	}
}

/* JSON's grammar of a number. True, with *ret_integer telling whether *ret is one; what does not fit is saturated. */
static bool number_parse(const char *p, const char *end, bool cut, int64_t *ret, bool *ret_integer)
{
	bool negative = p < end && *p == '-', integer = true;
	const char *digits;
	int64_t n = 0;

	p += negative;
	digits = p;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		int digit = negative ? '0' - *p : *p - '0';

		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n)) {
			n = negative ? INT64_MIN : INT64_MAX;
			while (p + 1 < end && p[1] >= '0' && p[1] <= '9')
				p++;
		}
	}
	if (p == digits || (*digits == '0' && p - digits > 1))
		return false;
	if (p < end && *p == '.') {
		integer = false;
		for (digits = ++p; p < end && *p >= '0' && *p <= '9'; p++)
			;
		if (p == digits && !cut)
			return false;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		integer = false;
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		for (digits = p; p < end && *p >= '0' && *p <= '9'; p++)
			;
		if (p == digits && !cut)
			return false;
	}
	*ret = n;
	*ret_integer = integer;
	return p == end;
}

static bool text_is(const struct job_scan *s, const char *literal)
{
	return s->text_bytes == strlen(literal) && memcmp(s->text, literal, s->text_bytes) == 0;
}

static void scalar_end(struct job_scan *s)
{
	int64_t number;
	bool integer;

	s->state = STATE_AFTER;
	if (text_is(s, "null"))
		value_null(s);
	else if (text_is(s, "true") || text_is(s, "false"))
		value_other(s);
	else if (!number_parse(s->text, s->text + s->text_bytes, s->text_cut, &number, &integer))
		s->broken = true;
	else if (integer)
		value_number(s, number);
	else
		value_other(s); /* the server's own fields are integers: 1e3 or 2.0 would not be decoded either */
}

static void string_begin(struct job_scan *s)
{
	s->state = STATE_IN_STRING;
	s->value_bytes = 0;
	if (s->key == KEY_JID)
		jid_forget(s);
	if (s->key == KEY_RETRY)
		s->job.have_retry = false;
}

/* Keeps a piece of a string value, as far as there is room. */
static void string_add(struct job_scan *s, const char *p, size_t bytes)
{
	size_t limit, n;
	char *to;

	switch (s->key) {
	case KEY_JID:
		to = s->job.jid;
		limit = sizeof(s->job.jid);
		break;
	case KEY_QUEUE:
		to = s->job.queue;
		limit = sizeof(s->job.queue) - 1;
		break;
	case KEY_JOBTYPE:
		to = s->job.jobtype;
		limit = sizeof(s->job.jobtype) - 1;
		break;
	case KEY_WID:
		to = s->job.wid;
		limit = sizeof(s->job.wid) - 1;
		break;
	default:
		return;
	}
	if (s->value_bytes < limit) {
		n = MIN(bytes, limit - s->value_bytes);
		memcpy(to + s->value_bytes, p, n);
	}
	s->value_bytes = (uint16_t)MIN(s->value_bytes + bytes, (size_t)JID_RAW_MAX + 1);
	if (s->key != KEY_JID)
		to[MIN((size_t)s->value_bytes, limit)] = '\0';
}

static void string_end(struct job_scan *s)
{
	char decoded[JID_DECODED_MAX];
	ssize_t n;

	s->state = STATE_AFTER;
	if (s->key == KEY_JID && !s->refused) {
		if (s->value_bytes > JID_RAW_MAX) {
			s->job.jid_too_long = true;
			return;
		}
		if (jid_is_plain(s->job.jid, s->value_bytes)) {
			s->job.jid_bytes = s->value_bytes;
			return;
		}
		n = jid_decode(s->job.jid, s->value_bytes, decoded, sizeof(decoded));
		if (n < 0)
			s->broken = true;
		else if (memmem(decoded, (size_t)n, "\r\n", 2))
			/* "Job not found" repeats it decoded, and what follows would be read as a reply of its own. */
			s->job.jid_too_long = true;
		else
			s->job.jid_bytes = s->value_bytes;
	} else if (s->key == KEY_QUEUE || s->key == KEY_JOBTYPE || s->key == KEY_WID) {
		string_add(s, "", 0); /* an empty one still replaces what an earlier key left */
	}
}

static const char *scan_string(struct job_scan *s, const char *p, const char *end)
{
	const char *q = cross_string(p, end, &s->cross);

	if (s->state == STATE_IN_KEY)
		text_add(s, p, (size_t)(q - p));
	else if (s->key != KEY_NONE)
		string_add(s, p, (size_t)(q - p));
	if (q == end)
		return end;
	if (s->state == STATE_IN_KEY)
		key_end(s);
	else
		string_end(s);
	return q + 1;
}

static const char *scan_scalar(struct job_scan *s, const char *p, const char *end)
{
	const char *q = p;

	while (q < end && is_scalar(*q))
		q++;
	text_add(s, p, (size_t)(q - p));
	if (q < end)
		scalar_end(s);
	return q;
}

static const char *scan_below(struct job_scan *s, const char *p, const char *end)
{
	p = cross_value(p, end, &s->cross);
	if (s->cross.too_deep)
		s->broken = true;
	else if (s->cross.depth == 0)
		s->state = STATE_AFTER;
	return p;
}

static void value_begin(struct job_scan *s, char c)
{
	if (c == '"') {
		string_begin(s);
	} else if (c == '{' && (s->key == KEY_FAILURE || s->key == KEY_CUSTOM)) {
		s->section = s->key == KEY_FAILURE ? SECTION_FAILURE : SECTION_CUSTOM;
		s->state = STATE_KEY_OR_END;
	} else if (c == '{' || c == '[') {
		value_other(s);
		s->cross.depth = 1;
		s->state = STATE_BELOW;
	} else {
		s->broken = !is_scalar(c);
		text_reset(s);
		text_add(s, &c, 1);
		s->state = STATE_IN_SCALAR;
	}
}

static void object_end(struct job_scan *s)
{
	if (s->section == SECTION_TOP) {
		s->done = true;
	} else {
		s->section = SECTION_TOP;
		s->state = STATE_AFTER;
	}
}

/* One byte of what stands between keys and values, where there is nothing to be gained by haste. */
static void scan_byte(struct job_scan *s, char c)
{
	if (is_blank(c))
		return;

	switch (s->state) {
	case STATE_START:
		s->state = STATE_KEY_OR_END;
		s->broken = c != '{';
		break;
	case STATE_KEY_OR_END:
	case STATE_KEY:
		if (c == '}' && s->state == STATE_KEY_OR_END) {
			object_end(s);
			break;
		}
		s->state = STATE_IN_KEY;
		s->broken = c != '"';
		text_reset(s);
		break;
	case STATE_COLON:
		s->state = STATE_VALUE;
		s->broken = c != ':';
		break;
	case STATE_VALUE:
		value_begin(s, c);
		break;
	default: /* STATE_AFTER */
		if (c == '}')
			object_end(s);
		else if (c == ',')
			s->state = STATE_KEY;
		else
			s->broken = true;
	}
}

/* An ACK as nearly all libraries write it, {"jid":"..."} and nothing else, in one piece: half of all commands are such,
 * and this reads one in a third of the time. False, and nothing has happened, when it is any other. */
static bool scan_usual_ack(struct job_scan *s, const char *p, size_t bytes)
{
#define OPENING "{\"jid\":"
	const char *end = p + bytes;

	if (bytes < STRLEN(OPENING) + 4 || memcmp(p, OPENING, STRLEN(OPENING)) != 0 || memcmp(end - 2, "\"}", 2) != 0)
		return false;
	p += STRLEN(OPENING);
	p += *p == ' ';
	bytes = (size_t)(end - 2 - (p + 1));
	if (*p != '"' || p + 1 > end - 2 || bytes > JID_RAW_MAX || !jid_is_plain(p + 1, bytes))
		return false;
	memcpy(s->job.jid, p + 1, bytes);
	s->job.jid_bytes = (uint16_t)bytes;
	s->done = true;
	return true;
}

/* What nearly always comes between keys and values, as the server writes them: without blanks. */
static bool scan_expected(struct job_scan *s, char c)
{
	if (s->state == STATE_COLON && c == ':') {
		s->state = STATE_VALUE;
	} else if (s->state == STATE_VALUE && c == '"') {
		string_begin(s);
	} else if (s->state == STATE_AFTER && c == ',') {
		s->state = STATE_KEY;
	} else if (s->state == STATE_KEY && c == '"') {
		s->state = STATE_IN_KEY;
		text_reset(s);
	} else {
		return false;
	}
	return true;
}

/* Of what is usual: longer strings are for cross_string(). */
#define USUAL_BYTES_MAX 64

/* The closing quote of a short string without an escape that lies here whole, or NULL. */
static const char *usual_string_end(const char *p, const char *end)
{
	const char *stop = end - p > USUAL_BYTES_MAX ? p + USUAL_BYTES_MAX : end;

	while (stop - p >= 8) {
		unsigned n = eight_find_mark(eight_load(p));

		p += n;
		if (n < 8)
			return *p == '"' ? p : NULL;
	}
	return NULL;
}

/* Members as the server writes nearly all of them, without blanks, in one straight way: with a turn of the loop for
 * each part of each, a job of 270 bytes takes half as long again. Goes on until a key or a value is no such string.
 * NULL, and nothing has happened, when the first key is none. */
static const char *scan_usual_members(struct job_scan *s, const char *p, const char *end)
{
	const char *begin = p, *key_close, *value_close;

	while (p < end && *p == '"') {
		key_close = usual_string_end(p + 1, end);
		if (!key_close || end - key_close < 3 || key_close[1] != ':')
			break;
		key_find(s, p + 1, (size_t)(key_close - p - 1));
		p = key_close + 2;
		value_close = *p == '"' ? usual_string_end(p + 1, end) : NULL;
		if (!value_close || value_close + 1 == end || value_close[1] != ',') {
			s->state = STATE_VALUE;
			return p;
		}
		if (s->key != KEY_NONE) {
			string_begin(s);
			string_add(s, p + 1, (size_t)(value_close - p - 1));
			string_end(s);
		}
		p = value_close + 2;
		s->state = STATE_KEY;
		if (s->broken)
			break;
	}
	return p == begin ? NULL : p;
}

void job_scan_feed(struct job_scan *s, const char *p, size_t bytes)
{
	const char *end = p + bytes, *q;

	if (s->mode == JOB_SCAN_EXACT && s->state == STATE_START && scan_usual_ack(s, p, bytes))
		return;
	while (p < end && !s->done && !s->broken) {
		if (s->state == STATE_BELOW)
			p = scan_below(s, p, end);
		else if (s->state == STATE_IN_KEY || s->state == STATE_IN_STRING)
			p = scan_string(s, p, end);
		else if (s->state == STATE_IN_SCALAR)
			p = scan_scalar(s, p, end);
		else if ((s->state == STATE_KEY || s->state == STATE_KEY_OR_END) && (q = scan_usual_members(s, p, end)))
			p = q;
		else if (!scan_expected(s, *p++))
			scan_byte(s, p[-1]);
	}
}
