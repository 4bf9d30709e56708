# SPDX-License-Identifier: MIT
# Every process is killed, stopped for 3 s, restarted and scaled under open-loop load, at half of
# what the suite can do: no safe request and no write with a key fails, none is done twice, and in
# the end what the clients were told is what services, queue and index have.
#
#   SLUICE_TEST_KILLS    kills of each service (2)
#   SLUICE_TEST_LOAD     part of the capacity, which is measured first (0.5); of a build with
#                        sanitizers it is not, and 50 requests a second of each kind have to do
#   SLUICE_TEST_FIGURES  a file that gets a line of JSON for each step (tests/fault/report)
import contextlib
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import figures  # noqa: E402
from api import Client  # noqa: E402
from flow import MIX, SAFE, Flow, capacity, requests_of  # noqa: E402
from people import add_product, admin_of, register  # noqa: E402
from queue_client import Queue  # noqa: E402
from suite import BUILD, PATIENCE, SANITIZED, SERVICES, Suite, firing, free_port, run, wait_for  # noqa: E402

KILLS = int(os.environ.get("SLUICE_TEST_KILLS", "2"))
LOAD = float(os.environ.get("SLUICE_TEST_LOAD", "0.5"))
FIRST_RATE, STEP, STEP_S = 1000, 1.6, 1.5  # of measuring the capacity: requests a second, and how they rise
STOP_S = 3
STOCK = 100_000_000
ORDER = 1  # enum search_type
WORKERS = ("users", "orders", "search")

# A part of the capacity is one only as long as nobody else uses the machine.
pytestmark = [] if SANITIZED else [pytest.mark.alone]


class Scene:
    """A suite under load, with the orders that its clients were told of."""

    half = None  # of the capacity: {kind: requests a second}; measured once

    def __init__(self, suite):
        self.suite, self.rates = suite, None
        self.admin = admin_of(suite)
        self.ada = register(suite.port, "Ada")
        self.sku = add_product(self.admin, stock=STOCK)["sku"]
        self.sought = add_product(self.admin)["sku"]
        self.told = []
        self.rehearser = None

    def load_half(self):
        """From now on it is under so much load as LOAD says."""
        if not Scene.half and not SANITIZED:
            self.rehearser = register(self.suite.port)
            requests = requests_of(self.rehearser.token, self.sku, self.sought)
            most = capacity(
                self.suite.port,
                requests,
                lambda total: {kind: total * part for kind, part in MIX.items()},
                FIRST_RATE,
                STEP,
                STEP_S,
                connections=128,
            )
            print(f"the load is {LOAD:.0%} of {most:.0f} requests a second")
            Scene.half = {kind: LOAD * most * part for kind, part in MIX.items()}
        self.rates = Scene.half
        return self

    @contextlib.contextmanager
    def load(self, what, **options):
        """Judges the requests of the time inside: every one is answered well in the end."""
        options = {"rates": self.rates, **options}
        flow = Flow(self.suite.port, self.ada.token, self.sku, self.sought, **options)
        with flow:
            begin = time.monotonic()
            yield flow
        self.told += flow.orders
        note = {
            "what": what,
            "seed": flow.seed,
            "seconds": round(time.monotonic() - begin, 1),
            "requests": sum(kind["planned"] for kind in flow.kinds.values()),
            "outcomes": dict(flow.total()),
            "attempts": dict(flow.total("attempts")),
            "slowest_safe_ms": flow.slowest_ms(SAFE),
            "slowest_order_ms": flow.slowest_ms(("order",)),
            "p99_safe_ms": flow.p99_ms(SAFE),
            "p99_order_ms": flow.p99_ms(("order",)),
            "late_ms": flow.late_ms,
            "rate": round(sum((self.rates or {}).values())),
            **getattr(flow, "note", {}),
        }
        figures.note(note)
        assert not flow.bad(SAFE, "outcomes", "200"), note
        assert not flow.bad(["order"], "outcomes", "201"), note

    def check(self):
        """The ledger of the clients = orders = events = index."""
        assert len(self.told) == len(set(self.told)) > 0, "an order answered two keys"
        told = set(self.told)
        listed = {order["id"] for order in self.ada.pages("/v1/orders", limit=100)}
        assert listed == told, (len(told - listed), len(listed - told))
        if self.rehearser:  # not all of whose orders were answered in time
            told |= {order["id"] for order in self.rehearser.pages("/v1/orders", limit=100)}
        left = self.admin.get(f"/v1/products/{self.sku}").json()["stock"]
        assert left == STOCK - len(told)
        with Queue(self.suite.queue_endpoint) as queue:
            queue.wait(lambda found: len(found) >= len(told), "orders.order.placed", timeout_s=20)
            events = queue.read()
        placed = [e["subject"] for e in events if e["topic"] == "orders.order.placed"]
        assert sorted(placed) == sorted(told), "events missing, or doubled"
        assert len({e["id"] for e in events}) == len(events)
        seqs = [e["seq"] for e in events]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        wait_for(lambda: self.indexed() >= told, 20, "every order is in the index")
        assert self.indexed() == told

    def indexed(self):
        """Ids of the orders in search's store: a query ranks the newest thousand only."""
        path = self.suite.home / "db/search/search.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT id FROM documents WHERE type = ?", (ORDER,)).fetchall()
        ids = {row[0] for row in rows}
        assert len(ids) == len(rows)
        return ids


