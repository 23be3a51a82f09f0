# SPDX-License-Identifier: MIT
"""What the development server remembers: queues, sets, reservations, counters.

Every change goes through one of the small methods of Store and, with a state file, is one line at its
end, so that a server killed at any moment comes back with what it had. The rules (retries, leases,
the reaper) are in Manager; connections and commands are in devserver.py.
"""
import collections
import datetime
import fnmatch
import json
import os
import random
import re
import time

import gojson

DEAD_SECONDS = 180 * 86400
SETS = ("scheduled", "retries", "dead", "working")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)\Z")


class Refused(Exception):
    """Answered as -ERR with this text."""


def stamp(ns):
    """Nanoseconds as the server writes them: UTC, no zeros at the end of the fraction."""
    second, fraction = divmod(ns, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return text + (f".{fraction:09d}".rstrip("0") if fraction else "") + "Z"


def parse_stamp(text):
    found = _STAMP.match(text)
    if not found:
        shown = json.dumps(text, ensure_ascii=False)
        raise Refused(f"invalid timestamp for 'at': {shown}: parsing time {shown} as "
                      f"\"2006-01-02T15:04:05.999999999Z07:00\": cannot parse {shown} as \"2006\"")
    second = datetime.datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")).timestamp()
    return int(second) * 10**9 + int((found[2] or "").ljust(9, "0")[:9])


FAILURE = {"failed_at": "string", "next_at": "string", "message": "string", "errtype": "string",
           "backtrace": "[]string", "retry_count": "int", "remaining": "int"}
JOB = {"retry": "int", "failure": (FAILURE, "client.Failure"), "custom": "map[string]interface {}", "jid": "string",
       "queue": "string", "jobtype": "string", "created_at": "string", "enqueued_at": "string", "at": "string",
       "args": "[]interface {}", "reserve_for": "int", "backtrace": "int"}


class Job:
    """One job. args and custom are kept as the text that goes out again: a big job is encoded once."""

    __slots__ = ("retry", "failure", "custom", "jid", "queue", "jobtype", "created_at", "enqueued_at", "at", "args",
                 "reserve_for", "backtrace")

    def __init__(self, tree):
        fields = gojson.decode(tree, JOB, "client.Job")
        for name, kind in JOB.items():
            setattr(self, name, fields.get(name, None if name in gojson.NULLABLE else "" if kind == "string" else 0))
        self.backtrace = fields.get("backtrace", 0)
        self.custom = gojson.dumps(self.custom) if self.custom else None
        self.args = None if self.args is None else gojson.dumps(self.args)

    @classmethod
    def from_text(cls, text):
        return cls(gojson.loads(text.encode()))

    def text(self):
        out = ['"retry":' + ("null" if self.retry is None else str(self.retry))]
        if self.failure is not None:
            f = self.failure
            inner = [f'"failed_at":{gojson.quote(f.get("failed_at", ""))}']
            inner += [f'"{k}":{gojson.quote(f[k])}' for k in ("next_at", "message", "errtype") if f.get(k)]
            if f.get("backtrace"):
                inner.append('"backtrace":' + gojson.dumps(f["backtrace"]))
            inner += [f'"{k}":{f.get(k, 0)}' for k in ("retry_count", "remaining")]
            out.append('"failure":{' + ",".join(inner) + "}")
        if self.custom:
            out.append('"custom":' + self.custom)
        out += [f'"{k}":{gojson.quote(getattr(self, k))}' for k in ("jid", "queue", "jobtype")]
        out += [f'"{k}":{gojson.quote(getattr(self, k))}'
                for k in ("created_at", "enqueued_at", "at") if getattr(self, k)]
        out.append('"args":' + ("null" if self.args is None else self.args))
        out += [f'"{k}":{getattr(self, k)}' for k in ("reserve_for", "backtrace") if getattr(self, k)]
        return "{" + ",".join(out) + "}"


class Reservation:
    __slots__ = ("job", "wid", "since", "expiry", "entry")

    def __init__(self, job, wid, since, expiry):
        self.job, self.wid, self.since, self.expiry, self.entry = job, wid, since, expiry, None

    def text(self):
        return (f'{{"job":{self.job.text()},"reserved_at":"{stamp(self.since)}","expires_at":"{stamp(self.expiry)}",'
                f'"wid":{gojson.quote(self.wid)}}}')

    @classmethod
    def from_text(cls, text):
        tree = gojson.loads(text.encode())
        return cls(Job(tree["job"]), tree["wid"], parse_stamp(tree["reserved_at"]), parse_stamp(tree["expires_at"]))


class Store:
    """Lists and sorted sets, and the file that lets them survive. Members of a set are Jobs, those of
    "working" are Reservations; a member is known by its number."""

    def __init__(self, path=None):
        self.queues, self.paused = {}, set()
        self.sets = {name: {} for name in SETS}  # number -> (score in ns, member)
        self.counters = {"processed": 0, "failures": 0}
        self.numbers, self.file = 0, None
        if path:
            self._restore(path)

    def _restore(self, path):
        if os.path.exists(path):
            with open(path, "rb") as f:
                for line in f:
                    if line.endswith(b"\n"):  # a torn last line never happened
                        name, *words = json.loads(line)
                        getattr(self, name)(*words)
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _log(self, *words):
        if self.file is not None:
            os.write(self.file, json.dumps(words).encode() + b"\n")

    def add_queue(self, name):
        if name not in self.queues:
            self.queues[name] = collections.deque()
            self._log("add_queue", name)

    def push(self, name, job):
        job = job if isinstance(job, Job) else Job.from_text(job)
        self.queues.setdefault(name, collections.deque()).append(job)
        if self.file is not None:
            self._log("push", name, job.text())

    def pop(self, name):
        self._log("pop", name)
        return self.queues[name].popleft()

    def add(self, name, score, member, number=None):
        if isinstance(member, str):
            member = (Reservation if name == "working" else Job).from_text(member)
        self.numbers = number or self.numbers + 1
        self.sets[name][self.numbers] = (score, member)
        if self.file is not None:
            self._log("add", name, score, member.text(), self.numbers)
        return self.numbers

    def remove(self, name, number):
        if self.sets[name].pop(number, None) is None:
            return False
        self._log("remove", name, number)
        return True

    def count(self, name):
        self.counters[name] += 1
        self._log("count", name)

    def clear(self, name):
        self.sets[name].clear()
        self._log("clear", name)

    def pause(self, name, on):
        (self.paused.add if on else self.paused.discard)(name)
        self._log("pause", name, on)

    def drop_queue(self, name):
        self.queues.pop(name, None)
        self.paused.discard(name)
        self._log("drop_queue", name)

    def flush(self):
        for queue in self.queues.values():
            queue.clear()
        for name in SETS:
            self.sets[name].clear()
        self.counters = dict.fromkeys(self.counters, 0)
        self._log("flush")

    def due(self, name, now):
        """Members whose score has passed, oldest first."""
        return sorted((score, number, member) for number, (score, member) in self.sets[name].items() if score <= now)


class Manager:
    """The rules. The scales shorten retry delays and leases."""

    def __init__(self, store, scale=1.0, lease_scale=1.0, log=print):
        self.store, self.scale, self.lease_scale, self.log = store, scale, lease_scale, log
        self.retry_default = 25
        self.wake = lambda: None  # called after a job was pushed
        self.held = {}
        for number, (_, res) in sorted(store.sets["working"].items()):
            res.entry = number
            self.held[res.job.jid] = res

    # --- jobs in

    def decode_push(self, data):
        tree = gojson.loads(data)
        job = Job(tree)
        if job.retry is not None:
            self.retry_default = job.retry  # the real server overwrites its default for everybody
        return job

    def push(self, job):
        if len(job.jid.encode()) < 8:
            raise Refused("jobs must have a reasonable jid parameter")
        if not job.jobtype:
            raise Refused("jobs must have a jobtype parameter")
        if job.args is None:
            raise Refused("jobs must have an args parameter")
        if job.reserve_for > 86400:
            raise Refused("jobs cannot be reserved for more than one day")
        now = time.time_ns()
        if job.retry is None:
            job.retry = self.retry_default
        job.created_at = job.created_at or stamp(now)
        job.queue = job.queue or "default"
        if job.at and (at := parse_stamp(job.at)) > now:
            self.store.add("scheduled", at, job)
        else:
            self.enqueue(job)

    def enqueue(self, job):
        if job.queue not in self.store.queues and not re.fullmatch(r"[a-zA-Z0-9._-]+", job.queue):
            shown = json.dumps(job.queue, ensure_ascii=False)
            raise Refused(rf"cannot get {shown} queue: queue names must match \A[a-zA-Z0-9._-]+\z")
        self.store.add_queue(job.queue)
        job.enqueued_at = stamp(time.time_ns())
        self.store.push(job.queue, job)
        self.wake()

    # --- jobs out

    def take(self, names, wid):
        """The first job of the first queue that has one, reserved."""
        for name in names:
            if self.store.queues.get(name):
                job = self.store.pop(name)
                now = time.time_ns()
                lease = min(max(job.reserve_for or 1800, 60), 86400)
                res = Reservation(job, wid, now, now + int(lease * self.lease_scale * 10**9))
                res.entry = self.store.add("working", res.expiry, res)
                self.held[job.jid] = res
                return job
        return None

    def ack(self, jid):
        res = self.held.pop(jid, None)
        if res is not None:
            self.store.remove("working", res.entry)
            self.store.count("processed")

    def fail(self, jid, errtype, message, backtrace, reaped=False):
        res = self.held.pop(jid, None)
        if res is None:
            raise Refused(f"Job not found {jid}")
        if not reaped and not self.store.remove("working", res.entry):
            return
        self.store.count("processed")
        self.store.count("failures")
        job = res.job
        if job.failure is None:
            job.failure = {"retry_count": 0, "remaining": job.retry, "failed_at": stamp(time.time_ns())}
        else:
            job.failure["retry_count"] = job.failure.get("retry_count", 0) + 1
            job.failure["remaining"] = max(job.failure.get("remaining", 0) - 1, min(job.failure.get("remaining", 0), 0))
        job.failure.update(errtype=errtype, message=message, backtrace=backtrace)
        count = job.failure["retry_count"]
        if job.retry == 0:
            return
        if count < job.retry:
            delay = count**4 + 15 + random.randrange(30) * (count + 1)
            when = time.time_ns() + int(delay * self.scale * 10**9)
            job.failure["next_at"] = stamp(when)
            self.store.add("retries", when, job)
        else:
            self.store.add("dead", time.time_ns() + DEAD_SECONDS * 10**9, job)

    # --- by the clock

    def requeue_due(self, name):
        for _, number, job in self.store.due(name, time.time_ns()):
            self.store.remove(name, number)
            self.enqueue(job)

    def _take_due(self):
        """Reservations that are over, taken out one after the other."""
        for _, number, res in self.store.due("working", time.time_ns()):
            self.store.remove("working", number)
            yield res

    def _expire(self, res):
        try:
            self.fail(res.job.jid, "ReservationExpired", "Faktory job reservation expired", [], reaped=True)
            return 1
        except Refused as e:
            self.log(f"reaper: {e}")
            return 0

    def reap(self):
        """Leases that are over. An entry that its jid's reservation no longer knows is dropped with a
        line in the log, and one jid held twice loses the newer reservation: so does the real server."""
        return sum(self._expire(res) for res in self._take_due())

    async def reap_with_a_pause(self, pause):
        """What else is executed between the two steps is the race in which the real server loses jobs."""
        for res in self._take_due():
            await pause()
            self._expire(res)

    # --- MUTATE

    def mutate(self, op):
        name = op.get("target", "")
        if op.get("cmd") not in ("clear", "kill", "discard", "requeue"):
            raise Refused("unknown mutate operation")
        if name not in ("retries", "dead", "scheduled"):
            raise Refused("invalid target for mutation command")
        want = op.get("filter")
        if op["cmd"] == "clear" or (op["cmd"] == "discard" and want is None):
            self.store.clear(name)
            return
        for number, (_, job) in list(self.store.sets[name].items()):
            if not self._matches(want or {}, job.text()):
                continue
            self.store.remove(name, number)
            if op["cmd"] == "requeue":
                self.store.add_queue(job.queue)
                self.store.push(job.queue, job)
                self.wake()
            elif op["cmd"] == "kill":
                self.store.add("dead", time.time_ns() + DEAD_SECONDS * 10**9, job)

    @staticmethod
    def _matches(want, text):
        def has(key, value):  # plain quotes: a value with <, > or & is never found, in the real server either
            return text.find(f'"{key}":{json.dumps(value, ensure_ascii=False)}') > 0

        if want.get("jids"):
            return any(has("jid", jid) for jid in want["jids"])
        if want.get("regexp") and not fnmatch.fnmatchcase(text, want["regexp"]):
            return False
        return not want.get("jobtype") or has("jobtype", want["jobtype"])
