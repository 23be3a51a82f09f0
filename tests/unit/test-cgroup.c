/* SPDX-License-Identifier: MIT
 *
 * Two suites: on a tree of plain files, for what this kernel may not have; and on the live cgroup2 hierarchy below our
 * own group, for what only a kernel does. The second is skipped where there is none that may be written.
 */
#include "process/cgroup.h"

#include "base/fileio.h"
#include "child.h"
#include "process/peer.h"

#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define NO_LIMITS                                                                                                      \
	{                                                                                                              \
		.memory_max = CGROUP_UNLIMITED, .memory_high = CGROUP_UNLIMITED, .swap_max = CGROUP_UNLIMITED,         \
		.pids_max = CGROUP_UNLIMITED                                                                           \
	}
static const struct cgroup_limits no_limits = NO_LIMITS;

/* ---- plain files */

static char directory[] = "/tmp/chargehand-test-XXXXXX";
static int dir_fd = -EBADF;
static struct cgroup_leaf fake;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void fake_setup(void)
{
	cr_assert(not(eq(ptr, mkdtemp(directory), NULL)));
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(ge(int, dir_fd, 0));
	fake = (struct cgroup_leaf){.parent_fd = dir_fd, .dir_fd = dir_fd, .events_fd = -EBADF, .id = 1};
}

static void fake_teardown(void)
{
	fake.events_fd = close_fd(fake.events_fd);
	dir_fd = close_fd(dir_fd);
	(void)nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(cgroup_files, .init = fake_setup, .fini = fake_teardown, .timeout = 60);

static void put(const char *name, const char *content)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(sz, (size_t)write(fd, content, strlen(content)), strlen(content)));
	close(fd);
}

static void expect_file(const char *name, const char *want)
{
	char text[256];
	size_t bytes;

	cr_assert(eq(int, fileio_read_into_at(dir_fd, name, text, sizeof(text), &bytes), 0), "%s", name);
	cr_expect(eq(str, text, (char *)want), "%s", name);
}

Test(cgroup_files, limits_are_written_as_the_kernel_reads_them)
{
	static const char *const files[] = {"memory.max", "memory.high", "memory.oom.group", "pids.max", "cpu.max"};
	const struct cgroup_limits limits = {.memory_max = (uint64_t)1 << 30,
					     .memory_high = 900000000,
					     .pids_max = 64,
					     .cpu_percent = 150,
					     .oom_group = true};
	const char *what = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		put(files[i], "");
	cr_expect(eq(int, cgroup_leaf_set_limits(&fake, &no_limits, &what), 0));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		expect_file(files[i], "");
	cr_expect(eq(int, cgroup_leaf_set_limits(&fake, &limits, &what), 0));
	expect_file("memory.max", "1073741824");
	expect_file("memory.high", "900000000");
	expect_file("memory.oom.group", "1");
	expect_file("pids.max", "64");
	expect_file("cpu.max", "150000 100000");
	cr_expect(eq(ptr, (void *)what, NULL));

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cr_assert(eq(int, unlinkat(dir_fd, files[i], 0), 0));
		cr_expect(eq(int, cgroup_leaf_set_limits(&fake, &limits, &what), -ENOENT));
		cr_expect(eq(str, (char *)what, (char *)files[i]));
		put(files[i], "");
	}
}

Test(cgroup_files, a_kernel_that_cannot_swap_gives_none)
{
	struct cgroup_limits limits = NO_LIMITS;
	const char *what = NULL;

	limits.swap_max = 0;
	cr_expect(eq(int, cgroup_leaf_set_limits(&fake, &limits, &what), 0));
	limits.swap_max = 4096;
	cr_expect(eq(int, cgroup_leaf_set_limits(&fake, &limits, &what), -ENOENT));
	cr_expect(eq(str, (char *)what, (char *)"memory.swap.max"));
	put("memory.swap.max", "");
	cr_expect(eq(int, cgroup_leaf_set_limits(&fake, &limits, &what), 0));
	expect_file("memory.swap.max", "4096");
}

