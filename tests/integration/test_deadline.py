#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""P3, nothing of somebody else's is touched: what is said about a job close to and after the end of its lease, and about
one that somebody else has by now.

The server's clock is left alone; chargehand's jumps, as after a suspend, or runs faster (hasty.py). Each rule is shown
twice: what happens to a job without it, said by a client that keeps to no rule, and what happens with it.

  hazards 1    a FAIL is repeated for ten seconds, and not later            Repeated
  hazards 6    a worker's own FAIL after its lease; ACKs; a newer hold      Late, Newer
  hazards 8    no timer on a FETCH                                          Slow
  hazards 17   a report is bound to the hold that it was read for           Newer
  hazards 27   a long job: its lease is known at its end                    Late
  hazards 24   holds of live workers are forgotten some time                Slow
  faktory-live a FAIL that meets the reaper loses the job                   Reaper
"""
import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from chargehand import Chargehand
from faktory_client import ServerError, make_job, new_jid
from hasty import Hasty
from servers import wait_until

LEASE = 60  # the shortest that the server knows


class Case(servers.Case):
    factor = 1

    def setUp(self):
        super().setUp()
        self.clock = Hasty(self.factor)
        self.addCleanup(self.clock.close)

    def begin(self, instances=1, *options, **server):
        self.s = servers.make(self.kind, **server) if server else servers.shared(self.kind)
        if server:
            self.addCleanup(self.s.close)
        self.c = Chargehand(self.s, env=self.clock.env, options=["--instances", str(instances), "--restart", "never", *options])
        self.addCleanup(self.c.close)
        wait_until(lambda: len(self.c.starts()) == instances, what="all workers have started")
        self.sessions = [wait_until(lambda n=n: self.c.session(nth=n, wid=f"w{n}{new_jid()}"), what="HELLO in its short time")
                         for n in range(instances)]
        self.session = self.sessions[0]

    def held(self, by=None, **more):
        jid = self.s.push(queue=self.queue, reserve_for=LEASE, **more)
        self.assertEqual((by or self.session).fetch(self.queue)["jid"], jid)
        return jid

    def expire(self, jid):
        """Its lease is over for the server: it goes through the retries to its queue, and whoever asks may have it."""
        self.s.admin(lambda c: c.fail(jid, errtype="ReservationExpired"))
        self.s.admin(lambda c: c.mutate("requeue", "retries", filter={"jids": [jid]}))

    def kill_worker(self, nth=0):
        """With its session: the test's end of it would be somebody outside, who is waited for for a while."""
        self.sessions[nth].close()
        os.kill(self.c.worker_pid(nth), signal.SIGKILL)

    def place(self, jid):
        return self.s.find(jid)[0]

    def refuse_late_fail(self, session, jid):
        with self.assertRaisesRegex(ServerError, f"^ERR Job not found {jid}$"):
            session.fail(jid)


