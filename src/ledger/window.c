/* SPDX-License-Identifier: MIT
 *
 * mmap(2), a copy, and the way back out of a signal.
 */
#include "ledger/window.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

/* One thread: so one copy at a time. */
static struct {
	const struct window *window; /* NULL: no copy is under way */
	sigjmp_buf back;
} guard;

static void guard_on_sigbus(int signal, siginfo_t *info, _unused_ void *context)
{
	const struct window *w = guard.window;
	const char *at = info->si_addr;

	bool by_kernel = info->si_code > 0; /* only then is there an address (sigaction(2)) */

	if (by_kernel && w && at >= w->p && at < w->p + w->bytes) {
		guard.window = NULL;
		siglongjmp(guard.back, 1);
	}
	/* Nothing of ours: it ends the process, as it would have without us. A fault does when its instruction is tried
	 * again, which leaves the better core dump. */
	const struct sigaction action = {.sa_handler = SIG_DFL};
	(void)sigaction(signal, &action, NULL);
	if (!by_kernel)
		(void)raise(signal);
}

/* Not blocked in the handler, for nothing unblocks it after siglongjmp(3). */
static int guard_install(void)
{
	static bool installed;
	struct sigaction action = {.sa_sigaction = guard_on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	if (!installed && sigaction(SIGBUS, &action, NULL) < 0)
		return -errno;
	installed = true;
	return 0;
}

static int guard_copy(const struct window *w, char *to, const char *from, size_t bytes)
{
	if (sigsetjmp(guard.back, 0) != 0)
		return -EIO;
	guard.window = w;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memcpy(to, from, bytes);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	guard.window = NULL;
	return 0;
}

/* To the piece of the file that `at` is in: all pieces are of one length, so a file no longer than that is mapped once.
 */
static int window_move(struct window *w, window_mmap map, int fd, uint64_t file_bytes, uint64_t at)
{
	uint64_t begin = at - at % WINDOW_BYTES;
	void *p;

	window_close(w);
	w->bytes = (size_t)MIN((uint64_t)WINDOW_BYTES, file_bytes - begin);
	p = guard_install() < 0 ? MAP_FAILED
				: map(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)begin);
	if (p == MAP_FAILED) {
		*w = (struct window){.refused = true};
		return -EOPNOTSUPP;
	}
	w->p = p;
	w->at = begin;
	return 0;
}

static bool window_has(const struct window *w, uint64_t at, size_t bytes)
{
	return at >= w->at && at + bytes <= w->at + w->bytes;
}

int window_copy(struct window *w, window_mmap map, int fd, uint64_t file_bytes, uint64_t at, const char *p,
		size_t bytes)
{
	int r;

	if (bytes > WINDOW_COPY_MAX)
		return -EOPNOTSUPP;
	if (!window_has(w, at, bytes)) {
		if (w->refused || at % WINDOW_BYTES + bytes > WINDOW_BYTES || at + bytes > file_bytes)
			return -EOPNOTSUPP;
		r = window_move(w, map, fd, file_bytes, at);
		if (r < 0)
			return r;
	}
	r = guard_copy(w, w->p + (at - w->at), p, bytes);
	if (r < 0) {
		window_close(w);
		w->refused = true;
	}
	return r;
}

void window_close(struct window *w)
{
	if (w->p)
		(void)munmap(w->p, w->bytes);
	*w = (struct window){.refused = w->refused};
}