Test(cgroup_files, a_controller_is_enabled_once_and_a_failure_leaves_nothing)
{
	struct cgroup_limits limits = NO_LIMITS;
	struct cgroup_leaf *leaf = NULL;
	const char *what = NULL;

	limits.memory_max = 1000000;
	cr_expect(eq(int, cgroup_leaf_new(dir_fd, "mail.1", &limits, &leaf, &what), -ENOENT));
	cr_expect(eq(str, (char *)what, (char *)"cgroup.subtree_control"));

	put("cgroup.subtree_control", "cpu io memory pids\n");
	cr_expect(eq(int, cgroup_leaf_new(dir_fd, "mail.1", &limits, &leaf, &what), -ENOENT));
	cr_expect(eq(str, (char *)what, (char *)"cgroup.events")); /* which a kernel would have made */
	expect_file("cgroup.subtree_control", "cpu io memory pids\n");

	put("cgroup.subtree_control", "memory2 notmemory");
	cr_expect(eq(int, cgroup_leaf_new(dir_fd, "mail.1", &limits, &leaf, &what), -ENOENT));
	expect_file("cgroup.subtree_control", "+memory notmemory"); /* a plain file keeps the rest */

	put("cgroup.subtree_control", "");
	cr_expect(eq(int, cgroup_leaf_new(dir_fd, "mail.1", &no_limits, &leaf, &what), -ENOENT));
	expect_file("cgroup.subtree_control", "");

	cr_expect(eq(int, faccessat(dir_fd, "mail.1", F_OK, 0), -1), "the directory was left");
	cr_expect(eq(ptr, leaf, NULL));
}

Test(cgroup_files, counters_are_read_by_their_whole_names)
{
	struct cgroup_events events = {0};
	uint64_t peak = 1, max = 1;

	cr_expect(eq(int, cgroup_leaf_read_events(&fake, &events), -ENOENT));
	cgroup_leaf_read_memory(&fake, &peak, &max);
	cr_expect(eq(u64, peak, 0));
	cr_expect(eq(u64, max, CGROUP_UNLIMITED));

	put("memory.events", "low 0\nhigh 5\nmax 17\noom 3\noom_kill 2\noom_group_kill 1\n");
	put("memory.peak", "851443712\n");
	put("memory.max", "1073741824\n");
	cr_expect(eq(int, cgroup_leaf_read_events(&fake, &events), 0));
	cr_expect(eq(u64, events.oom, 3));
	cr_expect(eq(u64, events.oom_kill, 2));
	cr_expect(eq(u64, events.oom_group_kill, 1));
	cgroup_leaf_read_memory(&fake, &peak, &max);
	cr_expect(eq(u64, peak, 851443712));
	cr_expect(eq(u64, max, 1073741824));

	put("memory.events", "low 0\nhigh 0\nmax 0\noom_kill 9"); /* an older kernel */
	put("memory.max", "max\n");
	cr_expect(eq(int, cgroup_leaf_read_events(&fake, &events), 0));
	cr_expect(eq(u64, events.oom, 0));
	cr_expect(eq(u64, events.oom_kill, 9));
	cr_expect(eq(u64, events.oom_group_kill, 0));
	cgroup_leaf_read_memory(&fake, &peak, &max);
	cr_expect(eq(u64, max, CGROUP_UNLIMITED));
}

static int add_pid(pid_t pid, void *userdata)
{
	long *sum = userdata;

	*sum += pid;
	return pid == 999 ? 1 : 0;
}

Test(cgroup_files, pids_are_those_of_the_leaf_and_of_groups_below_it)
{
	long sum = 0;

	cr_expect(eq(int, cgroup_leaf_each_pid(&fake, add_pid, &sum), 0));
	put("cgroup.procs", "11\n0\n12\n"); /* 0: outside of our pid namespace */
	cr_assert(eq(int, mkdirat(dir_fd, "sub", 0755), 0));
	cr_assert(eq(int, mkdirat(dir_fd, "sub/sub", 0755), 0));
	put("sub/cgroup.procs", "100\n");
	put("sub/sub/cgroup.procs", "1000\n");
	cr_expect(eq(int, cgroup_leaf_each_pid(&fake, add_pid, &sum), 0));
	cr_expect(eq(int, (int)sum, 1123));

	put("cgroup.procs", "1\n999\n5000\n");
	sum = 0;
	cr_expect(eq(int, cgroup_leaf_each_pid(&fake, add_pid, &sum), 1));
	cr_expect(eq(int, (int)sum, 1000));
}

