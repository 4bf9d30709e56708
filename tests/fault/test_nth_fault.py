# SPDX-License-Identifier: MIT
# In a running suite one call of one process fails: the n-th write, sync, open, allocation or mapping, while it starts
# or while it serves (fail_nth.c). Nothing crashes: the request is answered with the truth, or the process says what is
# wrong, ends, and is started again. What was acknowledged stays, and in the end clients, stores, events and index have
# the same orders, each once.
# How much is tried, and which: fail_nth.py.
import contextlib
import http.client
import random
import re
import sqlite3
import time

import pytest
from api import Client, new_key
from fail_nth import FAIL_NTH, FIRST, ONE, SECONDS, SEED, STRIDE, Control, combinations
from people import PASSWORD, add_product, admin_of, fresh
from queue_client import Queue
from suite import PATIENCE, SANITIZED, SERVICES, Suite, run, wait_for

COMBINATIONS = combinations("start", "run")
FAILURES = ("store-unavailable", "outcome-unknown", "unavailable", "deadline-exceeded", "overloaded", "internal")
STOCK = 1_000_000
READY_S = 25  # some things are tried again after 15 s

pytestmark = [
    pytest.mark.skipif(not COMBINATIONS, reason="not asked for"),
    pytest.mark.skipif(SANITIZED, reason="a preloaded library and a sanitizer exclude each other"),
    pytest.mark.seconds(24 * 3600 if STRIDE else 120 + 2 * SECONDS),
]


class Stage:
    """A suite in which one program may fail, and what its clients know."""

    def __init__(self, suite, service, control):
        self.suite, self.service, self.control = suite, service, control
        self.client = Client(suite.port)
        self.sku = add_product(admin_of(suite), stock=STOCK)["sku"]
        self.acknowledged = set()  # ids of orders
        self.unclear = []  # (token, key) whose answer was no 201
        self.tokens = {}  # order id: its buyer's token
        self.seen = 0  # of the log

    # --- Asking

    def ask(self, method, path, expected, **options):
        """The answer when it is as expected; None when the fault shows in it, truthfully."""
        begin = time.monotonic()
        try:
            answer = self.client.request(method, path, **options)
        except (OSError, http.client.HTTPException):
            assert self.service == "gateway", "the connection was cut"
            return None
        assert time.monotonic() - begin < 6 * PATIENCE, "later than its deadline"
        if answer.status == expected:
            return answer
        assert answer.status >= 500 and answer.slug in FAILURES, (method, path, answer)
        return None

    def person(self):
        """A token of somebody new; None when that could not be."""
        self.client.token = None
        email = f"{fresh('x')}@example.com"
        who = {"email": email, "password": PASSWORD, "name": "Eve"}
        if not self.ask("POST", "/v1/users", 201, body=who):
            return None
        answer = self.ask("POST", "/v1/sessions", 201, body={"email": email, "password": PASSWORD})
        return answer and answer.json()["access_token"]

    def buy(self, token, key):
        self.client.token = token
        body = {"items": [{"sku": self.sku, "quantity": 1}]}
        answer = self.ask("POST", "/v1/orders", 201, body=body, idempotency_key=key)
        if not answer:
            return None
        order_id = answer.json()["id"]
        self.acknowledged.add(order_id)
        self.tokens[order_id] = token
        return order_id

    def flow(self, token):
        """Some of everything."""
        self.person()
        self.client.token = token
        self.ask("GET", "/v1/users/me", 200)
        key = new_key()
        order_id = self.buy(token, key)
        if not order_id:
            self.unclear.append((token, key))
        else:
            self.ask("POST", f"/v1/orders/{order_id}/pay", 200, idempotency_key=new_key())
            self.ask("GET", f"/v1/orders/{order_id}", 200)
        self.ask("GET", f"/v1/search?q={self.sku}", 200)

    # --- Judging

    def settle(self):
        """Everything is there again, by itself, and what was unclear becomes clear."""
        self.suite.wait_ready(READY_S)
        while self.unclear:
            token, key = self.unclear[-1]
            wait_for(lambda: self.buy(token, key), READY_S, "an order is placed at last")
            self.unclear.pop()

    def check_log(self):
        """Nothing crashed, and whoever ended said why."""
        records = list(self.suite.records())
        new, self.seen = records[self.seen :], len(records)
        for record in new:
            body = record.get("body", "")
            assert not re.search(r"was killed by signal|is stuck|Assertion|assertion|Aborted", body), body

    def check_all(self):
        """The ledger of the clients = orders = events = index."""
        for order_id, token in self.tokens.items():
            self.client.token = token
            answer = self.client.get(f"/v1/orders/{order_id}")
            assert answer.status == 200, answer
        product = self.client.get(f"/v1/products/{self.sku}").json()
        assert product["stock"] == STOCK - len(self.acknowledged)
        with Queue(self.suite.queue_endpoint) as queue:
            queue.wait(
                lambda found: self.acknowledged <= {e["subject"] for e in found}, "orders.order.placed", timeout_s=20
            )
            events = queue.read()
        placed = [e["subject"] for e in events if e["topic"] == "orders.order.placed"]
        assert sorted(placed) == sorted(self.acknowledged), "events missing, or doubled"
        assert len({e["id"] for e in events}) == len(events)
        wait_for(lambda: self.indexed() == self.acknowledged, 20, "every order is in the index")

    def indexed(self):
        path = self.suite.home / "db/search/search.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return {row[0] for row in db.execute("SELECT id FROM documents WHERE type = 1")}

    # --- One fault

    def try_fault(self, when, kind, error, number):
        """Returns how many calls there were, and whether one failed."""
        token = wait_for(self.person, READY_S, "somebody can register")
        self.control.arm(kind, error, number)
        if when == "start":
            # Which fails when the new process does: it is started again.
            run("sluice", "restart", self.service, env=self.suite.env, timeout=60)
            self.suite.wait_ready(READY_S)
        self.flow(token)
        counts, fired, where = self.control.state
        count = counts[kind]
        self.control.disarm()
        print(f"{self.service}: {when} {kind} {error} {number}" + (f" at {where}" if fired else f" of {count}"))
        self.settle()
        self.check_log()
        return count, fired


