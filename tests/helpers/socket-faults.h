/* SPDX-License-Identifier: MIT
 *
 * Faults at the calls that chargehand makes on TCP sockets. They are put between by the linker (--wrap, see
 * Makefile.am) in the programs of tests that want them; what is installed knows nothing of it.
 *
 * Rules are separated by commas, CALL:WHAT[:EVERY[:TIMES[:SKIP]]]: at each EVERY-th call (1), TIMES times (0: no end),
 * after SKIP calls (0). The first rule that fits decides; each counts the calls that come as far as it. CALL  recv,
 * send (sendmsg(2) as well), accept, connect, socket WHAT  short (one byte passes), or the name of an errno With
 * CHARGEHAND_SOCKET_FAULTS in the environment they are there from the start.
 */
#ifndef CHARGEHAND_TESTS_SOCKET_FAULTS_H
#define CHARGEHAND_TESTS_SOCKET_FAULTS_H

/* NULL: none. Ends the program when it is not understood. */
void socket_faults_set(const char *rules);

/* How many there have been since they were set. */
unsigned socket_faults_met(void);

#endif
