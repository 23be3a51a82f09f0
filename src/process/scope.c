/* SPDX-License-Identifier: MIT
 *
 * One method call, and one signal to wait for: the call returns before the process has moved.
 *
 * The library with its own libraries is some megabytes, of use once, to few: a child loads it, asks, and is gone.
 */
#include "process/scope.h"

#include <string.h>

#ifdef HAVE_LIBSYSTEMD

#include "base/library.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#define LIBRARY "libsystemd.so.0"

#define SYMBOLS(X)                                                                                                     \
	X(sd_bus_add_match)                                                                                            \
	X(sd_bus_call)                                                                                                 \
	X(sd_bus_call_method)                                                                                          \
	X(sd_bus_get_property_trivial)                                                                                 \
	X(sd_bus_message_append)                                                                                       \
	X(sd_bus_message_new_method_call)                                                                              \
	X(sd_bus_message_read)                                                                                         \
	X(sd_bus_new)                                                                                                  \
	X(sd_bus_open_system)                                                                                          \
	X(sd_bus_open_user)                                                                                            \
	X(sd_bus_process)                                                                                              \
	X(sd_bus_set_address)                                                                                          \
	X(sd_bus_start)                                                                                                \
	X(sd_bus_wait)

/* SYMBOL is lib.SYMBOL here. */
static struct {
	SYMBOLS(LIBRARY_POINTER)
} lib;

/* Most have a unit that delegates, or a container; and without it there are workers all the same. */
LIBRARY_NOTE("scopes", "Cgroups for workers outside of a unit of their own, and in the units of users", "suggested",
	     LIBRARY);

/* systemd itself, for root alone, where no message bus runs */
#define PRIVATE_ADDRESS "unix:path=/run/systemd/private"

static int open_bus(bool user_manager, sd_bus **ret)
{
	sd_bus *bus = NULL;
	int r;

	r = user_manager ? lib.sd_bus_open_user(ret) : lib.sd_bus_open_system(ret);
	if (r >= 0 || user_manager)
		return r;
	r = lib.sd_bus_new(&bus);
	if (r >= 0)
		r = lib.sd_bus_set_address(bus, PRIVATE_ADDRESS);
	if (r >= 0)
		r = lib.sd_bus_start(bus);
	if (r >= 0)
		*ret = bus;
	return r;
}

struct job {
	const char *path;
	bool removed, done;
};

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *path, *unit, *result;
	struct job *job = userdata;
	uint32_t id;

	(void)error;
	if (lib.sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0 || !job->path ||
	    strcmp(path, job->path) != 0)
		return 0;
	job->removed = true;
	job->done = strcmp(result, "done") == 0;
	return 0;
}

static int fill(sd_bus_message *m, const char *name, const char *description, pid_t pid)
{
	int r;

	r = lib.sd_bus_message_append(m, "ss", name, "fail");
	if (r >= 0)
		r = lib.sd_bus_message_append(m, "a(sv)", 4, "Description", "s", description, "Delegate", "b", 1,
					      "CollectMode", "s", "inactive-or-failed", "PIDs", "au", 1, (uint32_t)pid);
	if (r >= 0)
		r = lib.sd_bus_message_append(m, "a(sa(sv))", 0);
	return r;
}

static int wait_for_job(sd_bus *bus, const struct job *job, usec_t timeout_usec)
{
	usec_t end_usec = usec_add(clock_now_usec(), timeout_usec);
	int r;

	while (!job->removed) {
		r = lib.sd_bus_process(bus, NULL);
		if (r < 0)
			return r;
		if (r > 0)
			continue;
		usec_t now = clock_now_usec();
		if (now >= end_usec)
			return -ETIMEDOUT;
		r = lib.sd_bus_wait(bus, end_usec - now);
		if (r < 0)
			return r;
	}
	return job->done ? 0 : -EIO;
}

static const char service[] = "org.freedesktop.systemd1", object[] = "/org/freedesktop/systemd1",
		  manager[] = "org.freedesktop.systemd1.Manager";

/* What the child is to do, for the process pid. */
struct question {
	enum { IS_ANYBODY_THERE, IS_DELEGATED, START_SCOPE } what;
	bool user_manager;
	const char *name, *description; /* START_SCOPE */
	usec_t timeout_usec;
	pid_t pid;
};