Test(cgroup_files, populated_is_read_again_each_time)
{
	put("cgroup.events", "populated 0\nfrozen 0\n");
	fake.events_fd = openat(dir_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	cr_expect(eq(int, cgroup_leaf_is_populated(&fake), 0));
	put("cgroup.events", "frozen 0\npopulated 1\n");
	cr_expect(eq(int, cgroup_leaf_is_populated(&fake), 1));
	put("cgroup.events", "rubbish\n");
	cr_expect(eq(int, cgroup_leaf_is_populated(&fake), -EBADMSG));
}

static pid_t start_waiting(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

Test(cgroup_files, killing_is_one_write_or_on_an_older_kernel_one_kill_each)
{
	pid_t a = start_waiting(), b = start_waiting();
	char text[64];

	(void)snprintf(text, sizeof(text), "%d\n", a);
	put("cgroup.procs", text);
	put("cgroup.kill", "");
	cr_expect(eq(int, cgroup_leaf_kill(&fake), 0));
	expect_file("cgroup.kill", "1");
	cr_expect(eq(int, waitpid(a, NULL, WNOHANG), 0), "it was killed beside the kernel");

	cr_assert(eq(int, unlinkat(dir_fd, "cgroup.kill", 0), 0));
	cr_assert(eq(int, mkdirat(dir_fd, "sub", 0755), 0));
	(void)snprintf(text, sizeof(text), "%d\n", b);
	put("sub/cgroup.procs", text);
	cr_expect(eq(int, cgroup_leaf_kill(&fake), 0));
	int status = wait_status(a);
	cr_expect(eq(int, status, SIGKILL));
	status = wait_status(b);
	cr_expect(eq(int, status, SIGKILL));
}

Test(cgroup_files, a_parent_must_be_a_cgroup2_directory_that_may_be_written)
{
	char path[128];
	int fd = -7;

	cr_expect(eq(int, cgroup_open_parent(directory, &fd), -EMEDIUMTYPE));
	(void)snprintf(path, sizeof(path), "%s/nothing", directory);
	cr_expect(eq(int, cgroup_open_parent(path, &fd), -ENOENT));
	put("file", "");
	(void)snprintf(path, sizeof(path), "%s/file", directory);
	cr_expect(eq(int, cgroup_open_parent(path, &fd), -ENOTDIR));
	cr_expect(eq(int, fd, -7));
}

/* ---- the kernel's */

static int parent_fd = -EBADF;
static struct cgroup_leaf *leaf;
static int out = -EBADF, in = -EBADF;

/* Mount point of the first cgroup2, and our own group there. */
static bool find_own_group(char path[4096])
{
	char line[4096], mount[2048] = "", type[64], group[1024] = "";
	FILE *f = fopen("/proc/self/mounts", "re");

	while (f && !*mount && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %2047s %63s", mount, type) != 2 || strcmp(type, "cgroup2") != 0)
			*mount = 0;
	if (f)
		fclose(f);
	f = fopen("/proc/self/cgroup", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "0::", 3) == 0)
			(void)snprintf(group, sizeof(group), "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
	if (f)
		fclose(f);
	(void)snprintf(path, 4096, "%s%s", mount, group);
	return *mount && *group;
}

static const char *leaf_name(const char *suffix)
{
	static char name[64];

	(void)snprintf(name, sizeof(name), "chargehand-test-%d%s", getpid(), suffix);
	return name;
}

static void live_setup(void)
{
	char path[4096];
	const char *what = NULL;

	if (!find_own_group(path))
		cr_skip_test("no cgroup2 is mounted");
	int r = cgroup_open_parent(path, &parent_fd);
	if (r < 0)
		cr_skip_test("our own cgroup2 group may not be written");
	r = cgroup_leaf_new(parent_fd, leaf_name(""), &no_limits, &leaf, &what);
	if (r == -EACCES || r == -EPERM || r == -EROFS)
		cr_skip_test("no group may be made below our own");
	cr_assert(eq(int, r, 0), "%s", what);
	cr_assert(eq(int, prctl(PR_SET_CHILD_SUBREAPER, 1), 0));
	make_pipe(&out, &in);
}

static void await_empty(const struct cgroup_leaf *l)
{
	struct pollfd p = {.fd = l->events_fd, .events = POLLPRI};

	while (cgroup_leaf_is_populated(l) == 1)
		cr_assert(eq(int, poll(&p, 1, 20000), 1), "still populated after 20 s");
	cr_assert(eq(int, cgroup_leaf_is_populated(l), 0));
}

static void reap_all(void)
{
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void live_teardown(void)
{
	if (leaf) {
		(void)cgroup_leaf_kill(leaf);
		await_empty(leaf);
		reap_all();
		cr_assert(eq(int, cgroup_leaf_remove(leaf), 0));
		leaf = NULL;
	}
	parent_fd = close_fd(parent_fd);
	out = close_fd(out);
	in = close_fd(in);
}

/* A skipped test gets no .fini. */
#define clean_and_skip(why)                                                                                            \
	do {                                                                                                           \
		live_teardown();                                                                                       \
		cr_skip_test(why);                                                                                     \
	} while (0)

TestSuite(cgroup_live, .init = live_setup, .fini = live_teardown, .timeout = 60);

static struct spawned start(const char *program, const char *mode)
{
	char *const argv[] = {(char *)helper_path(program), (char *)mode, NULL};
	struct spawn_args args = child_args(argv, in);
	bool exec_failed;
	struct spawned s;

	args.cgroup_fd = leaf->dir_fd;
	cr_assert(eq(int, process_spawn(&args, &s, &exec_failed), 0));
	return s;
}

Test(cgroup_live, a_process_is_born_in_it)
{
	static char text[CHILD_TEXT_MAX];

	for (int by_fork = 0; by_fork < 2; by_fork++) {
		spawn_pretend_no_clone3(by_fork);
		struct spawned s = start("show-self", NULL);
		cr_expect(eq(int, s.used_fork, by_fork));
		in = close_fd(in);
		read_all(out, text);
		close(out);
		wait_status(s.pid);
		const char *group = value_of(text, "0:");
		cr_assert(not(eq(ptr, (void *)group, NULL)));
		cr_expect(not(eq(ptr, strstr(group, leaf->name), NULL)), "%s is not in %s", group, leaf->name);
		make_pipe(&out, &in);
	}
}

Test(cgroup_live, it_is_empty_when_the_last_process_is_gone_and_then_it_can_be_removed)
{
	struct stat st;

	cr_expect(eq(int, cgroup_leaf_is_populated(leaf), 0));
	struct spawned s = start("kin", "daemon");
	read_pid(out);
	await_readable(s.pidfd);
	cr_expect(eq(int, cgroup_leaf_is_populated(leaf), 1), "a daemon's child is still in it");
	cr_expect(eq(int, cgroup_leaf_remove(leaf), -EBUSY));
	cr_expect(eq(int, cgroup_leaf_is_populated(leaf), 1), "the leaf is still the caller's");

	cr_expect(eq(int, cgroup_leaf_kill(leaf), 0));
	await_empty(leaf);
	/* A zombie does not keep it: nothing has been reaped yet. */
	cr_expect(eq(int, cgroup_leaf_remove(leaf), 0));
	leaf = NULL;
	cr_expect(eq(int, fstatat(parent_fd, leaf_name(""), &st, 0), -1));
	reap_all();
}

static int is_pid(pid_t pid, void *userdata)
{
	return pid == *(pid_t *)userdata;
}

Test(cgroup_live, groups_that_the_worker_makes_below_it_belong_to_it)
{
	struct stat st;

	struct spawned s = start("kin", "wait");
	pid_t pid = read_pid(out);
	cr_assert(eq(int, mkdirat(leaf->dir_fd, "sub", 0755), 0));
	cr_assert(eq(int, mkdirat(leaf->dir_fd, "sub/deep", 0755), 0));
	cr_assert(eq(int, fstatat(leaf->dir_fd, "sub/deep", &st, 0), 0));
	cr_expect(cgroup_leaf_contains(leaf, leaf->id));
	cr_expect(cgroup_leaf_contains(leaf, st.st_ino));
	cr_expect(not(cgroup_leaf_contains(leaf, 1))); /* the root */

	char text[16];
	(void)snprintf(text, sizeof(text), "%d", pid);
	cr_assert(eq(int, fileio_write_at(leaf->dir_fd, "sub/deep/cgroup.procs", text), 0));
	cr_expect(eq(int, cgroup_leaf_each_pid(leaf, is_pid, &pid), 1));
	cr_expect(eq(int, cgroup_leaf_is_populated(leaf), 1));
	cr_expect(eq(int, cgroup_leaf_kill(leaf), 0));
	await_empty(leaf);
	int status = wait_status(s.pid);
	cr_expect(eq(int, status, SIGKILL));
	cr_expect(eq(int, cgroup_leaf_remove(leaf), 0));
	leaf = NULL;
}

Test(cgroup_live, one_that_somebody_removed_is_empty_dead_and_removed)
{
	struct cgroup_events events;

	cr_assert(eq(int, unlinkat(parent_fd, leaf->name, AT_REMOVEDIR), 0));
	cr_expect(eq(int, cgroup_leaf_is_populated(leaf), 0));
	cr_expect(eq(int, cgroup_leaf_kill(leaf), 0));
	cr_expect(eq(int, cgroup_leaf_read_events(leaf, &events), -ENOENT));
	cr_expect(not(cgroup_leaf_contains(leaf, leaf->id + 1)));
	pid_t nobody = 0;
	cr_expect(eq(int, cgroup_leaf_each_pid(leaf, is_pid, &nobody), 0));
	cr_expect(eq(int, cgroup_leaf_remove(leaf), 0));
	leaf = NULL;
}

static void expect_name(const char *name, const char *want)
{
	struct cgroup_leaf *other;
	const char *what = NULL;

	/* Below our leaf, so that two runs at a time do not meet. */
	cr_assert(eq(int, cgroup_leaf_new(leaf->dir_fd, name, &no_limits, &other, &what), 0), "%s", name);
	cr_expect(eq(str, other->name, (char *)want));
	cr_expect(eq(int, cgroup_leaf_remove(other), 0));
}

Test(cgroup_live, names_cannot_meet_the_kernels_own)
{
	struct cgroup_leaf *other;
	const char *what = NULL;

	expect_name("cgroup.procs", "_cgroup.procs");
	expect_name("cpu.1", "_cpu.1");
	expect_name("memory", "_memory");
	expect_name("..", "_..");
	expect_name("cpux.1/a b", "cpux.1_a_b");

	cr_expect(eq(int, cgroup_leaf_new(parent_fd, leaf_name(""), &no_limits, &other, &what), -EEXIST));
	cr_expect(eq(str, (char *)what, (char *)"mkdir"));
	cr_expect(eq(int, cgroup_leaf_is_populated(leaf), 0), "the first of the name is still there");
}

Test(cgroup_live, a_connection_tells_the_group_it_was_made_in)
{
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, peer;
	socklen_t length = sizeof(local);
	struct peer_lookup *lookup;
	struct peer_info info;

	if (peer_lookup_new(&lookup) < 0)
		clean_and_skip("this kernel or sandbox has no sock_diag");
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, bind(listener, (struct sockaddr *)&local, sizeof(local)), 0));
	cr_assert(eq(int, listen(listener, 4), 0));
	cr_assert(eq(int, getsockname(listener, (struct sockaddr *)&local, &length), 0));
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int fd = openat(leaf->dir_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		int peer_fd = write(fd, "0", 1) == 1 ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
		if (connect(peer_fd, (struct sockaddr *)&local, sizeof(local)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	length = sizeof(peer);
	int accepted = accept(listener, (struct sockaddr *)&peer, &length);
	cr_assert(ge(int, accepted, 0));
	cr_expect(eq(int, peer_lookup_tcp(lookup, &peer, &local, &info), 0));
	if (info.have_cgroup) {
		cr_expect(eq(u64, info.cgroup_id, leaf->id));
		cr_expect(cgroup_leaf_contains(leaf, info.cgroup_id));
	}
	kill(pid, SIGKILL);
	close(accepted);
	close(listener);
	peer_lookup_free(lookup);
}

Test(cgroup_live, a_memory_limit_kills_and_is_counted)
{
	struct cgroup_limits limits = NO_LIMITS;
	struct cgroup_leaf *small;
	struct cgroup_events before, after;
	const char *what = NULL;
	uint64_t peak, max;

	limits.memory_max = 32 << 20;
	int r = cgroup_leaf_new(parent_fd, leaf_name("-small"), &limits, &small, &what);
	if (r < 0)
		clean_and_skip("no memory controller in our own group");
	cr_expect(eq(int, cgroup_leaf_read_events(small, &before), 0));
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int fd = openat(small->dir_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		if (write(fd, "0", 1) != 1)
			_exit(1);
		for (int i = 0; i < 1024; i++) {
			char *p = malloc(1 << 20);
			if (p)
				memset(p, 1, 1 << 20);
		}
		_exit(2); /* there was swap for all of it */
	}
	int status = wait_status(pid);
	cr_expect(eq(int, status, SIGKILL));
	cr_expect(eq(int, cgroup_leaf_read_events(small, &after), 0));
	cr_expect(gt(u64, after.oom_kill, before.oom_kill));
	cr_expect(gt(u64, after.oom, before.oom));
	cgroup_leaf_read_memory(small, &peak, &max);
	cr_expect(eq(u64, max, 32 << 20));
	if (peak > 0)
		cr_expect(gt(u64, peak, 16 << 20));
	await_empty(small);
	cr_expect(eq(int, cgroup_leaf_remove(small), 0));
}