class Late(Case):
    """A minute is over, or nearly, for chargehand. The server, whose clock has not moved, would take everything."""

    def setUp(self):
        super().setUp()
        self.begin()

    def test_a_workers_own_fail_passes_until_the_margin(self):
        jid = self.held()
        self.clock.suspend(LEASE - 8)
        self.session.fail(jid, message="in its own words")
        self.assertEqual(self.s.find(jid)[1]["failure"]["message"], "in its own words")

    def test_and_not_within_it(self):
        """On its way for a few seconds it would meet the reaper (tests/model, without late-fail-is-answered)."""
        jid = self.held()
        self.clock.suspend(LEASE - 3)
        self.refuse_late_fail(self.session, jid)
        self.assertEqual(self.place(jid), "working")

    def test_a_workers_own_fail_after_its_lease_is_not_passed_on(self):
        jid = self.held()
        self.clock.suspend(LEASE)
        self.refuse_late_fail(self.session, jid)
        self.assertEqual(self.place(jid), "working")
        self.assertEqual(self.session.beat(self.session.wid), "OK")

    def test_a_long_one_neither(self):
        """It passes as it comes, and what it is about is known at its end."""
        jid = self.held()
        self.clock.suspend(LEASE)
        with self.assertRaisesRegex(ServerError, "^ERR Job not found"):
            self.session.fail(jid, backtrace=["x" * 1000] * 1200)
        self.assertEqual(self.place(jid), "working")
        self.assertEqual(wait_until(lambda: self.session.ack(jid)), "OK")

    def test_a_long_job_has_the_lease_that_it_asks_for(self):
        """Which is known at its end: until then it is taken to be the shortest (hazards 27)."""
        jid = self.s.push(queue=self.queue, reserve_for=10 * LEASE, args=["x" * 300000])
        self.assertEqual(self.session.fetch(self.queue)["jid"], jid)
        self.clock.suspend(10 * LEASE)
        self.refuse_late_fail(self.session, jid)
        jid = self.s.push(queue=self.queue, reserve_for=20 * LEASE, args=["x" * 300000])
        self.assertEqual(self.session.fetch(self.queue)["jid"], jid)
        self.clock.suspend(20 * LEASE)
        self.session.fail(jid)
        self.assertEqual(self.place(jid), "retries")

    def test_track_does_not_move_it(self):
        """It extends the reservation in the server's memory only (hazards 19)."""
        jid = self.held()
        self.session.raw_command('TRACK SET {"jid":"%s","percent":1,"reserve_until":"2099-01-01T00:00:00Z"}' % jid)
        self.clock.suspend(LEASE)
        self.kill_worker()
        self.c.wait_log(f"job {jid} .*too late")
        self.assertEqual(self.place(jid), "working")

    def test_its_ack_passes(self):
        """Not reaped yet, the job is done with; a fence would have it run again."""
        jid = self.held()
        self.clock.suspend(LEASE + 30)
        self.assertEqual(self.session.ack(jid), "OK")
        self.s.wait_jid(jid, None)

    def test_a_death_before_the_margin_is_reported(self):
        jid = self.held()
        self.clock.suspend(LEASE - 8)
        self.kill_worker()
        self.s.wait_jid(jid, "retries")

    def test_a_death_within_the_margin_is_not(self):
        jid = self.held()
        self.clock.suspend(LEASE - 4)
        self.kill_worker()
        self.c.wait_log(f"job {jid} .*too late for its FAIL; the server takes it back at the end of its lease")
        self.assertEqual(self.c.wait(), 137)
        self.assertEqual(self.place(jid), "working")


class Clock(Case):
    """Reservations are kept by the server's wall clock, and outlive it."""

    def test_a_restart_of_the_server_moves_no_lease(self):
        self.begin(1, **({"scale": 1} if self.kind == "dev" else {"password": "x"}))
        jid = self.held()
        before, = [job["expires_at"] for job in self.s.working()]
        for kill in (False, True):
            self.s.restart(kill=kill)
            self.assertEqual([(job["jid"], job["expires_at"]) for job in self.s.working()], [(jid, before)])
        self.clock.suspend(LEASE / 2)
        self.session.fail(jid, message="in its own words")
        self.assertEqual(self.s.wait_jid(jid, "retries")["failure"]["message"], "in its own words")


