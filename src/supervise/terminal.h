/* SPDX-License-Identifier: MIT
 *
 * A terminal on standard input. Started in its foreground with one worker, chargehand gives it to that worker's process
 * group, so that a debugger in the worker works (hazards 44): ^C and ^Z then reach the worker, and chargehand learns of
 * them by what the worker does. An end by ^C, or a plain exit 0, ends chargehand too; with ^Z both stop, as one job of
 * the shell. With several workers chargehand keeps the terminal, and ^C stops them all.
 */
#ifndef CHARGEHAND_SUPERVISE_TERMINAL_H
#define CHARGEHAND_SUPERVISE_TERMINAL_H

#include "process/reap.h"
#include <stdbool.h>
#include <sys/types.h>

/* Is standard input a terminal whose foreground group is chargehand's? */
bool terminal_is_ours(void);

/* After the worker's end. SIGTTOU must be ignored. */
void terminal_take_back(void);

/* A child has changed state: if the worker was stopped from the terminal, chargehand stops too; once continued by the
 * shell it gives the terminal back and lets the worker go on. */
void terminal_follow_stop(pid_t worker_pid);

/* Would a person at the terminal have meant this end? */
bool terminal_end_was_meant(const struct exit_info *exit);

#endif
