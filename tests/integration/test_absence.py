#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""P8, the server's absence is survived: it is silent, half there, refuses the password, or has gone. Workers are
answered in time, and what they said reaches the server as what it was, once, in order.

  hazards 1, 3   reports without an answer: the first one counts, +OK in time      Silent, Order, HalfOpen
  hazards 16     a connection that nobody answers on ends                          HalfOpen
  hazards 23     many sessions at once                                             Gone
"""
import json
import os
import re
import resource
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from absence import Case
from chargehand import Chargehand
from faktory_client import ServerError, make_job, new_jid
from servers import wait_until


class Silent(Case):
    """The server's process has stopped: the kernel still takes what is sent to it, and nobody answers."""

    def setUp(self):
        super().setUp()
        self.begin()
        self.session.beat()  # its link is ready
        self.addCleanup(self.s.resume)

    def test_everything_is_answered_in_time(self):
        """All at once: a server that stands still for 5 s fails its own commands."""
        acked, failed, later = self.held(3)
        others = [self.c.session(wid=self.session.wid) for _ in range(3)]
        for session in others:
            session.beat()
        self.s.pause()
        begun = time.monotonic()
        self.session.send('ACK {"jid":"%s"}' % acked)
        others[0].send('FAIL {"jid":"%s","message":"in its own words"}' % failed)
        others[1].send('BEAT {"wid":"%s"}' % self.session.wid)
        others[2].send(f"FETCH {self.queue}")
        fresh = self.c.session(wid=new_jid())
        fresh.send('BEAT {"wid":"%s"}' % fresh.wid)
        replies = [s.reply() for s in (self.session, *others[:2], fresh, others[2])]
        took = time.monotonic() - begun
        self.s.resume()
        self.assertEqual(replies, ["OK"] * 4 + [None])
        self.assertLess(took, 3.5 + 1)
        self.check_gone(acked)
        self.check_failed(failed, "in its own words")
        self.assertEqual(wait_until(lambda: fresh.ack(later)), "OK")
        self.check_gone(later)
        self.assertEqual(self.s.counts()["failures"], 1)

    def test_reports_and_a_fetch_in_one_write(self):
        jids = self.held(5)
        self.s.pause()
        lines = "".join('ACK {"jid":"%s"}\r\n' % jid for jid in jids) + f"FETCH {self.queue}\r\n"
        self.session.send_raw(lines.encode())
        self.assertEqual([self.session.reply(timeout=4) for _ in range(6)], ["OK"] * 5 + [None])
        self.s.resume()
        self.check_gone(*jids)
        again = self.s.push(queue=self.queue)
        self.assertEqual(wait_until(lambda: self.session.fetch(self.queue))["jid"], again)

    def test_a_death_meanwhile(self):
        done, held = self.held(2)
        self.s.pause()
        self.session.send('ACK {"jid":"%s"}' % done)
        self.kill_worker(self.session)
        self.c.wait_log("1 job is FAILed")
        self.s.resume()
        self.check_gone(done)
        self.assertEqual(self.s.wait_jid(held, "retries")["failure"]["errtype"], "WorkerSignaled")
        self.assertEqual(self.c.wait(), 137)
        self.assertEqual(self.s.counts()["failures"], 1)

    def test_what_only_the_server_can_answer_waits_for_it(self):
        self.s.pause()
        self.session.send('ACK {"jid":"not-in-our-ledger"}')
        self.session.send("INFO")
        self.assertFalse(self.session.eof(timeout=3))
        self.s.resume()
        self.assertEqual(self.session.reply(), "OK")
        self.assertIn(b"faktory", self.session.reply())


