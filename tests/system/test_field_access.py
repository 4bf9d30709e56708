# SPDX-License-Identifier: MIT
# Who may see which field of an answer, and set which field of a body: a rule for each field of each
# schema that /openapi.json names, so a field without a rule fails. The requests are those of
# access_rules.py; what is tried in them beyond their schemas is every name that any schema has.
import collections
import copy

import pytest
from access_rules import RULES, WHO, World
from api import Client
from descriptions import follow
from people import PASSWORD, fresh, register

# Who may see a field, where the route lets them see the object at all.
EVERYBODY = "everybody"
OWN = "its owner and admins"
MINE = "its owner, and no admin"
MADE = "who made it, in the answer that says so and never again"
# Who may set a field, where the route lets them change the object at all.
ADMIN = "admins"

SEEN = {
    "product": {EVERYBODY: "sku name description price stock version created_at updated_at"},
    "product_list": {EVERYBODY: "items next_cursor"},
    "money": {EVERYBODY: "amount currency"},
    "user": {OWN: "id email name role version created_at updated_at"},
    "user_list": {EVERYBODY: "items next_cursor"},
    "session": {MADE: "access_token token_type expires_in refresh_token"},
    "api_key": {MINE: "id name scope hint created_at expires_at", MADE: "key"},
    "api_key_list": {EVERYBODY: "items"},
    "order": {OWN: "id user_id status items total note version created_at updated_at"},
    "order_line": {OWN: "sku name quantity unit_price line_total"},
    "order_list": {EVERYBODY: "items next_cursor"},
    "order_step": {OWN: "status at by"},
    "order_history": {OWN: "items"},
    "search_hit": {EVERYBODY: "type id title snippet score"},  # which hits: test_search.py
    "search_result": {EVERYBODY: "items next_cursor"},
    "suggestion": {EVERYBODY: "text"},
    "suggestions": {EVERYBODY: "items"},
}
SET = {
    "user_create": {EVERYBODY: "email password name"},
    "user_patch": {OWN: "email name password current_password", ADMIN: "role"},
    "session_create": {EVERYBODY: "email password"},
    "session_refresh": {EVERYBODY: "refresh_token"},
    "api_key_create": {EVERYBODY: "name scope expires_at"},
    "product_create": {ADMIN: "sku name description price stock"},
    "product_patch": {ADMIN: "name description price stock"},
    "money": {ADMIN: "amount currency"},
    "money_patch": {ADMIN: "amount currency"},
    "order_create": {EVERYBODY: "items note"},
    "order_line_create": {EVERYBODY: "sku quantity"},
}
# Names that are no schema's, and that others have been caught by.
NOTORIOUS = ["is_admin", "admin", "password_hash", "owner_id", "permissions", "__proto__", "constructor"]

REFUSED_AT_ONCE = 8  # names in one body: an answer names at most 16 mistakes


def rule_of(table, schema, field):
    return next(who for who, fields in table[schema].items() if field in fields.split())


def as_fields(table):
    return {s: {f for fields in rules.values() for f in fields.split()} for s, rules in table.items()}


class Api:
    """/openapi.json, by route and by schema."""

    def __init__(self, document):
        self.document = document
        self.routes = {
            f"{method.upper()} {path}": operation
            for path, item in document["paths"].items()
            for method, operation in item.items()
        }

    def schema(self, name):
        return self.document["components"]["schemas"][name]

    def name_of(self, schema):
        """Of what a schema refers to, as a whole, inside allOf or as items; None: of nothing."""
        wrapped = [schema, *schema.get("allOf", []), schema.get("items", {})]
        references = [s["$ref"] for s in wrapped if "$ref" in s]
        for reference in references:
            assert follow(self.document, reference)
        return references[0].rsplit("/", 1)[-1] if references else None

    def content(self, part):
        """The schema of a body in JSON; None: it has none, or is a document of the gateway."""
        kinds = [k for k in part.get("content", {}) if k != "application/vnd.msgpack"]
        return self.name_of(part["content"][kinds[0]].get("schema", {})) if kinds else None

    def request(self, route):
        return self.content(self.routes[route].get("requestBody", {}))

    def answer(self, route):
        (success,) = [s for s in self.routes[route]["responses"] if s.startswith("2")]
        return self.content(self.routes[route]["responses"][success])

    def reached(self, names):
        """These schemas, and all inside them."""
        found, todo = set(), [n for n in names if n]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                inside = self.schema(name)["properties"].values()
                todo += [n for n in map(self.name_of, inside) if n]
        return found


