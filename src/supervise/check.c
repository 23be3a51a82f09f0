/* SPDX-License-Identifier: MIT
 *
 * One function for each line.
 */
#include "supervise/check.h"
#include "base/parse.h"
#include "base/status.h"
#include "config/elsewhere.h"
#include "config/environment.h"
#include "ledger/statedir.h"
#include "link/dial.h"
#include "link/greet.h"
#include "process/peer.h"
#include "supervise/herald.h"
#include "supervise/place.h"
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>

#define CHECK_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define JOBS_NOT_REMEMBERED "jobs would not be remembered should chargehand itself die"

struct check {
	const struct config *config;
	const struct supervisor_start *start;
	FILE *out;
	int status;
	bool have_leaves;
};

_printf_(3, 4) static void tell(const struct check *c, const char *what, const char *format, ...)
{
	va_list ap;

	(void)fprintf(c->out, "%-12s", what);
	va_start(ap, format);
	(void)vfprintf(c->out, format, ap);
	va_end(ap);
	(void)fputc('\n', c->out);
}

static void set_status(struct check *c, int status)
{
	if (c->status == 0)
		c->status = status;
}

static void check_server(struct check *c)
{
	_cleanup_free_ char *url = server_url_show(&c->config->server);
	_cleanup_free_ char *message = NULL;
	char text[GREET_TEXT_MAX] = "", took[FORMAT_DURATION_MAX];
	usec_t begin = clock_now_usec();
	int r = dialer_prepare(&c->config->server, &message);

	if (r == 0)
		r = server_greet(&c->config->server, CHECK_TIMEOUT_USEC, text);
	/* What a server says may be anything. */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
			*p = '?';
	if (r < 0) {
		tell(c, "server", "FAILED: %s (%s): %s", url, c->config->server_source, message ? message : text);
		set_status(c, STATUS_UNAVAILABLE);
		return;
	}
	tell(c, "server", "%s (%s): answers%s after %s", url, c->config->server_source,
	     c->config->server.password ? ", takes the password," : "",
	     format_duration(took, usec_sub(clock_now_usec(), begin)));
}

/* As execvpe(3) will look for it. */
static bool find_command(const struct check *c, const char *name, char *path, size_t room)
{
	const char *list = environment_get(c->start->environ, "PATH");

	if (strchr(name, '/')) {
		(void)snprintf(path, room, "%s", name);
		return access(name, X_OK) == 0;
	}
	for (const char *p = list ? list : "/bin:/usr/bin"; *p; p += *p == ':') {
		size_t n = strcspn(p, ":");
		(void)snprintf(path, room, "%.*s%s%s", (int)n, p, n > 0 ? "/" : "", name);
		if (access(path, X_OK) == 0)
			return true;
		p += n;
	}
	(void)snprintf(path, room, "%s", name);
	return false;
}

static void check_command(struct check *c)
{
	const char *inside = c->config->command ? elsewhere_find(c->config->command[0]) : NULL;
	char path[4096];

	if (!c->config->command)
		tell(c, "command", "none was given");
	else if (find_command(c, c->config->command[0], path, sizeof(path)))
		tell(c, "command", "%s, %u time%s as %s.1%s%s%s", path, c->config->instances,
		     c->config->instances == 1 ? "" : "s", c->config->name, c->config->instances == 1 ? "" : " ...",
		     inside ? ": " ELSEWHERE_TEXT : "", inside ? inside : "");
	else {
		tell(c, "command", "FAILED: %s: not found, or not executable", path);
		set_status(c, errno == ENOENT ? 127 : 126);
	}
}

static void check_cgroup(struct check *c)
{
	_cleanup_free_ char *message = NULL;
	char place[PLACE_TEXT_MAX];
	const char *file;
	struct subtree *s;
	int dir_fd;
	int r = place_open(c->config, true, &s, &message);

	if (r < 0) {
		tell(c, "cgroup", "FAILED: %s", message ? message : strerror(-r));
		set_status(c, STATUS_CONFIG);
		return;
	}
	if (s->kind == SUBTREE_SCOPE)
		tell(c, "cgroup", "systemd will be asked for a scope; each worker has its own below it");
	else
		tell(c, "cgroup", "%s", place_show(s, place));
	if (s->kind == SUBTREE_NONE)
		tell(c, "limits", "cannot be set; workers are followed by process group and environment");
	else if (s->kind != SUBTREE_SCOPE)
		tell(c, "limits", "memory %s, pids %s, cpu %s", s->memory ? "yes" : "no", s->pids ? "yes" : "no",
		     s->cpu ? "yes" : "no");
	c->have_leaves = s->kind != SUBTREE_NONE;
	if (s->memory || s->kind == SUBTREE_SCOPE)
		tell(c, "memory", "a worker's death for lack of memory is told by its own cgroup");
	else if (surroundings_kill_file(&s->around, &dir_fd, &file) == 0)
		tell(c, "memory",
		     "a worker's death for lack of memory is told by the cgroup it shares with chargehand");
	else
		tell(c, "memory", "a worker's death for lack of memory cannot be told from another SIGKILL");
	(void)subtree_close(s);
}

