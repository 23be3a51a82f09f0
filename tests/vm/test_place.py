#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where --cgroup auto puts leaves, on machines that differ in who has a say about cgroups. Root of a machine of its own is
needed: what runs here moves processes between its groups."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from chargehand import Chargehand, binary, has_libsystemd
from puppets import Puppets
from servers import wait_until

ROOT = "/sys/fs/cgroup"


def group_of(pid):
    with open(f"/proc/{pid}/cgroup") as f:
        return f.read().strip().removeprefix("0::")


def read(*path):
    with open(os.path.join(ROOT, *path)) as f:
        return f.read().strip()


def is_systemd():
    with open("/proc/1/comm") as f:
        return f.read() == "systemd\n"


class Case(unittest.TestCase):
    systemd = False

    def setUp(self):
        tap.need("machine", None if os.environ.get("VM") else "not in a machine of its own")
        if is_systemd() != self.systemd:
            raise unittest.SkipTest("for machines with systemd" if self.systemd else "for machines without systemd")
        if not self.systemd and os.path.isdir("/run/systemd/system"):
            os.rmdir("/run/systemd/system")  # the kit makes it, and it says: systemd is here
        for home in [n for n in os.listdir(ROOT) if n.startswith("chargehand-")]:
            for path, _, _ in os.walk(os.path.join(ROOT, home), topdown=False):
                os.rmdir(path)  # of a test whose chargehand was killed at its end



class OwnGroup(Case):
    """No systemd: containers with a writable cgroup, and other inits."""

    def stage(self, *options):
        s = Puppets(servers.shared("dev"), instances=1, options=["--cgroup", "auto", *options])
        self.addCleanup(s.close)
        return s

    def homes(self):
        return [n for n in os.listdir(ROOT) if n.startswith("chargehand-")]

    def test_leaves_limits_and_nothing_left(self):
        before = read("cgroup.subtree_control").split()
        s = self.stage("--memory-max", "64M", "--memory-high", "60M", "--pids-max", "50", "--cpu-max", "50", "--swap-max", "0")
        p = s.take()
        (home,) = self.homes()
        self.assertEqual(group_of(s.chargehand.pid), f"/{home}/chargehand")
        self.assertEqual(group_of(p.pid), f"/{home}/p.1-1")
        leaf = group_of(p.pid)[1:]
        self.assertEqual([read(leaf, f) for f in ("memory.max", "memory.high", "memory.swap.max", "pids.max", "cpu.max",
                                                  "memory.oom.group")],
                         [str(64 << 20), str(60 << 20), "0", "50", "50000 100000", "0"])
        s.chargehand.wait_log(rf"cgroups below {ROOT}/{home} \(the own group\)")
        self.assertEqual(s.chargehand.stop(), 0)
        self.assertEqual(self.homes(), [])
        self.assertEqual(read("cgroup.subtree_control").split(), before)

    def test_a_limit_that_the_kernel_does_not_take(self):
        s = Chargehand(servers.shared("dev"), options=["--cgroup", "auto", "--pids-max", "5000000"], wait=False)
        self.addCleanup(s.close)
        self.assertEqual(s.wait(), 78)
        s.wait_log("1: cannot be started for want of pids.max: Invalid argument")
        self.assertEqual(self.homes(), [])

    def test_oom_group(self):
        s = self.stage("--oom-group", "yes")
        self.assertEqual(read(group_of(s.take().pid)[1:], "memory.oom.group"), "1")
        home = self.homes()[0]
        self.assertEqual([read(home, "memory.oom.group"), read(home, "chargehand", "memory.oom.group")], ["0", "0"])

    def test_a_killed_one_leaves_nothing_to_its_next(self):
        c = Chargehand(servers.shared("dev"), "sh", "-c", "setsid sleep 1000 & echo $! $FAKTORY_URL >>$CHARGEHAND_TEST_STARTED; wait",
                       options=["--cgroup", "auto", "--name", "w"])
        self.addCleanup(c.close)
        child = c.worker_pid()
        group = group_of(child)
        self.assertRegex(group, r"^/chargehand-w-[0-9a-f]{8}/w\.1-1$")
        c.signal(signal.SIGKILL)
        c.wait()
        self.assertEqual(group_of(child), group)
        other = self.stage()
        other.take()
        other.chargehand.wait_log("1 cgroup that an earlier chargehand had left is removed")
        self.assertFalse(os.path.exists(ROOT + group))
        os.waitpid(child, 0)  # it has become ours, and nobody kills it but the next chargehand

    def test_two_at_a_time(self):
        one = self.stage()
        pid = one.take().pid
        two = self.stage()
        two.take()
        self.assertEqual(len(self.homes()), 2)
        self.assertEqual(two.chargehand.stop(), 0)
        os.kill(pid, 0)
        self.assertEqual(one.chargehand.stop(), 0)
        self.assertEqual(self.homes(), [])

    def test_check(self):
        done = subprocess.run([binary(), "--check", "--cgroup", "auto", "true"], stdout=subprocess.PIPE, text=True)
        self.assertRegex(done.stdout, rf"(?m)^cgroup +cgroups below {ROOT} \(the own group\)$")
        self.assertRegex(done.stdout, r"(?m)^limits +memory yes, pids yes, cpu yes$")
        self.assertEqual(self.homes(), [])


