# SPDX-License-Identifier: MIT
"""FETCH and the clients that go, heartbeats and quiet, stop and restart, what the clock does."""
import json
import signal
import threading
import time

from base import Case, Closed, ServerError, make_job, new_jid, servers
from part_jobs import ns


class Fetch(Case):
    def test_nothing(self):
        c = self.client()
        self.assertIsNone(self.took(1.95, 2.4, c.fetch, self.queue))

    def test_order_of_queues(self):
        c = self.client()
        high, low = self.queue + "h", self.queue + "l"
        jids = [c.push(queue=name) for name in (low, high, low, high)]
        got = [c.fetch(high, low)["jid"] for _ in range(4)]
        self.assertEqual(got, [jids[1], jids[3], jids[0], jids[2]])

    def test_blocked_wakes(self):
        c, other = self.client(), self.client()
        c.send(f"FETCH x{self.queue} {self.queue}")
        time.sleep(0.2)
        jid = other.push(queue=self.queue)
        self.assertEqual(json.loads(self.took(0, 0.5, c.reply))["jid"], jid)

    def test_who_waits_longest_is_first(self):
        waiting = [self.client() for _ in range(4)]
        for c in waiting:
            c.send(f"FETCH {self.queue}")
            time.sleep(0.1)
        producer = self.client()
        jids = [producer.push(queue=self.queue) for _ in waiting]
        self.assertEqual([json.loads(c.reply())["jid"] for c in waiting], jids)

    def test_pushb_wakes_all(self):
        waiting = [self.client() for _ in range(5)]
        for c in waiting:
            c.send(f"FETCH {self.queue}")
        time.sleep(0.2)
        jids = self.client().pushb([make_job(queue=self.queue) for _ in waiting])
        self.assertEqual(sorted(json.loads(c.reply())["jid"] for c in waiting), sorted(jids))

    def test_one_at_a_time(self):
        """A report behind an empty FETCH on the same connection waits for it."""
        c = self.client()
        jid = self.held(c)
        c.send_raw(f'FETCH {self.queue}\r\nACK {{"jid":"{jid}"}}\r\n'.encode())
        time.sleep(0.5)
        self.assertEqual(self.place(jid), "working")
        self.assertIsNone(c.reply())
        self.assertEqual(c.reply(), "OK")

    def gone(self, how, n=1, wait=0.3):
        c, other = self.client(), self.client()
        c.send_raw(f"FETCH {self.queue}\r\n".encode() * n)
        time.sleep(0.2)
        how(c)
        time.sleep(wait)
        return [other.push(queue=self.queue) for _ in range(n)]

    def test_gone_client_takes_a_job(self):
        """A FETCH outlives its client: it takes a job with it."""
        for how in (lambda c: c.close(), lambda c: c.close(reset=True)):
            jids = self.gone(how)
            self.server.wait_jid(jids[0], "working")
        self.assertEqual(self.place(self.gone(lambda c: c.close(), wait=2.3)[0]), "queued")

    def test_gone_client_takes_a_job_for_each_fetch(self):
        for jid in self.gone(lambda c: c.close(reset=True), n=5):
            self.server.wait_jid(jid, "working")

    def test_fetch_then_end(self):
        c = self.client()
        c.send_raw(f"FETCH {self.queue}\r\nEND\r\n".encode())
        time.sleep(0.2)
        jid = self.client().push(queue=self.queue)
        self.assertEqual(json.loads(c.reply())["jid"], jid)
        self.assertTrue(c.eof())

    def test_pause(self):
        c, other = self.client(), self.client()
        jid = c.push(queue=self.queue)
        self.assertEqual(c.command(f"QUEUE PAUSE {self.queue}"), "OK")
        self.assertIsNone(self.took(1.95, 2.4, c.fetch, self.queue))
        c.push(queue=self.queue + "b")
        self.assertEqual(c.fetch(self.queue, self.queue + "b")["queue"], self.queue + "b")
        c.command(f"QUEUE RESUME {self.queue}")
        self.assertEqual(c.fetch(self.queue)["jid"], jid)
        c.send(f"FETCH {self.queue}")
        time.sleep(0.2)
        other.command(f"QUEUE PAUSE {self.queue}")
        jid = other.push(queue=self.queue)
        self.assertEqual(json.loads(c.reply())["jid"], jid)  # it was waiting already


