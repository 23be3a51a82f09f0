/* SPDX-License-Identifier: MIT
 *
 * One request, one sentence.
 */
#include "supervise/place.h"

#include <stdio.h>
#include <string.h>

/* Enough to tell two chargehands of one name apart that have state directories of their own. */
static uint32_t hash(const char *s)
{
	uint32_t h = 2166136261U; /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619U;
	return h;
}

int place_open(const struct config *c, bool look_only, struct subtree **ret, char **ret_message)
{
	char name[CONFIG_NAME_MAX + 16];
	const struct subtree_request request = {
		.none = c->cgroup_mode == CGROUP_NONE,
		.path = c->cgroup_mode == CGROUP_PATH ? c->cgroup_path : NULL,
		.name = name,
		.memory = c->memory_max_bytes != CONFIG_UNLIMITED || c->memory_high_bytes != CONFIG_UNLIMITED ||
			  c->swap_max_bytes != CONFIG_UNLIMITED || c->oom_group,
		.pids = c->pids_max != CONFIG_UNLIMITED,
		.cpu = c->cpu_percent > 0,
		.look_only = look_only,
	};

	(void)snprintf(name, sizeof(name), "%s-%08x", c->name, c->state_dir ? hash(c->state_dir) : (unsigned)getpid());
	return subtree_open(&request, ret, ret_message);
}

char *place_show(const struct subtree *s, char buffer[PLACE_TEXT_MAX])
{
	static const char *const how[_SUBTREE_KIND_MAX] = {
		[SUBTREE_GIVEN] = "as asked",
		[SUBTREE_UNIT] = "delegated by systemd",
		[SUBTREE_SCOPE] = "a scope of systemd",
		[SUBTREE_OWN] = "the own group",
	};

	if (s->kind == SUBTREE_NONE)
		(void)snprintf(buffer, PLACE_TEXT_MAX, "no cgroups: %s", s->why);
	else
		(void)snprintf(buffer, PLACE_TEXT_MAX, "cgroups below %s (%s%s%s)", s->path ? s->path : s->own.dir,
			       how[s->kind], s->why[0] ? "; " : "", s->why);
	return buffer;
}
