# SPDX-License-Identifier: MIT
"""(c) Resident memory, wake-ups while idle, and the time from a child's death to the next one's first instruction."""
import os
import signal
import subprocess
import time

from common import Failed, Server, find, median, scratch, spawn, stop, tool

N_IDLE = 1000


def memory_kb(pid, *names):
    """The sum of what smaps_rollup (proc(5)) says under these names."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(names))


def rss_kb(pid):
    return memory_kb(pid, "Rss:")


def switches(pid):
    n = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as f:
            n += sum(int(line.split()[1]) for line in f if "voluntary_ctxt_switches" in line)
    return n


def write(path, text, mode=0o644):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def peer_command(name, argv):
    """The command line of a supervisor with one child."""
    d = os.path.join(scratch, f"{name}-{len(os.listdir(scratch))}")
    os.mkdir(d)
    if name == "tini":
        return [find("tini"), "-s", "--", *argv]
    if name == "s6-supervise":
        os.mkdir(d + "/service")
        write(d + "/service/run", "#!/bin/sh\nexec " + " ".join(argv) + "\n", 0o755)
        return [find("s6-supervise"), d + "/service"]
    write(d + "/conf", f"[supervisord]\nnodaemon=true\nlogfile={d}/log\npidfile={d}/pid\nchildlogdir={d}\n"
          + ("user=root\n" if os.getuid() == 0 else "")
          + f"[program:x]\ncommand={' '.join(argv)}\nautorestart=true\nstartretries=1000\n")
    return [find("supervisord"), "-c", d + "/conf"]


def start_wrapped(chargehand, server, worker):
    """Returns when the worker has said its line."""
    p = chargehand.start(server, worker, ["--restart", "never", "--name", "bench"], stdout=subprocess.PIPE, text=True)
    if not p.stdout.readline():
        raise Failed("chargehand: the worker said nothing")
    time.sleep(0.3)
    return p


def measure_memory(chargehand, server, note, result):
    for name, worker in (("one session", ["load", "-m", "idle", "-c", "1", "-d", "60"]),
                         ("50 sessions", ["load", "-m", "idle", "-c", "50", "-d", "60"]),
                         (f"{N_IDLE} sessions", ["load", "-m", "idle", "-c", str(N_IDLE), "-d", "60"]),
                         ("1000 holds", ["hold", "1000", "0"])):
        note(f"memory: {name}")
        p = start_wrapped(chargehand, server, [tool(worker[0]), *worker[1:]])
        result[name] = {"rss": rss_kb(p.pid), "anonymous": memory_kb(p.pid, "Anonymous:")}
        stop(p)


def measure_idle(chargehand, server, seconds, note, result):
    running = {"chargehand": chargehand.start(server, [tool("stamp"), "none"], ["--name", "bench"])}
    running["chargehand, 50 sessions"] = start_wrapped(
        chargehand, server, [tool("load"), "-m", "idle", "-c", "50", "-d", "60"])
    for name in ("tini", "s6-supervise", "supervisord"):
        if find(name):
            running[name] = spawn(peer_command(name, [tool("stamp"), "none"]))
    note(f"idle for {seconds} s")
    time.sleep(3)
    before = {name: switches(p.pid) for name, p in running.items()}
    time.sleep(seconds)
    for name, p in running.items():
        if p.poll() is not None:
            raise Failed(f"{name} has ended with {p.returncode}")
        result[name] = {"wakeups": (switches(p.pid) - before[name]) * 10 / seconds, "rss": rss_kb(p.pid),
                        "private": memory_kb(p.pid, "Private_"), "pss": memory_kb(p.pid, "Pss:")}
        stop(p)


def restarts(start, lived, n):
    """Milliseconds from the child's kill to the next one's first instruction."""
    fifo = os.path.join(scratch, f"fifo{len(os.listdir(scratch))}")
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR)
    with os.fdopen(fd, "r", buffering=1) as f:
        p = start([tool("stamp"), fifo])
        values = []
        pid = int(f.readline().split()[0])
        for _ in range(n):
            time.sleep(lived)
            killed_at = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            os.kill(pid, signal.SIGKILL)
            pid, at = map(int, f.readline().split())
            values.append((at - killed_at) / 1e6)
        stop(p)
    return values


def measure(chargehand, quick, note):
    result = {"memory": {}, "idle": {}, "restart": {}, "systemd": chargehand.has_systemd()}
    server = Server()
    measure_memory(chargehand, server, note, result["memory"])
    measure_idle(chargehand, server, 4 if quick else 10, note, result["idle"])
    note("restarts: chargehand")
    options = ["--restart", "always", "--healthy", "50ms", "--name", "bench"]
    result["restart"]["chargehand"] = restarts(lambda argv: chargehand.start(server, argv, options), 0.1 if quick else 1.3,
                                               12)
    for name in ("s6-supervise", "supervisord"):
        if find(name) and not quick:
            note(f"restarts: {name}")
            result["restart"][name] = restarts(lambda argv, name=name: spawn(peer_command(name, argv)), 1.3, 6)
    server.stop()
    return result


def report(data, out):
    idle, memory = data["idle"], data["memory"]
    rows = [[name, v["rss"], v["pss"], v["private"], f"{v['wakeups']:.1f}"] for name, v in idle.items()]
    out.table("(c) one idle child", ["", "RSS KB", "PSS KB", "private KB", "wake-ups in 10 s"], rows)
    # A session costs heap alone. How much of the libraries is mapped differs by 100 KB from one start to the next, for
    # the kernel maps what is around a page as well, and addresses are random.
    per_session = (memory[f"{N_IDLE} sessions"]["anonymous"] - memory["one session"]["anonymous"]) / (N_IDLE - 1)
    rows = [[name, v["rss"], v["anonymous"]] for name, v in memory.items()] + [["each idle session", "", f"{per_session:.2f}"]]
    out.table("chargehand's resident memory", ["", "RSS KB", "of it its own KB"], rows)
    rows = [[name, len(v), f"{min(v):.2f}", f"{median(v):.2f}", f"{max(v):.2f}"] for name, v in data["restart"].items()]
    out.table("child killed to the next child's first instruction, ms", ["", "kills", "min", "p50", "max"], rows)

    # Of what is linked dynamically glibc and its loader are 1.8 MB, and shared with everybody: without libsystemd it is within
    # 2.5 MB while idle. With 1000 holds that is for the static one of contrib/container.
    limit = 4096 if data["systemd"] else 2560
    kind = "with libsystemd" if data["systemd"] else "without libsystemd"
    for what, kb in (("idle", idle["chargehand"]["rss"]), ("with 50 sessions", idle["chargehand, 50 sessions"]["rss"]),
                     ("with 1000 holds", memory["1000 holds"]["rss"])):
        out.check(f"resident KB {what}, {kind}", kb, limit, slack=1)
    out.check("KB for an idle session", per_session, 1.0, slack=1)
    out.check("wake-ups in 10 s, idle", idle["chargehand"]["wakeups"], 0, slack=1)
    out.check("wake-ups in 10 s, 50 idle sessions", idle["chargehand, 50 sessions"]["wakeups"], 0, slack=1)
    out.check("restart after a healthy life, ms", median(data["restart"]["chargehand"]), 10.0)
