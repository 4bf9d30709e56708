# SPDX-License-Identifier: MIT
# What somebody could do who has taken a process over: tried from a thread inside each process of a
# running suite (probe.c), which goes on serving. Where a kernel lacks a part (sluice_sandbox says
# it), only what that part refuses is skipped.
import errno
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import suite as suite_module  # noqa: E402
from people import add_product, admin_of, register  # noqa: E402
from suite import BUILD, CLEAN, SANITIZED, Suite, free_port, new_home, run, wait_for  # noqa: E402

PROBE = BUILD / "probe.so"
TRIGGER = signal.SIGRTMIN + 5
SERVICES = ["gateway", "users", "orders", "search", "queue"]
EPERM, EACCES, ENOSYS = errno.EPERM, errno.EACCES, errno.ENOSYS

# {part of the sandbox: {attempt: the errno it must get}}, for every service.
REFUSED = {
    "system-calls": {
        **{
            name: EPERM
            for name in (
                "fork clone execve ptrace kill process_vm_readv mount unshare bpf io_uring_setup keyctl "
                "perf_event_open userfaultfd init_module setuid packet raw vsock netlink-audit"
            ).split()
        },
        "clone3": ENOSYS,
    },
    "files": {
        name: EACCES
        for name in (
            "read:/etc/shadow read:/bin/true read:/proc/parent read:run/supervisor.lock write:/tmp write:made "
            "write:db/made write:secrets/made write:run/made"
        ).split()
    },
    "memory": {"dumpable": EPERM},
    "ports": {"connect": EACCES, "bind": EACCES},
}
ALLOWED = ["read:/proc/self", "read:/etc/hosts", "netlink-route", "udp", "resolve"]

# What belongs to one service, or to some, and is refused to the others.
OWN = {
    "read:db/users/users.db": ["users"],
    "read:db/orders/orders.db": ["orders"],
    "read:db/search/search.db": ["search"],
    "write:db/users/made": ["users"],
    "write:db/orders/made": ["orders"],
    "write:db/search/made": ["search"],
    "read:queue/lease": ["queue"],
    "write:queue/made": ["queue"],
    "read:secrets/signing/token.key": ["users"],
    "read:secrets/admin-password": ["users"],
    "read:secrets/admin-token": ["gateway"],
    "read:secrets/cursor.key": ["users", "orders", "search"],
    "read:secrets/public/jwks.json": ["gateway", "users"],
    "read:secrets/curve/gateway.key_secret": ["gateway"],
    "read:secrets/curve/queue.key_secret": ["queue"],
    "read:secrets/curve/users.key_secret": ["users"],
    "read:secrets/curve/orders.key_secret": ["orders"],
}

# Nor may the supervisor, which must start programs, and reaches all files.
REFUSED_TO_SUPERVISOR = [
    name
    for name in REFUSED["system-calls"]
    if name not in ("fork", "clone", "clone3", "execve", "kill")
]

pytestmark = pytest.mark.skipif(
    SANITIZED, reason="a sanitized build takes no preloaded library, and leaves out parts"
)


