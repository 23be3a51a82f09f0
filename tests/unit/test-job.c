/* SPDX-License-Identifier: MIT */
#include "faktory/job.h"

#include "split.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <json-c/json.h>
#include <stdio.h>

/* Everything that a scan tells, as one line of text. */
static void show(const struct job_scan *s, char *out, size_t out_bytes)
{
	const struct job *j = &s->job;

	snprintf(out, out_bytes, "%s jid=%.*s%s queue=%s type=%s wid=%s rf=%jd retry=%s%jd count=%jd ent=%d",
		 s->broken ? "broken"
		 : s->done ? "done"
			   : "open",
		 j->jid_bytes, j->jid, j->jid_too_long ? "(long)" : "", j->queue, j->jobtype, j->wid,
		 (intmax_t)j->reserve_for, j->have_retry ? "" : "none", (intmax_t)(j->have_retry ? j->retry : 0),
		 (intmax_t)j->retry_count, j->custom_has_enterprise);
}

static void scan(const char *json, size_t bytes, enum job_scan_mode mode, unsigned round, char *out, size_t out_bytes)
{
	struct job_scan s;
	struct split split;
	size_t done = 0;

	split_init(&split, round);
	job_scan_init(&s, mode);
	while (done < bytes) {
		size_t piece = split_next(&split, bytes - done);
		char *copy = split_copy(json + done, piece);

		job_scan_feed(&s, copy, piece);
		free(copy);
		done += piece;
	}
	show(&s, out, out_bytes);
}

struct row {
	enum job_scan_mode mode;
	char json[400];
	char expected[256];
};

#define REST " queue= type= wid= rf=0 retry=none0 count=0 ent=0"

