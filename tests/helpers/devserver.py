#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small Faktory server in memory, for tests and for the demonstration. Not for production.

It answers as Faktory 1.10 does, quirks included; tests/conformance holds both to the same tests. It
shares nothing with chargehand's sources, so that no bug is shared either. Sets and rules are in
devstore.py, Go's JSON in gojson.py, misbehaviour on demand and the view from outside in devmischief.py.

  devserver.py [--port N] [--password PW] [--scale F] [--state FILE] [--control SOCKET] ...

When it serves it prints "PORT n" on stdout. TERM or INT end it as they end the real server. With --state
what it knew is there again at the next start, also after SIGKILL. --scale 0.05 makes leases, the
reaper, the scans and retry delays twenty times as fast; heartbeats, FETCH and the handshake have
options of their own, because real clients count those seconds too.
"""
import argparse
import asyncio
import hashlib
import json
import os
import random
import resource
import secrets
import signal
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gojson
from devmischief import Control, Mischief
from devstore import Job, Manager, Refused, Store, stamp

HELLO = {"hostname": "string", "wid": "string", "pwdhash": "string", "username": "string", "labels": "[]string",
         "pid": "int", "rss_kb": "int64", "v": "uint8"}
BEAT = {"current_state": "string", "wid": "string", "rss_kb": "int64"}
FAIL = {"jid": "string", "message": "string", "errtype": "string", "backtrace": "[]string"}
MUTATE = {"cmd": "string", "target": "string",
          "filter": ({"jids": "[]string", "regexp": "string", "jobtype": "string"}, "client.JobFilter")}
STATES = ("", "quiet", "terminate")
NIL, OK = (b"$-1\r\n",), (b"+OK\r\n",)


def bulk(text):
    data = text.encode()
    return b"$%d\r\n" % len(data), data, b"\r\n"  # three writes, as the real server does


def cut(text, limit):
    """Trimmed and cut at a number of bytes; half a character becomes U+FFFD each."""
    data = text.strip().encode()
    return data[:limit].decode("utf-8", "one-by-one") or "unknown"


class Worker:
    """What HELLO said. BEAT and quiet reach the object of the wid's first connection only."""

    def __init__(self, fields):
        self.wid, self.version, self.pwdhash = fields.get("wid", ""), fields.get("v", 0), fields.get("pwdhash", "")
        self.pid, self.hostname, self.labels = fields.get("pid", 0), fields.get("hostname", ""), fields.get("labels")
        self.state, self.rss, self.beat, self.connections = 0, 0, time.monotonic(), set()

    def signal(self, state):
        self.state = max(self.state, state)  # running, quiet, terminate: never back


class Connection:
    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.buffer, self.scanned, self.received = bytearray(), 0, 0
        self.worker = self.task = None
        self.phase = "read"
        self.mute = self.closed = False
        self.can_read = asyncio.Event()
        self.can_read.set()
        self.line_at = 0  # when the last byte of the line came

    async def read_line(self):
        """The next line without its end, or None. Bytes after the last line end are nobody's command."""
        while True:
            end = self.buffer.find(b"\n", self.scanned)
            if self.server.mischief.rules and self.server.mischief.drops(self, end):
                return None
            if end >= 0:
                line = bytes(self.buffer[:end])
                del self.buffer[:end + 1]
                self.scanned = 0
                return line[:-1] if line.endswith(b"\r") else line
            self.scanned = len(self.buffer)
            self.phase = "read"
            try:
                data = await self.server.loop.sock_recv(self.sock, 1 << 18)
            except OSError:
                return None
            self.line_at = time.monotonic_ns()
            await self.server.gate.wait()
            await self.can_read.wait()
            if not data or self.closed:
                return None
            self.received += len(data)
            self.buffer += data

    async def write(self, pieces):
        """Errors are ignored: what was asked is done, whether the client is there or not."""
        self.phase = "write"
        await self.server.gate.wait()
        for piece in pieces:
            if self.mute or self.closed:
                return
            try:
                await self.server.loop.sock_sendall(self.sock, piece)
            except OSError:
                self.mute = True

    def close(self, reset=False):
        if not self.closed:
            self.closed = True
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.server.loop.remove_reader(self.sock)
            self.server.loop.remove_writer(self.sock)
            self.sock.close()

    def kick(self, reset=False):
        """Close it from outside. A command that is being carried out goes on all the same."""
        phase = self.phase
        self.close(reset)
        if phase not in ("run", "hang") and self.task and self.task is not asyncio.current_task():
            self.task.cancel()


