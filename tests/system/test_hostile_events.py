# SPDX-License-Identifier: MIT
# Events as somebody would send them who has taken a service over: whoever follows a topic checks what
# comes, skips what it cannot use, and goes on. What each event should be is in /asyncapi.json, and what
# is sent here is made from that: every field missing, of another type, too long, too large; and bytes
# that are no message at all.
import os
import time

import msgpack
import pytest
from api import Client
from descriptions import follow
from people import add_product, admin_of, register
from queue_client import Queue, Refused, uuid7
from suite import Suite, wait_for

LONG = 60000  # near what one event may have
AT_ONCE = 50  # in one batch


@pytest.fixture(scope="module")
def suite():
    with Suite() as own:
        yield own.up()


def example(document, schema):
    """A value that the schema allows."""
    if "allOf" in schema or "$ref" in schema:
        reference = schema.get("$ref") or schema["allOf"][0]["$ref"]
        return example(document, follow(document, reference))
    kind = schema["type"]
    if kind == "object":
        return {name: example(document, part) for name, part in schema["properties"].items()}
    if kind == "array":
        return [example(document, schema["items"])] * max(1, schema.get("minItems", 0))
    if kind == "integer":
        return max(1, schema.get("minimum", 1))
    assert kind == "string"
    formats = {"uuid": uuid7(), "date-time": "2026-01-01T00:00:00.000Z", "email": "x@example.com"}
    return formats.get(schema.get("format")) or ("EUR" if "[A-Z]{3}" in schema.get("pattern", "") else "x")


def spoilt(value):
    """Other values in its place."""
    yield from (None, True, -1, 2**64 - 1, -(2**63), 1.5, "", "x" * LONG, "a\r\nb: c", "\0", b"\xff\xfe", [], {}, [[]], {"x": {}})
    if isinstance(value, list):
        yield value * 1000
    if isinstance(value, str) and value[:4] == "2026":
        yield from ("9999-12-31T23:59:59.999Z", "0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z")


def bodies(good):
    """MessagePack of all that is not good."""
    packed = msgpack.packb(good)
    yield from (b"\xc1", b"\x80", b"\x90", b"\xdf\xff\xff\xff\xff", b"\x91" * 1000 + b"\xc0")
    yield from (packed[:-1], packed[: len(packed) // 2], packed + b"\x00")
    yield bytes([packed[0] + 1]) + packed[1:] + packed[1 : 1 + len(msgpack.packb(next(iter(good))))] + b"\xc0"
    for field, value in good.items():
        yield msgpack.packb({n: v for n, v in good.items() if n != field})
        for other in spoilt(value):
            yield msgpack.packb({**good, field: other})
        if isinstance(value, list) and isinstance(value[0], dict):
            for inside in value[0]:
                for other in spoilt(value[0][inside]):
                    yield msgpack.packb({**good, field: [{**value[0], inside: other}]})


def event(topic, data, key):
    """As queue_client.new_event(), but with data as it is."""
    traceparent = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
    return msgpack.packb([uuid7(), topic, key, key, "/test", int(time.time() * 1000), traceparent, data])


def publish(queue, events):
    """How many of them the queue took; it has its own rules for what is around the data."""
    taken = 0
    for at in range(0, len(events), AT_ONCE):
        batch = events[at : at + AT_ONCE]
        try:
            taken += queue.publish(batch)["stored"]
        except Refused:
            for one in batch:
                try:
                    taken += queue.publish([one])["stored"]
                except Refused:
                    pass
    return taken


def works(suite, admin):
    """What each follower is there for: gateways refuse what was revoked, search finds what is new and forgets
    who is gone, and so do the orders."""
    eve, sku = register(suite.port), add_product(admin)["sku"]
    assert eve.order({sku: 1}).status == 201
    wait_for(
        lambda: sku in [hit["id"] for hit in eve.get("/v1/search", query={"q": sku}).json()["items"]],
        10,
        "the product is found",
    )
    other = Client(suite.port, eve.token)
    assert eve.delete(f"/v1/users/{eve.id}", if_match="*").status == 204
    wait_for(lambda: other.get("/v1/orders").status == 401, 2, "the token is refused")


@pytest.mark.seconds(300)
def test_followers_go_on(suite):
    admin = admin_of(suite)
    document = admin.get("/asyncapi.json").json()
    pids = {name: entry["pid"] for name, entry in suite.instances().items()}
    with Queue(suite.queue_endpoint) as queue:
        for topic, channel in document["channels"].items():
            message = follow(document, channel["messages"][topic]["$ref"])
            good = example(document, message["payload"])
            events = [event(topic, data, f"k{n}") for n, data in enumerate(bodies(good))]
            assert len(events) > 30 and publish(queue, events) > 30, topic
    works(suite, admin)
    assert {name: entry["pid"] for name, entry in suite.instances().items()} == pids
    assert "is no session_revoked, ignoring it" in suite.log()
