/* SPDX-License-Identifier: MIT */
#include "faktory/resp.h"

#include "split.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>

/* Feeds a stream until its end or the first error, and writes what was seen as text: one line a reply. */
static void follow(const char *stream, size_t bytes, unsigned round, char *out, size_t out_bytes)
{
	struct resp r = {0};
	struct split split;
	size_t done = 0, n = 0, reply = 0;

	split_init(&split, round);
	out[0] = '\0';
	while (done < bytes) {
		size_t piece = split_next(&split, bytes - done), consumed = 0, off = 0;
		char *copy = split_copy(stream + done, piece);

		while (off < piece) {
			int k = resp_scan(&r, copy + off, piece - off, &consumed);
			if (k < 0) {
				snprintf(out + n, out_bytes - n, "error %d", -k);
				free(copy);
				return;
			}
			cr_assert(consumed == piece - off || r.done);
			cr_assert_gt(consumed, 0);
			cr_assert_eq(r.head[r.head_bytes], '\0');
			off += consumed;
			reply += consumed;
			if (r.done) {
				n += (size_t)snprintf(out + n, out_bytes - n, "%c%s header %u body %ju of %zu [%s]\n",
						      r.kind, r.nil ? "nil" : "", r.header_bytes,
						      (uintmax_t)r.body_bytes, reply, r.head);
				resp_reset(&r);
				reply = 0;
			}
		}
		free(copy);
		done += piece;
	}
	if (r.kind)
		snprintf(out + n, out_bytes - n, "open %c header %d [%s]", r.kind, r.header_done,
			 r.header_done ? r.head : "");
}

struct row {
	char stream[128];
	char expected[256];
};

static struct row rows[] = {
	{"+OK\r\n", "+ header 5 body 0 of 5 [OK]\n"},
	{"+\r\n", "+ header 3 body 0 of 3 []\n"},
	{":1234\r\n", ": header 7 body 0 of 7 [1234]\n"},
	{"-ERR Job not found x\r\n", "- header 22 body 0 of 22 [ERR Job not found x]\n"},
	{"-ERR a\nb\r\n", "- header 10 body 0 of 10 [ERR a\nb]\n"}, /* a jid with a newline, decoded */
	{"-ERR unknown command INFO\r\r\n", "- header 28 body 0 of 28 [ERR unknown command INFO\r]\n"},
	{"-ERR a\rb\r\r\n", "- header 11 body 0 of 11 [ERR a\rb\r]\n"},
	{"$5\r\nhello\r\n", "$ header 4 body 5 of 11 [5]\n"},
	{"$0\r\n\r\n", "$ header 4 body 0 of 6 [0]\n"},
	{"$-1\r\n", "$nil header 5 body 0 of 5 [-1]\n"},
	{"$4\r\n\r\n\r\n\r\n", "$ header 4 body 4 of 10 [4]\n"},
	{"$3\r\n+OK\r\n+OK\r\n", "$ header 4 body 3 of 9 [3]\n+ header 5 body 0 of 5 [OK]\n"},
	{"*0\r\n", "* header 4 body 0 of 4 [0]\n"},
	{"*-1\r\n", "*nil header 5 body 0 of 5 [-1]\n"},
	{"*2\r\n$1\r\na\r\n:2\r\n+X\r\n", "* header 4 body 0 of 15 [2]\n+ header 4 body 0 of 4 [X]\n"},
	{"*2\r\n*2\r\n+a\r\n$-1\r\n*0\r\n+X\r\n", "* header 4 body 0 of 21 [2]\n+ header 4 body 0 of 4 [X]\n"},
	{"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+x\r\n", "* header 4 body 0 of 36 [1]\n"},
	{"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+x\r\n", "error 74"},
	{"*1\r\n$3\r\nab", "open * header 1 [1]"},
	{"+OK\r\n-ERR shut", "+ header 5 body 0 of 5 [OK]\nopen - header 0 []"},
	{"$10\r\nabc", "open $ header 1 [10]"},
	{"$9", "open $ header 0 []"},
	{"x\r\n", "error 74"},
	{"\r\n", "error 74"},
	{"+OK\r\nOK\r\n", "+ header 5 body 0 of 5 [OK]\nerror 74"},
	{"$5\r\nhello\n\n", "error 74"},
	{"$5\r\nhelloo\r\n", "error 74"},
	{"$5\r\nhello\rx", "error 74"},
	{"$-2\r\n", "error 74"},
	{"$-0\r\n", "error 74"},
	{"$-\r\n", "error 74"},
	{"$-10\r\n", "error 74"},
	{"$-1-\r\n", "error 74"},
	{"$\r\n", "error 74"},
	{"$5\n", "error 74"},
	{"$5\rx", "error 74"},
	{"$ 5\r\n", "error 74"},
	{"$+5\r\n", "error 74"},
	{"$05\r\n", "error 74"},
	{"$5a\r\n", "error 74"},
	{"*-2\r\n", "error 74"},
	{"*1x\r\n", "error 74"},
	{"*1\r\nx\r\n", "error 74"},
	{"$1000000000000000000\r\nabc", "open $ header 1 [1000000000000000000]"},
	{"$9223372036854775807\r\n", "error 74"},
	{"$18446744073709551615\r\n", "error 74"},
	{"$18446744073709551617\r\n", "error 74"},
	{"$99999999999999999999999999999999999999\r\n", "error 74"},
	{"*18446744073709551617\r\n", "error 74"},
};

