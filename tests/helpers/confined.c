/* SPDX-License-Identifier: MIT
 *
 * Runs a command under a filter like the default one of Docker for a container without further capabilities: clone3(2)
 * is answered with ENOSYS (its flags cannot be looked at), and what could reach outside of the container with EPERM.
 * Who asks for another share of the processor is killed, as by "SystemCallFilter=~@resources" of a systemd unit.
 *
 *   confined [--old] COMMAND [ARGUMENT...]
 *
 * --old: as one that was made before there was pidfd_open(2): EPERM.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define LOAD_NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define ANSWER(number, error)                                                                                          \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))

int main(int argc, char **argv)
{
	static struct sock_filter filter[] = {
		LOAD_NUMBER,
		ANSWER(SYS_pidfd_open, EPERM), /* with --old */
		ANSWER(SYS_clone3, ENOSYS),
		ANSWER(SYS_unshare, EPERM),
		ANSWER(SYS_setns, EPERM),
		ANSWER(SYS_mount, EPERM),
		ANSWER(SYS_umount2, EPERM),
		ANSWER(SYS_pivot_root, EPERM),
		ANSWER(SYS_bpf, EPERM),
		ANSWER(SYS_perf_event_open, EPERM),
		ANSWER(SYS_keyctl, EPERM),
		ANSWER(SYS_add_key, EPERM),
		ANSWER(SYS_request_key, EPERM),
		ANSWER(SYS_userfaultfd, EPERM),
		ANSWER(SYS_process_vm_readv, EPERM),
		ANSWER(SYS_open_by_handle_at, EPERM),
		ANSWER(SYS_syslog, EPERM),
		ANSWER(SYS_quotactl, EPERM),
		ANSWER(SYS_reboot, EPERM),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setattr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
	int old = argc > 1 && strcmp(argv[1], "--old") == 0;

	argv += old;
	argc -= old;
	if (argc < 2) {
		fprintf(stderr, "usage: confined [--old] COMMAND [ARGUMENT...]\n");
		return 64;
	}
	if (!old)
		filter[1].k = UINT32_MAX; /* no system call has this number */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
		perror("confined");
		return 1;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 127;
}
