#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""chargehand itself dies (P7), on both servers: the next one on the same state directory settles what was held, and ends who
was left. With the server away as well (P8): reports are sent as what they were, by whichever chargehand gets to it."""
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import scripted
import servers
import tap
from chargehand import Chargehand
from faktory_client import make_job, new_jid
from manager import Manager
from servers import wait_until
from test_death import is_alive


def xxh64_of_24(data):
    one, two, three, four, five = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                                   0x27D4EB2F165667C5)
    mask = (1 << 64) - 1
    rotate = lambda x, n: (x << n | x >> (64 - n)) & mask
    h = five + len(data)
    for word in struct.unpack("<3Q", data):
        h = (rotate(h ^ rotate(word * two & mask, 31) * one & mask, 27) * one + four) & mask
    h = (h ^ h >> 33) * two & mask
    h = (h ^ h >> 29) * three & mask
    return h ^ h >> 32


def helper(*words):
    program = os.path.join(os.environ["TOP_BUILDDIR"], "tests", "helpers", "past-journal")
    return subprocess.run([program, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


class Case(servers.Case):
    def setUp(self):
        super().setUp()
        self.state = tempfile.mkdtemp(prefix="state.")

    def own_server(self, **options):
        s = servers.make(self.kind, **options)
        self.addCleanup(s.close)
        return s

    def start(self, server, script, *options, **more):
        c = Chargehand(server, *scripted.command(script, self.queue),
                       options=["--name", "w", "--cgroup", "none", "--state-dir", self.state, *options], **more)
        self.addCleanup(c.close)
        return c

    def kill(self, c):
        """chargehand and nobody else; its workers have a parent-death signal."""
        c.signal(signal.SIGKILL)
        c.wait()

    def written(self, server):
        """What is in the journal; nobody has it open."""
        return helper(self.state, f"127.0.0.1:{server.port}", "show").splitlines()

    def push(self, server, n=1, **more):
        jobs = [make_job(queue=self.queue, **more) for _ in range(n)]
        server.pushb(jobs)
        return [job["jid"] for job in jobs]

    def wait_held(self, server, jids):
        wait_until(lambda: set(jids) <= {job["jid"] for job in server.working()}, what="the jobs are held")

    def failures(self, server, jids, timeout=30):
        """Of all of them, once all have one."""
        def there():
            found = {job["jid"]: job["failure"] for job in server.retries()}
            return set(jids) <= found.keys() and found
        found = wait_until(there, timeout, "the jobs are in retries")
        return [found[jid] for jid in jids]


class Death(Case):
    def test_held_jobs_are_failed_by_the_next(self):
        s = servers.shared(self.kind)
        jids = self.push(s, 3)
        c = self.start(s, "hello; fetch Q n=3; stderr taken; hold")
        c.wait_log("^taken")  # the server calls a job held before anybody has it
        self.kill(c)
        c = self.start(s, "hello; hold")
        for failure in self.failures(s, jids):
            self.assertEqual(failure["errtype"], "SupervisorDied")
            self.assertRegex(failure["message"], r"^chargehand, which looked after w\.1 \(pid \d+\), died, and the worker was "
                                                 r"ended with it; it held 3 jobs, this one since .*s before ")
            self.assertEqual(failure["retry_count"], 0)
        c.wait_log("An earlier chargehand has left 3 jobs: 3 to be FAILed as SupervisorDied")
        self.assertEqual(c.stop(), 0)
        self.assertEqual(self.written(s), [])
        c = self.start(s, "hello; hold")  # a third has nothing to do
        c.wait_log("running .hello.")
        self.assertNotIn("earlier chargehand", c.log())
        self.assertEqual({f["retry_count"] for f in self.failures(s, jids)}, {0})

    def test_1000_jobs(self):
        s = servers.shared(self.kind)
        jids = self.push(s, 1000)
        c = self.start(s, "hello; fetch Q n=1000; stderr taken; hold")
        c.wait_log("^taken")
        self.kill(c)
        self.start(s, "hello; hold")
        self.assertEqual({f["errtype"] for f in self.failures(s, jids)}, {"SupervisorDied"})

    def test_settled_jobs_are_not_touched(self):
        s = servers.shared(self.kind)
        jids = self.push(s, 4)
        log = os.path.join(tempfile.mkdtemp(), "log")
        c = self.start(s, "hello; fetch Q n=4; ack #0; fail #1 msg=mine; hold", env={"SCRIPT_LOG": log})
        wait_until(lambda: s.find(jids[1])[0] == "retries", what="the second has failed")
        wait_until(lambda: any(e.get("what") == "hold" for e in scripted.read_log(log)), what="the worker rests")
        self.kill(c)
        self.start(s, "hello; hold")
        self.failures(s, jids[2:])
        self.assertEqual(s.find(jids[0])[0], None)
        self.assertEqual(s.find(jids[1])[1]["failure"]["message"], "mine")

    def test_leftover_processes_are_ended_first(self):
        """A daemon of the worker's outlives both; the job is FAILed when it is gone, and not before."""
        s = servers.shared(self.kind)
        jids = self.push(s)
        log = os.path.join(tempfile.mkdtemp(), "log")
        c = self.start(s, "orphan {ignore TERM; hold}; hello; fetch Q; hold", env={"SCRIPT_LOG": log})
        self.wait_held(s, jids)
        held = lambda: [e["pid"] for e in scripted.read_log(log) if e.get("what") == "hold"]
        wait_until(lambda: len(held()) == 2, what="both rest")
        self.kill(c)
        wait_until(lambda: [is_alive(p) for p in held()].count(True) == 1, what="the worker's end with chargehand's")
        orphan, = [p for p in held() if is_alive(p)]
        c = self.start(s, "hello; hold")
        c.wait_log("1 process of workers that an earlier chargehand had left is ended")
        self.failures(s, jids)
        self.assertFalse(is_alive(orphan))

    def test_a_stop_leaves_nothing_to_the_next(self):
        s = servers.shared(self.kind)
        jids = self.push(s)
        c = self.start(s, "hello; fetch Q; hold", "--stop-grace", "0s")
        self.wait_held(s, jids)
        self.assertEqual(c.stop(), 0)
        self.assertEqual(self.failures(s, jids)[0]["errtype"], "WorkerStopped")
        c = self.start(s, "hello; hold")
        c.wait_log("running .hello.")
        self.assertNotIn("earlier chargehand", c.log())


