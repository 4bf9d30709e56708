# SPDX-License-Identifier: MIT
# What is away or full hinders those who need it, and nobody else; and what was waiting for it
# happens once it is back. docs/degradation.md has the table that this tries.
import contextlib
import json
import os
import shutil
import subprocess
import time

import pytest
from crew import Crew
from hang import HANG, Control
from people import add_product, admin_of, register
from queue_client import Queue, Refused, new_event
from suite import PATIENCE, SANITIZED, Suite, firing, new_home, run, wait_for


def is_written(client):
    """Whether the orders' writer answers: it refuses this itself."""
    return client.order({"none-such": 1}).status == 422


def wait_until_found(client, name):
    wait_for(
        lambda: client.get("/v1/search", query={"q": name}).json().get("items"), 10, "it is found"
    )


def test_queue_away_and_the_outbox_full():
    """Users and orders go on without a queue, up to the outbox's limit; then all is delivered once."""
    with Suite(SLUICE_OUTBOX_MAX_ROWS=20, SLUICE_SURVEY_INTERVAL="200ms") as suite:
        suite.up()
        admin, ada = admin_of(suite), register(suite.port)
        sku = add_product(admin, stock=1000)["sku"]
        queue_pid = suite.pid("queue-1")
        os.kill(queue_pid, 19)  # SIGSTOP: nobody starts another one
        try:
            placed = []
            answer = ada.order({sku: 1})
            while answer.status == 201 and len(placed) < 100:
                placed.append(answer.json()["id"])
                answer = ada.order({sku: 1})
            assert (answer.status, answer.slug) == (503, "outbox-full"), answer
            assert answer.headers["Retry-After"] == "5"
            assert 15 <= len(placed) <= 20
            assert ada.patch(f"/v1/users/{ada.id}", {"name": "New"}, if_match="*").status == 200
            assert ada.get("/v1/orders").status == 200
            assert ada.get(f"/v1/products/{sku}").json()["stock"] == 1000 - len(placed)
            values = suite.metrics("orders-1")
            assert values["sluice_outbox_max_rows"] == 20
            assert values["sluice_outbox_refused_total"] >= 1
            assert values["sluice_outbox_rows"] >= 15
            assert suite.admin_page("orders-1", "/readyz")[0] == 200
            woken = {("SluiceOutboxFills", "orders-1")}
            wait_for(lambda: woken <= firing(suite), 10, "somebody is woken up")
        finally:
            os.kill(queue_pid, 18)  # SIGCONT

        def accepted():
            answer = ada.order({sku: 1})
            if answer.status == 201:
                placed.append(answer.json()["id"])
            return answer.status == 201

        wait_for(accepted, 20, "there is room in the outbox")
        with Queue(suite.queue_endpoint) as queue:
            found = queue.wait(
                lambda f: len(f) >= len(placed), "orders.order.placed", timeout_s=20 * PATIENCE
            )
        assert [e["subject"] for e in found] == placed
        wait_for(lambda: not woken & firing(suite), 10, "the alert ends")


@contextlib.contextmanager
def disk_at(name, size):
    """A home of which a directory is a disk of that size of its own."""
    home = new_home()
    place = home / name
    place.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "sluice-test", place],
        capture_output=True,
    )
    if mounted.returncode:
        shutil.rmtree(home)
        pytest.skip("mounting a small disk is not possible here")
    try:
        yield home
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        shutil.rmtree(home, ignore_errors=True)


def test_queue_without_room():
    """Its disk is full: users and orders go on, and their events are delivered, once and in order, when there is
    room again."""
    with disk_at("queue", "3m") as home, Suite(home=home, SLUICE_QUEUE_SEGMENT_BYTES="1MiB") as suite:
        suite.up()
        admin, ada = admin_of(suite), register(suite.port)
        sku = add_product(admin, stock=1000)["sku"]
        wait_for(lambda: suite.metrics("orders-1")["sluice_outbox_rows"] == 0, 10, "all events are delivered")
        ballast = home / "queue/ballast"
        fill(ballast)
        pids = {name: entry["pid"] for name, entry in suite.instances().items()}
        with Queue(suite.queue_endpoint) as queue, pytest.raises(Refused, match="disk-full"):
            for _ in range(2000):  # what was preallocated takes some yet
                queue.publish([new_event("fault.test", b"x" * 1000) for _ in range(50)])
        placed = [ada.order({sku: 1}) for _ in range(10)]
        assert [answer.status for answer in placed] == [201] * 10
        renamed = ada.patch(f"/v1/users/{ada.id}", {"name": "New"}, if_match="*")
        assert renamed.status == 200
        assert suite.metrics("orders-1")["sluice_outbox_rows"] == 10
        assert suite.metrics("users-1")["sluice_outbox_rows"] == 1
        for instance in ("users-1", "orders-1", "search-1", "gateway-1"):
            assert suite.admin_page(instance, "/readyz")[0] == 200, instance
        ballast.unlink()
        wait_for(lambda: suite.metrics("orders-1")["sluice_outbox_rows"] == 0, 20, "they are delivered")
        wait_for(lambda: suite.metrics("users-1")["sluice_outbox_rows"] == 0, 20, "they are delivered")
        with Queue(suite.queue_endpoint) as queue:
            events = queue.read("orders.order.placed")
            changes = queue.read("users.user.updated")
        assert [e["subject"] for e in events] == [answer.json()["id"] for answer in placed]
        assert [(e["subject"], e["data"]["name"]) for e in changes] == [(ada.id, "New")]
        assert {name: entry["pid"] for name, entry in suite.instances().items()} == pids


