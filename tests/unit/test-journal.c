/* SPDX-License-Identifier: MIT
 *
 * What the next chargehand finds: after each step of a history, after a cut at each byte, after a flip of each byte,
 * after a kill at any moment; and the end of another version's, another server's and another boot's journal.
 */
#include "journal-model.h"

#include "ledger/checksum.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

TestSuite(journal, .init = open_dir, .fini = close_dir, .timeout = 120);

Test(journal, each_prefix_of_a_history_is_found)
{
	struct journal *j = open_journal();
	struct model m = {.seed = 1};

	for (unsigned i = 0; i < 1500; i++) {
		step(&m, j);
		expect_next_finds(&m, "after step", i);
	}
	journal_close(j);
}

/* Also while the file is being rewritten, at every stage of that. */
Test(journal, each_prefix_is_found_while_it_is_rewritten)
{
	struct journal *j = open_journal();
	struct model m = {.seed = 2, .n_others = 400};
	uint64_t rewrites = 0;
	unsigned checks = 0, left = 0;

	/* Enough that a rewrite takes a number of turns. */
	for (size_t i = 0; i < m.n_others; i++)
		(void)add_hold(j, "jid-that-stays", NULL);
	for (unsigned i = 0; i < 60000; i++) {
		step(&m, j);
		if (dice(&m, 3) == 0)
			(void)journal_work(j, clock_now_usec());
		/* Just after the new file has become the journal, and now and then. */
		if (status_of(j).n_rewrites != rewrites)
			left = 30;
		rewrites = status_of(j).n_rewrites;
		if (left > 0 || i % 100 == 0) {
			expect_next_finds(&m, "in a rewrite after step", i);
			left -= left > 0;
			checks++;
		}
	}
	cr_expect(gt(u64, status_of(j).n_rewrites, 3));
	cr_expect(gt(uint, checks, 600));
	cr_expect(lt(u64, status_of(j).file_bytes, 3U << 20));
	expect_next_finds(&m, "at the end", 0);
	journal_close(j);
}

Test(journal, what_was_found_is_there_once_more_and_only_once)
{
	struct journal *j = open_journal();
	struct model m = {.seed = 3};

	for (unsigned i = 0; i < 200; i++)
		step(&m, j);
	journal_close(j);
	for (unsigned round = 0; round < 3; round++) {
		j = open_journal();
		expect_found(&m, j, "round", round);
		journal_close(j);
	}
	j = open_journal();
	for (size_t i = 0; i < JOBS; i++)
		if (m.jobs[i].entry) {
			journal_remove(j, find_found(j, m.jobs[i].jid)->entry);
			m.jobs[i].entry = NULL;
		}
	journal_close(j);
	j = open_journal();
	cr_expect(eq(sz, n_found(j), 0));
	/* Numbers go on: a late record of the first life is about nothing. */
	struct record_hold h = hold_of("jid-of-another");
	struct journal_entry *e;
	cr_assert(eq(int, journal_add(j, &h, NULL, &e), 0));
	cr_expect(gt(u64, h.generation, 0));
	journal_close(j);
}

/* ---- damage */

static size_t make_small(struct model *m, char **ret)
{
	struct journal *j = open_journal();
	size_t bytes;

	for (unsigned i = 0; i < 3; i++) {
		step_add(m, j, &m->jobs[i]);
		step_report(m, j, &m->jobs[i]);
	}
	journal_close(j);
	*ret = read_whole("journal", &bytes);
	return used_bytes(*ret, bytes);
}