class ServerAway(Case):
    """The server goes first."""

    def held(self, script, n=1, *options):
        s = self.own_server()
        jids = self.push(s, n, reserve_for=600)
        self.go = os.path.join(tempfile.mkdtemp(), "go")
        self.log = self.go + ".log"
        has = self.go + ".has"
        c = self.start(s, f"hello; fetch Q n={n}; touch {has}; await {self.go}; {script}", *options,
                       env={"SCRIPT_LOG": self.log})
        wait_until(lambda: os.path.exists(has), what="the worker has its jobs")
        s.kill()
        with open(self.go, "w"):
            pass
        return s, c, jids

    def test_an_ack_is_sent_by_the_next(self):
        s, c, jids = self.held("ack; stderr done; hold")
        c.wait_log("^done")  # it was answered
        self.kill(c)
        s.start()
        self.assertEqual(s.find(jids[0])[0], "working")
        c = self.start(s, "hello; hold")
        s.wait_jid(jids[0], None)
        c.wait_log("has left 1 job: 0 to be FAILed as SupervisorDied, 1 whose report is sent again")

    def test_a_workers_fail_is_sent_by_the_next(self):
        s, c, jids = self.held("fail msg=mine type=Own; stderr done; hold")
        c.wait_log("^done")
        self.kill(c)
        s.start()
        self.start(s, "hello; hold")
        failure, = self.failures(s, jids)
        self.assertEqual([failure["errtype"], failure["message"]], ["Own", "mine"])

    def test_a_certificate_is_sent_by_the_next(self):
        s, c, jids = self.held("stderr 'last words'; kill SEGV", 3)
        c.wait_log("3 jobs are FAILed as WorkerSignaled")
        self.kill(c)
        s.start()
        self.start(s, "hello; hold")
        for failure in self.failures(s, jids):
            self.assertEqual([failure["errtype"], failure["backtrace"]], ["WorkerSignaled", ["last words"]])
            self.assertRegex(failure["message"], "killed by SIGSEGV")

    def test_dying_again_in_the_middle_of_it(self):
        s, c, jids = self.held("hold", 3)
        self.kill(c)
        for _ in range(3):  # none of these reaches the server
            c = self.start(s, "hold")
            c.wait_log("cannot be reached")
            self.kill(c)
        s.start()
        self.start(s, "hello; hold")
        failures = self.failures(s, jids)
        self.assertEqual({f["errtype"] for f in failures}, {"SupervisorDied"})
        self.assertEqual({f["retry_count"] for f in failures}, {0})

    def test_a_stop_leaves_reports_to_the_next(self):
        s, c, jids = self.held("ack; kill KILL", 2, "--restart", "never")
        c.wait_log("1 job is FAILed as WorkerSignaled")
        c.signal(signal.SIGTERM)
        c.wait_log("SIGTERM: stopping")
        c.signal(signal.SIGTERM)  # a second one does not wait for the server
        self.assertEqual(c.wait(), 0)
        c.wait_log("2 jobs are left in the journal, for the next start")
        s.start()
        self.start(s, "hello; hold")
        s.wait_jid(jids[0], None)
        self.assertEqual(self.failures(s, jids[1:])[0]["errtype"], "WorkerSignaled")


