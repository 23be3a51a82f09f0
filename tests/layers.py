#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rules of the source tree, as TAP: who may include whom, how long a file may be, what each file begins with, and
that the build knows all of them. Reads files only."""
import os
import re
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "helpers"))
import tap

TOP = os.environ.get("TOP_SRCDIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")

# A file includes only headers of its own directory and of lower layers. Two directories of one layer do not know
# each other.
LAYERS = [["base"], ["faktory"], ["config", "ledger", "process"], ["link"], ["gateway", "report"], ["supervise"],
          ["control"], ["."]]
LAYER = {directory: number for number, layer in enumerate(LAYERS) for directory in layer}

LINES_MAX = 600
SPDX = "SPDX-License-Identifier: MIT"

# Only the glue of layers 3 and above meets the event loop.
LOOP_LAYER = 3

# Paths of one developer's machine.
PRIVATE_PATH = re.compile(r"(^|[^\w.*}])/(home|Users|root|work|farm|opt)/")


def sources(top=TOP):
    """(path below top, text) of each .c and .h below src and tests."""
    for base in ("src", "tests"):
        for directory, _, names in sorted(os.walk(os.path.join(top, base))):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(directory, name)
                    with open(path, encoding="utf-8") as f:
                        yield os.path.relpath(path, top), f.read()


def directory_of(path):
    """"base" for src/base/log.c, "." for src/main.c."""
    return os.path.dirname(os.path.relpath(path, "src")) or "."


def bad_includes(path, text):
    own = directory_of(path)
    if own not in LAYER:
        yield f"{path}: {own} is in no layer"
        return
    for number, line in enumerate(text.split("\n"), 1):
        loop = re.match(r"\s*#\s*include\s*<event2?/", line)
        if loop and LAYER[own] < LOOP_LAYER:
            yield f"{path}:{number}: layer {LAYER[own]} does not know libevent"
        found = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if not found:
            continue
        other = os.path.dirname(found[1]) or "."
        if "/" not in found[1] or other not in LAYER:
            yield f"{path}:{number}: \"{found[1]}\": headers are named from src/"
        elif other != own and LAYER[other] >= LAYER[own]:
            yield f"{path}:{number}: \"{found[1]}\": layer {LAYER[own]} includes layer {LAYER[other]}"


def bad_guard(path, text):
    expected = "CHARGEHAND_" + re.sub(r"\W", "_", os.path.splitext(os.path.relpath(path, "src"))[0]).upper() + "_H"
    if not re.search(rf"^#ifndef {expected}\n#define {expected}\n", text, re.M) or not text.endswith("#endif\n"):
        yield f"{path}: the guard is to be {expected}"


def bad_first_include(path, text):
    """Each header can be included alone: its own .c proves it by including it first. What the files of a directory share
    (internal.h) includes that header for them."""
    own = os.path.relpath(path, "src")[:-1] + "h"
    found = re.search(r'^#\s*include\s*"([^"]+)"', text, re.M)
    if os.path.exists(os.path.join(TOP, "src", own)) and (
            not found or found[1] not in (own, os.path.join(os.path.dirname(own), "internal.h"))):
        yield f"{path}: \"{own}\" comes first"


def unlisted(paths):
    with open(os.path.join(TOP, "Makefile.am"), encoding="utf-8") as f:
        words = set(f.read().split())
    for path in paths:
        if path not in words and os.path.splitext(path)[0] not in words:
            yield f"{path}: Makefile.am does not list it"


def shipped_files():
    """Files of tests, etc and contrib, which `make dist` takes only if they are listed. Read from the tarball itself there
    are fewer, and all are right."""
    for base in ("etc", "contrib", "tests"):
        for directory, directories, names in os.walk(os.path.join(TOP, base)):
            directories[:] = [d for d in directories if not d.startswith((".", "__", "node_modules", "target"))]
            for name in names:
                path = os.path.relpath(os.path.join(directory, name), TOP)
                if not name.startswith(".") and is_tracked(path):
                    yield path


def is_tracked(path):
    """True where it cannot be told: without git everything that is there was shipped."""
    if TRACKED is None:
        return True
    return path in TRACKED


def read_tracked():
    import subprocess
    if not os.path.exists(os.path.join(TOP, ".git")) or not shutil.which("git"):
        return None
    run = subprocess.run(["git", "-C", TOP, "ls-files"], capture_output=True, text=True)
    return set(run.stdout.split("\n")) if run.returncode == 0 else None


def private_paths():
    for base in ("src", "tests", "etc", "contrib", "README", "configure.ac", "Makefile.am"):
        top = os.path.join(TOP, base)
        paths = [top] if os.path.isfile(top) else [os.path.join(d, n) for d, _, names in os.walk(top) for n in names]
        for path in paths:
            relative = os.path.relpath(path, TOP)
            if not is_tracked(relative) or relative == "tests/layers.py" or "/corpus/" in relative:
                continue
            try:
                with open(path, encoding="utf-8") as f:
                    for number, line in enumerate(f, 1):
                        if PRIVATE_PATH.search(line):
                            yield f"{relative}:{number}: a path of one machine: {line.strip()[:80]}"
            except (UnicodeDecodeError, FileNotFoundError):
                pass


def scripts():
    """(path, text) of each Python file below tests."""
    for directory, directories, names in os.walk(os.path.join(TOP, "tests")):
        directories[:] = [d for d in directories if not d.startswith((".", "__", "node_modules", "target"))]
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), TOP)
            if name.endswith(".py") and is_tracked(path):
                with open(os.path.join(TOP, path), encoding="utf-8") as f:
                    yield path, f.read()


def each(check, suffixes=(".c", ".h"), below="src/"):
    for path, text in sources():
        if path.startswith(below) and path.endswith(suffixes) and is_tracked(path):
            yield from check(path, text)


def too_long(path, text):
    lines = text.count("\n")
    if lines > LINES_MAX:
        yield f"{path}: {lines} lines, at most {LINES_MAX}"


def bad_head(path, text):
    if SPDX not in text.split("\n", 2)[0]:
        yield f"{path}: the first line is to hold {SPDX}"


def unfinished(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            yield f"{path}:{number}: unfinished"


def self_test():
    """The checks see what they are to see."""
    wrong = [bad_includes("src/base/x.c", '#include "faktory/url.h"\n'),
             bad_includes("src/ledger/x.c", '#include "process/reap.h"\n'),
             bad_includes("src/gateway/x.c", '#  include "report/reporter.h"\n'),
             bad_includes("src/process/x.c", "#include <event2/event.h>\n"),
             bad_includes("src/base/x.c", '#include "log.h"\n'),
             bad_includes("src/new/x.c", ""),
             bad_guard("src/base/x.h", "#ifndef X_H\n#define X_H\n#endif\n"),
             too_long("x", "\n" * (LINES_MAX + 1)),
             bad_head("x", "int x;\n"),
             unfinished("x", "/* TO" "DO */\n")]
    for number, check in enumerate(wrong, 1):
        if not list(check):
            yield f"check {number} sees nothing"
    for check in (bad_includes("src/link/x.c", '#include "link/a.h"\n#include "base/log.h"\n#include <event2/event.h>\n'),
                  bad_guard("src/base/x.h", "#ifndef CHARGEHAND_BASE_X_H\n#define CHARGEHAND_BASE_X_H\n#endif\n")):
        yield from check


TRACKED = read_tracked()
TESTS = [
    ("the checks themselves see what is wrong", self_test),
    ("no include points upward, and only layers 3 and above know libevent", lambda: each(bad_includes)),
    ("every header has its guard", lambda: each(bad_guard, (".h",))),
    ("every source includes its own header first", lambda: each(bad_first_include, (".c",))),
    (f"no file of src has more than {LINES_MAX} lines", lambda: each(too_long)),
    (f"no file of tests has more than {LINES_MAX} lines",
     lambda: (p for path, text in [*sources(), *scripts()] if path.startswith("tests/") for p in too_long(path, text))),
    ("every file begins with its licence", lambda: (p for b in ("src/", "tests/") for p in each(bad_head, below=b))),
    ("nothing is marked as unfinished", lambda: (p for b in ("src/", "tests/") for p in each(unfinished, below=b))),
    ("Makefile.am lists every source", lambda: unlisted(p for p, _ in sources() if is_tracked(p))),
    ("Makefile.am lists everything that is to be shipped", lambda: unlisted(shipped_files())),
    ("no path of one machine is named", private_paths),
]


if __name__ == "__main__":
    sys.exit(tap.look(TESTS))
