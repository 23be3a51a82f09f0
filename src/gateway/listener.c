/* SPDX-License-Identifier: MIT
 *
 * One worker's door: its socket, the one timer behind all that its sessions wait for, and what the layer above asks.
 */
#include "gateway/listener.h"

#include "base/log.h"
#include "gateway/internal.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* How long accept(2) rests when there are no descriptors, and how many are accepted before others have their turn. */
#define ACCEPT_REST_USEC (100 * USEC_PER_MSEC)
#define ACCEPT_BURST 32
#define ACCEPT_BACKLOG 1024

void listener_changed(struct listener *l)
{
	l->gateway->ops->on_change(l->worker);
}

void listener_arm(struct listener *l, usec_t due_usec)
{
	usec_t now;
	struct timeval tv;

	if (due_usec >= l->timer_due_usec)
		return;
	now = clock_now_usec();
	tv = usec_to_timeval(usec_sub(due_usec, now));
	l->timer_due_usec = due_usec;
	(void)event_add(&l->timer, &tv);
}

static void listener_rest(struct listener *l, usec_t until_usec)
{
	event_del(&l->accept_event);
	l->accept_again_usec = until_usec;
	listener_arm(l, until_usec);
}

/* True when the next one can be accepted. */
static bool listener_accept_failed(struct listener *l, int error)
{
	switch (error) {
	case EAGAIN:
		l->backlog_empty = true;
		return false;
	case EINTR:
	case ECONNABORTED: /* this one was gone before it was accepted, as with the others here (accept(2)) */
	case EPROTO:
	case ENOPROTOOPT:
	case ENONET:
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
		return true;
	default: /* no descriptors, no memory, a filter that forbids it: at once it would be the same again */
		if (!l->accept_told)
			log_warning_errno(error, "%s: cannot accept connections: %m; trying again until it can.",
					  l->holder.name);
		l->accept_told = true;
		listener_rest(l, clock_now_usec() + ACCEPT_REST_USEC);
		return false;
	}
}

