/* SPDX-License-Identifier: MIT
 *
 * Reads the server's address as RFC 3986 does, no further than Faktory's clients do: scheme, user information, host,
 * port, path. Says what is wrong in sentences that never repeat the address.
 */
#include "faktory/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 253 /* RFC 1035 */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* "%2F" becomes "/". "+" stays. *ret is NULL for an empty text. -EINVAL for a broken escape, or one of NUL. */
static int percent_decode(const char *p, const char *end, char **ret)
{
	_cleanup_free_ char *out = NULL;
	size_t n = 0;

	if (p == end) {
		*ret = NULL;
		return 0;
	}
	out = malloc((size_t)(end - p) + 1);
	if (!out)
		return -ENOMEM;
	while (p < end) {
		char c = *p++;

		if (c == '%') {
			if (end - p < 2 || hex_digit(p[0]) < 0 || hex_digit(p[1]) < 0)
				return -EINVAL;
			c = (char)(hex_digit(p[0]) << 4 | hex_digit(p[1]));
			p += 2;
			if (c == '\0')
				return -EINVAL;
		}
		out[n++] = c;
	}
	out[n] = '\0';
	*ret = TAKE_PTR(out);
	return 0;
}

static const char *host_check(const char *host, bool bracketed)
{
	struct in6_addr address;

	if (bracketed)
		return inet_pton(AF_INET6, host, &address) == 1 ? NULL
								: "the server URL has something between brackets that "
								  "is no IPv6 address; right is [::1]";
	if (!*host)
		return "the server URL names no host; right is tcp://HOST:7419";
	if (strlen(host) > HOST_MAX)
		return "the server URL has a host name of more than 253 characters";
	for (const char *p = host; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-' ||
		      *p == '.' || *p == '_'))
			return "the server URL has a host name with other characters than letters, digits, '-', '.' "
			       "and '_'";
	return NULL;
}

static const char *port_parse(const char *p, const char *end, uint16_t *ret)
{
	unsigned port = 0;

	if (p == end) {
		*ret = URL_PORT_DEFAULT;
		return NULL;
	}
	for (; p < end; p++) {
		if (*p < '0' || *p > '9' || port > UINT16_MAX)
			break;
		port = port * 10 + (unsigned)(*p - '0');
	}
	if (p < end || port == 0 || port > UINT16_MAX)
		return "the server URL has a port that is no number from 1 to 65535; a ':', '/', '?', '#' or '@' in a "
		       "password must be written as %3A, %2F, %3F, %23 or %40";
	*ret = (uint16_t)port;
	return NULL;
}

/* USER:PASSWORD, either of them empty. */
static int userinfo_parse(const char *p, const char *end, struct server_url *u)
{
	const char *colon = memchr(p, ':', (size_t)(end - p));
	int k;

	k = percent_decode(p, colon ? colon : end, &u->username);
	if (k == 0 && colon)
		k = percent_decode(colon + 1, end, &u->password);
	return k;
}

/* HOST, HOST:PORT or [ADDRESS]:PORT. */
static int host_parse(const char *p, const char *end, struct server_url *u, const char **ret_error)
{
	const char *host_end, *port;
	bool bracketed = p < end && *p == '[';

	if (bracketed) {
		p++;
		host_end = memchr(p, ']', (size_t)(end - p));
		if (!host_end || (host_end + 1 < end && host_end[1] != ':')) {
			*ret_error = "the server URL has a '[' without its ']' and port; right is tcp://[::1]:7419";
			return -EINVAL;
		}
		port = host_end + 1 < end ? host_end + 2 : end;
	} else {
		host_end = memchr(p, ':', (size_t)(end - p));
		if (host_end && memrchr(p, ':', (size_t)(end - p)) != host_end) {
			*ret_error = "the server URL has an IPv6 address without brackets; right is tcp://[::1]:7419";
			return -EINVAL;
		}
		port = host_end ? host_end + 1 : end;
		if (!host_end)
			host_end = end;
	}
	u->host = strndup(p, (size_t)(host_end - p));
	if (!u->host)
		return -ENOMEM;
	*ret_error = host_check(u->host, bracketed);
	if (!*ret_error)
		*ret_error = port_parse(port, end, &u->port);
	return *ret_error ? -EINVAL : 0;
}

int server_url_parse(const char *url, struct server_url *ret, const char **ret_error)
{
	struct server_url u = {0};
	const char *p, *end, *at;
	int k;

	*ret_error = NULL;
	for (p = url; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f) {
			*ret_error =
				"the server URL holds a blank or a control character; in a password write it as %20";
			return -EINVAL;
		}
	if (strncasecmp(url, "tcp://", 6) == 0) {
		p = url + 6;
	} else if (strncasecmp(url, "tcp+tls://", 10) == 0) {
		p = url + 10;
		u.tls = true;
	} else {
		*ret_error = "the server URL must begin with tcp:// or tcp+tls://, as in tcp://:PASSWORD@HOST:7419";
		return -EINVAL;
	}
	end = p + strcspn(p, "/?#");
	if (*end && strchr(end, '@')) {
		*ret_error = "the server URL has a '/', '?' or '#' before its '@'; in a password write %2F, %3F or %23";
		return -EINVAL;
	}
	if (*end && *end != '/') {
		*ret_error = "the server URL has a '?' or '#' behind the host, where only a port and a path can stand";
		return -EINVAL;
	}

	k = 0;
	at = memrchr(p, '@', (size_t)(end - p));
	if (at) {
		k = userinfo_parse(p, at, &u);
		if (k == -EINVAL)
			*ret_error = "the server URL has a '%' in its password that is not followed by two hexadecimal "
				     "digits; "
				     "a percent sign is written %25";
		p = at + 1;
	}
	if (k == 0)
		k = host_parse(p, end, &u, ret_error);
	if (k == 0) {
		u.path = strdup(end);
		if (!u.path)
			k = -ENOMEM;
	}
	if (k < 0) {
		if (!*ret_error)
			*ret_error = "there is no memory for the server URL";
		server_url_done(&u);
		return k;
	}
	*ret = u;
	return 0;
}

void server_url_done(struct server_url *u)
{
	free(u->host);
	if (u->password)
		explicit_bzero(u->password, strlen(u->password));
	free(u->password);
	free(u->username);
	free(u->path);
	*u = (struct server_url){0};
}

char *server_url_show(const struct server_url *u)
{
	bool bracketed = strchr(u->host, ':') != NULL;
	char *text;

	if (asprintf(&text, "%s://%s%s%s:%u", u->tls ? "tcp+tls" : "tcp", bracketed ? "[" : "", u->host,
		     bracketed ? "]" : "", u->port) < 0)
		return NULL;
	return text;
}

char *server_url_for_worker(const struct server_url *u, uint16_t port)
{
	char *text;

	if (asprintf(&text, "tcp://127.0.0.1:%u%s", port, u->path) < 0)
		return NULL;
	return text;
}