Test(journal, a_cut_at_any_byte_loses_no_whole_record)
{
	struct model m = {.seed = 4};
	char *p;
	size_t used = make_small(&m, &p), last = 0;

	cr_assert(gt(sz, used, 500));
	for (size_t n = 0; n < used; n++) {
		empty_dir();
		write_whole("journal", p, n);
		struct journal *j = open_journal();
		size_t found = n_found(j);
		bool readable = n >= RECORD_PREAMBLE_BYTES && opening.aside == JOURNAL_ASIDE_NOT;

		cr_assert(ge(sz, found, last), "%zu bytes", n);
		cr_assert(le(sz, found, 3));
		cr_assert(eq(u64, opening.damaged_bytes, 0), "%zu bytes", n);
		if (n == 0)
			cr_assert(eq(int, opening.aside, JOURNAL_ASIDE_NOT));
		else if (!readable)
			cr_assert(eq(int, opening.aside == JOURNAL_ASIDE_UNREADABLE && file_exists(opening.aside_name),
				     1),
				  "%zu bytes", n);
		last = found;
		journal_close(j);
		/* The cut is made: nothing is found to be torn again. */
		j = open_journal();
		cr_assert(eq(u64, opening.cut_bytes, 0), "%zu bytes", n);
		cr_assert(eq(sz, n_found(j), found));
		journal_close(j);
	}
	cr_expect(eq(sz, last, 3));
	free(p);
}

Test(journal, a_flip_of_any_byte_invents_nothing)
{
	struct model m = {.seed = 5};
	char *p;
	size_t used = make_small(&m, &p);
	unsigned cut = 0, damaged = 0, unreadable = 0;

	for (size_t at = 0; at < used; at++) {
		empty_dir();
		p[at] = (char)(p[at] ^ (1 << at % 8));
		write_whole("journal", p, used);
		struct journal *j = open_journal();
		size_t n;
		const struct journal_found *f = journal_found(j, &n);

		bool seen = opening.cut_bytes > 0 || opening.aside != JOURNAL_ASIDE_NOT;
		cr_assert(seen, "byte %zu of %zu was flipped, and nobody saw it", at, used);
		cut += opening.cut_bytes > 0;
		damaged += opening.aside == JOURNAL_ASIDE_DAMAGED;
		unreadable += opening.aside == JOURNAL_ASIDE_UNREADABLE;
		cr_assert(eq(int, opening.aside == JOURNAL_ASIDE_DAMAGED, opening.damaged_bytes > 0));
		if (opening.aside != JOURNAL_ASIDE_NOT) {
			size_t bytes;
			char *kept = read_whole(opening.aside_name, &bytes);
			cr_assert(all(eq(sz, bytes, used), eq(int, memcmp(kept, p, used), 0)), "byte %zu", at);
			free(kept);
		}
		for (size_t i = 0; i < n; i++) {
			bool known = false;
			for (size_t k = 0; k < 3; k++)
				if (text_is(f[i].hold.jid, m.jobs[k].jid)) {
					known = true;
					cr_assert(eq(u64, f[i].hold.lease_sec, m.jobs[k].lease_sec));
					if (f[i].have_report)
						cr_assert(text_is(f[i].report.line, m.jobs[k].line));
				}
			cr_assert(known, "byte %zu", at);
		}
		journal_close(j);
		p[at] = (char)(p[at] ^ (1 << at % 8));
	}
	cr_expect(gt(uint, cut, 0));
	cr_expect(gt(uint, damaged, 0));
	cr_expect(gt(uint, unreadable, 0));
	free(p);
}

/* The end of a hold may have been in what cannot be read. */
Test(journal, a_hold_before_damage_is_doubtful_unless_heard_of_again)
{
	struct journal *j = open_journal();
	struct journal_entry *again;
	size_t bytes, used, at;
	char *p;

	(void)add_hold(j, "jid-before", NULL);
	again = add_hold(j, "jid-heard-of-again", NULL);
	p = read_whole("journal", &bytes);
	at = used_bytes(p, bytes);
	free(p);
	(void)add_hold(j, "jid-in-the-damage", NULL);
	journal_sent(j, again, 5);
	(void)add_hold(j, "jid-behind", NULL);
	journal_close(j);

	p = read_whole("journal", &bytes);
	used = used_bytes(p, bytes);
	p[at + 20] = (char)(p[at + 20] ^ 1);
	write_whole("journal", p, used);
	free(p);
	for (unsigned round = 0; round < 2; round++) {
		j = open_journal();
		cr_expect(eq(int, opening.aside, round == 0 ? JOURNAL_ASIDE_DAMAGED : JOURNAL_ASIDE_NOT));
		cr_assert(eq(sz, n_found(j), 3));
		cr_expect(find_found(j, "jid-before")->hold.doubtful, "round %u", round);
		cr_expect(eq(int, find_found(j, "jid-heard-of-again")->hold.doubtful, false));
		cr_expect(eq(int, find_found(j, "jid-behind")->hold.doubtful, false));
		cr_expect(
			eq(u64, journal_lease_left_usec(&find_found(j, "jid-before")->hold, 12 * USEC_PER_SEC, 0), 0));
		journal_close(j);
	}
	cr_expect(eq(uint, count_files("journal.damaged"), 1));
}

