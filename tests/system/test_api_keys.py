# SPDX-License-Identifier: MIT
# API keys: made, listed and revoked by their owner, good within their scope and time, and refused
# everywhere within a second once they are revoked.
import hashlib
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from api import Client
from people import PASSWORD, fresh, register
from suite import wait_for

KEY = re.compile(r"^sk_[A-Za-z0-9_-]{43}$")


def make_key(person, scope="*", **fields):
    answer = person.post("/v1/api-keys", {"name": fresh("ci"), "scope": scope, **fields})
    assert answer.status == 201, answer
    return answer.json()


def machine(person, scope="*", **fields):
    """A client with a new key of this person, and what the answer said of the key."""
    key = make_key(person, scope, **fields)
    return person.as_user(key["key"]), key


def in_seconds(n):
    return (datetime.now(timezone.utc) + timedelta(seconds=n)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def refused(client):
    answer = client.get("/v1/users/me")
    return (answer.status, answer.slug) == (401, "unauthenticated")


class TestMaking:
    def test_key_is_shown_once_and_kept_as_a_hash(self, suite, new_person):
        eve = new_person()
        answer = eve.post("/v1/api-keys", {"name": "deploy", "scope": "orders:read"})
        key = answer.json()
        assert KEY.match(key["key"]) and key["key"].startswith(key["hint"])
        assert answer.headers["Location"] == f"/v1/api-keys/{key['id']}"
        assert answer.headers["Cache-Control"] == "no-store"
        (listed,) = eve.get("/v1/api-keys").json()["items"]
        assert listed == {name: value for name, value in key.items() if name != "key"}
        with sqlite3.connect(f"file:{suite.home}/db/users/users.db?mode=ro", uri=True) as store:
            rows = store.execute("SELECT * FROM api_keys WHERE id = ?", [key["id"]]).fetchall()
        assert hashlib.sha256(key["key"].encode()).digest() in rows[0]
        assert key["key"] not in str(rows)
        assert key["key"] not in suite.log()

    @pytest.mark.parametrize(
        "fields,pointer",
        [
            ({"scope": "orders:all"}, "#/scope"),
            ({"scope": "orders:read,users:read"}, "#/scope"),
            ({"scope": " *"}, "#/scope"),
            ({"scope": ""}, "#/scope"),
            ({"scope": None}, "#/scope"),
            ({"name": ""}, "#/name"),
            ({"expires_at": "2001-01-01T00:00:00Z"}, "#/expires_at"),
            ({"expires_at": "soon"}, "#/expires_at"),
            ({"key": "sk_mine"}, "#/key"),
        ],
    )
    def test_wrong_fields_are_named(self, ada, fields, pointer):
        body = {"name": "x", "scope": "*", **fields}
        answer = ada.post("/v1/api-keys", {k: v for k, v in body.items() if v is not None})
        assert (answer.status, answer.slug) == (422, "invalid-fields")
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]

    def test_a_key_makes_no_keys(self, new_person):
        eve = new_person()
        bot, _ = machine(eve)
        answer = bot.post("/v1/api-keys", {"name": "more", "scope": "*"})
        assert (answer.status, answer.slug) == (403, "forbidden")
        assert len(eve.get("/v1/api-keys").json()["items"]) == 1

    def test_number_is_limited(self, new_person):
        eve = new_person()
        for _ in range(50):
            make_key(eve)
        answer = eve.post("/v1/api-keys", {"name": "x", "scope": "*"})
        assert (answer.status, answer.slug) == (409, "too-many-api-keys")
        oldest = eve.get("/v1/api-keys").json()["items"][0]["id"]
        assert eve.delete(f"/v1/api-keys/{oldest}").status == 204
        make_key(eve)


