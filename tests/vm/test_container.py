#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""chargehand as process 1 of a container that a real runtime has made, with a limit of memory. The container's root is that
of the machine, so that files outlive it, as those of a volume do."""
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import certificate
import tap
from cgroups import ROOT, group_of
from chargehand import binary
from puppets import Puppets
from servers import wait_until

# What chargehand, a puppet and what starts them need. Docker's default profile (28.2) allows each of these to a container
# without privileges, and so what works under this filter works under that one.
ALLOWED = """
accept4 access arch_prctl bind brk capget capset chdir clock_getres clock_gettime clock_nanosleep close close_range connect
dup dup2 dup3 epoll_create1 epoll_ctl epoll_wait eventfd2 execve exit exit_group faccessat faccessat2 fallocate fcntl fdatasync
fgetxattr flock fork fstat fstatfs fsync ftruncate futex getcwd getdents64 getegid geteuid getgid getgroups getpeername getpgid
getpgrp getpid getppid getrandom getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid io_destroy
io_getevents io_setup io_submit ioctl kill listen lseek lstat madvise mkdir mkdirat mmap mprotect mremap munmap nanosleep
newfstatat open openat pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 prlimit64 pwrite64 read readlink
readlinkat recvfrom recvmsg rename renameat rmdir rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield
sendmsg sendto set_robust_list set_tid_address setpgid setsid setsockopt shutdown sigaltstack signalfd4 socket stat statfs
statx sysinfo tgkill time umask uname unlink unlinkat vfork wait4 waitid write writev
""".split()
NEW_NAMESPACES = 0x7e020000
FILTER = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.EPERM, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
    {"names": ALLOWED, "action": "SCMP_ACT_ALLOW"},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}]}


def below(pid):
    """The pids of all descendants, by what they are called out here."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        found = [int(child) for child in f.read().split()]
    return found + [more for child in found for more in below(child)]


