/* SPDX-License-Identifier: MIT */
#include "faktory/handshake.h"

#include "split.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <json-c/json.h>

/* --- HI --- */

struct hi_row {
	char line[96];
	int result;
	unsigned iterations;
	char salt[32];
};

static struct hi_row hi_rows[] = {
	{"HI {\"v\":2}", 0, 0, ""},
	{"HI {\"v\":2,\"i\":4083,\"s\":\"391c146cfa4585d2\"}", 0, 4083, "391c146cfa4585d2"},
	{"HI {\"s\":\"ab\",\"i\":1,\"v\":2,\"x\":[{}]}", 0, 1, "ab"},
	{"HI {\"v\":2,\"s\":\"ab\"}", 0, 1, "ab"},
	{"HI {\"v\":2,\"i\":5000}", 0, 0, ""},
	{"HI {\"v\":2,\"s\":null}", 0, 0, ""},
	{"HI { \"v\" : 2 } ", 0, 0, ""},
	{"HI {\"v\":2,\"i\":65536,\"s\":\"ab\"}", 0, 65536, "ab"},
	{"HI {\"v\":2,\"i\":65537,\"s\":\"ab\"}", -ERANGE, 0, ""},
	{"HI {\"v\":2,\"i\":9223372036854775807,\"s\":\"ab\"}", -ERANGE, 0, ""},
	{"HI {\"v\":2,\"i\":0,\"s\":\"ab\"}", -EBADMSG, 0, ""},
	{"HI {\"v\":2,\"i\":-4,\"s\":\"ab\"}", -EBADMSG, 0, ""},
	{"HI {\"v\":2,\"i\":\"5\",\"s\":\"ab\"}", -EBADMSG, 0, ""},
	{"HI {\"v\":2,\"i\":5.5,\"s\":\"ab\"}", -EBADMSG, 0, ""},
	{"HI {\"v\":2,\"i\":5,\"s\":12}", -EBADMSG, 0, ""},
	{"HI {\"v\":2,\"i\":5,\"s\":\"a\\u0000b\"}", -EBADMSG, 0, ""},
	{"HI {\"v\":2,\"i\":5,\"s\":\"0123456789012345678901234567890123456789012345678901234567890123\"}", -EBADMSG, 0,
	 ""},
	{"HI {\"v\":3}", -EPROTONOSUPPORT, 0, ""},
	{"HI {\"v\":1}", -EPROTONOSUPPORT, 0, ""},
	{"HI {\"v\":9223372036854775807}", -EPROTONOSUPPORT, 0, ""},
	{"HI {\"v\":\"2\"}", -EBADMSG, 0, ""},
	{"HI {}", -EBADMSG, 0, ""},
	{"HI []", -EBADMSG, 0, ""},
	{"HI {\"v\":2", -EBADMSG, 0, ""},
	{"HI {\"v\":2}x", -EBADMSG, 0, ""},
	{"HI", -EBADMSG, 0, ""},
	{"HI ", -EBADMSG, 0, ""},
	{"", -EBADMSG, 0, ""},
	{"OK", -EBADMSG, 0, ""},
	{"hi {\"v\":2}", -EBADMSG, 0, ""},
	{"PONG", -EBADMSG, 0, ""},
};

ParameterizedTestParameters(handshake, hi)
{
	return cr_make_param_array(struct hi_row, hi_rows, ARRAY_SIZE(hi_rows));
}

ParameterizedTest(struct hi_row *r, handshake, hi)
{
	char *line = split_copy(r->line, strlen(r->line));
	struct hi hi;

	cr_assert_eq(hi_parse(line, strlen(r->line), &hi), r->result, "%s", r->line);
	if (r->result == 0) {
		cr_assert_eq(hi.version, 2);
		cr_assert_eq(hi.iterations, r->iterations, "%s", r->line);
		cr_assert_str_eq(hi.salt, r->salt, "%s", r->line);
	}
	free(line);
}

/* --- HELLO --- */

struct hello_row {
	char args[280];
	int result;
	char json[280]; /* "" when it is to stay as it came */
	long version;
	pid_t pid;
	char wid[64];
};

