# SPDX-License-Identifier: MIT
# Orders: placing at the shop's prices, reading one's own, and the stock that never goes below zero.
import collections
import threading

import pytest
from api import Client, new_key
from people import fresh

MEMBERS = {"id", "user_id", "status", "items", "total", "version", "created_at", "updated_at"}


def place(client, body, **options):
    return client.post("/v1/orders", body, idempotency_key=new_key(), **options)


class TestPlacing:
    def test_takes_the_prices_of_the_shop(self, ada, new_product):
        one, two = new_product(amount=150, stock=5), new_product(amount=1000, stock=5)
        answer = place(
            ada,
            {
                "items": [{"sku": one["sku"], "quantity": 3}, {"sku": two["sku"], "quantity": 1}],
                "note": "Ring twice",
            },
        )
        assert answer.status == 201
        order = answer.json()
        assert set(order) == MEMBERS | {"note"}
        assert (order["user_id"], order["status"], order["version"]) == (ada.id, "placed", 1)
        assert order["items"] == [
            {
                "sku": one["sku"],
                "name": one["name"],
                "quantity": 3,
                "unit_price": {"amount": 150, "currency": "EUR"},
                "line_total": {"amount": 450, "currency": "EUR"},
            },
            {
                "sku": two["sku"],
                "name": two["name"],
                "quantity": 1,
                "unit_price": {"amount": 1000, "currency": "EUR"},
                "line_total": {"amount": 1000, "currency": "EUR"},
            },
        ]
        assert (order["total"], order["note"]) == (
            {"amount": 1450, "currency": "EUR"},
            "Ring twice",
        )
        assert answer.headers["Location"] == f"/v1/orders/{order['id']}"
        again = ada.get(answer.headers["Location"])
        assert again.json() == order and again.etag == answer.etag
        assert ada.get(f"/v1/products/{one['sku']}").json()["stock"] == 2

    def test_price_of_a_placed_order_stays(self, ada, admin, new_product):
        sku = new_product(amount=100)["sku"]
        order = ada.order({sku: 2}).json()
        assert (
            admin.patch(
                f"/v1/products/{sku}", {"price": {"amount": 999}, "name": "Dear"}, if_match="*"
            ).status
            == 200
        )
        assert ada.get(f"/v1/orders/{order['id']}").json() == order

    def test_out_of_stock_names_the_line_and_takes_nothing(self, ada, new_product):
        plenty, few = new_product(stock=10)["sku"], new_product(stock=2)["sku"]
        answer = ada.order({plenty: 1, few: 3})
        assert (answer.status, answer.slug) == (409, "out-of-stock")
        assert [error["pointer"] for error in answer.json()["errors"]] == ["#/items/1/quantity"]
        assert ada.get(f"/v1/products/{plenty}").json()["stock"] == 10
        assert ada.get(f"/v1/products/{few}").json()["stock"] == 2

    def test_unknown_product_is_named(self, ada, new_product):
        answer = ada.order({new_product()["sku"]: 1, "none-such": 1})
        assert (answer.status, answer.slug) == (422, "invalid-fields")
        assert [error["pointer"] for error in answer.json()["errors"]] == ["#/items/1/sku"]

    @pytest.mark.parametrize(
        "change,pointer",
        [
            ({"items": []}, "#/items"),
            ({"items": None}, "#/items"),
            ({"items": {}}, "#/items"),
            ({"items": [{"sku": "x"}]}, "#/items/0/quantity"),
            ({"items": [{"quantity": 1}]}, "#/items/0/sku"),
            ({"items": [{"sku": "x", "quantity": 0}]}, "#/items/0/quantity"),
            ({"items": [{"sku": "x", "quantity": -1}]}, "#/items/0/quantity"),
            ({"items": [{"sku": "x", "quantity": 10001}]}, "#/items/0/quantity"),
            ({"items": [{"sku": "x", "quantity": 1.5}]}, "#/items/0/quantity"),
            (
                {
                    "items": [
                        {"sku": "x", "quantity": 1, "unit_price": {"amount": 1, "currency": "EUR"}}
                    ]
                },
                "#/items/0/unit_price",
            ),
            ({"items": [{"sku": f"x{i}", "quantity": 1} for i in range(51)]}, "#/items"),
            ({"total": {"amount": 1, "currency": "EUR"}}, "#/total"),
            ({"user_id": "x"}, "#/user_id"),
            ({"status": "paid"}, "#/status"),
            ({"note": "x" * 501}, "#/note"),
        ],
    )
    def test_wrong_fields_are_named(self, ada, new_product, change, pointer):
        body = {"items": [{"sku": new_product()["sku"], "quantity": 1}], **change}
        answer = place(ada, body)
        assert (answer.status, answer.slug) == (422, "invalid-fields")
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]

    def test_product_twice_is_named(self, ada, new_product):
        sku = new_product()["sku"]
        answer = place(ada, {"items": [{"sku": sku, "quantity": 1}, {"sku": sku, "quantity": 1}]})
        assert answer.status == 422 and answer.json()["errors"][0]["pointer"] == "#/items/1/sku"

    def test_one_currency(self, ada, admin, new_product):
        euro, yen = new_product()["sku"], new_product(price={"amount": 5, "currency": "JPY"})["sku"]
        answer = ada.order({euro: 1, yen: 1})
        assert answer.status == 422 and answer.json()["errors"][0]["pointer"] == "#/items/1/sku"

    def test_total_has_a_limit(self, ada, new_product):
        answer = ada.order({new_product(amount=10**12, stock=10)["sku"]: 2})
        assert answer.status == 422 and answer.json()["errors"][0]["pointer"] == "#/items"

    def test_nobody_may_not(self, api, new_product):
        assert api.order({new_product()["sku"]: 1}).status == 401


