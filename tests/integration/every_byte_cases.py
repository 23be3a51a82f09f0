# SPDX-License-Identifier: MIT
"""What test_every_byte.py plays: where a worker ends or a link is cut, and what its job is to come to."""
import json

from faktory_client import make_job
from puppets import OK

CRLF, LF = b"\r\n", b"\n"
NIL = b"$-1\r\n"
KILLED = ("retries", "WorkerSignaled", r"^p\.\d+ \(pid \d+\) was killed by SIGKILL .* after its start; .*it held 1 job, this one for ")
QUEUED, GONE, LEFT = ("queued",), ("gone",), ("working",)
OWN = ("retries", "Own", "^in its own words$")


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
