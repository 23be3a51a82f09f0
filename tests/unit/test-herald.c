/* SPDX-License-Identifier: MIT
 *
 * What a service manager hears, and when; and the line for people.
 */
#include "supervise/herald.h"

#include "datagrams.h"
#include "loop.h"

static struct event_base *base;
static struct herald *herald;
static char socket_entry[96], usec_entry[64], pid_entry[64];
static char *envp[] = {socket_entry, usec_entry, pid_entry, NULL};
static struct news news;
static usec_t ready_usec = USEC_PER_HOUR;

static void setup(void)
{
	datagrams_open();
	(void)snprintf(socket_entry, sizeof(socket_entry), "NOTIFY_SOCKET=%s", datagrams.path);
	strcpy(usec_entry, "X=");
	strcpy(pid_entry, "Y=");
	base = event_base_new();
	news = (struct news){.n_slots = 2, .n_running = 2, .n_left = 2};
}

static void teardown(void)
{
	herald = herald_free(herald);
	event_base_free(base);
	datagrams_close();
}

TestSuite(herald, .init = setup, .fini = teardown, .timeout = 60);

static void open_herald(void)
{
	cr_assert(eq(int, herald_new(base, envp, ready_usec, &herald), 0));
	cr_assert(not(eq(ptr, herald, NULL)));
}

static char *tell(void)
{
	herald_tell(herald, &news);
	return datagrams_next();
}

static char *wait_for_next(void)
{
	char *text = "";

	LOOP_UNTIL(base, *(text = datagrams_next()));
	return text;
}

Test(herald, nobody_wants_to_know)
{
	socket_entry[0] = 'X';
	cr_assert(eq(int, herald_new(base, envp, ready_usec, &herald), 0));
	cr_assert(eq(ptr, herald, NULL));
	herald_tell(herald, &news);
	herald_begin_reload(herald);
	herald_end_reload(herald);
	cr_expect(eq(int, event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0));
}

Test(herald, an_address_that_cannot_be_used)
{
	strcpy(socket_entry, "NOTIFY_SOCKET=vsock:2:1234");
	cr_expect(eq(int, herald_new(base, envp, ready_usec, &herald), -EAFNOSUPPORT));
	cr_expect(eq(ptr, herald, NULL));
}

Test(herald, ready_when_every_worker_has_said_hello)
{
	open_herald();
	cr_expect(eq(str, tell(), "STATUS=2 of 2 workers running, 2 without HELLO so far\n"));
	news.n_greeted = 1;
	cr_expect(eq(str, tell(), ""));
	news.n_greeted = 2;
	cr_expect(eq(str, tell(), "READY=1\nSTATUS=2 of 2 workers running\n"));
	cr_expect(eq(str, tell(), ""));
	/* Once is enough. */
	news.n_greeted = 1;
	(void)tell();
	news.n_greeted = 2;
	(void)tell();
	cr_expect(eq(str, wait_for_next(), "STATUS=2 of 2 workers running\n"));
}

Test(herald, ready_when_the_time_has_passed)
{
	usec_t begin = clock_now_usec();

	ready_usec = 100 * USEC_PER_MSEC;
	open_herald();
	(void)tell();
	LOOP_UNTIL(base, *tell());
	cr_expect(eq(str, datagrams.text, "READY=1\n"));
	cr_expect(ge(u64, clock_now_usec() - begin, 90 * USEC_PER_MSEC));
}

