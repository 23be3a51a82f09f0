/* SPDX-License-Identifier: MIT
 *
 * A group with controllers for its children has no processes of its own ("no internal processes", cgroups(7)): where
 * there are controllers chargehand moves into a child first, and back last.
 */
#include "process/subtree.h"

#include "base/fileio.h"
#include "process/cgroup.h"
#include "process/home.h"
#include "process/scope.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define SCOPE_TIMEOUT_USEC (5 * USEC_PER_SEC)

static const char *const places[_SUBTREE_KIND_MAX] = {
	[SUBTREE_NONE] = "no cgroups",
	[SUBTREE_UNIT] = "cgroups in the unit",
	[SUBTREE_SCOPE] = "cgroups in a scope",
	[SUBTREE_OWN] = "cgroups in the own group",
};

const char *subtree_kind_to_place(enum subtree_kind kind)
{
	return places[kind];
}

_printf_(2, 3) static void explain(struct subtree *s, const char *format, ...)
{
	size_t have = strlen(s->why);
	va_list ap;

	if (have > 0 && have < sizeof(s->why) - 3)
		have += (size_t)snprintf(s->why + have, sizeof(s->why) - have, "; ");
	va_start(ap, format);
	(void)vsnprintf(s->why + have, sizeof(s->why) - have, format, ap);
	va_end(ap);
}

/* ---- controllers */

static bool enable(int fd, const char *controller, bool *undo)
{
	bool had = false;
	char text[512];
	size_t bytes;

	if (!cgroup_has_controller(fd, controller))
		return false;
	if (fileio_read_into_at(fd, "cgroup.subtree_control", text, sizeof(text), &bytes) == 0)
		had = strstr(text, controller) != NULL;
	if (cgroup_enable_controller(fd, controller) < 0)
		return false;
	if (undo && !had)
		*undo = true;
	return true;
}

/* In the group that the directory was made in, and in the directory. */
static void enable_all(struct subtree *s, const struct subtree_request *q)
{
	const struct {
		const char *name;
		bool wanted, *on, *undo;
	} all[] = {
		{"memory", true, &s->memory, &s->memory_on},
		{"pids", true, &s->pids, &s->pids_on},
		{"cpu", q->cpu, &s->cpu, &s->cpu_on},
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (!all[i].wanted)
			continue;
		if (s->base_fd >= 0)
			(void)enable(s->base_fd, all[i].name, all[i].undo);
		*all[i].on = enable(s->fd, all[i].name, NULL);
	}
}

static void look_at_controllers(struct subtree *s, int fd)
{
	s->memory = cgroup_has_controller(fd, "memory");
	s->pids = cgroup_has_controller(fd, "pids");
	s->cpu = cgroup_has_controller(fd, "cpu");
}

static void explain_missing(struct subtree *s, int fd)
{
	if (s->memory)
		return;
	if (!cgroup_has_controller(fd, "memory"))
		explain(s, "it has no memory controller%s, so a worker's memory is neither limited nor measured",
			s->own.memory_dir ? " (cgroup v1 has it)" : "");
	else
		explain(s, "the memory controller cannot be enabled there: other processes are in the group");
}

/* ---- a directory of our own */

static bool is_same_directory(int a, int b)
{
	struct stat sa, sb;

	return a >= 0 && b >= 0 && fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_ino == sb.st_ino &&
	       sa.st_dev == sb.st_dev;
}

/* chargehand moves only where it has to: where it is itself in the group that is to have controllers for its children.
 * Each level down costs it, with pressure accounting some tenths of a microsecond a command. */
static bool must_move(const struct subtree *s, const struct subtree_request *q, int base_fd)
{
	return is_same_directory(base_fd, s->own_fd) &&
	       (cgroup_has_controller(base_fd, "memory") || cgroup_has_controller(base_fd, "pids") ||
		(q->cpu && cgroup_has_controller(base_fd, "cpu")));
}

