/* SPDX-License-Identifier: MIT
 *
 * The directories that chargehand makes for itself in the cgroup tree, the locks by which one in use is told from a
 * leftover, and the removal of leftovers. Which of them are made, and where, is subtree.c's.
 */
#ifndef CHARGEHAND_PROCESS_HOME_H
#define CHARGEHAND_PROCESS_HOME_H

#include "base/macro.h"

/* What the group is called that chargehand itself is in, beside or above the leaves. */
#define HOME_SELF "chargehand"

/* Moves this process into the group: 0 or -errno. */
int home_enter(int dir_fd);

/* Opens a child of the group, and makes it where it is missing: its descriptor or -errno. */
int home_open_child(int dir_fd, const char *name) _must_check_;

/* The same, locked for as long as the descriptor is open. -EWOULDBLOCK: another chargehand has it. -ESTALE: another one
 * has just removed it. */
int home_lock_child(int dir_fd, const char *name) _must_check_;

/* A locked child "chargehand-NAME", or "chargehand-NAME.2" and so on where others have that. *ret_name is malloc'ed.
 * Both are unchanged on failure. */
int home_make(int base_fd, const char *name, char **ret_name, int *ret_fd) _must_check_;

/* Ends and removes the children that home_make() has made and that nobody has locked, with all below them, or all of
 * a worker's leaves. Returns how many there were. Waits for processes to end. */
unsigned home_sweep(int base_fd);
unsigned home_sweep_leaves(int dir_fd);

#endif
