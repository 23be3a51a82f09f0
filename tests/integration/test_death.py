#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A worker dies: what becomes of its jobs, on both servers, with and without a cgroup of its own.

P1 nothing is left behind, P2 nothing finished is failed, P4 nothing fetched is lost on the way, P5 the cause is named.
"""
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import cgroups
import scripted
import servers
import tap
from chargehand import Chargehand, binary
from faktory_client import make_job, new_jid
from servers import wait_until


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Case(unittest.TestCase):
    kind = "dev"
    leaf = False
    maxDiff = 2000

    def setUp(self):
        if self.kind == "real":
            servers.need_real()
        self.cgroup = []
        if self.leaf:
            tap.need("cgroup", cgroups.parent()[1])
            self.directory = cgroups.Directory()
            self.addCleanup(self.directory.close)
            self.cgroup = ["--cgroup", self.directory.path]
        self.queue = f"q{new_jid()}"

    def server(self, **options):
        if not options:
            return servers.shared(self.kind)
        s = servers.make(self.kind, **options)
        self.addCleanup(s.close)
        return s

    def start(self, server, script, *options, **more):
        """chargehand with a worker that does what the script says; Q stands for this test's queue."""
        c = Chargehand(server, *scripted.command(script, self.queue),
                       options=["--name", "w", "--cgroup", "none", *self.cgroup, *options], **more)
        self.addCleanup(c.close)
        self.addCleanup(setattr, self, "script_log", None)
        return c

    def run_to_end(self, server, script, *options, **more):
        c = self.start(server, script, "--restart", "never", *options, **more)
        return c, c.wait()

    def push(self, server, n=1, **more):
        jobs = [make_job(queue=self.queue, **more) for _ in range(n)]
        server.pushb(jobs)
        return [job["jid"] for job in jobs]

    def failed(self, server, jid):
        where, job = server.find(jid)
        self.assertEqual(where, "retries", jid)
        return job["failure"]


class Signals(Case):
    def check_killed(self, n):
        s = self.server()
        jids = self.push(s, n)
        c, status = self.run_to_end(s, f"hello; fetch Q n={n}; stderr 'last words'; kill KILL")
        self.assertEqual(status, 128 + signal.SIGKILL)
        held = f"{n} job{'s' if n > 1 else ''}"
        failures = {job["jid"]: job["failure"] for job in s.retries()}  # one look: the first retry is due in 15 s
        for jid in jids:
            failure = failures[jid]
            self.assertEqual(failure["errtype"], "WorkerSignaled")
            self.assertRegex(failure["message"], rf"^w\.1 \(pid \d+\) was killed by SIGKILL .* after its start; .*it held {held}, "
                                                 r"this one for ")
            self.assertEqual(failure["backtrace"], ["last words"])

    def test_killed_with_one_job(self):
        self.check_killed(1)

    def test_killed_with_25_jobs(self):
        self.check_killed(25)

    def test_killed_with_1000_jobs(self):
        self.check_killed(1000)

    def test_killed_without_a_job(self):
        c, status = self.run_to_end(self.server(), "hello; kill KILL")
        self.assertEqual(status, 137)
        c.wait_log(r"w\.1 .*SIGKILL.*held no job")

    def test_segmentation_fault(self):
        s = self.server()
        jid, = self.push(s)
        _, status = self.run_to_end(s, "hello; fetch Q; segv")
        self.assertEqual(status, 128 + signal.SIGSEGV)
        self.assertRegex(self.failed(s, jid)["message"], "was killed by SIGSEGV")

    def test_children_die_with_an_unasked_signal(self):
        s = self.server()
        jid, = self.push(s)
        log = os.path.join(os.environ["TMPDIR"], new_jid())
        self.run_to_end(s, "hello; fetch Q; fork {hold}; orphan {hold}; fork {fork {ignore TERM; hold}; hold}; sleep 0.3; kill KILL",
                        env={"SCRIPT_LOG": log})
        self.assertEqual(self.failed(s, jid)["errtype"], "WorkerSignaled")
        left = {entry["pid"] for entry in scripted.read_log(log)} | {e["child"] for e in scripted.read_log(log) if "child" in e}
        self.assertGreaterEqual(len(left), 5)
        self.assertEqual([pid for pid in left if is_alive(pid)], [])

    def test_several_sessions(self):
        s = self.server()
        jids = self.push(s, 6)
        self.run_to_end(s, "hello; @b hello; @c hello wid=another; fetch Q n=2; @b fetch Q n=2; @c fetch Q n=2; @b close; kill KILL")
        for jid in jids:
            self.assertRegex(self.failed(s, jid)["message"], "it held 6 jobs")

    def test_retry_0_is_said_to_be_discarded(self):
        s = self.server()
        jid, = self.push(s, retry=0)
        c, _ = self.run_to_end(s, "hello; fetch Q; kill KILL")
        self.assertEqual(s.find(jid), (None, None))
        c.wait_log(rf"{jid}.*discarded")


