#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a service manager is told by NOTIFY_SOCKET, played here by a socket; tests/vm/test_systemd.py has the real one."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from chargehand import Chargehand, binary
from faktory_client import ServerError, new_jid
from manager import Manager
from servers import wait_until


class Case(unittest.TestCase):
    def setUp(self):
        self.server = servers.make("dev")
        self.addCleanup(self.server.close)
        self.manager = Manager()
        self.addCleanup(self.manager.close)

    def start(self, *command, options=(), **env):
        c = Chargehand(self.server, *command, options=options, env={"NOTIFY_SOCKET": self.manager.path, **env})
        self.addCleanup(c.close)
        return c


class Told(Case):
    def test_ready_with_the_last_hello(self):
        c = self.start(options=["--instances", "2"])
        self.manager.wait("STATUS=2 of 2 workers running, 2 without HELLO so far")
        c.session(0, wid="a")
        c.wait_log(r"\.[12]: starting -> running")
        c.session(1, wid="b")
        heard = self.manager.wait("READY=1", r"STATUS=2 of 2 workers running(; the server is away)?$")
        self.assertEqual([told for told in self.manager.told if "READY=1" in told], [heard])

    def test_a_death_and_its_jobs(self):
        c = self.start()
        session = c.session(wid="a")
        self.manager.wait("READY=1")
        queue = new_jid()
        self.server.push("x", (), queue=queue)
        session.fetch(queue)
        os.kill(c.worker_pid(), signal.SIGKILL)
        self.manager.wait(r"STATUS=.*; 1 death since the start; 1 job FAILed$")

    def test_jobs_that_will_vanish(self):
        """The server's storage fails in the middle of a worker's FAIL, and of one for a dead worker."""
        c = self.start()
        session = c.session(wid="a")
        queue = new_jid()
        for _ in range(2):
            self.server.push("x", (), queue=queue)
        first, _ = (session.fetch(queue)["jid"] for _ in range(2))
        self.server.rule("half", verb="FAIL")
        self.assertRaises(ServerError, session.fail, first)
        self.manager.wait(r"STATUS=1 of 1 worker running; 1 job will vanish at the server$")
        self.server.rule("half", verb="FAIL")
        os.kill(c.worker_pid(), signal.SIGKILL)
        self.manager.wait(r"STATUS=.*; 1 death since the start; 1 job FAILed; 2 jobs will vanish at the server$")

    def test_the_server_goes_and_comes(self):
        c = self.start()
        c.session(wid="a")
        self.manager.wait("STATUS=1 of 1 worker running$")
        self.server.kill()
        self.manager.wait("STATUS=1 of 1 worker running; the server is away$")
        self.server.restart()
        self.manager.wait("STATUS=1 of 1 worker running$")

    def test_quiet_tells_how_many_jobs_are_left(self):
        c = self.start()
        session = c.session(wid="a")
        queue = new_jid()
        self.server.push("x", (), queue=queue)
        jid = session.fetch(queue)["jid"]
        c.signal(signal.SIGTSTP)
        self.manager.wait("STATUS=1 of 1 worker running; quiet, 1 job in hand$")
        session.ack(jid)
        self.manager.wait("STATUS=1 of 1 worker running; quiet, 0 jobs in hand$")

    def test_a_stop(self):
        c = self.start("sh", "-c", 'trap "" TERM; echo "$$ $FAKTORY_URL" >>"$CHARGEHAND_TEST_STARTED"; while :; do sleep 0.1; done',
                       options=["--stop-grace", "8s"])
        c.worker_pid()
        c.signal(signal.SIGTERM)
        self.manager.wait("STOPPING=1", r"EXTEND_TIMEOUT_USEC=\d+",
                          r"STATUS=Stopping: 1 worker left, 0 jobs in hand(; the server is away)?$")
        self.assertTrue(any("STOPPING=1" in told for told in self.manager.told))
        self.manager.wait(r"EXTEND_TIMEOUT_USEC=\d+")  # the second one, while the grace goes on
        c.signal(signal.SIGTERM)
        self.assertEqual(c.wait(), 0)
        self.assertFalse(any("READY=1" in told for told in self.manager.told))

    def test_a_reload(self):
        c = self.start()
        c.session(wid="a")
        self.manager.wait("READY=1")
        c.signal(signal.SIGHUP)
        self.manager.wait("RELOADING=1", r"MONOTONIC_USEC=\d+")
        self.manager.wait("READY=1")

    def test_the_environment_stays_with_chargehand(self):
        c = self.start("sh", "-c", 'env >environment; echo "$$ $FAKTORY_URL" >>"$CHARGEHAND_TEST_STARTED"; exec sleep 1000',
                       WATCHDOG_USEC="30000000")
        c.worker_pid()
        with open(os.path.join(c.dir, "environment")) as f:
            self.assertNotRegex(f.read(), "NOTIFY_SOCKET|WATCHDOG")


