/* SPDX-License-Identifier: MIT
 *
 * HI and HELLO. json-c says whether a text is JSON; what is taken from a HELLO, and the cut that removes its pwdhash,
 * is done on the text itself, for a value that went through a parser and a printer is no longer what the worker sent.
 */
#include "faktory/handshake.h"

#include <ctype.h>
#include <json-c/json.h>
#include <sha256.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* More than any HELLO needs: one level for the object, one for its labels. */
#define HELLO_DEPTH_MAX 64

#define KEY_MAX 64

static void json_put(struct json_object **o)
{
	json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_put)

/* Parses exactly these bytes, but for blanks around them. NULL when they are no JSON. */
static struct json_object *json_parse(const char *p, size_t bytes)
{
	struct json_tokener *tokener;
	struct json_object *o = NULL;
	bool whole;
	size_t i;

	if (bytes > INT32_MAX / 2 || memchr(p, '\0', bytes))
		return NULL;
	tokener = json_tokener_new_ex(HELLO_DEPTH_MAX);
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(tokener, p, (int)bytes);
	whole = json_tokener_get_error(tokener) == json_tokener_success;
	for (i = json_tokener_get_parse_end(tokener); whole && i < bytes; i++)
		whole = strchr(" \t\r\n", p[i]) != NULL;
	json_tokener_free(tokener);
	if (whole)
		return o;
	json_object_put(o);
	return NULL;
}

int hi_parse(const char *line, size_t bytes, struct hi *ret)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct json_object *v, *i, *salt;
	struct hi hi = {0};

	if (bytes < 3 || memcmp(line, "HI ", 3) != 0)
		return -EBADMSG;
	o = json_parse(line + 3, bytes - 3);
	if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, "v", &v) ||
	    !json_object_is_type(v, json_type_int))
		return -EBADMSG;
	if (json_object_get_int64(v) != 2)
		return -EPROTONOSUPPORT;
	hi.version = 2;

	if (json_object_object_get_ex(o, "s", &salt) && salt) {
		if (!json_object_is_type(salt, json_type_string) ||
		    (size_t)json_object_get_string_len(salt) >= sizeof(hi.salt) ||
		    strlen(json_object_get_string(salt)) != (size_t)json_object_get_string_len(salt))
			return -EBADMSG;
		strcpy(hi.salt, json_object_get_string(salt));
		hi.iterations = 1;
		if (json_object_object_get_ex(o, "i", &i)) {
			if (!json_object_is_type(i, json_type_int) || json_object_get_int64(i) < 1)
				return -EBADMSG;
			if (json_object_get_int64(i) > HANDSHAKE_ROUNDS_MAX)
				return -ERANGE;
			hi.iterations = (unsigned)json_object_get_int64(i);
		}
	}
	*ret = hi;
	return 0;
}

/* One member of the HELLO's object: everything between "{" or "," and the "," or "}" behind it. */
struct member {
	const char *begin, *end;
	const char *value, *value_end;
	char key[3 * KEY_MAX + 1]; /* decoded and terminated, empty when it is too long to be of interest */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Behind the closing quote of the string that begins at p; NULL for a raw control character. This and the check in
 * member_next() are for what json-c lets pass and the server does not. */
static const char *string_end(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++) {
		if ((unsigned char)*p < 0x20)
			return NULL;
		if (*p == '\\')
			p++;
	}
	return p < end ? p + 1 : NULL;
}

/* Reads the member at p, in a text that is known to be JSON. Its end is the "," or "}" that follows. NULL when a string
 * in it is not one. */
