# SPDX-License-Identifier: MIT
# A running Sluice: a home of its own, the supervisor `sluice up` in the foreground, and what tests
# want to know of it and do to it. Readiness is waited for (the supervisor says READY=1 on
# NOTIFY_SOCKET, as under systemd), never slept for. What a process writes to stderr goes to a file
# that is searched for reports when the suite stops.
import collections
import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build")).resolve()
SERVICES = ["queue", "users", "orders", "search", "gateway"]

# Whether the programs were built with AddressSanitizer, which tolerates neither preloaded libraries
# nor being linked into a program that is built without it.
SANITIZED = (BUILD / "sluice").exists() and b"__asan_init" in (BUILD / "sluice").read_bytes()

# Slower builds (sanitizers, valgrind) get more patience; no test waits for the whole of it when all
# is well.
PATIENCE = float(os.environ.get("SLUICE_TEST_PATIENCE", "1"))
READY_S = 20 * PATIENCE

# What no process may ever write: a report of a sanitizer, a failed assertion, czmq naming sockets
# left open.
REPORTS = re.compile(
    rb"Sanitizer|runtime error:|Assertion .* failed|dangling|stack smashing|"
    rb"buffer overflow detected|double free|corrupted (size|double-linked)|malloc\(\):"
)

# The environment of tests is clean: what the caller has set for another suite must not come in.
CLEAN = {
    name: value for name, value in os.environ.items() if not name.startswith(("SLUICE_", "OTEL_"))
}

# A test run that is killed leaves nothing behind.
DIE_WITH_US = ["setpriv", "--pdeathsig", "TERM"]

PORTS = range(27000, 27900)  # outside the range of ephemeral ports
_ports = itertools.cycle([*PORTS[os.getpid() % 500 :], *PORTS[: os.getpid() % 500]])
_reserved = collections.deque(maxlen=100)  # marks of ours; the oldest gives way


def reserved(port):
    """Whether the port is now ours. Tests run in several processes at once: a socket of the abstract
    namespace, which has one owner and ends with it, marks what one of them has taken."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0sluice-test-port-{port}")
    except OSError:
        mark.close()
        return False
    _reserved.append(mark)
    return True


def free_port():
    """A loopback port that nobody listens on, and that no other test is given meanwhile."""
    for port in itertools.islice(_ports, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if reserved(port):
                return port
    raise AssertionError(f"no free port in {PORTS.start}..{PORTS.stop - 1}")


def new_home():
    """A directory with a short name: paths of sockets are limited to 107 bytes."""
    return pathlib.Path(tempfile.mkdtemp(prefix="sl-", dir="/tmp"))


def run(program, *arguments, env=None, timeout=30, **options):
    """Runs one of our programs to its end."""
    return subprocess.run(
        [BUILD / program, *map(str, arguments)],
        env=env or CLEAN,
        timeout=timeout * PATIENCE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **options,
    )


def wait_for(condition, timeout, what):
    """Asks every 10 ms until condition() is true, and returns what it returned."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"after {timeout} s still not: {what}"
        time.sleep(0.01)


def firing(suite):
    """{(alert, subject)} of the alerts that fire."""
    listed = suite.control({"command": "alerts"})["alerts"]
    return {(a["alert"], a["subject"]) for a in listed if a["status"] == "firing"}


