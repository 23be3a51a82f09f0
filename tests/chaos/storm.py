# SPDX-License-Identifier: MIT
"""The storm: jobs, and everything that can go wrong while they are done. All that is done, and when, follows from a seed and
from how far the jobs have come; what comes of it is judged by verdict.py, by what the witnesses have written down.

A Keeper is one chargehand with its workers, started again and again on one state directory.
"""
import json
import os
import random
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "helpers"))
import real_workers
import servers
from chargehand import binary
from faktory_client import make_job
from hindrance import AWAY, DOWN, PAUSED, Hindrance
from proxy import Proxy

BIG = 16 * 1024  # --keep-body
STRANDED_SECONDS = 5
DESCRIPTORS_MORE = 8  # for each worker: a library opens some connections only when it has more to do
KINDS = {  # fault: how often, beside the others
    "worker": 34, "asleep": 8, "hang-up": 5, "late": 4, "child": 4, "chargehand": 8, "unheard": 6, "pause": 10, "stop": 2,
    "server-kill": 4, "server-term": 3, "refuse": 3,
    "cut": 12, "cut-all": 2, "cut-command": 10, "cut-reply": 10, "stall": 8, "half-open": 6, "slow": 8,
}
INSTANCES = {"scripted": 4, "node": 2, "rust": 2, "python-cdrx": 1, "python-pyfaktory": 1}
SHARE = {"scripted": 60, "node": 20, "rust": 14, "python-cdrx": 4, "python-pyfaktory": 2}
WINDOW = {"scripted": 40, "node": 20, "rust": 20, "python-cdrx": 6, "python-pyfaktory": 4}


class Trouble(Exception):
    """What cannot be gone on with."""


class Job:
    def __init__(self, number, keeper, jobtype, args, retry):
        self.jid = f"chaos{number:06d}{keeper}"
        self.keeper, self.jobtype, self.args, self.retry = keeper, jobtype, args, retry
        self.pushed = None

    @property
    def big(self):
        return len(json.dumps(self.args)) > BIG // 2

    def body(self):
        return make_job(self.jobtype, self.args, self.keeper, self.jid, self.retry, reserve_for=1800)