class OnTheirWay(Case):
    """Reports that have left on the worker's own link, and whose answers nobody has seen."""

    def leave(self, script, verb, until=None, **rule):
        s = self.own_server()
        s.rule(verb=verb, **rule)
        jids = self.push(s, reserve_for=600)
        c = self.start(s, f"hello; fetch Q; {script}; hold")
        wait_until(lambda: s.log(verb=verb), what=f"the {verb} is at the server")
        if until:
            c.wait_log(until)
        self.kill(c)
        s.control("clear")
        self.left = self.written(s)
        return s, jids

    def test_an_ack_is_sent_again(self):
        s, jids = self.leave("ack nowait", "ACK", do="late", before=True, seconds=60)
        self.assertEqual(self.left, ["worker w.1", f"job {jids[0]} worker's ACK"])
        self.start(s, "hello; hold").wait_log("1 whose report is sent again")
        s.wait_jid(jids[0], None)

    def test_a_fail_that_was_not_carried_out_is_sent_again_within_10_seconds(self):
        s, jids = self.leave("fail msg=mine nowait", "FAIL", do="late", before=True, seconds=60)
        self.start(s, "hello; hold").wait_log("1 whose report is sent again")
        failure, = self.failures(s, jids)
        self.assertEqual([failure["message"], failure["retry_count"]], ["mine", 0])

    def test_a_fail_that_was_carried_out_is_not_carried_out_again(self):
        s, jids = self.leave("fail msg=mine nowait", "FAIL", do="hang")
        self.assertEqual(self.left, ["worker w.1", f"job {jids[0]} worker's FAIL sent"])
        self.start(s, "hello; hold").wait_log("the server no longer knows it")
        failure, = self.failures(s, jids)
        self.assertEqual([failure["message"], failure["retry_count"]], ["mine", 0])

    def test_a_long_fail_is_sent_again(self):
        s, jids = self.leave("fail msg=mine pad=900000 nowait", "FAIL", do="late", before=True, seconds=60)
        self.assertEqual(self.left[-1], f"job {jids[0]} worker's FAIL sent")
        self.start(s, "hello; hold").wait_log("1 whose report is sent again")
        self.assertEqual(self.failures(s, jids)[0]["message"], "mine")

    def test_a_longer_one_is_at_least_a_failure(self):
        """Its text has passed, and is not kept."""
        s, jids = self.leave("fail msg=mine pad=1100000 nowait", "FAIL", do="late", before=True, seconds=60)
        self.assertEqual(self.left[-1], f"job {jids[0]} worker's FAIL sent")
        self.start(s, "hello; hold").wait_log("1 to be FAILed as SupervisorDied")
        self.failures(s, jids)

    def test_a_fail_of_chargehands_own_has_a_time_of_first_sending(self):
        s, jids = self.leave("kill SEGV", "FAIL", do="hang")
        self.assertEqual(self.left[-1], f"job {jids[0]} FAIL sent")
        self.start(s, "hello; hold").wait_log("the server no longer knows it")
        self.assertEqual(self.failures(s, jids)[0]["errtype"], "WorkerSignaled")

    def test_the_end_waits_for_the_answers(self):
        s, jids = self.leave("push Q", "PUSH", do="late", seconds=0)
        s.rule("late", verb="FAIL", before=True, seconds=1)
        c = self.start(s, "exit 0", "--restart", "never")
        self.assertEqual(c.wait(), 0)
        self.assertEqual(s.find(jids[0])[0], "retries")

    def test_a_refused_report_is_taken_back(self):
        s, jids = self.leave("fail msg=mine; stderr refused", "FAIL", until="^refused", do="error", text="internal error")
        self.start(s, "hello; hold")
        self.assertEqual(self.failures(s, jids)[0]["errtype"], "SupervisorDied")


