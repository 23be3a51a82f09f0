/* SPDX-License-Identifier: MIT */
#include "faktory/fail.h"

#include "split.h"

#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#define JID "0123456789abcdef"

/* Checks what holds for every command: printable ASCII and one line end; returns its parsed argument. */
static struct json_object *parsed(const char *verb, const char *line, size_t bytes)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *o;
	size_t verb_bytes = strlen(verb);

	cr_assert_gt(bytes, verb_bytes + 3);
	cr_assert_eq(memcmp(line, verb, verb_bytes), 0);
	cr_assert_eq(line[verb_bytes], ' ');
	cr_assert_eq(memcmp(line + bytes - 2, "\r\n", 2), 0);
	for (size_t i = 0; i < bytes - 2; i++)
		cr_assert(line[i] >= 0x20 && line[i] <= 0x7e, "byte %d at %zu", line[i], i);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(tokener, line + verb_bytes + 1, (int)(bytes - verb_bytes - 3));
	cr_assert_not_null(o, "%.*s", (int)bytes, line);
	cr_assert_eq(json_tokener_get_parse_end(tokener), bytes - verb_bytes - 3);
	json_tokener_free(tokener);
	return o;
}

static const char *member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	cr_assert(json_object_object_get_ex(o, key, &v), "%s", key);
	cr_assert(json_object_is_type(v, json_type_string));
	return json_object_get_string(v);
}

static bool is_utf8(const char *text)
{
	struct json_object *o = json_object_new_string(text);
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *back;

	json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
	back = json_tokener_parse_ex(tokener, json_object_to_json_string(o), -1);
	bool good = back != NULL;
	json_object_put(back);
	json_object_put(o);
	json_tokener_free(tokener);
	return good;
}

static struct json_object *written(const struct fail *f)
{
	struct json_object *o;
	char *line;
	size_t bytes;

	cr_assert_eq(fail_write(f, JID, strlen(JID), &line, &bytes), 0);
	o = parsed("FAIL", line, bytes);
	free(line);
	cr_assert_str_eq(member(o, "jid"), JID);
	return o;
}

static const char *message_written(const char *message, struct json_object **ret)
{
	*ret = written(&(struct fail){.errtype = "E", .message = message});
	return member(*ret, "message");
}

Test(fail, is_written_exactly)
{
	static const char *const backtrace[] = {"one", "two \"2\""};
	struct fail f = {"WorkerSignaled", "mail.1 (pid 4711) was killed by SIGSEGV", backtrace, 2};
	static const char expected[] =
		"FAIL {\"jid\":\"a\\u00e9\\\"\",\"message\":\"mail.1 (pid 4711) was killed by SIGSEGV\","
		"\"errtype\":\"WorkerSignaled\",\"backtrace\":[\"one\",\"two \\\"2\\\"\"]}\r\n";
	char *line;
	size_t bytes;

	cr_assert_eq(fail_write(&f, "a\\u00e9\\\"", 9, &line, &bytes), 0);
	cr_assert_eq(bytes, strlen(expected), "%.*s", (int)bytes, line);
	cr_assert_eq(memcmp(line, expected, bytes), 0, "%.*s", (int)bytes, line);
	free(line);
}

Test(fail, without_backtrace)
{
	struct json_object *o = written(&(struct fail){.errtype = "", .message = ""}), *lines;

	cr_assert(json_object_object_get_ex(o, "backtrace", &lines));
	cr_assert_eq(json_object_array_length(lines), 0);
	cr_assert_str_eq(member(o, "message"), "");
	json_object_put(o);
}

