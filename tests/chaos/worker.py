#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A worker for chaos: does with each job what the job says, and writes down what it has done, *after* it has done it.

A job's args are [WHAT, MILLISECONDS, END]: after so many milliseconds
  ack    ACK, in one send(2)                fail   FAIL, errtype "Own"
  half   all of the ACK but its last bytes  none   nothing
  fork   the first process exits with 0 at once, its child takes the job and sends the ACK
and then END, if not null: "KILL", "SEGV", "ABRT" (a signal to itself) or a number (exit).

SIGUSR2 in a FETCH: it hangs up, and fetches on another connection. Only its own half, so that a job which was on its way
just then is done all the same.

Lines of $CHAOS_LOG are "WORD JID PID MONOTONIC_NS [MORE]": start, sending, sent (the send of its ACK has returned), ok (and
its answer has come), fail-sent, fail-ok, half, end (what it is about to do to itself), forked (PID of the child).
"""
import json
import os
import signal
import socket
import sys
import time
import urllib.parse

stopping = False


class Ended(Exception):
    pass


class Connection:
    def __init__(self):
        url = urllib.parse.urlsplit(os.environ["FAKTORY_URL"])
        self.socket = socket.create_connection((url.hostname, url.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.reply()
        hello = {"v": 2, "pid": os.getpid(), "wid": f"chaos-{os.getpid()}", "hostname": "here", "labels": []}
        self.command(b"HELLO " + json.dumps(hello).encode())

    def _until(self, end):
        while end() is None:
            data = self.socket.recv(65536)
            if not data:
                raise Ended
            self.buffer += data
        n = end()
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def reply(self):
        line = self._until(lambda: self.buffer.index(b"\r\n") + 2 if b"\r\n" in self.buffer else None)
        if line[:1] != b"$" or line == b"$-1\r\n":
            return None if line[:1] == b"$" else line[:-2]
        size = int(line[1:]) + 2
        return self._until(lambda: size if len(self.buffer) >= size else None)[:-2]

    def send(self, line):
        if self.socket.send(line + b"\r\n") != len(line) + 2:
            raise Ended

    def command(self, line):
        self.send(line)
        return self.reply()


class Worker:
    def __init__(self):
        self.log_fd = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.one, self.two = Connection(), Connection()
        self.n, self.fetching, self.hung_up = 0, False, False
        signal.signal(signal.SIGUSR2, self.hang_up)

    def log(self, word, jid, more=""):
        os.write(self.log_fd, f"{word} {jid} {os.getpid()} {time.monotonic_ns()} {more}\n".encode())

    def hang_up(self, *_):
        if self.fetching:
            self.hung_up = True
            self.one.socket.shutdown(socket.SHUT_WR)

    def fetch(self, queue):
        self.fetching = True
        try:
            return self.one.command(b"FETCH " + queue.encode())
        except Ended:
            if not self.hung_up:
                raise
            return None
        finally:
            self.fetching = False
            if self.hung_up:
                self.hung_up = False
                self.one.socket.close()
                self.one = Connection()

    def end(self, jid, how):
        self.log("end", jid, how)
        if isinstance(how, int):
            os._exit(how)
        signal.signal(signal.Signals["SIG" + how], signal.SIG_DFL) if how != "KILL" else None
        os.kill(os.getpid(), signal.Signals["SIG" + how])
        time.sleep(60)

    def report(self, jid, what):
        # Both of a library's habits: on the connection that fetched, and on another.
        self.n += 1
        c = self.one if self.n % 2 else self.two
        if what == "fail":
            line = {"jid": jid, "errtype": "Own", "message": "as the job said", "backtrace": []}
            c.send(b"FAIL " + json.dumps(line).encode())
            self.log("fail-sent", jid)
        else:
            self.log("sending", jid)
            c.send(b'ACK {"jid":"%s"}' % jid.encode())
            self.log("sent", jid)
        return c

    def run(self, job):
        jid = job["jid"]
        self.log("start", jid)
        what, milliseconds, how = (list(job["args"]) + [None] * 3)[:3]
        if what == "fork":
            child = os.fork()
            if child:
                self.log("forked", jid, child)
                os._exit(0)
        time.sleep(milliseconds / 1000)
        if what in ("ack", "fork", "fail"):
            c = self.report(jid, what)
            if how is None or self.n % 3 == 0:  # with and without having seen the answer
                if c.reply() == b"+OK":
                    self.log("fail-ok" if what == "fail" else "ok", jid)
        elif what == "half":
            self.log("half", jid)
            self.two.socket.send(b'ACK {"jid":"%s' % jid.encode())
        if what == "fork":
            os._exit(0)
        if how is not None:
            self.end(jid, how)

    def work(self, queue):
        while not stopping:
            job = self.fetch(queue)
            if job is not None and job[:1] == b"{":
                self.run(json.loads(job))


def on_term(*_):
    global stopping
    stopping = True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, on_term)
    try:
        Worker().work(sys.argv[1])
    except (Ended, OSError):
        sys.exit(98)
