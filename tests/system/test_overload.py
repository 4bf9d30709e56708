# SPDX-License-Identifier: MIT
# Overload: five times what a service can do, by clients that do not wait for answers and that retry.
# Its workers sleep instead of computing (tests/load/slow_service.c), so that their capacity is known
# and the machine is not what is overloaded. SLUICE_TEST_OVERLOAD_SECONDS: of the flood; `tests/run fault`
# says 60. Figures are printed (pytest -s).
import os
import time

import figures
import pytest
from api import Client
from crew import Crew
from loadgen import generate, slow_service
from people import admin_of, register
from suite import PATIENCE, SANITIZED, Suite

pytestmark = pytest.mark.alone

FLOOD_S = float(os.environ.get("SLUICE_TEST_OVERLOAD_SECONDS", "3"))
LEAST = 0.9 if FLOOD_S >= 30 else 0.8  # of the goodput; in a short flood, a hiccup of the machine weighs more
DEADLINE_MS = 2000
SERVICE_MS = 20 if SANITIZED else 5
COMPUTE_MS = 20
THREADS = max(1, min(2, len(os.sched_getaffinity(0)) - 1))  # that compute: WORKER_COMPUTE_THREADS
CONNECTIONS = 3000  # more than the queue is long: requests do not wait for each other in the generator
READ_LIMIT_S = 0.5  # WORKER_READ_MS
CAPACITY = 1000 / SERVICE_MS  # of one worker, if sleeping were exact


@pytest.fixture(scope="module")
def flooded():
    with Suite(
        SLUICE_ACCESS_LOG="false",
        SLUICE_DEADLINE=f"{DEADLINE_MS}ms",
        SLUICE_TRUSTED_PROXIES="127.0.0.1",
        SLUICE_MAX_CONNECTIONS_PER_ADDRESS=CONNECTIONS,
    ) as suite:
        suite.up()
        with slow_service(
            suite,
            SLUICE_SLOW_READ=f"{SERVICE_MS}ms",
            SLUICE_SLOW_WRITE=f"{SERVICE_MS}ms",
            SLUICE_SLOW_COMPUTE=f"{COMPUTE_MS}ms",
        ):
            yield suite


@pytest.fixture(scope="module")
def people(flooded):
    return [register(flooded.port) for _ in range(4)]


def show(what, **measured):
    print()
    figures.note({"what": what, **measured})


def shed(suite):
    """{(reason, priority): count}"""
    found = {}
    for name, value in suite.metrics("gateway-1").items():
        if name.startswith("sluice_gateway_shed_total"):
            parts = name.split('"')
            found[parts[1], parts[3]] = value
    return found


def admitted(suite):
    """Reads that the worker of the slow service took and did not give back."""
    page = suite.metrics("slow-1")
    return page['sluice_worker_admitted_total{class="read"}'] - page["sluice_worker_returned_total"]