class Keeper:
    def __init__(self, library, directory, proxy, tell):
        self.name, self.proxy, self.tell = library, proxy, tell
        self.directory = os.path.join(directory, library)
        self.state = os.path.join(self.directory, "state")
        self.worker_log = os.path.join(self.directory, "jobs")
        os.makedirs(self.directory)
        self.url = f"tcp://127.0.0.1:{proxy.door(library)}"
        self.process, self.generation = None, 0
        self.endings = {}  # generation: (how, when, journal, links)
        self.hindrances = []  # DOWN and PAUSED
        self.stopping_since = None
        self.groups, self.most_rss = set(), 0
        self.started, self._log_at, self._log_part = set(), 0, ""
        self.pushed, self.progress_at = 0, 0

    def log_path(self, generation):
        return os.path.join(self.directory, f"log.{generation}")

    def start(self):
        self.generation += 1
        instances = INSTANCES[self.name]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("FAKTORY_", "NOTIFY_", "JOURNAL_STREAM"))}
        env.update(FAKTORY_URL=self.url, CHAOS_LOG=self.worker_log, PYTHONDONTWRITEBYTECODE="1")
        if self.name == "scripted":
            command = [sys.executable, os.path.join(HERE, "worker.py"), self.name]
        else:
            command = real_workers.command(self.name)
            env.update(real_workers.environment(self.name, concurrency=1 if self.name.startswith("python") else 3,
                                                queues=(self.name,), log=self.worker_log,
                                                threads=self.name == "python-cdrx"))
        with open(self.log_path(self.generation), "wb") as log:
            self.process = subprocess.Popen(
                [binary(), "--name", self.name, "--instances", str(instances), "--restart", "always", "--healthy", "0",
                 "--stop-grace", "3s", "--state-dir", self.state, "--log-level", "debug", "--", *command],
                env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, cwd=self.directory,
                start_new_session=True)
        self._go_on(DOWN)
        self.tell(self.name, f"chargehand {self.generation} started (pid {self.pid})")

    @property
    def pid(self):
        return self.process.pid

    def log(self, generation=None):
        with open(self.log_path(generation or self.generation), errors="replace") as f:
            return f.read()

    def workers(self):
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children") as f:
                return [int(word) for word in f.read().split()]
        except OSError:
            return []

    def kill(self):
        """At an instruction like any other: it has not run on while we looked at the time."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)
        since = time.monotonic()
        self.process.kill()
        self.process.wait()
        links = self.proxy.killed(self.name, since)
        self._end("killed", since, links)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.stopping_since = time.monotonic()

    def stopped(self, when):
        """It has come to its end, and is seen to."""
        self._end("stopped", when, [])

    def _end(self, how, when, links):
        self.endings[self.generation] = (how, when, self.journal(), links)
        self.stopping_since = None
        self._go_on(PAUSED, when)
        self.hindrances.append(Hindrance(DOWN, when))

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.hindrances.append(Hindrance(PAUSED, time.monotonic()))

    def resume(self, process):
        """Nothing, if it has been killed meanwhile."""
        process.send_signal(signal.SIGCONT)
        self._go_on(PAUSED)

    def _go_on(self, what, when=None):
        for hindrance in self.hindrances:
            if hindrance.what == what:
                hindrance.stop(when or time.monotonic())

    def journal(self):
        """What is in it: {jid: text}; nobody has it open."""
        program = os.path.join(os.environ["TOP_BUILDDIR"], "tests", "helpers", "past-journal")
        address = self.url.removeprefix("tcp://")
        shown = subprocess.run([program, self.state, address, "show"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
        if shown.returncode:
            raise Trouble(f"{self.name}: the journal cannot be read: {shown.stdout}")
        found = {}
        for line in shown.stdout.splitlines():
            word, _, rest = line.partition(" ")
            if word == "job":
                jid, _, text = rest.partition(" ")
                found[jid] = text
        return found

    def look(self):
        """How far its jobs have come, and what it costs."""
        try:
            with open(self.worker_log) as f:
                f.seek(self._log_at)
                text = f.read()
        except FileNotFoundError:
            return
        self._log_at += len(text)
        *lines, self._log_part = (self._log_part + text).split("\n")
        for line in lines:
            word, _, rest = line.partition(" ")
            jid = rest.split(" ", 1)[0]
            if word == "start" and jid not in self.started:
                self.progress_at = time.monotonic()
                self.started.add(jid)
        try:
            with open(f"/proc/{self.pid}/status") as f:
                self.most_rss = max(self.most_rss, *(int(l.split()[1]) for l in f if l.startswith("VmRSS:")), 0)
        except (OSError, TypeError):
            pass

    def look_at_groups(self):
        for pid in self.workers():
            try:
                with open(f"/proc/{pid}/cgroup") as f:
                    own = [line.strip().split(":", 2)[2] for line in f if line.startswith("0::")]
                with open("/proc/self/cgroup") as f:
                    mine = [line.strip().split(":", 2)[2] for line in f if line.startswith("0::")]
            except OSError:
                continue
            self.groups.update(set(own) - set(mine))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def scripted_job(rng):
    what = rng.choices(["ack", "die", "fail", "half", "fork", "slow"], [74, 8, 7, 3, 3, 5])[0]
    how = rng.choice(["KILL", "SEGV", "ABRT", 0, 3, 77])
    if what == "slow":
        return ["ack", rng.randrange(200, 900), None]
    if what == "ack":
        return ["ack", rng.choice([0, 0, 0, 1, 5, 20]), how if rng.random() < 0.1 else None]
    if what == "die":
        return ["none", rng.choice([0, 1, 30]), how]
    if what == "fail":
        return ["fail", 1, how if rng.random() < 0.3 else None]
    return [what, rng.choice([1, 50]), how if what == "half" else None]


def real_job(rng):
    what = rng.choices(["echo", "sleep", "fail", "segv", "exit", "fork"], [76, 7, 6, 4, 4, 3])[0]
    return what, {"echo": [rng.choice([0, 1, 10])], "sleep": [0.5], "fail": [], "segv": [], "exit": [3],
                  "fork": [0.2]}[what]


class Storm:
    def __init__(self, jobs, seed, kind, libraries, record, faults=KINDS, gap=12, say=lambda text: None):
        self.seed, self.n_jobs, self.gap, self.say = seed, jobs, gap, say
        self.record, self.directory = record, record.directory
        self.kinds = {k: KINDS[k] for k in faults}
        self.counts = {}
        self.signals = {}  # pid: signals sent to it
        self.deaths = {}  # pid: when it was sent SIGKILL
        self.server_ends = {}  # number: (when, by KILL, the words without an answer)
        self.absences = []  # Hindrances
        self.server = servers.make(kind)
        self.proxy = Proxy(self.server.port, record.tell)
        self.keepers = {name: Keeper(name, self.directory, self.proxy, record.tell) for name in libraries}
        self.jobs = self._make_jobs()
        self.fault_rng = random.Random(f"{seed}/faults")
        self.wave_rng = random.Random(f"{seed}/waves")
        self.server_back, self.restarts = None, {}
        self.asleep, self.unheard, self.paused = None, {}, {}
        self.at_rest = {}  # name: (descriptors before the storm, after it, KiB at most)
        self.begun, self.ended = record.begun, None
        self.begun_wall = time.time() - (time.monotonic() - self.begun)

    def _make_jobs(self):
        rng, jobs = random.Random(f"{self.seed}/jobs"), {}
        for n in range(self.n_jobs):
            name = rng.choices(list(self.keepers), [SHARE[k] for k in self.keepers])[0]
            jobtype, args = ("chaos", scripted_job(rng)) if name == "scripted" else real_job(rng)
            if name == "scripted" and rng.random() < 0.03:
                args = args + ["x" * rng.randrange(20_000, 200_000)]
            job = Job(n, name, jobtype, args, rng.choices([25, -1, 0], [92, 5, 3])[0])
            jobs[job.jid] = job
        return jobs

    # --- what goes wrong

    def did(self, what, owner="", detail=""):
        self.counts[what] = self.counts.get(what, 0) + 1
        when = self.record.tell(owner, f"{what} {detail}".rstrip())
        self.say(f"{when:7.2f} {what} {owner} {detail}")

    def _fault(self):
        rng = self.fault_rng
        kind = rng.choices(list(self.kinds), list(self.kinds.values()))[0]
        # Drawn whatever becomes of it, so that the schedule does not depend on what is met.
        pick, keeper, a, b = rng.random(), rng.choice(sorted(self.keepers)), rng.random(), rng.random()
        getattr(self, "_" + kind.replace("-", "_"))(self.keepers[keeper], pick, a, b)

    def _alive(self, keeper):
        return keeper.process is not None and keeper.process.poll() is None

    def _signal(self, pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        self.signals.setdefault(pid, []).append(signal.Signals(number).name)
        if number == signal.SIGKILL:
            self.deaths[pid] = time.monotonic()
        return True

    def _worker(self, keeper, pick, a, b):
        pids = keeper.workers()
        if pids:
            pid = pids[int(pick * len(pids))]
            number = [signal.SIGKILL, signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV][int(a * 4)]
            if keeper.name == "rust" and number == signal.SIGSEGV:
                number = signal.SIGKILL  # its run-time swallows one that was only sent
            if self._signal(pid, number):
                self.did(f"worker killed ({signal.Signals(number).name})", keeper.name, pid)

    def _child(self, keeper, pick, a, b):
        """Some process below a worker."""
        found = []
        for pid in keeper.workers():
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as f:
                    found += [int(word) for word in f.read().split()]
            except OSError:
                pass
        if found and self._signal(pid := found[int(pick * len(found))], signal.SIGKILL):
            self.did("child of a worker killed", keeper.name, pid)

    def _chargehand(self, keeper, pick, a, b):
        if self._alive(keeper) and keeper.name not in self.restarts:
            keeper.kill()
            self.did("chargehand killed", keeper.name)
            self.restarts[keeper.name] = time.monotonic() + (0 if a < 0.6 else a)

    def _asleep(self, keeper, pick, a, b):
        """A worker is killed while its FETCH waits at the server, and jobs come then."""
        self.asleep = self.asleep or (keeper, pick, time.monotonic() + 5, False)

    def _hang_up(self, keeper, pick, a, b):
        """The same, but it lives, and has only closed its connection."""
        keeper = self.keepers.get("scripted", keeper)
        self.asleep = self.asleep or (keeper, pick, time.monotonic() + 5, keeper.name == "scripted")

    def _tend_asleep(self, waiting, now):
        keeper, pick, until, hang_up = self.asleep
        pids = keeper.workers()
        if now > until or not waiting[keeper.name]:
            self.asleep = None
        elif pids and self.server_back is None and any(
                word.when < now - 0.05 for link in self.proxy.links(keeper.name) for word in link.fetching()):
            self.asleep = None
            if self._signal(pid := pids[int(pick * len(pids))], signal.SIGUSR2 if hang_up else signal.SIGKILL):
                self.did("worker hung up in a FETCH" if hang_up else "worker killed in a FETCH", keeper.name, pid)
                self._push(keeper, waiting[keeper.name], 2 * INSTANCES[keeper.name])

    def _late(self, keeper, pick, a, b):
        """The answer to a FETCH comes when chargehand has told its worker that there is none."""
        links = [link for link in self.proxy.links(keeper.name) if link.fetching()]
        if links:
            self.proxy.slow(links[int(pick * len(links))], 2.5, 4 + 2 * a)

    def _unheard(self, keeper, pick, a, b):
        """chargehand is killed with reports that it has taken, and that the server has not seen."""
        self.proxy.silence(keeper.name, 3 + 2 * a)
        self.unheard[keeper.name] = (time.monotonic() + 0.3 + 2 * b, pick, a, b)

    def _pause(self, keeper, pick, a, b):
        """chargehand does not run for a moment: reports and deaths come to it at the same time."""
        if self._alive(keeper) and keeper.name not in self.paused:
            keeper.pause()
            self.paused[keeper.name] = (time.monotonic() + 0.05 + 0.4 * a, keeper.process)
            self.did("chargehand paused", keeper.name)

    def _stop(self, keeper, pick, a, b):
        if self._alive(keeper) and not keeper.stopping_since:
            keeper.stop()
            self.did("chargehand stopped", keeper.name)

    def _server_ends(self, kill, a, b):
        if self.server_back is not None:
            return
        since = time.monotonic()
        self.absences.append(Hindrance(AWAY, since))
        (self.server.kill if kill else self.server.stop)()
        number, words = self.proxy.server_gone(since)
        self.server_ends[number] = (time.monotonic(), kill, words)
        self.did("server killed" if kill else "server stopped", "",
                 f"{sum(w.verb == 'FETCH' for w in words)} FETCHes open")
        self.server_back = time.monotonic() + (3 + 5 * b if a > 0.85 else b)

    def _server_kill(self, keeper, pick, a, b):
        self._server_ends(True, a, b)

    def _server_term(self, keeper, pick, a, b):
        self._server_ends(False, a, b)

    def _refuse(self, keeper, pick, a, b):
        self.proxy.refuse(0.1 + 2 * a)

    def _link(self, keeper, pick):
        links = self.proxy.links(keeper.name)
        return links[int(pick * len(links))] if links else None

    @staticmethod
    def _how(a):
        return "reset" if a < 0.6 else "end"

    def _cut(self, keeper, pick, a, b):
        if link := self._link(keeper, pick):
            self.proxy.cut(link, self._how(a))

    def _cut_all(self, keeper, pick, a, b):
        for link in self.proxy.links():
            self.proxy.cut(link, self._how(a))

    def _cut_command(self, keeper, pick, a, b):
        if link := self._link(keeper, pick):
            self.proxy.cut(link, self._how(a), up=int(1 + b * 120))

    def _cut_reply(self, keeper, pick, a, b):
        if link := self._link(keeper, pick):
            self.proxy.cut(link, self._how(a), down=int(1 + b * (400 if a < 0.8 else 100_000)))

    def _stall(self, keeper, pick, a, b):
        if link := self._link(keeper, pick):
            self.proxy.stall(link, 0.2 + 6 * a)

    def _half_open(self, keeper, pick, a, b):
        if link := self._link(keeper, pick):
            self.proxy.swallow(link, 0.5 + 8 * a, self._how(b))

    def _slow(self, keeper, pick, a, b):
        if link := self._link(keeper, pick):
            self.proxy.slow(link, 1 + 4 * a, 0.01 + 0.3 * b)

    # --- how it goes on

    def _tend(self, now):
        if self.proxy.error:
            raise Trouble(f"the proxy has ended: {self.proxy.error!r}")
        if self.server_back is not None and now >= self.server_back:
            self.server.start()
            self.server_back = None
            self.absences[-1].stop(time.monotonic())
            self.record.tell("", "server is back")
        for name, (due, process) in list(self.paused.items()):
            if now >= due:
                del self.paused[name]
                self.keepers[name].resume(process)
                self.record.tell(name, "chargehand goes on")
        for name, (due, *more) in list(self.unheard.items()):
            if now >= due:
                del self.unheard[name]
                self._chargehand(self.keepers[name], *more)
        for keeper in self.keepers.values():
            if keeper.name in self.restarts:
                if now >= self.restarts[keeper.name]:
                    del self.restarts[keeper.name]
                    keeper.start()
                continue
            status = keeper.process.poll()
            if status is None:
                if keeper.stopping_since and now > keeper.stopping_since + 60:
                    raise Trouble(f"{keeper.name}: chargehand does not end within 60 s of its SIGTERM")
            elif keeper.stopping_since and status == 0:
                keeper.stopped(now)
                keeper.start()
            else:
                raise Trouble(f"{keeper.name}: chargehand has ended by itself with {status}; see "
                              f"{keeper.log_path(keeper.generation)}")

    def _push(self, keeper, waiting, n):
        batch = [waiting.pop() for _ in range(min(n, len(waiting)))]
        if batch:
            self.server.pushb([job.body() for job in batch])
            keeper.pushed += len(batch)
            for job in batch:
                job.pushed = time.monotonic()

    def _n_started(self):
        return sum(len(k.started & self.jobs.keys()) for k in self.keepers.values())

    def blow(self, stuck_seconds=60):
        """Until every job has been begun at least once, or is where nobody gets at it."""
        for keeper in self.keepers.values():
            keeper.start()
        self._rest("before")
        self.at_rest = {name: (keeper.descriptors(), None, None) for name, keeper in self.keepers.items()}
        waiting = {name: [j for j in self.jobs.values() if j.keeper == name][::-1] for name in self.keepers}
        last_started, progress_at, next_wave = 0, time.monotonic(), 0
        fault_at, fault_time = self._next_fault(0)
        while True:
            now = time.monotonic()
            self._tend(now)
            for keeper in self.keepers.values():
                keeper.look()
            started = self._n_started()
            if started > last_started:
                last_started, progress_at = started, now
            if self.asleep:
                self._tend_asleep(waiting, now)
            if self.server_back is None and now >= next_wave:
                for name, keeper in self.keepers.items():
                    if self.asleep and self.asleep[0] is keeper:
                        continue
                    # Jobs that nobody will get are not waited for.
                    waits = keeper.pushed - len(keeper.started & self.jobs.keys()) >= WINDOW[name]
                    if not waits or now > keeper.progress_at + STRANDED_SECONDS:
                        keeper.progress_at = now
                        self._push(keeper, waiting[name], self.wave_rng.randrange(1, WINDOW[name]))
                next_wave = now + self.wave_rng.choice([0, 0, 0.1, 0.3, 1])
            pushed_all = not any(waiting.values())
            if pushed_all and (started == self.n_jobs or now > progress_at + 5):
                break
            if not pushed_all and now > progress_at + stuck_seconds:
                raise Trouble(f"no job has been begun for {stuck_seconds} s; {started} of {self.n_jobs} so far")
            if started >= fault_at or now >= fault_time and self.server_back is None:
                self._fault()
                if int(started) % 7 == 0:
                    for keeper in self.keepers.values():
                        keeper.look_at_groups()
                fault_at, fault_time = self._next_fault(started)
            time.sleep(0.01)

    def _next_fault(self, started):
        jobs = self.fault_rng.expovariate(1 / self.gap)
        return started + jobs, time.monotonic() + 0.5 + jobs / self.gap

    def _rest(self, when, seconds=60):
        """Every worker has said HELLO and is asking for jobs."""
        def asking():
            self._tend(time.monotonic())
            return all(sum(1 for l in self.proxy.links(k.name) if l.fetching()) >= INSTANCES[k.name]
                       for k in self.keepers.values())
        try:
            servers.wait_until(asking, seconds, every=0.05)
        except TimeoutError:
            raise Trouble(f"{when}: not every worker asks for jobs within {seconds} s") from None
        for keeper in self.keepers.values():
            keeper.look_at_groups()

    def _wait_for_few_descriptors(self, seconds=20):
        """Links are kept for some seconds, in case. After that there are as many as before the storm."""
        end = time.monotonic() + seconds
        limit = {name: before + DESCRIPTORS_MORE * INSTANCES[name] for name, (before, _, _) in self.at_rest.items()}
        while time.monotonic() < end and any(k.descriptors() > limit[k.name] for k in self.keepers.values()):
            self._tend(time.monotonic())
            time.sleep(0.1)

    def clear_up(self, seconds=120):
        """The sky clears: the server is there, links are let alone; what is left to do is done."""
        self.proxy.calm()
        end = time.monotonic() + seconds
        while self.server_back is not None or self.restarts or self.unheard or self.paused or \
                any(k.stopping_since for k in self.keepers.values()):
            self._tend(time.monotonic())
            time.sleep(0.02)
        while self.server.counts()["queued"] > 0:
            self._tend(time.monotonic())
            if time.monotonic() > end:
                raise Trouble(f"jobs stay in their queues for {seconds} s: {self.server.counts()}")
            time.sleep(0.1)
        self._rest("after")
        self._wait_for_few_descriptors()
        for keeper in self.keepers.values():
            keeper.look()
            self.at_rest[keeper.name] = (self.at_rest[keeper.name][0], keeper.descriptors(), keeper.most_rss)
            keeper.stop()
        for keeper in self.keepers.values():
            try:
                status = keeper.process.wait(60)
            except subprocess.TimeoutExpired:
                raise Trouble(f"{keeper.name}: chargehand does not end within 60 s of its SIGTERM") from None
            if status != 0:
                raise Trouble(f"{keeper.name}: chargehand has ended with {status} after its SIGTERM")
            keeper.stopped(time.monotonic())
        self.ended = time.monotonic()

    def close(self):
        for keeper in self.keepers.values():
            if keeper.process is not None and keeper.process.poll() is None:
                keeper.process.kill()
                keeper.process.wait()
        self.proxy.close()
        self.server.close()
