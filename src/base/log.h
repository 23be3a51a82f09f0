/* SPDX-License-Identifier: MIT
 *
 * One line per event that matters, on standard error: "chargehand: TEXT", or "<N>TEXT" with syslog(3)'s priority
 * where the reader is systemd (sd-daemon(3)), or there an entry of its journal (base/entry.h). Used by layers 3 and
 * above; what lies below returns errors instead.
 *
 * Standard error may be a pipe whose reader has stopped. A line that cannot be written at once is counted and
 * dropped, never waited for; the next line that can be written is preceded by one that says how many were lost.
 * Bytes that do not belong on a terminal (controls, invalid UTF-8) are written as \xNN.
 */
#ifndef CHARGEHAND_BASE_LOG_H
#define CHARGEHAND_BASE_LOG_H

#include "base/macro.h"
#include <stdbool.h>
#include <syslog.h>

enum log_style {
	LOG_STYLE_PLAIN,    /* "chargehand: TEXT" */
	LOG_STYLE_PRIORITY, /* "<N>TEXT" */
};

/* Level is a LOG_* priority of syslog(3): ERR needs a person, WARNING is degraded and retried, NOTICE tells of
 * lives and deaths, INFO of single reports and sessions, DEBUG of decisions and what they were made from. */
void log_set_level(int max_level);
void log_set_style(enum log_style style);
bool log_enabled(int level);

/* "error", "warning", "notice", "info", "debug" -> LOG_*; -EINVAL for anything else. */
int log_level_from_string(const char *s);

/* LOG_STYLE_PRIORITY when $JOURNAL_STREAM names standard error (systemd.exec(5)), else LOG_STYLE_PLAIN. */
enum log_style log_detect_style(void);

/* text with what does not belong on a terminal as \xNN, cut where the room ends; always terminated. Returns its length.
 */
size_t log_escape(char *buffer, size_t room, const char *text);

/* errno is unchanged by all of these. The _errno forms take a positive or negative errno, give it to %m, and return
 * it negative, so that `return log_error_errno(r, "Cannot open %s: %m", path);` reads as one thought. */
void log_line(int level, const char *format, ...) _printf_(2, 3);
int log_line_errno(int level, int error, const char *format, ...) _printf_(3, 4);

#define log_at(level, ...)                                                                                             \
	do {                                                                                                           \
		if (log_enabled(level))                                                                                \
			log_line(level, __VA_ARGS__);                                                                  \
	} while (0)
#define log_error(...) log_at(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_at(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_error_errno(error, ...) log_line_errno(LOG_ERR, error, __VA_ARGS__)
#define log_warning_errno(error, ...) log_line_errno(LOG_WARNING, error, __VA_ARGS__)

#endif
