#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests that need a machine of their own, in as few boots as can be: one for each test here. What runs inside speaks TAP,
and every line of it counts. (Criterion wants addresses that user-mode-linux has not: no unit tests there.)"""
import os
import re
import shutil
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import machine
import servers
import tap


class Boots(unittest.TestCase):
    limit = 300  # half a minute where nobody else is; a machine that others need as well is ten times as slow

    def setUp(self):
        if machine.unfit():  # whatever is required: another build is tested there
            self.skipTest(machine.unfit())
        tap.need("vm", machine.missing())

    def boot(self, *programs, words="cgroup memory cc real", **options):
        """Runs the programs one after the other in one machine; none may fail or leave out anything."""
        script = "".join(f"echo '## {p}'; {p} </dev/null || echo 'not ok - {p.split()[0]}: status '$?; " for p in programs)
        env = {"CHARGEHAND_REQUIRE": words, "HOME": "/root"}
        status, output = machine.run(["sh", "-c", script], env=env, limit=self.limit - 20, **options)
        print(output)
        self.assertEqual(status, 0)
        bad = [line for line in output.splitlines() if re.match(r" *not ok|.*# *skip|Bail out", line, re.I)]
        self.assertEqual(bad, [])
        self.assertGreaterEqual(len(re.findall("^ok ", output, re.M)), len(programs))

    def python(self, path, *words):
        return " ".join([sys.executable, os.path.join(os.environ["TOP_SRCDIR"], "tests", path), *words])


class Memory(Boots):
    def test_cgroups_with_memory(self):
        servers.need_real()
        self.boot(self.python("integration/test_death.py", "-k", "Leaves", "-k", "InLeaf.test_killed_with_25"),
                  self.python("vm/test_place.py", "-k", "OwnGroup"))

    def test_causes_of_death(self):
        servers.need_real()
        self.boot(self.python("vm/test_memory.py"))

    def test_a_disk_that_does_not_answer(self):
        names = ["mkfs.ext4", "fsfreeze"]
        lacking = [name for name in names if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
        tap.need("ext4", f"no {lacking[0]}" if lacking else None)
        self.boot(self.python("vm/test_disk.py"), words="cgroup machine cc")

    def test_a_machine_that_is_suspended(self):
        servers.need_real()
        self.boot(self.python("vm/test_suspend.py"), words="suspend real")

    def test_an_oom_kill_is_told_as_fast_as_another(self):
        self.boot(self.python("bench/oom.py"))


class Containers(Boots):
    def test_crun(self):
        servers.need_real()
        tap.need("crun", None if shutil.which("crun") else "no crun")
        self.boot(self.python("vm/test_container.py", "-k", "Crun"), words="machine cc real")

    def test_podman(self):
        servers.need_real()
        tap.need("podman", None if shutil.which("podman") else "no podman")
        self.boot(self.python("vm/test_container.py", "-k", "Podman"), words="machine cc real")


class Systemd(Boots):
    def test_units_and_scopes(self):
        self.boot(self.python("vm/test_place.py", "-k", "Units", "-k", "Scopes"), systemd=True, after="dbus.service")

    def test_the_unit(self):
        self.boot(self.python("vm/test_systemd.py"), words="machine systemd cc", systemd=True,
                  after="dbus.service systemd-journald.service")

    def test_oomd(self):
        """The kit fetches a kernel for it, once."""
        lacking = [name for name in ("qemu-system-x86_64", "cpio", "modprobe", "/lib/systemd/systemd-oomd")
                   if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
        tap.need("oomd", f"no {lacking[0]}" if lacking else None)
        self.boot(self.python("vm/test_oomd.py"), words="machine systemd cc", systemd=True, pc=True, memory="1024M",
                  after="dbus.service systemd-journald.service")


if __name__ == "__main__":
    tap.main()
