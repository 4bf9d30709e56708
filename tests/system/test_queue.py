# SPDX-License-Identifier: MIT
# The event queue by its protocol: what is acknowledged is there, once, in order; and events of the
# services say what happened, once.
import threading

import msgpack
import pytest
from people import PASSWORD, fresh
from queue_client import (
    CAUGHT_UP,
    ENDED,
    EVENTS,
    GRANT,
    PING,
    PONG,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Queue,
    Refused,
    new_event,
)


def topic(word="note"):
    return f"test.{fresh(word)}.added"


class TestPublishing:
    def test_what_is_acknowledged_is_read(self, events):
        name = topic()
        answer = events.publish(
            [new_event(name, {"n": i}, key="k", subject=f"s{i}") for i in range(10)]
        )
        assert (answer["stored"], answer["duplicates"], answer["durable"]) == (10, 0, True)
        assert answer["last_seq"] - answer["first_seq"] == 9
        found = events.read(name)
        assert [e["seq"] for e in found] == list(range(answer["first_seq"], answer["last_seq"] + 1))
        assert [e["data"]["n"] for e in found] == list(range(10))
        assert {(e["topic"], e["key"]) for e in found} == {(name, "k")}

    def test_sequences_have_no_gap(self, events):
        info = events.info()
        found = events.read(**{"from": "seq", "value": max(1, info["last_seq"] - 500)})
        assert [e["seq"] for e in found] == list(
            range(found[0]["seq"], found[0]["seq"] + len(found))
        )
        assert [e["stored_ms"] for e in found] == sorted(e["stored_ms"] for e in found)

    def test_repeat_of_a_producer_is_stored_once(self, events):
        name, producer = topic(), fresh("producer")
        batch = [new_event(name, {"n": i}) for i in range(5)]
        assert events.publish(batch, producer)["stored"] == 5
        again = events.publish(batch, producer)
        assert (again["stored"], again["duplicates"], again["producer_seq"]) == (0, 5, 5)
        overlapping = events.publish(batch[3:] + [new_event(name, {"n": 5})], producer, first_seq=4)
        assert (overlapping["stored"], overlapping["duplicates"], overlapping["producer_seq"]) == (
            1,
            2,
            6,
        )
        assert [e["data"]["n"] for e in events.read(name)] == list(range(6))

    def test_many_publishers_at_once(self, suite):
        name = topic()

        def publish(number):
            with Queue(suite.queue_endpoint) as queue:
                for i in range(50):
                    queue.publish(
                        [new_event(name, [number, i])], f"{name}-{number}", first_seq=i + 1
                    )

        threads = [threading.Thread(target=publish, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Queue(suite.queue_endpoint) as queue:
            found = [tuple(e["data"]) for e in queue.read(name)]
        assert sorted(found) == [(n, i) for n in range(8) for i in range(50)]
        for number in range(8):
            assert [i for n, i in found if n == number] == list(range(50))

    WRONG = {
        "topic in capitals": (lambda: [new_event("Test.X", 1)], "invalid-topic"),
        "topic with empty token": (lambda: [new_event("a..b", 1)], "invalid-topic"),
        "topic empty": (lambda: [new_event("", 1)], "invalid-topic"),
        "topic too long": (lambda: [new_event("a" * 129, 1)], "invalid-topic"),
        "topic is a filter": (lambda: [new_event("a.*", 1)], "invalid-topic"),
        "event too large": (lambda: [new_event("a.b", b"x" * (1024 * 1024))], "event-too-large"),
        "event is no array": (lambda: [msgpack.packb({"id": 1})], "malformed"),
        "event is short": (lambda: [msgpack.packb(["id", "a.b"])], "malformed"),
        "event is no MessagePack": (lambda: [b"\xc1"], "malformed"),
    }

    @pytest.mark.parametrize("batch,reason", WRONG.values(), ids=WRONG.keys())
    def test_refused_whole(self, events, batch, reason):
        name = topic()
        before = events.info()["last_seq"]
        with pytest.raises(Refused) as refusal:
            events.publish([new_event(name, 1)] + batch())
        assert refusal.value.args[0] == reason and refusal.value.args[1]
        assert events.read(name) == []
        assert events.info()["last_seq"] >= before

    def test_out_of_order(self, events):
        events.number += 1
        batch = [[2, new_event("a.b", 1)], [1, new_event("a.b", 2)]]
        events.send(32, events.number, fresh("p"), batch)
        with pytest.raises(Refused) as refusal:
            events.receive()
        assert refusal.value.args[0] == "out-of-order"

    def test_too_many_in_a_frame(self, events):
        with pytest.raises(Refused) as refusal:
            events.publish([new_event("a.b", 1) for _ in range(1025)])
        assert refusal.value.args[0] == "malformed"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xc1",
            b"\x90",
            msgpack.packb([99, 1]),
            msgpack.packb([32]),
            msgpack.packb([32, "x", 1, 2]),
            msgpack.packb([34, 1, {"filters": "x"}, 1]),
            msgpack.packb([34, 1, {"from": "never"}, 1]),
            msgpack.packb([34, 1, {"where": 5}, 1]),
            msgpack.packb({"a": 1}),
            b"\xdd\xff\xff\xff\xff",
        ],
    )
    def test_malformed_frames(self, events, data):
        events.socket.send(data)
        with pytest.raises(Refused) as refusal:
            events.receive()
        assert refusal.value.args[0] == "malformed"
        assert events.info()["last_seq"] >= 0


