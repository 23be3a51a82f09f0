#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the death certificate says where there is a memory controller: every cause that the kernel's counters tell, and those
which they must not be blamed for. P5: the cause is named."""
import os
import re
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import certificate
import cgroups
import servers
import tap
from cgroups import ROOT, group_of
from manager import Manager
from puppets import Puppets, program
from servers import wait_until


class Case(certificate.Case):
    def setUp(self):
        tap.need("memory", cgroups.memory()[1])
        super().setUp()
        self.directory = cgroups.Directory()
        self.addCleanup(self.directory.close)

    def limit_directory(self, size):
        with open(os.path.join(self.directory.path, "memory.max"), "w") as f:
            f.write(size)

    def stage(self, *options, instances=1, place=None, **more):
        place = place or ["--cgroup", self.directory.path]
        s = Puppets(self.server, instances=instances, options=[*place, *options], **more)
        self.addCleanup(s.close)
        return s

    def check(self, puppet, errtype, how, rest=r""):
        super().check(puppet, errtype, rf"^p\.\d \(pid {puppet.pid}\) {how} \S.* after its start(; chargehand killed the "
                                       rf"processes it left behind)?; memory peak \S+ [KM]iB.*{rest}"
                                       r"; it held 2 jobs, this one for ")


class OutOfMemory(Case):
    def test_own_limit(self):
        p = self.holder(self.stage("--memory-max", "24M"))
        self.assertFalse(p.eat(64))
        self.check(p, "WorkerOutOfMemory", "was killed by the kernel at its own memory limit", " of 24 MiB")

    def test_own_limit_and_all_die_of_it(self):
        s = self.stage("--memory-max", "24M", "--oom-group", "yes")
        p = self.holder(s)
        with self.assertRaises(OSError):  # a child eats, and its parent dies with it
            p.feed(64)
        self.check(p, "WorkerOutOfMemory", "was killed by the kernel, as a whole, at its own memory limit", " of 24 MiB")
        self.assertNotRegex(s.chargehand.log(), "goes on without")

    def test_limit_of_the_group_around(self):
        self.limit_directory("48M")
        p = self.holder(self.stage("--memory-max", "200M"))
        self.assertFalse(p.eat(100))
        name = re.escape(self.directory.path.removeprefix(ROOT))
        self.check(p, "HostOutOfMemory", rf"was killed by the kernel at the memory limit of the cgroup {name}, around its own "
                                         r"\(48 MiB\), below its own limit,", " of 200 MiB")

    def test_the_next_one_is_not_blamed_on_that_limit(self):
        self.limit_directory("48M")
        s = self.stage("--memory-max", "24M", instances=2)
        p = self.holder(s)
        other = s.take()
        self.assertFalse(other.eat(40))
        s.chargehand.wait_log("its own memory limit")
        p.kill()
        self.check(p, "WorkerSignaled", "was killed by SIGKILL", " of 24 MiB")

    def test_the_whole_machine(self):
        p = self.holder(self.stage())
        while p.eat(100):
            pass
        self.check(p, "HostOutOfMemory", "was killed by the kernel for lack of memory of the whole machine, below its own limit,")

    def test_systemd_oomd(self):
        """Its marks are set by hand: it sets this one before it kills."""
        p = self.holder(self.stage())
        os.setxattr(ROOT + group_of(p.pid), "user.oomd_ooms", b"1")
        p.kill()
        self.check(p, "HostOutOfMemory", "was killed by systemd-oomd for a shortage of memory outside of it,")

    def test_several_die_of_one_shortage(self):
        self.limit_directory("64M")
        s = self.stage(instances=2)
        one, two = self.holder(s), self.holder(s)
        for p in (one, two):
            p.control.sendall(b"eat 60\n")
        reports = [jid for p in (one, two) for jid in p.jids[:1]]
        wait_until(lambda: any(self.server.find(jid)[0] == "retries" for jid in reports))
        dead = [p for p in (one, two) if self.server.find(p.jids[0])[0] == "retries"]
        for p in dead:
            self.check(p, "HostOutOfMemory", "was killed by the kernel at the memory limit of the cgroup .*")


class NotOutOfMemory(Case):
    def test_a_child_that_the_worker_outlives(self):
        """Hazards 37: the kill is told and counted, and does not make a later kill -9 a death of memory."""
        s = self.stage("--memory-max", "24M")
        p = self.holder(s)
        self.assertEqual(p.feed(64), signal.SIGKILL)
        s.chargehand.wait_log(r"p\.1: the kernel has killed 1 of its processes for lack of memory; it goes on without")
        self.assertEqual(self.server.find(p.jids[0])[0], "working")
        # Again: reading has armed the notification once more.
        self.assertEqual(p.feed(64), signal.SIGKILL)
        s.chargehand.wait_log(r"p\.1: the kernel has killed 1 of its processes", count=2)
        p.kill()
        self.check(p, "WorkerSignaled", "was killed by SIGKILL", " of 24 MiB; the kernel killed 2 other processes of it for "
                                                                 "lack of memory")

    def manager(self):
        m = Manager()
        self.addCleanup(m.close)
        return m

    def test_the_line_of_status_counts_children_that_are_outlived(self):
        m = self.manager()
        s = self.stage("--memory-max", "24M", env={"NOTIFY_SOCKET": m.path})
        p = self.holder(s)
        m.wait("READY=1")
        self.assertEqual(p.feed(64), signal.SIGKILL)
        m.wait("STATUS=1 of 1 worker running; 1 process killed for lack of memory, outlived by its worker$")
        self.assertEqual(p.feed(64), signal.SIGKILL)
        m.wait("STATUS=1 of 1 worker running; 2 processes killed for lack of memory, outlived by their workers$")
        s.chargehand.wait_log(r"p\.1: the kernel has killed 1 of its processes for lack of memory; it goes on without", count=2)
        self.assertEqual([self.server.find(jid)[0] for jid in p.jids], ["working", "working"])

    def test_what_dies_with_the_worker_is_not_outlived(self):
        """The worker is there for long after its end, for its jobs wait for a server that is away."""
        self.server = servers.make("dev")
        self.addCleanup(self.server.close)
        m = self.manager()
        s = self.stage("--memory-max", "24M", "--oom-group", "yes", env={"NOTIFY_SOCKET": m.path})
        p = self.holder(s)
        m.wait("READY=1")
        self.server.kill()
        with self.assertRaises(OSError):
            p.feed(64)
        s.chargehand.wait_log("was killed by the kernel, as a whole, at its own memory limit")
        while m.hear(1):
            pass
        self.assertNotRegex(str(m.told), "outlived")
        self.assertNotRegex(s.chargehand.log(), "goes on without")

    def test_a_parent_that_gives_up_when_its_child_is_killed(self):
        p = self.holder(self.stage("--memory-max", "24M"))
        self.assertEqual(p.feed(64), signal.SIGKILL)
        p.exit(1)
        self.check(p, "WorkerExited", "exited with status 1", "; the kernel killed 1 other process of it for lack of memory")

    def test_killed_while_a_neighbour_runs_out_of_memory(self):
        s = self.stage("--memory-max", "24M", instances=2)
        p, other = self.holder(s), self.holder(s)
        s.stop()
        self.assertFalse(other.eat(64))
        p.kill()
        s.go()
        self.check(other, "WorkerOutOfMemory", "was killed by the kernel at its own memory limit")
        self.check(p, "WorkerSignaled", "was killed by SIGKILL", " of 24 MiB")

    def test_killed_by_somebody(self):
        p = self.holder(self.stage())
        p.kill()
        self.check(p, "WorkerSignaled", "was killed by SIGKILL")

    def test_a_crash_with_a_core_dump(self):
        place = tempfile.mkdtemp()
        p = self.holder(self.stage(command=["sh", "-c", f"cd {place}; ulimit -c unlimited; exec {program()}"]))
        p.crash(signal.SIGSEGV)
        self.check(p, "WorkerSignaled", r"was killed by SIGSEGV \(core dumped\)")

    def test_an_exit(self):
        p = self.holder(self.stage())
        p.exit(7)
        self.check(p, "WorkerExited", "exited with status 7")

    def test_a_stop_and_its_grace(self):
        s = self.stage("--stop-grace", "100ms", "--", "sh", "-c", f"trap '' TERM; exec {program()}")
        p = self.holder(s)
        self.assertEqual(s.chargehand.stop(), 0)
        self.check(p, "WorkerStopped", r"was told to stop and killed at the end of its grace of 100\.0 ms,")

    def test_a_stop_and_its_end(self):
        s = self.stage()
        p = self.holder(s)
        self.assertEqual(s.chargehand.stop(), 0)
        self.check(p, "WorkerStopped", "was told to stop and was killed by SIGTERM before the end of its grace,")


class Shared(Case):
    """Workers without leaves in a group whose counters can be read: that of chargehand itself."""

    def setUp(self):
        super().setUp()
        self.limit_directory("64M")
        self.procs = os.path.join(self.directory.path, "cgroup.procs")

    def stage_inside(self, instances=1):
        """chargehand and all of its workers in the directory's group."""
        wrapper = os.path.join(tempfile.mkdtemp(), "inside")
        with open(wrapper, "w") as f:
            f.write(f'#!/bin/sh\necho $$ >{self.procs}\nexec "{os.environ["CHARGEHAND"]}" "$@"\n')
        os.chmod(wrapper, 0o755)
        outer = os.environ["CHARGEHAND"]
        os.environ["CHARGEHAND"] = wrapper
        try:
            return self.stage(place=["--cgroup", "none"], instances=instances)
        finally:
            os.environ["CHARGEHAND"] = outer

    def check(self, puppet, errtype, how, rest=""):
        certificate.Case.check(self, puppet, errtype, rf"^p\.\d \(pid {puppet.pid}\) {how} \S.* after its start; its largest "
                                                      rf"process had \S+ MiB{rest}; it held 2 jobs, this one for ")

    @property
    def shared(self):
        return rf"the cgroup {re.escape(self.directory.path.removeprefix(ROOT))}, which it shares with chargehand \(64 MiB\),"

    def test_the_limit_that_it_shares(self):
        p = self.holder(self.stage_inside())
        self.assertFalse(p.eat(100))
        self.check(p, "HostOutOfMemory", f"was killed by the kernel at the memory limit of {self.shared}")

    def test_a_child_that_is_outlived_convicts_nobody(self):
        s = self.stage_inside()
        p = self.holder(s)
        self.assertEqual(p.feed(100), signal.SIGKILL)
        s.chargehand.wait_log("The kernel has killed 1 process for lack of memory in the cgroup that chargehand shares")
        p.kill()
        self.check(p, "WorkerSignaled", "was killed by SIGKILL")

    def test_a_neighbour_that_died_of_it_convicts_nobody(self):
        s = self.stage_inside(instances=2)
        p, other = self.holder(s), self.holder(s)
        self.assertFalse(other.eat(100))
        self.check(other, "HostOutOfMemory", f"was killed by the kernel at the memory limit of {self.shared}")
        p.kill()
        self.check(p, "WorkerSignaled", "was killed by SIGKILL")


if __name__ == "__main__":
    tap.main()