class Order(Case):
    """Several reports for one job: the first one counts (hazards 3)."""

    def setUp(self):
        super().setUp()
        self.begin()
        self.other = self.c.session(wid=self.session.wid)

    def test_a_fail_does_not_overtake_an_ack(self):
        """As a library does that has waited for its ACK's answer for too long."""
        jid, = self.held()
        self.s.rule("late", verb="ACK", before=True, seconds=4)
        self.session.send('ACK {"jid":"%s"}' % jid)
        wait_until(lambda: [c for c in self.s.conns() if c["phase"] == "run"], what="the ACK is at the server")
        self.fail_ok(jid, "not so", self.other)
        self.assertEqual(self.session.reply(), "OK")
        self.check_gone(jid)
        self.assertEqual(self.s.log(verb="FAIL"), [])

    def test_a_long_fail_neither(self):
        jid, = self.held()
        self.s.rule("late", verb="ACK", before=True, seconds=4)
        self.session.send('ACK {"jid":"%s"}' % jid)
        wait_until(lambda: [c for c in self.s.conns() if c["phase"] == "run"], what="the ACK is at the server")
        with self.assertRaises(ServerError):
            self.other.fail(jid, backtrace=["x" * 1000] * 1200)
        self.assertEqual(self.session.reply(), "OK")
        self.check_gone(jid)
        self.assertEqual(self.s.counts()["failures"], 0)

    def test_on_one_session_the_server_answers_both(self):
        jid, = self.held()
        self.s.rule("late", verb="ACK", before=True, seconds=0.3)
        self.session.send_raw(b'ACK {"jid":"%s"}\r\nFAIL {"jid":"%s"}\r\n' % (jid.encode(), jid.encode()))
        self.assertEqual(self.session.reply(), "OK")
        with self.assertRaisesRegex(ServerError, "Job not found"):
            self.session.reply()

    def test_a_job_that_comes_again_before_its_ack_is_answered(self):
        """It has pushed itself: the answer is about the first hold (hazards 17)."""
        jid, = self.held()
        self.s.push(jid=jid, queue=self.queue)
        self.s.rule("late", verb="ACK", seconds=1)
        self.session.send('ACK {"jid":"%s"}' % jid)
        wait_until(lambda: self.s.counts()["working"] == 0, what="the ACK is carried out")
        self.assertEqual(self.other.fetch(self.queue)["jid"], jid)
        self.assertEqual(self.session.reply(), "OK")
        self.kill_worker(self.session, self.other)
        self.assertEqual(self.s.wait_jid(jid, "retries")["failure"]["errtype"], "WorkerSignaled")

    def test_three_links_after_a_loss(self):
        """ACK, ACK on another connection, FAIL on a third: the server is back in the middle of it."""
        jid, = self.held()
        third = self.c.session(wid=self.session.wid)
        self.s.control("freeze")
        self.session.send('ACK {"jid":"%s"}' % jid)
        self.session.beat()
        self.s.control("kick")
        self.other.send('ACK {"jid":"%s"}' % jid)
        third.send('FAIL {"jid":"%s"}' % jid)
        for session in (self.session, self.other, third):
            self.assertEqual(session.reply(), "OK")
        self.s.control("freeze", on=False)
        self.check_gone(jid)
        self.assertEqual(self.s.log(verb="FAIL"), [])

    def test_what_was_said_in_its_absence_comes_in_order(self):
        jids = self.held(30)
        self.s.stop()
        for n, jid in enumerate(jids):
            session = (self.session, self.other)[n % 2]
            session.send('%s {"jid":"%s"}' % ("FAIL" if n % 3 == 0 else "ACK", jid))
            if n % 2:
                self.assertEqual([self.session.reply(), self.other.reply()], ["OK", "OK"])
        self.s.start()
        wait_until(lambda: len(self.s.log(what="command", verb="ACK")) + len(self.s.log(verb="FAIL")) == 30, 20)
        said = [(e["verb"], json.loads(e["line"].partition(" ")[2])["jid"]) for e in self.s.log(what="command")
                if e["verb"] in ("ACK", "FAIL")]
        self.assertEqual(said, [("ACK" if n % 3 else "FAIL", jid) for n, jid in enumerate(jids)])


