# SPDX-License-Identifier: MIT
# The people of the tests, and what they sell: accounts with fresh addresses and products with fresh
# names, so that tests can share one suite without meeting each other.
import collections
import contextlib
import itertools
import secrets
import time

from api import Client
from suite import SANITIZED

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


@contextlib.contextmanager
def guesses(allowed):
    """A list for the statuses of logins with a wrong password, of which no more were looked at than are allowed, and one
    more for each second that they took. On a busy machine some are not done in time (504), which had their turn or had
    not; and under a sanitizer a worker that computes is taken for lost at times (502)."""
    begin, statuses = time.monotonic(), []
    yield statuses
    counts = collections.Counter(statuses)
    seconds = time.monotonic() - begin
    unclear = counts[504] + (counts[502] if SANITIZED else 0)
    assert counts[401] and counts[401] + unclear + counts[429] == len(statuses) > allowed, counts
    assert counts[401] <= allowed + seconds, (counts, seconds)
    assert counts[401] + unclear >= allowed, (counts, seconds)


def admitted(ask):
    """The status that is answered once there is room: what is turned away (503) was not looked at, and is tried again."""
    for _ in range(400):
        status = ask()
        if status != 503:
            return status
        time.sleep(0.05)
    raise AssertionError("there is no room")


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
