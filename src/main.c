/* SPDX-License-Identifier: MIT
 *
 * chargehand(8): options, prerequisites, run. What is changed of the process itself is changed here, and remembered for
 * the workers, who are to be started as if chargehand were not there.
 */
#include "base/entry.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/status.h"
#include "config/config.h"
#include "config/environment.h"
#include "config/option.h"
#include "ledger/statedir.h"
#include "link/dial.h"
#include "process/slice.h"
#include "supervise/check.h"
#include "supervise/supervisor.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define OOM_SCORE_BYTES 16

/* 0 to 2 are taken for granted from here on: a descriptor that got one of these numbers by chance would receive what is
 * meant for the log. */
static int open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

static int print(const char *text)
{
	return fputs(text, stdout) == EOF || fflush(stdout) == EOF ? STATUS_OS_ERROR : 0;
}

static int print_help(void)
{
	_cleanup_free_ char *text = option_help();

	return text ? print(text) : STATUS_OS_ERROR;
}

/* Reads all that the process was started with. -1, or an exit status with everything said. */
static int load(int argc, char *argv[], struct config **ret)
{
	_cleanup_free_ char *message = NULL;
	int r = config_load(argc, argv, environ, ret, &message);

	switch (r) {
	case CONFIG_OK:
		return -1;
	case CONFIG_HELP:
		return print_help();
	case CONFIG_VERSION:
		return print(PACKAGE_NAME " " PACKAGE_VERSION "\n");
	case CONFIG_USAGE:
		log_error("%s", message);
		return STATUS_USAGE;
	case CONFIG_INVALID:
		log_error("%s", message);
		return STATUS_CONFIG;
	default:
		(void)log_error_errno(r, "Cannot start: %m");
		return STATUS_OS_ERROR;
	}
}

/* What workers get back. A low score under a service manager was meant for chargehand (OOMScoreAdjust=): a worker that
 * had it, too, would be spared at the cost of everybody else. */
static void remember(struct supervisor_start *start, char oom_score[OOM_SCORE_BYTES])
{
	size_t bytes;

	start->environ = environ;
	if (getrlimit(RLIMIT_NOFILE, &start->nofile) < 0)
		start->nofile = (struct rlimit){.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
	if (fileio_read_into_at(AT_FDCWD, "/proc/self/oom_score_adj", oom_score, OOM_SCORE_BYTES, &bytes) < 0)
		return;
	if (oom_score[0] == '-' && environment_get(environ, "NOTIFY_SOCKET"))
		strcpy(oom_score, "0");
	start->oom_score_adj = oom_score;
}

/* The password is in our memory, and was in our arguments and environment: neither ps(1) nor another process of this
 * user shall read it (hazards 42). No core dump either. */
static void hide_password(int argc, char *argv[])
{
	config_erase_passwords(argc, argv, environ);
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		(void)log_warning_errno(errno, "Other processes of this user could read the password: %m");
}

/* A session takes two descriptors, and there may be thousands. */
static void raise_descriptor_limit(const struct rlimit *before)
{
	struct rlimit limit = {.rlim_cur = before->rlim_max, .rlim_max = before->rlim_max};

	if (before->rlim_cur != before->rlim_max && setrlimit(RLIMIT_NOFILE, &limit) < 0)
		(void)log_warning_errno(errno, "The limit of open files stays at %ju: %m", (uintmax_t)before->rlim_cur);
}

/* -1 with directory and lock where there is one, or an exit status with everything said. */
static int take_state_dir(const struct config *config, int *ret_dir_fd, int *ret_lock_fd)
{
	char by[32] = "";
	pid_t holder = 0;
	int r;

	if (!config->state_dir) {
		log_warning("No place for a state directory: neither HOME nor XDG_STATE_HOME is set; --state-dir names "
			    "one. Without it jobs are not remembered should chargehand itself die");
		return -1;
	}
	r = statedir_lock(config->state_dir, ret_dir_fd, ret_lock_fd, &holder);
	if (r == -EWOULDBLOCK) {
		if (holder > 0)
			(void)snprintf(by, sizeof(by), " (pid %d)", holder);
		log_error("%s: another chargehand%s has this state directory: %s", config->state_dir, by,
			  config->state_dir_asked ? "give each a --state-dir of its own"
						  : "use --name to tell the two apart");
		return STATUS_HELD;
	}
	if (r < 0 && config->state_dir_asked) {
		(void)log_error_errno(r, "%s: cannot be used as state directory: %m", config->state_dir);
		return STATUS_CONFIG;
	}
	if (r < 0)
		(void)log_warning_errno(
			r,
			"%s: %m: going on without a state directory; --state-dir names another. Without it jobs "
			"are not remembered should chargehand itself die",
			config->state_dir);
	return -1;
}

/* -1, or an exit status with everything said: workers would wait until somebody looks. */
static int prepare_to_dial(const struct config *config)
{
	_cleanup_free_ char *message = NULL, *url = NULL;

	if (dialer_prepare(&config->server, &message) == 0)
		return -1;
	url = server_url_show(&config->server);
	log_error("%s (%s): %s", url ? url : "?", config->server_source, message ? message : "it cannot be looked up");
	return STATUS_UNAVAILABLE;
}

static int run(int argc, char *argv[])
{
	_cleanup_(cleanup_config) struct config *config = NULL;
	_cleanup_close_ int state_dir_fd = -EBADF, state_lock_fd = -EBADF;
	char oom_score[OOM_SCORE_BYTES];
	struct supervisor_start start = {0};
	int status = load(argc, argv, &config);

	if (status >= 0)
		return status;
	log_set_level(config->log_level);
	remember(&start, oom_score);
	hide_password(argc, argv);
	if (config->check) {
		status = check_run(config, &start, stdout);
		return fflush(stdout) == EOF ? STATUS_OS_ERROR : status;
	}
	status = prepare_to_dial(config);
	if (status >= 0)
		return status;
	raise_descriptor_limit(&start.nofile);
	(void)slice_lengthen(&start.slice_nsec); /* only a matter of speed */
	status = take_state_dir(config, &state_dir_fd, &state_lock_fd);
	if (status >= 0)
		return status;
	start.state_dir_fd = state_dir_fd;
	return supervisor_run(config, &start);
}

int main(int argc, char *argv[])
{
	int r = open_standard_descriptors();

	(void)signal(SIGPIPE, SIG_IGN);
	log_set_style(log_detect_style());
	if (log_detect_style() == LOG_STYLE_PRIORITY)
		log_set_journal(LOG_JOURNAL_SOCKET);
	if (r < 0) {
		(void)log_error_errno(r, "/dev/null: %m");
		return STATUS_OS_ERROR;
	}
	return run(argc, argv);
}
