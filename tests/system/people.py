# SPDX-License-Identifier: MIT
# The people of the tests, and what they sell: accounts with fresh addresses and products with fresh
# names, so that tests can share one suite without meeting each other.
import itertools
import secrets

from api import Client

PASSWORD = "correct horse battery staple"
ADMIN_EMAIL = "admin@sluice.local"
_numbers = itertools.count(1)


def fresh(word):
    """A name that nothing else in this suite has."""
    return f"{word}-{next(_numbers)}-{secrets.token_hex(4)}"


class Person(Client):
    """A session of an account; another Person with the same address is another session of it."""

    def __init__(self, port, email, password=PASSWORD):
        super().__init__(port)
        self.email, self.password = email, password
        self.log_in()
        self.id = self.get("/v1/users/me").json()["id"]

    def log_in(self):
        """Begins a new session; the one before goes on."""
        answer = self.as_user(None).post(
            "/v1/sessions", {"email": self.email, "password": self.password}
        )
        assert answer.status == 201, answer
        self.session = answer.json()
        self.token = self.session["access_token"]


def register(port, name="Eve"):
    """A new account, logged in."""
    email = f"{fresh('x')}@example.com"
    answer = Client(port).post("/v1/users", {"email": email, "password": PASSWORD, "name": name})
    assert answer.status == 201, answer
    return Person(port, email)


def admin_of(suite):
    return Person(suite.port, ADMIN_EMAIL, suite.secret("admin-password"))


def add_product(admin, stock=100, amount=1999, **fields):
    """Adds a product and returns it."""
    sku = fields.pop("sku", None) or fresh("sku")
    body = {
        "sku": sku,
        "name": f"Product {sku}",
        "description": "As good as any",
        "price": {"amount": amount, "currency": "EUR"},
        "stock": stock,
        **fields,
    }
    answer = admin.post("/v1/products", body)
    assert answer.status == 201, answer
    return answer.json()
