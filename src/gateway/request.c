/* SPDX-License-Identifier: MIT
 *
 * A command that is under way. One that has its answer is kept for the next: there is one for each command, and
 * malloc(3) and free(3) would be a tenth of what a BEAT costs in user space.
 */
#include "gateway/internal.h"

/* As many as are under way at a time in a busy pool; more would only be memory. */
#define SPARE_REQUESTS_MAX 64

struct request *request_new(struct session *s, enum request_kind kind)
{
	struct gateway *g = s->listener->gateway;
	struct link_request *base = STAILQ_FIRST(&g->spare_requests);
	struct request *r;

	if (base) {
		STAILQ_REMOVE_HEAD(&g->spare_requests, next);
		g->n_spare_requests--;
		r = container_of(base, struct request, base);
	} else {
		r = malloc(sizeof *r);
		if (!r)
			return NULL;
	}
	*r = (struct request){.kind = kind, .listener = s->listener, .session = s};
	s->n_requests++;
	s->listener->n_requests++;
	return r;
}

/* Whatever its answer will be, no session waits for it. */
void request_detach(struct request *r)
{
	struct session *s = TAKE_PTR(r->session);

	if (r->in_fetches) {
		TAILQ_REMOVE(&r->listener->fetches, r, in_queue);
		r->listener->n_fetches--;
		r->in_fetches = false;
	}
	if (s) {
		s->n_requests--;
		if (s->fetch == r)
			s->fetch = NULL;
	}
}

void request_free(struct request *r)
{
	struct gateway *g = r->listener->gateway;

	request_detach(r);
	r->listener->n_requests--;
	if (r->seated)
		g->n_seated--;
	answer_drop_long_job(r);
	hold_unref(r->hold);
	free(r->line);
	if (g->n_spare_requests < SPARE_REQUESTS_MAX) {
		STAILQ_INSERT_HEAD(&g->spare_requests, &r->base, next);
		g->n_spare_requests++;
	} else
		free(r);
}

void request_free_spares(struct gateway *g)
{
	struct link_request *base;

	while ((base = STAILQ_FIRST(&g->spare_requests))) {
		STAILQ_REMOVE_HEAD(&g->spare_requests, next);
		free(container_of(base, struct request, base));
	}
	g->n_spare_requests = 0;
}
