# SPDX-License-Identifier: MIT
# What a policy file (docs/policy.md) does to requests and answers, seen from outside: browsers of
# other origins, masks that somebody tries to get around, chosen members, compressed bodies.
import json
import os
import re
import subprocess
import sys
import zlib

import msgpack
import pytest
from api import MSGPACK, Client
from people import PASSWORD, add_product, admin_of, fresh, register
from suite import BUILD, CLEAN, ROOT, Suite, new_home, run, wait_for

SHOP, OTHER = "https://shop.example", "https://evil.example"

POLICY = {
    "cors": {"origins": [SHOP], "credentials": True, "max_age": "2h"},
    "trace": {"trust_inbound": False, "trust_request_id": ["127.0.0.0/8"]},
    "rewrite": [{"from": "/api/v2", "to": "/v1"}, {"from": "/shop", "to": "/"}],
    "routes": [
        {
            "path": "/v1/users/*",
            "fields": True,
            "mask": {"fields": ["email", "name"], "unless_roles": ["admin"]},
        },
        {"path": "/v1/products/*", "fields": True},
        {
            "method": "GET",
            "path": "/v1/products/{sku}",
            "deprecation": "2026-01-01",
            "sunset": "2036-01-01",
            "link": "https://shop.example/migrate",
            "response": {
                "headers": {
                    "set": {"x-team": "shop", "cache-control": "private, max-age=5"},
                    "rename": {"last-modified": "x-changed"},
                }
            },
        },
        {
            "path": "/v1/orders/*",
            "fields": True,
            "mask": {"fields": ["total", "items[].unit_price", "items[].line_total"]},
            "request": {"headers": {"remove": ["x-nothing"]}},
            "response": {"headers": {"remove": ["location"]}},
        },
    ],
}


@pytest.fixture(scope="module")
def policed():
    """A suite with the policy above; and the file."""
    home = new_home()
    path = home.with_suffix(".policy")
    path.write_text(json.dumps(POLICY))
    with Suite(SLUICE_POLICY=path) as suite:
        suite.policy_path = path
        yield suite.up()
    path.unlink()
    home.rmdir()


@pytest.fixture(scope="module")
def admin(policed):
    return admin_of(policed)


@pytest.fixture(scope="module")
def ada(policed):
    return register_masked(policed)


@pytest.fixture(scope="module")
def product(admin):
    """One whose description is long enough to be compressed."""
    return add_product(admin, description="A very good product. " * 90)


def register_masked(suite):
    return register(suite.port, "Ada")


def raw_zstd(data):
    return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout


def unpack(answer):
    coding = answer.headers["Content-Encoding"]
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    if coding == "gzip":
        return zlib.decompress(answer.body, 31)
    return raw_zstd(answer.body) if coding == "zstd" else answer.body


def varies(answer):
    return {
        name.strip().lower()
        for field in answer.headers.get_all("Vary") or []
        for name in field.split(",")
    }