@pytest.fixture(scope="module")
def openapi(suite):
    return Api(Client(suite.port).get("/openapi.json").json())


class TestRules:
    @pytest.mark.parametrize("table,side", [(SEEN, Api.answer), (SET, Api.request)], ids=["seen", "set"])
    def test_every_field_has_one(self, openapi, table, side):
        schemas = openapi.reached(side(openapi, route) for route in openapi.routes)
        published = {name: set(openapi.schema(name)["properties"]) for name in schemas}
        assert published == as_fields(table), "fields without a rule, or rules without a field"

    def test_bodies_have_no_other_fields(self, openapi):
        """As schemas of their own; what answers have, too, is closed where a request has it (test_published.py)."""
        schemas = openapi.reached(openapi.request(route) for route in openapi.routes)
        schemas -= openapi.reached(openapi.answer(route) for route in openapi.routes)
        assert len(schemas) > 5
        assert [n for n in schemas if openapi.schema(n).get("additionalProperties") is not False] == []

    def test_what_is_made_once_is_in_answers_that_make_it(self, openapi):
        """Credentials: no route that reads or changes something else may name them as its answer."""
        makers = {r for r in openapi.routes if openapi.answer(r) == "session"}
        assert makers == {"POST /v1/sessions", "POST /v1/sessions/refresh"}


# --- Seeing

Shown = collections.namedtuple("Shown", "schema field owner")


class Asked:
    """One request, and what its answer shows of whom."""

    def __init__(self, openapi, suite, route, who, people):
        owner, bob, admin = people
        self.route, self.who = route, who
        self.world = World(suite.port, owner, admin)
        self.key = owner.post("/v1/api-keys", {"name": "ci", "scope": "*", "expires_at": "2040-01-01T00:00:00Z"})
        assert self.key.status == 201
        self.client = {"nobody": owner.as_user(None), "stranger": bob, "owner": owner, "admin": admin}[who]
        self.id = None if who == "nobody" else self.client.id
        self.answer = RULES[route][0](self.client, self.world)
        schema = openapi.answer(route)
        body = self.answer.json() if schema and self.answer.body else None
        self.shown = list(self.walk(openapi, schema, body, self.id)) if body else []

    def owner_of(self, schema, value, around):
        """Whose an object is: as it says, or that in which it is."""
        if schema == "user":
            return value["id"]
        if schema == "order":
            return value["user_id"]
        if schema == "api_key" and value["id"] == self.key.json()["id"]:
            return self.world.owner.id
        if schema == "order_history":
            return self.world.owner.id
        return around

    def walk(self, openapi, schema, value, around):
        owner = self.owner_of(schema, value, around)
        properties = openapi.schema(schema)["properties"]
        assert set(value) <= set(properties), (self.route, schema)
        for field, member in value.items():
            yield Shown(schema, field, owner)
            inside = openapi.name_of(properties[field])
            if inside:
                for one in member if isinstance(member, list) else [member]:
                    yield from self.walk(openapi, inside, one, owner)

    def may_see(self, shown):
        rule = rule_of(SEEN, shown.schema, shown.field)
        mine = shown.owner == self.id
        if rule == MADE:
            return mine and self.route.startswith("POST ") and self.answer.status == 201
        return rule == EVERYBODY or mine or (rule == OWN and self.who == "admin")


