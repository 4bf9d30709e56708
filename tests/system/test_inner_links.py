# SPDX-License-Identifier: MIT
# The links behind the gateway, on TCP: whoever has no key, another key than it claims, or nothing
# but noise reaches nothing and harms nobody; and keys are changed under load without a failed request.
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import time

import msgpack
import pytest
import zmq
import zmq.auth
import zmq.utils.z85
from api import Client
from people import admin_of, register
from process_memory import count_in_memory, scans
from python_worker import HELLO, REFUSED, ROUTES, WELCOME
from queue_client import CALL, INFO, JOIN, PUBLISH, PUBLISHED, RESULT, SUBSCRIBE, WATCH, new_event
from queue_client import REFUSED as QUEUE_REFUSED
from suite import BUILD, CLEAN, DIE_WITH_US, PATIENCE, SANITIZED, Suite, free_port, new_home, run, wait_for
from traffic import Traffic

IDENTITIES = ["gateway", "queue", "users", "orders", "search", "tap"]
SERVERS = {"gateway": "gateway-1", "queue": "queue-1"}
FAILURES = "sluice_curve_handshake_failures_total"


class TcpSuite(Suite):
    """A suite whose processes meet on TCP."""

    def __init__(self, **environment):
        self.ports = {"gateway": free_port(), "queue": free_port()}
        gateway, queue = (f"tcp://127.0.0.1:{self.ports[name]}" for name in ("gateway", "queue"))
        super().__init__(
            SLUICE_GATEWAY_BIND=gateway,
            SLUICE_GATEWAYS=gateway,
            SLUICE_QUEUE_BIND=queue,
            SLUICE_QUEUE=queue,
            SLUICE_SCALE_USERS=2,
            SLUICE_SCALE_ORDERS=2,
            SLUICE_SCALE_SEARCH=2,
            **environment,
        )

    def keys(self, *words):
        result = run("sluice", "keys", *words, env=self.env)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def failures(self, server, reason=""):
        return sum(
            value
            for name, value in self.metrics(SERVERS[server]).items()
            if name.startswith(FAILURES) and reason in name
        )

    def dealer(self, server, identity=None, secret=None):
        """A DEALER with the pair of an identity (or another one), which knows the server's key."""
        curve = self.home / "secrets/curve"
        s = zmq.Context.instance().socket(zmq.DEALER)
        s.setsockopt(zmq.LINGER, 0)
        s.curve_serverkey, _ = zmq.auth.load_certificate(str(curve / f"public/{server}.key"))
        s.curve_publickey, s.curve_secretkey = secret or zmq.auth.load_certificate(
            str(curve / f"{identity}.key_secret")
        )
        s.connect(f"tcp://127.0.0.1:{self.ports[server]}")
        return s

    def fds(self, server):
        """As the process says: only root may look into /proc/PID/fd of a confined one."""
        return int(self.metrics(SERVERS[server])["process_open_fds"])

    def rss_mib(self, server):
        status = pathlib.Path(f"/proc/{self.pid(SERVERS[server])}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@pytest.fixture(scope="module")
def suite():
    with TcpSuite() as own:
        yield own.up()


@pytest.fixture(scope="module")
def admin(suite):
    return admin_of(suite)


def ask(dealer, *frame, timeout_s=5):
    """Sends a frame; the answer, or None."""
    dealer.send(msgpack.packb(list(frame)))
    return listen(dealer, timeout_s)


def listen(dealer, timeout_s):
    if not dealer.poll(timeout_s * 1000 * PATIENCE):
        return None
    return msgpack.unpackb(dealer.recv())


def hello(service, instance="intruder"):
    return {"protocol": 1, "service": service, "version": "1", "instance": instance, "role": 0,
            "capacity": 32, "heartbeat_ms": 250, "schema": f"{service}-x", "routes": ROUTES,
            "problems": [], "schemas": {}}


QUESTION = {"gateway": [HELLO, hello("guests")], "queue": [INFO, 7, 0]}  # a server answers it


@pytest.mark.parametrize("server", SERVERS)
class TestStrangers:
    def refused(self, suite, server, dealer, reason=""):
        """reason: only where it is not a race who hangs up first."""
        before = suite.failures(server, reason)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.connect(f"tcp://127.0.0.1:{suite.ports[server]}")
        dealer.send(msgpack.packb(QUESTION[server]))
        wait_for(lambda: suite.failures(server, reason) > before, 10, f"{reason} is counted")
        assert not dealer.poll(300)
        dealer.close()

    def new(self):
        return zmq.Context.instance().socket(zmq.DEALER)

    def test_no_mechanism(self, suite, admin, server):
        self.refused(suite, server, self.new())

    def test_plain(self, suite, admin, server):
        s = self.new()
        s.plain_username, s.plain_password = b"users", b"secret"
        self.refused(suite, server, s)

    def test_a_key_of_its_own(self, suite, admin, server):
        s = self.new()
        s.curve_publickey, s.curve_secretkey = zmq.curve_keypair()
        s.curve_serverkey, _ = zmq.auth.load_certificate(
            str(suite.home / f"secrets/curve/public/{server}.key")
        )
        self.refused(suite, server, s, "auth")
        assert "is not one of" in suite.log()

    def test_the_wrong_server(self, suite, admin, server):
        s = self.new()
        s.curve_publickey, s.curve_secretkey = zmq.curve_keypair()
        s.curve_serverkey, _ = zmq.curve_keypair()
        self.refused(suite, server, s, "protocol")


def greeting(mechanism=b"CURVE"):
    return b"\xff" + bytes(8) + b"\x7f\x03\x01" + mechanism.ljust(20, b"\0") + bytes(32)


NOISE = {
    "random bytes": os.urandom(65536),
    "half a greeting": greeting()[:20],
    "a greeting, then noise": greeting() + os.urandom(4096),
    "another mechanism": greeting(b"NULL") + b"\x04\x1a\x05READY",
    "a huge command": greeting() + b"\x06" + struct.pack(">Q", 1 << 62) + bytes(65536),
    "a huge message": greeting() + b"\x02" + struct.pack(">Q", 1 << 40) + bytes(65536),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("server", SERVERS)
class TestNoise:
    def connections(self, suite, server, n):
        return [socket.create_connection(("127.0.0.1", suite.ports[server])) for _ in range(n)]

    def served(self, traffic):
        """Everybody else is, meanwhile."""
        count = traffic.count
        wait_for(lambda: traffic.count > count + 20, 10, "others are served")
        assert traffic.failures == [], traffic.failures[:3]

    def gone(self, suite, server, fds, rss):
        wait_for(lambda: suite.fds(server) <= fds + 2, 20, "the descriptors are back")
        if not SANITIZED:  # which keeps what was freed for a while
            assert suite.rss_mib(server) < rss + 64

    def test_bytes_that_are_no_zmtp(self, suite, admin, server):
        fds, rss, before = suite.fds(server), suite.rss_mib(server), suite.failures(server)
        with Traffic(suite, admin) as traffic:
            for data in NOISE.values():
                for s in self.connections(suite, server, 20):
                    try:
                        s.sendall(data)
                    except OSError:
                        pass  # it has hung up, which is right
                    s.close()
            wait_for(lambda: suite.failures(server) > before, 10, "it is counted")
            self.served(traffic)
        self.gone(suite, server, fds, rss)

    @pytest.mark.seconds(120)
    def test_a_thousand_that_say_nothing(self, suite, admin, server):
        fds, rss, before = suite.fds(server), suite.rss_mib(server), suite.failures(server)
        with Traffic(suite, admin) as traffic:
            silent = self.connections(suite, server, 1000)
            for s in silent[::2]:
                s.sendall(greeting()[:20])
            # They are hung up on after 3 s, without their doing anything.
            wait_for(lambda: suite.failures(server) >= before + 1000, 30, "all are counted")
            self.served(traffic)
        self.gone(suite, server, fds, rss)
        for s in silent:
            s.close()

    def test_a_message_over_the_limit(self, suite, admin, server):
        """From somebody with a key: it is cut off, and nothing of it is kept."""
        fds, rss = suite.fds(server), suite.rss_mib(server)
        with Traffic(suite, admin) as traffic:
            for _ in range(5):
                s = suite.dealer(server, "search")
                s.send(bytes(5 << 20))
                assert not s.poll(200)
                s.close()
            self.served(traffic)
        self.gone(suite, server, fds, rss)

    def test_a_flood_from_somebody_with_a_key(self, suite, admin, server):
        fds, rss = suite.fds(server), suite.rss_mib(server)
        s = suite.dealer(server, "search")
        s.setsockopt(zmq.SNDTIMEO, 100)
        ending = time.monotonic() + 2 * PATIENCE
        with Traffic(suite, admin) as traffic:
            while time.monotonic() < ending:
                try:
                    s.send(msgpack.packb([99, os.urandom(100)]))
                except zmq.Again:
                    pass
            self.served(traffic)
        s.close()
        self.gone(suite, server, fds, rss)


class TestGatewayIdentities:
    def test_a_service_cannot_be_another(self, suite, admin):
        before = suite.metrics("gateway-1")["sluice_gateway_foreign_workers_total"]
        for identity, service in (("search", "users"), ("tap", "orders"), ("queue", "guests")):
            s = suite.dealer("gateway", identity)
            kind, reason, detail = ask(s, HELLO, hello(service))
            assert (kind, reason) == (REFUSED, "identity") and identity in detail
            # Nor does it get requests, or do harm to those who do.
            kind, reason, _ = ask(s, 4, 100)
            assert (kind, reason) == (REFUSED, "unknown-peer")
            s.close()
        assert suite.metrics("gateway-1")["sluice_gateway_foreign_workers_total"] == before + 3
        assert "intruder" not in str(suite.topology())

    def test_its_instance_is_not_taken_over(self, suite, admin):
        s = suite.dealer("gateway", "search")
        assert ask(s, HELLO, hello("users", "users-1"))[1] == "identity"
        assert admin.get("/v1/users/me").status == 200
        s.close()

    def test_what_was_made_is_said(self):
        with TcpSuite() as own:
            for said in ("made", "is there"):
                assert own.keys("make").splitlines() == [f"{name}: {said}" for name in IDENTITIES]

    def test_a_new_service_gets_a_key_while_everything_runs(self, suite, admin):
        assert "made" in suite.keys("make", "guests")
        s = suite.dealer("gateway", "guests")
        assert ask(s, HELLO, hello("guests"))[0] == WELCOME
        s.send(msgpack.packb([14]))
        s.close()


class TestQueueIdentities:
    def publish(self, s, topic):
        return ask(s, PUBLISH, 1, None, [[0, new_event(topic, {})]])

    def test_publishing(self, suite, admin):
        s = suite.dealer("queue", "search")
        assert self.publish(s, "search.index.built")[0] == PUBLISHED
        two = [[0, new_event(topic, {})] for topic in ("search.index.built", "users.user.deleted")]
        assert ask(s, PUBLISH, 1, None, two)[3] == "identity"  # all of it
        kind, _, _, reason, detail = self.publish(s, "users.user.deleted")
        assert (kind, reason) == (QUEUE_REFUSED, "identity") and "users.user.deleted" in detail
        s.close()
        g = suite.dealer("queue", "gateway")
        assert self.publish(g, "gateway.x")[3] == "identity"
        assert ask(g, SUBSCRIBE, 2, {}, 10)[3] == "identity"
        g.close()

    def test_producers(self, suite, admin):
        """Nobody raises the sequence of another's producer, whose events would pass for duplicates."""
        name = next(p["producer"] for p in self.producers(suite) if p["producer"].startswith("users."))
        s = suite.dealer("queue", "search")
        event = new_event("search.index.built", {})
        for producer in (name, "search", "searching.x"):
            assert ask(s, PUBLISH, 1, producer, [[1 << 60, event]])[3] == "identity"
            assert ask(s, PUBLISH, 2, producer, [])[3] == "identity"  # a question
        assert ask(s, PUBLISH, 3, "search.x", [[1 << 60, event]])[0] == PUBLISHED
        s.close()
        highest = {p["producer"]: p["producer_seq"] for p in self.producers(suite)}
        assert highest["search.x"] == 1 << 60 and highest[name] < 1 << 60

    def producers(self, suite):
        s = suite.dealer("queue", "tap")
        producers = ask(s, INFO, 7, 0)[2]["producers"]
        s.close()
        return producers

    def test_groups(self, suite, admin):
        s, tap = suite.dealer("queue", "search"), suite.dealer("queue", "tap")

        def call(socket, method, **arguments):
            return ask(socket, CALL, 3, method, arguments)

        assert call(s, "group-set", group="search.mail")[0] == RESULT
        assert call(s, "group-set", group="orders.mail")[3] == "identity"
        assert call(s, "groups")[3] == "identity"
        assert call(s, "group-delete", group="orders.mail")[3] == "identity"
        assert ask(s, JOIN, 4, "orders.mail", 1)[3] == "identity"
        assert ask(s, WATCH, 5, 0)[3] == "identity"
        for answer in (call(tap, "groups"), call(tap, "group-delete", group="search.mail")):
            assert answer[0] == RESULT, answer
        s.close()
        tap.close()

    def test_the_tap_looks(self, suite, admin):
        assert run("sluice-tap", "tail", "-n", "1", env=suite.env).returncode == 0


class TestTheOldSharedKey:
    def test_it_works_until_it_is_retired(self, suite, admin):
        curve = suite.home / "secrets/curve"
        pair = zmq.curve_keypair()
        text = "metadata\ncurve\n    public-key = \"%s\"\n" % pair[0].decode()
        (curve / "public/client.key").write_text(text)
        s = suite.dealer("gateway", secret=pair)
        assert ask(s, HELLO, hello("guests"))[0] == WELCOME
        s.send(msgpack.packb([14]))
        s.close()
        wait_for(lambda: "all clients share" in suite.log(), 5, "it is warned of")
        assert "sluice keys retire client" in suite.keys("check")
        suite.keys("retire", "client")
        s = suite.dealer("gateway", secret=pair)
        assert ask(s, HELLO, hello("guests"), timeout_s=1) is None
        s.close()


class TestRotation:
    @pytest.mark.seconds(300)
    @pytest.mark.parametrize("identity", IDENTITIES)
    def test_no_request_fails(self, suite, admin, identity):
        before = suite.keys("show", "--json")
        with Traffic(suite, admin) as traffic:
            suite.keys("rotate", identity)
            if identity != "tap":
                result = run("sluice", "restart", identity, env=suite.env, timeout=60)
                assert result.returncode == 0, result.stderr
            suite.keys("retire", identity)
            count = traffic.count
            wait_for(lambda: traffic.count > count + 20, 10, "it goes on")
        assert suite.keys("show", "--json") != before
        assert traffic.failures == [], traffic.failures[:3]
        assert "nothing is wrong" in suite.keys("check")
        assert run("sluice-tap", "tail", "-n", "1", env=suite.env).returncode == 0

    @pytest.mark.seconds(300)
    def test_with_the_old_key_retired_everything_restarts(self, suite, admin):
        with Traffic(suite, admin) as traffic:
            assert run("sluice", "restart", env=suite.env, timeout=120).returncode == 0
        assert traffic.failures == [], traffic.failures[:3]


@scans
class TestSecretKeysInMemory:
    """The key of an identity is in its own processes, as bytes that the sockets need, and nowhere else;
    once it was changed, nowhere."""

    def secret(self, suite, identity):
        _, secret = zmq.auth.load_certificate(str(suite.home / f"secrets/curve/{identity}.key_secret"))
        return secret

    def holders(self, suite, secret):
        """The services whose processes have it as text, and as bytes."""
        pids = {"supervisor": suite.supervisor.pid}
        pids.update({name: entry["pid"] for name, entry in suite.instances().items()})
        as_bytes = zmq.utils.z85.decode(secret)
        return tuple(
            {name.rpartition("-")[0] or name for name, pid in pids.items() if count_in_memory(pid, form)}
            for form in (secret, as_bytes)
        )

    @pytest.mark.parametrize("identity", IDENTITIES)
    def test_it_is_in_its_own_processes(self, suite, admin, identity):
        owners = set() if identity == "tap" else {identity}
        assert self.holders(suite, self.secret(suite, identity)) == (set(), owners)

    @pytest.mark.parametrize("identity", IDENTITIES)
    def test_the_old_one_is_gone(self, suite, admin, identity):
        old = self.secret(suite, identity)
        suite.keys("rotate", identity)
        if identity != "tap":
            result = run("sluice", "restart", identity, env=suite.env, timeout=60)
            assert result.returncode == 0, result.stderr
        suite.keys("retire", identity)
        assert self.holders(suite, old) == (set(), set())
        assert self.secret(suite, identity) != old


NEEDS = {  # besides its key pair; services need the key of cursors
    "users": {"signing/token.key", "public/jwks.json", "admin-password", "cursor.key"},
    "gateway": {"public/jwks.json", "admin-token"},
    "queue": set(),
    "tap": set(),
}


class TestExport:
    """What deploy/docker-compose.yml does, without containers: each process has a home of its own."""

    @pytest.fixture
    def homes(self):
        top = new_home()
        yield top
        shutil.rmtree(top)

    def env(self, top, name, ports):
        gateway, queue = (f"tcp://127.0.0.1:{ports[n]}" for n in ("gateway", "queue"))
        return {**CLEAN, "SLUICE_HOME": str(top / name), "SLUICE_GATEWAY_BIND": gateway,
                "SLUICE_GATEWAYS": gateway, "SLUICE_QUEUE_BIND": queue, "SLUICE_QUEUE": queue,
                "SLUICE_LISTEN": f"127.0.0.1:{ports['http']}",
                "SLUICE_EXPECT": "users,orders,search", "SLUICE_EXPECT_WAIT": "20s"}

    @pytest.mark.seconds(120)
    def test_each_has_what_it_needs_and_no_more(self, homes):
        ports = {name: free_port() for name in ("gateway", "queue", "http")}
        main = {**CLEAN, "SLUICE_HOME": str(homes / "all")}
        assert run("sluice", "init", env=main).returncode == 0
        running = []
        for name in ("queue", "users", "orders", "search", "gateway", "tap"):
            (homes / name).mkdir()
            target = homes / name / "secrets"
            result = run("sluice", "keys", "export", target, name, env=main)
            assert result.returncode == 0, result.stderr
            found = {str(path.relative_to(target)): path for path in target.rglob("*")}
            files = {file for file, path in found.items() if path.is_file()}
            public = {f"curve/public/{identity}.key" for identity in IDENTITIES}
            assert files == public | {f"curve/{name}.key_secret"} | NEEDS.get(name, {"cursor.key"})
            assert {path.stat().st_mode & 0o777 for path in [target, *found.values()]} == {0o700, 0o600}
            if name != "tap":
                running.append(subprocess.Popen(
                    [*DIE_WITH_US, BUILD / f"sluice-{name}"], env=self.env(homes, name, ports),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        client = Client(ports["http"])

        def served():
            try:
                return client.get("/v1/search?q=x").status == 200
            except OSError:
                return False

        try:
            wait_for(served, 30, "it serves")
            ada = register(ports["http"])
            assert ada.get("/v1/orders").status == 200
            tap = self.env(homes, "tap", ports)
            wait_for(lambda: run("sluice-tap", "tail", "-n", "1", "--topic", "users.user.created",
                                 env=tap).stdout, 10, "the event is in the queue")
        finally:
            for process in running:
                process.terminate()
            statuses = [process.wait(20 * PATIENCE) for process in running]
        assert statuses == [0] * len(running)

    def test_keys_that_were_removed_are_removed_there(self, homes):
        main = {**CLEAN, "SLUICE_HOME": str(homes / "all")}
        target = homes / "queue"
        assert run("sluice", "init", env=main).returncode == 0

        def export():
            assert run("sluice", "keys", "export", target, "queue", env=main).returncode == 0
            return {path.name for path in (target / "curve/public").iterdir()}

        before = export()
        assert run("sluice", "keys", "rotate", "users", env=main).returncode == 0
        assert export() == before | {"users.old.key"}
        assert run("sluice", "keys", "retire", "users", env=main).returncode == 0
        assert export() == before

    def test_mistakes_are_named(self, homes):
        main = {**CLEAN, "SLUICE_HOME": str(homes / "all")}
        assert run("sluice", "init", env=main).returncode == 0
        for words, status, line in (
            (["make", "No_Name"], 64, "is not a name"),
            (["make", "client"], 64, "no longer made"),
            (["make", "../x"], 64, "is not a name"),
            (["rotate"], 64, "rotate NAME"),
            (["rotate", "nobody"], 1, "sluice keys make nobody"),
            (["retire", "users"], 1, "no old key"),
            (["export", "/nonexistent/x", "users"], 1, "No such file"),
            (["export", str(homes / "x"), "nobody"], 1, "nobody"),
            (["frobnicate"], 64, "there are make"),
            ([], 64, "name a command"),
        ):
            result = run("sluice", "keys", *words, env=main)
            assert result.returncode == status and line in result.stderr, (words, result)
        assert run("sluice", "keys", "rotate", "users", env=main).returncode == 0
        again = run("sluice", "keys", "rotate", "users", env=main)
        assert again.returncode == 1 and "sluice keys retire users" in again.stderr
        shown = run("sluice", "keys", "show", env=main).stdout
        assert "old key accepted" in shown
        secrets = (homes / "all/secrets/curve").glob("*_secret")
        for path in secrets:
            _, secret = zmq.auth.load_certificate(str(path))
            assert secret.decode() not in shown
        checked = run("sluice", "keys", "check", env=main)
        assert checked.returncode == 0
        (homes / "all/secrets/curve/orders.key_secret").unlink()
        checked = run("sluice", "keys", "check", env=main)
        assert checked.returncode == 1 and "sluice keys make orders" in checked.stdout


@pytest.mark.parametrize(
    "program,name",
    [
        ("sluice-users", "signing/token.key"),
        ("sluice-orders", "cursor.key"),
        ("sluice-search", "curve/search.key_secret"),
        ("sluice-gateway", "curve/gateway.key_secret"),
        ("sluice-queue", "curve/queue.key_secret"),
    ],
)
def test_a_secret_that_others_can_read_is_refused(program, name):
    home = new_home()
    port = free_port()
    env = {**CLEAN, "SLUICE_HOME": str(home), "SLUICE_LISTEN": f"127.0.0.1:{free_port()}"}
    if name.startswith("curve"):
        env.update({"SLUICE_GATEWAY_BIND": f"tcp://127.0.0.1:{port}",
                    "SLUICE_GATEWAYS": f"tcp://127.0.0.1:{port}",
                    "SLUICE_QUEUE_BIND": f"tcp://127.0.0.1:{port}",
                    "SLUICE_QUEUE": f"tcp://127.0.0.1:{port}"})
    assert run("sluice", "init", env=env).returncode == 0
    path = home / "secrets" / name
    path.chmod(0o644)
    result = run(program, env=env)
    assert result.returncode == 78
    assert str(path) in result.stdout + result.stderr
    assert "0644" in result.stdout + result.stderr
    check = run("sluice", "keys", "check", env=env)
    assert check.returncode == 1 and str(path) in check.stdout and "chmod 0600" in check.stdout
    shutil.rmtree(home)
