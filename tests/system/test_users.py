# SPDX-License-Identifier: MIT
# Accounts: POST /v1/users, GET/PATCH/DELETE /v1/users/{id}, GET /v1/users/me, GET /v1/users?email=.
import contextlib
import re
import sqlite3

import pytest
from people import ADMIN_EMAIL, PASSWORD, Person, admin_of, fresh
from suite import Suite, wait_for

UUID7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
MEMBERS = {"id", "email", "name", "role", "version", "created_at", "updated_at"}


def register(api, **fields):
    body = {"email": f"{fresh('x')}@example.com", "password": PASSWORD, "name": "Eve", **fields}
    return api.post("/v1/users", {name: value for name, value in body.items() if value is not None})


class TestMaking:
    def test_answers_the_account_and_where_it_is(self, api):
        email = f"{fresh('eve')}@example.com"
        answer = register(api, email=email, name="Eve Ümläut 🦊")
        assert answer.status == 201
        user = answer.json()
        assert set(user) == MEMBERS  # and so no password, no hash
        assert UUID7.match(user["id"]) and TIME.match(user["created_at"])
        assert user["created_at"] == user["updated_at"]
        assert (user["email"], user["name"], user["role"], user["version"]) == (
            email,
            "Eve Ümläut 🦊",
            "user",
            1,
        )
        assert answer.headers["Location"] == f"/v1/users/{user['id']}"
        assert re.match(r'^"[^"]+"$', answer.etag)

    def test_one_account_for_an_address_in_any_case(self, api, ada):
        for email in [ada.email, ada.email.upper()]:
            answer = register(api, email=email)
            assert (answer.status, answer.slug) == (409, "email-taken")

    @pytest.mark.parametrize(
        "fields,pointer",
        [
            ({"email": None}, "#/email"),
            ({"password": None}, "#/password"),
            ({"name": None}, "#/name"),
            ({"email": "no address"}, "#/email"),
            ({"email": "a@b@example.com"}, "#/email"),
            ({"email": "a@example.com\r\nBcc: all"}, "#/email"),
            ({"email": "a" * 250 + "@example.com"}, "#/email"),
            ({"password": "short"}, "#/password"),
            ({"password": "x" * 257}, "#/password"),
            ({"name": ""}, "#/name"),
            ({"name": "a\nb"}, "#/name"),
            ({"name": "x" * 101}, "#/name"),
            ({"name": 7}, "#/name"),
            ({"role": "admin"}, "#/role"),
            ({"id": "1"}, "#/id"),
            ({"version": 9}, "#/version"),
        ],
    )
    def test_wrong_fields_are_named(self, api, fields, pointer):
        answer = register(api, **fields)
        assert (answer.status, answer.slug) == (422, "invalid-fields")
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]

    def test_every_mistake_is_named_at_once(self, api):
        answer = api.post("/v1/users", {"email": 1, "password": "x", "nick": "y"})
        assert {error["pointer"] for error in answer.json()["errors"]} >= {
            "#/email",
            "#/password",
            "#/nick",
            "#/name",
        }

    @pytest.mark.parametrize("password", ["password1", "aaaaaaaaaaaa", "Eve-Adams", "2026-11-26"])
    def test_weak_password_is_refused_with_the_reason(self, api, password):
        answer = register(api, name="Eve Adams", password=password)
        assert (answer.status, answer.slug) == (422, "invalid-fields")
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "#/password" and "is guessed too early" in error["detail"]
        assert password not in answer.body.decode()

    def test_shortest_password_has_eight_characters(self, api):
        """Characters, not bytes."""
        assert register(api, password="qX7#vößé").status == 201
        answer = register(api, password="qX7#vöß")
        assert (answer.status, answer.slug) == (422, "invalid-fields")
        assert answer.json()["errors"][0]["pointer"] == "#/password"

    def test_longest_password_counts_to_its_end(self, api):
        email, password = f"{fresh('eve')}@example.com", "Vier rote Räder " + "ß" * 240
        assert register(api, email=email, password=password).status == 201
        login = {"email": email, "password": password[:-1] + "s"}
        assert api.post("/v1/sessions", login).status == 401
        assert api.post("/v1/sessions", {**login, "password": password}).status == 201


