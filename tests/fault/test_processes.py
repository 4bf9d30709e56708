# SPDX-License-Identifier: MIT
# Every process is killed, stopped for 3 s, restarted and scaled under open-loop load: no safe
# request and no write with a key fails, none is done twice, and in the end what the clients were
# told is what services, queue and index have. SLUICE_TEST_KILLS: kills of each service;
# SLUICE_TEST_RATE: requests a second of each of four kinds; SLUICE_TEST_FIGURES: a file that gets
# a line of JSON for each step (tests/fault/report).
import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from flow import RATE, SAFE, Flow  # noqa: E402
from people import add_product, admin_of, register  # noqa: E402
from queue_client import Queue  # noqa: E402
from suite import PATIENCE, SERVICES, Suite, run, wait_for  # noqa: E402

KILLS = int(os.environ.get("SLUICE_TEST_KILLS", "2"))
STOP_S = 3
STOCK = 100_000_000
ORDER = 1  # enum search_type
WORKERS = ("users", "orders", "search")


class Scene:
    """A suite under load, with the orders that its clients were told of."""

    def __init__(self, suite):
        self.suite = suite
        self.admin = admin_of(suite)
        self.ada = register(suite.port, "Ada")
        self.sku = add_product(self.admin, stock=STOCK)["sku"]
        self.told = []

    @contextlib.contextmanager
    def load(self, what, **options):
        """Judges the requests of the time inside: every one is answered well in the end."""
        flow = Flow(self.suite.port, self.ada.token, self.sku, **options)
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
            **getattr(flow, "note", {}),
        }
        print(json.dumps(note))
        if path := os.environ.get("SLUICE_TEST_FIGURES"):
            with open(path, "a") as figures:
                figures.write(json.dumps(note) + "\n")
        assert not flow.bad(SAFE, "outcomes", "200"), note
        assert not flow.bad(["order"], "outcomes", "201"), note

    def check(self):
        """The ledger of the clients = orders = events = index."""
        assert len(self.told) == len(set(self.told)) > 0, "an order answered two keys"
        told = set(self.told)
        listed = {order["id"] for order in self.ada.pages("/v1/orders", limit=100)}
        assert listed == told, (len(told - listed), len(listed - told))
        left = self.admin.get(f"/v1/products/{self.sku}").json()["stock"]
        assert left == STOCK - len(told)
        with Queue(self.suite.queue_endpoint) as queue:
            queue.wait(
                lambda found: told <= {e["subject"] for e in found},
                "orders.order.placed",
                timeout_s=20,
            )
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
        yield Scene(suite.up())


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


@pytest.mark.seconds(60 + 10 * KILLS)
@pytest.mark.parametrize("service", SERVICES)
def test_killed(scene, service):
    suite = scene.suite
    slowest = 0
    with scene.load(f"kill -9 {service} x {KILLS}") as flow:
        for number in range(KILLS):
            time.sleep(0.2)  # of undisturbed load
            instance = in_turn(suite, service, number)
            begin = time.monotonic()
            suite.wait_replaced(instance, suite.kill(instance), timeout=10)
            slowest = max(slowest, time.monotonic() - begin)
        flow.note = {"replaced_ms": round(slowest * 1000)}
    if service != "gateway":  # its connections are lost with it; of others clients see nothing
        assert not flow.bad(SAFE, "attempts", "200")
        assert not flow.bad(["order"], "attempts", "201")


@pytest.mark.parametrize("service", SERVICES)
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


def test_ledger(scene):
    """Last of all: what the clients of all the tests above were told is what there is."""
    with scene.load("calm"):
        time.sleep(0.5)
    scene.check()