@pytest.fixture(scope="module")
def scene():
    with Suite(
        SLUICE_SCALE_USERS=2, SLUICE_SCALE_ORDERS=2, SLUICE_SCALE_SEARCH=2
    ) as suite:
        yield Scene(suite.up()).load_half()


def in_turn(suite, service, number):
    instances = sorted(suite.instances(service))
    return instances[number % len(instances)]


def writer_of(suite, service):
    """The instance that writes the service's store."""
    return wait_for(
        lambda: next(
            (
                name
                for name, entry in suite.instances(service).items()
                if entry["state"] == "ready" and suite.metrics(name)["sluice_store_writer"]
            ),
            None,
        ),
        5,
        f"one of {service} writes",
    )


def lost(suite):
    """Workers that the gateway lost: because their connections ended, and because they were silent."""
    counts = suite.metrics("gateway-1")
    every, silent = (counts[f"sluice_gateway_workers_{how}_total"] for how in ("lost", "silent"))
    return every - silent, silent


def seen_at_once(suite, service):
    """How many workers of a service the gateway lost because their connection ended: neither were they silent, nor did
    it take their successors to tell."""
    return len(re.findall(rf"worker {service}-\d+ of {service} is gone: its connection was lost", suite.log()))


@pytest.mark.seconds(60 + 10 * KILLS)
@pytest.mark.parametrize("service", SERVICES)
def test_killed(scene, service):
    suite = scene.suite
    slowest = 0
    before, seen = lost(suite), seen_at_once(suite, service)
    with scene.load(f"kill -9 {service} x {KILLS}") as flow:
        for number in range(KILLS):
            time.sleep(0.2)  # of undisturbed load
            instance = in_turn(suite, service, number)
            begin = time.monotonic()
            suite.wait_replaced(instance, suite.kill(instance), timeout=10)
            slowest = max(slowest, time.monotonic() - begin)
        flow.note = {"replaced_ms": round(slowest * 1000)}
    if service == "gateway":  # its connections are lost with it; the port never is
        # Many kills in a row reach the back-off of a second, in which nobody serves: it is the only one.
        assert set(flow.total("attempts")) <= {"200", "201", "closed", *(["timeout"] if KILLS > 10 else [])}
        return
    assert not flow.bad(SAFE, "attempts", "200")
    assert not flow.bad(["order"], "attempts", "201")
    kills = KILLS if service in WORKERS else 0
    ended, silent = (now - then for now, then in zip(lost(suite), before))
    assert ended == seen_at_once(suite, service) - seen == kills
    assert silent == 0 or SANITIZED, "a loss that only pings told"


