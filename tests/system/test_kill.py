# SPDX-License-Identifier: MIT
# kill -9 of each process in turn, under load, many times each (SLUICE_TEST_KILLS, 20 if not set):
# no acknowledged write is lost, no event is missing or stored twice, and the suite heals by itself
# within 2 s, not counted what the supervisor waits after several kills in a row.
import collections
import os
import time

import pytest
from api import Client
from load import Load, check
from people import add_product, admin_of, register
from queue_client import Queue
from suite import PATIENCE, SERVICES, Suite, wait_for

KILLS = int(os.environ.get("SLUICE_TEST_KILLS", "20"))
HEAL_S = 2
FREE_KILLS = 3  # the back-off of the first ones is short
BACKOFF_S = 1  # BACKOFF_MAX_READY_MS
STOCK = 1_000_000


def serves(suite, token):
    """Whether each service answers on new connections, its writer included."""
    try:
        client = Client(suite.port, token)
        reads = [
            client.get(path).status for path in ("/v1/users/me", "/v1/products", "/v1/search?q=x")
        ]
        # Refused by the writer itself: it is there.
        writes = [
            client.post("/v1/sessions/refresh", {"refresh_token": "none"}).status,
            client.order({"none-such": 1}).status,
        ]
        client.close()
    except OSError:
        return False
    return reads == [200] * 3 and writes == [401, 422]


def heals(suite, token, instance, pid):
    """Seconds from the kill until everything serves and the process was replaced."""
    begin = time.monotonic()

    def healed():
        entry = suite.instances().get(instance)
        return (
            entry
            and entry["pid"] not in (0, pid)
            and entry["state"] == "ready"
            and serves(suite, token)
        )

    wait_for(healed, 3 * HEAL_S, f"the suite heals after {instance} was killed")
    return time.monotonic() - begin


@pytest.mark.seconds(60 + 10 * KILLS)
@pytest.mark.parametrize("service", SERVICES)
def test_kill_under_load(service):
    with Suite(SLUICE_SCALE_USERS=2, SLUICE_SCALE_ORDERS=2, SLUICE_SCALE_SEARCH=2) as suite:
        suite.up()
        admin = admin_of(suite)
        people = [register(suite.port, f"Load {n}") for n in range(4)]
        skus = [add_product(admin, stock=STOCK, name="Load")["sku"] for _ in range(3)]
        times = []
        with Load(suite, admin, people, skus) as load:
            for number in range(KILLS):
                settled = len(load.orders) + 50
                wait_for(lambda: len(load.orders) > settled, 10, "orders flow")
                instances = sorted(suite.instances(service))
                instance = instances[number % len(instances)]
                pid = suite.kill(instance)
                times.append(heals(suite, people[0].token, instance, pid))
        print(
            f"{service}: healed in {max(times):.2f} s at most, {len(load.orders)} orders, "
            f"{dict(load.counts)}, {len(load.failed_reads)} failed reads"
        )
        with Queue(suite.queue_endpoint) as queue:
            check(load, queue, STOCK)
        assert max(times[:FREE_KILLS]) < HEAL_S * PATIENCE
        assert max(times) < HEAL_S * PATIENCE + BACKOFF_S
        if service in ("users", "orders", "search"):
            assert not load.failed_reads, "safe requests must be answered by the other worker"
        if service == "queue":
            assert not load.counts["cut"]
            why = [(answer, suite.access_of(answer)) for answer in load.unclear[:8]]
            assert not why, "the queue being away must not fail anybody's request"


def test_writes_without_a_key_are_told_the_truth():
    """What the lost worker may have done is answered with 502 outcome-unknown, never repeated."""
    with Suite() as suite:
        suite.up()
        admin = admin_of(suite)
        answers, created = collections.Counter(), 0
        client = Client(suite.port, admin.token)
        pid = suite.pid("orders-1")
        for number in range(400):
            if number == 100:
                suite.kill("orders-1")
            answer = client.post(
                "/v1/products",
                {
                    "sku": f"truth-{number}",
                    "name": "x",
                    "description": "",
                    "stock": 0,
                    "price": {"amount": 1, "currency": "EUR"},
                },
            )
            answers[answer.status, answer.slug] += 1
            created += answer.status == 201
            assert answer.status == 201 or answer.slug in (
                "outcome-unknown",
                "unavailable",
                "store-unavailable",
            ), answer
        suite.wait_replaced("orders-1", pid)
        listed = [
            p for p in admin.pages("/v1/products", limit=100) if p["sku"].startswith("truth-")
        ]
        unknown = sum(count for (status, _), count in answers.items() if status == 502)
        assert created <= len(listed) <= created + unknown
        assert unknown <= 1  # one connection has one request under way


def test_supervisor_killed():
    """Its processes end in good order, and the next one starts on what they left."""
    with Suite() as suite:
        suite.up()
        admin = admin_of(suite)
        sku = add_product(admin)["sku"]
        suite.supervisor.kill()
        suite.supervisor.wait()
        suite.up()
        assert admin.get(f"/v1/products/{sku}").status == 200
