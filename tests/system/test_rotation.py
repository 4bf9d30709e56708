# SPDX-License-Identifier: MIT
# The signing key changes while everything runs, and nobody notices but those who look.
import json
import os
import subprocess
import time

import pytest
from api import Client
from crew import Crew
from people import PASSWORD, register
from suite import BUILD, run, wait_for

LOGINS = 45  # an account keeps 50 sessions, and the first one is looked at until the end
LOGIN_EVERY_S = 0.15


def rotate(suite, **environment):
    env = {**suite.env, "SLUICE_TOKEN_ROTATE_WAIT": "0s", **environment}
    return run("sluice-users", "rotate-key", env=env)


def kids(suite):
    return [key["kid"] for key in json.loads(suite.secret("public/jwks.json"))["keys"]]


def signing(suite):
    return json.loads(suite.secret("signing/token.key"))["kid"]


class Steady(Crew):
    """Logs in and reads, again and again, with the newest token and the oldest; remembers what failed."""

    def __init__(self, port):
        self.person = register(port)
        self.oldest = self.person.token
        self.failed, self.count = [], 0
        super().__init__(self.read, self.read, self.log_in)

    def check(self, answer, status):
        self.count += 1
        if answer.status != status:
            self.failed.append(repr(answer))

    def read(self):
        while not self.ending.is_set():
            for token in (self.oldest, self.person.token):
                client = Client(self.person.port, token)
                self.check(client.get("/v1/users/me"), 200)
                client.close()

    def log_in(self):
        client = Client(self.person.port)
        body = {"email": self.person.email, "password": PASSWORD}
        for _ in range(LOGINS):
            if self.ending.wait(LOGIN_EVERY_S):
                break
            answer = client.post("/v1/sessions", body)
            self.check(answer, 201)
            if answer.status == 201:
                self.person.token = answer.json()["access_token"]
                # The very token, at once: the gateway has never seen its key before.
                self.check(client.as_user(self.person.token).get("/v1/users/me"), 200)


def test_five_rotations_under_load_fail_nothing(own_suite):
    own_suite.environment.update(SLUICE_SCALE_USERS=2, SLUICE_SCALE_GATEWAY=2)
    own_suite.up()
    with Steady(own_suite.port) as load:
        for number in range(5):
            before, count = signing(own_suite), load.count
            # The last one waits as it does by default; the others give no gateway time to look.
            result = rotate(own_suite, **({"SLUICE_TOKEN_ROTATE_WAIT": "3s"} if number == 4 else {}))
            assert result.returncode == 0, result.stderr
            after = signing(own_suite)
            assert after != before and kids(own_suite)[0] == after and before in kids(own_suite)
            assert f"key {after} signs now; the old one, {before}, stays" in result.stdout
            wait_for(lambda: load.count > count + 20, 10, "requests go on")
    assert load.failed == [] and load.count > 100
    published = Client(own_suite.port).get("/.well-known/jwks.json").json()["keys"]
    assert {key["kid"] for key in published} == set(kids(own_suite))
    assert own_suite.metrics("gateway-1")['sluice_gateway_token_keys{whose="own"}'] == 6
    assert (own_suite.home / "secrets/signing/token.key").stat().st_mode & 0o777 == 0o600
    assert not (own_suite.home / "secrets/signing/token.next.key").exists()


def test_two_at_once_are_one_rotation(own_suite):
    own_suite.up()
    before = kids(own_suite)
    env = {**own_suite.env, "SLUICE_TOKEN_ROTATE_WAIT": "1s"}
    both = [
        subprocess.Popen(
            [BUILD / "sluice-users", "rotate-key"], env=env, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=20)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(kids(own_suite)) == len(before) + 1
    assert sum("signs now" in text for text in said) == 1
    assert sum("another rotation at the same time saw to it" in text for text in said) == 1


def test_killed_rotation_is_finished_by_the_next(own_suite):
    own_suite.up()
    before = signing(own_suite)
    env = {**own_suite.env, "SLUICE_TOKEN_ROTATE_WAIT": "60s"}
    process = subprocess.Popen([BUILD / "sluice-users", "rotate-key"], env=env)
    wait_for(lambda: len(kids(own_suite)) == 2, 10, "the new key is public")
    process.kill()
    process.wait()
    coming = kids(own_suite)[0]
    assert signing(own_suite) == before
    assert rotate(own_suite).returncode == 0
    assert signing(own_suite) == coming and len(kids(own_suite)) == 2


def test_old_keys_go_when_their_time_has_come(own_suite):
    own_suite.up()
    first = signing(own_suite)
    assert rotate(own_suite).returncode == 0
    path = own_suite.home / "secrets/public/jwks.json"
    keys = json.loads(path.read_text())
    old = next(key for key in keys["keys"] if key["kid"] == first)
    assert 24 * 3600 < old["exp"] - time.time() < 26 * 3600
    old["exp"] = int(time.time()) - 1
    path.write_text(json.dumps(keys))
    result = rotate(own_suite)
    assert "removed 1 old key," in result.stdout and first not in kids(own_suite)


def test_rotates_by_age(own_suite):
    """The writer looks every minute; two looks would be too long for a test, the first step is enough."""
    own_suite.environment["SLUICE_TOKEN_KEY_AGE"] = "30d"
    own_suite.up()
    old = time.time() - 40 * 24 * 3600
    os.utime(own_suite.home / "secrets/signing/token.key", (old, old))
    wait_for(lambda: len(kids(own_suite)) == 2, 70, "a new key is public")
    assert (own_suite.home / "secrets/signing/token.next.key").exists()


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda s: (s / "public/jwks.json").write_text("[]"), "not a JWK set"),
        (lambda s: (s / "signing/token.key").write_text("{}"), "not a private Ed25519 JWK"),
        (lambda s: (s / "signing/token.key").unlink(), "`sluice init` makes it"),
    ],
)
def test_wrong_files_are_named(own_suite, spoil, said):
    assert run("sluice", "init", env=own_suite.env).returncode == 0
    secrets = own_suite.home / "secrets"
    spoil(secrets)
    before = {path.name: path.read_bytes() for path in secrets.iterdir() if path.is_file()}
    result = rotate(own_suite)
    assert result.returncode == 78 and said in result.stderr and str(secrets) in result.stderr
    assert before == {path.name: path.read_bytes() for path in secrets.iterdir() if path.is_file()}


def test_full_set_is_said(own_suite):
    assert run("sluice", "init", env=own_suite.env).returncode == 0
    for _ in range(15):
        assert rotate(own_suite).returncode == 0
    result = rotate(own_suite)
    assert result.returncode == 1 and "as many keys as gateways take" in result.stderr
    assert len(kids(own_suite)) == 16 and not (own_suite.home / "secrets/signing/token.next.key").exists()


def test_key_of_the_configuration_is_not_ours_to_change(own_suite):
    assert run("sluice", "init", env=own_suite.env).returncode == 0
    result = rotate(own_suite, SLUICE_TOKEN_KEY=own_suite.secret("signing/token.key"))
    assert result.returncode == 78 and "SLUICE_TOKEN_KEY" in result.stderr
