# SPDX-License-Identifier: MIT
"""What the parts of the measurement share: processes that end with it, the tools in C, statistics, peers."""
import atexit
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "helpers"))
import cgroups  # noqa: E402
from servers import free_port  # noqa: E402, F401

TOOLS = ("beanstalk", "chain", "fakeserver", "hold", "killer", "load", "stamp")
PEERS = {  # program: Debian's package
    "beanstalkd": "beanstalkd",
    "haproxy": "haproxy",
    "nginx": "nginx-light and libnginx-mod-stream",
    "tini": "tini",
    "s6-supervise": "s6",
    "supervisord": "supervisor",
}
NGINX_STREAM = ("/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/share/nginx/modules/ngx_stream_module.so")

_processes = []
_group = None
scratch = tempfile.mkdtemp(prefix="chargehand-bench-")


class Failed(Exception):
    """Something could not be measured."""


def now_nsec():
    """CLOCK_MONOTONIC, comparable between processes."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def find(program):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = shutil.which(program, path=path)
    if program == "nginx" and found and not any(map(os.path.exists, NGINX_STREAM)):
        return None
    return found


def worker_group():
    """The cgroup.procs of a group two levels down, as deep as chargehand's workers are: for the workers of its peers.
    Being in a group costs a process at each switch and at its end, and that is no matter of who stands beside it.
    None where chargehand has no cgroups either."""
    global _group
    if _group is None and cgroups.parent()[0]:
        _group = tempfile.mkdtemp(prefix="chargehand-peers.", dir=cgroups.parent()[0])
        os.mkdir(os.path.join(_group, "worker"))
    return _group and os.path.join(_group, "worker", "cgroup.procs")


def enter_worker_group():
    """In a child, before exec."""
    if worker_group():
        with open(worker_group(), "w") as f:
            f.write("0")


def spawn(argv, cpus=None, log=None, worker=False, **kw):
    """Starts a process in a session of its own, and as a worker in a group of its own; it ends with this program at the
    latest."""
    kw.setdefault("stdin", subprocess.DEVNULL)
    out = open(os.path.join(scratch, log), "ab") if log else subprocess.DEVNULL
    kw.setdefault("stdout", out)
    kw.setdefault("stderr", out)
    if worker:
        worker_group()

    def prepare():
        if cpus:
            os.sched_setaffinity(0, cpus)
        if worker:
            enter_worker_group()

    p = subprocess.Popen(argv, start_new_session=True, preexec_fn=prepare, **kw)
    if log:
        out.close()
    _processes.append(p)
    return p


def stop(p, wait=10):
    """SIGTERM, then SIGKILL to what is left of the session that spawn() made."""
    if p.poll() is None:
        p.terminate()
        try:
            p.wait(wait)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(p.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    p.wait()
    for f in (p.stdout, p.stdin):
        if f:
            f.close()
    if p in _processes:
        _processes.remove(p)


@atexit.register
def _clean_up():
    for p in list(reversed(_processes)):
        stop(p, wait=2)
    if _group:
        os.rmdir(os.path.join(_group, "worker"))
        os.rmdir(_group)
    shutil.rmtree(scratch, ignore_errors=True)


def log_tail(name):
    try:
        with open(os.path.join(scratch, name), errors="replace") as f:
            return "".join(f.readlines()[-5:]).strip()
    except OSError:
        return ""


def build_tools():
    compiler = shlex.split(os.environ.get("CC", "cc"))
    for name in TOOLS:
        r = subprocess.run(compiler + ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", tool(name),
                                       os.path.join(HERE, "src", name + ".c")], capture_output=True, text=True)
        if r.returncode:
            sys.exit(f"{name}.c cannot be compiled:\n{r.stderr}")


def tool(name):
    return os.path.join(scratch, name)


class Server:
    """The fake server. Its standard output, with the FAILs, is a file, so that it never waits for its reader."""

    def __init__(self, cpus=None):
        fd, path = tempfile.mkstemp(prefix="server-", dir=scratch)
        self.output = open(path, encoding="ascii")
        self.process = spawn([tool("fakeserver")], cpus=cpus, stdout=fd)
        os.close(fd)
        self.port = int(self._line().split()[1])
        self.url = f"tcp://127.0.0.1:{self.port}"

    def _line(self):
        line, end = self.output.readline(), time.monotonic() + 60
        while not line.endswith("\n"):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed("the fake server does not say what is waited for")
            time.sleep(0.001)
            line += self.output.readline()
        return line

    def fails(self, n):
        """When the next n FAILs came, in nanoseconds."""
        return [int(self._line().split()[1]) for _ in range(n)]

    def stop(self):
        stop(self.process)
        self.output.close()


class Chargehand:
    """Where the binary is, and how to start it with a worker."""

    def __init__(self, path):
        self.path = path
        self.n = 0

    def start(self, server, worker, options=(), **kw):
        self.n += 1
        env = dict(os.environ, FAKTORY_URL=server.url)
        env.pop("FAKTORY_PROVIDER", None)
        state = os.path.join(scratch, f"state{self.n}")
        os.mkdir(state)
        env["XDG_STATE_HOME"] = state
        env["STATE_DIRECTORY"] = state
        return spawn([self.path, *options, "--", *worker], env=env, stderr=open(os.path.join(scratch, "chargehand.log"), "ab"), **kw)

    def contains(self, text):
        with open(self.path, "rb") as f:
            return text in f.read()

    def sanitized(self):
        return self.contains(b"__asan_init")

    def has_systemd(self):
        return self.contains(b"libsystemd.so")  # loaded when it is needed: ldd does not know of it


def wait_port(port, process):
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed(f"{process.args[0]} does not listen")


def percentile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def median(values):
    return percentile(values, 0.5)
