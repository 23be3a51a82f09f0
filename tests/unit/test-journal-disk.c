/* SPDX-License-Identifier: MIT
 *
 * A full disk, pretended and real, and the three ways to sync.
 */
#include "journal-faults.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>

TestSuite(journal_disk, .init = setup, .fini = close_dir, .timeout = 240);

static void fill_up(struct journal *j, struct model *m, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		step(m, j);
		if (i % 16 == 0)
			(void)journal_work(j, clock_now_usec() + 20 * USEC_PER_SEC);
	}
}

Test(journal_disk, full_disk)
{
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_NEVER);
	struct journal *j = open_with(&s);
	struct journal_entry *many[6000];
	struct model m = {.seed = 8};
	char text[4096];

	memset(text, 'x', sizeof(text));
	fill_up(j, &m, 200);
	fault.disk_full = true;
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		char jid[32];
		(void)snprintf(jid, sizeof(jid), "jid-on-full-disk-%u", i);
		many[i] = add_hold(j, jid, NULL);
	}
	cr_expect(eq(uint, n_states, 1), "it is said once");
	cr_expect(eq(int, last_state, JOURNAL_PARTIAL));
	cr_expect(eq(int, last_error, -ENOSPC));
	cr_expect(gt(sz, status_of(j).n_unwritten, 1000));
	/* What was reserved serves those that are in it: a report, a first-sent time, an end each. */
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		journal_report(j, many[i], REPORT_WORKER_FAIL, text, sizeof(text), 0);
		journal_sent(j, many[i], 5);
		if (i % 2 == 0)
			journal_remove(j, many[i]);
	}
	cr_expect(eq(int, last_state, JOURNAL_PARTIAL), "nothing in the file is wrong");
	size_t n = 0;
	struct journal_settings plain = settings_of();
	struct journal_opening o;
	struct journal *next;
	size_t bytes;
	char *p = read_whole("journal", &bytes);
	int was = dir_fd;
	(void)mkdirat(dir_fd, ".next", 0700);
	dir_fd = plain.dir_fd = openat(dir_fd, ".next", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	write_whole("journal", p, bytes);
	free(p);
	cr_assert(eq(int, journal_open(&plain, &next, &o), 0));
	const struct journal_found *f = journal_found(next, &n);
	unsigned of_full = 0;
	for (size_t i = 0; i < n; i++)
		if (f[i].hold.jid.bytes > 17 && memcmp(f[i].hold.jid.p, "jid-on-full-disk-", 17) == 0) {
			of_full++;
			cr_assert(f[i].have_sent);
			cr_assert(f[i].have_report);
			cr_assert(eq(int, atoi(f[i].hold.jid.p + 17) % 2, 1), "%.*s is over", (int)f[i].hold.jid.bytes,
				  f[i].hold.jid.p);
		}
	cr_expect(gt(uint, of_full, 100));
	journal_close(next);
	empty_dir_at(dir_fd);
	close(dir_fd);
	dir_fd = was;
	(void)unlinkat(dir_fd, ".next", AT_REMOVEDIR);

	/* Asked again each second, no more. */
	unsigned asked = fault.made[CALL_FALLOCATE];
	for (unsigned i = 0; i < 50; i++)
		(void)journal_work(j, clock_now_usec());
	cr_expect(le(uint, fault.made[CALL_FALLOCATE], asked + 3));

	fault.disk_full = false;
	let_it_recover(j);
	cr_expect(eq(uint, n_states, 2));
	cr_expect(eq(int, last_state, JOURNAL_GOOD));
	cr_expect(eq(sz, status_of(j).n_unwritten, 0));
	journal_close(j);
	j = open_journal();
	for (unsigned i = 1; i < ARRAY_SIZE(many); i += 2) {
		char jid[32];
		(void)snprintf(jid, sizeof(jid), "jid-on-full-disk-%u", i);
		const struct journal_found *g = find_found(j, jid);
		cr_assert(not(eq(ptr, (void *)g, NULL)), "%s", jid);
		cr_assert(eq(sz, g->report.line.bytes, sizeof(text)));
		if (i > 600)
			break; /* each look is a search */
	}
	journal_close(j);
}

