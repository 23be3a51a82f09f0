/* SPDX-License-Identifier: MIT
 *
 * What the server answers: RESP, one reply to a command, in order. This scanner finds where a reply ends, in a stream
 * cut anywhere, and keeps no bytes but the head of the first line, by which a reply is classified. Arrays (no
 * command of the open-source server answers with one) are followed to their end, to any depth below RESP_DEPTH_MAX.
 *
 * Pure: takes bytes. A struct resp is a value; all zero is a scanner at the start of a reply.
 */
#ifndef CHARGEHAND_FAKTORY_RESP_H
#define CHARGEHAND_FAKTORY_RESP_H

#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>

/* Enough for "-ERR Job not found " and a usual jid, for a log line, and for every prefix that is looked at. */
#define RESP_HEAD_MAX 96
#define RESP_DEPTH_MAX 8

struct resp {
	/* Valid once `kind` is not 0: the kind of the outermost reply, '+', '-', ':', '$' or '*'. */
	char kind;
	bool nil;                 /* "$-1" or "*-1" */
	bool header_done;         /* the first line is complete; for '$': body_bytes and header_bytes are known */
	bool done;                /* the reply is complete */
	uint32_t header_bytes;    /* of the first line, with its end */
	uint64_t body_bytes;      /* '$' only: of the body, without the line end behind it */
	char head[RESP_HEAD_MAX]; /* the first line without kind and end, cut, always terminated */
	uint8_t head_bytes;

	/* private */
	uint64_t left; /* bytes of the present bulk, with its line end, still to come */
	uint64_t elements[RESP_DEPTH_MAX];
	uint8_t depth;
	bool in_line;
	bool line_is_first;
	char line_kind;
	bool cr;
	bool negative, any_digit;
	uint64_t number;
};

/* Consumes bytes up to the end of one reply. Returns 0 with *ret_consumed set (less than `bytes` only if r->done), or
 * -EBADMSG when the bytes are no RESP: an unknown type, a length that is no number, a body without its line end, a
 * nesting beyond RESP_DEPTH_MAX. After -EBADMSG the stream cannot be followed any further. */
int resp_scan(struct resp *r, const char *p, size_t bytes, size_t *ret_consumed) _must_check_;

/* Ready for the next reply. */
void resp_reset(struct resp *r);

/* "+OK" exactly. */
bool resp_is_ok(const struct resp *r);

/* What an -ERR means to the one who sent the command (hazards 5). Meaningful when r->kind is '-'. */
enum resp_error {
	RESP_ERROR_REFUSED, /* not executed, and would not be if sent again: invalid ACK, missing JID, unknown command …
			     */
	RESP_ERROR_NOT_FOUND,   /* "Job not found": the server does not know the reservation */
	RESP_ERROR_UNAVAILABLE, /* not executed, send again: shutdown in progress, redis: client is closed, too many
				   connections */
	RESP_ERROR_STORAGE,     /* half done (faktory-live N3): NOREPLICAS, MISCONF, OOM, READONLY, context deadline
				   exceeded, … */
	RESP_ERROR_PASSWORD,    /* "Invalid password" */
};
enum resp_error resp_error_class(const struct resp *r);

/* The reply's body as a view, when the whole reply lies in p: '$' gives the bulk without header and line end, '+' and
 * '-' the line without kind and end. nil gives an empty view. */
void resp_body(const struct resp *r, const char *p, size_t bytes, const char **ret_body, size_t *ret_bytes);

#endif
