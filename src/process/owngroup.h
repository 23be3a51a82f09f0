/* SPDX-License-Identifier: MIT
 *
 * Which cgroup this process is in, and where in the file system that is: /proc/self/cgroup (cgroups(7)) put together
 * with /proc/self/mountinfo (proc(5)). Decides nothing.
 */
#ifndef CHARGEHAND_PROCESS_OWNGROUP_H
#define CHARGEHAND_PROCESS_OWNGROUP_H

#include "base/macro.h"
#include <stdbool.h>

struct own_group {
	char *path;       /* in the hierarchy, as this cgroup namespace shows it: "/user.slice/…"; NULL: no cgroup2 */
	char *mount;      /* of the cgroup2; NULL: none */
	char *dir;        /* mount and path together; NULL: not below what is mounted */
	char *memory_dir; /* of the memory controller of cgroup v1, where that is where it is; else NULL */
};

int own_group_find(struct own_group *ret) _must_check_;
void own_group_done(struct own_group *g);

/* The texts of the two files. -ENOMEM. */
int own_group_parse(const char *cgroup, const char *mountinfo, struct own_group *ret) _must_check_;

/* The unit of systemd in whose cgroup a path is: the last of its components that ends in .service or .scope; *ret_bytes
 * long. NULL when there is none. */
const char *own_group_unit(const char *path, size_t *ret_bytes);

#endif
