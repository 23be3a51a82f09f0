/* SPDX-License-Identifier: MIT
 *
 * One small function for each of the sink's.
 */
#include "ledger/keep.h"

#include <string.h>

static struct record_text text(const char *p, size_t bytes)
{
	return (struct record_text){.p = p, .bytes = bytes};
}

static struct record_hold hold_record(const struct hold *h)
{
	return (struct record_hold){
		.pid = h->pid,
		.fetched_usec = h->fetched_usec,
		.received_usec = h->received_usec,
		.wall_usec = clock_wall_usec(),
		.lease_sec = h->lease_sec,
		.enterprise = h->enterprise,
		.have_retry = h->have_retry,
		.retry = h->retry,
		.retry_count = h->retry_count,
		.jid = text(h->jid, h->jid_bytes),
		.queue = text(h->queue, strlen(h->queue)),
		.jobtype = text(h->jobtype, strlen(h->jobtype)),
		.body = text(h->body, h->body_bytes),
	};
}

static int keep_add(void *userdata, struct hold *h, const struct holder *holder)
{
	struct record_hold record = hold_record(h);
	struct journal_entry *e;
	int r = journal_add(userdata, &record, holder->sink_data, &e);

	if (r == 0)
		h->sink_data = e;
	return r;
}

static void keep_update(void *userdata, struct hold *h)
{
	struct record_hold record = hold_record(h);

	journal_update(userdata, h->sink_data, &record);
}

static void keep_report(void *userdata, struct hold *h, enum report_kind kind, const char *line, size_t line_bytes,
			size_t ack_bytes)
{
	journal_report(userdata, h->sink_data, kind, line, line_bytes, ack_bytes);
}

static void keep_report_refused(void *userdata, struct hold *h)
{
	journal_withdraw_report(userdata, h->sink_data);
}

static void keep_sent(void *userdata, struct hold *h, usec_t now)
{
	journal_sent(userdata, h->sink_data, now);
}

static void keep_ack_answered(void *userdata, struct hold *h)
{
	journal_ack_answered(userdata, h->sink_data);
}

static void keep_gone(void *userdata, struct hold *h)
{
	journal_remove(userdata, h->sink_data);
}

static void keep_barrier(void *userdata)
{
	journal_barrier(userdata);
}

static const struct ledger_sink keep_sink = {
	.add = keep_add,
	.update = keep_update,
	.report = keep_report,
	.report_refused = keep_report_refused,
	.sent = keep_sent,
	.ack_answered = keep_ack_answered,
	.gone = keep_gone,
	.barrier = keep_barrier,
};

void keep_attach(struct ledger *l, struct journal *j)
{
	ledger_set_sink(l, j ? &keep_sink : NULL, j);
}

static void copy_text(char *to, size_t room, struct record_text t)
{
	size_t n = MIN(t.bytes, room - 1);

	memcpy(to, t.p, n);
	to[n] = '\0';
}

int keep_restore(struct ledger *l, struct holder *holder, const struct journal_found *found, usec_t now,
		 usec_t wall_now, struct hold **ret)
{
	const struct record_hold *f = &found->hold;
	usec_t left = journal_lease_left_usec(f, now, wall_now), end = usec_add(now, left);
	bool same_clock = left > 0 && !f->other_boot;
	uint64_t lease_sec = same_clock ? f->lease_sec : left / USEC_PER_SEC;
	struct job job = {
		.jid_bytes = (uint16_t)f->jid.bytes,
		.have_retry = f->have_retry,
		.retry = f->retry,
		.retry_count = f->retry_count,
		.custom_has_enterprise = f->enterprise,
	};
	struct hold *h;
	int r;

	if (f->jid.bytes == 0 || f->jid.bytes > sizeof(job.jid))
		return -EINVAL;
	memcpy(job.jid, f->jid.p, f->jid.bytes);
	copy_text(job.queue, sizeof(job.queue), f->queue);
	copy_text(job.jobtype, sizeof(job.jobtype), f->jobtype);

	/* On another clock the bounds are told by how much is left: the lease counts from what makes it end then. */
	lease_sec = MAX(lease_sec, (uint64_t)1);
	r = ledger_restore(l, holder, &job, same_clock ? f->fetched_usec : usec_sub(end, lease_sec * USEC_PER_SEC),
			   same_clock ? f->received_usec : now, lease_sec, found->entry, &h);
	if (r < 0)
		return r;
	h->pid = f->pid;
	if (found->have_sent)
		h->fail_first_usec = found->sent.other_boot ? 1 : MAX(found->sent.boot_usec, (usec_t)1);
	if (f->body.bytes > 0)
		r = hold_keep_body(h, f->body.p, f->body.bytes);
	if (r < 0) {
		ledger_leave(h);
		return r;
	}
	*ret = h;
	return 0;
}
