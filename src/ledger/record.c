/* SPDX-License-Identifier: MIT
 *
 * Fields are put and taken one after the other, in the order of each type's function pair; lengths of texts stand
 * before the first text. A reader that would run over the payload's end stops and says so once, at the end.
 */
#include "ledger/record.h"

#include "ledger/checksum.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

static const char magic[8] = {'c', 'h', 'g', 'h', 'j', 'r', 'n', 'l'};

enum {
	FLAG_OTHER_BOOT = 1 << 0,
	FLAG_DOUBTFUL = 1 << 1,
	FLAG_ENTERPRISE = 1 << 2,
	FLAG_HAVE_RETRY = 1 << 3,
	FLAG_GONE = 1 << 4,
	FLAG_NONE = 1 << 5,
};

/* In the file; those of the program may change. */
static const uint8_t kind_numbers[] = {
	[REPORT_WORKER_ACK] = 1,
	[REPORT_WORKER_FAIL] = 2,
	[REPORT_FAIL] = 3,
	[REPORT_RETURN] = 4,
};
static_assert(ARRAY_SIZE(kind_numbers) == _REPORT_KIND_MAX, "each kind has a number");

/* Bytes of the payload before its texts. */
static const uint8_t fixed_bytes[] = {
	[RECORD_END] = 0,   [RECORD_HEADER] = 24, [RECORD_WORKER] = 32, [RECORD_WORKER_GONE] = 8,
	[RECORD_HOLD] = 80, [RECORD_REPORT] = 24, [RECORD_SENT] = 32,   [RECORD_GONE] = 8,
};
static_assert(ARRAY_SIZE(fixed_bytes) == _RECORD_TYPE_MAX, "each type has a length");

/* ---- putting */

static char *put_8(char *at, uint8_t v)
{
	*at = (char)v;
	return at + 1;
}

static char *put_16(char *at, size_t v)
{
	uint16_t x = htole16((uint16_t)v);

	memcpy(at, &x, sizeof(x));
	return at + sizeof(x);
}

static char *put_32(char *at, uint64_t v)
{
	uint32_t x = htole32((uint32_t)v);

	memcpy(at, &x, sizeof(x));
	return at + sizeof(x);
}

static char *put_64(char *at, uint64_t v)
{
	v = htole64(v);
	memcpy(at, &v, sizeof(v));
	return at + sizeof(v);
}

static char *put_text(char *at, struct record_text t)
{
	if (t.bytes > 0)
		memcpy(at, t.p, t.bytes);
	return at + t.bytes;
}

static uint8_t flag(bool on, uint8_t bit)
{
	return on ? bit : 0;
}

