/* SPDX-License-Identifier: MIT
 *
 * Each system call of the journal failing at each place of a history. At any moment what is in the file must be right;
 * when the fault is over, all must be in it again.
 */
#include "journal-faults.h"

TestSuite(journal_faults, .init = setup, .fini = close_dir, .timeout = 240);

/* ---- what is in the file is right, if not all */

static bool always_clean; /* nothing torn is left behind either */

static void expect_nothing_wrong(const struct model *m, const char *what, unsigned n)
{
	struct journal_settings s = settings_of();
	struct journal_opening o;
	struct journal *next;
	size_t bytes, n_holds;
	int fd, was = dir_fd;

	if (!file_exists("journal"))
		return;
	char *p = read_whole("journal", &bytes);
	(void)mkdirat(dir_fd, ".next", 0700);
	fd = openat(dir_fd, ".next", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir_fd = s.dir_fd = fd;
	write_whole("journal", p, bytes);
	dir_fd = was;
	free(p);
	cr_assert(eq(int, journal_open(&s, &next, &o), 0));
	if (always_clean)
		cr_assert(eq(u64, o.cut_bytes + o.damaged_bytes, 0), "%s %u", what, n);
	const struct journal_found *f = journal_found(next, &n_holds);
	for (size_t i = 0; i < n_holds; i++) {
		const struct model_job *job = NULL;
		for (size_t k = 0; k < JOBS; k++)
			if (m->jobs[k].entry && text_is(f[i].hold.jid, m->jobs[k].jid))
				job = &m->jobs[k];
		cr_assert(not(eq(ptr, (void *)job, NULL)), "%s %u: %.*s is over, and called held", what, n,
			  (int)f[i].hold.jid.bytes, f[i].hold.jid.p);
		cr_assert(eq(int, f[i].have_report, job->have_report), "%s %u: %s", what, n, job->jid);
		if (job->have_report)
			cr_assert(eq(int, f[i].report.kind, job->kind), "%s %u: %s", what, n, job->jid);
		cr_assert(eq(int, f[i].have_sent, job->sent), "%s %u: %s", what, n, job->jid);
		cr_assert(eq(int, f[i].ack_answered, job->ack_answered), "%s %u: %s", what, n, job->jid);
	}
	journal_close(next);
	empty_dir_at(fd);
	close(fd);
	(void)unlinkat(dir_fd, ".next", AT_REMOVEDIR);
}

/* Returns how often the call was made. */
static unsigned run_history(enum journal_sync sync, enum call what, unsigned from, unsigned to, int error,
			    bool short_write)
{
	const struct journal_settings s = faulty_settings(sync);
	struct model m = {.seed = from * 77 + (unsigned)what};
	struct journal *j;
	unsigned made;

	empty_dir();
	memset(&fault, 0, sizeof(fault));
	fault.what = what;
	fault.from = from;
	fault.to = to;
	fault.error = error;
	fault.short_write = short_write;
	j = open_with(&s);
	for (unsigned i = 0; i < 200; i++) {
		step(&m, j);
		if (i % 10 == 0)
			journal_barrier(j);
		if (i == 100)
			churn(j);
		if (i % 20 == 0 || i > 100)
			(void)journal_work(j, clock_now_usec() + 20 * USEC_PER_SEC);
		if (i % 40 == 39 || (always_clean && i % 5 == 0))
			expect_nothing_wrong(&m, call_names[what], i);
	}
	made = fault.made[what];
	fault.to = 0;
	expect_nothing_wrong(&m, call_names[what], from);
	let_it_recover(j);
	expect_next_finds(&m, call_names[what], from);
	cr_assert(eq(uint, n_states > 0 && last_state != JOURNAL_GOOD, 0));
	journal_close(j);
	return made;
}

static void run_each(enum call what, enum journal_sync sync, int error)
{
	unsigned made = run_history(sync, what, UINT32_MAX, 0, error, false);

	cr_assert(gt(uint, made, 0), "%s is not called at all", call_names[what]);
	for (unsigned n = 1; n <= made; n += n < 150 ? 1 : 61) {
		(void)run_history(sync, what, n, n, error, false);
		(void)run_history(sync, what, n, n + 30, error, false); /* and for a while */
	}
}

Test(journal_faults, pwrite_fails)
{
	run_each(CALL_PWRITE, JOURNAL_SYNC_NEVER, EIO);
	cr_expect(gt(uint, n_states, 0));
}

Test(journal_faults, pwrite_stops_half_way)
{
	always_clean = true;
	for (unsigned n = 1; n < 200; n++)
		(void)run_history(JOURNAL_SYNC_NEVER, CALL_PWRITE, n, n, ENOSPC, true);
}

/* Of a file that is used again: a record without an end behind it would be followed by what is no record. */
Test(journal_faults, a_place_that_cannot_be_cleared_fails)
{
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_NEVER);
	struct journal *j = open_with(&s);
	struct model m = {.seed = 11};
	unsigned n_failed = 0;

	for (unsigned i = 0; i < 3; i++) {
		churn(j);
		let_it_recover(j);
	}
	fault.what = CALL_PWRITE;
	fault.error = EIO;
	for (unsigned i = 0; i < 600; i++) {
		if (i % 13 == 0)
			fault.from = fault.to = fault.made[CALL_PWRITE] + 1;
		step(&m, j);
		if (status_of(j).state != JOURNAL_GOOD) {
			n_failed++;
			let_it_recover(j);
		}
		expect_next_finds(&m, "after a fault before step", i);
	}
	cr_expect(gt(uint, n_failed, 20));
	journal_close(j);
}

