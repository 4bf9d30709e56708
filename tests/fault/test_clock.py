# SPDX-License-Identifier: MIT
# The wall clock of a running suite jumps by an hour, to either side and back (skew_clock.c). Nobody is logged out, no
# request fails, no lease passes, nothing is delivered too early or too late, and nothing is thrown away.
import contextlib
import os
import signal
import sqlite3
import struct
import time

import pytest
from api import new_key
from flow import SAFE, Flow
from people import add_product, admin_of, register
from queue_client import Member, Queue, new_event
from suite import BUILD, PATIENCE, SANITIZED, Suite, firing, wait_for

SKEW_CLOCK = BUILD / "skew_clock.so"
HOUR = 3600
RETENTION_LOOK_S = 5  # SERVER_RETENTION_MS

pytestmark = pytest.mark.skipif(SANITIZED, reason="a preloaded library and a sanitizer exclude each other")


class Clock:
    def __init__(self, path):
        self.path = path
        self.path.write_bytes(bytes(8))

    def jump(self, seconds):
        with open(self.path, "r+b") as file:  # mapped: it must stay the same file
            file.write(struct.pack("=q", seconds))


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "skew")


def suite_with(clock, **environment):
    assert SKEW_CLOCK.exists()
    return Suite(LD_PRELOAD=SKEW_CLOCK, SKEW_FILE=clock.path, SLUICE_SCALE_ORDERS=2, **environment)


