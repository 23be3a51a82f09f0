/* SPDX-License-Identifier: MIT
 *
 * The distance is that of Damerau and Levenshtein in its simple form (optimal string alignment), in three rows of the
 * table of all pairs of beginnings; letters are compared without case.
 */
#include "config/nearest.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

#define WORD_BYTES_MIN 3
#define WORD_BYTES_MAX 32

static bool same(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static unsigned distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
	unsigned rows[3][WORD_BYTES_MAX + 1];

	for (unsigned j = 0; j <= b_bytes; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= a_bytes; i++) {
		const unsigned *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];
		unsigned *row = rows[i % 3];

		row[0] = i;
		for (unsigned j = 1; j <= b_bytes; j++) {
			row[j] = MIN(above[j], row[j - 1]) + 1;
			row[j] = MIN(row[j], above[j - 1] + !same(a[i - 1], b[j - 1]));
			if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
				row[j] = MIN(row[j], two_above[j - 2] + 1);
		}
	}
	return rows[a_bytes % 3][b_bytes];
}

const struct option_row *nearest_option(const char *word, size_t bytes, enum option_scope without)
{
	const struct option_row *nearest = NULL;
	unsigned least = (unsigned)bytes / 3 + 1;

	if (bytes < WORD_BYTES_MIN || bytes > WORD_BYTES_MAX)
		return NULL;
	for (size_t i = 0; i < option_table_rows; i++) {
		const struct option_row *row = &option_table[i];
		size_t row_bytes = strlen(row->name);
		unsigned far;

		if (row->scope == without || row_bytes > WORD_BYTES_MAX)
			continue;
		far = distance(word, bytes, row->name, row_bytes);
		if (row_bytes > bytes && strncasecmp(word, row->name, bytes) == 0)
			far = 1;
		if (far < least) {
			least = far;
			nearest = row;
		}
	}
	return nearest;
}
