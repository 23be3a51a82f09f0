/* SPDX-License-Identifier: MIT
 *
 * One entry is one datagram: "NAME=value\n" for each field, or, where the value has a line end in it, "NAME\n", the
 * value's length in eight bytes, low byte first, the value, "\n".
 */
#include "base/entry.h"

#include "base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LINE_MAX_BYTES 2048
#define MESSAGE_ROOM (LINE_MAX_BYTES + 64) /* no other field takes it */
static_assert(MESSAGE_ROOM < LOG_ENTRY_BYTES / 2, "fields have room");

static const char *journal_path;
static int journal_fd = -EBADF;

void log_set_journal(const char *socket_path)
{
	journal_path = socket_path;
}

static void put(struct log_entry *e, const void *p, size_t bytes)
{
	memcpy(e->text + e->bytes, p, bytes);
	e->bytes += bytes;
}

static void put_field(struct log_entry *e, const char *name, const char *value, size_t reserved_bytes)
{
	size_t name_bytes = strlen(name), bytes = strlen(value);
	unsigned char length[8];

	if (e->bytes + name_bytes + STRLEN("\n") + sizeof(length) + bytes + STRLEN("\n") + reserved_bytes >
	    sizeof(e->text))
		return;
	put(e, name, name_bytes);
	if (strchr(value, '\n')) {
		for (size_t i = 0; i < sizeof(length); i++)
			length[i] = (unsigned char)((uint64_t)bytes >> (8 * i));
		put(e, "\n", 1);
		put(e, length, sizeof(length));
	} else {
		put(e, "=", 1);
	}
	put(e, value, bytes);
	put(e, "\n", 1);
}

void log_entry_begin(struct log_entry *e, int level, const char *id)
{
	char priority[] = {(char)('0' + level), 0};

	/* Not all of it: the text is long, and is written before it is read. */
	e->level = level;
	e->enabled = log_enabled(level);
	e->wanted = e->enabled && journal_path;
	e->bytes = 0;
	if (!e->wanted)
		return;
	put_field(e, "PRIORITY", priority, MESSAGE_ROOM);
	put_field(e, "SYSLOG_IDENTIFIER", "chargehand", MESSAGE_ROOM);
	if (id)
		put_field(e, "MESSAGE_ID", id, MESSAGE_ROOM);
}

void log_entry_field(struct log_entry *e, const char *name, const char *format, ...)
{
	char value[LINE_MAX_BYTES];
	va_list ap;

	if (!e->wanted)
		return;
	va_start(ap, format);
	(void)vsnprintf(value, sizeof(value), format, ap);
	va_end(ap);
	put_field(e, name, value, MESSAGE_ROOM);
}

/* The address each time: the journal may be restarted, and there are not many entries. */
static bool send_to_journal(const char *p, size_t bytes)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t n = strlen(journal_path);

	if (n >= sizeof(address.sun_path))
		return false;
	memcpy(address.sun_path, journal_path, n);
	if (journal_fd < 0)
		journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return journal_fd >= 0 &&
	       sendto(journal_fd, p, bytes, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1)) == (ssize_t)bytes;
}

static bool send_with_message(struct log_entry *e, const char *text)
{
	char message[LINE_MAX_BYTES];

	(void)log_escape(message, sizeof(message), text);
	put_field(e, "MESSAGE", message, 0);
	return send_to_journal(e->text, e->bytes);
}

bool log_entry_send(int level, const char *text)
{
	struct log_entry e;

	log_entry_begin(&e, level, NULL);
	return e.wanted && send_with_message(&e, text);
}

void log_entry_end(struct log_entry *e, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	va_list ap;

	if (!e->enabled)
		return;
	va_start(ap, format);
	(void)vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (!e->wanted || !send_with_message(e, line))
		log_line(e->level, "%s", line);
	errno = saved;
}