class Watchdog(Case):
    def test_it_comes_from_the_loop(self):
        c = self.start(WATCHDOG_USEC="400000")
        for _ in range(3):
            self.manager.wait("WATCHDOG=1", timeout=5)
        os.kill(c.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, c.pid, os.WSTOPPED)
        while self.manager.hear(0.01) is not None:
            pass
        self.assertIsNone(self.manager.hear(0.8))
        # As systemd ends who is silent. What it is sent must not be blocked.
        c.signal(signal.SIGABRT)
        c.signal(signal.SIGCONT)
        self.assertEqual(c.wait(), -signal.SIGABRT)

    def test_without_one_nothing_is_told_again(self):
        c = self.start()
        c.session(wid="a")
        self.manager.wait("STATUS=1 of 1 worker running$")
        while self.manager.hear(1.5) is not None:
            pass
        self.assertIsNone(self.manager.hear(1))


class Lines(Case):
    def test_a_worker_that_does_not_stay_up(self):
        c = self.start("sh", "-c", "exit 3")
        c.wait_log(r"^chargehand: sh\.1 does not stay up: 5 short lives in a row; it is started again in 1\.6 s")
        self.assertEqual(len(re.findall(r"exited with status 3 ", c.log())), 5)

    def test_nobody_listens_there(self):
        self.manager.close()
        self.addCleanup(os.makedirs, self.manager.directory)
        c = self.start()
        c.session(wid="a")
        c.wait_log(r"The service manager cannot be told how chargehand is: No such file or directory")
        self.assertEqual(c.stop(), 0)

    def test_an_address_that_is_none(self):
        c = self.start(NOTIFY_SOCKET="vsock:2:1234")
        c.wait_log(r"NOTIFY_SOCKET: the service manager cannot be told how chargehand is: Address family not supported")
        self.assertEqual(c.stop(), 0)

    def test_check(self):
        def line(**env):
            environment = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
            done = subprocess.run([binary(), "--check", "--cgroup", "none", "--server", self.server.url, "true"],
                                  env={**environment, **env}, stdout=subprocess.PIPE, text=True)
            return re.search(r"(?m)^systemd +(.*)$", done.stdout)[1]
        self.assertEqual(line(), "not started by it with Type=notify: readiness, status and watchdog are told to nobody")
        self.assertEqual(line(NOTIFY_SOCKET="/x"), "is told of readiness and status; WatchdogSec= is not set")
        self.assertEqual(line(NOTIFY_SOCKET="/x", WATCHDOG_USEC="30000000"),
                         "is told of readiness and status, and that chargehand lives, every 15.0 s")


class Unit(unittest.TestCase):
    def test_systemd_finds_no_fault_with_it(self):
        tap.need("systemd", None if shutil.which("systemd-analyze") else "systemd-analyze is missing")
        with open(os.path.join(os.environ["TOP_BUILDDIR"], "etc", "chargehand@.service")) as f:
            text = f.read()
        self.assertNotIn("@", re.sub(r"chargehand@(mail)?", "", text))
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "chargehand@mail.service")
            with open(path, "w") as f:
                f.write(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={binary()}", text))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))


if __name__ == "__main__":
    tap.main()
