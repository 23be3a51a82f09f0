# SPDX-License-Identifier: MIT
"""Faktory servers for tests: the real one and the development server, with one interface.

  with DevServer(password="s3cret", scale=0.05) as s:      with RealServer() as s:      make("dev" | "real", ...)
  s.url, s.port, s.password, s.kind ("dev", "real"), s.log_text()
  s.client(wid=...)             a Client of its own, closed with the server
  s.push(...) s.pushb([...])    as in Client; on a connection that dials again after a restart
  s.find(jid)                   (set, job): "queued", "working", "retries", "dead", "scheduled" or None
  s.where()                     {jid: [(set, job)]} of all jobs, of one moment
  s.working() s.retries() s.dead() s.scheduled()   lists of jobs; those of working have wid, reserved_at, expires_at
  s.queues()                    {name: [jobs, the next one first]}
  s.counts()                    queued, working, retries, dead, scheduled, processed, failures, connections
                                (ours not counted)
  s.wait(working=0, retries=3)  until counts() say so; s.wait_jid(jid, "retries")  None = gone
  s.quiet(wid, "quiet")         as the button of the web page
  s.stop() s.kill() s.start() s.restart(kill=False)    same port, same data; s.pause() s.resume() are SIGSTOP, SIGCONT
  s.close()                     ends it and removes its directory

Only a DevServer has more (devmischief.py explains the words):
  s.rule("die", verb="FETCH", at=10)  s.control("kick", wid="w1")  s.log(verb="FAIL")  s.mark() ... s.log(since=...)

Case is for tests that run on both: whoever wants them on the real server has kind = "real" in a class of his own.
shared(kind, ...) is one server for all tests of a process. available() says which kinds can be had here and
why not, need_real() skips a test there; wait_until() waits for any condition.
What is left when the caller dies: nothing, both servers notice.
"""
import collections
import ctypes
import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

import tap
from faktory_client import Client, Closed, Error, ServerError, make_job, new_jid

HERE = os.path.dirname(os.path.abspath(__file__))
SETS = ("working", "retries", "dead", "scheduled")


class Case(unittest.TestCase):
    kind = "dev"
    maxDiff = 2000

    def setUp(self):
        if self.kind == "real":
            need_real()
        self.queue = f"q{new_jid()}"


def wait_until(condition, timeout=30, what=None, every=0.005):
    """The first true value of condition(). Errors of a connection count as "not yet"."""
    end, last = time.monotonic() + timeout, None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, Error) as e:
            last = e
        if time.monotonic() >= end:
            raise TimeoutError(f"not within {timeout} s: {what or condition}; last seen: {last!r}")
        time.sleep(every)


def is_zombie(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0] == "Z"