/* With a spare file at hand a rewrite needs nothing of the disk. */
Test(journal_disk, a_full_disk_is_no_obstacle_to_a_rewrite)
{
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_NEVER);
	struct journal *j = open_with(&s);

	for (unsigned i = 0; i < 8; i++) {
		fault.disk_full = i >= 3; /* two files have been in use, and have grown */
		churn(j);
		let_it_recover(j);
	}
	cr_expect(eq(u64, status_of(j).n_rewrites, 9));
	cr_expect(eq(uint, n_states, 0));
	journal_close(j);
}

/* Behind the end, as in a file that was used twice. */
static void leave_an_earlier_use_behind(void)
{
	size_t bytes, used;
	char *p = read_whole("journal", &bytes);

	used = used_bytes(p, bytes) + 64; /* the last record may end in zeros */
	cr_assert(lt(sz, used, bytes));
	memset(p + used, 'x', bytes - used);
	write_whole("journal", p, bytes);
	free(p);
}

static unsigned n_maps, n_maps_to_refuse;

static void *counting_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	n_maps++;
	if (n_maps_to_refuse > 0) {
		n_maps_to_refuse--;
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return mmap(at, bytes, protection, flags, fd, offset);
}

/* The two files that take turns are mapped once each, and one that could not be is tried again with its next turn. */
Test(journal_disk, files_stay_mapped_from_one_rewrite_to_the_next)
{
	struct journal_settings s = faulty_settings(JOURNAL_SYNC_NEVER);
	struct journal_io mapping = *s.io;
	struct journal *j;

	mapping.mmap = counting_mmap;
	s.io = &mapping;
	n_maps_to_refuse = 1;
	j = open_with(&s);
	for (unsigned i = 0; i < 20000; i++) {
		journal_remove(j, add_hold(j, "jid-of-no-use", NULL));
		if (i % 100 == 0)
			(void)journal_work(j, clock_now_usec());
	}
	cr_expect(ge(u64, status_of(j).n_rewrites, 6));
	cr_expect(eq(uint, n_maps, 4), "refused once, then once for each, and once more for one that has grown");
	journal_close(j);
}

Test(journal_disk, a_start_on_a_full_disk_goes_on_in_the_old_file)
{
	struct journal_settings s = faulty_settings(JOURNAL_SYNC_NEVER);
	struct journal *j = open_with(&s);
	struct model m = {.seed = 9};

	fill_up(j, &m, 300);
	journal_close(j);
	leave_an_earlier_use_behind();
	fault.disk_full = true;
	s.boot_id = "next-boot";
	for (unsigned round = 0; round < 3; round++) {
		j = open_with(&s);
		cr_expect(eq(int, opening.error, -ENOSPC));
		cr_expect(eq(u64, opening.cut_bytes + opening.damaged_bytes, 0), "round %u", round);
		expect_found(&m, j, "on a full disk", round);
		size_t n;
		const struct journal_found *f = journal_found(j, &n);
		for (size_t i = 0; i < n; i++)
			cr_assert(f[i].hold.other_boot);
		/* This one's end is known to the next one. */
		for (size_t i = 0; i < JOBS; i++)
			if (m.jobs[i].entry) {
				journal_remove(j, find_found(j, m.jobs[i].jid)->entry);
				m.jobs[i].entry = NULL;
				break;
			}
		journal_close(j);
	}
}

/* The real thing. */
Test(journal_disk, full_file_system)
{
	struct journal_settings s = settings_of();
	struct model m = {.seed = 10};
	struct journal *j;
	char block[65536];
	int fd;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir_path, "tmpfs", 0, "size=2m") < 0) {
		int error = errno;

		close_dir(); /* a test that is skipped is not torn down */
		cr_skip_test("cannot mount a small file system: %s", strerror(error));
	}
	close(dir_fd);
	dir_fd = s.dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	j = open_with(&s);
	memset(block, 'x', sizeof(block));
	fd = openat(dir_fd, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, block, sizeof(block)) > 0)
		;
	fill_up(j, &m, 3000);
	for (unsigned i = 0; i < 3000; i++)
		(void)add_hold(j, "jid-of-a-flood", NULL);
	cr_expect(eq(int, status_of(j).state, JOURNAL_PARTIAL));
	cr_expect(eq(int, status_of(j).error, -ENOSPC));
	fill_up(j, &m, 100);
	cr_expect(eq(int, status_of(j).state, JOURNAL_PARTIAL));
	close(fd);
	cr_assert(eq(int, unlinkat(dir_fd, "filler", 0), 0));
	let_it_recover(j);
	journal_close(j);
	j = open_with(&s);
	cr_expect(eq(u64, opening.cut_bytes + opening.damaged_bytes, 0));
	cr_expect(ge(sz, n_found(j), 3000));
	for (size_t i = 0; i < JOBS; i++)
		if (m.jobs[i].entry)
			cr_expect(not(eq(ptr, (void *)find_found(j, m.jobs[i].jid), NULL)));
	journal_close(j);
	empty_dir();
	close(dir_fd);
	cr_expect(eq(int, umount2(dir_path, MNT_DETACH), 0));
	dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* ---- sync, and when there is something to do */

