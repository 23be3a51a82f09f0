#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A disk that does not answer, played by a file system that is frozen: who writes to it waits in state D, which SIGKILL does
not end. tests/integration/test_stuck.py has the same by the freezer of cgroup v1, where a machine has that."""
import glob
import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import cgroups
import puppets
import servers
import tap
from faktory_client import make_job, new_jid
from servers import wait_until

IMAGE_BYTES = 4 << 20


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def state(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0]


class Disk:
    def __init__(self):
        self.place = tempfile.mkdtemp()
        image, self.path = os.path.join(self.place, "image"), os.path.join(self.place, "disk")
        with open(image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        os.mkdir(self.path)
        run("mkfs.ext4", "-q", image)
        run("mount", "-o", "loop", image, self.path)
        self.frozen = False

    def freeze(self):
        run("fsfreeze", "-f", self.path)
        self.frozen = True

    def thaw(self):
        if self.frozen:
            run("fsfreeze", "-u", self.path)
        self.frozen = False

    def close(self):
        self.thaw()
        run("umount", self.path)


class Stuck(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        tap.need("machine", None if os.environ.get("VM") else "not in a machine of its own")
        if not os.path.exists("/dev/loop-control"):
            (module,) = glob.glob(f"{os.environ['UML_MODULES']}/{os.uname().release}/kernel/drivers/block/loop.ko")
            run("/run/vm/busybox", "insmod", module)
        self.server = servers.shared("dev")
        self.queue = f"q{new_jid()}"
        self.directory = cgroups.Directory()
        self.addCleanup(self.directory.close)
        self.disk = Disk()
        self.addCleanup(self.disk.close)

    def test_a_worker_that_leaves_a_process_waiting_for_a_disk(self):
        self.disk.freeze()
        s = puppets.Puppets(self.server, instances=1, options=["--cgroup", self.directory.path], command=[
            "sh", "-c", f"echo >{self.disk.path}/file & exec {puppets.program()}"])
        self.addCleanup(s.close)
        self.addCleanup(self.disk.thaw)
        p = s.take()
        p.hello("a", wid="a")
        job = make_job(queue=self.queue)
        self.server.pushb([job])
        p.send("a", f"FETCH {self.queue}\r\n".encode())
        p.receive("a", int(p.line("a")[1:]) + 2)
        with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
            child = int(f.read())
        wait_until(lambda: state(child) == "D")
        p.kill()
        s.take()  # the next one in its slot has not waited
        self.assertEqual(self.server.wait_jid(job["jid"], "retries")["failure"]["errtype"], "WorkerSignaled")
        s.chargehand.wait_log(r"The cgroup p\.1-1 cannot be removed while a process in it does not end")
        self.assertEqual(state(child), "D")
        self.assertEqual(self.directory.leaves(), ["p.1-1", "p.1-2"])
        self.disk.thaw()
        s.chargehand.wait_log(r"The cgroup p\.1-1 has become empty, and is removed")
        self.assertEqual(self.directory.leaves(), ["p.1-2"])
        wait_until(lambda: not os.path.exists(f"/proc/{child}"), what="it is reaped")
        self.assertEqual(s.chargehand.stop(), 0)


if __name__ == "__main__":
    tap.main()