UNIT = """[Unit]
DefaultDependencies=no
[Service]
Environment="PATH={path}" HOME=/root FAKTORY_URL={url}
ExecStart={binary} --state-dir {dir}/state --log-level debug {options} -- sh -c 'echo "$$$$ x" >>{dir}/started; exec sleep 1000'
StandardError=append:{dir}/log
{more}
"""


class Systemd(Case):
    systemd = True

    def start(self, *options, more="", name="test-chargehand.service"):
        self.dir = tempfile.mkdtemp(dir="/run")  # for other users, too
        os.chmod(self.dir, 0o777)
        self.unit = name
        with open(f"/run/systemd/system/{name}", "w") as f:
            f.write(UNIT.format(path=os.environ["PATH"], url=servers.shared("dev").url, binary=binary(), dir=self.dir,
                                options=" ".join(options).replace("$", "$$"), more=more))
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        self.addCleanup(subprocess.run, ["systemctl", "stop", name], stderr=subprocess.DEVNULL)
        subprocess.run(["systemctl", "start", name], check=True)

    def log(self, path=None):
        with open(path or f"{self.dir}/log") as f:
            return f.read()

    def wait_log(self, pattern, path=None):
        try:
            return wait_until(lambda: re.search(pattern, self.log(path)), 15)
        except TimeoutError:
            raise TimeoutError(f"{pattern!r} not in the log:\n{self.log(path)}") from None

    def pids(self):
        def both():
            main = subprocess.run(["systemctl", "show", "-P", "MainPID", self.unit], stdout=subprocess.PIPE, text=True).stdout
            with open(f"{self.dir}/started") as f:
                return int(main), int(f.read().split()[-2])
        return wait_until(both)


class Units(Systemd):
    def test_a_delegated_unit(self):
        self.start("--memory-max", "64M", more="Delegate=yes\nMemoryMax=200M")
        main, worker = self.pids()
        self.assertEqual(group_of(main), f"/system.slice/{self.unit}/chargehand")
        self.assertEqual(group_of(worker), f"/system.slice/{self.unit}/sh.1-1")
        self.assertEqual(read(group_of(worker)[1:], "memory.max"), str(64 << 20))
        self.assertEqual(read(f"system.slice/{self.unit}/memory.max"), str(200 << 20))
        self.wait_log(rf"cgroups below {ROOT}/system.slice/{self.unit} \(delegated by systemd\)")
        os.kill(main, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"{ROOT}/system.slice/{self.unit}"))

    def test_a_delegated_unit_of_another_user(self):
        self.start("--memory-max", "64M", more="Delegate=yes\nUser=nobody")
        main, worker = self.pids()
        self.assertEqual(group_of(worker), f"/system.slice/{self.unit}/sh.1-1")

    def test_a_unit_that_does_not_delegate(self):
        self.start()
        main, worker = self.pids()
        self.assertEqual([group_of(main), group_of(worker)], [f"/system.slice/{self.unit}"] * 2)
        self.wait_log(rf"no cgroups: {self.unit} does not delegate its cgroup: add Delegate=yes")

    def test_a_unit_that_does_not_delegate_and_a_limit(self):
        self.start("--memory-max", "64M")
        self.wait_log(rf"limits of a worker need the memory controller of cgroup v2: {self.unit} does not delegate")
        wait_until(lambda: "ExecMainStatus=78" in subprocess.run(["systemctl", "show", self.unit], stdout=subprocess.PIPE,
                                                                 text=True).stdout)