Test(journal_disk, never_asks_for_nothing)
{
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_NEVER);
	struct journal *j = open_with(&s);

	(void)add_hold(j, "jid-that-is-not-synced", NULL);
	journal_barrier(j);
	cr_expect(eq(u64, journal_work(j, clock_now_usec()), USEC_NEVER));
	cr_expect(eq(uint, n_dues, 0));
	cr_expect(eq(uint, fault.made[CALL_FDATASYNC], 0));
	cr_expect(eq(int, journal_fd(j), -EBADF));
	journal_close(j);
}

Test(journal_disk, interval_syncs_once_for_all_and_rests)
{
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_INTERVAL);
	struct journal *j = open_with(&s);
	usec_t now;

	if (opening.sync_error < 0) {
		journal_close(j);
		close_dir();
		cr_skip_test("io_submit cannot be had: %s", strerror(-opening.sync_error));
	}
	let_it_recover(j);
	uint64_t syncs = status_of(j).n_syncs;
	unsigned blocking = fault.made[CALL_FDATASYNC];
	for (unsigned i = 0; i < 10; i++)
		(void)add_hold(j, "jid-that-is-synced", NULL);
	cr_expect(eq(uint, n_dues, 1));
	now = clock_now_usec();
	cr_expect(gt(u64, last_due, now));
	cr_expect(le(u64, last_due, now + JOURNAL_SYNC_INTERVAL_USEC));
	cr_expect(eq(u64, journal_work(j, now), last_due), "not yet");
	cr_expect(eq(u64, journal_work(j, last_due), USEC_NEVER), "its end is told by the descriptor");
	struct pollfd p = {.fd = journal_fd(j), .events = POLLIN};
	cr_assert(eq(int, poll(&p, 1, 10000), 1));
	cr_expect(eq(u64, journal_work(j, last_due), USEC_NEVER));
	cr_expect(eq(u64, status_of(j).n_syncs, syncs + 1));
	cr_expect(eq(int, poll(&p, 1, 0), 0));
	cr_expect(eq(uint, fault.made[CALL_FDATASYNC], blocking), "the loop never waits");
	journal_close(j);
}

Test(journal_disk, always_syncs_at_the_barrier)
{
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_ALWAYS);
	struct journal *j = open_with(&s);
	unsigned made;

	journal_barrier(j);
	made = fault.made[CALL_FDATASYNC];
	for (unsigned i = 0; i < 10; i++)
		(void)add_hold(j, "jid-that-is-synced", NULL);
	cr_expect(eq(uint, fault.made[CALL_FDATASYNC], made));
	journal_barrier(j);
	cr_expect(eq(uint, fault.made[CALL_FDATASYNC], made + 1));
	journal_barrier(j);
	cr_expect(eq(uint, fault.made[CALL_FDATASYNC], made + 1));
	journal_close(j);
}

/* By somebody who should not have: what is said from then on is in the file all the same. */
Test(journal_disk, a_file_that_is_cut_off_kills_nobody)
{
	static const char jid[] = "jid-in-what-is-left";
	struct journal *j = open_journal();
	struct journal_entry *before = add_hold(j, "jid-that-is-cut-off", NULL), *after;
	int fd = openat(dir_fd, "journal", O_WRONLY | O_CLOEXEC);
	size_t bytes;
	char *p;

	cr_assert(eq(int, ftruncate(fd, 0), 0));
	(void)close(fd);
	after = add_hold(j, jid, NULL);
	journal_report(j, before, REPORT_WORKER_ACK, NULL, 0, 0);
	journal_remove(j, before);
	cr_expect(eq(int, status_of(j).state, JOURNAL_GOOD));
	p = read_whole("journal", &bytes);
	cr_expect(not(eq(ptr, memmem(p, bytes, jid, strlen(jid)), NULL)));
	free(p);
	journal_remove(j, after);
	journal_close(j);
}
