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
from faktory_client import make_job
from puppets import OK, Puppets
from servers import wait_until

CRLF, LF = b"\r\n", b"\n"
NIL = b"$-1\r\n"
KILLED = ("retries", "WorkerSignaled", r"^p\.\d+ \(pid \d+\) was killed by SIGKILL .* after its start; .*it held 1 job, this one for ")
QUEUED, GONE, LEFT = ("queued",), ("gone",), ("working",)
OWN = ("retries", "Own", "^in its own words$")
SOME_BYTES = 7  # on the real server: each so many


def exited(status):
    return ("retries", "WorkerExited", rf"^p\.\d+ \(pid \d+\) exited with status {status} .*it held 1 job, this one for ")


class Case:
    """One worker and its job. What it is expected to come to: a place, and how many commands named the job."""

    numbers = 0
    unread = False     # chargehand is stopped during last() and the end
    settled_by = None  # something to be done on the server once the worker's end is known: "release" or "push"
    hangs = False      # a rule of the server has to hang before the worker ends
    acks = fails = returns = 0
    lives = False

    def __init__(self, name, death="kill"):
        self.name, self.death = f"{name}, {death}", death
        Case.numbers += 1
        self.number = Case.numbers
        self.wid, self.jid, self.queue = f"wid{self.number:05d}", f"jid{self.number:05d}", f"q{self.number:05d}"
        self.expected = QUEUED
        self.job = make_job(jid=self.jid, queue=self.queue, created_at="2026-01-01T00:00:00Z", args=[self.number])
        self.bodies = [self.job]  # pushed beforehand

    def dead(self):
        """FAILed by chargehand, for its worker ended."""
        self.expected, self.fails = KILLED if self.death == "kill" else exited(self.death), 1

    def reported(self, verb):
        if verb == "ACK":
            self.expected, self.acks = GONE, 1
        else:
            self.expected, self.fails = OWN, 1

    def fetch_line(self, eol=CRLF):
        return b"FETCH " + self.queue.encode() + eol

    def report_line(self, verb="ACK", eol=CRLF):
        fields = {"jid": self.jid}
        if verb == "FAIL":
            fields.update(errtype="Own", message="in its own words", backtrace=[])
        return f"{verb} {json.dumps(fields, separators=(',', ':'))}".encode() + eol

    def fetch(self, p, eol=CRLF):
        """The job is in the worker's hand, its reply read to the end."""
        p.send("a", self.fetch_line(eol))
        return self.read_reply(p)

    def read_reply(self, p, but=0):
        """All of the reply but so many bytes."""
        header = p.line("a")
        body = p.receive("a", int(header[1:]) + 2 - but)
        if self.jid.encode() not in body and but == 0:
            raise AssertionError(f"{self.name}: got {body!r}")

    def prepare(self, p, server):
        """With chargehand running."""

    def last(self, p):
        """The last that the worker does."""

    def sync(self, p):
        """Chargehand has read what was sent."""
        if p.synced:
            p.sync()

    def end(self, p):
        if self.death == "kill":
            p.kill()
        else:
            p.exit(self.death)

    def open(self, p, *names):
        for name in ("a", *names):
            p.hello(name, wid=self.wid)
        p.synced = not self.unread
        if p.synced:
            p.hello("z", wid="sync" + self.wid)


class Hello(Case):
    def __init__(self, k, unread=False):
        super().__init__(f"HELLO, {k} bytes{', unread' if unread else ''}")
        self.k, self.unread = k, unread

    def prepare(self, p, server):
        p.connect("a")
        p.line("a")
        p.synced = not self.unread
        if p.synced:
            p.hello("z", wid="sync" + self.wid)

    def last(self, p):
        p.send("a", p.hello_line(wid=self.wid)[:self.k])


class Fetch(Case):
    """k bytes of FETCH are sent. Whole and read it becomes a Reply; whole and unread it may be sent up, and comes back."""

    def __init__(self, k, unread=False, eol=CRLF, death="kill"):
        super().__init__(f"FETCH{'' if eol == CRLF else ' (LF)'}, {k} bytes{', unread' if unread else ''}", death)
        self.k, self.unread, self.eol = k, unread, eol
        if k == len(self.fetch_line(eol)):
            self.returns = (0, 1)

    @staticmethod
    def length(eol=CRLF):
        return len(b"FETCH q00000" + eol)

    def prepare(self, p, server):
        self.open(p)

    def last(self, p):
        p.send("a", self.fetch_line(self.eol)[:self.k])


