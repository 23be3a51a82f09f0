/* SPDX-License-Identifier: MIT
 *
 * The way out for what workers write to their standard error: chargehand's own, unchanged, in the order it came. Nobody
 * ever waits for who reads there: what is not taken is kept up to OUTLET_BACKLOG_BYTES, then dropped, and one line says
 * how much that was.
 */
#ifndef CHARGEHAND_SUPERVISE_OUTLET_H
#define CHARGEHAND_SUPERVISE_OUTLET_H

#include "base/macro.h"
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#define OUTLET_BACKLOG_BYTES (256 * 1024)

struct outlet;

/* fd is borrowed (STDERR_FILENO) and never changed: whoever shares it would be surprised by O_NONBLOCK. */
int outlet_new(struct event_base *base, int fd, struct outlet **ret) _must_check_;

/* Gives what is left half a second, then frees. */
struct outlet *outlet_free(struct outlet *o);

/* Takes the bytes, to be written at the end of the present turn of the loop: the report of a death comes first. */
void outlet_write(struct outlet *o, const char *p, size_t bytes);

#endif
