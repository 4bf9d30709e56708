# SPDX-License-Identifier: MIT
# Logging in, refreshing, logging out, and what an access token is.
import base64
import json
import os
import sqlite3
import statistics
import threading
import time

import nacl.pwhash
import nacl.signing
import pytest
from people import PASSWORD, fresh, register
from suite import wait_for


def unpack(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def refresh(client, token):
    return client.as_user(None).post("/v1/sessions/refresh", {"refresh_token": token})


class TestLogin:
    def test_answers_a_pair_of_tokens(self, api, ada):
        answer = api.post("/v1/sessions", {"email": ada.email.upper(), "password": PASSWORD})
        assert answer.status == 201
        session = answer.json()
        assert set(session) == {"access_token", "token_type", "expires_in", "refresh_token"}
        assert (session["token_type"], session["expires_in"]) == ("Bearer", 900)
        assert "no-store" in answer.headers["Cache-Control"]

    def test_unknown_address_and_wrong_password_look_alike(self, api, ada):
        wrong = api.post("/v1/sessions", {"email": ada.email, "password": "wrong password"})
        unknown = api.post(
            "/v1/sessions", {"email": f"{fresh('x')}@example.com", "password": "wrong password"}
        )
        for answer in (wrong, unknown):
            assert (answer.status, answer.slug) == (401, "invalid-credentials")
        alike = [{k: v for k, v in a.json().items() if k != "instance"} for a in (wrong, unknown)]
        assert alike[0] == alike[1]
        assert sorted(wrong.headers.keys()) == sorted(unknown.headers.keys())

    @pytest.mark.alone
    def test_unknown_address_takes_as_long(self, suite, api, new_person):
        """By the clock, and more exactly by what is computed: the best of each, which another
        try can only bring nearer to what it takes when nothing else runs."""
        users = [name for name in suite.instances() if name.startswith("users-")]

        def computed_s():
            return sum(suite.metrics(name)["process_cpu_seconds_total"] for name in users)

        def took(email):
            before, begin = computed_s(), time.perf_counter()
            answer = api.post("/v1/sessions", {"email": email, "password": "wrong password"})
            wall = time.perf_counter() - begin
            assert answer.status == 401
            return wall, computed_s() - before

        def alike(turns, kind, most):
            known, unknown = (min(took[kind] for took in column) for column in zip(*turns))
            return 1 / most < known / unknown < most

        turns = []
        for _ in range(6):
            # Others each time: guesses are counted.
            eve, stranger = new_person(), f"{fresh('x')}@example.com"
            turns += [(took(eve.email), took(stranger)) for _ in range(8)]
            if alike(turns, 0, 2) and alike(turns, 1, 1.1):
                return
        assert False, turns

    def test_guessing_is_slowed_and_the_owner_gets_in_again(self, api, new_person):
        eve = new_person()
        login = {"email": eve.email, "password": "wrong password"}
        for _ in range(20):
            assert api.post("/v1/sessions", login).status == 401
        answer = api.post("/v1/sessions", {**login, "password": PASSWORD})
        assert (answer.status, answer.slug) == (429, "too-many-requests")
        wait_s = int(answer.headers["Retry-After"])
        assert 1 <= wait_s <= 60
        wait_for(
            lambda: api.post("/v1/sessions", {**login, "password": PASSWORD}).status == 201,
            wait_s + 1,
            "the owner may log in",
        )
        assert eve.get("/v1/users/me").status == 200  # sessions that were there are not touched

    @pytest.mark.alone
    def test_hashing_does_not_hold_up_others(self, suite, ada, new_person):
        """Argon2 takes two cores for a while; requests that need none of it do not wait."""
        eve = new_person()
        done = threading.Event()

        def log_in_again_and_again():
            client = eve.as_user(None)
            while not done.is_set():
                client.post("/v1/sessions", {"email": eve.email, "password": PASSWORD})

        threads = [threading.Thread(target=log_in_again_and_again) for _ in range(4)]
        for thread in threads:
            thread.start()
        times = []
        for _ in range(50):
            begin = time.perf_counter()
            assert ada.get("/v1/users/me").status == 200
            times.append(time.perf_counter() - begin)
        done.set()
        for thread in threads:
            thread.join()
        assert statistics.median(times) < 0.1, times

    def test_hashing_gives_way_and_gets_its_part(self, suite, api, ada):
        """A third of the weight of others (nice 5), as a batch: they go first, and logins get in."""
        api.post("/v1/sessions", {"email": ada.email, "password": PASSWORD})
        threads = [
            (os.sched_getscheduler(int(thread)), os.getpriority(os.PRIO_PROCESS, int(thread)))
            for name in suite.instances("users")
            for thread in os.listdir(f"/proc/{suite.pid(name)}/task")
        ]
        assert set(threads) == {(os.SCHED_BATCH, 5), (os.SCHED_OTHER, 0)}


class TestOldHash:
    @staticmethod
    def hash_of(suite, person):
        with sqlite3.connect(suite.home / "db/users/users.db") as store:
            return store.execute("SELECT password FROM users WHERE id = ?", [person.id]).fetchone()[0]

    def test_is_renewed_when_its_password_is_there(self, own_suite):
        """Weaker parameters, of an older version: a wrong password leaves them, the right one replaces them."""
        suite = own_suite.up()
        ada = register(suite.port)
        ours = self.hash_of(suite, ada)
        weaker = nacl.pwhash.argon2id.str(PASSWORD.encode(), opslimit=1, memlimit=8 << 20).decode()
        suite.down()
        with sqlite3.connect(suite.home / "db/users/users.db") as store:
            store.execute("UPDATE users SET password = ? WHERE id = ?", [weaker, ada.id])
        suite.up()
        wrong = {"email": ada.email, "password": "none of hers at all"}
        assert ada.post("/v1/sessions", wrong).status == 401
        assert self.hash_of(suite, ada) == weaker
        ada.log_in()
        renewed = self.hash_of(suite, ada)
        assert renewed not in (weaker, ours)
        assert renewed.split("$")[1:4] == ours.split("$")[1:4] == ["argon2id", "v=19", "m=19456,t=2,p=1"]
        ada.log_in()
        assert self.hash_of(suite, ada) == renewed


class TestAccessToken:
    def test_is_signed_by_the_published_key(self, api, ada):
        header, claims, signature = ada.token.split(".")
        header, claims_text = json.loads(unpack(header)), json.loads(unpack(claims))
        assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
        keys = api.get("/.well-known/jwks.json").json()["keys"]
        key = next(key for key in keys if key["kid"] == header["kid"])
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == (
            "OKP",
            "Ed25519",
            "sig",
            "EdDSA",
        )
        assert "d" not in key
        signed = ada.token.rsplit(".", 1)[0].encode()
        nacl.signing.VerifyKey(unpack(key["x"])).verify(signed, unpack(signature))
        assert set(claims_text) >= {
            "iss",
            "aud",
            "sub",
            "role",
            "sid",
            "client_id",
            "iat",
            "exp",
            "jti",
        }
        assert (claims_text["sub"], claims_text["role"]) == (ada.id, "user")
        assert claims_text["exp"] - claims_text["iat"] == 900


class TestRefresh:
    def test_rotates(self, new_person):
        eve = new_person()
        second = refresh(eve, eve.session["refresh_token"])
        assert second.status == 201 and "no-store" in second.headers["Cache-Control"]
        assert second.json()["refresh_token"] != eve.session["refresh_token"]
        assert eve.as_user(second.json()["access_token"]).get("/v1/users/me").status == 200
        assert refresh(eve, second.json()["refresh_token"]).status == 201

    def test_used_twice_ends_the_whole_family(self, new_person):
        eve = new_person()
        first = eve.session["refresh_token"]
        second = refresh(eve, first).json()
        stolen = refresh(eve, first)
        assert (stolen.status, stolen.slug) == (401, "invalid-refresh-token")
        assert refresh(eve, second["refresh_token"]).status == 401
        for token in (eve.token, second["access_token"]):
            wait_for(
                lambda: eve.as_user(token).get("/v1/users/me").status == 401,
                2,
                "the session's tokens are refused",
            )
        eve.log_in()
        assert eve.get("/v1/users/me").status == 200

    def test_at_once_by_two_gives_one_pair_at_most(self, new_person):
        eve = new_person()
        answers = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(refresh(eve, eve.session["refresh_token"]).status)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers.count(201) <= 1 and set(answers) <= {201, 401}

    def test_garbage_is_refused(self, api, new_person):
        eve = new_person()
        token = eve.session["refresh_token"]
        for wrong in (
            "x",
            "x" * 128,
            token[:-1],
            token[:-1] + ("A" if token[-1] != "A" else "B"),
            eve.token[:128],
        ):
            answer = api.post("/v1/sessions/refresh", {"refresh_token": wrong})
            assert answer.slug == "invalid-refresh-token", wrong
        assert api.post("/v1/sessions/refresh", {"refresh_token": ""}).status == 422
        assert api.post("/v1/sessions/refresh", {"refresh_token": "x" * 129}).status == 422


class TestLogout:
    def test_ends_the_session_and_its_tokens(self, new_person):
        eve = new_person()
        answer = eve.delete("/v1/sessions/current")
        assert (answer.status, answer.body) == (204, b"")
        wait_for(lambda: eve.get("/v1/users/me").status == 401, 2, "the token is refused")
        assert refresh(eve, eve.session["refresh_token"]).status == 401

    def test_leaves_other_sessions_alone(self, new_person):
        eve = new_person()
        first = eve.as_user(eve.token)
        eve.log_in()
        assert first.delete("/v1/sessions/current").status == 204
        wait_for(lambda: first.get("/v1/users/me").status == 401, 2, "the token is refused")
        assert eve.get("/v1/users/me").status == 200
        assert refresh(eve, eve.session["refresh_token"]).status == 201

    def test_needs_a_session(self, api):
        assert api.delete("/v1/sessions/current").status == 401
