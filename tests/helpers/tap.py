# SPDX-License-Identifier: MIT
"""Runs the unittest tests of a file and speaks TAP, so that automake's driver counts each of them.

  import tap                       at the head of a test file, and at its end:
  if __name__ == "__main__":
      tap.main()                   or tap.main(notes=["what runs where", ...]), printed as # lines before the plan

  tap.need("real", reason)         nothing if reason is None; else the test is skipped with that reason, or
                                   failed if the word is in $CHARGEHAND_REQUIRE
  tap.keep(pid, close)             a process that more than one test of this worker uses; close() ends it

  sys.exit(tap.look(checks))       for a file that reads and starts no test: each check is a name, a function that gives
                                   the problems it sees, and, where it may be left out, the reason or None

A class of tests that need longer has `limit`, in seconds.

Options: -j N processes (default $CHARGEHAND_JOBS, else 1), -k PATTERN (may repeat; part of a name or a glob),
-l lists, -t S seconds for one test (default 240), -v shows what tests that passed have printed, --repeat N.

Tests run in worker processes forked from this one, one after the other in each. What a test prints is
shown as # lines if it fails. A test that takes too long or kills its worker is "not ok", the others go
on. Processes that a test leaves behind are ended, and the test is "not ok". $TMPDIR is a directory of this
run, removed at its end.
"""
import argparse
import ctypes
import fnmatch
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unittest

sys.dont_write_bytecode = True
_kept = {}
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def need(word, reason):
    if reason is None:
        return
    if word in os.environ.get("CHARGEHAND_REQUIRE", "").replace(",", " ").split():
        raise AssertionError(f"required, but: {reason}")
    raise unittest.SkipTest(reason)


def keep(pid, close):
    _kept[pid] = close


def children():
    """Own children with their state: {pid: "S" ...}"""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    rest = f.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(rest[1]) == os.getpid():
                found[int(name)] = rest[0]
    return found


def _command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().replace("\0", " ").strip()[:200]
    except OSError:
        return "?"


def _leftovers(before):
    """Children (and orphans, which come to us) that the test did not end. Zombies are only reaped."""
    left = []
    deadline = time.monotonic() + 2
    while True:
        now = {pid: state for pid, state in children().items() if pid not in before and pid not in _kept}
        for pid, state in now.items():
            if state == "Z":
                try:
                    os.waitpid(pid, os.WNOHANG)
                except OSError:
                    pass
        alive = [pid for pid, state in now.items() if state != "Z"]
        if not alive:
            return left
        if time.monotonic() > deadline:
            for pid in alive:
                left.append(f"{pid}: {_command_line(pid)}")
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            deadline = time.monotonic() + 2
        time.sleep(0.02)


def _run_one(test, output):
    before = set(children())
    result = unittest.TestResult()
    unittest.TestSuite([test]).run(result)
    trouble = [text for _, text in result.failures + result.errors]
    trouble += ["unexpected success"] * len(result.unexpectedSuccesses)
    left = _leftovers(before)
    if left:
        trouble.append("processes left behind:\n" + "\n".join(left))
    skipped = [reason for _, reason in result.skipped]
    output.flush()
    return {"trouble": "\n".join(trouble), "skip": skipped[0] if skipped and not trouble else None}