class TestUse:
    def test_acts_for_its_owner(self, new_person, new_product):
        eve = new_person()
        bot, _ = machine(eve)
        assert bot.get("/v1/users/me").json()["id"] == eve.id
        order = bot.order({new_product()["sku"]: 1})
        assert order.status == 201
        assert eve.get(f"/v1/orders/{order.json()['id']}").status == 200

    def test_scope_is_the_limit(self, new_person, new_product):
        eve, sku = new_person(), new_product()["sku"]
        reader, _ = machine(eve, "orders:read")
        writer, _ = machine(eve, "orders:write users:read")
        for _ in range(2):  # asked, then known
            assert reader.get("/v1/orders").status == 200
            assert writer.get("/v1/users/me").status == 200
            for client, answer in (
                (reader, reader.order({sku: 1})),
                (reader, reader.get("/v1/users/me")),
                (writer, writer.get("/v1/orders")),
                (writer, writer.patch(f"/v1/users/{eve.id}", {"name": "x"}, if_match="*")),
            ):
                assert (answer.status, answer.slug) == (403, "forbidden"), answer
                assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
                assert "scope does not include" in answer.json()["detail"]
            assert writer.order({sku: 1}).status == 201

    def test_body_is_kept_while_the_key_is_asked_for(self, new_person):
        """The first request with a key, with a body in pieces, and another one behind it."""
        eve = new_person()
        name = "N" * 90
        for _ in range(3):
            bot, _ = machine(eve)
            answer = bot.patch(f"/v1/users/{eve.id}", {"name": name}, if_match="*")
            assert answer.status == 200 and answer.json()["name"] == name
            assert bot.get("/v1/users/me").status == 200  # on the same connection

    def test_first_uses_at_once(self, suite, new_person):
        key = make_key(new_person())["key"]
        with ThreadPoolExecutor(20) as pool:
            ask = lambda _: Client(suite.port, key).get("/v1/users/me").status
            assert set(pool.map(ask, range(40))) == {200}

    def test_known_keys_are_not_asked_for(self, suite, new_person):
        bot, _ = machine(new_person())

        def counted():
            names = [f'sluice_gateway_api_keys_total{{found="{f}"}}' for f in ("asked", "cache")]
            metrics = suite.metrics("gateway-1")
            return [metrics[name] for name in names]

        before = counted()
        for _ in range(20):
            assert bot.get("/v1/users/me").status == 200
        after = counted()
        assert after[0] - before[0] == 1 and after[1] - before[1] == 19

    @pytest.mark.parametrize(
        "key", ["sk_", "sk_x", "sk_" + "A" * 42, "sk_" + "A" * 44, "sk_" + "A" * 42 + "B", "sk_" + "=" * 43]
    )
    def test_what_is_no_key_is_refused(self, api, key):
        answer = api.as_user(key).get("/v1/users/me")
        assert (answer.status, answer.slug) == (401, "unauthenticated")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]

    def test_unknown_keys_are_refused_and_asked_for_once(self, suite, api):
        stranger = api.as_user("sk_" + "A" * 43)
        before = suite.metrics("gateway-1")['sluice_gateway_api_keys_total{found="asked"}']
        for _ in range(10):
            assert refused(stranger)
        asked = suite.metrics("gateway-1")['sluice_gateway_api_keys_total{found="asked"}'] - before
        assert asked == 1

    def test_nobody_asks_the_gateways_question(self, api, ada, admin):
        body = {"hash": "A" * 43}
        for client in (api, ada, admin):
            for path in ("/internal/api-keys/check", "/v1/../internal/api-keys/check"):
                assert client.post(path, body).status in (400, 404)
        assert "/internal" not in api.get("/openapi.json").body.decode()


class TestEnding:
    def test_revoked_by_its_owner_alone(self, new_person, bob):
        eve = new_person()
        bot, key = machine(eve)
        assert bot.get("/v1/users/me").status == 200
        assert bob.delete(f"/v1/api-keys/{key['id']}").status == 404
        assert bot.get("/v1/users/me").status == 200
        assert eve.delete(f"/v1/api-keys/{key['id']}").status == 204
        wait_for(lambda: refused(bot), 1, "the revoked key is refused")
        assert eve.delete(f"/v1/api-keys/{key['id']}").status == 404
        assert eve.get("/v1/users/me").status == 200  # the session goes on

    def test_is_no_session(self, new_person):
        eve = new_person()
        bot, key = machine(eve)
        answer = bot.delete("/v1/sessions/current")
        assert (answer.status, answer.slug) == (403, "forbidden")
        assert f"/v1/api-keys/{key['id']}" in answer.json()["detail"]
        assert bot.get("/v1/users/me").status == 200 and eve.get("/v1/users/me").status == 200

    def test_ends_when_it_expires(self, new_person):
        bot, _ = machine(new_person(), expires_at=in_seconds(1.5))
        assert bot.get("/v1/users/me").status == 200
        wait_for(lambda: refused(bot), 3, "the expired key is refused")

    def test_ends_with_the_account(self, new_person):
        eve = new_person()
        bot, _ = machine(eve)
        assert bot.get("/v1/users/me").status == 200
        assert eve.delete(f"/v1/users/{eve.id}", if_match="*").status == 204
        wait_for(lambda: refused(bot), 1, "the key of a deleted account is refused")

    def test_outlives_session_and_password(self, new_person):
        eve = new_person()
        bot, _ = machine(eve)
        patch = {"password": "another one, as good", "current_password": PASSWORD}
        assert eve.patch(f"/v1/users/{eve.id}", patch, if_match="*").status == 200
        assert eve.delete("/v1/sessions/current").status == 204
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert bot.get("/v1/users/me").status == 200

    def test_has_the_role_of_now(self, new_person, admin):
        eve = new_person()
        bot, _ = machine(eve)
        assert bot.get("/v1/users").status == 403
        path = f"/v1/users/{eve.id}"
        assert admin.patch(path, {"role": "admin"}, if_match="*").status == 200
        wait_for(lambda: bot.get("/v1/users").status == 200, 1, "the key has the new role")
        assert admin.patch(path, {"role": "user"}, if_match="*").status == 200
        wait_for(lambda: bot.get("/v1/users").status == 403, 1, "the key has the old role again")


def test_without_users_workers_only_known_keys_work(own_suite):
    """A key that this gateway knows goes on; one that it would have to ask for is told so."""
    suite = own_suite.up()
    eve = register(suite.port)
    (known, _), (new, _) = machine(eve, "orders:read"), machine(eve, "orders:read")
    assert known.get("/v1/orders").status == 200
    suite.scale(users=0)
    wait_for(lambda: eve.get("/v1/users/me").status == 503, 20, "users are away")
    assert known.get("/v1/orders").status == 200
    answer = new.get("/v1/orders")
    assert (answer.status, answer.slug) == (503, "unavailable")
    assert answer.headers["Retry-After"]
    suite.scale(users=1)
    wait_for(lambda: new.get("/v1/orders").status == 200, 10, "the key can be asked for")
