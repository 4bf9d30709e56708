# SPDX-License-Identifier: MIT
# Scaling and restarting while clients are at work: no request fails, none waits long. And what was
# stored is there after a stop and a start.
import threading
import time

import pytest
from api import Client
from people import add_product, admin_of, register
from queue_client import Queue
from suite import PATIENCE, Suite, run, wait_for
from traffic import Traffic


@pytest.fixture(scope="module")
def suite():
    with Suite() as own:
        yield own.up()


@pytest.fixture(scope="module")
def admin(suite):
    return admin_of(suite)


def test_up_and_down_while_load_runs(suite, admin):
    with Traffic(suite, admin) as traffic:
        for counts in (
            {"users": 3},
            {"orders": 3, "search": 2},
            {"users": 1},
            {"orders": 1},
            {"search": 1},
            {"users": 2},
            {"gateway": 2},
            {"gateway": 1},
            {"users": 1},
        ):
            suite.scale(**counts)
            for service, count in counts.items():
                assert len(suite.instances(service)) == count
            time.sleep(0.2)  # traffic in between
    assert not traffic.failures, traffic.failures[:5]
    assert traffic.count > 500 and traffic.slowest < 2 * PATIENCE, (traffic.count, traffic.slowest)


@pytest.mark.parametrize("service", ["users", "orders", "search", "gateway", "queue"])
def test_rolling_restart_while_load_runs(suite, admin, service):
    suite.scale(users=2, orders=2, search=2)
    pids = {name: entry["pid"] for name, entry in suite.instances(service).items()}
    with Traffic(suite, admin) as traffic:
        result = run("sluice", "restart", service, env=suite.env)
        assert result.returncode == 0, result.stderr
    after = {name: entry["pid"] for name, entry in suite.instances(service).items()}
    assert set(after) == set(pids) and not set(after.values()) & set(pids.values())
    assert not traffic.failures, traffic.failures[:5]
    assert traffic.slowest < 2 * PATIENCE


def test_commands_that_are_wrong(suite):
    for arguments, word in (
        (["scale"], "SERVICE=N"),
        (["scale", "users"], "SERVICE=N"),
        (["scale", "users=x"], "users"),
        (["scale", "users=65"], "64"),
        (["scale", "queue=2"], "queue"),
        (["scale", "cats=1"], "cats"),
        (["restart", "cats"], "cats"),
        (["dance"], "dance"),
        (["status", "-o", "xml"], "xml"),
    ):
        result = run("sluice", *arguments, env=suite.env)
        assert (
            result.returncode == 64
            and len(result.stderr.splitlines()) == 1
            and word in result.stderr
        ), result


def test_status(suite):
    suite.scale(users=1, orders=1, search=1)
    result = run("sluice", "status", env=suite.env)
    assert result.returncode == 0
    for name in ("queue-1", "users-1", "orders-1", "search-1", "gateway-1", suite.url):
        assert name in result.stdout
    result = run("sluice", "status", "--home", "/tmp/sl-none", env=suite.env)
    assert result.returncode == 3 and "nothing" in (result.stdout + result.stderr)


def test_second_supervisor_is_refused(suite):
    result = run("sluice", "up", env=suite.env)
    assert result.returncode != 0 and len(result.stderr.splitlines()) == 1
    assert "already running" in result.stderr and str(suite.supervisor.pid) in result.stderr
    assert suite.is_ready()


class TestPersistence:
    def test_everything_is_there_after_a_stop(self):
        with Suite() as suite:
            suite.up()
            admin = admin_of(suite)
            ada = register(suite.port)
            product = add_product(admin, stock=7)
            order = ada.order({product["sku"]: 2}, key='"persistent"').json()
            assert ada.post(f"/v1/orders/{order['id']}/pay").status == 200
            with Queue(suite.queue_endpoint) as queue:
                queue.wait(lambda f: order["id"] in [e["subject"] for e in f], "orders.order.paid")
                before = queue.read()
            password = suite.secret("admin-password")
            for _ in range(2):
                suite.down()
                suite.up()
                assert suite.started_s < 1.0 * PATIENCE, "a second start is ready within a second"
                assert suite.secret("admin-password") == password
                assert (
                    ada.get("/v1/users/me").status == 200
                )  # the token is still good: the key stayed
                assert ada.get(f"/v1/orders/{order['id']}").json()["status"] == "paid"
                assert admin.get(f"/v1/products/{product['sku']}").json()["stock"] == 5
                assert (
                    ada.order({product["sku"]: 2}, key='"persistent"').json()["id"] == order["id"]
                )
                wait_for(
                    lambda: product["sku"]
                    in [
                        hit["id"]
                        for hit in ada.get("/v1/search", query={"q": product["sku"]}).json()[
                            "items"
                        ]
                    ],
                    2,
                    "the product is found",
                )
                with Queue(suite.queue_endpoint) as queue:
                    assert queue.read()[: len(before)] == before
                    more = queue.read()[len(before) :]
                    assert not [e for e in more if e["subject"] in (product["sku"], order["id"])]

    def test_revoked_stays_revoked(self):
        with Suite() as suite:
            suite.up()
            ada = register(suite.port)
            assert ada.delete("/v1/sessions/current").status == 204
            wait_for(lambda: ada.get("/v1/users/me").status == 401, 2, "the token is refused")
            suite.down()
            suite.up()
            wait_for(lambda: ada.get("/v1/users/me").status == 401, 2, "the token is still refused")

    def test_ready_means_ready(self):
        """Whoever comes right after `sluice up` said so is served, by every service."""
        with Suite() as suite:
            for _ in range(5):
                suite.up()
                client = Client(suite.port)
                paths = ("/readyz", "/v1/products", "/v1/search?q=x", "/v1/users/me")
                assert [client.get(path).status for path in paths] == [200, 200, 200, 401]
                suite.down()

    def test_drains(self):
        """SIGTERM while requests run: those that were accepted are answered."""
        with Suite() as suite:
            suite.up()
            admin = admin_of(suite)
            ada = register(suite.port)
            sku = add_product(admin, stock=100_000)["sku"]
            acknowledged, ended = [], []

            def buy():
                client = Client(suite.port, ada.token)
                try:
                    while True:
                        answer = client.order({sku: 1})
                        if answer.status != 201:
                            ended.append(repr(answer))
                            return
                        acknowledged.append(answer.json()["id"])
                except Exception as problem:
                    ended.append(type(problem).__name__)

            threads = [threading.Thread(target=buy) for _ in range(4)]
            for thread in threads:
                thread.start()
            wait_for(lambda: len(acknowledged) > 100, 10, "orders flow")
            suite.down()
            for thread in threads:
                thread.join()
            # Whoever comes too late is not let in, and whoever was let in has an answer.
            assert set(ended) <= {"ConnectionRefusedError", "ConnectionResetError"}, ended
            suite.up()
            assert {o["id"] for o in ada.pages("/v1/orders", limit=100)} == set(acknowledged)
