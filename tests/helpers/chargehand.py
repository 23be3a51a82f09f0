# SPDX-License-Identifier: MIT
"""chargehand as a process, for tests.

  with Chargehand(server, "sh", "-c", "...", options=["--restart", "never"]) as c:
      c.port()                  the port of the (newest) worker's own listener, by its FAKTORY_URL
      c.session(wid="w1")       a Client through it, as the worker would be; closed with c
      c.worker_pid()            pid of the first worker started (or of instance n)
      c.wait_log("text")        the first log line with it; c.log() all of them
      c.signal(SIGTERM); c.wait(timeout) -> exit status (negative: died of a signal)
      c.rss_bytes(), c.pid

The binary is $CHARGEHAND. Without a command the worker is `idle`, a process that does nothing until it is ended: what
tests say on their own sessions then counts as that worker's, for a session is accepted by its uid where the worker has no
cgroup of its own. Whatever was started is ended by its pid, and directories are removed.
"""
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

from faktory_client import Client
from servers import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
IDLE = ["sh", "-c", 'echo "$$ $FAKTORY_URL" >>"$CHARGEHAND_TEST_STARTED"; exec sleep 100000']


def binary():
    path = os.environ.get("CHARGEHAND")
    if not path:
        raise RuntimeError("set CHARGEHAND to the program under test")
    return path


def has_libsystemd():
    done = subprocess.run([binary(), "--check", "--cgroup", "none", "--server", "tcp://127.0.0.1:1", "true"],
                          stdout=subprocess.PIPE, text=True)
    return bool(re.search(r"(?m)^build .*, with libsystemd", done.stdout))


class Chargehand:
    def __init__(self, server, *command, options=(), env=None, url=None, cwd=None, stdin=subprocess.DEVNULL,
                 stdout=subprocess.DEVNULL, stderr=None, wait=True):
        self.dir = tempfile.mkdtemp(prefix="chargehand-test.")
        self.started = os.path.join(self.dir, "started")
        self.log_path = os.path.join(self.dir, "log")
        self.sessions = []
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("FAKTORY_", "NOTIFY_", "JOURNAL_STREAM"))}
        environment.update(CHARGEHAND_TEST_STARTED=self.started, FAKTORY_URL=url or server.url, PYTHONUNBUFFERED="1",
                           STATE_DIRECTORY=os.path.join(self.dir, "state"))
        environment.update(env or {})
        idle = not command
        # What tests say on sessions of their own would be a stranger's, were the worker in a cgroup.
        place = [] if any(o.startswith(("--cgroup", "--config")) for o in options) else ["--cgroup", "none"]
        words = [binary(), "--log-level", "debug", *place, *options, "--", *(command or IDLE)]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(words, env=environment, cwd=cwd or self.dir, stdin=stdin, stdout=stdout,
                                            stderr=stderr or log, start_new_session=True)
        try:
            if wait and idle:
                self.port()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_log(self, text, timeout=30, count=1):
        """The count-th line that has the regular expression in it."""
        def line():
            found = [line for line in self.log().splitlines() if re.search(text, line)]
            return found[count - 1] if len(found) >= count else None
        try:
            return wait_until(line, timeout)
        except TimeoutError:
            raise TimeoutError(f"not within {timeout} s: {text!r} in the log:\n{self.log()[-4000:]}") from None

    def starts(self):
        """[(pid, url)] of the idle workers started so far, and of others that write their line to the file."""
        try:
            with open(self.started) as f:
                return [(int(line.split()[0]), line.split()[1]) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def _start(self, nth, timeout):
        def there():
            if self.process.poll() is not None:
                raise RuntimeError(f"chargehand ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            starts = self.starts()
            return starts and (starts[-1] if nth is None else len(starts) > nth and starts[nth])
        return wait_until(there, timeout, "a worker is started")

    def port(self, nth=None, timeout=30):
        return int(self._start(nth, timeout)[1].rpartition(":")[2].split("/")[0])

    def worker_pid(self, nth=None, timeout=30):
        return self._start(nth, timeout)[0]

    def session(self, nth=None, **options):
        client = Client(self.port(nth), **options)
        self.sessions.append(client)
        return client

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=30):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"chargehand has not ended within {timeout} s; its log:\n{self.log()[-4000:]}") from None

    @property
    def sanitized(self):
        """Built with AddressSanitizer: memory and time say nothing then."""
        with open(binary(), "rb") as f:
            return b"__asan_init" in f.read()

    def rss_bytes(self):
        # smaps is exact, and closed to all but root: chargehand makes itself undumpable (proc(5)). status is near.
        name, word = ("smaps_rollup", "Rss:") if os.geteuid() == 0 else ("status", "VmRSS:")
        with open(f"/proc/{self.pid}/{name}") as f:
            for line in f:
                if line.startswith(word):
                    return int(line.split()[1]) * 1024

    def close(self):
        for session in self.sessions:
            session.close()
        if self.process.poll() is None:
            self.process.kill()  # its workers go with it: parent-death signal
            self.process.wait()
        log = self.log()
        sys.stdout.write(f"--- chargehand's log ({shlex.join(self.process.args)}), status {self.process.returncode}\n{log}")
        shutil.rmtree(self.dir, ignore_errors=True)
        if re.search(r"(Sanitizer|runtime error:)", log):
            raise AssertionError("a sanitizer has something to say; see the log")

    def stop(self, timeout=30):
        """TERM, and its exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
