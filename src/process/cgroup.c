/* SPDX-License-Identifier: MIT
 *
 * Leaves of a cgroup v2 tree, by their files. Groups vanish at any time, for a service manager may remove them: what
 * is gone is empty, dead and removed, and no error.
 */
#include "process/cgroup.h"

#include "base/fileio.h"
#include "base/parse.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define CPU_PERIOD_USEC 100000U
#define PROCS_BYTES_MAX ((size_t)4 << 20)
#define DEPTH_MAX 32 /* of groups that a worker makes below its own */
#define KILL_ROUNDS_MAX 16

static bool is_gone(int r)
{
	return r == -ENOENT || r == -ENODEV;
}

int cgroup_open_parent(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return -EMEDIUMTYPE;
	if (faccessat(fd, ".", W_OK, AT_EACCESS) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* The kernel's own files are "cgroup.procs", "memory.max" and so on, and more come with each version: a name that
 * could be one of them, or is no plain file name, is changed as systemd does it (cg_escape()). */
static bool may_be_kernel_file(const char *name)
{
	static const char *const controllers[] = {
		"cgroup", "cpu",  "cpuset", "cpuacct", "io",      "blkio",   "memory",     "devices",  "pids", "rdma",
		"misc",   "dmem", "irq",    "hugetlb", "freezer", "net_cls", "perf_event", "net_prio", "debug"};

	if (name[0] == 0 || name[0] == '.' || name[0] == '_')
		return true;
	if (strcmp(name, "tasks") == 0 || strcmp(name, "notify_on_release") == 0 || strcmp(name, "release_agent") == 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		size_t n = strlen(controllers[i]);
		if (strncmp(name, controllers[i], n) == 0 && (name[n] == '.' || name[n] == 0))
			return true;
	}
	return false;
}

static char *sanitize_name(const char *name)
{
	size_t bytes = strlen(name);
	char *s = malloc(bytes + 2), *p = s;

	if (!s)
		return NULL;
	if (may_be_kernel_file(name))
		*p++ = '_';
	for (const char *from = name; *from; from++)
		*p++ = *from == '/' || *from <= ' ' || *from == 0x7f ? '_' : *from;
	*p = 0;
	return s;
}

/* A controller that is on already is not written again: that needs more rights than to see it. */
static bool file_has_word(int dir_fd, const char *file, const char *word)
{
	char text[512];
	size_t bytes, n = strlen(word);

	if (fileio_read_into_at(dir_fd, file, text, sizeof(text), &bytes) < 0)
		return false;
	for (const char *p = text; (p = strstr(p, word)); p += n)
		if ((p == text || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\n' || p[n] == 0))
			return true;
	return false;
}

bool cgroup_has_controller(int dir_fd, const char *controller)
{
	return file_has_word(dir_fd, "cgroup.controllers", controller);
}

int cgroup_enable_controller(int dir_fd, const char *controller)
{
	char plus[24];

	if (file_has_word(dir_fd, "cgroup.subtree_control", controller))
		return 0;
	(void)snprintf(plus, sizeof(plus), "+%s", controller);
	return fileio_write_at(dir_fd, "cgroup.subtree_control", plus);
}

static int enable_controllers(int parent_fd, const struct cgroup_limits *limits)
{
	int r = 0;

	if (limits->memory_max != CGROUP_UNLIMITED || limits->memory_high != CGROUP_UNLIMITED ||
	    (limits->swap_max != CGROUP_UNLIMITED && limits->swap_max > 0) || limits->oom_group)
		r = cgroup_enable_controller(parent_fd, "memory");
	if (r == 0 && limits->pids_max != CGROUP_UNLIMITED)
		r = cgroup_enable_controller(parent_fd, "pids");
	if (r == 0 && limits->cpu_percent > 0)
		r = cgroup_enable_controller(parent_fd, "cpu");
	return r;
}

static int write_limit(int dir_fd, const char *file, uint64_t value)
{
	char text[24];

	if (value == CGROUP_UNLIMITED)
		return 0;
	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	return fileio_write_at(dir_fd, file, text);
}

int cgroup_leaf_set_limits(const struct cgroup_leaf *leaf, const struct cgroup_limits *limits, const char **ret_what)
{
	const struct {
		const char *file;
		uint64_t value;
	} plain[] = {
		{"memory.high", limits->memory_high},  {"memory.max", limits->memory_max},
		{"memory.swap.max", limits->swap_max}, {"memory.oom.group", limits->oom_group ? 1 : CGROUP_UNLIMITED},
		{"pids.max", limits->pids_max},
	};
	char text[48];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
		r = write_limit(leaf->dir_fd, plain[i].file, plain[i].value);
		/* A kernel that cannot swap, and no swap wanted. */
		if (r == -ENOENT && plain[i].value == 0)
			r = 0;
		if (r < 0) {
			*ret_what = plain[i].file;
			return r;
		}
	}
	if (limits->cpu_percent == 0)
		return 0;
	(void)snprintf(text, sizeof(text), "%" PRIu64 " %u", (uint64_t)limits->cpu_percent * CPU_PERIOD_USEC / 100,
		       CPU_PERIOD_USEC);
	r = fileio_write_at(leaf->dir_fd, "cpu.max", text);
	if (r < 0)
		*ret_what = "cpu.max";
	return r;
}

static int open_leaf(struct cgroup_leaf *leaf)
{
	struct stat st;

	leaf->dir_fd = openat(leaf->parent_fd, leaf->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (leaf->dir_fd < 0 || fstat(leaf->dir_fd, &st) < 0)
		return -errno;
	leaf->id = st.st_ino;
	leaf->events_fd = openat(leaf->dir_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	return leaf->events_fd < 0 ? -errno : 0;
}

int cgroup_leaf_new(int parent_fd, const char *name, const struct cgroup_limits *limits, struct cgroup_leaf **ret,
		    const char **ret_what)
{
	struct cgroup_leaf *leaf = malloc(sizeof(*leaf));
	bool made = false;
	int r = -ENOMEM;

	*ret_what = "allocation";
	if (!leaf)
		return r;
	*leaf = (struct cgroup_leaf){.parent_fd = parent_fd, .dir_fd = -EBADF, .events_fd = -EBADF};
	leaf->name = sanitize_name(name);
	if (!leaf->name)
		goto fail;
	*ret_what = "cgroup.subtree_control";
	r = enable_controllers(parent_fd, limits);
	if (r < 0)
		goto fail;
	*ret_what = "mkdir";
	if (mkdirat(parent_fd, leaf->name, 0755) < 0) {
		r = -errno;
		goto fail;
	}
	made = true;
	*ret_what = "cgroup.events";
	r = open_leaf(leaf);
	if (r < 0)
		goto fail;
	r = cgroup_leaf_set_limits(leaf, limits, ret_what);
	if (r < 0)
		goto fail;
	*ret = leaf;
	return 0;

fail:
	if (made)
		(void)unlinkat(parent_fd, leaf->name, AT_REMOVEDIR);
	cgroup_leaf_free(leaf);
	return r;
}

struct cgroup_leaf *cgroup_leaf_free(struct cgroup_leaf *leaf)
{
	if (leaf) {
		close_fd(leaf->dir_fd);
		close_fd(leaf->events_fd);
		free(leaf->name);
		free(leaf);
	}
	return NULL;
}

/* Calls back for each group below the one that dir_fd is open on; deepest first. */
typedef int (*group_callback)(int parent_fd, const char *name, uint64_t id, void *userdata);

static int each_group_below(int dir_fd, unsigned depth, group_callback callback, void *userdata)
{
	struct stat st;
	int r = 0;

	/* kernfs counts a directory's children in its links, and nearly every leaf has none. */
	if (fstat(dir_fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 2)
		return 0;
	if (depth >= DEPTH_MAX)
		return -ELOOP;

	int list_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (list_fd < 0)
		return -errno;
	DIR *dir = fdopendir(list_fd);
	if (!dir) {
		r = -errno;
		close_fd(list_fd);
		return r;
	}
	for (const struct dirent *d; r == 0 && (d = readdir(dir));) {
		if (d->d_type != DT_DIR || strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		_cleanup_close_ int fd = openat(dir_fd, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue; /* gone meanwhile */
		r = each_group_below(fd, depth + 1, callback, userdata);
		if (r == 0)
			r = callback(dir_fd, d->d_name, d->d_ino, userdata);
	}
	(void)closedir(dir);
	return r;
}

static int remove_group(int parent_fd, const char *name, uint64_t id _unused_, void *userdata _unused_)
{
	if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && !is_gone(-errno))
		return -errno;
	return 0;
}

int cgroup_leaf_remove(struct cgroup_leaf *leaf)
{
	int r;

	if (!leaf)
		return 0;
	r = each_group_below(leaf->dir_fd, 0, remove_group, NULL);
	if (r == 0 || is_gone(r))
		r = remove_group(leaf->parent_fd, leaf->name, leaf->id, NULL);
	if (r < 0)
		return r;
	cgroup_leaf_free(leaf);
	return 0;
}

static int procs_each(int dir_fd, const char *path, int (*callback)(pid_t pid, void *userdata), void *userdata)
{
	_cleanup_free_ char *text = NULL;
	size_t bytes;
	int r;

	r = fileio_read_at(dir_fd, path, PROCS_BYTES_MAX, &text, &bytes);
	/* EOPNOTSUPP: a threaded group, whose processes the group above it lists. */
	if (is_gone(r) || r == -EOPNOTSUPP)
		return 0;
	if (r < 0)
		return r;
	for (char *p = text; *p;) {
		char *end;
		long pid = strtol(p, &end, 10);
		if (end == p)
			return -EBADMSG;
		if (pid > 0) { /* 0 is a process outside of our pid namespace */
			r = callback((pid_t)pid, userdata);
			if (r != 0)
				return r;
		}
		p = end + strspn(end, "\n");
	}
	return 0;
}

struct each_pid {
	int (*callback)(pid_t pid, void *userdata);
	void *userdata;
};

static int each_pid_of_group(int parent_fd, const char *name, uint64_t id _unused_, void *userdata)
{
	const struct each_pid *each = userdata;
	_cleanup_close_ int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? 0 : procs_each(fd, "cgroup.procs", each->callback, each->userdata);
}

int cgroup_leaf_each_pid(const struct cgroup_leaf *leaf, int (*callback)(pid_t pid, void *userdata), void *userdata)
{
	struct each_pid each = {.callback = callback, .userdata = userdata};
	int r = procs_each(leaf->dir_fd, "cgroup.procs", callback, userdata);

	if (r == 0)
		r = each_group_below(leaf->dir_fd, 0, each_pid_of_group, &each);
	return is_gone(r) ? 0 : r;
}

static int kill_one(pid_t pid, void *userdata)
{
	bool *found = userdata;

	(void)kill(pid, SIGKILL);
	*found = true; /* gone already, it may have left a child */
	return 0;
}

int cgroup_leaf_kill(const struct cgroup_leaf *leaf)
{
	bool found = true, frozen;
	int r;

	r = fileio_write_at(leaf->dir_fd, "cgroup.kill", "1");
	if (r == 0 || r == -ENODEV)
		return 0;
	/* Before 5.14, or it may not be written, or the group is gone. Processes fork while they are looked for: so
	 * they are made to stand still (since 5.2), which takes effect at the end of the system call that each is in,
	 * and looked for until none is found. One that is slow to die is found again, which is why there is a last
	 * round. */
	frozen = fileio_write_at(leaf->dir_fd, "cgroup.freeze", "1") == 0;
	r = 0;
	for (int round = 0; r == 0 && found && round < KILL_ROUNDS_MAX; round++) {
		found = false;
		r = cgroup_leaf_each_pid(leaf, kill_one, &found);
	}
	if (frozen && r == 0)
		r = fileio_write_at(leaf->dir_fd, "cgroup.freeze", "0"); /* for those that are not ours to kill */
	return is_gone(r) ? 0 : r;
}

int cgroup_leaf_is_populated(const struct cgroup_leaf *leaf)
{
	char text[256];
	ssize_t n;

	do
		n = pread(leaf->events_fd, text, sizeof(text) - 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return is_gone(-errno) ? 0 : -errno;
	text[n] = 0;
	const char *p = strstr(text, "populated ");
	return p ? p[STRLEN("populated ")] != '0' : -EBADMSG;
}

uint64_t cgroup_flat_value(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (strncmp(line, key, n) == 0 && line[n] == ' ')
			return strtoull(line + n + 1, NULL, 10);
	}
	return 0;
}

int cgroup_read_flat(int dir_fd, const char *file, const char *key, uint64_t *ret)
{
	char text[512];
	size_t bytes;
	int r = fileio_read_into_at(dir_fd, file, text, sizeof(text), &bytes);

	if (r == 0)
		*ret = cgroup_flat_value(text, key);
	return r;
}

int cgroup_leaf_read_events(const struct cgroup_leaf *leaf, struct cgroup_events *ret)
{
	char text[512];
	size_t bytes;
	int r;

	/* Not memory.events.local: where the worker makes groups of its own, this one has the sum. */
	r = fileio_read_into_at(leaf->dir_fd, "memory.events", text, sizeof(text), &bytes);
	if (r < 0)
		return is_gone(r) ? -ENOENT : r;
	*ret = (struct cgroup_events){
		.oom = cgroup_flat_value(text, "oom"),
		.oom_kill = cgroup_flat_value(text, "oom_kill"),
		.oom_group_kill = cgroup_flat_value(text, "oom_group_kill"),
	};
	return 0;
}

uint64_t cgroup_read_number(int dir_fd, const char *file, uint64_t otherwise)
{
	char text[32];
	uint64_t value;
	size_t bytes;

	if (fileio_read_into_at(dir_fd, file, text, sizeof(text), &bytes) < 0)
		return otherwise;
	text[strcspn(text, "\n")] = 0;
	return parse_u64(text, &value) < 0 ? otherwise : value; /* "max" */
}

void cgroup_leaf_read_memory(const struct cgroup_leaf *leaf, uint64_t *ret_peak, uint64_t *ret_max)
{
	*ret_peak = cgroup_read_number(leaf->dir_fd, "memory.peak", 0); /* since 5.19 */
	*ret_max = cgroup_read_number(leaf->dir_fd, "memory.max", CGROUP_UNLIMITED);
}

int cgroup_sweep(int dir_fd, const char *name, int timeout_msec)
{
	struct cgroup_leaf *leaf = malloc(sizeof(*leaf));
	int r;

	if (!leaf)
		return -ENOMEM;
	*leaf = (struct cgroup_leaf){.parent_fd = dir_fd, .dir_fd = -EBADF, .events_fd = -EBADF, .name = strdup(name)};
	r = leaf->name ? open_leaf(leaf) : -ENOMEM;
	if (r == 0)
		r = cgroup_leaf_is_populated(leaf);
	if (r == 1) {
		r = cgroup_leaf_kill(leaf);
		struct pollfd p = {.fd = leaf->events_fd, .events = POLLPRI};
		while (r == 0 && cgroup_leaf_is_populated(leaf) == 1 && poll(&p, 1, timeout_msec) > 0)
			;
	}
	if (r == 0)
		r = cgroup_leaf_remove(leaf);
	if (r < 0)
		cgroup_leaf_free(leaf);
	return is_gone(r) ? 0 : r;
}

static int is_wanted_group(int parent_fd _unused_, const char *name _unused_, uint64_t id, void *userdata)
{
	return id == *(uint64_t *)userdata;
}

bool cgroup_leaf_contains(const struct cgroup_leaf *leaf, uint64_t cgroup_id)
{
	return cgroup_id == leaf->id || each_group_below(leaf->dir_fd, 0, is_wanted_group, &cgroup_id) == 1;
}