def free_port():
    """Not one of those that the kernel gives to whoever asks for any: another server would have it by the time that it is
    used, and answer in its stead."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first = int(f.read().split()[0])
    while True:
        try:
            with socket.create_server(("127.0.0.1", random.randrange(10000, first) if first > 12000 else 0)) as s:
                return s.getsockname()[1]
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise


def real_binary():
    """The real server and what it needs, or the reason why not: (path, None) or (None, reason)."""
    path = os.environ.get("FAKTORY_SERVER") or shutil.which("faktory")
    if not path:
        return None, "no Faktory server: put faktory into PATH or its path into FAKTORY_SERVER"
    if not os.access(path, os.X_OK):
        return None, f"not executable: {path}"
    if not shutil.which("redis-server"):
        return None, "no redis-server in PATH, which the real server starts"
    return path, None


def available():
    """{"dev": None, "real": None or the reason why not}"""
    return {"dev": None, "real": real_binary()[1]}


def need_real():
    """Skip the test (or fail it, see tap.need) where there is no real server."""
    tap.need("real", real_binary()[1])


def make(kind, **options):
    return {"dev": DevServer, "real": RealServer}[kind](**options)


_shared = {}


def shared(kind, **options):
    """One server for all tests of this process with these options; tap.py ends it."""
    key = (os.getpid(), kind, *sorted(options.items()))
    if key not in _shared:
        _shared[key] = s = make(kind, **options)
        tap.keep(s.pid, s.close)
    return _shared[key]


class Server:
    kind = None

    def __init__(self, password=""):
        self.password, self.port, self.process = password, None, None
        self.dir = tempfile.mkdtemp(prefix="chargehand-test.")
        self.clients, self._admin, self._pid = [], None, os.getpid()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self):
        word = f":{urllib.parse.quote(self.password, safe='')}@" if self.password else ""
        return f"tcp://{word}127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def client(self, **options):
        c = Client(self.url, **options)
        self.clients.append(c)
        return c

    def log_text(self):
        with open(os.path.join(self.dir, "server.log"), errors="replace") as f:
            return f.read()

    def _spawn(self, command, **options):
        parent, libc = os.getpid(), ctypes.CDLL(None)
        main = threading.current_thread() is threading.main_thread()

        def child():
            os.setsid()
            if main:  # the signal comes at the end of the *thread* that forked
                libc.prctl(1, signal.SIGKILL if self.kind == "dev" else signal.SIGTERM)
                if os.getppid() != parent:
                    os._exit(1)

        with open(os.path.join(self.dir, "server.log"), "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.dir, stdin=subprocess.DEVNULL, stderr=log,
                                            preexec_fn=child, **options)

    # --- what is in it

    def admin(self, action):
        """Run action(client) on a connection of our own; dial again if it broke."""
        for last in (False, True):
            try:
                if self._admin is None:
                    self._admin = Client(self.url, timeout=20)
                return action(self._admin)
            except (Closed, OSError):
                if self._admin is not None:
                    self._admin.close()
                self._admin = None
                if last:
                    raise

    def push(self, *args, **more):
        return self.admin(lambda c: c.push(*args, **more))

    def pushb(self, jobs):
        return self.admin(lambda c: c.pushb(jobs))

    def flush(self):
        self.admin(lambda c: c.flush())

    def counts(self):
        info = self.admin(lambda c: c.info())
        data = info["faktory"]
        return {"queued": data["total_enqueued"], **{name: data["sets"][name] for name in SETS},
                "processed": data["total_processed"], "failures": data["total_failures"],
                "connections": info["server"]["connections"] - 1}

    def wait(self, timeout=30, **wanted):
        """Until every count is as wanted: a number, or a function of it."""
        seen = {}

        def fits():
            seen.update(self.counts())
            return all(w(seen[n]) if callable(w) else seen[n] == w for n, w in wanted.items())

        try:
            wait_until(fits, timeout, every=0.01)
        except TimeoutError:
            raise TimeoutError(f"not within {timeout} s: {wanted}; counts: {seen}") from None
        return seen

    def wait_jid(self, jid, place, timeout=30):
        """Until the job is there ("retries" ...; None = nowhere). The job as it is then."""
        seen = []

        def fits():
            seen[:] = self.find(jid)
            return seen[0] == place

        try:
            wait_until(fits, timeout, every=0.01)
        except TimeoutError:
            raise TimeoutError(f"{jid} not in {place} within {timeout} s, but: {seen}") from None
        return seen[1]

    def working(self):
        return [{**held["job"], **{key: held[key] for key in ("wid", "reserved_at", "expires_at")}}
                for held in self._set("working")]

    def retries(self):
        return self._set("retries")

    def dead(self):
        return self._set("dead")

    def scheduled(self):
        return self._set("scheduled")

    def find(self, jid):
        for name in SETS:
            for job in getattr(self, name)():
                if job["jid"] == jid:
                    return name, job
        for jobs in self.queues().values():
            for job in jobs:
                if job["jid"] == jid:
                    return "queued", job
        return None, None

    def _where(self):
        found = collections.defaultdict(list)
        for name in SETS:
            for job in getattr(self, name)():
                found[job["jid"]].append((name, job))
        for jobs in self.queues().values():
            for job in jobs:
                found[job["jid"]].append(("queued", job))
        return found

    def where(self):
        """One is read after the other, and what moves meanwhile, as a retry that comes due, would be in two of them or in
        none: so until two readings are alike."""
        before, now = None, self._where()
        while now != before:
            before, now = now, self._where()
        return now

    # --- its life

    def _wait_up(self):
        def up():
            if self.process.poll() is not None:
                raise RuntimeError(f"the {self.kind} server ended with {self.process.returncode}: "
                                   f"{self.log_text()[-2000:]}")
            return self.admin(lambda c: c.info())

        wait_until(up, 60, f"the {self.kind} server answers")

    def _reset_admin(self):
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def stop(self, timeout=20):
        """TERM, and wait for the end."""
        self._reset_admin()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout)

    def kill(self):
        self._reset_admin()
        self.process.kill()
        self.process.wait()

    def restart(self, kill=False):
        (self.kill if kill else self.stop)()
        self.start()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if os.getpid() != self._pid:
            return  # a forked test's copy of somebody else's server
        for c in self.clients:
            c.close()
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.kill()
        self._reset_admin()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class DevServer(Server):
    """Options as of devserver.py: password, scale, lease_scale, reap_every, fetch_block, handshake, beat_timeout,
    max_connections."""

    kind = "dev"

    def __init__(self, password="", **options):
        self.options = options
        super().__init__(password)

    def start(self):
        command = [sys.executable, os.path.join(HERE, "devserver.py"), "--port", str(self.port or 0), "--state",
                   os.path.join(self.dir, "state"), "--control", os.path.join(self.dir, "control")]
        command += ["--password", self.password] if self.password else []
        for name, value in self.options.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        try:
            os.unlink(os.path.join(self.dir, "control"))
        except FileNotFoundError:
            pass
        self._spawn(command, stdout=subprocess.PIPE)
        with self.process.stdout as out:
            line = out.readline()
        if not line.startswith(b"PORT "):
            raise RuntimeError(f"the development server did not start: {self.log_text()[-2000:]}")
        self.port = int(line.split()[1])

    def control(self, cmd, **words):
        """One command to the control socket (devmischief.py)."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(os.path.join(self.dir, "control"))
            s.sendall(json.dumps({"cmd": cmd, **words}).encode() + b"\n")
            with s.makefile("rb") as f:
                answer = json.loads(f.readline())
        if "error" in answer:
            raise Error(answer["error"])
        return answer

    def rule(self, do, **words):
        return self.control("rule", do=do, **words)["rule"]

    def rules_used(self, number):
        """Has this rule been used up?"""
        return str(number) not in self.control("rules")["rules"]

    def mark(self):
        return self.control("log", since=1 << 60)["next"]

    def log(self, since=0, **fits):
        """Entries of the server's log whose keys are as given: log(verb="FAIL"), log(what="close")."""
        return [entry for entry in self.control("log", since=since)["log"]
                if all(entry.get(key) == value for key, value in fits.items())]

    def conns(self, **which):
        return self.control("conns", **which)["conns"]

    def quiet(self, wid, state="quiet"):
        self.control("quiet", wid=wid, state=state)

    def find(self, jid):
        found = self.control("find", jid=jid)
        job = found["job"]
        if found["set"] == "working":
            job = {**job["job"], **{key: job[key] for key in ("wid", "reserved_at", "expires_at")}}
        return found["set"], job

    def _set(self, name):
        return self.control("jobs", set=name)[name]

    def queues(self):
        return {name: jobs for name, jobs in self.control("jobs", set="queues")["queues"].items() if jobs}


