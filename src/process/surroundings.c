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
			ret->n++;
		}
		char *slash = strrchr(path, '/');
		if (!slash || slash == path)
			break;
		*slash = 0;
	}
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

/* The kernel has it since 4.13. */
static uint64_t read_v1_oom_kill(int dir_fd)
{
	uint64_t value;

	return cgroup_read_flat(dir_fd, "memory.oom_control", "oom_kill", &value) == 0 ? value : 0;
}

void surroundings_read(const struct surroundings *s, struct surroundings_counts *ret)
{
	*ret = (struct surroundings_counts){0};
	for (unsigned i = 0; i < s->n; i++) {
		(void)cgroup_read_flat(s->groups[i].fd, "memory.events.local", "oom", &ret->oom[i]);
		ret->oomd[i] = surroundings_read_oomd(s->groups[i].fd);
	}
	if (s->v1_fd >= 0)
		ret->oom_kill = read_v1_oom_kill(s->v1_fd);
	else if (s->n > 0)
		(void)cgroup_read_flat(s->groups[0].fd, "memory.events.local", "oom_kill", &ret->oom_kill);
}

bool surroundings_tell(const struct surroundings *s)
{
	if (s->v1_fd >= 0)
		return faccessat(s->v1_fd, "memory.oom_control", R_OK, 0) == 0;
	return s->n > 0 && faccessat(s->groups[0].fd, "memory.events.local", R_OK, 0) == 0;
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

int surroundings_find_oomd(const struct surroundings *s, const struct surroundings_counts *before,
			   const struct surroundings_counts *after)
{
	return find_rise(s->n, before->oomd, after->oomd);
}

uint64_t surroundings_limit(const struct surroundings *s, int i)
{
	return cgroup_read_number(s->groups[i].fd, "memory.max", UINT64_MAX);
}