Test(fail, texts_come_back)
{
	static const struct {
		const char *text, *back;
	} texts[] = {
		{"plain", "plain"},
		{"\"q\" \\b\\ /", "\"q\" \\b\\ /"},
		{"tab\there", "tab\there"},
		{"a\nb", "a\nb"},
		{"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"},
		{"\r\x01\x7f", "\\x0d\\x01\\x7f"},
		{"\xff\xc3", "\\xff\\xc3"},
		{"\xed\xa0\x80", "\\xed\\xa0\\x80"},
		{"<b>&\xe2\x80\xa8", "<b>&\xe2\x80\xa8"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct json_object *o;

		cr_assert_str_eq(message_written(texts[i].text, &o), texts[i].back);
		json_object_put(o);
	}
}

/* The line for a message, without what is the same in all. */
static size_t message_bytes(const char *message, char out[256])
{
	static const char begin[] = "FAIL {\"jid\":\"" JID "\",\"message\":\"",
			  end[] = "\",\"errtype\":\"E\",\"backtrace\":[]}\r\n";
	const struct fail f = {.errtype = "E", .message = message};
	size_t bytes, n;
	char *line;

	cr_assert_eq(fail_write(&f, JID, strlen(JID), &line, &bytes), 0);
	n = bytes - (sizeof(begin) - 1) - (sizeof(end) - 1);
	cr_assert_leq(n, 256);
	cr_assert_eq(memcmp(line, begin, sizeof(begin) - 1), 0);
	cr_assert_eq(memcmp(line + sizeof(begin) - 1 + n, end, sizeof(end) - 1), 0);
	memcpy(out, line + sizeof(begin) - 1, n);
	free(line);
	return n;
}

/* Eight bytes are looked at in one go: none of them may be overlooked. */
Test(fail, a_byte_is_written_alike_wherever_it_stands)
{
	for (unsigned c = 1; c < 256; c++) {
		char alone[256], amid[256], text[2] = {(char)c};
		size_t n = message_bytes(text, alone);

		for (size_t at = 0; at < 20; at++) {
			char message[] = "~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~";
			size_t last = sizeof(message) - 2;

			message[at] = (char)c;
			cr_assert_eq(message_bytes(message, amid), last + n);
			cr_assert_eq(memcmp(amid, message, at), 0);
			cr_assert_eq(memcmp(amid + at, alone, n), 0, "byte %u at %zu", c, at);
			cr_assert_eq(memcmp(amid + at + n, message + at + 1, last - at), 0);
		}
	}
}

/* Whatever the bytes, and wherever the limit falls: no more than the server keeps, and no half character. */
Test(fail, limits_hold_for_any_bytes)
{
	static const char *const units[] = {"a",  "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					    "\"", "\x01",     "\xff",         "\t"};
	char text[4 * 1100 + 1];

	for (size_t u = 0; u < ARRAY_SIZE(units); u++)
		for (unsigned lead = 0; lead < 5; lead++)
			for (unsigned count = 240; count <= 1005; count += count < 260 || count > 990 ? 1 : 45) {
				char *p = text;
				struct json_object *o;
				const char *back;
				size_t wanted;

				for (unsigned i = 0; i < lead; i++)
					*p++ = 'x';
				for (unsigned i = 0; i < count; i++)
					p = stpcpy(p, units[u]);
				*p = '\0';
				back = message_written(text, &o);
				wanted = lead +
					 count * (*units[u] == '\x01' || *units[u] == '\xff' ? 4 : strlen(units[u]));
				cr_assert_leq(strlen(back), FAIL_MESSAGE_MAX);
				cr_assert(is_utf8(back));
				if (wanted <= FAIL_MESSAGE_MAX) {
					cr_assert_eq(strlen(back), wanted);
				} else {
					cr_assert_geq(strlen(back), FAIL_MESSAGE_MAX - 3);
					cr_assert_str_eq(back + strlen(back) - 3, "...");
				}
				json_object_put(o);
			}
}

/* A long plain run right up to the limit, and then something that does not fit any more. */
Test(fail, a_cut_keeps_what_fits)
{
	char text[1100];

	for (size_t n = 990; n <= 1000; n++) {
		struct json_object *o;
		const char *back;

		memset(text, 'a', n);
		strcpy(text + n, "\x01\x01\x01");
		back = message_written(text, &o);
		/* as many whole \\x01 as leave room for the dots */
		size_t kept = n <= 997 ? n + (997 - n) / 4 * 4 : 997;
		cr_assert_eq(strlen(back), kept + 3, "%zu gives %zu", n, strlen(back));
		cr_assert_str_eq(back + strlen(back) - 3, "...");
		cr_assert_eq(strspn(back, "a"), MIN(n, (size_t)997));
		json_object_put(o);
	}
}

Test(fail, random_bytes_make_a_good_command)
{
	static char text[51][2000];
	const char *lines[51];
	struct split random;

	split_init(&random, 3);
	for (unsigned i = 0; i < 300; i++) {
		struct json_object *o, *array;
		size_t count = split_random(&random) % 52;

		for (size_t k = 0; k < 51; k++) {
			size_t n = split_random(&random) % (k == 0 ? 1500 : 600);

			for (size_t b = 0; b < n; b++)
				text[k][b] = (char)(1 + split_random(&random) % 255);
			text[k][n] = '\0';
			lines[k] = text[k];
		}
		o = written(&(struct fail){text[1], text[0], lines, MIN(count, (size_t)51)});
		cr_assert_leq(strlen(member(o, "errtype")), FAIL_ERRTYPE_MAX);
		cr_assert_leq(strlen(member(o, "message")), FAIL_MESSAGE_MAX);
		cr_assert(json_object_object_get_ex(o, "backtrace", &array));
		cr_assert_eq(json_object_array_length(array), MIN(count, (size_t)FAIL_BACKTRACE_MAX));
		for (size_t k = 0; k < json_object_array_length(array); k++) {
			const char *line = json_object_get_string(json_object_array_get_idx(array, k));
			cr_assert_leq(strlen(line), FAIL_BACKTRACE_LINE_MAX);
			cr_assert(is_utf8(line));
		}
		json_object_put(o);
	}
}

Test(fail, the_last_lines_of_a_backtrace_are_kept)
{
	char text[70][16];
	const char *lines[70];
	struct json_object *o, *array;

	for (unsigned i = 0; i < 70; i++) {
		snprintf(text[i], sizeof(text[i]), "line %u", i);
		lines[i] = text[i];
	}
	o = written(&(struct fail){"E", "m", lines, 70});
	cr_assert(json_object_object_get_ex(o, "backtrace", &array));
	cr_assert_eq(json_object_array_length(array), 50);
	cr_assert_str_eq(json_object_get_string(json_object_array_get_idx(array, 0)), "line 20");
	cr_assert_str_eq(json_object_get_string(json_object_array_get_idx(array, 49)), "line 69");
	json_object_put(o);
}

Test(fail, a_tail_serves_many_jobs)
{
	static const char *const backtrace[] = {"last words"};
	struct fail f = {"WorkerExited", "message 17", backtrace, 1};
	char *tail, *joined, *whole;
	size_t tail_bytes, joined_bytes, whole_bytes;

	cr_assert_eq(fail_write_tail(&f, &tail, &tail_bytes), 0);
	cr_assert_eq(fail_write_with_tail(JID, strlen(JID), "message 17", tail, tail_bytes, &joined, &joined_bytes), 0);
	cr_assert_eq(fail_write(&f, JID, strlen(JID), &whole, &whole_bytes), 0);
	cr_assert_eq(joined_bytes, whole_bytes);
	cr_assert_eq(memcmp(joined, whole, whole_bytes), 0);
	free(tail);
	free(joined);
	free(whole);
}

Test(fail, ack_and_return)
{
	char *line;
	size_t bytes, ack_bytes;

	cr_assert_eq(ack_write("a\\\"b", 4, &line, &bytes), 0);
	cr_assert_eq(bytes, strlen("ACK {\"jid\":\"a\\\"b\"}\r\n"));
	cr_assert_eq(memcmp(line, "ACK {\"jid\":\"a\\\"b\"}\r\n", bytes), 0);
	free(line);

#define BODY "{\"jid\":\"12345678\",\"args\":[\"\xc3\xa9\"]}"
	static const char expected[] = "ACK {\"jid\":\"12345678\"}\r\nPUSHB [" BODY "]\r\n";
	cr_assert_eq(return_write("12345678", 8, BODY, STRLEN(BODY), &line, &bytes, &ack_bytes), 0);
	cr_assert_eq(bytes, strlen(expected), "%.*s", (int)bytes, line);
	cr_assert_eq(memcmp(line, expected, bytes), 0);
	cr_assert_eq(ack_bytes, strlen("ACK {\"jid\":\"12345678\"}\r\n"));
	free(line);
}

Test(fail, beat_names_the_wid_exactly)
{
	static const char *const wids[] = {"4d2e6e943e7aba1b", "", "a\"b\\c", "\xc3\xa9\xf0\x9f\x98\x80",
					   "a\tb\x01\x7f"};

	for (size_t i = 0; i < ARRAY_SIZE(wids); i++) {
		struct json_object *o;
		char *line;
		size_t bytes;

		cr_assert_eq(beat_write(wids[i], &line, &bytes), 0);
		o = parsed("BEAT", line, bytes);
		cr_assert_str_eq(member(o, "wid"), wids[i]);
		json_object_put(o);
		free(line);
	}
	char *line;
	size_t bytes;
	cr_assert_eq(beat_write("w\xff", &line, &bytes), 0);
	cr_assert_eq(memcmp(line, "BEAT {\"wid\":\"w\\ufffd\"}\r\n", bytes), 0);
	free(line);
}