/* One connection. False when there is none, or when accepting has to rest. */
static bool listener_accept_one(struct listener *l)
{
	struct sockaddr_in peer;
	socklen_t peer_bytes = sizeof peer;

	if (l->n_sessions >= l->gateway->settings.sessions_max) {
		/* Whoever waits in the backlog is let in as others go. */
		log_warning("%s: %u sessions are open: no more for now.", l->holder.name, l->n_sessions);
		listener_rest(l, USEC_NEVER - 1);
		return false;
	}
	int fd = accept4(l->fd, (struct sockaddr *)&peer, &peer_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return listener_accept_failed(l, errno);
	if (l->accept_told)
		log_notice("%s: connections are accepted again.", l->holder.name);
	l->accept_told = false;
	if (!l->gateway->ops->on_peer(l->worker, &peer, &l->address)) {
		log_warning("%s: a process that is not of this worker tried to use its port; it was turned away.",
			    l->holder.name);
		close_fd(fd);
		return true;
	}
	if (session_new(l, fd) < 0)
		log_error("%s: out of memory; a connection was closed.", l->holder.name);
	else if (l->dead)
		session_read(TAILQ_LAST(&l->sessions, session_list), true);
	return true;
}

/* accept(2) makes a socket before it looks whether there is anybody: that takes it 6 µs, and poll(2) one. */
static bool listener_has_backlog(const struct listener *l)
{
	struct pollfd p = {.fd = l->fd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

void listener_accept(struct listener *l)
{
	/* The report of a death waits for this, and mostly for nothing. */
	if (l->dead && !listener_has_backlog(l)) {
		l->backlog_empty = true;
		return;
	}
	for (unsigned n = 0; n < ACCEPT_BURST || l->dead; n++)
		if (!listener_accept_one(l))
			return;
}

static void listener_on_acceptable(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	listener_accept(userdata);
}

/* Those whose FETCH the server has not answered in time for a client library: nil, and on with another link. */
static usec_t listener_expire_fetches(struct listener *l, usec_t now)
{
	struct request *r;

	while ((r = TAILQ_FIRST(&l->fetches))) {
		struct session *s = r->session;

		if (r->base.sent_usec + FETCH_LATE_USEC > now)
			return r->base.sent_usec + FETCH_LATE_USEC;
		if (r->job) {
			/* It is coming: a long job on its way to the worker. Looked at again when it should be there.
			 */
			TAILQ_REMOVE(&l->fetches, r, in_queue);
			r->in_fetches = false;
			l->n_fetches--;
			continue;
		}
		session_strand_fetch(s, true);
		if (s->fetch)
			return now + ACCEPT_REST_USEC; /* behind answers that are on their way */
		session_want_link(s);
		session_advance(s);
	}
	return USEC_NEVER;
}

/* Reports and BEATs that the server is silent about. */
static usec_t listener_expire_answers(struct listener *l, usec_t now)
{
	usec_t due = USEC_NEVER, late_usec;
	struct session *s, *next;

	for (s = TAILQ_FIRST(&l->sessions); s; s = next) {
		next = TAILQ_NEXT(s, in_sessions);
		late_usec = session_late_usec(s);
		if (late_usec <= now)
			session_answer_late(s);
		else
			due = MIN(due, late_usec);
	}
	return due;
}

static void listener_on_timer(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct listener *l = userdata;
	usec_t now = clock_now_usec();
	usec_t due;
	struct session *s;

	l->timer_due_usec = 0; /* what is armed meanwhile is found below */
	while ((s = TAILQ_FIRST(&l->greeting)) && s->due_usec <= now)
		session_end(s);
	wait_expire(l, now);
	due = listener_expire_fetches(l, now);
	retired_expire(l, now);
	if (!l->dead) {
		usec_t answers_due = listener_expire_answers(l, now);

		due = MIN(due, answers_due);
		identity_expire(l, now);
	}
	if (l->accept_again_usec != USEC_NEVER && l->n_sessions < l->gateway->settings.sessions_max) {
		l->accept_again_usec = USEC_NEVER;
		if (event_add(&l->accept_event, NULL) == 0)
			listener_accept(l);
	}

	if ((s = TAILQ_FIRST(&l->greeting)))
		due = MIN(due, s->due_usec);
	due = MIN(due, wait_next_usec(l));
	due = MIN(due, retired_next_usec(l));
	if (!l->dead)
		due = MIN(due, identity_next_usec(l));
	if (l->accept_again_usec != USEC_NEVER)
		due = MIN(due, MAX(l->accept_again_usec, now + 1));
	l->timer_due_usec = USEC_NEVER;
	if (due < USEC_NEVER - 1)
		listener_arm(l, due);
}

static int listener_open(struct sockaddr_in *ret_address)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t address_bytes = sizeof address;
	int one = 1;

	/* What is accepted inherits both options (tcp(7)): no system call per session. */
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, ACCEPT_BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &address_bytes) < 0)
		return -errno;
	stream_choose_loopback_congestion(fd);
	*ret_address = address;
	return TAKE_FD(fd);
}

int listener_new(struct gateway *g, const char *name, void *worker, struct listener **ret)
{
	struct listener *l = calloc(1, sizeof *l);
	int fd;

	if (!l)
		return -ENOMEM;
	fd = listener_open(&l->address);
	if (fd < 0) {
		free(l);
		return fd;
	}
	l->gateway = g;
	l->worker = worker;
	l->fd = fd;
	l->timer_due_usec = l->accept_again_usec = USEC_NEVER;
	holder_init(&l->holder, name);
	TAILQ_INIT(&l->sessions);
	TAILQ_INIT(&l->greeting);
	TAILQ_INIT(&l->waiting);
	TAILQ_INIT(&l->fetches);
	TAILQ_INIT(&l->retired);
	TAILQ_INIT(&l->spares);
	if (event_assign(&l->timer, g->base, -1, 0, listener_on_timer, l) < 0 ||
	    event_assign(&l->accept_event, g->base, fd, EV_READ | EV_PERSIST, listener_on_acceptable, l) < 0 ||
	    event_add(&l->accept_event, NULL) < 0) {
		close_fd(fd);
		free(l);
		return -ENOMEM;
	}
	*ret = l;
	return 0;
}