static struct row rows[] = {
	/* the server's order since 1.9.2, everything set; custom and failure before the jid */
	{JOB_SCAN_FETCHED,
	 "{\"retry\":3,\"failure\":{\"failed_at\":\"2026-01-01T00:00:00Z\",\"message\":\"{\\\"jid\\\":\\\"x\\\"}\","
	 "\"backtrace\":[\"jid\"],"
	 "\"retry_count\":2,\"remaining\":1},\"custom\":{\"a\":[1,{\"b\":2}],\"jid\":\"fake\"},\"jid\":\"keyorder-1\","
	 "\"queue\":\"a\","
	 "\"jobtype\":\"T\",\"created_at\":\"x\",\"args\":[1,{\"jid\":\"no\"}],\"reserve_for\":60,\"backtrace\":5}",
	 "done jid=keyorder-1 queue=a type=T wid= rf=60 retry=3 count=2 ent=0"},
	/* the old order */
	{JOB_SCAN_FETCHED, "{\"jid\":\"12345678\",\"queue\":\"default\",\"jobtype\":\"X\",\"args\":[],\"retry\":25}",
	 "done jid=12345678 queue=default type=X wid= rf=0 retry=25 count=0 ent=0"},
	{JOB_SCAN_FETCHED, "{\"custom\":{\"jid\":\"fake\"},\"jid\":\"12345678\"}", "done jid=12345678" REST},
	{JOB_SCAN_FETCHED, "{\"args\":[[[\"]\"],{\"a\":\"}\\\"\"}],\"\\\\\"],\"jid\":\"12345678\"}",
	 "done jid=12345678" REST},
	{JOB_SCAN_FETCHED, "{}", "done jid=" REST},
	{JOB_SCAN_FETCHED, " \t\r\n{ \"jid\" : \"12345678\" , \"retry\" : 0 } trailing }",
	 "done jid=12345678 queue= type= wid= rf=0 retry=0 count=0 ent=0"},
	/* keys are exact, and spelled as anybody likes */
	{JOB_SCAN_FETCHED, "{\"JID\":\"nononono\",\"Queue\":\"q\",\"wid\":\"w\"}", "done jid=" REST},
	{JOB_SCAN_FETCHED,
	 "{\"j\\u0069d\":\"12345678\","
	 "\"\\u0072\\u0065\\u0073\\u0065\\u0072\\u0076\\u0065\\u005f\\u0066\\u006f\\u0072\":7}",
	 "done jid=12345678 queue= type= wid= rf=7 retry=none0 count=0 ent=0"},
	{JOB_SCAN_FETCHED, "{\"ji\":\"a2345678\",\"jidx\":\"b2345678\",\"\":\"c2345678\",\"jid\\u0000\":\"d2345678\"}",
	 "done jid=" REST},
	{JOB_SCAN_FETCHED,
	 "{\"a key that is longer than any other one and more so because of all these words in it, jid jid jid jid jid "
	 "jid\":1,\"jid\":\"12345678\"}",
	 "done jid=12345678" REST},
	/* raw bytes as received */
	{JOB_SCAN_FETCHED, "{\"jid\":\"a\\\"\\u00e9\\\\\"}", "done jid=a\\\"\\u00e9\\\\" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"\\ud83d\\ude00\\ud83d\xc3\xa9\xff\"}",
	 "done jid=\\ud83d\\ude00\\ud83d\xc3\xa9\xff" REST},
	/* an -ERR repeats the jid decoded: a line end in it would forge a reply */
	{JOB_SCAN_FETCHED, "{\"jid\":\"abcdefgh\\r\\n+OK\"}", "done jid=(long)" REST},
	{JOB_SCAN_FOLDED, "{\"jid\":\"abcdefgh\\u000d\\u000A+OK\"}", "done jid=(long)" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"abcdefgh\\n\\r\"}", "done jid=abcdefgh\\n\\r" REST},
	/* the last one wins */
	{JOB_SCAN_FETCHED,
	 "{\"jid\":\"11111111\",\"retry\":1,\"queue\":\"long\",\"jid\":\"2222\",\"retry\":2,\"queue\":\"\"}",
	 "done jid=2222 queue= type= wid= rf=0 retry=2 count=0 ent=0"},
	{JOB_SCAN_FETCHED, "{\"jid\":\"11111111\",\"jid\":null}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"11111111\",\"jid\":12}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"11111111\",\"jid\":[\"x\"]}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":5,\"retry\":null}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":5,\"retry\":\"7\"}", "done jid=" REST},
	/* numbers */
	{JOB_SCAN_FETCHED, "{\"retry\":-1,\"reserve_for\":86400}",
	 "done jid= queue= type= wid= rf=86400 retry=-1 count=0 ent=0"},
	{JOB_SCAN_FETCHED, "{\"retry\":99999999999999999999,\"reserve_for\":-99999999999999999999}",
	 "done jid= queue= type= wid= rf=-9223372036854775808 retry=9223372036854775807 count=0 ent=0"},
	{JOB_SCAN_FETCHED, "{\"retry\":9223372036854775807,\"reserve_for\":-9223372036854775808}",
	 "done jid= queue= type= wid= rf=-9223372036854775808 retry=9223372036854775807 count=0 ent=0"},
	{JOB_SCAN_FETCHED, "{\"retry\":2.5,\"reserve_for\":1e9,\"failure\":{\"retry_count\":1E+2}}", "done jid=" REST},
	{JOB_SCAN_FETCHED,
	 "{\"retry\":"
	 "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111}",
	 "done jid= queue= type= wid= rf=0 retry=9223372036854775807 count=0 ent=0"},
	{JOB_SCAN_FETCHED,
	 "{\"x\":0.11111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111e5,"
	 "\"retry\":4}",
	 "done jid= queue= type= wid= rf=0 retry=4 count=0 ent=0"},
	{JOB_SCAN_FETCHED, "{\"retry\":true,\"reserve_for\":false}", "done jid=" REST},
	/* the second level */
	{JOB_SCAN_FETCHED, "{\"failure\":null,\"custom\":null}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"failure\":{},\"custom\":{}}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"failure\":[{\"retry_count\":3}],\"custom\":[{\"bid\":1}]}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"failure\":{\"x\":{\"retry_count\":3}},\"retry_count\":4}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"custom\":{\"x\":{\"bid\":3},\"jid\":\"a\",\"retry\":1},\"bid\":4}", "done jid=" REST},
	{JOB_SCAN_FETCHED, "{\"custom\":{\"bid\":\"b-1\"}}",
	 "done jid= queue= type= wid= rf=0 retry=none0 count=0 ent=1"},
	{JOB_SCAN_FETCHED, "{\"custom\":{\"unique_\\u0066or\":3}}",
	 "done jid= queue= type= wid= rf=0 retry=none0 count=0 ent=1"},
	{JOB_SCAN_FETCHED, "{\"custom\":{\"a\":{\"b\":[]},\"track\":1}}",
	 "done jid= queue= type= wid= rf=0 retry=none0 count=0 ent=1"},
	{JOB_SCAN_FETCHED, "{\"failure\":{\"retry_count\":4,\"jid\":\"a\"},\"retry\":5}",
	 "done jid= queue= type= wid= rf=0 retry=5 count=4 ent=0"},
	/* ACK: Go's map[string]string */
	{JOB_SCAN_EXACT, "{\"jid\":\"12345678\"}", "done jid=12345678" REST},
	{JOB_SCAN_EXACT, "{\"jid\": \"12345678\", \"x\": \"y\", \"z\": null}", "done jid=12345678" REST},
	{JOB_SCAN_EXACT, "{\"JID\":\"12345678\"}", "done jid=" REST},
	{JOB_SCAN_EXACT, "{\"jid\":\"11111111\",\"jid\":\"22222222\"}", "done jid=22222222" REST},
	{JOB_SCAN_EXACT, "{\"jid\":\"11111111\",\"jid\":null}", "done jid=" REST},
	{JOB_SCAN_EXACT, "{\"jid\":12345678}", "done jid=" REST},
	{JOB_SCAN_EXACT, "{\"jid\":null}", "done jid=" REST},
	{JOB_SCAN_EXACT, "{\"jid\":\"12345678\",\"x\":1}", "done jid=" REST},
	{JOB_SCAN_EXACT, "{\"x\":true,\"jid\":\"12345678\"}", "done jid=" REST},
	{JOB_SCAN_EXACT, "{\"jid\":{\"jid\":\"12345678\"},\"jid\":\"12345678\"}", "done jid=" REST},
	{JOB_SCAN_EXACT, "{\"queue\":\"q\",\"jobtype\":\"t\",\"wid\":\"w\",\"jid\":\"12345678\"}",
	 "done jid=12345678" REST},
	/* FAIL and BEAT: a Go struct */
	{JOB_SCAN_FOLDED, "{\"errtype\":\"E\",\"message\":\"m\",\"backtrace\":[\"jid\",\"}\"],\"jid\":\"12345678\"}",
	 "done jid=12345678" REST},
	{JOB_SCAN_FOLDED, "{\"JID\":\"11111111\",\"jId\":\"22222222\"}", "done jid=22222222" REST},
	{JOB_SCAN_FOLDED, "{\"J\\u0049d\":\"22222222\"}", "done jid=22222222" REST},
	{JOB_SCAN_FOLDED, "{\"jid\":\"11111111\",\"JID\":null}", "done jid=11111111" REST},
	{JOB_SCAN_FOLDED, "{\"jid\":\"11111111\",\"JID\":3}", "done jid=" REST},
	{JOB_SCAN_FOLDED, "{\"jid\":3,\"JID\":\"11111111\"}", "done jid=" REST},
	{JOB_SCAN_FOLDED, "{\"jid\":[],\"JID\":\"11111111\"}", "done jid=" REST},
	{JOB_SCAN_FOLDED, "{\"wid\":\"abc\",\"rss_kb\":12}",
	 "done jid= queue= type= wid=abc rf=0 retry=none0 count=0 ent=0"},
	{JOB_SCAN_FOLDED, "{\"WID\":\"abc\",\"wid\":\"\"}", "done jid=" REST},
	{JOB_SCAN_FOLDED, "{\"custom\":{\"bid\":1},\"failure\":{\"retry_count\":1},\"retry\":3,\"queue\":\"q\"}",
	 "done jid=" REST},
	/* not finished */
	{JOB_SCAN_FETCHED, "", "open jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"1234567", "open jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"12345678\",\"args\":[{\"a\":\"", "open jid=12345678" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"12345678\",\"jid\":\"1", "open jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":2", "open jid=" REST},
	/* no JSON, or no object */
	{JOB_SCAN_FETCHED, "[]", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "null", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "\"jid\"", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{,}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{jid:1}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\"}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\" \"12345678\"}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":,\"a\":1}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"12345678\",}", "broken jid=12345678" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"12345678\"]", "broken jid=12345678" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"12345678\" \"a\":1}", "broken jid=12345678" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"a\tb45678\"}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"jid\":\"a\\xb45678\"}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"ji\\x\":\"12345678\"}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":nul}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":01}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":-}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":1.}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":1e}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":1x}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":+1}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":'1'}", "broken jid=" REST},
	{JOB_SCAN_FETCHED, "{\"retry\":1]", "broken jid= queue= type= wid= rf=0 retry=1 count=0 ent=0"},
};