class Reply(Case):
    """The worker has read k bytes of the reply, or all but -k: it has the job, whether it knows it or not."""

    def __init__(self, k, death="kill"):
        super().__init__(f"reply, {k} bytes read", death)
        self.k = k
        self.dead()

    def prepare(self, p, server):
        self.open(p)
        p.synced = False
        p.send("a", self.fetch_line())
        p.peek("a")

    def last(self, p):
        if self.k >= 0:
            p.receive("a", self.k)
        else:
            self.read_reply(p, -self.k)


class Report(Case):
    """k bytes of ACK or FAIL are sent. Only a whole line counts, and it always does."""

    def __init__(self, k, verb="ACK", unread=False, on="a", eol=CRLF, death="kill", blind=False):
        words = [w for w, yes in (("(LF)", eol == LF), ("on another session", on == "b"), ("reply not read", blind)) if yes]
        super().__init__(" ".join([verb, *words]) + f", {k} bytes{', unread' if unread else ''}", death)
        self.k, self.verb, self.unread, self.on, self.eol, self.blind = k, verb, unread, on, eol, blind
        if k < len(self.report_line(verb, eol)):
            self.dead()
        else:
            self.reported(verb)

    @staticmethod
    def length(verb="ACK", eol=CRLF):
        return len(Case("probe").report_line(verb, eol))

    def prepare(self, p, server):
        self.open(p, *([] if self.on == "a" else [self.on]))
        if self.blind:
            p.send("a", self.fetch_line())
            p.peek("a")
        else:
            self.fetch(p, self.eol)

    def last(self, p):
        p.send(self.on, self.report_line(self.verb, self.eol)[:self.k])


class NewSession(Report):
    """k bytes of HELLO and ACK on a connection that chargehand has not accepted when the worker ends."""

    def __init__(self, k, verb="ACK", death="kill"):
        super().__init__(10000, verb, unread=True, death=death)
        self.name = f"HELLO and {verb} on a session not accepted yet, {k} bytes, {death}"
        self.k = k

    def prepare(self, p, server):
        self.open(p)
        self.fetch(p)
        data = p.hello_line(wid=self.wid) + self.report_line(self.verb)
        self.data = data[:self.k] if self.k > 0 else data[:len(data) + self.k]
        if self.data != data:
            self.acks, self.fails = 0, 0
            self.dead()

    def last(self, p):
        p.connect("n")
        p.send("n", self.data)


class Answer(Case):
    """The worker has read k bytes of the +OK to its report, or ended before chargehand had any of it."""

    def __init__(self, k, verb="ACK", death="kill"):
        super().__init__(f"+OK to {verb}, {k} bytes read", death)
        self.k, self.verb = k, verb
        self.reported(verb)

    def prepare(self, p, server):
        self.open(p)
        p.synced = False
        self.fetch(p)
        p.send("a", self.report_line(self.verb))
        p.peek("a")

    def last(self, p):
        p.receive("a", self.k)


class Behind(Case):
    """Behind a FETCH that is under way: k bytes of an ACK and of a FETCH of another queue, which must not be fetched from."""

    def __init__(self, k, unread=False, death="kill"):
        super().__init__(f"ACK and FETCH behind a FETCH, {k} bytes{', unread' if unread else ''}", death)
        self.k, self.unread = k, unread
        self.second = make_job(jid=self.jid + "second", queue=self.queue + "second")
        self.bodies = [self.job, self.second]
        if k < len(self.report_line()):
            self.dead()
        else:
            self.reported("ACK")

    def line(self):
        return self.report_line() + b"FETCH " + self.second["queue"].encode() + CRLF

    def prepare(self, p, server):
        self.open(p)
        self.fetch(p)
        p.send("a", b"FETCH empty" + self.queue.encode() + CRLF)
        p.hello("y", wid="sync" + self.wid)
        p.sync("y")

    def last(self, p):
        p.send("a", self.line()[:self.k])


