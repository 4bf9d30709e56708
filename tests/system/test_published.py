# SPDX-License-Identifier: MIT
# What the gateway publishes of itself: health, keys, problem types, the OpenAPI document; and what
# the operator sees: metrics and topology.
import re
import shutil
import subprocess

import pytest
from api import Client
from descriptions import follow, references
from suite import ROOT, SERVICES, Suite

SLUGS = re.findall(
    r'X\([A-Z_]+, "([a-z-]+)", (\d+), "([^"]+)"', (ROOT / "proto/problems.h").read_text()
)


def is_listed(status, responses):
    """Whether an operation has this answer, as such or in a range."""
    return bool({str(status), f"{str(status)[0]}XX"} & set(responses))


class TestHealth:
    def test_live_and_ready(self, api):
        for path in ("/livez", "/readyz"):
            answer = api.get(path)
            assert answer.status == 200 and "no-store" in answer.headers["Cache-Control"]

    @pytest.mark.parametrize("service", SERVICES)
    def test_each_process_says_so(self, suite, service):
        for instance in suite.instances(service):
            assert suite.admin_page(instance, "/livez")[0] == 200
            assert suite.admin_page(instance, "/readyz")[0] == 200
            assert suite.admin_page(instance, "/nothing")[0] == 404

    def test_public_port_has_no_operators_pages(self, api):
        for path in ("/metrics", "/topology"):
            assert api.get(path).status == 404


class TestProblems:
    def test_there_are_some(self):
        assert len(SLUGS) > 20

    @pytest.mark.parametrize("slug,status,title", SLUGS)
    def test_each_type_has_its_page(self, api, slug, status, title):
        answer = api.get(f"/problems/{slug}")
        page = answer.json()
        assert answer.status == 200
        assert (page["type"], page["title"], page["status"]) == (
            f"/problems/{slug}",
            title,
            int(status),
        )
        assert len(page["meaning"]) > 20

    def test_unknown_type(self, api):
        assert api.get("/problems/none").slug == "not-found"

    def test_members_of_a_problem(self, api):
        answer = api.get("/v1/none")
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert set(problem) == {"type", "title", "status", "detail", "instance"}
        assert api.get(problem["type"]).json()["title"] == problem["title"]


