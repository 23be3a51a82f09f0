/* SPDX-License-Identifier: MIT
 *
 * A program: one command, run in as many slots as there are instances. A slot has at most one worker whose first
 * process lives; those before it may still be dying, and are in the program's list until the last answer is in.
 * What happens to a slot when its worker ends is decided here alone:
 *
 *   asked to end (chargehand, the server's web page, a person at the terminal)   never restarted
 *   --restart always                                                             restarted
 *   --restart on-failure     restarted after anything but exit 0 without jobs in hand
 *   --restart never                                                              not restarted
 */
#ifndef CHARGEHAND_SUPERVISE_PROGRAM_H
#define CHARGEHAND_SUPERVISE_PROGRAM_H

#include "supervise/news.h"
#include "supervise/worker.h"

struct program;

/* shop is borrowed. */
int program_new(const struct workshop *shop, struct program **ret) _must_check_;
struct program *program_free(struct program *p);

/* Starts all slots. 0, or the exit status for a command that cannot be run at all, which has been logged. What fails
 * later is tried again with backoff. */
int program_start(struct program *p) _must_check_;

void program_stop(struct program *p);
void program_hurry(struct program *p);
void program_set_quiet(struct program *p, bool quiet);
void program_forward_signal(struct program *p, int signal, pid_t sender);
/* Is any worker's first process on its way out? */
bool program_has_ending(const struct program *p);
/* The kernel killed n processes for lack of memory, and no worker has died of it. */
void program_count_outlived(struct program *p, uint64_t n);

/* A child of ours has ended (SIGCHLD): a first process, or an orphan of some worker's. Reaps all that have. */
void program_reap(struct program *p);

/* Frees the workers that are gone: at the end of a turn of the loop. */
void program_bury(struct program *p);

/* No slot will start anything, and no worker is left. */
bool program_is_finished(const struct program *p);
/* No slot will start anything, and all that is left is waiting for the server's answers. */
bool program_is_settling(const struct program *p);

/* Of the last worker that ended by itself and was not restarted; 0 when all were asked to end. */
int program_exit_status(const struct program *p);

/* What of the news is its own: the numbers of slots, workers and deaths. */
void program_tell(const struct program *p, struct news *news);

usec_t program_forget_holds(struct program *p, usec_t now); /* as worker_forget_holds() */
void program_report_answered(struct program *p, const struct holder *holder, struct hold *hold, enum report_kind kind,
			     enum report_outcome outcome);

/* What is left of jobs, by name, one line each for the first few. */
void program_log_left(const struct program *p);

#endif
