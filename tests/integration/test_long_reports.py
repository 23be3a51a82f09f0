#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""P2, P8: a FAIL with a long backtrace counts as a short one does. Up to 1 MiB it is in hand as a whole: it is
confirmed while the server is away, repeated when its link is lost, and known to the next chargehand. So many of them may
be in hand at a time; others wait in their workers. A longer one passes as it comes.
"""
import json
import os
import signal
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from chargehand import Chargehand
from faktory_client import Closed, make_job, new_jid
from servers import wait_until

IN_TIME = 3.0  # a worker's library waits for 5 s at least
BOUND = 1 << 20


def long_fail(jid, size):
    """A line of this many bytes."""
    line = 'FAIL {"jid":"%s","errtype":"Mine","message":"in its own words","backtrace":[%s"end"]}'
    rest = size - len(line % (jid, "")) - len("\r\n")
    lines, pad = divmod(rest, 1003)
    return (line % (jid, ("%s," % json.dumps("x" * 1000)) * lines)).replace('"end"', json.dumps("end" + "y" * pad)) + "\r\n"


class Case(servers.Case):
    def setUp(self):
        super().setUp()
        self.s = servers.make(self.kind)
        self.addCleanup(self.s.close)
        self.c = Chargehand(self.s, options=["--restart", "never"])
        self.addCleanup(self.c.close)
        self.addCleanup(self.s.resume)
        self.session = self.c.session(wid=f"w{new_jid()}")
        self.session.beat()

    def take(self, session):
        """A job's jid; asked for again while there is no link to ask on."""
        return wait_until(lambda: session.fetch(self.queue), what="a job")["jid"]

    def held(self, n=1):
        jids = [self.s.push(queue=self.queue) for _ in range(n)]
        self.assertEqual([self.take(self.session) for _ in jids], jids)
        return jids

    def say(self, line, session=None):
        """Answered +OK, and in time."""
        session = session or self.session
        begun = time.monotonic()
        session.send_raw(line.encode())
        self.assertEqual(session.reply(), "OK")
        self.assertLess(time.monotonic() - begun, IN_TIME)

    def check_failed(self, jid):
        failure = self.s.wait_jid(jid, "retries")["failure"]
        self.assertEqual((failure["errtype"], failure["message"], failure.get("retry_count", 0)),
                         ("Mine", "in its own words", 0))


class One(Case):
    def test_the_helper_makes_lines_of_a_length(self):
        for size in (70_000, BOUND - 1, BOUND):
            self.assertEqual(len(long_fail(new_jid(), size)), size)

    def test_with_the_server(self):
        for size in (64 * 1024, 64 * 1024 + 1, 200_000, BOUND, 3 * BOUND):
            with self.subTest(size):
                jid, = self.held()
                self.say(long_fail(jid, size))
                self.check_failed(jid)

    def test_without_the_server(self):
        jids = self.held(6)
        self.s.stop()
        for jid, size in zip(jids, (60_000, 64 * 1024, 64 * 1024 + 1, 300_000, BOUND)):
            self.say(long_fail(jid, size))
        self.say('ACK {"pad":"%s","jid":"%s"}\r\n' % ("x" * 200_000, jids[-1]))
        self.assertIsNone(self.session.fetch(self.queue))  # the session goes on
        self.s.start()
        for jid in jids[:-1]:
            self.check_failed(jid)
        self.s.wait_jid(jids[-1], None)

    def test_the_server_is_silent(self):
        """The link seems to be there: it is sent, confirmed without an answer, and carried out once."""
        jid, = self.held()
        self.s.pause()
        self.say(long_fail(jid, 500_000))
        self.s.resume()
        self.check_failed(jid)

    def test_in_pieces_and_with_others_in_one_write(self):
        jids = self.held(4)
        self.s.stop()
        line = long_fail(jids[0], 100_000).encode()
        self.session.send_raw(line[:70_000])
        for i in range(70_000, 70_200):
            self.session.send_raw(line[i:i + 1])
        self.session.send_raw(line[70_200:])
        self.assertEqual(self.session.reply(), "OK")
        self.session.send_raw(('ACK {"jid":"%s"}\r\n' % jids[1] + long_fail(jids[2], 300_000) +
                               'ACK {"jid":"%s"}\r\n' % jids[3]).encode())
        self.assertEqual([self.session.reply() for _ in range(3)], ["OK"] * 3)
        self.s.start()
        self.check_failed(jids[0])
        self.check_failed(jids[2])
        self.s.wait_jid(jids[1], None)
        self.s.wait_jid(jids[3], None)

    def test_what_is_too_long_ends_its_session_and_says_so(self):
        """Its job is the worker's still: it can say it again, and should it die the job is failed."""
        jid, = self.held()
        self.s.stop()
        self.session.send_raw(long_fail(jid, 2 * BOUND).encode()[:BOUND + 64 * 1024])
        self.assertTrue(self.session.eof(timeout=4))
        self.c.wait_log("a FAIL of more than 1024 KiB cannot be kept while the server is away")
        os.kill(self.c.worker_pid(), signal.SIGKILL)
        self.s.start()
        self.assertEqual(self.s.wait_jid(jid, "retries")["failure"]["errtype"], "WorkerSignaled")

    def test_a_part_of_one_is_nothing(self):
        """Its worker dies in the middle of it, or goes on in another session."""
        jid, other_jid = self.held(2)
        other = self.c.session(wid=self.session.wid)
        other.send_raw(long_fail(other_jid, 200_000).encode()[:-1])
        other.close()
        self.say(long_fail(other_jid, 100_000))
        self.check_failed(other_jid)
        self.session.send_raw(long_fail(jid, 200_000).encode()[:-1])
        self.session.close()
        os.kill(self.c.worker_pid(), signal.SIGKILL)
        self.assertEqual(self.s.wait_jid(jid, "retries")["failure"]["errtype"], "WorkerSignaled")


