#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The worker ends at every byte of FETCH, reply, ACK and +OK, in both directions; and the link to the server is cut at
every byte of the same. What must hold is looked at after each case, and again when chargehand has ended:

P1 nothing is left behind in `working`; P2 nothing finished is FAILed, and an ACK counts once; P3 what others hold stays as
it is; P4 nothing is lost: each job is in exactly one place, the right one, and FAILed once, with the right errtype.

A case is one worker with a connection, a queue and a job of its own. Many are brought to their points one after the other
and then end together, each in one of two ways:
  read    chargehand has read what the worker sent before the worker ends
  unread  chargehand is stopped (SIGSTOP) while the last bytes are sent and the worker ends: it finds all of it at once
"""
import json
import os
import re
import sys
import time
import unittest
from collections import Counter, defaultdict

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from every_byte_cases import (CRLF, GONE, LF, NIL, QUEUED, Answer, Behind, Cut, Fetch, Hello, InOneWrite, LateAnswer, LostReply,
                              NewSession, Reply, Report, Stray)
from puppets import OK, Puppets
from servers import is_zombie, wait_until

SOME_BYTES = 7  # on the real server: each so many
FEW = 12  # workers at a time where a FETCH is to be under way when they end: the server answers it after two seconds


def problem(case, found):
    """What is wrong with where a case's job is, or None."""
    places = found.get(case.jid, [])
    names = [name for name, _ in places] or ["gone"]
    if names == ["queued"] and places[0][1].get("failure"):
        names = ["retries"]  # its retry has come due: 15 s are not long on a busy machine
    if names != [case.expected[0]]:
        return f"{case.name}: {case.jid} is in {names}, not in {case.expected[0]}"
    if names == ["retries"]:
        failure = places[0][1]["failure"]
        if failure["errtype"] != case.expected[1] or not re.search(case.expected[2], failure["message"]):
            return f"{case.name}: {case.jid} is FAILed as {failure['errtype']}: {failure['message']}"
        if failure.get("retry_count", 0) != 0:
            return f"{case.name}: {case.jid} is FAILed {failure['retry_count'] + 1} times"
    if names == ["queued"]:
        job = places[0][1]
        if any(job[key] != case.job[key] for key in ("args", "retry", "jobtype", "queue")):
            return f"{case.name}: {case.jid} is harmed: {job}"
    return None


def between(number, wanted):
    low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    return low <= number <= high


