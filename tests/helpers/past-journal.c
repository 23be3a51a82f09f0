/* SPDX-License-Identifier: MIT
 *
 * Writes the journal that a chargehand of the past would have left: jobs of one worker that is no more. Or shows one.
 *
 * usage: past-journal DIRECTORY SERVER BOOT JID:AGE:LEASE[:REPORT[:SENT_AGE]] ...
 *        past-journal DIRECTORY SERVER show       what is in the one that is there: a line for each worker, a line for
 * each job
 *
 *   SERVER  host:port     BOOT  "" for this boot, else another's id
 *   AGE     seconds since the job was fetched;  LEASE  in seconds
 *   REPORT  held, ack, fail (the worker's own, "own words"), certificate (FAIL of chargehand's)
 *   SENT_AGE  seconds since a FAIL for it was sent for the first time
 */
#include "ledger/journal.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static struct record_text text(const char *s)
{
	return (struct record_text){.p = s, .bytes = strlen(s)};
}

static void add_report(struct journal *j, struct journal_entry *e, const char *jid, const char *report)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "FAIL {\"jid\":\"%s\",\"errtype\":\"Own\",\"message\":\"%s\"}\r\n", jid,
			 strcmp(report, "fail") == 0 ? "own words" : "a certificate");

	if (strcmp(report, "ack") == 0)
		journal_report(j, e, REPORT_WORKER_ACK, NULL, 0, 0);
	else
		journal_report(j, e, strcmp(report, "fail") == 0 ? REPORT_WORKER_FAIL : REPORT_FAIL, line, (size_t)n,
			       0);
}

static int add(struct journal *j, struct journal_worker *w, const char *spec)
{
	char jid[64], report[16] = "held";
	unsigned age, lease, sent_age = 0;
	int n = sscanf(spec, "%63[^:]:%u:%u:%15[^:]:%u", jid, &age, &lease, report, &sent_age);
	usec_t at = usec_sub(clock_now_usec(), age * USEC_PER_SEC);
	struct record_hold hold = {
		.fetched_usec = at,
		.received_usec = at,
		.wall_usec = usec_sub(clock_wall_usec(), age * USEC_PER_SEC),
		.lease_sec = lease,
		.jid = text(jid),
		.queue = text("default"),
		.jobtype = text("past"),
	};
	struct journal_entry *e;

	if (n < 3 || journal_add(j, &hold, w, &e) < 0)
		return -EINVAL;
	if (n >= 4 && strcmp(report, "held") != 0)
		add_report(j, e, jid, report);
	if (n == 5)
		journal_sent(j, e, usec_sub(clock_now_usec(), sent_age * USEC_PER_SEC));
	return 0;
}

static void show(const struct journal *j)
{
	const struct journal_found *found;
	size_t n;

	for (const struct journal_worker *w = journal_first_worker(j); w; w = journal_next_worker(w))
		printf("worker %s%s\n", w->name, w->gone ? " gone" : "");
	found = journal_found(j, &n);
	for (size_t i = 0; i < n; i++)
		printf("job %.*s%s%s%s%s\n", (int)found[i].hold.jid.bytes, found[i].hold.jid.p,
		       found[i].have_report && !found[i].report.none ? " " : "",
		       found[i].have_report && !found[i].report.none ? report_kind_to_string(found[i].report.kind) : "",
		       found[i].have_sent ? " sent" : "", found[i].ack_answered ? " ack-answered" : "");
}

int main(int argc, char *argv[])
{
	struct journal_settings settings = {.sync = JOURNAL_SYNC_NEVER};
	_cleanup_(cleanup_journal) struct journal *j = NULL;
	struct journal_opening opening;
	struct journal_worker *w;

	if (argc < 4)
		return 64;
	settings.dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY);
	settings.server = argv[2];
	settings.boot_id = *argv[3] && strcmp(argv[3], "show") != 0 ? argv[3] : NULL;
	if (settings.dir_fd < 0 || journal_open(&settings, &j, &opening) < 0)
		return 1;
	if (strcmp(argv[3], "show") == 0) {
		show(j);
		return 0;
	}
	if (journal_add_worker(j, "old.1", "old.1-0000000000000000", "", &w) < 0)
		return 1;
	for (int i = 4; i < argc; i++)
		if (add(j, w, argv[i]) < 0) {
			(void)fprintf(stderr, "past-journal: %s: not JID:AGE:LEASE...\n", argv[i]);
			return 64;
		}
	return 0;
}
