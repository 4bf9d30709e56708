# SPDX-License-Identifier: MIT
# The console at the gateway's admin listener: who may, what it says, what it lets people do, what it
# refuses, and what it costs. The page itself is tested in test_console_page.py.
import contextlib
import http.client
import json
import re
import threading
import time

import pytest
from api import Client
from people import fresh, register
from queue_client import TERM, Member, Queue, new_event
from suite import CLEAN, PATIENCE, Suite, free_port, new_home, run, wait_for
from test_inner_links import TcpSuite
from test_suite_metrics import Impostor, page

FILES = ["/console", "/console/console.js", "/console/console.css", "/console/theme.css", "/console/icon.svg"]
GETS = ["/console/events", "/console/tail", "/console/dead?group=g"]
POSTS = ["/console/dead/retry", "/console/dead/drop"]
PAGES, TAILS = 8, 4  # limits


class Desk:
    """Somebody at the first gateway's admin listener."""

    def __init__(self, suite):
        self.suite = suite
        self.port = int(suite.environment["SLUICE_ADMIN_LISTEN"].rpartition(":")[2])
        self.token = suite.secret("admin-token")

    def ask(self, path, body=None, token=None, headers=None, method=None):
        """(status, headers, body); token "" is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15 * PATIENCE)
        token = self.token if token is None else token
        fields = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            fields["Content-Type"] = "application/json"
            body = body if isinstance(body, (str, bytes)) else json.dumps(body)
        method = method or ("GET" if body is None else "POST")
        connection.request(method, path, body, {**fields, **(headers or {})})
        response = connection.getresponse()
        endless = response.headers["Content-Type"] == "text/event-stream"
        answer = response.status, response.headers, b"" if endless else response.read()
        connection.close()
        return answer

    def json(self, path, body=None):
        status, _, answer = self.ask(path, body)
        return status, json.loads(answer)

    def stream(self, path, token=None):
        return Stream(self.port, path, self.token if token is None else token)


class Stream:
    """Server-sent events, read when they are asked for."""

    def __init__(self, port, path, token):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15 * PATIENCE)
        self.connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def __enter__(self):
        assert self.status == 200, self.response.read()
        assert self.response.headers["Content-Type"] == "text/event-stream"
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self.response.close()
        self.connection.close()

    def __iter__(self):
        """(event, data), until the server ends it."""
        name = None
        while line := self.response.readline():
            if line.startswith(b"event: "):
                name = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                yield name, json.loads(line[6:])

    def until(self, name, wanted=lambda data: True, timeout=10):
        deadline = time.monotonic() + timeout * PATIENCE
        for event, data in self:
            if event == name and wanted(data):
                return data
            assert time.monotonic() < deadline, f"no {name} in {timeout} s"
        raise AssertionError(f"the stream ended without {name}")


@pytest.fixture(scope="module")
def lab():
    with Suite(SLUICE_ADMIN_LISTEN=f"127.0.0.1:{free_port()}") as own:
        yield own.up()


@pytest.fixture
def desk(lab):
    return Desk(lab)


@pytest.fixture
def events(lab):
    with Queue(lab.queue_endpoint) as connection:
        yield connection


@pytest.fixture
def dead(lab, events):
    """Makes a group that has n dead letters: (its name, sequences of the letters)."""

    def make(n=1, data=None):
        group = fresh("desk")
        topic = f"{group}.thing.made"
        events.call("group-set", group=group, filters=[topic], max_deliveries=1)
        events.publish([new_event(topic, data or {"n": i}, key=f"k{i}") for i in range(n)])
        with Member(lab.queue_endpoint, group) as member:
            member.settle(member.take(n), TERM, error="no such <b>thing</b>")
        wait_for(lambda: events.call("dead", group=group)["total"] == n, 5, "the letters are there")
        return group, [entry["seq"] for entry in events.call("dead", group=group)["entries"]]

    return make


class TestPage:
    @pytest.mark.parametrize("path", FILES)
    def test_files_are_for_everybody(self, desk, path):
        status, headers, body = desk.ask(path, token="")
        assert status == 200 and body
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        assert policy["style-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert desk.token.encode() not in body
        assert desk.ask(path, token="", method="HEAD")[2] == b""
        assert desk.ask(path, "{}", token="")[0] == 405

    def test_it_is_small(self, desk):
        assert sum(len(desk.ask(path)[2]) for path in FILES) < 200_000

    def test_it_loads_nothing_from_elsewhere(self, desk):
        for path in FILES[:4]:
            text = desk.ask(path)[2].decode().replace("http://www.w3.org/", "")
            assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]+/", text), path
        html = desk.ask("/console")[2].decode()
        assert not re.search(r"<style|style=|<script(?! src)|\son[a-z]+=", html)


class TestToken:
    @pytest.mark.parametrize("path", GETS)
    @pytest.mark.parametrize("header", ["", "Bearer ", "Bearer wrong", "Basic {}", "bearer {}", "{}", "Bearer {}x"])
    def test_reading_needs_it(self, desk, path, header):
        headers = {"Authorization": header.format(desk.token)} if header else {}
        status, fields, body = desk.ask(path, token="", headers=headers)
        assert status == 401 and fields["WWW-Authenticate"] and json.loads(body)["error"]

    @pytest.mark.parametrize("path", POSTS)
    def test_changing_needs_it(self, desk, dead, events, path):
        group, seqs = dead(1)
        assert desk.ask(path, {"group": group, "seqs": seqs}, token="")[0] == 401
        assert desk.ask(path, {"group": group, "seqs": seqs}, token="x" * 43)[0] == 401
        assert events.call("dead", group=group)["total"] == 1

    def test_it_is_no_part_of_an_address(self, desk):
        assert desk.ask(f"/console/events?token={desk.token}", token="")[0] == 401
        assert desk.ask("/console/events", token="", headers={"Cookie": f"token={desk.token}"})[0] == 401

    def test_also_on_the_socket(self, desk, lab):
        assert lab.admin_page("gateway-1", "/console/dead?group=g")[0] == 401

    def test_refusals_are_counted(self, desk, lab):
        name = "sluice_gateway_console_refused_total"
        before = lab.metrics("gateway-1")[name]
        desk.ask("/console/events", token="wrong")
        assert lab.metrics("gateway-1")[name] == before + 1

    def test_the_public_port_has_no_console(self, desk, lab):
        client = Client(lab.port)
        for path in FILES + GETS:
            assert client.get(path).status == 404

    def test_without_a_token_there_is_none(self):
        home = new_home()
        port = free_port()
        env = {**CLEAN, "SLUICE_HOME": str(home)}
        with Suite(home=home, SLUICE_ADMIN_LISTEN=f"127.0.0.1:{port}", SLUICE_SCALE_GATEWAY=0) as own:
            own.owns_home = True
            assert run("sluice", "init", env=env).returncode == 0
            (home / "secrets/admin-token").write_text("short\n")
            result = run("sluice-gateway", env={**env, "SLUICE_LISTEN": f"127.0.0.1:{free_port()}"})
            assert result.returncode == 78 and "the admin token cannot be used" in result.stdout + result.stderr
            (home / "secrets/admin-token").chmod(0o644)
            assert run("sluice-gateway", env=env).returncode == 78

    def test_a_token_by_variable(self, own_suite):
        port = free_port()
        token = "chosen-by-somebody-0123456789"
        own_suite.environment.update(SLUICE_ADMIN_LISTEN=f"127.0.0.1:{port}", SLUICE_ADMIN_TOKEN=token)
        own_suite.up()
        desk = Desk(own_suite)
        assert desk.ask("/console/dead?group=g")[0] == 401  # the file's
        assert desk.ask("/console/dead?group=g", token=token)[0] != 401
        assert token not in own_suite.log()


class TestEvents:
    def test_what_a_page_gets(self, desk, lab):
        with desk.stream("/console/events") as stream:
            hello = stream.until("hello")
            assert hello["gateway"] == "gateway-1" and hello["buckets"][-1] is None
            topology = stream.until("topology")
            assert {s["service"] for s in topology["services"]} == {"users", "orders", "search"}
            figures = stream.until("figures")
            assert {p["instance"] for p in figures["processes"] if p["up"]} == {*lab.instances(), "supervisor"}
            values = {name for p in figures["processes"] for name, _, _ in p["values"]}
            assert {"sluice_ready", "process_cpu_seconds_total", "sluice_store_bytes"} <= values
            assert not figures["cut"] and figures["left_out"] == 0
            queue = stream.until("queue", lambda q: q["up"])
            assert queue["last_seq"] >= 0 and isinstance(queue["groups"], list)

    def test_the_queue_is_there_at_once(self, desk):
        """Not said to be away while the connection is being made."""
        with desk.stream("/console/events") as stream:
            assert stream.until("queue")["up"]

    def test_requests_become_figures(self, desk, lab):
        client = Client(lab.port)
        for _ in range(5):
            assert client.get("/v1/products").status == 200

        def counted(figures):
            return any(
                name == "http_server_request_duration_seconds" and '"/v1/products"' in labels and sum(counts) >= 5
                for p in figures["processes"]
                for name, labels, _, counts in p["times"]
            )

        with desk.stream("/console/events") as stream:
            stream.until("figures", counted)

    def test_the_slowest_requests(self, desk, lab):
        """A password is hashed for long; the parts of each request are all of its time."""
        register(lab.port)
        with desk.stream("/console/events") as stream:
            slow = stream.until("slow", lambda s: any(r["request"] == "POST /v1/users" for r in s["requests"]))
        wholes = [r["whole_us"] for r in slow["requests"]]
        assert 0 < len(wholes) <= 10 and wholes == sorted(wholes, reverse=True)
        for r in slow["requests"]:
            assert sum(r["parts_us"].values()) == r["whole_us"] >= 1000
            assert re.fullmatch("[0-9a-f]{32}", r["trace_id"]) and abs(time.time() * 1000 - r["began_ms"]) < 600_000
        made = next(r for r in slow["requests"] if r["request"] == "POST /v1/users")
        assert made["status"] == 201 and made["instance"].startswith("users-")
        assert made["parts_us"]["handler"] == max(made["parts_us"].values())
        assert set(made["parts_us"]) == {"gateway", "wait", "way", "queue", "handler", "store"}

    def test_several_pages_share_the_work(self, desk, lab):
        """Two pages, one scrape."""
        with Impostor(page(""), lab.home / "run/counter-1.admin.sock") as counter, contextlib.ExitStack() as stack:
            streams = [stack.enter_context(desk.stream("/console/events")) for _ in range(3)]
            for stream in streams:
                stream.until("figures")
            begin, asked = time.monotonic(), counter.asked
            for _ in range(3):
                streams[0].until("figures")
            passed = time.monotonic() - begin
            assert counter.asked - asked <= passed / 2 + 2

    def test_closed_it_costs_nothing(self, desk, lab):
        pages = "sluice_gateway_console_pages"
        with Impostor(page(""), lab.home / "run/counter-1.admin.sock") as counter:
            with desk.stream("/console/events") as stream:
                stream.until("queue", lambda q: q["up"])
                stream.until("figures")  # of a scrape that is over: the next is a while away
                assert lab.metrics("gateway-1")[pages] == 1
            wait_for(lambda: lab.metrics("gateway-1")[pages] == 0, 5, "the page is gone")
            asked = counter.asked
            time.sleep(3)  # something that does not happen cannot be waited for
            assert counter.asked == asked

    def test_the_queue_goes_and_comes_back(self, desk, lab):
        with desk.stream("/console/events") as stream:
            stream.until("queue", lambda q: q["up"])
            pid = lab.kill("queue-1")
            assert stream.until("queue", lambda q: not q["up"]) == {"up": False}
            lab.wait_replaced("queue-1", pid)
            stream.until("queue", lambda q: q["up"])
        lab.wait_ready()

    def test_more_pages_than_there_may_be(self, desk, lab):
        with contextlib.ExitStack() as stack:
            for _ in range(PAGES):
                stack.enter_context(desk.stream("/console/events"))
            for _ in range(TAILS):
                stack.enter_context(desk.stream("/console/tail"))
            for path in ("/console/events", "/console/tail"):
                refused = desk.stream(path)
                assert refused.status == 503 and refused.response.headers["Retry-After"]
                refused.close()
            # Supervisors, scrapers and people still have room.
            assert lab.admin_page("gateway-1", "/readyz")[0] == 200
            assert desk.ask("/metrics")[0] == 200

        def has_room():
            with contextlib.closing(desk.stream("/console/events")) as stream:
                return stream.status == 200

        wait_for(has_room, 5, "there is room again")


class TestTail:
    def test_events_as_they_come(self, desk, events):
        topic = f"{fresh('tail')}.thing.made"
        events.publish([new_event(topic, {"n": 0})])
        with desk.stream(f"/console/tail?topics={topic}&last=1") as stream:
            first = stream.until("event")
            assert (first["topic"], first["data"]) == (topic, {"n": 0})
            seq = events.publish([new_event(topic, {"text": "a\nb<script>"}, key="k", subject="s")])["first_seq"]
            event = stream.until("event")
            assert event["seq"] == seq and event["key"] == "k" and event["subject"] == "s"
            assert event["data"] == {"text": "a\nb<script>"}

    def test_filters(self, desk, events):
        word = fresh("tail")
        with desk.stream(f"/console/tail?topics={word}.a,{word}.b.%3E&key=k&where=.data.n+%3E+1") as stream:
            wait_for(lambda: any(
                s["filters"] == [f"{word}.a", f"{word}.b.>"] for s in events.info()["subscriptions"]
            ), 5, "it is subscribed")
            for topic, key, n in [("a", "k", 1), ("c", "k", 2), ("a", "x", 2), ("b.c", "k", 2), ("a", "k", 3)]:
                events.publish([new_event(f"{word}.{topic}", {"n": n}, key=key)])
            assert [stream.until("event")["data"]["n"] for _ in range(2)] == [2, 3]

    @pytest.mark.parametrize(
        "query",
        ["topics=A", "topics=a..b", "topics=%zz", "topics=a%00", "last=101", "last=-1", "last=x", "key=" + "k" * 257,
         "topics=" + ",".join(["a"] * 17), "where=" + "x" * 1025, "topics=" + "a" * 2000],
    )
    def test_queries_that_are_refused(self, desk, query):
        status, _, body = desk.ask(f"/console/tail?{query}")
        assert status == 400 and json.loads(body)["error"]

    def test_a_filter_that_the_queue_refuses(self, desk):
        with desk.stream("/console/tail?where=.data+%3E") as stream:
            ended = stream.until("ended")
            assert ended["reason"] == "invalid-filter" and ended["detail"]
            assert list(stream) == []

    def test_a_large_event_is_named_only(self, desk, events):
        topic = f"{fresh('tail')}.thing.made"
        with desk.stream(f"/console/tail?topics={topic}&last=5") as stream:
            events.publish([new_event(topic, "x" * 500_000)])
            event = stream.until("event")
            assert event["data"] is None and event["bytes"] > 500_000

    @pytest.mark.alone
    def test_a_flood_is_skipped_and_harms_nobody(self, desk, lab, events):
        topic = f"{fresh('tail')}.thing.made"
        client = Client(lab.port)
        ending = threading.Event()

        def flood():
            with Queue(lab.queue_endpoint) as connection:
                while not ending.is_set():
                    connection.publish([new_event(topic, {"n": n}) for n in range(200)])
                    time.sleep(0.05)

        flooder = threading.Thread(target=flood)
        with desk.stream(f"/console/tail?topics={topic}") as stream:
            flooder.start()
            try:
                begin, seen = time.monotonic(), 0
                for event, _ in stream:
                    seen += event == "event"
                    if event == "skipped":
                        break
                passed = time.monotonic() - begin
                assert seen <= 100 * passed + 40  # 100/s, whatever comes
                assert client.get("/v1/products").status == 200
                assert stream.until("event")["seq"]  # it goes on
            finally:
                ending.set()
                flooder.join()

    @pytest.mark.alone
    def test_one_who_does_not_read_is_cut(self, desk, lab, events):
        topic = f"{fresh('tail')}.thing.made"
        ending = threading.Event()

        def publish():
            with Queue(lab.queue_endpoint) as connection:
                while not ending.is_set():
                    connection.publish([new_event(topic, "x" * 15000) for _ in range(20)])
                    time.sleep(0.1)

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            with desk.stream(f"/console/tail?topics={topic}") as stream:
                stream.until("event")
                tails = lambda: sum(topic in s["filters"] for s in events.info()["subscriptions"])
                assert tails() == 1
                wait_for(lambda: tails() == 0, 40, "its subscription is given up")
        finally:
            ending.set()
            publisher.join()


class TestDeadLetters:
    def test_look(self, desk, dead):
        group, seqs = dead(3)
        status, answer = desk.json(f"/console/dead?group={group}")
        assert status == 200 and answer["total"] == 3 and answer["group"] == group
        assert [letter["seq"] for letter in answer["letters"]] == seqs
        why = answer["letters"][0]["event"]["data"]
        assert why["error"] == "no such <b>thing</b>" and why["event"]["data"] == {"n": 0}
        status, answer = desk.json(f"/console/dead?group={group}&after={seqs[0]}")
        assert [letter["seq"] for letter in answer["letters"]] == seqs[1:]

    def test_a_page_of_many(self, desk, dead):
        group, seqs = dead(60)
        answer = desk.json(f"/console/dead?group={group}")[1]
        assert [letter["seq"] for letter in answer["letters"]] == seqs[:50] and answer["total"] == 60
        assert all(letter["event"] for letter in answer["letters"])
        answer = desk.json(f"/console/dead?group={group}&after={seqs[49]}")[1]
        assert [letter["seq"] for letter in answer["letters"]] == seqs[50:]

    def test_retry(self, desk, dead, lab, events):
        group, seqs = dead(2)
        assert desk.json("/console/dead/retry", {"group": group, "seqs": [seqs[0]]}) == (200, {"changed": 1, "missing": 0})
        with Member(lab.queue_endpoint, group) as member:
            delivery = member.take(1)[0]
            assert (delivery.seq, delivery.event["data"]) == (seqs[0], {"n": 0})
            member.settle(delivery)
            member.none()
        assert desk.json("/console/dead/retry", {"group": group, "seqs": [seqs[0]]}) == (200, {"changed": 0, "missing": 1})
        assert f"console: dead-retry of 1 dead letters of {group}" in lab.log()

    def test_drop(self, desk, dead, events):
        group, seqs = dead(2)
        assert desk.json("/console/dead/drop", {"group": group, "seqs": seqs}) == (200, {"changed": 2, "missing": 0})
        assert events.call("dead", group=group)["total"] == 0
        assert desk.json(f"/console/dead?group={group}")[1]["letters"] == []

    @pytest.mark.parametrize(
        "body",
        ["", "{", "[]", "{}", '{"group":"g"}', '{"group":"g","seqs":[]}', '{"group":"g","seqs":[-1]}', '{"group":"g","seqs":["1"]}',
         '{"group":"g","seqs":[1.5]}', '{"group":"G!","seqs":[1]}', '{"group":"g","seqs":[1],"dry_run":false}', '{"group":1,"seqs":[1]}',
         '{"group":"g","seqs":' + str(list(range(1, 102))) + "}", '{"group":"' + "g" * 65 + '","seqs":[1]}', b"\xff\xfe"],
    )
    @pytest.mark.parametrize("path", POSTS)
    def test_bodies_that_are_refused(self, desk, path, body):
        status, _, answer = desk.ask(path, body)
        assert status == 400 and json.loads(answer)["error"]

    def test_other_requests_that_are_refused(self, desk):
        body = '{"group":"g","seqs":[1]}'
        for path in POSTS:
            assert desk.ask(path)[0] == 405
            # What a form or a script of another page can send without asking first.
            assert desk.ask(path, body, headers={"Content-Type": "text/plain"})[0] == 400
            assert desk.ask(path, body + " " * 4096)[0] == 413
            assert desk.ask(path, body)[0] == 409  # no such group, says the queue
        for query in ["", "?group=", "?group=A", "?group=g&after=x", "?group=g&after=-1", "?group=" + "g" * 65]:
            assert desk.ask(f"/console/dead{query}")[0] == 400, query
        assert desk.ask("/console/dead?group=no-such-group")[0] == 409

    def test_while_the_queue_is_away(self, desk, dead, lab):
        group, seqs = dead(1)
        pid = lab.kill("queue-1")
        status, answer = desk.json("/console/dead/retry", {"group": group, "seqs": seqs})
        assert status in (503, 504) and answer["error"]
        assert desk.json(f"/console/dead?group={group}")[0] in (503, 504, 200)
        lab.wait_replaced("queue-1", pid)
        lab.wait_ready()
        wait_for(lambda: desk.json(f"/console/dead?group={group}")[0] == 200, 10, "it works again")


class TestTcp:
    """Where the queue knows who asks, the gateway may not do what its key does not allow."""

    def test_what_the_queue_refuses_stays_refused(self):
        with TcpSuite(SLUICE_ADMIN_LISTEN=f"127.0.0.1:{free_port()}") as own:
            own.up()
            desk = Desk(own)
            with desk.stream("/console/events") as stream:
                queue = stream.until("queue", lambda q: q["up"])
                assert "gateway" in queue["refused"] and "groups" not in queue
                for path in POSTS:
                    status, answer = desk.json(path, {"group": "search", "seqs": [1]})
                    assert status == 409 and "the queue refuses" in answer["error"]
                assert desk.json("/console/dead?group=search")[0] == 409
            with desk.stream("/console/tail?topics=orders.%3E") as stream:
                assert stream.until("ended")["reason"] == "identity"
            with desk.stream("/console/tail?topics=users.%3E&last=100") as stream:
                Client(own.port).post("/v1/users", {"email": f"{fresh('x')}@example.com", "password": "a long enough pass phrase", "name": "Ada"})
                assert stream.until("event", lambda e: e["topic"] == "users.user.created")
