#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A machine that is suspended with jobs in hand, the real server on it: reservations go on while it sleeps, for the server as
for chargehand. So what ended meanwhile is the server's, and what did not is failed as ever (P3).
"""
import calendar
import os
import signal
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import machine
import servers
import tap
from chargehand import Chargehand
from faktory_client import new_jid

LEASE, SLEEP = 60, 64


def seconds(text):
    """Of a time that the server gives."""
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


def clocks():
    return {name: time.clock_gettime(getattr(time, f"CLOCK_{name}")) for name in ("REALTIME", "BOOTTIME", "MONOTONIC")}


class Suspended(unittest.TestCase):
    limit = 250

    def test_reservations_go_on(self):
        with open("/sys/power/state") as f:
            tap.need("suspend", None if "freeze" in f.read().split() else "this kernel cannot be suspended")
        s = servers.make("real")
        self.addCleanup(s.close)
        c = Chargehand(s, options=["--restart", "never"])
        self.addCleanup(c.close)
        queue, session = f"q{new_jid()}", c.session(wid=new_jid())
        ended, alive, own = [s.push(queue=queue, reserve_for=lease) for lease in (LEASE, 10 * LEASE, LEASE)]
        self.assertEqual([session.fetch(queue)["jid"] for _ in range(3)], [ended, alive, own])
        expires = {job["jid"]: seconds(job["expires_at"]) for job in s.working()}
        before = clocks()
        machine.suspend(SLEEP)
        slept = {name: now - before[name] for name, now in clocks().items()}
        print("# asleep by", ", ".join(f"{name} {value:.1f} s" for name, value in slept.items()))
        self.assertGreater(min(slept["REALTIME"], slept["BOOTTIME"]), SLEEP - 2)

        # As soon as it is awake: a worker's own FAIL, and its death.
        with self.assertRaisesRegex(Exception, "Job not found"):
            session.fail(own)
        os.kill(c.worker_pid(), signal.SIGKILL)
        self.assertEqual(c.wait(60), 137)
        failure = s.find(alive)[1]["failure"]
        self.assertEqual(failure["errtype"], "WorkerSignaled")
        for jid in ended, own:
            failure = s.wait_jid(jid, "retries", 60)["failure"]
            late = seconds(failure["failed_at"]) - expires[jid]
            print(f"# {failure['errtype']} {late} s after the end of its reservation")
            self.assertEqual((failure["errtype"], failure.get("retry_count", 0)), ("ReservationExpired", 0))
            self.assertGreaterEqual(late, 0)
        self.assertRegex(c.log(), f"{ended} .*too late for its FAIL")


if __name__ == "__main__":
    tap.main()
