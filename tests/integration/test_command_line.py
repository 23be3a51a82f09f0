# SPDX-License-Identifier: MIT
"""The program from outside: what it says of a wrong start and with which status it ends, --check, the state directory and
its lock, the password, and what a worker finds when it starts."""
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers"))
import servers
import tap
from chargehand import Chargehand, binary
from servers import wait_until

NOBODY = 65534


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="chargehand-test.")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def run_it(self, *words, env=None, **more):
        """Runs to its end: (status, stdout, stderr)."""
        environment = {"PATH": os.environ["PATH"], "STATE_DIRECTORY": os.path.join(self.dir, "state"), **(env or {})}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        environment = {k: v for k, v in environment.items() if v is not None}
        run = subprocess.run([binary(), *words], env=environment, capture_output=True, text=True, timeout=60,
                             stdin=subprocess.DEVNULL, **more)
        return run.returncode, run.stdout, run.stderr

    def server(self, **options):
        s = servers.make("dev", **options)
        self.addCleanup(s.close)
        return s

    def chargehand(self, server, *command, **more):
        c = Chargehand(server, *command, **more)
        self.addCleanup(c.close)
        return c


class WrongStarts(Case):
    def one_line(self, status, text, *words, **more):
        got, out, err = self.run_it(*words, **more)
        self.assertEqual((got, out), (status, ""), err)
        self.assertEqual(err, text)

    def test_no_command(self):
        self.one_line(64, "chargehand: a command is missing: chargehand [OPTION...] [--] COMMAND\n")

    def test_unknown_option(self):
        self.one_line(64, "chargehand: --nonsense: unknown option: --help lists them all\n", "--nonsense", "true")

    def test_wrong_value(self):
        self.one_line(64, 'chargehand: --instances: "x": a number from 1 to 1000\n', "--instances", "x", "true")

    def test_wrong_file(self):
        path = os.path.join(self.dir, "f.conf")
        with open(path, "w") as f:
            f.write("[program p]\ncommand = true\ninstances = many\n")
        self.one_line(78, f'chargehand: {path}:3: instances: "many": a number from 1 to 1000\n', "--config", path)

    def test_missing_file(self):
        self.one_line(78, "chargehand: /nonexistent: No such file or directory\n", "--config", "/nonexistent")

    def test_provider_that_is_unset(self):
        self.one_line(78, 'chargehand: FAKTORY_PROVIDER: "MY_URL": no such variable is set\n', "true",
                      env={"FAKTORY_PROVIDER": "MY_URL"})

    def test_state_dir_that_cannot_be(self):
        self.one_line(78, "chargehand: /dev/null/x: cannot be used as state directory: Not a directory\n",
                      "--state-dir", "/dev/null/x", "true")
        self.one_line(78, "chargehand: /dev/null/y: cannot be used as state directory: Not a directory\n", "true",
                      env={"STATE_DIRECTORY": "/dev/null/y"})

    def test_cgroup_that_is_none(self):
        status, _, err = self.run_it("--cgroup", self.dir, "true")
        self.assertEqual(status, 78, err)
        self.assertIn(f"--cgroup {self.dir}: ", err)

    def test_command_that_is_not_there(self):
        status, _, err = self.run_it("/nonexistent/worker")
        self.assertEqual(status, 127, err)
        status, _, err = self.run_it("no-such-command-anywhere")
        self.assertEqual(status, 127, err)

    def test_command_that_is_not_executable(self):
        path = os.path.join(self.dir, "plain")
        with open(path, "w"):
            pass
        status, _, err = self.run_it(path)
        self.assertEqual(status, 126, err)

    def test_help_and_version(self):
        status, out, err = self.run_it("--help")
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("Usage: chargehand "))
        status, out, err = self.run_it("--version")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"^chargehand \d+\.\d+\.\d+\n$")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "w") as full:
            run = subprocess.run([binary(), "--help"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(run.returncode, 71)


class ExitStatuses(Case):
    def status_of(self, *words, options=()):
        s = self.server()
        return self.run_it("--server", s.url, *options, "--", *words)

    def test_a_workers_own(self):
        s = self.server()
        for script, expected in (("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137),
                                 ("kill -TERM $$", 143)):
            status, _, err = self.run_it("--server", s.url, "--restart", "never", "--", "sh", "-c", script)
            self.assertEqual(status, expected, f"{script}: {err}")

    def test_exit_0_is_no_failure(self):
        status, _, err = self.status_of("true")
        self.assertEqual(status, 0, err)

    def test_a_stop_that_was_asked_for(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            c = self.chargehand(self.server())
            c.signal(number)
            self.assertEqual(c.wait(), 0)


class StateDirectory(Case):
    def test_a_second_chargehand_is_refused(self):
        c = self.chargehand(self.server())
        state = os.path.join(c.dir, "state")
        lock = os.path.join(state, "lock")
        wait_until(lambda: os.path.exists(lock) and os.path.getsize(lock) > 0, what="the lock")
        status, _, err = self.run_it("--state-dir", state, "true")
        self.assertEqual(status, 75)
        self.assertEqual(err, f"chargehand: {state}: another chargehand (pid {c.pid}) has this state directory: give each a "
                              "--state-dir of its own\n")
        status, out, _ = self.run_it("--check", "--state-dir", state, "--server", self.server().url,
                                     "true")
        self.assertEqual(status, 75)
        self.assertIn(f"another chargehand has it (pid {c.pid})", out)
        c.stop()
        status, _, err = self.run_it("--state-dir", state, "--server", self.server().url, "true")
        self.assertEqual(status, 0, err)

    def test_the_lock_ends_with_a_chargehand_that_is_killed(self):
        c = self.chargehand(self.server())
        state = os.path.join(c.dir, "state")
        c.signal(signal.SIGKILL)
        c.wait()
        status, _, err = self.run_it("--state-dir", state, "--server", self.server().url, "true")
        self.assertEqual(status, 0, err)

    def test_it_is_for_its_owner_alone(self):
        c = self.chargehand(self.server())
        self.assertEqual(os.stat(os.path.join(c.dir, "state")).st_mode & 0o7777, 0o700)

    def as_somebody_else(self, *words, env):
        """As a user without rights; the program is copied to where that user can read it."""
        if os.geteuid() != 0:
            return self.run_it(*words, env=env)
        os.chmod(self.dir, 0o755)
        os.chmod(tempfile.gettempdir(), os.stat(tempfile.gettempdir()).st_mode | 0o011)
        program = os.path.join(self.dir, "program")
        shutil.copy(binary(), program)
        # Built for coverage it writes its counts to where it was built, which that user may not.
        counts = os.path.join(self.dir, "counts")
        os.mkdir(counts)
        os.chown(counts, NOBODY, NOBODY)
        run = subprocess.run([program, *words], env={"PATH": os.environ["PATH"], "GCOV_PREFIX": counts, **env},
                             capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, user=NOBODY,
                             group=NOBODY, extra_groups=[], cwd="/")
        return run.returncode, run.stdout, run.stderr

    def test_a_default_one_that_cannot_be_written_is_done_without(self):
        home = os.path.join(self.dir, "file")
        with open(home, "w"):
            pass
        status, _, err = self.as_somebody_else("--server", self.server().url, "true",
                                               env={"XDG_STATE_HOME": home, "STATE_DIRECTORY": ""})
        self.assertEqual(status, 0, err)
        self.assertRegex(err, r"/file/chargehand/true-[0-9a-f]{12}: Not a directory: going on without a state directory")

    def test_without_a_place_it_is_done_without(self):
        status, _, err = self.as_somebody_else("--server", self.server().url, "true", env={"STATE_DIRECTORY": ""})
        self.assertEqual(status, 0, err)
        self.assertIn("No place for a state directory", err)

    def test_the_default_one_is_made(self):
        home = os.path.join(self.dir, "home")
        os.mkdir(home)
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
        status, _, err = self.as_somebody_else("--server", self.server().url, "true",
                                               env={"HOME": home, "STATE_DIRECTORY": ""})
        self.assertEqual(status, 0, err)
        names = os.listdir(os.path.join(home, ".local/state/chargehand"))
        self.assertEqual(len(names), 1)
        self.assertRegex(names[0], r"^true-[0-9a-f]{12}$")


class Elsewhere(Case):
    """Hazards 44: what others start is no process of ours."""

    def client(self, name):
        path = os.path.join(self.dir, name)
        shutil.copy(shutil.which("true"), path)
        return path

    def test_a_container_made_by_a_daemon(self):
        path, text = self.client("docker"), ("others start the worker then, and chargehand sees neither its end nor its "
                                             "processes; run chargehand in the container")
        status, _, err = self.run_it("--server", self.server().url, path, "run", "worker")
        self.assertEqual(status, 0)
        self.assertIn(f"chargehand: {path}: {text}\n", err)
        _, out, _ = self.run_it("--check", path)
        self.assertRegex(out, rf"(?m)^command +{path}, 1 time as docker\.1: {text}$")

    def test_a_unit_and_another_machine(self):
        for name, place in (("systemd-run", "in the unit"), ("ssh", "on that machine")):
            _, _, err = self.run_it("--server", self.server().url, self.client(name), "worker")
            self.assertIn(f"run chargehand {place}\n", err)

    def test_others_are_not_suspected(self):
        for name in ("docker-entrypoint.sh", "dockerize", "sudo", "env"):
            _, _, err = self.run_it("--server", self.server().url, self.client(name), "worker")
            self.assertNotIn("others start the worker", err)


class Check(Case):
    def check(self, url, *words, **more):
        return self.run_it("--check", "--server", url, *words, **more)

    def test_a_server_with_its_password(self):
        s = self.server(password="s3cret")
        status, out, err = self.check(s.url, "--instances", "3", "sh")
        self.assertEqual((status, err), (0, ""), out)
        self.assertRegex(out, r"(?m)^server +tcp://127\.0\.0\.1:\d+ \(--server\): answers, takes the password, after ")
        self.assertRegex(out, r"(?m)^command +/\S+/sh, 3 times as sh\.1 \.\.\.$")
        for word in ("journal", "cgroup", "limits", "memory", "sock_diag", "descriptors", "systemd", "build"):
            self.assertRegex(out, rf"(?m)^{word} ")
        self.assertNotIn("s3cret", out)

    def test_ten_lines_tell_all(self):
        for place in ("none", "auto"):
            _, out, _ = self.check(self.server().url, "--cgroup", place, "sh")
            self.assertLessEqual(len(out.splitlines()), 10, out)

    def test_starts_nothing_and_makes_nothing(self):
        witness = os.path.join(self.dir, "witness")
        status, _, _ = self.check(self.server().url, "touch", witness)
        self.assertEqual(status, 0)
        self.assertEqual(os.listdir(self.dir), [])

    def test_a_wrong_password(self):
        s = self.server(password="s3cret")
        status, out, _ = self.check(s.url.replace("s3cret", "wrong"), "sh")
        self.assertEqual(status, 69)
        self.assertRegex(out, r"(?m)^server +FAILED: .*: it says: -ERR Invalid password$")
        status, out, _ = self.check(f"tcp://127.0.0.1:{s.port}", "sh")
        self.assertEqual(status, 69)
        self.assertIn("it wants a password, and its URL has none", out)

    def test_no_server(self):
        port = servers.free_port()
        status, out, _ = self.check(f"tcp://127.0.0.1:{port}", "sh")
        self.assertEqual(status, 69)
        self.assertIn("no connection: Connection refused", out)
        status, out, _ = self.check("tcp://no-such-host.invalid", "sh")
        self.assertEqual(status, 69)
        self.assertIn("its name is not found", out)

    def answering(self, answer):
        """The URL of something that answers each connection with these bytes, and closes it when the other side has."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            try:
                with listener.accept()[0] as c:
                    c.sendall(answer)
                    c.shutdown(socket.SHUT_WR)
                    while c.recv(4096):
                        pass
            except OSError:
                pass
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    def test_what_is_no_faktory_server(self):
        for answer, text in ((b"", "it has closed the connection"),
                             (b"SSH-2.0-x\r\n", "no Faktory server that is known here: SSH-2.0-x"),
                             (b"+HI {\"v\":3}\r\n", "no Faktory server that is known here"),
                             (b"+HI \x1b[31m\r\n", "no Faktory server that is known here: +HI ?[31m"),
                             (b"x" * 100000 + b"\n", "no Faktory server that is known here: xxx"),
                             (b'+HI {"v":2}\r\n', "no answer: it has closed the connection"),
                             (b'+HI {"v":2}\r\n-ERR go away\r\n', "it says: -ERR go away")):
            status, out, _ = self.check(self.answering(answer), "sh")
            self.assertEqual(status, 69, out)
            self.assertIn(text, out)
            self.assertTrue(out.isascii() and out.replace("\n", "").isprintable())

    def test_what_is_no_faktory_server_is_called_so_in_the_log(self):
        for answer in (b"SSH-2.0-x\r\n", b'+HI {"v":3}\r\n', b"\0\xff\r\n"):
            c = self.chargehand(None, "sleep", "1000", url=self.answering(answer))
            c.wait_log("cannot be reached: what answers there does not greet as a Faktory server of protocol version 2")

    def test_a_command_that_is_not_there(self):
        status, out, _ = self.check(self.server().url, "no-such-command-anywhere")
        self.assertEqual(status, 127)
        self.assertRegex(out, r"(?m)^command +FAILED: no-such-command-anywhere: not found")

    def test_limits_without_a_cgroup(self):
        status, out, _ = self.check(self.server().url, "--memory-max", "1G", "sh")
        self.assertEqual(status, 78)
        self.assertRegex(out, r"(?m)^cgroup +FAILED: limits of a worker need the memory controller")

    def test_a_cgroup_that_is_none(self):
        status, out, _ = self.check(self.server().url, "--cgroup", self.dir, "sh")
        self.assertEqual(status, 78)
        self.assertRegex(out, r"(?m)^cgroup +FAILED: ")

    def test_a_state_directory_that_cannot_be(self):
        status, out, _ = self.check(self.server().url, "--state-dir", "/dev/null/x", "sh")
        self.assertEqual(status, 78)
        self.assertRegex(out, r"(?m)^journal +FAILED: /dev/null/x: ")


class TheWorker(Case):
    SHOW = 'env >"$OUT.new"; ulimit -n >>"$OUT.new"; mv "$OUT.new" "$OUT"; exec sleep 100000'

    def show(self, server, **more):
        """The lines of a worker's environment, and its limit of open files."""
        out = os.path.join(self.dir, "out")
        env = {"OUT": out, **more.pop("env", {})}
        c = self.chargehand(server, "sh", "-c", self.SHOW, env=env, wait=False, **more)
        wait_until(lambda: os.path.exists(out), what="the worker's environment")
        with open(out) as f:
            lines = f.read().split("\n")
        return c, dict(line.split("=", 1) for line in lines if "=" in line), lines[-2]

    def test_the_password_is_nowhere(self):
        s = self.server(password="s3cret")
        c, env, _ = self.show(s, url=s.url, env={"FAKTORY_PROVIDER": "MY_URL", "MY_URL": s.url},
                              options=["--server", s.url])
        self.assertRegex(env["FAKTORY_URL"], r"^tcp://127\.0\.0\.1:\d+$")
        self.assertEqual(env["MY_URL"], env["FAKTORY_URL"])
        self.assertEqual(env["FAKTORY_PROVIDER"], "MY_URL")
        self.assertNotIn("s3cret", repr(env))
        with open(f"/proc/{c.pid}/cmdline", "rb") as f:
            self.assertNotIn(b"s3cret", f.read())
        try:
            with open(f"/proc/{c.pid}/environ", "rb") as f:
                self.assertNotIn(b"s3cret", f.read())
        except PermissionError:
            self.assertNotEqual(os.geteuid(), 0)  # others of its own uid may not look at all
        self.assertEqual(os.stat(f"/proc/{c.pid}/environ").st_uid, 0)  # of root: it is not dumpable (proc(5))
        self.assertNotIn("s3cret", c.log())

    def test_what_systemd_said_is_not_passed_on(self):
        _, env, _ = self.show(self.server(), env={"WATCHDOG_USEC": "1", "LISTEN_FDS": "1", "CREDENTIALS_DIRECTORY": "/c",
                                                  "LISTEN_ADDR": "kept", "CHARGEHAND_WORKER": "outer"})
        for name in ("WATCHDOG_USEC", "LISTEN_FDS", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "JOURNAL_STREAM"):
            self.assertNotIn(name, env)
        self.assertEqual(env["LISTEN_ADDR"], "kept")
        self.assertNotEqual(env["CHARGEHAND_WORKER"], "outer")

    def test_it_gets_the_descriptor_limit_back(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < 200:
            self.skipTest("the hard limit of open files is below 200")
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, before[1]))
        try:
            c, _, limit = self.show(self.server())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        self.assertEqual(limit, "123")
        with open(f"/proc/{c.pid}/limits") as f:
            line = next(line for line in f if line.startswith("Max open files"))
        self.assertEqual(line.split()[3], line.split()[4])

    def check_slices(self, longer):
        show_self = os.path.join(os.environ["TOP_BUILDDIR"], "tests/helpers/show-self")

        def slice_of(text):
            return int(next(line for line in text.split("\n") if line.startswith("slice: ")).split()[1])

        ours = slice_of(subprocess.run([show_self], capture_output=True, text=True, check=True).stdout)
        if ours == 0:
            self.skipTest("this kernel knows no slices (6.12 does)")
        out = os.path.join(self.dir, "out")
        c = self.chargehand(self.server(), "sh", "-c", '"$0" >"$OUT.new"; mv "$OUT.new" "$OUT"; exec sleep 100000',
                            show_self, env={"OUT": out}, wait=False)
        wait_until(lambda: os.path.exists(out), what="what the worker sees")
        with open(out) as f:
            self.assertEqual(slice_of(f.read()), ours)
        try:
            with open(f"/proc/{c.pid}/sched") as f:
                line = next(line for line in f if line.startswith("se.slice"))
        except (OSError, StopIteration):
            self.skipTest("this kernel shows nobody's slice")
        self.assertEqual(int(line.split(":")[1]), 2 * ours if longer else ours)

    def test_on_one_processor_it_gets_the_slice_back(self):
        with open("/proc/self/status") as f:
            filtered = "\nSeccomp:\t0\n" not in f.read()
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            self.check_slices(longer=not filtered)
        finally:
            os.sched_setaffinity(0, before)

    def test_on_more_processors_no_slice_is_changed(self):
        if len(os.sched_getaffinity(0)) == 1:
            self.skipTest("there is one processor here")
        self.check_slices(longer=False)

    def test_closed_standard_descriptors_do_no_harm(self):
        s = self.server()
        out = os.path.join(self.dir, "out")
        run = subprocess.run(["sh", "-c", f'exec "$0" --server "$1" sh -c "ls -l /proc/self/fd/0 /proc/self/fd/2 >{out}" '
                              "0<&- 1>&- 2>&-", binary(), s.url],
                             env={"PATH": os.environ["PATH"], "STATE_DIRECTORY": os.path.join(self.dir, "state")},
                             timeout=60)
        self.assertEqual(run.returncode, 0)
        with open(out) as f:
            self.assertIn("/dev/null", f.read())


if __name__ == "__main__":
    tap.main()