ParameterizedTestParameters(job, objects)
{
	return cr_make_param_array(struct row, rows, ARRAY_SIZE(rows));
}

ParameterizedTest(struct row *r, job, objects)
{
	char seen[1024];

	for (unsigned round = 0; round < SPLIT_ROUNDS; round++) {
		scan(r->json, strlen(r->json), r->mode, round, seen, sizeof(seen));
		cr_assert_str_eq(seen, r->expected, "round %u of %s: %s", round, r->json, seen);
	}
}

/* A NUL is a byte like any other. */
Test(job, zero_bytes_break)
{
	char seen[1024];

	scan("{\"jid\":\"1234\0"
	     "5678\"}",
	     19, JOB_SCAN_FETCHED, 0, seen, sizeof(seen));
	cr_assert_str_eq(seen, "broken jid=" REST);
	scan("{\0}", 3, JOB_SCAN_FETCHED, 0, seen, sizeof(seen));
	cr_assert_str_eq(seen, "broken jid=" REST);
}

Test(job, a_jid_of_any_length)
{
	static const size_t lengths[] = {8,    31,    32,    33, 64, JID_RAW_MAX - 1, JID_RAW_MAX, JID_RAW_MAX + 1,
					 1000, 70000, 140000};

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		for (unsigned round = 0; round < 6; round++) {
			size_t n = lengths[i], bytes = 0, done = 0;
			char *json = malloc(n + 100);
			struct job_scan s;
			struct split split;

			cr_assert_not_null(json);
			bytes = (size_t)(stpcpy(json, "{\"jid\":\"") - json);
			memset(json + bytes, 'j', n);
			bytes += n;
			bytes = (size_t)(stpcpy(json + bytes, "\",\"queue\":\"q\"}") - json);

			split_init(&split, round);
			job_scan_init(&s, JOB_SCAN_FETCHED);
			while (done < bytes) {
				size_t piece = split_next(&split, bytes - done);
				job_scan_feed(&s, json + done, piece);
				done += piece;
			}
			cr_assert(s.done);
			cr_assert_eq(s.job.jid_too_long, n > JID_RAW_MAX);
			cr_assert_eq(s.job.jid_bytes, n > JID_RAW_MAX ? 0 : n);
			cr_assert_str_eq(s.job.queue, "q");
			free(json);
		}
}

