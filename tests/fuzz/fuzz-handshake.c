/* SPDX-License-Identifier: MIT
 *
 * HI and HELLO. What is accepted as a HELLO must be JSON, hold no pwdhash in any spelling, be accepted again as it is,
 * and give a line that holds exactly one.
 */
#include "faktory/handshake.h"

#include "fuzz.h"

#include <json-c/json.h>
#include <strings.h>

static unsigned count_hashes(const char *json, size_t bytes)
{
	struct json_tokener *tokener = json_tokener_new_ex(128);
	struct json_object *o;
	unsigned n = 0;

	CHECK(tokener);
	o = json_tokener_parse_ex(tokener, json, (int)bytes);
	CHECK(json_object_is_type(o, json_type_object));
	json_object_object_foreach(o, key, value)
	{
		(void)value;
		n += strcasecmp(key, "pwdhash") == 0;
	}
	json_object_put(o);
	json_tokener_free(tokener);
	return n;
}

static void check_hello(const char *args, size_t bytes)
{
	static const struct hi hi = {.version = 2, .iterations = 3, .salt = "5a17"};
	struct hello first, again;
	char *line;
	size_t line_bytes;

	if (hello_parse(args, bytes, &first) < 0)
		return;
	CHECK(first.json_bytes >= 2 && first.json_bytes <= bytes);
	CHECK(first.json[0] == '{' && first.json[first.json_bytes - 1] == '}');
	CHECK(first.version >= 0 && first.version <= 255 && first.pid >= 0);
	CHECK(memchr(first.wid, '\0', sizeof(first.wid)));
	CHECK(count_hashes(first.json, first.json_bytes) == 0);

	CHECK(hello_parse(first.json, first.json_bytes, &again) == 0);
	CHECK(again.json_bytes == first.json_bytes && memcmp(again.json, first.json, first.json_bytes) == 0);
	CHECK(again.version == first.version && again.pid == first.pid && strcmp(again.wid, first.wid) == 0);

	CHECK(hello_write(&first, &hi, "secret", &line, &line_bytes) == 0);
	CHECK(memcmp(line, "HELLO {", 7) == 0 && memcmp(line + line_bytes - 3, "}\r\n", 3) == 0);
	CHECK(count_hashes(line + 6, line_bytes - 8) == 1);
	free(line);
	hello_done(&again);
	hello_done(&first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size ? size : 1);
	struct hi hi;

	CHECK(copy);
	memcpy(copy, data, size);
	if (hi_parse(copy, size, &hi) == 0) {
		CHECK(hi.version == 2 && hi.iterations <= HANDSHAKE_ROUNDS_MAX);
		CHECK(memchr(hi.salt, '\0', sizeof(hi.salt)));
	}
	check_hello(copy, size);
	free(copy);
	return 0;
}
