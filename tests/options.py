#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Options, as TAP: --help (which is printed from the table that the program reads options by), the manual and the sample
configuration tell of the same ones, with the same values and defaults."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "helpers"))
import tap

TOP = os.environ.get("TOP_SRCDIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
CHARGEHAND = os.environ["CHARGEHAND"]
MANUAL = os.path.join(TOP, "src", "chargehand.8")
SAMPLE = os.path.join(TOP, "etc", "chargehand.conf")

# Options that are no keys of the file, and the key that is no option.
COMMAND_LINE_ONLY = {"name", "config", "check", "help", "version"}
FILE_ONLY = {"command"}
SUPERVISOR = {"server", "cgroup", "state-dir", "journal-sync", "log-level"}


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def help_options():
    """{name: (argument or "", default or None)}"""
    text = subprocess.run([CHARGEHAND, "--help"], capture_output=True, text=True, check=True).stdout
    options = {}
    for block in re.split(r"\n(?=  --)", text)[1:]:
        name, argument = re.match(r"  --([a-z-]+)(?: (\S+))?\n", block).groups()
        default = re.search(r"\n +default: (.*)", block)
        options[name] = (argument or "", default and default[1])
    return options


def manual_options():
    """{name: argument}, from the list of section OPTIONS"""
    section = re.search(r"\n\.Sh OPTIONS\n(.*?)\n\.Sh ", read(MANUAL), re.S)[1]
    options = {}
    for name, rest in re.findall(r"^\.It Fl -([a-z-]+) ?(.*)$", section, re.M):
        options[name] = re.sub(r"\b(Ar|Cm)\b|\s", "", rest)
    return options


def sample_keys():
    """{key: (section, value, commented out)}"""
    section, keys = None, {}
    for line in read(SAMPLE).split("\n"):
        if found := re.match(r"\[(\w+).*\]$", line):
            section = found[1]
        elif found := re.match(r"(#?)([a-z-]+) = (.*)$", line):
            keys[found[2]] = (section, found[3], bool(found[1]))
    return keys


def same(what, left, right):
    for word in sorted(set(left) - set(right)):
        yield f"{what}: {word} is missing"
    for word in sorted(set(right) - set(left)):
        yield f"{what}: {word} is too much"


def check_manual():
    ours, theirs = help_options(), manual_options()
    yield from same("the manual's options", ours, theirs)
    for name in ours.keys() & theirs.keys():
        if ours[name][0] != theirs[name]:
            yield f"--{name}: {ours[name][0]!r} in --help, {theirs[name]!r} in the manual"


def check_manual_defaults():
    section = re.search(r"\n\.Sh OPTIONS\n(.*?)\n\.Sh ", read(MANUAL), re.S)[1]
    texts = {re.match(r"[a-z-]+", part)[0]: part for part in re.split(r"\n\.It Fl -", "\n" + section)[1:]}
    for name, (_, default) in help_options().items():
        if default and " " not in default and not re.search(rf"default(\s|\.\w+)+(is|of)?\s*(\.Cm\s+)?{re.escape(default)}\b",
                                                            texts.get(name, "")):
            yield f"--{name}: the manual does not say that {default} is the default"


def check_sample():
    ours, keys = help_options(), sample_keys()
    yield from same("the sample's keys", (ours.keys() - COMMAND_LINE_ONLY) | FILE_ONLY, keys)
    for key, (section, value, commented) in keys.items():
        if section != ("chargehand" if key in SUPERVISOR else "program"):
            yield f"{key}: its section is not [{section}]"
        if commented == (key in FILE_ONLY):
            yield f"{key}: only what has no default is to be in force"
        default = ours.get(key, ("", None))[1]
        if default and " " not in default and "$" not in default and value != default:
            yield f"{key}: {value} in the sample, {default} in --help"
        if not default and commented and value != "none":
            yield f"{key}: {value} in the sample, and --help tells no default"


def load(text):
    """What --check says of a file with this text."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "chargehand.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        # Port 1 of this host: nobody answers, and the check says so, once the file has been read.
        run = subprocess.run([CHARGEHAND, "--config", path, "--check", "--server", "tcp://127.0.0.1:1", "--state-dir",
                              directory, "--", "true"], capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr


def check_sample_is_read():
    for text in (read(SAMPLE), re.sub(r"^#([a-z-]+ = )", r"\1", read(SAMPLE), flags=re.M)):
        status, out, err = load(text)
        if status != 69 or err or "as example.1" not in out:
            yield f"status {status}: {err}{out}"
    status, _, err = load(read(SAMPLE) + "nonsense = 1\n")
    if status != 78 or "nonsense" not in err:
        yield f"a wrong key is not told: {status}: {err}"


def check_manual_lint():
    run = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", MANUAL], capture_output=True, text=True)
    if run.returncode != 0:
        yield from (run.stdout + run.stderr).strip().split("\n")


def check_statuses():
    """Those of base/status.h are in the manual, and no other."""
    found = set(re.findall(r"^\tSTATUS_\w+ = (\d+),", read(os.path.join(TOP, "src", "base", "status.h")), re.M))
    section = re.search(r"\n\.Sh EXIT STATUS\n(.*?)\n\.Sh ", read(MANUAL), re.S)[1]
    told = set(re.findall(r"\d+", " ".join(re.findall(r"^\.It (.*)$", section, re.M)))) - {"0"}
    yield from same("the manual's exit statuses", found, told)


def check_errtypes():
    names = set(re.findall(r'= "(\w+)"', re.search(r"errtype\w*\[\] = \{(.*?)\};", read(
        os.path.join(TOP, "src", "process", "death.c")), re.S)[1]))
    told = set(re.findall(r"^\.It Li (\w+)$", read(MANUAL), re.M))
    yield from same("the manual's error types", names, told)


def check_message_ids():
    ids = re.findall(r'^#define LOG_ID_\w+ "([0-9a-f]{32})"', read(os.path.join(TOP, "src", "base", "entry.h")), re.M)
    if not ids or len(set(ids)) != len(ids):
        yield f"src/base/entry.h: {ids}"
    yield from same("the manual's message IDs", set(ids), set(re.findall(r"^\.It Va ([0-9a-f]+)$", read(MANUAL), re.M)))


TESTS = [
    ("the manual has the options of --help", check_manual, None),
    ("the manual has their defaults", check_manual_defaults, None),
    ("the sample has the keys and defaults of --help", check_sample, None),
    ("the sample can be read, as it is and with all in force", check_sample_is_read, None),
    ("the manual has the exit statuses of the source", check_statuses, None),
    ("the manual has the error types of the source", check_errtypes, None),
    ("the manual has the message IDs of the source", check_message_ids, None),
    ("the manual is well-formed", check_manual_lint, None if shutil.which("mandoc") else "mandoc is missing"),
]


if __name__ == "__main__":
    sys.exit(tap.look(TESTS))
