/* SPDX-License-Identifier: MIT
 *
 * Exit statuses of chargehand's own, as chargehand(8) promises them: numbers of sysexits.h, and those of a shell for
 * what cannot be run.
 */
#ifndef CHARGEHAND_BASE_STATUS_H
#define CHARGEHAND_BASE_STATUS_H

enum status {
	STATUS_USAGE = 64,
	STATUS_UNAVAILABLE = 69,
	STATUS_OS_ERROR = 71,
	STATUS_HELD = 75,
	STATUS_CONFIG = 78,
	STATUS_NOT_EXECUTABLE = 126,
	STATUS_NOT_FOUND = 127,
};

#endif
