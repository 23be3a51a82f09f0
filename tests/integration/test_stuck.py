#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Processes that SIGKILL does not end: stuck in the kernel, as on a disk or a file server that does not answer. The freezer
of cgroup v1 keeps a process in just that state (D), and lets go of it again. Hazards 21: what is KILL-pending is waited for
only so long, and nobody else has to wait."""
import os
import re
import signal
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import cgroups
import puppets
import servers
import tap
from faktory_client import make_job, new_jid
from servers import wait_until


def mounted():
    with open("/proc/self/mountinfo") as f:
        for line in f:
            left, _, right = line.partition(" - ")
            if right.split()[0] == "cgroup" and "freezer" in right.split()[2].split(","):
                return left.split()[4]
    return None


def missing():
    path = mounted()
    return None if path and os.access(path, os.W_OK) else "no freezer of cgroup v1 that can be written to"


class Freezer:
    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="test-of-chargehand.", dir=mounted())

    def write(self, name, text):
        with open(os.path.join(self.path, name), "w") as f:
            f.write(text)

    def state(self):
        with open(os.path.join(self.path, "freezer.state")) as f:
            return f.read().strip()

    def freeze(self, pid):
        self.write("cgroup.procs", str(pid))
        self.write("freezer.state", "FROZEN")
        wait_until(lambda: self.state() == "FROZEN")

    def thaw(self):
        self.write("freezer.state", "THAWED")

    def close(self):
        self.thaw()
        with open(os.path.join(self.path, "cgroup.procs")) as f:
            for pid in f.read().split():
                os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not open(os.path.join(self.path, "cgroup.procs")).read())
        os.rmdir(self.path)


class Without(unittest.TestCase):
    """... a cgroup of v2."""
    maxDiff = 2000

    def options(self):
        return ["--cgroup", "none"]

    def setUp(self):
        tap.need("freezer", missing())
        self.server = servers.shared("dev")
        self.queue = f"q{new_jid()}"
        self.place = self.options()
        self.freezer = Freezer()
        self.addCleanup(self.freezer.close)

    def stage(self, instances, *options, command=None):
        s = puppets.Puppets(self.server, instances=instances, options=[*self.place, *options], command=command)
        self.addCleanup(s.close)
        return s

    def give(self, puppet):
        """A job in its hand; the jid."""
        job = make_job(queue=self.queue)
        self.server.pushb([job])
        puppet.send("a", f"FETCH {self.queue}\r\n".encode())
        puppet.receive("a", int(puppet.line("a")[1:]) + 2)
        return job["jid"]

    def child(self, puppet):
        with open(f"/proc/{puppet.pid}/task/{puppet.pid}/children") as f:
            return int(f.read())

    def test_a_child_that_is_left_does_not_hold_up_anything(self):
        s = self.stage(2, command=["sh", "-c", f"sleep 100000 & exec {puppets.program()}"])
        one, two = s.take(), s.take()
        one.hello("a", wid="one")
        two.hello("a", wid="two")
        first, second = self.give(one), self.give(two)
        child = self.child(one)
        self.freezer.freeze(child)
        begin = time.monotonic()
        one.kill()
        three = s.take()  # the next one in its slot
        three.hello("a", wid="three")
        two.send("a", f'ACK {{"jid":"{second}"}}\r\n'.encode())
        self.assertEqual(two.receive("a", 5), b"+OK\r\n")
        self.assertLess(time.monotonic() - begin, 4)
        failure = self.server.wait_jid(first, "retries", 15)["failure"]
        self.assertEqual(failure["errtype"], "WorkerSignaled")
        s.chargehand.wait_log(r"not all of its processes have ended after SIGKILL; going on without")
        self.assertTrue(os.path.exists(f"/proc/{child}"))
        self.assertEqual(s.chargehand.stop(), 0)
        self.freezer.thaw()
        wait_until(lambda: not os.path.exists(f"/proc/{child}") or re.search(r"\) [ZX]", open(f"/proc/{child}/stat").read()))

    def test_a_first_process_that_cannot_be_ended_is_given_up_by_a_stop(self):
        s = self.stage(1, "--stop-grace", "1s")
        p = s.take()
        p.hello("a", wid="one")
        jid = self.give(p)
        self.freezer.freeze(p.pid)
        s.chargehand.signal(signal.SIGTERM)
        failure = self.server.wait_jid(jid, "retries", 30)["failure"]
        self.assertEqual(failure["errtype"], "WorkerStopped")
        self.assertEqual(s.chargehand.wait(), 0)
        self.freezer.thaw()
        wait_until(lambda: not os.path.exists(f"/proc/{p.pid}") or re.search(r"\) [ZX]", open(f"/proc/{p.pid}/stat").read()))


class Within(Without):
    def options(self):
        tap.need("cgroup", cgroups.parent()[1])
        self.directory = cgroups.Directory()
        self.addCleanup(self.directory.close)
        return ["--cgroup", self.directory.path]

    def stage_with_remnant(self):
        """A worker is dead, and its child can't be ended. Returns the child as well."""
        s = self.stage(1, command=["sh", "-c", f"sleep 100000 & exec {puppets.program()}"])
        p = s.take()
        child = self.child(p)
        self.freezer.freeze(child)
        p.kill()
        s.chargehand.wait_log(r"The cgroup p\.1-1 cannot be removed while a process in it does not end")
        return s, child

    def test_what_is_left_is_removed_when_it_has_ended(self):
        s, _ = self.stage_with_remnant()
        s.take()
        self.assertEqual(self.directory.leaves(), ["p.1-1", "p.1-2"])
        self.freezer.thaw()
        s.chargehand.wait_log(r"The cgroup p\.1-1 has become empty, and is removed")
        self.assertEqual(self.directory.leaves(), ["p.1-2"])

    def test_what_is_left_is_removed_by_the_next_chargehand(self):
        s, child = self.stage_with_remnant()
        self.assertEqual(s.chargehand.stop(), 0)
        s.chargehand.wait_log(r"The cgroup p\.1-1 is not empty; it is left to the next chargehand")
        self.assertEqual(self.directory.pids(), [child])
        other = self.stage(1)
        other.take()  # not held up by what still cannot be ended
        self.assertIn(child, self.directory.pids())
        self.assertEqual(other.chargehand.stop(), 0)
        self.freezer.thaw()
        wait_until(lambda: self.directory.pids() == [])
        other = self.stage(1)
        other.take()
        other.chargehand.wait_log("1 cgroup that an earlier chargehand had left is removed")
        self.assertEqual(len(self.directory.homes()), 1)


if __name__ == "__main__":
    tap.main()