class Returns(Case):
    def leave(self, verb):
        s = self.own_server(fetch_block=20)
        c = self.start(s, "hello; fetch Q nowait; hold", "--restart", "never")
        wait_until(lambda: s.log(verb="FETCH"), what="the FETCH is at the server")
        with open(f"/proc/{c.pid}/task/{c.pid}/children") as f:
            worker, = f.read().split()
        os.kill(int(worker), signal.SIGKILL)
        c.wait_log("held no job")
        s.rule("late", verb=verb, before=True, seconds=60)
        jids = [s.push(queue=self.queue, args=["unharmed"])]
        return s, c, jids

    def see(self, s, jids):
        s.control("clear")
        c = self.start(s, "hello; hold")
        c.wait_log("1 whose report is sent again")
        job = s.wait_jid(jids[0], "queued")
        self.assertEqual([job["args"], job.get("failure")], [["unharmed"], None])

    def test_the_next_goes_on_with_both(self):
        s, c, jids = self.leave("ACK")
        wait_until(lambda: s.log(verb="ACK"), what="ACK and PUSHB are at the server, and wait there")
        self.kill(c)
        self.assertEqual(self.written(s)[-1], f"job {jids[0]} return to the queue sent")
        self.see(s, jids)

    def test_the_next_goes_on_with_the_second_half(self):
        s, c, jids = self.leave("PUSHB")
        s.wait_jid(jids[0], None)
        c.wait_log("the ACK of its return is answered")
        self.kill(c)
        self.assertEqual(self.written(s)[-1], f"job {jids[0]} return to the queue sent ack-answered")
        mark = s.mark()
        self.see(s, jids)
        self.assertEqual(s.log(since=mark, verb="ACK"), [])


