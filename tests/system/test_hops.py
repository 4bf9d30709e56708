# SPDX-License-Identifier: MIT
# What docs/metrics.md says of the hops of a request and of its events: how many, how many failed and
# how long each took; and of what processes use up. Each figure moves when, and only when, that
# happens which it is about.
import os
import secrets
import signal
import sqlite3
import time

import pytest
from api import Client
from crew import Crew
from people import add_product, admin_of, fresh, register
from queue_client import ACK, Member, Queue, new_event
from suite import PATIENCE, Suite, wait_for


def place(person, product, status=201):
    answer = person.post(
        "/v1/orders",
        {"items": [{"sku": product["sku"], "quantity": 1}]},
        headers={"Idempotency-Key": f'"{secrets.token_hex(8)}"'},
    )
    assert answer.status == status, answer
    return answer


OPERATION = 'operation="placeOrder"'
FAILURES = f"sluice_worker_failures_total{{{OPERATION}}}"
STORE_FAILURES = 'sluice_store_failures_total{operation="%s"}'
CLASS = '{service="orders",class="write"}'


@pytest.fixture(scope="module")
def shop():
    """A suite of one process each, and what is needed to order something."""
    with Suite() as own:
        own.up()
        own.product = add_product(admin_of(own), stock=100000)
        own.ada = register(own.port)
        place(own.ada, own.product)
        yield own


def rest(suite):
    """Waits until nothing of the orders before is under way any more."""
    wait_for(lambda: suite.metrics("orders-1")["sluice_outbox_rows"] == 0, 5, "all is published")


def moved(suite, instance, names, action):
    """By how much each of these metrics grew, once action() is done and all of them have."""
    rest(suite)
    before = suite.metrics(instance)
    action()

    def now():
        m = suite.metrics(instance)
        grown = [m[name] - before[name] for name in names]
        return all(grown) and grown

    return wait_for(now, 5, f"{names} of {instance} grow")


class TestOfAnOrder:
    """Every hop counts the order that goes through it."""

    @pytest.mark.parametrize(
        "instance, names",
        [
            (
                "gateway-1",
                [
                    'http_server_request_duration_seconds_count{http_request_method="POST",'
                    'http_route="/v1/orders",http_response_status_code="201"}',
                    'sluice_gateway_wait_seconds_count{service="orders"}',
                    'sluice_gateway_worker_seconds_count{service="orders"}',
                ],
            ),
            (
                "orders-1",
                [
                    f"sluice_worker_request_duration_seconds_count{{{OPERATION}}}",
                    "sluice_worker_queue_seconds_count",
                    "sluice_store_write_seconds_count",
                    "sluice_store_commit_seconds_count",
                    'sluice_store_page_reads_total{found="cache"}',
                    "sluice_outbox_publish_seconds_count",
                ],
            ),
            (
                "queue-1",
                [
                    "sluice_queue_published_events_total",
                    "sluice_queue_publish_seconds_count",
                    "sluice_queue_write_duration_seconds_count",
                    "sluice_queue_fdatasync_duration_seconds_count",
                    'sluice_queue_block_reads_total{found="cache"}',
                ],
            ),
            (
                "search-1",
                [
                    'sluice_consumer_events_total{consumer="index"}',
                    'sluice_consumer_process_seconds_count{consumer="index"}',
                ],
            ),
        ],
        ids=["gateway", "worker", "queue", "consumer"],
    )
    def test_is_counted(self, shop, instance, names):
        moved(shop, instance, names, lambda: place(shop.ada, shop.product))

    def test_events_are_counted_not_batches(self, shop):
        names = ["sluice_outbox_publish_seconds_count"]
        assert moved(shop, "orders-1", names, lambda: place(shop.ada, shop.product)) == [1]

    def test_nothing_failed(self, shop):
        m = shop.metrics("orders-1")
        assert m[FAILURES] == m["sluice_store_commit_failures_total"] == 0
        assert m[STORE_FAILURES % "read"] == m[STORE_FAILURES % "write"] == 0
        failures = [v for name, v in m.items() if name.startswith("sluice_outbox_publish_failures")]
        assert len(failures) == 4 and not any(failures)
        m = shop.metrics("search-1")
        assert m['sluice_consumer_skipped_total{consumer="index"}'] == 0
        assert m['sluice_consumer_retries_total{consumer="index"}'] == 0

    def test_reads_are_counted(self, shop):
        names = ["sluice_store_read_seconds_count", 'sluice_store_page_reads_total{found="cache"}']
        grown = moved(shop, "users-1", names, lambda: shop.ada.get("/v1/users/me"))
        assert grown[0] == 1

    def test_revocations_are_consumed_too(self, shop):
        name = '{consumer="gateway"}'
        names = [f"sluice_consumer_events_total{name}", f"sluice_consumer_process_seconds_count{name}"]
        person = register(shop.port)
        moved(shop, "gateway-1", names, lambda: person.delete("/v1/sessions/current"))


