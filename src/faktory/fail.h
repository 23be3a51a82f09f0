/* SPDX-License-Identifier: MIT
 *
 * Writes what chargehand itself sends about jobs: FAIL, ACK, PUSHB. Within the server's limits (retry.go: errtype 100
 * bytes, message 1000 bytes, backtrace 50 lines), counted as the server does, after decoding, for it cuts at bytes. The
 * wire sees ASCII: UTF-8 as \uXXXX, other bytes and control characters but tab and newline visibly as \xNN, for a raw
 * TAB is `invalid FAIL` (hazards 43). The jid goes out as the raw JSON bytes that were received.
 */
#ifndef CHARGEHAND_FAKTORY_FAIL_H
#define CHARGEHAND_FAKTORY_FAIL_H

#include "base/macro.h"
#include <stddef.h>

#define FAIL_ERRTYPE_MAX 100
#define FAIL_MESSAGE_MAX 1000
#define FAIL_BACKTRACE_MAX 50
#define FAIL_BACKTRACE_LINE_MAX 400 /* ours: the server has no limit per line */

struct fail {
	const char *errtype; /* all NUL-terminated, of any bytes */
	const char *message;
	const char *const *backtrace; /* oldest first; of more than 50 the last 50 are written */
	size_t n_backtrace;
};

/* "FAIL {...}\r\n" for the jid given as raw JSON bytes. *ret is malloc'ed and the caller's. -ENOMEM.
 * A backtrace is the same for all jobs of one death: fail_write_tail() makes that part once, and
 * fail_write_with_tail() joins it to each job's own jid and message. */
int fail_write(const struct fail *f, const char *jid, size_t jid_bytes, char **ret, size_t *ret_bytes) _must_check_;

/* `,"errtype":...,"backtrace":[...]}\r\n`, malloc'ed. */
int fail_write_tail(const struct fail *f, char **ret, size_t *ret_bytes) _must_check_;
int fail_write_with_tail(const char *jid, size_t jid_bytes, const char *message, const char *tail, size_t tail_bytes,
			 char **ret, size_t *ret_bytes) _must_check_;

/* "ACK {"jid":"..."}\r\n" */
int ack_write(const char *jid, size_t jid_bytes, char **ret, size_t *ret_bytes) _must_check_;

/* "ACK …\r\nPUSHB [BODY]\r\n" in one piece: the way of a stray back to its queue (hazards 7). ack_bytes tells where the
 * second command begins. */
int return_write(const char *jid, size_t jid_bytes, const char *body, size_t body_bytes, char **ret, size_t *ret_bytes,
		 size_t *ret_ack_bytes) _must_check_;

/* BEAT {"wid":"..."} in a silent worker's stead; wid is decoded text. */
int beat_write(const char *wid, char **ret, size_t *ret_bytes) _must_check_;

#endif
