/* SPDX-License-Identifier: MIT */
#include "base/library.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dlfcn.h>
#include <string.h>

#define SYMBOLS(X) X(strlen) X(getenv)

static struct {
	SYMBOLS(LIBRARY_POINTER)
} lib;

static const char *path_of_libc(void)
{
	Dl_info info;

	cr_assert_neq(dladdr((void *)getpid, &info), 0);
	return info.dli_fname;
}

Test(library, gives_the_functions_that_are_named)
{
	char *message = NULL;

	cr_assert(eq(int, library_load(path_of_libc(), SYMBOLS(LIBRARY_NAME), &lib, &message), 0), "%s", message);
	cr_expect(eq(sz, lib.strlen("four"), 4));
	cr_expect(eq(str, lib.getenv("PATH"), getenv("PATH")));
	cr_expect_null(message);
}

Test(library, one_that_is_missing_is_named)
{
	char *message = NULL;

	cr_expect(eq(int, library_load("libnobody-has-this.so.1", SYMBOLS(LIBRARY_NAME), &lib, &message), -EOPNOTSUPP));
	cr_assert_not_null(message);
	cr_expect_not_null(strstr(message, "libnobody-has-this.so.1"), "%s", message);
	cr_expect_null(lib.strlen);
	free(message);
}

Test(library, a_function_that_is_missing_is_named_and_nothing_is_given)
{
	char *message = NULL;

	cr_expect(eq(int,
		     library_load(path_of_libc(), SYMBOLS(LIBRARY_NAME) LIBRARY_NAME(nobody_has_this), &lib, &message),
		     -EOPNOTSUPP));
	cr_assert_not_null(message);
	cr_expect_not_null(strstr(message, "nobody_has_this"), "%s", message);
	cr_expect_null(lib.strlen);
	free(message);
}

Test(library, the_linked_are_the_same)
{
	static const struct {
		SYMBOLS(LIBRARY_POINTER)
	} linked = {SYMBOLS(LIBRARY_LINKED)};

	cr_expect(eq(sz, linked.strlen("four"), 4));
	cr_expect(eq(str, linked.getenv("PATH"), getenv("PATH")));
}
