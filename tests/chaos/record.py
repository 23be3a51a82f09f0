# SPDX-License-Identifier: MIT
"""What is kept of a storm, so that a job in a wrong place can be understood afterwards without a second storm.

A Record is the storm's directory:
  events        each harm and each start, with its time, as it happens
  wire          what the proxy has seen, at the end: links, commands and their answers, jobs given out, bytes that were lost
  verdict       the wrong jobs and the report
  server.log    the server's own
  KEEPER/       log.N of its chargehands, jobs (what the workers have written), state (the journal), journal.N as each
                chargehand left it

story() is all that is known of one job.
"""
import json
import os
import shutil
import tempfile
import threading
import time

BEFORE_SECONDS = 10  # harm to a keeper before its job was given out the last time
AFTER_SECONDS = 20  # and after it was last heard of
LOG_LINES = 30


class Record:
    def __init__(self, directory=None):
        """Without a directory it is a new one, removed by close() unless something was wrong."""
        self.asked_for = directory is not None
        self.directory = directory or tempfile.mkdtemp(prefix="chaos.")
        os.makedirs(self.directory, exist_ok=True)
        self.begun = time.monotonic()
        self.events = []  # (when, owner or "", text)
        self._lock = threading.Lock()
        self._file = open(os.path.join(self.directory, "events"), "w")

    def tell(self, owner, text):
        """owner: the name of the chargehand that it happens to, "" for all."""
        now = time.monotonic()
        with self._lock:
            self.events.append((now, owner, text))
            self._file.write(f"{now - self.begun:9.3f} {owner} {text}\n")
            self._file.flush()
        return now - self.begun

    def write(self, name, lines):
        with open(os.path.join(self.directory, name), "w") as f:
            f.writelines(line + "\n" for line in lines)

    def take(self, storm):
        """Before the server and its directory go."""
        proxy = storm.proxy
        try:
            shutil.copyfile(os.path.join(storm.server.dir, "server.log"), os.path.join(self.directory, "server.log"))
        except OSError:
            pass
        told = [(w.when, f"{w.link} {w.verb} {w.jid or ''} {w.errtype or ''} -> {w.answer}, {self._at(w.answered)}")
                for w in proxy.words]
        told += [(g.when, f"{g.link} gave {g.jid}{'' if g.delivered else ', not delivered'}") for g in proxy.gifts]
        told += [(w.when, f"{w.link} {w.verb} {w.jid or ''} {w.errtype or ''} LOST: {w.lost}") for w in proxy.lost]
        told += [(l.begun, f"{l} opened") for l in proxy.all_links]
        told += [(l.welcomed, f"{l} ready{_whose(l)}") for l in proxy.all_links if l.welcomed]
        told += [(l.ended, f"{l} ended: {l.end}") for l in proxy.all_links if l.end]
        self.write("wire", [f"{self._at(when)} {text}" for when, text in sorted(told)])
        for keeper in storm.keepers.values():
            for generation, (how, when, journal, _) in keeper.endings.items():
                self.write(os.path.join(keeper.name, f"journal.{generation}"),
                           [f"{self._at(when)} {how}"] + [f"{jid} {text}" for jid, text in journal.items()])

    def close(self, wrong):
        """Where it is, or None: removed."""
        self._file.close()
        if wrong or self.asked_for:
            return self.directory
        shutil.rmtree(self.directory, ignore_errors=True)
        return None

    def _at(self, when):
        return "-" if when is None else f"{when - self.begun:9.3f}"


def _whose(link):
    return ", the reporter's" if link.is_reporters else ""


def _log_lines(keeper, jid):
    """What its chargehands have said of the job; a log has no times, but an order."""
    found = []
    for generation in range(1, keeper.generation + 1):
        try:
            text = keeper.log(generation)
        except OSError:
            continue
        found += [f"log.{generation}:{n}: {line[:300]}" for n, line in enumerate(text.splitlines(), 1) if jid in line]
    return found


def _window(verdict, jid):
    """From when to when harm to its keeper can have to do with it."""
    times = [w.when for w in verdict.words[jid]] + [w.when for w in verdict.lost[jid]] + \
        [r.when for r in verdict.runs[jid]]
    given = [g.when for g in verdict.gifts[jid]]
    pushed = verdict.storm.jobs[jid].pushed or 0
    return max(given, default=pushed) - BEFORE_SECONDS, max(times + given, default=pushed) + AFTER_SECONDS


def story(verdict, jid):
    storm, record = verdict.storm, verdict.storm.record
    job = storm.jobs[jid]
    keeper = storm.keepers[job.keeper]
    since, until = _window(verdict, jid)
    lines = [(job.pushed or 0, f"pushed: {job.jobtype} {str(job.args)[:80]} retry {job.retry}")]
    lines += [(r.when, f"worker {r.pid}: {r.word} {r.more}") for r in verdict.runs[jid]]
    lines += [(w.when, f"{w.link} {w.verb} {w.errtype or ''} {w.text[:160]} -> {w.answer}" +
               (f" at {w.answered - storm.begun:.3f}" if w.answered else "")) for w in verdict.words[jid]]
    lines += [(w.when, f"{w.link} {w.verb} {w.errtype or ''} {w.text[:160]}: {w.lost}, the server has not had it")
              for w in verdict.lost[jid]]
    lines += [(g.when, f"{g.link} (wid {g.link.wid}) gave it out{'' if g.delivered else ', not delivered'}; that link's end: "
               f"{g.link.end} {(g.link.ended or storm.begun) - storm.begun:.3f}") for g in verdict.gifts[jid]]
    for generation, (how, when, journal, _) in keeper.endings.items():
        told = f", journal: {journal[jid]}" if jid in journal else ""
        if told:
            lines.append((when, f"chargehand {keeper.name}.{generation} {how}{told}"))
    harm = [(when, f"  {owner} {text}") for when, owner, text in record.events if owner in ("", keeper.name)]
    for link in storm.proxy.all_links:
        if link.owner == keeper.name and link.is_reporters and link.welcomed:
            harm.append((link.welcomed, f"  {link} ready{_whose(link)}"))
            harm.append((link.ended or storm.ended, f"  {link} ended: {link.end}"))
    lines += [(when, text) for when, text in harm if since <= when <= until]
    lines.sort()
    pushed = (job.pushed or 0) - 0.001
    told = [f"    {when - storm.begun:9.3f} {text}" for when, text in lines if when >= pushed]
    said = _log_lines(keeper, jid)
    told += [f"    chargehand {line}" for line in said[:LOG_LINES]]
    if len(said) > LOG_LINES:
        told.append(f"    … and {len(said) - LOG_LINES} lines more")
    told += [f"    now: {place} {json.dumps(found.get('failure'))[:400]} {found.get('reserved_at', '')}"
             for place, found in verdict.where[jid]]
    return "\n".join(told)
