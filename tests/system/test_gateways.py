# SPDX-License-Identifier: MIT
# Several gateways before the same workers: each is served, together they never give a worker more
# than it takes, and what is limited is limited as docs/limits.md says. And how one of them stops.
import collections
import concurrent.futures
import contextlib
import functools
import socket
import subprocess
import time

import pytest
from api import Client
from crew import Crew
from loadgen import slow_service
from people import PASSWORD, admitted, fresh, guesses, register
from suite import BUILD, PATIENCE, Suite, free_port, wait_for
from wire import Wire

CAPACITY = 12  # of a worker
OF_A_CLASS = 9  # three quarters of it (docs/overload.md)
CLIENTS = 8  # at each gateway, twice as many as it ever has credit for at one worker


@contextlib.contextmanager
def gateway(suite, instance, expect="users,orders,search", **options):
    """One more gateway beside those of the suite, at a port of its own, which is returned."""
    with gateway_process(suite, instance, expect, **options) as (process, port):
        yield port
        process.terminate()
        assert process.wait(timeout=20 * PATIENCE) == 0


@contextlib.contextmanager
def gateway_process(suite, instance, expect, **options):
    """(process, port)"""
    port = free_port()
    env = {
        **suite.env,
        "SLUICE_INSTANCE": instance,
        "SLUICE_LISTEN": f"127.0.0.1:{port}",
        "SLUICE_EXPECT": expect,
        **options,
    }
    with open(suite.log_path, "ab") as log:
        process = subprocess.Popen(
            [BUILD / "sluice-gateway"], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def serves():
        with contextlib.suppress(OSError):
            return Client(port).get("/readyz").status == 200

    try:
        wait_for(serves, 10, f"{instance} serves")
        yield process, port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def several():
    """Three gateways, with their ports."""
    with Suite(SLUICE_RATE_LIMIT_PRINCIPAL="30/h") as suite, contextlib.ExitStack() as stack:
        suite.up()
        suite.ports = [suite.port] + [
            stack.enter_context(gateway(suite, f"edge-{number}")) for number in (1, 2)
        ]
        yield suite


# --- Credit


class Clients(Crew):
    """Ask one gateway again and again, each as soon as it is answered."""

    def __init__(self, port, requests):
        self.answers = collections.Counter()
        jobs = [functools.partial(self.run, port, requests[n % len(requests)]) for n in range(CLIENTS)]
        super().__init__(*jobs)

    def run(self, port, request):
        client = Client(port)
        while not self.ending.is_set():
            method, path = request
            key = {"idempotency_key": f'"{fresh("k")}"'} if path.endswith("write") else {}
            self.answers[path, client.request(method, path, **key).status] += 1
        client.close()


class Watch:
    """What the workers say they have at one moment, looked at as often as possible."""

    def __init__(self, suite, workers):
        self.suite, self.workers = suite, workers
        self.most = collections.Counter()  # {(worker, class): requests}
        self.looks = 0

    def look(self):
        for worker in self.workers:
            page = self.suite.metrics(worker)
            flights = {
                name: page[f'sluice_worker_in_flight{{class="{name}"}}']
                for name in ("read", "write", "compute")
            }
            flights["all"] = sum(flights.values())
            for name, n in flights.items():
                self.most[worker, name] = max(self.most[worker, name], n)
        self.looks += 1

    def look_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()

    def check(self):
        assert self.looks > 20
        for (worker, name), n in self.most.items():
            assert n <= (CAPACITY if name == "all" else OF_A_CLASS), (worker, name, n)


def shares(suite, gateways, worker, what="credit"):
    """What each of the gateways may have at a worker, or has ("in_flight")."""
    found = []
    for name in gateways:
        services = {s["service"]: s for s in suite.topology(name)["services"]}
        found += [
            w[what]
            for w in services.get("slow", {"workers": []})["workers"]
            if w["instance"] == worker
        ]
    return found


@pytest.mark.alone
def test_together_they_never_have_more_than_a_worker_takes():
    workers, names = ("slow-1", "slow-2"), ["gateway-1", "edge-1", "edge-2"]
    requests = [("POST", "/slow/compute"), ("POST", "/slow/compute"), ("POST", "/slow/write")]
    with contextlib.ExitStack() as stack:
        suite = stack.enter_context(Suite(SLUICE_ACCESS_LOG="false"))
        suite.up()
        options = {"SLUICE_SLOW_COMPUTE": "30ms", "SLUICE_SLOW_WRITE": "10ms"}
        stack.enter_context(slow_service(suite, 2, SLUICE_CAPACITY=CAPACITY, **options))
        watch = Watch(suite, workers)
        ports = [suite.port]
        loads = [stack.enter_context(Clients(suite.port, requests))]
        watch.look_for(0.3)
        for name in names[1:]:  # they come while the others are at work
            ports.append(stack.enter_context(gateway(suite, name, expect="users,slow")))
            loads.append(stack.enter_context(Clients(ports[-1], requests)))
            watch.look_for(0.3)
        for worker in workers:
            wait_for(
                lambda: shares(suite, names, worker) == [CAPACITY // 3] * 3,
                5,
                f"{worker} has split its credit",
            )
        watch.check()
        watch.most.clear()
        counts = [sum(load.answers.values()) for load in loads]
        end, sums = time.monotonic() + 1, []
        while time.monotonic() < end:
            watch.look()
            sums += [shares(suite, names, worker, "in_flight") for worker in workers]
        watch.check()
        assert max(map(sum, sums)) <= CAPACITY and max(map(max, sums)) <= CAPACITY // 3, sums
        assert max(watch.most.values()) > CAPACITY / 2, watch.most  # there was enough to do
        gained = [sum(load.answers.values()) - n for load, n in zip(loads, counts)]
        assert min(gained) > max(gained) / 4, gained  # each of them is served
    # Those that were at work when another one came or a limit changed may have been given back to a
    # gateway, which then sent them to another worker: nobody outside saw it.
    for load in loads:
        assert {status for _, status in load.answers} == {204}, load.answers


def test_a_gateway_that_goes_leaves_its_share_to_the_others(several):
    with slow_service(several, 1, SLUICE_CAPACITY=CAPACITY):
        three = ["gateway-1", "edge-1", "edge-2"]
        wait_for(lambda: shares(several, three, "slow-1") == [4] * 3, 5, "three have a part")
        with gateway(several, "edge-3"):
            four = [*three, "edge-3"]
            wait_for(lambda: shares(several, four, "slow-1") == [3] * 4, 5, "four have a part")
        wait_for(lambda: shares(several, three, "slow-1") == [4] * 3, 5, "three have all again")


# --- Stopping


def readiness(suite, instance):
    """The status of /readyz at the admin listener; None: nobody listens there any more."""
    try:
        return suite.admin_page(instance, "/readyz")[0]
    except OSError:
        return None


def is_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it was closed in this moment
    return False


def send_slow(port):
    """A connection with a request that is being worked on."""
    wire = Wire(port)
    wire.send(b"POST /slow/compute HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    return wire


GET = b"GET /v1/products HTTP/1.1\r\nHost: x\r\n\r\n"


def test_readiness_goes_before_the_port(several):
    """So who looks at it sends nobody to a port that is closed, and nobody who came is sent away."""
    wait_ms = 700
    with slow_service(several, SLUICE_SLOW_COMPUTE="1200ms"), gateway_process(
        several, "edge-3", "orders,slow", SLUICE_DRAIN_WAIT=f"{wait_ms}ms"
    ) as (process, port), Wire(port) as idle, send_slow(port) as busy:
        idle.send(GET)
        status, headers, _ = idle.read_answer()
        assert status == 200 and "connection" not in headers
        wait_for(lambda: shares(several, ["edge-3"], "slow-1", "in_flight") == [1], 5, "it is worked on")
        assert readiness(several, "edge-3") == 200
        begin = time.monotonic()
        process.terminate()
        wait_for(lambda: readiness(several, "edge-3") == 503, 2, "it is not ready")
        with Wire(port) as late:  # the port is open still: both pages agree, and all is served
            late.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            status, headers, body = late.read_answer()
            assert (status, headers["connection"]) == (503, "close") and b"draining" in body
            assert late.read_answer() is None
        with Wire(port) as late:
            late.send(GET)
            status, headers, _ = late.read_answer()
            assert (status, headers["connection"]) == (200, "close")
            assert late.read_answer() is None
        assert time.monotonic() - begin < wait_ms / 1000, "too slow to have seen anything"
        wait_for(lambda: is_refused(port), 5, "the port is closed")
        # its timer counts whole milliseconds, and what went before the first does not count
        assert time.monotonic() - begin >= (wait_ms - 1) / 1000
        assert readiness(several, "edge-3") == 503 and process.poll() is None  # something is left to do
        status, headers, _ = busy.read_answer()
        assert (status, headers["connection"]) == (204, "close") and busy.read_answer() is None
        assert idle.read_end() == b""
        assert process.wait(timeout=10 * PATIENCE) == 0
        assert time.monotonic() - begin < 1.2 + 1.5 * PATIENCE  # as soon as all was done


def test_connections_without_a_request_are_closed_soon(several):
    with gateway_process(several, "edge-3", "orders") as (process, port), Wire(port) as idle, Wire(
        port
    ) as begun:
        idle.send(GET)
        assert idle.read_answer()[0] == 200
        begun.send(GET[:20])
        begin = time.monotonic()
        process.terminate()
        wait_for(lambda: is_refused(port), 2, "the port is closed")
        assert readiness(several, "edge-3") in (503, None)
        idle.send(GET)  # on its way already: it is answered, and that was the last one
        status, headers, _ = idle.read_answer()
        assert (status, headers["connection"]) == (200, "close") and idle.read_answer() is None
        answer = begun.read_answer()  # half a head is no request
        assert answer is None or (answer[0], answer[1]["connection"]) == (408, "close")
        assert process.wait(timeout=10 * PATIENCE) == 0
        assert time.monotonic() - begin < 1 + 1.5 * PATIENCE  # DRAIN_IDLE_MS


def test_who_takes_too_long_does_not_keep_it(several):
    """Not even for ten seconds, and it ends well all the same."""
    with slow_service(several, SLUICE_SLOW_COMPUTE="9s"), gateway_process(
        several, "edge-3", "slow", SLUICE_DEADLINE="20s", SLUICE_DRAIN_WAIT="1s"
    ) as (process, port), send_slow(port) as busy:
        wait_for(lambda: shares(several, ["edge-3"], "slow-1", "in_flight") == [1], 5, "it is worked on")
        begin = time.monotonic()
        process.terminate()
        assert process.wait(timeout=15 * PATIENCE) == 0
        assert 7.5 < time.monotonic() - begin < 10
        assert busy.read_end() == b""


# --- Limits


def ask_all(ports, token, n):
    """The statuses of n requests to each gateway, all at once: {port: counts}."""

    def ask(port):
        client = Client(port, token)
        statuses = [client.get("/v1/users/me").status for _ in range(n // 4)]
        client.close()
        return port, statuses

    counts = collections.defaultdict(collections.Counter)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        for port, statuses in pool.map(ask, ports * 4):
            counts[port].update(statuses)
    return counts


def test_each_counts_for_itself_and_exactly(several):
    """docs/limits.md: a client that is spread over N gateways gets N times the limit, no more."""
    ada = register(several.port)  # asks the first gateway once
    assert ask_all(several.ports, ada.token, 60) == {
        port: {200: 30 - (port == several.port), 429: 30 + (port == several.port)}
        for port in several.ports
    }
    # Another account has limits of its own at each of them.
    bob = register(several.ports[1])
    assert {Client(port, bob.token).get("/v1/users/me").status for port in several.ports} == {200}


def test_guesses_are_counted_once_for_all(several):
    """All logins come to the one that writes, so it does not help to spread them."""
    email = f"{fresh('x')}@example.com"
    body = {"email": email, "password": PASSWORD, "name": "Eve"}
    assert Client(several.port).post("/v1/users", body).status == 201

    def guess(number):
        client = Client(several.ports[number % 3])
        try:
            wrong = {"email": email, "password": f"guess {number}"}
            return client.post("/v1/sessions", wrong).status
        finally:
            client.close()

    with concurrent.futures.ThreadPoolExecutor(24) as pool, guesses(20) as statuses:
        statuses += pool.map(lambda n: admitted(lambda: guess(n)), range(48))
