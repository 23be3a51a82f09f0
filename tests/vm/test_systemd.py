#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""etc/chargehand@.service, as it is installed, under a real systemd with its journal, in a machine of its own."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import puppets
import servers
import tap
from chargehand import binary, has_libsystemd
from faktory_client import new_jid
from servers import wait_until

TEMPLATE = "/run/systemd/system/chargehand@.service"
ROOT = "/sys/fs/cgroup"


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def run(*words, check=True):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=check).stdout


def message_id(name):
    return re.search(rf'LOG_ID_{name} "(\w+)"', read(os.environ["TOP_SRCDIR"], "src", "base", "entry.h"))[1]


class Unit:
    """One instance of the template. Its workers are puppets, which tell who they are by a socket."""
    count = 0

    def __init__(self, url, config="", drop_in="", instances=1, command=None):
        Unit.count += 1
        self.instance = f"t{os.getpid()}-{Unit.count}"
        self.name = f"chargehand@{self.instance}.service"
        self.dir = tempfile.mkdtemp(dir="/run")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{self.dir}/control")
        os.chmod(self.dir, 0o755)
        os.chmod(f"{self.dir}/control", 0o777)
        self.listener.listen(64)
        self.listener.settimeout(20)
        self.taken = []
        template = read(os.environ["TOP_BUILDDIR"], "etc", "chargehand@.service")
        place = re.search(r"--config (\S+)/%i\.conf", template)[1]
        with open(TEMPLATE, "w") as f:
            f.write(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={binary()}", template).replace(place, "/run/chargehand-etc"))
        os.makedirs("/run/chargehand-etc", exist_ok=True)
        with open(f"/run/chargehand-etc/{self.instance}.conf", "w") as f:
            f.write(f"[chargehand]\nserver = {url}\nlog-level = info\n[program p]\ncommand = {command or puppets.program()}\n"
                    f"instances = {instances}\n{config}")
        with open(f"/run/chargehand-etc/{self.instance}.env", "w") as f:
            f.write(f"PUPPET_CONTROL={self.dir}/control\n")
        os.makedirs(f"/run/systemd/system/{self.name}.d", exist_ok=True)
        with open(f"/run/systemd/system/{self.name}.d/test.conf", "w") as f:
            f.write(f"[Unit]\nDefaultDependencies=no\n[Service]\n{drop_in}")  # else basic.target comes with it
        run("systemctl", "daemon-reload")
        run("systemctl", "start", "--no-block", self.name)

    def take(self, hello=True):
        control, _ = self.listener.accept()
        puppet = puppets.Puppet(control)
        self.taken.append(puppet)
        if hello:
            puppet.hello("a", wid=new_jid())
        return puppet

    def show(self, name):
        return run("systemctl", "show", "-P", name, self.name).strip()

    def wait_show(self, name, pattern, timeout=20):
        def fits():
            shown.append(self.show(name))
            return re.search(pattern, shown[-1])
        shown = []
        try:
            return wait_until(fits, timeout, every=0.05)  # there is one processor, and the others need it, too
        except TimeoutError:
            raise TimeoutError(f"{name} is {shown[-1]!r}, not {pattern!r}; the log:\n{self.log()[-3000:]}") from None

    def pid(self):
        return int(self.show("MainPID"))

    def log(self):
        return run("journalctl", "-u", self.name, "--no-pager", "-o", "cat", check=False)

    def entries(self, name):
        return [json.loads(line) for line in
                run("journalctl", f"_SYSTEMD_UNIT={self.name}", f"MESSAGE_ID={message_id(name)}", "--no-pager", "-o", "json",
                    check=False).splitlines() if line.startswith("{")]

    def close(self):
        run("systemctl", "kill", "--kill-who=all", "-s", "KILL", self.name, check=False)
        run("systemctl", "stop", self.name, check=False)
        run("systemctl", "reset-failed", self.name, check=False)
        for puppet in self.taken:
            puppet.close()
        self.listener.close()
        print(self.log())
        shutil.rmtree(self.dir)


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        tap.need("machine", None if os.environ.get("VM") else "not in a machine of its own")
        shutil.rmtree("/var/lib/chargehand", ignore_errors=True)  # seen through the overlay: of the machine outside
        tap.need("systemd", None if read("/proc/1/comm") == "systemd\n" else "process 1 is not systemd")
        self.server = servers.shared("dev")
        self.queue = new_jid()

    def start(self, **words):
        unit = Unit(self.server.url, **words)
        self.addCleanup(unit.close)
        return unit

    def give(self, puppet):
        """A job in its hand; the jid."""
        jid = self.server.push("x", (), queue=self.queue)
        puppet.send("a", f"FETCH {self.queue}\r\n".encode())
        puppet.receive("a", int(puppet.line("a")[1:]) + 2)
        return jid

    def failure(self, jid):
        return self.server.wait_jid(jid, "retries", 20)["failure"]


class Life(Case):
    def test_ready_with_the_last_hello(self):
        u = self.start(instances=2, drop_in="User=nobody\n")
        one, two = u.take(hello=False), u.take(hello=False)
        one.hello("a", wid="one")
        u.wait_show("StatusText", "^2 of 2 workers running, 1 without HELLO so far; cgroups in the unit$")
        self.assertEqual(u.show("ActiveState"), "activating")
        two.hello("a", wid="two")
        u.wait_show("ActiveState", "^active$")
        u.wait_show("StatusText", "^2 of 2 workers running; cgroups in the unit$")
        self.assertRegex(run("systemctl", "status", u.name), r'(?m)^ +Status: "2 of 2 workers running; cgroups in the unit"$')
        pid = u.pid()
        group = read(f"/proc/{pid}/cgroup").strip().removeprefix("0::")
        self.assertTrue(group.endswith(f"/{u.name}/chargehand"), group)
        self.assertEqual([read(f"/proc/{p}/oom_score_adj").strip() for p in (pid, one.pid, two.pid)], ["-500", "0", "0"])
        self.assertEqual(read(f"{ROOT}{os.path.dirname(group)}/memory.oom.group").strip(), "0")
        self.assertTrue(os.path.isdir(f"/var/lib/chargehand/{u.instance}"))
        self.assertNotRegex(read(f"/proc/{one.pid}/environ"), "NOTIFY_SOCKET|WATCHDOG_|JOURNAL_STREAM")
        os.kill(pid, signal.SIGHUP)  # nothing to be loaded again, and nothing to be broken by it
        wait_until(lambda: "SIGHUP: there is nothing to be loaded again" in u.log())
        u.wait_show("ActiveState", "^active$")
        run("systemctl", "stop", u.name)
        self.assertEqual([u.show("ActiveState"), u.show("Result"), u.show("ExecMainStatus")], ["inactive", "success", "0"])
        self.assertFalse(os.path.exists(f"{ROOT}{os.path.dirname(group)}"))

    def test_stopped_and_restarted_with_jobs_in_hand(self):
        u = self.start()
        p = u.take()
        jid = self.give(p)
        run("systemctl", "restart", "--no-block", u.name)
        self.assertEqual(self.failure(jid)["errtype"], "WorkerStopped")
        jid = self.give(u.take())
        u.wait_show("ActiveState", "^active$")
        run("systemctl", "stop", u.name)
        self.assertEqual(self.failure(jid)["errtype"], "WorkerStopped")
        self.assertEqual([u.show("Result"), u.show("NRestarts")], ["success", "0"])
        self.assertEqual(u.entries("DEATH"), [])  # all of it was asked for

    def test_a_stop_may_take_longer_than_the_unit_says(self):
        u = self.start(config="stop-grace = 4s\n", drop_in="TimeoutStopSec=1s\n")
        p = u.take()
        u.wait_show("ActiveState", "^active$")
        os.kill(p.pid, signal.SIGSTOP)
        run("systemctl", "stop", u.name)
        self.assertEqual([u.show("ActiveState"), u.show("Result")], ["inactive", "success"])
        self.assertIn("at the end of its grace of 4.0 s", u.log())

    def test_a_configuration_that_is_wrong_is_not_tried_again(self):
        u = self.start(config="nonsense = 1\n")
        u.wait_show("ActiveState", "^failed$")
        self.assertEqual([u.show("ExecMainStatus"), u.show("NRestarts")], ["78", "0"])


class Deaths(Case):
    def test_a_worker_out_of_memory(self):
        u = self.start(config="memory-max = 24M\nrestart = always\n")
        p = u.take()
        u.wait_show("ActiveState", "^active$")
        jid = self.give(p)
        self.assertFalse(p.eat(64))
        self.assertEqual(self.failure(jid)["errtype"], "WorkerOutOfMemory")
        u.take()
        u.wait_show("StatusText", "^1 of 1 worker running; 1 death since the start; 1 job FAILed; cgroups in the unit$")
        self.assertEqual([u.show("ActiveState"), u.show("Result"), u.show("NRestarts")], ["active", "success", "0"])
        (entry,) = wait_until(lambda: u.entries("OUT_OF_MEMORY"))
        self.assertEqual({k: v for k, v in entry.items() if k.startswith("CHARGEHAND_")},
                         {"CHARGEHAND_WORKER": "p.1", "CHARGEHAND_PID": str(p.pid), "CHARGEHAND_CAUSE": "WorkerOutOfMemory",
                          "CHARGEHAND_EXIT_CODE": "killed", "CHARGEHAND_EXIT_STATUS": "9", "CHARGEHAND_JOBS": "1",
                          "CHARGEHAND_JID": jid})
        self.assertEqual([entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]], ["4", "chargehand"])
        self.assertRegex(entry["MESSAGE"], r"^p\.1 \(pid \d+\) was killed by the kernel at its own memory limit")
        self.assertIn(entry["MESSAGE"], u.log().splitlines())  # once, and in the unit's log

    def test_a_worker_at_the_limit_of_the_unit(self):
        u = self.start(config="restart = always\n", drop_in="MemoryMax=48M\n")
        p = u.take()
        u.wait_show("ActiveState", "^active$")
        jid = self.give(p)
        self.assertFalse(p.eat(100))
        failure = self.failure(jid)
        self.assertEqual(failure["errtype"], "HostOutOfMemory")
        self.assertRegex(failure["message"], rf"was killed by the kernel at the memory limit of the cgroup \S+/{re.escape(u.name)}, "
                                             r"around its own \(48 MiB\), ")
        u.take()
        self.assertEqual([u.show("ActiveState"), u.show("Result"), u.show("NRestarts")], ["active", "success", "0"])

    def test_one_that_the_kernel_spares_goes_with_the_others(self):
        spared = "echo -1000 >/proc/self/oom_score_adj; exec sleep 100000"
        u = self.start(command=f"sh -c 'sh -c \"{spared}\" & exec {puppets.program()}'",
                       config="memory-max = 24M\noom-group = yes\nrestart = always\n")
        p = u.take()
        jid = self.give(p)
        leaf = ROOT + read(f"/proc/{p.pid}/cgroup").strip().removeprefix("0::")
        (child,) = [int(pid) for pid in read(leaf, "cgroup.procs").split() if int(pid) != p.pid]
        wait_until(lambda: read(f"/proc/{child}/oom_score_adj") == "-1000\n")
        self.assertFalse(p.eat(64))
        self.assertEqual(self.failure(jid)["errtype"], "WorkerOutOfMemory")
        wait_until(lambda: not os.path.exists(f"/proc/{child}"))
        self.assertIn("chargehand killed the processes it left behind", u.log())
        u.take()

    def test_a_worker_by_a_signal_with_two_jobs(self):
        u = self.start()
        p = u.take()
        jids = [self.give(p), self.give(p)]
        p.crash(signal.SIGSEGV)
        (entry,) = wait_until(lambda: u.entries("DEATH"))
        self.assertEqual(sorted(entry["CHARGEHAND_JID"]), sorted(jids))
        self.assertEqual([entry["CHARGEHAND_CAUSE"], entry["CHARGEHAND_EXIT_STATUS"]], ["WorkerSignaled", str(int(signal.SIGSEGV))])
        self.assertEqual(u.log().count(entry["MESSAGE"]), 1)
        def of_the_first():
            found = [json.loads(line) for line in run("journalctl", f"CHARGEHAND_JID={jids[0]}", "--no-pager", "-o", "json",
                                                      check=False).splitlines() if line.startswith("{")]
            return len(found) == 2 and found
        death, outcome = wait_until(of_the_first)
        self.assertEqual(death["MESSAGE"], entry["MESSAGE"])
        self.assertEqual([outcome[f"CHARGEHAND_{what}"] for what in ("WORKER", "REPORT", "OUTCOME")], ["p.1", "FAIL", "settled"])
        self.assertEqual(outcome["MESSAGE"], f"p.1: job {jids[0]} (x): the server has taken its FAIL")

    def test_a_job_that_will_vanish(self):
        u = self.start()
        p = u.take()
        jid = self.give(p)
        self.server.rule("half", verb="FAIL")
        p.crash(signal.SIGSEGV)
        (entry,) = wait_until(lambda: u.entries("JOB_VANISHES"))
        self.assertEqual({k: v for k, v in entry.items() if k.startswith("CHARGEHAND_")},
                         {"CHARGEHAND_WORKER": "p.1", "CHARGEHAND_JID": jid, "CHARGEHAND_REPORT": "FAIL",
                          "CHARGEHAND_OUTCOME": "half done"})
        self.assertEqual(entry["PRIORITY"], "3")

    def test_chargehand_is_killed(self):
        u = self.start()
        p = u.take()
        u.wait_show("ActiveState", "^active$")
        jid, before = self.give(p), u.pid()
        os.kill(before, signal.SIGKILL)
        failure = self.failure(jid)
        self.assertEqual(failure["errtype"], "SupervisorDied")
        (entry,) = wait_until(lambda: u.entries("SUPERVISOR_DIED"))
        self.assertEqual({k: v for k, v in entry.items() if k.startswith("CHARGEHAND_")},
                         {"CHARGEHAND_WORKER": "p.1", "CHARGEHAND_PID": str(p.pid), "CHARGEHAND_CAUSE": "SupervisorDied",
                          "CHARGEHAND_JOBS": "1", "CHARGEHAND_JID": jid})
        self.assertEqual(entry["MESSAGE"], f"p.1 (pid {p.pid}) has gone with the chargehand that looked after it; 1 job is FAILed "
                                           "as SupervisorDied")
        u.take()
        u.wait_show("ActiveState", "^active$")
        self.assertNotEqual(u.pid(), before)
        self.assertEqual(u.show("NRestarts"), "1")
        self.assertFalse(os.path.exists(f"/proc/{p.pid}"))

    def test_a_chargehand_that_hangs_is_aborted(self):
        u = self.start(drop_in="WatchdogSec=4\n")
        p = u.take()
        u.wait_show("ActiveState", "^active$")
        jid, before = self.give(p), u.pid()
        os.kill(before, signal.SIGSTOP)
        self.assertEqual(self.failure(jid)["errtype"], "SupervisorDied")
        u.take()
        u.wait_show("ActiveState", "^active$")
        self.assertEqual([u.show("NRestarts"), u.pid() != before], ["1", True])

    def test_one_that_works_is_not(self):
        u = self.start(drop_in="WatchdogSec=3\n")
        u.take()
        u.wait_show("ActiveState", "^active$")
        stamp = u.show("WatchdogTimestampMonotonic")
        for _ in range(3):
            stamp = wait_until(lambda: (now := u.show("WatchdogTimestampMonotonic")) != stamp and now, 15)
        self.assertEqual([u.show("NRestarts"), u.show("ActiveState")], ["0", "active"])

    def test_a_worker_that_does_not_stay_up(self):
        u = self.start()
        for _ in range(5):
            u.take().exit(3)
        (entry,) = wait_until(lambda: u.entries("CRASH_LOOP"))
        self.assertEqual(entry["CHARGEHAND_WORKER"], "p.1")
        self.assertEqual(u.show("ActiveState"), "active")


