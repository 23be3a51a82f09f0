#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""BEAT in a silent worker's stead, whatever else is going on (hazards 13), and the worker that says nothing (hazards 31).

Chargehand's clock, and the development server's for heartbeats, run twenty times as fast.
"""
import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import scripted
import servers
import tap
from chargehand import Chargehand
from faktory_client import new_jid
from hasty import Hasty
from servers import wait_until


class Beats(unittest.TestCase):
    """A wid that is silent for a minute is cut off by the server, and a FETCH that is under way strands its job."""

    FACTOR = 20

    def setUp(self):
        self.queue = f"q{new_jid()}"
        self.clock = Hasty(self.FACTOR)
        self.addCleanup(self.clock.close)

    def begin(self, *command, options=()):
        self.s = servers.make("dev", beat_timeout=60 / self.FACTOR)
        self.addCleanup(self.s.close)
        self.c = Chargehand(self.s, *command, env=self.clock.env, options=options)
        self.addCleanup(self.c.close)
        if not command:
            self.session = wait_until(lambda: self.c.session(wid=f"w{new_jid()}"), what="HELLO in its short time")

    def held(self):
        jid = self.s.push(queue=self.queue)
        self.assertEqual(self.session.fetch(self.queue)["jid"], jid)
        return jid

    def beats(self, wid):
        return [e for e in self.s.log(verb="BEAT") if wid in e["line"]]

    def test_without_the_rule(self):
        self.s = servers.make("dev", beat_timeout=60 / self.FACTOR)
        self.addCleanup(self.s.close)
        self.assertTrue(self.s.client(wid="silent").eof(timeout=10))

    def test_a_silent_wid_is_kept(self):
        self.begin()
        jid = self.held()
        wait_until(lambda: len(self.beats(self.session.wid)) >= 3, 20, "two minutes have passed")
        self.assertIn(self.session.wid, self.s.control("state")["workers"])
        self.assertNotIn("no BEAT", self.s.log_text())
        self.assertEqual(self.session.ack(jid), "OK")

    def test_one_that_beats_is_left_alone(self):
        self.begin()
        for _ in range(12):
            self.session.beat()
            self.clock.sleep(10)
        self.assertEqual(len(self.beats(self.session.wid)), 12)

    def test_a_beat_counts_for_the_wid_that_it_names(self):
        """On whatever connection it comes (faktory-live 9): the connection's own is silent meanwhile."""
        self.begin()
        other = wait_until(lambda: self.c.session(wid=f"w{new_jid()}"), what="HELLO in its short time")
        wait_until(lambda: other.wid in self.s.control("state")["workers"], what="its link is there, too")
        for _ in range(20):
            self.session.send('BEAT {"wid":"%s"}' % other.wid)
            self.assertEqual(self.session.reply(), "OK")
            self.clock.sleep(10)
            if self.beats(self.session.wid):
                return
        self.fail("for three minutes it has not been beaten for")

    def test_the_reporters_link_is_down_when_it_is_due(self):
        self.begin()
        reporter, = [c["conn"] for c in self.s.conns() if c["pid"] == self.c.pid]
        self.s.control("refuse")
        self.s.control("kick", conn=reporter)
        self.clock.sleep(43)
        self.s.control("refuse", on=False)
        wait_until(lambda: self.beats(self.session.wid), what="it is beaten for before a minute is over")
        self.assertNotIn("no BEAT", self.s.log_text())

    def test_during_a_stop_with_a_long_grace(self):
        script = f"on TERM {{}}; hello wid=slow; fetch {self.queue}; sleep {200 / self.FACTOR}; ack; exit 0"
        self.begin(*scripted.command(script), options=["--stop-grace", "1000s"])
        jid = self.s.push(queue=self.queue)
        self.s.wait_jid(jid, "working")
        self.assertEqual(self.c.stop(timeout=30), 0)
        self.assertIsNone(self.s.find(jid)[0])
        self.assertGreaterEqual(len(self.beats("slow")), 3)
        self.assertNotIn("no BEAT", self.s.log_text())

    def test_a_server_that_was_away(self):
        self.begin()
        jid = self.held()
        self.s.stop()
        self.clock.sleep(100)
        self.s.start()
        wait_until(lambda: len(self.beats(self.session.wid)) >= 2, 20)
        self.assertNotIn("no BEAT", self.s.log_text())
        self.assertEqual(self.session.ack(jid), "OK")
        self.s.wait_jid(jid, None)

    def test_who_never_says_hello_is_warned_about_once(self):
        """... and is not replaced (hazards 31)."""
        self.s = servers.shared("dev")
        self.c = Chargehand(self.s, env=self.clock.env)
        self.addCleanup(self.c.close)
        self.c.wait_log("has not said HELLO to chargehand")
        self.clock.sleep(60)
        self.assertEqual(self.c.log().count("has not said HELLO"), 1)
        self.assertEqual(len(self.c.starts()), 1)


if __name__ == "__main__":
    tap.main()
