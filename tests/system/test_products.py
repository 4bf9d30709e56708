# SPDX-License-Identifier: MIT
# The catalogue: POST /v1/products, PATCH and GET /v1/products/{sku}, GET /v1/products.
import pytest
from people import fresh

MEMBERS = {"sku", "name", "description", "price", "stock", "version", "created_at", "updated_at"}


def body(**fields):
    return {
        "sku": fresh("sku"),
        "name": "A thing",
        "description": "Line one\nline two",
        "price": {"amount": 1999, "currency": "EUR"},
        "stock": 5,
        **fields,
    }


class TestAdding:
    def test_answers_the_product_and_where_it_is(self, admin):
        wanted = body(sku=fresh("lib+c~1:2.x_"))
        answer = admin.post("/v1/products", wanted)
        assert answer.status == 201
        product = answer.json()
        assert set(product) == MEMBERS
        assert {name: product[name] for name in wanted} == wanted and product["version"] == 1
        assert answer.headers["Location"] == f"/v1/products/{wanted['sku']}"
        assert admin.get(answer.headers["Location"]).json() == product

    def test_sku_is_taken_once(self, admin, new_product):
        sku = new_product(name="The first")["sku"]
        answer = admin.post("/v1/products", body(sku=sku, name="The second"))
        assert (answer.status, answer.slug) == (409, "sku-taken")
        assert admin.get(f"/v1/products/{sku}").json()["name"] == "The first"

    @pytest.mark.parametrize(
        "fields,pointer",
        [
            ({"sku": ""}, "#/sku"),
            ({"sku": "a b"}, "#/sku"),
            ({"sku": "a/b"}, "#/sku"),
            ({"sku": "x" * 65}, "#/sku"),
            ({"sku": "ä"}, "#/sku"),
            ({"name": ""}, "#/name"),
            ({"name": "x" * 201}, "#/name"),
            ({"description": "x" * 8001}, "#/description"),
            ({"description": "a\u0000b"}, "#/description"),
            ({"stock": -1}, "#/stock"),
            ({"stock": 1_000_000_001}, "#/stock"),
            ({"stock": 1.5}, "#/stock"),
            ({"stock": "5"}, "#/stock"),
            ({"stock": True}, "#/stock"),
            ({"stock": None}, "#/stock"),
            ({"price": 1999}, "#/price"),
            ({"price": {"amount": 1999}}, "#/price/currency"),
            ({"price": {"amount": -1, "currency": "EUR"}}, "#/price/amount"),
            ({"price": {"amount": 2**63, "currency": "EUR"}}, "#/price/amount"),
            ({"price": {"amount": 1, "currency": "eur"}}, "#/price/currency"),
            ({"price": {"amount": 1, "currency": "EUR", "tax": 1}}, "#/price/tax"),
            ({"version": 7}, "#/version"),
        ],
    )
    def test_wrong_fields_are_named(self, admin, fields, pointer):
        answer = admin.post("/v1/products", body(**fields))
        assert (answer.status, answer.slug) == (422, "invalid-fields")
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]

    def test_limits_themselves_are_allowed(self, admin):
        answer = admin.post(
            "/v1/products",
            body(
                sku="s" * 55 + fresh("x")[-9:],
                name="n" * 200,
                description="d" * 8000,
                stock=1_000_000_000,
                price={"amount": 10**12, "currency": "JPY"},
            ),
        )
        assert answer.status == 201, answer


class TestChanging:
    def test_needs_the_version_that_was_read(self, admin, new_product):
        path = f"/v1/products/{new_product()['sku']}"
        etag = admin.get(path).etag
        assert admin.patch(path, {"stock": 7}).slug == "precondition-required"
        assert admin.patch(path, {"stock": 7}, if_match='"0"').slug == "precondition-failed"
        changed = admin.patch(path, {"stock": 7}, if_match=etag)
        assert (changed.status, changed.json()["stock"], changed.json()["version"]) == (200, 7, 2)
        assert changed.etag == admin.get(path).etag != etag
        assert admin.patch(path, {"stock": 8}, if_match=etag).status == 412

    def test_merges_inside_the_price_too(self, admin, new_product):
        product = new_product(amount=100)
        answer = admin.patch(
            f"/v1/products/{product['sku']}", {"price": {"amount": 250}}, if_match="*"
        )
        assert answer.json()["price"] == {"amount": 250, "currency": "EUR"}
        assert answer.json()["name"] == product["name"]

    def test_sku_stays(self, admin, new_product):
        answer = admin.patch(f"/v1/products/{new_product()['sku']}", {"sku": "other"}, if_match="*")
        assert answer.status == 422 and answer.json()["errors"][0]["pointer"] == "#/sku"

    def test_unknown_product(self, admin):
        assert admin.patch("/v1/products/none-such", {"stock": 1}, if_match="*").slug == "not-found"

    def test_only_admins(self, ada, api, new_product):
        sku = new_product(stock=5)["sku"]
        assert ada.patch(f"/v1/products/{sku}", {"stock": 9}, if_match="*").slug == "forbidden"
        assert api.patch(f"/v1/products/{sku}", {"stock": 9}, if_match="*").status == 401
        assert ada.post("/v1/products", body()).slug == "forbidden"
        assert api.get(f"/v1/products/{sku}").json()["stock"] == 5


class TestReading:
    def test_anyone_may(self, api, new_product):
        product = new_product()
        answer = api.get(f"/v1/products/{product['sku']}")
        assert answer.status == 200 and answer.json() == product

    def test_escaped_sku(self, api, new_product):
        sku = new_product(sku=fresh("a+b:c~d"))["sku"]
        escaped = "".join(f"%{ord(c):02X}" for c in sku)
        assert api.get(f"/v1/products/{escaped}").json()["sku"] == sku

    def test_unknown_product(self, api):
        for sku in ("none-such", "%00", "%F0%9F%A6%8A", "a%2Fb", "x" * 500):
            answer = api.get(f"/v1/products/{sku}")
            assert answer.status in (400, 404) and answer.slug, sku

    def test_list_is_sorted_by_sku(self, api, new_product):
        skus = [new_product()["sku"] for _ in range(3)]
        listed = [product["sku"] for product in api.pages("/v1/products", limit=100)]
        assert listed == sorted(listed) and set(skus) <= set(listed)
