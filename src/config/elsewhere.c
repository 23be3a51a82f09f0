/* SPDX-License-Identifier: MIT
 *
 * Those that people really put in front of a worker. What only changes its surroundings and then becomes it, as env(1),
 * sudo(8), unshare(1) or bwrap(1) do, is not meant.
 */
#include "config/elsewhere.h"

#include "base/macro.h"

#include <string.h>

#define NAMES_MAX 12

static const struct {
	const char *inside;
	const char *names[NAMES_MAX];
} rows[] = {
	{"in the container",
	 {"docker", "docker-compose", "podman", "podman-compose", "nerdctl", "ctr", "crictl", "kubectl", "oc", "lxc",
	  "incus"}},
	{"in the unit", {"systemd-run"}},
	{"on that machine", {"machinectl", "ssh"}},
};

const char *elsewhere_find(const char *command)
{
	const char *slash = strrchr(command, '/'), *base = slash ? slash + 1 : command;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t k = 0; k < NAMES_MAX && rows[i].names[k]; k++)
			if (strcmp(base, rows[i].names[k]) == 0)
				return rows[i].inside;
	return NULL;
}
