/* SPDX-License-Identifier: MIT
 *
 * What the listeners share, and the graveyard of their sessions.
 */
#include "gateway/internal.h"

static void gateway_bury(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	struct gateway *g = userdata;
	struct session *s;

	while ((s = TAILQ_FIRST(&g->graveyard))) {
		TAILQ_REMOVE(&g->graveyard, s, in_sessions);
		stream_close(&s->stream, false);
		free(s->in);
		free(s);
	}
}

static void gateway_bury_soon(_unused_ evutil_socket_t fd, _unused_ short events, void *userdata)
{
	const struct timeval soon = {.tv_usec = GRAVEYARD_USEC};
	struct gateway *g = userdata;

	if (!TAILQ_EMPTY(&g->graveyard) && event_add(g->bury, &soon) < 0)
		event_active(g->bury, EV_TIMEOUT, 0);
}

/* A session that its worker has closed with jobs in hand may be the first sign of that worker's death. Closing our end
 * takes 30 microseconds, on the processor on which the worker has not finished dying: that can wait until its jobs are
 * FAILed, and so can the timer for it. */
void gateway_take_session(struct gateway *g, struct session *s)
{
	TAILQ_INSERT_TAIL(&g->graveyard, s, in_sessions);
	event_active(s->stream.fd >= 0 ? g->bury_soon : g->bury, EV_TIMEOUT, 0);
}

int gateway_new(struct event_base *base, struct ledger *ledger, struct dialer *dialer,
		const struct gateway_settings *settings, const struct gateway_ops *ops, struct gateway **ret)
{
	struct gateway *g = calloc(1, sizeof *g);

	if (!g)
		return -ENOMEM;
	*g = (struct gateway){
		.base = base,
		.ledger = ledger,
		.dialer = dialer,
		.settings = *settings,
		.ops = ops,
	};
	TAILQ_INIT(&g->graveyard);
	STAILQ_INIT(&g->spare_requests);
	g->bury = event_new(base, -1, 0, gateway_bury, g);
	g->bury_soon = event_new(base, -1, 0, gateway_bury_soon, g);
	if (!g->bury || !g->bury_soon) {
		(void)gateway_free(g);
		return -ENOMEM;
	}
	*ret = g;
	return 0;
}

struct gateway *gateway_free(struct gateway *g)
{
	if (g) {
		gateway_bury(-1, 0, g);
		request_free_spares(g);
		if (g->bury)
			event_free(g->bury);
		if (g->bury_soon)
			event_free(g->bury_soon);
		free(g);
	}
	return NULL;
}
