/* SPDX-License-Identifier: MIT
 *
 * First the kinds of values, then a function for each option.
 */
#include "config/value.h"
#include "base/log.h"
#include "base/parse.h"
#include "config/name.h"
#include <string.h>

static int set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int find_word(const char *const *words, size_t n, const char *value)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(value, words[i]) == 0)
			return (int)i;
	return -EINVAL;
}

static int set_path(char **field, const char *value, const char **why)
{
	/* chargehand does not change its directory, but an error message and another chargehand's lock should not
	 * depend on where it was started. */
	if (*value != '/') {
		*why = "an absolute path";
		return -EINVAL;
	}
	return set_string(field, value);
}

/* "none" takes away what another source has set. */
static int set_limit(uint64_t *field, const char *value, int (*parse)(const char *, uint64_t *))
{
	uint64_t limit = CONFIG_UNLIMITED;

	if (strcmp(value, "none") != 0 && (parse(value, &limit) < 0 || limit == 0))
		return -EINVAL;
	*field = limit;
	return 0;
}

static int set_duration(usec_t *field, const char *value)
{
	return parse_duration(value, field) < 0 ? -EINVAL : 0;
}

/* ---- one function for each option */

int value_set_server(struct config *c, const char *value, const char **why)
{
	struct server_url url = {0};
	int r = server_url_parse(value, &url, why);

	if (r < 0)
		return r;
	if (url.tls) {
		server_url_done(&url);
		*why = "this build speaks no TLS to the server: tcp://... is what it can";
		return -EINVAL;
	}
	server_url_done(&c->server);
	c->server = url;
	return 0;
}

int value_set_name(struct config *c, const char *value, const char **why)
{
	(void)why;
	return config_name_is_valid(value) ? set_string(&c->name, value) : -EINVAL;
}

int value_set_instances(struct config *c, const char *value, const char **why)
{
	(void)why;
	return parse_unsigned(value, 1, CONFIG_INSTANCES_MAX, &c->instances) < 0 ? -EINVAL : 0;
}

static const char *const restart_words[] = {
	[RESTART_ALWAYS] = "always",
	[RESTART_ON_FAILURE] = "on-failure",
	[RESTART_NEVER] = "never",
};
_Static_assert(ARRAY_SIZE(restart_words) == _RESTART_MAX, "a word for each policy");

int value_set_restart(struct config *c, const char *value, const char **why)
{
	int i = find_word(restart_words, ARRAY_SIZE(restart_words), value);

	(void)why;
	if (i < 0)
		return i;
	c->restart = (enum restart_policy)i;
	return 0;
}

static const char *const stop_target_words[] = {
	[STOP_TARGET_MAIN] = "main",
	[STOP_TARGET_HELLO] = "hello",
};
_Static_assert(ARRAY_SIZE(stop_target_words) == _STOP_TARGET_MAX, "a word for each target");

int value_set_stop_target(struct config *c, const char *value, const char **why)
{
	int i = find_word(stop_target_words, ARRAY_SIZE(stop_target_words), value);

	(void)why;
	if (i < 0)
		return i;
	c->stop_target = (enum stop_target)i;
	return 0;
}

int value_set_stop_grace(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_duration(&c->stop_grace_usec, value);
}

int value_set_healthy(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_duration(&c->healthy_usec, value);
}

int value_set_linger(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_duration(&c->linger_usec, value);
}

int value_set_memory_max(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_limit(&c->memory_max_bytes, value, parse_size);
}

int value_set_memory_high(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_limit(&c->memory_high_bytes, value, parse_size);
}

/* Unlike the others it may be 0. */
int value_set_swap_max(struct config *c, const char *value, const char **why)
{
	uint64_t limit = CONFIG_UNLIMITED;

	(void)why;
	if (strcmp(value, "none") != 0 && parse_size(value, &limit) < 0)
		return -EINVAL;
	c->swap_max_bytes = limit;
	return 0;
}

int value_set_pids_max(struct config *c, const char *value, const char **why)
{
	(void)why;
	return set_limit(&c->pids_max, value, parse_u64);
}

int value_set_cpu_max(struct config *c, const char *value, const char **why)
{
	char digits[16];
	unsigned percent = 0;
	size_t n = strlen(value);

	(void)why;
	if (strcmp(value, "none") != 0) {
		if (n > 0 && value[n - 1] == '%')
			n--;
		if (n >= sizeof(digits))
			return -EINVAL;
		memcpy(digits, value, n);
		digits[n] = '\0';
		if (parse_unsigned(digits, 1, 100000, &percent) < 0)
			return -EINVAL;
	}
	c->cpu_percent = percent;
	return 0;
}

int value_set_oom_group(struct config *c, const char *value, const char **why)
{
	(void)why;
	return parse_bool(value, &c->oom_group);
}

static const char *const cgroup_words[] = {
	[CGROUP_AUTO] = "auto",
	[CGROUP_NONE] = "none",
	[CGROUP_PATH] = "PATH",
};
_Static_assert(ARRAY_SIZE(cgroup_words) == _CGROUP_MODE_MAX, "a word for each mode");

int value_set_cgroup(struct config *c, const char *value, const char **why)
{
	int i = find_word(cgroup_words, CGROUP_PATH, value);

	if (i < 0) {
		const char *ignored = NULL;
		int r = set_path(&c->cgroup_path, value, &ignored);
		if (r < 0)
			return r;
		i = CGROUP_PATH;
	}
	(void)why;
	c->cgroup_mode = (enum cgroup_mode)i;
	return 0;
}

int value_set_state_dir(struct config *c, const char *value, const char **why)
{
	int r = set_path(&c->state_dir, value, why);

	if (r == 0)
		c->state_dir_asked = true;
	return r;
}

static const char *const sync_words[] = {
	[SYNC_NEVER] = "never",
	[SYNC_INTERVAL] = "interval",
	[SYNC_ALWAYS] = "always",
};
_Static_assert(ARRAY_SIZE(sync_words) == _SYNC_MAX, "a word for each policy");

int value_set_journal_sync(struct config *c, const char *value, const char **why)
{
	int i = find_word(sync_words, ARRAY_SIZE(sync_words), value);

	(void)why;
	if (i < 0)
		return i;
	c->journal_sync = (enum sync_policy)i;
	return 0;
}

int value_set_keep_body(struct config *c, const char *value, const char **why)
{
	uint64_t bytes;

	(void)why;
	/* Each job of a FETCH that is on its way may cost this much. */
	if (parse_size(value, &bytes) < 0 || bytes > UINT64_C(1) << 30)
		return -EINVAL;
	c->keep_body_bytes = bytes;
	return 0;
}

int value_set_log_level(struct config *c, const char *value, const char **why)
{
	int level = log_level_from_string(value);

	(void)why;
	if (level < 0)
		return -EINVAL;
	c->log_level = level;
	return 0;
}

const char *restart_policy_to_string(enum restart_policy policy)
{
	return restart_words[policy];
}

const char *cgroup_mode_to_string(enum cgroup_mode mode)
{
	return cgroup_words[mode];
}

const char *stop_target_to_string(enum stop_target target)
{
	return stop_target_words[target];
}

const char *sync_policy_to_string(enum sync_policy policy)
{
	return sync_words[policy];
}