class TestReading:
    @pytest.fixture
    def stored(self, events):
        word = fresh("r")
        batch = [
            new_event(f"test.{word}.{kind}", i, key=f"k{i % 3}")
            for i, kind in enumerate(["a", "b", "a.c"] * 4)
        ]
        answer = events.publish(batch)
        return word, answer["first_seq"]

    def values(self, found):
        return [e["data"] for e in found]

    def test_filters(self, events, stored):
        word, _ = stored
        assert self.values(events.read(f"test.{word}.a")) == [0, 3, 6, 9]
        assert self.values(events.read(f"test.{word}.*")) == [0, 1, 3, 4, 6, 7, 9, 10]
        assert self.values(events.read(f"test.{word}.>")) == list(range(12))
        assert self.values(events.read(f"*.{word}.b")) == [1, 4, 7, 10]
        assert self.values(events.read(f"test.{word}.a", f"test.{word}.b")) == [
            0,
            1,
            3,
            4,
            6,
            7,
            9,
            10,
        ]
        assert events.read(f"test.{word}") == []

    def test_where(self, events):
        name = topic()
        amounts = [999, 1000, 1000.5, 2**63, None, "1001", 1001]
        batch = [
            new_event(name, {"total": {"amount": a}, "tags": ["new"] * i}, key=f"k{i % 2}")
            for i, a in enumerate(amounts)
        ]
        first = events.publish(batch)["first_seq"]

        def read(where, **options):
            return [e["seq"] - first for e in events.read(name, where=where, **options)]

        assert read(".data.total.amount > 1000") == [2, 3, 6]
        assert read(".data.total.amount == 9223372036854775808") == [3]
        assert read('.data.total.amount in [999, "1001"] or .data.total.amount == null') == [0, 4, 5]
        assert read('.key == "k1" and .data.tags contains "new"') == [1, 3, 5]
        assert read('.key == "k0" and not exists .data.tags[0]') == [0]
        assert read(f"not (.seq > {first + 1})") == [0, 1]
        assert read('.time < "2020-01-01T00:00:00Z" or .stored_at < "2020-01-01T00:00:00Z"') == []
        assert read(".data.total.amount > 1000", key="k0") == [2, 6]
        newest = {"from": "last", "value": 2}
        assert read(".data.total.amount > 1000", **newest) == [3, 6]
        assert read(".data.total.amount > 1000", until_seq=first + 5) == [2, 3]
        assert [
            e["seq"] - first for e in events.read(where=f'.topic == "{name}" and .data.tags[4]')
        ] == [5, 6]

    def test_where_on_what_is_published_later(self, events, suite):
        name = topic()
        subscription = events.subscribe(
            filters=[name], where=".data.n > 1", follow=True, **{"from": "end"}
        )
        assert events.receive()[:2] == [CAUGHT_UP, subscription]
        with Queue(suite.queue_endpoint) as publisher:
            publisher.publish([new_event(name, {"n": n}) for n in range(4)])
        got = []
        while len(got) < 2:
            frame = events.receive()
            got += [msgpack.unpackb(msgpack.unpackb(entry[2])[7])["n"] for entry in frame[2]]
        assert got == [2, 3]

    @pytest.mark.parametrize(
        "where,detail",
        [
            (".data.total.amount >", "at byte 21 of the filter: here comes a path"),
            (".total > 5", "at byte 1 of the filter: an event has .topic"),
            ("", "at byte 1 of the filter: here comes a path"),
            (".a" * 600, "at byte 1025 of the filter: a filter has at most 1024 bytes"),
        ],
    )
    def test_where_that_is_none(self, events, where, detail):
        with pytest.raises(Refused) as refusal:
            events.read(where=where)
        assert refusal.value.args[0] == "invalid-filter"
        assert refusal.value.args[1].startswith(detail)

    def test_key(self, events, stored):
        assert self.values(events.read(f"test.{stored[0]}.>", key="k1")) == [1, 4, 7, 10]

    def test_places_to_begin_and_end(self, events, stored):
        word, first = stored
        every = f"test.{word}.>"
        assert self.values(events.read(every, **{"from": "seq", "value": first + 9})) == [9, 10, 11]
        assert self.values(events.read(every, **{"from": "last", "value": 2})) == [10, 11]
        assert self.values(events.read(f"test.{word}.b", **{"from": "last", "value": 2})) == [7, 10]
        assert self.values(events.read(every, until_seq=first + 2)) == [0, 1, 2]
        assert events.read(every, **{"from": "end"}) == []
        stored_ms = events.read(every)[0]["stored_ms"]
        assert len(events.read(every, **{"from": "time", "value": stored_ms})) == 12
        assert events.read(every, **{"from": "time", "value": stored_ms + 3600_000}) == []

    def test_credit_is_never_exceeded(self, events, stored):
        subscription = events.subscribe(credit=5, filters=[f"test.{stored[0]}.>"])
        count = 0
        while count < 5:
            frame = events.receive()
            assert frame[0] == EVENTS
            count += len(frame[2])
        assert count == 5
        with pytest.raises(TimeoutError):
            events.receive(200)
        events.send(GRANT, subscription, 100)
        while frame[0] != ENDED:
            frame = events.receive()
            count += len(frame[2]) if frame[0] == EVENTS else 0
        assert count == 12 and frame[3] == "end"

    def test_following(self, events, suite):
        name = topic()
        subscription = events.subscribe(filters=[name], follow=True, **{"from": "end"})
        assert events.receive()[:2] == [CAUGHT_UP, subscription]
        with Queue(suite.queue_endpoint) as publisher:
            for number in range(3):
                publisher.publish([new_event(name, number)])
        got = []
        while len(got) < 3:
            frame = events.receive()
            got += (
                [msgpack.unpackb(msgpack.unpackb(entry[2])[7]) for entry in frame[2]]
                if frame[0] == EVENTS
                else []
            )
        assert got == [0, 1, 2]
        events.send(UNSUBSCRIBE, subscription, 0)
        with Queue(suite.queue_endpoint) as publisher:
            publisher.publish([new_event(name, 3)])
        with pytest.raises(TimeoutError):
            while events.receive(200)[0] == ENDED:
                pass

    def test_reading_changes_nothing(self, events, stored):
        every = f"test.{stored[0]}.>"
        assert events.read(every) == events.read(every)

    def test_too_many_subscriptions(self, suite):
        with Queue(suite.queue_endpoint) as queue:
            for number in range(64):
                queue.send(SUBSCRIBE, number + 1, {"follow": True, "from": "end"}, 1)
                assert queue.receive()[:2] == [CAUGHT_UP, number + 1]
            queue.send(SUBSCRIBE, 65, {"follow": True, "from": "end"}, 1)
            with pytest.raises(Refused) as refusal:
                queue.receive()
            assert refusal.value.args[0] == "too-many-subscriptions"

    def test_ping(self, events):
        events.send(PING, 77, 0)
        assert events.socket.poll(2000)
        assert msgpack.unpackb(events.socket.recv()) == [PONG, 77, 0]

    def test_info(self, events):
        name = topic()
        events.publish([new_event(name, 1), new_event(name, 2)], fresh("producer"))
        info = events.info()
        assert {
            "version",
            "uuid",
            "sync",
            "first_seq",
            "last_seq",
            "events",
            "bytes",
            "segments",
            "first_ms",
            "last_ms",
            "started_ms",
            "topics",
            "producers",
            "subscriptions",
            "lost",
            "retention_ms",
            "retention_bytes",
        } <= set(info)
        assert info["sync"] == "always" and info["lost"] == []
        assert next(t["events"] for t in info["topics"] if t["topic"] == name) == 2