def test_one_service_away():
    """Search away: only search says so. Users away: whoever has a token goes on."""
    with Suite() as suite:
        suite.up()
        admin, ada = admin_of(suite), register(suite.port)
        sku = add_product(admin, stock=10, name="Lamp")["sku"]
        suite.scale(search=0)
        assert ada.get("/v1/search", query={"q": "lamp"}).status == 503
        assert ada.get("/v1/users/me").status == 200
        assert ada.order({sku: 1}).status == 201
        add_product(admin, name="Wardrobe")
        suite.scale(search=1, users=0)
        assert ada.get("/v1/users/me").slug == "unavailable"
        assert ada.order({sku: 1}).status == 201
        wait_until_found(ada, "wardrobe")  # made while there was no search


def behind_s(suite):
    return next(
        value
        for name, value in suite.metrics("search-1").items()
        if name.startswith("sluice_consumer_behind_seconds")
    )


@pytest.mark.skipif(SANITIZED, reason="a preloaded library and a sanitizer exclude each other")
def test_search_behind(tmp_path):
    """It takes in events more slowly than they come: a metric says so, it answers with what it has, nobody else
    notices, and it catches up."""
    control = Control(tmp_path / "control")
    with Suite(
        LD_PRELOAD=HANG, HANG_PROGRAM="sluice-search", HANG_CONTROL=tmp_path / "control", SLUICE_WATCHDOG="0s"
    ) as suite:
        suite.up()
        admin, ada = admin_of(suite), register(suite.port)
        sku = add_product(admin, stock=1000, name="Lamp")["sku"]
        wait_until_found(ada, "lamp")
        pid = suite.pid("search-1")
        control.arm("statement", pid)

        def creep():  # a statement each 5 ms
            while not crew.ending.wait(0.005):
                if control.hung:
                    control.arm("statement", pid)

        crew = Crew(creep)
        with crew:
            behind, number = 0, 0
            begin = time.monotonic()
            while behind < 1:
                assert time.monotonic() - begin < 20 * PATIENCE, "it is not behind"
                number += 1
                add_product(admin, name=f"Wardrobe {number}")
                assert ada.order({sku: 1}).status == 201
                assert ada.get("/v1/users/me").status == 200
                found = ada.get("/v1/search", query={"q": "lamp"})
                assert found.status == 200 and found.json()["items"]
                behind = behind_s(suite)
            assert ada.get("/v1/search", query={"q": f"wardrobe {number}"}).json()["items"] == []
            assert suite.admin_page("search-1", "/readyz")[0] == 200
        control.release()
        wait_until_found(ada, f"wardrobe {number}")
        wait_for(lambda: behind_s(suite) == 0, 10, "it says so")


@pytest.fixture
def small_disk():
    """A home of which db/orders is on a disk of 6 MiB."""
    with disk_at("db/orders", "6m") as home:
        yield home


def test_read_only_store(small_disk):
    """Found at the start: only that service says so, and is well as soon as its store can be written to."""
    place = small_disk / "db/orders"
    with Suite(home=small_disk) as suite:
        suite.up()
        ada = register(suite.port)
        sku = add_product(admin_of(suite), stock=10)["sku"]
        suite.scale(orders=0)
        suite.expect_death("orders-1")  # SQLite keeps what it shares in a process read-only for as long as that lives
        # Root may write to whatever its mode is, but not to a disk that is mounted so.
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        try:
            with pytest.raises(TimeoutError):  # it waits for orders to be ready
                suite.control({"command": "scale", "services": {"orders": 1}}, timeout=0.5)
            wait_for(lambda: not_ready(suite, "orders-1", "cannot be written to"), 10, "orders says why")
            assert "orders.db" in suite.admin_page("orders-1", "/readyz")[1]
            assert suite.metrics("orders-1")['sluice_store_trouble{reason="read-only"}'] == 1
            answer = ada.order({sku: 1})
            assert answer.status == 503 and answer.slug in ("unavailable", "overloaded"), answer
            assert ada.get("/v1/users/me").status == 200
            assert ada.patch(f"/v1/users/{ada.id}", {"name": "New"}, if_match="*").status == 200
            assert ada.get("/v1/search", query={"q": "x"}).status == 200
            for instance in ("users-1", "search-1", "queue-1"):
                assert suite.admin_page(instance, "/readyz")[0] == 200, instance
        finally:
            subprocess.run(["mount", "-o", "remount,rw", place], check=True)
        wait_for(lambda: suite.is_ready() and is_written(ada), 30, "orders is back")
        assert ada.order({sku: 1}).status == 201
        assert suite.metrics("orders-1")['sluice_store_trouble{reason="read-only"}'] == 0