class Exits(Case):
    def check_exit(self, status, message):
        s = self.server()
        jid, = self.push(s)
        _, seen = self.run_to_end(s, f"hello; fetch Q; exit {status}")
        self.assertEqual(seen, status)
        failure = self.failed(s, jid)
        self.assertEqual(failure["errtype"], "WorkerExited")
        self.assertRegex(failure["message"], message)

    def test_exit_0_with_a_job(self):
        self.check_exit(0, r"exited with status 0 .*it held 1 job,")

    def test_exit_1_with_a_job(self):
        self.check_exit(1, r"exited with status 1 ")

    def test_a_double_forked_child_finishes_the_job(self):
        s = self.server()
        jid, = self.push(s)
        _, status = self.run_to_end(s, "hello; fetch Q; orphan {sleep 0.3; ack}; exit 0")
        self.assertEqual(status, 0)
        self.assertEqual(s.find(jid), (None, None))
        self.assertNotIn(jid, [job["jid"] for job in s.retries()])

    def test_a_child_finishes_the_job_on_a_session_of_its_own(self):
        s = self.server()
        jid, = self.push(s)
        self.run_to_end(s, "hello; fetch Q; fork {close; sleep 0.3; hello; ack; sleep 0.1}; close; exit 3")
        self.assertEqual(s.find(jid), (None, None))

    def test_a_child_without_a_session_is_not_waited_for_for_long(self):
        s = self.server()
        jid, = self.push(s)
        c, _ = self.run_to_end(s, "hello; fetch Q; orphan {close; hold}; exit 0", "--linger", "300ms")
        failure = self.failed(s, jid)
        self.assertRegex(failure["message"], r"exited with status 0 .*; chargehand killed the processes it left behind; .*it held")
        c.wait_log("killing the processes that it left behind")

    def test_a_child_that_never_ends_has_the_grace(self):
        s = self.server()
        jid, = self.push(s)
        self.run_to_end(s, "hello; fetch Q; orphan {hold}; exit 0", "--stop-grace", "500ms", "--linger", "60s")
        self.assertEqual(self.failed(s, jid)["errtype"], "WorkerExited")

    def test_children_are_killed_at_once_when_no_job_is_in_hand(self):
        s = self.server()
        self.push(s)
        c, status = self.run_to_end(s, "hello; fetch Q; ack; orphan {hold}; fork {hold}; exit 0", "--stop-grace", "60s", "--linger", "60s")
        self.assertEqual(status, 0)

    def test_a_child_may_go_on_until_its_last_job_is_settled(self):
        s = self.server()
        jids = self.push(s, 2)
        _, status = self.run_to_end(s, "hello; fetch Q n=2; orphan {ack; sleep 0.2; ack; hold}; exit 0", "--stop-grace", "60s")
        self.assertEqual(status, 0)
        self.assertEqual([s.find(jid)[0] for jid in jids], [None, None])


