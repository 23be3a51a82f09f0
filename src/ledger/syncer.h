/* SPDX-License-Identifier: MIT
 *
 * fdatasync(2) without waiting for it and without a thread: io_submit(2) with IOCB_CMD_FDSYNC, which a kernel worker
 * carries out (Linux 4.18; allowed by the seccomp filters of Docker and systemd, which io_uring is not). One at a time.
 */
#ifndef CHARGEHAND_LEDGER_SYNCER_H
#define CHARGEHAND_LEDGER_SYNCER_H

#include "base/macro.h"
#include <linux/aio_abi.h>
#include <stdbool.h>

struct syncer {
	aio_context_t context;
	int event_fd; /* readable when one has ended; -EBADF: this kernel cannot */
	bool busy;
	struct iocb iocb; /* stays where it is while busy */
};

/* -ENOSYS, -EPERM, -EAGAIN: there is no such thing here; syncer_done() may be called all the same. */
int syncer_init(struct syncer *s) _must_check_;
/* Waits for one that is under way. */
void syncer_done(struct syncer *s);

/* -EBUSY while one is under way. The descriptor may be closed meanwhile: the kernel has the file. */
int syncer_start(struct syncer *s, int fd) _must_check_;
/* -EAGAIN: not ended yet; else what fdatasync(2) would have said, 0 or -errno. */
int syncer_finish(struct syncer *s) _must_check_;

#endif
