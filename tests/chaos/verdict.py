# SPDX-License-Identifier: MIT
"""Where is every job in the end, and is it right there? Judges by what the witnesses have written: the workers' log, the
proxy's words and gifts, the journal as each killed chargehand left it, the signals that were sent, and the server.

A job may be done (acknowledged), thrown away (FAILed with retry 0), in its queue, in retries, or dead. What is excused, each by
a record of it and no other:
  network   the reply that gave the job out was lost on a link that was cut, or half open: the server gave it to nobody
  P7        the reply was the last on a link of a chargehand that was killed before it had read it (it is not in its journal)
  server    the server was killed with a FETCH, ACK or FAIL unanswered: it loses or strands one job for each (its own fault)
  returned twice  the answer to a return to the queue was lost, and it was repeated: the job was there, and is done, twice
  late      a FAIL had no answer, or was lost, and could not be said again before it must not be repeated any more (it could
            hit another's run), for all of that time is full of hindrances (hindrance.py); chargehand says so of the job, and
            leaves it to the end of its lease
  unread    chargehand was killed before it had read an ACK whose answer nobody saw (the journal does not have it)
"""
import calendar
import collections
import glob
import math
import os
import re
import shutil
import time

import storm
from chargehand import binary
from hindrance import SAID, Hindrance, windows
from record import Record, story

OURS = {"WorkerOutOfMemory", "HostOutOfMemory", "WorkerSignaled", "WorkerExited", "WorkerHung", "WorkerStopped",
        "JobStranded", "SupervisorDied"}
FAIL_REPEAT_SECONDS = 10
GIVE_UP_SECONDS = 7.5  # a link that swallows a FAIL is given up after 7 s at most (LINK_HASTY_USEC, LINK_LOOK_USEC)
PROXY_SECONDS = 2  # what a delay may add between two words
DEAD_SECONDS = 0.2  # after its SIGKILL nobody takes a process for alive
PID_SECONDS = 30  # and so long its pid is not another's
RESERVED_SECONDS = 1  # a job that a killed server stranded was reserved no longer before
RSS_MAX_KIB = 16 * 1024


Run = collections.namedtuple("Run", "word jid pid when more")