class Many(Case):
    """More than can be in hand."""

    def setUp(self):
        super().setUp()
        self.sessions = [self.c.session(wid=new_jid()) for _ in range(60)]
        jids = self.s.pushb([make_job(queue=self.queue) for _ in self.sessions])
        self.jids = [self.take(s) for s in self.sessions]
        self.assertEqual(sorted(self.jids), sorted(jids))

    def send_all(self):
        """Each in a thread of its own, for who has to wait does not take it all."""
        def send(session, jid):
            try:
                session.send_raw(long_fail(jid, 1_000_000).encode())
            except OSError:
                pass  # the test says what that means

        self.threads = [threading.Thread(target=send, args=pair, daemon=True) for pair in zip(self.sessions, self.jids)]
        for thread in self.threads:
            thread.start()

    def check_memory(self, seconds):
        before = self.c.rss_bytes()
        self.send_all()
        peak, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            peak = max(peak, self.c.rss_bytes())
            time.sleep(0.02)
        print(f"{before >> 10} KiB, {peak >> 10} KiB with all that waits")
        if not self.c.sanitized:
            self.assertLess(peak - before, 40 << 20)

    def check_all_are_failed(self):
        self.s.wait(working=0, retries=len(self.jids), timeout=60)
        self.assertEqual({job["failure"]["message"] for job in self.s.retries()}, {"in its own words"})
        # Whoever was in hand has made room.
        jid, = self.held()
        self.s.stop()
        self.say(long_fail(jid, 1_000_000))
        self.s.start()
        self.check_failed(jid)

    def test_wait_in_their_workers(self):
        self.s.stop()
        self.check_memory(5)
        self.s.start()
        self.assertEqual([s.reply(timeout=60) for s in self.sessions], ["OK"] * len(self.sessions))
        self.check_all_are_failed()

    def test_pass_as_they_come_where_there_is_a_link(self):
        """To a server that does not take them."""
        self.s.pause()
        self.check_memory(2)
        self.s.resume()
        for session, jid in zip(self.sessions, self.jids):
            try:
                self.assertEqual(session.reply(timeout=60), "OK")
            except Closed:  # its link was given up, as on a slow machine it may be: a worker says it again
                self.say(long_fail(jid, 1_000_000), self.c.session(wid=new_jid()))
        self.check_all_are_failed()

    def test_what_a_dead_worker_had_written_counts(self):
        """Whole lines in the kernel's buffers, of sessions that had to wait."""
        self.s.stop()
        self.send_all()
        wait_until(lambda: sum(not t.is_alive() for t in self.threads) >= 17, what="some were taken whole")
        written = [jid for jid, thread in zip(self.jids, self.threads) if not thread.is_alive()]
        for s in self.sessions:
            s.close(reset=False)
        os.kill(self.c.worker_pid(), signal.SIGKILL)
        self.c.wait_log("was killed by SIGKILL")
        self.s.start()
        self.s.wait(working=0, retries=len(self.jids), timeout=60)
        own = {job["jid"] for job in self.s.retries() if job["failure"]["errtype"] == "Mine"}
        print(f"{len(written)} were written whole, {len(own)} counted")
        self.assertLessEqual(set(written), own)


notes = [f"{kind}: {reason or 'in use'}" for kind, reason in servers.available().items()]


class RealOne(One):
    kind = "real"


class RealMany(Many):
    kind = "real"


if __name__ == "__main__":
    tap.main(notes=notes)
