# SPDX-License-Identifier: MIT
# The documents that the gateway publishes of the API (/openapi.json) and of the events
# (/asyncapi.json), judged by the tools that people use (tests/npm), by the rules here where those
# cannot be had, and by what really goes through the queue.
import json
import re

import descriptions
import pytest
from people import add_product, register
from queue_client import Queue
from suite import ROOT, run

PATHS = ["/openapi.json", "/asyncapi.json"]

# Published by a run of the archive, whose interval no test waits for: tests/unit/test_archive.c.
NOT_SEEN_HERE = {"orders.order.archived"}


@pytest.fixture(scope="module")
def modules():
    try:
        return descriptions.install()
    except descriptions.Unavailable as e:
        pytest.skip(f"{e}; the rules of this file are checked all the same")


@pytest.fixture(params=PATHS)
def document(request, api):
    return api.get(request.param).json()


@pytest.fixture
def asyncapi(api):
    return api.get("/asyncapi.json").json()


class TestTools:
    def test_redocly_finds_nothing(self, modules, document, tmp_path):
        assert descriptions.redocly(modules, document, tmp_path) == ([], 0)

    @pytest.mark.parametrize("path", PATHS)
    def test_redocly_can_find_something(self, modules, api, path, tmp_path):
        document = api.get(path).json()
        if "paths" in document:
            del document["paths"]["/livez"]["get"]["operationId"]
        else:
            del document["operations"]["users.user.created"]["action"]
        problems, status = descriptions.redocly(modules, document, tmp_path)
        assert problems and status == 1

    def test_asyncapi_is_valid(self, modules, asyncapi):
        """Against the schema that the AsyncAPI initiative publishes."""
        schema = json.loads((modules / "@asyncapi/specs/schemas/3.0.0-without-$id.json").read_text())
        judge = descriptions.validator(schema)
        assert [e.message for e in judge.iter_errors(asyncapi)] == []
        del asyncapi["operations"]["users.user.created"]["action"]
        assert not judge.is_valid(asyncapi)


class TestRules:
    """What holds wherever the tests run."""

    def test_references(self, document):
        found = set(descriptions.references(document))
        assert len(found) > 10
        for reference in found:
            assert reference.startswith("#/"), reference
            assert descriptions.follow(document, reference), reference

    def test_nothing_is_there_for_nothing(self, document):
        text = json.dumps(document)
        for name in document["components"]["schemas"]:
            assert f'"#/components/schemas/{name}"' in text, name

    def test_is_described(self, document):
        info = document["info"]
        assert info["title"] and info["version"] and info["license"]["name"] == "MIT"
        assert len(info["description"]) > 200

    def test_tags_of_operations(self, api):
        document = api.get("/openapi.json").json()
        tags = [tag["name"] for tag in document["tags"]]
        used = {
            tag
            for item in document["paths"].values()
            for operation in item.values()
            for tag in operation["tags"]
        }
        assert set(tags) == used and len(tags) == len(used)
        assert all(len(tag["description"]) > 10 for tag in document["tags"])

    def test_structure_of_asyncapi(self, asyncapi):
        assert asyncapi["asyncapi"] == "3.0.0"
        assert set(asyncapi) == {
            "asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components",
        }  # fmt: skip
        for server in asyncapi["servers"].values():
            assert server["host"] and server["protocol"]
        channels, operations = asyncapi["channels"], asyncapi["operations"]
        assert len(channels) > 10 and set(channels) == set(operations)
        for topic, channel in channels.items():
            assert channel["address"] == topic and set(channel["messages"]) == {topic}
            message = descriptions.follow(asyncapi, channel["messages"][topic]["$ref"])
            assert message["name"] == topic and message["summary"] and message["description"]
            assert message["contentType"] == "application/vnd.msgpack"
            assert descriptions.follow(asyncapi, message["payload"]["$ref"])["type"] == "object"
            assert [t["$ref"] for t in message["traits"]] == ["#/components/messageTraits/event"]
            operation = operations[topic]
            assert operation["action"] == "send"
            assert descriptions.follow(asyncapi, operation["channel"]["$ref"]) == channel
            assert [m["$ref"] for m in operation["messages"]] == [
                f"#/channels/{topic}/messages/{topic}"
            ]
            tag = descriptions.follow(asyncapi, operation["tags"][0]["$ref"])
            assert tag["name"] == topic.split(".")[0]

    def test_delivery_is_explained(self, asyncapi):
        text = asyncapi["info"]["description"]
        for word in ("at least once", "dead letter", "Order", "on disk", "CloudEvents", "MessagePack"):
            assert word in text, word

    def test_channels_are_the_tables_of_the_protocol(self, asyncapi):
        tables = "".join((ROOT / f"proto/{s}.h").read_text() for s in ("users", "orders"))
        assert set(asyncapi["channels"]) == set(re.findall(r'E\([A-Z_]+, "([a-z.]+)"', tables))

    def test_says_nothing_of_the_place(self, suite, document):
        text = json.dumps(document)
        assert str(suite.home) not in text and "ipc:" not in text and "tcp:" not in text

    def test_both_are_tagged(self, api):
        for path in PATHS:
            answer = api.get(path)
            assert answer.etag and answer.headers["Cache-Control"] == "no-cache"
            assert api.get(path, if_none_match=answer.etag).status == 304

    def test_the_index_leads_there(self, api):
        links = api.get("/").json()["links"]
        assert [links["openapi"], links["asyncapi"]] == PATHS


