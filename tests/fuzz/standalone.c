/* SPDX-License-Identifier: MIT
 *
 * A main() for fuzz targets where there is no libFuzzer: gives each file of the target's corpus to it, once whole and
 * once cut at every quarter, and says so in TAP. The corpus is $TOP_SRCDIR/tests/fuzz/corpus/TARGET for fuzz-TARGET, or
 * the files named on the command line. A target fails by crashing.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return -errno;
	uint8_t *data = NULL;
	size_t bytes = 0, room = 0;
	for (;;) {
		if (bytes == room) {
			room = room ? 2 * room : 4096;
			uint8_t *more = realloc(data, room);
			if (!more)
				abort();
			data = more;
		}
		size_t n = fread(data + bytes, 1, room - bytes, f);
		if (n == 0)
			break;
		bytes += n;
	}
	(void)fclose(f);
	for (size_t quarter = 0; quarter <= 4; quarter++) {
		/* A copy of its exact length, so that a sanitizer sees one byte too far. */
		size_t part = bytes * quarter / 4;
		uint8_t *copy = malloc(part ? part : 1);
		if (!copy)
			abort();
		memcpy(copy, data, part);
		(void)LLVMFuzzerTestOneInput(copy, part);
		free(copy);
	}
	free(data);
	return 0;
}

static int not_hidden(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

int main(int argc, char *argv[])
{
	char corpus[PATH_MAX];
	const char *target = basename(argv[0]);
	const char *top = getenv("TOP_SRCDIR");
	struct dirent **entries = NULL;
	int n = 0, failed = 0, count = 0;

	if (argc > 1) {
		printf("1..%d\n", argc - 1);
		for (int i = 1; i < argc; i++) {
			int r = run_file(argv[i]);
			printf("%s %d - %s\n", r < 0 ? "not ok" : "ok", i, argv[i]);
			failed |= r < 0;
		}
		return failed;
	}
	if (strncmp(target, "fuzz-", 5) == 0)
		target += 5;
	if (!top ||
	    (size_t)snprintf(corpus, sizeof(corpus), "%s/tests/fuzz/corpus/%s", top, target) >= sizeof(corpus)) {
		fputs("usage: fuzz-TARGET FILE..., or TOP_SRCDIR=DIRECTORY fuzz-TARGET\n", stderr);
		return 2;
	}
	n = scandir(corpus, &entries, not_hidden, alphasort);
	printf("1..%d\n", n > 0 ? n + 1 : 1);
	/* An empty corpus would be a test that cannot fail. */
	printf("%s %d - %s has a corpus\n", n > 0 ? "ok" : "not ok", ++count, target);
	failed = n <= 0;
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX + NAME_MAX + 2];
		(void)snprintf(path, sizeof(path), "%s/%s", corpus, entries[i]->d_name);
		int r = run_file(path);
		printf("%s %d - %s\n", r < 0 ? "not ok" : "ok", ++count, entries[i]->d_name);
		(void)fflush(stdout);
		failed |= r < 0;
		free(entries[i]);
	}
	free(entries);
	return failed;
}
