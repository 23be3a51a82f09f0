/* SPDX-License-Identifier: MIT
 *
 * Bytes as what an earlier chargehand left behind a good preamble. Whatever they are a start must cope with them; and
 * as it may die at once, the next one must find the same, nothing torn and nothing damaged. All that is found can be
 * taken into a ledger. The first byte decides whether the records' checksums are made right first.
 */
#include "ledger/keep.h"

#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define SALT 0x5eed
#define NOW (3000 * USEC_PER_SEC)

static char dir_path[4096];
static int dir_fd = -1;

static void empty_dir(void)
{
	DIR *d = opendir(dir_path);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			(void)unlinkat(dir_fd, e->d_name, 0);
	if (d)
		(void)closedir(d);
}

static void remove_dir(void)
{
	empty_dir();
	(void)rmdir(dir_path);
}

static void make_dir(void)
{
	const char *top = getenv("TMPDIR");

	(void)snprintf(dir_path, sizeof(dir_path), "%s/fuzz-journal.XXXXXX", top ? top : "/tmp");
	CHECK(mkdtemp(dir_path));
	dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir_fd >= 0);
	(void)atexit(remove_dir);
}

static void write_journal(const uint8_t *data, size_t size, bool seal)
{
	size_t bytes = RECORD_PREAMBLE_BYTES + size, at = RECORD_PREAMBLE_BYTES, n;
	char *p = malloc(bytes);
	uint32_t payload;
	int fd;

	CHECK(p);
	record_encode_preamble(SALT, p);
	memcpy(p + at, data, size);
	for (; seal && bytes - at >= RECORD_HEAD_BYTES; at += n) {
		memcpy(&payload, p + at, sizeof(payload));
		n = RECORD_HEAD_BYTES + (((size_t)payload + 7) & ~(size_t)7);
		if (n > bytes - at)
			break;
		record_seal(p + at, n, SALT);
	}
	fd = openat(dir_fd, "journal", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, p, bytes) == (ssize_t)bytes);
	(void)close(fd);
	free(p);
}

static uint64_t mix(uint64_t h, const void *p, size_t bytes)
{
	const unsigned char *c = p;

	for (size_t i = 0; i < bytes; i++)
		h = (h ^ c[i]) * 1099511628211U;
	return h;
}

/* In any order. */
static uint64_t digest_of_found(const struct journal *j)
{
	size_t n;
	const struct journal_found *found = journal_found(j, &n);
	uint64_t sum = n;

	for (size_t i = 0; i < n; i++) {
		const struct journal_found *f = &found[i];
		uint64_t numbers[] = {
			f->hold.lease_sec, f->hold.received_usec,        f->hold.doubtful, f->have_report, f->have_sent,
			f->ack_answered,   f->worker ? f->worker->id : 0};
		uint64_t h = mix(mix(1, numbers, sizeof(numbers)), f->hold.jid.p, f->hold.jid.bytes);

		if (f->have_report)
			h = mix(h + f->report.kind, f->report.line.p, f->report.line.bytes);
		sum += h;
	}
	return sum;
}

static void restore_all(struct journal *j)
{
	struct ledger *ledger;
	struct holder holder;
	size_t n, n_restored = 0;
	const struct journal_found *found = journal_found(j, &n);

	CHECK(ledger_new(&ledger) == 0);
	holder_init(&holder, "fuzz.1");
	for (size_t i = 0; i < n; i++) {
		struct hold *h;
		int r = keep_restore(ledger, &holder, &found[i], NOW, NOW, &h);

		CHECK(r == 0 || r == -EINVAL);
		n_restored += r == 0;
		if (r == 0)
			CHECK(hold_fail_until_usec(h) <= hold_lease_end_min_usec(h) && h->state == HOLD_HELD);
	}
	CHECK(ledger_n_holds(ledger) == n_restored);
	ledger_free(ledger);
	holder_done(&holder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_settings s = {.server = "localhost:7419", .boot_id = "b", .sync = JOURNAL_SYNC_NEVER};
	struct journal_opening o;
	struct journal *j;
	uint64_t digest;
	int r;

	if (size == 0)
		return 0;
	if (dir_fd < 0)
		make_dir();
	s.dir_fd = dir_fd;
	write_journal(data + 1, size - 1, data[0] & 1);
	r = journal_open(&s, &j, &o);
	if (r < 0) {
		CHECK(r == -EPROTONOSUPPORT);
		empty_dir();
		return 0;
	}
	CHECK(o.error == 0);
	digest = digest_of_found(j);
	restore_all(j);
	journal_close(j);

	CHECK(journal_open(&s, &j, &o) == 0);
	CHECK(o.cut_bytes == 0 && o.damaged_bytes == 0 && o.aside == JOURNAL_ASIDE_NOT);
	CHECK(digest_of_found(j) == digest);
	journal_close(j);
	empty_dir();
	return 0;
}
