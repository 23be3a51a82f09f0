/* SPDX-License-Identifier: MIT */
#include "faktory/url.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct good {
	char url[120];
	bool tls;
	char host[64];
	uint16_t port;
	char username[32], password[32]; /* "" for NULL */
	char path[32];
	char show[64], worker[64];
};

static struct good goods[] = {
	{"tcp://localhost:7419", false, "localhost", 7419, "", "", "", "tcp://localhost:7419", "tcp://127.0.0.1:9"},
	{"tcp://localhost", false, "localhost", 7419, "", "", "", "tcp://localhost:7419", "tcp://127.0.0.1:9"},
	{"tcp://localhost:", false, "localhost", 7419, "", "", "", "tcp://localhost:7419", "tcp://127.0.0.1:9"},
	{"TCP://Faktory.Example:1", false, "Faktory.Example", 1, "", "", "", "tcp://Faktory.Example:1",
	 "tcp://127.0.0.1:9"},
	{"tcp+tls://f.example:65535", true, "f.example", 65535, "", "", "", "tcp+tls://f.example:65535",
	 "tcp://127.0.0.1:9"},
	{"tcp://:secret@10.0.0.1:7500", false, "10.0.0.1", 7500, "", "secret", "", "tcp://10.0.0.1:7500",
	 "tcp://127.0.0.1:9"},
	{"tcp://me:secret@h", false, "h", 7419, "me", "secret", "", "tcp://h:7419", "tcp://127.0.0.1:9"},
	{"tcp://me@h", false, "h", 7419, "me", "", "", "tcp://h:7419", "tcp://127.0.0.1:9"},
	{"tcp://@h", false, "h", 7419, "", "", "", "tcp://h:7419", "tcp://127.0.0.1:9"},
	{"tcp://:@h", false, "h", 7419, "", "", "", "tcp://h:7419", "tcp://127.0.0.1:9"},
	{"tcp://:p%40ss%2Fw%25%c3%a9+x@h", false, "h", 7419, "", "p@ss/w%\xc3\xa9+x", "", "tcp://h:7419",
	 "tcp://127.0.0.1:9"},
	{"tcp://:a:b@h", false, "h", 7419, "", "a:b", "", "tcp://h:7419", "tcp://127.0.0.1:9"},
	{"tcp://:a@b@h", false, "h", 7419, "", "a@b", "", "tcp://h:7419", "tcp://127.0.0.1:9"},
	{"tcp://[::1]:7420", false, "::1", 7420, "", "", "", "tcp://[::1]:7420", "tcp://127.0.0.1:9"},
	{"tcp://:pw@[2001:db8::5]/ns", false, "2001:db8::5", 7419, "", "pw", "/ns", "tcp://[2001:db8::5]:7419",
	 "tcp://127.0.0.1:9/ns"},
	{"tcp://h:7419/", false, "h", 7419, "", "", "/", "tcp://h:7419", "tcp://127.0.0.1:9/"},
	{"tcp://h/a/b?c#d", false, "h", 7419, "", "", "/a/b?c#d", "tcp://h:7419", "tcp://127.0.0.1:9/a/b?c#d"},
	{"tcp://my_service-1.ns:80", false, "my_service-1.ns", 80, "", "", "", "tcp://my_service-1.ns:80",
	 "tcp://127.0.0.1:9"},
};

ParameterizedTestParameters(url, accepted)
{
	return cr_make_param_array(struct good, goods, ARRAY_SIZE(goods));
}

