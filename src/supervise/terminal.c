/* SPDX-License-Identifier: MIT
 *
 * Job control, as a shell does it for one job.
 */
#include "supervise/terminal.h"

#include <signal.h>
#include <sys/wait.h>

bool terminal_is_ours(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void terminal_take_back(void)
{
	if (tcgetpgrp(STDIN_FILENO) != getpgrp())
		(void)tcsetpgrp(STDIN_FILENO, getpgrp());
}

void terminal_follow_stop(pid_t worker_pid)
{
	siginfo_t si = {.si_pid = 0};

	if (waitid(P_PID, (id_t)worker_pid, &si, WSTOPPED | WNOHANG) < 0 || si.si_pid == 0)
		return;
	/* SIGSTOP comes from a person with a debugger elsewhere. */
	if (si.si_status != SIGTSTP && si.si_status != SIGTTIN && si.si_status != SIGTTOU)
		return;
	terminal_take_back();
	(void)kill(0, SIGSTOP); /* everything that the shell calls this job */
	if (terminal_is_ours())
		(void)tcsetpgrp(STDIN_FILENO, worker_pid);
	(void)kill(-worker_pid, SIGCONT);
}

bool terminal_end_was_meant(const struct exit_info *exit)
{
	int status = exit_info_to_status(exit);
	return status == 0 || status == 128 + SIGINT || status == 128 + SIGQUIT || status == 128 + SIGHUP;
}