static int take_home(struct subtree *s, const struct subtree_request *q, int base_fd, const char *base_path)
{
	int r;

	s->base_fd = base_fd;
	s->n_swept = home_sweep(base_fd);
	r = home_make(base_fd, q->name, &s->home, &s->home_fd);
	if (r < 0)
		return r;
	if (must_move(s, q, base_fd)) {
		_cleanup_close_ int fd = home_open_child(s->home_fd, HOME_SELF);
		r = fd < 0 ? fd : home_enter(fd);
		if (r < 0)
			return r;
		s->moved = true;
	}
	s->fd = s->home_fd;
	enable_all(s, q);
	explain_missing(s, base_fd);
	return asprintf(&s->path, "%s/%s", base_path, s->home) < 0 ? (s->path = NULL, -ENOMEM) : 0;
}

/* ---- the unit's */

/* What is chargehand's unit called at its end? False where it is in none. */
static bool unit_ends_in(const struct subtree *s, const char *suffix)
{
	size_t bytes, n = strlen(suffix);
	const char *unit = own_group_unit(s->own.path, &bytes);

	return unit && bytes > n && strncmp(unit + bytes - n, suffix, n) == 0;
}

/* A user's own manager owns all directories below its own, and marks none of them (seen with 252). */
static bool is_of_user_manager(const struct subtree *s)
{
	const char *manager = strstr(s->own.path, "/user@");

	return manager && strchr(manager + 1, '/');
}

/* systemd marks what it delegates, since version 251 for everybody to see. Before that a unit's user owns the directory
 * of a delegated unit. */
static bool is_delegated(struct subtree *s)
{
	_cleanup_free_ char *message = NULL;
	char value[8];
	struct stat st;
	ssize_t n;

	n = fgetxattr(s->own_fd, "user.delegate", value, sizeof(value));
	if (n <= 0)
		n = fgetxattr(s->own_fd, "trusted.delegate", value, sizeof(value));
	if (n > 0)
		return value[0] == '1';
	if (fstat(s->own_fd, &st) < 0 || st.st_uid != geteuid())
		return false;
	if (!is_of_user_manager(s))
		return geteuid() != 0;
	if (!unit_ends_in(s, ".service"))
		return false;
	int r = scope_service_is_delegated(true, &message);
	if (r < 0)
		explain(s, "systemd cannot be asked whether it delegates this unit's cgroup: %s",
			message ? message : strerror(-r));
	return r > 0;
}

static bool is_writable(int fd)
{
	return fd >= 0 && faccessat(fd, ".", W_OK, AT_EACCESS) == 0 &&
	       faccessat(fd, "cgroup.procs", W_OK, AT_EACCESS) == 0;
}

/* -EWOULDBLOCK: another chargehand is at home in the unit. */
static int take_unit(struct subtree *s, const struct subtree_request *q)
{
	int fd = home_lock_child(s->own_fd, HOME_SELF), r;

	if (fd < 0)
		return fd;
	r = home_enter(fd);
	if (r < 0) {
		close_fd(fd);
		return r;
	}
	s->home_fd = fd;
	s->fd = dup(s->own_fd);
	s->path = strdup(s->own.dir);
	if (s->fd < 0 || !s->path)
		return -ENOMEM;
	s->n_swept = home_sweep_leaves(s->fd);
	enable_all(s, q);
	explain_missing(s, s->fd);
	return 0;
}

/* ---- a scope */

static bool may_ask_for_scope(const struct subtree *s)
{
	return strncmp(s->own.path, "/user.slice", STRLEN("/user.slice")) == 0 && !unit_ends_in(s, ".service");
}