class RealServer(Server):
    """The real server with a Redis, a directory and ports of its own. With -d and -c given it touches
    nothing below anybody's home directory, root's included."""

    kind = "real"

    def __init__(self, password=""):
        self.binary, reason = real_binary()
        if reason:
            raise Error(reason)
        self.web, self.redis_pid = None, None
        super().__init__(password)

    def start(self):
        for name in ("db", "config"):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        env = {key: value for key, value in os.environ.items() if not key.startswith("FAKTORY")}
        if self.password:
            env["FAKTORY_PASSWORD"] = self.password
        fixed = self.port is not None
        for attempt in range(5):
            self.port, self.web = self.port if fixed else free_port(), free_port()
            with open(os.path.join(self.dir, "server.log"), "ab") as log:
                self._spawn([self.binary, "-e", "development", "-d", os.path.join(self.dir, "db"),
                             "-c", os.path.join(self.dir, "config"), "-b", f"127.0.0.1:{self.port}",
                             "-w", f"127.0.0.1:{self.web}"], env=env, stdout=log)
            try:
                self._wait_up()
                self.redis_pid = int(self.redis("INFO", "server").split("process_id:")[1].split()[0])
                break
            except (RuntimeError, FileNotFoundError):  # somebody else took a port in between, and may have answered
                self._reset_admin()
                self.process.kill()
                self.process.wait()
                self._redis_gone()
                if attempt == 4:
                    raise

    def redis(self, *words):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(os.path.join(self.dir, "db", "redis.sock"))
            words = [str(w).encode() for w in words]
            s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            with s.makefile("rb") as f:
                return self._resp(f)

    def _resp(self, f):
        line = f.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return [self._resp(f) for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else f.read(int(rest) + 2)[:-2].decode("utf-8", "replace")
        if kind == b"-" or not line:
            raise Error(f"redis: {rest!r}")
        return int(rest) if kind == b":" else rest.decode()

    def _set(self, name):
        return [json.loads(text) for text in self.redis("ZRANGE", name, 0, -1)]

    def queues(self):
        found = {key[2:]: self.redis("LRANGE", key, 0, -1) for key in self.redis("KEYS", "q:*")}
        return {name: [json.loads(text) for text in reversed(jobs)] for name, jobs in found.items() if jobs}

    def quiet(self, wid, state="quiet"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.web}/busy",
                                         urllib.parse.urlencode({"wid": wid, "signal": state}).encode())
        if self.password:
            import base64
            request.add_header("Authorization", "Basic " + base64.b64encode(f":{self.password}".encode()).decode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            answer.read()

    def _redis_gone(self):
        """Its Redis is told to end when the server ends; a server started before that refuses to."""
        def gone():
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect(os.path.join(self.dir, "db", "redis.sock"))
                except OSError:
                    return not self.redis_pid or not os.path.exists(f"/proc/{self.redis_pid}/exe")
            return False

        wait_until(gone, 20, "the server's Redis has ended")
        self.redis_pid = None

    def stop(self, timeout=20):
        super().stop(timeout)
        self._redis_gone()

    def kill(self):
        super().kill()
        self._redis_gone()
