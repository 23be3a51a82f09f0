/* SPDX-License-Identifier: MIT
 *
 * The names of the kinds of report, for log lines.
 */
#include "ledger/report.h"
#include "base/macro.h"
#include <assert.h>
#include <stddef.h>

static const char *const kind_names[] = {
	[REPORT_WORKER_ACK] = "worker's ACK",
	[REPORT_WORKER_FAIL] = "worker's FAIL",
	[REPORT_FAIL] = "FAIL",
	[REPORT_RETURN] = "return to the queue",
};
static_assert(ARRAY_SIZE(kind_names) == _REPORT_KIND_MAX, "each kind has a name");

const char *report_kind_to_string(enum report_kind kind)
{
	return (unsigned)kind < _REPORT_KIND_MAX ? kind_names[kind] : "?";
}
