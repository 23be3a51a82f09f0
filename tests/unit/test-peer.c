/* SPDX-License-Identifier: MIT
 *
 * Real loopback connections, looked up from the listener's side.
 */
#include "process/peer.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static struct peer_lookup *lookup;
static struct sockaddr_in local;
static int listener = -EBADF;

static void setup(void)
{
	socklen_t length = sizeof(local);
	int r = peer_lookup_new(&lookup);

	if (r == -EPROTONOSUPPORT || r == -EACCES || r == -EPERM)
		cr_skip_test("this kernel or sandbox has no sock_diag");
	cr_assert(eq(int, r, 0));
	local = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(ge(int, listener, 0));
	cr_assert(eq(int, bind(listener, (struct sockaddr *)&local, sizeof(local)), 0));
	cr_assert(eq(int, listen(listener, 16), 0));
	cr_assert(eq(int, getsockname(listener, (struct sockaddr *)&local, &length), 0));
}

static void teardown(void)
{
	listener = close_fd(listener);
	lookup = peer_lookup_free(lookup);
}

TestSuite(peer, .init = setup, .fini = teardown, .timeout = 60);

static int connect_v4(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (struct sockaddr *)&local, sizeof(local)) == 0 ? fd : -1;
}

static int connect_v6_mapped(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = local.sin_port};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin6_addr.s6_addr[10] = address.sin6_addr.s6_addr[11] = 0xff;
	address.sin6_addr.s6_addr[12] = 127;
	address.sin6_addr.s6_addr[15] = 1;
	return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

static int accept_peer(struct sockaddr_in *ret_peer)
{
	socklen_t length = sizeof(*ret_peer);
	int fd = accept(listener, (struct sockaddr *)ret_peer, &length);

	cr_assert(ge(int, fd, 0));
	return fd;
}

Test(peer, a_living_peer_has_its_uid)
{
	int (*const ways[])(void) = {connect_v4, connect_v6_mapped};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct sockaddr_in peer;
		struct peer_info info = {.orphaned = true};
		int fd = ways[i]();

		if (fd < 0 && i == 1)
			cr_skip_test("no IPv6 here");
		cr_assert(ge(int, fd, 0));
		int accepted = accept_peer(&peer);
		cr_expect(eq(int, peer_lookup_tcp(lookup, &peer, &local, &info), 0));
		cr_expect(eq(u64, info.uid, getuid()));
		cr_expect(not(info.orphaned));
		if (info.have_cgroup)
			cr_expect(ne(u64, info.cgroup_id, 0));
		close(fd);
		close(accepted);
	}
}

Test(peer, another_uid_is_told)
{
	struct sockaddr_in peer;
	struct peer_info info;
	int status;

	if (getuid() != 0)
		cr_skip_test("only root can give up its rights");
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setuid(65534) < 0 || connect_v4() < 0)
			_exit(1);
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* setuid() cleared it */
		for (;;)
			pause();
	}
	int accepted = accept_peer(&peer);
	cr_expect(eq(int, peer_lookup_tcp(lookup, &peer, &local, &info), 0));
	cr_expect(eq(u64, info.uid, 65534));
	kill(pid, SIGKILL);
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	close(accepted);
}

Test(peer, a_dead_peer_tells_nothing)
{
	struct sockaddr_in peer;
	struct peer_info info = {.orphaned = false};
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(connect_v4() < 0);
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_assert(eq(int, status, 0));
	int accepted = accept_peer(&peer);
	int r = peer_lookup_tcp(lookup, &peer, &local, &info);
	cr_expect(eq(int, r == -ENOENT || (r == 0 && info.orphaned), 1), "%d, orphaned %d, uid %u", r, info.orphaned,
		  info.uid);
	close(accepted);
}

Test(peer, nobody_is_nobody)
{
	struct sockaddr_in peer = local;
	struct peer_info info = {.uid = 4711};

	peer.sin_port = htons(1);
	cr_expect(eq(int, peer_lookup_tcp(lookup, &peer, &local, &info), -ENOENT));
	/* A socket that listens on the address in question is what the kernel would offer instead. */
	cr_expect(eq(int, peer_lookup_tcp(lookup, &local, &local, &info), -ENOENT));
	cr_expect(eq(u64, info.uid, 4711), "written on failure");
}

Test(peer, thousands_of_questions_get_their_own_answers)
{
	struct sockaddr_in peer, nobody = local;
	struct peer_info info;
	int fd = connect_v4(), accepted;

	cr_assert(ge(int, fd, 0));
	accepted = accept_peer(&peer);
	nobody.sin_port = htons(1);
	for (int i = 0; i < 5000; i++) {
		cr_assert(eq(int, peer_lookup_tcp(lookup, &peer, &local, &info), 0));
		cr_assert(eq(int, peer_lookup_tcp(lookup, &nobody, &local, &info), -ENOENT));
	}
	close(fd);
	close(accepted);
}