Test(journal, a_hole_in_the_middle_is_damage)
{
	struct model m = {.seed = 6};
	char *p;
	size_t used = make_small(&m, &p);

	memset(p + used / 2 / 8 * 8, 0, 64);
	write_whole("journal", p, used);
	struct journal *j = open_journal();
	cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_DAMAGED));
	cr_expect(gt(u64, opening.damaged_bytes, 0));
	journal_close(j);
	free(p);
}

/* A file that is used again has its earlier records behind the end of the new ones. */
Test(journal, what_an_earlier_use_has_left_is_neither_read_nor_damage)
{
	struct model earlier = {.seed = 7}, m = {.seed = 8};
	char *old, *p;
	size_t old_used = make_small(&earlier, &old), used, end;

	empty_dir();
	used = make_small(&m, &p);
	end = used + RECORD_HEAD_BYTES;
	p = realloc(p, end + old_used);
	memset(p + used, 0, RECORD_HEAD_BYTES);
	memcpy(p + end, old, old_used);
	write_whole("journal", p, end + old_used);
	struct journal *j = open_journal();
	cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_NOT));
	cr_expect(eq(u64, opening.cut_bytes, 0));
	expect_found(&m, j, "with an earlier use behind", 0);
	journal_close(j);

	/* Nor does it count as torn with the last record. */
	p[used - 1] = (char)(p[used - 1] ^ 1);
	write_whole("journal", p, end + old_used);
	j = open_journal();
	cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_NOT));
	cr_expect(all(gt(u64, opening.cut_bytes, 0), lt(u64, opening.cut_bytes, used)), "%ju", opening.cut_bytes);
	journal_close(j);
	free(old);
	free(p);
}

Test(journal, what_is_no_journal_is_kept_under_other_names)
{
	for (unsigned i = 1; i <= 3; i++) {
		write_whole("journal", "a letter to my grandmother, of more than thirty-two bytes\n", 58);
		struct journal *j = open_journal();
		cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_UNREADABLE));
		cr_expect(eq(int, status_of(j).state, JOURNAL_GOOD));
		journal_close(j);
		cr_expect(eq(uint, count_files("journal.unreadable"), i));
	}
	empty_dir();
	cr_assert(eq(int, mkdirat(dir_fd, "journal", 0700), 0));
	struct journal *j = open_journal();
	cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_UNREADABLE));
	journal_close(j);
	(void)unlinkat(dir_fd, "journal.unreadable", AT_REMOVEDIR);

	empty_dir();
	cr_assert(eq(int, symlinkat("elsewhere", dir_fd, "journal"), 0));
	j = open_journal();
	cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_UNREADABLE));
	cr_expect(eq(int, file_exists("elsewhere"), false));
	journal_close(j);
}

Test(journal, another_version_is_not_touched)
{
	struct model m = {.seed = 7};
	struct journal_settings s = settings_of();
	struct journal *j = NULL;
	size_t used, bytes;
	uint64_t sum;
	char *p, *after;

	used = make_small(&m, &p);
	p[8] = 2;
	sum = htole64(checksum(p, 24, 0));
	memcpy(p + 24, &sum, sizeof(sum));
	empty_dir();
	write_whole("journal", p, used);
	cr_expect(eq(int, journal_open(&s, &j, &opening), -EPROTONOSUPPORT));
	cr_expect(eq(u32, opening.version, 2));
	cr_expect(eq(uint, count_files(""), 1));
	after = read_whole("journal", &bytes);
	cr_expect(all(eq(sz, bytes, used), eq(int, memcmp(after, p, used), 0)));
	free(after);
	free(p);
}

