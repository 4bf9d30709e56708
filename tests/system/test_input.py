# SPDX-License-Identifier: MIT
# What is wrong with a request is told exactly: which status, which problem, where.
import http.client
import json
import time

import msgpack
import pytest
from api import MSGPACK
from people import PASSWORD, fresh
from wire import Wire

PATH = "/v1/sessions"


def post(api, body, content_type="application/json", **headers):
    return api.post(PATH, body, content_type=content_type, **headers)


class TestJson:
    BROKEN = {
        "empty": b"",
        "blank": b"  ",
        "not closed": b'{"email": "a"',
        "trailing comma": b'{"email": "a",}',
        "single quotes": b"{'email': 'a'}",
        "no quotes": b"{email: 1}",
        "comment": b'{"email": "a"} // x',
        "two values": b'{"email": "a"}{}',
        "trailing garbage": b'{"email": "a"}x',
        "NaN": b'{"email": NaN}',
        "Infinity": b'{"email": Infinity}',
        "leading zero": b'{"email": 01}',
        "plus": b'{"email": +1}',
        "hexadecimal": b'{"email": 0x1}',
        "control character": b'{"email": "a\x01b"}',
        "bad escape": b'{"email": "\\x"}',
        "half a surrogate": b'{"email": "\\ud800"}',
        "not UTF-8": b'{"email": "\xff"}',
        "overlong UTF-8": b'{"email": "\xc0\xaf"}',
        "byte order mark": b'\xef\xbb\xbf{"email": "a"}',
        "NUL": b'{"email": "a"}\x00',
        "UTF-16": '{"email": 1}'.encode("utf-16"),
        "deep": b"[" * 1000 + b"]" * 1000,
        "deep objects": b'{"a":' * 1000 + b"1" + b"}" * 1000,
        "huge number": b"1e99999",
    }

    @pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
    def test_malformed_body(self, api, body):
        answer = post(api, body)
        assert (answer.status, answer.slug) == (400, "malformed-body"), answer

    def test_position_is_named(self, api):
        answer = post(api, b'{\n  "email": "a",\n  "password": oops\n}')
        assert answer.status == 400
        detail = answer.json()["detail"]
        assert "line 3" in detail and "column 15" in detail, detail

    def test_duplicate_member(self, api):
        answer = post(api, b'{"email": "a@b.cc", "password": "x", "email": "c@d.ee"}')
        assert (answer.status, answer.slug) == (400, "malformed-body")
        assert (
            "email" in answer.json()["detail"]
            or "twice" in answer.json()["detail"]
            or "dupl" in answer.json()["detail"]
        )

    def test_duplicate_by_escape(self, api):
        assert (
            post(api, b'{"email": "a@b.cc", "\\u0065mail": "c@d.ee", "password": "x"}').status
            == 400
        )

    @pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"])
    def test_not_an_object(self, api, body):
        answer = post(api, body)
        assert (answer.status, answer.slug) == (422, "invalid-fields")
        assert answer.json()["errors"][0]["pointer"] == "#"

    def test_errors_point_into_the_body(self, ada):
        body = {"items": [{"sku": "a", "quantity": 1}, {"sku": 5, "quantity": "x", "extra~/x": 1}]}
        answer = ada.post("/v1/orders", body, idempotency_key='"k"')
        pointers = {error["pointer"] for error in answer.json()["errors"]}
        assert {"#/items/1/sku", "#/items/1/quantity"} <= pointers
        assert any(p.startswith("#/items/1/extra~0~1x") for p in pointers), pointers

    def test_a_thousand_unknown_fields_get_a_bounded_answer(self, api):
        answer = post(api, json.dumps({f"field{i}": i for i in range(1000)}).encode())
        assert (
            answer.status == 422 and len(answer.json()["errors"]) <= 64 and len(answer.body) < 65536
        )

    def test_number_forms(self, admin):
        """5.0 and 5e0 are doubles, the others do not fit: an integer field takes none of them."""
        for text in ("5.0", "5e0", "9223372036854775808", "-9223372036854775809", "1e400"):
            body = (
                json.dumps(
                    {
                        "sku": fresh("n"),
                        "name": "x",
                        "description": "",
                        "price": {"amount": 1, "currency": "EUR"},
                        "stock": 777,
                    }
                )
                .replace("777", text)
                .encode()
            )
            answer = admin.post("/v1/products", body)
            assert answer.status in (400, 422), (text, answer)

    def test_unicode_comes_back_as_it_went(self, api):
        name = "A\u0301 \U0001f98a \u202eright\u202c 中文"
        body = {"email": f"{fresh('u')}@example.com", "password": PASSWORD, "name": name}
        assert api.post("/v1/users", body).json()["name"] == name

    def test_escapes_come_back_as_text(self, api):
        body = b'{"email": "%s@example.com", "password": "long and good enough", "name": "\\u0041\\"\\\\\\/\\ud83e\\udd8a"}'
        answer = api.post("/v1/users", body % fresh("u").encode())
        assert answer.json()["name"] == 'A"\\/🦊'