class TestCors:
    def test_a_page_makes_an_order_request(self, policed, ada, product):
        """The sequence of a browser: preflight, then the request, which the page may read."""
        browser = Client(policed.port)
        preflight = browser.request(
            "OPTIONS",
            f"/v1/products/{product['sku']}",
            headers={
                "Origin": SHOP,
                "Access-Control-Request-Method": "PATCH",
                "Access-Control-Request-Headers": "authorization,content-type,if-match",
            },
        )
        fields = preflight.headers
        assert preflight.status == 204 and not preflight.body
        assert fields["Access-Control-Allow-Origin"] == SHOP
        assert fields["Access-Control-Allow-Credentials"] == "true"
        methods = {m.strip() for m in fields["Access-Control-Allow-Methods"].split(",")}
        assert methods >= {"GET", "HEAD", "PATCH"} and "DELETE" not in methods
        allowed = {h.strip() for h in fields["Access-Control-Allow-Headers"].split(",")}
        assert allowed >= {"authorization", "content-type", "if-match", "idempotency-key"}
        assert fields["Access-Control-Max-Age"] == "7200"
        assert varies(preflight) >= {
            "origin",
            "access-control-request-method",
            "access-control-request-headers",
        }
        answer = ada.get(f"/v1/products/{product['sku']}", headers={"Origin": SHOP})
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert "etag" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Methods" not in answer.headers

    @pytest.mark.parametrize("path", ["/v1/none", "/v1/users/me", "/v1/products?limit=0"])
    def test_problems_can_be_read(self, policed, path):
        answer = Client(policed.port).get(path, headers={"Origin": SHOP})
        assert answer.status >= 400 and answer.slug
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP

    @pytest.mark.parametrize(
        "origin", [OTHER, "null", "https://shop.example.evil.example", "http://shop.example", "*"]
    )
    def test_others_get_nothing(self, policed, product, origin):
        client = Client(policed.port)
        path = f"/v1/products/{product['sku']}"
        preflight = client.request(
            "OPTIONS", path, headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
        )
        for answer in (preflight, client.get(path, headers={"Origin": origin}), client.get(path)):
            assert not [n for n in answer.headers if n.lower().startswith("access-control-")]
            assert "origin" in varies(answer)

    def test_closed_by_default(self, api):
        answer = api.get("/v1/products", headers={"Origin": SHOP})
        assert answer.status == 200 and "Access-Control-Allow-Origin" not in answer.headers
        assert "origin" not in varies(answer)

    def test_malformed_request_can_be_read(self, policed):
        from wire import exchange

        answers = exchange(
            policed.port, f"GET /a%zz HTTP/1.1\r\nHost: x\r\nOrigin: {SHOP}\r\n\r\n".encode()
        )
        assert answers[0][0] == 400
        assert answers[0][1]["access-control-allow-origin"] == SHOP


class TestMasks:
    def test_own_account(self, ada):
        user = ada.get("/v1/users/me").json()
        assert user["id"] == ada.id and not {"email", "name"} & set(user)

    def test_the_excepted_role_sees_everything(self, admin, ada):
        user = admin.get(f"/v1/users/{ada.id}").json()
        assert user["email"] == ada.email and user["name"] == "Ada"
        users = admin.get("/v1/users").json()["items"]
        assert all(u["email"] for u in users)

    def leaks(self, answer, word):
        body = unpack(answer)
        assert answer.status == 200
        return word.encode() in body

    WAYS = {
        "MessagePack": ("/v1/users/me", {"Accept": MSGPACK}),
        "compressed": ("/v1/users/me", {"Accept-Encoding": "zstd, identity;q=0"}),
        "both": ("/v1/users/me", {"Accept": MSGPACK, "Accept-Encoding": "gzip, identity;q=0"}),
        "chosen": ("/v1/users/me?fields=email,name", {}),
        "chosen below": ("/v1/users/me?fields=email.x,name[]", {}),
        "chosen, MessagePack": ("/v1/users/me?fields=email", {"Accept": MSGPACK}),
        "rewritten": ("/api/v2/users/me", {}),
        "rewritten twice": ("/shop/v1/users/me", {}),
        "percent-encoded": ("/v1/%75sers/me", {}),
        "absolute": ("http://x/v1/users/me", {}),
        "HTTP method": ("/v1/users/me", {"X-Http-Method-Override": "PATCH"}),
    }

    @pytest.mark.parametrize("path,headers", WAYS.values(), ids=WAYS.keys())
    def test_no_way_around(self, ada, path, headers):
        assert not self.leaks(ada.get(path, headers=headers), ada.email)

    def test_not_by_id_or_patch(self, ada):
        answer = ada.get(f"/v1/users/{ada.id}")
        assert "email" not in answer.json()
        answer = ada.patch(f"/v1/users/{ada.id}", {"name": "Ada L"}, if_match=answer.etag)
        assert answer.status == 200 and not {"email", "name"} & set(answer.json())

    def test_nested_and_in_lists(self, admin, ada, product):
        made = ada.order({product["sku"]: 2})
        order = made.json()
        assert made.status == 201 and "Location" not in made.headers
        listed = ada.get("/v1/orders")
        for o in [order, ada.get(f"/v1/orders/{order['id']}").json(), *listed.json()["items"]]:
            assert "total" not in o and o["items"]
            for item in o["items"]:
                assert "quantity" in item and not {"unit_price", "line_total"} & set(item)
        packed = msgpack.unpackb(ada.get("/v1/orders", headers={"Accept": MSGPACK}).body)
        assert packed["items"] and all("total" not in o for o in packed["items"])
        chosen = ada.get("/v1/orders?fields=id,total,items.unit_price,items.sku").json()
        assert chosen["items"][0] == {"id": order["id"], "items": [{"sku": product["sku"]}]}

    def test_tags_differ_by_what_is_seen(self, admin, ada):
        masked, whole = ada.get("/v1/users/me"), admin.get(f"/v1/users/{ada.id}")
        assert masked.etag != whole.etag
        assert ada.get("/v1/users/me", if_none_match=masked.etag).status == 304
        assert ada.get("/v1/users/me", if_none_match=whole.etag).status == 200
        assert admin.get(f"/v1/users/{ada.id}", if_none_match=masked.etag).status == 200