class Newer(Case):
    """Two workers of one chargehand: the second one has the job since."""

    def both_have_it(self):
        jid = self.held(self.sessions[0])
        self.expire(jid)
        self.assertEqual(self.sessions[1].fetch(self.queue)["jid"], jid)
        return jid

    def test_without_the_rule(self):
        self.s = servers.shared(self.kind)
        a, b = self.sessions = [self.s.client(wid=new_jid()) for _ in range(2)]
        jid = self.both_have_it()
        a.ack(jid)
        self.assertIsNone(self.place(jid))  # while b works on it: should b die now, nobody would ever know
        jid = self.both_have_it()
        a.fail(jid)
        self.assertEqual(self.place(jid), "retries")

    def test_ack_and_fail_of_the_first(self):
        self.begin(2)
        for report in (lambda s, jid: self.assertEqual(s.ack(jid), "OK"), self.refuse_late_fail):
            jid = self.both_have_it()
            report(self.sessions[0], jid)
            self.assertEqual(self.place(jid), "working")
            self.assertEqual(self.sessions[1].ack(jid), "OK")
            self.s.wait_jid(jid, None)

    def test_the_first_dies(self):
        self.begin(2)
        jid = self.both_have_it()
        other = self.held(self.sessions[0])
        self.kill_worker(0)
        self.s.wait_jid(other, "retries")
        self.assertEqual(self.place(jid), "working")
        self.assertEqual(self.sessions[1].ack(jid), "OK")
        self.s.wait_jid(jid, None)

    def test_the_second_dies(self):
        self.begin(2)
        jid = self.both_have_it()
        self.kill_worker(1)
        failure = self.s.wait_jid(jid, "retries")["failure"]
        self.assertEqual((failure["errtype"], failure["retry_count"]), ("WorkerSignaled", 1))
        self.assertEqual(self.sessions[0].ack(jid), "OK")
        self.assertEqual(self.place(jid), "retries")

    def test_the_same_worker_has_it_twice_and_dies(self):
        self.begin(1)
        jid = self.held()
        self.expire(jid)
        self.assertEqual(self.session.fetch(self.queue)["jid"], jid)
        self.kill_worker()
        failure = self.s.wait_jid(jid, "retries")["failure"]
        self.assertEqual((failure["errtype"], failure["retry_count"]), ("WorkerSignaled", 1))
        self.assertEqual(self.c.wait(), 137)
        self.assertEqual(self.s.find(jid)[1]["failure"]["retry_count"], 1)


class Repeated(Case):
    """The answer to a FAIL is lost with its link. Fifteen seconds later the job can be in other hands."""

    def setUp(self):
        super().setUp()
        self.begin(1, scale=1)
        self.other = self.s.client(wid="other")

    def fail_and_lose(self, how):
        """FAILed on the server, and chargehand does not know."""
        jid = self.held()
        self.s.control("refuse")
        self.s.rule("die", verb="FAIL")
        if how == "its own":
            reporter, = [c["conn"] for c in self.s.conns() if c["pid"] == self.c.pid]
            self.s.control("kick", conn=reporter)
            self.session.fail(jid, message="its own")
        else:
            self.kill_worker()
        self.s.wait_jid(jid, "retries")
        self.other.mutate("requeue", "retries", filter={"jids": [jid]})
        self.assertEqual(self.other.fetch(self.queue)["jid"], jid)
        return jid

    def check(self, how):
        jid = self.fail_and_lose(how)
        mark = self.s.mark()
        self.clock.suspend(11)
        self.s.control("refuse", on=False)
        self.c.wait_log(f"job {jid} .*too late")
        self.assertEqual(self.s.log(since=mark, verb="FAIL"), [])
        self.assertEqual(self.place(jid), "working")
        self.assertEqual(self.other.ack(jid), "OK")

    def test_of_the_dead(self):
        self.check("chargehand's")

    def test_a_workers_own(self):
        self.check("its own")

    def test_within_ten_seconds_it_is(self):
        """Which is what it would do to a job in other hands, were it not for the limit."""
        jid = self.fail_and_lose("chargehand's")
        self.s.control("refuse", on=False)
        self.s.wait_jid(jid, "retries")
        self.assertEqual(self.other.ack(jid), "OK")
        self.assertEqual(self.place(jid), "retries")  # done, and it will run again

    def test_what_was_refused_was_never_sent(self):
        jid = self.held()
        with self.assertRaisesRegex(ServerError, "invalid FAIL"):
            self.session.command('FAIL {"jid":"%s","message":5}' % jid)
        self.clock.suspend(11)
        self.kill_worker()
        self.assertEqual(self.s.wait_jid(jid, "retries")["failure"]["errtype"], "WorkerSignaled")


