# SPDX-License-Identifier: MIT
# The packages that deploy/package builds, installed in a clean Debian of this machine's release, in which systemd is
# process 1. What that needs (root, namespaces, a mirror) is not to be had everywhere; then this is skipped, and the
# reason printed.
import contextlib
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = float(os.environ.get("SLUICE_TEST_PATIENCE", "1"))
PROGRAMS = ["gateway", "orders", "queue", "search", "users"]
MACHINE = f"sluice-test-{os.getpid()}"
SYSTEM = "systemd,systemd-sysv,dbus,man-db,bash-completion"

# Runs in the container's network: eight clients that do not stop asking, until a line comes. A connection may
# wait, but none is refused, cut or answered with an error.
LOAD = """
import collections, http.client, json, sys, threading
counts, stop = collections.Counter(), threading.Event()
def run():
    while not stop.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=30)
        for _ in range(50):
            try:
                connection.request("GET", "/v1/products")
                answer = connection.getresponse()
                text = answer.read().decode()
                counts[str(answer.status) if answer.status == 200 else text] += 1
            except (OSError, http.client.HTTPException) as e:
                counts[repr(e)] += 1
                break
            if stop.is_set() or answer.getheader("Connection") == "close":
                break
        connection.close()
threads = [threading.Thread(target=run) for _ in range(8)]
for thread in threads: thread.start()
print("started", flush=True)
sys.stdin.readline()
stop.set()
for thread in threads: thread.join()
print(json.dumps(counts))
"""

# The whole path, as a customer goes it; the queue, too, because search learns of the product from it.
JOURNEY = """
import sys, time
from people import ADMIN_EMAIL, Person, add_product, register
admin = Person(8080, ADMIN_EMAIL, sys.argv[1])
ada = register(8080, "Ada")
product = add_product(admin, name="Lamp of packages")
order = ada.order({product["sku"]: 1})
assert order.status == 201, order
assert ada.post(f"/v1/orders/{order.json()['id']}/pay").status == 200
until = time.monotonic() + 10
while product["sku"] not in [hit["id"] for hit in ada.get("/v1/search?q=lamp").json()["items"]]:
    assert time.monotonic() < until, "search does not find it"
"""


def reason_to_skip():
    if os.geteuid() != 0:
        return "only root makes a container"
    missing = [
        name
        for name in ["mmdebstrap", "systemd-nspawn", "nsenter", "dpkg-buildpackage", "dh", "lintian"]
        if not shutil.which(name)
    ]
    return f"{', '.join(missing)}: not installed (deploy/packages package)" if missing else ""


pytestmark = [
    pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-"),
    pytest.mark.seconds(600),
]


def run(*command, **options):
    result = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=options.pop("timeout", 500),
        **options,
    )
    assert result.returncode == 0, f"{command}: {result.stdout[-3000:]}{result.stderr[-3000:]}"
    return result.stdout


def wait_for(condition, seconds, what):
    until = time.monotonic() + seconds * PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {seconds * PATIENCE:.0f} s: {what}"
        time.sleep(0.05)
    return found


def landlock_version():
    """Of this kernel, as landlock_create_ruleset(2) says it; 0 or less: none."""
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))


def release():
    return dict(re.findall(r'^(\w+)="?([^"\n]*)', pathlib.Path("/etc/os-release").read_text(), re.M))


