# SPDX-License-Identifier: MIT
# Tokens that were revoked are refused: by every gateway, within a second, whatever ended the session;
# and by a gateway that has just started, however it came to start.
import contextlib
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from api import Client
from people import PASSWORD, register
from suite import BUILD, DIE_WITH_US, PATIENCE, Suite, free_port, wait_for


@contextlib.contextmanager
def another_gateway(suite, name="gateway-9"):
    """A second gateway with a port of its own, so that a test knows which one it asks."""
    port = free_port()
    environment = {
        **suite.env,
        "SLUICE_INSTANCE": name,
        "SLUICE_LISTEN": f"127.0.0.1:{port}",
        "SLUICE_EXPECT": "users,orders,search",
        "SLUICE_EXPECT_WAIT": "20s",
    }
    with open(suite.log_path, "ab") as log:
        process = subprocess.Popen(
            [*DIE_WITH_US, BUILD / "sluice-gateway"], env=environment, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: is_listening(port), 10, "the second gateway listens")
        yield port
    finally:
        process.terminate()
        assert process.wait(timeout=20 * PATIENCE) == 0


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def log_out(person):
    assert person.delete("/v1/sessions/current").status == 204


def change_the_password(person):
    """In another session, which goes on; the one that is looked at ends."""
    other = register_again(person)
    answer = other.patch(
        f"/v1/users/{person.id}",
        {"password": PASSWORD + "!", "current_password": PASSWORD},
        if_match="*",
    )
    assert answer.status == 200, answer


def register_again(person):
    other = person.as_user(None)
    other.token = other.post(
        "/v1/sessions", {"email": person.email, "password": PASSWORD}
    ).json()["access_token"]
    return other


def delete_the_account(person):
    assert person.delete(f"/v1/users/{person.id}", if_match="*").status == 204


def use_a_refresh_token_again(person):
    body = {"refresh_token": person.session["refresh_token"]}
    assert person.as_user(None).post("/v1/sessions/refresh", body).status == 201
    assert person.as_user(None).post("/v1/sessions/refresh", body).status == 401


@pytest.fixture(scope="module")
def pair():
    """A suite and the port of a second gateway of it."""
    with Suite() as own:
        own.up()
        with another_gateway(own) as port:
            yield own, port


@pytest.mark.parametrize(
    "end", [log_out, change_the_password, delete_the_account, use_a_refresh_token_again]
)
def test_every_gateway_refuses_within_a_second(pair, end):
    suite, second_port = pair
    eve = register(suite.port)
    gateways = [Client(port, eve.token) for port in (suite.port, second_port)]
    for gateway in gateways:  # both have it in their caches: an order list, which needs no account
        assert gateway.get("/v1/orders").status == 200
    end(eve)
    begin = time.monotonic()
    for gateway in gateways:
        wait_for(lambda: gateway.get("/v1/orders").status == 401, 1, "the token is refused")
    assert time.monotonic() - begin < 1 * PATIENCE
    for gateway in gateways:
        answer = gateway.get("/v1/orders")
        assert answer.slug == "unauthenticated" and "revoked" in answer.json()["detail"]


def test_delay_is_measured(pair):
    suite, _ = pair
    before = suite.metrics("gateway-1")
    eve = register(suite.port)
    log_out(eve)
    wait_for(lambda: eve.get("/v1/orders").status == 401, 1, "the token is refused")
    after = suite.metrics("gateway-1")
    count = "sluice_gateway_revocation_delay_seconds_count"
    assert after[count] == before[count] + 1
    assert after["sluice_gateway_revocation_lag_seconds"] == 0


@pytest.fixture
def revoked(own_suite):
    """A suite with somebody who has logged out."""
    own_suite.environment["SLUICE_REVOCATION_WAIT"] = "20s"
    own_suite.up()
    eve = register(own_suite.port)
    log_out(eve)
    wait_for(lambda: eve.get("/v1/orders").status == 401, 2, "the token is refused")
    return own_suite, eve


def ask_once(eve, answers):
    with contextlib.suppress(OSError):
        answers.append(Client(eve.port, eve.token).get("/v1/orders").status)


def has_workers(suite):
    with contextlib.suppress(OSError):  # it has just been started
        metrics = suite.metrics("gateway-1")
        return all(
            metrics.get(f'sluice_gateway_workers{{service="{name}"}}')
            for name in ("users", "orders", "search")
        )


class TestRestart:
    def test_port_opens_only_after_the_replay(self, revoked):
        """The queue is slow to tell: the request waits in the backlog and is then refused."""
        suite, eve = revoked
        queue = suite.pid("queue-1")
        os.kill(queue, signal.SIGSTOP)
        answers = []
        asking = threading.Thread(target=ask_once, args=(eve, answers))
        try:
            gateway = suite.kill("gateway-1")
            wait_for(lambda: suite.pid("gateway-1") not in (0, gateway), 5, "another gateway runs")
            asking.start()
            wait_for(lambda: has_workers(suite), 5, "its workers are back")
            asking.join(1)  # workers are there: but for the revocations it would have answered
            assert answers == []
        finally:
            os.kill(queue, signal.SIGCONT)
        asking.join(20 * PATIENCE)
        assert answers == [401]

    def test_killed_again_right_after_the_start(self, revoked):
        suite, eve = revoked
        answers, ending = [], threading.Event()

        def ask():
            while not ending.is_set():
                ask_once(eve, answers)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        gateway = suite.pid("gateway-1")
        for _ in range(4):
            suite.expect_death("gateway-1")
            os.kill(gateway, signal.SIGKILL)
            before = gateway
            wait_for(lambda: suite.pid("gateway-1") not in (0, before), 10, "another gateway runs")
            gateway = suite.pid("gateway-1")
        suite.wait_ready(20)
        before = len(answers)
        wait_for(lambda: len(answers) > before + 5, 10, "there are answers again")
        ending.set()
        for thread in threads:
            thread.join()
        assert set(answers) == {401}, answers

    def test_queue_that_stays_away_does_not_keep_the_port_closed(self, own_suite):
        """P5 goes before: but it is said, and it ends when the queue is back."""
        own_suite.environment["SLUICE_REVOCATION_WAIT"] = "300ms"
        own_suite.up()
        eve = register(own_suite.port)
        log_out(eve)
        wait_for(lambda: eve.get("/v1/orders").status == 401, 2, "the token is refused")
        queue = own_suite.pid("queue-1")
        os.kill(queue, signal.SIGSTOP)
        try:
            gateway = own_suite.kill("gateway-1")
            own_suite.wait_replaced("gateway-1", gateway, 10)
            assert Client(own_suite.port, eve.token).get("/v1/orders").status == 200
            assert own_suite.metrics("gateway-1")["sluice_gateway_revocation_lag_seconds"] > 0
            assert "the port is open without: revoked access tokens" in own_suite.log()
        finally:
            os.kill(queue, signal.SIGCONT)
        wait_for(lambda: eve.get("/v1/orders").status == 401, 10, "the token is refused")
        assert own_suite.metrics("gateway-1")["sluice_gateway_revocation_lag_seconds"] == 0