class Finished(Case):
    """P2: a whole line counts, whatever happens to who wrote it."""

    def check_settled(self, script, n=1):
        s = self.server()
        jids = self.push(s, n)
        self.run_to_end(s, script)
        for jid in jids:
            self.assertEqual(s.find(jid), (None, None))

    def test_ack_without_waiting_for_its_answer(self):
        for _ in range(5):
            self.check_settled("hello; fetch Q; ack nowait; kill KILL")

    def test_acks_in_one_write(self):
        self.check_settled("hello; fetch Q n=200; cork; ack all; uncork nowait; kill KILL", 200)

    def test_ack_on_a_session_that_was_never_accepted_in_time(self):
        self.check_settled("hello; fetch Q; @b hello nowait; @b ack nowait; exit 0")

    def test_ack_and_reset(self):
        self.check_settled("hello; fetch Q; ack nowait; sleep 0.05; close rst; kill KILL")

    def test_half_an_ack_is_none(self):
        s = self.server()
        jid, = self.push(s)
        self.run_to_end(s, "hello; fetch Q; ack half=-1; kill KILL")
        self.assertEqual(self.failed(s, jid)["errtype"], "WorkerSignaled")

    def test_the_workers_own_fail(self):
        s = self.server()
        jid, = self.push(s)
        self.run_to_end(s, "hello; fetch Q; fail nowait msg=mine; kill KILL")
        self.assertEqual(self.failed(s, jid)["message"], "mine")


class Strays(Case):
    def test_a_fetch_that_outlives_its_worker(self):
        """P4: back to its queue, as if nothing had happened."""
        s = self.server()
        c = self.start(s, "hello; fetch Q nowait; sleep 0.2; kill KILL", "--restart", "never")
        c.wait_log("w.1 .*SIGKILL", timeout=20)
        jid, = self.push(s)
        c.wait()
        where, job = s.find(jid)
        self.assertEqual(where, "queued")
        self.assertNotIn("failure", job)


class Members(Case):
    """Processes that said HELLO and die alone."""

    def test_a_child_dies_and_its_master_lives(self):
        s = self.server()
        jids = self.push(s, 2)
        c = self.start(s, "fork {@b hello; @b fetch Q; stderr taken; kill KILL}; hello; fetch Q; stderr taken; hold")
        c.wait_log("^taken", count=2)
        if self.leaf:
            wait_until(lambda: any(s.find(jid)[0] == "retries" for jid in jids), what="the child's job")
            gone, = [jid for jid in jids if s.find(jid)[0] == "retries"]
            other, = set(jids) - {gone}
            s.wait_jid(other, "working")
            self.assertRegex(self.failed(s, gone)["message"], r"^process \d+ of w\.1 \(pid \d+\) died; it held 1 job, ")
        os.kill(int(re.search(r"started \(pid (\d+)\)", c.log())[1]), signal.SIGKILL)
        for jid in jids:
            s.wait_jid(jid, "retries")


class OwnGroup(Case):
    leaf = True

    def test_chargehand_moves_only_where_there_are_controllers(self):
        """--cgroup auto, in a group of its own: a group that gives controllers to its children has no processes."""
        tap.need("nosystemd", "systemd manages the cgroups here" if os.path.isdir("/run/systemd/system") else None)
        group = self.directory.path
        with open(os.path.join(group, "cgroup.controllers")) as f:
            controllers = f.read().split()
        wrapper = os.path.join(tempfile.mkdtemp(prefix="chargehand-test."), "inside")
        self.addCleanup(shutil.rmtree, os.path.dirname(wrapper))
        with open(wrapper, "w") as f:
            f.write(f'#!/bin/sh\necho $$ >{group}/cgroup.procs\nexec "{os.environ["CHARGEHAND"]}" "$@"\n')
        os.chmod(wrapper, 0o755)
        self.cgroup = ["--cgroup", "auto"]
        with unittest.mock.patch.dict(os.environ, CHARGEHAND=wrapper):
            c = self.start(self.server(), "hello; hold")
        c.wait_log("running .hello.")
        home, = self.directory.homes()
        own = cgroups.group_of(c.pid)
        base = own.removesuffix(f"/{home}/chargehand")
        self.assertEqual(os.path.basename(base), os.path.basename(group))
        self.assertEqual(own != base, "memory" in controllers or "pids" in controllers)
        worker = int(re.search(r"started \(pid (\d+)\)", c.log())[1])
        self.assertEqual(cgroups.group_of(worker), f"{base}/{home}/w.1-1")
        self.assertEqual(c.stop(), 0)
        self.assertEqual(self.directory.homes(), [])