class Heartbeat(Case):
    def setUp(self):
        super().setUp()
        self.wid = new_jid()

    def jobs(self, n):
        return self.client().pushb([make_job(queue=self.queue) for _ in range(n)])

    def test_quiet_is_for_the_first_connection(self):
        self.jobs(4)
        first, second = (self.client(wid=self.wid) for _ in range(2))
        self.server.quiet(self.wid)
        self.assertEqual((first.beat(), second.beat()), ({"state": "quiet"},) * 2)
        self.assertEqual(first.raw_command(f'BEAT {{"wid":"{self.wid}"}}'), b'$17\r\n{"state":"quiet"}\r\n')
        self.assertIsNone(self.took(1.95, 2.4, first.fetch, self.queue))
        self.assertIsNotNone(second.fetch(self.queue))
        self.assertIsNotNone(self.client(wid=self.wid).fetch(self.queue))

    def test_states_never_go_back(self):
        c = self.client(wid=self.wid)
        self.server.quiet(self.wid)
        for current in ("", "running", "quiet"):
            self.assertEqual(c.beat(current_state=current), {"state": "quiet"})
        self.server.quiet(self.wid, "terminate")
        self.assertEqual(c.beat(), {"state": "terminate"})
        self.server.quiet(self.wid, "quiet")
        self.assertEqual(c.beat(), {"state": "terminate"})
        self.assertIsNone(self.took(1.95, 2.4, c.fetch, self.queue))

    def test_forgotten_with_the_last_connection(self):
        first, second = (self.client(wid=self.wid) for _ in range(2))
        self.assertEqual(first.beat(current_state="quiet"), {"state": "quiet"})
        first.end()
        self.assertEqual(second.beat(), {"state": "quiet"})
        self.jobs(1)
        self.assertIsNotNone(second.fetch(self.queue))  # enforced nowhere now
        second.end()

        def is_forgotten():
            """Whoever asks is a connection, too, and must not be the one that keeps it."""
            asking = self.client(wid=self.wid)
            state = asking.beat()
            asking.end()
            return state == "OK"
        servers.wait_until(is_forgotten, 10, "the state is forgotten", every=0.1)

    def test_quiet_while_a_fetch_blocks(self):
        c = self.client(wid=self.wid)
        c.send(f"FETCH {self.queue}")
        time.sleep(0.2)
        self.server.quiet(self.wid)
        jid = self.jobs(1)[0]
        self.assertEqual(json.loads(c.reply())["jid"], jid)

    def test_beat_from_elsewhere(self):
        self.client(wid=self.wid)
        other = self.client()
        self.assertEqual(other.beat(self.wid), "OK")
        jid = self.held(other)  # without a wid, too
        self.assertEqual(self.server.find(jid)[1]["wid"], "")

    def test_silence(self):
        """No BEAT: all connections of the wid end, one that fetches all the time as well; its jobs stay held."""
        s, scale = self.slow_server("67 s without BEAT", beat_timeout=2.4)
        limit = 60 if scale == 1.0 and self.kind == "real" else 2.4
        quiet, busy, beating = self.client(s, wid="silent"), self.client(s, wid="silent"), self.client(s, wid="beats")
        nobody = self.client(s)
        jid = quiet.push(queue=self.queue)
        quiet.fetch(self.queue)
        start, ends = time.monotonic(), {}

        def watch(name, action):
            try:
                while True:
                    action()
            except (Closed, OSError):
                ends[name] = time.monotonic() - start

        threads = [threading.Thread(target=watch, args=args, daemon=True) for args in (
            ("quiet", lambda: quiet._more(time.monotonic() + 100)), ("busy", lambda: busy.fetch("none" + self.queue)))]
        for t in threads:
            t.start()
        while len(ends) < 2 and time.monotonic() < start + 1.5 * limit + 5:
            self.assertEqual(beating.beat("beats"), "OK")
            time.sleep(0.2)
        self.assertEqual(set(ends), {"quiet", "busy"})
        self.assertTrue(all(limit * 0.99 < seconds < limit * 1.3 + 2.5 for seconds in ends.values()), ends)
        self.refused("ERR unknown worker silent", nobody.beat, "silent")
        self.assertEqual(s.find(jid)[0], "working")
        self.assertEqual(nobody.ack(jid), "OK")
        self.assertIsNone(s.find(jid)[0])


