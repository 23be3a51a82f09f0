# SPDX-License-Identifier: MIT
"""What all conformance tests have: a server of either kind, a queue of their own, a connection."""
import itertools
import os
import re
import socket
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from faktory_client import Client, Closed, ServerError, make_job, new_jid, pwdhash

TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_numbers = itertools.count(1)


class Case(unittest.TestCase):
    """The tests of the parts are written once. KIND is "dev" or "real"."""

    kind = None
    maxDiff = None

    def setUp(self):
        if self.kind == "real":
            servers.need_real()
        self.queue = f"q{os.getpid()}.{next(_numbers)}"
        self.connections = []

    def tearDown(self):
        for c in self.connections:
            c.close()

    @property
    def server(self):
        return servers.shared(self.kind)

    def own_server(self, **options):
        s = servers.make(self.kind, **options)
        self.addCleanup(s.close)
        return s

    def slow_server(self, what, **scaled):
        """For what takes a minute: the real server only when asked for, the development server faster."""
        if self.kind == "real":
            if not os.environ.get("CHARGEHAND_LONG"):
                self.skipTest(f"{what}: set CHARGEHAND_LONG=1 to wait for that on the real server")
            return self.own_server(), 1.0
        return self.own_server(**scaled), scaled.get("scale", 1.0)

    def client(self, server=None, **options):
        c = Client((server or self.server).url, **options)
        self.connections.append(c)
        return c

    def held(self, client, **more):
        """A job pushed and fetched: its jid."""
        jid = client.push(queue=self.queue, **more)
        self.assertEqual(client.fetch(self.queue)["jid"], jid)
        return jid

    def place(self, jid):
        return self.server.find(jid)[0]

    def failure(self, jid, place="retries"):
        found, job = self.server.find(jid)
        self.assertEqual(found, place)
        return job["failure"]

    def refused(self, text, action, *args, **more):
        with self.assertRaises(ServerError) as e:
            action(*args, **more)
        self.assertEqual(str(e.exception), text)

    def took(self, low, high, action, *args):
        """The answer of an action that must take so long."""
        start = time.monotonic()
        answer = action(*args)
        seconds = time.monotonic() - start
        self.assertGreaterEqual(seconds, low)
        self.assertLess(seconds, high)
        return answer

    def table(self, client, rows):
        """Lines and the exact answers to them; a str instead of bytes is a pattern for the whole answer."""
        for line, wanted in rows:
            answer = client.raw_command(line)
            with self.subTest(line=line[:80]):
                if isinstance(wanted, bytes):
                    self.assertEqual(TIME.sub(b"TIME", answer), wanted)
                else:
                    self.assertRegex(answer.decode("utf-8", "replace"), wanted)
