# SPDX-License-Identifier: MIT
# The worker protocol from the other side: a whole worker in Python, and single frames that a
# gateway must refuse.
import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import msgpack
import pytest
import zmq
from api import Client
from crew import Crew
from python_worker import (
    CANCEL,
    CREDIT,
    DRAINING,
    GOODBYE,
    HELLO,
    MAX_BODY,
    PADDING,
    PING,
    PONG,
    READY,
    REFUSED,
    REPLY,
    REQUEST,
    RETURN,
    ROUTES,
    WELCOME,
)
from people import Person, register
from suite import PATIENCE, ROOT, Suite, wait_for
from wire import Wire


@pytest.fixture(scope="module")
def lab():
    """A suite of this file's own: what odd workers leave behind is nobody else's to meet."""
    with Suite() as own:
        yield own.up()


@pytest.fixture
def client(lab):
    return Client(lab.port)


@pytest.fixture(scope="module")
def ada(lab):
    return register(lab.port, "Ada")


@pytest.fixture(scope="module")
def guests(lab):
    """The Python worker, registered."""
    worker = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/system/python_worker.py"), lab.gateway_endpoints[0]]
    )
    client = Client(lab.port)
    wait_for(lambda: client.get("/v1/guests/1").slug == "no-such-guest", 5, "the worker serves")
    yield worker
    worker.terminate()
    assert worker.wait(timeout=5) == 0


class TestPythonWorker:
    def test_serves_routes_like_any_other(self, guests, ada, client):
        answer = ada.post("/v1/guests", {"name": "Grace"})
        assert answer.status == 201
        path = answer.headers["Location"]
        guest = {"name": "Grace", "by": ada.id, "role": "user", "from": "127.0.0.1"}
        assert client.get(path).json() == guest
        assert client.get(path).etag == f'"{answer.json()["number"]}"'
        assert (
            msgpack.unpackb(client.get(path, accept="application/msgpack").body)["name"] == "Grace"
        )

    def test_rules_of_the_gateway_hold_for_it(self, guests, ada, client):
        assert client.post("/v1/guests", {"name": "x"}).status == 401
        assert ada.post("/v1/guests", b"{").slug == "malformed-body"
        assert ada.request("DELETE", "/v1/guests").headers["Allow"]
        assert ada.request("DELETE", "/v1/guests").status == 405

    def test_limit_of_a_route_is_its_own(self, guests, ada, client):
        """A body of as many bytes as the route takes, and of one more, whether it is announced or not."""

        def sign(size, **how):
            return ada.post("/v1/guests", b'{"name":"%s"}' % (b"x" * (size - 11)), **how)

        assert sign(MAX_BODY).status == 201
        written = sign(MAX_BODY).json()["number"]
        too_long = sign(MAX_BODY + 1)
        assert (too_long.status, too_long.slug) == (413, "body-too-large")
        chunks = b"64\r\n" + b" " * 100 + b"\r\n65\r\n" + b" " * 101 + b"\r\n0\r\n\r\n"
        with Wire(client.port) as wire:
            wire.send(
                b"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer " + ada.token.encode() + b"\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + chunks
            )
            assert wire.read_answer()[0] == 413
        assert sign(MAX_BODY).json()["number"] == written + 1  # the others reached nobody

    def test_its_problems_and_operations_are_published(self, guests, client):
        assert client.get("/problems/no-such-guest").json()["title"] == "No such guest"
        problem = client.get("/v1/guests/99").json()
        assert (problem["title"], problem["status"]) == ("No such guest", 404)
        assert "/v1/guests/{number}" in client.get("/openapi.json").json()["paths"]


class Peer:
    """A DEALER that says what it is told to, to one gateway."""

    numbers = iter(range(1, 10**6))

    def __init__(self, endpoint, identity=None):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        if identity:
            self.socket.setsockopt(zmq.IDENTITY, identity)
        self.socket.connect(endpoint)
        self.frames = []  # received and not looked at yet: a message may hold several

    def send(self, *frame):
        self.socket.send(msgpack.packb(list(frame)))

    def receive(self, timeout_ms=3000):
        """The next frame that is no PING; None when none comes."""
        deadline = time.monotonic() + timeout_ms / 1000
        while self.frames or self._more(deadline):
            frame = self.frames.pop(0)
            if frame[0] != PING:
                return frame
            self.send(PONG, frame[1], 0, 0)
        return None

    def _more(self, deadline):
        left_ms = int((deadline - time.monotonic()) * 1000)
        if left_ms <= 0 or not self.socket.poll(left_ms):
            return False
        unpacker = msgpack.Unpacker()
        unpacker.feed(self.socket.recv())
        self.frames = list(unpacker)
        return True

    def close(self):
        self.socket.close()