class Deadlines(Case):
    """What may still be said, and what not, of jobs that were held some time ago."""

    def setUp(self):
        super().setUp()
        self.server = servers.shared(self.kind)

    def leave(self, *specs, boot="", server=None):
        helper(self.state, server or f"127.0.0.1:{self.server.port}", boot, *specs)

    def hold(self, n):
        """Jobs that the server takes for held."""
        jids = self.push(self.server, n, reserve_for=600)
        client = self.server.client(wid=new_jid())
        for _ in jids:
            client.fetch(self.queue)
        return jids

    def see(self):
        """The end of the next chargehand, and what it sent until then."""
        c = self.start(self.server, "exit 0", "--restart", "never")
        self.assertEqual(c.wait(), 0)
        return c

    def place(self, jid):
        where, job = self.server.find(jid)
        return where, (job or {}).get("failure", {}).get("message")

    def test_within_the_lease(self):
        held, ack, fail, certificate = self.hold(4)
        self.leave(f"{held}:50:60", f"{ack}:50:60:ack", f"{fail}:50:60:fail:3", f"{certificate}:50:60:certificate")
        c = self.see()
        c.wait_log("left 4 jobs: 1 to be FAILed as SupervisorDied, 3 whose report is sent again, 0 left to the server")
        self.assertRegex(self.place(held)[1], "^chargehand, which looked after old.1 .*it held 1 job, this one since 5[0-9]")
        self.assertEqual(self.place(ack), (None, None))
        self.assertEqual(self.place(fail), ("retries", "own words"))
        self.assertEqual(self.place(certificate), ("retries", "a certificate"))

    def test_close_to_the_end_only_acks_pass(self):
        """5 s before it no FAIL is sent any more (faktory-live 2)."""
        held, ack, fail, certificate = self.hold(4)
        self.leave(f"{held}:56:60", f"{ack}:56:60:ack", f"{fail}:56:60:fail", f"{certificate}:56:60:certificate")
        c = self.see()
        self.assertEqual(len(re.findall("too late for its (?:worker's )?FAIL", c.log())), 3)
        self.assertEqual(self.place(ack), (None, None))
        for jid in held, fail, certificate:
            self.assertEqual(self.place(jid), ("working", None))

    def test_behind_it_nothing_is_failed(self):
        held, ack, fail = self.hold(3)
        self.leave(f"{held}:61:60", f"{ack}:61:60:ack", f"{fail}:61:60:fail")
        c = self.see()
        self.assertEqual(len(re.findall("is left to the server: its lease is over", c.log())), 2)
        self.assertEqual(self.place(ack), (None, None))
        for jid in held, fail:
            self.assertEqual(self.place(jid), ("working", None))

    def test_long_after_it_nothing_is_said(self):
        ack, = self.hold(1)
        self.leave(f"{ack}:400:60:ack")
        self.see().wait_log("is left to the server: its lease is over")
        self.assertEqual(self.place(ack), ("working", None))

    def test_a_fail_is_not_repeated_after_10_seconds(self):
        """Hazards 1: by then the job may be somebody else's."""
        late, early = self.hold(2)
        self.leave(f"{late}:40:600:certificate:11", f"{early}:40:600:certificate:5")
        self.see().wait_log("too late for its FAIL")
        self.assertEqual(self.place(late), ("working", None))
        self.assertEqual(self.place(early), ("retries", "a certificate"))

    def test_another_boot_counts_by_the_wall_clock(self):
        """Less a minute, for a clock that was set."""
        sure, unsure, sent = self.hold(3)
        self.leave(f"{sure}:100:600", f"{unsure}:100:160", f"{sent}:100:600:certificate:1", boot="another")
        c = self.see()
        self.assertEqual(self.place(sure)[0], "retries")
        for jid in unsure, sent:
            self.assertEqual(self.place(jid), ("working", None))

    def test_another_server_is_none_of_our_business(self):
        held, = self.hold(1)
        self.leave(f"{held}:10:600", server="127.0.0.1:1")
        self.see().wait_log("kept as journal.other-server, for it is about jobs of another server")
        self.assertEqual(self.place(held), ("working", None))

    def test_settled_once(self):
        """And nothing of it is left in the journal at the end of the one who settled it."""
        held, = self.hold(1)
        self.leave(f"{held}:10:600")
        self.see()
        self.assertEqual(self.place(held)[0], "retries")
        self.assertEqual(self.written(self.server), [])
        self.assertNotIn("earlier chargehand", self.see().log())


class RealDeadlines(Deadlines):
    kind = "real"


class RealDeath(Death):
    kind = "real"


class RealServerAway(ServerAway):
    kind = "real"


