/* SPDX-License-Identifier: MIT
 *
 * What reaches standard error, byte by byte, and that nothing waits for its reader. Each test has a process of its own,
 * whose standard error is put on a pipe, a socket or a file.
 */
#include "base/log.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int reader = -EBADF;

static void stderr_to(int fds[2], bool blocking_reader)
{
	reader = fds[0];
	if (!blocking_reader)
		cr_assert(eq(int, fcntl(reader, F_SETFL, O_NONBLOCK), 0));
	cr_assert(eq(int, dup2(fds[1], STDERR_FILENO), STDERR_FILENO));
	(void)close(fds[1]);
	(void)signal(SIGPIPE, SIG_IGN);
}

static void stderr_to_pipe(void)
{
	int fds[2];

	cr_assert(eq(int, pipe2(fds, O_CLOEXEC), 0));
	stderr_to(fds, false);
}

static char seen[8 * PIPE_BUF];

static char *read_all(void)
{
	ssize_t n = read(reader, seen, sizeof(seen) - 1);

	seen[n > 0 ? n : 0] = '\0';
	return seen;
}

TestSuite(log, .timeout = 30);

Test(log, plain_lines)
{
	stderr_to_pipe();
	log_notice("%s has %d sessions", "mail.1", 3);
	cr_assert(eq(str, read_all(), "chargehand: mail.1 has 3 sessions\n"));
}

Test(log, lines_with_priorities)
{
	stderr_to_pipe();
	log_set_style(LOG_STYLE_PRIORITY);
	log_error("a");
	log_warning("b");
	log_notice("c");
	cr_assert(eq(str, read_all(), "<3>a\n<4>b\n<5>c\n"));
}

Test(log, levels_below_the_set_one_are_not_even_evaluated)
{
	int evaluated = 0;

	stderr_to_pipe();
	log_info("%d", ++evaluated);
	log_set_level(LOG_ERR);
	log_warning("%d", ++evaluated);
	cr_assert(eq(int, log_warning_errno(ENOENT, "x"), -ENOENT));
	cr_assert(eq(int, evaluated, 0));
	cr_assert(eq(str, read_all(), ""));
	log_set_level(LOG_DEBUG);
	log_debug("%d", ++evaluated);
	cr_assert(eq(str, read_all(), "chargehand: 1\n"));
}

Test(log, level_names)
{
	cr_assert(eq(int, log_level_from_string("error"), LOG_ERR));
	cr_assert(eq(int, log_level_from_string("warning"), LOG_WARNING));
	cr_assert(eq(int, log_level_from_string("notice"), LOG_NOTICE));
	cr_assert(eq(int, log_level_from_string("info"), LOG_INFO));
	cr_assert(eq(int, log_level_from_string("debug"), LOG_DEBUG));
	cr_assert(eq(int, log_level_from_string("Debug"), -EINVAL));
	cr_assert(eq(int, log_level_from_string(""), -EINVAL));
}

Test(log, errno_is_given_to_percent_m_and_kept)
{
	stderr_to_pipe();
	errno = EPERM;
	cr_assert(eq(int, log_error_errno(-ENOENT, "Cannot open %s: %m", "f"), -ENOENT));
	cr_assert(eq(int, errno, EPERM));
	cr_assert(eq(int, log_error_errno(ENOENT, "again: %m"), -ENOENT));
	cr_assert(eq(int, errno, EPERM));
	cr_assert(eq(str, read_all(),
		     "chargehand: Cannot open f: No such file or directory\nchargehand: again: No such file or "
		     "directory\n"));
}

