/* SPDX-License-Identifier: MIT
 *
 * What an answer of the server means to a report that chargehand sent. An -ERR is four things (hazards 5), and which of
 * them depends on the command: an ACK that met a storage error is repeated, a FAIL must not be.
 *
 * Pure: takes bytes.
 */
#ifndef CHARGEHAND_REPORT_VERDICT_H
#define CHARGEHAND_REPORT_VERDICT_H

#include "base/macro.h"
#include "faktory/resp.h"
#include <stddef.h>

enum verdict {
	VERDICT_DONE,
	VERDICT_NOT_FOUND,
	VERDICT_REFUSED,
	VERDICT_HALF_DONE,
	VERDICT_AGAIN, /* after a while */
};

#define VERDICT_TEXT_MAX 256

/* bytes: the whole reply, as it came. ret_text: what the server said, in printable ASCII, "" for a plain +OK. */
enum verdict verdict_of_fail(const struct resp *r, char ret_text[VERDICT_TEXT_MAX]);
enum verdict verdict_of_ack(const struct resp *r, char ret_text[VERDICT_TEXT_MAX]);
enum verdict verdict_of_pushb(const struct resp *r, const char *p, size_t bytes, char ret_text[VERDICT_TEXT_MAX]);

#endif
