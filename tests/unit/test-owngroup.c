/* SPDX-License-Identifier: MIT */
#include "process/owngroup.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define MOUNT(root, at, type, options) "36 35 0:26 " root " " at " rw,nosuid - " type " " type " " options "\n"

static struct own_group g;

static void done(void)
{
	own_group_done(&g);
}
TestSuite(owngroup, .fini = done);

static void expect(const char *cgroup, const char *mounts, const char *dir, const char *memory_dir)
{
	cr_assert(eq(int, own_group_parse(cgroup, mounts, &g), 0));
	if (dir)
		cr_expect(g.dir && strcmp(g.dir, dir) == 0, "%s, not %s", g.dir, dir);
	else
		cr_expect(zero(ptr, g.dir), "%s", g.dir);
	if (memory_dir)
		cr_expect(g.memory_dir && strcmp(g.memory_dir, memory_dir) == 0, "%s", g.memory_dir);
	else
		cr_expect(zero(ptr, g.memory_dir), "%s", g.memory_dir);
	own_group_done(&g);
}

Test(owngroup, is_below_its_mount)
{
	const char *v2 = MOUNT("/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate");

	expect("0::/a/b.service\n", v2, "/sys/fs/cgroup/a/b.service", NULL);
	expect("0::/\n", v2, "/sys/fs/cgroup", NULL);
	expect("0::/a", MOUNT("/", "/a\\040b", "cgroup2", "rw"), "/a b/a", NULL);
}

Test(owngroup, a_mount_may_show_a_part_of_the_tree)
{
	expect("0::/a/b\n", MOUNT("/a", "/mnt", "cgroup2", "rw"), "/mnt/b", NULL);
	expect("0::/ab\n", MOUNT("/a", "/mnt", "cgroup2", "rw"), NULL, NULL);
	expect("0::/a/b\n",
	       MOUNT("/c", "/one", "cgroup2", "rw") MOUNT("/", "/two", "tmpfs", "rw")
		       MOUNT("/", "/three", "cgroup2", "rw"),
	       "/three/a/b", NULL);
}

Test(owngroup, outside_of_the_namespace_is_nowhere)
{
	expect("0::/../../other\n", MOUNT("/", "/sys/fs/cgroup", "cgroup2", "rw"), NULL, NULL);
	cr_assert(eq(int, own_group_parse("0::/..\n", MOUNT("/", "/sys/fs/cgroup", "cgroup2", "rw"), &g), 0));
	cr_expect(eq(str, g.mount, (char *)"/sys/fs/cgroup"));
}

Test(owngroup, of_version_1_only_memory_counts)
{
	const char *mounts =
		MOUNT("/", "/cg/cpu", "cgroup", "rw,cpu,cpuacct") MOUNT("/", "/cg/m", "cgroup", "rw,memory");

	expect("4:memory:/x\n3:cpu,cpuacct:/y\n", mounts, NULL, "/cg/m/x");
	expect("4:cpu,memory:/x\n0::/\n", MOUNT("/", "/cg/both", "cgroup", "rw,cpu,memory"), NULL, "/cg/both/x");
	expect("4:memoryx:/x\n2:name=memory:/y\n", mounts, NULL, NULL);
	expect("", mounts, NULL, NULL);
}

Test(owngroup, the_unit_is_the_last_of_the_path)
{
	size_t n = 0;
	const char *unit = own_group_unit("/user.slice/user@1.service/app.slice/x.scope/deeper", &n);

	cr_assert(not(zero(ptr, (void *)unit)));
	cr_expect(eq(int, strncmp(unit, "x.scope", n), 0));
	cr_expect(eq(sz, n, strlen("x.scope")));
	cr_expect(zero(ptr, (void *)own_group_unit("/", &n)));
	cr_expect(zero(ptr, (void *)own_group_unit("/a.slice/.service", &n)));
}
