/* SPDX-License-Identifier: MIT
 *
 * For tests of what the cgroups around a worker tell: a root, a slice and a unit, as plain files.
 */
#ifndef CHARGEHAND_TESTS_UNIT_GROUPS_H
#define CHARGEHAND_TESTS_UNIT_GROUPS_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char top[64], unit[128];

static inline void put(const char *dir, const char *file, const char *text)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, file);
	FILE *f = fopen(path, "w");
	cr_assert_not_null(f);
	(void)fputs(text, f);
	(void)fclose(f);
}

static inline void set_up(void)
{
	(void)snprintf(top, sizeof(top), "/tmp/test-groups.XXXXXX");
	cr_assert_not_null(mkdtemp(top));
	(void)snprintf(unit, sizeof(unit), "%s/system.slice", top);
	cr_assert(eq(int, mkdir(unit, 0755), 0));
	put(unit, "cgroup.type", "domain\n");
	put(unit, "memory.events.local", "max 3\noom 0\noom_kill 0\n");
	put(unit, "memory.max", "max\n");
	(void)strcat(unit, "/mail.service");
	cr_assert(eq(int, mkdir(unit, 0755), 0));
	put(unit, "cgroup.type", "domain\n");
	put(unit, "memory.events.local", "max 3\noom 1\noom_kill 4\n");
	put(unit, "memory.max", "209715200\n");
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline void tear_down(void)
{
	(void)nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