@pytest.fixture(scope="module")
def target():
    """A port where somebody listens that no process has to do with."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def suite(tmp_path_factory, target):
    home = new_home()
    answers = tmp_path_factory.mktemp("probe")
    with Suite(
        LD_PRELOAD=PROBE, PROBE_DIR=answers, PROBE_HOME=home, PROBE_PORT=target, home=home
    ) as own:
        own.owns_home = True
        own.answers = answers
        yield own.up()


def tried(suite, pid):
    """{attempt: errno} from inside the process."""
    path = suite.answers / str(pid)
    before = path.read_text()
    os.kill(pid, TRIGGER)
    text = wait_for(
        lambda: (new := path.read_text()[len(before) :]).endswith("end\n") and new,
        10,
        f"{path} has the answers",
    )
    return {name: int(number) for name, _, number in (line.rpartition(" ") for line in text.split("\n")[:-2])}


def parts(suite, instance):
    """Which parts are in force, as the process says."""
    return {
        name.partition('part="')[2].partition('"')[0]
        for name, value in suite.metrics(instance).items()
        if name.startswith("sluice_sandbox{") and value
    }


@pytest.fixture(scope="module", params=SERVICES)
def service(request):
    return request.param


@pytest.fixture(scope="module")
def outcome(suite, service):
    instance = f"{service}-1"
    return tried(suite, suite.pid(instance)), parts(suite, instance)


class TestFromInside:
    @pytest.mark.parametrize("part", REFUSED)
    def test_is_refused(self, outcome, part):
        got, in_force = outcome
        if part not in in_force:
            pytest.skip(f"this kernel lacks what {part} needs")
        assert {name: got[name] for name in REFUSED[part]} == REFUSED[part]

    def test_what_is_anothers_is_refused(self, outcome, service):
        got, in_force = outcome
        if "files" not in in_force:
            pytest.skip("this kernel lacks Landlock")
        wanted = {name: 0 if service in owners else EACCES for name, owners in OWN.items()}
        assert {name: got[name] for name in OWN} == wanted

    def test_what_it_needs_is_not(self, outcome):
        got, _ = outcome
        assert {name: got[name] for name in ALLOWED} == dict.fromkeys(ALLOWED, 0)

    def test_every_attempt_is_looked_at(self, outcome):
        known = {name for part in REFUSED.values() for name in part} | set(OWN) | set(ALLOWED)
        assert set(outcome[0]) == known


def test_supervisor(suite):
    got = tried(suite, suite.supervisor.pid)
    wanted = dict.fromkeys(REFUSED_TO_SUPERVISOR, EPERM)
    assert {name: got[name] for name in wanted} == wanted
    assert got["dumpable"] == EPERM
    assert (got["fork"], got["kill"], got["execve"]) == (0, 0, errno.ENOENT)


def test_log_writer(target):
    """It is forked, has the supervisor's memory, and reads what everybody writes: it keeps the directory of
    the log, and children of its own."""
    home = new_home()
    (home / "run").mkdir(mode=0o700)
    with Suite(
        LD_PRELOAD=PROBE, PROBE_DIR=home / "run", PROBE_HOME=home, PROBE_PORT=target, home=home
    ) as own:
        own.owns_home = True
        own.answers = home / "run"
        result = run("sluice", "up", "--detach", env=own.env)
        assert result.returncode == 0, result.stderr
        try:
            (pid,) = [
                int(status.parent.name)
                for status in pathlib.Path("/proc").glob("[0-9]*/status")
                if status_of(status).get("Name") == "sluice-log" and is_of(own, int(status.parent.name))
            ]
            wait_for((own.answers / str(pid)).exists, 10, "the probe is in it")
            got = tried(own, pid)
            in_force = parts(own, "gateway-1")
        finally:
            assert run("sluice", "down", env=own.env).returncode == 0
    wanted = {**REFUSED["memory"]}
    if "system-calls" in in_force:
        wanted.update(REFUSED["system-calls"], fork=0, clone=0)
    if "files" in in_force:
        wanted.update(dict.fromkeys((*REFUSED["files"], *OWN, "read:/etc/hosts"), EACCES))
        wanted.update(dict.fromkeys(("write:run/made", "read:run/supervisor.lock"), 0))
    if "ports" in in_force:
        wanted.update(REFUSED["ports"])
    if "signals" not in in_force:
        del wanted["kill"]  # a filter cannot tell whom a signal is for
    assert {name: got[name] for name in wanted} == wanted


def is_of(suite, pid):
    """Whether a process has files of this suite open; as root, who alone may look."""
    try:
        return any(os.readlink(fd).startswith(f"{suite.home}/") for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def test_all_of_it_is_in_force_here(suite):
    """What the kernel has is used: a missing part is a kernel's lack, not a bug of ours."""
    release = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
    lsm = pathlib.Path("/sys/kernel/security/lsm")
    wanted = {"system-calls", "memory"}
    if not lsm.exists() or "landlock" in lsm.read_text():
        wanted |= {"files"} if release >= (5, 13) else set()
        wanted |= {"ports"} if release >= (6, 7) else set()
        wanted |= {"signals"} if release >= (6, 12) else set()
    for service in SERVICES:
        assert parts(suite, f"{service}-1") == wanted


def status_of(path):
    return dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)


def test_every_thread_is_confined(suite):
    for instance, entry in suite.instances().items():
        tasks = list(pathlib.Path(f"/proc/{entry['pid']}/task").iterdir())
        assert len(tasks) > 1, instance
        for task in tasks:
            status = status_of(task / "status")
            assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1"), (instance, task)


