# SPDX-License-Identifier: MIT
# A backup that is made under load, restored into another home: what was acknowledged before it began
# is there, each event once, and search catches up. Half a backup is none.
import json
import shutil
import signal
import subprocess
import time

import pytest
from api import Client
from fail_nth import Control
from load import Load
from people import PASSWORD, Person, add_product, admin_of, register
from queue_client import Queue
from suite import BUILD, PATIENCE, SANITIZED, Suite, new_home, run, wait_for


@pytest.fixture
def place():
    """Where backups go."""
    directory = new_home()
    yield directory
    shutil.rmtree(directory)


def restored(suite, backup):
    """A suite on what was backed up."""
    other = Suite()
    result = run("sluice", "restore", "--home", other.home, backup, env=suite.env)
    assert result.returncode == 0, result.stderr
    return other


def test_under_load(place):
    backup = place / "one"
    with Suite() as suite:
        suite.up()
        admin = admin_of(suite)
        people = [register(suite.port, f"Load {n}") for n in range(4)]
        began = time.time()
        for name in ("users", "orders", "search"):
            at = suite.metrics(f"{name}-1")["sluice_store_last_backup_timestamp_seconds"]
            assert began - 60 * PATIENCE < at <= began, "never backed up: when it was made"
        skus = [add_product(admin, stock=1_000_000, name="Load")["sku"] for _ in range(2)]
        with Load(suite, admin, people, skus) as load:
            wait_for(lambda: len(load.orders) > 100, 10, "orders flow")
            with load.lock:
                before = dict(load.orders)
            wait_for(lambda: time.time() >= int(began) + 1, 2, "another second than when they were made")
            result = run("sluice", "backup", "--with-secrets", backup, env=suite.env)
            assert result.returncode == 0, result.stderr
            settled = len(load.orders) + 50
            wait_for(lambda: len(load.orders) > settled, 10, "orders flow after it")
        assert not load.wrong
        for name in ("users", "orders", "search"):
            values = suite.metrics(f"{name}-1")
            assert values["sluice_store_last_backup_timestamp_seconds"] >= int(began) + 1
        tokens = [person.token for person in people]
        with restored(suite, backup) as other:
            other.up()
            listed = {}
            for token in tokens:  # the keys came along
                listed.update((o["id"], o) for o in Client(other.port, token).pages("/v1/orders", limit=100))
            assert all(listed[order_id] == order for order_id, order in before.items())
            last = Person(other.port, people[0].email, PASSWORD).order({skus[0]: 1}).json()["id"]
            with Queue(other.queue_endpoint) as queue:
                queue.wait(lambda f: last in [e["subject"] for e in f], "orders.order.placed", timeout_s=20)
                events = queue.read()
            placed = [e["subject"] for e in events if e["topic"] == "orders.order.placed"]
            assert sorted(placed) == sorted([*listed, last]), "each order's event once"
            assert len({e["id"] for e in events}) == len(events)
            wait_for(
                lambda: Client(other.port, tokens[0])
                .get("/v1/search", query={"q": "load", "type": "product"})
                .json()["items"],
                20,
                "search has caught up",
            )


def test_refusals(place):
    backup = place / "one"
    with Suite() as suite:
        suite.up()
        add_product(admin_of(suite))
        assert run("sluice", "backup", backup, env=suite.env).returncode == 0
        again = run("sluice", "backup", backup, env=suite.env)
        assert again.returncode == 1 and "is there already" in again.stderr
        running = run("sluice", "restore", "--force", backup, env=suite.env)
        assert running.returncode == 1 and "sluice down" in running.stderr
        suite.down()
        full = run("sluice", "restore", backup, env=suite.env)
        assert full.returncode == 1 and "--force" in full.stderr
        manifest = json.loads((backup / "manifest.json").read_text())
        assert not [f for f in manifest["files"] if f["path"].startswith("secrets/")]
        for entry in manifest["files"]:  # every file is compared
            path = backup / entry["path"]
            kept = path.read_bytes()
            path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
            wrong = run("sluice", "restore", "--force", backup, env=suite.env)
            assert wrong.returncode == 1 and entry["path"] in wrong.stderr
            path.write_bytes(kept)
        (backup / "manifest.json").rename(backup / "kept")
        assert run("sluice", "restore", "--force", backup, env=suite.env).returncode == 1
        (backup / "kept").rename(backup / "manifest.json")
        (suite.home / "restore-unfinished").touch()
        assert "restore" in run("sluice", "up", env=suite.env).stderr
        result = run("sluice", "restore", "--force", backup, env=suite.env)
        assert result.returncode == 0, result.stderr
        assert len(list(suite.home.glob("db.before-*"))) == 1
        suite.up()
        assert len(Client(suite.port).get("/v1/products").json()["items"]) == 1


def check_cut_off(suite, backup, home):
    """What is left of a backup that was killed is whole, or refused."""
    partial = backup.with_name(backup.name + ".partial")
    left = backup if backup.exists() else partial
    if left.exists():
        result = run("sluice", "restore", "--home", home, left, env=suite.env)
        if (left / "manifest.json").exists():
            assert result.returncode == 0, result.stderr
        else:
            assert left == partial, "it has its name and is not whole"
            assert result.returncode == 1 and "manifest.json" in result.stderr
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(left)


@pytest.mark.skipif(SANITIZED, reason="a preloaded library and a sanitizer exclude each other")
def test_cut_off_anywhere(place):
    """A backup that is killed at any of its writes, syncs and openings is none, or whole; and the outboxes are emptied
    again."""
    with Suite() as suite:
        suite.up()
        admin, ada = admin_of(suite), register(suite.port)
        sku = add_product(admin, stock=1_000_000)["sku"]
        control = Control(place / "control")
        environment = suite.env | control.environment("sluice")
        control.arm("write", "killed", 0)
        assert run("sluice", "backup", place / "whole", env=environment).returncode == 0
        calls, *_ = control.state
        for kind in ("write", "sync", "open"):
            for number in range(1, calls[kind] + 1):
                control.arm(kind, "killed", number)
                backup = place / f"{kind}-{number}"
                program = subprocess.Popen([BUILD / "sluice", "backup", backup], env=environment)
                assert ada.order({sku: 1}).status == 201
                assert program.wait() == -signal.SIGKILL, f"{kind} {number} was not reached"
                check_cut_off(suite, backup, place / "home")
        wait_for(
            lambda: suite.metrics("orders-1")["sluice_outbox_rows"] == 0, 10, "the outbox is empty"
        )
        last = place / "last"
        assert run("sluice", "backup", last, env=suite.env).returncode == 0
        assert run("sluice", "restore", "--home", place / "home", last, env=suite.env).returncode == 0