static struct hello_row hello_rows[] = {
	/* as real libraries send it */
	{"{\"hostname\":\"vm\",\"wid\":\"4qpc2443vpvai\",\"pid\":26098,\"labels\":[\"golang-1.7.0\"],\"username\":"
	 "\"u\",\"pwdhash\":\"\",\"v\":2}",
	 0,
	 "{\"hostname\":\"vm\",\"wid\":\"4qpc2443vpvai\",\"pid\":26098,\"labels\":[\"golang-1.7.0\"],\"username\":"
	 "\"u\",\"v\":2}",
	 2, 26098, "4qpc2443vpvai"},
	{"{\"wid\":\"4d2e6e943e7aba1b\",\"hostname\":\"vm\",\"pid\":1677,\"labels\":[\"ruby-3.1.7\"],\"username\":\"\","
	 "\"v\":2}",
	 0, "", 2, 1677, "4d2e6e943e7aba1b"},
	{"{\"hostname\": \"vm\", \"pid\": 32483, \"labels\": [\"python\"], \"wid\": \"0f\"}", 0, "", 0, 32483, "0f"},
	{"{}", 0, "", 0, 0, ""},
	{"{ }", 0, "{}", 0, 0, ""},
	{"{\"v\":2}", 0, "", 2, 0, ""},
	/* the cut, wherever it stands */
	{"{\"pwdhash\":\"x\"}", 0, "{}", 0, 0, ""},
	{"{\"pwdhash\":\"x\",\"v\":2}", 0, "{\"v\":2}", 2, 0, ""},
	{"{\"v\":2,\"pwdhash\":\"x\"}", 0, "{\"v\":2}", 2, 0, ""},
	{"{\"v\": 2 , \"pwdhash\" : \"x\" , \"wid\" : \"w\" }  ", 0, "{\"v\": 2 , \"wid\" : \"w\" }", 2, 0, "w"},
	{"{\"PwdHash\":\"x\",\"v\":2,\"pwdh\\u0061sh\":\"},{\\\"\",\"pwdhash\":null}", 0, "{\"v\":2}", 2, 0, ""},
	{"{\"x\":{\"pwdhash\":\"keep\"},\"pwdhash2\":1,\"pwdhash\":\"go\"}", 0,
	 "{\"x\":{\"pwdhash\":\"keep\"},\"pwdhash2\":1}", 0, 0, ""},
	/* byte for byte */
	{"{\"a\":1e3,\"b\":12345678901234567890,\"c\":\"\\u003c\\/\xc3\xa9\",\"d\":[ 1,{\"e\" :\"]}\\\"\"} "
	 "],\"a\":2.0}",
	 0, "", 0, 0, ""},
	{"{\"c\":\"\xff\xfe\",\"v\":2}", 0, "", 2, 0, ""},
	/* values */
	{"{\"v\":0,\"pid\":0}", 0, "", 0, 0, ""},
	{"{\"v\":3,\"pid\":-5}", 0, "", 3, 0, ""},
	{"{\"v\":255,\"pid\":2147483647}", 0, "", 255, 2147483647, ""},
	{"{\"pid\":2147483648}", 0, "", 0, 0, ""},
	{"{\"v\":null,\"pid\":null,\"wid\":null,\"hostname\":null,\"labels\":null,\"rss_kb\":null,\"username\":null}",
	 0, "", 0, 0, ""},
	{"{\"V\":2,\"PID\":7,\"Wid\":\"w\"}", 0, "", 2, 7, "w"},
	{"{\"wid\":\"a\",\"WID\":\"b\",\"wid\":null,\"pid\":1,\"pid\":2}", 0, "", 0, 2, "b"},
	{"{\"wid\":\"\\u00e9\\\"\\\\\"}", 0, "", 0, 0, "\xc3\xa9\"\\"},
	{"{\"w\\u0069d\":\"x\"}", 0, "", 0, 0, "x"},
	{"{\"wid\":\"a\\u0000b\"}", 0, "", 0, 0, ""},
	{"{\"wid\":"
	 "\"01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"
	 "789012345678901234567\"}",
	 0, "", 0, 0, ""},
	{"{\"labels\":[\"a\",null]}", 0, "", 0, 0, ""},
	/* what the server would close the connection for */
	{"", -EBADMSG, "", 0, 0, ""},
	{" {}", -EBADMSG, "", 0, 0, ""},
	{"[]", -EBADMSG, "", 0, 0, ""},
	{"null", -EBADMSG, "", 0, 0, ""},
	{"{", -EBADMSG, "", 0, 0, ""},
	{"{}}", -EBADMSG, "", 0, 0, ""},
	{"{} {}", -EBADMSG, "", 0, 0, ""},
	{"{\"v\":2,}", -EBADMSG, "", 0, 0, ""},
	{"{'v':2}", -EBADMSG, "", 0, 0, ""},
	{"{\"v\":\"2\"}", -EBADMSG, "", 0, 0, ""},
	{"{\"v\":256}", -EBADMSG, "", 0, 0, ""},
	{"{\"v\":-1}", -EBADMSG, "", 0, 0, ""},
	{"{\"v\":2.0}", -EBADMSG, "", 0, 0, ""},
	{"{\"v\":true}", -EBADMSG, "", 0, 0, ""},
	{"{\"pid\":\"1\"}", -EBADMSG, "", 0, 0, ""},
	{"{\"pid\":1e3}", -EBADMSG, "", 0, 0, ""},
	{"{\"pid\":99999999999999999999}", -EBADMSG, "", 0, 0, ""},
	{"{\"pid\":{}}", -EBADMSG, "", 0, 0, ""},
	{"{\"wid\":7}", -EBADMSG, "", 0, 0, ""},
	{"{\"wid\":[]}", -EBADMSG, "", 0, 0, ""},
	{"{\"wid\":\"a\tb\"}", -EBADMSG, "", 0, 0, ""},
	{"{\"x\":\"a\tb\"}", -EBADMSG, "", 0, 0, ""},
	{"{\"x\":[\"a\tb\"]}", -EBADMSG, "", 0, 0, ""},
	{"{\"hostname\":1}", -EBADMSG, "", 0, 0, ""},
	{"{\"pwdhash\":1}", -EBADMSG, "", 0, 0, ""},
	{"{\"labels\":\"x\"}", -EBADMSG, "", 0, 0, ""},
	{"{\"labels\":[1]}", -EBADMSG, "", 0, 0, ""},
	{"{\"labels\":\"x\",\"labels\":[]}", -EBADMSG, "", 0, 0, ""},
	{"{\"v\":-0}", -EBADMSG, "", 0, 0, ""},
	{"{\"x\":NaN}", -EBADMSG, "", 0, 0, ""},
	{"{\"x\":[Infinity]}", -EBADMSG, "", 0, 0, ""},
	{"{\"x\":1.}", -EBADMSG, "", 0, 0, ""},
	{"{\"rss_kb\":1.5}", -EBADMSG, "", 0, 0, ""},
};