static size_t padded(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

static size_t payload_bytes(const struct record *r)
{
	size_t n = fixed_bytes[r->type];

	switch (r->type) {
	case RECORD_HEADER:
		return n + r->header.boot_id.bytes + r->header.server.bytes;
	case RECORD_WORKER:
		return n + r->worker.name.bytes + r->worker.mark.bytes + r->worker.cgroup.bytes;
	case RECORD_HOLD:
		return n + r->hold.jid.bytes + r->hold.queue.bytes + r->hold.jobtype.bytes + r->hold.body.bytes;
	case RECORD_REPORT:
		return n + r->report.line.bytes;
	default:
		return n;
	}
}

size_t record_bytes(const struct record *r)
{
	return RECORD_HEAD_BYTES + padded(payload_bytes(r));
}

static char *put_header(const struct record_header *h, char *at)
{
	at = put_64(at, h->boot_usec);
	at = put_64(at, h->wall_usec);
	at = put_32(at, h->boot_id.bytes);
	at = put_32(at, h->server.bytes);
	return put_text(put_text(at, h->boot_id), h->server);
}

static char *put_worker(const struct record_worker *w, char *at, uint8_t *flags)
{
	*flags = flag(w->other_boot, FLAG_OTHER_BOOT) | flag(w->gone, FLAG_GONE);
	at = put_64(at, w->id);
	at = put_64(at, w->start_ticks);
	at = put_32(at, (uint32_t)w->pid);
	at = put_32(at, w->name.bytes);
	at = put_32(at, w->mark.bytes);
	at = put_32(at, w->cgroup.bytes);
	return put_text(put_text(put_text(at, w->name), w->mark), w->cgroup);
}

static char *put_hold(const struct record_hold *h, char *at, uint8_t *flags)
{
	*flags = flag(h->other_boot, FLAG_OTHER_BOOT) | flag(h->doubtful, FLAG_DOUBTFUL) |
		 flag(h->enterprise, FLAG_ENTERPRISE) | flag(h->have_retry, FLAG_HAVE_RETRY);
	at = put_64(at, h->generation);
	at = put_64(at, h->worker);
	at = put_64(at, h->fetched_usec);
	at = put_64(at, h->received_usec);
	at = put_64(at, h->wall_usec);
	at = put_64(at, (uint64_t)h->retry);
	at = put_64(at, (uint64_t)h->retry_count);
	at = put_64(at, h->lease_sec);
	at = put_32(at, (uint32_t)h->pid);
	at = put_32(at, h->body.bytes);
	at = put_16(at, h->jid.bytes);
	at = put_16(at, h->queue.bytes);
	at = put_16(at, h->jobtype.bytes);
	at = put_16(at, 0);
	return put_text(put_text(put_text(put_text(at, h->jid), h->queue), h->jobtype), h->body);
}

static char *put_report(const struct record_report *p, char *at, uint8_t *flags)
{
	*flags = flag(p->none, FLAG_NONE);
	at = put_64(at, p->generation);
	at = put_64(at, p->line.bytes);
	at = put_32(at, p->ack_bytes);
	at = put_32(at, p->none ? 0 : kind_numbers[p->kind]);
	return put_text(at, p->line);
}

static char *put_sent(const struct record_sent *s, char *at, uint8_t *flags)
{
	*flags = flag(s->other_boot, FLAG_OTHER_BOOT);
	at = put_64(at, s->generation);
	at = put_64(at, s->boot_usec);
	at = put_64(at, s->wall_usec);
	return put_64(at, (uint64_t)s->step);
}

/* Over all but the checksum itself: both parts count, and what the first gives is the second's seed. */
static uint64_t record_checksum(const char *p, size_t bytes, uint64_t salt)
{
	return checksum(p + RECORD_HEAD_BYTES, bytes - RECORD_HEAD_BYTES, checksum(p, 8, salt));
}

void record_seal(char *p, size_t bytes, uint64_t salt)
{
	(void)put_64(p + 8, record_checksum(p, bytes, salt));
}

void record_encode(const struct record *r, uint64_t salt, char *out)
{
	size_t payload = payload_bytes(r), bytes = RECORD_HEAD_BYTES + padded(payload);
	char *at = out + RECORD_HEAD_BYTES;
	uint8_t flags = 0;

	assert(r->type > RECORD_END && r->type < _RECORD_TYPE_MAX && payload <= RECORD_PAYLOAD_MAX);
	switch (r->type) {
	case RECORD_HEADER:
		at = put_header(&r->header, at);
		break;
	case RECORD_WORKER:
		at = put_worker(&r->worker, at, &flags);
		break;
	case RECORD_HOLD:
		at = put_hold(&r->hold, at, &flags);
		break;
	case RECORD_REPORT:
		at = put_report(&r->report, at, &flags);
		break;
	case RECORD_SENT:
		at = put_sent(&r->sent, at, &flags);
		break;
	default:
		at = put_64(at, r->gone);
	}
	memset(at, 0, (size_t)(out + bytes - at));

	at = put_32(out, payload);
	at = put_16(at, RECORD_VERSION);
	at = put_8(at, (uint8_t)r->type);
	(void)put_8(at, flags);
	record_seal(out, bytes, salt);
}

/* ---- taking */

struct reader {
	const char *p;
	size_t left;
	bool over;
};

static const char *take(struct reader *r, size_t bytes)
{
	const char *p = r->p;

	if (bytes > r->left) {
		r->over = true;
		return NULL;
	}
	r->p += bytes;
	r->left -= bytes;
	return p;
}

static uint16_t load_16(const char *p)
{
	uint16_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t load_32(const char *p)
{
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t load_64(const char *p)
{
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint16_t take_16(struct reader *r)
{
	return load_16(take(r, 2));
}

static uint32_t take_32(struct reader *r)
{
	return load_32(take(r, 4));
}

static uint64_t take_64(struct reader *r)
{
	return load_64(take(r, 8));
}

static void take_text(struct reader *r, struct record_text *t)
{
	t->p = take(r, t->bytes);
	if (!t->p)
		*t = (struct record_text){.p = ""};
}

static void take_header(struct reader *r, struct record_header *h)
{
	h->boot_usec = take_64(r);
	h->wall_usec = take_64(r);
	h->boot_id.bytes = take_32(r);
	h->server.bytes = take_32(r);
	take_text(r, &h->boot_id);
	take_text(r, &h->server);
}

static void take_worker(struct reader *r, struct record_worker *w, uint8_t flags)
{
	w->other_boot = flags & FLAG_OTHER_BOOT;
	w->gone = flags & FLAG_GONE;
	w->id = take_64(r);
	w->start_ticks = take_64(r);
	w->pid = (pid_t)take_32(r);
	w->name.bytes = take_32(r);
	w->mark.bytes = take_32(r);
	w->cgroup.bytes = take_32(r);
	take_text(r, &w->name);
	take_text(r, &w->mark);
	take_text(r, &w->cgroup);
}

static void take_hold(struct reader *r, struct record_hold *h, uint8_t flags)
{
	h->other_boot = flags & FLAG_OTHER_BOOT;
	h->doubtful = flags & FLAG_DOUBTFUL;
	h->enterprise = flags & FLAG_ENTERPRISE;
	h->have_retry = flags & FLAG_HAVE_RETRY;
	h->generation = take_64(r);
	h->worker = take_64(r);
	h->fetched_usec = take_64(r);
	h->received_usec = take_64(r);
	h->wall_usec = take_64(r);
	h->retry = (int64_t)take_64(r);
	h->retry_count = (int64_t)take_64(r);
	h->lease_sec = take_64(r);
	h->pid = (pid_t)take_32(r);
	h->body.bytes = take_32(r);
	h->jid.bytes = take_16(r);
	h->queue.bytes = take_16(r);
	h->jobtype.bytes = take_16(r);
	(void)take_16(r);
	take_text(r, &h->jid);
	take_text(r, &h->queue);
	take_text(r, &h->jobtype);
	take_text(r, &h->body);
}

/* False: no kind that this version knows. */
static bool take_report(struct reader *r, struct record_report *p, uint8_t flags)
{
	uint32_t number;

	p->none = flags & FLAG_NONE;
	p->generation = take_64(r);
	p->line.bytes = take_64(r);
	p->ack_bytes = take_32(r);
	number = take_32(r);
	take_text(r, &p->line);
	if (p->none)
		return true;
	for (unsigned kind = 0; kind < _REPORT_KIND_MAX; kind++)
		if (kind_numbers[kind] == number) {
			p->kind = (enum report_kind)kind;
			return true;
		}
	return false;
}

static bool take_sent(struct reader *r, struct record_sent *s, uint8_t flags)
{
	uint64_t step;

	s->other_boot = flags & FLAG_OTHER_BOOT;
	s->generation = take_64(r);
	s->boot_usec = take_64(r);
	s->wall_usec = take_64(r);
	step = take_64(r);
	s->step = (enum record_step)step;
	return step < _RECORD_STEP_MAX;
}

bool record_is_zeros(const char *p, size_t bytes)
{
	/* Each byte equal to the one before, and the first one zero: memcmp(3) is fast where a loop need not be. */
	return bytes == 0 || (*p == '\0' && memcmp(p, p + 1, bytes - 1) == 0);
}

int record_decode(const char *p, size_t bytes, uint64_t salt, struct record *ret, size_t *ret_bytes)
{
	struct reader r = {.p = p, .left = bytes};
	uint32_t payload;
	size_t total;
	uint16_t version;
	uint8_t type, flags;
	bool known = true;

	if (record_is_zeros(p, MIN(bytes, (size_t)RECORD_HEAD_BYTES)))
		return -ENODATA;
	if (bytes < RECORD_HEAD_BYTES)
		return -EBADMSG;
	payload = take_32(&r);
	version = take_16(&r);
	type = (uint8_t)*take(&r, 1);
	flags = (uint8_t)*take(&r, 1);
	total = RECORD_HEAD_BYTES + padded(payload);
	if (payload > RECORD_PAYLOAD_MAX || total > bytes || take_64(&r) != record_checksum(p, total, salt))
		return -EBADMSG;
	if (version != RECORD_VERSION || type == RECORD_END || type >= _RECORD_TYPE_MAX)
		return -EPROTONOSUPPORT;

	*ret = (struct record){.type = (enum record_type)type};
	r.left = payload;
	switch (ret->type) {
	case RECORD_HEADER:
		take_header(&r, &ret->header);
		break;
	case RECORD_WORKER:
		take_worker(&r, &ret->worker, flags);
		break;
	case RECORD_HOLD:
		take_hold(&r, &ret->hold, flags);
		break;
	case RECORD_REPORT:
		known = take_report(&r, &ret->report, flags);
		break;
	case RECORD_SENT:
		known = take_sent(&r, &ret->sent, flags);
		break;
	default:
		ret->gone = take_64(&r);
	}
	/* The checksum is right, so this is what somebody wrote: another version of this program. */
	if (r.over || r.left > 0 || !known)
		return -EPROTONOSUPPORT;
	*ret_bytes = total;
	return 0;
}

/* ---- the preamble */

void record_encode_preamble(uint64_t salt, char out[RECORD_PREAMBLE_BYTES])
{
	memcpy(out, magic, sizeof(magic));
	(void)put_64(put_64(out + 8, RECORD_VERSION), salt);
	(void)put_64(out + 24, checksum(out, 24, 0));
}

int record_decode_preamble(const char *p, size_t bytes, uint32_t *ret_version, uint64_t *ret_salt)
{
	if (record_is_zeros(p, bytes))
		return -ENODATA;
	if (bytes < RECORD_PREAMBLE_BYTES || memcmp(p, magic, sizeof(magic)) != 0 ||
	    load_64(p + 24) != checksum(p, 24, 0))
		return -EBADMSG;
	*ret_version = load_32(p + 8);
	*ret_salt = load_64(p + 16);
	return *ret_version == RECORD_VERSION ? 0 : -EPROTONOSUPPORT;
}
