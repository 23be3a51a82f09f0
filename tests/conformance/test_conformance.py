#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same tests against the real Faktory server and against the development server of tests/helpers, so that
the second cannot drift away from the first. TAP on stdout; options: see tests/helpers/tap.py.

The real server is $FAKTORY_SERVER or `faktory` in PATH; without one its half is skipped (failed if "real" is
in $CHARGEHAND_REQUIRE). CHARGEHAND_LONG=1: also what takes minutes there.
"""
import subprocess
import sys

import base
import part_commands
import part_handshake
import part_jobs
import part_life

PARTS = [part_handshake, part_commands, part_jobs, part_life]

for part in PARTS:
    for name, case in list(vars(part).items()):
        if isinstance(case, type) and issubclass(case, base.Case) and case is not base.Case:
            for kind in ("real", "dev"):
                both = type(f"{name}_{kind}", (case,), {"kind": kind, "__module__": __name__})
                globals()[both.__name__] = both


def notes():
    binary, reason = base.servers.real_binary()
    if binary:
        version = subprocess.run([binary, "-v"], capture_output=True, text=True)
        lines = (version.stdout + version.stderr).strip().splitlines()
        yield f"*_real runs on {binary}: {lines[0] if lines else 'version unknown'}"
    else:
        yield f"*_real is not run: {reason}"
    yield "*_dev runs on tests/helpers/devserver.py"


if __name__ == "__main__":
    del both, case, name
    base.tap.main(notes=list(notes()))