ParameterizedTestParameters(handshake, hello)
{
	return cr_make_param_array(struct hello_row, hello_rows, ARRAY_SIZE(hello_rows));
}

ParameterizedTest(struct hello_row *r, handshake, hello)
{
	char *args = split_copy(r->args, strlen(r->args));
	const char *expected = *r->json ? r->json : r->args;
	struct hello h;

	cr_assert_eq(hello_parse(args, strlen(r->args), &h), r->result, "%s", r->args);
	free(args);
	if (r->result < 0)
		return;
	cr_assert_eq(h.json_bytes, strlen(expected), "%s gives %.*s", r->args, (int)h.json_bytes, h.json);
	cr_assert_eq(memcmp(h.json, expected, h.json_bytes), 0, "%s gives %.*s", r->args, (int)h.json_bytes, h.json);
	cr_assert_eq(h.version, r->version, "%s", r->args);
	cr_assert_eq(h.pid, r->pid, "%s", r->args);
	cr_assert_str_eq(h.wid, r->wid, "%s", r->args);
	hello_done(&h);
	cr_assert_null(h.json);
	hello_done(&h);
}

Test(handshake, a_hello_with_a_zero_byte_is_none)
{
	struct hello h;

	cr_assert_eq(hello_parse("{\"v\":2}\0", 8, &h), -EBADMSG);
	cr_assert_eq(hello_parse("{\"x\":\"\0\"}", 9, &h), -EBADMSG);
}

/* --- the hash: SHA-256 of password+salt, then of the digest --- */

Test(handshake, hash_of_known_vectors)
{
	static char long_password[101];
	memset(long_password, 'x', 100);
	const struct {
		const char *password, *salt;
		unsigned iterations;
		const char *hex;
	} vectors[] = {
		{"", "", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"secret", "391c146cfa4585d2", 1, "07e6ea5c355ac00b24a17a560634b82824b834d9456b904ff5ee1bf18ee36d74"},
		{"secret", "391c146cfa4585d2", 2, "c7acb8f2470f57536026a34eb8bf17151c922303b9f3400acbb49e1f26029496"},
		{"secret", "391c146cfa4585d2", 4083,
		 "5d13fbfd1af75eff69ad0a1af68721f011a5ee82651402066e97452de0d592fa"},
		{"p\xc3\xa4ssword", "ab", 65536, "3874fc98cfffbbeb3e2b5d4ac8bb3d5273a0b0fb8f77db21413447a1f47c499b"},
		{long_password, "7fffffffffffffff", 8095,
		 "12af5db115e59cc6f947714a55073b4944b5083a1602518b17e3a49ca725a055"},
	};
	char hex[HANDSHAKE_HASH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		handshake_hash(vectors[i].password, vectors[i].salt, vectors[i].iterations, hex);
		cr_assert_str_eq(hex, vectors[i].hex, "vector %zu", i);
	}
}

