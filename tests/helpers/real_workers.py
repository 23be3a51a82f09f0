# SPDX-License-Identifier: MIT
"""Workers made with real client libraries, unmodified, as tests/real/setup installs them.

  command("node")         the command line; the process that runs it becomes the worker (no shell between)
  environment("node", concurrency=2, queues=("a", "b"), log=PATH)    what to add to the environment
  missing("node")         None, or why it cannot run (not set up); setup("node") tries and returns the same
  LIBRARIES               {name: library and version}

Job types, all of them: echo (sleeps args[0] ms), sleep (s), fail, segv, exit (status args[0]), eat (MiB), fork (a child
sleeps args[0] s), log (args[0] to stderr); orphan: python-cdrx with threads. The log gets lines of
"start|done JID PID MONOTONIC_NS"; read_log() reads it.

Known (see each worker's head): node takes one job per FETCH and BEATs at start; rust ends when a job without reserve_for
comes, so push with reserve_for; with the two Pythons segv and exit end a child of their pool, not the worker, unless
threads=True (python-cdrx); TERM kills rust at once unless graceful=True; python-pyfaktory takes up to 15 s to end.
"""
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
REAL = os.path.join(os.path.dirname(HERE), "real")
LIBRARIES = {"node": "npm faktory-worker 4.7.1", "python-cdrx": "PyPI faktory 1.0.0",
             "python-pyfaktory": "PyPI pyfaktory 0.2.11", "rust": "crates faktory 0.13.1"}
# The word for $CHARGEHAND_REQUIRE
WORDS = {"node": "node", "python-cdrx": "python", "python-pyfaktory": "python", "rust": "rust"}


def cache():
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "chargehand-tests")


def command(library):
    if library == "node":
        return ["node", os.path.join(REAL, "node", "worker.js")]
    if library == "rust":
        return [os.path.join(cache(), "rust", "worker")]
    return [os.path.join(cache(), library, "bin", "python"), os.path.join(REAL, library, "worker.py")]


def environment(library, concurrency=1, queues=("default",), log=None, threads=False, graceful=False):
    env = {"WORKER_CONCURRENCY": str(concurrency), "WORKER_QUEUES": ",".join(queues), "PYTHONDONTWRITEBYTECODE": "1"}
    if library == "node":
        env["NODE_PATH"] = os.path.join(cache(), "node", "node_modules")
    for name, value in (("WORKER_LOG", log), ("WORKER_THREADS", "1" if threads else None),
                        ("WORKER_GRACEFUL", "1" if graceful else None)):
        if value:
            env[name] = value
    return env


def missing(library):
    if not os.path.exists(os.path.join(cache(), library, ".stamp")):
        return f"{library}: not installed ({LIBRARIES[library]}; run tests/real/setup {library})"
    return None


def setup(library):
    """Install it if needed. None, or the reason why it is not to be had here."""
    done = subprocess.run([os.path.join(REAL, "setup"), library], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"{library}: setup ended with {done.returncode}"])[-1]
    return None


def read_log(path):
    """[(word, jid, pid, ns)]"""
    try:
        with open(path) as f:
            return [(w[0], w[1], int(w[2]), int(w[3])) for w in (line.split() for line in f)]
    except FileNotFoundError:
        return []