class TestOpenApi:
    @pytest.fixture(scope="class")
    def document(self, suite):
        answer = Client(suite.port).get("/openapi.json")
        assert answer.status == 200
        return answer.json()

    def operations(self, document):
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if method in ("get", "post", "put", "patch", "delete"):
                    yield path, method, operation

    def test_frame(self, document):
        assert document["openapi"].startswith("3.1.")
        assert document["info"]["title"] and document["info"]["version"]
        schemes = document["components"]["securitySchemes"]
        assert [(s["type"], s["scheme"]) for s in schemes.values()] == [("http", "bearer")]

    def test_every_operation_is_complete(self, document):
        ids = []
        for path, method, operation in self.operations(document):
            where = f"{method} {path}"
            ids.append(operation["operationId"])
            assert operation["summary"] and operation["tags"], where
            responses = operation["responses"]
            assert any(code.startswith("2") for code in responses), where
            assert any(code[0] in "45d" for code in responses), where
            parameters = [
                p["name"] for p in operation.get("parameters", []) if p.get("in") == "path"
            ]
            assert sorted(parameters) == sorted(re.findall(r"\{(\w+)\}", path)), where
            for response in responses.values():
                assert "description" in response or "$ref" in response, where
            if method in ("post", "patch") and "requestBody" in operation:
                assert operation["requestBody"]["content"], where
        assert len(ids) == len(set(ids)) > 20

    def test_every_reference_leads_somewhere(self, document):
        found = set(references(document))
        assert found
        for reference in found:
            assert reference.startswith("#/"), reference
            follow(document, reference)

    def test_schemas_say_what_the_answers_have(self, document, ada, new_product):
        schemas = document["components"]["schemas"]
        order = ada.order({new_product()["sku"]: 1}).json()
        for name, value in (
            ("order", order),
            ("user", ada.get("/v1/users/me").json()),
            ("product", new_product()),
        ):
            schema = schemas[name]
            assert set(value) <= set(schema["properties"]) and set(schema["required"]) <= set(value)
        assert schemas["user_create"]["properties"]["password"]["minLength"] == 8

    def test_requests_are_closed_and_answers_are_open(self, document):
        """Unknown members of a request are refused; answers may get more members some day."""

        def reachable(value, found):
            for reference in set(references(value)) - found:
                found.add(reference)
                reachable(follow(document, reference), found)
            return found

        answers, requests = set(), set()
        for _, _, operation in self.operations(document):
            reachable(operation["responses"], answers)
            reachable(operation.get("requestBody", {}), requests)
        prefix = "#/components/schemas/"
        answers, requests = ({r for r in of if r.startswith(prefix)} for of in (answers, requests))
        assert len(answers) > 10 and len(requests - answers) > 5
        for reference in answers:
            assert "additionalProperties" not in follow(document, reference), reference
        for reference in requests - answers:
            schema = follow(document, reference)
            assert schema["additionalProperties"] is False, reference
            for name, member in schema["properties"].items():  # what answers have, too
                embedded = member if "allOf" in member else member.get("items", {})
                assert not set(references(embedded)) or embedded["unevaluatedProperties"] is False, name

    def test_a_request_with_more_members_is_refused(self, api, admin):
        """As its schema says, within what it embeds, too."""
        price = {"amount": 1, "currency": "EUR", "unheard": 1}
        product = {"sku": "closed-1", "name": "x", "description": "", "price": price, "stock": 1}
        assert admin.post("/v1/products", product).slug == "invalid-fields"
        del price["unheard"]
        assert admin.post("/v1/products", {**product, "unheard": 1}).slug == "invalid-fields"

    def test_statuses_that_occur_are_listed(self, document):
        """Each status of the design's table stands in the document."""
        expected = {
            ("post", "/v1/users"): {"201", "409", "422"},
            ("post", "/v1/sessions"): {"201", "401", "422"},
            ("post", "/v1/sessions/refresh"): {"201", "401"},
            ("delete", "/v1/sessions/current"): {"204", "401"},
            ("patch", "/v1/users/{id}"): {"200", "404", "412", "428"},
            ("post", "/v1/products"): {"201", "403", "409"},
            ("post", "/v1/orders"): {"201", "400", "409", "422"},
            ("post", "/v1/orders/{id}/pay"): {"200", "404", "409"},
            ("get", "/v1/search"): {"200", "400"},
        }
        for (method, path), statuses in expected.items():
            listed = set(document["paths"][path][method]["responses"])
            assert statuses <= listed, f"{method} {path}: {statuses - listed}"

    def test_what_the_gateway_answers_by_itself_is_listed(self, document):
        """Every status that its sources name, as such or in a range."""
        table = dict(re.findall(r"X\(([A-Z_]+), \"[a-z-]+\", (\d+)", (ROOT / "proto/problems.h").read_text()))
        named = {
            table[symbol]
            for path in (ROOT / "gateway").glob("*.c")
            if path.name != "openapi.c"
            for symbol in re.findall(r"\bPROBLEM_([A-Z_]+)\b", path.read_text())
            if symbol in table
        }
        assert len(named) > 12
        named -= {"404", "405"}  # of what is not in the document
        for path, method, operation in self.operations(document):
            expected = set(named)
            served = "gateway" not in operation["tags"]
            expected -= set() if operation["security"] else {"401", "403"}
            expected -= set() if served else {"502", "503", "504"}
            expected -= set() if method != "get" else {"502"}
            missing = {s for s in expected if not is_listed(s, operation["responses"])}
            assert not missing, f"{method} {path}"
            exactly = {"429", "500", "503", "504"} if served else {"500"}
            assert exactly <= set(operation["responses"]), f"{method} {path}"

    @pytest.mark.seconds(60)
    def test_what_is_answered_is_listed(self, document):
        """Every operation, asked in all the ways that the gateway itself refuses."""
        ways = [
            {"query": "&".join(f"q{i}=1" for i in range(33))},
            {"query": "x" * 9000},
            {"headers": {"Authorization": "Bearer rubbish"}},
            {"headers": {"Accept": "image/png"}},
            {"headers": {"Content-Length": "99999999"}},
            {"headers": {"X-Large": "x" * 20000}},
            {"headers": {"Transfer-Encoding": "gzip, chunked"}},
            {"headers": {"Content-Type": "text/plain"}, "body": b"x"},
            {"body": b"{"},
        ]
        seen = set()
        with Suite(SLUICE_TRUSTED_PROXIES="127.0.0.1", SLUICE_RATE_LIMIT_ADDRESS=f"{len(ways)}/h") as suite:
            suite.up()
            client = Client(suite.port)
            for number, (path, method, operation) in enumerate(self.operations(document)):
                where = re.sub(r"\{\w+\}", "x", path)
                address = {"X-Forwarded-For": f"10.9.{number // 250}.{number % 250 + 1}"}
                for way in [*ways, {}]:  # the last one is too much
                    target = f"{where}?{way['query']}" if "query" in way else where
                    headers = {**way.get("headers", {}), **address}
                    answer = client.request(method.upper(), target, way.get("body"), headers=headers)
                    seen.add(answer.status)
                    assert is_listed(answer.status, operation["responses"]), f"{method} {path} {way}: {answer}"
                for _ in ways:  # those that are no HTTP were not counted
                    answer = client.request(method.upper(), where, headers=address)
                    seen.add(answer.status)
                    assert is_listed(answer.status, operation["responses"]), f"{method} {path}: {answer}"
                assert answer.status == 429 or path in ("/livez", "/readyz"), f"{method} {path}"
                assert ("429" in operation["responses"]) == (answer.status == 429), f"{method} {path}"
        assert not {400, 401, 406, 413, 414, 415, 429, 431, 501} - seen

    def test_is_tagged_and_stable(self, api):
        first = api.get("/openapi.json")
        assert first.etag and api.get("/openapi.json").body == first.body
        assert api.get("/openapi.json", if_none_match=first.etag).status == 304


