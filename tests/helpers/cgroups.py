# SPDX-License-Identifier: MIT
"""A cgroup2 directory of a test's own, where the machine lets us have one.

  path, reason = parent()      (path, None) or (None, why not)
  path, reason = memory()      the same, where memory can be limited below it
  with Directory() as d:       d.path: an empty cgroup to give to --cgroup; removed with what is left in it ended
      d.leaves()               names of the groups below it
      d.pids()                 of all processes below it
  group_of(pid)                its cgroup2 as a path below ROOT, where a machine of our own has that: "/system.slice/x.service"
"""
import os
import signal
import tempfile
import time


ROOT = "/sys/fs/cgroup"


def group_of(pid):
    with open(f"/proc/{pid}/cgroup") as f:
        return next(line.split("::", 1)[1].strip() for line in f if line.startswith("0::"))


def parent():
    """Our own cgroup, if its directory can be written to."""
    mount = None
    with open("/proc/self/mountinfo") as f:
        for line in f:
            left, _, right = line.partition(" - ")
            if right.split()[0] == "cgroup2":
                mount = left.split()[4]
    if not mount:
        return None, "no cgroup2 is mounted here"
    own = group_of("self")
    path = mount + own if own != "/" else mount
    if not os.access(path, os.W_OK):
        return None, f"cgroups cannot be made in {path}"
    return path, None


def memory():
    path, reason = parent()
    if not path:
        return None, reason
    with open(os.path.join(path, "cgroup.controllers")) as f:
        if "memory" not in f.read().split():
            return None, "no memory controller in our own cgroup"
    return path, None


class Directory:
    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="test-of-chargehand.", dir=parent()[0])
        if memory()[0]:
            with open(os.path.join(parent()[0], "cgroup.subtree_control"), "w") as f:
                f.write("+memory +pids")

    def leaves(self):
        """Of workers: below the directory that chargehand makes for itself."""
        homes = [e.path for e in os.scandir(self.path) if e.is_dir() and e.name.startswith("chargehand-")]
        return sorted(e.name for home in homes for e in os.scandir(home) if e.is_dir() and e.name != "chargehand")

    def homes(self):
        return sorted(e.name for e in os.scandir(self.path) if e.is_dir())

    def pids(self):
        found = []
        for leaf, _, _ in os.walk(self.path):
            with open(os.path.join(leaf, "cgroup.procs")) as f:
                found += [int(line) for line in f]
        return found

    def close(self):
        end = time.monotonic() + 5
        while self.pids() and time.monotonic() < end:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        for leaf, _, _ in os.walk(self.path, topdown=False):
            os.rmdir(leaf)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
