#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""P4, nothing fetched is lost on the way: a job that the server gave out for a session that can no longer take it is in
its queue again at once, unharmed; where that cannot be it is FAILed. And what is said last is heard (P2).

  hazards 7    back to the queue, or FAILed; no hand-over; retired links       Returned, Stranded, Late
  hazards 9    nothing is fetched for the dead                                 Returned, Dead
  hazards 12   a pid in a HELLO proves nothing                                 Pids
  hazards 28   bodies are kept while they are on their way                     Bodies
  hazards 26   the rest of a line that is sent in two pieces                   Dead
  hazards 45   a FETCH is answered before libraries give up                    Late
"""
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import cgroups
import scripted
import servers
import tap
from chargehand import Chargehand
from faktory_client import make_job, new_jid
from servers import is_zombie, wait_until


class Case(servers.Case):
    def begin(self, *command, options=(), own=False):
        self.s = servers.make(self.kind) if own else servers.shared(self.kind)
        if own:
            self.addCleanup(self.s.close)
        self.c = Chargehand(self.s, *command, options=["--name", "w", "--restart", "never", *options])
        self.addCleanup(self.c.close)
        if not command:
            self.session = self.c.session(wid=f"w{new_jid()}")

    def strand(self, session=None, end=lambda s: s.close()):
        """A FETCH is at the server, and nobody is there for its answer."""
        session = session or self.session
        session.beat()  # its link is ready
        session.send(f"FETCH {self.queue}")
        other = self.c.session(wid=new_jid())
        other.beat()  # one loop, in order: the FETCH has gone up by now
        end(session)
        return other

    def push(self, **more):
        return self.s.push(queue=self.queue, **more)

    def returned(self, jid):
        self.c.wait_log(f"job {jid} .*has taken its return to the queue")
        return self.s.find(jid)


class Returned(Case):
    def test_a_job_that_may_not_be_retried(self):
        """A FAIL would delete it."""
        self.begin()
        self.strand()
        jid = self.push(retry=0)
        place, job = self.returned(jid)
        self.assertEqual((place, job["retry"], job.get("failure")), ("queued", 0, None))

    def test_a_job_that_has_failed_before(self):
        self.begin()
        jid = self.push(retry=3)
        self.session.fetch(self.queue)
        self.session.fail(jid, message="before")
        self.s.wait_jid(jid, "retries")
        self.strand()
        self.s.admin(lambda c: c.mutate("requeue", "retries", filter={"jids": [jid]}))
        place, job = self.returned(jid)
        self.assertEqual((place, job["failure"]["message"], job["failure"]["retry_count"], job["failure"]["remaining"]),
                         ("queued", "before", 0, 3))

    def test_a_half_closed_session(self):
        """It can still read, and a client that is dead looks the same."""
        self.begin()
        self.strand(end=lambda s: s.sock.shutdown(socket.SHUT_WR))
        self.assertEqual(self.returned(self.push())[0], "queued")

    def test_a_reset_session(self):
        self.begin()
        self.strand(end=lambda s: s.close(reset=True))
        self.assertEqual(self.returned(self.push())[0], "queued")

    def test_a_session_that_is_reset_behind_the_reply(self):
        """The job is read before that end is: only the write of it tells that nobody is there."""
        self.begin(own=True)
        self.strand(end=lambda s: None)
        self.c.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.c.pid, os.WSTOPPED)
        jid = self.push()
        wait_until(self.is_unread, what="the job is at chargehand")
        self.session.close(reset=True)
        self.c.signal(signal.SIGCONT)
        self.assertEqual(self.returned(jid)[0], "queued")

    def is_unread(self):
        """Something that the server has sent."""
        with open("/proc/net/tcp") as f:
            fields = [line.split() for line in f.readlines()[1:]]
        return any(field[2].endswith(f":{self.s.port:04X}") and not field[4].endswith(":00000000") for field in fields)

    def test_end_behind_a_fetch(self):
        """As the server has it: the FETCH is carried out and answered, then the connection ends."""
        self.begin()
        self.session.beat()
        self.session.send_raw(f"FETCH {self.queue}\r\nEND\r\n".encode())
        jid = self.push()
        self.assertEqual(json.loads(self.session.reply())["jid"], jid)
        self.assertTrue(self.session.eof())

    def test_fetches_behind_it_are_not_sent(self):
        self.begin(own=True)
        self.session.beat()
        self.session.send_raw(f"FETCH {self.queue}\r\n".encode() * 5)
        other = self.c.session(wid=new_jid())
        other.beat()  # one loop, in order
        self.session.close()
        jid = self.push()
        self.assertEqual(self.returned(jid)[0], "queued")
        if self.kind == "dev":
            self.assertEqual(len(self.s.log(verb="FETCH")), 1)

    def test_nobody_is_handed_it(self):
        """Another session that waits for a job gets it from the server, by its own FETCH."""
        self.begin()
        other = self.strand()
        other.send(f"FETCH {self.queue}")
        third = self.c.session(wid=new_jid())
        third.beat()
        jid = self.push()
        self.assertEqual(json.loads(other.reply())["jid"], jid)
        self.assertEqual(other.ack(jid), "OK")
        self.s.wait_jid(jid, None)
        other.send("INFO")
        self.assertIn(b"faktory", other.reply())  # one reply to each


class Stranded(Case):
    def check_stranded(self, **more):
        self.begin()
        self.strand()
        jid = self.push(**more)
        failure = self.s.wait_jid(jid, "retries")["failure"]
        self.assertEqual(failure["errtype"], "JobStranded")
        self.assertRegex(failure["message"], "it never ran, and could not be put back into its queue")
        return failure["message"]

    def test_what_only_the_server_may_count(self):
        for key, value in (("bid", "b1"), ("unique_for", 60), ("track", 1)):
            with self.subTest(key):
                self.assertRegex(self.check_stranded(custom={key: value}), "belongs to a batch, is unique or is tracked")

    def test_what_is_too_large(self):
        self.assertRegex(self.check_stranded(args=["x" * 17000]), "--keep-body")

    def test_keys_that_only_look_alike(self):
        self.begin()
        self.strand()
        jid = self.push(custom={"x": {"bid": 1}}, args=[{"bid": "b"}])
        self.assertEqual(self.returned(jid)[0], "queued")


class Lost(Case):
    """The reporter's link is lost between ACK and PUSHB: at worst the job runs twice, and it is never lost."""

    def check(self, verb, execute):
        self.begin(own=True)
        self.strand()
        self.s.rule("die", verb=verb, execute=execute)
        jid = self.push(args=[1, 2])
        self.returned(jid)
        queued = [job["jid"] for job in self.s.queues()[self.queue]]
        self.assertEqual(set(queued), {jid})
        self.assertEqual(self.s.working(), [])
        return len(queued)

    def test_at_its_ack(self):
        self.assertEqual(self.check("ACK", False), 1)
        self.check("ACK", True)

    def test_at_its_pushb(self):
        self.assertEqual(self.check("PUSHB", False), 1)

    def test_at_the_answer_to_its_pushb(self):
        self.assertEqual(self.check("PUSHB", True), 2)

    def test_pushb_that_cannot_be_stored_for_a_while(self):
        self.begin(own=True)
        self.strand()
        self.s.rule("error", verb="PUSHB", text="OOM command not allowed when used memory > 'maxmemory'", times=2)
        jid = self.push()
        self.assertEqual(self.returned(jid)[0], "queued")
        self.assertEqual([e["verb"] for e in self.s.log(what="command") if jid in e["line"] and e["verb"] in ("ACK", "PUSHB")],
                         ["ACK", "PUSHB", "PUSHB", "PUSHB"])


