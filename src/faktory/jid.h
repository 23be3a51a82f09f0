/* SPDX-License-Identifier: MIT
 *
 * A job ID, as it stood in JSON and as the server compares it. A jid is any string of eight bytes or more
 * (manager.go); the same one can be spelled in many ways ("\u00e9", "é", "\u003c"), so the ledger compares decoded
 * bytes and reports carry the raw ones exactly as received (hazards 43).
 */
#ifndef CHARGEHAND_FAKTORY_JID_H
#define CHARGEHAND_FAKTORY_JID_H

#include "base/macro.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A jid of more raw bytes is not followed; its job passes, and the log says that nothing can be done for it. */
#define JID_RAW_MAX 512

/* Printable ASCII without quotes and backslashes, as nearly every jid: decoded it is what it is. */
bool jid_is_plain(const char *raw, size_t bytes);

/* Decodes the inside of a JSON string (no quotes) as Go's encoding/json does: escapes resolved, surrogate pairs joined,
 * a lone surrogate or an invalid byte becomes U+FFFD. A decoded byte never needs more than three bytes of output for
 * one of input. Returns the decoded length, or -EINVAL for a raw control character or a broken escape, -ENOBUFS when
 * it does not fit. Not terminated. */
ssize_t jid_decode(const char *raw, size_t raw_bytes, char *out, size_t out_bytes) _must_check_;
#define JID_DECODED_MAX (3 * JID_RAW_MAX)

/* The character that p begins with: its length and *ret_rune, or 0 when that is no UTF-8 (an overlong form, a
 * surrogate, a cut one). bytes is at least 1. */
size_t utf8_decode(const char *p, size_t bytes, uint32_t *ret_rune) _must_check_;

/* For a log line: printable ASCII, cut to fit, everything else as '?'. Returns buffer. */
#define JID_SHOW_MAX 64
char *jid_show(char buffer[JID_SHOW_MAX], const char *jid, size_t bytes);

#endif
