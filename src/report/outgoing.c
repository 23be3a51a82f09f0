/* SPDX-License-Identifier: MIT
 *
 * What goes up the reporter's link: which of the waiting reports, how many at a time, and in how many writes.
 */
#include "base/log.h"
#include "report/internal.h"
#include <event2/event.h>
#include <string.h>

/* Reports are joined into writes of this size: a system call for each would cost more than the report. */
#define OUT_BYTES ((size_t)64 * 1024)

/* Reports sent and not answered. A busy server took 1.5 s for 1000 FAILs: two thousand are answered within the margin
 * that LEDGER_FAIL_MARGIN_USEC leaves, and what cannot be is not on its way but still here, where it can be dropped. Of
 * long ones fewer are: as many as are the same work for the server. */
#define FLYING_MAX 2000
#define FLYING_BYTES_MAX ((size_t)2 << 20)

/* A link whose oldest report has had no answer for so long gets no more: what it swallows has begun its ten seconds,
 * and what waits here has the whole of its lease. Answers come within milliseconds, of a busy server within a second.
 */
#define SILENCE_USEC USEC_PER_SEC

static void reporter_watch_recall(struct reporter *r, const struct report *p, usec_t now)
{
	usec_t recall = usec_add(hold_fail_until_usec(p->hold), RECALL_AFTER_USEC);

	if (recall >= r->recall_usec)
		return;
	r->recall_usec = recall;
	reporter_set_timer(&r->recall_timer, usec_sub(recall, now));
}

static void reporter_set_flying(struct reporter *r, struct report *p, usec_t now)
{
	TAILQ_INSERT_TAIL(&r->flying, p, next);
	r->n_flying++;
	r->n_flying_bytes += p->counted_bytes;
	if (!kind_is_fail(p->kind))
		return;
	r->n_fails_flying++;
	reporter_watch_recall(r, p, now);
}

void reporter_remove_flying(struct reporter *r, struct report *p)
{
	TAILQ_REMOVE(&r->flying, p, next);
	r->n_flying--;
	r->n_flying_bytes -= p->counted_bytes;
	if (kind_is_fail(p->kind) && --r->n_fails_flying == 0) {
		(void)event_del(&r->recall_timer);
		r->recall_usec = USEC_NEVER;
	}
}

struct out {
	char *bytes; /* NULL without memory: then each report is a write of its own */
	size_t n;
};

static void out_send(struct reporter *r, const char *bytes, size_t n)
{
	ledger_barrier(r->ledger);
	link_send_more(r->link, bytes, n);
}

static void out_flush(struct reporter *r, struct out *out)
{
	if (out->n > 0)
		out_send(r, out->bytes, out->n);
	out->n = 0;
}

/* The ACK of a return. Whatever it says, it is not repeated: the job is in its queue by now, perhaps with somebody. */
void reporter_on_returned(struct report *p)
{
	p->ack_answered = true;
	log_debug("%s: the ACK of its return is answered", p->hold->jid);
	if (p->hold->state != HOLD_GONE)
		ledger_mark_ack_answered(p->hold);
}

/* The link learns of the requests first and gets their bytes together afterwards: the order is the same. */
static void reporter_send_one(struct reporter *r, struct report *p, usec_t now, struct out *out)
{
	const char *bytes = p->line;
	size_t n = p->line_bytes;

	if (p->kind == REPORT_RETURN && !p->ack_answered && report_is_overtaken(p))
		reporter_on_returned(p);
	if (p->kind == REPORT_RETURN && p->ack_answered) {
		bytes += p->ack_bytes;
		n -= p->ack_bytes;
	}
	if (!out->bytes || out->n + n > OUT_BYTES)
		out_flush(r, out);
	if (p->kind != REPORT_WORKER_ACK)
		ledger_mark_sent(p->hold, now);

	/* Of a return that was carried out and is repeated there are two: better to wait for its answer. */
	p->part.request.hasty = p->kind != REPORT_RETURN;
	if (p->kind != REPORT_RETURN || !p->ack_answered)
		link_send(r->link, &p->part.request, now, NULL, 0);
	if (p->kind == REPORT_RETURN)
		link_send(r->link, &p->pushb.request, now, NULL, 0);

	if (out->bytes && n <= OUT_BYTES) {
		memcpy(out->bytes + out->n, bytes, n);
		out->n += n;
	} else {
		out_send(r, bytes, n);
	}
	reporter_set_flying(r, p, now);
}

/* Behind a return it goes on: its link is not given up so soon, see reporter_send_one(). */
static bool reporter_link_is_silent(const struct reporter *r, usec_t now)
{
	const struct link_request *first = link_first_request(r->link);

	return first && first->hasty && now > usec_add(first->sent_usec, SILENCE_USEC);
}

void reporter_send_waiting(struct reporter *r)
{
	bool several = TAILQ_FIRST(&r->waiting) && TAILQ_NEXT(TAILQ_FIRST(&r->waiting), next);
	struct out out = {.bytes = several && link_is_ready(r->link) ? malloc(OUT_BYTES) : NULL};
	struct report *p;

	while (link_is_ready(r->link) && (p = TAILQ_FIRST(&r->waiting)) && r->n_flying < FLYING_MAX &&
	       r->n_flying_bytes < FLYING_BYTES_MAX && !link_is_full(r->link)) {
		usec_t now = clock_now_usec();

		if (reporter_link_is_silent(r, now))
			break;
		TAILQ_REMOVE(&r->waiting, p, next);
		if (report_is_late(p, now))
			TAILQ_INSERT_TAIL(&r->late, p, next);
		else
			reporter_send_one(r, p, now, &out);
	}
	out_flush(r, &out);
	free(out.bytes);
}
