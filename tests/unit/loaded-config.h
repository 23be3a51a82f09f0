/* SPDX-License-Identifier: MIT
 *
 * Configurations, loaded as main() does it: the last one, and its error, are there until the next.
 */
#ifndef CHARGEHAND_TESTS_UNIT_LOADED_CONFIG_H
#define CHARGEHAND_TESTS_UNIT_LOADED_CONFIG_H

#include "config/config.h"
#include "config/file.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static char *no_environment[] = {NULL};

/* Each test has a process of its own, so these need no clean-up between tests. */
static struct config *config;
static char *message;

static inline int load(char *const *envp, char *const *words)
{
	char *argv[32] = {"chargehand"};
	int argc = 1;

	while (*words && argc < 31)
		argv[argc++] = *words++;
	config = config_free(config);
	free(message);
	message = NULL;
	return config_load(argc, argv, envp, &config, &message);
}
#define LOAD(...) load(no_environment, (char *[]){__VA_ARGS__, NULL})
#define LOAD_WITH(envp, ...) load(envp, (char *[]){__VA_ARGS__, NULL})

static inline void unload(void)
{
	config = config_free(config);
	free(message);
	message = NULL;
}

/* The text of a file alone, which is called f.conf. */
static inline int parse_file(const char *text)
{
	struct config_file_found found;

	unload();
	config = calloc(1, sizeof(*config));
	return config_file_parse("f.conf", text, config, &found, &message);
}

#endif
