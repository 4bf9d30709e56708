# SPDX-License-Identifier: MIT
# Where secrets must not be: in logs, in what /proc tells of a process, in the environment of a
# process that they are not for, and in memory once they were used.
import base64
import json
import pathlib
import re
import secrets
import socket

import pytest
from api import Client
from people import ADMIN_EMAIL, fresh
from suite import SANITIZED, Suite, run, wait_for

PROGRAMS = ["sluice-gateway", "sluice-users", "sluice-orders", "sluice-search", "sluice-queue"]


@pytest.fixture(scope="module")
def given():
    """The secrets of a deployment that has them in variables, and those of people."""
    home_keys = {}
    with Suite() as maker:
        assert run("sluice", "init", env=maker.env).returncode == 0
        home_keys["SLUICE_TOKEN_KEY"] = maker.secret("signing/token.key")
        (maker.home / "secrets/signing/token.key").unlink()
        (maker.home / "secrets/admin-password").unlink()
        home_keys["SLUICE_ADMIN_PASSWORD"] = "admin-" + secrets.token_urlsafe(18)
        maker.environment.update(home_keys, SLUICE_LOG_LEVEL="debug")
        yield maker, home_keys


@pytest.fixture(scope="module")
def used(given):
    """The suite after logins, good and bad, and everything that must not be seen of them."""
    suite, keys = given
    # The supervisor makes a key where none is, and the workers prefer the variable's: both are secret.
    public = suite.home / "secrets/public/jwks.json"
    suite.up()
    assert json.loads(keys["SLUICE_TOKEN_KEY"])["kid"] in public.read_text()
    hidden = {"the token key": json.loads(keys["SLUICE_TOKEN_KEY"])["d"]}
    hidden["the admin's password"] = keys["SLUICE_ADMIN_PASSWORD"]
    for name in ("signing/token.key", "cursor.key"):
        text = suite.secret(name)
        hidden[name] = json.loads(text)["d"] if text.startswith("{") else text
    for path in (suite.home / "secrets/curve").glob("*.key_secret"):
        hidden[path.name] = re.search(r'secret-key = "(.*)"', path.read_text())[1]
    client = Client(suite.port)
    answer = client.post(
        "/v1/sessions", {"email": ADMIN_EMAIL, "password": keys["SLUICE_ADMIN_PASSWORD"]}
    )
    assert answer.status == 201, answer
    hidden["an access token"] = answer.json()["access_token"]
    hidden["a refresh token"] = answer.json()["refresh_token"]
    hidden["a password"] = password = "pw-" + secrets.token_urlsafe(24)
    hidden["a wrong password"] = wrong = "wrong-" + secrets.token_urlsafe(24)
    email = f"{fresh('x')}@example.com"
    account = {"email": email, "password": password, "name": "Ada"}
    assert client.post("/v1/users", account).status == 201
    answer = client.post("/v1/sessions", {"email": email, "password": password})
    assert answer.status == 201
    hidden["another refresh token"] = old = answer.json()["refresh_token"]
    answer = client.post("/v1/sessions/refresh", {"refresh_token": old})
    assert answer.status == 201
    hidden["a refreshed token"] = answer.json()["refresh_token"]
    assert client.post("/v1/sessions/refresh", {"refresh_token": old}).status == 401
    assert client.post("/v1/sessions", {"email": email, "password": wrong}).status == 401
    assert client.post("/v1/sessions", {"email": email, "password": [wrong]}).status == 422
    assert client.as_user(hidden["an access token"] + "x").get("/v1/users/me").status == 401
    assert client.get("/v1/users/me", query={"token": hidden["a refresh token"]}).status >= 400
    return suite, hidden


def pids(suite):
    return {
        "supervisor": suite.supervisor.pid,
        **{name: entry["pid"] for name, entry in suite.instances().items()},
    }


def found(text, hidden):
    return [name for name, value in hidden.items() if value.encode() in text]