class Late(Case):
    """The server answers a FETCH late: nil in time, and the link waits for the answer alone."""

    def test_an_ack_does_not_wait_behind_it(self):
        self.begin(own=True)
        jid = self.push()
        self.assertEqual(self.session.fetch(self.queue)["jid"], jid)
        self.s.rule("hang", verb="FETCH")
        late = self.push()
        begun = time.monotonic()
        self.assertIsNone(self.session.fetch(self.queue))
        self.assertLess(time.monotonic() - begun, 3.95)  # the shortest patience of a library is 4 s
        self.assertGreater(time.monotonic() - begun, 2.5)  # and the server's own nil would have come
        self.assertEqual(self.session.ack(jid), "OK")
        self.s.wait_jid(jid, None)
        self.assertEqual(self.s.find(late)[0], "working")
        self.s.control("release")
        self.assertEqual(self.returned(late)[0], "queued")
        self.assertEqual(self.session.fetch(self.queue)["jid"], late)

    def test_many_late_ones_are_one_link_each(self):
        self.begin(own=True)
        self.s.rule("hang", verb="FETCH", times=3)
        jids = [self.push() for _ in range(3)]
        # One for which there is no link in time is answered here, and never comes to the server.
        for _ in range(10):
            self.assertIsNone(self.session.fetch(self.queue))
            hanging = len([c for c in self.s.conns() if c["phase"] == "hang"])
            if hanging == 3:
                break
        self.assertEqual(hanging, 3)
        self.s.control("release")
        for jid in jids:
            self.assertEqual(self.returned(jid)[0], "queued")


