# SPDX-License-Identifier: MIT
"""A service manager that listens: a socket to be given as NOTIFY_SOCKET, see sd_notify(3).

  m = Manager()                       m.path: for the environment
  m.wait("READY=1", "STATUS=1 of 1")  the next datagram that has these lines; m.told has all that came
  m.close()
"""
import os
import re
import shutil
import socket
import tempfile
import time


class Manager:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="manager.")
        self.path = os.path.join(self.directory, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.told = []

    def hear(self, timeout):
        """The lines of the next datagram; None when none comes."""
        self.socket.settimeout(timeout)
        try:
            self.told.append(self.socket.recv(4096).decode().splitlines())
        except TimeoutError:
            return None
        return self.told[-1]

    def wait(self, *lines, timeout=10):
        """A datagram that has these lines; STATUS as the beginning of a regular expression."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0 and (heard := self.hear(left)) is not None:
            if all(any(re.match(wanted + "$" if "STATUS" not in wanted else wanted, line) for line in heard) for wanted in lines):
                return heard
        raise TimeoutError(f"{lines} not within {timeout} s; told: {self.told}")

    def close(self):
        self.socket.close()
        shutil.rmtree(self.directory)
