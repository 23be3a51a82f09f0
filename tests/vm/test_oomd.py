#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""systemd-oomd(8) itself, which needs a kernel that tells of pressure (PSI): it kills a worker that is slowed down at its
memory.high for too long, and the certificate says who it was. tests/vm/test_memory.py has the same by its mark alone."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "helpers"), HERE]
import tap
import test_systemd
from servers import wait_until

# The least that it takes.
QUICK = "[OOM]\nDefaultMemoryPressureDurationSec=1s\n"
MANAGED = "ManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=1%\n"


class Oomd(test_systemd.Case):
    def setUp(self):
        super().setUp()
        tap.need("psi", None if os.path.exists("/proc/pressure/memory") else "this kernel does not tell of pressure")
        os.makedirs("/run/systemd/oomd.conf.d", exist_ok=True)
        with open("/run/systemd/oomd.conf.d/test.conf", "w") as f:
            f.write(QUICK)
        subprocess.run(["systemd-sysusers"], check=True)
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "start", "systemd-oomd.service"], check=True)

    def test_a_worker_that_it_kills(self):
        u = self.start(config="memory-high = 24M\nrestart = always\n", drop_in=MANAGED)
        p = u.take()
        u.wait_show("ActiveState", "^active$")
        jid = self.give(p)
        p.control.sendall(b"eat 64\n")  # it does not get that far, for the kernel makes it wait
        failure = self.server.wait_jid(jid, "retries", 120)["failure"]
        self.assertEqual(failure["errtype"], "HostOutOfMemory")
        self.assertRegex(failure["message"], r"^p\.1 \(pid \d+\) was killed by systemd-oomd for a shortage of memory outside of it, ")
        u.take()
        self.assertEqual([u.show("ActiveState"), u.show("NRestarts")], ["active", "0"])
        (entry,) = wait_until(lambda: u.entries("OUT_OF_MEMORY"))
        self.assertEqual(entry["CHARGEHAND_CAUSE"], "HostOutOfMemory")


if __name__ == "__main__":
    tap.main()
