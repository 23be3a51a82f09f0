# SPDX-License-Identifier: MIT
"""Workers that do one small thing at a time, as a test says (puppet.c), many at once under one chargehand.

  with Puppets(server, instances=16) as stage:
      p = stage.take()          one that is running and that nobody has had yet
      p.hello("a", wid="w1")    a connection named "a", greeted and answered
      p.send("a", b"FETCH q")   one send(2);  p.receive("a", 3)  so many bytes;  p.peek("a")  wait for bytes, read none
      p.kill() p.exit(1)        and it is gone when this returns; chargehand has not been asked
      p.eat(64)                 MiB of memory: True, or False when that was its end
      p.feed(64)                the same by a child: its wait status
      p.crash(SIGSEGV)          and it is gone, if that is what the signal does
      stage.stop() / stage.go() chargehand does not run in between (SIGSTOP)
      stage.chargehand          the Chargehand

A worker that ended is replaced at once, so a new one in hand is also a sign that chargehand has seen an end.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile

import tap
from chargehand import Chargehand

HERE = os.path.dirname(os.path.abspath(__file__))
OK = b"+OK\r\n"
NAMES = "abcdefghijklmnopqrstuvwxyz"


def program():
    """The compiled puppet.c: as the build has made it, or made now."""
    built = os.path.join(os.environ.get("TOP_BUILDDIR", ""), "tests", "helpers", "puppet")
    if os.path.exists(built):
        return built
    compiler = shutil.which("cc")
    tap.need("cc", None if compiler else "no C compiler for tests/helpers/puppet.c")
    made = os.path.join(tempfile.gettempdir(), f"puppet-{os.getpid()}")
    if not os.path.exists(made):
        subprocess.run([compiler, "-D_GNU_SOURCE", "-O1", "-o", made, os.path.join(HERE, "puppet.c")], check=True)
    return made


class Puppet:
    def __init__(self, control):
        self.control, self.file = control, control.makefile("rb")
        pid, self.url = self.file.readline().decode().split()
        self.pid = int(pid)

    def _do(self, words):
        self.control.sendall(words.encode() + b"\n")
        answer = self.file.readline().decode().split()
        if not answer or answer[-1] != "ok":
            raise OSError(f"puppet {self.pid}: {words[:80]}: {' '.join(answer) or 'it has ended'}")
        return answer[0]

    def connect(self, name):
        self._do(f"connect {NAMES.index(name)}")

    def send(self, name, data):
        self._do(f"send {NAMES.index(name)} {data.hex()}")

    def receive(self, name, count):
        answer = self._do(f"receive {NAMES.index(name)} {count}")
        return bytes.fromhex("" if answer == "ok" else answer)

    def peek(self, name):
        self._do(f"peek {NAMES.index(name)}")

    def line(self, name):
        """A reply of one line. Byte by byte: what comes behind it is to stay unread."""
        data = b""
        while not data.endswith(b"\n"):
            byte = self.receive(name, 1)
            if not byte:
                raise EOFError(f"puppet {self.pid}: connection {name} ended after {data!r}")
            data += byte
        return data

    def hello_line(self, **fields):
        return b"HELLO " + json.dumps({"v": 2, "pid": self.pid, **fields}, separators=(",", ":")).encode() + b"\r\n"

    def hello(self, name, **fields):
        self.connect(name)
        self.line(name)
        self.send(name, self.hello_line(**fields))
        if self.receive(name, len(OK)) != OK:
            raise OSError("HELLO was not answered")

    def sync(self, name="z"):
        """What was sent before on other connections has been read by chargehand: one loop, in order."""
        self.send(name, b"SYNC\r\n")
        if not self.line(name).startswith(b"-ERR"):
            raise OSError("the server knows SYNC")

    def _gone(self):
        self.file.read()
        self.close()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self._gone()

    def exit(self, status):
        self.control.sendall(b"exit %d\n" % status)
        self._gone()

    def crash(self, number):
        self.control.sendall(b"raise %d\n" % number)
        self._gone()

    def eat(self, mib):
        self.control.sendall(b"eat %d\n" % mib)
        try:
            if self.file.readline().strip() == b"ok":
                return True
        except OSError:
            pass
        self.close()
        return False

    def feed(self, mib):
        return int(self._do(f"feed {mib}"))

    def close(self):
        self.file.close()
        self.control.close()


class Puppets:
    def __init__(self, server, instances=16, options=(), url=None, command=None, env=None):
        self.directory = tempfile.mkdtemp(prefix="puppets.")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.directory, "control"))
        self.listener.listen(1024)
        self.listener.settimeout(20)
        self.taken = []
        self.instances = instances
        self.chargehand = Chargehand(
            server, *(command or [program()]), url=url,
            env={"PUPPET_CONTROL": os.path.join(self.directory, "control"), **(env or {})},
            options=["--name", "p", "--instances", str(instances), "--restart", "always", "--healthy", "0",
                     "--cgroup", "none", *options])

    def take(self):
        control, _ = self.listener.accept()
        puppet = Puppet(control)
        self.taken.append(puppet)
        return puppet

    def stop(self):
        os.kill(self.chargehand.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.chargehand.pid, os.WSTOPPED)

    def go(self):
        os.kill(self.chargehand.pid, signal.SIGCONT)

    def close(self):
        try:
            if self.chargehand.process.poll() is None:
                self.go()
            self.chargehand.close()
        finally:
            for puppet in self.taken:
                puppet.close()
            self.listener.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
