/* SPDX-License-Identifier: MIT */
#include "link/lookup.h"

#include "dns.h"
#include "loop.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <string.h>

static struct event_base *base;
static struct dns dns;
static struct lookup *lookup;
static unsigned n_answers;
static int answer_error;
static char answer[256];
static bool in_start;

static void on_answer(struct evutil_addrinfo *addresses, int error, const char *what, _unused_ void *userdata)
{
	size_t n = 0;

	cr_assert_not(in_start, "called back out of lookup_start()");
	n_answers++;
	lookup = NULL;
	answer[0] = '\0';
	if (!addresses) {
		answer_error = error;
		cr_assert_lt(error, 0);
		snprintf(answer, sizeof(answer), "%s", what);
		return;
	}
	for (const struct evutil_addrinfo *a = addresses; a; a = a->ai_next) {
		char text[INET6_ADDRSTRLEN];
		const struct sockaddr_in *sin = (const struct sockaddr_in *)a->ai_addr;
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)a->ai_addr;
		bool six = a->ai_family == AF_INET6;

		cr_assert_eq(ntohs(six ? sin6->sin6_port : sin->sin_port), 7419);
		cr_assert_not_null(inet_ntop(a->ai_family, six ? (const void *)&sin6->sin6_addr : &sin->sin_addr, text,
					     sizeof(text)));
		n += (size_t)snprintf(answer + n, sizeof(answer) - n, "%s ", text);
	}
	evutil_freeaddrinfo(addresses);
}

static void start(const char *host)
{
	in_start = true;
	cr_assert_eq(lookup_start(base, dns.resolv_conf, host, "7419", on_answer, NULL, &lookup), 0);
	in_start = false;
}

static unsigned n_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void setup(void)
{
	base = event_base_new();
	cr_assert_not_null(base);
	dns_start(&dns, base);
}

static void teardown(void)
{
	dns_stop(&dns);
	event_base_free(base);
}

TestSuite(lookup, .init = setup, .fini = teardown, .timeout = 60);

Test(lookup, gives_all_addresses_of_both_families)
{
	dns.v4 = dns.v6 = DNS_ADDRESS;
	dns.v4_addresses[0] = "192.0.2.1";
	dns.v4_addresses[1] = "192.0.2.2";
	dns.v6_addresses[0] = "2001:db8::1";
	start("faktory.example");
	LOOP_UNTIL(base, n_answers > 0);
	cr_assert_not_null(strstr(answer, "192.0.2.1 192.0.2.2 "), "%s", answer);
	cr_assert_not_null(strstr(answer, "2001:db8::1 "), "%s", answer);
	cr_assert_eq(strlen(answer), strlen("192.0.2.1 192.0.2.2 2001:db8::1 "));
}

Test(lookup, an_unanswered_question_for_one_family_does_not_hold_up_the_other)
{
	usec_t before = clock_now_usec();

	dns.v4 = DNS_ADDRESS;
	dns.v4_addresses[0] = "192.0.2.1";
	dns.v6 = DNS_NOTHING;
	start("faktory.example");
	LOOP_UNTIL(base, n_answers > 0);
	cr_assert_str_eq(answer, "192.0.2.1 ");
	/* evdns would wait for three seconds. */
	cr_assert_lt(clock_now_usec() - before, 2 * USEC_PER_SEC);
	loop_drain(base); /* its own cancellation comes now, and looks at its base */
	cr_assert_eq(n_answers, 1);
}

Test(lookup, a_name_that_does_not_exist_is_an_error)
{
	dns.v4 = dns.v6 = DNS_NO_SUCH_NAME;
	start("faktory.example");
	LOOP_UNTIL(base, n_answers > 0);
	cr_assert_eq(answer_error, -ENOENT);
	cr_assert_str_eq(answer, "no such host name");
}

Test(lookup, a_name_without_address_is_an_error)
{
	start("faktory.example");
	LOOP_UNTIL(base, n_answers > 0);
	cr_assert_lt(answer_error, 0);
}

