# SPDX-License-Identifier: MIT
# Clients at work while something is done to the suite; what failed, and how long the slowest took.
import functools
import time

from api import Client
from crew import Crew
from people import add_product, register


class Traffic(Crew):
    """Reads and keyed writes from several connections; every answer but success is a failure."""

    def __init__(self, suite, admin):
        self.port = suite.port
        self.ada = register(suite.port)
        self.sku = add_product(admin, stock=1_000_000)["sku"]
        self.failures, self.count, self.slowest = [], 0, 0
        kinds = ("read", "write", "search", "new")
        super().__init__(*(functools.partial(self.run, kind) for kind in kinds))

    def run(self, kind):
        client = Client(self.port, self.ada.token)
        while not self.ending.is_set():
            begin = time.monotonic()
            try:
                if kind == "new":
                    client.close()  # a connection for each request
                answer = (
                    client.order({self.sku: 1})
                    if kind == "write"
                    else client.get("/v1/search?q=x" if kind == "search" else "/v1/users/me")
                )
                if answer.status not in (200, 201):
                    self.failures.append((kind, repr(answer)))
            except Exception as problem:
                self.failures.append((kind, repr(problem)))
                client.close()
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.count += 1
            time.sleep(0.001)