Test(herald, a_status_that_changes_often_is_told_once_a_second)
{
	usec_t begin = clock_now_usec();
	unsigned n = 0;

	open_herald();
	news.n_greeted = 2;
	cr_expect(eq(str, tell(), "READY=1\nSTATUS=2 of 2 workers running\n"));
	while (n < 2) {
		news.n_deaths++;
		herald_tell(herald, &news);
		n += *datagrams_next() != 0;
		cr_assert(lt(u64, clock_now_usec(), begin + LOOP_PATIENCE_USEC));
		loop_turn(base);
	}
	cr_expect(ge(u64, clock_now_usec() - begin, 2 * USEC_PER_SEC - 10 * USEC_PER_MSEC));
	/* The last state is told in the end, and then nothing waits. */
	herald_tell(herald, &news);
	char expected[128];
	(void)snprintf(expected, sizeof(expected), "STATUS=2 of 2 workers running; %ju deaths since the start\n",
		       (uintmax_t)news.n_deaths);
	char *last = datagrams.text;
	if (strcmp(last, expected) != 0)
		last = wait_for_next();
	cr_expect(eq(str, last, expected));
	cr_expect(eq(int, event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0));
}

Test(herald, a_stop_goes_on_for_as_long_as_it_is_told)
{
	open_herald();
	(void)tell();
	news.stopping = true;
	news.n_holds = 5;
	cr_expect(eq(str, tell(),
		     "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000\nSTATUS=Stopping: 2 workers left, 5 jobs in hand\n"));
	news.n_greeted = 2;
	cr_expect(eq(str, tell(), "")); /* a HELLO now makes nothing ready */
	cr_expect(eq(str, wait_for_next(), "EXTEND_TIMEOUT_USEC=20000000\n"));
	herald_begin_reload(herald);
	cr_expect(eq(str, datagrams_next(), ""));
}

Test(herald, a_reload_is_two_datagrams)
{
	open_herald();
	(void)tell();
	herald_begin_reload(herald);
	herald_end_reload(herald);
	cr_expect(eq(str, datagrams_next(), "")); /* it would make a unit ready that is not */
	news.n_greeted = 2;
	(void)tell();
	usec_t before = clock_monotonic_usec();
	herald_begin_reload(herald);
	usec_t told;
	cr_assert(eq(int, sscanf(datagrams_next(), "RELOADING=1\nMONOTONIC_USEC=%lu\n", &told), 1));
	cr_expect(all(ge(u64, told, before), le(u64, told, clock_monotonic_usec())));
	herald_end_reload(herald);
	cr_expect(eq(str, datagrams_next(), "READY=1\n"));
}

Test(herald, the_watchdog_hears_twice_in_its_time)
{
	usec_t begin = clock_now_usec();

	strcpy(usec_entry, "WATCHDOG_USEC=200000");
	(void)snprintf(pid_entry, sizeof(pid_entry), "WATCHDOG_PID=%d", getpid());
	open_herald();
	cr_expect(eq(str, wait_for_next(), "WATCHDOG=1\n"));
	cr_expect(eq(str, wait_for_next(), "WATCHDOG=1\n"));
	cr_expect(ge(u64, clock_now_usec() - begin, 190 * USEC_PER_MSEC));
}

Test(herald, a_watchdog_of_others_is_none_of_ours)
{
	strcpy(usec_entry, "WATCHDOG_USEC=200000");
	cr_expect(eq(u64, herald_watchdog_usec(envp), 200000));
	strcpy(pid_entry, "WATCHDOG_PID=1");
	cr_expect(eq(u64, herald_watchdog_usec(envp), USEC_NEVER));
	strcpy(pid_entry, "WATCHDOG_PID=x");
	cr_expect(eq(u64, herald_watchdog_usec(envp), USEC_NEVER));
	strcpy(pid_entry, "Y=");
	strcpy(usec_entry, "WATCHDOG_USEC=0");
	cr_expect(eq(u64, herald_watchdog_usec(envp), USEC_NEVER));
	strcpy(usec_entry, "X=");
	cr_expect(eq(u64, herald_watchdog_usec(envp), USEC_NEVER));
}

Test(herald, a_manager_that_does_not_read_is_told_later_and_nothing_is_forgotten)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), n = 0;

	strcpy(address.sun_path, datagrams.path);
	while (sendto(fd, "x", 1, 0, (const struct sockaddr *)&address, sizeof(address)) == 1)
		n++;
	cr_assert(gt(int, n, 0));
	open_herald();
	herald_tell(herald, &news);
	news.n_greeted = 2;
	herald_tell(herald, &news);
	for (; n > 0; n--)
		cr_assert(eq(str, datagrams_next(), "x"));
	cr_expect(eq(str, datagrams_next(), ""));
	cr_expect(eq(str, wait_for_next(), "READY=1\nSTATUS=2 of 2 workers running\n"));
	close(fd);
}