class TestFields:
    def test_chosen_members(self, admin, product):
        path = f"/v1/products/{product['sku']}"
        chosen = admin.get(path + "?fields=sku,price.amount,none")
        assert chosen.json() == {"sku": product["sku"], "price": {"amount": 1999}}
        page = admin.get("/v1/products?limit=1&fields=sku").json()
        assert list(page["items"][0]) == ["sku"]
        packed = admin.get(path + "?fields=stock", headers={"Accept": MSGPACK})
        assert set(packed.msgpack()) == {"stock"}

    def test_tags(self, admin, product):
        path = f"/v1/products/{product['sku']}"
        whole, some = admin.get(path), admin.get(path + "?fields=sku")
        other = admin.get(path + "?fields=stock")
        assert len({whole.etag, some.etag, other.etag}) == 3
        assert admin.get(path + "?fields=sku", if_none_match=some.etag).status == 304
        for tag in (whole.etag, other.etag):
            assert admin.get(path + "?fields=sku", if_none_match=tag).status == 200
        assert admin.get(path, if_none_match=some.etag).status == 200
        changed = admin.patch(path, {"stock": 7}, if_match=some.etag)
        assert changed.status == 200
        assert admin.patch(path, {"stock": 8}, if_match=some.etag).status == 412

    @pytest.mark.parametrize(
        "query",
        ["fields=", "fields=a,", "fields=,a", "fields=a..b", "fields=a%20b", "fields=a&fields=b"]
        + ["fields=" + ",".join(f"n{i}" for i in range(96)), "fields=" + ".".join("abcdefghi")],
    )
    def test_malformed(self, admin, query):
        answer = admin.get(f"/v1/products?{query}")
        assert (answer.status, answer.slug) == (400, "invalid-parameter")
        assert "fields" in answer.json()["detail"]

    def test_only_where_allowed(self, api):
        assert api.get("/v1/products?fields=sku").slug == "invalid-parameter"


class TestFieldsOfAnswers:
    def test_set_renamed_and_the_end_of_life(self, admin, product):
        answer = admin.get(f"/v1/products/{product['sku']}")
        fields = answer.headers
        assert fields.get_all("X-Team") == ["shop"]
        assert fields.get_all("Cache-Control") == ["private, max-age=5"]
        assert fields["Deprecation"] == "@1767225600"
        assert fields["Sunset"] == "Tue, 01 Jan 2036 00:00:00 GMT"
        assert '<https://shop.example/migrate>; rel="deprecation"' in fields["Link"]
        assert "X-Team" not in admin.get("/v1/products").headers

    def test_the_document_says_it_too(self, admin):
        paths = admin.get("/openapi.json").json()["paths"]
        assert {
            (method, path)
            for path, operations in paths.items()
            for method, operation in operations.items()
            if operation.get("deprecated")
        } == {("get", "/v1/products/{sku}")}

    def test_also_on_problems_but_these_are_not_cached(self, admin):
        answer = admin.get("/v1/products/none-such")
        assert answer.status == 404 and answer.headers["X-Team"] == "shop"
        assert answer.headers.get_all("Cache-Control") == ["no-store"]
        assert answer.headers["Deprecation"]