def test_a_group_that_is_behind(shop):
    """Lag and age of what it has not settled, and how long its members take."""
    name = fresh("g").lower()
    group = f'{{group="{name}"}}'
    lag, oldest = f"sluice_queue_group_lag_events{group}", f"sluice_queue_group_oldest_event_seconds{group}"
    settled = f"sluice_queue_group_settle_seconds_count{group}"
    with Queue(shop.queue_endpoint) as queue:
        queue.call("group-set", {"group": name, "filters": [f"t.{name}"], "from": "start"})
        queue.publish([new_event(f"t.{name}", number) for number in range(3)])
        # Nothing is wanted of what was there before, but nobody has looked yet.
        wait_for(lambda: shop.metrics("queue-1")[lag] >= 3, 5, "they are behind")
        wait_for(lambda: shop.metrics("queue-1")[oldest] >= 1, 5, "and older every second")
        assert shop.metrics("queue-1")[settled] == 0
        with Member(shop.queue_endpoint, name) as member:
            member.settle(member.take(3), ACK)
            wait_for(lambda: shop.metrics("queue-1")[lag] == 0, 5, "all is settled")
            m = shop.metrics("queue-1")
            assert m[oldest] == 0 and 1 <= m[settled] <= 3  # ranges, which may be one
        queue.call("group-delete", group=name)


def orders(person, product, count):
    """Jobs that place an order each, by a connection of its own."""
    return [lambda: place(Client(person.port, person.token), product)] * count


def held(suite):
    """The file of the orders, as somebody else writes to it."""
    other = sqlite3.connect(suite.home / "db/orders/orders.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.mark.alone
class TestFaults:
    def test_a_store_that_cannot_be_written_to(self, shop):
        """The request fails after the two seconds that a lock is waited for, at each hop."""
        names = [FAILURES, STORE_FAILURES % "write", "sluice_store_commit_failures_total"]
        other = held(shop)

        def fail():
            assert place(shop.ada, shop.product, 503).slug == "store-unavailable"
            other.execute("ROLLBACK")
            other.close()

        grown = moved(shop, "orders-1", names, fail)
        assert grown[:2] == [1, 1] and grown[2] >= 1  # deleting from the outbox may have failed, too
        place(shop.ada, shop.product)  # and that was all

    def test_credit_is_used_and_given_back(self, shop):
        flying, free = f"sluice_gateway_in_flight{CLASS}", f"sluice_gateway_credit_free{CLASS}"

        def credit():
            m = shop.metrics("gateway-1")
            return m[flying], m[free]

        at_rest = wait_for(lambda: credit()[0] == 0 and credit(), 5, "nothing is under way")
        assert at_rest[1] > 3
        other = held(shop)
        with Crew(*orders(shop.ada, shop.product, 3)):
            try:
                wait_for(lambda: credit() == (3, at_rest[1] - 3), 1.5, "three are under way")
            finally:
                other.execute("ROLLBACK")
                other.close()
        wait_for(lambda: credit()[0] == 0, 5, "nothing is under way")

    def test_a_queue_that_does_not_answer(self, shop):
        """What the outbox publishes takes as long as the queue is away, and is no failure."""
        fast, count = (
            'sluice_outbox_publish_seconds_bucket{le="0.25"}',
            "sluice_outbox_publish_seconds_count",
        )
        rest(shop)
        before = shop.metrics("orders-1")
        pid = shop.pid("queue-1")
        os.kill(pid, signal.SIGSTOP)
        try:
            place(shop.ada, shop.product)
            wait_for(
                lambda: shop.metrics("orders-1")["sluice_outbox_oldest_seconds"] >= 1, 5, "it waits"
            )
            assert shop.metrics("orders-1")[count] == before[count]
        finally:
            os.kill(pid, signal.SIGCONT)

        def slow_ones():
            m = shop.metrics("orders-1")
            return (m[count] - m[fast]) - (before[count] - before[fast])

        wait_for(slow_ones, 10, "it is published")

    def test_the_wal_grows_and_its_size_is_told(self, shop):
        """A reader that stays keeps the WAL from being begun anew."""
        path = shop.home / "db/orders/orders.db"
        wal, size = path.with_name("orders.db-wal"), "sluice_store_wal_bytes"
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM orders").fetchall()
        before = shop.metrics("orders-1")[size]

        def grows():  # not at once, where it is begun anew
            place(shop.ada, shop.product)
            return shop.metrics("orders-1")[size] > before

        wait_for(grows, 20, "it grows")
        rest(shop)
        wait_for(lambda: shop.metrics("orders-1")[size] == wal.stat().st_size, 5, "its size is told")
        reader.close()


@pytest.mark.alone
def test_waiting_for_a_worker(own_suite):
    """With less credit than there are requests, the rest waits at the gateway."""
    own_suite.environment |= {"SLUICE_CAPACITY": "4", "SLUICE_OVERLOAD_WAIT": "10s"}
    own_suite.up()
    product = add_product(admin_of(own_suite))
    ada = register(own_suite.port)
    place(ada, product)
    waited, count = "sluice_gateway_waited_total", 'sluice_gateway_wait_seconds_count{service="orders"}'
    waiting = 'sluice_gateway_waiting{service="orders"}'
    before = own_suite.metrics("gateway-1")
    free = before[f"sluice_gateway_credit_free{CLASS}"]
    assert 1 <= free <= 4
    other = held(own_suite)
    with Crew(*orders(ada, product, int(free) + 2)):
        try:
            wait_for(lambda: own_suite.metrics("gateway-1")[waiting] == 2, 1.5 * PATIENCE, "two wait")
            assert own_suite.metrics("gateway-1")[f"sluice_gateway_credit_free{CLASS}"] == 0
            time.sleep(0.02)  # all this may have taken less than the bucket below
        finally:
            other.execute("ROLLBACK")
            other.close()
    after = own_suite.metrics("gateway-1")
    assert after[waited] - before[waited] == 2
    assert after[count] - before[count] == free + 2  # those that did not wait for long, too
    slow = 'sluice_gateway_wait_seconds_bucket{service="orders",le="0.01"}'
    assert (after[count] - after[slow]) - (before[count] - before[slow]) >= 2