Test(log, bytes_that_do_not_belong_on_a_terminal_are_escaped)
{
	static const char *const rows[][2] = {
		{"a\tb\nc\r\x1b[31m\x7f", "a\\x09b\\x0Ac\\x0D\\x1B[31m\\x7F"},
		{"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
		 "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"\xff", "\\xFF"},
		{"\xc3", "\\xC3"},
		{"\xc3(", "\\xC3("},
		{"\xc0\x80", "\\xC0\\x80"},          /* overlong */
		{"\xe0\x80\x80", "\\xE0\\x80\\x80"}, /* overlong */
		{"\xf0\x80\x80\x80", "\\xF0\\x80\\x80\\x80"},
		{"\xed\xa0\x80", "\\xED\\xA0\\x80"},          /* surrogate */
		{"\xf4\x90\x80\x80", "\\xF4\\x90\\x80\\x80"}, /* above U+10FFFF */
		{"\xc2\x9b", "\\xC2\\x9B"},                   /* C1: a terminal's CSI */
		{"\xe2\x82", "\\xE2\\x82"},
	};

	stderr_to_pipe();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char expected[128];
		log_notice("%s", rows[i][0]);
		(void)snprintf(expected, sizeof(expected), "chargehand: %s\n", rows[i][1]);
		cr_assert(eq(str, read_all(), expected), "row %zu", i);
	}
}

Test(log, a_long_line_is_cut_and_still_one_line)
{
	static char text[3 * PIPE_BUF];

	stderr_to_pipe();
	memset(text, '\x01', sizeof(text) - 1);
	log_notice("%s", text);
	size_t n = strlen(read_all());
	cr_assert(all(le(sz, n, PIPE_BUF), gt(sz, n, PIPE_BUF - 8)));
	cr_assert(eq(ptr, strchr(seen, '\n'), seen + n - 1));
}

/* The reader has stopped: lines are lost, and the first one that gets through says how many. */
static void check_drops(void)
{
	int n_logged = 0;
	size_t n_read = 0, n;

	for (; n_logged < 20000; n_logged++)
		log_notice("line %d of many, long enough to fill what lies between in a moment", n_logged);
	while ((n = strlen(read_all())) > 0)
		for (size_t i = 0; i < n; i++)
			n_read += seen[i] == '\n';
	cr_assert(all(gt(sz, n_read, 10), lt(sz, n_read, 20000)));
	log_notice("back");
	char expected[128];
	(void)snprintf(expected, sizeof(expected),
		       "chargehand: %zu lines of this log were lost: nobody read them\nchargehand: back\n",
		       20000 - n_read);
	cr_assert(eq(str, read_all(), expected));
	log_notice("once");
	cr_assert(eq(str, read_all(), "chargehand: once\n"));
}

Test(log, a_full_pipe_costs_lines_not_time)
{
	stderr_to_pipe();
	check_drops();
}

Test(log, a_full_socket_costs_lines_not_time)
{
	int fds[2];

	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0));
	stderr_to(fds, false);
	check_drops();
}

Test(log, others_flags_stay_as_they_are)
{
	stderr_to_pipe();
	log_notice("x");
	cr_assert(eq(int, fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0));
}

Test(log, a_reader_that_went_away_is_no_error)
{
	stderr_to_pipe();
	log_notice("x");
	(void)close(reader);
	log_notice("y");
	stderr_to_pipe();
	log_notice("z");
	cr_assert(eq(str, read_all(), "chargehand: 1 lines of this log were lost: nobody read them\nchargehand: z\n"));
}

Test(log, style_follows_the_journal)
{
	struct stat st;
	char stream[64];

	stderr_to_pipe();
	cr_assert(eq(int, fstat(STDERR_FILENO, &st), 0));
	(void)unsetenv("JOURNAL_STREAM");
	cr_assert(eq(int, log_detect_style(), LOG_STYLE_PLAIN));
	(void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	(void)setenv("JOURNAL_STREAM", stream, 1);
	cr_assert(eq(int, log_detect_style(), LOG_STYLE_PRIORITY));
	(void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + 1);
	(void)setenv("JOURNAL_STREAM", stream, 1);
	cr_assert(eq(int, log_detect_style(), LOG_STYLE_PLAIN));
	(void)setenv("JOURNAL_STREAM", "nonsense", 1);
	cr_assert(eq(int, log_detect_style(), LOG_STYLE_PLAIN));
}