@pytest.fixture(scope="module")
def asked(openapi, suite, bob, admin):
    """Every route that shows something to somebody, asked by each of them."""
    made = []
    for route, (_, *statuses) in RULES.items():
        if " /v1/" not in route:
            continue
        for who, status in zip(WHO, statuses):
            if status in (200, 201):
                made.append(Asked(openapi, suite, route, who, (register(suite.port), bob, admin)))
                assert made[-1].answer.status == status, (route, who, made[-1].answer)
    return made


def test_nobody_sees_what_is_not_for_them(asked):
    wrong = {
        (one.route, one.who, shown.schema, shown.field)
        for one in asked
        for shown in one.shown
        # Who makes an account is nobody yet, and is shown the account.
        if not one.may_see(shown) and (one.route, shown.schema) != ("POST /v1/users", "user")
    }
    assert wrong == set()


def test_every_rule_was_looked_at(asked):
    """Else a field could be shown to anybody while the tests never see it shown to somebody."""
    seen = {(shown.schema, shown.field) for one in asked for shown in one.shown}
    rules = {(schema, field) for schema, fields in as_fields(SEEN).items() for field in fields}
    never = {("search_result", "next_cursor"), ("order_list", "next_cursor")}  # need more than a page
    optional = {("search_hit", f) for f in as_fields(SEEN)["search_hit"]} | {
        ("suggestion", "text"), ("order", "note"), ("user_list", "next_cursor"), ("product_list", "next_cursor"),
    }  # fmt: skip
    assert rules - seen <= never | optional


# --- Setting


def changed(client, change):
    """The same client, whose bodies go through change() before they are sent."""
    other = client.as_user(client.token)
    plain = other.request

    def request(method, path, body=None, *rest, **named):
        return plain(method, path, change(body) if body is not None else None, *rest, **named)

    other.request = request
    return other


def objects(openapi, schema, body, pointer="#"):
    """(pointer, schema) of the body and of each object inside it."""
    yield pointer, schema
    for field, part in openapi.schema(schema)["properties"].items():
        inside = openapi.name_of(part)
        if inside and field in body:
            members = enumerate(body[field]) if isinstance(body[field], list) else [(None, body[field])]
            for n, member in members:
                at = f"{pointer}/{field}" + ("" if n is None else f"/{n}")
                yield from objects(openapi, inside, member, at)


def with_fields(body, pointer, names):
    body = copy.deepcopy(body)
    place = body
    for part in pointer.split("/")[1:]:
        place = place[int(part) if isinstance(place, list) else part]
    place.update({name: 1 for name in names})
    return body


def all_names(openapi):
    schemas = openapi.document["components"]["schemas"].values()
    names = {name for schema in schemas for name in schema.get("properties", {})}
    assert names > {"id", "user_id", "role", "version", "status", "total", "unit_price", "created_at"}
    return names | set(NOTORIOUS)


WITH_BODY = [r for r in RULES if r.split()[0] in ("POST", "PATCH") and not r.endswith(("/pay", "/ship", "/deliver", "/cancel"))]


def test_all_bodies_are_tried(openapi):
    assert {route for route in openapi.routes if openapi.request(route)} == set(WITH_BODY)


class Attempt:
    """A request of a rule, sent again and again with fields that its body may not have."""

    def __init__(self, openapi, suite, route, client, world):
        self.openapi, self.route, self.client, self.world = openapi, route, client, world
        self.schema = openapi.request(route)
        self.body = None

    def send(self, change):
        def note(body):
            self.body = body
            return change(body)

        return RULES[self.route][0](changed(self.client, note), self.world)

    def places(self):
        """(pointer, schema) of all that the body has; a name too much keeps it from doing anything."""
        answer = self.send(lambda body: {**body, NOTORIOUS[0]: True})
        assert answer.status == 422
        return list(objects(self.openapi, self.schema, self.body))