static const char *member_next(const char *p, const char *end, struct member *ret)
{
	const char *quote;
	unsigned depth = 0;
	ssize_t n;

	ret->begin = p;
	ret->key[0] = '\0';
	while (p < end && is_blank(*p))
		p++;
	if (p == end || *p != '"')
		return NULL;
	quote = p;
	p = string_end(p, end);
	if (!p)
		return NULL;
	n = p - quote - 2;
	if (n <= 6 * KEY_MAX) {
		n = jid_decode(quote + 1, (size_t)n, ret->key, sizeof(ret->key) - 1);
		if (n == -EINVAL)
			return NULL;
		ret->key[MAX(n, (ssize_t)0)] = '\0';
	}
	while (p < end && (is_blank(*p) || *p == ':'))
		p++;
	ret->value = ret->value_end = p;
	while (p < end) {
		if (depth == 0 && (*p == ',' || *p == '}'))
			break;
		if (*p == '"') {
			p = string_end(p, end);
			if (!p)
				return NULL;
			ret->value_end = p;
			continue;
		}
		if (*p == 'N' || *p == 'I' || (*p == '.' && !isdigit((unsigned char)p[1])))
			return NULL; /* NaN, Infinity, "1." */
		if (*p == '{' || *p == '[')
			depth++;
		else if (*p == '}' || *p == ']')
			depth--;
		if (!is_blank(*p))
			ret->value_end = p + 1;
		p++;
	}
	if (p == end)
		return NULL;
	ret->end = p;
	return p;
}

static bool member_is(const struct member *m, const char *key)
{
	return strcasecmp(m->key, key) == 0; /* as the server's decoder: any case */
}

static bool member_is_null(const struct member *m)
{
	return m->value_end - m->value == 4 && memcmp(m->value, "null", 4) == 0;
}

/* An integer without fraction or exponent, as the server's decoder demands for one. */
static int member_integer(const struct member *m, int64_t min, int64_t max, int64_t *ret)
{
	char digits[24], *stop;
	size_t bytes = (size_t)(m->value_end - m->value);
	long long n;

	if (bytes == 0 || bytes >= sizeof(digits) ||
	    !(isdigit((unsigned char)m->value[0]) || (m->value[0] == '-' && min < 0)))
		return -EBADMSG;
	memcpy(digits, m->value, bytes);
	digits[bytes] = '\0';
	errno = 0;
	n = strtoll(digits, &stop, 10);
	if (errno || *stop || n < min || n > max)
		return -EBADMSG;
	*ret = n;
	return 0;
}

static int member_wid(const struct member *m, char wid[JOB_WID_MAX])
{
	char decoded[JOB_WID_MAX];
	ssize_t n;

	if (m->value_end - m->value < 2 || *m->value != '"')
		return -EBADMSG;
	n = jid_decode(m->value + 1, (size_t)(m->value_end - m->value - 2), decoded, sizeof(decoded) - 1);
	if (n == -EINVAL)
		return -EBADMSG;
	/* One that is too long, or cannot be a C string, is as good as none here: nobody will send BEAT for it. */
	if (n < 0 || memchr(decoded, '\0', (size_t)n))
		n = 0;
	memcpy(wid, decoded, (size_t)n);
	wid[n] = '\0';
	return 0;
}

static int labels_check(struct json_object *labels)
{
	if (!json_object_is_type(labels, json_type_array))
		return -EBADMSG;
	for (size_t i = 0; i < json_object_array_length(labels); i++) {
		struct json_object *label = json_object_array_get_idx(labels, i);
		if (label && !json_object_is_type(label, json_type_string))
			return -EBADMSG;
	}
	return 0;
}

/* Takes over what chargehand needs, and refuses what the server's decoder would. null changes nothing there. */
static int hello_take(struct hello *h, const struct member *m)
{
	int64_t n = 0;
	int k;

	if (member_is_null(m))
		return 0;
	if (member_is(m, "v")) {
		k = member_integer(m, 0, UINT8_MAX, &n);
		if (k == 0)
			h->version = (long)n;
		return k;
	}
	if (member_is(m, "pid")) {
		k = member_integer(m, INT64_MIN, INT64_MAX, &n);
		if (k == 0)
			h->pid = n > 0 && n <= INT32_MAX ? (pid_t)n : 0;
		return k;
	}
	if (member_is(m, "rss_kb"))
		return member_integer(m, INT64_MIN, INT64_MAX, &n);
	if (member_is(m, "wid"))
		return member_wid(m, h->wid);
	if (member_is(m, "labels"))
		return *m->value == '[' ? 0 : -EBADMSG;
	if (member_is(m, "hostname") || member_is(m, "username") || member_is(m, "pwdhash"))
		return *m->value == '"' ? 0 : -EBADMSG;
	return 0;
}

