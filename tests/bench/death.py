# SPDX-License-Identifier: MIT
"""(a) From kill(2) to the FAIL at the server; beanstalkd's from kill(2) to the job with another consumer; the kernel's
own chain from kill(2) to 200 bytes received. Small victims, whose own end takes the kernel little time, and one as large as
a worker in Python is; each in a cgroup. Each has its turn in each round; 5 ms of quiet before each kill."""
import subprocess

from common import Failed, Server, find, free_port, median, percentile, spawn, stop, tool, wait_port, worker_group

CASES = ((1, 0), (1, 30), (25, 0), (1000, 0))  # jobs in hand, and MB of memory


def run_tool(name, *args):
    r = subprocess.run([tool(name), *map(str, args)], capture_output=True, text=True, timeout=300)
    if r.returncode:
        raise Failed(f"{name}: {r.stderr.strip()}")
    return [tuple(int(v) / 1e6 for v in line.split()) for line in r.stdout.splitlines()]


class ChargehandRun:
    """One chargehand that restarts its worker each time; it stays for all rounds, as beanstalkd does."""

    def __init__(self, chargehand, n_jobs, mb=0):
        self.n_jobs = n_jobs
        self.server = Server()
        self.process = chargehand.start(self.server, [tool("hold"), str(n_jobs), str(mb)],
                                        ["--restart", "always", "--healthy", "1ms", "--name", "bench"],
                                        stdout=subprocess.PIPE)

    def kills(self, n):
        """Its workers tell the killer who they are: nothing here runs until n of them are dead."""
        r = subprocess.run([tool("killer"), str(n)], stdin=self.process.stdout, capture_output=True, text=True, timeout=300)
        if r.returncode:
            raise Failed("chargehand has ended")
        result = []
        for killed_at in map(int, r.stdout.split()):
            at = self.server.fails(self.n_jobs)
            result.append(((min(at) - killed_at) / 1e6, (max(at) - killed_at) / 1e6))
        return result

    def stop(self):
        stop(self.process)
        self.server.stop()


def measure(chargehand, quick, note):
    """{(who, n_jobs, mb): [[(first, last) in ms, ...] a round]}"""
    result = {}
    rounds = 6 if quick else 10
    bean = None
    if find("beanstalkd"):
        port = free_port()
        bean = spawn([find("beanstalkd"), "-l", "127.0.0.1", "-p", str(port)])
        wait_port(port, bean)
    for n_jobs, mb in CASES:
        n = (10 if n_jobs < 1000 else 4) if quick else 30
        ours = ChargehandRun(chargehand, n_jobs, mb)
        ours.kills(3)
        for r in range(rounds):
            note(f"kills with {n_jobs} jobs, {mb} MB, round {r + 1} of {rounds}")
            result.setdefault(("chargehand", n_jobs, mb), []).append(ours.kills(n))
            if bean:
                result.setdefault(("beanstalkd", n_jobs, mb), []).append(
                    run_tool("beanstalk", tool("hold"), tool("killer"), port, n, n_jobs, mb, *filter(None, [worker_group()])))
            if (n_jobs, mb) == CASES[0]:
                result.setdefault(("chain", n_jobs, mb), []).append([v * 2 for v in run_tool("chain", n)])
        ours.stop()
    if bean:
        stop(bean)
    return result


def figures(rounds):
    """of the last job: p50, p99, max of all, and the best round's p50"""
    last = [v[1] for r in rounds for v in r]
    return median(last), percentile(last, 0.99), max(last), min(median([v[1] for v in r]) for r in rounds)


def report(data, out):
    rows = []
    for n_jobs, mb in CASES:
        for who, label in (("chargehand", "FAIL received"), ("beanstalkd", "job available"), ("chain", "200 bytes received")):
            if (who, n_jobs, mb) in data:
                p50, p99, worst, best = figures(data[who, n_jobs, mb])
                n = sum(map(len, data[who, n_jobs, mb]))
                rows.append([who if who != "chain" else "kernel's chain", label + (", last" if n_jobs > 1 else ""), n_jobs, mb, n,
                             f"{p50:.3f}", f"{p99:.3f}", f"{worst:.3f}", f"{best:.3f}"])
    out.table("(a) kill(2) to ... in ms", ["", "until", "jobs", "MB", "kills", "p50", "p99", "max", "best round's p50"], rows)

    def of_rounds(who, n_jobs):
        rounds = data.get((who, n_jobs, 0))
        return rounds and [median([last for _, last in r]) for r in rounds]

    for n_jobs, what in ((1, "kill to FAIL, p50"), (1000, "kill to the last of 1000 FAILs, p50")):
        out.compare(what, of_rounds("chargehand", n_jobs), of_rounds("beanstalkd", n_jobs), "beanstalkd")
