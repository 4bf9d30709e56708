# SPDX-License-Identifier: MIT
# Clients that take their time, and clients that are too many: each phase of a connection has its
# clock, each number its limit, and whoever waits hinders nobody else. Times are short here, so that
# the tests are; what paces a client sleeps, nothing else does.
import contextlib
import shutil
import socket
import subprocess
import time

import pytest
from api import Client
from suite import PATIENCE, Suite, wait_for
from wire import TIMEOUT_S, Wire

HEADER_S, BODY_S, GRACE_S, IDLE_S, STALL_S = 1.0, 2.0, 0.5, 2.5, 0.5
RATE = 10000  # bytes a second
LATE_S = 0.3 * PATIENCE  # how late an answer may come on a busy machine

GET = b"GET /v1/products HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def suite():
    with Suite(
        SLUICE_HEADER_TIMEOUT=f"{HEADER_S * 1000:.0f}ms",
        SLUICE_BODY_TIMEOUT=f"{BODY_S * 1000:.0f}ms",
        SLUICE_BODY_MIN_RATE=RATE,
        SLUICE_BODY_GRACE=f"{GRACE_S * 1000:.0f}ms",
        SLUICE_IDLE_TIMEOUT=f"{IDLE_S * 1000:.0f}ms",
        SLUICE_WRITE_TIMEOUT=f"{STALL_S * 1000:.0f}ms",
        SLUICE_WRITE_MIN_RATE="1MiB",
    ) as own:
        yield own.up()


def refused(suite, reason):
    name = f'sluice_gateway_refused_total{{reason="{reason}"}}'
    return suite.metrics("gateway-1")[name]


@contextlib.contextmanager
def ends_after(seconds):
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    assert seconds - 0.05 <= took <= seconds + LATE_S, f"{took:.2f} s instead of {seconds} s"


@contextlib.contextmanager
def counted(suite, reason, times=1):
    before = refused(suite, reason)
    yield
    wait_for(lambda: refused(suite, reason) >= before + times, 2, f"{times} times {reason}")
    assert refused(suite, reason) == before + times


def read_408(wire):
    status, headers, body = wire.read_answer()
    assert (status, headers["connection"]) == (408, "close"), body
    assert wire.read_end() == b""


def pace(wire, pieces, seconds):
    """Sends pieces, one every so many seconds by the clock, until the other side says something."""
    begin = time.monotonic()
    for number, piece in enumerate(pieces, 1):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(piece)
        wire.socket.settimeout(max(begin + number * seconds - time.monotonic(), 0.001))
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            if wire.socket.recv(1, socket.MSG_PEEK):
                break
    wire.socket.settimeout(TIMEOUT_S)


class TestHead:
    def test_silent_connection(self, suite):
        """Nobody has asked anything: nothing is answered."""
        with counted(suite, "client-timeout"), Wire(suite.port) as wire, ends_after(HEADER_S):
            assert wire.read_end() == b""

    def test_first_byte_does_not_extend_it(self, suite):
        with counted(suite, "client-timeout"), Wire(suite.port) as wire, ends_after(HEADER_S):
            pace(wire, [b"", b"", b"G"], HEADER_S * 0.45)
            read_408(wire)

    def test_head_that_stops(self, suite):
        with counted(suite, "client-timeout"), Wire(suite.port) as wire, ends_after(HEADER_S):
            wire.send(GET)
            read_408(wire)

    def test_empty_line_and_nothing(self, suite):
        with Wire(suite.port) as wire, ends_after(HEADER_S):
            wire.send(b"\r\n")
            read_408(wire)

    def test_dripping_does_not_extend_it(self, suite):
        with Wire(suite.port) as wire, ends_after(HEADER_S):
            pace(wire, [b"G"] + [b"x"] * 200, 0.02)
            read_408(wire)

    def test_second_request_has_its_own_time(self, suite):
        with Wire(suite.port) as wire:
            for _ in range(3):
                time.sleep(HEADER_S / 2)
                wire.send(GET + b"\r\n")
                assert wire.read_answer()[0] == 200
            wire.send(b"G")
            with ends_after(HEADER_S):
                read_408(wire)