class TestReading:
    def test_me_is_the_same_as_my_id(self, ada):
        me, by_id = ada.get("/v1/users/me"), ada.get(f"/v1/users/{ada.id}")
        assert me.status == by_id.status == 200
        assert me.json() == by_id.json() and me.etag == by_id.etag
        assert set(me.json()) == MEMBERS

    def test_admin_reads_everybody(self, admin, ada):
        assert admin.get(f"/v1/users/{ada.id}").json()["email"] == ada.email

    def test_others_do_not_exist(self, ada, bob):
        theirs = ada.get(f"/v1/users/{bob.id}")
        nobody = ada.get("/v1/users/01890000-0000-7000-8000-000000000000")
        strange = ada.get("/v1/users/not-an-id")
        for answer in (theirs, nobody, strange):
            assert (answer.status, answer.slug) == (404, "not-found")
        without_instance = [
            {k: v for k, v in a.json().items() if k != "instance"}
            for a in (theirs, nobody, strange)
        ]
        assert without_instance[0] == without_instance[1] == without_instance[2]


class TestChanging:
    def test_needs_the_version_that_was_read(self, new_person):
        eve = new_person()
        path = f"/v1/users/{eve.id}"
        etag = eve.get(path).etag
        assert eve.patch(path, {"name": "Eva"}).slug == "precondition-required"
        assert eve.patch(path, {"name": "Eva"}, if_match='"0"').slug == "precondition-failed"
        assert eve.patch(path, {"name": "Eva"}, if_match=f"W/{etag}").slug == "precondition-failed"
        changed = eve.patch(path, {"name": "Eva"}, if_match=etag)
        assert (changed.status, changed.json()["name"], changed.json()["version"]) == (
            200,
            "Eva",
            2,
        )
        assert changed.etag != etag and changed.etag == eve.get(path).etag
        assert eve.patch(path, {"name": "Evi"}, if_match=etag).status == 412
        assert eve.patch(path, {"name": "Evi"}, if_match=f'"x", {changed.etag}').status == 200
        assert eve.patch(path, {"name": "Evo"}, if_match="*").status == 200
        assert eve.get(path).json()["name"] == "Evo"

    def test_email_and_password_need_the_current_password(self, new_person):
        eve = new_person()
        path, new = f"/v1/users/{eve.id}", f"{fresh('eve')}@example.com"
        for patch in ({"email": new}, {"password": "another password"}):
            answer = eve.patch(path, patch, if_match="*")
            assert (
                answer.status == 422
                and answer.json()["errors"][0]["pointer"] == "#/current_password"
            )
            answer = eve.patch(path, {**patch, "current_password": "wrong one"}, if_match="*")
            assert (
                answer.status == 422
                and answer.json()["errors"][0]["pointer"] == "#/current_password"
            )
        answer = eve.patch(path, {"email": new, "current_password": PASSWORD}, if_match="*")
        assert (answer.status, answer.json()["email"]) == (200, new)

    def test_new_password_must_be_strong_for_this_account(self, new_person):
        eve = new_person()
        path = f"/v1/users/{eve.id}"
        for patch in ({"password": eve.email}, {"password": "Grüß Gott 1", "name": "Grüß Gott"}):
            answer = eve.patch(path, {**patch, "current_password": PASSWORD}, if_match="*")
            assert (answer.status, answer.slug) == (422, "invalid-fields")
            assert answer.json()["errors"][0]["pointer"] == "#/password"
        assert Person(eve.port, eve.email).get("/v1/users/me").status == 200  # the old one holds

    def test_address_of_another_is_taken(self, new_person, bob):
        eve = new_person()
        answer = eve.patch(
            f"/v1/users/{eve.id}", {"email": bob.email, "current_password": PASSWORD}, if_match="*"
        )
        assert (answer.status, answer.slug) == (409, "email-taken")

    def test_new_password_ends_the_other_sessions(self, new_person, suite):
        eve = new_person()
        other = Person(suite.port, eve.email)
        patch = {"password": "a new passphrase of mine", "current_password": PASSWORD}
        assert eve.patch(f"/v1/users/{eve.id}", patch, if_match="*").status == 200
        wait_for(
            lambda: other.get("/v1/users/me").status == 401,
            2,
            "the other session's token is refused",
        )
        refresh = eve.as_user(None).post(
            "/v1/sessions/refresh", {"refresh_token": other.session["refresh_token"]}
        )
        assert refresh.status == 401
        assert eve.get("/v1/users/me").status == 200
        login = eve.as_user(None).post("/v1/sessions", {"email": eve.email, "password": PASSWORD})
        assert login.slug == "invalid-credentials"

    def test_only_admins_change_roles(self, new_person, admin):
        eve = new_person()
        path = f"/v1/users/{eve.id}"
        answer = eve.patch(path, {"role": "admin"}, if_match="*")
        assert (answer.status, answer.slug) == (403, "forbidden")
        assert eve.get(path).json()["role"] == "user"
        assert (
            admin.patch(path, {"role": "king"}, if_match="*").json()["errors"][0]["pointer"]
            == "#/role"
        )
        assert admin.patch(path, {"role": "admin"}, if_match="*").json()["role"] == "admin"
        eve.log_in()
        assert eve.get("/v1/users").status == 200
        assert admin.patch(path, {"role": "user"}, if_match="*").status == 200
        # What was granted ends at once, not when the token expires.
        wait_for(
            lambda: eve.get("/v1/users").status in (401, 403),
            2,
            "the former admin's token is refused",
        )

    def test_wrong_fields_are_named(self, new_person):
        eve = new_person()
        for patch, pointer in [
            ({"nick": "x"}, "#/nick"),
            ({"name": None}, "#/name"),
            ({"version": 5}, "#/version"),
            ({"id": "x"}, "#/id"),
            ({"created_at": "2020-01-01T00:00:00Z"}, "#/created_at"),
        ]:
            answer = eve.patch(f"/v1/users/{eve.id}", patch, if_match="*")
            assert answer.status == 422 and answer.json()["errors"][0]["pointer"] == pointer, patch

    def test_plain_json_is_no_patch(self, new_person):
        eve = new_person()
        answer = eve.patch(
            f"/v1/users/{eve.id}", {"name": "x"}, if_match="*", content_type="application/json"
        )
        assert (answer.status, answer.slug) == (415, "unsupported-media-type")

    def test_empty_patch_changes_nothing(self, new_person):
        eve = new_person()
        before = eve.get("/v1/users/me")
        assert eve.patch(f"/v1/users/{eve.id}", {}, if_match="*").status == 200
        assert eve.get("/v1/users/me").json() == before.json()


