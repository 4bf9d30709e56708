# SPDX-License-Identifier: MIT
# Nothing gets lost and nothing is made up, from one hop to the next: what the clients sent is what they were answered;
# so says, status by status, the gateway; what it sent to workers is what they answered or handed back; and each order
# that a client was told of is in the store, its event left the outbox, is in the queue and in the index, once. Good
# requests and bad ones; in the middle a flood of far more than is taken at once; and the queue is killed twice, before
# the flood and in it.
#
#   SLUICE_TEST_REQUESTS   how many, without the flood (50000)
#   SLUICE_TEST_RATE_ALL   of these a second (1500)
#   SLUICE_TEST_SEED       of their times (1)
#   SLUICE_TEST_FIGURES    a file that gets a line of JSON (tests/fault/report)
import collections
import contextlib
import os
import re
import sqlite3
import time

import figures
import pytest
from open_load import OpenLoad
from people import add_product, admin_of, register
from queue_client import Queue
from suite import SANITIZED, Suite, wait_for

REQUESTS = int(os.environ.get("SLUICE_TEST_REQUESTS", "5000" if SANITIZED else "50000"))
RATE = float(os.environ.get("SLUICE_TEST_RATE_ALL", "500" if SANITIZED else "1500"))
SEED = int(os.environ.get("SLUICE_TEST_SEED", "1"))
SHARES = {"me": 0.3, "product": 0.25, "search": 0.1, "order": 0.15, "nobody": 0.1, "none": 0.05, "wrong": 0.05}
CLIENTS_OWN = ("timeout", "closed", "unconnected")  # ends of attempts that are no answers
CALM_S = max(1, REQUESTS / RATE / 2)  # before the flood, and behind it
FLOOD_S = 2 if SANITIZED else max(2, CALM_S / 20)
FLOOD = 10 if SANITIZED else min(12, 18000 / RATE)  # so many times the rate: above, connections time out before they are served
CONNECTIONS = 2000
AT_ONCE = 16  # that a worker takes, and that wait for one: fewer than there are connections
STOCK = 10**9
ORDER = 1  # enum search_type
WORKERS = ("users", "orders", "search")


def counts(page, pattern):
    """{status: count} of the samples whose name matches; without a status: {"": count}."""
    found = collections.Counter()
    for name, value in page.items():
        if re.match(pattern, name):
            status = re.search(r'http_response_status_code="(\d+)"', name)
            found[status[1] if status else ""] += int(value)
    return found


class Books:
    """What each hop has counted."""

    def __init__(self, suite):
        gateway = suite.metrics("gateway-1")
        workers = [suite.metrics(name) for service in WORKERS for name in suite.instances(service)]

        def at_gateway(name):
            return sum(counts(gateway, name).values())

        def at_workers(name):
            return sum(sum(counts(page, name).values()) for page in workers)

        self.answers = counts(gateway, "http_server_request_duration_seconds_count")
        self.numbers = collections.Counter(
            {
                "sent to workers": at_gateway("sluice_gateway_admitted_total"),
                "handed back, says the gateway": at_gateway("sluice_gateway_returns_total"),
                "handed back": at_workers("sluice_worker_returned_total"),
                "worked on": at_workers("sluice_worker_request_duration_seconds_count"),
                "shed": at_gateway("sluice_gateway_shed_total"),
                "refused": sum(
                    at_gateway(f'sluice_gateway_refused_total{{reason="{reason}"')
                    for reason in ("overloaded", "unavailable", "deadline")
                ),
                "moved": at_gateway("sluice_gateway_retries_total"),
                "unknown": at_gateway("sluice_gateway_unknown_replies_total"),
                "lost": at_gateway("sluice_gateway_workers_lost_total"),
            }
        )

    def since(self, before):
        """({status: answers}, {what: count})"""
        numbers = {what: n - before.numbers[what] for what, n in self.numbers.items()}
        return self.answers - before.answers, numbers


class Load(OpenLoad):
    def __init__(self, suite, token, sku, other):
        order = '{"items": [{"sku": "%s", "quantity": 1}]}' % sku
        requests = {
            "me": f"GET /v1/users/me token={token} unlisted",
            "product": f"GET /v1/products/{sku} token={token} unlisted",
            "search": f"GET /v1/search?q={other} token={token} unlisted",
            "order": f"POST /v1/orders token={token} key body={order}",
            "nobody": "GET /v1/users/me unlisted",
            "none": f"GET /v1/products/no-such token={token} unlisted",
            "wrong": f'POST /v1/orders token={token} unlisted key body={{"items": []}}',
        }

        def rates(total):
            return {kind: round(total * share, 1) for kind, share in SHARES.items()}

        phases = [
            ("calm", CALM_S, rates(RATE)),
            ("flood", FLOOD_S, rates(FLOOD * RATE)),
            ("again", CALM_S, rates(RATE)),
        ]
        super().__init__(
            suite.port, requests, phases, connections=CONNECTIONS, timeout=20000, retries=0, seed=SEED
        )

    def read(self, lines):
        """Of the orders only the ids."""
        fields = (line.split() for line in lines)
        self.told = [row[7].rsplit("/", 1)[-1] for row in fields if row[3] == "201"]

    def planned(self):
        return sum(kind["planned"] for kinds in self.phases.values() for kind in kinds.values())

    def of(self, kind):
        """{how: count} of the attempts of a kind, in all phases."""
        found = collections.Counter()
        for kinds in self.phases.values():
            found.update(kinds[kind]["attempts"])
        return found


