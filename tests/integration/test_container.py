#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""chargehand as process 1 of a container: namespaces, read-only file systems, no privileges, the default filter of system
calls. What needs a runtime and limits of memory is in tests/vm/test_container.py."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import scripted
import servers
import tap
from chargehand import Chargehand, binary
from faktory_client import make_job, new_jid
from servers import wait_until


def missing():
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount", "--mount-proc", "true"], stderr=subprocess.PIPE, text=True)
    return None if done.returncode == 0 else f"no namespaces: {done.stderr.strip()}"


def helper(name):
    return os.path.join(os.environ["TOP_BUILDDIR"], "tests", "helpers", name)


def children(pid):
    """{pid: state} of the children of a process, by the pids of here."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        pids = f.read().split()
    found = {}
    for child in pids:
        try:
            with open(f"/proc/{child}/stat") as f:
                found[int(child)] = f.read().rpartition(")")[2].split()[0]
        except OSError:
            pass
    return found


def runs(pid, name):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read() == f"{name}\n"
    except OSError:
        return False


class Container:
    """chargehand as process 1. inside: shell commands before it is executed; prefix: words before it."""

    def __init__(self, test, *command, options=(), inside="true", prefix=(), place="none", env=None, **more):
        self.dir = tempfile.mkdtemp()
        wrapper = os.path.join(self.dir, "container")
        keep = os.environ["TMPDIR"]
        words = " ".join([*prefix, f'"{binary()}"'])
        with open(wrapper, "w") as f:
            f.write("#!/bin/sh\nexec unshare --pid --fork --mount --mount-proc --kill-child sh -c '"
                    f"mount --bind {keep} {keep}; {inside}; exec {words} \"$@\"' sh \"$@\"\n")
        os.chmod(wrapper, 0o755)
        outer, os.environ["CHARGEHAND"] = os.environ["CHARGEHAND"], wrapper
        try:
            self.c = Chargehand(servers.shared("dev"), *command, options=["--name", "w", "--cgroup", place, *options],
                                env=env, **more)
        finally:
            os.environ["CHARGEHAND"] = outer
        test.addCleanup(self.c.close)
        self.wait_log = self.c.wait_log

    @property
    def pid(self):
        """Of chargehand, as it is called here."""
        (pid,) = wait_until(lambda: list(children(self.c.pid)))
        return pid

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        return self.c.wait()


class Case(unittest.TestCase):
    def setUp(self):
        tap.need("namespaces", missing())
        self.server = servers.shared("dev")
        self.queue = f"q{new_jid()}"

    def container(self, script, *options, **more):
        return Container(self, *scripted.command(script, self.queue), options=options, **more)

    def push(self):
        job = make_job(queue=self.queue)
        self.server.pushb([job])
        return job["jid"]

    def failure(self, jid):
        return self.server.wait_jid(jid, "retries")["failure"]


class ProcessOne(Case):
    def test_a_job_and_a_death(self):
        jid = self.push()
        c = self.container("hello; fetch Q; kill KILL", "--restart", "never")
        self.assertEqual(c.wait(), 128 + signal.SIGKILL)
        self.assertRegex(self.failure(jid)["message"], r"^w\.1 \(pid \d+\) was killed by SIGKILL")

    def test_exit_status(self):
        self.assertEqual(self.container("hello; exit 3", "--restart", "never").wait(), 3)

    def test_a_command_that_is_not_there(self):
        self.assertEqual(Container(self, "/nonexistent/worker", wait=False).wait(), 127)

    def test_a_stop(self):
        """Process 1 gets only signals that it has a handler for."""
        jid = self.push()
        c = self.container("on TERM {ack; exit 0}; hello; fetch Q; hold", "--stop-grace", "10s")
        wait_until(lambda: [job for job in self.server.working() if job["jid"] == jid])
        c.signal(signal.SIGTERM)
        self.assertEqual(c.wait(), 0)
        self.assertEqual(self.server.find(jid)[0], None)

    def test_10000_orphans(self):
        c = Container(self, helper("litter"), "10000", "sh", "-c", "echo done; exec sleep 1000")
        wait_until(lambda: [pid for pid in children(c.pid) if runs(pid, "sleep")], 60, "all orphans are made")
        wait_until(lambda: len(children(c.pid)) == 1, what="no zombie is left")
        c.signal(signal.SIGTERM)
        self.assertEqual(c.wait(), 0)

    def test_orphans_that_live_on_go_with_their_worker(self):
        c = self.container("orphan {ignore TERM; hold}; hello; hold")
        wait_until(lambda: len(children(c.pid)) == 2)
        c.signal(signal.SIGTERM)
        self.assertEqual(c.wait(), 0)


class Narrow(Case):
    NOBODY = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]

    def check(self, log=None, python=None, **more):
        """A job is worked on, and its holder's death is told."""
        jids = [self.push(), self.push()]
        command = scripted.command(f"hello; fetch {self.queue} n=2; ack; exit 5")
        c = Container(self, python or command[0], *command[1:], options=["--restart", "never"], **more)
        self.assertEqual(c.wait(), 5)
        self.assertEqual(self.server.find(jids[0])[0], None)
        self.assertEqual(self.failure(jids[1])["errtype"], "WorkerExited")
        if log:
            c.wait_log(log)
        return c.c.log()

    def test_read_only_root(self):
        self.check("going on without a state directory", inside="mount -o remount,bind,ro / || exit 99",
                   env={"STATE_DIRECTORY": "", "HOME": "/nonexistent"})

    def test_read_only_root_and_a_volume_for_the_journal(self):
        volume = tempfile.mkdtemp()
        log = self.check(inside="mount -o remount,bind,ro / || exit 99", env={"STATE_DIRECTORY": volume})
        self.assertNotIn("without a state directory", log)
        self.assertIn("journal", os.listdir(volume))

    def test_a_state_directory_that_was_asked_for(self):
        c = Container(self, "true", options=["--state-dir", "/var/lib/chargehand-test"], wait=False,
                      inside="mount -o remount,bind,ro / || exit 99")
        self.assertEqual(c.wait(), 78)
        c.wait_log("cannot be used as state directory: Read-only file system")

    def test_no_proc_sys(self):
        self.check(inside="mount -t tmpfs none /proc/sys || exit 99")

    def test_no_cgroups_to_be_seen(self):
        self.check("no cgroups", place="auto", inside="mount -t tmpfs none /sys/fs/cgroup || exit 99")

    def test_read_only_cgroups(self):
        self.check("no cgroups", place="auto",
                   inside="for m in /sys/fs/cgroup $(findmnt -rno TARGET -t cgroup,cgroup2); do "
                          "mount -o remount,bind,ro $m || exit 99; done")

    def test_the_default_filter_of_docker(self):
        self.check(prefix=[helper("confined")])

    def test_a_filter_older_than_pidfds(self):
        """Nothing can be done about it: an end that says so, and no start after start."""
        c = Container(self, "sleep", "1000", prefix=[helper("confined"), "--old"], wait=False)
        self.assertEqual(c.wait(), 71)
        c.wait_log(r"cannot be started for want of a process: Operation not permitted")
        c.wait_log(r"no different the next time: a filter of system calls")

    def anybody(self):
        """A Python, and a place for files, that are open to all users."""
        os.chmod(os.environ["TMPDIR"], 0o755)
        python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
        for path in (python, scripted.SELF, binary()):
            done = subprocess.run([*self.NOBODY, "test", "-r", path or "/nonexistent"])
            tap.need("anybody", None if done.returncode == 0 else f"{path} cannot be read by everybody")
        return python

    def test_not_root(self):
        python, volume = self.anybody(), tempfile.mkdtemp()
        os.chmod(volume, 0o777)
        self.check(python=python, prefix=self.NOBODY, env={"STATE_DIRECTORY": volume, "HOME": "/nonexistent"})
        self.assertIn("journal", os.listdir(volume))

    def test_no_more_processes_for_now(self):
        """Whatever counts as a healthy life, a start that fails is none: it is not tried again at once, and for ever."""
        python = self.anybody()
        leaks = f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0"  # that would need a process
        c = Container(self, python, "-c", "", options=["--healthy", "0", "--restart", "always"], wait=False,
                      prefix=[*self.NOBODY, "prlimit", "--nproc=1:1"],
                      env={"STATE_DIRECTORY": "", "HOME": "/nonexistent", "ASAN_OPTIONS": leaks})
        c.wait_log("cannot be started for want of a process: Resource temporarily unavailable", count=2)
        c.signal(signal.SIGTERM)
        self.assertEqual(c.wait(), 0)

    def test_all_of_it(self):
        self.check("going on without a state directory", python=self.anybody(),
                   inside="mount -t tmpfs none /proc/sys && mount -o remount,bind,ro / || exit 99",
                   prefix=[*self.NOBODY, "--no-new-privs", "--bounding-set=-all", helper("confined")],
                   env={"STATE_DIRECTORY": "", "HOME": "/nonexistent"})


if __name__ == "__main__":
    tap.main()