/* --- what goes up --- */

static void check_written(const char *args, const struct hi *hi, const char *password, const char *expected)
{
	struct hello h;
	char *line;
	size_t bytes;

	cr_assert_eq(hello_parse(args, strlen(args), &h), 0, "%s", args);
	cr_assert_eq(hello_write(&h, hi, password, &line, &bytes), 0);
	cr_assert_eq(bytes, strlen(expected), "%s gives %.*s", args, (int)bytes, line);
	cr_assert_eq(memcmp(line, expected, bytes), 0, "%s gives %.*s", args, (int)bytes, line);
	free(line);
	hello_done(&h);
}

#define HASH_1 "07e6ea5c355ac00b24a17a560634b82824b834d9456b904ff5ee1bf18ee36d74"
#define HASH_4083 "5d13fbfd1af75eff69ad0a1af68721f011a5ee82651402066e97452de0d592fa"

Test(handshake, hello_goes_up_with_the_links_own_hash)
{
	static const struct hi open = {.version = 2};
	static const struct hi locked = {.version = 2, .iterations = 4083, .salt = "391c146cfa4585d2"};

	check_written("{\"v\":2}", &open, NULL, "HELLO {\"v\":2}\r\n");
	check_written("{\"v\":2}", &open, "secret", "HELLO {\"v\":2}\r\n");
	check_written("{\"v\":2}", &locked, NULL, "HELLO {\"v\":2}\r\n");
	check_written("{\"v\":2}", &locked, "secret", "HELLO {\"v\":2,\"pwdhash\":\"" HASH_4083 "\"}\r\n");
	check_written("{\"v\":3,\"wid\":\"w\"}", &locked, "secret",
		      "HELLO {\"v\":3,\"wid\":\"w\",\"pwdhash\":\"" HASH_4083 "\"}\r\n");
	/* without v, or with an old one, the server makes one round */
	check_written("{}", &locked, "secret", "HELLO {\"pwdhash\":\"" HASH_1 "\"}\r\n");
	check_written("{\"v\":1}", &locked, "secret", "HELLO {\"v\":1,\"pwdhash\":\"" HASH_1 "\"}\r\n");
	check_written("{\"wid\": \"w\"}", &locked, "secret", "HELLO {\"wid\": \"w\",\"pwdhash\":\"" HASH_1 "\"}\r\n");
	/* the worker's own is for another nonce */
	check_written("{\"pwdhash\":\"worker's\",\"v\":2}", &locked, "secret",
		      "HELLO {\"v\":2,\"pwdhash\":\"" HASH_4083 "\"}\r\n");
	check_written("{\"pwdhash\":\"worker's\"}", &open, "secret", "HELLO {}\r\n");
}

/* Random objects: what comes out is the same object less its pwdhash, and of the same bytes where there was none. */
Test(handshake, the_cut_leaves_the_rest)
{
	static const char *const members[] = {"\"pwdhash\":\"x,}\"",
					      "\"PWDHASH\" : \"\\\"\"",
					      "\"v\":2",
					      "\"a\":[1,{\"pwdhash\":\"in\"}]",
					      "\"b\":{\"c\":\"}\"}",
					      "\"d\" :null",
					      "\"e\":\"\\\\\"",
					      "\"pwdhash\":null"};
	static const bool is_hash[] = {true, true, false, false, false, false, false, true};
	struct split random;

	split_init(&random, 5);
	for (unsigned i = 0; i < 2000; i++) {
		char args[512], expected[512];
		size_t n = 0, m = 0;
		struct hello h;

		args[n++] = expected[m++] = '{';
		for (size_t k = 0, count = split_random(&random) % 7; k < count; k++) {
			size_t pick = split_random(&random) % ARRAY_SIZE(members);

			if (k)
				args[n++] = ',';
			n = (size_t)(stpcpy(args + n, members[pick]) - args);
			if (is_hash[pick])
				continue;
			if (m > 1)
				expected[m++] = ',';
			m = (size_t)(stpcpy(expected + m, members[pick]) - expected);
		}
		args[n++] = expected[m++] = '}';
		cr_assert_eq(hello_parse(args, n, &h), 0, "%.*s", (int)n, args);
		cr_assert_eq(h.json_bytes, m, "%.*s", (int)n, args);
		cr_assert_eq(memcmp(h.json, expected, m), 0, "%.*s", (int)n, args);
		hello_done(&h);
	}
}
