#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A worker that does exactly what its script says: one process, plain sockets, $FAKTORY_URL.

  scripted.py 'hello; fetch q; sleep 0.1; ack; exit 3'       or  scripted.py -f FILE

Steps are separated by ";" or line ends, words as in a shell; {...} holds an inner script (nesting works).
"@b STEP" uses connection b (default: a), opened by its first hello. Steps wait for replies unless said otherwise.

  connect                 dial only, do not even read the greeting
  hello [wid=W] [nowid] [nov] [pid=N] [lf] [raw=JSON]    lf: this connection ends its lines with LF; nov: no "v"
  fetch QUEUE... [n=N]    until N (1) jobs are in hand, asking again after nil;  [once]: a single FETCH, nil is fine
  ack [JID | #I | all]    default: the oldest job not yet reported; #I: the I-th job fetched (from 0), reported or not
  fail [JID | #I | all] [msg=TEXT] [type=TEXT] [pad=BYTES]    pad: the length of its backtrace
  beat   info   push QUEUE [size=BYTES] [n=N] [jid=J] [reserve=S] [retry=N]
  send LINE               a line as it is;  raw TEXT: bytes with \\n, \\x00 ... and no line end
     fetch, ack, fail, beat, info, push, send take: nowait (leave the reply unread), half=N (only the first N bytes
     of the line; negative: all but so many), slow=S (byte by byte, S seconds apart), noeol
  cork / uncork           between them everything is collected, then sent in one write and all replies read
                          (not with "uncork nowait")
  read                    one reply;  expect TEXT: the last reply began so, else exit 99
  end | close | close rst | shutdown
  sleep S | hold (for ever) | await FILE | touch FILE | spin S (busy)
  exit N | kill SIGNAL [parent] (default: itself) | segv (a bad access) | abort | stop (SIGSTOP itself)
  fork {...} | orphan {...}       a child (or a grandchild, in a session of its own) does this and exits 0; it
                                  shares the sockets
  wait                    for all children
  on SIGNAL {...} | ignore SIGNAL | default SIGNAL
  repeat N {...} | forever {...}
  stderr TEXT [n=N] | stdout TEXT [n=N] | eat MIB | setsid | env NAME | fds | exec PROGRAM ARG...

With $SCRIPT_LOG each step writes one JSON object a line there, *after* it is done: {"ns": CLOCK_MONOTONIC, "pid",
"conn", "step", ...}. Steps: "start", "sent" (verb, jid, bytes; after send(2) returned), "reply" (text, its first 200
bytes), "job" (jid), "eof", "signal", "fork" (child), "step" (what else there is). read_log() reads it. An unexpected
end of a connection is exit 98, unless a step "eof ok" came before; a mistake in the script is exit 2.
"""
import ctypes
import hashlib
import json
import os
import re
import shlex
import signal
import socket
import struct
import sys
import time
import urllib.parse

SELF = os.path.abspath(__file__)


def command(script, queue=None):
    """The command line that runs this script. The word Q in it is the queue; a Q within a word, as in the name of a
    temporary directory, is none."""
    if queue:
        script = re.sub(r"\bQ\b", queue, script)
    return [sys.executable, SELF, script]


def read_log(path):
    try:
        with open(path) as f:
            return [json.loads(line) for line in f if line.endswith("\n")]
    except FileNotFoundError:
        return []


def split(script):
    """Steps of a script as lists of words; {...} is one word."""
    steps, word, depth, i = [], "", 0, 0
    out = []

    def finish():
        nonlocal word
        if word.strip() and not word.strip().startswith("#"):
            steps.append(word.strip())
        word = ""

    quote = None
    while i < len(script):
        ch = script[i]
        if quote:
            quote = None if ch == quote else quote
        elif ch in "'\"":
            quote = ch
        elif ch == "{" and (depth or not word.strip() or word[-1:].isspace()):
            depth += 1
        elif ch == "}" and depth:
            depth -= 1
        elif ch in ";\n" and not depth:
            finish()
            i += 1
            continue
        word += ch
        i += 1
    finish()
    if quote or depth:
        raise SystemExit(f"scripted: unbalanced: {script}")
    for step in steps:
        head, brace, rest = step.partition("{") if re.search(r"\s\{.*\}$", step, re.S) else (step, "", "")
        words = shlex.split(head)
        out.append(words + [rest[:-1]] if brace else words)
    return out


class Ended(Exception):
    pass


class Connection:
    def __init__(self, worker, name):
        self.worker, self.name, self.eol, self.buffer, self.corked = worker, name, b"\r\n", b"", None
        self.waiting = []  # verbs whose replies have not been read
        url = urllib.parse.urlsplit(worker.url)
        self.password = urllib.parse.unquote(url.password or "")
        self.sock = socket.create_connection((url.hostname, url.port or 7419))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data, verb, slow=0.0, **more):
        if self.corked is not None:
            self.corked += data
            return
        try:
            if slow:
                for byte in data:
                    self.sock.sendall(bytes([byte]))
                    time.sleep(slow)
            else:
                self.sock.sendall(data)
        except ConnectionError as e:
            self.worker.log("eof", conn=self.name, error=str(e))
            raise Ended from None
        self.worker.log("sent", conn=self.name, verb=verb, bytes=len(data), **more)

    def _more(self):
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionError as e:
            data, error = b"", str(e)
        else:
            error = None
        if not data:
            self.worker.log("eof", conn=self.name, error=error)
            raise Ended
        self.buffer += data

    def read(self):
        while (end := self.buffer.find(b"\n")) < 0:
            self._more()
        end += 1
        if self.buffer[:1] == b"$" and self.buffer[1:2] != b"-":
            end += int(self.buffer[1:end]) + 2
            while len(self.buffer) < end:
                self._more()
        raw, self.buffer = self.buffer[:end], self.buffer[end:]
        verb = self.waiting.pop(0) if self.waiting else ""
        self.worker.log("reply", conn=self.name, verb=verb, text=raw[:200].decode("utf-8", "replace"))
        self.worker.last = raw
        if verb == "FETCH" and raw[:1] == b"$" and raw[1:2] != b"-":
            job = json.loads(raw[raw.index(b"\n") + 1:])
            self.worker.jobs.append(job["jid"])
            self.worker.open.append(job["jid"])
            self.worker.log("job", conn=self.name, jid=job["jid"], queue=job["queue"], jobtype=job["jobtype"])
        return raw


class Worker:
    def __init__(self):
        provider = os.environ.get("FAKTORY_PROVIDER")
        self.url = os.environ.get(provider or "FAKTORY_URL") or "tcp://localhost:7419"
        self.connections, self.jobs, self.open, self.last, self.eof_ok = {}, [], [], b"", False
        path = os.environ.get("SCRIPT_LOG")
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644) if path else -1

    def log(self, step, **more):
        if self.file >= 0:
            entry = {"ns": time.monotonic_ns(), "pid": os.getpid(), "step": step, **more}
            os.write(self.file, json.dumps(entry).encode() + b"\n")

    def run(self, script):
        for words in split(script):
            name = words.pop(0)[1:] if words[0].startswith("@") else "a"
            verb = words.pop(0)
            options, rest = {}, []
            for word in words:
                key, equals, value = word.partition("=")
                if verb not in ("send", "raw", "stderr", "stdout", "expect") and equals and key.isalpha():
                    options[key] = value
                elif word in FLAGS.get(verb, COMMON):
                    options[word] = True
                elif verb in ("stderr", "stdout") and key == "n" and equals:
                    options[key] = value
                else:
                    rest.append(word)
            do = getattr(self, "do_" + verb, None)
            if do is None:
                raise SystemExit(f"scripted: no such step: {verb}")
            do(name, rest, options)

    def conn(self, name):
        if name not in self.connections:
            raise SystemExit(f"scripted: connection {name} has not said hello")
        return self.connections[name]

    def say(self, name, line, options, **more):
        """One command, with the options that all of them take."""
        c = self.conn(name)
        data = line.encode() + (b"" if "noeol" in options else c.eol)
        part = "half" in options
        if part:
            data = data[:int(options["half"])]
        verb = line.split(" ")[0]
        c.send(data, verb, float(options.get("slow", 0)), **more)
        if part or "noeol" in options or verb == "END":
            return None
        c.waiting.append(verb)
        if "nowait" in options or c.corked is not None:
            return None
        while len(c.waiting) > 1:
            c.read()
        return c.read()

    # --- connections

    def do_connect(self, name, rest, options):
        self.connections[name] = Connection(self, name)

    def do_hello(self, name, rest, options):
        if name not in self.connections:
            self.do_connect(name, rest, options)
        c = self.conn(name)
        hi = json.loads(c.read()[4:])
        fields = {"hostname": socket.gethostname(), "wid": options.get("wid", f"scripted{os.getpid()}"),
                  "pid": int(options.get("pid", os.getpid())), "labels": ["scripted"], "v": 2}
        for flag, key in (("nowid", "wid"), ("nov", "v")):
            if flag in options:
                del fields[key]
        if "s" in hi:
            digest = (c.password + hi["s"]).encode()
            for _ in range(hi["i"] if "v" in fields else 1):
                digest = hashlib.sha256(digest).digest()
            fields["pwdhash"] = digest.hex()
        if "lf" in options:
            c.eol = b"\n"
        self.say(name, "HELLO " + options.get("raw", json.dumps(fields)), options)

    def do_end(self, name, rest, options):
        self.say(name, "END", options)

    def do_close(self, name, rest, options):
        c = self.connections.pop(name)
        if "rst" in rest:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.sock.close()
        self.log("step", conn=name, what="close")

    def do_shutdown(self, name, rest, options):
        self.conn(name).sock.shutdown(socket.SHUT_WR)
        self.log("step", conn=name, what="shutdown")

    def do_cork(self, name, rest, options):
        self.conn(name).corked = b""

    def do_uncork(self, name, rest, options):
        c = self.conn(name)
        data, c.corked = c.corked, None
        c.send(data, "CORKED")
        while c.waiting and "nowait" not in options:
            c.read()

    def do_read(self, name, rest, options):
        self.conn(name).read()

    def do_eof(self, name, rest, options):
        """"eof ok": from now on a connection's end ends this process with 0; "eof": wait for it."""
        self.eof_ok = True
        if "ok" not in rest:
            while True:
                self.conn(name).read()

    def do_expect(self, name, rest, options):
        if not self.last.startswith(" ".join(rest).encode()):
            print(f"scripted: expected {rest}, got {self.last[:200]!r}", file=sys.stderr)
            os._exit(99)

    # --- commands

    def do_fetch(self, name, rest, options):
        wanted = len(self.jobs) + int(options.get("n", 1))
        while True:
            raw = self.say(name, "FETCH " + " ".join(rest or ["default"]), options)
            if raw is None or "once" in options or len(self.jobs) >= wanted:
                return

    def _chosen(self, rest):
        if "all" in rest:
            return list(self.open)
        if rest and rest[0].startswith("#"):
            return [self.jobs[int(rest[0][1:])]]
        return rest[:1] or self.open[:1] or self.jobs[-1:]

    def _report(self, verb, name, rest, options, **fields):
        for jid in self._chosen(rest):
            if jid in self.open and not {"half", "noeol"} & set(options):
                self.open.remove(jid)
            self.say(name, f"{verb} " + json.dumps({"jid": jid, **fields}, separators=(",", ":")), options, jid=jid)

    def do_ack(self, name, rest, options):
        self._report("ACK", name, rest, options)

    def do_fail(self, name, rest, options):
        self._report("FAIL", name, rest, options, errtype=options.get("type", "Scripted"),
                     message=options.get("msg", "as told"),
                     backtrace=["x" * int(options["pad"])] if "pad" in options else [])

    def do_beat(self, name, rest, options):
        self.say(name, "BEAT " + json.dumps({"wid": options.get("wid", f"scripted{os.getpid()}")}), options)

    def do_info(self, name, rest, options):
        self.say(name, "INFO", options)

    def do_push(self, name, rest, options):
        for i in range(int(options.get("n", 1))):
            job = {"jid": options.get("jid") or f"pushed{os.getpid()}x{time.monotonic_ns()}",
                   "queue": (rest or ["default"])[0], "jobtype": "pushed", "args": ["x" * int(options.get("size", 1))],
                   "retry": int(options.get("retry", 25))}
            if "reserve" in options:
                job["reserve_for"] = int(options["reserve"])
            self.say(name, "PUSH " + json.dumps(job), options, jid=job["jid"])

    def do_send(self, name, rest, options):
        self.say(name, " ".join(rest), options)

    def do_raw(self, name, rest, options):
        data = " ".join(rest).encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
        self.conn(name).send(data, "RAW")

    # --- life

    def do_sleep(self, name, rest, options):
        time.sleep(float(rest[0]))

    def do_hold(self, name, rest, options):
        self.log("step", what="hold")
        while True:
            time.sleep(3600)

    def do_spin(self, name, rest, options):
        end = time.monotonic() + float(rest[0])
        while time.monotonic() < end:
            pass

    def do_await(self, name, rest, options):
        while not os.path.exists(rest[0]):
            time.sleep(0.005)

    def do_touch(self, name, rest, options):
        with open(rest[0], "w"):
            pass

    def do_exit(self, name, rest, options):
        self.log("step", what="exit", status=int((rest or ["0"])[0]))
        sys.stdout.flush()
        os._exit(int((rest or ["0"])[0]))

    def do_kill(self, name, rest, options):
        """kill SIGNAL [parent]"""
        self.log("step", what="kill", signal=rest[0])
        number = getattr(signal, "SIG" + rest[0].removeprefix("SIG"))
        os.kill(os.getppid() if "parent" in rest else os.getpid(), number)

    def do_segv(self, name, rest, options):
        self.log("step", what="segv")
        ctypes.string_at(8)

    def do_abort(self, name, rest, options):
        self.log("step", what="abort")
        os.abort()

    def do_stop(self, name, rest, options):
        self.log("step", what="stop")
        os.kill(os.getpid(), signal.SIGSTOP)

    def do_fork(self, name, rest, options, deeper=False):
        pid = os.fork()
        if pid == 0:
            if deeper:
                os.setsid()
                if os.fork():
                    os._exit(0)
            self.body(rest[-1])
            os._exit(0)
        self.log("fork", child=pid)
        if deeper:
            os.waitpid(pid, 0)

    def do_orphan(self, name, rest, options):
        self.do_fork(name, rest, options, deeper=True)

    def do_wait(self, name, rest, options):
        try:
            while True:
                pid, status = os.wait()
                self.log("step", what="wait", child=pid, status=status)
        except ChildProcessError:
            pass

    def do_on(self, name, rest, options):
        def handler(number, frame):
            self.log("signal", signal=signal.Signals(number).name)
            self.run(rest[1])

        signal.signal(getattr(signal, "SIG" + rest[0].removeprefix("SIG")), handler)

    def do_ignore(self, name, rest, options):
        signal.signal(getattr(signal, "SIG" + rest[0].removeprefix("SIG")), signal.SIG_IGN)

    def do_default(self, name, rest, options):
        signal.signal(getattr(signal, "SIG" + rest[0].removeprefix("SIG")), signal.SIG_DFL)

    def do_repeat(self, name, rest, options):
        for _ in range(int(rest[0])):
            self.run(rest[1])

    def do_forever(self, name, rest, options):
        while True:
            self.run(rest[0])

    def do_stderr(self, name, rest, options, fd=2):
        for i in range(int(options.get("n", 1))):
            data = " ".join(rest).replace("%i", str(i)).encode("latin-1", "backslashreplace").decode("unicode_escape")
            data = data.encode("latin-1") + b"\n"
            while data:
                data = data[os.write(fd, data):]
        self.log("step", what=f"wrote to {fd}")

    def do_stdout(self, name, rest, options):
        self.do_stderr(name, rest, options, fd=1)

    def do_eat(self, name, rest, options):
        self.memory = bytearray(b"\1" * (int(rest[0]) << 20))
        self.log("step", what="eat")

    def do_setsid(self, name, rest, options):
        os.setsid()

    def do_env(self, name, rest, options):
        self.log("env", name=rest[0], value=os.environ.get(rest[0]))

    def do_fds(self, name, rest, options):
        found = {}
        for fd in os.listdir("/proc/self/fd"):
            try:
                found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
            except OSError:
                pass
        self.log("fds", fds=found)

    def do_exec(self, name, rest, options):
        os.execvp(rest[0], rest)

    def body(self, script):
        try:
            self.run(script)
        except Ended:
            os._exit(0 if self.eof_ok else 98)
        except SystemExit as e:
            print(e, file=sys.stderr)
            os._exit(2)


COMMON = ("nowait", "noeol", "once")
FLAGS = {"hello": ("nowid", "nov", "lf", "nowait"), "uncork": ("nowait",), "stderr": (), "stdout": (), "raw": (),
         "exec": ()}


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "-f":
        with open(sys.argv[2]) as f:
            script = f.read()
    elif len(sys.argv) == 2:
        script = sys.argv[1]
    else:
        raise SystemExit(__doc__)
    worker = Worker()
    worker.log("start", ppid=os.getppid(), url=worker.url)
    worker.body(script)
    worker.log("step", what="end of script")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
