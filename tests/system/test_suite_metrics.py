# SPDX-License-Identifier: MIT
# One scrape for the whole suite: what each process says of itself is in it, once, with its name; and
# a process that is dead, stuck, lost or lying costs nobody else's samples, and no request.
import collections
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from api import Client
from suite import PATIENCE, ROOT, Suite, free_port, run, wait_for

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"


def ask(suite, path="/metrics/suite", accept="*/*"):
    """(head, body) of an answer of the first gateway's admin listener."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10 * PATIENCE)
        connection.connect(str(suite.home / "run/gateway-1.admin.sock"))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 "), head
    return head, body


def ups(suite):
    """{instance: whether it is up}."""
    text = ask(suite)[1]
    found = re.findall(
        r'^sluice_suite_up\{job="([^"]*)",instance="([^"]*)"\} ([01])$', text, re.MULTILINE
    )
    assert len(found) == len({(job, instance) for job, instance, _ in found}), "one is there twice"
    return {instance: value == "1" for _, instance, value in found}


class Impostor:
    """Listens where a process would, and answers by its own rules."""

    def __init__(self, answer, path=None, port=None):
        self.answer, self.path = answer, path
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(str(path) if path else ("127.0.0.1", port))
        self.socket.listen(16)
        self.socket.settimeout(0.1)
        self.ending = threading.Event()
        self.asked = 0
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        kept = []  # those that get no answer
        while not self.ending.is_set():
            with contextlib.suppress(socket.timeout):
                connection, _ = self.socket.accept()
                self.asked += 1
                if self.answer is None:
                    kept.append(connection)
                    continue
                with connection, contextlib.suppress(OSError):
                    connection.recv(4096)
                    connection.sendall(self.answer)
        for connection in kept:
            connection.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.ending.set()
        self.thread.join()
        self.socket.close()
        if self.path:
            self.path.unlink()


def page(text):
    body = text.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def everybody(suite):
    """The instances that a scrape has."""
    return [*suite.instances(), "supervisor"]


class TestOneScrape:
    def test_everybody_is_in_it(self, suite):
        text = ask(suite)[1]
        instances = everybody(suite)
        assert ups(suite) == dict.fromkeys(instances, True)
        for instance in instances:
            own = suite.admin_page(instance, "/metrics")[1]
            names = {line.split("{")[0].split(" ")[0] for line in own.splitlines() if line[0] != "#"}
            there = set(re.findall(rf'^(\w+)\{{job="[^"]+",instance="{instance}"', text, re.M))
            assert names <= there, instance

    def test_what_a_process_says_is_what_the_scrape_says(self, suite):
        own = suite.metrics("users-1")
        text = ask(suite)[1]
        line = next(n for n in own if n.startswith("sluice_sandbox{"))
        labels = line.partition("{")[2]
        wanted = f'sluice_sandbox{{job="sluice-users",instance="users-1",{labels}'
        assert f"{wanted} {own[line]:.0f}\n" in text
        assert 'sluice_ready{job="sluice-queue",instance="queue-1"} 1\n' in text

    @pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
    def test_promtool_agrees(self, suite):
        result = subprocess.run(
            ["promtool", "check", "metrics"], input=ask(suite)[1], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr

    @pytest.mark.parametrize("path", ["/metrics", "/metrics/suite"])
    def test_openmetrics(self, suite, path):
        parser = pytest.importorskip("prometheus_client.openmetrics.parser")
        head, body = ask(suite, path, OPENMETRICS)
        assert "\r\nContent-Type: application/openmetrics-text; version=1.0.0;" in head
        families = {f.name: f for f in parser.text_string_to_metric_families(body)}
        assert families["process_cpu_seconds"].type == "counter"
        if path == "/metrics/suite":
            up = {s.labels["instance"]: s.value for s in families["sluice_suite_up"].samples}
            assert up == dict.fromkeys(everybody(suite), 1)
        head, body = ask(suite, path, "text/plain")
        assert "\r\nContent-Type: text/plain; version=0.0.4;" in head and "# EOF" not in body

    @pytest.mark.parametrize("path", ["/metrics", "/metrics/suite"])
    def test_exemplars(self, suite, new_person, path):
        """A sampled request is an exemplar where it was counted, with its time; text 0.0.4 has none."""
        parser = pytest.importorskip("prometheus_client.openmetrics.parser")
        ids = [secrets.token_hex(16) for _ in range(2)]
        person = new_person()  # first: one in a hundred of other requests is sampled, too
        begin = time.time()
        for trace_id, sampled in zip(ids, ("01", "00")):
            parent = f"00-{trace_id}-{secrets.token_hex(8)}-{sampled}"
            assert person.get("/v1/users/me", headers={"traceparent": parent}).status == 200
        body = ask(suite, path, OPENMETRICS)[1]
        found = collections.defaultdict(list)
        for family in parser.text_string_to_metric_families(body):
            for sample in family.samples:
                if sample.exemplar and sample.exemplar.labels["trace_id"] in ids:
                    found[family.name].append(sample)
        wanted = {"http_server_request_duration_seconds", "sluice_gateway_worker_seconds"}
        if path == "/metrics/suite":
            wanted |= {"sluice_worker_request_duration_seconds", "sluice_store_read_seconds"}
        assert set(found) == wanted
        for (sample,) in found.values():  # of one bucket each
            assert sample.exemplar.labels == {"trace_id": ids[0]}
            assert 0 < sample.exemplar.value <= float(sample.labels["le"])
            assert begin - 1 < float(sample.exemplar.timestamp) < time.time() + 1
        assert "trace_id" not in ask(suite, path, "text/plain")[1]

    def test_many_at_once(self, suite):
        answers = []
        crew = [
            threading.Thread(target=lambda: answers.append(ask(suite)[1].count("sluice_suite_up{")))
            for _ in range(24)
        ]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        assert answers == [len(everybody(suite))] * 24


class TestWhoIsNotThere:
    @pytest.fixture(scope="class")
    def lab(self):
        with Suite() as own:
            yield own.up()

    def test_a_stuck_process(self, lab):
        pid = lab.pid("search-1")
        os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            seen = ups(lab)
            took_s = time.monotonic() - begin
            assert seen == {i: i != "search-1" for i in everybody(lab)}
            assert took_s < 3 * PATIENCE
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: all(ups(lab).values()), 5, "all are up")

    def test_requests_do_not_wait_for_it(self, lab):
        """A scrape that hangs is nobody's but its own."""
        client = Client(lab.port)
        with Impostor(None, lab.home / "run/stuck-1.admin.sock"):
            scrape = threading.Thread(target=ask, args=(lab,))
            scrape.start()
            slowest, n = 0, 0
            while scrape.is_alive():
                begin = time.monotonic()
                assert client.get("/v1/products").status == 200
                slowest, n = max(slowest, time.monotonic() - begin), n + 1
            scrape.join()
        assert n > 20 and slowest < 0.5 * PATIENCE

    def test_a_socket_that_a_dead_process_left(self, lab):
        path = lab.home / "run/ghost-3.admin.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        begin = time.monotonic()
        assert ups(lab) == {**dict.fromkeys(everybody(lab), True), "ghost-3": False}
        assert time.monotonic() - begin < 1 * PATIENCE
        assert 'sluice_suite_up{job="sluice-ghost",instance="ghost-3"} 0\n' in ask(lab)[1]
        path.unlink()
        assert "ghost-3" not in ups(lab)

    def test_sockets_of_processes_that_are_not_wanted(self, own_suite):
        """The supervisor removes what killed ones left: of an earlier run, and of one that it killed."""
        assert run("sluice", "init", env=own_suite.env).returncode == 0
        (own_suite.home / "run").mkdir(mode=0o700, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(own_suite.home / "run/users-7.admin.sock"))
        own_suite.environment["SLUICE_SCALE_USERS"] = 2
        own_suite.up()
        assert "users-7" not in ups(own_suite) and ups(own_suite)["users-2"]
        own_suite.expect_death("users-2")
        os.kill(own_suite.instances()["users-2"]["pid"], signal.SIGSTOP)
        own_suite.scale(users=1)  # takes CHILD_KILL_MS: then it is killed
        wait_for(lambda: "users-2" not in ups(own_suite), 5, "it is forgotten")

    @pytest.mark.parametrize(
        "answer",
        [
            b"220 mail ready\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            page("<html></html>"),
            page('# TYPE sluice_ready gauge\nsluice_ready{instance="users-1"} 0\n'),
            page("# TYPE sluice_ready gauge\nsluice_ready 1\nsluice_suite_up 1"),
            page("# TYPE big gauge\n" + 'big{a="1"} 1\n' * 100_000),
        ],
        ids=["no-http", "cut-off", "status", "html", "forged", "unfinished", "too-large"],
    )
    def test_a_liar(self, lab, answer):
        with Impostor(answer, lab.home / "run/liar-1.admin.sock") as liar:
            text = ask(lab)[1]
            assert liar.asked
        assert 'sluice_suite_up{job="sluice-liar",instance="liar-1"} 0\n' in text
        assert text.count('instance="liar-1"') == 1
        assert 'sluice_ready{job="sluice-users",instance="users-1"} 1\n' in text

    def test_one_who_claims_to_be_another(self, lab):
        """Two that say they are users-1 are one: the scrape would be refused otherwise."""
        info = (
            '# TYPE sluice_process_info gauge\n'
            'sluice_process_info{name="users-1",program="sluice-users"} 1\n'
        )
        with Impostor(page(info), lab.home / "run/twin-1.admin.sock"):
            assert ups(lab) == dict.fromkeys(everybody(lab), True)

    def test_odd_files(self, lab):
        odd = ['a"b-1.admin.sock', ".admin.sock", "x" * 60 + ".admin.sock", "plain.sock"]
        for name in odd:
            (lab.home / "run" / name).touch()
        (lab.home / "run/file-1.admin.sock").touch()
        assert ups(lab) == {**dict.fromkeys(everybody(lab), True), "file-1": False}
        for name in [*odd, "file-1.admin.sock"]:
            (lab.home / "run" / name).unlink()

    def test_a_worker_that_only_its_link_tells_of(self, lab):
        worker = subprocess.Popen(
            [
                sys.executable, ROOT / "tests/system/python_worker.py",
                lab.gateway_endpoints[0], "far-away",
            ]
        )
        try:
            wait_for(lambda: ups(lab).get("far-away") is False, 5, "the worker is known")
            linked = [line for line in ask(lab)[1].splitlines() if line.startswith("sluice_suite_linked")]
            assert [line.rpartition(",")[2] for line in linked] == ['instance="far-away"} 1']
        finally:
            worker.terminate()
            worker.wait(timeout=5 * PATIENCE)
        wait_for(lambda: "far-away" not in ups(lab), 5, "the worker is forgotten")

    def test_nobody_is_asked_while_nobody_asks(self, lab):
        with Impostor(page(""), lab.home / "run/quiet-1.admin.sock") as quiet:
            assert lab.metrics("gateway-1")
            time.sleep(0.5)  # something that does not happen cannot be waited for
            assert quiet.asked == 0
            ask(lab)
            assert quiet.asked == 1