class Server(Case):
    def test_lost_and_found(self):
        server = servers.make("dev")
        self.addCleanup(server.close)
        u = Unit(server.url)
        self.addCleanup(u.close)
        u.take()
        u.wait_show("StatusText", "^1 of 1 worker running; cgroups in the unit$")
        server.kill()
        u.wait_show("StatusText", "^1 of 1 worker running; the server is away; cgroups in the unit$")
        (entry,) = wait_until(lambda: u.entries("SERVER_LOST"))
        self.assertIn(f":{server.port}", entry["CHARGEHAND_SERVER"])
        server.restart()
        u.wait_show("StatusText", "^1 of 1 worker running; cgroups in the unit$")
        self.assertEqual(u.show("ActiveState"), "active")


USER_UNIT = """[Unit]
DefaultDependencies=no
[Service]
Type=notify
Delegate=yes
Environment=FAKTORY_URL={url} "PATH={path}"
ExecStart={binary} --state-dir {dir}/state --memory-max 64M -- sh -c 'echo "$$$$ $$FAKTORY_URL" >>{dir}/started; exec sleep 1000'
StandardError=append:{dir}/log
"""


class OfAUser(Case):
    def setUp(self):
        super().setUp()
        self.dir = tempfile.mkdtemp(dir="/run")
        os.chmod(self.dir, 0o777)
        self.addCleanup(lambda: print(os.path.exists(f"{self.dir}/log") and read(f"{self.dir}/log")))

    def as_user(self, *words):
        return run(os.path.join(os.environ["CHARGEHAND_SHARED"], "vm", "as-user"), *words)

    def log_tells(self, pattern):
        return wait_until(lambda: re.search(pattern, read(f"{self.dir}/log")), 30)

    def started(self):
        return wait_until(lambda: os.path.exists(f"{self.dir}/started") and read(f"{self.dir}/started").split()[:2], 30)

    def check_leaf(self, pid, pattern):
        group = read(f"/proc/{pid}/cgroup").strip().removeprefix("0::")
        self.assertRegex(group, pattern)
        self.assertEqual(read(f"{ROOT}{group}/memory.max").strip(), str(64 << 20))

    def start_unit(self, name, text):
        """A function that shows a property of it."""
        self.as_user("true")
        with open(f"/run/systemd/user/{name}", "w") as f:
            f.write(text.format(url=self.server.url, path=os.environ["PATH"], binary=binary(), dir=self.dir))
        self.as_user("systemctl", "--user", "daemon-reload")
        self.as_user("systemctl", "--user", "start", "--no-block", name)
        self.addCleanup(self.as_user, "systemctl", "--user", "stop", name)
        return lambda what: self.as_user("systemctl", "--user", "show", "-P", what, name).strip()

    def test_a_unit(self):
        show = self.start_unit("with.service", USER_UNIT)
        if not has_libsystemd():
            wait_until(lambda: show("ActiveState") == "failed")
            self.log_tells("systemd cannot be asked whether it delegates this unit's cgroup: this chargehand is built without")
            return
        pid, _ = self.started()
        self.check_leaf(pid, r"^/user.slice/user-1234.slice/user@1234.service/app.slice/with.service/sh\.1-1$")
        wait_until(lambda: show("StatusText") == "1 of 1 worker running, 1 without HELLO so far; cgroups in the unit")
        self.assertEqual(show("ActiveState"), "activating")

    def test_a_unit_that_does_not_delegate(self):
        show = self.start_unit("without.service", USER_UNIT.replace("Delegate=yes\n", ""))
        wait_until(lambda: show("ActiveState") == "failed")
        self.assertEqual(show("ExecMainStatus"), "78")
        self.log_tells("without.service does not delegate its cgroup: add Delegate=yes" if has_libsystemd() else
                       "systemd cannot be asked whether it delegates this unit's cgroup: this chargehand is built without")

    def test_a_scope(self):
        self.as_user("true")  # what starts the user's manager
        with open(f"{self.dir}/log", "w") as log:
            p = subprocess.Popen(
                [os.path.join(os.environ["CHARGEHAND_SHARED"], "vm", "as-user"), "env", f"FAKTORY_URL={self.server.url}",
                 "systemd-run", "--user", "--scope", "--quiet", binary(), "--state-dir", f"{self.dir}/state", "--memory-max",
                 "64M", "--", "sh", "-c", f"echo $$ x >>{self.dir}/started; exec sleep 1000"], stderr=log)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        if not has_libsystemd():
            self.assertEqual(p.wait(20), 78)
            self.log_tells("systemd gives no scope: this chargehand is built without libsystemd")
            return
        pid, _ = self.started()
        self.check_leaf(pid, r"^/user.slice/user-1234.slice/user@1234.service/app.slice/chargehand-sh-\w+-\d+\.scope/sh\.1-1$")
        p.terminate()
        self.assertEqual(p.wait(20), 0)


if __name__ == "__main__":
    tap.main()