def sell(suite):
    """Who bought what; None while it cannot be: the attempts hold a loop up for so long that workers
    may be taken for lost, and say HELLO again."""
    try:
        admin, ada = admin_of(suite), register(suite.port)
        product = add_product(admin)
    except AssertionError:
        return None
    return (ada, product) if ada.order({product["sku"]: 1}).status == 201 else None


def test_all_still_serve(suite, outcome):
    """After what was tried: a sale, found by search, which needs every process."""
    ada, product = wait_for(lambda: sell(suite), 10, "something is sold")
    wait_for(
        lambda: any(
            hit["id"] == product["sku"]
            for hit in ada.get("/v1/search", query={"q": product["sku"]}).json().get("items", [])
        ),
        10,
        "search has the product",
    )


def test_a_kernel_without_landlock(monkeypatch):
    """The rest is in force, everything serves, and each process says once what it lacks."""
    wrapper = [sys.executable, pathlib.Path(__file__).with_name("without_landlock.py")]
    monkeypatch.setattr(suite_module, "DIE_WITH_US", [*suite_module.DIE_WITH_US, *wrapper])
    with Suite() as own:
        own.up()
        for service in SERVICES:
            assert parts(own, f"{service}-1") == {"system-calls", "memory"}
            said = [r["body"] for r in own.records() if r.get("service.instance.id") == f"{service}-1"]
            lines = [line for line in said if "files ports signals" in line]
            assert len(lines) == 1 and "sandbox: system-calls memory; not on this kernel" in lines[0]
        admin, ada = admin_of(own), register(own.port)
        assert ada.order({add_product(admin)["sku"]: 1}).status == 201
        home = new_home()
        env = {**CLEAN, "SLUICE_HOME": str(home), "SLUICE_SANDBOX": "require"}
        refused = subprocess.run(
            [*wrapper, BUILD / "sluice-queue"], env=env, capture_output=True, text=True, timeout=30
        )
        assert refused.returncode == 78
        assert "cannot protect: files ports signals;" in refused.stderr


class TestOption:
    def test_off_gives_up_nothing(self, tmp_path, target):
        """The probe itself: without the sandbox it gets through."""
        with Suite(LD_PRELOAD=PROBE, PROBE_DIR=tmp_path, PROBE_PORT=target, SLUICE_SANDBOX="off") as own:
            own.environment["PROBE_HOME"] = own.home
            own.answers = tmp_path
            own.up()
            got = tried(own, own.pid("users-1"))
            for name in ("fork", "clone", "kill", "setuid", "read:/bin/true", "write:made", "connect", "bind"):
                assert got[name] == 0, name
            assert got["execve"] == errno.ENOENT
            assert parts(own, "users-1") == set()

    def test_wrong_value_is_refused(self):
        home = new_home()
        result = run("sluice-queue", env={**CLEAN, "SLUICE_HOME": str(home), "SLUICE_SANDBOX": "maybe"})
        assert result.returncode == 78
        assert "SLUICE_SANDBOX" in result.stderr and "on, off, require" in result.stderr


def test_over_tcp_by_name():
    """What only a configuration with TCP needs: keys, ports, the resolver; and new token keys, which
    come as another file."""
    queue, gateway = free_port(), free_port()
    with Suite(
        SLUICE_QUEUE_BIND=f"tcp://127.0.0.1:{queue}",
        SLUICE_QUEUE=f"tcp://localhost:{queue}",
        SLUICE_GATEWAY_BIND=f"tcp://127.0.0.1:{gateway}",
        SLUICE_GATEWAYS=f"tcp://localhost:{gateway}",
    ) as own:
        own.up()
        admin, ada = admin_of(own), register(own.port)
        sku = add_product(admin)["sku"]
        assert ada.order({sku: 1}).status == 201
        search = {"q": sku}
        wait_for(lambda: ada.get("/v1/search", query=search).json()["items"], 10, "it is found")
        keys = own.home / "secrets/public/jwks.json"
        new = keys.with_name("new")
        new.write_bytes(keys.read_bytes())
        new.rename(keys)
        wait_for(lambda: "token keys from" in own.log(), 15, "the new file is read")
        assert ada.get("/v1/users/me").status == 200