@pytest.fixture
def peer(lab):
    made = Peer(lab.gateway_endpoints[0])
    yield made
    with contextlib.suppress(zmq.ZMQError):
        made.send(GOODBYE)
        made.socket.close(500)


def hello(**changes):
    return {
        "protocol": 1,
        "service": "odd",
        "version": "1",
        "instance": f"odd-{next(Peer.numbers)}",
        "role": 0,
        "capacity": 4,
        "heartbeat_ms": 1000,
        "schema": "odd",
        "routes": [{**ROUTES[0], "pattern": "/v1/odd/{id}"}],
        "problems": [],
        "schemas": {},
        **changes,
    }


class TestRefusals:
    def test_well_formed_hello_is_welcome(self, peer):
        peer.send(HELLO, hello())
        frame = peer.receive()
        assert frame[0] == WELCOME and frame[1] == "gateway-1" and 50 <= frame[2] <= 60000

    def test_several_frames_in_one_message(self, peer, lab):
        peer.socket.send(
            b"".join(msgpack.packb(frame) for frame in ([HELLO, hello()], [READY, 4], [CREDIT, 2]))
        )
        assert peer.receive()[0] == WELCOME
        wait_for(
            lambda: '"odd"' in lab.admin_page("gateway-1", "/topology")[1], 2, "the worker is known"
        )
        peer.socket.send(msgpack.packb([PONG, 1, 0, 0]) + b"\xc1")
        assert peer.receive()[:2] == [REFUSED, "malformed"]

    WRONG = {
        "protocol": ({"protocol": 2}, "protocol-version"),
        "service name": ({"service": "No Such"}, "malformed"),
        "instance too long": ({"instance": "x" * 65}, "malformed"),
        "no capacity": ({"capacity": 0}, "malformed"),
        "heartbeat too short": ({"heartbeat_ms": 1}, "malformed"),
        "routes are text": ({"routes": "x"}, "malformed"),
        "method unknown": ({"routes": [{**ROUTES[0], "method": "BREW"}]}, "malformed"),
        "pattern without slash": ({"routes": [{**ROUTES[0], "pattern": "v1"}]}, "malformed"),
        "operation is no JSON": (
            {"routes": [{**ROUTES[0], "pattern": "/v1/odd", "operation": "{"}]},
            "malformed",
        ),
        "taken route": (
            {"routes": [{**ROUTES[0], "pattern": "/v1/users/{name}"}]},
            "route-conflict",
        ),
        "too many routes": (
            {"routes": [{**ROUTES[0], "pattern": f"/v1/x{i}"} for i in range(129)]},
            "malformed",
        ),
    }

    @pytest.mark.parametrize("changes,reason", WRONG.values(), ids=WRONG.keys())
    def test_hello_that_is_wrong(self, peer, client, changes, reason):
        peer.send(HELLO, {**hello(service="wrong", schema="wrong"), **changes})
        frame = peer.receive()
        assert frame[0] == REFUSED and frame[1] == reason and frame[2]
        assert client.get("/v1/users/me").status == 401  # and the gateway goes on

    @pytest.mark.parametrize(
        "frame", [(READY, 4), (REPLY, 1, 200, [], 0, 0, 0, None), (PONG, 1, 0, 0), (DRAINING,)]
    )
    def test_unknown_peer_must_say_hello(self, peer, frame):
        peer.send(PADDING, b"")  # which nobody has to be known for
        peer.send(*frame)
        assert peer.receive()[:2] == [REFUSED, "unknown-peer"]
        assert peer.receive(100) is None

    @pytest.mark.parametrize(
        "data",
        [
            b"\xc1",
            b"\x90",
            msgpack.packb([99]),
            msgpack.packb({"a": 1}),
            b"\xdd\xff\xff\xff\xff",
            msgpack.packb([HELLO]),
            msgpack.packb([HELLO, 1]),
            msgpack.packb(["HELLO", {}]),
        ],
    )
    def test_malformed_frames(self, peer, client, data):
        peer.socket.send(data)
        frame = peer.receive()
        assert frame[0] == REFUSED and frame[1] in ("malformed", "unknown-peer")
        assert client.get("/v1/users/me").status == 401

    def test_own_routing_id(self, lab):
        peer = Peer(lab.gateway_endpoints[0], identity=b"gateway")
        peer.send(HELLO, hello())
        assert peer.receive()[:2] == [REFUSED, "routing-id"]
        peer.close()

    def test_frame_over_the_limit_cuts_the_connection_only(self, peer, client):
        peer.socket.send(b"x" * (4 * 1024 * 1024 + 1))
        assert client.get("/v1/users/me").status == 401
        peer.send(HELLO, hello())  # on the connection that ZeroMQ makes anew
        assert peer.receive(5000)


