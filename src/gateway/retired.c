/* SPDX-License-Identifier: MIT
 *
 * Links without a session. One whose session has gone, or was answered in the server's stead, stays until every reply
 * that is under way has come or its connection is dead; there is no timer, for the job that a FETCH brings would be
 * stranded with it (hazards 8). With nothing under way a link is spare, for a few seconds.
 */
#include "gateway/internal.h"
#include <string.h>

static void retired_free(struct retired *d)
{
	struct listener *l = d->listener;

	if (d->is_spare) {
		TAILQ_REMOVE(&l->spares, d, entry);
		l->n_spares--;
	} else
		TAILQ_REMOVE(&l->retired, d, entry);
	link_free(d->link);
	identity_unref(l, d->identity);
	free(d);
}

/* Nothing is under way any more: spare, or of no use. */
static void retired_make_spare(struct retired *d)
{
	struct listener *l = d->listener;

	listener_changed(l);
	if (!link_is_ready(d->link) || !d->identity) {
		retired_free(d);
		return;
	}
	if (l->n_spares >= SPARE_MAX)
		retired_free(TAILQ_FIRST(&l->spares));
	TAILQ_REMOVE(&l->retired, d, entry);
	TAILQ_INSERT_TAIL(&l->spares, d, entry);
	l->n_spares++;
	d->is_spare = true;
	d->spare_since_usec = clock_now_usec();
	listener_arm(l, d->spare_since_usec + SPARE_KEEP_USEC);
}

static void retired_on_ready(_unused_ struct link *link)
{
}

static void retired_on_drained(_unused_ struct link *link)
{
}

static void retired_on_reply(struct link *link, struct link_request *base, const struct link_reply *reply)
{
	struct retired *d = link_owner(link);

	request_on_reply(container_of(base, struct request, base), reply);
	if (reply->last && !link_has_requests(link))
		retired_make_spare(d);
}

static void retired_on_lost(struct link *link, bool partial, _unused_ const char *why)
{
	struct retired *d = link_owner(link);
	struct listener *l = d->listener;
	struct link_request *base;

	while ((base = link_take_request(link))) {
		request_on_lost(container_of(base, struct request, base), partial);
		partial = false;
	}
	retired_free(d);
	listener_changed(l);
}

static const struct link_ops retired_ops = {
	.on_ready = retired_on_ready,
	.on_reply = retired_on_reply,
	.on_lost = retired_on_lost,
	.on_drained = retired_on_drained,
};

/* Takes the link; identity is referenced. */
void retired_release(struct listener *l, struct link *link, struct identity *identity)
{
	bool busy = link_has_requests(link);
	struct retired *d;

	if (!busy && !link_is_ready(link)) {
		link_free(link);
		return;
	}
	d = malloc(sizeof *d);
	if (!d) {
		struct link_request *base;

		while ((base = link_take_request(link)))
			request_on_lost(container_of(base, struct request, base), false);
		link_free(link);
		return;
	}
	*d = (struct retired){.listener = l, .link = link, .identity = identity_ref(identity)};
	TAILQ_INSERT_TAIL(&l->retired, d, entry);
	link_set_owner(link, &retired_ops, d);
	link_resume(link);
	if (!busy)
		retired_make_spare(d);
}

/* The newest one, so that the older ones can run out. The caller owns the link, and still has to set its owner. */
struct link *retired_take_spare(struct listener *l, struct identity *identity)
{
	struct retired *d;

	TAILQ_FOREACH_REVERSE(d, &l->spares, retired_list, entry)
	{
		if (d->identity != identity)
			continue;
		struct link *link = TAKE_PTR(d->link);

		retired_free(d);
		return link;
	}
	return NULL;
}

void retired_expire(struct listener *l, usec_t now)
{
	struct retired *d;

	while ((d = TAILQ_FIRST(&l->spares)) && now >= d->spare_since_usec + SPARE_KEEP_USEC)
		retired_free(d);
}

usec_t retired_next_usec(const struct listener *l)
{
	const struct retired *d = TAILQ_FIRST(&l->spares);

	return d ? d->spare_since_usec + SPARE_KEEP_USEC : USEC_NEVER;
}

void retired_close_spares(struct listener *l)
{
	struct retired *d;

	while ((d = TAILQ_FIRST(&l->spares)))
		retired_free(d);
}

void retired_free_all(struct listener *l)
{
	struct retired *d;

	retired_close_spares(l);
	while ((d = TAILQ_FIRST(&l->retired))) {
		struct link_request *base;

		while ((base = link_take_request(d->link)))
			request_free(container_of(base, struct request, base));
		retired_free(d);
	}
}
