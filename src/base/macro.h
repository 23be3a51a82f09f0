/* SPDX-License-Identifier: MIT
 *
 * The compiler's help: cleanup attributes, ownership hand-over, and checks that cost nothing.
 *
 * A variable that owns something says so where it is declared (_cleanup_free_, _cleanup_close_); it gives the
 * thing away with TAKE_PTR or TAKE_FD. Every other return path then releases it.
 */
#ifndef CHARGEHAND_BASE_MACRO_H
#define CHARGEHAND_BASE_MACRO_H

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(string, first) __attribute__((format(printf, string, first)))
#define _must_check_ __attribute__((warn_unused_result))
#define _unused_ __attribute__((unused))
#define _noreturn_ __attribute__((noreturn))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define STRLEN(literal) (sizeof("" literal "") - 1)

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void *take_ptr(void **p)
{
	void *v = *p;
	*p = NULL;
	return v;
}
#define TAKE_PTR(p) ((__typeof__(p))take_ptr((void **)&(p)))

static inline int take_fd(int *fd)
{
	int v = *fd;
	*fd = -EBADF;
	return v;
}
#define TAKE_FD(fd) take_fd(&(fd))

/* Closes and returns -EBADF, so that `fd = close_fd(fd)` leaves nothing that could be closed twice. close(2) on
 * Linux releases the descriptor even when it reports EINTR, so its result is of no use. errno is kept. */
static inline int close_fd(int fd)
{
	if (fd >= 0) {
		int saved = errno;
		(void)close(fd);
		errno = saved;
	}
	return -EBADF;
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
static inline void cleanup_close(int *fd)
{
	*fd = close_fd(*fd);
}
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

/* Defines cleanup_TYPE() for `_cleanup_(cleanup_TYPE) struct TYPE *x`, beside the type's own free function. */
#define DEFINE_CLEANUP(type, free_function)                                                                            \
	static inline void cleanup_##type(struct type **p)                                                             \
	{                                                                                                              \
		free_function(*p);                                                                                     \
	}

#endif