int hello_parse(const char *args, size_t bytes, struct hello *ret)
{
	_cleanup_json_ struct json_object *o = NULL;
	_cleanup_free_ char *json = NULL;
	struct hello h = {0};
	const char *p = args, *end;
	struct member m;
	int k;

	/* The server wants the brace right behind "HELLO ". */
	if (bytes == 0 || *args != '{')
		return -EBADMSG;
	while (bytes > 0 && is_blank(args[bytes - 1]))
		bytes--;
	end = args + bytes;
	json = malloc(bytes);
	if (!json)
		return -ENOMEM;
	/* Where it is strict, json-c 0.18 takes these bytes for control characters. */
	for (size_t i = 0; i < bytes; i++)
		json[i] = (unsigned char)args[i] < 0x80 ? args[i] : '?';
	o = json_parse(json, bytes);
	if (!json_object_is_type(o, json_type_object))
		return -EBADMSG;
	json_object_object_foreach(o, key, value) if (value && strcasecmp(key, "labels") == 0)
	{
		k = labels_check(value);
		if (k < 0)
			return k;
	}

	json[h.json_bytes++] = '{';
	if (json_object_object_length(o) > 0)
		while (*p != '}') {
			p = member_next(p + 1, end, &m);
			if (!p)
				return -EBADMSG;
			k = hello_take(&h, &m);
			if (k < 0)
				return k;
			if (member_is(&m, "pwdhash"))
				continue;
			if (h.json_bytes > 1)
				json[h.json_bytes++] = ',';
			memcpy(json + h.json_bytes, m.begin, (size_t)(m.end - m.begin));
			h.json_bytes += (size_t)(m.end - m.begin);
		}
	json[h.json_bytes++] = '}';
	h.json = TAKE_PTR(json);
	*ret = h;
	return 0;
}

void hello_done(struct hello *h)
{
	free(h->json);
	*h = (struct hello){0};
}

void handshake_hash(const char *password, const char *salt, unsigned iterations, char ret_hex[HANDSHAKE_HASH_MAX])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA256_CTX context;

	SHA256_Init(&context);
	SHA256_Update(&context, (const uint8_t *)password, strlen(password));
	SHA256_Update(&context, (const uint8_t *)salt, strlen(salt));
	SHA256_Final(digest, &context);
	for (unsigned i = 1; i < iterations; i++) {
		SHA256_Init(&context);
		SHA256_Update(&context, digest, sizeof(digest));
		SHA256_Final(digest, &context);
	}
	for (size_t i = 0; i < sizeof(digest); i++) {
		ret_hex[2 * i] = hex[digest[i] >> 4];
		ret_hex[2 * i + 1] = hex[digest[i] & 15];
	}
	ret_hex[2 * sizeof(digest)] = '\0';
	explicit_bzero(&context, sizeof(context));
}

int hello_write(const struct hello *h, const struct hi *hi, const char *password, char **ret, size_t *ret_bytes)
{
	char hash[HANDSHAKE_HASH_MAX], *line;
	size_t bytes = 0;

	line = malloc(h->json_bytes + STRLEN("HELLO ,\"pwdhash\":\"\"\r\n") + sizeof(hash));
	if (!line)
		return -ENOMEM;
	bytes = (size_t)(stpcpy(line, "HELLO ") - line);
	memcpy(line + bytes, h->json, h->json_bytes - 1);
	bytes += h->json_bytes - 1;
	if (password && hi->iterations > 0) {
		handshake_hash(password, hi->salt, h->version < 2 ? 1 : hi->iterations, hash);
		/* Last, so that it counts whatever the worker's own keys are folded to. */
		bytes += (size_t)sprintf(line + bytes, "%s\"pwdhash\":\"%s\"", h->json_bytes > 2 ? "," : "", hash);
	}
	memcpy(line + bytes, "}\r\n", 3);
	*ret = line;
	*ret_bytes = bytes + 3;
	return 0;
}