WITHOUT = "this chargehand is built without libsystemd"


class Scopes(Systemd):
    def says_why_not(self, p):
        """Of a build without libsystemd: true when it is one, and said so."""
        if has_libsystemd():
            return False
        self.assertEqual(p.wait(15), 78)
        self.wait_log(f"limits of a worker need the memory controller of cgroup v2: systemd gives no scope: {WITHOUT}$")
        return True

    def run_in_slice(self, *words, slice="user.slice"):
        self.dir = tempfile.mkdtemp(dir="/run")  # for other users, too
        os.chmod(self.dir, 0o777)
        log = open(f"{self.dir}/log", "wb")
        self.addCleanup(log.close)
        p = subprocess.Popen(["systemd-run", "--scope", "--quiet", f"--slice={slice}", *words, "--state-dir",
                              f"{self.dir}/state", "--", "sh", "-c", f"echo $$ x >>{self.dir}/started; exec sleep 1000"],
                             stderr=log, env=dict(os.environ, FAKTORY_URL=servers.shared("dev").url))
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p

    def test_a_shell_of_root_in_a_session(self):
        p = self.run_in_slice(binary(), "--memory-max", "64M")
        if self.says_why_not(p):
            return
        self.wait_log(r"cgroups below .*/chargehand-sh-[0-9a-f]{8}-\d+\.scope \(a scope of systemd\)")
        self.assertRegex(group_of(p.pid), rf"^/system.slice/chargehand-sh-[0-9a-f]{{8}}-{p.pid}\.scope/chargehand$")
        (worker,) = wait_until(lambda: open(f"{self.dir}/started").read().split()[:1])
        self.assertEqual(read(group_of(worker)[1:], "memory.max"), str(64 << 20))
        scope = os.path.dirname(group_of(p.pid))
        p.terminate()
        self.assertEqual(p.wait(15), 0)
        wait_until(lambda: not os.path.exists(ROOT + scope), what="the scope has gone with its last process")

    def test_a_shell_of_a_user_in_a_session(self):
        subprocess.run([os.path.join(os.environ["CHARGEHAND_SHARED"], "vm", "as-user"), "true"], check=True)
        p = self.run_in_slice("setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "env",
                              "XDG_RUNTIME_DIR=/run/user/1234", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1234/bus",
                              binary(), "--memory-max", "64M", slice="user-1234.slice")
        if self.says_why_not(p):
            return
        self.wait_log(r"cgroups below .*\.scope \(a scope of systemd\)")
        self.assertRegex(group_of(p.pid), r"^/user.slice/user-1234.slice/user@1234.service/app.slice/chargehand-sh-"
                         rf"[0-9a-f]{{8}}-{p.pid}\.scope/chargehand$")
        (worker,) = wait_until(lambda: open(f"{self.dir}/started").read().split()[:1])
        self.assertEqual(read(group_of(worker)[1:], "memory.max"), str(64 << 20))

    def test_check_changes_nothing(self):
        done = subprocess.run(["systemd-run", "--scope", "--quiet", "--slice=user.slice", binary(), "--check", "true"],
                              stdout=subprocess.PIPE, text=True)
        self.assertRegex(done.stdout, r"(?m)^cgroup +systemd will be asked for a scope" if has_libsystemd() else
                         rf"(?m)^cgroup +no cgroups: systemd cannot be asked for a scope: {WITHOUT}")


if __name__ == "__main__":
    tap.main()
