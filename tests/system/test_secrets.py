# SPDX-License-Identifier: MIT
# Where secrets must not be: in logs, in what /proc tells of a process, in the environment of a
# process that they are not for, and in memory once they were used.
import base64
import json
import pathlib
import re
import secrets
import socket

import msgpack
import pytest
from api import Client
from people import ADMIN_EMAIL, fresh, register
from process_memory import count_in_memory, scans
from suite import SANITIZED, Suite, run, wait_for
from test_inner_links import TcpSuite

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
    for name in ("signing/token.key", "cursor.key", "admin-token"):
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
        "users-hasher": suite.companion("users-1"),
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

def key_of(me):
    """A new API key."""
    answer = me.post("/v1/api-keys", {"name": "scan", "scope": "users:read"})
    assert answer.status == 201, answer
    return answer.json()["key"]


@pytest.fixture(scope="module", params=["unix sockets", "tcp"])
def place(request):
    """Suites whose processes meet on either; on TCP all is encrypted."""
    if request.param == "unix sockets":
        yield request.getfixturevalue("suite")
    else:
        with TcpSuite() as own:
            yield own.up()


@pytest.fixture(scope="module")
def passed_through(place, logged_in):
    """Secrets that came through the gateway: those passwords, whole or in pieces, and refresh tokens and
    API keys, in requests and in answers."""
    client = Client(place.port)
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
    texts["no route"] = f"sk_{secrets.token_urlsafe(32)}"  # so far back that no later request is there
    fields = {"X-Padding": "x" * 3000, "Authorization": f"Bearer {texts['no route']}"}
    assert client.get("/v1/nothing", headers=fields).status == 404
    texts["half a head"] = f"half-{secrets.token_urlsafe(24)}"
    half = socket.create_connection(("127.0.0.1", place.port))
    half.sendall(f"GET / HTTP/1.1\r\nAuthorization: Bearer {texts['half a head']}\r\n".encode())
    half.shutdown(socket.SHUT_WR)
    assert half.recv(1) == b""
    half.close()
    return {**logged_in, **texts}


@pytest.fixture(scope="module")
def logged_in(place):
    """Passwords that were used over the suite: for an account, a login, a wrong one, and to
    change it."""
    client = Client(place.port)
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


@pytest.fixture(scope="module")
def long_bodies(place):
    """Passwords in bodies that need memory beyond what each process keeps for ordinary ones: for the tree of
    the parser, and for the frame to the worker."""
    client = Client(place.port)
    texts = {}

    def account(what, **fields):
        texts[what] = what.replace(" ", "-") + secrets.token_urlsafe(24)
        return {"email": f"{fresh('l')}@example.com", "name": "Ada", "password": texts[what], **fields}

    json_type = {"Content-Type": "application/json"}
    padded = json.dumps(account("padded")).replace("{", "{" + " " * 8192).encode()
    assert client.post("/v1/users", padded, headers=json_type).status == 201
    for name, size in (("behind 8 KiB", 8192), ("behind 40 KiB", 40960)):
        body = account(name, name="x" * size)
        assert client.post("/v1/users", body).status == 422
    for name, size in (("before 8 KiB", 8192), ("before 40 KiB", 40960)):
        body = {"password": "", **account(name, name="x" * size)}
        assert client.post("/v1/users", body).status == 422
    packed = msgpack.packb(account("packed", name="x" * 8192))
    packed_type = {"Content-Type": "application/vnd.msgpack"}
    assert client.post("/v1/users", packed, headers=packed_type).status == 422
    login = {name: json.loads(padded)[name] for name in ("email", "password")}
    assert client.post("/v1/sessions", login).status == 201
    # At the end, and refused by the gateway: nothing else uses the parser's memory again.
    for name, size in (("broken", 8192), ("broken and shorter", 3000)):
        broken = json.dumps(account(name, name="x" * size))[:-1] + ", oops"
        assert client.post("/v1/users", broken.encode(), headers=json_type).status == 400
    return texts


