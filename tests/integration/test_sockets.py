#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""chargehand when the kernel says of a socket what it seldom says: tests/helpers/chargehand-faults, which is chargehand with
tests/helpers/socket-faults.c between it and its calls."""
import os
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import scripted
import servers
import tap
from chargehand import Chargehand
from faktory_client import Closed, new_jid
from servers import wait_until

# With every call: a byte at a time, interrupted, and "not now" at any byte.
SMALL = "recv:EINTR:7,recv:EAGAIN:5,recv:short:2,send:EINTR:7,send:EAGAIN:5,send:short:2,connect:EINTR:3,accept:EINTR:2"


class Case(unittest.TestCase):
    def setUp(self):
        self.queue = f"q{new_jid()}"
        self.server = servers.make("dev")
        self.addCleanup(self.server.close)

    def chargehand(self, faults, *command, **more):
        program, os.environ["CHARGEHAND"] = os.environ["CHARGEHAND"], os.path.join(
            os.environ["TOP_BUILDDIR"], "tests", "helpers", "chargehand-faults")
        try:
            return Chargehand(self.server, *command, env={"CHARGEHAND_SOCKET_FAULTS": faults}, **more)
        finally:
            os.environ["CHARGEHAND"] = program

    def push(self, n=1, **more):
        return [self.server.push(queue=self.queue, reserve_for=600, **more) for _ in range(n)]

    def script(self, text):
        return scripted.command(text.replace("QUEUE", self.queue))


class Small(Case):
    def test_a_job_of_300_kb_and_a_fail_as_long(self):
        jid, = self.push(args=["x" * 300_000])
        with self.chargehand(SMALL) as c:
            session = c.session(wid="w")
            self.assertEqual(len(session.fetch(self.queue)["args"][0]), 300_000)
            session.fail(jid, message="m" * 500, backtrace=["y" * 1000] * 300)
        self.assertEqual(self.server.find(jid)[1]["failure"]["backtrace"][0], "y" * 1000)

    def test_fifty_jobs(self):
        self.push(50)
        script = self.script("hello; repeat 50 {fetch QUEUE; ack}; exit 0")
        with self.chargehand(SMALL, *script, options=["--restart", "never"]) as c:
            self.assertEqual(c.wait(60), 0)
        self.assertEqual(self.server.wait(working=0, queued=0)["processed"], 50)

    def test_a_death(self):
        jids = self.push(20)
        script = self.script("hello; fetch QUEUE n=20; kill SEGV")
        with self.chargehand(SMALL, *script, options=["--restart", "never"]):
            self.server.wait(retries=20)
        self.assertEqual({self.server.find(jid)[1]["failure"]["errtype"] for jid in jids}, {"WorkerSignaled"})


class Broken(Case):
    """One call fails, and the connection with it; a job is never lost by that."""

    def one(self, faults, script="hello; fetch QUEUE; ack; exit 0"):
        jid, = self.push()
        with self.chargehand(faults, *self.script(script), options=["--restart", "always", "--healthy", "0"]):
            self.server.wait_jid(jid, None)

    def test_an_answer_that_cannot_be_sent_ends_the_session(self):
        """And does not leave its worker waiting for ever: ENOBUFS says nothing to the other end."""
        for error in ("ENOBUFS", "ENOMEM", "EPIPE", "ECONNRESET"):
            for nth in range(6):  # the greeting, HELLO and its +OK, the FETCH, the job …
                with self.subTest(error=error, nth=nth):
                    self.one(f"send:{error}:1:1:{nth}")

    def test_a_job_that_cannot_be_sent_is_a_stray(self):
        """Whichever write it is that fails, of the one or more that a job takes: its worker lives on, and no death will
        bring the job back."""
        for size in (100, 150_000):
            strays = 0
            for nth in range(10):
                self.queue = f"q{new_jid()}"
                jid, = self.push(args=["x" * size])
                with self.subTest(size=size, nth=nth), self.chargehand(f"send:ECONNRESET:1:1:{nth}") as c:
                    try:
                        job = c.session(wid="w").fetch(self.queue)
                    except (Closed, ConnectionError):
                        wait_until(lambda: self.server.find(jid)[0] in ("queued", "retries"), what="it is back")
                        strays += "can no longer take it" in c.log()
                    else:
                        self.assertIn(job and job["jid"], (jid, None))
            self.assertGreaterEqual(strays, 1 if size == 100 else 2)

    def test_reading_fails(self):
        for nth in range(6):
            with self.subTest(nth=nth):
                self.one(f"recv:ECONNRESET:1:1:{nth}")

    def test_dialling_fails(self):
        for faults in ("socket:EMFILE:1:3", "socket:ENOBUFS:1:3", "connect:EADDRNOTAVAIL:1:3", "connect:ENOMEM:1:3"):
            with self.subTest(faults=faults):
                self.one(faults + ":1")


class Accept(Case):
    def cpu(self, c):
        with open(f"/proc/{c.pid}/stat") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def test_what_will_not_pass_waits_instead_of_spinning(self):
        for error in ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM"):
            with self.subTest(error=error):
                with self.chargehand(f"accept:{error}:1:10") as c:  # a second's worth
                    before, began = self.cpu(c), time.monotonic()
                    session = c.session(wid="w")  # it is greeted in the end
                    session.beat()
                    self.assertGreater(time.monotonic() - began, 0.8)
                    self.assertLess(self.cpu(c) - before, 0.3)
                    c.wait_log("connections are accepted again")
                    self.assertEqual(c.log().count("cannot accept connections"), 1)

    def test_a_death_waits_for_what_cannot_be_accepted_yet(self):
        """An ACK in a connection that had not been accepted when its worker died counts."""
        jid, = self.push()
        script = self.script("""hello; fetch QUEUE; @b connect; @b send 'HELLO {"v":2}' nowait; @b ack nowait; exit 0""")
        with self.chargehand("accept:EMFILE:1:20:1", *script, options=["--restart", "never"]) as c:
            self.server.wait_jid(jid, None)
            c.wait_log("cannot accept connections")

    def test_one_that_is_gone_already_is_not_the_end_of_others(self):
        # Calls are counted, and every other one finds nobody, unless the next client is there by then.
        for faults, n_gone in (("accept:ECONNABORTED:1:3", (2, 3)), ("accept:EPROTO:1:1", (1,)), ("accept:EINTR:1:1", (0,))):
            with self.subTest(faults=faults), self.chargehand(faults) as c:
                for n in range(max(n_gone) + 1):
                    try:
                        c.session(wid="w").beat()
                        break
                    except (Closed, ConnectionError):
                        continue
                self.assertIn(n, n_gone)
                self.assertIn("running (hello)", c.log())
                self.assertNotIn("cannot accept", c.log())


if __name__ == "__main__":
    tap.main()
