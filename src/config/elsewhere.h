/* SPDX-License-Identifier: MIT
 *
 * Commands that ask others to start what is to be run: a daemon, a service manager, another machine. The worker is then
 * no descendant of chargehand, which is left with a client of no interest (hazards 44).
 */
#ifndef CHARGEHAND_CONFIG_ELSEWHERE_H
#define CHARGEHAND_CONFIG_ELSEWHERE_H

/* To be followed by what elsewhere_find() returns. */
#define ELSEWHERE_TEXT                                                                                                 \
	"others start the worker then, and chargehand sees neither its end nor its processes; run chargehand "

/* By its base name. Where chargehand should be run instead: "in the container"; NULL: the command is nothing of the
 * kind, as far as is known. */
const char *elsewhere_find(const char *command);

#endif
