#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What contrib/demo shows, once everything is there: $CHARGEHAND is the program, and tests/real/setup has installed the
worker's library. The worker is tests/real/python-cdrx/worker.py, which is what the library's documentation says one is."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from datetime import datetime, timezone

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "helpers"))
import real_workers
import servers
from servers import wait_until

LIBRARY = "python-cdrx"
JOBS = 3
PATIENCE = 30  # seconds for a worker to start
WIDTH = 104


def say(text="", depth=0):
    print(textwrap.fill(text, WIDTH, initial_indent="    " * depth, subsequent_indent="    " * depth), flush=True)


def moment(text):
    """A server's time stamp in seconds since 1970, to the microsecond."""
    whole, _, rest = text.rstrip("Z").partition(".")
    seconds = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    return seconds + float("0." + (rest or "0"))


def clock(seconds):
    return time.strftime("%H:%M:%S", time.localtime(seconds))


class Show:
    def __init__(self, server, directory):
        self.server, self.dir, self.processes, self.pushed = server, directory, [], 0
        self.log = os.path.join(directory, "worker.log")
        self.output = os.path.join(directory, "output")

    def start(self, *before, queue="default"):
        """The worker, or what is to run it. What it prints goes to a file: most of it is a library's traceback."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("FAKTORY")}
        env.update(real_workers.environment(LIBRARY, concurrency=JOBS, queues=[queue], log=self.log),
                   FAKTORY_URL=self.server.url, STATE_DIRECTORY=os.path.join(self.dir, "state"))
        with open(self.output, "ab") as output:
            process = subprocess.Popen([*before, *real_workers.command(LIBRARY)], env=env, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output, start_new_session=True)
        self.processes.append(process)
        return process

    def start_wrapped(self):
        return self.start(os.environ["CHARGEHAND"], "--name", "demo", "--")

    def worker_pids(self):
        """Of the workers that chargehand has started, the newest last."""
        with open(self.output, errors="replace") as f:
            return [int(pid) for pid in re.findall(r"demo\.1: started \(pid (\d+)\)", f.read())]

    def push(self, jobtype, argument, n, queue="default"):
        self.pushed += n
        return [self.server.push(jobtype, [argument], queue=queue, jid=f"demo-job-{i}")
                for i in range(self.pushed - n + 1, self.pushed + 1)]

    def wait_logged(self, word, jids):
        wait_until(lambda: set(jids) <= {entry[1] for entry in real_workers.read_log(self.log) if entry[0] == word},
                   PATIENCE, f"{word}: {jids}")

    def take_jobs(self):
        """Jobs that last, and a second of work on them."""
        jids = self.push("sleep", 600, JOBS)
        self.wait_logged("start", jids)
        time.sleep(1)
        return jids

    def do_jobs(self, n, queue="default"):
        self.wait_logged("done", self.push("echo", 1, n, queue))

    def end(self, process):
        """Of a worker its children too, who live on without it."""
        if process.poll() is None:
            process.terminate()
            time.sleep(0.01)
            process.terminate()  # twice: without grace
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def close(self):
        for process in self.processes:
            self.end(process)


def without(show):
    say("Without chargehand:  python worker.py")
    worker = show.start()
    jids = show.take_jobs()
    say(f"It has taken {len(jids)} jobs.  kill -9 {worker.pid}", 1)
    killed_at = time.time()
    worker.kill()
    worker.wait()
    show.end(worker)
    time.sleep(3)
    held = [job for job in show.server.working() if job["jid"] in jids]
    until = min(moment(job["expires_at"]) for job in held)
    say(f"{time.time() - killed_at:.0f} s later the server says: {len(held)} jobs busy. They stay so until {clock(until)}, when "
        f"their reservations run out, {(until - killed_at) / 60:.0f} minutes after the kill.", 1)
    show.server.flush()


def with_it(show):
    say("With it:  chargehand -- python worker.py")
    wrapper = show.start_wrapped()
    jids = show.take_jobs()
    pid = show.worker_pids()[-1]
    say(f"It has taken {len(jids)} jobs.  kill -9 {pid}", 1)
    killed_at = time.time()
    os.kill(pid, signal.SIGKILL)
    failed = sorted((moment(job["failure"]["failed_at"]), job["jid"], job["failure"])
                    for job in (show.server.wait_jid(jid, "retries") for jid in jids))
    for failed_at, jid, failure in failed:
        say(f"{(failed_at - killed_at) * 1000:5.1f} ms later  FAIL {jid}  {failure['errtype']}", 1)
    say("The server shows with each what chargehand has told it:", 1)
    say(failed[0][2]["message"], 2)
    next_pid = wait_until(lambda: show.worker_pids()[-1] != pid and show.worker_pids()[-1], PATIENCE, "the next worker")
    show.do_jobs(1)
    counts = show.server.wait(working=0)
    say(f"{counts['working']} jobs busy, {counts['retries']} to be tried again. The next worker, pid {next_pid}, has done one "
        "already.", 1)
    show.server.flush()
    return wrapper


def restart(show, wrapper):
    say("The server is restarted:")
    pid = show.worker_pids()[-1]
    worker = show.start(queue="other")  # so that it is known which of the two has done a job
    show.do_jobs(1, "other")
    show.server.restart()
    status = worker.wait(PATIENCE)
    show.end(worker)
    with open(show.output, errors="replace") as f:
        last = [line for line in f.read().splitlines() if re.match(r"\S*Error\b", line)][-1]
    say(f"Without chargehand the worker has ended with status {status}: {last}", 1)
    show.do_jobs(JOBS)
    assert show.worker_pids()[-1] == pid
    say(f"With it the worker, pid {pid}, has noticed nothing, and has done {JOBS} jobs since.", 1)
    show.end(wrapper)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    kind = "dev" if servers.available()["real"] else "real"
    directory = tempfile.mkdtemp(prefix="chargehand-demo.")
    server = servers.make(kind, password="s3cret")
    show = Show(server, directory)
    try:
        info = server.admin(lambda client: client.info())["server"]
        what = f"the real one, Faktory {info['faktory_version']}" if kind == "real" else \
            f"the development server of tests/helpers ({servers.available()['real']})"
        say(f"Server: {what}")
        say(f"Worker: made with {real_workers.LIBRARIES[LIBRARY]}, unmodified")
        say()
        without(show)
        say()
        wrapper = with_it(show)
        say()
        restart(show, wrapper)
    finally:
        show.close()
        server.close()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