def placed(suite):
    """The orders that the queue has events of."""
    found, last = [], 0
    with Queue(suite.queue_endpoint) as queue:
        for event in queue.stream():
            assert event["seq"] == last + 1, "a gap"
            last += 1
            if event["topic"] == "orders.order.placed":
                found.append(event["subject"])
    return found, last


def rows(suite, service, sql, *values):
    path = suite.home / f"db/{service}/{service}.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        return [row[0] for row in db.execute(sql, values)]


def consumers(suite, name, service):
    """Of the workers of a service that take in events: the most that one has counted."""
    return max(
        sum(counts(suite.metrics(instance), name).values()) for instance in suite.instances(service)
    )


@pytest.mark.seconds(150 + 4 * CALM_S)
@pytest.mark.alone
def test_sent_is_answered_and_counted_at_every_hop():
    with Suite(
        SLUICE_SCALE_USERS=2,
        SLUICE_SCALE_ORDERS=2,
        SLUICE_SCALE_SEARCH=2,
        SLUICE_LOG_LEVEL="warn",
        SLUICE_ACCESS_LOG="false",
        SLUICE_CAPACITY=AT_ONCE,
        SLUICE_WAIT_QUEUE=AT_ONCE,
        SLUICE_MAX_CONNECTIONS_PER_ADDRESS=CONNECTIONS + 100,  # and some that look
    ) as suite:
        suite.up()
        ada = register(suite.port)
        admin = admin_of(suite)
        sku = add_product(admin, stock=STOCK)["sku"]
        other = add_product(admin)["sku"]  # that nobody orders: every order of the first has its sku in it
        wait_for(lambda: ada.get(f"/v1/search?q={other}").json()["items"], 10, "the product is in the index")
        before = Books(suite)
        with Load(suite, ada.token, sku, other) as load:
            for wait_s in (CALM_S / 2, CALM_S / 2 + FLOOD_S / 2):
                time.sleep(wait_s)
                suite.wait_replaced("queue-1", suite.kill("queue-1"), timeout=20)
            load.finish()
        answered = load.total("attempts")
        note = {
            "what": f"conservation, {load.planned()} requests, queue killed twice",
            "seed": SEED,
            "requests": load.planned(),
            "answers": dict(answered),
            "orders": len(load.told),
        }
        # The clients' own ledger: every request has one end.
        assert load.planned() == sum(answered.values()) > 0.9 * REQUESTS
        assert not any(answered[end] for end in CLIENTS_OWN), note
        assert set(load.of("nobody")) == {"401"}
        assert load.of("none")["404"] and load.of("wrong")["422"]
        # The gateway's: the same, status by status.
        wait_for(lambda: Books(suite).since(before)[0] == answered, 10, f"the gateway counts {answered}")
        _, numbers = Books(suite).since(before)
        note.update(numbers)
        # Between gateway and workers: each request that was sent was answered or handed back, to whom knew of it. What
        # was never sent the gateway answered itself.
        assert numbers["sent to workers"] == numbers["worked on"] + numbers["handed back"], note
        assert numbers["handed back, says the gateway"] == numbers["handed back"], note
        assert numbers["moved"] == numbers["unknown"] == numbers["lost"] == 0, note
        assert load.planned() == numbers["worked on"] + numbers["refused"] + answered["401"], note
        assert answered["503"] + answered["504"] == numbers["refused"], note
        assert answered["503"] >= numbers["shed"] > 0, note
        # What was done: an order for each 201, and none besides.
        told = sorted(load.told)
        assert len(told) == len(set(told)) == load.of("order")["201"]
        assert ada.get(f"/v1/products/{sku}").json()["stock"] == STOCK - len(told)
        assert sorted(rows(suite, "orders", "SELECT uuid FROM orders")) == told
        # Outbox and queue: each event of an order once.
        for service in ("users", "orders"):
            wait_for(lambda: rows(suite, service, "SELECT count(*) FROM sluice_outbox") == [0], 30, "all is told")
        events, last = placed(suite)
        assert sorted(events) == told
        # Search: it took in what the queue has, skipped nothing, and has each order once.
        wait_for(
            lambda: consumers(suite, "sluice_consumer_position", "search") == last, 60, "search has caught up"
        )
        assert consumers(suite, "sluice_consumer_skipped_total", "search") == 0
        assert sorted(rows(suite, "search", "SELECT id FROM documents WHERE type = ?", ORDER)) == told
        figures.note(note)