class TestRemoving:
    def test_removes_the_account_and_what_is_known_of_the_person(
        self, new_person, admin, events, new_product
    ):
        eve = new_person()
        path = f"/v1/users/{eve.id}"
        order = eve.order({new_product()["sku"]: 1}).json()
        assert eve.delete(path).slug == "precondition-required"
        assert eve.delete(path, if_match='"0"').slug == "precondition-failed"
        answer = eve.delete(path, if_match="*")
        assert (answer.status, answer.body) == (204, b"")
        assert admin.get(path).status == 404
        wait_for(lambda: eve.get("/v1/users/me").status == 401, 2, "the token is refused")
        login = {"email": eve.email, "password": PASSWORD}
        assert eve.as_user(None).post("/v1/sessions", login).slug == "invalid-credentials"
        assert (
            eve.as_user(None)
            .post("/v1/sessions/refresh", {"refresh_token": eve.session["refresh_token"]})
            .status
            == 401
        )
        assert not list(admin.pages("/v1/users", email=eve.email))
        assert admin.get(f"/v1/orders/{order['id']}").status == 200  # the shop's books stay
        deleted = events.wait(
            lambda found: eve.id in [e["subject"] for e in found], "users.user.deleted"
        )[-1]
        assert set(deleted["data"]) == {"id", "version"}
        assert (
            register(eve.as_user(None), email=eve.email).status == 201
        )  # the address is free again

    def test_last_admin_stays(self, admin):
        own = admin.get("/v1/users/me").json()
        others = [user for user in admin.pages("/v1/users", limit=100) if user["role"] == "admin"]
        assert [user["id"] for user in others] == [own["id"]]
        path = f"/v1/users/{own['id']}"
        assert admin.delete(path, if_match="*").slug == "last-admin"
        assert admin.patch(path, {"role": "user"}, if_match="*").slug == "last-admin"
        assert admin.get(path).json() == own


class TestListing:
    def test_admins_find_an_account_by_its_address(self, admin, ada):
        for email in (ada.email, ada.email.upper()):
            items = admin.get("/v1/users", query={"email": email}).json()["items"]
            assert [user["id"] for user in items] == [ada.id]
        assert admin.get("/v1/users", query={"email": "nobody@example.com"}).json()["items"] == []
        assert ADMIN_EMAIL in [user["email"] for user in admin.pages("/v1/users", limit=100)]

    def test_users_may_not(self, ada, api):
        assert (ada.get("/v1/users").status, ada.get("/v1/users").slug) == (403, "forbidden")
        assert api.get("/v1/users").status == 401


def test_a_store_whose_maker_was_lost_gets_its_first_admin():
    """Whoever writes to it next makes the account, with the password that is in secrets/ then."""
    with Suite() as suite:
        suite.up()
        suite.down()
        with contextlib.closing(sqlite3.connect(suite.home / "db/users/users.db", isolation_level=None)) as store:
            store.execute("DELETE FROM users")
            store.execute("DELETE FROM first_admin")
        suite.up()
        assert admin_of(suite).get("/v1/users/me").json()["role"] == "admin"
