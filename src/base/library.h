/* SPDX-License-Identifier: MIT
 *
 * Libraries that not every chargehand needs, loaded where one does (dlopen(3)): what is not needed costs neither memory
 * nor time. What has been loaded stays.
 *
 *	#define SYMBOLS(X) X(function) X(another)
 *	static struct {
 *		SYMBOLS(LIBRARY_POINTER)
 *	} lib;
 *	r = library_load("libof.so.1", SYMBOLS(LIBRARY_NAME), &lib, &message);
 *	... lib.function(...) ...
 */
#ifndef CHARGEHAND_BASE_LIBRARY_H
#define CHARGEHAND_BASE_LIBRARY_H

#include "base/macro.h"

#define LIBRARY_POINTER(name) __typeof__(name) *name;
#define LIBRARY_NAME(name) #name "\0"
/* For a program that has the library linked: .name = name */
#define LIBRARY_LINKED(name) .name = name,

/* names: each ended by NUL, the last by two. ret_pointers: as many pointers to functions, in that order. 0, or
 * -EOPNOTSUPP with ret_pointers unchanged and what the dynamic linker says of it in *ret_message (malloc'ed, may be
 * NULL). Reads files. */
int library_load(const char *soname, const char *names, void *ret_pointers, char **ret_message) _must_check_;

/* Says in the program which library it may load, for the tools that make a package's dependencies, to whom the dynamic
 * section says nothing of it (https://systemd.io/ELF_DLOPEN_METADATA/; readelf --notes). All are literals; priority is
 *
 *	"required"     without it the program is of no use to most
 *	"recommended"  it is of use, and most should have the library
 *	"suggested"    for a few
 *
 * Written for the assembler, for compilers would give the section another type, and a sanitizer might put something of
 * its own between two notes. */
#define LIBRARY_NOTE(feature, description, priority, soname)                                                           \
	__asm__(".pushsection .note.dlopen, \"a\", %note\n"                                                            \
		".balign 4\n"                                                                                          \
		".4byte 4, 2f - 1f, 0x407c0c0a\n"                                                                      \
		".asciz \"FDO\"\n"                                                                                     \
		"1: .ascii \"[{\\\"feature\\\":\\\"" feature "\\\",\"\n"                                               \
		".ascii \"\\\"description\\\":\\\"" description "\\\",\"\n"                                            \
		".ascii \"\\\"priority\\\":\\\"" priority "\\\",\"\n"                                                  \
		".asciz \"\\\"soname\\\":[\\\"" soname "\\\"]}]\"\n"                                                   \
		"2: .balign 4\n"                                                                                       \
		".popsection")

#endif