class HalfOpen(Case):
    """The network is cut: no packet comes, and none says so."""

    def setUp(self):
        super().setUp()
        self.begin()

    def cut(self, **which):
        self.s.control("blackhole", **which)

    def reporter(self):
        return [c["conn"] for c in self.s.conns() if c["pid"] == self.c.pid][0]

    def test_a_workers_own_fail_is_repeated_in_time(self):
        jid, = self.held()
        self.cut(wid=self.session.wid)
        self.in_time(lambda: self.fail_ok(jid, "in its own words"))
        self.check_failed(jid, "in its own words")
        self.assertEqual(self.session.beat(), "OK")

    def test_an_ack(self):
        jid, = self.held()
        self.cut(wid=self.session.wid)
        self.assertEqual(self.in_time(lambda: self.session.ack(jid)), "OK")
        self.check_gone(jid)

    def test_the_reporters_link(self):
        jid, = self.held()
        self.cut(conn=self.reporter())
        self.kill_worker(self.session)
        self.assertEqual(self.s.wait_jid(jid, "retries")["failure"]["errtype"], "WorkerSignaled")

    def test_everything_for_some_seconds(self):
        acked, failed = self.held(2)
        self.cut()
        self.assertEqual(self.in_time(lambda: self.session.ack(acked)), "OK")
        self.in_time(lambda: self.fail_ok(failed, "in its own words"))
        self.c.wait_log("Link lost in state ready", 12)
        self.cut(on=False)
        self.check_gone(acked)
        self.check_failed(failed, "in its own words")

    def test_a_fetch_that_is_never_answered(self):
        """No timer ends its link, but the kernel does when the other machine does not answer."""
        self.session.send(f"FETCH {self.queue}")
        wait_until(lambda: self.s.control("state")["fetching"] == 1, what="the FETCH is at the server")
        self.cut(wid=self.session.wid)
        mark = len(re.findall("Link lost in state ready", self.c.log()))
        self.s.control("freeze")  # an answer would be an answer: packets go the other way
        self.assertIsNone(self.in_time(self.session.reply, 5))
        self.c.wait_log("Link lost in state ready", 40, mark + 1)
        self.s.control("freeze", on=False)
        self.assertEqual(self.c.stop(), 0)