class Suite:
    def __init__(self, home=None, port=None, **environment):
        self.owns_home = home is None
        self.home = pathlib.Path(home) if home else new_home()
        self.port = port or free_port()
        self.environment = {
            "SLUICE_HOME": str(self.home),
            "SLUICE_LISTEN": f"127.0.0.1:{self.port}",
            "SLUICE_LOG_FORMAT": "json",
            "SLUICE_RATE_LIMIT_AUTH": "off",  # all the people of the tests share an address
            **environment,
        }
        self.log_path = pathlib.Path(f"{self.home}.log")
        self.programs = BUILD  # where its supervisor starts programs from
        self.supervisor = None
        self.expected_deaths = {}  # instance: how many we caused ourselves
        self.started_s = None  # how long the last start took

    @property
    def env(self):
        return {**CLEAN, **{name: str(value) for name, value in self.environment.items()}}

    # --- Life

    def up(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify_path = f"{self.home}.notify"
            notify.bind(notify_path)
            begin = time.monotonic()
            with open(self.log_path, "ab") as log:
                self.supervisor = subprocess.Popen(
                    [*DIE_WITH_US, self.programs / "sluice", "up"],
                    env={**self.env, "NOTIFY_SOCKET": notify_path},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            try:
                self._wait_ready(notify, begin + READY_S)
            finally:
                os.unlink(notify_path)
            self.started_s = time.monotonic() - begin
        return self

    def _wait_ready(self, notify, deadline):
        notify.settimeout(0.1)
        while self.supervisor.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(socket.timeout):
                if b"READY=1" in notify.recv(4096):
                    return
        status = self.supervisor.poll()
        self.supervisor.kill()
        self.supervisor.wait()
        self.supervisor = None
        raise AssertionError(
            f"the suite is not ready after {READY_S} s (supervisor: {status})\n"
            + self.log()[-4000:]
        )

    def down(self):
        """SIGTERM; everything must drain and exit 0."""
        if not self.supervisor:
            return
        self.supervisor.send_signal(signal.SIGTERM)
        status = self.supervisor.wait(timeout=30 * PATIENCE)
        self.supervisor = None
        assert status == 0, f"the supervisor ended with {status}\n" + self.log()[-4000:]

    def close(self):
        """Stops what still runs, checks what was written, and removes the home."""
        try:
            self.down()
            self.check_log()
        finally:
            if self.supervisor:
                self.supervisor.kill()
                self.supervisor.wait()
            if self.owns_home and not os.environ.get("SLUICE_TEST_KEEP"):
                shutil.rmtree(self.home, ignore_errors=True)
                self.log_path.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    # --- What was written

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def records(self):
        """The log as records; what is not JSON is a record with the line as its body."""
        for line in self.log().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            yield record if isinstance(record, dict) else {"body": line, "raw": True}

    def access_of(self, answer):
        """The line of the access log about an answer; None: it is not there yet."""
        name = answer.headers["X-Request-Id"]
        return next((r for r in self.records() if r.get("request.id") == name), None)

    def check_log(self):
        reports = [line for line in self.log().splitlines() if REPORTS.search(line.encode())]
        assert not reports, "\n".join(reports[:20])
        deaths = {}
        for record in self.records():
            match = re.match(
                r"(\S+) (exited with status [1-9]\d*|was killed by signal \d+)",
                record.get("body", ""),
            )
            if match:
                deaths.setdefault(match[1], []).append(match[2])
        for instance, how in deaths.items():
            allowed = self.expected_deaths.get(instance, 0)
            assert len(how) <= allowed, f"{instance} died without being asked to: {how}"

    # --- Looking and acting

    def control(self, command, timeout=30 * PATIENCE):
        """One exchange on the supervisor's control socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self.home / "run/supervisor.sock"))
            connection.sendall(json.dumps(command).encode() + b"\n")
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return json.loads(answer)

    def status(self):
        return self.control({"command": "status"})

    def instances(self, service=None):
        """{instance: its status} of one service, or of all."""
        return {
            entry["instance"]: entry
            for entry in self.status()["instances"]
            if service in (None, entry["service"])
        }

    def pid(self, instance):
        return self.instances()[instance]["pid"]

    def companion(self, instance):
        """The pid of the process that an instance has forked (common/companion.h)."""
        pid = self.pid(instance)
        (child,) = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def kill(self, instance, number=signal.SIGKILL):
        """Kills one process, and returns its pid."""
        pid = self.pid(instance)
        self.expect_death(instance)
        os.kill(pid, number)
        return pid

    def expect_death(self, instance, times=1):
        self.expected_deaths[instance] = self.expected_deaths.get(instance, 0) + times

    def is_ready(self):
        return self.status()["state"] == "ready"

    def wait_ready(self, timeout=5):
        wait_for(self.is_ready, timeout, "everything is ready")

    def wait_replaced(self, instance, pid, timeout=5):
        """Waits until another process than pid is ready under this name."""

        def replaced():
            entry = self.instances().get(instance)
            return entry and entry["pid"] not in (0, pid) and entry["state"] == "ready"

        wait_for(replaced, timeout, f"{instance} is back")

    def scale(self, **counts):
        result = run(
            "sluice", "scale", *[f"{name}={count}" for name, count in counts.items()], env=self.env
        )
        assert result.returncode == 0, result.stderr

    # --- Addresses

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def queue_endpoint(self):
        return f"ipc://{self.home}/run/queue.sock"

    @property
    def gateway_endpoints(self):
        return [f"ipc://{path}" for path in sorted((self.home / "run/gateway").glob("*.sock"))]

    def secret(self, name):
        return (self.home / "secrets" / name).read_text().strip()

    def admin_page(self, instance, path):
        """(status, text) of a page of a process's admin listener."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10 * PATIENCE)
            connection.connect(str(self.home / f"run/{instance}.admin.sock"))
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode()
            )
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    def metrics(self, instance):
        """{'name{labels}': value} of a process."""
        status, text = self.admin_page(instance, "/metrics")
        assert status == 200
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def supervisor_metrics(self):
        return self.metrics("supervisor")

    def topology(self, gateway="gateway-1"):
        status, text = self.admin_page(gateway, "/topology")
        assert status == 200
        return json.loads(text)
