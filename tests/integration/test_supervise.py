#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""chargehand as a supervisor: restarts, stops, signals, exit statuses, standard error, the server's absence."""
import os
import re
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import scripted
import servers
import tap
from chargehand import Chargehand, binary
from faktory_client import make_job, new_jid
from servers import wait_until


class Case(servers.Case):
    def setUp(self):
        super().setUp()
        self.flag = os.path.join(os.environ["TMPDIR"], new_jid())

    def server(self, **options):
        if not options:
            return servers.shared(self.kind)
        s = servers.make(self.kind, **options)
        self.addCleanup(s.close)
        return s

    def chargehand(self, server, *command, options=(), **more):
        c = Chargehand(server, *command, options=["--name", "w", *options], **more)
        self.addCleanup(c.close)
        return c

    def start(self, server, script, *options, **more):
        command = scripted.command(script.replace("FLAG", self.flag), self.queue)
        return self.chargehand(server, *command, options=options, **more)

    def push(self, server, n=1, **more):
        jobs = [make_job(queue=self.queue, **more) for _ in range(n)]
        server.pushb(jobs)
        return [job["jid"] for job in jobs]

    def failure(self, server, jid):
        where, job = server.find(jid)
        self.assertEqual(where, "retries", jid)
        return job["failure"]

    def pids(self, c):
        return [int(pid) for pid in re.findall(r"started \(pid (\d+)\)", c.log())]


class Restart(Case):
    def starts(self, c):
        return len(self.pids(c))

    def check_ends(self, policy, script, status):
        c = self.start(self.server(), script, "--restart", policy)
        self.assertEqual(c.wait(), status)
        self.assertEqual(self.starts(c), 1)

    def check_restarts(self, policy, script):
        c = self.start(self.server(), script, "--restart", policy, "--healthy", "0")
        wait_until(lambda: self.starts(c) >= 3, what="two restarts")
        self.assertEqual(c.stop(), 0)

    def test_never(self):
        self.check_ends("never", "exit 3", 3)
        self.check_ends("never", "exit 0", 0)
        self.check_ends("never", "kill TERM", 128 + signal.SIGTERM)

    def test_on_failure(self):
        self.check_ends("on-failure", "hello; exit 0", 0)
        self.check_restarts("on-failure", "hello; exit 1")
        self.check_restarts("on-failure", "hello; kill KILL")

    def test_always(self):
        self.check_restarts("always", "hello; exit 0")

    def test_exit_0_with_a_job_in_hand_is_a_failure(self):
        s = self.server()
        jids = self.push(s, 2)
        c = self.start(s, "hello; fetch Q once; exit 0", "--healthy", "0")
        wait_until(lambda: all(s.find(jid)[0] == "retries" for jid in jids), what="both jobs are failed")
        self.assertEqual(c.wait(), 0)  # the third one finds no job
        self.assertEqual(self.starts(c), 3)

    def test_exit_0_with_an_ack_that_was_not_read_yet_is_none(self):
        s = self.server()
        self.push(s)
        c = self.start(s, "hello; fetch Q; ack nowait; exit 0")
        self.assertEqual(c.wait(), 0)
        self.assertEqual(self.starts(c), 1)

    def test_backoff_doubles(self):
        c = self.start(self.server(), "exit 1")
        c.wait_log("started", count=4)
        self.assertEqual([c.wait_log("restarting in", count=i).split(" in ")[1] for i in (1, 2, 3)],
                         ["100.0 ms", "200.0 ms", "400.0 ms"])
        self.assertEqual(c.stop(), 0)

    def test_a_healthy_life_is_followed_at_once(self):
        c = self.start(self.server(), "hello; sleep 0.3; exit 1", "--healthy", "200ms")
        c.wait_log("started", count=3)
        self.assertNotIn("restarting in", c.log())
        c.stop()

    def test_the_servers_terminate_counts_as_asked_for(self):
        s = self.server()
        wid = new_jid()
        c = self.start(s, f"hello wid={wid}; beat wid={wid}; await FLAG; beat wid={wid}; exit 0", "--restart", "always")
        c.wait_log("running .hello.")
        wait_until(lambda: s.quiet(wid, "terminate") or True)
        open(self.flag, "w").close()
        self.assertEqual(c.wait(), 0)
        self.assertEqual(self.starts(c), 1)
        c.wait_log("server tells it to terminate")

    def test_instances(self):
        s = self.server()
        jids = self.push(s, 3)
        c = self.start(s, "hello; fetch Q; stderr taken; hold", "--instances", "3", "--healthy", "0")
        c.wait_log("^taken", count=3)
        self.assertEqual(len(set(re.findall(r"listening on 127.0.0.1:(\d+)", c.log()))), 3)
        second = int(re.search(r"w\.2: started \(pid (\d+)\)", c.log())[1])
        os.kill(second, signal.SIGKILL)
        wait_until(lambda: sorted(str(s.find(jid)[0]) for jid in jids) == ["retries", "working", "working"],
                   what="one is failed")
        failed, = [jid for jid in jids if s.find(jid)[0] == "retries"]
        self.assertRegex(self.failure(s, failed)["message"], rf"^w\.2 \(pid {second}\)")
        c.wait_log(r"w\.2: started", count=2)
        self.assertEqual(c.stop(), 0)
        self.assertEqual([s.find(jid)[0] for jid in jids], ["retries"] * 3)