class TestIdle:
    def test_between_requests(self, suite):
        with Wire(suite.port) as wire:
            wire.send(GET + b"\r\n")
            assert wire.read_answer()[0] == 200
            with ends_after(IDLE_S):
                assert wire.read_end() == b""


class TestBody:
    def test_none_comes(self, suite):
        with counted(suite, "client-timeout"), Wire(suite.port) as wire, ends_after(GRACE_S):
            wire.send(POST + b"Content-Length: 1000\r\n\r\n")
            read_408(wire)

    def test_slower_than_the_least_rate(self, suite):
        """Half of the rate: behind by the grace after twice the grace."""
        with Wire(suite.port) as wire, ends_after(2 * GRACE_S):
            wire.send(POST + b"Content-Length: 100000\r\n\r\n")
            pace(wire, [b" " * (RATE // 40)] * 200, 0.05)
            read_408(wire)

    def test_chunk_framing_does_not_count(self, suite):
        with Wire(suite.port) as wire, ends_after(GRACE_S):
            wire.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            pace(wire, [b"1;" + b"x" * 250 + b"\r\n \r\n"] * 16 + [b""] * 40, 0.02)
            read_408(wire)

    def test_fast_enough_but_too_long(self, suite):
        """Twice the rate, and still not done at the deadline."""
        with Wire(suite.port) as wire, ends_after(BODY_S):
            wire.send(POST + b"Content-Length: 1000000\r\n\r\n")
            pace(wire, [b" " * (RATE // 10)] * 200, 0.05)
            read_408(wire)

    def test_slow_but_within_the_grace(self, suite):
        with Wire(suite.port) as wire:
            wire.send(POST + b"Content-Length: 2\r\n\r\n{")
            time.sleep(GRACE_S / 2)
            wire.send(b"}")
            assert wire.read_answer()[0] == 422
            assert wire.is_open()

    def test_body_that_is_thrown_away(self, suite):
        """A refused request's body is bounded, too."""
        with Wire(suite.port) as wire, ends_after(GRACE_S):
            wire.send(b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            read_408(wire)

    def test_half_a_body_and_the_end(self, suite):
        with Wire(suite.port) as wire:
            wire.send(POST + b"Content-Length: 100\r\n\r\n{")
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.read_end() == b""


def ask_until_full(reader, port):
    """Asks for large answers and reads none, until nobody takes any more."""
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", port))
    reader.settimeout(0.2)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while True:
            reader.sendall(request * 100)


class TestAnswer:
    def test_client_that_does_not_read(self, suite):
        """Answers until the buffers are full, then nobody takes any more."""
        with socket.socket() as reader, counted(suite, "slow-reader"):
            ask_until_full(reader, suite.port)
        assert Client(suite.port).get("/v1/products").status == 200

    def test_client_that_reads_too_slowly(self, suite):
        """A little now and then is not enough, however long it goes on."""
        with socket.socket() as reader, counted(suite, "slow-reader"):
            ask_until_full(reader, suite.port)
            before, deadline = refused(suite, "slow-reader"), time.monotonic() + 20 * STALL_S
            while refused(suite, "slow-reader") == before and time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError, ConnectionResetError):
                    reader.recv(3000)  # several times in each STALL_S, and less than the least rate
                time.sleep(STALL_S / 4)
            assert refused(suite, "slow-reader") == before + 1


# --- Numbers


@pytest.fixture(scope="module")
def narrow():
    with Suite(
        SLUICE_MAX_CONNECTIONS=8,
        SLUICE_MAX_CONNECTIONS_PER_ADDRESS=5,
        SLUICE_MAX_REQUESTS_PER_CONNECTION=3,
    ) as own:
        yield own.up()


def connections(suite):
    return suite.metrics("gateway-1")["sluice_gateway_open_connections"]


class Local(Wire):
    """From another loopback address."""

    def __init__(self, port, address):
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=TIMEOUT_S, source_address=(address, 0)
        )
        self.rest = b""


class TestNumbers:
    @pytest.fixture(autouse=True)
    def alone(self, narrow):
        wait_for(lambda: connections(narrow) == 0, 5, "nobody is connected")

    def refused_at_once(self, port, address):
        with Local(port, address) as wire:
            status, headers, _ = wire.read_answer()
            assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
            assert wire.read_end() == b""

    def test_of_one_address(self, narrow):
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(Local(narrow.port, "127.0.0.1")) for _ in range(5)]
            assert all(wire.is_open() for wire in held)
            with counted(narrow, "address-limit"):
                self.refused_at_once(narrow.port, "127.0.0.1")
            with Local(narrow.port, "127.0.0.2") as other:
                assert other.is_open()
            assert held[4].is_open()
        wait_for(lambda: connections(narrow) == 0, 5, "they are gone")
        with Local(narrow.port, "127.0.0.1") as again:
            assert again.is_open()

    def test_of_all(self, narrow):
        with contextlib.ExitStack() as stack:
            held = [
                stack.enter_context(Local(narrow.port, f"127.0.0.{1 + number % 4}"))
                for number in range(8)
            ]
            assert all(wire.is_open() for wire in held)
            with counted(narrow, "connection-limit"):
                self.refused_at_once(narrow.port, "127.0.0.9")
            held.pop().socket.close()
            wait_for(lambda: connections(narrow) == 7, 5, "one has left")
            with Local(narrow.port, "127.0.0.9") as again:
                assert again.is_open()

    def test_requests_of_one_connection(self, narrow):
        with Wire(narrow.port) as wire:
            wire.send((GET + b"\r\n") * 5)
            answers = [wire.read_answer() for _ in range(3)]
            assert [answer[0] for answer in answers] == [200] * 3
            assert [answer[1].get("connection") for answer in answers] == [None, None, "close"]
            assert wire.read_end() == b""


# --- Many slow clients at once

ATTACKS = {
    "slow heads": ["-H", "-i", "1"],
    "slow bodies": ["-B", "-i", "1", "-s", "8192", "-t", "POST"],
    "slow readers": ["-X", "-w", "1", "-y", "2", "-n", "1", "-z", "8", "-k", "3"],
}


@pytest.mark.skipif(not shutil.which("slowhttptest"), reason="slowhttptest is not installed")
@pytest.mark.parametrize("options", ATTACKS.values(), ids=ATTACKS.keys())
def test_others_are_served(suite, options, tmp_path):
    attack = ["slowhttptest", *options, "-c", "200", "-r", "200", "-l", "3", "-p", "1"]
    before = connections(suite)
    with subprocess.Popen(
        [*attack, "-u", f"http://127.0.0.1:{suite.port}/openapi.json"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    ) as attacker:
        try:
            wait_for(lambda: connections(suite) >= before + 20, 5, "the attack is on")
            client, slowest, served = Client(suite.port), 0, 0
            while attacker.poll() is None:
                begin = time.monotonic()
                assert client.get("/v1/products").status == 200
                slowest = max(slowest, time.monotonic() - begin)
                served += 1
        finally:
            attacker.kill()
    assert served > 50 and slowest < 0.5 * PATIENCE, (served, slowest)
    wait_for(lambda: connections(suite) <= before, HEADER_S + IDLE_S + BODY_S + 3, "they are gone")


def test_idle_connections_hinder_nobody(suite):
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(Wire(suite.port)).send(b"GET /v1")
        client = Client(suite.port)
        for _ in range(20):
            assert client.get("/v1/products").status == 200


def test_clients_that_vanish_hinder_nobody(suite):
    request = POST + b'Content-Length: 50\r\n\r\n{"email": "x@example.com", "password": "long and good enough"'
    for cut in range(1, len(request), 7):
        with Wire(suite.port) as wire:
            wire.send(request[:cut])
    for _ in range(30):
        with Wire(suite.port) as wire:
            wire.send(GET + b"\r\n")
    assert Client(suite.port).get("/v1/products").status == 200