/* A later jid of a usual length counts again. */
Test(job, a_long_jid_is_replaced)
{
	char json[2 * JID_RAW_MAX], seen[1024];
	size_t bytes = (size_t)(stpcpy(json, "{\"jid\":\"") - json);

	memset(json + bytes, 'j', JID_RAW_MAX + 1);
	bytes += JID_RAW_MAX + 1;
	bytes = (size_t)(stpcpy(json + bytes, "\",\"jid\":\"12345678\"}") - json);
	scan(json, bytes, JOB_SCAN_FETCHED, 0, seen, sizeof(seen));
	cr_assert_str_eq(seen, "done jid=12345678" REST);
}

Test(job, texts_for_messages_are_cut)
{
	char json[1200], name[401];

	memset(name, 'n', 400);
	name[400] = '\0';
	snprintf(json, sizeof(json), "{\"queue\":\"%s\",\"jobtype\":\"%s\"}", name, name);
	for (unsigned round = 0; round < SPLIT_ROUNDS; round++) {
		struct job_scan s;
		struct split split;
		size_t done = 0, bytes = strlen(json);

		split_init(&split, round);
		job_scan_init(&s, JOB_SCAN_FETCHED);
		while (done < bytes) {
			size_t piece = split_next(&split, bytes - done);
			job_scan_feed(&s, json + done, piece);
			done += piece;
		}
		cr_assert(s.done);
		cr_assert_eq(strlen(s.job.queue), JOB_QUEUE_MAX - 1);
		cr_assert_eq(strlen(s.job.jobtype), JOB_QUEUE_MAX - 1);
	}
}

