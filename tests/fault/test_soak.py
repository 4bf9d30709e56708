# SPDX-License-Identifier: MIT
# A long time at a given part of what the suite can do, while processes of every kind are killed: no
# safe request and no write with a key fails, none is done twice, and nothing grows but what is kept.
#
#   SLUICE_TEST_SOAK_SECONDS  how long; without it there is no soak
#   SLUICE_TEST_SOAK_LOAD     part of the capacity, which is measured first (0.7)
#   SLUICE_TEST_SEED          of who is killed and when (1)
#   SLUICE_TEST_FIGURES       a file that gets a line of JSON (tests/fault/report)
#
# What a leak loses shows in a process that gets old, and one that is killed every half a minute does not. So in the
# first half everything is killed; in the second the first process of each service stays, and is a veteran.
# Memory is judged without pages of files (RssAnon) and without caches, which are bounded and take their time to fill
# (CACHES). Stores, index and log keep what they are given, and are meant to grow.
import collections
import concurrent.futures
import contextlib
import faulthandler
import itertools
import os
import pathlib
import random
import re
import sqlite3
import time

import figures
import pytest
from crew import Crew
from flow import MIX, SAFE, capacity
from open_load import OpenLoad
from people import add_product, admin_of, fresh, register
from queue_client import Queue
from suite import SERVICES, Suite, wait_for

SOAK_S = int(os.environ.get("SLUICE_TEST_SOAK_SECONDS", "0"))
LOAD = float(os.environ.get("SLUICE_TEST_SOAK_LOAD", "0.7"))
SEED = int(os.environ.get("SLUICE_TEST_SEED", "1"))

LANES = 6  # of each kind: buyers, what they buy, and words they search
MATCHES = 5  # of each word, however long it takes
STOCK = 100_000_000
ORDER = 1  # enum search_type
STORES = ("users", "orders", "search")
CACHES = {**dict.fromkeys(STORES, "sluice_store_cache_bytes"), "queue": "sluice_queue_cache_bytes"}
# Clients do as Retry-After says.
LOAD_OPTIONS = {"connections": 128, "timeout": 15000, "retries": 6, "backoff": 50, "obey": 1}

FIRST_RATE, STEP, STEP_S = 400, 1.4, 3  # of measuring the capacity: requests a second, and how they rise
KILL_EVERY_S = (0.5, 5.0)
SAMPLE_S = 1
# What memory may grow by besides a tenth. A young process that takes over from one that was killed also takes what has
# been waiting for it.
SLACK = {"veterans": 4 << 20, "young": 16 << 20}
MIB = 1 << 20


class Market:
    """What is bought, looked at and searched in a suite."""

    def __init__(self, suite):
        self.suite = suite
        self.admin = admin_of(suite)
        self.buyers = [register(suite.port) for _ in range(LANES)]
        self.rehearser = register(suite.port)  # buys while the capacity is measured
        self.sold = [add_product(self.admin, stock=STOCK)["sku"] for _ in range(LANES)]
        self.words = [fresh("word").rsplit("-", 1)[-1] for _ in range(LANES)]
        for word in self.words:
            for number in range(MATCHES):
                add_product(self.admin, name=f"Kettle {word} number {number}")
        wait_for(lambda: len(self.search(self.words[-1])) == MATCHES, 20, "the last product is in the index")

    def search(self, word):
        return self.buyers[0].get(f"/v1/search?q={word}").json()["items"]

    def requests(self, people):
        """{name: request} of every kind and lane, for the load generator."""
        kinds = {}
        for lane, (person, sku, word) in enumerate(zip(people, self.sold, self.words)):
            token = f"token={person.token}"
            body = '{"items": [{"sku": "%s", "quantity": 1}]}' % sku
            kinds[f"me{lane}"] = f"GET /v1/users/me {token} unlisted"
            kinds[f"product{lane}"] = f"GET /v1/products/{sku} {token} unlisted"
            kinds[f"search{lane}"] = f"GET /v1/search?q={word} {token} unlisted"
            kinds[f"order{lane}"] = f"POST /v1/orders {token} key body={body}"
        return kinds

    def rates(self, total):
        return {f"{kind}{lane}": total * part / LANES for kind, part in MIX.items() for lane in range(LANES)}

    def capacity(self, seeds):
        requests = self.requests([self.rehearser] * LANES)
        return capacity(
            self.suite.port, requests, self.rates, FIRST_RATE, STEP, STEP_S, seeds, **LOAD_OPTIONS
        )