class TestMediaTypes:
    @pytest.mark.parametrize(
        "content_type",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "application/jsonx",
            "json",
            "",
            "application/json; charset=utf-16",
            "application/merge-patch+json",
        ],
    )
    def test_unsupported(self, api, content_type):
        answer = post(api, b'{"email": "a@b.cc", "password": "x"}', content_type)
        assert (answer.status, answer.slug) == (415, "unsupported-media-type"), answer

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "APPLICATION/JSON",
            "application/json;charset=utf-8",
            'application/json; charset="UTF-8"',
        ],
    )
    def test_json_by_other_spellings(self, api, content_type):
        assert (
            post(api, b'{"email": "a@b.cc", "password": "x"}', content_type).slug
            == "invalid-credentials"
        )

    def test_missing_content_type(self, api):
        answer = post(api, b'{"email": "a@b.cc", "password": "x"}', None)
        assert answer.status == 415

    def test_compressed_body(self, api):
        answer = post(api, b"\x1f\x8b...", content_encoding="gzip")
        assert (answer.status, answer.slug) == (415, "unsupported-media-type")

    @pytest.mark.parametrize(
        "accept,status",
        [
            ("application/json", 200),
            ("*/*", 200),
            ("application/*", 200),
            ("text/html, */*;q=0.1", 200),
            ("text/html", 406),
            ("application/json;q=0", 406),
            ("*/*;q=0", 406),
            ("application/xml, text/*", 406),
        ],
    )
    def test_accept(self, api, accept, status):
        answer = api.get("/v1/products", accept=accept)
        assert answer.status == status
        assert status == 200 or answer.slug == "not-acceptable"