def writers(suite):
    return {name: suite.metrics(name)["sluice_store_writer"] for name in suite.instances("orders")}


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_nobody_notices(clock, jump):
    """Under load: there, and back again. The tokens are good for longer than the jump."""
    with suite_with(clock, SLUICE_TOKEN_TTL="2h", SLUICE_QUEUE_RETENTION_AGE="30m") as suite:
        suite.up()
        ada = register(suite.port)
        sku = add_product(admin_of(suite), stock=1_000_000)["sku"]
        key = new_key()
        first = ada.order({sku: 1}, key=key)
        assert first.status == 201
        before = writers(suite)
        pids = {name: entry["pid"] for name, entry in suite.instances().items()}
        with Flow(suite.port, ada.token, sku) as flow:
            for seconds in (jump, 0, jump):
                clock.jump(seconds)
                time.sleep(1)
        assert not flow.bad(SAFE, "attempts", "200")
        assert not flow.bad(["order"], "attempts", "201")
        assert writers(suite) == before, "the lease passed"
        assert {name: entry["pid"] for name, entry in suite.instances().items()} == pids
        assert ada.order({sku: 1}, key=key).json() == first.json(), "the key was forgotten"
        # What is on its way takes the time it takes.
        time.sleep(RETENTION_LOOK_S + 1)
        told = {first.json()["id"], *flow.orders}
        with Queue(suite.queue_endpoint) as queue:
            found = queue.wait(lambda f: len(f) >= len(told), "orders.order.placed", timeout_s=10)
        assert {e["subject"] for e in found} == told and len(found) == len(told)
        assert ada.get(f"/v1/search?q={sku}").json()["items"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("restarted", [(), ("gateway",), ("users",), ("gateway", "users", "orders", "queue")])
def test_sessions_go_on(clock, jump, restarted):
    """An access token may end early; the session does not, whoever begins anew meanwhile."""
    with suite_with(clock) as suite:
        suite.up()
        ada = register(suite.port)
        assert ada.get("/v1/users/me").status == 200
        clock.jump(jump)
        for service in restarted:
            name = f"{service}-1"
            suite.wait_replaced(name, suite.kill(name), timeout=10)
        answer = wait_for(
            lambda: (a := ada.get("/v1/users/me")).status != 503 and a, 10, "users are served"
        )
        if jump < 0:
            assert answer.status == 200, answer
        else:  # its time is over, and refreshing it is all there is to do
            assert answer.status == 401 and "expired" in answer.json()["detail"], answer
        for seconds in (jump, 0):
            clock.jump(seconds)
            again = ada.as_user(None).post(
                "/v1/sessions/refresh", {"refresh_token": ada.session["refresh_token"]}
            )
            assert again.status == 201, again
            ada.session = again.json()
            ada.token = ada.session["access_token"]
            assert ada.get("/v1/users/me").status == 200
        # And what was ended stays so.
        assert ada.delete("/v1/sessions/current").status == 204
        wait_for(lambda: ada.get("/v1/users/me").status == 401, 5, "the token is refused")
        clock.jump(-jump)
        assert ada.get("/v1/users/me").status == 401


@pytest.mark.alone
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_deadlines_are_those_of_the_request(clock, jump):
    with suite_with(clock, SLUICE_WATCHDOG="0s", SLUICE_TOKEN_TTL="2h") as suite:
        suite.up()
        ada = register(suite.port)
        sku = add_product(admin_of(suite), stock=10)["sku"]
        pids = [suite.pid(name) for name in suite.instances("orders")]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            ada.connection.request(
                "POST",
                "/v1/orders",
                body=b'{"items": [{"sku": "%s", "quantity": 1}]}' % sku.encode(),
                headers={
                    "Authorization": f"Bearer {ada.token}",
                    "Content-Type": "application/json",
                    "Idempotency-Key": new_key(),
                },
            )
            time.sleep(0.5)
            clock.jump(jump)
            response = ada.connection.getresponse()
            took_s = time.monotonic() - begin
            body = response.read()
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert response.status in (503, 504), body
        if response.status == 504:
            assert 4.9 < took_s < 5.5 * PATIENCE
        assert wait_for(lambda: ada.order({sku: 1}).status == 201, 10, "orders are served")


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_groups_wait_as_long_as_they_said(clock, jump):
    """What a member has is delivered again after the group's ack wait, no earlier and no later."""
    wait_s = 3
    with suite_with(clock) as suite:
        suite.up()
        with Queue(suite.queue_endpoint) as queue:
            options = {"group": "slow", "filters": ["users.>"], "from": "start", "ack_wait_ms": wait_s * 1000}
            assert queue.call("group-set", {**options, "backoff_ms": 1})["created"]
        register(suite.port)
        with Member(suite.queue_endpoint, "slow", window=1) as member:
            first = member.take()[0]
            clock.jump(jump)
            member.none(during_s=wait_s * 0.7)
            again = member.take(timeout_s=wait_s * PATIENCE)[0]
            assert again.seq == first.seq and again.attempt == 2
            assert wait_s * 0.9 < again.at - first.at < wait_s * 2 * PATIENCE
            assert member.settle(again) == (1, 0)


@pytest.mark.parametrize("jump", [HOUR, -10])
def test_what_is_old_goes_all_the_same(clock, jump):
    """Events stay for as long as retention says on a clock that has jumped forward meanwhile, and on one that was set
    back for longer by as much: those that come then look older than they are."""
    age_s = 8
    with suite_with(clock, SLUICE_QUEUE_RETENTION_AGE=f"{age_s}s", SLUICE_QUEUE_SEGMENT_BYTES="1MiB") as suite:
        suite.up()
        with Queue(suite.queue_endpoint) as queue:

            def fill():  # segments are removed as a whole, and never the one that is written
                for _ in range(50):
                    answer = queue.publish([new_event("fault.test", os.urandom(1000)) for _ in range(50)])
                return answer["last_seq"]

            begin = time.monotonic()
            last = fill()
            clock.jump(jump)
            fill()
            assert queue.info()["first_seq"] == 1
            limit_s = age_s - min(jump, 0) + 2 * RETENTION_LOOK_S
            wait_for(lambda: queue.info()["first_seq"] > last - 1000, limit_s, "what is old is gone")
            assert time.monotonic() - begin > age_s - 1, "it went too early"


def test_retention_is_the_time_that_passed(clock):
    """A clock that runs ahead makes nothing old; one that is set back makes nothing young for good."""
    with suite_with(clock, SLUICE_QUEUE_RETENTION_AGE="30m") as suite:
        suite.up()
        register(suite.port)
        with Queue(suite.queue_endpoint) as queue:
            before = queue.wait(lambda f: f, "users.>")
        for seconds in (HOUR, 0, HOUR):
            clock.jump(seconds)
            time.sleep(RETENTION_LOOK_S + 1)
            register(suite.port)
        with Queue(suite.queue_endpoint) as queue:
            seqs = {e["seq"] for e in queue.read()}
        assert {e["seq"] for e in before} <= seqs, "events were removed before their time"


def test_search_that_is_behind_is_told(clock):
    """Somebody else has its store, and an hour goes by: SluiceSearchBehind, until it has caught up."""
    alert = ("SluiceSearchBehind", "search-1")
    with suite_with(clock, SLUICE_SURVEY_INTERVAL="200ms", SLUICE_ALERT_AFTER="0s") as suite:
        suite.up()
        admin = admin_of(suite)
        path = suite.home / "db/search/search.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            sku = add_product(admin)["sku"]
            wait_for(lambda: alert not in firing(suite), 5, "nobody is behind for long")
            clock.jump(HOUR)
            wait_for(lambda: alert in firing(suite), 20, "search is behind")
            db.execute("ROLLBACK")
        wait_for(lambda: alert not in firing(suite), 20, "search has caught up")
        clock.jump(0)
        assert register(suite.port).get(f"/v1/search?q={sku}").json()["items"]
