/* SPDX-License-Identifier: MIT
 *
 * Two files of /proc, line by line.
 */
#include "process/owngroup.h"

#include "base/fileio.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PROC_FILE_BYTES_MAX ((size_t)4 << 20)

/* What lies behind the prefix at the beginning of a line, up to the line's end. */
static char *line_after(const char *text, const char *prefix)
{
	for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
		if (strncmp(line, prefix, strlen(prefix)) == 0) {
			const char *from = line + strlen(prefix);
			return strndup(from, strcspn(from, "\n"));
		}
	return NULL;
}

/* "4:memory:/path", "4:cpu,memory:/path": the path for one of the comma-separated controllers of v1. */
static char *v1_path(const char *text, const char *controller)
{
	size_t n = strlen(controller);

	for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		const char *p = line + strcspn(line, ":\n");
		while (*p == ':' || *p == ',') {
			p++;
			size_t word = strcspn(p, ",:\n");
			if (word == n && strncmp(p, controller, n) == 0) {
				p += strcspn(p, ":\n");
				return *p == ':' ? strndup(p + 1, strcspn(p + 1, "\n")) : NULL;
			}
			p += word;
			if (*p == ':')
				break;
		}
	}
	return NULL;
}

/* In place: "\040" and the like of mountinfo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++)
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	*to = 0;
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
		if (strncmp(p, word, n) == 0 && (p[n] == 0 || p[n] == ','))
			return true;
	return false;
}

/* What of the path lies below the mount's root; NULL: it is elsewhere. */
static const char *below_root(const char *path, const char *root)
{
	size_t n = strlen(root);

	if (strcmp(root, "/") == 0)
		return strcmp(path, "/") == 0 ? "" : path;
	return strncmp(path, root, n) == 0 && (path[n] == 0 || path[n] == '/') ? path + n : NULL;
}

/* In place, at each blank. False: there are fewer than n words. */
static bool split(char *s, char **words, size_t n)
{
	size_t i = 0;

	while (i < n && (words[i] = strsep(&s, " ")))
		i++;
	return i == n;
}

/* "36 35 98:0 /root /mount opts fields - type source superopts". The first mount of the type below which the path is;
 * option: one that the file system must have, or NULL. */
static int find_mount(const char *mountinfo, const char *type, const char *option, const char *path, char **ret_mount,
		      char **ret_dir)
{
	for (const char *line = mountinfo; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		_cleanup_free_ char *copy = strndup(line, strcspn(line, "\n")), *dir = NULL;

		if (!copy)
			return -ENOMEM;
		char *left[5], *right[3], *middle = strstr(copy, " - ");
		if (!middle || !split(middle + STRLEN(" - "), right, ARRAY_SIZE(right)) ||
		    !split(copy, left, ARRAY_SIZE(left)) || strcmp(right[0], type) != 0 ||
		    (option && !has_word(right[2], option)))
			continue;
		char *root = left[3], *mount = left[4];
		unescape(root);
		unescape(mount);
		const char *below = path ? below_root(path, root) : NULL;
		if (below && !strstr(below, "/..") && asprintf(&dir, "%s%s", mount, below) < 0) {
			dir = NULL;
			return -ENOMEM;
		}
		if (!dir && *ret_mount)
			continue;
		free(*ret_mount);
		*ret_mount = strdup(mount);
		*ret_dir = TAKE_PTR(dir);
		if (*ret_dir || !*ret_mount)
			return *ret_mount ? 0 : -ENOMEM;
	}
	return 0;
}

int own_group_parse(const char *cgroup, const char *mountinfo, struct own_group *ret)
{
	_cleanup_free_ char *memory_path = v1_path(cgroup, "memory"), *mount = NULL;
	int r = 0;

	*ret = (struct own_group){.path = line_after(cgroup, "0::")};
	if (ret->path)
		r = find_mount(mountinfo, "cgroup2", NULL, ret->path, &ret->mount, &ret->dir);
	if (r == 0 && memory_path)
		r = find_mount(mountinfo, "cgroup", "memory", memory_path, &mount, &ret->memory_dir);
	if (r < 0)
		own_group_done(ret);
	return r;
}

int own_group_find(struct own_group *ret)
{
	_cleanup_free_ char *cgroup = NULL, *mountinfo = NULL;
	size_t bytes;
	int r;

	r = fileio_read_at(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_BYTES_MAX, &cgroup, &bytes);
	if (r == 0)
		r = fileio_read_at(AT_FDCWD, "/proc/self/mountinfo", PROC_FILE_BYTES_MAX, &mountinfo, &bytes);
	return r < 0 ? r : own_group_parse(cgroup, mountinfo, ret);
}

void own_group_done(struct own_group *g)
{
	free(g->path);
	free(g->mount);
	free(g->dir);
	free(g->memory_dir);
	*g = (struct own_group){0};
}

static bool ends_in(const char *s, size_t bytes, const char *suffix)
{
	size_t n = strlen(suffix);

	return bytes > n && strncmp(s + bytes - n, suffix, n) == 0;
}

const char *own_group_unit(const char *path, size_t *ret_bytes)
{
	const char *found = NULL;

	for (const char *p = path; *p;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if (ends_in(p, n, ".service") || ends_in(p, n, ".scope")) {
			found = p;
			*ret_bytes = n;
		}
		p += n;
	}
	return found;
}
