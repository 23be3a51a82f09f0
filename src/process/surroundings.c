/* SPDX-License-Identifier: MIT
 *
 * A few small files for each death by SIGKILL, and for each start.
 */
#include "process/surroundings.h"

#include "base/fileio.h"
#include "process/cgroup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define XATTR_BYTES_MAX 32

/* Deaths within so long may be of one shortage. */
#define TOGETHER_USEC USEC_PER_SEC

int surroundings_open(const char *mount, const char *dir, const char *v1_memory_dir, struct surroundings *ret)
{
	_cleanup_free_ char *path = dir ? strdup(dir) : NULL;
	size_t top = mount ? strlen(mount) : 0;

	*ret = (struct surroundings){.v1_fd = -EBADF};
	if (dir && (!path || !mount || strncmp(dir, mount, top) != 0))
		return path ? -EINVAL : -ENOMEM;
	while (path && strlen(path) >= top && ret->n < SURROUNDINGS_MAX) {
		struct surrounding *g = &ret->groups[ret->n];
		g->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (g->fd >= 0) {
			g->path = strdup(path[top] ? path + top : "/");
			if (!g->path) {
				close_fd(g->fd);
				surroundings_close(ret);
				return -ENOMEM;
			}
			g->memory = faccessat(g->fd, "memory.events.local", R_OK, 0) == 0;
			ret->n++;
		}
		char *slash = strrchr(path, '/');
		if (!slash || slash == path)
			break;
		*slash = 0;
	}
	/* The root of a hierarchy has no type; that of a cgroup namespace is a group like any other. */
	if (ret->n > 0)
		ret->sees_machine = faccessat(ret->groups[ret->n - 1].fd, "cgroup.type", F_OK, 0) < 0;
	if (v1_memory_dir)
		ret->v1_fd = open(v1_memory_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

void surroundings_close(struct surroundings *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		close_fd(s->groups[i].fd);
		free(s->groups[i].path);
	}
	close_fd(s->v1_fd);
	*s = (struct surroundings){.v1_fd = -EBADF};
}

uint64_t surroundings_read_oomd(int dir_fd)
{
	static const char *const names[] = {"user.oomd_ooms", "user.oomd_kill"};
	char text[XATTR_BYTES_MAX];
	uint64_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		ssize_t n = fgetxattr(dir_fd, names[i], text, sizeof(text) - 1);
		if (n <= 0)
			continue;
		text[n] = 0;
		sum += strtoull(text, NULL, 10);
	}
	return sum;
}

static void read_oomd(const struct surroundings *s, uint64_t *ret)
{
	for (unsigned i = 0; i < s->n; i++)
		ret[i] = s->groups[i].memory ? surroundings_read_oomd(s->groups[i].fd) : 0;
}

void surroundings_read(const struct surroundings *s, struct surroundings_counts *ret)
{
	*ret = (struct surroundings_counts){0};
	for (unsigned i = 0; i < s->n; i++)
		if (s->groups[i].memory)
			(void)cgroup_read_flat(s->groups[i].fd, "memory.events.local", "oom", &ret->oom[i]);
	read_oomd(s, ret->oomd);
	if (s->v1_fd >= 0)
		ret->v1_fails = cgroup_read_number(s->v1_fd, "memory.failcnt", 0);
}

int surroundings_kill_file(const struct surroundings *s, int *ret_dir_fd, const char **ret_file)
{
	*ret_dir_fd = s->v1_fd >= 0 ? s->v1_fd : s->n > 0 ? s->groups[0].fd : -EBADF;
	*ret_file = s->v1_fd >= 0 ? "memory.oom_control" : "memory.events.local"; /* since 4.13, 5.2 */
	return *ret_dir_fd >= 0 && faccessat(*ret_dir_fd, *ret_file, R_OK, 0) == 0 ? 0 : -ENOENT;
}

static void forget(struct surroundings_past *past, usec_t now)
{
	if (past->latest_usec > 0 && usec_sub(now, past->latest_usec) > TOGETHER_USEC) {
		past->counts = past->latest;
		past->latest_usec = 0;
	}
}

void surroundings_compare(const struct surroundings *s, struct surroundings_past *past, usec_t now,
			  struct surroundings_counts *ret)
{
	forget(past, now);
	surroundings_read(s, ret);
	past->latest = *ret;
	past->latest_usec = now;
}

static int find_rise(unsigned n, const uint64_t *before, const uint64_t *after)
{
	for (unsigned i = 0; i < n; i++)
		if (after[i] > before[i])
			return (int)i;
	return -ENOENT;
}

int surroundings_find_limit(const struct surroundings *s, const struct surroundings_counts *before,
			    const struct surroundings_counts *after)
{
	return find_rise(s->n, before->oom, after->oom);
}

int surroundings_find_oomd(const struct surroundings *s, struct surroundings_past *past, usec_t now)
{
	uint64_t after[SURROUNDINGS_MAX];

	forget(past, now);
	read_oomd(s, after);
	return find_rise(s->n, past->counts.oomd, after);
}

uint64_t surroundings_limit(const struct surroundings *s, int i)
{
	return cgroup_read_number(s->groups[i].fd, "memory.max", UINT64_MAX);
}

/* Without a limit it is a huge number of pages, in bytes. */
uint64_t surroundings_v1_limit(const struct surroundings *s)
{
	uint64_t limit = cgroup_read_number(s->v1_fd, "memory.limit_in_bytes", UINT64_MAX);

	return limit < (uint64_t)INT64_MAX >> 1 ? limit : UINT64_MAX;
}
