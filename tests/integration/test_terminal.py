#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""chargehand at a terminal: who gets ^C and ^Z, and who may read.

The test plays a shell with job control: it has a pseudoterminal, starts chargehand in a process group of its own in the
foreground, and sees it stop.
"""
import os
import pty
import select
import signal
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import scripted
import servers
import tap
from chargehand import binary
from servers import wait_until


class Terminal(unittest.TestCase):
    def setUp(self):
        self.server = servers.shared("dev")
        self.seen = b""
        self.shell = self.master = None

    def start(self, options, command):
        """A shell of its own session, whose terminal is the other end of self.master; chargehand is its child."""
        words = [binary(), "--log-level", "debug", "--name", "w", *options, "--", *command]
        environment = dict(os.environ, FAKTORY_URL=self.server.url, STATE_DIRECTORY=tempfile.mkdtemp())
        read, write = os.pipe()
        self.shell, self.master = pty.fork()
        if self.shell == 0:
            os.close(read)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            job = os.fork()
            if job == 0:
                os.close(write)
                os.setpgid(0, 0)
                os.tcsetpgrp(0, os.getpid())
                signal.signal(signal.SIGTTOU, signal.SIG_DFL)
                os.execve(words[0], words, environment)
            os.write(write, f"job {job}\n".encode())
            while True:
                _, status = os.waitpid(job, os.WUNTRACED)
                if os.WIFSTOPPED(status):
                    os.write(write, b"stopped\n")
                    os.tcsetpgrp(0, os.getpgrp())
                    os.kill(os.getpid(), signal.SIGSTOP)  # until the test says "fg"
                    os.tcsetpgrp(0, job)
                    os.killpg(job, signal.SIGCONT)
                else:
                    os.write(write, f"ended {os.waitstatus_to_exitcode(status)}\n".encode())
                    os._exit(0)
        os.close(write)
        self.events, self.pipe = b"", read
        self.addCleanup(self.close)
        self.job = int(self.event("job ").split()[1])

    def close(self):
        print(self.seen.decode(errors="replace"))
        for pid in (getattr(self, "job", None), self.shell):
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, TypeError):
                pass
        os.close(self.master)
        os.close(self.pipe)
        os.waitpid(self.shell, 0)

    def event(self, start):
        def there():
            if select.select([self.pipe], [], [], 0)[0]:
                self.events += os.read(self.pipe, 4096)
            return next((line for line in self.events.decode().splitlines() if line.startswith(start)), None)
        return wait_until(there, what=f"{start}: {self.output()}")

    def output(self):
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.seen += os.read(self.master, 4096)
            except OSError:
                break
        return self.seen

    def wait_output(self, text, count=1):
        wait_until(lambda: self.output().count(text) >= count, what=f"{text} on the terminal")

    def type(self, keys):
        os.write(self.master, keys)

    def foreground(self):
        return os.tcgetpgrp(self.master)

    def test_ctrl_c_ends_worker_and_chargehand(self):
        self.start(["--restart", "always", "--healthy", "0"], scripted.command("hello; stderr ready; hold"))
        self.wait_output(b"ready")
        self.type(b"\x03")
        self.assertEqual(self.event("ended"), "ended 130")
        self.assertEqual(self.output().count(b": started"), 1)

    def test_a_worker_that_ends_well_on_ctrl_c(self):
        self.start(["--restart", "always", "--healthy", "0"],
                   scripted.command("on INT {stderr bye; exit 0}; hello; stderr ready; forever {sleep 0.1}"))
        self.wait_output(b"ready")
        self.type(b"\x03")
        self.assertEqual(self.event("ended"), "ended 0")
        self.assertEqual(self.output().count(b"bye"), 1)

    def test_ctrl_c_with_several_workers_is_a_stop(self):
        self.start(["--instances", "2"], scripted.command("hello; stderr ready; hold"))
        self.wait_output(b"ready", 2)
        self.type(b"\x03")
        self.assertEqual(self.event("ended"), "ended 0")
        self.assertIn(b"SIGINT: stopping", self.output())

    def test_a_crash_is_restarted_in_the_foreground(self):
        self.start(["--healthy", "0"], ["sh", "-c", "read line && echo got $line >&2 && kill -SEGV $$"])
        for i in (1, 2):
            wait_until(lambda: self.foreground() not in (self.job, self.shell), what="the worker has the terminal")
            self.type(b"word\n")
            self.wait_output(b"got word", i)
            self.wait_output(b": started", i + 1)
        wait_until(lambda: self.foreground() not in (self.job, self.shell), what="the worker has the terminal")
        self.type(b"\x03")
        self.assertEqual(self.event("ended"), "ended 130")

    def test_ctrl_z_stops_the_job_and_fg_goes_on(self):
        self.start([], scripted.command("hello; stderr ready; forever {sleep 0.05; stderr tick}"))
        self.wait_output(b"tick")
        worker = self.foreground()
        self.assertNotEqual(worker, self.job)
        self.type(b"\x1a")
        self.event("stopped")
        wait_until(lambda: open(f"/proc/{worker}/stat").read().rpartition(")")[2].split()[0] == "T", what="it stopped")
        before = self.output().count(b"tick")
        wait_until(lambda: open(f"/proc/{self.shell}/stat").read().rpartition(")")[2].split()[0] == "T", what="the prompt")
        os.kill(self.shell, signal.SIGCONT)  # "fg"
        self.wait_output(b"tick", before + 3)
        self.assertEqual(self.foreground(), worker)
        self.type(b"\x03")
        self.assertEqual(self.event("ended"), "ended 130")


if __name__ == "__main__":
    tap.main()