class Gone(Case):
    def test_other_verbs_end_the_session(self):
        self.begin()
        self.s.stop()
        for line in ('PUSH {"jid":"12345678","jobtype":"x","args":[]}', "INFO", 'ACK {"jid":"not-in-our-ledger"}',
                     'FAIL {"jid":"not-in-our-ledger"}', "TRACK GET x"):
            with self.subTest(line):
                session = self.c.session(wid=new_jid())
                session.send(line)
                self.assertTrue(session.eof(timeout=4))

    def test_a_password_that_is_changed(self):
        self.begin(password="first")
        jid, lost = self.held(2)
        self.s.stop()
        self.s.password = "second"
        self.s.start()
        self.c.wait_log("refuses the password")
        self.assertEqual(self.in_time(lambda: self.session.ack(jid)), "OK")
        self.assertIsNone(self.session.fetch(self.queue))
        self.assertEqual(self.s.find(jid)[0], "working")
        self.s.stop()
        self.s.password = "first"
        self.s.start()
        self.check_gone(jid)
        self.assertEqual(wait_until(lambda: self.session.ack(lost)), "OK")
        self.check_gone(lost)
        self.assertEqual(self.c.log().count("refuses the password"), 1)
        self.assertNotIn("first", self.c.log().replace("first.*", ""))

    def test_two_hundred_sessions_come_back(self):
        """Each hashes the password, one in a turn; none is too late for the server, where it did not have to wait for a
        processor."""
        self.begin(password="secret")
        sessions = [self.c.session(wid=f"w{new_jid()}") for _ in range(200)]
        jids = [self.held(session=s)[0] for s in sessions]
        self.s.stop()
        self.s.start()
        begun, before = time.monotonic(), self.waited()
        mark = self.s.mark() if self.kind == "dev" else None
        for s, jid in zip(sessions, jids):
            s.send('ACK {"jid":"%s"}' % jid)
        self.assertEqual([s.reply(timeout=20) for s in sessions], ["OK"] * 200)
        print(f"all are back after {time.monotonic() - begun:.2f} s")
        self.check_gone(*jids)
        again = [self.s.push(queue=self.queue) for _ in sessions]
        for s in sessions:
            s.send(f"FETCH {self.queue}")
        got = [body and json.loads(body)["jid"] for body in (s.reply(timeout=20) for s in sessions)]
        print(f"all had their job after {time.monotonic() - begun:.2f} s")
        self.assertLessEqual(set(got) - {None}, set(again))
        if mark is not None:
            opened = [e for e in self.s.log(what="open", since=mark)]
            late = [e for e in self.s.log(what="close", since=mark) if e["received"] == 0 and not e["wid"]]
            waited = self.waited() - before
            print(f"{len(opened)} connections, {len(late)} closed before HELLO; waited for a processor for {waited:.2f} s")
            self.assertLess(len(opened) - len(late), 450)
            if waited < 1:
                self.assertEqual(late, [])

    def waited(self):
        """For how many seconds chargehand and the server were ready to run, and others ran (proc_pid_schedstat(5)). Of the
        two that the server gives to a HELLO, one is time enough for two hundred."""
        seconds = 0
        for pid in (self.c.pid, self.s.pid):
            try:
                with open(f"/proc/{pid}/schedstat") as f:
                    seconds += int(f.read().split()[1]) / 1e9
            except FileNotFoundError:  # not of this kernel: then the machine is taken to be free
                pass
        return seconds

    def test_two_thousand_sessions(self):
        """A smaller number could leave an ACK waiting behind FETCHes."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        tap.need("files", None if hard >= 8192 else f"{hard} descriptors are too few")
        self.begin()
        jid, = self.held()
        sessions = [self.c.session(timeout=30) for _ in range(2000)]
        self.assertEqual(sessions[-1].ack(jid), "OK")
        self.check_gone(jid)

    def test_redials_are_spread(self):
        """50 ms, doubling to two seconds, each up to a half longer."""
        times = []
        with socket.create_server(("127.0.0.1", 0)) as busy:
            busy.settimeout(6)

            def serve():
                while len(times) < 9:
                    conn, _ = busy.accept()
                    times.append(time.monotonic())
                    conn.close()

            thread = threading.Thread(target=serve)
            thread.start()
            self.s = servers.shared("dev")
            with Chargehand(self.s, url=f"tcp://127.0.0.1:{busy.getsockname()[1]}"):
                thread.join(30)
        self.assertEqual(len(times), 9)
        waits = [b - a for a, b in zip(times, times[1:])]
        for n, wait in enumerate(waits):
            shortest = min(0.05 * 2**n, 2)
            self.assertGreater(wait, shortest * 0.95, waits)
            self.assertLess(wait, shortest * 1.5 + 0.5, waits)

    def test_a_server_that_speaks_ipv6_only(self):
        self.s = servers.make(self.kind)
        self.addCleanup(self.s.close)
        try:
            entrance = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as e:
            tap.need("ipv6", f"no IPv6 here: {e}")
        self.addCleanup(entrance.close)

        def copy(a, b):
            try:
                while data := a.recv(65536):
                    b.sendall(data)
                b.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve():
            while True:
                try:
                    inner, _ = entrance.accept()
                except OSError:
                    return
                outer = socket.create_connection(("127.0.0.1", self.s.port))
                for pair in ((inner, outer), (outer, inner)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        self.c = Chargehand(self.s, url=f"tcp://[::1]:{entrance.getsockname()[1]}")
        self.addCleanup(self.c.close)
        self.session = self.c.session(wid=new_jid())
        jid, = self.held()
        self.assertEqual(self.session.ack(jid), "OK")
        self.check_gone(jid)
        entrance.shutdown(socket.SHUT_RDWR)

    def test_memory_is_bounded(self):
        """1200 FAILs of 60 KB: what is too much waits in its session."""
        self.begin()
        sessions = [self.c.session(wid=new_jid()) for _ in range(200)]
        jids = self.s.pushb([make_job(queue=self.queue) for _ in range(1200)])
        got = [s.fetch(self.queue)["jid"] for s in sessions for _ in range(6)]
        self.assertEqual(sorted(got), sorted(jids))
        before = self.c.rss_bytes()
        self.s.stop()

        def say():
            for k in range(6):
                for n, s in enumerate(sessions):
                    s.send("FAIL " + json.dumps({"jid": got[n * 6 + k], "message": "mine", "backtrace": ["x" * 1000] * 60}))

        thread = threading.Thread(target=say)
        thread.start()
        peak, end = 0, time.monotonic() + 8
        while time.monotonic() < end:
            peak = max(peak, self.c.rss_bytes())
            time.sleep(0.05)
        print(f"{before >> 10} KiB, {peak >> 10} KiB with all that waits")
        self.s.start()
        for s in sessions:
            self.assertEqual([s.reply(timeout=60) for _ in range(6)], ["OK"] * 6)
        thread.join()
        self.s.wait(working=0, retries=1200, timeout=60)
        self.assertEqual({job["failure"]["message"] for job in self.s.retries()}, {"mine"})
        if not self.c.sanitized:
            self.assertLess(peak - before, 48 << 20)


notes = [f"{kind}: {reason or 'in use'}" for kind, reason in servers.available().items()]
for case in (Silent, Gone):
    globals()[f"Real{case.__name__}"] = type(f"Real{case.__name__}", (case,), {"kind": "real"})

if __name__ == "__main__":
    del case
    tap.main(notes=notes)