class Journal(Case):
    def journal(self):
        return os.path.join(self.state, "journal")

    def leave(self, n=2):
        s = servers.shared("dev")
        jids = self.push(s, n)
        c = self.start(s, f"hello; fetch Q n={n}; stderr taken; hold")
        c.wait_log("^taken")
        self.kill(c)
        return s, jids

    def test_another_version_is_left_alone(self):
        s, jids = self.leave()
        with open(self.journal(), "r+b") as f:
            data = bytearray(f.read())
            struct.pack_into("<L", data, 8, 99)
            struct.pack_into("<Q", data, 24, xxh64_of_24(data[:24]))  # the preamble is the same in all versions
            f.seek(0)
            f.write(data)
        c = self.start(s, "hello; hold")
        self.assertEqual(c.wait(), 78)
        c.wait_log("journal has format 99, and this chargehand reads and writes format 1: .* another --state-dir")
        with open(self.journal(), "rb") as f:
            self.assertEqual(f.read(), data)
        self.assertEqual(sorted(os.listdir(self.state)), ["journal", "lock"])

    def test_a_torn_end_is_cut_and_said(self):
        s, jids = self.leave()
        with open(self.journal(), "rb") as f:
            data = f.read()
        end = len(data.rstrip(b"\0"))
        with open(self.journal(), "wb") as f:
            f.write(data[:end - 40])
        c = self.start(s, "hello; hold")
        c.wait_log(r"the last \d+ bytes were torn, and are left out")
        self.failures(s, jids[:1])

    def wait_written(self, jids):
        """What the server has given out chargehand may still have to read."""
        def written():
            with open(self.journal(), "rb") as f:
                data = f.read()
            return all(jid.encode() in data for jid in jids)
        wait_until(written, what="all are in the journal")

    def test_what_stands_before_damage_may_have_ended_behind_it(self):
        """The end of a job, or the answer to its ACK, may be what cannot be read: nothing is said about it."""
        s = self.own_server()
        s.rule("late", verb="ACK", before=True, seconds=60)
        jids = held, acked, unread, behind = self.push(s, 4, reserve_for=600)
        c = self.start(s, "hello; fetch Q n=2; ack #1 nowait; @b hello; @b fetch Q n=4; hold")
        wait_until(lambda: s.log(verb="ACK"), what="the ACK is at the server")
        self.wait_written(jids)
        self.kill(c)
        s.control("clear")
        with open(self.journal(), "r+b") as f:
            data = f.read()
            self.assertEqual(data.count(unread.encode()), 1)
            f.seek(data.index(unread.encode()))
            f.write(b"J")
        c = self.start(s, "hello; hold")
        c.wait_log("kept as journal.damaged")
        c.wait_log("left 3 jobs: 1 to be FAILed as SupervisorDied, 0 whose report is sent again, 2 left to the server")
        self.failures(s, [behind])
        self.assertEqual(c.stop(), 0)
        for jid in held, acked:
            self.assertRegex(c.log(), f"{jid} .*is left to the server: it is not certain that it was still held")
        self.assertEqual([s.find(jid)[0] for jid in jids], ["working"] * 3 + ["retries"])

    def test_garbage_is_kept_aside(self):
        with open(self.journal(), "wb") as f:
            f.write(b"not a journal, but somebody's" * 100)
        c = self.start(servers.shared("dev"), "hello; hold")
        c.wait_log("journal: kept as journal[.a-z0-9-]+, for nothing could be made of it")
        kept = [name for name in os.listdir(self.state) if name not in ("journal", "lock", "journal.new")]
        with open(os.path.join(self.state, *kept), "rb") as f:
            self.assertTrue(f.read().startswith(b"not a journal, but"))

    def test_a_full_disk_stops_nobody(self):
        tap.need("mount", None if os.geteuid() == 0 else "only root can mount a small file system")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "chargehand-test", self.state], stderr=subprocess.PIPE,
                              text=True)
        if done.returncode != 0:
            tap.need("mount", f"a small file system cannot be mounted: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.state])
        s = servers.shared("dev")
        ballast = os.path.join(self.state, "ballast")
        manager = Manager()
        self.addCleanup(manager.close)
        c = self.start(s, "hello; fetch Q n=3000; ack #0; hold", env={"NOTIFY_SOCKET": manager.path})
        c.wait_log("running .hello.")
        with open(ballast, "wb", 0) as f, self.assertRaisesRegex(OSError, "No space"):
            while True:
                f.write(bytes(4096))
        jids = self.push(s, 3000)
        c.wait_log("The journal cannot take everything: .* No space left on device")
        manager.wait("STATUS=1 of 1 worker running; the journal cannot be written$")
        s.wait_jid(jids[0], None)
        self.wait_held(s, jids[1:])
        os.unlink(ballast)
        c.wait_log("The journal is complete again")
        manager.wait("STATUS=1 of 1 worker running$")
        self.kill(c)
        self.start(s, "hello; hold").wait_log("left 2999 jobs: 2999 to be FAILed as SupervisorDied")
        self.failures(s, jids[1:])

    def test_always(self):
        s = servers.shared("dev")
        jids = self.push(s, 5)
        c = self.start(s, "hello; fetch Q n=5; ack #0; stderr taken; hold", "--journal-sync", "always")
        c.wait_log("^taken")
        self.kill(c)
        self.start(s, "hello; hold", "--journal-sync", "always")
        self.failures(s, jids[1:])
        self.assertIsNone(s.find(jids[0])[0])


if __name__ == "__main__":
    tap.main()
