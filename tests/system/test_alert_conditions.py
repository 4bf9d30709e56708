# SPDX-License-Identifier: MIT
# What the supervisor's own alerts are about, made to happen in a real suite: each is told of, and what can be
# mended is told of as over. The times that a condition must hold are cut down to nothing.
import contextlib
import http.client
import json
import os
import signal
import sqlite3
import threading
import time

import pytest
import zmq
from api import Client
from people import add_product, admin_of, register
from queue_client import TERM, Member, Queue, new_event
from suite import Suite, firing, run, wait_for
from test_inner_links import TcpSuite

AT_ONCE = {"SLUICE_SURVEY_INTERVAL": "200ms", "SLUICE_ALERT_AFTER": "0s"}


def fires(suite, *expected):
    wait_for(lambda: firing(suite) >= set(expected), 20, f"{expected} fire")


def is_over(suite, *expected):
    wait_for(lambda: not firing(suite) & set(expected), 20, f"{expected} are resolved")


def tap(suite, *arguments):
    done = run("sluice-tap", *arguments, env=suite.env)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def watched():
    """A suite that several tests may use, as they put it right again."""
    with Suite(SLUICE_ALERT_LAG_AGE="1s", **AT_ONCE) as suite:
        yield suite.up()


def test_a_group_that_nobody_works_for_falls_behind(watched):
    tap(watched, "group", "set", "late", "--topic", "users.>", "--from", "start")
    register(watched.port)
    expected = ("SluiceQueueGroupBehind", "late"), ("SluiceQueueGroupWithoutMembers", "late")
    fires(watched, *expected)
    tap(watched, "seek", "late", "--to", "end", "--yes")
    is_over(watched, *expected)
    tap(watched, "group", "delete", "late", "--yes")


def test_dead_letters(watched):
    tap(watched, "group", "set", "mail", "--topic", "mail.>", "--from", "end")
    with Queue(watched.queue_endpoint) as queue:
        queue.publish([new_event("mail.sent", {"n": 1})])
    with Member(watched.queue_endpoint, "mail", 10) as member:
        assert member.settle(member.take(1), TERM, error="broken") == (1, 0)
    fires(watched, ("SluiceQueueDeadLetters", "mail"))
    tap(watched, "dlq", "drop", "mail", "--all", "--yes")
    is_over(watched, ("SluiceQueueDeadLetters", "mail"))
    tap(watched, "group", "delete", "mail", "--yes")


def test_a_backup_that_is_old(watched, tmp_path):
    mark = watched.home / "db/orders/last-backup"
    mark.touch()
    os.utime(mark, (time.time() - 27 * 3600,) * 2)
    fires(watched, ("SluiceBackupOld", "orders-1"))
    assert ("SluiceBackupOld", "users-1") not in firing(watched)
    done = run("sluice", "backup", tmp_path / "backup", env=watched.env)
    assert done.returncode == 0, done.stderr
    is_over(watched, ("SluiceBackupOld", "orders-1"))


def test_token_keys_that_cannot_be_used(watched):
    path = watched.home / "secrets/public/jwks.json"
    good = path.read_bytes()
    path.write_bytes(b"[]")
    fires(watched, ("SluiceTokenKeyUnusable", "gateway-1"))
    path.write_bytes(good)


def test_a_queue_that_takes_nothing(own_suite):
    """Outboxes fill, then writes are refused. When the queue is back, it is over."""
    own_suite.environment.update(AT_ONCE, SLUICE_OUTBOX_MAX_ROWS=4, SLUICE_WATCHDOG="0s")
    own_suite.up()
    queue = own_suite.instances()["queue-1"]["pid"]
    os.kill(queue, signal.SIGSTOP)
    try:
        statuses = []
        for n in range(12):
            connection = http.client.HTTPConnection("127.0.0.1", own_suite.port, timeout=30)
            body = {"email": f"outbox-{n}@example.com", "password": "correct horse battery staple", "name": "N"}
            connection.request("POST", "/v1/users", json.dumps(body), {"Content-Type": "application/json"})
            statuses.append(connection.getresponse().status)
            connection.close()
        assert statuses[0] == 201 and 503 in statuses, statuses
        fires(own_suite, ("SluiceOutboxFills", "users-1"), ("SluiceOutboxFull", "users-1"))
    finally:
        os.kill(queue, signal.SIGCONT)
    is_over(own_suite, ("SluiceOutboxFills", "users-1"))
    assert ("SluiceOutboxFull", "users-1") in firing(own_suite)  # for as long as a rise matters


def test_more_clients_than_there_may_be(own_suite):
    own_suite.environment.update(AT_ONCE, SLUICE_MAX_CONNECTIONS=3)
    own_suite.up()
    held = [http.client.HTTPConnection("127.0.0.1", own_suite.port) for _ in range(5)]
    for connection in held:
        connection.connect()
    fires(own_suite, ("SluiceConnectionsFull", "gateway-1"))
    for connection in held:
        connection.close()


