/* SPDX-License-Identifier: MIT
 *
 * Runs the files named on the command line through a fuzz target once, where there is no libFuzzer: a corpus is then a
 * regression test like any other. Says nothing when all is well.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	size_t size = 0, n;

	if (!f) {
		perror(path);
		return -1;
	}
	do {
		uint8_t *bigger = realloc(data, size + 65536);

		if (!bigger)
			abort();
		data = bigger;
		n = fread(data + size, 1, 65536, f);
		size += n;
	} while (n > 0);
	fclose(f);

	/* Exactly as large as the file, so that a sanitizer sees what is read beyond it. */
	uint8_t *exact = realloc(data, size ? size : 1);
	if (!exact)
		abort();
	(void)LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 64;
	}
	for (int i = 1; i < argc; i++)
		if (run_file(argv[i]) < 0)
			return 1;
	return 0;
}
