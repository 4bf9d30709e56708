# SPDX-License-Identifier: MIT
# What the log says: of each answer where its time went; at the level debug why everybody did what
# they did, as long as that is wanted; of a flood no more than its share; and of secrets nothing.
import secrets
import time

import pytest
from people import PASSWORD, add_product, admin_of, register
from suite import Suite, run, wait_for
from test_limits import client_at

HOPS = ["gateway", "queue", "wire", "worker", "store"]
BURST, INTERVAL_S = 100, 1  # LOG_BURST and LOG_INTERVAL_MS in common/log.h


def timing(answer):
    """{hop: milliseconds} of Server-Timing."""
    parts = (part.strip().split(";dur=") for part in answer.headers["Server-Timing"].split(","))
    return {name: float(ms) for name, ms in parts}


def line_of(suite, answer):
    return wait_for(lambda: suite.access_of(answer), 5, "the answer is in the access log")


class TestAccessLog:
    def test_times_are_those_of_server_timing(self, suite, ada, new_product):
        answer = ada.post(
            "/v1/orders",
            {"items": [{"sku": new_product()["sku"], "quantity": 1}]},
            headers={"Idempotency-Key": f'"{secrets.token_hex(8)}"'},
        )
        assert answer.status == 201
        line = line_of(suite, answer)
        assert {hop: line[f"{hop}_ms"] for hop in HOPS} == timing(answer)
        assert line["store_ms"] > 0 and list(timing(answer)) == HOPS
        assert line["duration_ms"] == pytest.approx(sum(line[f"{hop}_ms"] for hop in HOPS), abs=0.01)

    def test_hops_that_were_not_reached_have_none(self, suite, api):
        answer = api.get("/no/such/path")
        line = line_of(suite, answer)
        assert line["http.response.status_code"] == 404
        assert [name for name in line if name.endswith("_ms")] == ["duration_ms", "gateway_ms"]
        assert line["duration_ms"] == line["gateway_ms"]


def set_level(suite, level):
    result = run("sluice", "log-level", "all", level, env=suite.env)
    assert result.returncode == 0, result.stderr


def debug_lines(suite, instance):
    return [
        record["body"]
        for record in suite.records()
        if record.get("service.instance.id") == instance and record.get("severity_text") == "DEBUG"
    ]


# What some line of each process says when an order is placed, a session ends and somebody is refused.
DEBUG = {
    "gateway-1": [
        "POST /v1/orders goes to worker orders-1: attempt 1",
        "POST /v1/orders was answered 201",
        "127.0.0.1 connects",
        "the gateway refuses GET -: 404 not-found",
        "the worker refuses POST /v1/sessions: 401 invalid-credentials",
        "revoked: a session of user",
    ],
    "orders-1": [
        "placeOrder begins after",
        "placeOrder ends with 201 after",
        "the outbox sends ",
        "the queue has the events up to",
    ],
    "search-1": ["index applied "],
    "queue-1": ["stored ", "publish: client"],
    "supervisor": ["survey "],
}


def test_debug_comes_and_goes_while_everything_runs(own_suite):
    own_suite.environment["SLUICE_SURVEY_INTERVAL"] = "200ms"
    suite = own_suite.up()
    product = add_product(admin_of(suite))
    person = register(suite.port, "Ada")

    def act():
        """Places an order, ends a session, and asks for what is refused."""
        person.log_in()
        answer = person.post(
            "/v1/orders",
            {"items": [{"sku": product["sku"], "quantity": 1}]},
            headers={"Idempotency-Key": f'"{secrets.token_hex(8)}"'},
        )
        assert answer.status == 201
        assert person.get("/no/such/path").status == 404
        wrong = {"email": person.email, "password": "a wrong one"}
        assert person.as_user(None).post("/v1/sessions", wrong).status == 401
        assert person.delete("/v1/sessions/current").status == 204
        return answer

    act()
    assert not any(debug_lines(suite, instance) for instance in DEBUG)
    set_level(suite, "debug")
    answer = act()
    for instance, expected in DEBUG.items():
        for words in expected:
            wait_for(
                lambda: any(words in line for line in debug_lines(suite, instance)),
                10,
                f"{instance} says: {words}",
            )
    # What is about the request has its trace.
    trace = line_of(suite, answer)["trace_id"]
    spoke = {r["service.instance.id"] for r in suite.records() if r.get("trace_id") == trace}
    assert spoke >= {"gateway-1", "orders-1"}
    # And it goes away again.
    set_level(suite, "info")
    before = {instance: len(debug_lines(suite, instance)) for instance in DEBUG}
    line_of(suite, act())
    assert {instance: len(debug_lines(suite, instance)) for instance in DEBUG} == before
    text = suite.log()
    for secret in (PASSWORD, "a wrong one", person.token, person.session["refresh_token"], person.email):
        assert secret not in text


@pytest.mark.alone
def test_a_flood_is_a_hundred_lines_and_then_one_a_second():
    n = 500
    with Suite(
        SLUICE_TRUSTED_PROXIES="127.0.0.1",
        SLUICE_RATE_LIMIT_READ="1/h",
        SLUICE_RATE_LIMIT_AUTH="1/h",
        SLUICE_SCALE_SEARCH=0,
    ) as suite:
        suite.up()
        client = client_at(suite, "10.0.0.1")
        began = time.monotonic()
        answers = [client.get("/v1/products") for _ in range(n)]
        took_s = time.monotonic() - began
        assert sorted(answer.status for answer in answers) == [200] + [429] * (n - 1)
        # Another limit refuses, too: its line is not among those that are left out.
        for _ in range(2):
            client.post("/v1/sessions/refresh", {"refresh_token": "A" * 43})

        def refusals(policy):
            start = f"rate limit {policy} refused"
            return [r for r in suite.records() if r.get("body", "").startswith(start)]

        wait_for(lambda: refusals("auth"), 5, "the other limit's refusal is in the log")
        lines = len(refusals("read"))
        assert BURST <= lines <= BURST + took_s / INTERVAL_S + 1

        # How many are missing is said soon, by the next line or in one of its own, and counted.
        def missing():
            return sum(r.get("suppressed", 0) for r in suite.records())

        wait_for(lambda: missing() + len(refusals("read")) == n - 1, 15, "the log says what it left out")
        assert suite.metrics("gateway-1")['sluice_log_suppressed_total{level="warn"}'] == missing()
        # The access log has every answer.
        ids = {r.get("request.id") for r in suite.records()}
        assert {answer.headers["X-Request-Id"] for answer in answers} <= ids
