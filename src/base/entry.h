/* SPDX-License-Identifier: MIT
 *
 * A log line with fields, for those who search by them: `journalctl MESSAGE_ID=… CHARGEHAND_WORKER=mail.1`. Goes to
 * systemd's journal in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL) where standard error goes there too;
 * else, and when the journal does not take it, it is a line like any other, without its fields. Never waits.
 *
 *   struct log_entry e;
 *   log_entry_begin(&e, LOG_WARNING, LOG_ID_DEATH);
 *   log_entry_field(&e, "CHARGEHAND_WORKER", "%s", name);
 *   log_entry_end(&e, "%s has died", name);
 */
#ifndef CHARGEHAND_BASE_ENTRY_H
#define CHARGEHAND_BASE_ENTRY_H

#include "base/macro.h"
#include <stdbool.h>

/* In the manual as well: whoever has an alarm on one of these relies on it. */
#define LOG_ID_DEATH "427d7847db4543fc81448e921814bf24"
#define LOG_ID_OUT_OF_MEMORY "76d0ec4d91d24983a5f0d29b39adfa5c"
#define LOG_ID_CRASH_LOOP "0726d0a3adeb421d8f2b9d13bdbb21be"
#define LOG_ID_SERVER_LOST "963287e900f041629dc407a72b7f17dd"
#define LOG_ID_SUPERVISOR_DIED "f4b1c30b68354f0b807e272129f26f48"
#define LOG_ID_JOB_VANISHES "db21275456516ac136611eabbe1b0fcc"

#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

#define LOG_ENTRY_BYTES 8192

struct log_entry {
	int level;
	bool enabled, wanted; /* the line at all; its fields */
	size_t bytes;
	char text[LOG_ENTRY_BYTES];
};

/* Where entries go from now on, borrowed, and all other lines of the log with them, so that they stay in their order.
 * NULL, as in the beginning: nowhere, so that each entry is a line. */
void log_set_journal(const char *socket_path);

/* For log.c: a line as an entry. False when there is no journal, or it does not take it. */
bool log_entry_send(int level, const char *text) _must_check_;

/* id: 128 bits in hexadecimal digits; NULL for none. */
void log_entry_begin(struct log_entry *e, int level, const char *id);

/* A name may be given several times; each value is kept. A field for which there is no room is left out. Costs nothing
 * where no fields are wanted, except the evaluation of the arguments. */
void log_entry_field(struct log_entry *e, const char *name, const char *format, ...) _printf_(3, 4);

/* errno is unchanged. */
void log_entry_end(struct log_entry *e, const char *format, ...) _printf_(2, 3);

#endif