class Server:
    def __init__(self, options):
        self.options = options
        self.hashing = asyncio.Lock()
        self.store = Store(options.state)
        self.manager = Manager(self.store, options.scale, options.lease_scale, self.note)
        self.manager.wake = self.serve_waiters
        self.mischief = Mischief(self)
        self.workers, self.connections, self.waiters = {}, {}, []
        self.open = self.commands = self.numbers = 0
        self.stopping = False
        self.started = time.time()
        self.listener = self.acceptor = None
        self.verbs = {name[3:].upper(): getattr(self, name) for name in dir(self) if name.startswith("do_")}

    def note(self, text):
        print(f"devserver: {text}", file=sys.stderr, flush=True)

    # --- connections

    def listen(self, port):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.acceptor = self.loop.create_task(self.accept())
        return self.listener.getsockname()[1]

    def unlisten(self):
        self.acceptor.cancel()
        self.loop.remove_reader(self.listener)
        self.listener.close()

    def accepting(self, on):
        self.acceptor.cancel()
        if on:
            self.acceptor = self.loop.create_task(self.accept())

    async def accept(self):
        while True:
            try:
                sock, _ = await self.loop.sock_accept(self.listener)
            except OSError as e:
                self.note(f"accept: {e}")
                await asyncio.sleep(0.05)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.numbers += 1
            c = self.connections[self.numbers] = Connection(self, sock, self.numbers)
            self.mischief.log(c, "open")
            c.task = self.loop.create_task(self.run(c))

    async def run(self, c):
        try:
            if await self.handshake(c):
                await self.session(c)
        except asyncio.CancelledError:
            pass
        finally:
            c.close()
            del self.connections[c.number]
            self.mischief.log(c, "close", rest=bytes(c.buffer[:200]).decode("utf-8", "replace"), received=c.received)
            if c.worker and c.worker.wid in self.workers:
                entry = self.workers[c.worker.wid]
                entry.connections.discard(c)
                if not entry.connections:
                    del self.workers[c.worker.wid]

    async def handshake(self, c):
        rounds, salt = random.randrange(4000, 8096), f"{secrets.randbits(63):x}"
        hi = (b'+HI {"v":2', b"}", b"\r\n")
        if self.options.password:
            hi = (b'+HI {"v":2', b',"i":', b"%d" % rounds, b',"s":"', salt.encode(), b'"}', b"\r\n")
        await self.mischief.answer(c, "HI", b"", hi)
        try:
            async with asyncio.timeout(self.options.handshake):
                line = await c.read_line()
        except TimeoutError:
            return False
        if line is None or not line.startswith(b"HELLO {"):
            return False
        try:
            c.worker = Worker(gojson.decode(gojson.loads(line[6:]), HELLO, "server.ClientData"))
        except gojson.Error:
            return False
        if self.options.password:
            digest = await self.hash((self.options.password + salt).encode(), 1 if c.worker.version < 2 else rounds)
            if c.worker.pwdhash != digest.hex():
                self.mischief.command(c, "HELLO", line)
                await c.write((b"-ERR Invalid password\r\n",))
                return False
        if c.worker.wid:
            self.workers.setdefault(c.worker.wid, c.worker).connections.add(c)
        await self.mischief.answer(c, "HELLO", line, OK)
        return not c.closed

    async def hash(self, digest, rounds):
        """Takes milliseconds, in which others' HELLOs must be read: they have only so long for them."""
        async with self.hashing:
            for i in range(rounds):
                digest = hashlib.sha256(digest).digest()
                if i % 500 == 499:
                    await asyncio.sleep(0)
        return digest

    async def session(self, c):
        self.open += 1
        try:
            if self.open > self.options.max_connections:
                await c.write((b"-ERR too many connections: %d\r\n" % self.open,))
                return
            while (line := await c.read_line()) is not None:
                if self.stopping:
                    await c.write((b"-ERR shutdown in progress\r\n",))
                    return
                verb = line.partition(b" ")[0].decode("utf-8", "replace")
                do = self.verbs.get(verb)
                self.commands += do is not None
                if verb == "END":
                    self.mischief.command(c, verb, line)
                    return
                await self.mischief.answer(c, verb, line, self.execute(c, verb, do, line))
                if c.closed:
                    return
                if self.commands % 32 == 0:
                    await asyncio.sleep(0)  # nobody is starved by one who pipelines
        finally:
            self.open -= 1

    async def execute(self, c, verb, do, line):
        if do is None:
            return (b"-ERR unknown command " + line.partition(b" ")[0] + b"\r\n",)
        try:
            result = do(c, line)
            return await result if asyncio.iscoroutine(result) else result
        except (Refused, gojson.Error) as e:
            return (f"-ERR {e}\r\n".encode(errors="surrogateescape"),)
        except IndexError:
            return (b"-ERR internal error\r\n",)

    # --- commands

    @staticmethod
    def data(line, verb):
        if len(line) <= len(verb):
            raise IndexError  # the real server panics here, and recovers
        return line[len(verb) + 1:]

    def do_push(self, c, line):
        try:
            job = self.manager.decode_push(self.data(line, "PUSH"))
        except gojson.Error as e:
            raise Refused(f"invalid JSON: {e}") from None
        self.manager.push(job)
        return OK

    def do_pushb(self, c, line):
        try:
            tree = gojson.loads(self.data(line, "PUSHB"))
            if tree is not None and not isinstance(tree, list):
                raise gojson.Error(f"json: cannot unmarshal {gojson._kind(tree)} into Go value of type []client.Job")
            jobs = [Job(one) for one in tree or ()]
        except gojson.Error as e:
            raise Refused(f"invalid JSON: {e}") from None
        refused = {}
        for job in jobs:
            try:
                self.manager.push(job)
            except Refused as e:
                refused[job.jid] = str(e)
        return bulk(gojson.dumps(refused))

    async def do_fetch(self, c, line):
        if c.worker.state:
            await asyncio.sleep(self.options.fetch_block)
            return NIL
        names = line.decode("utf-8", "replace").split(" ")[1:]
        if not names:
            raise Refused("must call fetch with at least one queue")
        names = [name for name in names if name not in self.store.paused]
        job = self.manager.take(names, c.worker.wid)
        if job is None:
            waiter = (names, c.worker.wid, self.loop.create_future())
            self.waiters.append(waiter)
            try:
                async with asyncio.timeout(self.options.fetch_block):
                    job = await waiter[2]
            except TimeoutError:
                return NIL
            finally:
                if waiter in self.waiters:
                    self.waiters.remove(waiter)
        return bulk(job.text())

    def serve_waiters(self):
        """A job came: the FETCH that waits longest gets it, quiet, paused or gone as it may be by now."""
        for waiter in list(self.waiters):
            names, wid, future = waiter
            if future.done() or not any(self.store.queues.get(name) for name in names):
                continue
            self.waiters.remove(waiter)
            future.set_result(self.manager.take(names, wid))

    def do_ack(self, c, line):
        data = self.data(line, "ACK")
        try:
            tree = gojson.loads(data)
        except gojson.Error:
            tree = None
        if not isinstance(tree, dict) or "jid" not in tree or not all(
                isinstance(value, str) or value is None for value in tree.values()):
            raise Refused("invalid ACK " + data.decode("utf-8", "surrogateescape"))
        self.manager.ack(gojson.text(tree["jid"] or ""))
        return OK

    def do_fail(self, c, line):
        data = self.data(line, "FAIL")
        try:
            f = gojson.decode(gojson.loads(data), FAIL, "manager.FailPayload")
        except gojson.Error:
            raise Refused("invalid FAIL " + data.decode("utf-8", "surrogateescape")) from None
        if not f.get("jid"):
            raise Refused("missing JID")
        self.manager.fail(f["jid"], cut(f.get("errtype", ""), 100), cut(f.get("message", ""), 1000),
                          f.get("backtrace", [])[:50])
        return OK

    def do_beat(self, c, line):
        data = self.data(line, "BEAT")
        try:
            beat = gojson.decode(gojson.loads(data), BEAT, "server.ClientBeat")
        except gojson.Error:
            raise Refused("invalid BEAT " + data.decode("utf-8", "surrogateescape")) from None
        entry = self.workers.get(beat.get("wid", ""))
        if entry is None:
            raise Refused(f"unknown worker {beat.get('wid', '')}")
        entry.rss, entry.beat = beat.get("rss_kb", 0), time.monotonic()
        if beat.get("current_state") in STATES[1:]:
            entry.signal(STATES.index(beat["current_state"]))
        return OK if not entry.state else bulk('{"state":"%s"}' % STATES[entry.state])

    def do_info(self, c, line):
        queues = {name: len(jobs) for name, jobs in sorted(self.store.queues.items())}
        sets = {name: len(self.store.sets[name]) for name in sorted(self.store.sets)}
        state = {"now": stamp(time.time_ns()), "server_utc_time": time.strftime("%H:%M:%S UTC", time.gmtime()),
                 "faktory": {"queues": queues, "sets": sets, "tasks": {},
                             "total_failures": self.store.counters["failures"],
                             "total_processed": self.store.counters["processed"],
                             "total_enqueued": sum(queues.values()), "total_queues": len(queues)},
                 "server": {"description": "Faktory", "faktory_version": "1.10.0",
                            "uptime": int(time.time() - self.started), "connections": self.open,
                            "command_count": self.commands, "used_memory_mb": 1}}
        return bulk(json.dumps(state, separators=(",", ":")))

    def do_flush(self, c, line):
        self.store.flush()  # reservations stay known in memory, as in the real server
        return OK

    def do_mutate(self, c, line):
        parts = line.split(b" ")
        if len(parts) != 2:
            raise Refused("invalid format")
        self.manager.mutate(gojson.decode(gojson.loads(parts[1]), MUTATE, "client.Operation"))
        return OK

    def do_queue(self, c, line):
        words = line.decode("utf-8", "replace").split(" ")[1:]
        verb = words[0].upper()
        if verb == "LATENCY":
            if words[1:] == ["*"]:
                raise Refused("QUEUE LATENCY does not support wildcards")
            return bulk(gojson.dumps(dict.fromkeys(words[1:], 0)))
        if verb not in ("PAUSE", "RESUME", "REMOVE"):
            raise Refused(f"no such QUEUE subcommand: {verb}")
        for name in list(self.store.queues) if words[1] == "*" else words[1:]:
            if name in self.store.queues and verb == "REMOVE":
                self.store.drop_queue(name)
            elif name in self.store.queues:
                self.store.pause(name, verb == "PAUSE")
        return OK

    def do_batch(self, c, line):
        raise Refused("batch subsystem is only available in Faktory Enterprise")

    def do_track(self, c, line):
        raise Refused("tracking subsystem is only available in Faktory Enterprise")

    def do_end(self, c, line):
        return ()

    # --- the clock

    def reap_beats(self):
        for wid, entry in list(self.workers.items()):
            if time.monotonic() - entry.beat > self.options.beat_timeout:
                self.note(f"{wid}: no BEAT, its {len(entry.connections)} connections are closed")
                del self.workers[wid]
                for c in list(entry.connections):
                    c.kick()

    async def every(self, seconds, *tasks):
        """At fixed ticks of the wall clock, plus the fraction at which this server started."""
        fraction = self.started % min(seconds, 1) if seconds else 0
        while True:
            now = time.time() - fraction
            await asyncio.sleep(seconds - now % seconds)
            await self.gate.wait()
            for task in tasks:
                task()

    async def main(self):
        o = self.options
        self.loop = asyncio.get_running_loop()
        self.gate, self.done = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.port = self.listen(o.port)
        tasks = [self.loop.create_task(task) for task in (
            self.every(5 * o.scale, lambda: self.manager.requeue_due("scheduled"),
                       lambda: self.manager.requeue_due("retries")),
            self.every(o.reap_every or 15 * o.lease_scale, self.manager.reap),
            self.every(o.beat_timeout / 4, self.reap_beats))]
        if o.control:
            control = await asyncio.start_unix_server(Control(self).serve, o.control, limit=1 << 26)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.done.set)
        print(f"PORT {self.port}", flush=True)
        await self.done.wait()

        self.stopping = True
        self.unlisten()
        await asyncio.sleep(0.1)
        for _, _, future in self.waiters:
            if not future.done():
                future.set_exception(Refused("redis: client is closed"))
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        if o.control:
            control.close()
            os.unlink(o.control)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", type=int, default=0, help="default: a free one")
    p.add_argument("--password", default="")
    p.add_argument("--scale", type=float, default=1.0, help="leases, reaper, scans, retry delays: times this")
    p.add_argument("--lease-scale", type=float, help="leases and reaper only; default as --scale")
    p.add_argument("--reap-every", type=float, metavar="S", help="default 15, scaled like leases")
    p.add_argument("--fetch-block", type=float, default=2.0, metavar="S")
    p.add_argument("--handshake", type=float, default=2.0, metavar="S")
    p.add_argument("--beat-timeout", type=float, default=60.0, metavar="S", help="checked each quarter of it")
    p.add_argument("--max-connections", type=int, default=2000, metavar="N")
    p.add_argument("--state", metavar="FILE", help="what survives the end of this process")
    p.add_argument("--control", metavar="SOCKET", help="UNIX socket for tests, see devmischief.py")
    options = p.parse_args()
    options.lease_scale = options.lease_scale or options.scale
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(options)
    asyncio.run(server.main())


if __name__ == "__main__":
    main()
