# SPDX-License-Identifier: MIT
# Who may do what: the rule for each route (access_rules.py), tried by nobody, a stranger, the owner
# and the admin. The routes come from /openapi.json, so a route that has no rule fails.
import re

import pytest
from access_rules import RULES, WHO, World, routes_of
from api import new_key


def test_every_route_has_a_rule(api):
    published = routes_of(api.get("/openapi.json").json())
    assert published - set(RULES) == set(), "routes without a rule: add one to access_rules.py"
    # What the gateway answers itself need not be in the document; all that services serve must be.
    assert {route for route in RULES if " /v1/" in route} <= published


def test_document_says_which_routes_need_a_token(api):
    """`security` in /openapi.json agrees with what nobody gets."""
    openapi = api.get("/openapi.json").json()
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            rule = RULES.get(f"{method.upper()} {path}")
            if not rule:
                continue
            needs = operation.get("security", openapi.get("security", []))
            required = bool(needs) and {} not in needs
            assert required == (rule[1] == 401), f"{method} {path}: {needs}"


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("route", RULES)
def test_cell(suite, admin, bob, new_person, route, who):
    request, expected = RULES[route][0], RULES[route][1 + WHO.index(who)]
    owner = new_person()
    world = World(suite.port, owner, admin)
    client = {"nobody": owner.as_user(None), "stranger": bob, "owner": owner, "admin": admin}[who]
    answer = request(client, world)
    assert answer.status == expected, answer
    if expected == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.slug == "unauthenticated"
    if expected == 403:
        assert answer.slug == "forbidden"
    if expected == 404:
        assert answer.slug == "not-found"


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def patterns(openapi):
    return {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + "$") for path in openapi["paths"]}


@pytest.mark.parametrize("who", WHO)
def test_other_verbs_are_nobodys(api, admin, bob, ada, who):
    """Whoever asks: what is not in the document is not there, with a token or without."""
    openapi = api.get("/openapi.json").json()
    client = {"nobody": api, "stranger": bob, "owner": ada, "admin": admin}[who]
    tried = 0
    for path in openapi["paths"]:
        target = re.sub(r"\{\w+\}", ada.id, path)
        served = {
            method.upper()
            for other, pattern in patterns(openapi).items()
            if pattern.match(target)
            for method in openapi["paths"][other]
        }
        for method in set(METHODS) - served:
            answer = client.request(method, target, {} if method in ("POST", "PUT", "PATCH") else None)
            assert (answer.status, answer.slug) == (405, "method-not-allowed"), (method, path, answer)
            assert method not in answer.headers["Allow"].replace(" ", "").split(",")
            tried += 1
    assert tried > 50


# Ids of other people in every place that takes one; the answer must be the one for an id that does
# not exist.
OTHERS = [
    ("GET", "/v1/users/{}", None, "user"),
    ("PATCH", "/v1/users/{}", {"name": "x"}, "user"),
    ("DELETE", "/v1/users/{}", None, "user"),
    ("GET", "/v1/orders/{}", None, "order"),
    ("GET", "/v1/orders/{}/history", None, "order"),
    ("POST", "/v1/orders/{}/pay", None, "order"),
    ("POST", "/v1/orders/{}/cancel", None, "order"),
    ("POST", "/v1/orders/{}/ship", None, "order"),
    ("POST", "/v1/orders/{}/deliver", None, "order"),
    ("DELETE", "/v1/api-keys/{}", None, "key"),
]


@pytest.mark.parametrize("method,path,body,kind", OTHERS)
def test_other_peoples_things_look_like_nothing(ada, bob, new_product, method, path, body, kind):
    theirs = {
        "user": lambda: bob.id,
        "order": lambda: bob.order({new_product()["sku"]: 1}).json()["id"],
        "key": lambda: bob.post("/v1/api-keys", {"name": "ci", "scope": "*"}).json()["id"],
    }[kind]()
    missing = "01890000-0000-7000-8000-000000000000"
    for if_match in ("*", '"1"', None):
        answers = [
            ada.request(method, path.format(i), body, if_match=if_match, idempotency_key=new_key())
            for i in (theirs, missing)
        ]
        assert [answer.status for answer in answers] == [404, 404]
        assert {**answers[0].json(), "instance": 0} == {**answers[1].json(), "instance": 0}
        assert sorted(answers[0].headers.keys()) == sorted(answers[1].headers.keys())


@pytest.mark.parametrize(
    "field",
    [
        "X-User-Id",
        "X-Forwarded-User",
        "X-Role",
        "X-Http-Method-Override",
        "X-Original-Url",
        "X-Forwarded-For",
        "X-Sluice-Principal",
    ],
)
def test_headers_do_not_make_anybody_somebody(api, bob, field):
    value = {"X-Http-Method-Override": "DELETE", "X-Original-Url": "/v1/users"}.get(field, bob.id)
    assert api.get("/v1/users/me", headers={field: value}).status == 401
    assert bob.get("/v1/users", headers={field: "admin"}).status == 403
