#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Death certificates as people read them, on the pages of the real server: every errtype that can be had without cgroups of
version 2, what a worker has said last, whatever bytes that were, and what a cgroup of version 1 tells of memory. The others
are in tests/vm/test_memory.py. P5: the cause is named."""
import json
import os
import signal
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import certificate
import cgroups
import scripted
import servers
import tap
from chargehand import Chargehand
from faktory_client import make_job, new_jid
from puppets import Puppets
from servers import wait_until


class Case(unittest.TestCase):
    maxDiff = 3000

    def setUp(self):
        servers.need_real()
        self.server = servers.shared("real")
        self.server.flush()
        self.queue = f"q{new_jid()}"

    def push(self, **more):
        """Two jobs: one for each page."""
        jobs = [make_job(queue=self.queue, **more), make_job(queue=self.queue, retry=-1, **more)]
        self.server.pushb(jobs)
        return [job["jid"] for job in jobs]

    def start(self, script, *options):
        c = Chargehand(self.server, *scripted.command(script, self.queue),
                       options=["--name", "w", "--restart", "never", "--cgroup", "none", *options])
        self.addCleanup(c.close)
        return c

    def check(self, jids, errtype, message):
        return [certificate.check(self, self.server, jid, errtype, message, place)
                for jid, place in zip(jids, ("retries", "dead"))]


class Causes(Case):
    def test_a_signal(self):
        jids = self.push()
        self.start("hello; fetch Q n=2; kill BUS")
        self.check(jids, "WorkerSignaled", r"^w\.1 \(pid \d+\) was killed by SIGBUS( \(core dumped\))? \S+ m?s after its start; "
                                           r"its largest process had \S+ MiB; it held 2 jobs, this one for \S+ m?s$")

    def test_a_signal_that_was_passed_on(self):
        jids = self.push()
        c = self.start("default USR1; hello; fetch Q n=2; hold")
        wait_until(lambda: len(self.server.working()) == 2)
        c.signal(signal.SIGUSR1)
        self.check(jids, "WorkerSignaled", rf"^w\.1 \(pid \d+\) was killed by SIGUSR1, which process {os.getpid()} had sent to "
                                           r"chargehand, \S+ m?s after its start; ")

    def test_an_exit(self):
        jids = self.push()
        self.start("hello; fetch Q n=2; exit 3")
        self.check(jids, "WorkerExited", r"^w\.1 \(pid \d+\) exited with status 3 \S+ m?s after its start; ")

    def test_a_stop(self):
        jids = self.push()
        c = self.start("ignore TERM; hello; fetch Q n=2; hold", "--stop-grace", "50ms")
        wait_until(lambda: len(self.server.working()) == 2)
        self.assertEqual(c.stop(), 0)
        self.check(jids, "WorkerStopped", r"^w\.1 \(pid \d+\) was told to stop and killed at the end of its grace of 50\.0 ms, ")

    def test_a_stray_that_cannot_go_back(self):
        c = self.start("hello; hold", "--keep-body", "100")
        c.wait_log("hello")
        port = int(c.wait_log("listening on").rpartition(":")[2])
        from faktory_client import Client
        for _ in range(2):
            s = Client(port, wid=new_jid())
            s.send(f"FETCH {self.queue}")
            other = Client(port, wid=new_jid())
            other.beat(other.wid)
            s.close()
            other.beat(other.wid)
            other.close()
        jids = self.push(args=["x" * 500])
        self.check(jids, "JobStranded", r"^the server gave this job to w\.1, which was no longer there to take it; it never ran")

    def test_the_death_of_chargehand(self):
        jids = self.push()
        state = ["--state-dir", tempfile.mkdtemp(prefix="state.")]
        c = self.start("hello; fetch Q n=2; hold", *state)
        wait_until(lambda: len(self.server.working()) == 2)
        c.signal(signal.SIGKILL)
        c.wait()
        self.start("hello; hold", *state)
        self.check(jids, "SupervisorDied", r"^chargehand, which looked after w\.1 \(pid \d+\), died")


class LastWords(Case):
    """Hazards 43."""

    def test_bytes_that_are_no_text(self):
        jids = self.push()
        words = [b"tab\there", b"\x1b[31mred\x1b[0m", b"caf\xe9 \xff\xfe", "gr\u00fc\u00df \u4e16".encode(), b"nul\0bell\x07",
                 b'"quoted" \\back', b"\xed\xa0\x80 surrogate", b"x" * 5000]
        path = os.path.join(tempfile.mkdtemp(), "words")
        with open(path, "wb") as f:
            f.write(b"\n".join(words))
        self.start(f"hello; fetch Q n=2; exec sh -c 'cat {path} >&2; kill -KILL $$'")
        for failure in self.check(jids, "WorkerSignaled", "SIGKILL"):
            self.assertEqual(len(failure["backtrace"]), len(words))
            self.assertIn("tab", failure["backtrace"][0])
            self.assertLess(max(map(len, failure["backtrace"])), 2000)

    def test_more_lines_than_the_server_takes(self):
        jids = self.push()
        self.start("hello; fetch Q n=2; stderr line n=200; kill KILL")
        for failure in self.check(jids, "WorkerSignaled", "SIGKILL"):
            self.assertEqual(len(failure["backtrace"]), 50)

    def test_a_jid_of_any_bytes(self):
        """It goes back as it came: the server compares bytes."""
        jids = [f"j\u00fc\u4e16-{new_jid()}", f'j"\\/ {new_jid()}']
        for jid in jids:
            self.server.pushb([make_job(queue=self.queue, jid=jid)])
        self.start("hello; fetch Q n=2; kill KILL")
        for jid in jids:
            job = self.server.wait_jid(jid, "retries")
            self.assertEqual(job["failure"]["errtype"], "WorkerSignaled", json.dumps(job))


def v1():
    """The memory cgroup of version 1 that we are in, and why we cannot make one below it."""
    with open("/proc/self/mountinfo") as f:
        mounts = [line.split(" - ")[0].split()[3:5] for line in f if line.split(" - ")[1].split()[0] == "cgroup" and
                  "memory" in line.split(" - ")[1].split()[2].split(",")]
    with open("/proc/self/cgroup") as f:
        own = [line.strip().split(":", 2)[2] for line in f if "memory" in line.split(":")[1].split(",")]
    if not mounts or not own:
        return None, "no memory controller of cgroup v1"
    root, mount = mounts[0]
    path = mount + (own[0] if root == "/" else own[0].removeprefix(root))
    return path, None if os.access(path, os.W_OK) else f"{path} cannot be written to"


class Version1(Case):
    """Read, not written: the limit is set from outside, as a container's is."""

    def setUp(self):
        super().setUp()
        path, reason = v1()
        tap.need("v1", reason)
        self.group = tempfile.mkdtemp(prefix="test-of-chargehand.", dir=path)
        self.addCleanup(self.remove)
        self.write("memory.limit_in_bytes", str(64 << 20))
        self.write("memory.swappiness", "0")

    def write(self, name, text):
        with open(os.path.join(self.group, name), "w") as f:
            f.write(text)

    def remove(self):
        def gone():
            try:
                os.rmdir(self.group)
            except OSError:
                return False
            return True
        wait_until(gone, what="the group is empty")

    def stage(self, instances=1):
        wrapper = os.path.join(tempfile.mkdtemp(), "inside")
        with open(wrapper, "w") as f:
            f.write(f'#!/bin/sh\necho $$ >{self.group}/cgroup.procs\nexec "{os.environ["CHARGEHAND"]}" "$@"\n')
        os.chmod(wrapper, 0o755)
        outer, os.environ["CHARGEHAND"] = os.environ["CHARGEHAND"], wrapper
        try:
            s = Puppets(self.server, instances=instances, options=["--cgroup", *self.place()])
        finally:
            os.environ["CHARGEHAND"] = outer
        self.addCleanup(s.close)
        return s

    def holder(self, stage):
        p = stage.take()
        p.jids = self.push()
        p.hello("a", wid=new_jid())
        for _ in p.jids:
            p.send("a", f"FETCH {self.queue}\r\n".encode())
            p.receive("a", int(p.line("a")[1:]) + 2)
        return p

    def place(self):
        return ["none"]

    KILLED = (r"^p\.\d \(pid \d+\) was killed by the kernel at the memory limit of the cgroup that it shares with chargehand "
              r"\(64 MiB\), \S+ m?s after its start; its largest process had \S+ MiB; it held 2 jobs")

    def test_killed_at_the_limit_that_it_shares(self):
        p = self.holder(self.stage())
        self.assertFalse(p.eat(100))
        self.check(p.jids, "HostOutOfMemory", self.KILLED)

    def test_killed_by_somebody(self):
        p = self.holder(self.stage())
        p.kill()
        self.check(p.jids, "WorkerSignaled", r"was killed by SIGKILL \S+ m?s after")

    def test_killed_by_somebody_after_a_neighbour_died_of_it(self):
        s = self.stage(instances=2)
        p, other = self.holder(s), self.holder(s)
        self.assertFalse(other.eat(100))
        self.check(other.jids, "HostOutOfMemory", self.KILLED)
        p.kill()
        self.check(p.jids, "WorkerSignaled", r"was killed by SIGKILL \S+ m?s after")


class Hybrid(Version1):
    """A leaf of version 2, and the memory controller in version 1."""

    def place(self):
        tap.need("cgroup", cgroups.parent()[1])
        if cgroups.memory()[0]:
            self.skipTest("the memory controller is in version 2")
        directory = cgroups.Directory()
        self.addCleanup(directory.close)
        return [directory.path]


if __name__ == "__main__":
    tap.main()