class TestMsgpack:
    def test_in_and_out(self, api, ada):
        body = msgpack.packb({"email": ada.email, "password": PASSWORD})
        for name in (MSGPACK, "application/msgpack", "application/x-msgpack"):
            answer = post(api, body, name, accept=name)
            assert answer.status == 201 and answer.headers["Content-Type"] == name
            assert answer.msgpack()["token_type"] == "Bearer"

    def test_says_the_same_as_json(self, ada, new_product):
        sku = new_product()["sku"]
        order = ada.order({sku: 1}).json()
        for path in (
            "/v1/users/me",
            f"/v1/products/{sku}",
            f"/v1/orders/{order['id']}",
            "/v1/orders",
            "/v1/search?q=x",
        ):
            as_json, packed = ada.get(path), ada.get(path, accept=MSGPACK)
            assert packed.status == as_json.status == 200
            assert "Accept" in packed.headers["Vary"] and "Accept" in as_json.headers["Vary"]
            a, b = as_json.json(), packed.msgpack()
            a.pop("next_cursor", None), b.pop("next_cursor", None)
            assert a == b, path

    def test_quality_decides(self, api):
        accept = "application/json;q=0.5, application/vnd.msgpack;q=0.9"
        assert api.get("/v1/products", accept=accept).headers["Content-Type"] == MSGPACK
        accept = "application/json, application/vnd.msgpack;q=0.9"
        assert api.get("/v1/products", accept=accept).headers["Content-Type"] == "application/json"

    def test_variants_have_tags_of_their_own(self, ada, admin, new_product):
        path = f"/v1/products/{new_product()['sku']}"
        as_json, packed = ada.get(path), ada.get(path, accept=MSGPACK)
        assert as_json.etag != packed.etag
        assert ada.get(path, if_none_match=as_json.etag).status == 304
        assert ada.get(path, if_none_match=packed.etag).status == 200
        assert ada.get(path, if_none_match=packed.etag, accept=MSGPACK).status == 304
        assert admin.patch(path, {"stock": 3}, if_match=packed.etag).status == 200

    BROKEN = {
        "empty": b"",
        "truncated": b"\x82\xa5email\xa1a",
        "reserved byte": b"\xc1",
        "two values": b"\x80\x80",
        "duplicate key": b"\x82\xa5email\xa1a\xa5email\xa1b",
        "integer key": b"\x81\x01\xa1a",
        "extension": b"\x81\xa1a\xd4\x01\x00",
        "lying length": b"\xdf\xff\xff\xff\xff",
        "long lying text": b"\xdb\xff\xff\xff\xffabc",
        "not UTF-8": b"\x81\xa5email\xa1\xff",
        "deep": b"\x91" * 1000 + b"\xc0",
    }

    @pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
    def test_malformed_body(self, api, body):
        answer = post(api, body, MSGPACK)
        assert (answer.status, answer.slug) == (400, "malformed-body"), answer

    def test_patch(self, admin, new_product):
        path = f"/v1/products/{new_product()['sku']}"
        answer = admin.patch(path, msgpack.packb({"stock": 3}), content_type=MSGPACK, if_match="*")
        assert answer.status == 200 and answer.json()["stock"] == 3

    def test_problems_are_json_whatever_was_asked(self, api):
        answer = api.get("/v1/products/none-such", accept=MSGPACK)
        assert (
            answer.headers["Content-Type"] == "application/problem+json"
            and answer.slug == "not-found"
        )