class Verdict:
    def __init__(self, finished):
        self.storm = finished
        self.problems, self.excused, self.places = [], collections.Counter(), collections.Counter()
        self.by_itself = collections.Counter()
        self.runs = collections.defaultdict(list)  # jid: [Run], in order
        self.words = collections.defaultdict(list)
        self.lost = collections.defaultdict(list)
        self.gifts = collections.defaultdict(list)
        self.where = None  # jid: [(place, job)]
        self.ends = collections.defaultdict(set)  # pid: what it did to itself
        self.late = set()  # jids that a chargehand has left to their leases, by its own words
        self.lives = collections.defaultdict(list)  # pid: [(keeper, generation)] of workers that had it
        self._read()
        self.tokens = self._server_tokens()

    def problem(self, text, jid=None):
        self.problems.append(text + ("\n" + story(self, jid) if jid else ""))

    # --- the witnesses

    def _read(self):
        s = self.storm
        for keeper in s.keepers.values():
            if os.path.exists(keeper.worker_log):
                with open(keeper.worker_log) as f:
                    for line in f:
                        word, jid, pid, ns, *more = line.split()
                        run = Run(word, jid, int(pid), int(ns) / 1e9, more[0] if more else "")
                        self.runs[jid].append(run)
                        if word == "end":
                            self.ends[run.pid].add(run.more)
            for path in glob.glob(keeper.log_path("*")):
                generation = int(path.rpartition(".")[2])
                with open(path, errors="replace") as f:
                    for line in f:
                        if m := re.search(r"job (\S+) .*(?:too late for its|is left to the server)", line):
                            self.late.add(m[1])
                        if m := re.search(r": started \(pid (\d+)\)", line):
                            self.lives[int(m[1])].append((keeper, generation))
        for runs in self.runs.values():
            runs.sort(key=lambda r: r.when)
        for word in s.proxy.words:
            self.words[word.jid].append(word)
        for word in s.proxy.lost:
            self.lost[word.jid].append(word)
        for gift in s.proxy.gifts:
            self.gifts[gift.jid].append(gift)
        self.where = s.server.where()

    def _server_tokens(self):
        """FETCHes that a killed server has not answered: {(end, queue): how many}"""
        tokens = collections.Counter()
        for number, (_, kill, words) in self.storm.server_ends.items():
            for word in words:
                if kill and word.verb == "FETCH":
                    tokens[number, word.queues[0]] += 1
        return tokens

    # --- a job

    def _killed_with(self, gift):
        """The ending of the chargehand whose link this was, if it was killed with it."""
        for how, when, journal, links in self.storm.keepers[gift.link.owner].endings.values():
            if how == "killed" and gift.link in links:
                return when, journal
        return None

    def _is_lost_gift(self, jid):
        """Was the last reply that gave it out one that nobody could take?"""
        if not self.gifts[jid]:
            return None
        gift = self.gifts[jid][-1]
        if any(r.when > gift.when for r in self.runs[jid]):
            return None
        if any(w.when > gift.when for w in self.words[jid]):
            return None
        if not gift.delivered and (gift.lost or gift.link.end in ("cut", "killed")):
            return "P7" if gift.link.end == "killed" else "network"
        killed = self._killed_with(gift)
        if killed and jid not in killed[1] and gift.link.last_reply is gift:
            return "P7"
        return None

    def _take_token(self, jid, fits):
        """An unanswered FETCH of a killed server, for a job that was in its queue then. fits: of the time of that end."""
        queue = self.storm.jobs[jid].keeper
        for number, (when, _, _) in self.storm.server_ends.items():
            if self.tokens[number, queue] > 0 and fits(when):
                self.tokens[number, queue] -= 1
                return True
        return False

    def _last_heard(self, jid):
        times = [w.when for w in self.words[jid]] + [g.when for g in self.gifts[jid]] + [r.when for r in self.runs[jid]]
        return max(times, default=self.storm.jobs[jid].pushed)

    def _unanswered_by_killed_server(self, jid):
        """The last that was said of it, or something since it was given out: what is repeated finds it gone."""
        given = max((g.when for g in self.gifts[jid]), default=0)
        return any(w.lost_with_server and self.storm.server_ends[w.lost_with_server][1]
                   for w in self.words[jid] if w.when >= given or w is self.words[jid][-1])

    def _returned_twice(self, jid):
        """A return is repeated until it is answered: at worst a job is there twice."""
        return sum(w.verb == "PUSHB" for w in self.words[jid]) > 1

    def _could_not_be_said(self, jid):
        """A FAIL of this run was lost, and what is on record left no time in its ten seconds to say it again: the link that
        had swallowed it was waited for, and then there was no server, no way to it, or no chargehand."""
        given = max((g.when for g in self.gifts[jid]), default=0)
        lost = [w for w in self.lost[jid] if w.verb == "FAIL" and w.when >= given]
        if not lost:
            return False
        since = min(w.when for w in lost + self.words[jid] if w.verb == "FAIL" and w.when >= given)
        s, owner = self.storm, self.storm.jobs[jid].keeper
        hindrances = s.absences + s.keepers[owner].hindrances + s.proxy.hindrances[""] + s.proxy.hindrances[owner]
        # One that was cut is known to be lost at once.
        hindrances += [Hindrance(SAID, w.when, min(w.when + GIVE_UP_SECONDS, w.link.ended or math.inf))
                       for w in lost if w.lost == "swallowed"]
        ready = [(l.welcomed, min(l.harmed or math.inf, l.ended or math.inf)) for l in s.proxy.all_links
                 if l.owner == owner and l.is_reporters and l.welcomed]
        return not windows(hindrances, since, since + FAIL_REPEAT_SECONDS, ready)

    def _finishing(self, jid):
        return [r for r in self.runs[jid] if r.word in ("sending", "sent", "ok", "done")]

    def _judge_working(self, jid, found):
        if reason := self._is_lost_gift(jid):
            self.excused[reason] += 1
            return
        reserved = monotonic_of(self.storm, found["reserved_at"])
        if not any(g.when > reserved - RESERVED_SECONDS for g in self.gifts[jid]) and \
                self._take_token(jid, lambda when: -RESERVED_SECONDS < when - reserved < 2 * RESERVED_SECONDS):
            self.excused["server"] += 1
            return
        reported = [w.verb for w in self.words[jid] if w.answer == "+OK" and self.gifts[jid] and
                    w.when > self.gifts[jid][-1].when]
        if self._returned_twice(jid) and ("ACK" in reported and self._finishing(jid) or "FAIL" in reported):
            self.excused["returned twice"] += 1  # and reported twice: that ends one of two reservations of one jid
            return
        last = self.words[jid][-1] if self.words[jid] else None
        if last and last.verb == "FAIL" and last.answer is None and jid in self.late:
            self.excused["late"] += 1
            return
        if jid in self.late and self._could_not_be_said(jid):
            self.excused["late"] += 1
            return
        self.problem(f"{jid} is still reserved, and nobody holds it", jid)

    def _judge_nowhere(self, jid):
        job, heard = self.storm.jobs[jid], self._last_heard(jid)
        acks = [w for w in self.words[jid] if w.verb == "ACK" and w.answer == "+OK"]
        fails = [w for w in self.words[jid] if w.verb == "FAIL" and w.answer == "+OK"]
        if acks and self._finishing(jid):
            self.places["done"] += 1
        elif fails and job.retry == 0:
            self.places["thrown away (retry 0)"] += 1
        elif self._unanswered_by_killed_server(jid) or self._take_token(jid, lambda when: when > heard):
            self.excused["server"] += 1
        elif acks:
            self.problem(f"{jid} was acknowledged, and nobody has done it", jid)
        else:
            self.problem(f"{jid} has vanished", jid)

    def _excuse_for_again(self, jid, sent):
        """An ACK was sent, and the job is not done: chargehand may have died with it unread."""
        if any(r.word == "ok" and r.pid == sent.pid and r.when >= sent.when for r in self.runs[jid]):
            return None
        for keeper, generation in self.lives[sent.pid] or self.lives[self._parent_of(jid, sent.pid)]:
            ending = keeper.endings.get(generation)
            if ending and ending[0] == "killed" and "ACK" not in ending[2].get(jid, ""):
                return "unread"
        return None

    def _parent_of(self, jid, child):
        for run in self.runs[jid]:
            if run.word == "forked" and run.more == str(child):
                return run.pid
        return None

    def _judge_finished(self, jid, present):
        """Nothing finished is failed, or run again."""
        for sent in [r for r in self.runs[jid] if r.word == "sent"]:
            again = [r for r in self.runs[jid] if r.word == "start" and r.when > sent.when]
            fails = [w for w in self.words[jid] if w.verb == "FAIL" and w.errtype in OURS and w.when > sent.when]
            if not (again or fails or present):
                continue
            if self._returned_twice(jid):
                self.excused["returned twice"] += 1
            elif reason := self._excuse_for_again(jid, sent):
                self.excused[reason] += 1
            elif self._unanswered_by_killed_server(jid):
                self.excused["server"] += 1
            else:
                self.problem(f"{jid}: its ACK was sent, and it was failed or run again", jid)
            return

    def _judge_words(self, jid):
        """On the wire: no FAIL after an ACK of the same run, and none repeated for longer than the rule says."""
        events = sorted([(w.when, w.verb, w) for w in self.words[jid]] + [(g.when, "given", g) for g in self.gifts[jid]],
                        key=lambda e: e[0])
        acked, first_fail = None, None
        for when, verb, what in events:
            if verb == "given" or verb == "PUSHB":
                acked = first_fail = None
            elif verb == "ACK":
                acked = what
            elif verb == "FAIL":
                if acked and not self._returned_twice(jid):
                    self.problem(f"{jid}: FAIL after its ACK", jid)
                if first_fail and when > first_fail + FAIL_REPEAT_SECONDS + PROXY_SECONDS:
                    self.problem(f"{jid}: FAIL repeated {when - first_fail:.1f} s after the first", jid)
                first_fail = first_fail or when

    # --- the cause

    def _judge_cause(self, jid, failure):
        job = self.storm.jobs[jid]
        errtype, message = failure.get("errtype"), failure.get("message", "")
        if errtype not in OURS:
            if job.keeper == "scripted" and (errtype != "Own" or job.args[0] != "fail"):
                self.problem(f"{jid}: failed as {errtype!r}: {message}", jid)
            return
        m = re.search(r"\(pid (\d+)\)", message)
        pid = int(m[1]) if m else None
        endings = {keeper.endings.get(generation, ("",))[0] for keeper, generation in self.lives[pid]
                   if keeper.name == job.keeper}
        right = False
        if errtype == "JobStranded":
            right = job.big
        elif not endings:
            right = False
        elif errtype == "WorkerSignaled":
            name = (re.search(r"killed by (SIG\w+)", message) or [None, None])[1]
            right = name in self.storm.signals.get(pid, ()) or name and name[3:] in self.ends[pid] or \
                (name == "SIGSEGV" and job.jobtype != "chaos" and self._did(pid, "segv"))
        elif errtype == "WorkerExited":
            status = (re.search(r"exited with status (\d+)", message) or [None, None])[1]
            right = status in self.ends[pid] or self._did(pid, "exit") and status == "3" or \
                self._forked(pid) and status == "0"
            if not right and status is not None:
                self.by_itself[f"{job.keeper}, status {status}"] += 1
                right = job.keeper != "scripted"
        elif errtype == "WorkerStopped":
            right = "stopped" in endings
        elif errtype == "SupervisorDied":
            right = "killed" in endings
        death = self.storm.deaths.get(pid)
        given = [g.when for g in self.gifts[jid]]
        if "by SIGKILL" in message and death and given and DEAD_SECONDS < given[-1] - death < PID_SECONDS and \
                not self._started_by(jid, pid):
            self.problem(f"{jid}: it was given out after its worker's death, and failed instead of put back", jid)
        if not right:
            self.problem(f"{jid}: not the right cause: {errtype}: {message} (signals {self.storm.signals.get(pid)}, its own "
                         f"end {self.ends[pid]}, its chargehand {endings or 'unknown'})", jid)

    def _started_by(self, jid, pid):
        return any(r.word == "start" and r.pid == pid for r in self.runs[jid])

    def _did(self, pid, jobtype):
        return any(r.pid == pid and r.word == "start" and self.storm.jobs[jid].jobtype == jobtype
                   for jid, runs in self.runs.items() for r in runs)

    def _forked(self, pid):
        return any(r.pid == pid and r.word == "forked" for runs in self.runs.values() for r in runs)

    # --- all

    def judge(self):
        for jid in self.storm.jobs:
            found = self.where[jid]
            if len(found) > 1 and not self._returned_twice(jid) and not self._unanswered_by_killed_server(jid):
                self.problem(f"{jid} is in several places: {[place for place, _ in found]}", jid)
            for place, job in found[:1]:
                if place == "working":
                    self._judge_working(jid, job)
                else:
                    self.places[place] += 1
                if place in ("retries", "dead"):
                    self._judge_cause(jid, job.get("failure") or {})
            if not found:
                self._judge_nowhere(jid)
            self._judge_words(jid)
            self._judge_finished(jid, any(place != "working" for place, _ in found))
        self._judge_leavings()
        self._judge_record()
        return self.problems

    def _judge_record(self):
        """What has begun has ended, or it would excuse everything; but no chargehand is there at the end."""
        s = self.storm
        for owner, hindrances in [("", s.absences), *s.proxy.hindrances.items(),
                                  *((keeper.name, keeper.hindrances[:-1]) for keeper in s.keepers.values())]:
            for hindrance in hindrances:
                if hindrance.end == math.inf:
                    self.problem(f"{owner or 'all'}: {hindrance} has not ended")

    def _judge_leavings(self):
        for keeper in self.storm.keepers.values():
            left = keeper.journal()
            if left:
                self.problem(f"{keeper.name}: left in the journal after the last stop: {left}")
            for group in keeper.groups:
                for path in glob.glob(f"/sys/fs/cgroup{group}") + glob.glob(f"/sys/fs/cgroup/unified{group}"):
                    self.problem(f"{keeper.name}: the cgroup {path} is left")
            files = sorted(os.listdir(keeper.state))
            if not set(files) <= {"journal", "journal.new", "lock"}:
                self.problem(f"{keeper.name}: files in its state directory: {files}")
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/environ", "rb") as f:
                        if f"CHAOS_LOG={self.storm.directory}/".encode() in f.read():
                            with open(f"/proc/{name}/cmdline") as g:
                                self.problem(f"a process is left: {name} {g.read()!r}")
                except OSError:
                    pass
        for name, (before, after, rss) in self.storm.at_rest.items():
            if after > before + storm.DESCRIPTORS_MORE * storm.INSTANCES[name]:
                self.problem(f"{name}: {after} descriptors at rest, and {before} before the storm")
            if rss > RSS_MAX_KIB and not is_sanitized():
                self.problem(f"{name}: chargehand has used {rss} KiB")

    def report(self):
        s = self.storm
        lines = [f"{len(s.jobs)} jobs, {sum(map(len, self.gifts.values()))} times given out, "
                 f"{s.ended - s.begun:.0f} s, {s.server.kind} server"]
        for title, counted in (("harm", {**s.counts, **{f"link {k}": v for k, v in s.proxy.counts.items()}}),
                               ("places", self.places), ("excused", self.excused),
                               ("workers that ended by themselves with jobs in hand", self.by_itself)):
            lines.append(f"{title}: " + ("; ".join(f"{n} {what}" for what, n in sorted(counted.items())) or "none"))
        ends = collections.Counter(str(e) for self_ends in self.ends.values() for e in self_ends)
        lines.append(f"put back into their queues: {sum(w.verb == 'PUSHB' for w in s.proxy.words)}")
        lines.append("workers that ended themselves as their job said: " +
                     ("; ".join(f"{n} {how}" for how, n in sorted(ends.items())) or "none"))
        lines.append("at rest: " + "; ".join(f"{name}: {after} descriptors ({before} before), {rss} KiB at most"
                                             for name, (before, after, rss) in s.at_rest.items()))
        return lines


