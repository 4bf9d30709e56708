# SPDX-License-Identifier: MIT
# Clients at work while something is done to the suite; what failed, and how long the slowest took.
import threading
import time

from api import Client
from people import add_product, register


class Traffic:
    """Reads and keyed writes from several connections; every answer but success is a failure."""

    def __init__(self, suite, admin):
        self.port = suite.port
        self.ada = register(suite.port)
        self.sku = add_product(admin, stock=1_000_000)["sku"]
        self.ending = threading.Event()
        self.failures, self.count, self.slowest = [], 0, 0
        self.threads = [
            threading.Thread(target=self.run, args=(kind,))
            for kind in ("read", "write", "search", "new")
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.ending.set()
        for thread in self.threads:
            thread.join()

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
