/* SPDX-License-Identifier: MIT
 *
 * Entries for systemd's journal, byte by byte, and that none of them is lost where it does not take them.
 */
#include "base/entry.h"

#include "base/log.h"
#include "datagrams.h"

#include <fcntl.h>

static int stderr_reader = -EBADF;

static void setup(void)
{
	int fds[2];

	datagrams_open();
	log_set_journal(datagrams.path);
	cr_assert(eq(int, pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0));
	cr_assert(eq(int, dup2(fds[1], STDERR_FILENO), STDERR_FILENO));
	(void)close(fds[1]);
	stderr_reader = fds[0];
}

static void teardown(void)
{
	datagrams_close();
	stderr_reader = close_fd(stderr_reader);
}

TestSuite(entry, .init = setup, .fini = teardown, .timeout = 30);

static char *on_stderr(void)
{
	static char text[8192];
	ssize_t n = read(stderr_reader, text, sizeof(text) - 1);

	text[MAX(n, 0)] = 0;
	return text;
}

static void log_a_death(void)
{
	struct log_entry e;

	log_entry_begin(&e, LOG_WARNING, LOG_ID_DEATH);
	log_entry_field(&e, "CHARGEHAND_WORKER", "%s.%d", "mail", 1);
	log_entry_field(&e, "CHARGEHAND_JID", "%s", "a");
	log_entry_field(&e, "CHARGEHAND_JID", "%s", "b");
	log_entry_end(&e, "%s has died", "mail.1");
}

Test(entry, goes_to_the_journal_with_its_fields_and_not_to_standard_error)
{
	log_a_death();
	cr_expect(eq(str, datagrams_next(),
		     "PRIORITY=4\nSYSLOG_IDENTIFIER=chargehand\nMESSAGE_ID=" LOG_ID_DEATH
		     "\nCHARGEHAND_WORKER=mail.1\nCHARGEHAND_JID=a\nCHARGEHAND_JID=b\nMESSAGE=mail.1 has died\n"));
	cr_expect(eq(str, on_stderr(), ""));
}

Test(entry, a_value_of_several_lines_has_its_length_in_front)
{
	static const char expected[] = "PRIORITY=5\nSYSLOG_IDENTIFIER=chargehand\n"
				       "F\n\x03\0\0\0\0\0\0\0a\nb\nMESSAGE=line\\x0As\n";
	struct log_entry e;

	log_entry_begin(&e, LOG_NOTICE, NULL);
	log_entry_field(&e, "F", "%s", "a\nb");
	log_entry_end(&e, "line\ns");
	(void)datagrams_next();
	cr_assert(eq(sz, (size_t)datagrams.bytes, sizeof(expected) - 1));
	cr_expect(eq(int, memcmp(datagrams.text, expected, sizeof(expected) - 1), 0));
}

Test(entry, lines_without_fields_go_the_same_way_and_stay_in_order)
{
	log_notice("before\x1b");
	log_a_death();
	(void)log_error_errno(ENOENT, "after: %m");
	cr_expect(eq(str, datagrams_next(), "PRIORITY=5\nSYSLOG_IDENTIFIER=chargehand\nMESSAGE=before\\x1B\n"));
	cr_expect(not(eq(ptr, strstr(datagrams_next(), "MESSAGE=mail.1 has died\n"), NULL)));
	cr_expect(eq(str, datagrams_next(),
		     "PRIORITY=3\nSYSLOG_IDENTIFIER=chargehand\nMESSAGE=after: No such file or directory\n"));
	cr_expect(eq(str, on_stderr(), ""));
}

Test(entry, what_does_not_fit_is_left_out_but_never_the_message)
{
	struct log_entry e;
	static char text[6000];
	unsigned n = 0;

	memset(text, 'x', sizeof(text) - 1);
	log_entry_begin(&e, LOG_NOTICE, LOG_ID_DEATH);
	for (int i = 0; i < 1000; i++)
		log_entry_field(&e, "CHARGEHAND_JID", "0123456789abcdef");
	log_entry_end(&e, "%s", text);
	(void)datagrams_next();
	for (const char *p = datagrams.text; (p = strstr(p, "CHARGEHAND_JID=0123456789abcdef\n")); p++)
		n++;
	cr_expect(all(gt(uint, n, 100), lt(uint, n, 1000)));
	const char *message = strstr(datagrams.text, "\nMESSAGE=xxxx");
	cr_assert(not(eq(ptr, (void *)message, NULL)));
	cr_expect(gt(sz, strlen(message), 2000));
}

Test(entry, a_level_that_is_not_logged_is_not_sent)
{
	struct log_entry e;

	log_entry_begin(&e, LOG_INFO, NULL);
	log_entry_field(&e, "F", "x");
	log_entry_end(&e, "x");
	cr_expect(eq(str, datagrams_next(), ""));
	cr_expect(eq(str, on_stderr(), ""));
}

Test(entry, without_a_journal_it_is_a_line)
{
	log_set_journal(NULL);
	log_a_death();
	cr_expect(eq(str, on_stderr(), "chargehand: mail.1 has died\n"));
	cr_expect(eq(str, datagrams_next(), ""));
}

Test(entry, a_journal_that_is_not_there_or_not_reading_makes_it_a_line)
{
	int n = 0;

	/* As many as the kernel queues, and one more. */
	for (; n < 10000; n++) {
		log_a_death();
		char *line = on_stderr();
		if (*line) {
			cr_expect(eq(str, line, "chargehand: mail.1 has died\n"));
			break;
		}
	}
	cr_expect(lt(int, n, 10000));
	datagrams_close();
	errno = EPERM;
	log_a_death();
	cr_expect(eq(int, errno, EPERM));
	cr_expect(eq(str, on_stderr(), "chargehand: mail.1 has died\n"));
}