class Restart(Case):
    def test_stop_and_kill(self):
        for kill in (False, True):
            with self.subTest(kill=kill):
                s = self.own_server(password="pw")
                c = self.client(s, wid="w")
                idle = self.client(s, wid="w")
                held = [self.held(c, reserve_for=600) for _ in range(4)]
                failed, dead = self.held(c), self.held(c, retry=-1)
                c.fail(failed)
                c.fail(dead)
                waiting = [c.push(queue=self.queue, args=["\u00e9<"]) for _ in range(3)]
                paused = c.push(queue=self.queue + "p")
                c.command(f"QUEUE PAUSE {self.queue}p")
                before = {jid: s.find(jid) for jid in held + [failed, dead] + waiting}
                counts = s.counts()
                s.restart(kill=kill)
                self.assertTrue(idle.eof())
                self.assertEqual({jid: s.find(jid) for jid in before}, before)
                self.assertEqual({**s.counts(), "connections": 0}, {**counts, "connections": 0})
                c = self.client(s, wid="w")
                self.assertEqual([c.ack(held[0]), c.fail(held[1])], ["OK", "OK"])
                self.refused(f"ERR Job not found {held[0]}", c.fail, held[0])
                self.assertEqual(s.find(held[1])[0], "retries")
                self.assertEqual([c.fetch(self.queue)["jid"] for _ in waiting], waiting)
                self.assertEqual(self.took(1.9, 2.4, c.fetch, self.queue + "p"), None)
                self.assertEqual(s.find(paused)[0], "queued")
                s.close()

    def test_what_clients_see_at_term(self):
        s = self.own_server()
        idle, active, fetching = self.client(s), self.client(s), self.client(s)
        fetching.send(f"FETCH {self.queue}")
        time.sleep(0.2)
        seen = []

        def commands():
            try:
                while True:
                    active.ack("nosuch")
            except ServerError as e:
                seen.append(str(e))
                seen.append(active.eof())

        t = threading.Thread(target=commands)
        t.start()
        time.sleep(0.05)
        s.process.send_signal(signal.SIGTERM)
        t.join(5)
        self.assertEqual(seen, ["ERR shutdown in progress", True])
        with self.assertRaises(OSError):
            self.client(s)
        with self.assertRaises((ServerError, Closed)) as e:
            fetching.reply()
        # The real server's process ends while its goroutine writes this, and on a busy machine sometimes before.
        if self.kind != "real" or isinstance(e.exception, ServerError):
            self.assertEqual(str(e.exception), "ERR redis: client is closed")
        self.assertTrue(idle.eof())
        s.process.wait(5)
        self.assertEqual(s.process.returncode, 0)

    def test_answered_before_term(self):
        """What was answered +OK before a TERM is kept, the rest can be sent again."""
        s = self.own_server()
        c = self.client(s)
        c.pushb([make_job(queue=self.queue) for _ in range(2000)])
        jids = [c.fetch(self.queue)["jid"] for _ in range(2000)]
        done = []

        def fails():
            try:
                for jid in jids:
                    c.fail(jid)
                    done.append(jid)
            except (ServerError, Closed):
                pass

        t = threading.Thread(target=fails)
        t.start()
        servers.wait_until(lambda: len(done) > 100, 10)
        s.stop()
        t.join()
        s.start()
        retries = {job["jid"] for job in s.retries()}
        working = {job["jid"] for job in s.working()}
        self.assertGreater(len(done), 100)
        self.assertLessEqual(set(done), retries)
        self.assertEqual(retries | working, set(jids))
        self.assertFalse(retries & working)


class Clock(Case):
    def test_retry_comes_back(self):
        s, scale = self.slow_server("15 to 50 s until a retry", scale=0.05)
        c = self.client(s)
        jids = [self.held(c) for _ in range(10)]
        for jid in jids:
            c.fail(jid)
        due = {job["jid"]: ns(job["failure"]["next_at"]) for job in s.retries()}
        for jid in jids:
            job = s.wait_jid(jid, "queued", timeout=60)
            late = (time.time_ns() - due[jid]) / 1e9
            self.assertIn("next_at", job["failure"])
            self.assertLess(late, 5 * scale + 2.5 + 60 * scale)

    def test_scheduled_job_comes(self):
        s, scale = self.slow_server("5 s scans", scale=0.05)
        c = self.client(s)
        jid = c.push(queue=self.queue, at=servers.time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2)))
        self.assertEqual(s.find(jid)[0], "scheduled")
        self.assertIn("at", s.wait_jid(jid, "queued"))

    def test_lease_ends(self):
        s, scale = self.slow_server("a lease of 60 s", scale=0.05)
        c, b = self.client(s), self.client(s)
        jid, gone, acked = self.held(c, reserve_for=1), self.held(c, reserve_for=1, retry=0), self.held(c, reserve_for=1)
        c.ack(acked)
        start = time.monotonic()
        job = s.wait_jid(jid, "retries", timeout=90)
        seconds = time.monotonic() - start
        self.assertTrue(60 * scale - 1 < seconds < 77 * scale + 1, seconds)
        failure = job["failure"]
        self.assertEqual([failure.get(key) for key in ("errtype", "message", "backtrace", "retry_count")],
                         ["ReservationExpired", "Faktory job reservation expired", None, 0])
        s.wait(working=0)
        self.assertIsNone(s.find(gone)[0])
        self.refused(f"ERR Job not found {jid}", c.fail, jid)
        self.assertEqual(c.ack(jid), "OK")
        s.wait_jid(jid, "queued", timeout=60)
        self.refused(f"ERR Job not found {jid}", c.fail, jid)
        self.assertEqual(b.fetch(self.queue)["jid"], jid)
        self.assertEqual(b.ack(jid), "OK")

    def test_a_stale_lease_takes_the_live_one(self):
        """Two working entries of one jid: the end of the older lease takes the newer reservation."""
        s, scale = self.slow_server("a lease of 60 s", scale=0.05)
        c = self.client(s)
        jid = new_jid()
        c.push(jid=jid, queue=self.queue, reserve_for=1)
        c.fetch(self.queue)
        c.push(jid=jid, queue=self.queue, reserve_for=600)
        c.fetch(self.queue)
        s.wait_jid(jid, "working")
        servers.wait_until(lambda: jid in [job["jid"] for job in s.retries()], 90, "the reaper took it", every=0.05)
        self.assertEqual(c.ack(jid), "OK")
        self.refused(f"ERR Job not found {jid}", c.fail, jid)
        self.assertIn(jid, [job["jid"] for job in s.retries() + sum(s.queues().values(), [])])
