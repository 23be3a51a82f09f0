#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The real workers against both servers, without chargehand: so that what the other tests see is chargehand's doing.
TAP on stdout; options: see tests/helpers/tap.py. Libraries that tests/real/setup has not installed are skipped."""
import os
import signal
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import real_workers
import servers
import tap


class Case(unittest.TestCase):
    library = kind = None

    def setUp(self):
        if self.kind == "real":
            servers.need_real()
        tap.need(real_workers.WORDS[self.library], real_workers.missing(self.library))
        self.server = servers.make(self.kind, password="s3cret")
        self.addCleanup(self.server.close)

    def start(self, **options):
        self.log = os.path.join(self.server.dir, "worker.log")
        env = {**os.environ, **real_workers.environment(self.library, log=self.log, **options), "FAKTORY_URL": self.server.url}
        env.pop("FAKTORY_PROVIDER", None)
        p = subprocess.Popen(real_workers.command(self.library), env=env, start_new_session=True)
        self.addCleanup(self.end, p)
        return p

    @staticmethod
    def end(p):
        try:
            os.killpg(p.pid, signal.SIGKILL)  # with the children of a pool
        except ProcessLookupError:
            pass
        p.wait()

    def push(self, jobtype, *args):
        return self.server.push(jobtype, args, reserve_for=600)

    def test_jobs(self):
        p = self.start()
        jid = self.push("echo", 1)
        self.server.wait_jid(jid, None, timeout=20)
        jid = self.push("fail")
        failure = self.server.wait_jid(jid, "retries", timeout=20)["failure"]
        self.assertIn("failed on purpose", failure["message"])
        jids = [self.push("echo", 1) for _ in range(5)]
        done = {("done", jid) for jid in jids}
        servers.wait_until(lambda: done <= {entry[:2] for entry in real_workers.read_log(self.log)}, 20, "all are done")
        self.server.wait(20, queued=0, working=0)
        self.assertIsNone(p.poll())

    def test_kill(self):
        """Without chargehand the job of a killed worker stays held."""
        p = self.start()
        jid = self.push("sleep", 1000)
        servers.wait_until(lambda: any(entry[:2] == ("start", jid) for entry in real_workers.read_log(self.log)), 20)
        p.kill()
        p.wait()
        self.end(p)
        self.server.wait(10, connections=0)
        self.assertEqual(self.server.find(jid)[0], "working")


for library in real_workers.LIBRARIES:
    for kind in ("real", "dev"):
        name = f"{library.replace('-', '_')}_{kind}"
        globals()[name] = type(name, (Case,), {"library": library, "kind": kind, "__module__": __name__})
del Case

if __name__ == "__main__":
    tap.main(notes=[f"{name}: {what}" for name, what in real_workers.LIBRARIES.items()])