class Play(unittest.TestCase):
    kind = "dev"

    def setUp(self):
        if self.kind == "real":
            servers.need_real()

    def bytes(self, length, *interesting):
        """Every number of bytes, 0 to the length; on the real server some."""
        if self.kind == "dev":
            return list(range(length + 1))
        return sorted({*range(0, length + 1, SOME_BYTES), 0, 1, length - 2, length - 1, length, *interesting})

    def play(self, cases, instances=40):
        begun = time.monotonic()
        self.server = servers.make(self.kind)
        self.addCleanup(self.server.close)
        with Puppets(self.server, instances) as self.stage:
            other = self.begin_bystanders()
            self.server.pushb([job for case in cases for job in case.bodies])
            counts = self.server.counts()
            self.mark = self.server.mark() if self.kind == "dev" else None
            for unread in (False, True):
                chosen = [case for case in cases if case.unread == unread]
                for i in range(0, len(chosen), instances - 1):
                    self.play_together(chosen[i:i + instances - 1])
            self.check(cases, wait=True)
            self.end_bystanders(other)
            self.assertEqual(self.stage.chargehand.stop(), 0)
        self.check(cases)
        if self.kind == "dev":
            self.check_commands(cases)
        self.check_counts(cases, counts)
        seconds = time.monotonic() - begun
        print(f"{len(cases)} cases in {seconds:.1f} s, {1000 * seconds / len(cases):.0f} ms each")

    def begin_bystanders(self):
        """P3: a job of somebody else's and one of a worker that lives on."""
        for jid in ("other-job", "living-job"):
            self.server.push(jid=jid, queue=jid)
        other = self.server.client(wid="other")
        other.fetch("other-job")
        self.living = self.stage.take()
        self.living.hello("a", wid="living")
        self.living.send("a", b"FETCH living-job\r\n")
        self.living.receive("a", int(self.living.line("a")[1:]) + 2)
        return other

    def end_bystanders(self, other):
        held = Counter(job["jid"] for job in self.server.working())
        self.assertEqual((held["other-job"], held["living-job"]), (1, 1))
        other.ack("other-job")
        self.living.send("a", b'ACK {"jid":"living-job"}\r\n')
        self.assertEqual(self.living.receive("a", len(OK)), OK)

    def play_together(self, cases):
        server, stage = self.server, self.stage
        unread = cases[0].unread
        pairs = [(case, stage.take()) for case in cases]
        for case, p in pairs:
            case.prepare(p, server)
        n_hanging = sum(case.hangs for case in cases)
        if n_hanging:
            wait_until(lambda: sum(c["phase"] == "hang" for c in server.conns()) == n_hanging, what="the server hangs")
        if self.kind == "dev" and not unread and any(isinstance(case, Cut) for case in cases):
            wait_until(lambda: not server.control("rules")["rules"], what="the links are cut")
        if unread:
            stage.stop()
        for case, p in pairs:
            case.last(p)
        if not unread:
            for case, p in pairs:
                case.sync(p)
        for case, p in pairs:
            if not case.lives:
                case.end(p)
        if unread:
            # kill(2) does not wait; one that is still dying when chargehand goes on is given its job.
            dead = [p.pid for case, p in pairs if not case.lives]
            wait_until(lambda: all(map(is_zombie, dead)), what="the workers are dead")
            stage.go()
        self.play_afterwards(cases)
        for case, p in pairs:
            if case.lives:
                self.live_on(case, p)
        self.check(cases, wait=True)
        for case, p in pairs:
            if case.lives:
                p.exit(0)

    def play_afterwards(self, cases):
        """Once chargehand knows that the workers have ended: it has started others."""
        chosen = [case for case in cases if case.settled_by]
        if not chosen:
            return
        fresh = [self.stage.take() for _ in cases]
        for p in fresh:
            p.exit(0)
        if any(case.settled_by == "release" for case in chosen):
            self.server.control("release")
        for case in chosen:
            if case.settled_by == "push":
                self.server.push(**case.job)

    def live_on(self, case, p):
        """The worker is answered as if nothing had happened."""
        reply = p.receive("a", len(OK))
        self.assertEqual(reply, NIL if case.verb == "FETCH" else OK, case.name)
        if case.verb == "FETCH" and case.expected == QUEUED:
            case.fetch(p)
            p.send("a", case.report_line())
            self.assertEqual(p.receive("a", len(OK)), OK, case.name)
            case.reported("ACK")

    def check(self, cases, wait=False):
        wrong = []

        def right():
            found = self.server.where()
            wrong[:] = [text for case in cases if (text := problem(case, found))]
            return not wrong

        try:
            wait_until(right, 10 if wait else 0)
        except TimeoutError:
            self.fail(f"{len(wrong)} of {len(cases)} cases:\n" + "\n".join(wrong[:20]))

    def check_counts(self, cases, before):
        """Each ACK and each FAIL counted once; a return counts as an ACK of its own."""
        low = high = failures = 0
        for case in cases:
            acked, failed = case.expected == GONE, case.expected[0] == "retries"
            returns = case.returns if isinstance(case.returns, tuple) else (case.returns, case.returns)
            second = getattr(case, "second_returns", (0, 0))
            low, high = low + acked + failed + returns[0] + second[0], high + acked + failed + returns[1] + second[1]
            failures += failed
        counts = self.server.counts()
        self.assertEqual(counts["failures"] - before["failures"], failures)
        processed = counts["processed"] - before["processed"] - 2  # bystanders
        self.assertTrue(low <= processed <= high, f"{processed} jobs are processed, not {low} to {high}")

    def check_commands(self, cases):
        """What was said about each job, to the letter."""
        said, fetched = defaultdict(Counter), Counter()
        for entry in self.server.log(what="command", since=self.mark):
            if entry["verb"] in ("ACK", "FAIL"):
                said[json.loads(entry["line"].partition(" ")[2])["jid"]][entry["verb"]] += 1
            elif entry["verb"] == "PUSHB":
                said[json.loads(entry["line"].partition(" ")[2])[0]["jid"]]["PUSHB"] += 1
            elif entry["verb"] == "FETCH":
                fetched[entry["line"].split()[1]] += 1
        for case in cases:
            n = said.pop(case.jid, Counter())
            self.assertTrue(between(n["ACK"] - n["PUSHB"], case.acks) and between(n["FAIL"], case.fails)
                            and between(n["PUSHB"], case.returns), f"{case.name}: {n}, not {case.acks} ACKs, "
                            f"{case.fails} FAILs, {case.returns} returns")
            if isinstance(case, Behind):
                self.assertEqual(fetched[case.second["queue"]], 0, f"{case.name}: fetched for the dead")
            if hasattr(case, "second_returns"):
                said.pop(case.second["jid"], None)
        self.assertEqual(set(said), {"other-job", "living-job"})