class Leaves(Case):
    leaf = True

    def test_what_a_dead_member_leaves_dies_before_its_jobs_are_failed(self):
        """A grandchild without a session could still finish the job. A daemon that was there before is left alone."""
        s = self.server()
        jid, = self.push(s)
        log = os.path.join(os.environ["TMPDIR"], new_jid())
        there = log + ".there"
        c = self.start(s, f"orphan {{hold}}; hello; fork {{@b hello; @b fetch Q; fork {{@b close; touch {there}; hold}}; @b close; "
                          f"await {there}; kill KILL}}; hold", env={"SCRIPT_LOG": log})
        s.wait_jid(jid, "retries")
        self.assertRegex(self.failed(s, jid)["message"], "^process .* died")
        first = int(re.search(r"started \(pid (\d+)\)", c.log())[1])
        grandchild, = [e["child"] for e in scripted.read_log(log) if e["step"] == "fork" and e["pid"] != first]
        self.assertFalse(is_alive(grandchild))

        def held():
            return {e["pid"] for e in scripted.read_log(log) if e.get("what") == "hold"} - {grandchild}
        wait_until(lambda: len(held()) == 2, what="the daemon and the master have come to rest")
        self.assertEqual(held(), set(self.directory.pids()))

    def test_somebody_outside_keeps_a_session_open(self):
        """Hazards 21: a process that has left the leaf is not waited for for ever."""
        s = self.server()
        jid, = self.push(s)
        c = self.start(s, "hello; fetch Q; fork {hold}; hold", "--restart", "never")
        wait_until(lambda: len(self.directory.pids()) == 2 and s.find(jid)[0] == "working", what="two processes")
        first = int(re.search(r"started \(pid (\d+)\)", c.log())[1])
        outside, = [pid for pid in self.directory.pids() if pid != first]
        other = os.path.join(self.directory.path, "outside")
        os.mkdir(other)
        with open(os.path.join(other, "cgroup.procs"), "w") as f:
            f.write(str(outside))
        os.kill(first, signal.SIGKILL)
        s.wait_jid(jid, "retries")
        c.wait_log("something still has its connections open")
        self.assertEqual(c.wait(), 137)
        self.assertTrue(is_alive(outside))

    def test_groups_with_a_name_like_ours_are_not_ours(self):
        """What an earlier chargehand left is ended at start; that of somebody else is not."""
        mine = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(lambda: (mine.kill(), mine.wait()))
        for name in ("chargehand-else", "chargehand-x-0123456", "chargehand-x-01234567.a", "chargehand-01234567"):
            os.mkdir(os.path.join(self.directory.path, name))
        with open(os.path.join(self.directory.path, "chargehand-else", "cgroup.procs"), "w") as f:
            f.write(str(mine.pid))
        os.mkdir(os.path.join(self.directory.path, "chargehand-x-01234567.12"))
        c = self.start(self.server(), "hello; hold")
        c.wait_log("running .hello.")
        c.wait_log("1 cgroup that an earlier chargehand had left is removed")
        self.assertIsNone(mine.poll())
        self.assertEqual(c.stop(), 0)
        self.assertEqual(len(self.directory.homes()), 4)

    def test_leaves_are_removed_and_every_life_has_its_own(self):
        s = self.server()
        c = self.start(s, "hello; hold", "--healthy", "0")
        c.wait_log("running .hello.")
        self.assertEqual(self.directory.leaves(), ["w.1-1"])
        os.kill(self.directory.pids()[0], signal.SIGKILL)
        c.wait_log("running .hello.", count=2)
        wait_until(lambda: self.directory.leaves() == ["w.1-2"], what="the first leaf is removed")
        self.assertEqual(c.stop(), 0)
        self.assertEqual(self.directory.leaves(), [])

    def test_a_tree_that_forks_dies_where_cgroup_kill_cannot_be_written(self):
        """As on kernels before 5.14: one kill(2) each, while they fork away."""
        done = subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.PIPE, text=True)
        tap.need("namespaces", None if done.returncode == 0 else f"no namespaces: {done.stderr.strip()}")
        place = os.environ["TMPDIR"]
        wrapper = os.path.join(place, f"in-a-namespace-{new_jid()}")
        with open(wrapper, "w") as f:
            f.write(f'#!/bin/sh\nexec unshare --mount "{binary()}" "$@"\n')
        os.chmod(wrapper, 0o755)
        outer, os.environ["CHARGEHAND"] = os.environ["CHARGEHAND"], wrapper
        self.addCleanup(os.environ.__setitem__, "CHARGEHAND", outer)
        s = self.server()
        jid, = self.push(s)
        race = os.path.join(os.environ["TOP_BUILDDIR"], "tests", "helpers", "kin")
        worker = scripted.command(f"hello; fetch {self.queue}; hold")
        c = Chargehand(s, "sh", "-c", f"'{race}' race & exec {shlex.join(worker)}", options=["--name", "w", *self.cgroup])
        self.addCleanup(c.close)
        wait_until(lambda: s.find(jid)[0] == "working", what="the job is in hand")
        (home,) = self.directory.homes()
        leaf = os.path.join(self.directory.path, home, "w.1-1")
        empty = os.path.join(place, "empty")
        with open(empty, "w"):
            pass
        subprocess.run(["nsenter", f"--mount=/proc/{c.pid}/ns/mnt", "sh", "-ec", f"mount --bind '{empty}' '{leaf}/cgroup.kill'; "
                        f"mount -o remount,bind,ro '{leaf}/cgroup.kill'"], check=True)
        wait_until(lambda: len(self.directory.pids()) > 1)  # they run: the first process is one
        os.kill(int(re.search(r"started \(pid (\d+)\)", c.log())[1]), signal.SIGKILL)
        s.wait_jid(jid, "retries")
        wait_until(lambda: "w.1-1" not in self.directory.leaves(), what="the leaf is empty, and removed")
        self.assertNotIn("have ended after SIGKILL", c.log())

    def test_what_a_worker_moved_out_of_its_session_dies_too(self):
        s = self.server()
        jid, = self.push(s)
        c = self.start(s, "hello; fetch Q; fork {setsid; fork {setsid; hold}; hold}; hold")
        wait_until(lambda: len(self.directory.pids()) == 3, what="three processes")
        os.kill(int(re.search(r"started \(pid (\d+)\)", c.log())[1]), signal.SIGKILL)
        s.wait_jid(jid, "retries")


notes = [f"{kind}: {reason or 'in use'}" for kind, reason in [*servers.available().items(), ("cgroup", cgroups.parent()[1])]]
both = (Signals, Exits, Finished, Strays, Members)
for case in both:
    for kind in ("dev", "real"):
        for leaf in (False, True):
            if kind == "real" or leaf:
                name = f"{'Real' if kind == 'real' else ''}{case.__name__}{'InLeaf' if leaf else ''}"
                globals()[name] = type(name, (case,), {"kind": kind, "leaf": leaf})

if __name__ == "__main__":
    del case
    both = None
    tap.main(notes=notes)
