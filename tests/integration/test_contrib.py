#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""contrib/container: each file is read by the linter or schema made for it, where that is installed, and what it says is
tried: the static program is built as the Containerfile builds it, and the probe of the Deployment is run."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import real_workers
import scripted
import servers
import tap
from chargehand import Chargehand, binary
from faktory_client import make_job, new_jid
from servers import free_port

SOURCE = os.environ.get("TOP_SRCDIR", ".")


def path(name):
    return os.path.join(SOURCE, "contrib", "container", name)


def text(*names):
    with open(os.path.join(*names)) as f:
        return f.read()


class Files(unittest.TestCase):
    def check(self, *words):
        linters = os.path.join(real_workers.cache(), "linters", "bin")
        program = shutil.which(words[0], path=os.pathsep.join([linters, os.environ["PATH"]]))
        tap.need("lint", None if program else f"{words[0]} is not installed (run tests/real/setup linters)")
        done = subprocess.run([program, *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_containerfile(self):
        self.check("hadolint", path("Containerfile"))

    def test_yaml(self):
        self.check("yamllint", "--strict", "-d", "{extends: default, rules: {line-length: {max: 130}, document-start: disable}}",
                   path("compose.yaml"), path("kubernetes.yaml"))

    def test_compose(self):
        self.check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path("compose.yaml"))

    def test_kubernetes(self):
        self.check("kubernetes-validate", "--strict", path("kubernetes.yaml"))

    def test_packages_are_those_that_a_build_needs(self):
        known = re.search(r'(?m)^build="(.*)"', text(SOURCE, "contrib", "packages"))[1].split()
        for package in [name for name in known if name != "libsystemd-dev"]:
            self.assertRegex(text(path("Containerfile")), rf"(?m)^ .*\b{re.escape(package)}\b")

    def test_the_probe(self):
        words = json.loads(re.search(r"(?m)^ +command: (\[.*--check.*\])$", text(path("kubernetes.yaml")))[1])
        directory = tempfile.mkdtemp()
        words = [binary(), *[word.replace("/tmp/check", f"{directory}/check") for word in words[1:-1]], "sh"]
        for url, status in ((servers.shared("dev").url, 0), (f"tcp://127.0.0.1:{free_port()}", 69)):
            done = subprocess.run(words, env=dict(os.environ, FAKTORY_URL=url), stdout=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, status, done.stdout)
        self.assertEqual(os.listdir(directory), [])


class Static(unittest.TestCase):
    def test_a_static_program_works(self):
        """configure as in the Containerfile; not optimised, for that takes its time."""
        libraries = ["libevent_core.a", "libevent_extra.a", "libjson-c.a", "libmd.a", "libinih.a", "libc.a"]
        for library in libraries:
            found = subprocess.run(["cc", f"-print-file-name={library}"], stdout=subprocess.PIPE, text=True).stdout.strip()
            tap.need("static", None if "/" in found else f"no {library}")
        tap.need("static", None if os.path.exists(os.path.join(SOURCE, "configure")) else "configure has not been made")
        options = re.search(r"\./configure (.*) \\", text(path("Containerfile")))[1]
        directory = tempfile.mkdtemp()
        source = os.path.abspath(SOURCE)
        done = subprocess.run(["sh", "-ec", f"'{source}/configure' --quiet CFLAGS=-O0 {options}; make -s -j2 src/chargehand; "
                                            "strip src/chargehand"], cwd=directory, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if "source directory already configured" in done.stdout:
            tap.need("static", "the source directory is configured itself")
        self.assertEqual(done.returncode, 0, done.stdout[-3000:])
        program = os.path.join(directory, "src", "chargehand")
        with open(program, "rb") as f:
            self.assertNotIn(b"/lib64/ld-linux", f.read())
        self.assertLess(os.path.getsize(program), 4 << 20)
        queue, server = f"q{new_jid()}", servers.shared("dev")
        jobs = [make_job(queue=queue), make_job(queue=queue)]
        server.pushb(jobs)
        outer, os.environ["CHARGEHAND"] = os.environ["CHARGEHAND"], program
        self.addCleanup(os.environ.__setitem__, "CHARGEHAND", outer)
        c = Chargehand(server, *scripted.command(f"hello; fetch {queue} n=2; ack; exit 5"), options=["--restart", "never"],
                       url=f"tcp://localhost:{server.port}")  # a name, which needs no library that would be loaded
        self.addCleanup(c.close)
        self.assertEqual(c.wait(), 5)
        self.assertEqual(server.find(jobs[0]["jid"])[0], None)
        self.assertEqual(server.wait_jid(jobs[1]["jid"], "retries")["failure"]["errtype"], "WorkerExited")
        with Chargehand(server) as idle:
            idle.session(wid=new_jid()).beat()
            self.assertLess(idle.rss_bytes(), 2 << 20)  # 1.5 MB when this was written; 2.5 are what it may need


if __name__ == "__main__":
    tap.main()