static void check_peers(struct check *c)
{
	struct peer_lookup *peers = NULL;
	int r = peer_lookup_new(&peers);

	if (r < 0)
		tell(c, "sock_diag", "missing (%s): any local process can speak to a worker's listener", strerror(-r));
	else
		tell(c, "sock_diag", "works: only a worker's own processes can speak to its listener%s",
		     c->have_leaves ? "" : ", or others of its uid");
	(void)peer_lookup_free(peers);
}

static void check_journal(struct check *c)
{
	const char *path = c->config->state_dir;
	pid_t holder = 0;
	int r = path ? statedir_check(path, &holder) : 0;

	if (!path) {
		tell(c, "journal",
		     "none: neither HOME nor XDG_STATE_HOME is set, and no --state-dir: " JOBS_NOT_REMEMBERED);
	} else if (r == 0) {
		tell(c, "journal", "%s/journal, on the disk as of --journal-sync %s", path,
		     sync_policy_to_string(c->config->journal_sync));
	} else if (r == -EWOULDBLOCK) {
		tell(c, "journal", "FAILED: %s: another chargehand has it (pid %d): use %s", path, holder,
		     c->config->state_dir_asked ? "another --state-dir" : "--name");
		set_status(c, STATUS_HELD);
	} else if (c->config->state_dir_asked) {
		tell(c, "journal", "FAILED: %s: %s", path, strerror(-r));
		set_status(c, STATUS_CONFIG);
	} else {
		tell(c, "journal", "none: %s: %s: " JOBS_NOT_REMEMBERED, path, strerror(-r));
	}
}

static void check_limits(struct check *c)
{
	const struct rlimit *nofile = &c->start->nofile;

	/* Two a session, and some dozens for chargehand itself. */
	if (nofile->rlim_max == RLIM_INFINITY)
		tell(c, "descriptors", "without limit");
	else
		tell(c, "descriptors", "%ju, enough for %ju sessions; workers get %ju", (uintmax_t)nofile->rlim_max,
		     (uintmax_t)(nofile->rlim_max > 64 ? (nofile->rlim_max - 64) / 2 : 0), (uintmax_t)nofile->rlim_cur);
}

static void check_manager(struct check *c)
{
	usec_t watchdog_usec = herald_watchdog_usec(c->start->environ);
	char text[FORMAT_DURATION_MAX];

	if (!environment_get(c->start->environ, "NOTIFY_SOCKET"))
		tell(c, "systemd",
		     "not started by it with Type=notify: readiness, status and watchdog are told to nobody");
	else if (watchdog_usec == USEC_NEVER)
		tell(c, "systemd", "is told of readiness and status; WatchdogSec= is not set");
	else
		tell(c, "systemd", "is told of readiness and status, and that chargehand lives, every %s",
		     format_duration(text, watchdog_usec / 2));
}

static void check_build(struct check *c)
{
	struct utsname u;

	if (uname(&u) < 0)
		u.sysname[0] = u.release[0] = 0;
#ifdef HAVE_LIBSYSTEMD
	tell(c, "build", PACKAGE_VERSION " on %s %s, with libsystemd, for scopes and the units of users", u.sysname,
	     u.release);
#else
	tell(c, "build", PACKAGE_VERSION " on %s %s, without libsystemd: no scopes, no cgroups in the units of users",
	     u.sysname, u.release);
#endif
}

int check_run(const struct config *config, const struct supervisor_start *start, FILE *out)
{
	struct check c = {.config = config, .start = start, .out = out};

	check_server(&c);
	check_command(&c);
	check_journal(&c);
	check_cgroup(&c);
	check_peers(&c);
	check_limits(&c);
	check_manager(&c);
	check_build(&c);
	return c.status;
}