def test_events_that_are_damaged(own_suite):
    """What the queue finds when it starts has happened, too."""
    own_suite.environment.update(AT_ONCE, SLUICE_QUEUE_SEGMENT_BYTES="1MiB")
    own_suite.up()
    with Queue(own_suite.queue_endpoint) as queue:
        for _ in range(20):
            queue.publish([new_event("a.b", b"x" * 1000) for _ in range(100)])
    assert "SluiceQueueLostRecords" not in {name for name, _ in firing(own_suite)}
    own_suite.down()
    path = min((own_suite.home / "queue").glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[300_000] ^= 1  # in a record, with others behind it
    path.write_bytes(data)
    own_suite.up()
    fires(own_suite, ("SluiceQueueLostRecords", "queue-1"))


def test_more_processes_than_a_rule_allows(own_suite):
    own_suite.environment.update(AT_ONCE)
    own_suite.up()
    rule = {"min": 1, "max": 1, "latency": "1ms", "cooldown_up": "1s", "cooldown_down": "2s"}
    path = own_suite.home / "scaling.json"
    path.write_text(json.dumps({"interval": "1s", "services": {"users": rule}}))
    expected = ("SluiceScalingAtMaximum", "users")

    def asked():
        register(own_suite.port)  # takes 20 ms of CPU
        return expected in firing(own_suite)

    wait_for(asked, 30, "one process is not enough")
    path.write_text("{}")
    is_over(own_suite, expected)


@contextlib.contextmanager
def again_and_again(*jobs):
    """Each job in a thread of its own, over and over."""
    end = threading.Event()

    def repeat(job):
        while not end.is_set():
            job()

    crew = [threading.Thread(target=repeat, args=[job]) for job in jobs]
    for thread in crew:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in crew:
            thread.join()


@pytest.fixture(scope="module")
def linked():
    """One whose processes meet on TCP."""
    with TcpSuite(SLUICE_RATE_LIMIT_AUTH="off", **AT_ONCE) as suite:
        yield suite.up()


@pytest.fixture
def forgetful(own_suite):
    """One whose queue keeps little."""
    own_suite.environment |= {"SLUICE_QUEUE_SEGMENT_BYTES": "1MiB", "SLUICE_QUEUE_RETENTION_BYTES": "2MiB", **AT_ONCE}
    return own_suite.up()


def looked_again(suite):
    """The supervisor has looked at all processes twice since."""
    before = suite.supervisor_metrics()["sluice_supervisor_surveys_total"]
    wait_for(lambda: suite.supervisor_metrics()["sluice_supervisor_surveys_total"] >= before + 2, 10, "it looks")


def test_events_that_wait_for_a_queue_that_is_away(linked):
    """A minute passes in no time: the event is made older where it waits."""
    ada, sku = register(linked.port), add_product(admin_of(linked))["sku"]
    queue = linked.pid("queue-1")
    os.kill(queue, signal.SIGSTOP)
    try:
        assert ada.order({sku: 1}).status == 201
        with contextlib.closing(sqlite3.connect(linked.home / "db/orders/orders.db", timeout=10)) as store, store:
            store.execute("UPDATE sluice_outbox SET time_ms = time_ms - 120000")
            assert store.execute("SELECT changes()").fetchone()[0] > 0
        fires(linked, ("SluiceOutboxOld", "orders-1"))
    finally:
        os.kill(queue, signal.SIGCONT)
    is_over(linked, ("SluiceOutboxOld", "orders-1"))


def test_more_logins_than_there_is_time_for(linked):
    people = [register(linked.port) for _ in range(4)]

    def log_in(person):
        client = Client(linked.port)
        try:
            client.post("/v1/sessions", {"email": person.email, "password": person.password})
        finally:
            client.close()

    with again_and_again(*[lambda p=p: log_in(p) for p in people * 8]):
        fires(linked, ("SluiceOverloaded", "users"))
    is_over(linked, ("SluiceOverloaded", "users"))


@pytest.mark.parametrize("server, instance", [("gateway", "gateway-1"), ("queue", "queue-1")])
def test_a_key_that_is_not_known(linked, server, instance):
    """It is refused at each try, and whoever waits for it to work is told."""
    with linked.dealer(server, secret=zmq.curve_keypair()) as stranger:
        stranger.send(b"let me in")
        fires(linked, ("SluiceLinkKeyUnknown", instance))


def test_events_that_go_before_their_group_has_them(forgetful):
    """More comes than the queue keeps, and the group has nobody."""
    with Queue(forgetful.queue_endpoint) as events:
        events.call("group-set", group="late", filters=["much.>"])
        looked_again(forgetful)  # so that the supervisor knows it
        for _ in range(8):
            events.publish([new_event("much.of.it", "x" * 60_000) for _ in range(10)])
        wait_for(lambda: events.info()["first_seq"] > 20, 15, "retention was applied")
    pid = forgetful.kill("queue-1")  # which had them in its cache
    forgetful.wait_replaced("queue-1", pid)
    with Member(forgetful.queue_endpoint, "late") as member:
        assert member.take(1)[0].seq > 20
    fires(forgetful, ("SluiceQueueEventsSkipped", "late"))