def version():
    upstream = re.search(r"^  version: '([\d.]+)',$", (ROOT / "meson.build").read_text(), re.M)
    return f"{upstream[1]}~deb{release()['VERSION_ID']}"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The directory with what deploy/package made; SLUICE_TEST_PACKAGES: has made before."""
    if "SLUICE_TEST_PACKAGES" in os.environ:
        return pathlib.Path(os.environ["SLUICE_TEST_PACKAGES"])
    output = tmp_path_factory.mktemp("packages")
    run(ROOT / "deploy/package", "--output", output)
    return output


class Machine:
    """A clean Debian with systemd as process 1, in a network of its own."""

    def __init__(self, root):
        self.root = root
        self.process = None
        self.pid = None

    def make(self):
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", f"--include={SYSTEM}", release()["VERSION_CODENAME"], self.root],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            pytest.skip(f"mmdebstrap cannot make a Debian here: {made.stderr[-300:]}")
        tried = subprocess.run(
            ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", self.root, "true"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if tried.returncode:
            pytest.skip(f"systemd-nspawn cannot run a container here: {tried.stderr[-300:]}")

    def chroot(self, *command):
        # Package scripts do not start anything in a chroot.
        return run(
            "systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", self.root, "--resolv-conf=replace-host",
            "--setenv=DEBIAN_FRONTEND=noninteractive", *command,
        )  # fmt: skip

    def boot(self):
        self.process = subprocess.Popen(
            [
                "systemd-nspawn", "-q", "--boot", "--register=no", "--keep-unit", "--private-network",
                f"--machine={MACHINE}", "-D", self.root,
                # Else the container knows no Landlock, which the machine may.
                "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
            ],
            stdin=subprocess.DEVNULL,
            stdout=(self.root.parent / "boot.log").open("w"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.pid = wait_for(self.children, 30, "the container has a process 1")[0]
        try:
            wait_for(
                lambda: self.try_in("systemctl", "is-system-running") in ("running", "degraded"), 90, "it has booted"
            )
        except AssertionError as late:
            state = [self.try_in("systemctl", *what) for what in (["is-system-running"], ["list-jobs"])]
            raise AssertionError("\n".join([str(late), *state])) from late

    def children(self):
        """Of systemd-nspawn: the container's process 1, as long as there is one."""
        pid = self.process.pid
        try:
            return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return []

    def try_in(self, *command):
        """What a command in the container says, whatever its status."""
        result = subprocess.run(
            ["nsenter", "-t", self.pid, "-a", "--", *command], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        return (result.stdout + result.stderr).strip()

    def run_in(self, *command):
        return run("nsenter", "-t", self.pid, "-a", "--", *command).strip()

    def run_near(self, *command):
        """A program of this machine, in the container's network."""
        return run("nsenter", "-t", self.pid, "-n", "--", *command, env={**os.environ, "PYTHONPATH": ROOT / "tests/system"})

    @contextlib.contextmanager
    def load(self):
        """Requests all the time; none of them may fail. At least 100 of them are answered."""
        clients = subprocess.Popen(
            ["nsenter", "-t", self.pid, "-n", sys.executable, "-c", LOAD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert clients.stdout.readline() == "started\n"
            yield
            counts = json.loads(clients.communicate("\n", timeout=60)[0])
        finally:
            clients.kill()
            clients.wait()
        assert set(counts) == {"200"} and counts["200"] > 100, counts

    def state(self, unit, name="ActiveState"):
        return self.run_in("systemctl", "show", "--property", name, "--value", unit)

    def units(self):
        listed = self.run_in("systemctl", "list-units", "--plain", "--no-legend", "sluice*")
        return {line.split()[0] for line in listed.splitlines()}

    def stop(self):
        """Process 1 takes every other one with it; it would outlive systemd-nspawn, were that killed instead."""
        if not self.process:
            return
        for pid in self.children():
            os.kill(int(pid), signal.SIGKILL)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture(scope="module")
def machine(packages, tmp_path_factory):
    """It runs, and the packages were installed in it."""
    guest = Machine(tmp_path_factory.mktemp("machine") / "root")
    try:
        guest.make()
        shutil.copytree(packages, guest.root / "root/packages")
        names = [f"/root/packages/{path.name}" for path in packages.glob("*.deb")]
        guest.chroot("apt-get", "update", "-qq")
        guest.chroot("apt-get", "install", "-qq", "--no-install-recommends", *names)
        guest.boot()
        yield guest
    finally:
        guest.stop()
        if not os.environ.get("SLUICE_TEST_KEEP"):
            shutil.rmtree(guest.root, ignore_errors=True)


def test_lintian_has_nothing_to_say(packages):
    found = [*packages.glob("sluice*.deb"), *packages.glob("debug/sluice*.deb")]
    assert len(found) == 4
    assert run("lintian", "--allow-root", "--fail-on", "error,warning", *found) == ""


def test_what_is_in_them(packages):
    files = {}
    for name in ["sluice", "sluice-tap"]:
        package = packages / f"{name}_{version()}_{run('dpkg', '--print-architecture').strip()}.deb"
        files[name] = run("dpkg-deb", "--contents", package)
    for program in ["", *(f"-{name}" for name in PROGRAMS)]:
        assert f" ./usr/bin/sluice{program}\n" in files["sluice"]
        assert f" ./usr/share/man/man1/sluice{program}.1.gz\n" in files["sluice"]
        assert f" ./usr/share/bash-completion/completions/sluice{program}.bash\n" in files["sluice"]
        assert f" ./usr/share/zsh/vendor-completions/_sluice{program}\n" in files["sluice"]
    for path in [
        "bin/sluice-tap",
        "share/man/man1/sluice-tap.1.gz",
        "share/bash-completion/completions/sluice-tap",
        "share/zsh/vendor-completions/_sluice-tap",
    ]:
        assert f" ./usr/{path}" in files["sluice-tap"]
    assert len(list((packages / "debug").glob("*-dbgsym_*.deb"))) == 2


def test_it_starts_with_the_machine(machine):
    assert machine.state("sluice.target") == "active"
    for unit in ["sluice-queue.service", *(f"sluice-{n}@1.service" for n in PROGRAMS if n != "queue")]:
        assert machine.state(unit) == "active"
        assert machine.state(unit, "NRestarts") == "0"
        assert machine.run_in("stat", "-c", "%U", f"/proc/{machine.state(unit, 'MainPID')}") == "sluice"
    assert machine.run_in("systemctl", "--failed", "--no-legend") == ""
    assert machine.run_in("stat", "-c", "%U %a", "/var/lib/sluice") == "sluice 700"


def test_whole_path(machine):
    password = machine.run_in("cat", "/var/lib/sluice/secrets/admin-password")
    machine.run_near(sys.executable, "-c", JOURNEY, password)
    shown = machine.run_in("env", "SLUICE_HOME=/var/lib/sluice", "sluice-tap", "ls")
    assert "orders.order.paid" in shown


def test_metrics_are_where_the_unit_says(machine):
    assert "sluice_ready 1" in machine.run_near("curl", "-sSf", "http://127.0.0.1:9090/metrics")


def test_programs_confine_themselves_as_well(machine):
    """Both sandboxes go together. What this kernel cannot do is named in the same line."""
    for unit in ["sluice-orders@1", "sluice-gateway@1", "sluice-queue"]:
        said = machine.run_in("journalctl", "--no-pager", "-o", "cat", "-u", unit, "--grep", "sandbox: ")
        assert re.search(r"sandbox: [a-z ]*system-calls memory", said), said
        if landlock_version() > 0:
            assert "sandbox: files" in said, said


def test_no_service_sees_anothers_store(machine):
    for service, others in [("orders@1", ["db/users", "db/search", "queue", "secrets/signing"]),
                            ("gateway@1", ["db", "queue", "secrets/signing", "secrets/admin-password"])]:  # fmt: skip
        pid = machine.state(f"sluice-{service}.service", "MainPID")
        for other in others:
            mode = machine.run_in("nsenter", "-t", pid, "-m", "stat", "-c", "%a", f"/var/lib/sluice/{other}")
            assert mode == "0", (service, other)
    pid = machine.state("sluice-queue.service", "MainPID")
    assert "Network is unreachable" in machine.try_in(
        "nsenter", "-t", pid, "-n", "bash", "-c", "echo > /dev/tcp/192.0.2.1/80"
    )


def test_more_and_fewer_and_restarts_fail_no_request(machine):
    with machine.load():
        machine.run_in("systemctl", "enable", "-q", "--now", "sluice-orders@2", "sluice-gateway@2")
        assert machine.state("sluice-orders@2.service") == "active"
        machine.run_in("systemctl", "restart", "sluice-gateway@1", "sluice-orders@1")
        machine.run_in("systemctl", "kill", "--signal=KILL", "sluice-orders@1")
        wait_for(lambda: machine.state("sluice-orders@1.service", "NRestarts") == "1", 10, "it is started again")
        machine.run_in("systemctl", "restart", "sluice.target")
        wait_for(lambda: machine.state("sluice.target") == "active", 30, "everything is back")
        wait_for(lambda: machine.state("sluice-orders@1.service") == "active", 30, "orders is back")
        machine.run_in("systemctl", "disable", "-q", "--now", "sluice-orders@2", "sluice-gateway@2")


def test_new_version_fails_no_request(machine):
    pid = machine.state("sluice-users@1.service", "MainPID")
    with machine.load():
        machine.run_in("sh", "-c", "dpkg --install /root/packages/sluice*.deb")
        wait_for(lambda: machine.state("sluice-users@1.service", "MainPID") not in ("0", pid), 30, "it is another")
        wait_for(lambda: machine.state("sluice-users@1.service") == "active", 30, "users is back")


def test_what_hangs_is_replaced(machine):
    unit = "sluice-search@1.service"
    pid = machine.state(unit, "MainPID")
    machine.run_in("systemctl", "kill", "--signal=STOP", unit)
    wait_for(lambda: machine.state(unit, "MainPID") not in ("0", pid), 30, "the watchdog replaces it")
    wait_for(lambda: machine.state(unit) == "active", 30, "search is back")


def test_wrong_setting_is_told_and_not_tried_again(machine):
    settings = machine.root / "etc/sluice/sluice.env"
    before = settings.read_text()
    settings.write_text(before + "SLUICE_CAPACITY=many\n")
    assert "failed" in machine.try_in("systemctl", "restart", "sluice-search@1")
    assert machine.state("sluice-search@1.service", "ExecMainStatus") == "78"
    assert machine.state("sluice-search@1.service") == "failed"
    said = machine.run_in("journalctl", "--no-pager", "-o", "cat", "-u", "sluice-search@1")
    assert 'SLUICE_CAPACITY is "many"' in said
    settings.write_text(before)
    machine.run_in("systemctl", "start", "sluice-search@1")


def test_supervisor_keeps_away(machine):
    said = machine.try_in(
        "setpriv", "--reuid=sluice", "--regid=sluice", "--clear-groups", "sluice", "up", "--home", "/var/lib/sluice"
    )
    assert "children.lock" in said


def test_stopped_gateway_is_started_by_a_connection(machine):
    machine.run_in("systemctl", "stop", "sluice-gateway@1")
    assert machine.state("sluice-gateway@1.service") == "inactive"
    assert '"ready"' in machine.run_near("curl", "-sSf", "--max-time", "30", "http://127.0.0.1:8080/readyz")
    assert machine.state("sluice-gateway@1.service") == "active"


def test_manual_and_completion(machine):
    for program in ["sluice", "sluice-tap", *(f"sluice-{name}" for name in PROGRAMS)]:
        assert re.match(rf"{program} \(1\) +- \w", machine.run_in("whatis", program))
        loaded = f"source /usr/share/bash-completion/bash_completion; _completion_loader {program}; complete -p {program}"
        assert re.search(rf"-F _[\w-]+ {program}$", machine.run_in("bash", "-c", loaded))


def test_stopping_drains_gateways_first(machine):
    machine.run_in("journalctl", "--rotate")
    machine.run_in("systemctl", "stop", "sluice.target", "sluice-home.service")
    assert machine.units() == set()
    said = machine.run_in("journalctl", "--no-pager", "-o", "cat", "-u", "sluice*", "-n", "60")
    order = re.findall(r"^(Stopped|Stopping) (sluice-[\w@]+)\.service", said, re.M)
    stopped = order.index(("Stopped", "sluice-gateway@1"))
    for name in ["sluice-orders@1", "sluice-users@1", "sluice-search@1", "sluice-queue"]:
        assert stopped < order.index(("Stopping", name)), order
    machine.run_in("systemctl", "start", "sluice.target")
    assert machine.state("sluice-users@1.service") == "active"


def test_removed_and_purged_it_leaves_only_the_data(machine):
    machine.run_in("dpkg", "--purge", "sluice", "sluice-tap")
    assert machine.units() == set()
    assert machine.run_in("find", "/proc", "-maxdepth", "1", "-user", "sluice") == ""
    left = machine.run_in("find", "/usr", "/etc", "-name", "*sluice*", "-not", "-path", "*/packages/*")
    assert left == ""
    assert machine.run_in("ls", "/var/lib/sluice").split() == ["db", "queue", "run", "secrets"]