class Soak(OpenLoad):
    """The load, of which the ids of orders are kept and nothing else."""

    def __init__(self, market, rate, seed):
        requests = market.requests(market.buyers)
        super().__init__(
            market.suite.port, requests, [("all", SOAK_S + 600, market.rates(rate))], seed=seed, **LOAD_OPTIONS
        )

    def read(self, lines):
        fields = (line.split() for line in lines)
        self.told = [row[7].rsplit("/", 1)[-1] for row in fields if row[3] == "201"]

    def cells(self, kinds):
        return [cell for name, cell in self.phases["all"].items() if name.rstrip("0123456789") in kinds]

    def ends(self, kinds, what="outcomes"):
        """{how: count}"""
        counts = collections.Counter()
        for cell in self.cells(kinds):
            counts.update(cell[what])
        return dict(counts)

    def slowest_ms(self, kinds):
        return max(cell["good_latency"].get("max_ms", 0) for cell in self.cells(kinds))

    def p99_ms(self, kinds):
        return max(cell["good_latency"].get("p99_ms", 0) for cell in self.cells(kinds))


# --- What may not grow


def veteran(instance):
    return instance.endswith("-1") or instance == "supervisor"


class Watch(Crew):
    """Takes samples of every process and every store while its block runs."""

    def __init__(self, suite):
        super().__init__(self.run)
        self.suite = suite
        self.begin = time.monotonic()
        self.processes = []  # (time, kind, instance, bytes, descriptors)
        self.stores = []  # (time, {what: bytes})

    def now(self):
        return time.monotonic() - self.begin

    def sample(self):
        now = self.now()
        everybody = [(e["service"], name, e["pid"]) for name, e in self.suite.instances().items() if e["pid"]]
        for kind, instance, pid in [*everybody, ("supervisor", "supervisor", self.suite.supervisor.pid)]:
            with contextlib.suppress(OSError, StopIteration, KeyError):  # it died just now, or is about to begin
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
                descriptors = len(os.listdir(f"/proc/{pid}/fd"))
                cached = self.suite.metrics(instance)[CACHES[kind]] if kind in CACHES else 0
                memory = int(line.split()[1]) * 1024 - cached
                self.processes.append((now, kind, instance, memory, descriptors))
        sizes = {}
        for store in STORES:
            path = self.suite.home / f"db/{store}/{store}.db"
            wal = path.with_name(f"{store}.db-wal")
            sizes[f"{store} log"] = wal.stat().st_size if wal.exists() else 0
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
                pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
            sizes[f"{store} free"] = pages * size
        self.stores.append((now, sizes))

    def run(self):
        while not self.ending.wait(SAMPLE_S):
            self.sample()

    def most(self, begin, end, old):
        """{kind: (bytes, descriptors)}: the most of a process in that time, of veterans or of all the others."""
        found = {}
        for now, kind, instance, memory, descriptors in self.processes:
            if begin <= now < end and veteran(instance) == old:
                before = found.get(kind, (0, 0))
                found[kind] = (max(memory, before[0]), max(descriptors, before[1]))
        return found

    def most_of_stores(self, begin, end):
        found = collections.Counter()
        for now, sizes in self.stores:
            if begin <= now < end:
                found |= collections.Counter(sizes)
        return found

    def judge(self, note):
        """Adds the figures to note; returns what has grown."""
        half, grown = SOAK_S / 2, []
        spans = {  # of the second quarter of the time that is compared, and of its last
            "veterans": (True, half + half / 4, half + half / 2, half + 3 * half / 4, 2 * half),
            "young": (False, half / 2, half, 3 * half / 2, 2 * half),
        }
        for who, (old, *times) in spans.items():
            early, late = self.most(*times[:2], old), self.most(*times[2:], old)
            both = [kind for kind in late if kind in early]
            note[f"{who}_mib"] = {k: [round(n[k][0] / MIB, 1) for n in (early, late)] for k in both}
            note[f"{who}_descriptors"] = {k: [early[k][1], late[k][1]] for k in both}
            for kind in both:
                if late[kind][0] > 1.1 * early[kind][0] + SLACK[who]:
                    grown.append((who, kind, "memory", early[kind][0], late[kind][0]))
                # A gateway has as many as there are clients, when another one dies.
                more = LOAD_OPTIONS["connections"] if kind == "gateway" else 0
                if late[kind][1] > early[kind][1] + 16 + more:
                    grown.append((who, kind, "descriptors", early[kind][1], late[kind][1]))
        early, late = self.most_of_stores(half / 2, half), self.most_of_stores(3 * half / 2, 2 * half)
        note["stores_mib"] = {k: [round(early[k] / MIB, 1), round(late[k] / MIB, 1)] for k in self.stores[-1][1]}
        grown += [("store", k, early[k], n) for k, n in late.items() if n > 1.25 * early[k] + 8 * MIB]
        return grown


