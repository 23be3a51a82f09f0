/* SPDX-License-Identifier: MIT
 *
 * user-mode-linux up to 6.12 keeps 2696 bytes of a process' floating point registers. On a processor with AMX there are
 * more, and Linux takes them whole only: such a machine panics at its first process. This file, preloaded, makes the
 * rest of them up: zeros, which is what tiles that nobody uses are.
 */
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Not on the stack, which is one of the little machine's own; it has one processor. */
static char all[65536];

long ptrace(enum __ptrace_request request, ...)
{
	va_list ap;
	va_start(ap, request);
	pid_t pid = va_arg(ap, pid_t);
	void *addr = va_arg(ap, void *), *data = va_arg(ap, void *);
	va_end(ap);

	long peeked = 0, r;
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER)
		data = &peeked;
	if (request == PTRACE_SETREGSET && addr == (void *)NT_X86_XSTATE) {
		const struct iovec *given = data;
		struct iovec v = {.iov_base = all, .iov_len = sizeof(all)};
		if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, addr, &v) == 0 && v.iov_len > given->iov_len) {
			memcpy(all, given->iov_base, given->iov_len);
			memset(all + given->iov_len, 0, v.iov_len - given->iov_len);
			return syscall(SYS_ptrace, request, pid, addr, &v);
		}
	}
	r = syscall(SYS_ptrace, request, pid, addr, data);
	return data == &peeked && r == 0 ? peeked : r;
}
