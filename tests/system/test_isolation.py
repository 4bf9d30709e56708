# SPDX-License-Identifier: MIT
# A part that is down takes nothing else with it. Down is brought about by SIGSTOP (a process that
# is there but dead to the world) and by scaling to nothing.
import contextlib
import os
import signal
import time

import pytest
from api import Client
from people import add_product, admin_of, fresh, register
from queue_client import Queue
from suite import PATIENCE, Suite, wait_for


@pytest.fixture(scope="module")
def suite():
    with Suite(SLUICE_SCALE_USERS=2, SLUICE_SCALE_ORDERS=2) as own:
        yield own.up()


@pytest.fixture(scope="module")
def admin(suite):
    return admin_of(suite)


@pytest.fixture(scope="module")
def ada(suite):
    return register(suite.port, "Ada")


@contextlib.contextmanager
def stopped(suite, instance):
    pid = suite.pid(instance)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def used(suite, admin, ada):
    """What users and orders do every day; returns the ids whose events must come."""
    eve = register(suite.port)
    sku = add_product(admin)["sku"]
    order = ada.order({sku: 1})
    assert order.status == 201, order
    assert ada.post(f"/v1/orders/{order.json()['id']}/pay").status == 200
    assert ada.get("/v1/orders").status == 200
    return eve.id, sku, order.json()["id"]


def timed(request):
    begin = time.monotonic()
    answer = request()
    return answer, time.monotonic() - begin


class TestQueueDown:
    def test_users_and_orders_go_on_and_events_follow(self, suite, admin, ada):
        with stopped(suite, "queue-1"):
            time_limit = time.monotonic() + 3
            wanted = []
            while time.monotonic() < time_limit:
                wanted.append(used(suite, admin, ada))
            assert suite.instances()["users-1"]["state"] == "ready"
        expected = {
            (topic, subject)
            for user, sku, order in wanted
            for topic, subject in (
                ("users.user.created", user),
                ("orders.product.created", sku),
                ("orders.order.placed", order),
                ("orders.order.paid", order),
            )
        }
        with Queue(suite.queue_endpoint) as queue:
            found = queue.wait(
                lambda f: expected <= {(e["topic"], e["subject"]) for e in f}, timeout_s=10
            )
        happened = [(e["topic"], e["subject"]) for e in found]
        assert all(happened.count(event) == 1 for event in expected)

    def test_outbox_shows_in_the_metrics(self, suite, admin, ada):
        def waiting():
            return sum(
                suite.metrics(instance)["sluice_outbox_rows"]
                for instance in suite.instances("orders")
            )

        with stopped(suite, "queue-1"):
            used(suite, admin, ada)
            assert waiting() >= 3
        wait_for(lambda: waiting() == 0, 10, "the outbox is empty again")


def finds(client, q, wanted):
    answer = client.get("/v1/search", query={"q": q})
    return answer.status == 200 and wanted in [hit["id"] for hit in answer.json()["items"]]


class TestSearchDown:
    def test_only_search_is_affected(self, suite, admin, ada):
        suite.scale(search=0)
        try:
            client = Client(suite.port, ada.token)
            wanted = used(suite, admin, ada)
            answer, seconds = timed(lambda: client.get("/v1/search?q=x"))
            assert (answer.status, answer.slug) in (
                (503, "unavailable"),
                (504, "deadline-exceeded"),
            ), answer
            assert seconds < 5.5
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) >= 1
            assert (
                client.get("/readyz").status == 200
            )  # users and orders are still worth coming for
            used(suite, admin, ada)
        finally:
            suite.scale(search=1)
        wait_for(lambda: finds(ada, wanted[1], wanted[1]), 5, "search has caught up")

    def test_index_is_rebuilt_from_the_events(self, suite, admin, ada):
        word = "w" + fresh("x").rsplit("-", 1)[-1]
        sku = add_product(admin, name=f"Rebuilt {word}")["sku"]
        wait_for(lambda: finds(ada, word, sku), 2, "the product is found")
        suite.scale(search=0)
        for path in (suite.home / "db/search").glob("search.db*"):
            path.unlink()
        suite.scale(search=1)
        wait_for(lambda: finds(ada, word, sku), 10, "the index was built anew")


class TestStuckWorker:
    def test_reads_are_answered_by_the_other_one(self, suite, ada):
        """A stopped worker stops answering pings; only requests that it has may wait for it."""
        sku = ada.get("/v1/products").json()["items"][0]["sku"]
        with stopped(suite, "orders-2" if role(suite, "orders-2") == "reader" else "orders-1"):
            statuses = [timed(lambda: ada.get(f"/v1/products/{sku}")) for _ in range(50)]
        assert [answer.status for answer, _ in statuses] == [200] * 50
        assert max(seconds for _, seconds in statuses) < 2 * PATIENCE

    def test_writes_get_a_truthful_answer_within_their_deadline(self, suite, ada, admin):
        sku = add_product(admin)["sku"]
        writer = "orders-1" if role(suite, "orders-1") == "writer" else "orders-2"
        with stopped(suite, writer):
            answer, seconds = timed(lambda: ada.order({sku: 1}))
            assert answer.status in (502, 503, 504) and answer.slug, answer
            assert seconds < 5.5
        wait_for(lambda: ada.order({sku: 1}).status == 201, 5, "orders are taken again")


def role(suite, instance):
    metric = next(
        (value for name, value in suite.metrics(instance).items() if "writer" in name), None
    )
    return "writer" if metric else "reader"


class TestGateways:
    def test_second_gateway_serves_the_same(self, suite, admin, ada):
        """Behind one port: the listening socket is shared."""
        suite.scale(gateway=2)
        try:
            seen = set()

            def both_answer():
                for _ in range(20):
                    client = Client(suite.port, ada.token)
                    assert client.get("/v1/users/me").status == 200
                    client.close()
                seen.update(
                    name
                    for name in suite.instances("gateway")
                    if any(
                        value
                        for metric, value in suite.metrics(name).items()
                        if metric.startswith("http_server_request_duration_seconds_count")
                    )
                )
                return len(seen) == 2

            wait_for(both_answer, 10, "both gateways answer")
            used(suite, admin, ada)
        finally:
            suite.scale(gateway=1)
        assert Client(suite.port, ada.token).get("/v1/users/me").status == 200
