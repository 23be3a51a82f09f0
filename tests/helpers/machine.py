# SPDX-License-Identifier: MIT
"""A Linux machine of the test's own, with the memory controller and, if asked for, systemd: user-mode-linux, an ordinary
process. The kit that boots it is in $CHARGEHAND_SHARED/vm (its README says what it can and cannot do); the root inside is
the host's own, so what was just built runs there, and nothing that is done to files survives.

  reason = missing()                     None, or why there is no such machine here
  reason = unfit()                       None, or why what was built cannot run in one
  status, output = run(["sh", "-c", "..."], systemd=True, units=DIRECTORY, after="dbus.service", limit=100)
  run(..., pc=True)                      an emulated PC with a stock kernel instead: slower, and it tells of pressure (PSI)
  suspend(70)                            inside: all of it sleeps for so many seconds
"""
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PASSED_ON = ("CHARGEHAND", "TOP_SRCDIR", "TOP_BUILDDIR", "FAKTORY_SERVER", "CHARGEHAND_SHARED", "PYTHONDONTWRITEBYTECODE")


def kit(name):
    return os.path.join(os.environ["CHARGEHAND_SHARED"], "vm", name)


def _cache():
    return os.environ.get("VM_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "chargehand-tests", "vm")


def modules():
    """Where umlrun finds those of its kernel."""
    places = [os.environ.get("UML_MODULES", ""), "/usr/lib/uml/modules", os.path.join(_cache(), "uml/usr/lib/uml/modules")]
    return next((place for place in places if os.path.isdir(place)), "")


@functools.lru_cache(None)
def _shim():
    """tests/vm/xstate.c, compiled; empty where there is no compiler: it is not needed on every processor."""
    compiler, made = shutil.which("cc"), os.path.join(tempfile.gettempdir(), f"xstate-{os.getpid()}.so")
    if compiler and os.uname().machine == "x86_64":
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", made, os.path.join(SOURCE, "tests/vm/xstate.c")], check=True)
        return made
    return ""


def run(command, systemd=False, units=None, after=None, limit=100, memory="512M", env=None, pc=False):
    """Its status is the command's; 124 after the limit, 125 when the machine stopped."""
    words = [kit("qemurun" if pc else "umlrun"), "-t", str(limit), "-m", memory]
    for name in PASSED_ON:
        if name in os.environ:
            words += ["-e", name]
    for name, value in {"UML_MODULES": modules(), **(env or {})}.items():
        words += ["-e", f"{name}={value}"]
    words += ["-s"] if systemd else []
    words += ["-u", units] if units else []
    environment = dict(os.environ, LD_PRELOAD="" if pc else _shim(), VM_CACHE=_cache())
    if after:
        environment["VM_AFTER"] = after
    # Its memory is a file, which is not to go to a disk; and a limit of its own says more than that of the test.
    environment.pop("TMPDIR", None)
    with tempfile.TemporaryDirectory(prefix="chargehand-test.") as out:
        process = subprocess.Popen([*words, "-o", out, "--", *command], env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        threading.Thread(target=_wake, args=(process, os.path.join(out, os.path.basename(ASLEEP))), daemon=True).start()
        output, _ = process.communicate()
    return process.returncode, output


ASLEEP = "/run/out/asleep"


def suspend(seconds):
    """To idle: "mem" hardly sleeps there. No clock could wake it, so whoever started it does when it finds this file."""
    with open(ASLEEP + ".new", "w") as f:
        f.write(str(seconds))
    os.rename(ASLEEP + ".new", ASLEEP)
    with open("/sys/power/state", "w") as f:
        f.write("freeze")
    os.unlink(ASLEEP)


def _processes_below(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        for child in map(int, f.read().split()):
            yield child
            yield from _processes_below(child)


def _wake(process, path):
    while process.poll() is None:
        time.sleep(0.2)
        try:
            with open(path) as f:
                time.sleep(float(f.read()))
            for pid in _processes_below(process.pid):
                with open(f"/proc/{pid}/comm") as f:
                    if f.read() == "linux.uml\n":  # the first is the kernel itself
                        os.kill(pid, signal.SIGUSR1)
                        break
            while os.path.exists(path):
                time.sleep(0.2)
        except OSError:
            pass  # not asleep, or at its end


@functools.lru_cache(None)
def missing():
    if not os.environ.get("CHARGEHAND_SHARED"):
        return "no test machines: CHARGEHAND_SHARED does not say where they are"
    if not os.access(kit("umlrun"), os.X_OK):
        return f"no test machines: {kit('umlrun')} is not there"
    status, output = run(["grep", "-w", "memory", "/sys/fs/cgroup/cgroup.controllers"], limit=60)
    return None if status == 0 else f"user-mode-linux does not boot here ({status}): {output[-300:]}"


def unfit():
    with open(os.environ["CHARGEHAND"], "rb") as f:
        return "AddressSanitizer does not run in user-mode-linux" if b"__asan_init" in f.read() else None
