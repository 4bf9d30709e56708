# SPDX-License-Identifier: MIT
# Lists: every item once on all pages together, whatever is written meanwhile; cursors that were
# tampered with; and conditional reads.
import base64

import pytest
from people import fresh
from suite import PATIENCE


@pytest.fixture(scope="module")
def buyer(suite, admin):
    """A person with 45 orders."""
    from people import add_product, register

    eve, sku = register(suite.port), add_product(admin, stock=1000)["sku"]
    ids = [eve.order({sku: 1}).json()["id"] for _ in range(45)]
    return eve, ids, sku


class TestPages:
    @pytest.mark.parametrize("limit", [1, 7, 20, 45, 100])
    def test_every_order_once_and_in_order(self, buyer, limit):
        eve, ids, _ = buyer
        assert [order["id"] for order in eve.pages("/v1/orders", limit=limit)] == ids[::-1]

    def test_page_has_limit_items_and_says_what_comes(self, buyer):
        eve, ids, _ = buyer
        first = eve.get("/v1/orders", query={"limit": 10})
        page = first.json()
        assert set(page) == {"items", "next_cursor"} and len(page["items"]) == 10
        link = first.headers["Link"]
        assert 'rel="next"' in link
        second = eve.get(link[link.index("<") + 1 : link.index(">")])
        assert [order["id"] for order in second.json()["items"]] == ids[::-1][10:20]
        last = eve.get("/v1/orders", query={"limit": 100})
        assert "next_cursor" not in last.json() and last.headers["Link"] is None

    def test_default_is_twenty(self, buyer):
        assert len(buyer[0].get("/v1/orders").json()["items"]) == 20

    def test_last_full_page_is_the_last(self, buyer):
        page = buyer[0].get("/v1/orders", query={"limit": 45}).json()
        assert len(page["items"]) == 45 and "next_cursor" not in page

    def test_orders_placed_meanwhile_shift_nothing(self, buyer):
        eve, ids, sku = buyer
        seen = []
        for number, order in enumerate(eve.pages("/v1/orders", limit=10)):
            seen.append(order["id"])
            if number in (5, 15):
                ids.append(eve.order({sku: 1}).json()["id"])
        assert [order_id for order_id in seen] == ids[::-1][len(ids) - len(seen) :]
        assert len(seen) == len(set(seen))

    def test_products_with_the_same_beginning(self, api, new_product):
        prefix = fresh("page")
        skus = sorted(new_product(sku=f"{prefix}-{i:02}")["sku"] for i in range(12))
        listed = [
            p["sku"] for p in api.pages("/v1/products", limit=5) if p["sku"].startswith(prefix)
        ]
        assert listed == skus

    def test_users(self, admin, new_person):
        ids = [new_person().id for _ in range(5)]
        listed = [user["id"] for user in admin.pages("/v1/users", limit=3)]
        assert len(listed) == len(set(listed)) and set(ids) <= set(listed)

    def test_search(self, api, new_product):
        import time

        word = "w" + fresh("p").rsplit("-", 1)[-1]
        skus = {new_product(name=f"{word} {i}")["sku"] for i in range(25)}
        deadline = time.monotonic() + 2 * PATIENCE
        while len(api.get("/v1/search", query={"q": word, "limit": 100}).json()["items"]) < 25:
            assert time.monotonic() < deadline
        ids = [hit["id"] for hit in api.pages("/v1/search", q=word, limit=10)]
        assert len(ids) == 25 and set(ids) == skus


class TestCursors:
    def test_tampered_ones_are_refused(self, buyer):
        eve = buyer[0]
        cursor = eve.get("/v1/orders", query={"limit": 1}).json()["next_cursor"]
        wrong = [
            "x",
            "AAAA",
            cursor[:-1],
            cursor + "A",
            cursor[1:],
            cursor.swapcase(),
            base64.b64encode(b"1").decode(),
            "x" * 512,
        ]
        wrong += [
            cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :]
            for i in range(0, len(cursor), 9)
        ]
        for changed in wrong:
            answer = eve.get("/v1/orders", query={"limit": 1, "cursor": changed})
            assert (answer.status, answer.slug) == (400, "invalid-cursor"), changed

    def test_belongs_to_its_list_and_filters(self, buyer, admin):
        eve = buyer[0]
        cursor = eve.get("/v1/orders", query={"limit": 1}).json()["next_cursor"]
        for path, query in [
            ("/v1/products", {}),
            ("/v1/users", {}),
            ("/v1/orders", {"status": "placed"}),
        ]:
            answer = (admin if path == "/v1/users" else eve).get(
                path, query={"cursor": cursor, **query}
            )
            assert (answer.status, answer.slug) == (400, "invalid-cursor"), (path, query)

    def test_shows_nobody_elses_orders(self, buyer, bob):
        cursor = buyer[0].get("/v1/orders", query={"limit": 1}).json()["next_cursor"]
        answer = bob.get("/v1/orders", query={"cursor": cursor})
        assert answer.status in (200, 400)
        if answer.status == 200:
            assert all(order["user_id"] == bob.id for order in answer.json()["items"])

    def test_tells_nothing(self, buyer):
        """Opaque: it holds no id in the clear."""
        page = buyer[0].get("/v1/orders", query={"limit": 1}).json()
        raw = base64.urlsafe_b64decode(page["next_cursor"] + "==")
        assert page["items"][0]["id"].encode() not in raw


class TestConditionalReads:
    def test_not_modified(self, ada, new_product):
        order = ada.order({new_product()["sku"]: 1}).json()
        for path in (
            "/v1/users/me",
            f"/v1/users/{ada.id}",
            f"/v1/products/{order['items'][0]['sku']}",
            f"/v1/orders/{order['id']}",
        ):
            answer = ada.get(path)
            for tags in (answer.etag, f'"x", {answer.etag}', f"W/{answer.etag}", "*"):
                again = ada.get(path, if_none_match=tags)
                assert (again.status, again.body, again.etag) == (304, b"", answer.etag), (
                    path,
                    tags,
                )
            assert ada.get(path, if_none_match='"x"').status == 200
            assert ada.get(path, if_none_match="").status == 200

    def test_permission_comes_before_the_tag(self, ada, bob):
        etag = bob.get(f"/v1/users/{bob.id}").etag
        assert ada.get(f"/v1/users/{bob.id}", if_none_match=etag).status == 404

    def test_tag_changes_with_every_change(self, admin, new_product):
        path = f"/v1/products/{new_product()['sku']}"
        tags = [admin.get(path).etag]
        for stock in (1, 2, 1):
            tags.append(admin.patch(path, {"stock": stock}, if_match=tags[-1]).etag)
        assert len(set(tags)) == 4

    def test_two_writers_do_not_overwrite_each_other(self, admin, new_product):
        path = f"/v1/products/{new_product()['sku']}"
        etag = admin.get(path).etag
        statuses = [
            admin.patch(path, {"name": name}, if_match=etag).status for name in ("one", "two")
        ]
        assert statuses == [200, 412] and admin.get(path).json()["name"] == "one"

    def test_malformed_if_match(self, admin, new_product):
        path = f"/v1/products/{new_product()['sku']}"
        for tag in ("1", '"unclosed', "garbage, more", '""'):
            answer = admin.patch(path, {"stock": 1}, if_match=tag)
            assert answer.status in (400, 412), tag
