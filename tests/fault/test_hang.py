# SPDX-License-Identifier: MIT
# A thread of the process that writes the orders gets nowhere any more (hang.c): its loop computes for
# ever, or its store's thread waits for ever. Nobody hears a lie or waits for longer than a deadline,
# reads go elsewhere, the supervisor puts another process in its place, and nothing is lost or done
# twice.
import contextlib
import itertools
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from api import Client  # noqa: E402
from crew import Crew  # noqa: E402
from flow import SAFE  # noqa: E402
from hang import HANG, PLACES, Control  # noqa: E402
from queue_client import Queue  # noqa: E402
from suite import PATIENCE, SANITIZED, Suite, firing, wait_for  # noqa: E402
from test_processes import Scene, writer_of  # noqa: E402

DEADLINE_S = 1
WATCHDOG_S = 1.5

# What the write hears that is being done, and those that come while nobody can write.
FIRST = {
    "loop": (502, "outcome-unknown"),
    "statement": (504, "deadline-exceeded"),
    "sync": (504, "deadline-exceeded"),
}
NOT_DONE = [(503, "overloaded"), (503, "unavailable")]

pytestmark = pytest.mark.skipif(
    SANITIZED, reason="a preloaded library and a sanitizer exclude each other"
)


class Renamer(Crew):
    """Gives a product one name after the other, without a key; writes down what it is told."""

    def __init__(self, scene):
        super().__init__(self.run)
        self.suite, self.token, self.sku = scene.suite, scene.admin.token, scene.sku
        self.tried = set()
        self.told = {}  # version: name
        self.others = []  # (status, slug, seconds) of what was not acknowledged

    def run(self):
        client = Client(self.suite.port, self.token)
        for number in itertools.count():
            if self.ending.is_set():
                break
            name = f"Name {number}"
            self.tried.add(name)
            begin = time.monotonic()
            answer = client.patch(f"/v1/products/{self.sku}", {"name": name}, if_match="*")
            took_s = time.monotonic() - begin
            if answer.status == 200:
                self.told[answer.json()["version"]] = name
            else:
                self.others.append((answer.status, answer.slug, round(took_s, 2)))
            time.sleep(0.02)
        client.close()

    def check(self):
        """Every change that was acknowledged is stored once, and no other is there twice."""
        with Queue(self.suite.queue_endpoint) as queue:
            events = queue.wait(
                lambda found: max(self.told) in self.stored(found),
                "orders.product.updated",
                timeout_s=10,
            )
        stored = self.stored(events)
        names = [name for name in stored.values() if name.startswith("Name ")]
        assert len(names) == len(set(names)) and set(names) <= self.tried, "a change was done twice"
        assert {version: stored.get(version) for version in self.told} == self.told

    def stored(self, events):
        """{version: name} of the product, of its events."""
        mine = [e["data"] for e in events if e["data"]["sku"] == self.sku]
        versions = [data["version"] for data in mine]
        assert len(versions) == len(set(versions))
        return {data["version"]: data["name"] for data in mine}


@contextlib.contextmanager
def hanging(path):
    control = Control(path)
    with Suite(
        SLUICE_WATCHDOG=f"{int(1000 * WATCHDOG_S)}ms",
        SLUICE_DEADLINE=f"{DEADLINE_S}s",
        SLUICE_SCALE_ORDERS=2,
        SLUICE_SURVEY_INTERVAL="500ms",
        LD_PRELOAD=HANG,
        HANG_PROGRAM="sluice-orders",
        HANG_CONTROL=path,
    ) as suite:
        yield suite.up(), control


@pytest.mark.parametrize("place", PLACES)
def test_the_writer_hangs(place, tmp_path):
    with hanging(tmp_path / "control") as (suite, control):
        scene = Scene(suite)
        writer = writer_of(suite, "orders")
        pid = suite.pid(writer)
        with scene.load(f"hang {place}") as flow, Renamer(scene) as renamer:
            wait_for(lambda: renamer.told, 5, "writes flow")
            suite.expect_death(writer)
            control.arm(place, pid)
            wait_for(lambda: control.hung, 5, "it hangs")
            begin = time.monotonic()
            suite.wait_replaced(writer, pid, timeout=20)
            flow.note = {"replaced_ms": round(1000 * (time.monotonic() - begin))}
            before = len(renamer.told)
            wait_for(lambda: len(renamer.told) > before + 5, 5, "writes flow again")
        flow.note["writes_without_a_key"] = renamer.others
        # Nobody heard a lie or waited for longer than a deadline; reads heard nothing at all.
        assert not flow.bad(SAFE, "attempts", "200")
        assert flow.slowest_ms(SAFE) < 1000 * DEADLINE_S * PATIENCE
        endings = [(status, slug) for status, slug, _ in renamer.others]
        assert endings[0] == FIRST[place] and set(endings) <= {*FIRST.values(), *NOT_DONE}
        assert max(took_s for *_, took_s in renamer.others) < DEADLINE_S + 0.3 * PATIENCE
        limit_s = WATCHDOG_S if place == "loop" else DEADLINE_S + WATCHDOG_S * 1.4
        assert flow.note["replaced_ms"] < 1000 * (limit_s + 0.7 * PATIENCE)
        said = [r["body"] for r in suite.records() if "stuck" in r.get("body", "")]
        assert any(line.startswith(f"{writer} is stuck: ") for line in said), said
        if place != "loop":  # it answers pings, and says how old its oldest request is
            assert suite.metrics("gateway-1")["sluice_gateway_workers_stuck_total"] == 1, said
            assert f"{writer} is stuck: it says so itself; killing it" in said
            stuck = ("SluiceWorkerStuck", "gateway-1")
            wait_for(lambda: stuck in firing(suite), 10, "whoever is awake is told")
        assert suite.instances()[writer]["stuck"] == 1
        renamer.check()
        scene.check()
