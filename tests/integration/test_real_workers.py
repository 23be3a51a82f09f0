#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Unmodified workers of four client libraries under chargehand, on the development server and on the real one.

Each test has a server of its own with a password, so that at its end the server's counters can be held against the jobs
pushed and against the workers' own log: nothing is done twice, nothing is lost (P1, P2, P4), and a worker notices neither
chargehand nor a restart of the server (P6, P8).
"""
import os
import re
import signal
import subprocess
import sys
import time
import unittest
from collections import Counter
from datetime import datetime, timezone

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import real_workers
import servers
import tap
from chargehand import Chargehand
from faktory_client import make_job, new_jid
from servers import wait_until

SLOW = 30       # seconds that a worker may take to start, on a busy machine
FAIL_SEC = 0.5  # from kill(2) to the failed_at of the last job; of a pool's processes each ends first, on a busy machine


def tree(pid):
    """The process and all below it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    parents[int(name)] = int(f.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def alive(pids):
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                if f.read().rpartition(")")[2].split()[0] not in "ZX":
                    found.append(pid)
        except OSError:
            pass
    return found


def seconds_of(text):
    """A server's time stamp, to the microsecond, in seconds."""
    whole, _, rest = text.rstrip("Z").partition(".")
    begun = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    return begun + float("0." + (rest or "0"))


class Case(unittest.TestCase):
    library = kind = None

    def setUp(self):
        if self.kind == "real":
            servers.need_real()
        tap.need(real_workers.WORDS[self.library], real_workers.missing(self.library))
        self.server = servers.make(self.kind, password="s3cret")
        self.addCleanup(self.server.close)
        self.acked = self.failed = 0  # what the server should have counted at the end
        self.jids = []

    def start(self, *options, **more):
        self.log = os.path.join(self.server.dir, "worker.log")
        env = real_workers.environment(self.library, log=self.log, **more)
        self.c = Chargehand(self.server, *real_workers.command(self.library), env=env,
                            options=["--name", "w", "--cgroup", "none", *options])
        self.addCleanup(self.end)
        self.c.wait_log(r"running .hello.", SLOW)
        self.pid = int(re.search(r"started \(pid (\d+)\)", self.c.log())[1])

    def end(self):
        """A stop without grace, so that no child of a pool lives on, and nobody waits for a library's slow end."""
        if self.c.process.poll() is None:
            self.c.signal(signal.SIGTERM)
            self.c.signal(signal.SIGINT)
            self.c.wait()
        self.c.close()

    def push(self, jobtype, *args, n=1, **more):
        jobs = [make_job(jobtype, args, jid=new_jid(), reserve_for=600, **more) for _ in range(n)]
        self.server.pushb(jobs)
        self.jids += [job["jid"] for job in jobs]
        return [job["jid"] for job in jobs]

    def entries(self, word):
        return [entry for entry in real_workers.read_log(self.log) if entry[0] == word]

    def wait_started(self, jids):
        wait_until(lambda: set(jids) <= {entry[1] for entry in self.entries("start")}, SLOW, f"{jids} have begun")

    def wait_done(self, jids):
        """Done and ACKed. A job that a FETCH has just taken is nowhere for a moment as well, so the log is asked first."""
        wait_until(lambda: set(jids) <= {entry[1] for entry in self.entries("done")}, SLOW, f"{jids} are done")
        for jid in jids:
            self.server.wait_jid(jid, None, SLOW)
        self.acked += len(jids)

    def check_failed(self, jids, errtype, message):
        """FAILed by chargehand, each once."""
        failures = [self.server.wait_jid(jid, "retries")["failure"] for jid in jids]
        held = f"it held {len(jids)} job{'s' if len(jids) > 1 else ''}, this one for "
        for failure in failures:
            self.assertEqual((failure["errtype"], failure.get("retry_count", 0)), (errtype, 0))
            self.assertRegex(failure["message"], rf"^w\.1 \(pid {self.pid}\) {message}.*{held}")
        self.failed += len(jids)
        return [seconds_of(failure["failed_at"]) for failure in failures]

    def check_alive(self):
        """The worker is still the first one, and works."""
        self.wait_done(self.push("echo", 1))
        self.assertNotIn("w.1 (pid", self.c.log())
        self.assertEqual(self.c.log().count("started (pid"), 1)

    def check_counts(self):
        """No job finished twice, none lost."""
        self.server.wait(working=0, queued=0, timeout=5)
        counts = self.server.counts()
        self.assertEqual((counts["processed"], counts["failures"]), (self.acked + self.failed, self.failed))
        done = Counter(entry[1] for entry in self.entries("done"))
        self.assertLessEqual(max(done.values(), default=0), 1, done)
        retries = [job["jid"] for job in self.server.retries()]
        self.assertEqual(len(retries), self.failed)
        self.assertLessEqual(set(self.jids) - set(retries), set(done))

    def chargehand_failed(self):
        """The number of FAILs that chargehand has sent of its own."""
        return self.c.log().count("has taken its FAIL")


class Works(Case):
    def test_jobs_are_done_to_the_end(self):
        self.start(concurrency=3)
        self.wait_done(self.push("echo", 1, n=30))
        jid, = self.push("fail")
        self.assertIn("failed on purpose", self.server.wait_jid(jid, "retries")["failure"]["message"])
        self.failed += 1
        self.check_alive()
        self.assertEqual(self.chargehand_failed(), 0)
        self.check_counts()


class Dies(Case):
    def check_killed(self, n):
        self.start(concurrency=n, threads=False)
        jids = self.push("sleep", 1000, n=n)
        self.wait_started(jids)
        family = tree(self.pid)
        begun = time.time()
        os.kill(self.pid, signal.SIGKILL)
        times = self.check_failed(jids, "WorkerSignaled", "was killed by SIGKILL")
        took = max(times) - begun
        print(f"{n} jobs: FAILed {took * 1000:.1f} ms after kill -9; {len(family)} processes")
        self.assertEqual(alive(family), [])
        self.assertLess(took, FAIL_SEC * (10 if self.c.sanitized else 1))
        self.c.wait_log("running .hello.", SLOW, count=2)
        self.wait_done(self.push("echo", 1))
        self.check_counts()

    def test_killed_with_one_job(self):
        self.check_killed(1)

    def test_killed_with_five_jobs(self):
        self.check_killed(5)

    def test_killed_while_a_job_runs_a_child(self):
        self.start()
        jid, = self.push("fork", 1000)
        self.wait_started([jid])
        sleeper = wait_until(lambda: [pid for pid in tree(self.pid) if self.is_sleep(pid)], what="the job's child runs")
        os.kill(self.pid, signal.SIGKILL)
        self.check_failed([jid], "WorkerSignaled", "was killed by SIGKILL")
        self.assertEqual(alive(sleeper), [])
        self.check_counts()

    @staticmethod
    def is_sleep(pid):
        try:
            with open(f"/proc/{pid}/comm") as f:
                return f.read() == "sleep\n"
        except OSError:
            return False


class DiesOfItsJob(Case):
    """Libraries whose jobs run in the worker's own process."""

    def check_job(self, jobtype, argument, errtype, message):
        self.start(concurrency=2, threads=True)
        other, = self.push("sleep", 1000)
        self.wait_started([other])
        jid, = self.push(jobtype, argument)
        self.check_failed([other, jid], errtype, message)
        self.check_counts()

    def test_a_job_that_crashes(self):
        self.check_job("segv", 0, "WorkerSignaled", "was killed by SIGSEGV")

    def test_a_job_that_exits(self):
        self.check_job("exit", 3, "WorkerExited", "exited with status 3 ")

    def test_a_job_that_exits_with_0(self):
        self.check_job("exit", 0, "WorkerExited", "exited with status 0 ")


class PoolDies(Case):
    """A child of a library's pool is killed: the library tells the server, and chargehand says nothing."""

    def test_a_child_of_the_pool_is_killed(self):
        self.start()
        jid, = self.push("sleep", 1000)
        self.wait_started([jid])
        child = self.entries("start")[0][2]
        self.assertNotEqual(child, self.pid)
        os.kill(child, signal.SIGKILL)
        failure = self.server.wait_jid(jid, "retries", SLOW)["failure"]
        self.failed += 1
        self.assertIn(failure["errtype"], ("BrokenProcessPool", "ProcessExpired"))
        self.assertEqual(self.chargehand_failed(), 0)
        self.assertEqual(self.c.log().count("started (pid"), 1)
        self.check_counts()


class Stops(Case):
    # Rust's library has no handler for TERM: the job dies with it, and that is said.
    finishes = True

    def check_stopped(self):
        begun = time.monotonic()
        self.assertEqual(self.c.stop(timeout=40), 0)
        print(f"ended {time.monotonic() - begun:.2f} s after SIGTERM")
        self.server.wait(connections=0)
        self.assertEqual(self.server.working(), [])
        self.assertEqual(self.c.log().count("started (pid"), 1)
        self.check_counts()

    def test_stopped_with_a_job_in_hand(self):
        self.start()
        jid, = self.push("sleep", 1)
        self.wait_started([jid])
        if self.finishes:
            self.acked += 1
        else:
            self.failed += 1
        self.check_stopped()
        if not self.finishes:
            self.assertEqual(self.server.find(jid)[1]["failure"]["errtype"], "WorkerStopped")

    def test_stopped_idle(self):
        self.start()
        self.wait_done(self.push("echo", 1))
        self.check_stopped()
        self.push("echo", 1)  # nobody is there to take it
        self.assertEqual(self.server.counts()["queued"], 1)


    def test_stopped_in_the_middle_of_many(self):
        """A FETCH is nearly always under way. Nothing is swallowed at TERM, and nothing is left reserved (hazards 18)."""
        self.start(concurrency=3)
        jids = set(self.push("echo", 5, n=3000))
        wait_until(lambda: len(self.entries("done")) >= 20, SLOW, "some are done")
        self.assertEqual(self.c.stop(timeout=60), 0)
        self.server.wait(connections=0)
        self.assertEqual(self.server.working(), [])
        queued = {job["jid"] for job in self.server.queues()["default"]}
        failed = {job["jid"]: job["failure"]["errtype"] for job in self.server.retries()}
        done = Counter(entry[1] for entry in self.entries("done"))
        self.assertEqual(max(done.values()), 1)
        gone = jids - queued - set(failed)
        self.assertLessEqual(gone, set(done))
        self.assertEqual(len(queued) + len(failed) + len(gone), len(jids))
        print(f"{len(done)} done, {len(failed)} FAILed, {len(queued)} left in the queue")
        if self.finishes:
            self.assertEqual((gone, failed), (set(done), {}))
        self.assertLessEqual(set(failed.values()), {"WorkerStopped"})


    def test_a_job_comes_when_it_is_to_stop(self):
        """Its FETCH was under way. Told to end while the job is still in its socket, it would drop it."""
        self.start()
        self.wait_done(self.push("echo", 1))
        wait_until(self.is_fetching, SLOW, "it asks for a job")
        self.c.signal(signal.SIGTERM)
        self.c.wait_log("quieting")
        jid, = self.push("echo", 1)
        self.assertEqual(self.c.wait(60), 0)
        place, job = self.server.find(jid)
        done = jid in [entry[1] for entry in self.entries("done")]
        if self.kind == "real" and place == "queued":
            self.assertEqual((done, job.get("failure")), (False, None))
        elif self.finishes:
            self.assertEqual((place, done), (None, True))
        elif place is not None:
            self.assertEqual(job["failure"]["errtype"], "WorkerStopped")

    def is_fetching(self):
        """The real server tells nobody: its FETCH is out nearly always."""
        return self.kind == "real" or self.server.control("state")["fetching"] > 0


class WithoutChargehand(Case):
    """Why a restart of the server should not be passed on: these libraries end on a closed connection."""

    def test_a_restart_of_the_server_ends_it(self):
        env = {**os.environ, **real_workers.environment(self.library), "FAKTORY_URL": self.server.url}
        worker = subprocess.Popen(real_workers.command(self.library), env=env, start_new_session=True,
                                  stdin=subprocess.DEVNULL)
        self.addCleanup(lambda: worker.poll() is None and (worker.kill(), worker.wait()))
        self.server.wait(connections=lambda n: n > 0, timeout=SLOW)
        self.server.restart()
        self.assertNotEqual(worker.wait(SLOW), 0)


class ServerRestarts(Case):
    def test_while_idle(self):
        self.start(concurrency=2)
        self.wait_done(self.push("echo", 1, n=4))
        self.server.restart()
        self.check_alive()
        self.server.restart(kill=True)
        self.check_alive()
        self.assertEqual(self.chargehand_failed(), 0)

    def test_under_a_job(self):
        self.start(concurrency=2)
        jids = self.push("sleep", 2, n=2)
        self.wait_started(jids)
        self.server.restart()
        self.wait_done(jids)
        self.check_alive()
        self.assertEqual(self.chargehand_failed(), 0)
        self.assertEqual(Counter(entry[1] for entry in self.entries("start") if entry[1] in jids), Counter(jids))
        self.assertEqual(self.server.retries(), [])

    def test_a_job_ends_while_it_is_away(self):
        self.start()
        jid, = self.push("sleep", 1)
        self.wait_started([jid])
        self.server.stop()
        wait_until(lambda: self.entries("done"), SLOW, "the job is done")
        self.c.wait_log("is lost")
        self.server.start()
        self.wait_done([jid])
        self.check_alive()
        self.assertEqual(self.server.retries(), [])


IN_THREADS = ("node", "rust", "python-cdrx")  # the job can be in the worker's own process
IN_POOLS = ("python-cdrx", "python-pyfaktory")
BREAKABLE = ("python-cdrx", "python-pyfaktory", "rust")
for library in real_workers.LIBRARIES:
    for kind in ("dev", "real"):
        for case in (Works, Dies, DiesOfItsJob, PoolDies, Stops, WithoutChargehand, ServerRestarts):
            if (case is DiesOfItsJob and library not in IN_THREADS) or (case is PoolDies and library not in IN_POOLS) or (
                    case is WithoutChargehand and library not in BREAKABLE):
                continue
            name = f"{case.__name__}_{library.replace('-', '_')}_{kind}"
            members = {"library": library, "kind": kind, "__module__": __name__}
            if case is Stops and library == "rust":
                members["finishes"] = False
            globals()[name] = type(name, (case,), members)
del Case, Works, Dies, DiesOfItsJob, PoolDies, Stops, WithoutChargehand, ServerRestarts, case

notes = [f"{name}: {what}" for name, what in real_workers.LIBRARIES.items()]
notes += [f"{kind}: {reason or 'in use'}" for kind, reason in servers.available().items()]

if __name__ == "__main__":
    tap.main(notes=notes)