ParameterizedTestParameters(resp, streams)
{
	return cr_make_param_array(struct row, rows, ARRAY_SIZE(rows));
}

ParameterizedTest(struct row *row, resp, streams)
{
	char seen[512];

	for (unsigned round = 0; round < SPLIT_ROUNDS; round++) {
		follow(row->stream, strlen(row->stream), round, seen, sizeof(seen));
		cr_assert_str_eq(seen, row->expected, "round %u of %s", round, row->stream);
	}
}

/* Random streams, good ones with a wrong byte here and there: whatever they are, no split changes what is seen. */
Test(resp, any_split_of_any_stream_is_the_same)
{
	static const char *const parts[] = {"+OK\r\n",       "$-1\r\n", "$0\r\n\r\n",    "$11\r\nhello\r\nabcd\r\n",
					    "*2\r\n",        ":0\r\n",  "-ERR x\ny\r\n", "*0\r\n",
					    "$3\r\nabc\r\n", "\r\n",    "*3\r\n*1\r\n"};
	char whole[16384], seen[16384], stream[400];
	struct split random;
	unsigned errors = 0, replies = 0;

	split_init(&random, 4711);
	for (unsigned i = 0; i < 2000; i++) {
		size_t bytes = 0;

		for (unsigned n = 1 + (unsigned)(split_random(&random) % 12); n > 0; n--) {
			/* the bare line end is rare: it ends the stream */
			size_t part = split_random(&random) % 97 == 0 ? 9 : split_random(&random) % 9;
			bytes = (size_t)(stpcpy(stream + bytes, parts[part]) - stream);
		}
		if (i % 3 == 0)
			stream[split_random(&random) % bytes] = "\r\n$*-19x"[split_random(&random) % 8];
		follow(stream, bytes, SPLIT_WHOLE, whole, sizeof(whole));
		errors += strstr(whole, "error") != NULL;
		replies += strchr(whole, '\n') != NULL;
		for (unsigned round = 1; round < 12; round++) {
			follow(stream, bytes, round, seen, sizeof(seen));
			cr_assert_str_eq(seen, whole, "stream %u round %u", i, round);
		}
	}
	/* the generator makes both kinds */
	cr_assert_gt(errors, 100);
	cr_assert_gt(replies, 1000);
}

Test(resp, head_is_cut_and_the_line_still_ends)
{
	char line[5000];
	struct resp r = {0};
	size_t consumed;

	for (size_t bytes = 90; bytes < 110; bytes++) {
		memset(line, 'a', bytes);
		line[0] = '-';
		memcpy(line + bytes, "\r\n", 2);
		for (unsigned round = 0; round < SPLIT_ROUNDS; round++) {
			struct split split;
			size_t done = 0;

			split_init(&split, round);
			resp_reset(&r);
			while (!r.done) {
				size_t piece = split_next(&split, bytes + 2 - done);
				cr_assert_eq(resp_scan(&r, line + done, piece, &consumed), 0);
				done += consumed;
			}
			cr_assert_eq(done, bytes + 2);
			cr_assert_eq(r.header_bytes, bytes + 2);
			cr_assert_eq(r.head_bytes, MIN(bytes - 1, (size_t)RESP_HEAD_MAX - 1));
			cr_assert_eq(strlen(r.head), r.head_bytes);
		}
	}
}

Test(resp, a_finished_scanner_consumes_nothing)
{
	struct resp r = {0};
	size_t consumed;

	cr_assert_eq(resp_scan(&r, "+OK\r\n+OK\r\n", 10, &consumed), 0);
	cr_assert_eq(consumed, 5);
	cr_assert(r.done);
	cr_assert_eq(resp_scan(&r, "+OK\r\n", 5, &consumed), 0);
	cr_assert_eq(consumed, 0);
	cr_assert_eq(resp_scan(&(struct resp){0}, "", 0, &consumed), 0);
	cr_assert_eq(consumed, 0);
}

