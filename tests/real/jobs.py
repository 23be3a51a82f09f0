# SPDX-License-Identifier: MIT
"""The job types of the two Python workers. Each job gets its jid as first argument (bind=True)."""
import os
import signal
import subprocess
import sys
import time


def log(word, jid):
    path = os.environ.get("WORKER_LOG")
    if path:
        with open(path, "a") as f:
            f.write(f"{word} {jid} {os.getpid()} {time.monotonic_ns()}\n")


def echo(jid, ms=0):
    log("start", jid)
    time.sleep(ms / 1000)
    log("done", jid)


def fail(jid, *args):
    log("start", jid)
    raise RuntimeError("failed on purpose")


def sleep(jid, seconds=0):
    log("start", jid)
    time.sleep(seconds)
    log("done", jid)


def segv(jid, *args):
    log("start", jid)
    os.kill(os.getpid(), signal.SIGSEGV)
    log("done", jid)


def exit(jid, status=0):
    log("start", jid)
    os._exit(status)


def eat(jid, mib=1):
    log("start", jid)
    memory = b"\1" * (mib << 20)
    log("done", jid)
    del memory


def fork(jid, seconds=0):
    log("start", jid)
    subprocess.run(["sleep", str(seconds)], check=True)
    log("done", jid)


def write(jid, text=""):
    log("start", jid)
    print(text, file=sys.stderr, flush=True)
    log("done", jid)


JOBS = {"echo": echo, "fail": fail, "sleep": sleep, "segv": segv, "exit": exit, "eat": eat, "fork": fork, "log": write}
