# SPDX-License-Identifier: MIT
# Stores on a disk that fails: what was acknowledged is there, what was not is answered truthfully,
# and nothing is there by half. The worker under test is started by the test itself, beside a suite
# that runs without it.
import contextlib
import os
import shutil
import subprocess

import pytest
from api import new_key
from people import add_product, admin_of, register
from queue_client import Queue
from suite import BUILD, PATIENCE, SANITIZED, Suite, new_home, wait_for

FAIL_SYNC = BUILD / "fail_sync.so"
REFUSED = ("store-unavailable", "outcome-unknown", "unavailable", "deadline-exceeded")


@contextlib.contextmanager
def worker(suite, service, **environment):
    """One worker process of the test's own."""
    env = {
        **suite.env,
        "SLUICE_INSTANCE": f"{service}-own",
        "SLUICE_LOG_FORMAT": "json",
        **environment,
    }
    with open(suite.log_path, "ab") as log:
        process = subprocess.Popen(
            [BUILD / f"sluice-{service}"], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20 * PATIENCE)


def serves_orders(client):
    return client.order({"none-such": 1}).status == 422  # refused by the writer itself


@pytest.fixture
def suite():
    """All but orders."""
    with Suite(SLUICE_SCALE_ORDERS=0) as own:
        yield own.up()


class Shop:
    """A buyer who writes down what was answered."""

    def __init__(self, suite):
        self.suite = suite
        self.ada = register(suite.port)
        self.acknowledged = {}  # order id: order
        self.unclear = []  # keys whose answer was no 201

    def buy(self, sku):
        key = new_key()
        answer = self.ada.order({sku: 1}, key=key)
        if answer.status == 201:
            self.acknowledged[answer.json()["id"]] = answer.json()
        else:
            assert answer.slug in REFUSED, answer
            self.unclear.append(key)
        return answer

    def check(self, sku, stock):
        """After the fault: all is there; asking again for what was unclear makes one order each."""
        for order_id, order in self.acknowledged.items():
            assert self.ada.get(f"/v1/orders/{order_id}").json() == order
        for key in self.unclear:
            answer = self.ada.order({sku: 1}, key=key)
            assert answer.status == 201, answer
            self.acknowledged[answer.json()["id"]] = answer.json()
        listed = {order["id"] for order in self.ada.pages("/v1/orders", limit=100)}
        assert listed == set(self.acknowledged)
        assert self.ada.get(f"/v1/products/{sku}").json()["stock"] == stock - len(listed)
        with Queue(self.suite.queue_endpoint) as queue:
            found = queue.wait(lambda f: len(f) >= len(listed), "orders.order.placed", timeout_s=10)
        assert sorted(e["subject"] for e in found) == sorted(listed)


@pytest.mark.skipif(SANITIZED, reason="a preloaded library and a sanitizer exclude each other")
@pytest.mark.parametrize("number", [25, 26, 40])
def test_failed_sync_is_never_acknowledged(suite, number):
    """One fdatasync fails: the store goes out of service at once, and the sync is not repeated."""
    assert FAIL_SYNC.exists()
    shop = Shop(suite)
    with worker(suite, "orders") as process:
        wait_for(lambda: serves_orders(shop.ada), 10, "orders are served")
        sku = add_product(admin_of(suite), stock=1000)["sku"]
    assert process.returncode == 0
    with worker(suite, "orders", LD_PRELOAD=str(FAIL_SYNC), FAIL_SYNC_AT=str(number)) as process:
        wait_for(
            lambda: serves_orders(shop.ada) or process.poll() is not None, 10, "orders are served"
        )
        for _ in range(60):
            if shop.buy(sku).status != 201:
                break
        assert shop.unclear and process.wait(15 * PATIENCE) != 0, "the failed sync was not noticed"
        assert "nput/output error" in suite.log()
    with worker(suite, "orders"):
        wait_for(lambda: serves_orders(shop.ada), 10, "orders are served again")
        shop.check(sku, 1000)


@pytest.fixture
def small_disk(suite):
    """A home for the worker under test on a disk of 6 MiB, with the suite's keys."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    home = new_home()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "sluice-test", home],
        capture_output=True,
        text=True,
    )
    if mount.returncode:
        pytest.skip(f"mounting a small disk is not possible here: {mount.stderr.strip()}")
    shutil.copytree(suite.home / "secrets", home / "secrets")
    yield home
    subprocess.run(["umount", "-l", home], check=True)
    home.rmdir()


def fill(path):
    """Takes all the room that is left."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, b"x" * 4096)
    os.close(descriptor)


def test_full_disk(suite, small_disk):
    """No room: writes are refused, reads go on, and when there is room again so do writes."""
    shop = Shop(suite)
    where = {
        "SLUICE_HOME": str(small_disk),
        "SLUICE_QUEUE": suite.queue_endpoint,
        "SLUICE_GATEWAYS": f"ipc://{suite.home}/run/gateway/*.sock",
    }
    with worker(suite, "orders", **where) as process:
        wait_for(lambda: serves_orders(shop.ada), 10, "orders are served")
        sku = add_product(admin_of(suite), stock=10_000)["sku"]
        assert shop.buy(sku).status == 201
        ballast = small_disk / "ballast"
        fill(ballast)
        for _ in range(300):
            answer = shop.buy(sku)
            if answer.status != 201:
                break
        assert (answer.status, answer.slug) == (503, "store-unavailable"), answer
        assert shop.ada.get(f"/v1/products/{sku}").status == 200
        assert process.poll() is None, "a full disk is no reason to stop"
        ballast.unlink()
        wait_for(lambda: serves_orders(shop.ada), 10, "there is room again")
        shop.check(sku, 10_000)
