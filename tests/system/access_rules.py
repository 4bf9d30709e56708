# SPDX-License-Identifier: MIT
# Who may do what: a rule for each route, with the request that tries it, for nobody, a stranger, the
# owner and the admin. test_access.py tries each, test_field_access.py each field of what goes in and
# comes out.
from people import PASSWORD, Person, add_product, fresh


class World:
    """What one request is about: its owner, an order of theirs, and a product."""

    def __init__(self, port, owner, admin):
        self.owner = owner
        self.port = port
        self.admin = admin
        self.sku = add_product(admin, stock=50)["sku"]
        self.order = owner.order({self.sku: 1}).json()["id"]

    def step(self, *verbs):
        """Moves the order on, as far as the request under test needs it."""
        for verb in verbs:
            who = self.owner if verb == "pay" else self.admin
            assert who.post(f"/v1/orders/{self.order}/{verb}").status == 200
        return f"/v1/orders/{self.order}"


def new_user(client, w):
    return client.post(
        "/v1/users", {"email": f"{fresh('n')}@example.com", "password": PASSWORD, "name": "New"}
    )


def new_product(client, w):
    return client.post(
        "/v1/products",
        {
            "sku": fresh("sku"),
            "name": "x",
            "description": "",
            "price": {"amount": 1, "currency": "EUR"},
            "stock": 0,
        },
    )


def new_session(client, w):
    return client.post("/v1/sessions", {"email": w.owner.email, "password": PASSWORD})


def refresh(client, w):
    w.owner.log_in()
    return client.post("/v1/sessions/refresh", {"refresh_token": w.owner.session["refresh_token"]})


def log_out(client, w):
    # The sessions of the tests go on: it is another one of the same account that ends.
    other = Person(w.port, client.email, client.password) if client.token else client
    return other.delete("/v1/sessions/current")


def new_api_key(client, w):
    return client.post("/v1/api-keys", {"name": fresh("ci"), "scope": "orders:read"})


def revoke_api_key(client, w):
    key = new_api_key(w.owner, w).json()["id"]
    return client.delete(f"/v1/api-keys/{key}")


# route: (request, statuses for nobody, a stranger, the owner, the admin)
RULES = {
    "POST /v1/users": (new_user, 201, 201, 201, 201),
    "GET /v1/users": (lambda c, w: c.get("/v1/users"), 401, 403, 403, 200),
    "GET /v1/users/me": (lambda c, w: c.get("/v1/users/me"), 401, 200, 200, 200),
    "GET /v1/users/{id}": (lambda c, w: c.get(f"/v1/users/{w.owner.id}"), 401, 404, 200, 200),
    "PATCH /v1/users/{id}": (
        lambda c, w: c.patch(f"/v1/users/{w.owner.id}", {"name": fresh("N")}, if_match="*"),
        401,
        404,
        200,
        200,
    ),
    "DELETE /v1/users/{id}": (
        lambda c, w: c.delete(f"/v1/users/{w.owner.id}", if_match="*"),
        401,
        404,
        204,
        204,
    ),
    "POST /v1/sessions": (new_session, 201, 201, 201, 201),
    "POST /v1/sessions/refresh": (refresh, 201, 201, 201, 201),
    "DELETE /v1/sessions/current": (log_out, 401, 204, 204, 204),
    "POST /v1/api-keys": (new_api_key, 401, 201, 201, 201),
    "GET /v1/api-keys": (lambda c, w: c.get("/v1/api-keys"), 401, 200, 200, 200),
    "DELETE /v1/api-keys/{id}": (revoke_api_key, 401, 404, 204, 404),
    "POST /v1/products": (new_product, 401, 403, 403, 201),
    "GET /v1/products": (lambda c, w: c.get("/v1/products"), 200, 200, 200, 200),
    "GET /v1/products/{sku}": (lambda c, w: c.get(f"/v1/products/{w.sku}"), 200, 200, 200, 200),
    "PATCH /v1/products/{sku}": (
        lambda c, w: c.patch(f"/v1/products/{w.sku}", {"stock": 40}, if_match="*"),
        401,
        403,
        403,
        200,
    ),
    "POST /v1/orders": (lambda c, w: c.order({w.sku: 1}), 401, 201, 201, 201),
    "GET /v1/orders": (lambda c, w: c.get("/v1/orders"), 401, 200, 200, 200),
    "GET /v1/orders/{id}": (lambda c, w: c.get(w.step()), 401, 404, 200, 200),
    "GET /v1/orders/{id}/history": (lambda c, w: c.get(w.step() + "/history"), 401, 404, 200, 200),
    "POST /v1/orders/{id}/pay": (lambda c, w: c.post(w.step() + "/pay"), 401, 404, 200, 403),
    "POST /v1/orders/{id}/ship": (lambda c, w: c.post(w.step("pay") + "/ship"), 401, 404, 403, 200),
    "POST /v1/orders/{id}/deliver": (
        lambda c, w: c.post(w.step("pay", "ship") + "/deliver"),
        401,
        404,
        403,
        200,
    ),
    "POST /v1/orders/{id}/cancel": (lambda c, w: c.post(w.step() + "/cancel"), 401, 404, 200, 200),
    "GET /v1/search": (lambda c, w: c.get("/v1/search?q=x"), 200, 200, 200, 200),
    "GET /v1/search/suggest": (lambda c, w: c.get("/v1/search/suggest?q=x"), 200, 200, 200, 200),
    "GET /livez": (lambda c, w: c.get("/livez"), 200, 200, 200, 200),
    "GET /readyz": (lambda c, w: c.get("/readyz"), 200, 200, 200, 200),
    "GET /openapi.json": (lambda c, w: c.get("/openapi.json"), 200, 200, 200, 200),
    "GET /docs": (lambda c, w: c.get("/docs"), 200, 200, 200, 200),
    "GET /asyncapi.json": (lambda c, w: c.get("/asyncapi.json"), 200, 200, 200, 200),
    "GET /.well-known/jwks.json": (
        lambda c, w: c.get("/.well-known/jwks.json"),
        200,
        200,
        200,
        200,
    ),
    "GET /": (lambda c, w: c.get("/"), 200, 200, 200, 200),
    "GET /problems": (lambda c, w: c.get("/problems"), 200, 200, 200, 200),
    "GET /problems/{slug}": (lambda c, w: c.get("/problems/not-found"), 200, 200, 200, 200),
}
WHO = ["nobody", "stranger", "owner", "admin"]


def routes_of(openapi):
    return {
        f"{method.upper()} {path}"
        for path, item in openapi["paths"].items()
        for method in item
        if method in ("get", "post", "put", "patch", "delete")
    }
