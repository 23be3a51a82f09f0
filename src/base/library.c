/* SPDX-License-Identifier: MIT
 *
 * dlopen(3) and dlsym(3): all of a table, or nothing of it.
 */
#include "base/library.h"
#include <dlfcn.h>
#include <string.h>

static int library_say(char **ret_message)
{
	const char *text = dlerror();

	*ret_message = text ? strdup(text) : NULL;
	return -EOPNOTSUPP;
}

int library_load(const char *soname, const char *names, void *ret_pointers, char **ret_message)
{
	/* All of what it refers to now, rather than in the middle of a call. */
	void *handle = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
	void **pointers = ret_pointers;

	if (!handle)
		return library_say(ret_message);
	for (const char *name = names; *name; name += strlen(name) + 1)
		if (!dlsym(handle, name))
			return library_say(ret_message);
	for (const char *name = names; *name; name += strlen(name) + 1)
		*pointers++ = dlsym(handle, name);
	return 0;
}