static int find_own(struct subtree *s)
{
	int r;

	own_group_done(&s->own);
	s->own_fd = close_fd(s->own_fd);
	r = own_group_find(&s->own);
	if (r == 0 && s->own.dir)
		s->own_fd = open(s->own.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r;
}

static int take_scope(struct subtree *s, const struct subtree_request *q)
{
	_cleanup_free_ char *message = NULL, *name = NULL, *description = NULL;
	int r;

	if (asprintf(&name, "chargehand-%s-%d.scope", q->name, getpid()) < 0)
		return -ENOMEM;
	if (asprintf(&description, "chargehand %s", q->name) < 0)
		return -ENOMEM;
	r = scope_enter(geteuid() != 0, name, description, SCOPE_TIMEOUT_USEC, &message);
	if (r == 0)
		r = find_own(s);
	if (r == 0 && !is_writable(s->own_fd))
		r = -EACCES;
	if (r < 0) {
		explain(s, "systemd gives no scope: %s", message ? message : strerror(-r));
		return r;
	}
	s->kind = SUBTREE_SCOPE;
	return take_unit(s, q);
}

/* ---- the choice */

static bool is_systemd_there(void)
{
	struct stat st;

	return lstat("/run/systemd/system", &st) == 0 && S_ISDIR(st.st_mode); /* sd_booted(3) */
}

static void explain_why_not(struct subtree *s)
{
	size_t bytes;
	const char *unit = s->own.path ? own_group_unit(s->own.path, &bytes) : NULL;

	if (s->why[0])
		return;
	if (!s->own.path || !s->own.mount)
		explain(s, "no cgroup v2 is mounted here");
	else if (!s->own.dir || s->own_fd < 0)
		explain(s, "the cgroup %s is not below %s", s->own.path, s->own.mount);
	else if (is_systemd_there() && unit)
		explain(s, "%.*s does not delegate its cgroup: add Delegate=yes", (int)MIN(bytes, (size_t)100), unit);
	else if (is_systemd_there())
		explain(s, "systemd manages the cgroups here, and %s is no unit's", s->own.path);
	else
		explain(s, "%s cannot be written to", s->own.dir);
}

/* kind and what it needs, before anything is changed. */
static enum subtree_kind choose(struct subtree *s)
{
	if (s->own_fd < 0)
		return SUBTREE_NONE;
	if (is_delegated(s) && is_writable(s->own_fd))
		return SUBTREE_UNIT;
	if (is_systemd_there())
		return may_ask_for_scope(s) ? SUBTREE_SCOPE : SUBTREE_NONE;
	return is_writable(s->own_fd) ? SUBTREE_OWN : SUBTREE_NONE;
}

static int take(struct subtree *s, const struct subtree_request *q)
{
	int r;

	switch (s->kind) {
	case SUBTREE_UNIT:
		r = take_unit(s, q);
		if (r == -EWOULDBLOCK) {
			s->kind = SUBTREE_OWN;
			r = take_home(s, q, s->own_fd, s->own.dir);
		}
		return r;
	case SUBTREE_SCOPE:
		return take_scope(s, q);
	case SUBTREE_OWN:
		return take_home(s, q, s->own_fd, s->own.dir);
	default:
		explain_why_not(s);
		return 0;
	}
}

/* Closes and undoes; what is told stays. */
static void leave(struct subtree *s)
{
	static const char *const names[] = {"-memory", "-pids", "-cpu"};
	const bool on[] = {s->memory_on, s->pids_on, s->cpu_on};

	if (s->home) {
		/* First the controllers of the group to go back to, then ourselves, then what was ours. */
		for (size_t i = 0; s->moved && i < ARRAY_SIZE(on); i++)
			if (on[i] && (fileio_write_at(s->home_fd, "cgroup.subtree_control", names[i]) < 0 ||
				      fileio_write_at(s->base_fd, "cgroup.subtree_control", names[i]) < 0))
				continue; /* somebody else uses it */
		if (s->moved)
			(void)home_enter(s->own_fd);
		if (s->home_fd >= 0) {
			(void)unlinkat(s->home_fd, HOME_SELF, AT_REMOVEDIR);
			(void)unlinkat(s->base_fd, s->home, AT_REMOVEDIR);
		}
	}
	if (s->fd != s->home_fd)
		close_fd(s->fd);
	s->home_fd = close_fd(s->home_fd);
	s->fd = -EBADF;
	if (s->base_fd != s->own_fd)
		close_fd(s->base_fd);
	s->base_fd = -EBADF;
	free(TAKE_PTR(s->home));
	free(TAKE_PTR(s->path));
	s->memory = s->pids = s->cpu = s->memory_on = s->pids_on = s->cpu_on = s->moved = false;
}

static int open_given(struct subtree *s, const struct subtree_request *q, char **ret_message)
{
	int fd = -EBADF, r = cgroup_open_parent(q->path, &fd);

	s->kind = SUBTREE_GIVEN;
	if (r == 0 && q->look_only) {
		look_at_controllers(s, fd);
		explain_missing(s, fd);
		close_fd(fd);
		s->path = strdup(q->path);
		return s->path ? 0 : -ENOMEM;
	}
	if (r == 0) {
		r = take_home(s, q, fd, q->path);
		if (r < 0 && s->base_fd < 0)
			close_fd(fd);
	}
	if (r < 0 && asprintf(ret_message, "--cgroup %s: %s", q->path,
			      r == -EMEDIUMTYPE ? "no directory of a cgroup2 mount" : strerror(-r)) < 0)
		*ret_message = NULL;
	return r;
}

static void open_found(struct subtree *s, const struct subtree_request *q)
{
	_cleanup_free_ char *message = NULL;
	int r;

	s->kind = choose(s);
	if (s->kind == SUBTREE_NONE) {
		explain_why_not(s);
	} else if (q->look_only) {
		r = s->kind == SUBTREE_SCOPE ? scope_check(geteuid() != 0, &message) : 0;
		if (r < 0) {
			s->kind = SUBTREE_NONE;
			explain(s, "systemd cannot be asked for a scope: %s", message ? message : strerror(-r));
			return;
		}
		look_at_controllers(s, s->own_fd);
		if (s->kind != SUBTREE_SCOPE)
			explain_missing(s, s->own_fd);
	} else {
		r = take(s, q);
		if (r == 0)
			return;
		if (s->kind != SUBTREE_SCOPE || !s->why[0])
			explain(s, "%s cannot be used: %s", s->own.dir, strerror(-r));
		leave(s);
		s->kind = SUBTREE_NONE;
	}
}

static int check_controllers(const struct subtree *s, const struct subtree_request *q, char **ret_message)
{
	const char *missing = NULL;

	if (q->look_only && s->kind == SUBTREE_SCOPE)
		return 0; /* systemd gives a user memory and pids, and says so only once it has */
	if (q->memory && !s->memory)
		missing = "memory";
	else if (q->pids && !s->pids)
		missing = "pids";
	else if (q->cpu && !s->cpu)
		missing = "cpu";
	if (!missing)
		return 0;
	/* Why there is no group at all, or no memory controller, is told; not that for lack of another one. */
	bool tell_why = s->why[0] && (s->kind == SUBTREE_NONE || !s->memory == (strcmp(missing, "memory") == 0));
	if (asprintf(ret_message, "limits of a worker need the %s controller of cgroup v2%s%s%s%s", missing,
		     s->path ? ", which is not to be had in " : "", s->path ? s->path : "", tell_why ? ": " : "",
		     tell_why ? s->why : "") < 0)
		*ret_message = NULL;
	return -EOPNOTSUPP;
}

static int open_surroundings(struct subtree *s)
{
	const char *mount = s->own.mount, *dir = s->own.dir;

	if (mount && s->path && strncmp(s->path, mount, strlen(mount)) == 0)
		dir = s->path;
	return surroundings_open(mount, dir, s->memory ? NULL : s->own.memory_dir, &s->around);
}

int subtree_open(const struct subtree_request *request, struct subtree **ret, char **ret_message)
{
	struct subtree *s = calloc(1, sizeof(*s));
	int r;

	*ret_message = NULL;
	if (!s)
		return -ENOMEM;
	s->fd = s->own_fd = s->home_fd = s->base_fd = s->around.v1_fd = -EBADF;
	r = find_own(s);
	if (r < 0)
		goto fail;
	if (request->path)
		r = open_given(s, request, ret_message);
	else if (request->none)
		explain(s, "it was not wanted");
	else
		open_found(s, request);
	if (r == 0)
		r = check_controllers(s, request, ret_message);
	if (r == 0)
		r = open_surroundings(s);
	if (r < 0)
		goto fail;
	*ret = s;
	return 0;

fail:
	(void)subtree_close(s);
	return r;
}

struct subtree *subtree_close(struct subtree *s)
{
	if (!s)
		return NULL;
	leave(s);
	surroundings_close(&s->around);
	own_group_done(&s->own);
	close_fd(s->own_fd);
	free(s);
	return NULL;
}