class TestFieldsOfRequests:
    def test_what_services_see(self, own_suite, tmp_path):
        """A field that is renamed, removed or set is what the service is shown, and not what came."""
        path = tmp_path / "policy"
        edits = {"rename": {"x-language": "x-lang"}, "remove": ["x-secret"], "set": {"x-tenant": "shop"}}
        rule = {"path": "/v1/shown", "request": {"headers": edits}}

        def shown(**fields):
            return Client(own_suite.port).get("/v1/shown", **fields).json()

        worker = None
        try:
            own_suite.environment["SLUICE_POLICY"] = path
            path.write_text(json.dumps({"routes": [rule]}))
            own_suite.up()
            worker = subprocess.Popen(
                [sys.executable, ROOT / "tests/system/python_worker.py", own_suite.gateway_endpoints[0]]
            )
            wait_for(lambda: shown() == {"x-tenant": "shop"}, 5, "the worker serves")
            assert shown(x_tenant="evil", x_secret="s") == {"x-tenant": "shop"}
            assert shown(x_language="de") == {"x-lang": "de", "x-tenant": "shop"}
            # Whoever sends the new name itself is heard, unless there is one to rename.
            assert shown(x_lang="fr") == {"x-lang": "fr", "x-tenant": "shop"}
            assert shown(x_language="de", x_lang="fr") == {"x-lang": "de", "x-tenant": "shop"}
            # Services are given UTF-8; of what they do not see, any byte may come.
            assert shown(x_language="\u00e4".encode().decode("latin-1"))["x-lang"] == "\u00e4"
            refused = Client(own_suite.port).get("/v1/shown", x_language="de\xe4")
            assert (refused.status, refused.slug) == (400, "invalid-parameter")
            assert shown(x_other="\xe4", x_secret="\xe4", x_tenant="\xe4") == {"x-tenant": "shop"}
            following = path.with_suffix(".next")
            following.write_text("{}")
            following.replace(path)
            fields = {"x_tenant": "own", "x_secret": "s", "x_lang": "fr", "x_language": "de"}
            wait_for(
                lambda: shown(**fields) == {"x-tenant": "own", "x-secret": "s", "x-lang": "fr"},
                5,
                "the policy is gone",
            )
        finally:
            if worker:
                worker.terminate()
                assert worker.wait(5) == 0


class TestRewriting:
    def test_paths(self, policed, admin, product):
        whole = admin.get(f"/v1/products/{product['sku']}").json()
        for path in ("/api/v2", "/shop/v1"):
            assert admin.get(f"{path}/products/{product['sku']}").json() == whole
        assert admin.get("/shop/livez").status == 200 and admin.get("/shop").status == 200
        assert admin.get("/shop/api/v2/products").status == 404  # once
        assert admin.get("/api/v22/products").status == 404
        answer = Client(policed.port).request("DELETE", f"/api/v2/products/{product['sku']}")
        assert answer.status in (401, 405)


class TestTrace:
    def test_request_id_of_a_trusted_client(self, policed):
        client = Client(policed.port)
        answer = client.get("/v1/none", x_request_id="front-1.a_B")
        assert answer.headers.get_all("X-Request-Id") == ["front-1.a_B"]
        assert answer.json()["instance"].endswith(":front-1.a_B")
        for malformed in ("a b", "a" * 65, "é".encode().decode("latin-1"), "a;b", ""):
            assert len(client.get("/livez", x_request_id=malformed).headers["X-Request-Id"]) == 36
        assert len(client.get("/livez", x_request_id="a" * 64).headers["X-Request-Id"]) == 64

    def test_not_taken_without_policy(self, api):
        assert api.get("/livez", x_request_id="mine").headers["X-Request-Id"] != "mine"

    def test_a_new_trace_is_begun(self, policed, suite):
        parent = "4bf92f3577b34da6a3ce929d0e0e4736"
        for running, taken in ((policed, False), (suite, True)):
            path = f"/v1/{fresh('none')}"
            answer = Client(running.port).get(
                path, traceparent=f"00-{parent}-00f067aa0ba902b7-01"
            )
            request = answer.headers["X-Request-Id"]
            line = wait_for(
                lambda: next((l for l in running.log().splitlines() if request in l), None),
                5,
                "the request is in the log",
            )
            assert (parent in line) == taken