# --- What the clients were told


def orders_of(person):
    return {order["id"] for order in person.pages("/v1/orders", limit=100)}


def check_ledger(market, told):
    """What clients were told = orders = events = index, with every order once."""
    assert len(told) == len(set(told)) > 0, "an order answered two keys"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        *listed, rehearsed = pool.map(orders_of, [*market.buyers, market.rehearser])
    told, listed = set(told), set().union(*listed)
    assert listed == told, (len(told - listed), len(listed - told))
    every = told | rehearsed
    left = sum(market.admin.get(f"/v1/products/{sku}").json()["stock"] for sku in market.sold)
    assert left == LANES * STOCK - len(every)
    check_events(market.suite, every)
    wait_for(lambda: len(indexed(market.suite)) >= len(every), 60, "every order is in the index")
    assert set(indexed(market.suite)) == every
    assert len(indexed(market.suite)) == len(every), "an order is in the index twice"


def check_events(suite, every):
    placed, ids, last = set(), set(), 0
    deadline = time.monotonic() + 60
    with Queue(suite.queue_endpoint) as queue:
        while len(placed) < len(every):
            assert time.monotonic() < deadline, f"{len(every) - len(placed)} events are missing"
            for event in queue.stream(**{"from": "seq", "value": last + 1}):
                assert event["seq"] == last + 1, "a gap"
                last += 1
                assert event["id"] not in ids, "an event is there twice"
                ids.add(event["id"])
                if event["topic"] == "orders.order.placed":
                    assert event["subject"] not in placed, "an order was announced twice"
                    placed.add(event["subject"])
    assert placed == every


def indexed(suite):
    """Ids of the orders in search's store, as often as they are there."""
    path = suite.home / "db/search/search.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [row[0] for row in db.execute("SELECT id FROM documents WHERE type = ?", (ORDER,))]


# --- The test


def kill_at_random(suite, watch, chance):
    """Until the time is over; returns [(time, instance, seconds until another one was ready)]."""
    killed = []
    while (now := watch.now()) < SOAK_S:
        time.sleep(min(chance.uniform(*KILL_EVERY_S), max(SOAK_S - now, 0)))
        names = sorted(suite.instances())
        instance = chance.choice([n for n in names if not veteran(n)] if watch.now() > SOAK_S / 2 else names)
        begin = watch.now()
        suite.wait_replaced(instance, suite.kill(instance), timeout=20)
        killed.append((begin, instance, watch.now() - begin))
    return killed