static int start_unit(sd_bus *bus, const struct question *q, sd_bus_error *error)
{
	sd_bus_message *m = NULL, *reply = NULL;
	struct job job = {.path = NULL};
	int r;

	r = lib.sd_bus_add_match(bus, NULL,
				 "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
				 on_job_removed, &job);
	/* It sends signals only when somebody said that he wants them. */
	if (r >= 0)
		(void)lib.sd_bus_call_method(bus, service, object, manager, "Subscribe", NULL, NULL, NULL);
	if (r >= 0)
		r = lib.sd_bus_message_new_method_call(bus, &m, service, object, manager, "StartTransientUnit");
	if (r >= 0)
		r = fill(m, q->name, q->description, q->pid);
	if (r >= 0)
		r = lib.sd_bus_call(bus, m, q->timeout_usec, error, &reply);
	if (r >= 0)
		r = lib.sd_bus_message_read(reply, "o", &job.path);
	if (r >= 0)
		r = wait_for_job(bus, &job, q->timeout_usec);
	return r < 0 ? r : 0;
}

/* 1, 0, -errno */
static int is_delegated(sd_bus *bus, const struct question *q, sd_bus_error *error)
{
	sd_bus_message *reply = NULL;
	const char *unit;
	int r, value = 0;

	r = lib.sd_bus_call_method(bus, service, object, manager, "GetUnitByPID", error, &reply, "u", (uint32_t)q->pid);
	if (r >= 0)
		r = lib.sd_bus_message_read(reply, "o", &unit);
	if (r >= 0)
		r = lib.sd_bus_get_property_trivial(bus, service, unit, "org.freedesktop.systemd1.Service", "Delegate",
						    error, 'b', &value);
	return r < 0 ? r : value;
}

struct answer {
	int result;
	char message[256];
};

/* In the child, which frees nothing. */
static void ask(const struct question *q, struct answer *ret)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	char *message = NULL;
	sd_bus *bus = NULL;

	ret->result = library_load(LIBRARY, SYMBOLS(LIBRARY_NAME), &lib, &message);
	if (ret->result < 0) {
		(void)snprintf(ret->message, sizeof(ret->message), "%s",
			       message ? message : LIBRARY " cannot be loaded");
		return;
	}
	ret->result = open_bus(q->user_manager, &bus);
	if (ret->result >= 0 && q->what == START_SCOPE)
		ret->result = start_unit(bus, q, &error);
	else if (ret->result >= 0 && q->what == IS_DELEGATED)
		ret->result = is_delegated(bus, q, &error);
	if (ret->result < 0)
		(void)snprintf(ret->message, sizeof(ret->message), "%s",
			       error.message ? error.message : strerror(-ret->result));
}

static int ask_by_child(struct question *q, struct answer *ret)
{
	pid_t child;
	int fds[2], status;
	ssize_t n;

	q->pid = getpid();
	*ret = (struct answer){.result = -EIO};
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		ask(q, ret);
		n = write(fds[1], ret, sizeof(*ret));
		_exit(n != sizeof(*ret));
	}
	close_fd(fds[1]);
	if (child < 0) {
		close_fd(fds[0]);
		return -errno;
	}
	do
		n = read(fds[0], ret, sizeof(*ret));
	while (n < 0 && errno == EINTR);
	close_fd(fds[0]);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	ret->message[sizeof(ret->message) - 1] = 0;
	return n == sizeof(*ret) ? ret->result : -EIO;
}

static int ask_and_tell(struct question *q, char **ret_message)
{
	struct answer answer;
	int r = ask_by_child(q, &answer);

	*ret_message = r < 0 ? strdup(answer.message[0] ? answer.message : strerror(-r)) : NULL;
	return r;
}

int scope_enter(bool user_manager, const char *name, const char *description, usec_t timeout_usec, char **ret_message)
{
	struct question q = {
		.what = START_SCOPE,
		.user_manager = user_manager,
		.name = name,
		.description = description,
		.timeout_usec = timeout_usec,
	};

	return MIN(ask_and_tell(&q, ret_message), 0);
}

int scope_check(bool user_manager, char **ret_message)
{
	struct question q = {.what = IS_ANYBODY_THERE, .user_manager = user_manager};

	return MIN(ask_and_tell(&q, ret_message), 0);
}

int scope_service_is_delegated(bool user_manager, char **ret_message)
{
	struct question q = {.what = IS_DELEGATED, .user_manager = user_manager};

	return ask_and_tell(&q, ret_message);
}

#else

static int say_without(char **ret_message)
{
	*ret_message = strdup("this chargehand is built without libsystemd");
	return -EOPNOTSUPP;
}

int scope_enter(_unused_ bool user_manager, _unused_ const char *name, _unused_ const char *description,
		_unused_ usec_t timeout_usec, char **ret_message)
{
	return say_without(ret_message);
}

int scope_check(_unused_ bool user_manager, char **ret_message)
{
	return say_without(ret_message);
}

int scope_service_is_delegated(_unused_ bool user_manager, char **ret_message)
{
	return say_without(ret_message);
}

#endif