class TestCompression:
    def test_each_coding(self, admin, product):
        path = f"/v1/products/{product['sku']}"
        plain = admin.get(path)
        assert "Content-Encoding" not in plain.headers and len(plain.body) > 1024
        tags = {plain.etag}
        for coding in ("gzip", "zstd"):
            answer = admin.get(path, accept_encoding=coding)
            assert answer.headers.get_all("Content-Encoding") == [coding]
            assert len(answer.body) < len(plain.body) / 4 and unpack(answer) == plain.body
            assert varies(answer) >= {"accept", "accept-encoding"} and varies(plain) >= {
                "accept-encoding"
            }
            head = admin.request("HEAD", path, headers={"Accept-Encoding": coding})
            for name in ("Content-Length", "Content-Encoding", "ETag"):
                assert head.headers[name] == answer.headers[name]
            tags.add(answer.etag)
            again = admin.get(path, accept_encoding=coding, if_none_match=answer.etag)
            assert again.status == 304 and not again.body and again.etag == answer.etag
            assert "Content-Encoding" not in again.headers and "accept-encoding" in varies(again)
            # What the client has must be what it would get.
            assert admin.get(path, if_none_match=answer.etag).status == 200
        assert len(tags) == 3
        packed = admin.get(path, headers={"Accept": MSGPACK, "Accept-Encoding": "zstd"})
        assert msgpack.unpackb(unpack(packed))["sku"] == product["sku"]
        assert packed.etag.endswith('-m-zstd"')
        changed = admin.patch(path, {"stock": 50}, if_match=packed.etag)
        assert changed.status == 200, changed

    def test_preference(self, admin, product):
        path = f"/v1/products/{product['sku']}"
        for accepted, coding in {
            "gzip, deflate, br, zstd": "zstd",
            "gzip;q=1, zstd;q=0.5": "gzip",
            "zstd;q=0, *": "gzip",
            "br": None,
            "identity, gzip;q=0.5": None,
            "gzip;q=0": None,
        }.items():
            assert admin.get(path, accept_encoding=accepted).headers["Content-Encoding"] == coding

    def test_short_bodies_are_left_alone(self, admin, ada):
        path = f"/v1/users/{ada.id}"
        assert "Content-Encoding" not in admin.get(path, accept_encoding="gzip").headers
        forced = admin.get(path, accept_encoding="gzip, identity;q=0")
        assert json.loads(unpack(forced))["id"] == ada.id
        assert forced.headers["Content-Encoding"] == "gzip"

    @pytest.mark.parametrize("refused", ["identity;q=0, *;q=0", "*;q=0", "br, identity;q=0"])
    def test_who_takes_nothing_gets_it_plain(self, admin, product, refused):
        """Not 406: a write is done when its answer is made, and an error is no more acceptable."""
        path = f"/v1/products/{product['sku']}"
        answer = admin.get(path, accept_encoding=refused)
        assert answer.status == 200 and answer.json()["sku"] == product["sku"]
        assert "Content-Encoding" not in answer.headers and "accept-encoding" in varies(answer)
        missing = admin.get("/v1/products/none-such", accept_encoding=refused)
        assert (missing.status, missing.slug) == (404, "not-found")

    def test_documents(self, policed):
        client = Client(policed.port)
        plain, answer = client.get("/openapi.json"), client.get("/openapi.json", accept_encoding="zstd")
        assert unpack(answer) == plain.body and len(answer.body) < len(plain.body) / 5
        assert plain.etag != answer.etag
        for accepted, tag in ((None, plain.etag), ("zstd", answer.etag), ("zstd", plain.etag)):
            assert client.get(
                "/openapi.json", accept_encoding=accepted, if_none_match=tag
            ).status == 304
        assert client.get("/openapi.json", if_none_match=answer.etag).status == 200

    CREDENTIALS = {
        "POST /v1/users": lambda c, eve: c.post(
            "/v1/users", {"email": f"{fresh('x')}@example.com", "password": PASSWORD, "name": "N" * 90}
        ),
        "PATCH /v1/users/{id}": lambda c, eve: c.patch(f"/v1/users/{eve.id}", {"name": "E"}, if_match="*"),
        "POST /v1/sessions": lambda c, eve: c.post(
            "/v1/sessions", {"email": eve.email, "password": PASSWORD}
        ),
        "POST /v1/sessions/refresh": lambda c, eve: c.post(
            "/v1/sessions/refresh", {"refresh_token": eve.session["refresh_token"]}
        ),
        "POST /v1/api-keys": lambda c, eve: c.post("/v1/api-keys", {"name": "ci", "scope": "*"}),
    }

    def test_routes_with_credentials(self):
        """Those below are all that have credentials in their bodies or answers."""
        source = (ROOT / "services/users/main.c").read_text()
        routes = re.findall(r'\.method = "(\w+)", \.pattern = "([^"]+)"(.*?)(?=\.method|// clang-format on)', source, re.DOTALL)
        assert len(routes) > 10
        sensitive = {f"{method} {path}" for method, path, rest in routes if ".sensitive = true" in rest}
        assert sensitive == set(self.CREDENTIALS)

    @pytest.mark.parametrize("route", CREDENTIALS)
    def test_never_where_credentials_are(self, policed, route):
        """However much a client wants it: what is compressed with a secret tells of the secret."""
        eve = register(policed.port)
        for wanted in ("gzip, identity;q=0", "zstd, identity;q=0", "zstd, gzip"):
            eve.log_in()
            client = eve.as_user(eve.token)
            plain = client.request
            client.request = lambda *a, **k: plain(*a, **{**k, "accept_encoding": wanted})
            answer = self.CREDENTIALS[route](client, eve)
            assert answer.status in (200, 201) and "Content-Encoding" not in answer.headers
            assert "accept-encoding" not in varies(answer)
            assert answer.json()

    def test_metrics(self, policed):
        metrics = policed.metrics("gateway-1")
        for coding in ("gzip", "zstd"):
            label = f'{{coding="{coding}"}}'
            assert metrics[f"sluice_gateway_compressed_total{label}"] > 0
            assert (
                metrics[f"sluice_gateway_compressed_in_bytes_total{label}"]
                > metrics[f"sluice_gateway_compressed_out_bytes_total{label}"]
                > 0
            )

    def test_off(self, own_suite):
        own_suite.environment["SLUICE_COMPRESSION"] = "off"
        client = Client(own_suite.up().port)
        answer = client.get("/openapi.json", accept_encoding="gzip, zstd")
        assert "Content-Encoding" not in answer.headers and "accept-encoding" not in varies(answer)