class Status(Case):
    def check(self, command, status, message):
        c = self.chargehand(self.server(), *command, wait=False)
        self.assertEqual(c.wait(), status)
        lines = [line for line in c.log().splitlines() if "server tcp" not in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], message)

    def test_no_such_command(self):
        self.check(["no-such-command-here"], 127, "Cannot run no-such-command-here: No such file")

    def test_no_command_that_can_be_run(self):
        with open(self.flag, "w") as f:
            f.write("#!/bin/sh\n")
        self.check([self.flag], 126, "Cannot run .*: Permission denied")

    def test_an_impossible_cgroup(self):
        c = self.chargehand(self.server(), "true", options=["--cgroup", "/no/such/group"], wait=False)
        self.assertEqual(c.wait(), 78)

    def test_a_limit_without_a_cgroup(self):
        c = self.chargehand(self.server(), "true", options=["--cgroup", "none", "--memory-max", "100M"], wait=False)
        self.assertEqual(c.wait(), 78)
        self.assertIn("limits of a worker need the memory controller", c.log())

    def test_the_last_one_that_ended_decides(self):
        c = self.start(self.server(), "await FLAG; exit 5", "--restart", "never", "--instances", "3")
        c.wait_log("started", count=3)
        os.kill(self.pids(c)[1], signal.SIGKILL)
        c.wait_log("SIGKILL")
        open(self.flag, "w").close()
        self.assertEqual(c.wait(), 5)