class Crun(certificate.Case):
    runtime = "crun"

    def setUp(self):
        tap.need("machine", None if os.environ.get("VM") else "not in a machine of its own")
        super().setUp()
        self.volume = tempfile.mkdtemp()

    def with_filter(self):
        """What is to come before PATH: a directory with a runtime that adds the filter to what it is told."""
        place = tempfile.mkdtemp()
        with open(os.path.join(place, self.runtime), "w") as f:
            f.write(f"""#!/bin/sh
for word; do [ "$before" != --bundle ] || sed -i 's|"linux": {{|& "seccomp": {json.dumps(FILTER)},|' "$word/config.json"; before=$word; done
exec {shutil.which(self.runtime)} "$@"
""")
        os.chmod(os.path.join(place, self.runtime), 0o755)
        return f"{place}:"

    def command(self, *runtime_options, path=""):
        words = [os.path.join(os.environ["CHARGEHAND_SHARED"], "vm", "in-container"), "-R", self.runtime, "-l", "64M",
                 *runtime_options, "--"]
        wrapper = os.path.join(tempfile.mkdtemp(), "container")
        with open(wrapper, "w") as f:
            f.write(f'#!/bin/sh\nexport PATH={path}$PATH\nexec {" ".join(words)} env STATE_DIRECTORY={self.volume} PUPPET_CONTROL="$PUPPET_CONTROL" '
                    f'"{binary()}" "$@"\n')
        os.chmod(wrapper, 0o755)
        return wrapper

    def stage(self, *options, runtime=(), path=""):
        outer, os.environ["CHARGEHAND"] = os.environ["CHARGEHAND"], self.command(*runtime, path=path)
        try:
            s = Puppets(self.server, instances=1, options=["--cgroup", "auto", *options])
        finally:
            os.environ["CHARGEHAND"] = outer
        self.addCleanup(s.close)
        self.addCleanup(self.end, s)
        return s

    def first(self):
        """The pid of chargehand out here."""
        def pids():
            # Below the test, for a runtime may leave it to a monitor that nobody is the parent of any more.
            return [pid for pid in below(os.getpid()) if open(f"/proc/{pid}/comm").read() == "chargehand\n"]
        return wait_until(pids)[0]

    def end(self, stage):
        if stage.chargehand.process.poll() is None:
            os.kill(self.first(), signal.SIGTERM)
            self.assertEqual(stage.chargehand.wait(), 0)

    def test_the_worker_is_killed_at_the_limit_of_the_container(self):
        """The default of Docker: cgroups to be read only, and one process killed."""
        s = self.stage()
        p = self.holder(s)
        s.chargehand.wait_log("no cgroups: ")
        self.assertFalse(p.eat(100))
        self.check(p, "HostOutOfMemory", r"^p\.1 \(pid \d+\) was killed by the kernel at the memory limit of its container "
                                         r"\(64 MiB\), \S+ m?s after its start; its largest process had \S+ MiB; it held 2 jobs")
        p = self.holder(s)  # chargehand lives, and so does its next worker
        self.assertEqual(p.feed(100), signal.SIGKILL)
        s.chargehand.wait_log("The kernel has killed 1 process for lack of memory in the cgroup that chargehand shares")

    def test_killed_by_somebody(self):
        s = self.stage()
        p = self.holder(s)
        (worker,) = below(self.first())
        os.kill(worker, signal.SIGKILL)
        self.check(p, "WorkerSignaled", r"was killed by SIGKILL \S+ m?s after")

    def test_limits_of_its_own_where_cgroups_can_be_written(self):
        s = self.stage("--memory-max", "24M", runtime=["-w"])
        p = self.holder(s)
        s.chargehand.wait_log(r"cgroups below .* \(the own group\)")
        self.assertFalse(p.eat(40))
        self.check(p, "WorkerOutOfMemory", r"was killed by the kernel at its own memory limit .* of 24 MiB; it held 2 jobs")

    def test_its_own_limit_above_that_of_the_container(self):
        p = self.holder(self.stage("--memory-max", "200M", runtime=["-w"]))
        self.assertFalse(p.eat(100))
        self.check(p, "HostOutOfMemory", r"was killed by the kernel at the memory limit of its container \(64 MiB\), below its own "
                                         r"limit, .* of 200 MiB; it held 2 jobs")

    def test_the_container_is_killed_as_a_whole(self):
        """memory.oom.group, as Kubernetes sets it since 1.28: the next one on the same volume settles the jobs."""
        s = self.stage()
        p = self.holder(s)
        with open(os.path.join(ROOT + group_of(self.first()), "memory.oom.group"), "w") as f:
            f.write("1")
        self.assertFalse(p.eat(100))
        self.assertEqual(s.chargehand.wait(), 137)
        self.assertEqual(self.server.find(p.jids[0])[0], "working")
        self.stage().take()
        self.check(p, "SupervisorDied", r"^chargehand, which looked after p\.1 \(pid \d+\), died")

    def check_filtered(self, *runtime):
        s = self.stage(runtime=runtime, path=self.with_filter())
        p = self.holder(s)
        pid = self.first()
        for each in [pid, *below(pid)]:
            with open(f"/proc/{each}/status") as f:
                self.assertRegex(f.read(), r"(?m)^Seccomp:\t2$")
        self.assertFalse(p.eat(100))
        self.check(p, "HostOutOfMemory", r"was killed by the kernel at the memory limit of its container")
        p = self.holder(s)
        os.kill(below(pid)[0], signal.SIGKILL)
        self.check(p, "WorkerSignaled", r"was killed by SIGKILL")
        s.take()
        self.assertNotRegex(s.chargehand.log(), "not permitted|not implemented")
        return s.chargehand.log()

    def test_system_calls_are_filtered(self):
        """By no more than Docker's default profile allows; clone3 is not there."""
        self.assertRegex(self.check_filtered(), "no cgroups: ")

    def test_system_calls_are_filtered_and_cgroups_can_be_written(self):
        self.assertRegex(self.check_filtered("-w"), r"cgroups below .* \(the own group\)")

    def test_check(self):
        done = subprocess.run([self.command(), "--check", "true"], stdout=subprocess.PIPE, text=True,
                              env=dict(os.environ, FAKTORY_URL=self.server.url))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"(?m)^memory +.* told by the cgroup it shares with chargehand$")
        self.assertRegex(done.stdout, rf"(?m)^journal +{self.volume}/journal")


class Podman(Crun):
    """Which has the profile of its own distribution, as Docker's, unless cgroups can be written."""
    runtime = "podman"
    test_system_calls_are_filtered_and_cgroups_can_be_written = None

    def with_filter(self):
        return ""


if __name__ == "__main__":
    tap.main()
