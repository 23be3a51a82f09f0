#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""P8, what a server that is there refuses: an -ERR is four things (hazards 5, 15), and a connection too many is told so."""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from absence import Case
from faktory_client import ServerError, new_jid
from servers import wait_until


class Errors(Case):
    def setUp(self):
        super().setUp()
        self.begin()

    def test_a_fail_that_was_half_done_is_named(self):
        """N3: the server has forgotten the reservation, and will lose the job."""
        jid, = self.held()
        self.s.rule("half", verb="FAIL")
        with self.assertRaisesRegex(ServerError, "NOREPLICAS"):
            self.session.fail(jid)
        self.c.wait_log(f"job {jid} .*in the middle of its worker's FAIL: it will vanish .*pushed again: ERR NOREPLICAS")
        self.kill_worker(self.session)
        self.assertEqual(self.c.wait(), 137)
        self.assertEqual(len(self.s.log(verb="FAIL")), 1)

    def test_chargehands_own_likewise(self):
        jid, = self.held()
        self.s.rule("half", verb="FAIL")
        self.kill_worker(self.session)
        self.c.wait_log(f"job {jid} .*in the middle of its FAIL: it will vanish .*pushed again: ERR NOREPLICAS")
        self.assertEqual(self.c.wait(), 137)
        self.assertEqual(len(self.s.log(verb="FAIL")), 1)

    def test_a_stray_that_was_half_done_is_pushed_again(self):
        """Its body is at hand."""
        self.session.send(f"FETCH {self.queue}")
        wait_until(lambda: self.s.control("state")["fetching"] == 1, what="the FETCH is at the server")
        self.session.close()
        self.s.rule("half", verb="FAIL")
        jid = self.s.push(queue=self.queue, custom={"track": 1}, args=[1, 2])
        self.c.wait_log(f"job {jid}: .*pushed again")
        queued = wait_until(lambda: self.s.queues().get(self.queue), what="it is in its queue")  # besides its old reservation
        self.assertEqual([(job["jid"], job["args"]) for job in queued], [(jid, [1, 2])])

    def check_again(self, verb, report, **rule):
        jids = self.held(12)
        self.s.rule("error", verb=verb, skip=5, close=True, **rule)
        self.session.send_raw("".join('%s {"jid":"%s"}\r\n' % (verb, jid) for jid in jids).encode())
        self.assertEqual([self.session.reply() for _ in jids], ["OK"] * 12)
        if verb == "ACK":
            self.check_gone(*jids)
            self.assertEqual(self.s.counts()["failures"], 0)
        else:
            for jid in jids:
                self.s.wait_jid(jid, "retries")
        said = [json.loads(e["line"].partition(" ")[2])["jid"] for e in self.s.log(verb=verb)]
        self.assertEqual(said, jids[:6] + jids[5:])  # one was not executed; the rest in order
        self.assertEqual(self.session.beat(), "OK")

    def test_shutdown_in_the_middle_of_acks(self):
        self.check_again("ACK", None, text="shutdown in progress")

    def test_shutdown_in_the_middle_of_fails(self):
        self.check_again("FAIL", None, text="shutdown in progress")

    def test_any_error_that_is_the_last_word(self):
        """Followed by the end of the connection it says nothing about the command."""
        self.check_again("FAIL", None, text="read unix: connection reset by peer")
        self.assertNotIn("vanish", self.c.log())

    def test_the_last_word_to_a_fetch_is_no_reason_to_end(self):
        for text in ("redis: client is closed", "EOF"):
            self.s.rule("error", verb="FETCH", text=text, close=True)
            self.assertIsNone(self.session.fetch(self.queue))

    def test_a_job_that_the_server_no_longer_knows_is_done_with(self):
        jid, = self.held()
        self.s.admin(lambda c: c.ack(jid))
        with self.assertRaisesRegex(ServerError, "Job not found"):
            self.session.fail(jid)
        self.kill_worker(self.session)
        self.c.wait_log("it held no job")
        self.assertEqual(len(self.s.log(verb="FAIL")), 1)

    def refused_report_of_the_dead(self, jid):
        self.assertEqual(self.s.wait_jid(jid, "retries")["failure"]["errtype"], "WorkerSignaled")
        self.assertEqual(self.c.wait(), 137)
        said = [e["verb"] for e in self.s.log(what="command") if jid in e["line"] and e["verb"] != "PUSH"]
        self.assertEqual(said, ["ACK", "FAIL"])

    def test_a_report_of_the_dead_that_is_refused(self):
        """It was no report, and the job died with its worker."""
        jid, = self.held()
        self.s.rule("late", verb="ACK", seconds=1)
        self.s.rule("error", verb="ACK", text="invalid ACK")
        self.session.send('ACK {"jid":"%s"}' % jid)
        wait_until(lambda: [c for c in self.s.conns() if c["phase"] == "run"], what="the ACK is at the server")
        self.kill_worker(self.session)
        self.refused_report_of_the_dead(jid)

    def test_a_report_in_hand_that_is_refused_after_the_death(self):
        jid, = self.held()
        self.s.control("refuse")
        self.s.control("kick")
        self.assertEqual(self.session.command('ACK {"jid":"%s"}' % jid), "OK")
        self.s.rule("error", verb="ACK", text="invalid ACK")
        self.kill_worker(self.session)
        self.c.wait_log("SIGKILL")
        self.s.control("refuse", on=False)
        self.refused_report_of_the_dead(jid)

    def test_an_error_that_is_not_passes(self):
        self.s.rule("error", verb="FETCH", text="whatever")
        with self.assertRaisesRegex(ServerError, "^ERR whatever$"):
            self.session.fetch(self.queue)
        self.s.rule("error", verb="INFO", text="whatever")
        self.session.send_raw(b"INFO\r\nINFO\r\n")
        with self.assertRaisesRegex(ServerError, "^ERR whatever$"):
            self.session.reply()
        self.assertIn(b"faktory", self.session.reply())


class Full(Case):
    """A connection too many is told so after its HELLO, unasked."""

    def test_one_connection_too_many(self):
        self.begin(max_connections=3)
        self.s.counts()  # and the tests' own connection is open
        jid, other_jid = self.held(2)
        other = self.c.session(wid=new_jid())
        self.assertEqual(other.ack(jid), "OK")
        self.check_gone(jid)
        self.fail_ok(other_jid, "in its own words", other)
        self.check_failed(other_jid, "in its own words")
        self.assertIsNone(other.fetch(self.queue))
        self.assertEqual(other.beat(), "OK")
        self.session.close()
        again = self.s.push(queue=self.queue)
        self.assertEqual(wait_until(lambda: other.fetch(self.queue), 15)["jid"], again)


if __name__ == "__main__":
    tap.main(notes=[f"{kind}: {reason or 'in use'}" for kind, reason in servers.available().items()])
