/* SPDX-License-Identifier: MIT
 *
 * Numbers between blanks; what is behind the last that is asked for may be cut off.
 */
#include "process/procstat.h"

#include "base/fileio.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAT_BYTES 2048 /* 50 numbers, and a name of 64 bytes at most */

#define PF_EXITING UINT64_C(0x4) /* not in the headers for programs */

/* From the end of a field to the beginning of the one that comes n fields later. */
static const char *skip(const char *p, unsigned n)
{
	for (; p && n > 0; n--) {
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	return p;
}

int proc_stat_parse(const char *text, struct proc_stat *ret)
{
	const char *name_end = strrchr(text, ')');
	const char *state = skip(name_end, 1), *parent = skip(state, 1), *flags = skip(parent, 5);
	const char *start = skip(flags, 13);

	if (!start || *start < '0' || *start > '9')
		return -EBADMSG;
	*ret = (struct proc_stat){
		.state = *state,
		.parent_pid = (pid_t)strtol(parent, NULL, 10),
		.flags = strtoull(flags, NULL, 10),
		.start_ticks = strtoull(start, NULL, 10),
	};
	return 0;
}

int proc_stat_read(pid_t pid, struct proc_stat *ret)
{
	char path[32], text[STAT_BYTES];
	size_t bytes;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	r = fileio_read_into_at(AT_FDCWD, path, text, sizeof(text), &bytes);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	return proc_stat_parse(text, ret);
}

bool proc_stat_is_exiting(const struct proc_stat *s)
{
	return s->state == 'Z' || s->state == 'X' || s->flags & PF_EXITING;
}