class TestElsewhere:
    def test_listeners_of_other_places(self, own_suite):
        port, nobody = free_port(), free_port()
        own_suite.environment["SLUICE_SUITE"] = (
            f"localhost:{port},127.0.0.1:{nobody},no-such-host.invalid:9100"
        )
        info = (
            "# HELP sluice_process_info What.\n# TYPE sluice_process_info gauge\n"
            'sluice_process_info{name="orders-9",program="sluice-orders"} 1\n'
        )
        with Impostor(page(info), port=port) as other:
            own_suite.up()
            wait_for(lambda: ups(own_suite).get("orders-9"), 10, "the other place is asked")
            seen = ups(own_suite)
            assert seen[f"127.0.0.1:{nobody}"] is False
            assert seen["no-such-host.invalid:9100"] is False
            assert other.asked

    @pytest.mark.parametrize("value", ["nowhere", "host:0", "host:99999", ":1", 'a"b:1', "h:x", ","])
    def test_names_that_are_refused(self, own_suite, value):
        assert run("sluice", "init", env=own_suite.env).returncode == 0
        result = run("sluice-gateway", env={**own_suite.env, "SLUICE_SUITE": value})
        assert result.returncode == 78
        assert f'SLUICE_SUITE is "{value}"; allowed: ' in result.stdout.replace('\\"', '"')