Test(herald, a_manager_that_is_gone)
{
	open_herald();
	(void)unlink(datagrams.path);
	news.n_greeted = 2;
	herald_tell(herald, &news);
	cr_expect(eq(int, event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0));
}

/* ---- the line */

Test(news, lines)
{
	static const struct {
		struct news news;
		const char *text;
	} rows[] = {
		{{.n_slots = 1, .n_running = 1, .n_greeted = 1}, "1 of 1 worker running"},
		{{.n_slots = 4, .n_running = 3, .n_greeted = 1}, "3 of 4 workers running, 2 without HELLO so far"},
		{{.n_slots = 2, .n_running = 2, .n_greeted = 2, .n_holds = 7}, "2 of 2 workers running"},
		{{.n_slots = 2, .n_running = 2, .n_greeted = 2, .n_holds = 1, .quiet = true},
		 "2 of 2 workers running; quiet, 1 job in hand"},
		{{.n_slots = 2, .n_running = 2, .n_left = 3, .n_holds = 7, .stopping = true, .quiet = true},
		 "Stopping: 3 workers left, 7 jobs in hand"},
		{{.n_slots = 1, .n_running = 1, .n_greeted = 1, .server_away = true, .n_deaths = 1, .n_lost = 25},
		 "1 of 1 worker running; the server is away; 1 death since the start; 25 jobs FAILed"},
		{{.n_slots = 1, .n_running = 1, .n_greeted = 1, .journal_failing = true, .place = "no cgroups"},
		 "1 of 1 worker running; the journal cannot be written; no cgroups"},
		{{.n_slots = 1, .n_left = 1, .stopping = true, .place = "no cgroups"},
		 "Stopping: 1 worker left, 0 jobs in hand"},
		{{.n_slots = 1, .n_running = 1, .n_greeted = 1, .n_vanishing = 1},
		 "1 of 1 worker running; 1 job will vanish at the server"},
		{{.n_slots = 1, .n_running = 1, .n_greeted = 1, .n_outlived = 1},
		 "1 of 1 worker running; 1 process killed for lack of memory, outlived by its worker"},
		{{.n_slots = 1, .n_running = 1, .n_greeted = 1, .n_outlived = 2},
		 "1 of 1 worker running; 2 processes killed for lack of memory, outlived by their workers"},
	};
	char buffer[NEWS_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect(eq(str, news_format(&rows[i].news, buffer), (char *)rows[i].text));
}

Test(news, what_is_not_told_is_no_difference)
{
	struct news a = {.n_slots = 1, .n_holds = 1, .n_left = 1}, b = a;

	b.n_holds = 2;
	b.n_left = 2;
	cr_expect(news_is_same(&a, &b));
	a.quiet = b.quiet = true;
	cr_expect(not(news_is_same(&a, &b)));
	b.n_holds = 1;
	cr_expect(news_is_same(&a, &b));
	a.stopping = b.stopping = true;
	cr_expect(not(news_is_same(&a, &b)));
	b.n_left = 1;
	b.n_running = b.n_greeted = 1;
	cr_expect(news_is_same(&a, &b));
	a.stopping = false;
	for (size_t i = 0; i < 6; i++) {
		unsigned *const fields[] = {&b.n_slots, &b.n_running, &b.n_greeted};
		uint64_t *const totals[] = {&b.n_deaths, &b.n_lost};
		b = a;
		if (i < 3)
			(*fields[i])++;
		else if (i < 5)
			(*totals[i - 3])++;
		else
			b.server_away = true;
		cr_expect(not(news_is_same(&a, &b)), "%zu", i);
	}
}
