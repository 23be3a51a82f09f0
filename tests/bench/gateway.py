# SPDX-License-Identifier: MIT
"""(b) What stands between a worker and its server costs: latency, commands a second, CPU, large jobs, and what those do to
somebody else's BEAT. Beside a direct connection, HAProxy and nginx as TCP proxies. Each has its turn in each round, and a
worker in a cgroup of its own."""
import json
import os
import subprocess

from common import NGINX_STREAM, Failed, Server, find, free_port, median, scratch, spawn, stop, tool, wait_port

ALL_CPUS = os.sched_getaffinity(0)
ONE_CPU = {min(ALL_CPUS)}
# Seconds. Many short rounds: a machine that others use has quiet moments rather than quiet seconds.
WARM_UP = 0.2
MEASURED = 0.2
# With 50 sessions: chargehand has just been started, its peers stand from the first round on, and it takes the scheduler a
# while to find out where to put the three of them.
SPREAD_OUT = 1.0


class Direct:
    name = "direct"
    pid = None

    def __init__(self, server):
        self.port = server.port

    def load(self, args, cpus, beside=None):
        address = f"127.0.0.1:{self.port}"
        if self.pid:
            os.sched_setaffinity(self.pid, cpus)
            args = args + ["-P", str(self.pid)]
        other = spawn([tool("load"), address, *beside], cpus=cpus, worker=True) if beside else None
        load = spawn([tool("load"), address, *args], cpus=cpus, worker=True, stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE, text=True)
        out, err = load.communicate(timeout=60)
        stop(load)
        if other:
            other.wait(60)
            stop(other)
        if load.returncode:
            raise Failed(f"{self.name}: {err.strip()}")
        return json.loads(out)

    def stop(self):
        pass


class Proxy(Direct):
    def __init__(self, server):
        self.port = free_port()
        self.process = spawn(self.command(server), log=self.name + ".log")
        self.pid = self.process.pid
        wait_port(self.port, self.process)

    def stop(self):
        stop(self.process)


class HAProxy(Proxy):
    name = "haproxy"

    def command(self, server):
        path = os.path.join(scratch, "haproxy.cfg")
        with open(path, "w") as f:
            f.write(f"""global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen faktory
  bind 127.0.0.1:{self.port}
  server s 127.0.0.1:{server.port}
""")
        return [find("haproxy"), "-db", "-dS", "-f", path]


class Nginx(Proxy):
    name = "nginx"

    def command(self, server):
        path = os.path.join(scratch, "nginx.conf")
        module = next(filter(os.path.exists, NGINX_STREAM))
        with open(path, "w") as f:
            f.write(f"""load_module {module};
worker_processes 1; daemon off; master_process off; pid {scratch}/nginx.pid; error_log {scratch}/nginx.err;
events {{ worker_connections 4096; }}
stream {{ server {{ listen 127.0.0.1:{self.port}; proxy_pass 127.0.0.1:{server.port}; proxy_timeout 1h; tcp_nodelay on; }} }}
""")
        return [find("nginx"), "-c", path, "-p", scratch]


class Wrapped:
    """The load is chargehand's worker; its parent is what is measured."""
    name = "chargehand"

    def __init__(self, chargehand, server):
        self.chargehand, self.server, self.n = chargehand, server, 0

    def load(self, args, cpus, beside=None):
        self.n += 1
        out = os.path.join(scratch, f"load{self.n}")
        script = " ".join([tool("load"), *args, "-o", out, "-P", "$PPID"])
        if beside:
            script = " ".join([tool("load"), *beside]) + " >/dev/null & " + script + "; wait"
        p = self.chargehand.start(self.server, ["sh", "-c", script], ["--restart", "never", "--name", "bench"], cpus=cpus)
        p.wait(60)
        stop(p)
        if p.returncode != 0:
            raise Failed(f"chargehand has ended with {p.returncode}")
        try:
            with open(out) as f:
                return json.loads(f.read())
        except (OSError, ValueError):
            raise Failed("chargehand: the load gave no result") from None

    def stop(self):
        pass


def one_round(target, server):
    def load(*args, cpus=ALL_CPUS, beside=None):
        os.sched_setaffinity(server.process.pid, cpus)
        return target.load([str(a) for a in ("-w", WARM_UP, *args)], cpus, beside and [str(a) for a in beside])

    d = MEASURED
    return {
        "beat, one core": load("-m", "beat", "-d", d, cpus=ONE_CPU),
        "job, one core": load("-m", "job", "-d", d, cpus=ONE_CPU),
        "50 sessions": load("-w", SPREAD_OUT, "-m", "job", "-c", 50, "-d", 2 * d),
        "1 MB jobs": load("-m", "job", "-q", "s1000000", "-d", d),
        "10 MB jobs": load("-m", "job", "-q", "s10000000", "-d", d),
        "beat beside": load("-m", "beat", "-g", 1000, "-d", 2 * d, beside=["-m", "job", "-q", "s10000000", "-d", 2 * d + WARM_UP]),
    }


def measure(chargehand, quick, note):
    """{name: [{test: figures} a round]}"""
    server = Server()
    targets = [Direct(server), Wrapped(chargehand, server)]
    targets += [c(server) for c in (Nginx, HAProxy) if find(c.name)]
    result = {t.name: [] for t in targets}
    rounds = 6 if quick else 20
    for r in range(rounds):
        for i in range(len(targets)):
            t = targets[(i + r) % len(targets)]
            note(f"gateway, round {r + 1} of {rounds}: {t.name}")
            result[t.name].append(one_round(t, server))
    for t in targets:
        t.stop()
    server.stop()
    return result


FIGURES = [  # column, test, where in its result, whether more is better
    ("BEAT p50 µs, one core", "beat, one core", ("beat", "p50"), False),
    ("p99", "beat, one core", ("beat", "p99"), False),
    ("CPU µs a command", "beat, one core", ("cpu_us",), False),
    ("FETCH p50 µs", "job, one core", ("fetch", "p50"), False),
    ("CPU µs a command, FETCH + ACK", "job, one core", ("cpu_us",), False),
    ("50 sessions: commands/s", "50 sessions", ("per_s",), True),
    ("CPU µs a command, 50 sessions", "50 sessions", ("cpu_us",), False),
    ("1 MB jobs: MB/s", "1 MB jobs", ("mb_s",), True),
    ("10 MB jobs: MB/s", "10 MB jobs", ("mb_s",), True),
    ("BEAT beside 10 MB jobs: p50 µs", "beat beside", ("beat", "p50"), False),
    ("p99 beside", "beat beside", ("beat", "p99"), False),
]


def figure(rounds, test, path):
    values = []
    for r in rounds:
        v = r[test]
        for key in path:
            v = v.get(key) if v is not None else None
        if v is not None:
            values.append(v)
    return values


def report(data, out):
    rows = []
    for label, test, path, more in FIGURES:
        row = [label]
        for name in data:
            values = figure(data[name], test, path)
            row.append(f"{(max if more else min)(values):.6g} / {median(values):.6g}" if values else "-")
        rows.append(row)
    out.table("(b) gateway: best round / median of rounds", ["", *data], rows)

    for label, test, path, more in FIGURES:
        if label in ("p99", "p99 beside") or "1 MB" in label or "10 MB jobs: MB" in label:
            continue
        peer, limit = ("haproxy", 1 / 3) if "beside" in label else ("nginx", 1.0)
        others = figure(data[peer], test, path) if peer in data else None
        out.compare(label, figure(data["chargehand"], test, path), others, peer, limit, more)
