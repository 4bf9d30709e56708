# SPDX-License-Identifier: MIT
# Load with a memory: clients that write and read all the time, and a ledger of what they were told.
# Whatever is done to the processes meanwhile, the ledger must agree afterwards with what the
# services say and with what is in the queue: nothing acknowledged is lost, nothing happened twice.
import collections
import functools
import http.client
import itertools
import threading
import time

from api import Client, new_key
from crew import Crew
from people import PASSWORD, fresh

UNKNOWN = (502, 503, 504)  # truthful answers that leave open what happened, or say that nothing did


class Load(Crew):
    """Runs until stop(); every worker thread has a connection and a person of its own."""

    def __init__(self, suite, admin, people, skus):
        self.suite, self.admin, self.people, self.skus = suite, admin, people, skus
        self.lock = threading.Lock()
        self.orders = {}  # id: order, of every 201
        self.keys = {}  # Idempotency-Key: (person, order id or None while unknown)
        self.names = {}  # person id: names that were acknowledged, in order
        self.tried_names = collections.defaultdict(set)
        self.emails = {}  # address: user id of a 201, or None when the outcome is unknown
        self.failed_reads = []  # safe requests that were not answered with 200
        self.wrong = []  # answers that are no truth at all
        self.counts = collections.Counter()
        self.unclear = []  # answers that leave open what happened, for who wants to know why
        jobs = [(self.buy, person) for person in people] + [
            (self.rename, people[0]),
            (self.read, people[1]),
            (self.sign_up, None),
        ]
        super().__init__(*(functools.partial(self.run, *job) for job in jobs))

    def run(self, job, person):
        client = Client(self.suite.port, person.token if person else None)
        try:
            for number in itertools.count():
                if self.ending.is_set():
                    break
                job(client, person, number)
        except Exception as problem:  # a thread that dies must not go unnoticed
            self.wrong.append(repr(problem))
        client.close()

    def attempt(self, request):
        """An answer, or None when the connection was cut: the outcome is unknown."""
        try:
            answer = request()
        except (OSError, http.client.HTTPException):
            self.counts["cut"] += 1
            return None
        self.counts[answer.status] += 1
        if answer.status in UNKNOWN:
            self.unclear.append(answer)
        return answer

    # --- What the clients do

    def buy(self, client, person, number):
        """One order with its key, asked for again and again until the answer is clear."""
        key, sku = new_key(), self.skus[number % len(self.skus)]
        with self.lock:
            self.keys[key] = (person, None)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            answer = self.attempt(lambda: client.order({sku: 1}, key=key))
            if answer and answer.status == 201:
                with self.lock:
                    self.orders[answer.json()["id"]] = answer.json()
                    self.keys[key] = (person, answer.json()["id"])
                return
            if answer and answer.status not in UNKNOWN and answer.slug != "idempotency-in-progress":
                self.wrong.append(f"order: {answer}")
                return
            time.sleep(0.01)
        self.wrong.append(f"order: no clear answer for {key} within 20 s")

    def rename(self, client, person, number):
        name = f"Name {number}"
        self.tried_names[person.id].add(name)
        answer = self.attempt(
            lambda: client.patch(f"/v1/users/{person.id}", {"name": name}, if_match="*")
        )
        if answer and answer.status == 200:
            self.names.setdefault(person.id, []).append((name, answer.json()["version"]))
        elif answer and answer.status not in (*UNKNOWN, 412):
            self.wrong.append(f"rename: {answer}")
        time.sleep(0.002)

    def sign_up(self, client, person, number):
        email = f"{fresh('load')}@example.com"
        body = {"email": email, "password": PASSWORD, "name": f"New {number}"}
        self.emails[email] = None
        answer = self.attempt(lambda: client.post("/v1/users", body))
        if answer and answer.status == 201:
            self.emails[email] = answer.json()["id"]
        elif answer and answer.status not in UNKNOWN:
            self.wrong.append(f"sign up: {answer}")

    def read(self, client, person, number):
        """Safe requests to each service; the gateway must hide the loss of a worker from them."""
        path = ["/v1/users/me", f"/v1/products/{self.skus[0]}", "/v1/search?q=load"][number % 3]
        begin = time.monotonic()
        answer = self.attempt(lambda: client.get(path))
        if not answer or answer.status != 200:
            self.failed_reads.append((round(begin, 3), path, answer and answer.status))
        time.sleep(0.001)