Test(job, depth_is_bounded)
{
	enum { DEEP = 20000 };
	char *json = malloc(2 * DEEP + 100);
	struct job_scan s;
	size_t bytes;

	cr_assert_not_null(json);
	for (unsigned depth = 9999; depth <= DEEP; depth += 10001) {
		bytes = (size_t)(stpcpy(json, "{\"args\":") - json);
		memset(json + bytes, '[', depth);
		memset(json + bytes + depth, ']', depth);
		bytes += 2 * depth;
		json[bytes++] = '}';
		job_scan_init(&s, JOB_SCAN_FETCHED);
		job_scan_feed(&s, json, bytes);
		cr_assert_eq(s.done, depth == 9999);
		cr_assert_eq(s.broken, depth != 9999);
	}
	free(json);
}

/* What is crossed eight bytes at a time ends at the right bracket, wherever in those eight it stands. */
Test(job, a_value_ends_at_its_bracket)
{
	static const char *const insides[] = {"",          "1",           "\"]\"",
					      "\"\\\"]\"", "\"}\",[],{}", "[[]],\"a string of some length, ] and }\""};
	char json[256], seen[1024];

	for (unsigned pad = 0; pad < 17; pad++)
		for (unsigned depth = 1; depth < 20; depth++)
			for (size_t i = 0; i < ARRAY_SIZE(insides); i++) {
				size_t n = (size_t)(stpcpy(json, "{\"args\":") - json);

				memset(json + n, '[', depth);
				n += depth;
				memset(json + n, ' ', pad);
				n += pad;
				n = (size_t)(stpcpy(json + n, insides[i]) - json);
				memset(json + n, ']', depth);
				n += depth;
				n = (size_t)(stpcpy(json + n, ",\"jid\":\"12345678\"}") - json);
				for (unsigned round = 0; round < 5; round++) {
					scan(json, n, JOB_SCAN_FETCHED, round, seen, sizeof(seen));
					cr_assert_str_eq(seen, "done jid=12345678" REST, "%s", json);
				}
				/* one bracket less */
				json[n - strlen(",\"jid\":\"12345678\"}") - 1] = ' ';
				scan(json, n, JOB_SCAN_FETCHED, 0, seen, sizeof(seen));
				cr_assert(strncmp(seen, "done", 4) != 0, "%s", json);
			}
}

/* --- random objects, read by json-c as well --- */

static size_t make_value(struct split *r, char *p, unsigned depth)
{
	static const char *const scalars[] = {
		"0",
		"-17",
		"3.25",
		"1e3",
		"true",
		"null",
		"\"\"",
		"\"jid\"",
		"\"a\\\"b\\\\\"",
		"\"\\u007d]{[\"",
		"\"\\\\\\\\\"",
		"\"a longer text, beyond what is crossed byte by byte, with \\\" and \\\\ in it\""};
	size_t n = 0, count;

	if (depth == 0 || split_random(r) % 3)
		return (size_t)(stpcpy(p, scalars[split_random(r) % ARRAY_SIZE(scalars)]) - p);
	count = split_random(r) % 4;
	if (split_random(r) % 2) {
		p[n++] = '[';
		for (size_t i = 0; i < count; i++) {
			if (i)
				p[n++] = ',';
			n += make_value(r, p + n, depth - 1);
		}
		p[n++] = ']';
	} else {
		static const char *const names[] = {"jid", "retry", "x", "bid", "retry_count", "queue"};
		p[n++] = '{';
		for (size_t i = 0; i < count; i++) {
			n += (size_t)sprintf(p + n, "%s\"%s\": ", i ? "," : "",
					     names[split_random(r) % ARRAY_SIZE(names)]);
			n += make_value(r, p + n, depth - 1);
		}
		p[n++] = '}';
	}
	p[n] = '\0';
	return n;
}

static size_t make_job(struct split *r, char *p)
{
	static const char *const names[] = {"jid",    "queue", "jobtype", "reserve_for", "retry",     "failure",
					    "custom", "args",  "at",      "JID",         "\\u006aid", "wid"};
	size_t n = 0;

	p[n++] = '{';
	for (size_t i = 0, count = 1 + split_random(r) % 10; i < count; i++) {
		size_t name = split_random(r) % ARRAY_SIZE(names);

		n += (size_t)sprintf(p + n, "%s%s\"%s\"%s:", i ? "," : "", split_random(r) % 4 ? "" : "\n ",
				     names[name], split_random(r) % 4 ? "" : "\t");
		/* mostly of the type it should have */
		if (name < 3 && split_random(r) % 4)
			n += (size_t)sprintf(p + n, "\"job-%u\\u00e9\"", (unsigned)split_random(r) % 1000);
		else if ((name == 3 || name == 4) && split_random(r) % 4)
			n += (size_t)sprintf(p + n, "%d", (int)(split_random(r) % 100000) - 10);
		else
			n += make_value(r, p + n, 4);
	}
	p[n++] = '}';
	p[n] = '\0';
	return n;
}

