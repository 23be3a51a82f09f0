/* SPDX-License-Identifier: MIT
 *
 * Strict readers of what people write: a whole string or nothing. All return 0, -EINVAL for what is not of the form
 * and -ERANGE for what does not fit; on failure *ret is unchanged. Blanks are never skipped.
 */
#ifndef CHARGEHAND_BASE_PARSE_H
#define CHARGEHAND_BASE_PARSE_H

#include "base/clock.h"
#include "base/macro.h"
#include <stdbool.h>
#include <stdint.h>

/* Decimal digits only: no sign, no blank, no 0x. */
int parse_u64(const char *s, uint64_t *ret) _must_check_;
int parse_unsigned(const char *s, unsigned min, unsigned max, unsigned *ret) _must_check_;

/* "500ms", "45s", "10m", "2h", "1d", "1.5s"; "0" alone needs no unit. A number without unit is -EINVAL. */
int parse_duration(const char *s, usec_t *ret_usec) _must_check_;

/* "4096", "512K", "512M", "1.5G", "1T": powers of 1024, a following "B" or "iB" is accepted. */
int parse_size(const char *s, uint64_t *ret_bytes) _must_check_;

/* yes/no, true/false, on/off, 1/0. */
int parse_bool(const char *s, bool *ret) _must_check_;

/* "192.0.2.1", as inet_pton(3) takes it: no zeros in front. *ret is in the host's order. */
int parse_ipv4(const char *s, uint32_t *ret) _must_check_;

/* The other way, for people: "45s", "1.5s", "12.3 ms" style is not parsed back. */
#define FORMAT_DURATION_MAX 48
#define FORMAT_SIZE_MAX 48

/* Decimal digits, at most 20, without a terminator. Returns the end. */
char *format_u64(char *to, uint64_t n);

/* "0.4 ms", "12.3 s", "3m 12s", "3h 12m", "2d 4h": two units at most. Returns buffer. */
char *format_duration(char buffer[FORMAT_DURATION_MAX], usec_t usec);
/* "812 MiB", "1 GiB", "1.5 GiB", "17 B". Returns buffer. */
char *format_size(char buffer[FORMAT_SIZE_MAX], uint64_t bytes);

#endif
