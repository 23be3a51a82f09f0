/* SPDX-License-Identifier: MIT
 *
 * A history of a journal by chance, from a seed, and what must be found after it.
 */
#ifndef CHARGEHAND_TESTS_UNIT_JOURNAL_MODEL_H
#define CHARGEHAND_TESTS_UNIT_JOURNAL_MODEL_H

#include "journal.h"

#define JOBS 40

struct model_job {
	char jid[24];
	struct journal_entry *entry; /* NULL: gone */
	bool have_report, sent, ack_answered;
	enum report_kind kind;
	char line[400];
	uint64_t lease_sec;
	int worker;
};

struct model {
	struct model_job jobs[JOBS];
	struct journal_worker *workers[3];
	unsigned n;
	size_t n_others; /* that are in the journal all the time */
	unsigned long long seed;
};

static inline unsigned dice(struct model *m, unsigned sides)
{
	m->seed = m->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(m->seed >> 33) % sides;
}

static inline void step_add(struct model *m, struct journal *j, struct model_job *job)
{
	char name[16];

	*job = (struct model_job){.lease_sec = 60 + dice(m, 1000), .worker = (int)dice(m, 3)};
	if (!m->workers[job->worker]) {
		(void)snprintf(name, sizeof(name), "mail.%d", job->worker);
		cr_assert(eq(int, journal_add_worker(j, name, "mark", "/cgroup", &m->workers[job->worker]), 0));
	}
	(void)snprintf(job->jid, sizeof(job->jid), "jid-%010u", m->n++);
	struct record_hold h = hold_of(job->jid);
	h.lease_sec = job->lease_sec;
	cr_assert(eq(int, journal_add(j, &h, m->workers[job->worker], &job->entry), 0));
}

static inline void step_report(struct model *m, struct journal *j, struct model_job *job)
{
	job->have_report = true;
	job->kind = (enum report_kind)dice(m, _REPORT_KIND_MAX);
	memset(job->line, 'a' + (int)dice(m, 26), sizeof(job->line) - 1);
	job->line[1 + dice(m, sizeof(job->line) - 2)] = '\0';
	journal_report(j, job->entry, job->kind, job->line, strlen(job->line), 1);
	if (job->kind == REPORT_WORKER_ACK)
		job->line[0] = '\0';
}

static inline void step(struct model *m, struct journal *j)
{
	struct model_job *job = &m->jobs[dice(m, JOBS)];

	if (!job->entry) {
		step_add(m, j, job);
		return;
	}
	switch (dice(m, 7)) {
	case 0:
	case 1:
		step_report(m, j, job);
		break;
	case 2:
		journal_withdraw_report(j, job->entry);
		job->sent = job->sent && !job->have_report; /* it was refused, and so not sent */
		job->have_report = false;
		break;
	case 3:
		journal_sent(j, job->entry, 77);
		job->sent = true;
		break;
	case 4:
		journal_ack_answered(j, job->entry);
		job->ack_answered = true;
		break;
	case 5: {
		struct record_hold h = hold_of(job->jid);
		h.lease_sec = job->lease_sec = 5000 + dice(m, 1000);
		journal_update(j, job->entry, &h);
		break;
	}
	default:
		journal_remove(j, job->entry);
		job->entry = NULL;
	}
}

static inline void expect_found(const struct model *m, const struct journal *j, const char *when, unsigned n)
{
	size_t expected = m->n_others;
	char name[16];

	for (size_t i = 0; i < JOBS; i++) {
		const struct model_job *job = &m->jobs[i];
		const struct journal_found *f = job->entry ? find_found(j, job->jid) : NULL;

		if (!job->entry)
			continue;
		expected++;
		cr_assert(not(eq(ptr, (void *)f, NULL)), "%s %u: %s is missing", when, n, job->jid);
		cr_assert(eq(u64, f->hold.lease_sec, job->lease_sec), "%s %u: %s", when, n, job->jid);
		cr_assert(eq(int, f->have_report, job->have_report), "%s %u: %s", when, n, job->jid);
		if (job->have_report) {
			cr_assert(eq(int, f->report.kind, job->kind));
			cr_assert(text_is(f->report.line, job->line), "%s %u: %s", when, n, job->jid);
		}
		cr_assert(eq(int, f->have_sent, job->sent), "%s %u: %s", when, n, job->jid);
		cr_assert(eq(int, f->ack_answered, job->ack_answered), "%s %u: %s", when, n, job->jid);
		cr_assert(eq(int, f->hold.doubtful, false));
		(void)snprintf(name, sizeof(name), "mail.%d", job->worker);
		cr_assert(not(eq(ptr, f->worker, NULL)));
		cr_assert(eq(str, f->worker->name, name));
	}
	cr_assert(eq(sz, n_found(j), expected), "%s %u", when, n);
}

/* The file as it stands, in a directory beside, as if this chargehand had been killed now. */
static inline void expect_next_finds(const struct model *m, const char *when, unsigned n)
{
	struct journal_settings s = settings_of();
	struct journal_opening o;
	struct journal *next;
	size_t bytes;
	char *p = read_whole("journal", &bytes);
	int fd, was = dir_fd;

	(void)mkdirat(dir_fd, ".next", 0700);
	fd = openat(dir_fd, ".next", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir_fd = s.dir_fd = fd;
	write_whole("journal", p, bytes);
	dir_fd = was;
	free(p);
	cr_assert(eq(int, journal_open(&s, &next, &o), 0));
	cr_assert(eq(u64, o.cut_bytes + o.damaged_bytes, 0), "%s %u", when, n);
	expect_found(m, next, when, n);
	journal_close(next);
	empty_dir_at(fd);
	close(fd);
	(void)unlinkat(dir_fd, ".next", AT_REMOVEDIR);
}

#endif