class TestNowhereToBeRead:
    @pytest.mark.parametrize("name", ["environ", "cmdline"])
    def test_proc(self, used, name):
        suite, hidden = used
        for instance, pid in pids(suite).items():
            text = pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
            assert b"SLUICE" in text or name == "cmdline", instance
            assert found(text, hidden) == [], instance

    def test_logs(self, used):
        suite, hidden = used
        wait_for(lambda: suite.log().count("/v1/sessions") >= 5, 10, "the access log has the logins")
        assert found(suite.log_path.read_bytes(), hidden) == []

    def test_admin_pages(self, used):
        suite, hidden = used
        for instance in suite.instances():
            for page in ("/metrics", "/readyz?verbose"):
                assert found(suite.admin_page(instance, page)[1].encode(), hidden) == []

    @pytest.mark.skipif(SANITIZED, reason="a sanitized build may be traced and leaves core files")
    def test_no_core_file(self, used):
        suite, _ = used
        for instance, pid in pids(suite).items():
            limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size +0 ", limits), instance


class TestSupervisor:
    def test_knows_every_secret_of_the_programs(self):
        """A variable that a program calls a secret is in the supervisor's table, or it would be
        handed to all."""
        source = (pathlib.Path(__file__).resolve().parents[2] / "deploy/services.c").read_text()
        table = source[source.index("services_secrets[") : source.index("#define OPTION")]
        known = set(re.findall(r'"(SLUICE_\w+)"', table))
        declared = set()
        for program in PROGRAMS:
            text = run(program, "--help").stdout
            declared |= set(re.findall(r"(SLUICE_\w+), or a file's path in the same name", text))
        assert declared == known and declared

    def test_a_restarted_process_gets_its_secrets_again(self, used):
        suite, hidden = used
        suite.wait_replaced("users-1", suite.kill("users-1"))
        client = Client(suite.port)
        login = {"email": ADMIN_EMAIL, "password": hidden["the admin's password"]}
        wait_for(lambda: client.post("/v1/sessions", login).status == 201, 10, "logins work")


# --- Memory

# AddressSanitizer keeps freed memory, and its map of terabytes would be made by reading it.
scans = pytest.mark.skipif(SANITIZED, reason="a sanitized build keeps what was freed")


