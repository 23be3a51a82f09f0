/* SPDX-License-Identifier: MIT
 *
 * Two system calls that the C library has no functions for before glibc 2.41.
 */
#include "process/slice.h"

#include "base/fileio.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

/* Its first version, which every kernel knows (linux/sched/types.h). */
struct slice_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_nsec, deadline_nsec, period_nsec;
};

static int slice_read(struct slice_attr *ret)
{
	if (syscall(SYS_sched_getattr, 0, ret, sizeof(*ret), 0U) < 0)
		return -errno;
	/* Of other policies it is another thing, or none. */
	return ret->policy == SCHED_OTHER || ret->policy == SCHED_BATCH ? 0 : -EOPNOTSUPP;
}

/* Everything else is as it was read, so that nothing is asked for that would need a privilege. */
static int slice_write(struct slice_attr *attr, uint64_t nsec)
{
	attr->size = sizeof(*attr);
	attr->runtime_nsec = nsec;
	return syscall(SYS_sched_setattr, 0, attr, 0U) < 0 ? -errno : 0;
}

/* "Seccomp: 0" in /proc/self/status; where that cannot be told there might be one. */
static bool is_filtered(void)
{
	_cleanup_free_ char *status = NULL;
	size_t bytes;

	return fileio_read_at(AT_FDCWD, "/proc/self/status", 65536, &status, &bytes) < 0 ||
	       !strstr(status, "\nSeccomp:\t0\n");
}

/* A machine of more than a thousand has an error for so short a mask. */
static bool has_one_processor(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1;
}

int slice_lengthen(uint64_t *ret_before_nsec)
{
	struct slice_attr attr;
	uint64_t before;
	int r;

	if (!has_one_processor() || is_filtered())
		return -EOPNOTSUPP;
	r = slice_read(&attr);
	if (r < 0)
		return r;
	before = attr.runtime_nsec;
	if (before == 0)
		return -EOPNOTSUPP;
	r = slice_write(&attr, 2 * before);
	if (r < 0)
		return r;
	*ret_before_nsec = before;
	return 0;
}

void slice_set(uint64_t nsec)
{
	struct slice_attr attr;

	if (nsec > 0 && slice_read(&attr) == 0)
		(void)slice_write(&attr, nsec);
}