class InOneWrite(Case):
    """k bytes of one write: ACK, then FETCH of another queue; or a PUSH of more than a buffer, then the ACK."""

    def __init__(self, k, unread=True, push=0, death="kill"):
        super().__init__(f"{'PUSH and ACK' if push else 'ACK and FETCH'}, {k} bytes{', unread' if unread else ''}", death)
        self.unread = unread
        self.second = make_job(jid=self.jid + "second", queue=self.queue + "second", args=["x" * push])
        if push:
            data, behind = b"PUSH " + json.dumps(self.second).encode() + CRLF + self.report_line(), b""
        else:
            data, behind = self.report_line(), b"FETCH " + self.second["queue"].encode() + CRLF
            self.bodies = [self.job, self.second]
            self.second_returns = (0, 1)
        self.line = (data + behind)[:k] if k >= 0 else (data + behind)[:len(data + behind) + k]
        self.length = len(data + behind)
        if len(self.line) < len(data):
            self.dead()
        else:
            self.reported("ACK")

    def prepare(self, p, server):
        self.open(p)
        self.fetch(p)

    def last(self, p):
        p.send("a", self.line)


class Stray(Case):
    """A FETCH is under way when the worker ends: its reply comes afterwards (k < 0: all of it), or its last part does."""

    def __init__(self, how, k=0, death="kill"):
        super().__init__(f"stray: {how}, {k}", death)
        self.k, self.how, self.returns = k, how, 1
        self.settled_by = "push" if how == "push" else "release"
        self.hangs = how != "push"
        if how == "push":
            self.bodies = []

    def prepare(self, p, server):
        self.open(p)
        if self.how == "hang":
            server.rule("hang", verb="FETCH", wid=self.wid)
        elif self.how == "split":
            server.rule("split", verb="FETCH", wid=self.wid, at=[self.k], hang=True)
        p.send("a", self.fetch_line())


class LateAnswer(Case):
    """The report is at the server when the worker ends, and its +OK comes afterwards, or its last part does."""

    def __init__(self, k, verb="ACK", death="kill"):
        super().__init__(f"{verb}, its answer after {k} bytes late", death)
        self.k, self.verb = k, verb
        self.settled_by, self.hangs = "release", True
        self.reported(verb)

    def prepare(self, p, server):
        self.open(p)
        self.fetch(p)
        server.rule("split" if self.k else "hang", verb=self.verb, wid=self.wid, at=[self.k], hang=True)
        p.send("a", self.report_line(self.verb))


class Cut(Case):
    """The link to the server ends after k bytes of a command ("drop") or of its reply ("die"), and then the worker, or
    not ("live")."""

    def __init__(self, verb, do, k, then="live", how="rst", execute=True):
        super().__init__(f"link cut: {verb}, {do} at {k}, {how}{'' if execute else ', not executed'}, then {then}")
        self.verb, self.then, self.unread, self.lives = verb, then, then == "unread", then == "live"
        self.cut = {"verb": verb, "do": do, "at": k, "how": how, "execute": execute}
        self.executed = do == "die" and execute
        if verb == "FETCH":
            self.expected = QUEUED
        else:
            self.reported(verb)
            self.acks, self.fails = (self.acks, 2 * self.acks), (self.fails, 2 * self.fails)

    def prepare(self, p, server):
        self.open(p)
        p.synced = False
        if self.verb != "FETCH":
            self.fetch(p)
        server.rule(wid=self.wid, **self.cut)
        if not self.unread:
            self.last(p)

    def last(self, p):
        """Called once more when the link has been cut, unless it is unread until then."""
        if not self.unread and hasattr(self, "sent"):
            return
        self.sent = True
        p.send("a", self.fetch_line() if self.verb == "FETCH" else self.report_line(self.verb))


class LostReply(Cut):
    """The link ends in the middle of a FETCH's reply: the server has given the job out."""

    def __init__(self, k, then="live", how="rst"):
        super().__init__("FETCH", "die", k, then, how)
        self.expected, self.returns = LEFT, 0


def in_places(server):
    """{jid: [(place, job)]}"""
    found = defaultdict(list)
    for name in servers.SETS:
        for job in getattr(server, name)():
            found[job["jid"]].append((name, job))
    for jobs in server.queues().values():
        for job in jobs:
            found[job["jid"]].append(("queued", job))
    return found


def problem(case, found):
    """What is wrong with where a case's job is, or None."""
    places = found.get(case.jid, [])
    names = [name for name, _ in places] or ["gone"]
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
        if job.get("failure") or any(job[key] != case.job[key] for key in ("args", "retry", "jobtype", "queue")):
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
            found = in_places(self.server)
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
        self.play([Behind(k, unread) for unread in (False, True) for k in self.bytes(len(Behind(0).line()))])

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
        self.play(cases)

    def test_a_job_comes_for_the_dead(self):
        self.play([Stray("push", death=death) for death in ("kill", 0, 1) for _ in range(10)])


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
