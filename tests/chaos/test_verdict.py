#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the verdict of a storm excuses, and what not: records made up for it. And that the proxy writes down when it was in
the way."""
import collections
import math
import os
import socket
import sys
import tempfile
import time
import types
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "helpers")]
import tap
from hindrance import AWAY, DOWN, PAUSED, REFUSED, SILENT, Hindrance, gaps, redial_seconds, union, windows
from proxy import Gift, Link, Proxy, Word
from record import Record
from servers import Server, wait_until
from storm import Job
from verdict import Verdict

SAID_AT = 100.0  # the FAIL
LATE = "chargehand: k.1: job {} (chaos): too late for its FAIL; the server takes it back at the end of its lease\n"


class Moving(Server):
    """Its retries come due while it is read, one at each reading of the retries."""

    def __init__(self, *jids):
        self.due, self.queued = list(jids), []

    def _set(self, name):
        jobs = [{"jid": jid} for jid in self.due] if name == "retries" else []
        if jobs:
            self.queued.append({"jid": self.due.pop(0)})
        return jobs

    def queues(self):
        return {"q": list(self.queued)}


class Places(unittest.TestCase):
    def test_what_moves_while_it_is_looked_for_is_in_one(self):
        self.assertEqual(Moving("a", "b", "c").where(), {jid: [("queued", {"jid": jid})] for jid in "abc"})


class Intervals(unittest.TestCase):
    def test_union(self):
        self.assertEqual(union([(5, 6), (1, 3), (2, 4), (4, 4.5), (9, 9)]), [(1, 4.5), (5, 6)])

    def test_gaps(self):
        self.assertEqual(gaps([(2, 3), (3, 5), (8, 20)], 0, 10), [(0, 2), (5, 8)])
        self.assertEqual(gaps([(-5, 1), (12, 13)], 0, 10), [(1, 10)])
        self.assertEqual(gaps([(-5, -2)], 0, 10), [(0, 10)])
        self.assertEqual(gaps([], 0, 10), [(0, 10)])
        self.assertEqual(gaps([(0, 10)], 0, 10), [])
        self.assertEqual(gaps([(1, 2)], -math.inf, math.inf), [(-math.inf, 1), (2, math.inf)])

    def test_the_wait_for_the_next_dial_is_not_longer_than_told(self):
        """By the rule of src/link/link.h, each wait drawn out as far as it goes, or not at all."""
        for more in (1, 1.5):
            failing, wait = 0, 0.05
            for _ in range(12):
                self.assertLessEqual(wait * 1.5, redial_seconds(failing) + 1e-9)
                failing, wait = failing + wait * more, min(2 * wait, 2)
        self.assertAlmostEqual(redial_seconds(0), 0.075)
        self.assertAlmostEqual(redial_seconds(60), 3)

    def test_a_short_time_is_no_window(self):
        self.assertEqual(windows([Hindrance(AWAY, 0, 5), Hindrance(SILENT, 5, 8), Hindrance(SILENT, 8.4, 10)], 0, 10), [])
        self.assertEqual(windows([Hindrance(SILENT, 0, 8), Hindrance(SILENT, 8.6, 10)], 0, 10), [(8, 8.6)])


class Told:
    """A storm of one job: it was given out, its worker died, and the job is still reserved at the end."""

    def __init__(self, directory, late=True):
        self.job = Job(1, "k", "chaos", [], 25)
        self.job.pushed = SAID_AT - 1
        self.link = Link(1, "k", None, None)
        self.proxy = types.SimpleNamespace(words=[], lost=[], gifts=[], all_links=[self.link], counts={},
                                           hindrances={"": [], "k": [], "other": []})
        self.proxy.gifts.append(Gift(SAID_AT - 0.2, self.link, self.job.jid, 10))
        self.proxy.gifts[0].delivered = True
        state, log, jobs = (os.path.join(directory, name) for name in ("state", "log.1", "jobs"))
        os.mkdir(state)
        with open(log, "w") as f:
            f.write("chargehand: k.1: started (pid 7)\n" + (LATE.format(self.job.jid) if late else ""))
        with open(jobs, "w") as f:
            f.write(f"start {self.job.jid} 7 {int((SAID_AT - 0.1) * 1e9)}\n")
        self.keeper = types.SimpleNamespace(
            name="k", generation=1, endings={}, hindrances=[], groups=(), state=state, worker_log=jobs,
            log_path=lambda generation: os.path.join(directory, f"log.{generation}"), journal=dict,
            log=lambda generation: LATE)
        working = [{"jid": self.job.jid, "reserved_at": time.strftime("%Y-%m-%dT%H:%M:%S.5Z", time.gmtime(SAID_AT - 1))}]
        self.storm = types.SimpleNamespace(
            jobs={self.job.jid: self.job}, keepers={"k": self.keeper}, proxy=self.proxy, absences=[], server_ends={},
            begun=0, begun_wall=0, record=Record(os.path.join(directory, "record")), directory=directory, at_rest={},
            signals={}, deaths={}, ended=SAID_AT + 60,
            server=types.SimpleNamespace(where=lambda: collections.defaultdict(
                list, {self.job.jid: [("working", job) for job in working]})))
        self.swallow(SAID_AT, self.link)

    def swallow(self, when, link=None, why="swallowed", verb="FAIL"):
        link = link or Link(2, "k", None, None)
        word = Word(when, link, verb, self.job.jid)
        word.lost = why
        self.proxy.lost.append(word)
        return link

    def given_up(self, after):
        self.link.end, self.link.ended = "closed", SAID_AT + after
        return self

    def during(self, what, since, until, owner=None):
        """In seconds after the FAIL."""
        hindrance = Hindrance(what, SAID_AT + since, SAID_AT + until)
        place = {AWAY: self.storm.absences, REFUSED: self.proxy.hindrances[""], SILENT: self.proxy.hindrances[owner or "k"]}
        place.get(what, self.keeper.hindrances).append(hindrance)
        return self

    def reporters(self, welcomed, ended=None, harmed=None):
        link = Link(3, "k", None, None)
        link.is_reporters, link.welcomed = True, SAID_AT + welcomed
        link.ended, link.harmed = ended and SAID_AT + ended, harmed and SAID_AT + harmed
        link.end = ended and "cut"
        self.proxy.all_links.append(link)
        return self


# Of a storm of 5000 jobs, in which the hindrances came one after the other.
MIXTURE = [(DOWN, 3.8, 4.6), (AWAY, 4.95, 5.2), (SILENT, 5.1, 8.7), (DOWN, 5.55, 5.6), (AWAY, 6.6, 7.4), (REFUSED, 8.5, 10.2)]
# What one of the others covers, or leaves free for a moment.
SPARE = [(AWAY, 4.95, 5.2), (DOWN, 5.55, 5.6), (AWAY, 6.6, 7.4)]


class Case(unittest.TestCase):
    def told(self, mixture=(), after=None, **options):
        directory = tempfile.mkdtemp()
        told = Told(directory, **options)
        if after:
            told.given_up(after)
        for what in mixture:
            told.during(*what)
        return told

    def judge(self, told):
        verdict = Verdict(told.storm)
        return verdict.judge(), dict(verdict.excused)

    def excused(self, told):
        self.assertEqual(self.judge(told), ([], {"late": 1}))

    def wrong(self, told):
        problems, excused = self.judge(told)
        self.assertEqual([p.split("\n")[0] for p in problems], [f"{told.job.jid} is still reserved, and nobody holds it"])
        self.assertEqual(excused, {})


class Late(Case):
    def test_a_mixture_of_hindrances_without_a_window(self):
        self.excused(self.told(MIXTURE, after=3.8))

    def test_each_of_them_is_needed(self):
        for left_out in MIXTURE:
            with self.subTest(left_out):
                told = self.told([what for what in MIXTURE if what != left_out], after=3.8)
                (self.excused if left_out in SPARE else self.wrong)(told)

    def test_the_time_ends_ten_seconds_after_the_first_fail(self):
        self.excused(self.told([(AWAY, 6.9, 9.6)], after=7))
        told = self.told([(AWAY, 6.9, 10)], after=7)
        told.swallow(SAID_AT + 9)
        self.excused(told)

    def test_one_second_is_a_window(self):
        """Wherever it is; half of it is none."""
        for since in (3.8, 5, 7.5, 9):
            for seconds, judge in ((1, self.wrong), (0.4, self.excused)):
                with self.subTest(since=since, seconds=seconds):
                    parts = [(DOWN, 3.8, 3.9), (SILENT, 3.7, since), (SILENT, since + seconds, 11)]
                    judge(self.told(parts, after=3.8))

    def test_who_forgets_to_say_it_again(self):
        self.wrong(self.told(after=6.5))

    def test_who_does_not_give_up_the_link(self):
        self.wrong(self.told())
        self.excused(self.told([(AWAY, 7.5, 10)]))
        self.wrong(self.told([(AWAY, 8.5, 10)]))

    def test_a_link_that_was_cut_is_not_waited_for(self):
        told = self.told([(AWAY, 7, 10)], after=7)
        told.proxy.lost[0].lost = "cut off on its way"
        self.wrong(told)

    def test_swallowed_again_when_it_was_said_again(self):
        told = self.told(after=6.5)
        told.swallow(SAID_AT + 6.8)
        self.excused(told)
        told.proxy.lost[1].lost = "cut off on its way"
        self.wrong(told)

    def test_no_fail_was_lost(self):
        told = self.told([(AWAY, 0, 10)])
        told.proxy.lost.clear()
        self.wrong(told)
        told.swallow(SAID_AT, verb="ACK")
        self.wrong(told)

    def test_the_fail_of_an_earlier_run_was_lost(self):
        told = self.told(MIXTURE, after=3.8)
        told.proxy.lost[0].when = told.proxy.gifts[0].when - 0.1
        self.wrong(told)

    def test_its_chargehand_does_not_own_to_it(self):
        self.wrong(self.told(MIXTURE, after=3.8, late=False))

    def test_a_hindrance_without_an_end(self):
        told = self.told([(AWAY, 6.9, math.inf)], after=7)
        self.assertIn("has not ended", "".join(self.judge(told)[0]))
        told = self.told([(DOWN, 6.9, math.inf), (DOWN, 9, math.inf)], after=7)
        self.assertIn("has not ended", "".join(self.judge(told)[0]))
        self.excused(self.told([(DOWN, 6.9, math.inf)], after=7))

    def test_somebody_elses_silence(self):
        self.excused(self.told([(SILENT, 6.9, 10)], after=7))
        self.wrong(self.told([(SILENT, 6.9, 10, "other")], after=7))

    def test_paused(self):
        self.wrong(self.told([(AWAY, 7, 8), (AWAY, 8.6, 10)], after=7).reporters(8.01))
        self.excused(self.told([(AWAY, 7, 8), (AWAY, 8.6, 10), (PAUSED, 8.1, 8.5)], after=7).reporters(8.01))


class Redials(Case):
    """The longer nobody is to be had, the longer is the wait for the next dial."""

    def test_a_wait_that_the_refusals_have_made_long(self):
        self.excused(self.told([(REFUSED, 5, 8)], after=5))
        self.wrong(self.told([(REFUSED, 5, 5.4)], after=5))
        self.wrong(self.told([(REFUSED, 3, 6)], after=3))

    def test_not_of_one_that_has_its_link(self):
        self.wrong(self.told([(REFUSED, 5, 8)], after=5).reporters(8.8))
        self.excused(self.told([(REFUSED, 5, 8)], after=5).reporters(9.6))

    def test_the_story_tells_what_the_verdict_went_by(self):
        problems, _ = self.judge(self.told([(REFUSED, 5, 8)], after=5).reporters(8.8, ended=9.9))
        lines = problems[0].split("\n")
        self.assertIn("      108.800   k#3 ready, the reporter's", lines)
        self.assertIn("      109.900   k#3 ended: cut", lines)

    def test_not_of_one_that_was_started_since(self):
        self.wrong(self.told([(AWAY, 5, 8), (DOWN, 8, 8.1)], after=5))
        self.excused(self.told([(AWAY, 5, 8), (DOWN, 8, 8.1), (SILENT, 8.5, 10)], after=5))

    def test_one_after_the_other_is_one(self):
        self.excused(self.told([(REFUSED, 4, 5.5), (AWAY, 6, 7.2)], after=4))
        self.wrong(self.told([(REFUSED, 3, 3.5), (AWAY, 6, 7.2)], after=6))

    def test_refused_to_one_that_needs_no_other_link(self):
        self.wrong(self.told([(REFUSED, 7.1, 10)], after=7).reporters(7.05))
        self.excused(self.told([(REFUSED, 7.1, 10)], after=7).reporters(7.05, ended=7.3))
        self.excused(self.told([(REFUSED, 7.1, 10)], after=7).reporters(7.05, harmed=7.3))


class InTheWay(unittest.TestCase):
    """The proxy as its own witness."""

    def setUp(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(20)
        self.addCleanup(self.server.close)
        self.events = []
        self.proxy = Proxy(self.server.getsockname()[1], lambda owner, text: self.events.append((owner, text)))
        self.addCleanup(self.proxy.close)

    def dial(self, owner):
        near = socket.create_connection(("127.0.0.1", self.proxy.door(owner)))
        self.addCleanup(near.close)
        near.settimeout(20)
        return near

    def connect(self, owner):
        near = self.dial(owner)
        far, _ = self.server.accept()
        self.addCleanup(far.close)
        return near, far

    def wait_told(self, *wanted):
        wait_until(lambda: self.events == list(wanted), 20, lambda: self.events, every=0.01)

    def hears(self, far, near, text):
        """When it comes."""
        far.sendall(text)
        self.assertEqual(near.recv(100), text)
        return time.monotonic()

    def test_silence(self):
        (near, far), (others_near, others_far) = self.connect("a"), self.connect("b")
        self.proxy.silence("a", 300)
        later_near, later_far = self.connect("a")
        self.hears(others_far, others_near, b"in between")
        self.assertEqual([l.harmed is not None for l in self.proxy.links("a") + self.proxy.links("b")], [True, True, False])
        self.proxy.silence("a", 0.3)
        first, last = self.proxy.hindrances["a"]
        self.assertGreaterEqual(self.hears(far, near, b"one"), last.end)
        self.hears(later_far, later_near, b"two")
        self.wait_told(("a", "links: silent for a time 300.0 s"), ("a", "links: silent no more"),
                       ("a", "links: silent for a time 0.3 s"), ("a", "links: silent no more"))
        self.assertEqual((last.what, round(last.end - last.begin, 6)), (SILENT, 0.3))
        self.assertLessEqual(first.end, last.begin)
        self.assertEqual(self.proxy.hindrances[""], [])

    def test_refusal(self):
        self.proxy.refuse(300)
        near = self.dial("a")
        self.assertRaises(ConnectionError, near.recv, 1)
        self.proxy.refuse(0.3)
        first, last = self.proxy.hindrances[""]
        wait_until(lambda: time.monotonic() >= last.end, 20)
        self.hears(*reversed(self.connect("a")), b"accepted")
        self.wait_told(("", "links: refused for a time 300.0 s"), ("", "links: refused no more"),
                       ("", "links: refused for a time 0.3 s"), ("", "links: refused no more"))
        self.assertEqual((last.what, round(last.end - last.begin, 6)), (REFUSED, 0.3))
        self.assertLessEqual(first.end, last.begin)

    def test_calm_is_its_end(self):
        near, far = self.connect("a")
        self.proxy.silence("a", 300)
        self.proxy.refuse(300)
        self.proxy.calm()
        now = time.monotonic()
        self.hears(far, near, b"calm")
        self.hears(*reversed(self.connect("b")), b"calm")
        self.assertLessEqual(self.proxy.hindrances["a"][0].end, now)
        self.assertLessEqual(self.proxy.hindrances[""][0].end, now)
        self.assertEqual(sorted(self.events), [("", "links: refused for a time 300.0 s"), ("", "links: refused no more"),
                                               ("a", "links: silent for a time 300.0 s"), ("a", "links: silent no more")])

    def test_who_is_the_reporter_and_when_it_is_ready(self):
        for number, labels in enumerate(('["chargehand-1.0"]', '["of-a-chargehand-"]', "null")):
            near, far = self.connect("a")
            link = self.proxy.links("a")[number]
            self.hears(far, near, b'+HI {"v":2}\r\n')
            self.hears(near, far, b'HELLO {"v":2,"labels":%s}\r\n' % labels.encode())
            self.assertIsNone(link.welcomed)
            before = time.monotonic()
            self.assertTrue(before <= self.hears(far, near, b"+OK\r\n") >= link.welcomed >= before)
            self.assertEqual(link.is_reporters, number == 0)
            ready = link.welcomed
            self.hears(near, far, b"BEAT {}\r\n")
            self.hears(far, near, b"+OK\r\n")
            self.assertEqual(link.welcomed, ready)


if __name__ == "__main__":
    tap.main()
