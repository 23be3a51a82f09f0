#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Libraries that are loaded by who needs them: which those are, that packagers are told, that nobody else has them, and
what is said where one is missing."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from chargehand import Chargehand, binary, has_libsystemd
from elf import Elf
from faktory_client import new_jid

NAMES, SYSTEMD = "libevent_extra", "libsystemd"


def soname():
    """By which configure has found that names' library is to be loaded; None: it is linked."""
    with open(os.path.join(os.environ.get("TOP_BUILDDIR", "."), "config.h")) as f:
        found = re.search(r'(?m)^#define LIBEVENT_EXTRA_SONAME "(.*)"$', f.read())
    return found and found[1]


class Case(unittest.TestCase):
    def setUp(self):
        self.elf = Elf(binary())
        self.dir = tempfile.mkdtemp(prefix="chargehand-test.")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def need_loaded(self):
        tap.need("dynamic", None if self.elf.interpreter else "a static program: it has all its libraries")
        tap.need("dlopen", None if soname() else f"configure could not tell how {NAMES} is loaded, and has it linked")


class Notes(Case):
    def linked(self, name):
        return [library for library in self.elf.needed if library.startswith(name)]

    def noted(self, name):
        return [entry for entry in self.elf.may_load if any(s.startswith(name) for s in entry["soname"])]

    def test_what_is_loaded_is_noted_and_not_linked(self):
        self.need_loaded()
        self.assertEqual(self.linked(NAMES), [])
        self.assertEqual(len(self.linked("libevent_core")), 1)  # the other part, which the loaded one needs as well
        entry, = self.noted(NAMES)
        self.assertEqual(entry["soname"], [soname()])
        self.assertEqual(entry["priority"], "required")

    def test_what_is_linked_is_not_noted(self):
        if not self.elf.interpreter:
            self.assertEqual(self.elf.needed, [])
        elif soname():
            self.assertNotIn("libevent_core", "".join(s for e in self.elf.may_load for s in e["soname"]))
            return
        self.assertEqual(self.noted(NAMES), [])

    def test_systemd(self):
        self.assertEqual(self.linked(SYSTEMD), [])
        self.assertEqual([entry["priority"] for entry in self.noted(SYSTEMD)], ["suggested"] if has_libsystemd() else [])

    def test_each_note_says_for_what(self):
        for entry in self.elf.may_load:
            self.assertEqual(sorted(entry), ["description", "feature", "priority", "soname"])
            self.assertIn(entry["priority"], ("required", "recommended", "suggested"))
            self.assertTrue(entry["description"] and entry["feature"])


class Mapped(Case):
    def libraries(self, host):
        """Files that a chargehand at work has mapped, by their names."""
        server = servers.make("dev")
        self.addCleanup(server.close)
        with Chargehand(server, url=f"tcp://{host}:{server.port}") as c:
            queue, session = f"q{new_jid()}", c.session(wid="w")
            jid = server.push(queue=queue)
            self.assertEqual(session.fetch(queue)["jid"], jid)
            self.assertEqual(session.ack(jid), "OK")
            with open(f"/proc/{c.pid}/maps") as f:
                return {os.path.basename(line.split()[-1]) for line in f if "/" in line}

    def setUp(self):
        super().setUp()
        tap.need("root", None if os.geteuid() == 0 else "chargehand is undumpable: its maps are root's to see (proc(5))")

    def test_a_number_needs_no_library(self):
        self.need_loaded()
        self.assertEqual([name for name in self.libraries("127.0.0.1") if name.startswith(NAMES)], [])

    def test_a_name_needs_it(self):
        self.need_loaded()
        self.assertEqual(len([name for name in self.libraries("localhost") if name.startswith(NAMES)]), 1)

    def test_nobody_has_libsystemd(self):
        """A child asks, and is gone."""
        for host in ("127.0.0.1", "localhost"):
            self.assertEqual([name for name in self.libraries(host) if name.startswith(SYSTEMD)], [])


class Missing(Case):
    def setUp(self):
        super().setUp()
        self.need_loaded()
        self.env = dict(os.environ, STATE_DIRECTORY=os.path.join(self.dir, "state"), LD_LIBRARY_PATH=self.dir)
        self.program = binary()

    def run_it(self, *words):
        done = subprocess.run([self.program, *words], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60)
        return done.returncode, done.stdout, done.stderr

    def check_refusal(self, reason):
        """At once, in one line, by --check and without it; and a number is the way out."""
        text = (rf'tcp://localhost:1 \(--server\): the name "localhost" cannot be looked up: \S*{re.escape(soname()[:-1])}.*'
                rf"{reason}.*; install this part of libevent, or give the server's address as a number\n")
        witness = os.path.join(self.dir, "witness")
        status, out, err = self.run_it("--server", "tcp://localhost:1", "--", "touch", witness)
        self.assertEqual((status, out), (69, ""), err)
        self.assertRegex(err, rf"\Achargehand: {text}\Z")
        self.assertFalse(os.path.exists(witness))
        self.assertFalse(os.path.exists(self.env["STATE_DIRECTORY"]))
        status, out, _ = self.run_it("--server", "tcp://localhost:1", "--check", "--", "true")
        self.assertEqual(status, 69, out)
        self.assertRegex(out, rf"(?m)^server +FAILED: {text}")
        status, _, err = self.run_it("--server", "tcp://127.0.0.1:1", "--cgroup", "none", "--restart", "never", "--", "touch",
                                     witness)
        self.assertEqual(status, 0, err)
        self.assertTrue(os.path.exists(witness))

    def test_there_is_none(self):
        """The same program, which asks for one that nobody has."""
        self.program = os.path.join(self.dir, "chargehand")
        with open(binary(), "rb") as f:
            data = f.read()
        self.assertIn(soname().encode() + b"\0", data)
        with open(self.program, "wb") as f:
            f.write(data.replace(soname().encode(), soname()[:-1].encode() + b"X"))
        os.chmod(self.program, 0o755)
        self.check_refusal("No such file or directory")

    def test_it_is_none(self):
        with open(os.path.join(self.dir, soname()), "w") as f:
            f.write("no library, whatever its name\n" * 100)
        self.check_refusal("")

    def test_it_lacks_a_function(self):
        compiler = shutil.which("cc")
        tap.need("cc", None if compiler else "no C compiler for a library without functions")
        subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", os.path.join(self.dir, soname())],
                       check=True)
        self.check_refusal("evdns_base_free")


if __name__ == "__main__":
    tap.main()