def memory(pid):
    """Everything that the process can write, which is where data is."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not match or "[vvar]" in line:
                continue
            at, end = (int(n, 16) for n in match.groups())
            while at < end:
                try:
                    mem.seek(at)
                    yield mem.read(min(end - at, 1 << 24))
                except (OSError, ValueError, OverflowError):
                    pass
                at += 1 << 24


def count_in_memory(pid, text):
    return sum(block.count(text) for block in memory(pid))


def key_of(me):
    """A new API key."""
    answer = me.post("/v1/api-keys", {"name": "scan", "scope": "users:read"})
    assert answer.status == 201, answer
    return answer.json()["key"]


def overwrite_libzmq(me):
    """libzmq has a buffer of 8 KiB for each connection to a worker, out of our reach, where what it
    sent stays until it sends more: an ordinary request that is longer does so."""
    longer = {"name": "x" * 7000}
    path = f"/v1/users/{me.get('/v1/users/me').json()['id']}"
    assert me.patch(path, longer, headers={"If-Match": "*"}).status == 422


@pytest.fixture(scope="module")
def passed_through(suite, logged_in):
    """Secrets that came through the gateway: those passwords, whole or in pieces, and refresh tokens and
    API keys, in requests and in answers."""
    client = Client(suite.port)
    texts = {name: f"{name}-{secrets.token_urlsafe(24)}" for name in ("password", "bad json", "no account")}
    login = {"email": f"{fresh('y')}@example.com", "password": texts["password"]}
    assert client.post("/v1/users", {**login, "name": "Bea"}).status == 201
    session = client.post("/v1/sessions", login).json()
    texts["used refresh token"] = session["refresh_token"]
    session = client.post("/v1/sessions/refresh", {"refresh_token": session["refresh_token"]}).json()
    texts["refresh token"] = session["refresh_token"]
    me = client.as_user(session["access_token"])
    texts["API key"] = key_of(me)
    for _ in range(2):  # asked for, then known
        assert client.as_user(texts["API key"]).get("/v1/users/me").status == 200
    texts["wrong API key"] = wrong = texts["API key"][:-4] + "AAAA"
    assert client.as_user(wrong).get("/v1/users/me").status == 401
    broken = '{"email": "x@example.com", "password": "%s", oops' % texts["bad json"]
    json_type = {"Content-Type": "application/json"}
    assert client.post("/v1/sessions", broken.encode(), headers=json_type).status == 400
    nobody = {"email": f"{fresh('z')}@example.com", "password": texts["no account"]}
    assert client.post("/v1/sessions", nobody).status == 401
    texts["long body"] = f"long-{secrets.token_urlsafe(24)}"  # more than the parser's memory on the stack
    account = {**nobody, "password": texts["long body"], "name": "x" * 5000}
    assert client.post("/v1/users", account).status == 422
    overwrite_libzmq(me)
    texts["no route"] = f"sk_{secrets.token_urlsafe(32)}"  # so far back that no later request is there
    fields = {"X-Padding": "x" * 3000, "Authorization": f"Bearer {texts['no route']}"}
    assert client.get("/v1/nothing", headers=fields).status == 404
    texts["half a head"] = f"half-{secrets.token_urlsafe(24)}"
    half = socket.create_connection(("127.0.0.1", suite.port))
    half.sendall(f"GET / HTTP/1.1\r\nAuthorization: Bearer {texts['half a head']}\r\n".encode())
    half.shutdown(socket.SHUT_WR)
    assert half.recv(1) == b""
    half.close()
    return {**logged_in, **texts}


@pytest.fixture(scope="module")
def logged_in(suite):
    """Passwords that were used over the shared suite: for an account, a login, a wrong one, and to
    change it."""
    client = Client(suite.port)
    texts = {name: f"{name}-{secrets.token_urlsafe(24)}" for name in ("first", "wrong", "next")}
    email = f"{fresh('x')}@example.com"
    account = {"email": email, "password": texts["first"], "name": "Ada"}
    assert client.post("/v1/users", account).status == 201
    answer = client.post("/v1/sessions", {"email": email, "password": texts["first"]})
    assert answer.status == 201
    assert client.post("/v1/sessions", {"email": email, "password": texts["wrong"]}).status == 401
    me = client.as_user(answer.json()["access_token"])
    path = f"/v1/users/{me.get('/v1/users/me').json()['id']}"
    change = {"password": texts["next"], "current_password": texts["first"]}
    assert me.patch(path, change, headers={"If-Match": "*"}).status == 200
    return texts


@scans
def test_the_scan_finds_what_is_there(suite):
    """The instrument: a text that a process must have is found."""
    for instance in ("users-1", "gateway-1"):
        assert count_in_memory(suite.pid(instance), str(suite.home).encode()) > 0


@scans
@pytest.mark.parametrize("service", ["users", "orders", "queue", "search"])
def test_no_password_stays_in_memory(suite, logged_in, service):
    for instance, entry in suite.instances(service).items():
        for name, text in logged_in.items():
            assert count_in_memory(entry["pid"], text.encode()) == 0, (instance, name)


@scans
def test_no_secret_stays_in_the_gateway(suite, passed_through):
    for instance, entry in suite.instances("gateway").items():
        found = {
            name: n
            for name, text in passed_through.items()
            if (n := count_in_memory(entry["pid"], text.encode()))
        }
        assert found == {}, instance


@scans
@pytest.mark.parametrize("service", ["gateway", "orders", "search", "queue"])
def test_the_signing_key_is_in_one_service(suite, service):
    """Neither as text nor as bytes, in whatever a process has read."""
    text = json.loads(suite.secret("signing/token.key"))["d"]
    key = base64.urlsafe_b64decode(text + "=")
    for instance, entry in suite.instances(service).items():
        assert count_in_memory(entry["pid"], text.encode()) == 0, instance
        assert count_in_memory(entry["pid"], key) == 0, instance


@scans
def test_the_signing_key_is_no_text_any_more(suite):
    text = json.loads(suite.secret("signing/token.key"))["d"]
    for entry in suite.instances("users").values():
        assert count_in_memory(entry["pid"], text.encode()) == 0