class TestReload:
    def test_good_and_bad(self, own_suite, tmp_path):
        path = tmp_path / "policy.json"
        path.write_text('{"rewrite": [{"from": "/a", "to": "/"}]}')
        own_suite.environment["SLUICE_POLICY"] = path
        client = Client(own_suite.up().port)
        assert client.get("/a/livez").status == 200

        def replace(text):
            (tmp_path / "new").write_text(text)
            os.replace(tmp_path / "new", path)

        replace('{"rewrite": [{"from": "/b", "to": "/"}], "routes": [{"path": "/x", "fields": true}]}')
        wait_for(lambda: client.get("/b/livez").status == 200, 10, "the new policy is in use")
        assert client.get("/a/livez").status == 404
        metrics = own_suite.metrics("gateway-1")
        assert metrics["sluice_gateway_policy_unmatched_rules"] == 1
        assert metrics["sluice_gateway_policy_rules"] == 1
        replace('{"rewrite": []\n, "no": 1}')
        wait_for(
            lambda: own_suite.metrics("gateway-1")["sluice_gateway_policy_stale"] == 1,
            10,
            "the mistake is seen",
        )
        assert client.get("/b/livez").status == 200
        bodies = [record.get("body", "") for record in own_suite.records()]
        assert f'{path}:2:3: unknown key "no"; allowed: cors, trace, rewrite, routes' in bodies
        path.unlink()
        replace("{}")
        wait_for(lambda: client.get("/b/livez").status == 404, 10, "the mended policy is in use")
        metrics = own_suite.metrics("gateway-1")
        assert metrics["sluice_gateway_policy_stale"] == 0
        assert metrics['sluice_gateway_policy_loads_total{result="refused"}'] == 1
        assert metrics['sluice_gateway_policy_loads_total{result="used"}'] == 3


