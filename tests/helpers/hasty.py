# SPDX-License-Identifier: MIT
"""chargehand in a hurry: its clocks run faster than those of the world (hasty-clock.c).

  clock = Hasty(20)                          leases of a minute pass in three seconds: DevServer(lease_scale=clock.scale)
  Chargehand(server, ..., env=clock.env)     clock.close() at the end
  clock.sleep(60)                            waits until so many of its seconds have passed
  clock.suspend(3600)                        the machine has slept for an hour

Skips the test where the program cannot be preloaded into.
"""
import os
import shutil
import struct
import subprocess
import tempfile
import time

import tap
from chargehand import binary

HERE = os.path.dirname(os.path.abspath(__file__))


def _library(directory):
    compiler = os.environ.get("CC") or shutil.which("cc")
    tap.need("cc", None if compiler else "no C compiler for tests/helpers/hasty-clock.c")
    with open(binary(), "rb") as f:
        tap.need("dynamic", None if b"/ld-" in f.read(4096) else "a static program: nothing can be preloaded into it")
    made = os.path.join(directory, "hasty-clock.so")
    subprocess.run([*compiler.split(), "-shared", "-fPIC", "-O1", "-o", made, os.path.join(HERE, "hasty-clock.c")], check=True)
    return made


class Hasty:
    def __init__(self, factor=20):
        self.factor, self.scale = factor, 1 / factor
        self.directory = tempfile.mkdtemp(prefix="hasty.")
        self.jump = os.path.join(self.directory, "jump")
        self._write(0)
        self.env = {"LD_PRELOAD": _library(self.directory), "HASTY_FACTOR": str(factor), "HASTY_JUMP": self.jump,
                    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def _write(self, seconds):
        with open(self.jump, "r+b" if os.path.exists(self.jump) else "wb") as f:
            f.write(struct.pack("q", int(seconds * 1e9)))

    def suspend(self, seconds):
        self._write(seconds)

    def sleep(self, seconds):
        time.sleep(seconds / self.factor)

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)
