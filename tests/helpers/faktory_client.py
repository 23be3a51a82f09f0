# SPDX-License-Identifier: MIT
"""A small Faktory client for tests, which shows bytes as they are and can be rude.

  c = Client(url)                 or Client(port), or Client(url, wid="w1", hello={...})
  c.push(...)  c.pushb([...])  c.fetch("q")  c.ack(jid)  c.fail(jid, ...)  c.beat()  c.info()  c.mutate(...)
  c.command("QUEUE PAUSE q")      one line out, one reply in
  c.send("LINE") / c.send_raw(b"...") / c.reply() / c.raw_reply()     each half by itself
  c.eof()                         is the connection closed now?  c.close(reset=True) ends it with RST

A reply is a str (+...), bytes ($n), None ($-1) or int; -... is raised as ServerError; a connection that
is at its end is raised as Closed. Servers to talk to are in servers.py.
"""
import hashlib
import itertools
import json
import os
import secrets
import socket
import struct
import time
import urllib.parse


class Error(Exception):
    pass


class ServerError(Error):
    """The server said -...; str() is the text after the minus."""


class Closed(Error):
    """EOF or RST; .reset tells which, .partial is what had come of the reply."""

    def __init__(self, reset, partial=b""):
        super().__init__("RST" if reset else "EOF")
        self.reset, self.partial = reset, partial


_jids = itertools.count(1)
_prefix = f"j{os.getpid()}{secrets.token_hex(4)}"


def new_jid():
    return f"{_prefix}n{os.getpid() % 1000}x{next(_jids):06d}"


def make_job(jobtype="echo", args=(), queue="default", jid=None, retry=25, **more):
    """retry is always explicit: without one the server takes whatever somebody else pushed last."""
    job = {"jid": jid or new_jid(), "queue": queue, "jobtype": jobtype, "args": list(args), "retry": retry, **more}
    return {key: value for key, value in job.items() if value is not None}


def pwdhash(password, salt, rounds):
    digest = (password + salt).encode()
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


class Client:
    def __init__(self, url, wid=None, hello=None, shake=True, timeout=30, password=None, eol=b"\r\n", v=2, pid=None):
        """URL is tcp://[:PASSWORD@]HOST:PORT or a port of 127.0.0.1. HELLO: more fields, or bytes sent as they
        are. v=None leaves v out (the server then hashes one round). shake=False: nothing is sent or read."""
        if isinstance(url, int):
            url = f"tcp://127.0.0.1:{url}"
        parts = urllib.parse.urlsplit(url)
        self.url, self.timeout, self.eol, self.wid = url, timeout, eol, wid
        self.password = password if password is not None else urllib.parse.unquote(parts.password or "")
        self.sock = socket.create_connection((parts.hostname, parts.port or 7419), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.hi = None
        if shake:
            try:
                self.handshake(hello, v, pid)
            except BaseException:
                self.close()
                raise

    def handshake(self, hello=None, v=2, pid=None):
        self.hi = self.raw_reply()
        hi = json.loads(self.hi[4:])
        if isinstance(hello, bytes):
            self.send_raw(b"HELLO " + hello + self.eol)
            return self.reply()
        fields = {"hostname": "test", "wid": self.wid, "pid": pid or os.getpid(), "labels": ["test"], "v": v}
        if not self.wid:
            fields = {"v": v}
        if "s" in hi:
            fields["pwdhash"] = pwdhash(self.password, hi["s"], hi["i"] if (v or 0) >= 2 else 1)
        fields.update(hello or {})
        self.send("HELLO " + json.dumps({key: value for key, value in fields.items() if value is not None}))
        return self.reply()

    # --- bytes

    @property
    def port(self):
        """Our own port: how a server's log can be matched to this connection."""
        return self.sock.getsockname()[1]

    def fileno(self):
        return self.sock.fileno()

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except ConnectionError as e:
            raise Closed(True) from e

    def send(self, line):
        self.send_raw((line.encode(errors="surrogateescape") if isinstance(line, str) else line) + self.eol)

    def _more(self, until=None):
        end = None if until is None else until - time.monotonic()
        if end is not None and end <= 0:
            raise TimeoutError("no reply")
        self.sock.settimeout(end)
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionError as e:
            raise Closed(True, self.buffer) from e
        finally:
            self.sock.settimeout(self.timeout)
        if not data:
            raise Closed(False, self.buffer)
        self.buffer += data

    def raw_reply(self, timeout=None):
        """One whole reply, its bytes as they came."""
        until = time.monotonic() + (timeout or self.timeout)
        while (end := self.buffer.find(b"\n")) < 0:
            self._more(until)
        end += 1
        if self.buffer[:1] == b"$" and self.buffer[1:2] != b"-":
            end += int(self.buffer[1:end]) + 2
            while len(self.buffer) < end:
                chunks, missing = [self.buffer], end - len(self.buffer)
                self.buffer = b""
                while missing > 0:  # big bodies: no quadratic appending
                    try:
                        self._more(until)
                    except Closed as e:
                        e.partial = b"".join(chunks)
                        raise
                    missing -= len(self.buffer)
                    chunks.append(self.buffer)
                    self.buffer = b""
                self.buffer = b"".join(chunks)
        raw, self.buffer = self.buffer[:end], self.buffer[end:]
        return raw

    def reply(self, timeout=None):
        raw = self.raw_reply(timeout)
        kind, rest = raw[:1], raw[1:].rstrip(b"\r\n")
        if kind == b"+":
            return rest.decode("utf-8", "surrogateescape")
        if kind == b"-":
            raise ServerError(rest.decode("utf-8", "surrogateescape"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else raw[raw.index(b"\n") + 1:-2]
        raise Error(f"not RESP: {raw[:80]!r}")

    def command(self, line, timeout=None):
        self.send(line)
        return self.reply(timeout)

    def raw_command(self, line, timeout=None):
        self.send(line)
        return self.raw_reply(timeout)

    def eof(self, timeout=5):
        """Wait for the other side's end. True: closed without another byte."""
        try:
            self._more(time.monotonic() + timeout)
        except Closed:
            return True
        except TimeoutError:
            return False
        return False

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- commands

    def push(self, jobtype="echo", args=(), **more):
        job = make_job(jobtype, args, **more)
        self.command("PUSH " + json.dumps(job))
        return job["jid"]

    def pushb(self, jobs):
        """Jobs as from make_job(); returns their jids. Refusals raise."""
        refused = json.loads(self.command("PUSHB " + json.dumps(jobs)))
        if refused:
            raise ServerError(str(refused))
        return [job["jid"] for job in jobs]

    def fetch(self, *queues, timeout=None):
        body = self.command("FETCH " + " ".join(queues or ("default",)), timeout)
        return None if body is None else json.loads(body)

    def ack(self, jid):
        return self.command("ACK " + json.dumps({"jid": jid}))

    def fail(self, jid, message="failed", errtype="Error", backtrace=()):
        return self.command("FAIL " + json.dumps(
            {"jid": jid, "errtype": errtype, "message": message, "backtrace": list(backtrace)}))

    def beat(self, wid=None, **more):
        """"OK", or the state as a dict."""
        answer = self.command("BEAT " + json.dumps({"wid": wid or self.wid, **more}))
        return answer if isinstance(answer, str) else json.loads(answer)

    def info(self):
        return json.loads(self.command("INFO"))

    def mutate(self, cmd, target, **more):
        return self.command("MUTATE " + json.dumps({"cmd": cmd, "target": target, **more}, separators=(",", ":")))

    def flush(self):
        return self.command("FLUSH")

    def end(self):
        self.send("END")
        return self.eof()
