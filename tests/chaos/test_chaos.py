#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Some small storms of the chaos suite, each with a seed of its own; tests/chaos/run has the large ones, and says how to run
one of these again."""
import os
import sys
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "helpers")]
import real_workers
import servers
import tap
from storm import KINDS
from verdict import of_storm

LINKS = ["refuse", "cut", "cut-all", "cut-command", "cut-reply", "stall", "half-open", "slow"]


class Storms(unittest.TestCase):
    def storm(self, jobs, seed, faults, libraries=("scripted",), gap=8, kind=None):
        kind = kind or ("dev" if servers.available()["real"] else "real")
        print(f"again: tests/chaos/run --jobs {jobs} --seed {seed} --server {kind} --gap {gap} --workers "
              f"{','.join(libraries)} --faults {','.join(faults)}")
        problems, report = of_storm(jobs, seed, kind, libraries, faults, gap, say=print,
                                    keep=os.path.join(os.environ["TOP_BUILDDIR"], "tests", f"chaos-{seed}.kept"))
        print("\n".join(report))
        self.assertEqual(problems, [], "\n".join(problems))

    def test_workers_and_chargehand_die(self):
        self.storm(120, 3, ["worker", "asleep", "chargehand", "unheard", "pause", "stop"])

    def test_jobs_that_nobody_waits_for_any_more(self):
        self.storm(150, 9, ["asleep", "hang-up", "late"], gap=5)

    def test_links_break(self):
        self.storm(120, 2, LINKS)

    def test_the_server_goes_away(self):
        self.storm(60, 4, ["server-kill", "server-term", "worker"])

    def test_everything_at_once(self):
        self.storm(120, 5, list(KINDS))

    def test_everything_at_once_through_small_and_interrupted_calls(self):
        program, before = os.path.join(os.environ["TOP_BUILDDIR"], "tests", "helpers", "chargehand-faults"), dict(os.environ)
        os.environ.update(CHARGEHAND=program, CHARGEHAND_SOCKET_FAULTS="recv:EINTR:7,recv:EAGAIN:5,recv:short:3,"
                                                                       "send:EINTR:7,send:EAGAIN:5,send:short:3")
        try:
            self.storm(120, 8, list(KINDS))
        finally:
            os.environ.clear()
            os.environ.update(before)

    def test_everything_at_once_on_the_development_server(self):
        self.storm(120, 6, list(KINDS), kind="dev")

    def test_everything_at_once_with_real_workers(self):
        libraries = list(real_workers.LIBRARIES)
        for library in libraries:
            tap.need(real_workers.WORDS[library], real_workers.setup(library))
        self.storm(80, 7, list(KINDS), libraries)


if __name__ == "__main__":
    tap.main(notes=[f"{kind} server: {why or 'is here'}" for kind, why in servers.available().items()])