@pytest.mark.parametrize("route", WITH_BODY)
def test_no_field_of_another_schema_is_taken(openapi, suite, bob, admin, new_person, route):
    """Mass assignment: id, role, owner, price, status and all others, at every place of the body."""
    _, *statuses = RULES[route]
    tried = 0
    for who, status in zip(WHO, statuses):
        if status not in (200, 201):
            continue
        owner = new_person()
        client = {"nobody": owner.as_user(None), "stranger": bob, "owner": owner, "admin": admin}[who]
        attempt = Attempt(openapi, suite, route, client, World(suite.port, owner, admin))
        path = f"/v1/users/{owner.id}" if "/users" in route else f"/v1/products/{attempt.world.sku}"
        before = admin.get(path).json()
        for pointer, schema in attempt.places():
            others = sorted(all_names(openapi) - set(openapi.schema(schema)["properties"]))
            for at in range(0, len(others), REFUSED_AT_ONCE):
                names = others[at : at + REFUSED_AT_ONCE]
                answer = attempt.send(lambda body: with_fields(body, pointer, names))
                assert (answer.status, answer.slug) == (422, "invalid-fields"), (who, names, answer)
                refused = {error["pointer"] for error in answer.json()["errors"]}
                assert refused == {f"{pointer}/{name}" for name in names}, who
                tried += len(names)
        assert admin.get(path).json() == before, who
    assert tried > 20


# Of each field that can be changed: a value, and what else the body of its owner needs.
PROOF = {"current_password": PASSWORD}
VALUES = {
    "PATCH /v1/users/{id}": {
        "email": lambda: ({"email": f"{fresh('e')}@example.com"}, PROOF),
        "name": lambda: ({"name": fresh("Eve")}, {}),
        "password": lambda: ({"password": "another good passphrase"}, PROOF),
        "current_password": lambda: (PROOF, {}),
        "role": lambda: ({"role": "admin"}, {}),
    },
    "PATCH /v1/products/{sku}": {
        "name": lambda: ({"name": fresh("p")}, {}),
        "description": lambda: ({"description": fresh("d")}, {}),
        "price": lambda: ({"price": {"amount": 3, "currency": "EUR"}}, {}),
        "stock": lambda: ({"stock": 3}, {}),
    },
}


def test_every_field_that_can_be_changed_is_tried(openapi):
    patches = {route: openapi.request(route) for route in openapi.routes if route.startswith("PATCH ")}
    assert {r: set(fields) for r, fields in VALUES.items()} == {r: as_fields(SET)[s] for r, s in patches.items()}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("route,field", [(route, field) for route, fields in VALUES.items() for field in fields])
def test_a_field_is_set_by_whom_it_is_for(openapi, suite, bob, admin, new_person, route, field, who):
    owner = new_person()
    world = World(suite.port, owner, admin)
    path = f"/v1/users/{owner.id}" if "/users/" in route else f"/v1/products/{world.sku}"
    client = {"nobody": owner.as_user(None), "stranger": bob, "owner": owner, "admin": admin}[who]
    before = admin.get(path).json()
    value, besides = VALUES[route][field]()
    answer = client.patch(path, {**value, **besides}, if_match="*")
    status = RULES[route][1 + WHO.index(who)]
    if status == 200 and who != "admin" and rule_of(SET, openapi.request(route), field) == ADMIN:
        status = 403
    assert answer.status == status, answer
    after = admin.get(path).json()
    if value.get("role") == "admin" and status == 200:
        assert admin.patch(path, {"role": "user"}, if_match="*").status == 200  # one admin is enough here
    if status == 200:
        shown = {name: v for name, v in value.items() if "password" not in name}
        assert {name: after[name] for name in shown} == shown
        assert {n: v for n, v in after.items() if n not in (*shown, "version", "updated_at")} == {
            n: v for n, v in before.items() if n not in (*shown, "version", "updated_at")
        }
    else:
        assert after == before