class TestReading:
    def test_owner_and_admin_see_it_others_do_not(self, ada, bob, admin, new_product):
        order = ada.order({new_product()["sku"]: 1}).json()
        path = f"/v1/orders/{order['id']}"
        for client in (ada, admin):
            assert client.get(path).json() == order
            assert client.get(path + "/history").json()["items"][0]["status"] == "placed"
        missing = "/v1/orders/01890000-0000-7000-8000-000000000000"
        for suffix in ("", "/history"):
            theirs, none = bob.get(path + suffix), bob.get(missing + suffix)
            assert theirs.status == none.status == 404
            assert {**theirs.json(), "instance": 0} == {**none.json(), "instance": 0}

    def test_list_has_only_mine_newest_first(self, new_person, admin, new_product):
        eve, sku = new_person(), new_product()["sku"]
        mine = [eve.order({sku: 1}).json()["id"] for _ in range(3)]
        listed = list(eve.pages("/v1/orders"))
        assert [order["id"] for order in listed] == mine[::-1]
        assert set(mine) <= {order["id"] for order in admin.pages("/v1/orders", limit=100)}

    def test_list_by_status(self, new_person, new_product):
        eve, sku = new_person(), new_product()["sku"]
        placed, paid = eve.order({sku: 1}).json()["id"], eve.order({sku: 1}).json()["id"]
        assert eve.post(f"/v1/orders/{paid}/pay").status == 200
        assert [order["id"] for order in eve.pages("/v1/orders", status="placed")] == [placed]
        assert [order["id"] for order in eve.pages("/v1/orders", status="paid")] == [paid]
        assert list(eve.pages("/v1/orders", status="shipped")) == []
        wrong = eve.get("/v1/orders", query={"status": "lost"})
        assert (wrong.status, wrong.slug) == (400, "invalid-parameter")
        assert wrong.json()["errors"][0]["parameter"] == "status"


