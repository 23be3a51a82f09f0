/* SPDX-License-Identifier: MIT
 *
 * The kinds of report about a hold that chargehand itself brings to the server, in one word for ledger, gateway and
 * reporter.
 */
#ifndef CHARGEHAND_LEDGER_REPORT_H
#define CHARGEHAND_LEDGER_REPORT_H

enum report_kind {
	REPORT_WORKER_ACK, /* what the worker itself said and its own link could not carry: sent as what it was */
	REPORT_WORKER_FAIL,
	REPORT_FAIL,   /* chargehand's own, for a dead worker's hold or a stray */
	REPORT_RETURN, /* a stray on its way back to its queue: ACK and PUSHB in one write */
	_REPORT_KIND_MAX,
};
const char *report_kind_to_string(enum report_kind kind);

#endif
