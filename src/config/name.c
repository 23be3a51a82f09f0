/* SPDX-License-Identifier: MIT
 *
 * Names and the default state directory.
 */
#include "config/name.h"
#include "base/macro.h"
#include "config/environment.h"
#include <sha256.h>
#include <stdio.h>
#include <string.h>

/* Of 32: 48 bits tell a machine's programs apart, and a person can compare them. */
#define HASH_BYTES_SHOWN 6

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_name_char(char c)
{
	return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
}

bool config_name_is_valid(const char *name)
{
	size_t n = 0;

	if (!is_letter_or_digit(name[0]))
		return false;
	for (; name[n]; n++)
		if (!is_name_char(name[n]))
			return false;
	return n <= CONFIG_NAME_MAX;
}

char *config_name_from_command(const char *command)
{
	const char *slash = strrchr(command, '/'), *base = slash ? slash + 1 : command;
	char *name, *p;

	while (*base && !is_letter_or_digit(*base))
		base++;
	if (!*base)
		return strdup("worker");
	name = strndup(base, CONFIG_NAME_MAX);
	for (p = name; p && *p; p++)
		if (!is_name_char(*p))
			*p = '-';
	return name;
}

/* With its end, so that "ab" "c" is not "a" "bc". */
static void hash_string(SHA2_CTX *ctx, const char *s)
{
	SHA256Update(ctx, (const uint8_t *)s, strlen(s) + 1);
}

static void hash_identity(const struct config *c, const char *working_directory, char ret[2 * HASH_BYTES_SHOWN + 1])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char port[8];
	SHA2_CTX ctx;

	(void)snprintf(port, sizeof(port), "%u", (unsigned)c->server.port);
	SHA256Init(&ctx);
	hash_string(&ctx, c->server.host);
	hash_string(&ctx, port);
	hash_string(&ctx, working_directory);
	for (char **word = c->command; word && *word; word++)
		hash_string(&ctx, *word);
	SHA256Final(digest, &ctx);
	for (size_t i = 0; i < HASH_BYTES_SHOWN; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

int config_default_state_dir(const struct config *c, uid_t uid, const char *working_directory, char *const *envp,
			     char **ret)
{
	const char *base = NULL, *below = "";
	char hash[2 * HASH_BYTES_SHOWN + 1];
	char *path = NULL;

	if (uid == 0) {
		base = "/var/lib";
	} else {
		/* A relative path in the variable is to be ignored (XDG Base Directory Specification). */
		const char *state = environment_get(envp, "XDG_STATE_HOME"), *home = environment_get(envp, "HOME");
		if (state && *state == '/') {
			base = state;
		} else if (home && *home == '/') {
			base = home;
			below = "/.local/state";
		}
	}
	if (base) {
		hash_identity(c, working_directory, hash);
		if (asprintf(&path, "%s%s/chargehand/%s-%s", base, below, c->name, hash) < 0)
			return -ENOMEM;
	}
	*ret = path;
	return 0;
}