Test(journal, another_servers_holds_are_kept_aside_and_its_workers_found)
{
	struct journal_settings s = settings_of();
	struct journal_worker *w;
	struct journal *j = open_journal();

	cr_assert(eq(int, journal_add_worker(j, "mail.1", "mark-1", "/cg", &w), 0));
	journal_set_worker_pid(j, w, 4711, 99);
	(void)add_hold(j, "jid-of-that-server", w);
	journal_close(j);
	s.server = "other:7419";
	j = open_with(&s);
	cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_SERVER));
	cr_expect(eq(sz, n_found(j), 0));
	w = journal_first_worker(j);
	cr_assert(not(eq(ptr, w, NULL)));
	cr_expect(eq(str, w->mark, (char *)"mark-1"));
	cr_expect(all(eq(int, w->pid, 4711), eq(u64, w->start_ticks, 99), eq(int, w->other_boot, false)));
	journal_remove_worker(j, w);
	journal_close(j);
	j = open_with(&s);
	cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_NOT));
	cr_expect(eq(ptr, journal_first_worker(j), NULL));
	journal_close(j);
}

/* ---- time */

Test(journal, another_boot_is_remembered_from_start_to_start)
{
	struct journal_settings s = settings_of();
	struct journal_worker *w;
	struct journal *j = open_journal();

	cr_assert(eq(int, journal_add_worker(j, "mail.1", "mark-1", "", &w), 0));
	journal_set_worker_pid(j, w, 4711, 99);
	struct journal_entry *e = add_hold(j, "jid-of-that-boot", w);
	journal_sent(j, e, 12);
	journal_close(j);
	s.boot_id = "next-boot";
	for (unsigned round = 0; round < 2; round++) {
		j = open_with(&s);
		const struct journal_found *f = find_found(j, "jid-of-that-boot");
		cr_assert(not(eq(ptr, (void *)f, NULL)));
		cr_expect(f->hold.other_boot, "round %u", round);
		cr_expect(f->have_sent, "round %u", round);
		cr_expect(f->sent.other_boot, "round %u", round);
		cr_expect(f->worker->other_boot, "round %u", round);
		journal_close(j);
	}
	j = open_with(&s);
	(void)add_hold(j, "jid-of-this-boot", NULL);
	journal_close(j);
	j = open_with(&s);
	cr_expect(eq(int, find_found(j, "jid-of-this-boot")->hold.other_boot, false));
	cr_expect(find_found(j, "jid-of-that-boot")->hold.other_boot);
	journal_close(j);
}

Test(journal, what_is_left_of_a_lease)
{
	struct record_hold h = hold_of("jid");
	const usec_t s = USEC_PER_SEC;

	/* from FETCH sent, for the lease may have begun then */
	cr_expect(eq(u64, journal_lease_left_usec(&h, 11 * s, 0), 1799 * s));
	cr_expect(eq(u64, journal_lease_left_usec(&h, 1810 * s, 0), 0));
	cr_expect(eq(u64, journal_lease_left_usec(&h, 5000 * s, 0), 0));
	cr_expect(eq(u64, journal_lease_left_usec(&h, 9 * s, 1000 * s), 0), "a clock that went back");
	h.other_boot = true;
	cr_expect(eq(u64, journal_lease_left_usec(&h, 1 * s, 1000 * s), 1739 * s));
	cr_expect(eq(u64, journal_lease_left_usec(&h, 1 * s, 2000 * s), 739 * s));
	cr_expect(eq(u64, journal_lease_left_usec(&h, 1 * s, 999 * s), 0), "a clock that went back");
	cr_expect(eq(u64, journal_lease_left_usec(&h, 1 * s, 9000 * s), 0));
	h.lease_sec = UINT64_MAX;
	cr_expect(eq(u64, journal_lease_left_usec(&h, 1 * s, 2000 * s), USEC_NEVER));
}