/* The value of a top-level key decides as json-c has it: the last of several. */
static void check_against_json(const char *json, const struct job_scan *s)
{
	struct json_object *o = json_tokener_parse(json), *v;
	char decoded[JID_DECODED_MAX];
	ssize_t n;

	cr_assert(json_object_is_type(o, json_type_object), "%s", json);
	cr_assert(s->done && !s->broken, "%s", json);

	v = NULL;
	json_object_object_get_ex(o, "jid", &v);
	n = jid_decode(s->job.jid, s->job.jid_bytes, decoded, sizeof(decoded));
	cr_assert_geq(n, 0);
	if (json_object_is_type(v, json_type_string)) {
		cr_assert_eq(n, json_object_get_string_len(v), "%s", json);
		cr_assert_eq(memcmp(decoded, json_object_get_string(v), (size_t)n), 0, "%s", json);
	} else {
		cr_assert_eq(n, 0, "%s", json);
	}

	v = NULL;
	json_object_object_get_ex(o, "retry", &v);
	cr_assert_eq(s->job.have_retry, json_object_is_type(v, json_type_int), "%s", json);
	if (s->job.have_retry)
		cr_assert_eq(s->job.retry, json_object_get_int64(v), "%s", json);

	json_object_put(o);
}

Test(job, random_objects_are_read_as_by_another_parser)
{
	static char json[1 << 20];
	char whole[1024], seen[1024];
	struct split random;
	unsigned with_jid = 0;

	split_init(&random, 1813);
	for (unsigned i = 0; i < 3000; i++) {
		size_t bytes = make_job(&random, json);
		struct job_scan s;

		job_scan_init(&s, JOB_SCAN_FETCHED);
		job_scan_feed(&s, json, bytes);
		check_against_json(json, &s);
		with_jid += s.job.jid_bytes > 0;

		show(&s, whole, sizeof(whole));
		for (unsigned round = 1; round < 8; round++) {
			scan(json, bytes, JOB_SCAN_FETCHED, round, seen, sizeof(seen));
			cr_assert_str_eq(seen, whole, "%s", json);
		}
	}
	cr_assert_gt(with_jid, 500);
}

/* One byte changed: it may be anything then, but the same in every split. */
Test(job, any_split_of_any_bytes_is_the_same)
{
	static char json[1 << 20];
	char whole[1024], seen[1024];
	struct split random;
	unsigned broken = 0;

	split_init(&random, 99);
	for (unsigned i = 0; i < 3000; i++) {
		size_t bytes = make_job(&random, json);
		enum job_scan_mode mode = (enum job_scan_mode)(i % 3);

		json[split_random(&random) % bytes] = "\"\\{}[],: x\0\t19"[split_random(&random) % 14];
		scan(json, bytes, mode, SPLIT_WHOLE, whole, sizeof(whole));
		broken += strncmp(whole, "broken", 6) == 0;
		for (unsigned round = 1; round < 8; round++) {
			scan(json, bytes, mode, round, seen, sizeof(seen));
			cr_assert_str_eq(seen, whole, "%s", json);
		}
	}
	cr_assert_gt(broken, 300);
}

Test(job, leases_are_clamped)
{
	cr_assert_eq(job_lease_sec(0), 1800);
	cr_assert_eq(job_lease_sec(1), 60);
	cr_assert_eq(job_lease_sec(-5), 60);
	cr_assert_eq(job_lease_sec(INT64_MIN), 60);
	cr_assert_eq(job_lease_sec(60), 60);
	cr_assert_eq(job_lease_sec(61), 61);
	cr_assert_eq(job_lease_sec(86400), 86400);
	cr_assert_eq(job_lease_sec(86401), 86400);
	cr_assert_eq(job_lease_sec(INT64_MAX), 86400);
}