class Stop(Case):
    def test_idle_worker(self):
        c = self.start(self.server(), "on TERM {exit 3}; hello; hold")
        c.wait_log("running .hello.")
        begin = time.monotonic()
        self.assertEqual(c.stop(), 0)
        self.assertLess(time.monotonic() - begin, 2)

    def test_a_job_is_finished_in_the_grace(self):
        s = self.server()
        jid, = self.push(s)
        c = self.start(s, "on TERM {ack; exit 0}; hello; fetch Q; hold")
        s.wait_jid(jid, "working")
        self.assertEqual(c.stop(), 0)
        self.assertEqual(s.find(jid), (None, None))

    def test_a_job_in_hand_at_the_end(self):
        s = self.server()
        jid, = self.push(s)
        c = self.start(s, "hello; fetch Q; hold")
        s.wait_jid(jid, "working")
        self.assertEqual(c.stop(), 0)
        failure = self.failure(s, jid)
        self.assertEqual(failure["errtype"], "WorkerStopped")
        self.assertRegex(failure["message"], r"was told to stop and was killed by SIGTERM before the end of its grace")

    def check_deaf(self, c, s, jid, message):
        self.assertEqual(c.wait(), 0)
        failure = self.failure(s, jid)
        self.assertEqual(failure["errtype"], "WorkerStopped")
        self.assertRegex(failure["message"], message)

    def test_a_deaf_worker_is_killed_at_the_end_of_its_grace(self):
        s = self.server()
        jid, = self.push(s)
        c = self.start(s, "ignore TERM; hello; fetch Q; fork {hold}; hold", "--stop-grace", "400ms")
        s.wait_jid(jid, "working")
        begin = time.monotonic()
        c.signal(signal.SIGTERM)
        self.check_deaf(c, s, jid, r"killed at the end of its grace of 400\.0 ms")
        self.assertGreaterEqual(time.monotonic() - begin, 0.4)

    def test_a_second_signal_ends_the_grace(self):
        for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)):
            s = self.server()
            jid, = self.push(s)
            c = self.start(s, "ignore TERM; hello; fetch Q; hold", "--stop-grace", "100s")
            s.wait_jid(jid, "working")
            c.signal(first)
            c.wait_log("sending SIGTERM")
            c.signal(second)
            self.check_deaf(c, s, jid, "killed at the end of its grace")

    def test_term_is_sent_when_no_fetch_is_upstream(self):
        """A job that is fetched at the last moment reaches its worker before TERM does (hazards 18)."""
        s = self.server()
        log = self.flag + ".log"
        c = self.start(s, "on TERM {}; hello; fetch Q once; ack; exit 0", env={"SCRIPT_LOG": log})
        wait_until(lambda: any(e.get("what") == "hello" or e["step"] == "reply" for e in scripted.read_log(log)))
        c.wait_log("running .hello.")
        time.sleep(0.3)  # the FETCH is at the server, which answers after two seconds
        c.signal(signal.SIGTERM)
        jid, = self.push(s)
        self.assertEqual(c.wait(), 0)
        self.assertEqual(s.find(jid), (None, None))

    def test_a_job_has_time_to_be_taken(self):
        """Between the socket and its queue it would be dropped at TERM (hazards 18): here that way takes 5 ms."""
        s = self.server()
        program = ("import os, select, socket, time\n"
                   "s = socket.create_connection(('127.0.0.1', int(os.environ['FAKTORY_URL'].rpartition(':')[2])))\n"
                   "s.recv(100)\ns.sendall(b'HELLO {\"v\":2}\\r\\n')\ns.recv(100)\n"
                   f"s.sendall(b'FETCH {self.queue}\\r\\n')\nselect.select([s], [], [])\ntime.sleep(0.005)\n"
                   "job = s.recv(10000)\njid = job.split(b'\"jid\":\"')[1].split(b'\"')[0]\n"
                   "s.sendall(b'ACK {\"jid\":\"%s\"}\\r\\n' % jid)\ns.recv(100)\n")
        c = self.chargehand(s, sys.executable, "-c", program)
        c.wait_log("running .hello.")
        time.sleep(0.3)  # the FETCH is at the server, which answers after two seconds
        c.signal(signal.SIGTERM)
        c.wait_log("quieting")
        jid, = self.push(s)
        self.assertEqual(c.wait(), 0)
        self.assertEqual(s.find(jid), (None, None))

    def test_term_goes_to_the_first_process_alone_and_once(self):
        log = self.flag + ".log"
        c = self.start(self.server(), "on TERM {sleep 0.3; exit 0}; fork {on TERM {}; hold}; hello; hold", env={"SCRIPT_LOG": log})
        c.wait_log("running .hello.")
        self.assertEqual(c.stop(), 0)
        self.assertEqual([(e["signal"], e["pid"]) for e in scripted.read_log(log) if e["step"] == "signal"],
                         [("SIGTERM", self.pids(c)[0])])

    def test_a_wrapper_that_dies_of_term(self):
        """Who said HELLO and lives on gets TERM once and the rest of the grace (hazards 10)."""
        s = self.server()
        jid, = self.push(s)
        command = scripted.command(f"on TERM {{sleep 0.3; ack; exit 0}}; hello; fetch {self.queue}; hold")
        c = self.chargehand(s, "sh", "-c", '"$@"; true', "sh", *command)
        s.wait_jid(jid, "working")
        self.assertEqual(c.stop(), 0)
        self.assertEqual(s.find(jid), (None, None))

    def test_stop_target_hello(self):
        log = self.flag + ".log"
        script = "on TERM {}; fork {on TERM {exit 0}; @b hello; hold}; fork {on TERM {exit 0}; @c hello; hold}; wait; exit 0"
        c = self.start(self.server(), script, "--stop-target", "hello", env={"SCRIPT_LOG": log})
        wait_until(lambda: len([e for e in scripted.read_log(log) if e["step"] == "reply" and e["verb"] == "HELLO"]) == 2)
        self.assertEqual(c.stop(), 0)
        told = [e["pid"] for e in scripted.read_log(log) if e["step"] == "signal"]
        self.assertEqual(len(told), 2)
        self.assertNotIn(self.pids(c)[0], told)

    def test_stop_while_waiting_to_restart(self):
        c = self.start(self.server(), "exit 1")
        c.wait_log("restarting in 1.6")
        self.assertEqual(c.stop(timeout=1), 0)

    def test_stop_while_a_child_lingers(self):
        s = self.server()
        jid, = self.push(s)
        c = self.start(s, "hello; fetch Q; fork {@b hello; on TERM {ack; exit 0}; hold}; sleep 0.3; exit 0", "--linger", "60s")
        c.wait_log("waiting for the rest of it")
        self.assertEqual(c.stop(), 0)
        self.assertEqual(s.find(jid), (None, None))


