#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""From the death of a worker to its FAIL at the server, when the kernel kills it for lack of memory and when somebody sends
SIGKILL: the part that needs a memory controller, and so runs inside a machine of its own (tests/integration/test_vm.py).

The victims are the same in both, close to the limit of their leaf, and take turns, after some quiet each. What the kernel's
clock says of its kill is good to 10 ms here, so the one is counted from the byte that makes the victim ask for more, which
is earlier: the kernel's search for memory, and for a victim, is in it. The other is counted from kill(2).
Speaks TAP: the median of the one is at most twice that of the other."""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "helpers")]
import cgroups
from common import Server, build_tools, median, now_nsec, percentile
from puppets import Puppets

LIMIT_MIB, USED_MIB, MORE_MIB, N = 24, 22, 4, 25


def victim(stage):
    p = stage.take()
    p.hello("a", wid=f"w{p.pid}")
    p.send("a", b"FETCH s300\r\n")
    p.receive("a", int(p.line("a")[1:]) + 2)
    p.eat(USED_MIB)
    time.sleep(0.05)  # not waited for, but quiet
    return p


def main():
    reason = cgroups.memory()[1]
    if reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    build_tools()
    server = Server()
    took = {"SIGKILL": [], "OOM kill": []}
    with cgroups.Directory() as directory, Puppets(server, instances=1, options=[
            "--cgroup", directory.path, "--memory-max", f"{LIMIT_MIB}M", "--log-level", "error"]) as stage:
        for i in range(2 * N + 2):
            p = victim(stage)
            begin = now_nsec()
            if i % 2:
                p.control.sendall(b"eat %d\n" % MORE_MIB)
            else:
                os.kill(p.pid, signal.SIGKILL)
            (at,) = server.fails(1)
            if i >= 2:  # the first two warm up
                took["OOM kill" if i % 2 else "SIGKILL"].append((at - begin) / 1e6)
    server.stop()
    for how, times in took.items():
        print(f"# {how} to FAIL received, ms: p50 {median(times):.3f}, p90 {percentile(times, 0.9):.3f}, max {max(times):.3f}, "
              f"n {len(times)}")
    factor = median(took["OOM kill"]) / median(took["SIGKILL"])
    ok = factor <= 2
    print(f"1..1\n{'ok' if ok else 'not ok'} 1 - an OOM kill is told in {factor:.2f} times what a SIGKILL takes, at most 2")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
