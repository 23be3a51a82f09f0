/* SPDX-License-Identifier: MIT
 *
 * Formats one line into a buffer of PIPE_BUF bytes and writes it with one system call that does not wait.
 *
 * Standard error may be shared, with workers' standard output above all, so O_NONBLOCK must not be set on it: it
 * belongs to the open file, not to the descriptor. Sockets have MSG_DONTWAIT; pipes and terminals are opened once more
 * through /proc, which gives an open file of chargehand's own. Where that is refused (another user's terminal),
 * poll(2) says whether a write of PIPE_BUF bytes would wait: right unless another writer is faster.
 */
#include "base/log.h"
#include "base/entry.h"
#include "base/macro.h"
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Room for the text before its escapes; the end of a longer one is cut off. */
#define LOG_TEXT_MAX 2048

static struct {
	int max_level;
	enum log_style style;
	uint64_t n_lost;
	/* An open file of our own on what standard error is, while that is the same file. */
	int own_fd;
	dev_t own_dev;
	ino_t own_ino;
} state = {.max_level = LOG_NOTICE, .own_fd = -EBADF};

static const struct {
	const char *name;
	int level;
} level_names[] = {
	{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"notice", LOG_NOTICE}, {"info", LOG_INFO}, {"debug", LOG_DEBUG},
};

void log_set_level(int max_level)
{
	state.max_level = max_level;
}

void log_set_style(enum log_style style)
{
	state.style = style;
}

bool log_enabled(int level)
{
	return level <= state.max_level;
}

int log_level_from_string(const char *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++)
		if (strcmp(s, level_names[i].name) == 0)
			return level_names[i].level;
	return -EINVAL;
}

enum log_style log_detect_style(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	char *end;

	/* "DEVICE:INODE" in decimal (systemd.exec(5)). A variable that was inherited past a redirection names
	 * another file. */
	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return LOG_STYLE_PLAIN;
	dev = strtoull(stream, &end, 10);
	ino = *end == ':' ? strtoull(end + 1, &end, 10) : 0;
	return st.st_dev == dev && st.st_ino == ino ? LOG_STYLE_PRIORITY : LOG_STYLE_PLAIN;
}

/* The length of the printable character at s, or 0 when its first byte is to be escaped: a control (C1 too), or no
 * valid UTF-8 (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF). */
static size_t printable_length(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	uint32_t c;
	size_t n;

	if (p[0] < 0x80)
		return p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		n = 2;
		c = p[0] & 0x1fU;
	} else if ((p[0] & 0xf0) == 0xe0) {
		n = 3;
		c = p[0] & 0x0fU;
	} else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		n = 4;
		c = p[0] & 0x07U;
	} else {
		return 0;
	}
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fU);
	}
	if (c < 0xa0 || (n == 3 && c < 0x800) || (c >= 0xd800 && c <= 0xdfff) || (n == 4 && c < 0x10000) ||
	    c > 0x10ffff)
		return 0;
	return n;
}

size_t log_escape(char *buffer, size_t room, const char *text)
{
	size_t used = 0;

	while (*text) {
		size_t n = printable_length(text);
		if (used + MAX(n, (size_t)4) + 1 > room)
			break;
		if (n == 0) {
			(void)snprintf(buffer + used, 5, "\\x%02X", (unsigned char)*text);
			used += 4;
			text++;
		} else {
			memcpy(buffer + used, text, n);
			used += n;
			text += n;
		}
	}
	buffer[used] = 0;
	return used;
}

static size_t append_line(char *line, size_t used, size_t room, int level, const char *text)
{
	int n;

	if (state.style == LOG_STYLE_PRIORITY)
		n = snprintf(line + used, room - used, "<%d>", level);
	else
		n = snprintf(line + used, room - used, "chargehand: ");
	used += (size_t)n;
	used += log_escape(line + used, room - used, text);
	line[used++] = '\n';
	return used;
}

/* The open file of our own, or standard error itself, which then may have to be waited for. */
static int own_descriptor(const struct stat *st)
{
	if (state.own_fd < 0 || st->st_dev != state.own_dev || st->st_ino != state.own_ino) {
		state.own_fd = close_fd(state.own_fd);
		state.own_fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		state.own_dev = st->st_dev;
		state.own_ino = st->st_ino;
	}
	return state.own_fd;
}

static bool write_line(const char *line, size_t bytes)
{
	struct stat st;
	int fd = STDERR_FILENO;

	if (fstat(STDERR_FILENO, &st) < 0)
		return false;
	if (S_ISSOCK(st.st_mode))
		return send(STDERR_FILENO, line, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)bytes;
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
		fd = own_descriptor(&st);
		if (fd < 0) {
			struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
			fd = STDERR_FILENO;
			if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) || p.revents & POLLERR)
				return false;
		}
	}
	return write(fd, line, bytes) == (ssize_t)bytes;
}

_printf_(2, 0) static void log_line_va(int level, const char *format, va_list ap)
{
	char text[LOG_TEXT_MAX], line[PIPE_BUF], lost[96];
	size_t used = 0;

	(void)vsnprintf(text, sizeof(text), format, ap);
	(void)snprintf(lost, sizeof(lost), "%" PRIu64 " lines of this log were lost: nobody read them", state.n_lost);
	if ((state.n_lost == 0 || log_entry_send(LOG_WARNING, lost)) && log_entry_send(level, text)) {
		state.n_lost = 0;
		return;
	}
	if (state.n_lost > 0)
		used = append_line(line, 0, sizeof(line), LOG_WARNING, lost);
	used = append_line(line, used, sizeof(line), level, text);
	if (write_line(line, used))
		state.n_lost = 0;
	else
		state.n_lost++;
}

void log_line(int level, const char *format, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, format);
	log_line_va(level, format, ap);
	va_end(ap);
	errno = saved;
}

int log_line_errno(int level, int error, const char *format, ...)
{
	int saved = errno;
	va_list ap;

	if (error < 0)
		error = -error;
	if (log_enabled(level)) {
		va_start(ap, format);
		errno = error;
		log_line_va(level, format, ap);
		va_end(ap);
	}
	errno = saved;
	return -error;
}