class Quiet(Case):
    def test_tstp_and_cont(self):
        s = self.server()
        c = self.start(s, "on TERM {exit 0}; hello; forever {fetch Q; ack}")
        jid, = self.push(s)
        s.wait_jid(jid, None)
        c.signal(signal.SIGTSTP)
        c.wait_log("SIGTSTP")
        time.sleep(2.2)  # the FETCH that was at the server by then has had its answer
        jid, = self.push(s)
        time.sleep(2.5)  # one local nil comes and goes
        self.assertEqual(s.find(jid)[0], "queued")
        c.signal(signal.SIGCONT)
        s.wait_jid(jid, None)
        self.assertEqual(c.stop(), 0)

    def test_other_signals(self):
        c = self.start(self.server(), "on USR1 {stderr got-usr1}; on TTIN {stderr got-ttin}; hello; forever {sleep 0.1}")
        c.wait_log("running .hello.")
        c.signal(signal.SIGUSR1)
        c.wait_log("^got-usr1")
        c.signal(signal.SIGTTIN)
        c.wait_log("^got-ttin")
        c.signal(signal.SIGHUP)
        c.wait_log("SIGHUP")
        self.assertEqual(c.stop(), 0)


class Stderr(Case):
    def test_the_last_lines_are_the_backtrace(self):
        s = self.server()
        jid, = self.push(s)
        script = "hello; fetch Q; repeat 80 {stderr 'a line'}; stderr 'tab\there \x01 é'; stderr 'cut'; kill KILL"
        c = self.start(s, script, "--restart", "never")
        c.wait()
        backtrace = self.failure(s, jid)["backtrace"]
        self.assertEqual(len(backtrace), 50)
        self.assertEqual(backtrace[-1], "cut")
        self.assertRegex(backtrace[-2], r"^tab.*here")
        self.assertEqual(backtrace[0], "a line")

    def test_it_passes_on_unchanged(self):
        data = bytes(range(256)) * 900 + b"without a line end"
        with open(self.flag, "wb") as f:
            f.write(data)
        read, write = os.pipe()
        c = self.chargehand(self.server(), "sh", "-c", f"cat {self.flag} >&2", stderr=write,
                            options=["--restart", "never", "--log-level", "error"])
        os.close(write)
        seen = b""
        while chunk := os.read(read, 65536):
            seen += chunk
        os.close(read)
        self.assertEqual(c.wait(), 0)
        self.assertIn(data, seen)

    def test_a_reader_that_stops_reading_stops_nobody(self):
        s = self.server()
        jids = self.push(s, 2)
        read, write = os.pipe()
        with open(self.flag, "wb") as f:
            f.write(b"0123456789abcde\n" * 200000)
        script = f"cat {self.flag} >&2; exec \"$@\""
        command = scripted.command(f"hello; fetch {self.queue}; ack; fetch {self.queue}; kill KILL")
        c = self.chargehand(s, "sh", "-c", script, "sh", *command, options=["--restart", "never"], stderr=write)
        os.close(write)
        # 3 MB went into nowhere; the worker and the reports are done nevertheless
        wait_until(lambda: sorted(str(s.find(jid)[0]) for jid in jids) == ["None", "retries"], what="both jobs are dealt with")
        self.assertLess(c.rss_bytes() if c.process.poll() is None else 0, 64 << 20)
        seen = b""
        while chunk := os.read(read, 65536):
            seen += chunk
        os.close(read)
        c.wait()
        self.assertRegex(seen, rb"MiB of workers' standard error were dropped here")
        self.assertGreater(seen.count(b"0123456789abcde\n"), 1000)

    def test_a_reader_that_has_gone(self):
        s = self.server()
        jid, = self.push(s)
        read, write = os.pipe()
        os.close(read)
        c = self.start(s, "hello; fetch Q; stderr one; stderr two; ack; exit 0", "--restart", "never", stderr=write)
        os.close(write)
        self.assertEqual(c.wait(), 0)
        self.assertEqual(s.find(jid), (None, None))