class TestStock:
    def test_a_hundred_at_once_for_ten(self, suite, admin, ada, new_product, events):
        """100 orders from 20 connections for a product with stock 10: exactly 10 get it."""
        sku = new_product(stock=10)["sku"]
        answers, gate = [], threading.Barrier(20)

        def buy_five():
            client = Client(suite.port, ada.token)
            client.get("/livez")  # the connection is there before it begins
            gate.wait()
            for _ in range(5):
                answer = client.order({sku: 1})
                answers.append((answer.status, answer.slug or answer.json()["id"]))
            client.close()

        threads = [threading.Thread(target=buy_five) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = collections.Counter(status for status, _ in answers)
        assert counts == {201: 10, 409: 90}
        assert {word for status, word in answers if status == 409} == {"out-of-stock"}
        assert admin.get(f"/v1/products/{sku}").json()["stock"] == 0
        bought = {order_id for status, order_id in answers if status == 201}

        def placed(found):
            return [e["subject"] for e in found if e["data"]["items"][0]["sku"] == sku]

        seen = events.wait(lambda found: len(placed(found)) >= 10, "orders.order.placed")
        assert sorted(placed(seen)) == sorted(bought)

    def test_cancelling_gives_back_what_was_taken_under_load(self, suite, ada, new_product):
        sku = new_product(stock=3)["sku"]

        def buy_and_cancel():
            client = Client(suite.port, ada.token)
            for _ in range(20):
                answer = client.order({sku: 1})
                assert answer.status in (201, 409), answer
                if answer.status == 201:
                    assert client.post(f"/v1/orders/{answer.json()['id']}/cancel").status == 200
            client.close()

        threads = [threading.Thread(target=buy_and_cancel) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ada.get(f"/v1/products/{sku}").json()["stock"] == 3


class TestStates:
    """Every step from every state, by everybody; the table is the design's, not the program's."""

    ALLOWED = {
        ("placed", "pay"): "paid",
        ("placed", "cancel"): "cancelled",
        ("paid", "cancel"): "cancelled",
        ("paid", "ship"): "shipped",
        ("shipped", "deliver"): "delivered",
    }
    PATH_TO = {
        "placed": [],
        "paid": ["pay"],
        "shipped": ["pay", "ship"],
        "delivered": ["pay", "ship", "deliver"],
        "cancelled": ["cancel"],
    }
    BY_ADMIN = {"ship", "deliver"}

    def order_in(self, status, owner, admin, sku):
        order = owner.order({sku: 2}).json()
        for verb in self.PATH_TO[status]:
            who = admin if verb in self.BY_ADMIN else owner
            answer = who.post(f"/v1/orders/{order['id']}/{verb}")
            assert answer.status == 200, answer
            order = answer.json()
        assert order["status"] == status
        return order

    @pytest.mark.parametrize("verb", ["pay", "ship", "deliver", "cancel"])
    @pytest.mark.parametrize("status", PATH_TO)
    def test_step(self, ada, admin, new_product, events, status, verb):
        sku = new_product(stock=10)["sku"]
        order = self.order_in(status, ada, admin, sku)
        stock = admin.get(f"/v1/products/{sku}").json()["stock"]
        who = admin if verb in self.BY_ADMIN else ada
        answer = who.post(f"/v1/orders/{order['id']}/{verb}")
        after = ada.get(f"/v1/orders/{order['id']}").json()
        to = self.ALLOWED.get((status, verb))
        if to:
            assert answer.status == 200 and answer.json() == after
            assert (after["status"], after["version"]) == (to, order["version"] + 1)
            found = events.wait(
                lambda f: order["id"] in [e["subject"] for e in f], f"orders.order.{to}"
            )
            event = next(e for e in found if e["subject"] == order["id"])
            assert (event["data"]["status"], event["key"]) == (to, order["id"])
        else:
            assert (answer.status, answer.slug) == (409, "invalid-transition")
            assert after == order
        back = 2 if to == "cancelled" else 0
        assert admin.get(f"/v1/products/{sku}").json()["stock"] == stock + back

    def test_who_may(self, ada, bob, admin, api, new_product):
        sku = new_product(stock=50)["sku"]
        for verb, status in [
            ("pay", "placed"),
            ("ship", "paid"),
            ("deliver", "shipped"),
            ("cancel", "placed"),
        ]:
            order = self.order_in(status, ada, admin, sku)
            path = f"/v1/orders/{order['id']}/{verb}"
            assert api.post(path).status == 401
            assert bob.post(path).slug == "not-found"
            wrong = ada if verb in self.BY_ADMIN else admin if verb == "pay" else None
            if wrong:
                assert wrong.post(path).slug == "forbidden", verb
            assert ada.get(f"/v1/orders/{order['id']}").json() == order
        paid = self.order_in("paid", ada, admin, sku)
        assert admin.post(f"/v1/orders/{paid['id']}/cancel").status == 200

    def test_history_tells_who_did_what(self, ada, admin, new_product):
        order = self.order_in("delivered", ada, admin, new_product()["sku"])
        admin_id = admin.get("/v1/users/me").json()["id"]
        steps = ada.get(f"/v1/orders/{order['id']}/history").json()["items"]
        assert [(step["status"], step["by"]) for step in steps] == [
            ("placed", ada.id),
            ("paid", ada.id),
            ("shipped", admin_id),
            ("delivered", admin_id),
        ]
        assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)

    def test_paid_at_once_by_many_is_paid_once(self, suite, ada, new_product):
        order = ada.order({new_product()["sku"]: 1}).json()
        answers = []

        def pay():
            answers.append(
                Client(suite.port, ada.token).post(f"/v1/orders/{order['id']}/pay").status
            )

        threads = [threading.Thread(target=pay) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200] + [409] * 9

    def test_body_is_not_expected(self, ada, new_product):
        order = ada.order({new_product()["sku"]: 1}).json()
        answer = ada.post(f"/v1/orders/{order['id']}/pay", {"amount": 0})
        assert answer.status in (400, 415, 422), answer
        assert ada.get(f"/v1/orders/{order['id']}").json()["status"] == "placed"


class TestIdempotency:
    def test_key_is_required_and_checked(self, ada, new_product):
        body = {"items": [{"sku": new_product()["sku"], "quantity": 1}]}
        missing = ada.post("/v1/orders", body)
        assert (missing.status, missing.slug) == (400, "idempotency-key-required")
        for wrong in ('""', '"unclosed', "x" * 300, '"a" "b"', "two words", '"a"b'):
            answer = ada.post("/v1/orders", body, idempotency_key=wrong)
            assert answer.status == 400, (wrong, answer)

    def test_repeat_gets_the_first_answer(self, ada, new_product):
        sku, key = new_product(stock=5)["sku"], new_key()
        first, again = ada.order({sku: 2}, key=key), ada.order({sku: 2}, key=key)
        assert first.status == again.status == 201
        assert first.body == again.body and first.etag == again.etag
        assert first.headers["Location"] == again.headers["Location"]
        assert (
            first.headers["Idempotency-Replayed"] is None
            and again.headers["Idempotency-Replayed"] == "true"
        )
        assert ada.get(f"/v1/products/{sku}").json()["stock"] == 3

    def test_bare_and_quoted_are_the_same_key(self, ada, new_product):
        sku, word = new_product(stock=5)["sku"], fresh("key")
        assert ada.order({sku: 1}, key=word).json() == ada.order({sku: 1}, key=f'"{word}"').json()

    def test_answer_is_replayed_after_the_order_moved_on(self, ada, new_product):
        sku, key = new_product()["sku"], new_key()
        first = ada.order({sku: 1}, key=key).json()
        assert ada.post(f"/v1/orders/{first['id']}/cancel").status == 200
        assert ada.order({sku: 1}, key=key).json() == first

    def test_other_body_is_refused(self, ada, new_product):
        sku, key = new_product(stock=5)["sku"], new_key()
        assert ada.order({sku: 1}, key=key).status == 201
        answer = ada.order({sku: 2}, key=key)
        assert (answer.status, answer.slug) == (422, "idempotency-key-reused")
        assert ada.get(f"/v1/products/{sku}").json()["stock"] == 4

    def test_keys_are_everybodys_own(self, ada, bob, new_product):
        sku, key = new_product(stock=5)["sku"], new_key()
        first, second = ada.order({sku: 1}, key=key), bob.order({sku: 1}, key=key)
        assert first.status == second.status == 201
        assert first.json()["id"] != second.json()["id"]

    def test_same_key_at_once_makes_one_order(self, suite, new_person, new_product):
        eve, sku, key, answers = new_person(), new_product(stock=20)["sku"], new_key(), []
        gate = threading.Barrier(10)

        def buy():
            client = Client(suite.port, eve.token)
            gate.wait()
            answers.append(client.order({sku: 1}, key=key))

        threads = [threading.Thread(target=buy) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for answer in answers:
            assert answer.status == 201 or answer.slug == "idempotency-in-progress", answer
        assert len({answer.json()["id"] for answer in answers if answer.status == 201}) == 1
        assert len(list(eve.pages("/v1/orders"))) == 1
        assert eve.get(f"/v1/products/{sku}").json()["stock"] == 19

    def test_works_for_steps_too(self, ada, new_product):
        order, key = ada.order({new_product()["sku"]: 1}).json(), new_key()
        path = f"/v1/orders/{order['id']}/pay"
        first, again = ada.post(path, idempotency_key=key), ada.post(path, idempotency_key=key)
        assert (first.status, again.status) == (200, 200) and first.body == again.body
        assert ada.post(path).slug == "invalid-transition"