def test_goodput_stays_and_comes_back(flooded, people):
    """Not reached by waiting clients alone: those that are refused come again three times."""
    requests = {f"r{i}": f"GET /slow/read token={p.token}" for i, p in enumerate(people)}

    def rates(total):
        return {name: total / len(requests) for name in requests}

    before = admitted(flooded)
    report = generate(
        flooded.port,
        requests,
        [
            ("most", 2, rates(1.5 * CAPACITY)),
            ("pause", 1, rates(0.3 * CAPACITY)),
            ("flood", FLOOD_S, rates(5 * CAPACITY)),
            ("after", 3, rates(0.6 * CAPACITY)),
            ("settled", 2, rates(0.6 * CAPACITY)),
        ],
        connections=CONNECTIONS,
        timeout=DEADLINE_MS + 1000,
        retries=3,
        backoff=100,
    )

    def goodput(begin_s, end_s):
        return sum(report.goodput(name, begin_s, end_s) for name in requests)

    def share(phase):
        cells = [report.cell(phase, name) for name in requests]
        return sum(cell["good"] for cell in cells) / sum(cell["planned"] for cell in cells)

    most, flood = goodput(0.5, 2), goodput(3.5, 3 + FLOOD_S)
    cells = [report.cell("flood", name) for name in requests]
    attempts = sum(n for cell in cells for n in cell["attempts"].values())
    p99 = max(cell["admitted_latency"]["p99_ms"] for cell in cells)
    show(
        f"overload: 5 times the capacity for {FLOOD_S:.0f} s",
        attempts_per_s=round(attempts / FLOOD_S),
        most_per_s=round(most),
        flood_per_s=round(flood),
        of_most=round(flood / most, 3),
        admitted_p50_ms=max(cell["admitted_latency"]["p50_ms"] for cell in cells),
        admitted_p99_ms=p99,
        refused_p50_ms=max(cell["refused_latency"]["p50_ms"] for cell in cells),
        refused_p99_ms=max(cell["refused_latency"]["p99_ms"] for cell in cells),
        in_the_3_s_after=round(share("after"), 3),
        then=round(share("settled"), 3),
        late_ms=report.sent_late_ms,
    )
    statuses = set().union(*(cell["attempts"] for cell in cells))
    assert statuses <= {"204", "503"}, statuses  # a truthful answer for everybody, in time
    answered = sum(
        report.cell(phase, name)["attempts"].get("204", 0) for phase in report.phases for name in requests
    )
    assert admitted(flooded) - before == answered  # who was refused has cost no worker anything
    assert most >= 0.75 * CAPACITY  # or its limiter would be what there is least of
    assert flood >= LEAST * most
    assert p99 <= DEADLINE_MS
    assert share("settled") >= 0.95  # 3 s after the flood; nothing was restarted
    counts = shed(flooded)
    assert counts["late", "read"] > 0 and counts["late", "write"] == 0
    assert "slow is overloaded: gave up a request to /slow/read" in flooded.log()
    assert flooded.metrics("slow-1")['sluice_worker_limit{class="read"}'] < 40