@pytest.fixture(params=SERVICES)
def stage(request, tmp_path):
    service = request.param
    control = Control(tmp_path / "control")
    with Suite(
        **control.environment(f"sluice-{service}"),
        SLUICE_SIGNUPS_PER_ADDRESS=0,  # two for each fault
    ) as suite:
        suite.up()
        suite.expect_death(f"{service}-1", 1_000_000)  # how is looked at by check_log()
        stage = Stage(suite, service, control)
        yield stage
        control.disarm()


def faults(stage):
    """(when, kind, error, number) one after the other; the outcome of each is sent back."""
    if ONE:
        when, kind, error, number = ONE.split()
        yield when, kind, error, int(number)
        return
    if STRIDE:
        for combination in COMBINATIONS:
            count, _ = yield (*combination, 0)  # of a whole run
            without = 0  # runs in a row that had fewer calls: the first one may have had more than most
            for number in range(FIRST, count + 1, STRIDE):
                _, fired = yield (*combination, number)
                without = 0 if fired else without + 1
                if without == 5:
                    break
        return
    chance = random.Random(f"{SEED} {stage.service}")
    most, known = {}, set()  # calls of a whole run; of which combinations that is known
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        when, kind, error = chance.choice([c for c in COMBINATIONS if most.get(c[:2]) != 0])
        limit = most.get((when, kind), 8)
        number = chance.randint(1, limit)
        count, fired = yield when, kind, error, number
        if not fired:
            known.add((when, kind))
            most[when, kind] = count
        elif (when, kind) not in known:
            most[when, kind] = max(limit, 4 * number)


def test_nth_call_fails(stage):
    assert FAIL_NTH.exists()
    turns = faults(stage)
    fault, tried, fired = next(turns), 0, 0
    with contextlib.suppress(StopIteration):
        while True:
            outcome = stage.try_fault(*fault)
            tried, fired = tried + 1, fired + outcome[1]
            fault = turns.send(outcome)
    print(f"{stage.service}: {tried} runs, {fired} with a fault, seed {SEED}")
    assert fired > 0
    stage.check_all()
