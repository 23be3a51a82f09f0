/* SPDX-License-Identifier: MIT
 *
 * Counters of the cgroups around a worker, on a tree of plain files.
 */
#include "process/surroundings.h"

#include "groups.h"

TestSuite(surroundings, .timeout = 60);

Test(surroundings, the_nearest_limit_that_was_hit, .init = set_up, .fini = tear_down)
{
	struct surroundings s;
	struct surroundings_past past = {.latest_usec = 0};
	struct surroundings_counts now;

	cr_assert(eq(int, surroundings_open(top, unit, NULL, &s), 0));
	cr_assert(eq(u32, s.n, 3));
	cr_expect(eq(str, s.groups[0].path, "/system.slice/mail.service"));
	cr_expect(eq(str, s.groups[2].path, "/"));
	cr_expect(s.sees_machine, "the root of a hierarchy has no cgroup.type");
	surroundings_read(&s, &past.counts);

	surroundings_compare(&s, &past, 10 * USEC_PER_SEC, &now);
	cr_expect(eq(int, surroundings_find_limit(&s, &past.counts, &now), -ENOENT));

	put(unit, "memory.events.local", "max 3\noom 2\noom_kill 5\n");
	surroundings_compare(&s, &past, 20 * USEC_PER_SEC, &now);
	cr_expect(eq(int, surroundings_find_limit(&s, &past.counts, &now), 0));
	cr_expect(eq(u64, surroundings_limit(&s, 0), (uint64_t)200 << 20));
	cr_expect(eq(u64, surroundings_limit(&s, 1), UINT64_MAX));

	/* Another victim of the same shortage ... */
	surroundings_compare(&s, &past, 20 * USEC_PER_SEC + 300 * USEC_PER_MSEC, &now);
	cr_expect(eq(int, surroundings_find_limit(&s, &past.counts, &now), 0));
	/* ... and one of another, later. */
	surroundings_compare(&s, &past, 30 * USEC_PER_SEC, &now);
	cr_expect(eq(int, surroundings_find_limit(&s, &past.counts, &now), -ENOENT));
	surroundings_close(&s);
}

Test(surroundings, a_container_does_not_see_the_machine, .init = set_up, .fini = tear_down)
{
	struct surroundings s;
	const char *file;
	int dir_fd;

	/* Its own root is a group like any other. */
	cr_assert(eq(int, surroundings_open(unit, unit, NULL, &s), 0));
	cr_assert(eq(u32, s.n, 1));
	cr_expect(eq(str, s.groups[0].path, "/"));
	cr_expect(not(s.sees_machine));
	cr_expect(eq(int, surroundings_kill_file(&s, &dir_fd, &file), 0));
	cr_expect(eq(str, (char *)file, "memory.events.local"));
	cr_expect(eq(int, dir_fd, s.groups[0].fd));
	surroundings_close(&s);
}

Test(surroundings, cgroup_v1, .init = set_up, .fini = tear_down)
{
	struct surroundings s;
	struct surroundings_past past = {.latest_usec = 0};
	struct surroundings_counts now;
	const char *file;
	int dir_fd;

	put(top, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
	put(top, "memory.failcnt", "12\n");
	put(top, "memory.limit_in_bytes", "9223372036854771712\n");
	cr_assert(eq(int, surroundings_open(NULL, NULL, top, &s), 0));
	cr_expect(eq(int, surroundings_kill_file(&s, &dir_fd, &file), 0));
	cr_expect(eq(str, (char *)file, "memory.oom_control"));
	cr_expect(eq(u64, surroundings_v1_limit(&s), UINT64_MAX));
	surroundings_read(&s, &past.counts);
	put(top, "memory.limit_in_bytes", "67108864\n");
	put(top, "memory.failcnt", "13\n");
	surroundings_compare(&s, &past, USEC_PER_SEC, &now);
	cr_expect(gt(u64, now.v1_fails, past.counts.v1_fails));
	cr_expect(eq(u64, surroundings_v1_limit(&s), (uint64_t)64 << 20));
	surroundings_close(&s);
}

Test(surroundings, nothing_to_look_at)
{
	struct surroundings s;
	const char *file;
	int dir_fd;

	cr_assert(eq(int, surroundings_open(NULL, NULL, NULL, &s), 0));
	cr_expect(eq(int, surroundings_kill_file(&s, &dir_fd, &file), -ENOENT));
	cr_expect(not(s.sees_machine));
	surroundings_close(&s);
}