def test_who_is_refused_hears_so_soon_and_when_to_come_again(flooded, people):
    """Reads are asked for three times as much as there is, so searching and the like has to wait."""
    requests = {f"r{i}": f"GET /slow/read token={p.token}" for i, p in enumerate(people)}
    rates = {name: 3 * CAPACITY / len(requests) for name in requests}
    client, seen, times = Client(flooded.port), set(), []

    def flood():
        generate(flooded.port, requests, [("flood", 4, rates)], connections=CONNECTIONS)

    with Crew(flood) as crew:
        while crew.threads[0].is_alive():
            begin = time.monotonic()
            answer = client.get("/slow/low")
            if answer.status == 503:
                times.append(round(1000 * (time.monotonic() - begin)))
                seen.add((answer.slug, answer.headers["Retry-After"]))
    show("refusals", refused=len(times), median_ms=sorted(times)[len(times) // 2], longest_ms=max(times))
    assert seen <= {("overloaded", after) for after in ("1", "2", "3")}
    assert len(seen) > 1  # not all are to come back at the same moment
    assert sorted(times)[len(times) // 2] < DEADLINE_MS / 4


def test_a_query_without_end_holds_up_nobody_for_long(flooded):
    """It has its worker's loop for WORKER_READ_MS; but the worker is not taken for dead, so nobody else
    loses it, and the query is not given to another one."""

    def counts():
        edge, worker = flooded.metrics("gateway-1"), flooded.metrics("slow-1")
        return (
            edge["sluice_gateway_workers_lost_total"],
            edge["sluice_gateway_retries_total"],
            worker["sluice_worker_reads_given_up_total"],
        )

    def ask():
        client = Client(flooded.port)
        while not crew.ending.is_set():
            begin = time.monotonic()
            answers.append(client.get("/slow/endless"))
            took.append(time.monotonic() - begin)
        client.close()

    answers, took, others = [], [], []
    lost, retries, given_up = counts()
    client = Client(flooded.port)
    crew = Crew(ask)
    with crew:
        while len(answers) < 4:
            begin = time.monotonic()
            assert client.get("/slow/read").status == 204
            others.append(time.monotonic() - begin)
    show("endless query", query_s=[round(s, 2) for s in took], slowest_other_s=round(max(others), 2))
    assert {(answer.status, answer.slug) for answer in answers} == {(504, "deadline-exceeded")}
    assert b"ask for less" in answers[0].body
    assert all(READ_LIMIT_S <= s < READ_LIMIT_S + 0.5 * PATIENCE for s in took)
    assert max(others) < READ_LIMIT_S + 0.5 * PATIENCE
    assert counts() == (lost, retries, given_up + len(answers))
    begin = time.monotonic()
    assert client.get("/slow/read").status == 204
    assert time.monotonic() - begin < READ_LIMIT_S / 2 * PATIENCE


def test_a_noisy_account_starves_nobody(flooded, people):
    noisy, quiet = people[:2]
    requests = {
        "noisy": f"GET /slow/read token={noisy.token}",
        "quiet": f"GET /slow/read token={quiet.token}",
        "nobody": "GET /slow/read address=10.1.1.1",
    }
    rates = {"noisy": 5 * CAPACITY, "quiet": 0.1 * CAPACITY, "nobody": 0.05 * CAPACITY}
    report = generate(
        flooded.port, requests, [("both", 2, rates)], connections=CONNECTIONS, timeout=DEADLINE_MS + 1000
    )
    shares = {name: round(report.share("both", name), 3) for name in requests}
    p99 = report.cell("both", "quiet")["good_latency"]["p99_ms"]
    show("noisy account", shares=shares, quiet_p99_ms=p99, late_ms=report.sent_late_ms)
    assert shares["noisy"] < 0.4
    assert shares["quiet"] >= 0.9 and shares["nobody"] >= 0.9


def test_addresses_without_an_account_take_turns(flooded):
    requests = {
        "noisy": "GET /slow/read address=10.2.2.2",
        "other": "GET /slow/read address=10.3.3.3",
    }
    rates = {"noisy": 4 * CAPACITY, "other": 0.1 * CAPACITY}
    report = generate(
        flooded.port, requests, [("both", 2, rates)], connections=CONNECTIONS, timeout=DEADLINE_MS + 1000
    )
    show("noisy address", noisy=round(report.share("both", "noisy"), 3), other=round(report.share("both", "other"), 3))
    assert report.share("both", "other") >= 0.9 > report.share("both", "noisy")


def test_priorities(flooded, people):
    """Reads go before what is low, an admin's before all, and writes have their own room."""
    admin = admin_of(flooded)
    requests = {
        **{f"low{i}": f"GET /slow/low address=10.4.4.{i}" for i in range(4)},
        "read": f"GET /slow/read token={people[0].token}",
        "write": f"POST /slow/write token={people[1].token} key",
        "admin": f"GET /slow/low token={admin.token}",
        "health": "GET /readyz",
    }
    rates = {
        **{f"low{i}": CAPACITY for i in range(4)},
        "read": 0.3 * CAPACITY,  # more than a sixth, which would be its turn among equals
        "write": 0.1 * CAPACITY,
        "admin": 0.4 * CAPACITY,
        "health": 20,
    }
    report = generate(
        flooded.port, requests, [("all", 2, rates)], connections=CONNECTIONS, timeout=DEADLINE_MS + 1000
    )
    shares = {name: round(report.share("all", name), 3) for name in requests}
    show("priorities", shares=shares)
    assert shares["low0"] < 0.3
    assert shares["read"] >= 0.9 and shares["write"] >= 0.9
    assert shares["admin"] >= 0.9 and shares["health"] == 1


def test_computing_and_writes_have_their_own_limits(flooded, people):
    """A flood of one class leaves the others alone, and keeps its own goodput."""
    requests = {
        "compute": f"POST /slow/compute token={people[0].token}",
        "write": f"POST /slow/write token={people[1].token} key",
        "read": f"GET /slow/read token={people[2].token}",
    }
    rates = {"compute": 4 * THREADS * 1000 / COMPUTE_MS, "write": 5 * CAPACITY, "read": 0.2 * CAPACITY}
    report = generate(
        flooded.port, requests, [("all", 2, rates)], connections=CONNECTIONS, timeout=DEADLINE_MS + 1000
    )
    good = {name: round(report.goodput(name, 0.5, 2)) for name in requests}
    show("classes", good_per_s=good, read=round(report.share("all", "read"), 3))
    assert report.share("all", "read") >= 0.9
    assert good["compute"] >= 0.5 * THREADS * 1000 / COMPUTE_MS
    assert good["write"] >= 0.5 * CAPACITY
    statuses = set().union(*(report.cell("all", name)["attempts"] for name in requests))
    assert statuses <= {"204", "503"}, statuses