ParameterizedTest(struct good *g, url, accepted)
{
	struct server_url u;
	const char *error = "unset";
	char *text;

	cr_assert_eq(server_url_parse(g->url, &u, &error), 0, "%s: %s", g->url, error);
	cr_assert_null(error);
	cr_assert_eq(u.tls, g->tls, "%s", g->url);
	cr_assert_str_eq(u.host, g->host, "%s", g->url);
	cr_assert_eq(u.port, g->port, "%s", g->url);
	cr_assert_str_eq(u.path, g->path, "%s", g->url);
	cr_assert_eq(u.username != NULL, *g->username != '\0', "%s", g->url);
	cr_assert_eq(u.password != NULL, *g->password != '\0', "%s", g->url);
	if (u.username)
		cr_assert_str_eq(u.username, g->username, "%s", g->url);
	if (u.password)
		cr_assert_str_eq(u.password, g->password, "%s", g->url);
	text = server_url_show(&u);
	cr_assert_str_eq(text, g->show, "%s", g->url);
	free(text);
	text = server_url_for_worker(&u, 9);
	cr_assert_str_eq(text, g->worker, "%s", g->url);
	free(text);
	server_url_done(&u);
	cr_assert_null(u.host);
	server_url_done(&u);
}

struct bad {
	char url[80];
	char says[48]; /* a piece of the sentence */
};

static struct bad bads[] = {
	{"", "must begin with tcp://"},
	{"localhost:7419", "must begin with tcp://"},
	{"redis://h:6379", "must begin with tcp://"},
	{"tcp:/h", "must begin with tcp://"},
	{"tls://h", "must begin with tcp://"},
	{"tcp://", "names no host"},
	{"tcp://:7419", "names no host"},
	{"tcp://:xyzzy@", "names no host"},
	{"tcp://:xyzzy@:7419", "names no host"},
	{"tcp:///path", "names no host"},
	{"tcp://h:0", "1 to 65535"},
	{"tcp://h:65536", "1 to 65535"},
	{"tcp://h:99999999999999999999", "1 to 65535"},
	{"tcp://h:74x9", "1 to 65535"},
	{"tcp://h:-1", "1 to 65535"},
	{"tcp://h:+7", "1 to 65535"},
	{"tcp://::1:7419", "without brackets"},
	{"tcp://[::1", "'['"},
	{"tcp://[::1]7419", "'['"},
	{"tcp://[::g]:7419", "no IPv6 address"},
	{"tcp://[]:7419", "no IPv6 address"},
	{"tcp://[127.0.0.1]:7419", "no IPv6 address"},
	{"tcp://h h", "blank"},
	{"tcp://h\n", "blank"},
	{"tcp://h\xc3\xa9", "other characters"},
	{"tcp://h,i", "other characters"},
	{"tcp://:xyzzy%@h", "%25"},
	{"tcp://:xyzzy%4@h", "%25"},
	{"tcp://:xyzzy%zz@h", "%25"},
	{"tcp://:xyzzy%00@h", "%25"},
	{"tcp://:xy/zzy@h:7419", "%2F"},
	{"tcp://:xy?zzy@h:7419", "%3F"},
	{"tcp://:xy#zzy@h:7419", "%23"},
	{"tcp://h?x=1", "'?'"},
};

ParameterizedTestParameters(url, refused)
{
	return cr_make_param_array(struct bad, bads, ARRAY_SIZE(bads));
}

ParameterizedTest(struct bad *b, url, refused)
{
	struct server_url u;
	const char *error = NULL;

	cr_assert_eq(server_url_parse(b->url, &u, &error), -EINVAL, "%s", b->url);
	cr_assert_not_null(error);
	cr_assert_not_null(strstr(error, b->says), "%s: %s", b->url, error);
	cr_assert_null(strstr(error, "xyzzy"), "a password is told: %s", error);
	cr_assert_null(strchr(error, '\n'));
}

Test(url, a_host_name_has_a_limit)
{
	char url[400] = "tcp://";
	struct server_url u;
	const char *error;

	memset(url + 6, 'h', 253);
	cr_assert_eq(server_url_parse(url, &u, &error), 0);
	server_url_done(&u);
	url[6 + 253] = 'h';
	cr_assert_eq(server_url_parse(url, &u, &error), -EINVAL);
}