@scans
@pytest.mark.parametrize("service", ["gateway", "users"])
def test_no_password_of_a_long_body_stays(place, long_bodies, service):
    for instance, entry in place.instances(service).items():
        found = {
            name: n
            for name, text in long_bodies.items()
            if (n := count_in_memory(entry["pid"], text.encode()))
        }
        assert found == {}, instance


@scans
def test_the_scan_finds_what_is_there(suite):
    """The instrument: a text that a process must have is found."""
    for instance in ("users-1", "gateway-1"):
        assert count_in_memory(suite.pid(instance), str(suite.home).encode()) > 0


@scans
@pytest.mark.parametrize("service", ["users", "orders", "queue", "search"])
def test_no_password_stays_in_memory(place, logged_in, service):
    processes = {instance: entry["pid"] for instance, entry in place.instances(service).items()}
    if service == "users":
        processes.update({f"hasher of {one}": place.companion(one) for one in list(processes)})
    for instance, pid in processes.items():
        for name, text in logged_in.items():
            assert count_in_memory(pid, text.encode()) == 0, (instance, name)


@scans
def test_no_secret_stays_in_the_gateway(place, passed_through):
    for instance, entry in place.instances("gateway").items():
        found = {
            name: n
            for name, text in passed_through.items()
            if (n := count_in_memory(entry["pid"], text.encode()))
        }
        assert found == {}, instance


@scans
def test_nothing_padded_stays_in_libzmq():
    """A unit test (tests/unit/test_zsocket_wiping.c), with `operator delete` as it is delivered."""
    result = run("test_zsocket_wiping", timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


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


def deployment(suite, given):
    """{name: text} of the secrets of a suite that is started with them."""
    names = {
        "SLUICE_TOKEN_KEY": "signing/token.key",
        "SLUICE_ADMIN_PASSWORD": "admin-password",
        "SLUICE_ADMIN_TOKEN": "admin-token",
    }
    texts = {}
    if given == "variables":
        assert run("sluice", "init", env=suite.env).returncode == 0
        texts = {variable: suite.secret(name) for variable, name in names.items()}
        for name in names.values():
            (suite.home / "secrets" / name).unlink()
        suite.environment.update(texts)
    suite.up()
    texts = {n: texts.get(variable) or suite.secret(n) for variable, n in names.items()}
    texts["signing/token.key"] = json.loads(texts["signing/token.key"])["d"]
    return {**texts, "cursor.key": suite.secret("cursor.key")}


@scans
@pytest.mark.parametrize("given", ["files", "variables"])
def test_what_a_deployment_is_given_is_no_text_any_more(own_suite, given):
    """It was hashed or decoded, and overwritten; where the supervisor made it, there too."""
    texts = deployment(own_suite, given)
    processes = pids(own_suite)
    if given == "variables":
        del processes["supervisor"]  # which hands them to what it starts again
    found = {
        (instance, name)
        for instance, pid in processes.items()
        for name, text in texts.items()
        if count_in_memory(pid, text.encode())
    }
    assert found == set()


def seed_of(suite):
    return base64.urlsafe_b64decode(json.loads(suite.secret("signing/token.key"))["d"] + "=")


@scans
def test_a_signing_key_that_was_changed_is_forgotten(own_suite):
    pid = own_suite.up().pid("users-1")
    register(own_suite.port)
    old = seed_of(own_suite)
    assert count_in_memory(pid, old) > 0
    env = {**own_suite.env, "SLUICE_TOKEN_ROTATE_WAIT": "0s"}
    assert run("sluice-users", "rotate-key", env=env).returncode == 0
    register(own_suite.port)  # signs, and so takes the new key
    assert count_in_memory(pid, seed_of(own_suite)) > 0
    assert count_in_memory(pid, old) == 0 and own_suite.pid("users-1") == pid