@pytest.mark.parametrize("service", SERVICES if KILLS > 2 else ("orders", "gateway"))
def test_stopped_for_a_while(scene, service):
    suite = scene.suite
    instance = writer_of(suite, service) if service in WORKERS else f"{service}-1"
    pid = suite.pid(instance)
    with scene.load(f"SIGSTOP {STOP_S} s {service}") as flow:
        time.sleep(0.2)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STOP_S)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.5)
    assert suite.pid(instance) == pid, "a pause is no reason to replace it"
    assert not flow.bad(SAFE, "attempts", "200")
    assert not flow.bad(["order"], "attempts", "201")


def test_rolling_restart(scene):
    before = {name: entry["pid"] for name, entry in scene.suite.instances().items()}
    with scene.load("rolling restart") as flow:
        result = run("sluice", "restart", env=scene.suite.env, timeout=60)
        assert result.returncode == 0, result.stderr
    after = {name: entry["pid"] for name, entry in scene.suite.instances().items()}
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    assert not flow.bad(SAFE, "attempts", "200")
    assert not flow.bad(["order"], "attempts", "201")


def test_scaled(scene):
    with scene.load("scale 1 -> 4 -> 1") as flow:
        for count in (1, 4, 1, 2):
            scene.suite.scale(users=count, orders=count, search=count)
        for count in (3, 1):
            scene.suite.scale(gateway=count)
    assert not flow.bad(SAFE, "attempts", "200")
    assert not flow.bad(["order"], "attempts", "201")


HAND_OVERS = max(5, KILLS)
HAND_OVER_MS = 50 * (PATIENCE if SANITIZED else 1)