class Bodies(Case):
    def test_they_are_not_kept_longer_than_they_are_on_their_way(self):
        """Hazards 28: 2000 jobs in hand, each as large as what would be kept."""
        self.begin(own=True)
        self.s.pushb([make_job(queue=self.queue, args=["x" * 15000]) for _ in range(2000)])
        before = self.c.rss_bytes()
        for _ in range(2000):
            self.assertIsNotNone(self.session.fetch(self.queue))
        if not self.c.sanitized:
            self.assertLess(self.c.rss_bytes() - before, 6 << 20)


class Dead(Case):
    def worker(self, body):
        """A worker without TCP_NODELAY, who does not read what he has asked for."""
        script = ("import os, socket, time, signal\n"
                  "def line():\n  data = b''\n  while not data.endswith(b'\\n'):\n    data += s.recv(1)\n  return data\n"
                  "s = socket.create_connection(('127.0.0.1', int(os.environ['FAKTORY_URL'].rpartition(':')[2])))\n"
                  "line()\ns.sendall(b'HELLO {\"v\":2,\"wid\":\"nagle\"}\\r\\n')\nline()\n"
                  f"s.sendall(b'FETCH {self.queue}\\r\\n')\nn = int(line()[1:])\ngot = b''\n"
                  "while len(got) < n + 2:\n  got += s.recv(n + 2 - len(got))\n" + body)
        self.begin(sys.executable, "-c", script)

    def test_an_ack_in_two_small_writes(self):
        """The second one waits in the worker for our acknowledgement of the first (Nagle), which TCP may take 40 ms for; an
        unread answer makes the kernel throw it away at the worker's death. That comes when chargehand has read the first
        and is asleep again."""
        jid = self.push_first()
        self.worker(f"""
import select
def chargehand():
  with open('/proc/%d/status' % os.getppid()) as f:
    status = dict(line.split(':', 1) for line in f)
  return status['State'].split()[0], int(status['voluntary_ctxt_switches'])
def unread():
  ports = [':%04X' % end[1] for end in (s.getpeername(), s.getsockname())]
  with open('/proc/net/tcp') as f:
    return [line for line in f if [field[-5:] for field in line.split()[1:3]] == ports][0].split()[4][9:] != '00000000'
s.sendall(b'BEAT {{"wid":"nagle"}}\\r\\n')
select.select([s], [], [])
while (before := chargehand())[0] != 'S':
  time.sleep(0.001)
s.sendall(b'ACK {{"jid":')
s.sendall(b'"{jid}"}}\\r\\n')
while chargehand()[1] == before[1] or unread():
  time.sleep(0.001)
os.kill(os.getpid(), signal.SIGKILL)
""")
        self.assertEqual(self.c.wait(), 137)
        self.assertEqual(self.s.find(jid)[0], None)

    def push_first(self):
        self.s = servers.shared(self.kind)
        return self.push()

    def test_a_reply_that_was_written_in_part(self):
        """Nobody has seen that job, for its last bytes never left: it goes back to its queue."""
        self.s = servers.shared(self.kind)
        self.s.push(queue=self.queue + "first")
        jid = self.push(args=["y" * 8000])
        first = self.queue
        self.queue += "first"
        self.worker("for i in range(100):\n  s.sendall(b'INFO\\r\\n' * 400)\n  time.sleep(0.002)\n"
                    f"s.sendall(b'FETCH {first}\\r\\n' * 5)\ntime.sleep(600)\n")  # the server may be too late for one
        self.s.wait_jid(jid, "working", 60)
        wait_until(lambda: self.c.process.poll() is None and self.blocked(), 20, "its socket is full")
        pid = int(self.c.wait_log("started").split("pid ")[1].split(")")[0])
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.c.wait(), 137)
        place, job = self.s.find(jid)
        self.assertEqual((place, job.get("failure")), ("queued", None))

    def blocked(self):
        port = int(self.c.wait_log("listening").rpartition(":")[2])
        with open("/proc/net/tcp") as f:
            for line in f:
                fields = line.split()
                if fields[1].endswith(f":{port:04X}") and fields[3] == "01" and int(fields[4].split(":")[0], 16) > 100000:
                    return True
        return False

    def test_commands_that_fetch_nothing_are_carried_out(self):
        """PUSH, and what is not known: the worker meant them. FETCH and BEAT are for the living."""
        self.s = servers.shared(self.kind)
        held, pushed = self.push(), new_jid()
        go = os.path.join(os.environ["TMPDIR"], pushed)
        has = go + ".has"
        wid = f"w{pushed}"
        script = (f"hello wid={wid}; fetch {self.queue}; touch {has}; await {go}; cork; "
                  f"push {self.queue} jid={pushed}; beat wid={wid}; fetch {self.queue} once; ack; "
                  f"send 'NONSENSE {pushed}'; uncork nowait; kill KILL")
        self.begin(*scripted.command(script))
        wait_until(lambda: os.path.exists(has), what="the worker has its job")
        pid = int(self.c.wait_log("started").split("pid ")[1].split(")")[0])
        self.c.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.c.pid, os.WSTOPPED)
        open(go, "w").close()
        wait_until(lambda: is_zombie(pid), what="the worker is dead")
        self.c.signal(signal.SIGCONT)
        self.assertEqual(self.c.wait(), 137)
        self.assertEqual((self.s.find(held)[0], self.s.find(pushed)[0]), (None, "queued"))
        if self.kind == "dev":
            verbs = [e["verb"] for e in self.s.log(what="command") if pushed in e["line"] or e["wid"] == wid]
            self.assertEqual(verbs, ["HELLO", "FETCH", "PUSH", "ACK", "NONSENSE"])