class TestSize:
    def test_body_over_the_limit_is_refused_before_it_is_read(self, suite):
        """Only the head is sent: who answers without waiting for the body has not read it."""
        for size in (1024 * 1024 + 1, 2**31, 2**32 + 10, 2**63 - 1):
            with Wire(suite.port) as wire:
                wire.send(
                    f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {size}\r\n\r\n".encode()
                )
                status, headers, body = wire.read_answer()
                assert status == 413 and json.loads(body)["type"] == "/problems/body-too-large"
                assert headers["connection"] == "close"
                assert wire.read_end() == b""

    def test_body_at_the_limit_is_read(self, api):
        body = b'{"email": "a@b.cc", "password": "x"}'
        answer = post(api, body + b" " * (1024 * 1024 - len(body)))
        assert answer.slug == "invalid-credentials"

    def test_chunks_over_the_limit(self, suite):
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with Wire(suite.port) as wire:
            wire.send(
                f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                "Transfer-Encoding: chunked\r\n\r\n".encode()
            )
            try:
                for _ in range(17):
                    wire.send(chunk)
            except (BrokenPipeError, ConnectionResetError):
                pass
            status, headers, _ = wire.read_answer()
            assert (status, headers["connection"]) == (413, "close")

    def test_continue_is_answered_before_the_body(self, suite):
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        with Wire(suite.port) as wire:
            wire.send((head % "application/json").encode())
            assert wire.read_answer()[0] == 100
            wire.send(b"{}")
            assert wire.read_answer()[0] == 422
        with Wire(
            suite.port
        ) as wire:  # and a request that is refused anyway is not asked for its body
            wire.send((head % "text/plain").encode())
            assert wire.read_answer()[0] == 415

    def test_refused_body_does_not_become_a_request(self, api, suite):
        """A request that is refused by its head, with the body behind it, and then another one."""
        body = b"GET /v1/products HTTP/1.1\r\nHost: x\r\n\r\n"
        with Wire(suite.port) as wire:
            wire.send(
                b"POST /v1/none HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
                + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            assert wire.read_answer()[0] == 404
            assert wire.read_answer()[0] == 200
            assert wire.read_end() == b""

    def test_line_and_fields(self, api):
        assert api.get("/v1/products?x=" + "x" * 9000).slug == "uri-too-long"
        assert api.get("/v1/products", headers={"X-Long": "x" * 17000}).slug == "headers-too-large"
        assert (
            api.get("/v1/products", headers={f"X-{i}": "x" for i in range(101)}).slug
            == "headers-too-large"
        )
        assert api.get("/v1/products", headers={f"X-{i}": "x" for i in range(80)}).status == 200


class TestRouting:
    @pytest.mark.parametrize(
        "path",
        [
            "/v1",
            "/v1/",
            "/v1/none",
            "/v1/products/",
            "/v1/users/me/x",
            "/v2/products",
            "/V1/products",
            "/v1/orders/x/y/z",
            "//v1/products",
            "/v1//products",
            "/metrics",
            "/topology",
            "/admin",
            "/v1/users/me/",
            "/.git/config",
        ],
    )
    def test_unknown_path(self, api, path):
        answer = api.get(path)
        assert (answer.status, answer.slug) == (404, "not-found"), answer

    @pytest.mark.parametrize(
        "path",
        [
            "/v1/../v1/products",
            "/v1/./products",
            "/v1/%2e%2e/products",
            "/v1/products%00",
            "/v1/products/%zz",
            "/v1/products/%",
            "/v1/products#x",
            "/v1/products\\x",
        ],
    )
    def test_path_that_two_could_read_differently(self, suite, path):
        with Wire(suite.port) as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert wire.read_answer()[0] in (400, 404)

    @pytest.mark.parametrize(
        "method,path,allowed",
        [
            ("DELETE", "/v1/products", {"GET", "HEAD", "POST", "OPTIONS"}),
            ("PUT", "/v1/users/me", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
            ("GET", "/v1/sessions", {"POST", "OPTIONS"}),
            ("POST", "/v1/products/x", {"GET", "HEAD", "PATCH", "OPTIONS"}),
            ("POST", "/livez", {"GET", "HEAD", "OPTIONS"}),
            ("DELETE", "/openapi.json", {"GET", "HEAD", "OPTIONS"}),
        ],
    )
    def test_wrong_method_names_the_right_ones(self, api, method, path, allowed):
        answer = api.request(method, path)
        assert (answer.status, answer.slug) == (405, "method-not-allowed")
        listed = set(answer.headers["Allow"].replace(" ", "").split(","))
        assert listed >= allowed - {"PATCH", "DELETE"} and method not in listed

    def test_options(self, api):
        answer = api.request("OPTIONS", "/v1/orders")
        assert (answer.status, answer.body) == (204, b"")
        assert set(answer.headers["Allow"].replace(" ", "").split(",")) == {
            "GET",
            "HEAD",
            "POST",
            "OPTIONS",
        }
        assert api.request("OPTIONS", "/v1/none").status == 404

    def test_options_of_the_server(self, suite):
        with Wire(suite.port) as wire:
            wire.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
            assert wire.read_answer()[0] == 204

    def test_head_is_get_without_its_body(self, suite, ada, new_product):
        path = f"/v1/products/{new_product()['sku']}"
        get = ada.get(path)
        with Wire(suite.port) as wire:
            wire.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            status, headers, _ = wire.read_answer(head_only=True)
            assert status == 200 and headers["etag"] == get.etag
            assert headers["content-length"] == str(len(get.body))
            assert wire.is_open()  # no body came, the next answer stands where it should
        assert ada.request("HEAD", "/v1/none").status == 404

    @pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW", "get", "PROPFIND", "X" * 100])
    def test_method_that_nobody_knows(self, suite, method):
        with Wire(suite.port) as wire:
            wire.send(f"{method} /v1/products HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert wire.read_answer()[0] in (400, 405, 501)

    def test_query_is_checked(self, api):
        for query in (
            "limit=0",
            "limit=101",
            "limit=1e3",
            "limit=-1",
            "limit=",
            "limit=1&limit=2",
            "colour=red",
            "limit=99999999999999999999",
            "cursor=x&cursor=y",
        ):
            answer = api.get(f"/v1/products?{query}")
            assert (answer.status, answer.slug) == (400, "invalid-parameter"), query
        assert api.get("/v1/products?" + "&".join(f"a{i}=1" for i in range(33))).status == 400

    def test_connection_is_kept_after_an_error(self, suite):
        with Wire(suite.port) as wire:
            for path in (
                "/v1/none",
                "/v1/users/me",
                "/v1/products?limit=0",
                "/v1/products/none-such",
            ):
                wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                status, headers, _ = wire.read_answer()
                assert status >= 400 and headers.get("connection") != "close", path
            assert wire.is_open()


class TestEveryAnswer:
    def test_has_a_request_id_and_tells_nothing_of_the_server(self, api, ada):
        for answer in (
            api.get("/livez"),
            api.get("/v1/none"),
            ada.get("/v1/users/me"),
            api.get("/v1/users/me"),
        ):
            assert len(answer.headers["X-Request-Id"]) == 36
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert (
                answer.headers["Content-Security-Policy"]
                == "default-src 'none'; frame-ancestors 'none'"
            )
            assert not answer.headers["Server"] and not answer.headers["Strict-Transport-Security"]
            assert "Date" in answer.headers
            assert not any(char.isdigit() for char in answer.headers.get("Server", ""))
            if answer.slug:
                assert answer.json()["instance"].endswith(answer.headers["X-Request-Id"])
                assert answer.json()["status"] == answer.status

    def test_says_where_the_time_went(self, ada):
        """In milliseconds, of the whole that the client waited for."""
        begin = time.perf_counter()
        answer = ada.get("/v1/users/me")
        waited_ms = (time.perf_counter() - begin) * 1000
        parts = dict(part.strip().split(";dur=") for part in answer.headers["Server-Timing"].split(","))
        assert set(parts) == {"gateway", "queue", "wire", "worker", "store"}
        times = {name: float(text) for name, text in parts.items()}
        assert min(times.values()) >= 0 and times["gateway"] > 0 and times["store"] > 0
        assert sum(times.values()) <= waited_ms

    def test_personal_data_is_not_cached(self, ada):
        assert (
            "no-store" in ada.get("/v1/users/me").headers["Cache-Control"]
            or "private" in ada.get("/v1/users/me").headers["Cache-Control"]
        )

    def test_http_1_0(self, suite):
        with Wire(suite.port) as wire:
            wire.send(b"GET /livez HTTP/1.0\r\n\r\n")
            assert wire.read_answer()[0] == 200
            assert wire.read_end() == b""
        with Wire(suite.port) as wire:
            wire.send(b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            status, headers, _ = wire.read_answer()
            assert (status, headers["connection"].lower()) == (200, "keep-alive")
            assert wire.is_open()

    def test_pipelined_requests_are_answered_in_order(self, suite, ada):
        paths = [
            "/v1/users/me",
            "/livez",
            "/v1/none",
            "/v1/orders",
            "/v1/products/none-such",
            "/v1/users/me",
        ] * 5
        with Wire(suite.port) as wire:
            wire.send(
                "".join(
                    f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\n\r\n"
                    for path in paths
                ).encode()
            )
            statuses = [wire.read_answer()[0] for _ in paths]
        assert statuses == [200, 200, 404, 200, 404, 200] * 5

    def test_client_that_closes_its_half_gets_the_answer(self, suite):
        with Wire(suite.port) as wire:
            wire.send(b"GET /v1/products HTTP/1.1\r\nHost: x\r\n\r\n")
            wire.socket.shutdown(1)
            assert wire.read_answer()[0] == 200

    def test_byte_by_byte(self, suite):
        with Wire(suite.port) as wire:
            body = b'{"email":"a@b.cc","password":"x"}'
            for byte in (
                f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode() + body:
                wire.send(bytes([byte]))
            assert wire.read_answer()[0] == 401

    def test_http_client_agrees(self, suite):
        """A second opinion on the framing of answers: Python's own parser on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=10)
        for _ in range(3):
            for path in ("/livez", "/v1/none", "/openapi.json"):
                connection.request("GET", path)
                response = connection.getresponse()
                assert len(response.read()) == int(response.headers["Content-Length"])
        connection.close()