def _worker(tests, commands, answers):
    """The child: one index in, one outcome out."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = tempfile.TemporaryFile()
    for fd in (1, 2):
        os.dup2(output.fileno(), fd)
    for line in commands:
        os.ftruncate(output.fileno(), 0)
        os.lseek(output.fileno(), 0, os.SEEK_SET)
        try:
            outcome = _run_one(tests[int(line)], sys.stdout)
        except BaseException:
            outcome = {"trouble": traceback.format_exc(), "skip": None}
        sys.stderr.flush()
        size = os.fstat(output.fileno()).st_size
        outcome["output"] = os.pread(output.fileno(), 20000, max(size - 20000, 0)).decode("utf-8", "replace")
        answers.write(json.dumps(outcome).encode() + b"\n")
        answers.flush()
    for close in _kept.values():
        try:
            close()
        except Exception:
            pass


class _Process:
    def __init__(self, tests, others):
        down, up = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                for other in others:
                    other.commands.close()
                    other.answers.close()
                os.close(down[1])
                os.close(up[0])
                _worker(tests, os.fdopen(down[0]), os.fdopen(up[1], "wb"))
                status = 0
            finally:
                os._exit(status)
        os.close(down[0])
        os.close(up[1])
        self.commands, self.answers = os.fdopen(down[1], "w"), os.fdopen(up[0], "rb")
        self.index, self.since = None, 0

    def start(self, index):
        self.index, self.since = index, time.monotonic()
        self.commands.write(f"{index}\n")
        self.commands.flush()

    def end(self, kill=False):
        self.commands.close()
        if kill:
            os.kill(self.pid, signal.SIGKILL)  # its servers notice by themselves
        self.answers.close()
        return os.waitpid(self.pid, 0)[1]


def _flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from _flatten(item)
        else:
            yield item


def _name(test):
    return test.id().removeprefix("__main__.")


class _Report:
    def __init__(self, verbose):
        self.verbose, self.done, self.bad, self.skipped, self.slow = verbose, 0, 0, 0, []

    def say(self, text):
        for line in text.rstrip("\n").split("\n"):
            print(f"# {line}")

    def outcome(self, name, seconds, trouble="", skip=None, output=""):
        self.done += 1
        self.bad += bool(trouble)
        self.skipped += bool(skip)
        self.slow = sorted([*self.slow, (seconds, name)], reverse=True)[:5]
        mark = "not ok" if trouble else "ok"
        print(f"{mark} {self.done} - {name}" + (f" # SKIP {' '.join(skip.split())}" if skip else ""))
        if trouble:
            self.say(f"{name} failed after {seconds:.2f} s\n{trouble}")
        if output and (trouble or self.verbose):
            self.say("printed:\n" + output)
        sys.stdout.flush()


def _run(tests, jobs, default, report):
    waiting, processes = list(range(len(tests)))[::-1], []
    try:
        while waiting or any(p.index is not None for p in processes):
            while waiting and len(processes) < jobs:
                processes.append(_Process(tests, processes))
            for p in processes:
                if p.index is None and waiting:
                    p.start(waiting.pop())
            busy = [p for p in processes if p.index is not None]
            ready = select.select([p.answers for p in busy], [], [], 0.2)[0]
            for p in busy:
                name, seconds = _name(tests[p.index]), time.monotonic() - p.since
                limit = max(default, getattr(tests[p.index], "limit", 0))
                if p.answers in ready:
                    line = p.answers.readline()
                    if line:
                        report.outcome(name, seconds, **json.loads(line))
                        p.index = None
                        continue
                    status = p.end()
                    report.outcome(name, seconds, f"the process of the test ended, wait status {status:#x}")
                    processes.remove(p)
                elif seconds > limit:
                    p.end(kill=True)
                    report.outcome(name, seconds, f"not done within {limit} s")
                    processes.remove(p)
    finally:
        for p in processes:
            p.end(kill=p.index is not None)


def look(checks):
    """The exit status."""
    bad = 0
    print(f"1..{len(checks)}")
    for number, (name, check, *reasons) in enumerate(checks, 1):
        if any(reasons):
            print(f"ok {number} - {name} # SKIP {reasons[0]}")
            continue
        problems = list(check())
        print(f"{'not ok' if problems else 'ok'} {number} - {name}")
        for problem in problems:
            print(f"# {problem}")
        bad += bool(problems)
    return 1 if bad else 0


def main(notes=(), module="__main__"):
    p = argparse.ArgumentParser()
    p.add_argument("-j", type=int, default=int(os.environ.get("CHARGEHAND_JOBS") or 1), metavar="N")
    p.add_argument("-k", action="append", default=[], metavar="PATTERN")
    p.add_argument("-l", action="store_true")
    p.add_argument("-t", type=float, default=240, metavar="S")
    p.add_argument("-v", action="store_true")
    p.add_argument("--repeat", type=int, default=1, metavar="N")
    o = p.parse_args()
    tests = list(_flatten(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])))
    if o.k:
        tests = [t for t in tests if any(k in _name(t) or fnmatch.fnmatchcase(_name(t), k) for k in o.k)]
    tests *= o.repeat
    if o.l:
        print("\n".join(map(_name, tests)))
        return
    report = _Report(o.v)
    for note in notes:
        report.say(note)
    print(f"1..{len(tests)}", flush=True)
    if not tests:
        print("Bail out! no test has such a name", flush=True)
        sys.exit(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    outer, directory = os.environ.get("TMPDIR"), tempfile.mkdtemp(prefix="chargehand-run.")
    os.environ["TMPDIR"] = tempfile.tempdir = directory
    try:
        _run(tests, max(o.j, 1), o.t, report)
    except KeyboardInterrupt:
        print("Bail out! interrupted", flush=True)
        report.bad += 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if outer:
            os.environ["TMPDIR"] = outer
    for seconds, name in report.slow:
        if seconds > 5:
            report.say(f"{name} took {seconds:.0f} s")
    report.say(f"{report.done - report.bad - report.skipped} passed, {report.bad} failed, {report.skipped} skipped")
    sys.exit(1 if report.bad else 0)
