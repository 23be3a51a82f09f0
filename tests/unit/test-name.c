/* SPDX-License-Identifier: MIT
 *
 * Names made of commands, and the directory that is made of a name.
 */
#include "config/name.h"
#include "loaded-config.h"

TestSuite(name, .fini = unload);

Test(name, names)
{
	static const char *const rows[][2] = {
		{"/usr/bin/worker", "worker"},
		{"worker.rb", "worker.rb"},
		{"./a b", "a-b"},
		{"/", "worker"},
		{"..", "worker"},
		{"-x", "x"},
		{"gr\xc3\xbcn", "gr--n"},
		{"12345678901234567890123456789012345678901", "1234567890123456789012345678901234567890"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *name = config_name_from_command(rows[i][0]);
		cr_assert(eq(str, name, (char *)rows[i][1]));
		cr_assert(config_name_is_valid(name), "%s", name);
		free(name);
	}
}

static char *state_dir(uid_t uid, const char *here, char *const *envp)
{
	char *path = NULL;

	cr_assert(eq(int, config_default_state_dir(config, uid, here, envp, &path), 0));
	return path;
}

static void check_place(const char *here, char *const *envp, const char *than, bool same)
{
	char *path = state_dir(0, here, envp);

	cr_expect(eq(int, strcmp(path, than) == 0, same), "%s", path);
	free(path);
}

Test(name, the_default_state_directory)
{
	char *xdg[] = {"XDG_STATE_HOME=/x", "HOME=/h", NULL}, *home[] = {"XDG_STATE_HOME=relative", "HOME=/h", NULL};
	char *root, *other;

	cr_assert(eq(int, LOAD("--name", "mail", "--server", "tcp://a:1", "w", "x"), CONFIG_OK));
	root = state_dir(0, "/here", xdg);
	cr_assert(eq(int, strncmp(root, "/var/lib/chargehand/mail-", 25), 0), "%s", root);
	cr_assert(eq(sz, strlen(root), 25 + 12));

	other = state_dir(1000, "/here", xdg);
	cr_assert(eq(int, strncmp(other, "/x/chargehand/mail-", 19), 0), "%s", other);
	cr_assert(eq(str, other + 19, root + 25));
	free(other);
	other = state_dir(1000, "/here", home);
	cr_assert(eq(int, strncmp(other, "/h/.local/state/chargehand/mail-", 32), 0), "%s", other);
	free(other);
	cr_assert(eq(ptr, state_dir(1000, "/here", no_environment), NULL));

	/* another directory, another server, another command: another place */
	check_place("/there", xdg, root, false);
	cr_assert(eq(int, LOAD("--name", "mail", "--server", "tcp://a:2", "w", "x"), CONFIG_OK));
	check_place("/here", xdg, root, false);
	cr_assert(eq(int, LOAD("--name", "mail", "--server", "tcp://a:1", "wx"), CONFIG_OK));
	check_place("/here", xdg, root, false);
	/* the password is not part of who the server is */
	cr_assert(eq(int, LOAD("--name", "mail", "--server", "tcp://:new@a:1", "w", "x"), CONFIG_OK));
	check_place("/here", xdg, root, true);
	free(root);
}
