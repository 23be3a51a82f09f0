/* SPDX-License-Identifier: MIT
 *
 * One block of memory: the pointers, then the strings that are new.
 */
#include "config/environment.h"
#include "base/macro.h"
#include <string.h>

/* What systemd says to the process that it started, and to nobody below (sd_notify(3), sd_watchdog_enabled(3),
 * sd_listen_fds(3), systemd.exec(5)). JOURNAL_STREAM names chargehand's standard error; a worker's is a pipe. */
static const char *const dropped[] = {
	"NOTIFY_SOCKET",  "WATCHDOG_USEC",  "WATCHDOG_PID",          "LISTEN_PID",     "LISTEN_FDS",
	"LISTEN_FDNAMES", "LISTEN_PIDFDID", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM",
};

/* True when the entry "NAME=VALUE" is of that name. */
static bool entry_is(const char *entry, const char *name)
{
	size_t n = strlen(name);

	return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

static bool entry_stays(const char *entry, const char *provider_variable)
{
	if (entry_is(entry, "FAKTORY_URL") || entry_is(entry, ENVIRONMENT_MARK))
		return false;
	if (provider_variable && entry_is(entry, provider_variable))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(dropped); i++)
		if (entry_is(entry, dropped[i]))
			return false;
	return true;
}

const char *environment_get(char *const *envp, const char *name)
{
	for (; *envp; envp++)
		if (entry_is(*envp, name))
			return *envp + strlen(name) + 1;
	return NULL;
}

int environment_for_worker(char *const *envp, const struct config *c, uint16_t port, const char *mark, char ***ret)
{
	_cleanup_free_ char *url = server_url_for_worker(&c->server, port);
	const char *names[3] = {"FAKTORY_URL", ENVIRONMENT_MARK, NULL};
	const char *values[3] = {url, mark, url};
	size_t n_new = 2, n = 0, text_bytes = 0;

	if (!url)
		return -ENOMEM;
	if (c->provider_variable && strcmp(c->provider_variable, "FAKTORY_URL") != 0)
		names[n_new++] = c->provider_variable;
	for (size_t i = 0; i < n_new; i++)
		text_bytes += strlen(names[i]) + strlen(values[i]) + 2;
	for (char *const *e = envp; *e; e++)
		n += entry_stays(*e, c->provider_variable);

	char **block = malloc((n + n_new + 1) * sizeof(char *) + text_bytes);
	if (!block)
		return -ENOMEM;
	char **p = block, *text = (char *)(block + n + n_new + 1);
	for (char *const *e = envp; *e; e++)
		if (entry_stays(*e, c->provider_variable))
			*p++ = *e;
	for (size_t i = 0; i < n_new; i++) {
		*p++ = text;
		text = stpcpy(stpcpy(stpcpy(text, names[i]), "="), values[i]) + 1;
	}
	*p = NULL;
	*ret = block;
	return 0;
}