def serving(suite):
    """Instances of the workers that may be sent requests."""
    services = json.loads(suite.admin_page("gateway-1", "/topology")[1])["services"]
    return [w["instance"] for service in services for w in service["workers"] if w["state"] == "serving"]


class Served:
    """A registered odd worker and a client's request to it."""

    def __init__(self, lab, peer, **route):
        routes = [{**ROUTES[0], "pattern": "/v1/odd/{id}", **route}]
        self.hello = hello(routes=routes, schema=f"odd {route}")  # a table of another name
        self.path = "/v1/odd/7"
        self.port = lab.port
        self.join(lab, peer)

    def join(self, lab, peer):
        """The peer as this worker. It serves before anything is asked: nobody may have for so long that requests are
        refused at once."""
        peer.send(HELLO, self.hello)
        assert peer.receive()[0] == WELCOME
        peer.send(READY, 4)
        wait_for(lambda: self.hello["instance"] in serving(lab), 5, "the worker serves")

    def request(self):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(Client(self.port).get(self.path)))
        thread.start()

        def result():
            thread.join(15)
            return answers[0]

        return result


class TestAnswers:
    def reply(self, peer, lab, status=200, headers=(), body=None, raw=None):
        served = Served(lab, peer)
        result = served.request()
        frame = peer.receive()
        assert frame[0] == REQUEST and frame[7] == ["7"]
        if raw is not None:
            peer.socket.send(raw)
        else:
            peer.send(REPLY, frame[1], status, list(headers), 1, 2, 3, body)
        return result()

    def test_value_is_rendered(self, peer, lab):
        body = {"text": 'ä"\\\n\u2028', "big": 2**53 + 1, "half": 0.5, "list": [None, True, -1]}
        answer = self.reply(peer, lab, body=msgpack.packb(body))
        assert answer.status == 200 and answer.json() == body

    @pytest.mark.parametrize("sensitive", [True, False])
    def test_padding_is_around_credentials(self, peer, lab, sensitive):
        served = Served(lab, peer, sensitive=sensitive)
        result = served.request()
        padding = [[PADDING, bytes(8192)]] if sensitive else []
        frames = [peer.receive() for _ in range(1 + 2 * len(padding))]
        request = frames.pop(len(padding))
        assert frames == 2 * padding and request[0] == REQUEST and not peer.frames
        answer = [REPLY, request[1], 200, [], 1, 2, 3, msgpack.packb({"a": 1})]
        pad = [PADDING, b"x" * 5000, "from a newer peer"]
        peer.socket.send(b"".join(msgpack.packb(frame) for frame in (pad, answer, pad)))
        assert result().json() == {"a": 1}
        assert peer.receive(100) is None  # nothing was refused

    def test_headers_outside_the_list_are_dropped(self, peer, lab):
        headers = [
            ["set-cookie", "a=b"],
            ["x-evil", "1"],
            ["etag", '"x"\r\nSet-Cookie: a=b'],
            ["location", "/v1/x"],
        ]
        answer = self.reply(peer, lab, headers=headers, body=msgpack.packb({}))
        assert answer.status == 200 and answer.headers["Location"] == "/v1/x"
        assert not {"Set-Cookie", "X-Evil", "ETag"} & set(answer.headers.keys())

    @pytest.mark.parametrize(
        "status,body",
        [
            (200, b"\xc1"),
            (200, msgpack.packb({1: 2})),
            (200, b"\x81\xa1a"),
            (404, msgpack.packb("x")),
            (404, None),
            (200, msgpack.packb(b"\xff\xfe")),
        ],
    )
    def test_body_that_cannot_be_rendered(self, peer, lab, status, body):
        answer = self.reply(peer, lab, status=status, body=body)
        assert (answer.status, answer.slug) == (500, "internal")

    @pytest.mark.parametrize("status", [204, 304])
    def test_no_body_where_there_can_be_none(self, peer, lab, status):
        """It would pass for the next answer."""
        served = Served(lab, peer)
        with Wire(lab.port) as wire:
            for path in (served.path, "/livez"):
                wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            frame = peer.receive()
            peer.send(REPLY, frame[1], status, [], 0, 0, 0, msgpack.packb({"a": "HTTP/1.1 500 No\r\n\r\n"}))
            assert [wire.read_answer()[0] for _ in range(2)] == [status, 200]

    def test_unannounced_problem_keeps_its_status(self, peer, lab):
        answer = self.reply(
            peer, lab, status=409, body=msgpack.packb({"slug": "odd-thing", "detail": "x"})
        )
        assert (
            answer.status == 409
            and answer.json()["detail"] == "x"
            and answer.json()["status"] == 409
        )

    def test_worker_that_leaves_with_a_request(self, peer, lab):
        """Nobody else serves the route: the request waits for one, and then learns the truth."""
        served = Served(lab, peer)
        result = served.request()
        assert peer.receive()[0] == REQUEST
        peer.close()
        answer = result()
        assert answer.status in (502, 503, 504), answer

    def test_text_that_is_not_utf8_does_not_break_the_json(self, peer, lab):
        answer = self.reply(peer, lab, body=b"\x81\xa1a\xa2\xff\xfe")
        assert answer.status == 500 or answer.json() == {"a": "\ufffd\ufffd"}

    def test_worker_that_never_answers(self, peer, lab):
        served = Served(lab, peer)
        begin = time.monotonic()
        result = served.request()
        frame = peer.receive()
        assert frame[0] == REQUEST and 4000 < frame[3] <= 5000
        while time.monotonic() < begin + 5.5:
            peer.receive(200)  # answers PINGs: busy, not dead
        assert (result().status, result().slug) == (504, "deadline-exceeded")
        peer.send(REPLY, frame[1], 200, [], 0, 0, 0, msgpack.packb({}))  # late: counted and dropped
        result = served.request()
        again = peer.receive()
        peer.send(REPLY, again[1], 200, [], 0, 0, 0, msgpack.packb({"again": True}))
        assert result().json() == {"again": True}

    @pytest.mark.alone
    def test_deadline_is_exact(self, peer, lab):
        served = Served(lab, peer)
        begin = time.monotonic()
        assert served.request()().status == 504
        assert 4.9 < time.monotonic() - begin < 5 + 0.2 * PATIENCE

    def test_client_that_leaves_cancels_its_request(self, peer, lab):
        served = Served(lab, peer)
        with Wire(lab.port) as wire:
            wire.send(f"GET {served.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            frame = peer.receive()
            assert frame[0] == REQUEST
        assert peer.receive() == [CANCEL, frame[1]]

    def test_returned_request_is_sent_again(self, peer, lab):
        served = Served(lab, peer)
        result = served.request()
        frame = peer.receive()
        peer.send(RETURN, frame[1], "full")
        peer.send(CREDIT, 4)
        again = peer.receive()
        assert again[0] == REQUEST and again[2] == 1  # not counted as an attempt
        peer.send(REPLY, again[1], 200, [], 0, 0, 0, msgpack.packb({"ok": True}))
        assert result().json() == {"ok": True}

    def test_draining_is_answered_and_no_request_follows(self, peer, lab):
        served = Served(lab, peer)
        second = Peer(lab.gateway_endpoints[0])
        second.send(HELLO, {**served.hello, "instance": "odd-2"})
        assert second.receive()[0] == WELCOME
        results = [served.request() for _ in range(4)]
        frames = [peer.receive() for _ in range(4)]
        second.send(READY, 16)
        peer.send(DRAINING)
        peer.send(DRAINING)  # said again, answered again
        results += [served.request() for _ in range(4)]
        frames += iter(lambda: peer.receive(500), None)
        others = [second.receive() for _ in range(8 - sum(f[0] == REQUEST for f in frames))]
        assert frames[-2:] == [[DRAINING], [DRAINING]]  # behind every request
        for worker, taken in ((peer, frames[:-2]), (second, others)):
            for frame in taken:
                assert frame[0] == REQUEST
                worker.send(REPLY, frame[1], 200, [], 0, 0, 0, msgpack.packb({}))
        assert [result().status for result in results] == [200] * 8
        second.send(GOODBYE)
        second.socket.close(500)

    @pytest.mark.alone
    def test_only_silence_is_pinged(self, peer, lab):
        """Who talks and is talked to is known to be there. (A worker has to hear something, too.)"""
        heartbeat_s, pings = 0.5, 0
        mine = hello(heartbeat_ms=round(1000 * heartbeat_s))
        peer.send(HELLO, mine)
        assert peer.receive()[:1] == [WELCOME]
        peer.send(READY, 4)

        def pinged(during_s):
            """Answers requests for so long; returns how many PINGs came between them."""
            count, end = 0, time.monotonic() + during_s
            while (left_s := end - time.monotonic()) > 0:
                if not peer.frames and not peer._more(time.monotonic() + min(left_s, 0.1)):
                    continue
                frame = peer.frames.pop(0)
                if frame[0] == PING:
                    count += 1
                    peer.send(PONG, frame[1], 0, 0)
                elif frame[0] == REQUEST:
                    peer.send(REPLY, frame[1], 200, [], 0, 0, 0, msgpack.packb({}))
            return count

        def ask():
            client = Client(lab.port)
            while not crew.ending.wait(0.02):
                assert client.get("/v1/odd/7").status == 200

        crew = Crew(ask)
        with crew:
            pinged(heartbeat_s)  # one may have been due
            pings = pinged(6 * heartbeat_s)
            crew.ending.set()
            pinged(0.2)  # lets the last request have its answer
        assert pings == 0
        assert 1 <= pinged(3 * heartbeat_s) <= 4

    def test_hello_again_replaces_the_first(self, peer, lab):
        served = Served(lab, peer)
        second = Peer(lab.gateway_endpoints[0])
        served.join(lab, second)
        result = served.request()
        frame = second.receive()
        assert frame[0] == REQUEST
        second.send(REPLY, frame[1], 200, [], 0, 0, 0, msgpack.packb({"by": "second"}))
        assert result().json() == {"by": "second"}
        second.send(GOODBYE)
        second.socket.close(500)

    def test_never_more_than_the_credit(self, peer, lab):
        served = Served(lab, peer)
        results = [served.request() for _ in range(10)]
        first = [peer.receive() for _ in range(4)]
        assert all(frame[0] == REQUEST for frame in first)
        assert peer.receive(300) is None
        for _ in range(10):
            frame = first.pop(0)
            peer.send(REPLY, frame[1], 200, [], 0, 0, 0, msgpack.packb({}))
            following = peer.receive(300)
            first += [following] if following else []
        assert [result().status for result in results] == [200] * 10


@pytest.mark.alone
def test_a_busy_machine_does_not_keep_people_out():
    """Hashing has a low priority. It must get its part all the same (a twentieth of a core beside two others on each of
    two), and not hold up the worker."""
    with Suite(SLUICE_RATE_LIMIT_AUTH="off") as own:
        own.up()
        people = [register(own.port) for _ in range(2)]
        pid = own.pid("users-1")
        busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 * len(os.sched_getaffinity(0)))]
        try:
            with concurrent.futures.ThreadPoolExecutor(len(people)) as pool:
                for _ in range(3):
                    list(pool.map(Person.log_in, people))
        finally:
            for process in busy:
                process.kill()
                process.wait()
        assert own.pid("users-1") == pid
        assert own.metrics("gateway-1")["sluice_gateway_workers_lost_total"] == 0
