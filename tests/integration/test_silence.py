#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A link that takes what is sent and brings no answer, while others do: something in between (a proxy, a tunnel) has lost the
other half of it. The kernel sees nothing wrong, for what is sent is acknowledged.

  hazards 1    a FAIL may be repeated for ten seconds: it must not spend them there
  hazards 5    an answer that the server gives after five seconds still counts          Late
  hazards 7    what goes back to its queue is not hurried: there would be two of it     Late
"""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "helpers"), os.path.join(HERE, "..", "chaos")]
import servers
import tap
from chargehand import Chargehand
from faktory_client import new_jid
from proxy import Proxy
from servers import wait_until

FOR_EVER = 300  # seconds that no test waits
SOON = 12  # what has not been sent again ten seconds after the first time is not sent any more


class Case(servers.Case):
    def setUp(self):
        super().setUp()
        self.s = servers.make(self.kind, **({"scale": 1} if self.kind == "dev" else {}))
        self.addCleanup(self.s.close)
        self.proxy = Proxy(self.s.port)
        self.addCleanup(self.proxy.close)
        self.c = Chargehand(self.s, url=f"tcp://127.0.0.1:{self.proxy.door('c')}",
                            options=["--instances", "2", "--restart", "never"])
        self.addCleanup(self.c.close)
        wait_until(lambda: len(self.c.starts()) == 2, what="both workers have started")
        self.sessions = [self.c.session(nth=n, wid=new_jid()) for n in range(2)]
        for session in self.sessions:
            session.beat()
        self.reporter = wait_until(lambda: self.link(None), what="the reporter's link")
        self.assertTrue(self.reporter.is_reporters)

    def link(self, wid):
        """The reporter's is the one without a wid."""
        return next((l for l in self.proxy.links("c") if l.wid == wid and l.welcomed), None)

    def held(self, nth=0):
        jid = self.s.push(queue=self.queue)
        self.assertEqual(self.sessions[nth].fetch(self.queue)["jid"], jid)
        return jid

    def kill_worker(self, nth=0):
        self.sessions[nth].close()
        os.kill(self.c.worker_pid(nth), signal.SIGKILL)

    def said(self, jid, verb="FAIL"):
        """What has reached the server."""
        return [w for w in self.proxy.words if w.jid == jid and w.verb == verb]

    def lost(self, jid):
        return [w for w in self.proxy.lost if w.jid == jid]

    def check_failed_once(self, jid, errtype):
        failure = self.s.wait_jid(jid, "retries", SOON)["failure"]
        self.assertEqual((failure["errtype"], failure.get("retry_count", 0)), (errtype, 0))
        self.assertEqual(self.s.counts()["failures"], 1)


class Swallowed(Case):
    def test_the_reporters_link(self):
        jid = self.held()
        self.proxy.swallow(self.reporter, FOR_EVER, "reset")
        self.kill_worker()
        self.check_failed_once(jid, "WorkerSignaled")
        self.c.wait_log("The server .* is lost: no answer to a command")
        self.assertEqual((len(self.lost(jid)), len(self.said(jid))), (1, 1))

    def test_only_its_answers(self):
        """The server has had it: what is sent again finds nothing."""
        jid = self.held()
        self.proxy.swallow(self.reporter, FOR_EVER, "reset", replies=True)
        self.kill_worker()
        wait_until(lambda: [w.answer for w in self.said(jid)] == ["+OK", f"-ERR Job not found {jid}"], SOON)
        self.check_failed_once(jid, "WorkerSignaled")

    def test_what_comes_to_be_said_meanwhile_is_not_said_there(self):
        """Its ten seconds would have begun."""
        first, second = self.held(0), self.held(1)
        self.proxy.swallow(self.reporter, FOR_EVER, "reset")
        self.kill_worker(0)
        begun = wait_until(lambda: self.lost(first), what="the FAIL has been sent")[0].when
        wait_until(lambda: time.monotonic() > begun + 2)
        self.kill_worker(1)
        for jid in (first, second):
            self.assertEqual(self.s.wait_jid(jid, "retries", SOON)["failure"]["errtype"], "WorkerSignaled")
        self.assertEqual(self.lost(second), [])

    def test_a_workers_own_fail(self):
        jid = self.held()
        self.proxy.swallow(self.link(self.sessions[0].wid), FOR_EVER, "reset")
        self.sessions[0].fail(jid, errtype="Own")
        self.check_failed_once(jid, "Own")

    def test_its_ack(self):
        """Of a job that may be reserved for some seconds more."""
        jid = self.held()
        self.proxy.swallow(self.link(self.sessions[0].wid), FOR_EVER, "reset")
        self.assertEqual(self.sessions[0].ack(jid), "OK")
        self.s.wait_jid(jid, None, SOON)
        self.assertEqual(self.s.counts()["failures"], 0)


class Stopped(Case):
    """No link answers, for the server stands still: what it has in its hands it does when it goes on."""

    def test_for_longer_than_a_link_is_waited_for(self):
        jid = self.held()
        self.addCleanup(self.s.resume)
        self.s.pause()
        self.kill_worker()
        self.c.wait_log("The server .* is lost: no answer to a command", SOON)
        self.s.resume()
        self.check_failed_once(jid, "WorkerSignaled")
        wait_until(lambda: self.link(None), what="the reporter is back")
        self.kill_worker(1)
        self.assertEqual(self.c.wait(), 137)  # it has nothing left to wait for
        self.check_failed_once(jid, "WorkerSignaled")


class Late(Case):
    """The link is there, and the server slow."""

    def test_an_error_after_five_seconds_is_told(self):
        jid = self.held()
        self.s.rule("half", verb="FAIL", text="context deadline exceeded")
        self.s.rule("late", verb="FAIL", seconds=5)
        self.kill_worker()
        self.c.wait_log(f"job {jid}.*context deadline exceeded", SOON)
        self.assertEqual(len(self.said(jid)), 1)

    def test_a_return_is_waited_for(self):
        self.s.rule("late", verb="PUSHB", seconds=9)
        self.sessions[0].send(f"FETCH {self.queue}")
        wait_until(lambda: self.s.control("state")["fetching"] == 1, what="the FETCH is at the server")
        self.kill_worker()
        self.c.wait_log("was killed by SIGKILL")
        jid = self.s.push(queue=self.queue)
        wait_until(lambda: [w.answer for w in self.said(jid, "PUSHB")] != [None] and self.said(jid, "PUSHB"), 20)
        self.assertEqual(len(self.said(jid, "ACK") + self.said(jid, "PUSHB")), 2)
        self.assertEqual(self.s.counts()["queued"], 1)


notes = [f"{kind}: {reason or 'in use'}" for kind, reason in servers.available().items()]
for case in (Swallowed, Stopped):
    globals()[f"Real{case.__name__}"] = type(f"Real{case.__name__}", (case,), {"kind": "real"})

if __name__ == "__main__":
    del case
    tap.main(notes=notes)