@pytest.fixture(scope="module")
def lived(suite, admin):
    """Everything happened once, to two people and one product; the events of it."""
    eve, sku = register(suite.port), add_product(admin)["sku"]
    path = f"/v1/products/{sku}"
    tag = admin.get(path).etag
    assert admin.patch(path, {"stock": 50}, if_match=tag).status == 200
    moves = [("pay", eve), ("ship", admin), ("deliver", admin)]
    delivered = eve.order({sku: 2}).json()["id"]
    for move, who in moves:
        assert who.post(f"/v1/orders/{delivered}/{move}").status == 200
    cancelled = eve.order({sku: 1}).json()["id"]
    assert eve.post(f"/v1/orders/{cancelled}/cancel").status == 200
    tag = eve.get("/v1/users/me").etag
    assert eve.patch(f"/v1/users/{eve.id}", {"name": "Eva"}, if_match=tag).status == 200
    other = register(suite.port)
    assert other.delete("/v1/sessions/current").status == 204
    tag = eve.get("/v1/users/me").etag
    assert eve.delete(f"/v1/users/{eve.id}", if_match=tag).status == 204
    keys = {eve.id, other.id, sku, delivered, cancelled}

    def all_there(found):
        return {(e["topic"], e["key"]) for e in found} >= {
            ("users.user.deleted", eve.id),
            ("users.session.revoked", eve.id),
            ("users.session.revoked", other.id),
            ("orders.order.cancelled", cancelled),
            ("orders.order.delivered", delivered),
            ("orders.product.updated", sku),
        }

    with Queue(suite.queue_endpoint) as events:
        found = events.wait(all_there, "users.>", "orders.>")
    return [event for event in found if event["key"] in keys]


class TestRealEvents:
    def test_every_channel_has_its_event(self, asyncapi, lived):
        assert {event["topic"] for event in lived} == set(asyncapi["channels"]) - NOT_SEEN_HERE

    def test_data_is_what_the_schema_says(self, asyncapi, lived):
        for event in lived:
            message = asyncapi["components"]["messages"][event["topic"]]
            judge = descriptions.validator(message["payload"], asyncapi)
            assert [e.message for e in judge.iter_errors(event["data"])] == [], event
            judge.validate(event["data"])
            assert judge.is_valid({**event["data"], "unheard": 1})  # as the description promises
            version = {**event["data"]}
            version.pop("version", version.pop("revoked_at", None))
            assert not judge.is_valid(version)

    def test_key_is_what_the_description_says(self, asyncapi, lived):
        for event in lived:
            said = asyncapi["components"]["messages"][event["topic"]]["description"]
            field = re.search(r"the (\w+) of the (\w+)", said)
            name = field[1] if field[1] in event["data"] else f"{field[2]}_{field[1]}"
            assert event["key"] == event["subject"] == event["data"][name]

    def test_attributes_are_what_the_trait_says(self, suite, asyncapi, lived):
        """As sluice-tap shows them, which is the form that the trait describes."""
        schema = asyncapi["components"]["messageTraits"]["event"]["headers"]
        judge = descriptions.validator(schema)
        for event in lived[:3] + lived[-3:]:
            result = run("sluice-tap", "get", event["seq"], "-o", "ndjson", env=suite.env)
            assert result.returncode == 0, result.stderr
            shown = json.loads(result.stdout)
            attributes = {n: v for n, v in shown.items() if n not in ("specversion", "data", "queue", "datacontenttype")}
            assert [e.message for e in judge.iter_errors(attributes)] == []
            assert set(attributes) == set(schema["properties"])
            service = event["topic"].split(".")[0]
            assert (shown["type"], shown["source"]) == (event["topic"], f"/sluice/{service}")
            assert shown["partitionkey"] == event["key"] and shown["id"] == event["id"]