@pytest.mark.seconds(60 + 20 * HAND_OVERS)
def test_hand_over(scene):
    """The lease of a writer that is killed passes at once. What the machine has to do besides delays it at times, so
    the fastest is judged, and there are some more while none was fast."""
    suite, took = scene.suite, []
    with scene.load(f"hand-over of the writer x {HAND_OVERS}") as flow:
        while len(took) < HAND_OVERS or (min(took) > HAND_OVER_MS and len(took) < 4 * HAND_OVERS):
            writer = writer_of(suite, "orders")
            other = next(name for name in suite.instances("orders") if name != writer)
            pid = suite.pid(writer)
            suite.expect_death(writer)
            begin = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            while not suite.metrics(other)["sluice_store_writer"]:
                assert time.monotonic() < begin + 5 * PATIENCE, "nobody writes"
                time.sleep(0.001)
            took.append((time.monotonic() - begin) * 1000)
            suite.wait_replaced(writer, pid, timeout=10)
        took.sort()
        flow.note = {
            "hand_over_ms": {
                "fastest": round(took[0], 1),
                "median": round(took[len(took) // 2], 1),
                "slowest": round(took[-1], 1),
            }
        }
    assert took[0] <= HAND_OVER_MS, took
    assert not flow.bad(["order"], "attempts", "201")


def test_stuck_is_replaced():
    """A process that is stopped for longer than the watchdog's limit, whatever it is."""
    with Suite(SLUICE_WATCHDOG="1s", SLUICE_SCALE_ORDERS=2) as suite:
        scene = Scene(suite.up())
        with scene.load("stuck") as flow:
            for service in SERVICES:
                instance = writer_of(suite, service) if service in WORKERS else f"{service}-1"
                pid = suite.kill(instance, signal.SIGSTOP)
                suite.wait_replaced(instance, pid, timeout=20)
        assert not flow.bad(SAFE, "outcomes", "200")
        killed = [r["body"] for r in suite.records() if "is stuck: no sign of life" in r["body"]]
        assert sorted(line.split("-")[0] for line in killed) == sorted(SERVICES)
        assert sum(entry["stuck"] for entry in suite.instances().values()) == len(SERVICES)
        # A supervisor that was stopped itself does not blame the others.
        before = {name: entry["pid"] for name, entry in suite.instances().items()}
        os.kill(suite.supervisor.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(suite.supervisor.pid, signal.SIGCONT)
        time.sleep(1.5)
        assert {name: entry["pid"] for name, entry in suite.instances().items()} == before
        scene.check()


def test_paused_writer_never_writes_beside_another():
    """It keeps its lease while it is stopped, so nobody else writes until it is gone."""
    with Suite(SLUICE_WATCHDOG="0s", SLUICE_SCALE_ORDERS=2) as suite:
        suite.up()
        admin = admin_of(suite)
        ada, sku = register(suite.port), add_product(admin, stock=STOCK)["sku"]
        writer = writer_of(suite, "orders")
        other = next(name for name in suite.instances("orders") if name != writer)
        pid = suite.kill(writer, signal.SIGSTOP)
        answer = ada.order({sku: 1}, key='"paused"')
        assert answer.status in (503, 504), answer  # nobody may write
        assert suite.metrics(other)["sluice_store_writer"] == 0
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: suite.metrics(other)["sluice_store_writer"], 5, "the other one writes")
        answer = ada.order({sku: 1}, key='"paused"')
        assert answer.status == 201
        orders = list(ada.pages("/v1/orders", limit=100))
        assert [order["id"] for order in orders] == [answer.json()["id"]]


def schema_version(suite, service):
    path = suite.home / f"db/{service}/{service}.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


def with_programs_of_its_own(suite):
    """Lets the suite start copies of the programs, which a test may replace: replace(service, program)."""
    suite.programs = suite.home / "bin"
    suite.programs.mkdir()
    for name in ("sluice", *(f"sluice-{service}" for service in SERVICES)):
        shutil.copy2(BUILD / name, suite.programs / name)

    def replace(service, program):
        shutil.copy2(BUILD / program, suite.programs / "next")
        os.replace(suite.programs / "next", suite.programs / f"sluice-{service}")

    return replace


def test_new_build_with_a_migration():
    """A rolling restart brings it in, though the old writer has the lease when the first new one starts."""
    with Suite(SLUICE_SCALE_ORDERS=3) as suite:
        replace = with_programs_of_its_own(suite)
        scene = Scene(suite.up())
        before = schema_version(suite, "orders")
        pids = {entry["pid"] for entry in suite.instances("orders").values()}
        writer_of(suite, "orders")
        replace("orders", "orders_next")
        with scene.load("new build, new migration") as flow:
            result = run("sluice", "restart", "orders", env=suite.env, timeout=60)
            assert result.returncode == 0, result.stderr
        assert not flow.bad(SAFE, "attempts", "200")
        assert not flow.bad(["order"], "attempts", "201")
        assert schema_version(suite, "orders") == before + 1
        suite.wait_ready()
        assert not pids & {entry["pid"] for entry in suite.instances("orders").values()}
        scene.check()


def contents(suite, service):
    """Everything in a store: schema, rows and version."""
    path = suite.home / f"db/{service}/{service}.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [*db.iterdump(), schema_version(suite, service)]


def outbox_rows(suite, service):
    path = suite.home / f"db/{service}/{service}.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute("SELECT count(*) FROM sluice_outbox").fetchone()[0]


def test_migration_that_fails():
    """The store stays as it was, whoever looks is told why, the other services go on, and the old
    program heals it."""
    with Suite(
        SLUICE_SCALE_ORDERS=2,
        SLUICE_SURVEY_INTERVAL="200ms",
        SLUICE_ALERT_AFTER="500ms",
        SLUICE_DEADLINE="500ms",
        NEXT_BUILD_FAILS=1,
    ) as suite:
        replace = with_programs_of_its_own(suite)
        scene = Scene(suite.up())
        with scene.load("old build"):
            time.sleep(0.3)
        wait_for(lambda: outbox_rows(suite, "orders") == 0, 5, "all events are told")
        before = contents(suite, "orders")
        reason = "migration {0} of {0} failed, what it did is undone: ".format(before[-1] + 1)
        for instance in suite.instances("orders"):
            suite.expect_death(instance, times=100)
        replace("orders", "orders_next")
        others = Flow(suite.port, scene.ada.token, "none", kinds=("me", "search"))
        with others:
            result = run("sluice", "restart", "orders", env=suite.env, timeout=60)
            assert result.returncode != 0
            assert "does not stay up: it exited with status 1: " in result.stderr, result.stderr
            assert reason in result.stderr and "orders.db" in result.stderr, result.stderr
            wait_for(
                lambda: firing(suite) >= {("SluiceCrashLoop", name) for name in ("orders-1", "orders-2")},
                10,
                "somebody is woken up",
            )
            entries = suite.instances("orders").values()
            assert all(entry["crash_loop"] for entry in entries)
            wait_for(
                lambda: any(reason in e["note"] for e in suite.instances("orders").values()),
                10,
                "`sluice status` has the reason",
            )
            answer = scene.ada.order({scene.sku: 1})
            assert answer.status == 503 and answer.slug in ("unavailable", "overloaded"), answer
        assert not others.bad(("me", "search"), "attempts", "200")
        assert contents(suite, "orders") == before
        replace("orders", "sluice-orders")
        suite.wait_ready(15)  # they are tried again every 5 s at least
        assert contents(suite, "orders") == before
        with scene.load("old build again"):
            time.sleep(0.3)
        wait_for(
            lambda: "SluiceCrashLoop" not in [alert for alert, _ in firing(suite)], 20, "the alerts end"
        )
        scene.check()


LAUNCHER = """
import os, socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("launcher", ["systemd-socket-activate", "python"])
def test_socket_from_outside(launcher):
    """A gateway of its own takes the listening socket from whoever starts it, as systemd hands it over."""
    if launcher == "python":
        command = [sys.executable, "-c", LAUNCHER]
    elif not (program := shutil.which(launcher)):
        pytest.skip(f"there is no {launcher} here")
    else:
        command = [program, "-l"]
    with Suite() as suite:
        suite.up()
        port = free_port()
        own = {**suite.env, "SLUICE_INSTANCE": "edge", "SLUICE_LISTEN": "127.0.0.1:1", "SLUICE_EXPECT": "orders"}
        settings = [f"--setenv={name}={own[name]}" for name in own if name.startswith("SLUICE_")]
        address = [f"127.0.0.1:{port}", *settings] if command[-1] == "-l" else [str(port)]
        process = subprocess.Popen([*command, *address, BUILD / "sluice-gateway"], env=own)

        def served():
            with contextlib.suppress(OSError):
                return Client(port).get("/v1/products").status == 200

        try:
            wait_for(served, 10, "the gateway serves on the socket it was given")
            assert Client(suite.port).get("/v1/products").status == 200  # as the first one does
            process.terminate()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            process.wait()


def counted(suite, services=WORKERS):
    """Requests that the gateway answered on the routes of the load, and requests that workers answered."""
    paths = ("/v1/users/me", "/v1/products/{sku}", "/v1/search", "/v1/orders")
    edge = sum(
        value
        for name, value in suite.metrics("gateway-1").items()
        if name.startswith("http_server_request_duration_seconds_count")
        and any(f'http_route="{path}"' in name for path in paths)
    )
    behind = sum(
        value
        for service in services
        for instance in suite.instances(service)
        for name, value in suite.metrics(instance).items()
        if name.startswith("sluice_worker_request_duration_seconds_count")
    )
    return int(edge), int(behind)


def test_conservation(scene):
    """Sent = answered + counted errors, at every hop."""
    before = counted(scene.suite)
    with scene.load("calm") as flow:
        time.sleep(0.5)
    sent = sum(flow.total("attempts").values())
    assert sent > 0
    wait_for(
        lambda: [now - then for now, then in zip(counted(scene.suite), before)] == [sent, sent],
        5,
        f"{sent} requests are counted by gateway and workers",
    )


def test_ledger(scene):
    """Last of all: what the clients of all the tests above were told is what there is."""
    scene.check()