static struct resp scanned(const char *reply)
{
	struct resp r = {0};
	size_t consumed;

	cr_assert_eq(resp_scan(&r, reply, strlen(reply), &consumed), 0);
	return r;
}

Test(resp, ok_is_exactly_ok)
{
	struct resp r = scanned("+OK\r\n");

	cr_assert(resp_is_ok(&r));
	r = scanned("+OKAY\r\n");
	cr_assert_not(resp_is_ok(&r));
	r = scanned("-OK\r\n");
	cr_assert_not(resp_is_ok(&r));
	r = scanned("+OK");
	cr_assert_not(resp_is_ok(&r));
	r = scanned("$2\r\nOK\r\n");
	cr_assert_not(resp_is_ok(&r));
}

Test(resp, body_is_a_view)
{
	static const struct {
		const char *reply, *body;
	} views[] = {
		{"$5\r\nhello\r\n", "hello"},
		{"$0\r\n\r\n", ""},
		{"$-1\r\n", ""},
		{"+OK\r\n", "OK"},
		{"-ERR bad thing\r\n", "ERR bad thing"},
		{":12\r\n", "12"},
		{"*1\r\n+a\r\n", ""},
		{"+\r\n", ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		struct resp r = scanned(views[i].reply);
		const char *body;
		size_t bytes;

		resp_body(&r, views[i].reply, strlen(views[i].reply), &body, &bytes);
		cr_assert_eq(bytes, strlen(views[i].body), "%s", views[i].reply);
		cr_assert_eq(memcmp(body, views[i].body, bytes), 0, "%s", views[i].reply);
	}

	/* What is not all there has no body. */
	struct resp r = scanned("$5\r\nhel");
	const char *body;
	size_t bytes = 1;
	resp_body(&r, "$5\r\nhel", 7, &body, &bytes);
	cr_assert_eq(bytes, 0);
}

Test(resp, errors_have_classes)
{
	static const struct {
		const char *reply;
		enum resp_error class;
	} errors[] = {
		{"-ERR Job not found abcdefgh\r\n", RESP_ERROR_NOT_FOUND},
		{"-ERR Invalid password\r\n", RESP_ERROR_PASSWORD},
		{"-ERR shutdown in progress\r\n", RESP_ERROR_UNAVAILABLE},
		{"-ERR redis: client is closed\r\n", RESP_ERROR_UNAVAILABLE},
		{"-ERR too many connections: 2001\r\n", RESP_ERROR_UNAVAILABLE},
		{"-ERR invalid ACK {\"x\":1}\r\n", RESP_ERROR_REFUSED},
		{"-ERR invalid FAIL {}\r\n", RESP_ERROR_REFUSED},
		{"-ERR missing JID\r\n", RESP_ERROR_REFUSED},
		{"-ERR unknown command FOO\r\n", RESP_ERROR_REFUSED},
		{"-ERR unknown worker abc\r\n", RESP_ERROR_REFUSED},
		{"-ERR internal error\r\n", RESP_ERROR_REFUSED},
		{"-ERR tracking subsystem is only available in Faktory Enterprise\r\n", RESP_ERROR_REFUSED},
		{"-ERR jobs must have a jobtype parameter\r\n", RESP_ERROR_REFUSED},
		{"-NOTUNIQUE Job not unique\r\n", RESP_ERROR_REFUSED},
		{"-ERR NOREPLICAS Not enough good replicas to write.\r\n", RESP_ERROR_STORAGE},
		{"-ERR MISCONF Redis is configured to save RDB snapshots\r\n", RESP_ERROR_STORAGE},
		{"-ERR OOM command not allowed when used memory > 'maxmemory'.\r\n", RESP_ERROR_STORAGE},
		{"-ERR READONLY You can't write against a read only replica.\r\n", RESP_ERROR_STORAGE},
		{"-ERR context deadline exceeded\r\n", RESP_ERROR_STORAGE},
		{"-ERR redis: connection pool timeout\r\n", RESP_ERROR_STORAGE},
		{"-ERR EOF\r\n", RESP_ERROR_STORAGE},
		{"-ERR \r\n", RESP_ERROR_STORAGE},
		{"-\r\n", RESP_ERROR_REFUSED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct resp r = scanned(errors[i].reply);
		cr_assert_eq(resp_error_class(&r), errors[i].class, "%s", errors[i].reply);
	}
}