def fill(path):
    with open(path, "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 4096)
        except OSError:
            pass


def not_ready(suite, instance, words):
    """Whether it says so, and why, in every place."""
    status, text = suite.admin_page(instance, "/readyz")
    entry = suite.instances()[instance]
    return status == 503 and words in text and words in entry["note"] and entry["state"] != "ready"


def test_full_store(small_disk):
    """No room: the service says so, and nobody else; reads go on; room: it is ready by itself."""
    with Suite(home=small_disk, SLUICE_SURVEY_INTERVAL="200ms", SLUICE_ALERT_AFTER="1s") as suite:
        suite.up()
        admin, ada = admin_of(suite), register(suite.port)
        sku = add_product(admin, stock=10_000)["sku"]
        pid = suite.pid("orders-1")
        ballast = small_disk / "db/orders/ballast"
        fill(ballast)
        for _ in range(500):
            answer = ada.order({sku: 1})
            if answer.status != 201:
                break
        assert (answer.status, answer.slug) == (503, "store-unavailable"), answer
        wait_for(lambda: not_ready(suite, "orders-1", "no room"), 10, "orders says why")
        assert suite.metrics("orders-1")['sluice_store_trouble{reason="full"}'] == 1
        trouble = ("SluiceStoreTrouble", "orders-1")
        wait_for(lambda: trouble in firing(suite), 10, "the supervisor tells of it")
        assert suite.admin_page("users-1", "/readyz")[0] == 200
        assert ada.get(f"/v1/products/{sku}").status == 200
        assert ada.patch(f"/v1/users/{ada.id}", {"name": "New"}, if_match="*").status == 200
        ballast.unlink()
        suite.wait_ready(10)
        assert suite.pid("orders-1") == pid, "a full disk is no reason to stop"
        assert ada.order({sku: 1}).status == 201
        assert suite.metrics("orders-1")['sluice_store_trouble{reason="full"}'] == 0
        wait_for(lambda: trouble not in firing(suite), 10, "and of its end")


def test_damaged_store():
    """Found before anything is served; the others serve; a sound file makes it ready by itself."""
    with Suite() as suite:
        suite.up()
        admin, ada = admin_of(suite), register(suite.port)
        for n in range(30):
            add_product(admin, name=f"Thing {n}", description="x" * 1000)
        suite.scale(orders=0)
        store = suite.home / "db/orders/orders.db"
        kept = store.read_bytes()
        damaged = bytearray(kept)
        damaged[8 * 4096 : -4096] = os.urandom(len(kept) - 9 * 4096)
        store.write_bytes(damaged)
        for name in ("orders.db-wal", "orders.db-shm"):
            store.with_name(name).unlink(missing_ok=True)
        control = json.dumps({"command": "scale", "services": {"orders": 1}})
        with pytest.raises(TimeoutError):
            suite.control(json.loads(control), timeout=0.5)  # it waits for orders to be ready
        wait_for(lambda: not_ready(suite, "orders-1", "damaged"), 10, "orders says why")
        assert str(store) in suite.admin_page("orders-1", "/readyz")[1]
        assert "sluice restore" in suite.admin_page("orders-1", "/readyz")[1]
        assert suite.metrics("orders-1")['sluice_store_trouble{reason="damaged"}'] == 1
        assert ada.get("/v1/products").slug == "unavailable"
        assert ada.get("/v1/users/me").status == 200
        store.write_bytes(kept)
        wait_for(lambda: suite.is_ready() and is_written(ada), 30, "orders is back")
        assert len(list(ada.pages("/v1/products", limit=100))) == 30


def test_options_have_limits():
    assert "SLUICE_OUTBOX_MAX_ROWS" in run("sluice-orders", "--help").stdout
    assert "SLUICE_STORE_CHECK_BYTES" in run("sluice-orders", "--help").stdout
