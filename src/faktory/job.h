/* SPDX-License-Identifier: MIT
 *
 * Reads what chargehand needs from one JSON object, at its top level only, in any key order, without building a tree:
 * a job in a FETCH reply, the argument of ACK, FAIL or BEAT. `custom`, `failure` and `args` can hold a "jid" of their
 * own, and since server 1.9.2 two of them come first (faktory-clients 1.16): so depth decides, not the first match.
 *
 * The scan is incremental and costs about a nanosecond per byte at most: what lies below the top level is only
 * counted (cross.h). Pure: takes bytes, keeps copies of the few values that it was asked for.
 */
#ifndef CHARGEHAND_FAKTORY_JOB_H
#define CHARGEHAND_FAKTORY_JOB_H

#include "base/macro.h"
#include "faktory/cross.h"
#include "faktory/jid.h"
#include <stdbool.h>
#include <stdint.h>

#define JOB_QUEUE_MAX 128 /* of queue and jobtype, for messages: longer ones are cut */
#define JOB_WID_MAX 128
#define JOB_TEXT_MAX 72 /* private: the longest key that is known, with every byte spelled as \uXXXX */

enum job_scan_mode {
	JOB_SCAN_FETCHED, /* a job: all of struct job; keys exact, as the server writes them */
	JOB_SCAN_EXACT,   /* ACK: "jid" exactly (Go map); the last one wins */
	JOB_SCAN_FOLDED,  /* FAIL, BEAT: keys without regard to case (Go struct); the last one wins */
};

struct job {
	/* Raw JSON bytes between the quotes, good ones: jid_decode() takes them. jid_bytes is 0 when absent, no string,
	 * or one that cannot be followed (then jid_too_long): longer than JID_RAW_MAX, or with a "\r\n" in it, by which
	 * a producer could forge replies. */
	char jid[JID_RAW_MAX];
	uint16_t jid_bytes;
	bool jid_too_long;

	char queue[JOB_QUEUE_MAX]; /* terminated, raw JSON bytes */
	char jobtype[JOB_QUEUE_MAX];
	char wid[JOB_WID_MAX]; /* BEAT: terminated, raw; empty when absent */

	int64_t reserve_for; /* seconds as written; 0 when absent */
	bool have_retry;
	int64_t retry;
	int64_t retry_count;        /* failure.retry_count, 0 when absent */
	bool custom_has_enterprise; /* custom holds bid, unique_for or track: ACK and PUSHB would do harm (hazards 7) */
};

struct job_scan {
	struct job job;
	bool done;   /* the closing brace has been seen */
	bool broken; /* not an object, or not JSON as far as it was looked at: job holds what came before */

	/* private */
	enum job_scan_mode mode;
	uint8_t state;
	uint8_t section; /* inside "failure" or "custom", else 0 */
	uint8_t key;     /* which key the present value belongs to */
	bool refused;    /* the server will answer "invalid": nothing that follows can give a jid */
	bool text_cut;
	uint8_t text_bytes;
	uint16_t value_bytes;    /* of the present string value, kept or not, at most JID_RAW_MAX + 1 */
	struct cross cross;      /* the present string, or the value that is only counted */
	char text[JOB_TEXT_MAX]; /* a key, as it is spelled, or a number or literal */
};

void job_scan_init(struct job_scan *s, enum job_scan_mode mode);

/* Feeds the next bytes. Never fails: what is no JSON sets s->broken. Bytes behind the closing brace are ignored. */
void job_scan_feed(struct job_scan *s, const char *p, size_t bytes);

/* The lease that the server gives: 0 = 1800 s, else clamped to 60..86400 s (faktory-live, lease lengths). */
uint64_t job_lease_sec(int64_t reserve_for);

#endif
