/* SPDX-License-Identifier: MIT
 *
 * What somebody probably meant who has written a key or an option that is not there. Pure.
 */
#ifndef CHARGEHAND_CONFIG_NEAREST_H
#define CHARGEHAND_CONFIG_NEAREST_H

#include "config/option.h"

/* The row whose name is nearest to the word of so many bytes, without dashes in front; of equally near ones the first
 * of the table. Rows of scope `without` do not count. NULL where none is near: one letter in three may be wrong,
 * missing, too many or changed with its neighbour, or the rest of the name may be missing. */
const struct option_row *nearest_option(const char *word, size_t bytes, enum option_scope without);

#endif
