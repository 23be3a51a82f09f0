/* SPDX-License-Identifier: MIT
 *
 * One timer for what the journal wants to do later, one event for what the kernel writes in its stead.
 */
#include "supervise/bookkeeper.h"

#include "base/log.h"

#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct bookkeeper {
	struct journal *journal;
	usec_t due_usec; /* as told in this turn; USEC_NEVER: nothing was */
	struct event timer, written;
	bool have_written;
};

static void bookkeeper_on_due(void *userdata, usec_t due_usec)
{
	struct bookkeeper *b = userdata;

	b->due_usec = due_usec;
}

static void bookkeeper_work(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct bookkeeper *b = userdata;

	b->due_usec = journal_work(b->journal, clock_now_usec());
}

static void bookkeeper_on_state(_unused_ void *userdata, enum journal_state state, int error)
{
	switch (state) {
	case JOURNAL_GOOD:
		log_notice("The journal is complete again");
		break;
	case JOURNAL_PARTIAL:
		(void)log_error_errno(error,
				      "The journal cannot take everything: should chargehand itself die now, some "
				      "jobs are left to the end of their leases: %m");
		break;
	default:
		(void)log_error_errno(error,
				      "The journal cannot be written, and is withdrawn: should chargehand itself die "
				      "now, all jobs are left to the end of their leases: %m");
		break;
	}
}

static void bookkeeper_log_opening(const struct config *c, const struct journal_opening *o)
{
	static const char *const why[] = {
		[JOURNAL_ASIDE_UNREADABLE] = "nothing could be made of it",
		[JOURNAL_ASIDE_DAMAGED] = "a part of it is damaged; the rest is used",
		[JOURNAL_ASIDE_SERVER] = "it is about jobs of another server",
	};

	if (o->cut_bytes > 0)
		log_warning("%s/journal: the last %" PRIu64 " bytes were torn, and are left out", c->state_dir,
			    o->cut_bytes);
	if (o->damaged_bytes > 0)
		log_warning("%s/journal: %" PRIu64 " bytes in the middle cannot be read", c->state_dir,
			    o->damaged_bytes);
	if (o->aside != JOURNAL_ASIDE_NOT)
		log_warning("%s/journal: kept as %s, for %s", c->state_dir, o->aside_name, why[o->aside]);
	if (o->sync_error < 0)
		(void)log_warning_errno(o->sync_error,
					"--journal-sync interval cannot be had here, and is as never: %m");
	if (o->error < 0)
		(void)log_error_errno(o->error,
				      "%s: the journal cannot be written as it should: %m; it is tried again each "
				      "second",
				      c->state_dir);
}

/* What the open could not do. 0: chargehand goes on without a journal. */
static int bookkeeper_judge(const struct config *c, const struct journal_opening *o, int r)
{
	if (r == -EPROTONOSUPPORT) {
		log_error("%s/journal has format %" PRIu32
			  ", and this chargehand reads and writes format %d: start the "
			  "chargehand that wrote it and stop it, or choose another --state-dir",
			  c->state_dir, o->version, RECORD_VERSION);
		return r;
	}
	if (c->state_dir_asked)
		return log_error_errno(r, "%s/journal: cannot be used: %m", c->state_dir);
	(void)log_warning_errno(r,
				"%s/journal: %m: going on without a journal: jobs are not remembered should chargehand "
				"itself die",
				c->state_dir);
	return 0;
}

static int bookkeeper_open(struct bookkeeper *b, const struct config *config, int state_dir_fd,
			   struct journal_opening *o)
{
	static const enum journal_sync syncs[_SYNC_MAX] = {
		[SYNC_NEVER] = JOURNAL_SYNC_NEVER,
		[SYNC_INTERVAL] = JOURNAL_SYNC_INTERVAL,
		[SYNC_ALWAYS] = JOURNAL_SYNC_ALWAYS,
	};
	_cleanup_free_ char *server = NULL;

	if (asprintf(&server, "%s:%u", config->server.host, config->server.port) < 0) {
		server = NULL;
		return -ENOMEM;
	}
	const struct journal_settings settings = {
		.dir_fd = state_dir_fd,
		.server = server,
		.sync = syncs[config->journal_sync],
		.on_state = bookkeeper_on_state,
		.on_due = bookkeeper_on_due,
		.userdata = b,
	};
	return journal_open(&settings, &b->journal, o);
}

int bookkeeper_new(struct event_base *base, const struct config *config, int state_dir_fd, struct bookkeeper **ret)
{
	struct journal_opening o = {.aside = JOURNAL_ASIDE_NOT};
	struct bookkeeper *b;
	int r, fd;

	*ret = NULL;
	if (state_dir_fd < 0)
		return 0;
	b = calloc(1, sizeof(*b));
	if (!b)
		return log_error_errno(-ENOMEM, "Cannot start: %m");
	b->due_usec = USEC_NEVER;
	(void)event_assign(&b->timer, base, -1, 0, bookkeeper_work, b);
	r = bookkeeper_open(b, config, state_dir_fd, &o);
	if (r < 0) {
		free(b);
		return bookkeeper_judge(config, &o, r);
	}
	bookkeeper_log_opening(config, &o);
	fd = journal_fd(b->journal);
	if (fd >= 0) {
		(void)event_assign(&b->written, base, fd, EV_READ | EV_PERSIST, bookkeeper_work, b);
		b->have_written = event_add(&b->written, NULL) == 0;
	}
	*ret = b;
	return 0;
}

struct bookkeeper *bookkeeper_free(struct bookkeeper *b)
{
	if (!b)
		return NULL;
	event_del(&b->timer);
	if (b->have_written)
		event_del(&b->written);
	(void)journal_close(b->journal);
	free(b);
	return NULL;
}

void bookkeeper_end_turn(struct bookkeeper *b)
{
	struct timeval tv;

	if (!b || b->due_usec == USEC_NEVER)
		return;
	tv = usec_to_timeval(usec_sub(b->due_usec, clock_now_usec()));
	if (b->due_usec == 0)
		event_active(&b->timer, EV_TIMEOUT, 0);
	else if (event_add(&b->timer, &tv) < 0)
		log_error("Out of memory: the journal has no timer");
	b->due_usec = USEC_NEVER;
}

struct journal *bookkeeper_journal(const struct bookkeeper *b)
{
	return b ? b->journal : NULL;
}

bool bookkeeper_is_failing(const struct bookkeeper *b)
{
	return b && journal_get_state(b->journal) != JOURNAL_GOOD;
}
