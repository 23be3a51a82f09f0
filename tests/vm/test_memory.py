#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the death certificate says of memory, where there is a memory controller. P5: the cause is named."""
import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import cgroups
import servers
import tap
from faktory_client import make_job, new_jid
from puppets import Puppets


class Case(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        tap.need("memory", cgroups.memory()[1])
        servers.need_real()
        self.server = servers.shared("real")
        self.directory = cgroups.Directory()
        self.addCleanup(self.directory.close)
        self.queue = f"q{new_jid()}"

    def stage(self, *options):
        s = Puppets(self.server, instances=1, options=["--cgroup", self.directory.path, *options])
        self.addCleanup(s.close)
        return s

    def holder(self, stage, n=1, **job):
        """A puppet with n jobs in hand, and their jids."""
        p = stage.take()
        jobs = [make_job(queue=self.queue, **job) for _ in range(n)]
        self.server.pushb(jobs)
        p.hello("a", wid=new_jid())
        for _ in range(n):
            p.send("a", f"FETCH {self.queue}\r\n".encode())
            p.receive("a", int(p.line("a")[1:]) + 2)
        return p, [job["jid"] for job in jobs]

    def failure(self, jid):
        return self.server.wait_jid(jid, "retries")["failure"]


class OwnLimit(Case):
    def test_killed_at_its_own_limit(self):
        p, (jid,) = self.holder(self.stage("--memory-max", "24M"))
        self.assertFalse(p.eat(64))
        failure = self.failure(jid)
        self.assertEqual(failure["errtype"], "WorkerOutOfMemory")
        self.assertRegex(failure["message"], r"^p\.1 \(pid \d+\) was killed by the kernel at its own memory limit .* after its "
                         r"start; memory peak 2[0-9](\.\d)? MiB of 24 MiB; it held 1 job, this one for ")


if __name__ == "__main__":
    tap.main()