def monotonic_of(finished, text):
    """An RFC 3339 time of the server's, on our clock: both are of one machine."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    wall = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float("0." + (fraction or "0"))
    return finished.begun + wall - finished.begun_wall


def is_sanitized():
    with open(binary(), "rb") as f:
        return b"__asan_init" in f.read()


def of_storm(jobs, seed, kind, libraries, faults, gap, directory=None, keep=None, say=lambda text: None):
    """A storm from its beginning to its end: the problems, and the report, as lines. All that is known of it goes into the
    directory; without one, into a new one that is left, moved to `keep` if given, if there are problems."""
    record = Record(directory)
    s, problems, report = None, ["the storm has not come to its end"], []
    try:
        s = storm.Storm(jobs, seed, kind, libraries, record, faults, gap, say)
        try:
            s.blow()
            s.clear_up()
            v = Verdict(s)
            problems, report = v.judge(), v.report()
        except storm.Trouble as e:
            problems, report = [str(e)], [f"harm until then: {s.counts} {s.proxy.counts}"]
        return problems, report
    finally:
        if s is not None:
            record.take(s)
            s.close()
        record.write("verdict", report + problems)
        kept = record.close(problems)
        if kept and keep and not directory:
            shutil.rmtree(keep, ignore_errors=True)
            kept = shutil.move(kept, keep)
        if kept:
            report.append(f"all that is known of it: {kept}")