class Absence(Case):
    def test_a_worker_dies_while_the_server_is_away(self):
        s = self.server(password="")
        jid, = self.push(s)
        c = self.start(s, "hello; fetch Q; hold")
        s.wait_jid(jid, "working")
        s.stop()
        os.kill(self.pids(c)[0], signal.SIGKILL)
        c.wait_log("w.1 .*SIGKILL")
        s.start()
        s.wait_jid(jid, "retries")
        self.assertEqual(self.failure(s, jid)["errtype"], "WorkerSignaled")
        self.assertEqual(c.stop(), 0)

    def test_chargehand_starts_and_stops_without_a_server(self):
        s = self.server(password="")
        s.stop()
        c = self.start(s, "hello; hold")
        c.wait_log("running .hello.")
        self.assertEqual(c.stop(), 0)

    def test_a_stop_without_a_server_is_bounded_and_says_what_is_left(self):
        s = self.server(password="")
        jid, = self.push(s)
        c = self.start(s, "hello; fetch Q; hold")
        s.wait_jid(jid, "working")
        s.stop()
        c.signal(signal.SIGTERM)
        begin = time.monotonic()
        self.assertEqual(c.wait(30), 0)
        self.assertLess(time.monotonic() - begin, 14)
        c.wait_log(rf"w\.1: job {jid} .*is left")

    def test_an_impatient_person(self):
        s = self.server(password="")
        jid, = self.push(s)
        c = self.start(s, "hello; fetch Q; hold")
        s.wait_jid(jid, "working")
        s.stop()
        c.signal(signal.SIGTERM)
        c.wait_log("draining -> settling")
        c.signal(signal.SIGTERM)
        self.assertEqual(c.wait(3), 0)


notes = [f"{kind}: {reason or 'in use'}" for kind, reason in servers.available().items()]
both = (Restart, Stop, Quiet, Stderr, Absence)
for case in both:
    globals()[f"Real{case.__name__}"] = type(f"Real{case.__name__}", (case,), {"kind": "real"})

if __name__ == "__main__":
    del case
    both = None
    tap.main(notes=notes)