class Reaper(Case):
    """A FAIL that comes while the server takes back expired jobs is answered +OK, and the job is lost."""

    def setUp(self):
        super().setUp()
        self.begin(1, lease_scale=0.01, reap_every=1000)

    def reap_half(self):
        wait_until(lambda: self.s.control("tick", what="reap", hold=True) or self.s.counts()["working"] == 0)

    def check_reaped(self, jid):
        self.s.control("release")
        self.assertEqual(self.s.wait_jid(jid, "retries")["failure"]["errtype"], "ReservationExpired")

    def test_without_the_rule(self):
        direct = self.s.client(wid="direct")
        jid = self.held(direct)
        self.reap_half()
        direct.fail(jid)
        self.s.control("release")
        wait_until(lambda: "Job not found" in self.s.log_text(), what="the reaper has gone on")
        self.assertIsNone(self.place(jid))

    def test_a_workers_own_fail(self):
        jid = self.held()
        self.reap_half()
        self.clock.suspend(LEASE)
        self.refuse_late_fail(self.session, jid)
        self.check_reaped(jid)

    def test_a_death(self):
        jid = self.held()
        self.reap_half()
        self.clock.suspend(LEASE)
        self.kill_worker()
        self.c.wait_log(f"{jid} .*too late")
        self.check_reaped(jid)


class Slow(Case):
    """Chargehand's minutes pass in two seconds."""

    factor = 30

    def test_a_fetch_may_take_for_ever(self):
        """Its link has no timer: what it brings is a stray, and goes back."""
        self.begin(1, fetch_block=8)  # four minutes
        self.assertIsNone(self.session.fetch(self.queue))
        self.clock.sleep(120)
        jid = self.s.push(queue=self.queue)
        self.c.wait_log("given out for a session that can no longer take it")
        self.s.wait_jid(jid, "queued")
        self.assertEqual(self.s.log(verb="FAIL"), [])

    def test_any_other_command_may_not(self):
        self.begin(1, scale=1)
        self.s.rule("hang", verb="PUSH")
        self.session.send("PUSH " + '{"jid":"12345678","jobtype":"x","args":[]}')
        self.assertTrue(self.session.eof())
        self.s.control("release")

    def stop_with_a_silent_server(self, held):
        self.begin(1, scale=1)
        self.addCleanup(self.s.resume)
        jid = held and self.held()
        self.session.beat()  # it has its link: a FETCH would not wait long for one
        self.session.send(f"FETCH {self.queue}")
        wait_until(lambda: self.s.control("state")["fetching"] == 1, what="the FETCH is at the server")
        self.s.pause()
        self.session.close()
        self.assertEqual(self.c.stop(timeout=40), 0)
        self.c.wait_log("Ending without the server's answer to a FETCH")  # of jobs there are none left
        return jid

    def test_a_stop_with_a_silent_server_is_bounded(self):
        jid = self.stop_with_a_silent_server(True)
        self.c.wait_log(f"job {jid} .*too late for its FAIL")  # sent, and not answered in ten seconds

    def test_so_is_one_that_only_a_fetch_is_waited_for_in(self):
        self.stop_with_a_silent_server(False)

    def test_a_hold_that_nobody_reports_is_forgotten(self):
        self.begin(1, scale=1)
        jid = self.held()
        self.c.wait_log(f"has not reported job {jid} .* before its deadline; .* chargehand forgets it", 40)
        self.assertEqual(self.session.ack(jid), "OK")
        self.s.wait_jid(jid, None)


notes = [f"{kind}: {reason or 'in use'}" for kind, reason in servers.available().items()]
for case in (Late, Clock, Newer):
    globals()[f"Real{case.__name__}"] = type(f"Real{case.__name__}", (case,), {"kind": "real"})

if __name__ == "__main__":
    del case
    tap.main(notes=notes)
