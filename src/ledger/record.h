/* SPDX-License-Identifier: MIT
 *
 * The journal's format, pure: structs to bytes and back. All numbers are little-endian.
 *
 *   file      preamble, then records, then zeros: to the end of the reserved space, or at least as many as a record's
 *             head has, and behind them what an earlier use of the file has left, with another salt
 *   preamble  magic (8), version (4), zero (4), salt (8), checksum of these 24 bytes (8): the same in all versions
 *   record    payload's length (4), version (2), type (1), flags (1), checksum of all but itself (8), payload, zeros
 *             up to a multiple of 8; the checksum's seed is the file's salt
 *
 * A record is about one job (its generation) or one worker (its id). A record of the same kind about the same thing
 * replaces the earlier one; one about something unknown means nothing. So what is read twice, or copied behind what
 * came later, does no harm.
 */
#ifndef CHARGEHAND_LEDGER_RECORD_H
#define CHARGEHAND_LEDGER_RECORD_H

#include "base/clock.h"
#include "base/macro.h"
#include "ledger/report.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RECORD_VERSION 1
#define RECORD_PREAMBLE_BYTES 32
#define RECORD_HEAD_BYTES 16
#define RECORD_PAYLOAD_MAX ((size_t)64 << 20) /* more is no record; the largest has a whole line or body in it */

enum record_type {
	RECORD_END, /* only zeros: no record */
	RECORD_HEADER,
	RECORD_WORKER,
	RECORD_WORKER_GONE,
	RECORD_HOLD,
	RECORD_REPORT,
	RECORD_SENT,
	RECORD_GONE,
	_RECORD_TYPE_MAX,
};

/* Bytes that belong to somebody else: of a decoded record, to the buffer that it was decoded from. */
struct record_text {
	const char *p;
	size_t bytes;
};

/* What follows was written in this boot, about jobs of this server. */
struct record_header {
	usec_t boot_usec, wall_usec;
	struct record_text boot_id, server;
};

struct record_worker {
	uint64_t id;
	pid_t pid;            /* of its first process; 0: not known */
	uint64_t start_ticks; /* /proc/PID/stat's starttime: a pid alone says nothing */
	bool other_boot;      /* pid and start_ticks are of an earlier boot */
	bool gone;            /* its last process has ended; jobs of it are left */
	struct record_text name, mark, cgroup;
};

struct record_hold {
	uint64_t generation;
	uint64_t worker;                    /* id; 0: none */
	pid_t pid;                          /* which of its processes said HELLO */
	usec_t fetched_usec, received_usec; /* CLOCK_BOOTTIME */
	usec_t wall_usec;                   /* CLOCK_REALTIME when it was received */
	uint64_t lease_sec;
	bool other_boot; /* fetched_usec and received_usec are of an earlier boot */
	bool doubtful;   /* what was written about it later may have been lost: perhaps it has been settled */
	bool enterprise, have_retry;
	int64_t retry, retry_count;
	struct record_text jid, queue, jobtype, body;
};

/* What is on its way to the server about the hold. */
struct record_report {
	uint64_t generation;
	bool none; /* what was said before holds no more: the server refused it */
	enum report_kind kind;
	uint32_t ack_bytes;      /* REPORT_RETURN */
	struct record_text line; /* empty: an ACK, which follows from the jid; or a FAIL whose text could not be kept */
};

enum record_step {
	RECORD_FIRST_SENT,   /* a FAIL, or a return, is about to be sent for the first time */
	RECORD_ACK_ANSWERED, /* of a return: only its PUSHB is left to do */
	_RECORD_STEP_MAX,
};

struct record_sent {
	uint64_t generation;
	enum record_step step;
	bool other_boot;
	usec_t boot_usec, wall_usec;
};

struct record {
	enum record_type type;
	union {
		struct record_header header;
		struct record_worker worker;
		struct record_hold hold;
		struct record_report report;
		struct record_sent sent;
		uint64_t gone; /* GONE: generation; WORKER_GONE: id */
	};
};

/* How many bytes record_encode() will write: a multiple of 8. */
size_t record_bytes(const struct record *r);
void record_encode(const struct record *r, uint64_t salt, char *out);
/* Gives a whole record that was encoded for one file the checksum for another. */
void record_seal(char *p, size_t bytes, uint64_t salt);

/* *ret points into p. 0; -ENODATA: from here on there is nothing (zeros, or no byte at all); -EBADMSG: these bytes are
 * no record, or not all of one; -EPROTONOSUPPORT: a good record of another version. */
int record_decode(const char *p, size_t bytes, uint64_t salt, struct record *ret, size_t *ret_bytes) _must_check_;

/* The salt makes a record of one file mean nothing in another, and cannot be known to who writes a job's body. */
void record_encode_preamble(uint64_t salt, char out[RECORD_PREAMBLE_BYTES]);
/* 0; -ENODATA: empty or zeros; -EBADMSG; -EPROTONOSUPPORT, with *ret_version set in any case but the first two. */
int record_decode_preamble(const char *p, size_t bytes, uint32_t *ret_version, uint64_t *ret_salt) _must_check_;

bool record_is_zeros(const char *p, size_t bytes);

#endif