def check(load, queue, stock):
    """Compares the ledger with services and queue. stock: what each product had at first."""
    assert not load.wrong, load.wrong[:5]
    admin = load.admin
    wait_until_published(load, queue)
    events = queue.read()
    assert [e["seq"] for e in events] == list(
        range(events[0]["seq"], events[0]["seq"] + len(events))
    )
    ids = [e["id"] for e in events]
    assert len(ids) == len(set(ids)), "an event is stored twice"
    check_orders(load, events, stock)
    check_users(load, events, admin)


def wait_until_published(load, queue):
    """The outboxes are empty when an event that was caused last is in the queue."""
    answer = load.people[0].patch(
        f"/v1/users/{load.people[0].id}", {"name": "Last of all"}, if_match="*"
    )
    assert answer.status == 200, answer
    order = load.people[0].order({load.skus[0]: 1}).json()
    load.orders[order["id"]] = order
    queue.wait(
        lambda found: "Last of all" in [e["data"]["name"] for e in found],
        "users.user.updated",
        timeout_s=10,
    )
    queue.wait(
        lambda found: order["id"] in [e["subject"] for e in found],
        "orders.order.placed",
        timeout_s=10,
    )


def check_orders(load, events, stock):
    placed = [e["subject"] for e in events if e["topic"] == "orders.order.placed"]
    assert len(placed) == len(set(placed)), "an order was announced twice"
    listed = {
        order["id"]: order
        for person in {id(p): p for p in load.people}.values()
        for order in person.pages("/v1/orders", limit=100)
    }
    lost = set(load.orders) - set(listed)
    assert not lost, f"{len(lost)} acknowledged orders are lost"
    for order_id, order in load.orders.items():
        assert listed[order_id] == order
    assert set(placed) >= set(listed), "orders without an event"
    mine = [p for p in placed if p in listed]
    assert len(mine) == len(listed)
    # One order for each key: those that were acknowledged, and no others.
    known = {order_id for _, order_id in load.keys.values() if order_id}
    assert (
        set(listed) - known - {o for o in load.orders} == set()
    ), "orders that nobody was told about, although asked again"
    assert len(known) == sum(1 for _, order_id in load.keys.values() if order_id)
    for sku in load.skus:
        left = load.admin.get(f"/v1/products/{sku}").json()["stock"]
        sold = sum(
            item["quantity"]
            for order in listed.values()
            for item in order["items"]
            if item["sku"] == sku
        )
        assert left == stock - sold, f"{sku}: {left} left of {stock}, but {sold} sold"


def check_users(load, events, admin):
    created = collections.Counter(
        e["data"]["email"] for e in events if e["topic"] == "users.user.created"
    )
    for email, user_id in load.emails.items():
        found = admin.get("/v1/users", query={"email": email}).json()["items"]
        assert not user_id or [user["id"] for user in found] == [user_id], f"{email} is lost"
        assert (
            created[email] == len(found) <= 1
        ), f"{email}: {created[email]} events for {len(found)} accounts"
    for user_id, names in load.names.items():
        versions = [version for _, version in names]
        assert versions == sorted(set(versions)), "two changes with the same version"
        stored = {
            e["data"]["version"]: e["data"]["name"]
            for e in events
            if e["topic"] == "users.user.updated" and e["subject"] == user_id
        }
        for name, version in names:
            assert (
                stored.get(version) == name
            ), f"version {version} of {user_id} is not in the queue"
        updates = [
            e["data"]["version"]
            for e in events
            if e["topic"] == "users.user.updated" and e["subject"] == user_id
        ]
        assert updates == list(
            range(2, len(updates) + 2)
        ), "changes missing, doubled or out of order"