def course(watch):
    """The memory of veterans over time, for whoever looks for the reason."""
    courses = collections.defaultdict(list)
    for now, _, instance, memory, _ in watch.processes:
        if veteran(instance):
            courses[instance].append((now, memory))
    for instance, samples in courses.items():
        step = max(1, len(samples) // 24)
        print(f"{instance} MiB:", *(f"{now:.0f}s={memory / MIB:.1f}" for now, memory in samples[::step]))


def lulls(load, kind):
    """Prints when fewer than half of the requests of a kind that were planned for a second were answered in it."""
    lanes = [slices for name, slices in load.timeline.items() if name.rstrip("0123456789") == kind]
    slices = [(sum(lane[i][0] for lane in lanes), sum(lane[i][1] for lane in lanes)) for i in range(len(lanes[0]))]
    width = round(1 / load.slice_s)
    for at in range(0, len(slices), width):
        planned, good = (sum(part) for part in zip(*slices[at : at + width]))
        if good < planned / 2:
            print(f"{at * load.slice_s:.0f} s: {good} of {planned} {kind}s")


def complaints(suite):
    """What the log says at WARN and above, for whoever looks for the reason: each kind of line with its count."""
    found = collections.Counter()
    for record in suite.records():
        if record.get("severity_text") not in ("INFO", "DEBUG", None):
            found[re.sub(r"[0-9a-f]*\d[0-9a-f-]*", "N", record.get("body", ""))] += 1
    for body, count in found.most_common(20):
        print(f"{count} x {body[:200]}")


@pytest.mark.skipif(not SOAK_S, reason="SLUICE_TEST_SOAK_SECONDS says how long")
@pytest.mark.seconds(1.5 * SOAK_S + 300)
def test_soak():
    faulthandler.cancel_dump_traceback_later()  # pytest's, for tests that are to be quick
    seeds = itertools.count(SEED)
    with Suite(
        **{f"SLUICE_SCALE_{name.upper()}": 2 for name in (*STORES, "gateway")},
        SLUICE_ACCESS_LOG="false",  # a gigabyte of it would say nothing
        SLUICE_TOKEN_TTL=f"{2 * SOAK_S + 600}s",
    ) as suite:
        market = Market(suite.up())
        capacity = market.capacity(seeds)
        seed = next(seeds)
        with Soak(market, LOAD * capacity, seed) as load:
            watch = Watch(suite)
            with watch:
                killed = kill_at_random(suite, watch, random.Random(SEED))
            load.stop()
            seconds = watch.now()
        note = {
            "what": f"soak at {LOAD:.0%} of {capacity:.0f} requests a second, {len(killed)} kills",
            "seed": seed,
            "seconds": round(seconds),
            "requests": sum(cell["planned"] for cell in load.cells(MIX)),
            "outcomes": load.ends(MIX),
            "attempts": load.ends(MIX, "attempts"),
            "slowest_safe_ms": load.slowest_ms(SAFE),
            "slowest_order_ms": load.slowest_ms(("order",)),
            "p99_safe_ms": load.p99_ms(SAFE),
            "p99_order_ms": load.p99_ms(("order",)),
            "late_ms": load.late_ms,
            "orders": len(load.told),
            "killed": dict(collections.Counter(instance.rsplit("-", 1)[0] for _, instance, _ in killed)),
            "replaced_ms": round(1000 * max(took for _, _, took in killed)),
        }
        grown = watch.judge(note)
        course(watch)
        lulls(load, "order")
        lulls(load, "product")
        print("kills:", *(f"{at:.1f}s={instance}({took:.1f})" for at, instance, took in killed))
        complaints(suite)
        figures.note(note)
        assert set(note["killed"]) == set(SERVICES), "it was too short to kill one of everything"
        begin = time.monotonic()
        check_ledger(market, load.told)
        print(f"{len(load.told)} orders were checked in {time.monotonic() - begin:.0f} s")
        assert not grown
        # Last, as what was refused says nothing about the rest.
        assert set(load.ends(SAFE)) == {"200"}, note
        assert set(load.ends(("order",))) == {"201"}, note
