/* SPDX-License-Identifier: MIT
 *
 * What chargehand was asked to do: one immutable snapshot, made once from command line, configuration file, environment
 * and defaults, in this order of precedence. Everything is checked and in units; strings are owned by the snapshot.
 *
 * The options themselves are the rows of option.h.
 */
#ifndef CHARGEHAND_CONFIG_CONFIG_H
#define CHARGEHAND_CONFIG_CONFIG_H

#include "base/clock.h"
#include "base/macro.h"
#include "faktory/url.h"
#include <stdbool.h>
#include <stdint.h>

#define CONFIG_UNLIMITED UINT64_MAX
#define CONFIG_INSTANCES_MAX 1000

/* Names become directory names and parts of log lines. inih cuts section names at 49 bytes; "program " is 8 of them. */
#define CONFIG_NAME_MAX 40

enum restart_policy {
	RESTART_ALWAYS,
	RESTART_ON_FAILURE, /* anything but exit 0 without jobs in hand */
	RESTART_NEVER,
	_RESTART_MAX,
};

enum cgroup_mode {
	CGROUP_AUTO,
	CGROUP_NONE,
	CGROUP_PATH, /* config.cgroup_path */
	_CGROUP_MODE_MAX,
};

enum stop_target {
	STOP_TARGET_MAIN,  /* TERM goes to the worker's first process */
	STOP_TARGET_HELLO, /* TERM goes to the processes that said HELLO */
	_STOP_TARGET_MAX,
};

enum sync_policy {
	SYNC_NEVER,
	SYNC_INTERVAL,
	SYNC_ALWAYS,
	_SYNC_MAX,
};

const char *restart_policy_to_string(enum restart_policy policy);
const char *cgroup_mode_to_string(enum cgroup_mode mode);
const char *stop_target_to_string(enum stop_target target);
const char *sync_policy_to_string(enum sync_policy policy);

struct config {
	bool check;    /* --check: print what works here, start nothing */
	int log_level; /* LOG_ERR .. LOG_DEBUG */

	struct server_url server;
	const char *server_source; /* for messages: "--server", "FAKTORY_URL", "default" ... */
	char *provider_variable;   /* what FAKTORY_PROVIDER named; NULL when it is not set */

	char *name;     /* of the program */
	char **command; /* NULL-terminated; NULL only with --check */
	unsigned instances;
	enum restart_policy restart;
	usec_t stop_grace_usec;
	usec_t healthy_usec; /* a life this long is restarted at once */
	usec_t linger_usec;
	enum stop_target stop_target;
	uint64_t keep_body_bytes;

	enum cgroup_mode cgroup_mode;
	char *cgroup_path;                                                      /* CGROUP_PATH only */
	uint64_t memory_max_bytes, memory_high_bytes, swap_max_bytes, pids_max; /* CONFIG_UNLIMITED: not set */
	unsigned cpu_percent; /* 0: not set; 150 is one and a half processors */
	bool oom_group;

	char *state_dir;      /* NULL when there is no place for a default one */
	bool state_dir_asked; /* by option, file or $STATE_DIRECTORY; false: the default one */
	enum sync_policy journal_sync;
};

/* What config_load() found, besides a negative errno. */
enum config_result {
	CONFIG_OK,
	CONFIG_HELP,    /* --help */
	CONFIG_VERSION, /* --version */
	CONFIG_USAGE,   /* a wrong command line: *ret_message, exit status 64 */
	CONFIG_INVALID, /* a wrong file or environment: *ret_message, exit status 78 */
};

/* Reads all sources. CONFIG_OK sets *ret alone; CONFIG_USAGE and CONFIG_INVALID set *ret_message alone, one line
 * without its end that names option or file and line, value, and what would be right, and never a password; the caller
 * frees it. Otherwise both are unchanged. Not to be called from two threads: getopt_long(3) has one state. */
int config_load(int argc, char *const argv[], char *const *envp, struct config **ret, char **ret_message) _must_check_;

struct config *config_free(struct config *c); /* returns NULL; accepts NULL */
DEFINE_CLEANUP(config, config_free)

/* Overwrites the password in every URL of argv and environment that chargehand reads, for ps(1) and /proc show both for
 * as long as chargehand runs (hazards 42). To be called once all has been read. */
void config_erase_passwords(int argc, char *argv[], char **envp);

#endif