class EveryByte(Play):
    """What a worker can do by itself."""

    def test_killed_within_hello(self):
        lines = self.bytes(len('HELLO {"v":2,"pid":12345,"wid":"wid00000"}\r\n'))
        self.play([Hello(k, unread) for unread in (False, True) for k in lines])

    def test_killed_within_fetch(self):
        cases = []
        for eol in (CRLF, LF):
            length = Fetch.length(eol)
            cases += [Fetch(k, unread, eol) for unread in (False, True) for k in self.bytes(length) if unread or k < length]
        self.play(cases)

    def test_killed_within_the_reply(self):
        self.play([Reply(k) for k in self.bytes(60, 3, 5, 6)] + [Reply(-k) for k in self.bytes(110)])

    def test_killed_within_ack(self):
        self.play([Report(k, "ACK", unread, eol=eol) for eol in (CRLF, LF) for unread in (False, True)
                   for k in self.bytes(Report.length("ACK", eol))])

    def test_killed_within_ack_on_another_session(self):
        self.play([Report(k, "ACK", unread, on="b") for unread in (False, True) for k in self.bytes(Report.length())])

    def test_killed_within_ack_with_the_reply_not_read(self):
        """Then the kernel sends RST instead of FIN."""
        self.play([Report(k, "ACK", unread, blind=True) for unread in (False, True) for k in self.bytes(Report.length())])

    def test_killed_within_ack_on_a_session_not_accepted_yet(self):
        self.play([NewSession(-k) for k in self.bytes(70)[1:]] + [NewSession(10000), NewSession(10000, "FAIL")])

    def test_killed_within_fail(self):
        self.play([Report(k, "FAIL", unread) for unread in (False, True) for k in self.bytes(Report.length("FAIL"))])

    def test_killed_within_the_answer(self):
        self.play([Answer(k, verb) for verb in ("ACK", "FAIL") for k in range(len(OK) + 1) for _ in range(4)])

    def test_killed_within_what_waits_behind_a_fetch(self):
        self.play([Behind(k, unread) for unread in (False, True) for k in self.bytes(len(Behind(0).line()))], FEW)

    def test_killed_within_one_write_of_several_commands(self):
        length = InOneWrite(0).length
        self.play([InOneWrite(k) for k in self.bytes(length)] +
                  [InOneWrite(-k, push=push) for push in (100000, 300000) for k in (0, 1, 2, 3, 30)])

    def test_exits_with_a_status(self):
        cases = []
        for status in (0, 1):
            whole, fetch = Report.length(), Fetch.length()
            for unread in (False, True):
                cases += [Report(k, "ACK", unread, on=on, death=status) for k in (0, 1, whole - 2, whole - 1, whole)
                          for on in ("a", "b")]
                cases += [Fetch(k, unread, death=status) for k in (0, 1, fetch - 2, fetch - 1)]
                cases += [Behind(k, unread, death=status) for k in (0, whole - 1, whole, whole + 5, 10000)]
            cases += [Reply(k, death=status) for k in (0, 1, 10, -1)] + [Answer(k, death=status) for k in range(len(OK) + 1)]
            cases += [NewSession(-k, death=status) for k in range(1, 4)] + [NewSession(10000, death=status)]
            cases += [Fetch(fetch, True, death=status), InOneWrite(10000, death=status), Stray("push", death=status)]
        self.play(cases, FEW)

    def test_a_job_comes_for_the_dead(self):
        self.play([Stray("push", death=death) for death in ("kill", 0, 1) for _ in range(10)], FEW)


class Disturbed(Play):
    """What the development server has to be told to do: to stop in the middle, and to cut links."""

    def test_a_reply_is_on_its_way(self):
        self.play([Stray("hang")] + [Stray("split", k) for k in range(1, 60)] + [Stray("split", -k) for k in range(1, 111)] +
                  [Stray(*how, death=1) for how in (("hang", 0), ("split", 1), ("split", 30), ("split", -1))])

    def test_an_answer_is_on_its_way(self):
        self.play([LateAnswer(k, verb, death) for verb in ("ACK", "FAIL") for k in range(len(OK))
                   for death in ("kill", 0)])

    def cuts(self, verb, length):
        cases = []
        for then in ("live", "kill", "unread"):
            cases += [Cut(verb, "drop", k, then, how) for how in ("rst", "fin") for k in range(1, length + 1)]
            if verb != "FETCH":
                cases += [Cut(verb, "die", k, then, how, execute) for how in ("rst", "fin") for k in range(len(OK))
                          for execute in (False, True)]
        return cases

    def test_the_link_is_cut_within_fetch(self):
        self.play(self.cuts("FETCH", Fetch.length()), instances=120)

    def test_the_link_is_cut_within_ack(self):
        self.play(self.cuts("ACK", Report.length()), instances=120)

    def test_the_link_is_cut_within_fail(self):
        self.play(self.cuts("FAIL", Report.length("FAIL")), instances=120)

    def test_the_link_is_cut_within_the_reply(self):
        self.play([LostReply(k, then, how) for then in ("live", "kill") for how in ("rst", "fin") for k in range(150)],
                  instances=151)


class RealEveryByte(EveryByte):
    kind = "real"


notes = [f"{kind}: {reason or 'in use'}" for kind, reason in servers.available().items()]

if __name__ == "__main__":
    tap.main(notes=notes)
