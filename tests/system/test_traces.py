# SPDX-License-Identifier: MIT
# One trace tells of a request and of everything that came of it, in every process; it is seen with
# and without a collector, and whatever a collector does, requests do not notice.
import json
import secrets
import sqlite3
import time

import pytest
from api import Client
from collector import Collector, spans_of
from crew import Crew
from people import add_product, admin_of, register
from python_worker import HELLO, READY, REPLY, REQUEST, WELCOME
from suite import PATIENCE, Suite, free_port, run, wait_for
from test_workers import Peer, hello


def new_parent(sampled=True):
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"


def trace_id(parent):
    return parent.split("-")[1]


def spans_in_memory(suite, parent, *names):
    """The spans of a trace, once all names are among them."""

    def found():
        result = run("sluice", "trace", trace_id(parent), "--json", env=suite.env)
        spans = spans_of(json.loads(result.stdout)) if result.returncode == 0 else []
        return set(names) <= {span["name"] for span in spans} and spans

    return wait_for(found, 10, f"spans {names} of {parent}")


def only(spans, service, name):
    (span,) = [s for s in spans if (s["resource"]["service.name"], s["name"]) == (service, name)]
    return span


def duration_ms(span):
    return (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e6


def place(person, product, **headers):
    answer = person.post(
        "/v1/orders",
        {"items": [{"sku": product["sku"], "quantity": 1}]},
        headers={"Idempotency-Key": f'"{secrets.token_hex(8)}"', **headers},
    )
    assert answer.status == 201, answer
    return answer


def place_while_store_is_held(suite, person, product, parent, seconds):
    """An order that waits for the file of the store for so long; its answer, and its Server-Timing in ms."""
    held = sqlite3.connect(suite.home / "db/orders/orders.db", isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    answers = []
    with Crew(lambda: answers.append(place(person, product, traceparent=parent))):
        time.sleep(seconds)  # the fault itself
        held.execute("ROLLBACK")
        held.close()
    parts = answers[0].headers["Server-Timing"].split(",")
    return answers[0], {name: float(ms) for name, ms in (p.strip().split(";dur=") for p in parts)}


PLACED = "orders.order.placed"
OF_AN_ORDER = ["POST /v1/orders", "store", f"publish {PLACED}", "outbox", "append", f"process {PLACED}"]


class TestOneTrace:
    def test_of_an_order(self, suite, ada, new_product):
        parent = new_parent()
        place(ada, new_product(), traceparent=parent)
        spans = spans_in_memory(suite, parent, *OF_AN_ORDER)
        assert {span["traceId"] for span in spans} == {trace_id(parent)}
        edge = only(spans, "gateway", "POST /v1/orders")
        worker = only(spans, "orders", "POST /v1/orders")
        store = only(spans, "orders", "store")
        publish = only(spans, "orders", f"publish {PLACED}")
        outbox = only(spans, "orders", "outbox")
        append = only(spans, "queue", "append")
        process = only(spans, "search", f"process {PLACED}")
        # Each below the one that caused it.
        assert edge["parentSpanId"] == parent.split("-")[2]
        assert worker["parentSpanId"] == edge["spanId"]
        assert store["parentSpanId"] == worker["spanId"]
        assert publish["parentSpanId"] == worker["spanId"]
        assert outbox["parentSpanId"] == append["parentSpanId"] == publish["spanId"]
        assert process["parentSpanId"] == worker["spanId"]
        assert process["links"] == [{"traceId": trace_id(parent), "spanId": worker["spanId"]}]
        ids = [span["spanId"] for span in spans]
        assert len(ids) == len(set(ids))
        # And when one follows from another, not before it.
        assert int(outbox["endTimeUnixNano"]) <= int(append["startTimeUnixNano"])
        # (Where in the exchange the queue's part was is not known to whom it answers.)
        assert int(outbox["endTimeUnixNano"]) <= int(process["startTimeUnixNano"])
        # SERVER, PRODUCER and CONSUMER as OTLP numbers them.
        assert [s["kind"] for s in (edge, worker, publish, append, process)] == [2, 2, 4, 2, 5]
        assert edge["attributes"]["http.response.status_code"] == "201"
        assert process["attributes"]["messaging.destination.name"] == PLACED
        assert process["attributes"]["messaging.consumer.group.name"] == "index"
        assert worker["resource"]["service.instance.id"].startswith("orders-")

    def test_of_a_revocation(self, suite, new_person):
        """The gateway consumes, too."""
        parent = new_parent()
        assert new_person().delete("/v1/sessions/current", headers={"traceparent": parent}).status == 204
        name = "process users.session.revoked"
        spans = spans_in_memory(suite, parent, name)
        worker = only(spans, "users", "DELETE /v1/sessions/current")
        assert only(spans, "gateway", name)["parentSpanId"] == worker["spanId"]

    def test_times_are_those_of_server_timing(self, suite, ada):
        parent = new_parent()
        answer = ada.get("/v1/users/me", headers={"traceparent": parent})
        timing = dict(part.strip().split(";dur=") for part in answer.headers["Server-Timing"].split(","))
        spans = spans_in_memory(suite, parent, "GET /v1/users/me")
        worker = only(spans, "users", "GET /v1/users/me")["attributes"]
        assert int(worker["sluice.handler_us"]) / 1000 == float(timing["worker"])
        assert int(worker["sluice.store_us"]) / 1000 == float(timing["store"])

    def test_nothing_is_kept_of_people(self, suite, ada):
        parent = new_parent()
        ada.get(f"/v1/users/{ada.id}?x=secret", headers={"traceparent": parent})
        ada.get("/no/such/secret", headers={"traceparent": parent})
        spans_in_memory(suite, parent, "GET /v1/users/{id}", "GET")
        _, text = suite.admin_page("gateway-1", f"/traces?id={trace_id(parent)}")
        assert ada.id not in text and "secret" not in text

    def test_trace_of_the_log(self, suite, ada):
        """The trace id of the access log is the one to ask for."""
        answer = ada.get("/v1/users/me")
        request_id = answer.headers["X-Request-Id"]

        def logged():
            return [r for r in suite.records() if request_id in json.dumps(r) and r.get("trace_id")]

        record = wait_for(logged, 5, "the request is in the log")[0]
        result = run("sluice", "trace", record["trace_id"], env=suite.env)
        assert result.returncode == 0 and "GET /v1/users/me 200" in result.stdout


class TestCommand:
    def test_waterfall(self, suite, ada, new_product):
        parent = new_parent()
        place(ada, new_product(), traceparent=parent)
        spans_in_memory(suite, parent, *OF_AN_ORDER)
        result = run("sluice", "trace", parent, env=suite.env)
        assert result.returncode == 0, result.stderr
        head, _, *rows = result.stdout.splitlines()
        assert head.startswith(f"trace {trace_id(parent)}  ")
        assert rows[0].split()[0] == "gateway-1" and "POST /v1/orders 201" in rows[0]
        assert any(row.startswith("queue ") and " append " in row for row in rows)
        assert len({len(row) for row in rows}) == 1  # the bars stand below each other
        assert "\x1b" not in result.stdout

    def test_waterfall_of_the_tap(self, suite, ada, new_product):
        """The same picture, and the events below it with what became of them."""
        parent = new_parent()
        place(ada, new_product(), traceparent=parent)
        spans_in_memory(suite, parent, *OF_AN_ORDER)
        picture = run("sluice", "trace", parent, env=suite.env).stdout
        assert " append " in picture
        for word in (parent, trace_id(parent)):
            result = run("sluice-tap", "trace", word, env=suite.env)
            assert result.returncode == 0, result.stderr
            assert result.stdout.startswith(picture)
            assert PLACED in result.stdout.removeprefix(picture)
        (event,) = [
            json.loads(line)
            for line in run("sluice-tap", "trace", parent, "-o", "ndjson", env=suite.env).stdout.splitlines()
        ]
        assert event["type"] == PLACED  # a program gets the events alone
        result = run("sluice-tap", "trace", event["id"], env=suite.env)
        assert result.stdout.startswith(picture)  # of the trace that it was made in

    def test_waterfall_of_the_tap_without_events(self, suite, ada):
        parent = new_parent()
        ada.get("/v1/users/me", headers={"traceparent": parent})
        spans_in_memory(suite, parent, "GET /v1/users/me")
        result = run("sluice-tap", "trace", parent, env=suite.env)
        assert result.returncode == 0 and "GET /v1/users/me 200" in result.stdout
        # Nobody has spans elsewhere: then it is as it was with events alone.
        elsewhere = {**suite.env, "SLUICE_QUEUE": suite.queue_endpoint, "SLUICE_HOME": "/nonexistent"}
        result = run("sluice-tap", "trace", parent, env=elsewhere)
        assert (result.returncode, result.stdout) == (1, "")

    def test_list(self, suite, ada):
        parent = new_parent()
        ada.get("/v1/users/me", headers={"traceparent": parent})
        spans_in_memory(suite, parent, "GET /v1/users/me")
        result = run("sluice", "trace", env=suite.env)
        assert result.returncode == 0 and trace_id(parent) in result.stdout

    def test_addresses(self, suite, ada):
        parent = new_parent()
        ada.get("/v1/users/me", headers={"traceparent": parent})
        spans_in_memory(suite, parent, "GET /v1/users/me")
        here, nobody = f"unix:{suite.home}/run/gateway-1.admin.sock", f"127.0.0.1:{free_port()}"
        result = run("sluice", "trace", trace_id(parent), here, nobody, env=suite.env)
        assert result.returncode == 0 and "GET /v1/users/me 200" in result.stdout
        assert result.stderr.startswith(f"sluice trace: {nobody} does not answer: ")
        result = run("sluice", "trace", trace_id(parent), nobody, env=suite.env)
        assert (result.returncode, result.stdout) == (1, "")

    @pytest.mark.parametrize(
        "word", ["x", "0AF7651916CD43DD8448EB211C80319C", "0" * 32, "0af7", f"00-{'0af7' * 8}-{'b7ad' * 4}-0"]
    )
    def test_wrong_ids(self, suite, word):
        result = run("sluice", "trace", word, env=suite.env)
        assert (result.returncode, result.stdout) == (64, "")
        assert "is no trace id" in result.stderr

    def test_unknown(self, suite, tmp_path):
        unknown = secrets.token_hex(16)
        result = run("sluice", "trace", unknown, env=suite.env)
        assert result.returncode == 1 and f"no process has a span of {unknown}" in result.stderr
        assert len(result.stderr.splitlines()) == 1, "who keeps no spans is not complained about"
        result = run("sluice", "trace", "--home", tmp_path / "none", unknown, env=suite.env)
        assert result.returncode == 1 and len(result.stderr.splitlines()) == 1


@pytest.mark.alone
def test_slow_in_the_store(own_suite):
    """A commit that waits for the disk's file is seen where it was: in the store."""
    own_suite.environment["OTEL_TRACES_SAMPLER"] = "always_off"
    own_suite.up()
    product = add_product(admin_of(own_suite))
    ada = register(own_suite.port)
    place(ada, product)
    parent = new_parent(sampled=False)
    fast, count = 'sluice_store_write_seconds_bucket{le="0.1"}', "sluice_store_write_seconds_count"
    before = own_suite.metrics("orders-1")
    answer, timing = place_while_store_is_held(own_suite, ada, product, parent, 0.3)
    assert timing["store"] > 200 > 10 * timing["worker"]
    line = wait_for(lambda: own_suite.access_of(answer), 5, "the request is in the access log")
    assert line["store_ms"] > 200 > 10 * line["worker_ms"]
    after = own_suite.metrics("orders-1")
    assert after[count] > before[count]  # and one was slower than 100 ms
    assert after[count] - after[fast] > before[count] - before[fast]
    spans = spans_in_memory(own_suite, parent, *OF_AN_ORDER)
    whole, store = only(spans, "gateway", "POST /v1/orders"), only(spans, "orders", "store")
    assert duration_ms(store) > 0.8 * duration_ms(whole) > 200
    # It is one of the slowest, so it is kept, whatever the sampler said.
    result = run("sluice", "trace", env=own_suite.env)
    assert trace_id(parent) in result.stdout


class OddWorker:
    """Answers as it is told to, at /v1/odd/{id}."""

    GOOD, BROKEN = b"\x80", b"\xc1"  # an empty object, and what no answer can be made of

    def __init__(self, suite):
        self.port, self.peer = suite.port, Peer(suite.gateway_endpoints[0])
        self.peer.send(HELLO, hello())
        assert self.peer.receive()[0] == WELCOME
        self.peer.send(READY, 4)

    def ask(self, body=GOOD, after_s=0.0):
        """(trace id, status, seconds) of a request that nobody sampled and that is answered with this."""
        parent, answers = new_parent(sampled=False), []
        begin = time.monotonic()
        with Crew(lambda: answers.append(Client(self.port).get("/v1/odd/7", traceparent=parent))):
            frame = self.peer.receive()
            assert frame[0] == REQUEST
            time.sleep(after_s)
            self.peer.send(REPLY, frame[1], 200, [], 1, 2, 3, body)
        return trace_id(parent), answers[0].status, time.monotonic() - begin


class TestCollector:
    SLOW_S = 0.3  # the bar for "slow" begins at 100 ms, and sinks

    @pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off", "traceidratio"])
    def test_gets_what_failed_and_what_was_slow(self, own_suite, sampler):
        """Tail sampling: what a request is worth shows when it has ended."""
        with Collector() as collector:
            own_suite.environment |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_TRACES_SAMPLER": sampler,
                "OTEL_TRACES_SAMPLER_ARG": "0",
            }
            own_suite.up()
            worker = OddWorker(own_suite)
            serving = 'sluice_gateway_workers{service="odd"}'
            wait_for(lambda: own_suite.metrics("gateway-1").get(serving) == 1, 5, "it serves")
            good = [worker.ask() for _ in range(40)]
            assert {status for _, status, _ in good} == {200}
            slow, status, _ = worker.ask(after_s=self.SLOW_S)
            assert status == 200
            failed, status, _ = worker.ask(worker.BROKEN)
            assert status == 500

            def edges():
                mine = [s for s in collector.spans if s["resource"]["service.name"] == "gateway"]
                return {s["traceId"]: s for s in mine if s["name"] == "GET /v1/odd/{id}"}

            # What is exported keeps its order, so whatever else is, arrived before these.
            wait_for(lambda: {slow, failed} <= set(edges()), 10, "both arrive")
            worker.peer.close()
        assert not collector.mistakes
        assert edges()[failed]["status"] == {"code": 2}
        assert edges()[failed]["attributes"]["http.response.status_code"] == "500"
        assert duration_ms(edges()[slow]) >= 1000 * self.SLOW_S
        assert edges()[slow]["status"] == {}
        fastest, _, _ = min(good, key=lambda one: one[2])
        assert fastest not in edges()
        assert {s["resource"]["service.name"] for s in collector.spans if s["traceId"] == failed} == {
            "gateway",
            "odd",
        }  # with the worker's part of it

    def test_gets_what_was_sampled(self, own_suite):
        with Collector() as collector:
            own_suite.environment |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_EXPORTER_OTLP_HEADERS": "x-org=tests",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
                "OTEL_TRACES_SAMPLER": "parentbased_always_off",
                "SLUICE_SANDBOX": "on",
            }
            own_suite.up()
            product = add_product(admin_of(own_suite))
            ada = register(own_suite.port)
            wanted, other = new_parent(), new_parent(sampled=False)
            place(ada, product, traceparent=wanted)
            for _ in range(50):  # fast ones, which nobody asked for
                ada.get("/v1/users/me", headers={"traceparent": other})

            def arrived():
                return {s["name"] for s in collector.spans if s["traceId"] == trace_id(wanted)}

            wait_for(lambda: arrived() >= set(OF_AN_ORDER), 10, "all spans arrive")
            own_suite.down()
        assert not collector.mistakes
        mine = [s for s in collector.spans if s["traceId"] == trace_id(wanted)]
        ids = [s["spanId"] for s in mine]
        assert len(ids) == len(set(ids))  # each once
        assert {s["resource"]["service.name"] for s in mine} == {"gateway", "orders", "queue", "search"}
        assert {s["resource"]["deployment.environment.name"] for s in mine} == {"test"}
        assert {headers["x-org"] for headers in collector.headers} == {"tests"}
        assert len([s for s in collector.spans if s["traceId"] == trace_id(other)]) < 50

    @pytest.mark.alone
    @pytest.mark.parametrize("how", ["silent", "failing", "absent"])
    def test_trouble_is_not_the_requests(self, own_suite, how):
        with Collector() as collector:
            collector.behave = {"silent": lambda: None, "failing": lambda: 500}.get(how)
            own_suite.environment |= {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{free_port()}/v1/traces"
                if how == "absent"
                else f"{collector.url}/v1/traces",
                "OTEL_TRACES_SAMPLER": "always_on",
            }
            own_suite.up()
            ada = register(own_suite.port)
            slowest, n = 0, 0
            end = time.monotonic() + 2
            while time.monotonic() < end:
                begin = time.monotonic()
                assert ada.get("/v1/users/me").status == 200
                slowest, n = max(slowest, time.monotonic() - begin), n + 1
            assert slowest < 0.5 * PATIENCE, slowest
            m = own_suite.metrics("gateway-1")
            recorded = m["sluice_traces_spans_total"]
            assert recorded >= n and m['sluice_traces_kept_total{reason="sampled"}'] > 0.9 * n
            assert m["sluice_traces_exported_total"] == 0
            refused = 'sluice_traces_dropped_total{reason="refused"}'
            if how == "failing":
                assert m[refused] > 0  # 500 is not tried again
            if how != "silent":
                assert m["sluice_traces_export_failures_total"] > 0
            begin = time.monotonic()
            own_suite.down()
            assert time.monotonic() - begin < 5 * PATIENCE  # though one request may take 10 s

    def test_comes_back(self, own_suite):
        with Collector() as collector:
            answers = [503, 429]
            collector.behave = lambda: answers.pop() if answers else 200
            own_suite.environment |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/",
                "OTEL_TRACES_SAMPLER": "always_on",
            }
            own_suite.up()
            client = Client(own_suite.port)
            assert client.get("/v1/products").status == 200
            wait_for(
                lambda: [s for s in collector.spans if s["name"] == "GET /v1/products"],
                20,
                "the spans arrive at last",
            )
        assert not collector.mistakes

    @pytest.mark.parametrize(
        "name, value",
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ],
    )
    def test_wrong_options(self, tmp_path, name, value):
        result = run(
            "sluice-queue", env={"SLUICE_HOME": str(tmp_path), "PATH": "/usr/bin", name: value}
        )
        assert result.returncode == 78, result.stderr
        assert value in result.stderr and len(result.stderr.splitlines()) == 1


def test_disabled():
    with Suite(OTEL_SDK_DISABLED="true", SLUICE_SCALE_SEARCH=0) as suite:
        suite.up()
        parent = new_parent()
        assert Client(suite.port).get("/v1/products", headers={"traceparent": parent}).status == 200
        result = run("sluice", "trace", trace_id(parent), env=suite.env)
        assert result.returncode == 1
        assert "sluice_traces_spans_total" not in suite.metrics("gateway-1")