class TestEventsOfTheServices:
    def of(self, events, subject, *filters):
        return [e for e in events.read(*filters) if e["subject"] == subject]

    def test_each_change_of_a_user_once(self, events, new_person):
        eve = new_person()
        assert eve.patch(f"/v1/users/{eve.id}", {"name": "Eva"}, if_match="*").status == 200
        eve.delete("/v1/sessions/current")
        eve.log_in()
        assert eve.delete(f"/v1/users/{eve.id}", if_match="*").status == 204
        events.wait(lambda f: eve.id in [e["subject"] for e in f], "users.user.deleted")
        found = [e for e in events.read("users.>") if eve.id in (e["subject"], e["key"])]
        topics = [e["topic"] for e in found]
        assert [t for t in topics if "user." in t] == [
            "users.user.created",
            "users.user.updated",
            "users.user.deleted",
        ]
        assert topics.count("users.session.revoked") >= 1
        assert [e["data"]["version"] for e in found if "user." in e["topic"]] == [1, 2, 3]
        assert {e["key"] for e in found} == {eve.id}
        assert PASSWORD not in str(found) and "argon2" not in str(found)

    def test_entity_in_the_event_is_the_entity_in_the_answer(self, events, admin, ada, new_product):
        product = new_product()
        order = ada.order({product["sku"]: 1}).json()
        events.wait(lambda f: order["id"] in [e["subject"] for e in f], "orders.order.placed")
        placed = self.of(events, order["id"], "orders.order.>")[0]["data"]
        assert {k: v for k, v in placed.items() if not k.endswith("_at")} == {
            k: v for k, v in order.items() if not k.endswith("_at")
        }
        assert (
            self.of(events, product["sku"], "orders.product.created")[0]["data"]["price"]
            == product["price"]
        )

    def test_what_failed_leaves_no_event(self, events, ada, new_product):
        sku = new_product(stock=0)["sku"]
        before = events.info()["last_seq"]
        assert ada.order({sku: 1}).status == 409
        assert ada.post(f"/v1/orders/{fresh('x')}/pay").status == 404
        marker = new_product()["sku"]
        events.wait(lambda f: marker in [e["subject"] for e in f], "orders.product.created")
        later = events.read("orders.>", **{"from": "seq", "value": before + 1})
        assert not [e for e in later if e["topic"].startswith("orders.order.")]

    def test_ids_are_unique(self, events):
        ids = [e["id"] for e in events.read()]
        assert len(ids) == len(set(ids))