struct listener *listener_free(struct listener *l)
{
	struct session *s;

	if (!l)
		return NULL;
	l->dead = true;
	while ((s = TAILQ_FIRST(&l->sessions)))
		session_end(s);
	retired_free_all(l);
	event_del(&l->accept_event);
	event_del(&l->timer);
	close_fd(l->fd);
	holder_done(&l->holder);
	free(l);
	return NULL;
}

uint16_t listener_port(const struct listener *l)
{
	return ntohs(l->address.sin_port);
}

struct holder *listener_holder(struct listener *l)
{
	return &l->holder;
}

void listener_set_quiet(struct listener *l, bool quiet)
{
	l->quiet = quiet;
}

unsigned listener_n_fetches(const struct listener *l)
{
	return l->n_fetches;
}

void listener_strand_fetches(struct listener *l)
{
	struct request *r, *next;

	for (r = TAILQ_FIRST(&l->fetches); r; r = next) {
		struct session *s = r->session;

		next = TAILQ_NEXT(r, in_queue);
		session_strand_fetch(s, true);
		if (!s->fetch)
			session_want_link(s); /* an ACK may come any moment */
		session_advance(s);
	}
}

unsigned listener_n_sessions(const struct listener *l)
{
	return l->n_open;
}

unsigned listener_n_sessions_of(const struct listener *l, pid_t pid)
{
	const struct session *s;
	unsigned n = 0;

	TAILQ_FOREACH (s, &l->sessions, in_sessions)
		if (!s->eof && s->identity && s->identity->hello.pid == pid)
			n++;
	return n;
}

void listener_set_dead(struct listener *l)
{
	struct session *s, *next;

	/* Spare links are closed with the listener: what costs time now delays the report of a death. */
	l->dead = true;
	for (s = TAILQ_FIRST(&l->sessions); s; s = next) {
		next = TAILQ_NEXT(s, in_sessions);
		wait_clear(s); /* what waits for a link is looked at again, as a dead worker's */
		session_strand_fetch(s, false);
		session_read(s, true);
	}
	listener_accept(l);
}

bool listener_is_drained(struct listener *l)
{
	const struct session *s;

	if (!l->dead || !l->backlog_empty)
		return false;
	TAILQ_FOREACH (s, &l->sessions, in_sessions)
		if (!session_is_drained(s))
			return false;
	return true;
}

void listener_give_up_sessions(struct listener *l)
{
	struct session *s, *next;

	for (s = TAILQ_FIRST(&l->sessions); s; s = next) {
		next = TAILQ_NEXT(s, in_sessions);
		session_read(s, true);
		session_mark_eof(s);
		session_advance(s);
	}
}

bool listener_is_finished(const struct listener *l)
{
	return l->dead && l->n_requests == 0 && listener_is_drained((struct listener *)l);
}

void listener_report_answered(struct listener *l, struct hold *hold, bool ok)
{
	struct session *s, *next;
	char reply[64 + JID_RAW_MAX];

	hold->in_transit = false;
	for (s = TAILQ_FIRST(&l->waiting); s; s = next) {
		next = TAILQ_NEXT(s, in_queue);
		if (s->wait != WAIT_ANSWER || s->reported != hold || s->n_oks != 1 || s->nil)
			continue;
		wait_clear(s);
		if (ok)
			session_answer(s, "+OK\r\n", STRLEN("+OK\r\n"));
		else {
			int n = snprintf(reply, sizeof reply, "-ERR Job not found %s\r\n", hold->jid);
			session_answer(s, reply, (size_t)n);
		}
		session_advance(s);
		return;
	}
}