class TestKeys:
    def test_jwks(self, api):
        answer = api.get("/.well-known/jwks.json")
        assert answer.status == 200 and "public" in answer.headers["Cache-Control"]
        keys = answer.json()["keys"]
        assert keys and all(
            set(key) >= {"kty", "crv", "x", "kid"} and "d" not in key for key in keys
        )


class TestMetrics:
    NAME = re.compile(r"^[a-z_:][a-z0-9_:]*$")

    @pytest.mark.parametrize("service", SERVICES)
    def test_exposition_is_well_formed(self, suite, service):
        for instance in suite.instances(service):
            status, text = suite.admin_page(instance, "/metrics")
            assert status == 200 and text.endswith("\n")
            types, family, seen = {}, None, set()
            for line in text.splitlines():
                if line.startswith("# TYPE "):
                    family, kind = line.split()[2:]
                    assert family not in types and self.NAME.match(family), line
                    types[family] = kind
                elif line and not line.startswith("#"):
                    name = re.match(r"[a-z0-9_:]+", line)[0]
                    sample, value = line.rsplit(" ", 1)
                    float(value)
                    assert sample not in seen, f"{sample} twice"
                    seen.add(sample)
                    base = (
                        re.sub(r"_(bucket|sum|count)$", "", name)
                        if types.get(family) == "histogram"
                        else name
                    )
                    assert base == family, f"{line} stands under {family}"
                    assert types[family] != "counter" or name.endswith("_total"), line
            assert {
                "process_cpu_seconds_total",
                "process_resident_memory_bytes",
                "process_start_time_seconds",
                "process_open_fds",
            } <= set(types)
            self.check_histograms(text)

    def check_histograms(self, text):
        buckets = {}
        for name, labels, le, value in re.findall(
            r'^(\w+)_bucket\{(.*?),?le="([^"]+)"\} (\S+)$', text, re.MULTILINE
        ):
            buckets.setdefault((name, labels), []).append((float(le), float(value)))
        for (name, labels), values in buckets.items():
            bounds, counts = zip(*values)
            assert list(bounds) == sorted(bounds) and bounds[-1] == float("inf"), name
            assert list(counts) == sorted(counts), name
            shown = f"{name}_count{{{labels}}}" if labels else f"{name}_count"
            count = re.search(rf"^{re.escape(shown)} (\S+)$", text, re.MULTILINE)
            assert count and float(count[1]) == counts[-1], shown

    @pytest.mark.skipif(
        not shutil.which("promtool"), reason="promtool (package prometheus) is not installed"
    )
    @pytest.mark.parametrize("service", SERVICES)
    def test_promtool_agrees(self, suite, service):
        text = suite.admin_page(f"{service}-1", "/metrics")[1]
        result = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def test_requests_are_counted_by_route(self, suite, api):
        def count():
            return sum(
                value
                for name, value in suite.metrics("gateway-1").items()
                if name.startswith("http_server_request_duration_seconds_count")
                and '"/v1/products/{sku}"' in name
                and '"404"' in name
            )

        before = count()
        for number in range(5):
            api.get(f"/v1/products/counted-{number}")
        assert count() == before + 5

    def test_paths_do_not_become_labels(self, suite, api):
        for number in range(20):
            api.get(f"/v1/{number}/unheard-of-{number}")
        assert "unheard-of" not in suite.admin_page("gateway-1", "/metrics")[1]


class TestTopology:
    def test_names_every_worker(self, suite):
        text = suite.admin_page("gateway-1", "/topology")[1]
        for service in ("users", "orders", "search"):
            for instance in suite.instances(service):
                assert f'"{instance}"' in text

    def test_one_writer_for_each_store(self, suite):
        roles = {}
        for worker in workers_of(suite.topology()):
            roles.setdefault(worker["service"], []).append(worker["role"])
        assert {service: sorted(r) for service, r in roles.items()} == {
            service: ["reader", "writer"] for service in ("users", "orders", "search")
        }


def workers_of(topology):
    """All objects of /topology that describe a worker."""
    found = []

    def walk(value, service):
        if isinstance(value, dict):
            service = value.get("service", value.get("name", service))
            if "role" in value and "instance" in value:
                found.append({**value, "service": value.get("service", service)})
            for member in value.values():
                walk(member, service)
        elif isinstance(value, list):
            for member in value:
                walk(member, service)

    walk(topology, None)
    return found


class TestTrace:
    PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def test_events_carry_the_callers_trace(self, ada, new_product, events):
        order = ada.order({new_product()["sku"]: 1}, headers={"traceparent": self.PARENT}).json()
        found = events.wait(
            lambda f: order["id"] in [e["subject"] for e in f], "orders.order.placed"
        )
        trace = next(e for e in found if e["subject"] == order["id"])["traceparent"]
        assert trace.split("-")[1] == self.PARENT.split("-")[1] and trace != self.PARENT

    def test_bad_ones_are_ignored(self, api):
        for parent in (
            "garbage",
            "00-" + "0" * 32 + "-b7ad6b7169203331-01",
            "ff" + self.PARENT[2:],
            self.PARENT.upper(),
        ):
            assert api.get("/v1/products", headers={"traceparent": parent}).status == 200
