#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What contrib/demo shows is what happens, on either server, and what the README says of it and of libraries is still so."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import real_workers
import servers
import tap

SOURCE = os.environ["TOP_SRCDIR"]
DEMO = os.path.join(SOURCE, "contrib/demo.py")
SHOWN = (r"Server: the {kind}",
         r"Worker: made with PyPI faktory \S+, unmodified",
         r"Without chargehand:  python worker\.py",
         r"It has taken 3 jobs\.  kill -9 \d+",
         r"3 s later the server says: 3 jobs busy\. They stay so until [\d:]+, when their reservations run out, 30 minutes "
         r"after the kill\.",
         r"With it:  chargehand -- python worker\.py",
         r"It has taken 3 jobs\.  kill -9 \d+",
         *[r"[\d.]+ ms later  FAIL demo-job-\d  WorkerSignaled"] * 3,
         r"demo\.1 \(pid \d+\) was killed by SIGKILL .*; it held 3 jobs, this one for",
         r"0 jobs busy, 3 to be tried again\. The next worker, pid \d+, has done one already\.",
         r"Without chargehand the worker has ended with status 1: ",
         r"With it the worker, pid \d+, has noticed nothing, and has done 3 jobs since\.")


class Demo(unittest.TestCase):
    def setUp(self):
        tap.need("python", real_workers.missing("python-cdrx"))

    def start(self, **env):
        self.directory = tempfile.mkdtemp()
        return subprocess.Popen([sys.executable, DEMO], env={**os.environ, "TMPDIR": self.directory, **env}, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def check(self, kind, **env):
        demo = self.start(**env)
        output = demo.communicate()[0]
        print(output)
        self.assertEqual(demo.returncode, 0)
        rest = re.sub(r"\n +", " ", output.replace("\n\n", "\n"))  # as it was before it was folded
        for line in SHOWN:
            found = re.search(line.format(kind=kind), rest)
            self.assertTrue(found, f"{line}: not in {rest}")
            rest = rest[found.end():]
        self.assertEqual(os.listdir(self.directory), [])

    def test_on_the_development_server(self):
        self.check("development server", FAKTORY_SERVER="/nonexistent/faktory")

    def test_on_the_real_server(self):
        servers.need_real()
        self.check("real one, Faktory")

    def test_stopped_in_between(self):
        """tap.py looks for processes that are left."""
        demo = self.start(FAKTORY_SERVER="/nonexistent/faktory")
        while "kill -9" not in demo.stdout.readline():
            pass
        demo.send_signal(signal.SIGTERM)
        demo.communicate()
        self.assertEqual(demo.returncode, 1)
        self.assertEqual(os.listdir(self.directory), [])


class Readme(unittest.TestCase):
    def test_every_library_that_is_run_is_named(self):
        with open(os.path.join(SOURCE, "README")) as f:
            readme = f.read()
        for what in real_workers.LIBRARIES.values():
            registry, name, version = what.split()
            self.assertRegex(readme, rf"{registry} {name} +{re.escape(version)}")

    def test_the_demo_is_shown_as_it_is(self):
        with open(os.path.join(SOURCE, "README")) as f:
            readme = re.sub(r"\n +", " ", f.read().replace("\n\n", "\n"))
        for line in SHOWN:
            found = re.search(line.format(kind="real one, Faktory"), readme)
            self.assertTrue(found, line)
            readme = readme[found.end():]


if __name__ == "__main__":
    tap.main()