class TestCheckConfig:
    def check(self, tmp_path, text=None, **environment):
        if text is not None:
            (tmp_path / "p.json").write_text(text)
            environment["SLUICE_POLICY"] = "p.json"
        return run(
            "sluice-gateway", "check-config", env={**CLEAN, **environment}, cwd=str(tmp_path)
        )

    def test_example_of_the_documentation(self, tmp_path):
        """The reference's example has no mistake, and every key that there is."""
        text = (ROOT / "docs/policy.md").read_text()
        example = re.search(r"```json\n(\{.*?\n\})\n```", text, re.DOTALL)[1]
        result = self.check(tmp_path, example)
        assert result.returncode == 0, result.stderr
        assert "p.json: 4 rules (2 with a mask, 1 with fields), 1 rewrites, CORS for 2 origins" in (
            result.stdout
        )

        def keys(value):
            if isinstance(value, dict):
                for name, member in value.items():
                    yield name
                    yield from keys(member)
            elif isinstance(value, list):
                for member in value:
                    yield from keys(member)

        wanted = set()
        for source in ("policy_file.c", "policy_rules.c"):
            wanted |= set(re.findall(r'\{ "(\w+)", \w+, ', (ROOT / "gateway" / source).read_text()))
        assert len(wanted) > 20 and wanted <= set(keys(json.loads(example)))

    def test_every_mistake_is_said(self, tmp_path):
        result = self.check(
            tmp_path, '{"cors": {"origins": ["null"]},\n "routes": [{"path": "x", "fields": 1}]}'
        )
        lines = result.stderr.splitlines()
        assert result.returncode == 78 and not result.stdout
        assert [line.split(": ")[0] for line in lines] == ["p.json:1:23", "p.json:2:22", "p.json:2:37"]
        assert all("; allowed: " in line for line in lines)

    def test_without_policy(self, tmp_path):
        result = self.check(tmp_path)
        assert result.returncode == 0 and "the options are fine" in result.stdout

    def test_options(self, tmp_path):
        result = self.check(tmp_path, SLUICE_COMPRESSION="br")
        assert result.returncode == 78
        assert result.stderr == (
            'SLUICE_COMPRESSION is "br"; allowed: off, or gzip, zstd or both, separated by a comma\n'
        )
        result = self.check(tmp_path, SLUICE_DEADLINE="soon", SLUICE_MAX_BODY="1", SLUICE_HSTS="1")
        assert result.returncode == 78
        named = [re.search(r"SLUICE_\w+", line)[0] for line in result.stderr.splitlines()]
        assert named == ["SLUICE_MAX_BODY", "SLUICE_DEADLINE", "SLUICE_HSTS"]

    def test_options_and_policy_in_one_run(self, tmp_path):
        wrong = '{"cors": {"origins": ["null"]}}'
        issuers = {"SLUICE_EXTERNAL_ISSUERS": "/none/such"}
        for options in ({"SLUICE_DEADLINE": "soon"}, {"SLUICE_COMPRESSION": "br"}):
            result = self.check(tmp_path, wrong, **options, **issuers)
            assert result.returncode == 78 and not result.stdout
            for name in (*options, *issuers, "p.json:1:23"):
                assert name in result.stderr
        result = self.check(tmp_path, "{}", SLUICE_DEADLINE="soon")
        assert result.returncode == 78 and "options are fine" not in result.stdout

    def test_gateway_does_not_start(self, tmp_path):
        home = tmp_path / "home"
        assert run("sluice", "init", env={**CLEAN, "SLUICE_HOME": str(home)}).returncode == 0
        (tmp_path / "p").write_text('{"cors": 1,\n"x": 2}')
        result = subprocess.run(
            [BUILD / "sluice-gateway"],
            env={**CLEAN, "SLUICE_HOME": str(home), "SLUICE_POLICY": str(tmp_path / "p")},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert result.returncode == 78
        for line in (f"{tmp_path}/p:1:10: cors: is a number", f"{tmp_path}/p:2:1: unknown key"):
            assert line in result.stderr

    def test_options_that_are_parsed_later(self, tmp_path):
        """Those that the table of options knows as texts only."""
        wrong = {
            "SLUICE_COMPRESSION": "br",
            "SLUICE_EXTERNAL_ISSUERS": "/none/such",
            "SLUICE_TRUSTED_PROXIES": "10.0.0.1/8",
        }
        result = self.check(tmp_path, **wrong)
        named = [re.search(r"SLUICE_\w+", line)[0] for line in result.stderr.splitlines()]
        assert result.returncode == 78 and sorted(named) == sorted(wrong)
        result = self.check(tmp_path, SLUICE_RATE_LIMIT_READ="7")
        assert result.returncode == 78 and "SLUICE_RATE_LIMIT_READ" in result.stderr