Test(lookup, a_silent_name_server_is_an_error_in_the_end)
{
	dns.v4 = dns.v6 = DNS_NOTHING;
	start("faktory.example");
	LOOP_UNTIL(base, n_answers > 0);
	cr_assert_eq(answer_error, -EHOSTUNREACH, "%d", answer_error);
	cr_assert_geq(dns.n_questions, 4, "each question was asked once only");
}

Test(lookup, localhost_is_known_without_a_name_server)
{
	start("localhost");
	LOOP_UNTIL(base, n_answers > 0);
	cr_assert(strstr(answer, "127.0.0.1 ") || strstr(answer, "::1 "), "%s", answer);
	cr_assert_eq(dns.n_questions, 0);
}

Test(lookup, goes_without_a_resolv_conf)
{
	in_start = true;
	cr_assert_eq(lookup_start(base, "/nonexistent/resolv.conf", "localhost", "7419", on_answer, NULL, &lookup), 0);
	in_start = false;
	LOOP_UNTIL(base, n_answers > 0);
	cr_assert(strstr(answer, "127.0.0.1 ") || strstr(answer, "::1 "), "%s", answer);
}

Test(lookup, reads_resolv_conf_anew_each_time)
{
	dns.v4 = DNS_ADDRESS;
	dns.v4_addresses[0] = "192.0.2.1";
	start("faktory.example");
	LOOP_UNTIL(base, n_answers == 1);

	struct dns other;
	dns_start(&other, base);
	other.v4 = DNS_ADDRESS;
	other.v4_addresses[0] = "192.0.2.9";
	cr_assert_eq(rename(other.resolv_conf, dns.resolv_conf), 0);
	start("faktory.example");
	LOOP_UNTIL(base, n_answers == 2);
	cr_assert_str_eq(answer, "192.0.2.9 ");
	dns_stop(&other);
}

Test(lookup, leaves_nothing_behind)
{
	loop_drain(base);
	unsigned before = n_descriptors();

	dns.v4 = DNS_ADDRESS;
	dns.v4_addresses[0] = "192.0.2.1";
	start("faktory.example");
	cr_assert_gt(n_descriptors(), before, "no test: it has no socket");
	LOOP_UNTIL(base, n_answers > 0);
	loop_drain(base);
	cr_assert_eq(n_descriptors(), before);
	event_del(dns.event);
	cr_assert_eq(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 0, "something will wake up");
}

Test(lookup, cancelled_it_is_silent)
{
	unsigned before = n_descriptors();

	dns.v4 = dns.v6 = DNS_NOTHING;
	start("faktory.example");
	LOOP_UNTIL(base, dns.n_questions > 0);
	lookup = lookup_cancel(lookup);
	loop_drain(base); /* at once, not when its time is over */
	cr_assert_eq(n_descriptors(), before);
	cr_assert_eq(n_answers, 0);
}

Test(lookup, cancelled_with_one_half_answered_it_is_silent)
{
	unsigned before = n_descriptors();

	dns.v4 = DNS_ADDRESS;
	dns.v4_addresses[0] = "192.0.2.1";
	dns.v6 = DNS_NOTHING;
	start("faktory.example");
	LOOP_UNTIL(base, dns.n_questions == 2);
	loop_drain(base);
	cr_assert_eq(n_answers, 0);
	lookup = lookup_cancel(lookup);
	loop_drain(base); /* at once, not when its time is over */
	cr_assert_eq(n_descriptors(), before);
	cr_assert_eq(n_answers, 0);
}

Test(lookup, cancelled_before_and_after_its_answer_it_is_silent)
{
	unsigned before = n_descriptors();

	start("localhost"); /* known at once, told later */
	lookup = lookup_cancel(lookup);
	start("faktory.example");
	lookup = lookup_cancel(lookup);
	loop_drain(base); /* at once, not when its time is over */
	cr_assert_eq(n_descriptors(), before);
	cr_assert_eq(n_answers, 0);
	cr_assert_null(lookup_cancel(NULL));
}