class Pids(Case):
    """A worker names whose jobs they are; it is believed only of its own processes."""

    def setUp(self):
        super().setUp()
        tap.need("cgroup", cgroups.parent()[1])
        self.directory = cgroups.Directory()
        self.addCleanup(self.directory.close)

    def test_somebody_elses_pid(self):
        stranger = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(lambda: stranger.poll() is None and (stranger.kill(), stranger.wait()))
        self.s = servers.shared(self.kind)
        jid = self.push()
        self.begin(*scripted.command(f"hello pid={stranger.pid}; fetch {self.queue}; close; hold"),
                   options=["--cgroup", self.directory.path])
        self.s.wait_jid(jid, "working")
        stranger.kill()
        stranger.wait()
        self.c.signal(signal.SIGTSTP)
        self.c.wait_log("SIGTSTP")  # one loop, in order: it would have seen that end
        self.assertEqual(self.s.find(jid)[0], "working")
        self.assertEqual(self.c.stop(), 0)
        self.assertEqual(self.s.find(jid)[1]["failure"]["errtype"], "WorkerStopped")

    def test_the_first_process_named_by_a_child(self):
        """Its death is not that of the child."""
        self.s = servers.shared(self.kind)
        jid = self.push()
        script = f"fork {{raw}}; hold".replace("raw", f"hello pid=PARENT; fetch {self.queue}; sleep 0.3; kill KILL")
        command = scripted.command(script)
        self.begin("sh", "-c", 'exec "$1" "$2" "$(echo "$3" | sed "s/PARENT/$$/")"', "sh", *command,
                   options=["--cgroup", self.directory.path])
        self.s.wait_jid(jid, "working")
        self.c.wait_log("running .hello.")
        time.sleep(0.6)  # the child has died by then: nothing tells of it
        self.assertEqual(self.s.find(jid)[0], "working")
        self.assertEqual(self.c.stop(), 0)
        self.assertEqual(self.s.find(jid)[1]["failure"]["errtype"], "WorkerStopped")


notes = [f"{kind}: {reason or 'in use'}" for kind, reason in [*servers.available().items(), ("cgroup", cgroups.parent()[1])]]
for case in (Returned, Stranded, Dead):
    globals()[f"Real{case.__name__}"] = type(f"Real{case.__name__}", (case,), {"kind": "real"})

if __name__ == "__main__":
    del case
    tap.main(notes=notes)