Test(journal, a_worker_that_is_gone_stays_for_as_long_as_its_holds)
{
	struct journal *j = open_journal();
	struct journal_worker *w;

	cr_assert(eq(int, journal_add_worker(j, "mail.1", "mark-1", "", &w), 0));
	struct journal_entry *e = add_hold(j, "jid-of-mail-1", w);
	journal_remove_worker(j, w);
	cr_expect(eq(ptr, journal_first_worker(j), w));
	journal_close(j);
	j = open_journal();
	w = journal_first_worker(j);
	cr_assert(not(eq(ptr, w, NULL)));
	cr_expect(w->gone);
	cr_expect(eq(ptr, find_found(j, "jid-of-mail-1")->worker, w));
	e = find_found(j, "jid-of-mail-1")->entry;
	journal_remove(j, e);
	cr_expect(eq(ptr, journal_first_worker(j), NULL));
	journal_close(j);
}

/* ---- kill -9 */

/* What the child has been promised, written after each call has returned. */
struct promises {
	uint32_t added, reported, removed; /* how many, in this order */
};

static _Noreturn void append_for_ever(struct promises *promised)
{
	struct journal_settings s = settings_of();
	struct journal_entry *ring[32] = {0};
	struct journal *j;
	char jid[32];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (journal_open(&s, &j, &opening) < 0)
		_exit(1);
	for (uint32_t n = 0;; n++) {
		struct journal_entry **e = &ring[n % 32];
		struct record_hold h;

		if (*e) {
			journal_report(j, *e, REPORT_WORKER_ACK, NULL, 0, 0);
			promised->reported = n - 31;
			journal_remove(j, *e);
			promised->removed = n - 31;
		}
		(void)snprintf(jid, sizeof(jid), "jid-%010u", n);
		h = hold_of(jid);
		if (journal_add(j, &h, NULL, e) < 0)
			_exit(1);
		promised->added = n + 1;
		(void)journal_work(j, clock_now_usec());
	}
}

Test(journal, a_kill_at_any_moment_loses_nothing_that_was_promised)
{
	struct promises *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long long seed = 99;
	uint64_t most = 0;
	char jid[32];

	cr_assert(not(eq(ptr, p, MAP_FAILED)));
	for (unsigned round = 0; round < 60; round++) {
		int status;
		pid_t pid;

		empty_dir();
		*p = (struct promises){0};
		pid = fork();
		cr_assert(ge(int, pid, 0));
		if (pid == 0)
			append_for_ever(p);
		/* Any moment will do: this is no wait for anything. */
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		struct timespec t = {.tv_nsec = (long)(seed >> 33) % 60000000};
		(void)nanosleep(&t, NULL);
		(void)kill(pid, SIGKILL);
		cr_assert(eq(int, waitpid(pid, &status, 0), pid));
		cr_assert(eq(int, WTERMSIG(status), SIGKILL));

		struct journal *j = open_journal();
		cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_NOT), "round %u", round);
		most = MAX(most, p->added);
		for (uint32_t n = p->removed; n < p->added; n++) {
			(void)snprintf(jid, sizeof(jid), "jid-%010u", n);
			const struct journal_found *f = find_found(j, jid);
			/* The next one's end may have been written, and not yet told. */
			if (n == p->removed && !f)
				continue;
			cr_assert(not(eq(ptr, (void *)f, NULL)), "round %u: %s of %u is missing", round, jid, p->added);
			if (n < p->reported)
				cr_assert(f->have_report, "round %u: %s", round, jid);
		}
		cr_expect(le(sz, n_found(j), p->added - p->removed + 1), "round %u", round);
		journal_close(j);
	}
	cr_expect(gt(u64, most, 5000), "long enough for several rewrites");
	(void)munmap(p, sizeof(*p));
}