Test(journal_faults, fallocate_fails)
{
	run_each(CALL_FALLOCATE, JOURNAL_SYNC_NEVER, ENOSPC);
}

Test(journal_faults, fallocate_is_not_known)
{
	(void)run_history(JOURNAL_SYNC_NEVER, CALL_FALLOCATE, 1, UINT32_MAX - 1, EOPNOTSUPP, false);
	cr_expect(eq(uint, n_states, 0));
}

Test(journal_faults, openat_fails)
{
	/* The first looks for what there is: if that cannot be told there is no journal. */
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_NEVER);
	struct journal *j;

	fault.what = CALL_OPENAT;
	fault.from = fault.to = 1;
	fault.error = EACCES;
	cr_expect(eq(int, journal_open(&s, &j, &opening), -EACCES));
	(void)run_history(JOURNAL_SYNC_NEVER, CALL_OPENAT, 2, 2, ENOSPC, false);
	(void)run_history(JOURNAL_SYNC_NEVER, CALL_OPENAT, 3, 40, EMFILE, false);
}

Test(journal_faults, renameat2_fails)
{
	run_each(CALL_RENAMEAT2, JOURNAL_SYNC_NEVER, EIO);
}

Test(journal_faults, files_cannot_be_exchanged)
{
	run_each(CALL_RENAMEAT2, JOURNAL_SYNC_NEVER, EINVAL);
}

Test(journal_faults, fdatasync_fails)
{
	run_each(CALL_FDATASYNC, JOURNAL_SYNC_ALWAYS, EIO);
}

Test(journal_faults, fdatasync_in_the_background_fails)
{
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_INTERVAL);
	struct journal *j = open_with(&s);

	if (opening.sync_error < 0) {
		journal_close(j);
		close_dir(); /* a test that is skipped is not torn down */
		cr_skip_test("io_submit cannot be had: %s", strerror(-opening.sync_error));
	}
	journal_close(j);
	run_each(CALL_FINISH_SYNC, JOURNAL_SYNC_INTERVAL, EIO);
}

/* What cannot be kept up to date must not be believed, even where it cannot be unlinked. */
Test(journal_faults, a_journal_that_cannot_be_withdrawn_is_made_unreadable)
{
	const struct journal_settings s = faulty_settings(JOURNAL_SYNC_NEVER);
	struct journal *j = open_with(&s);
	struct journal_entry *e = add_hold(j, "jid-that-is-over", NULL);

	fault.what = CALL_PWRITE;
	fault.from = fault.to = fault.made[CALL_PWRITE] + 1;
	fault.error = EIO;
	journal_remove(j, e);
	cr_expect(eq(int, last_state, JOURNAL_WITHDRAWN));
	cr_expect(eq(int, last_error, -EIO));
	cr_expect(eq(int, file_exists("journal"), false));
	let_it_recover(j);
	cr_expect(eq(int, last_state, JOURNAL_GOOD));
	cr_expect(eq(uint, n_states, 2));

	e = add_hold(j, "jid-that-is-over-too", NULL);
	fault.from = fault.to = fault.made[CALL_PWRITE] + 1;
	fault.no_unlink = true;
	journal_remove(j, e);
	cr_expect(eq(int, last_state, JOURNAL_WITHDRAWN));
	cr_expect(file_exists("journal"));
	journal_close(j);
	j = open_journal();
	cr_expect(eq(sz, n_found(j), 0));
	cr_expect(eq(int, opening.aside, JOURNAL_ASIDE_UNREADABLE));
	journal_close(j);
}
