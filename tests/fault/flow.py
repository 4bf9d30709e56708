# SPDX-License-Identifier: MIT
# Open-loop load (tests/load) while something is done to the suite, and what its clients were told. A
# request's time runs from when it was planned, so what a stopped process keeps waiting is counted.
import itertools
import os

from loadgen import generate
from open_load import OpenLoad
from suite import PATIENCE

SAFE = ("me", "product", "search")
RATE = float(os.environ.get("SLUICE_TEST_RATE", 50 / PATIENCE))  # requests a second of each kind
MIX = {"me": 0.4, "product": 0.47, "search": 0.1, "order": 0.03}  # of all requests, as people use a shop
GOOD = 0.9  # of the requests: with fewer that are answered well, a rate is above the capacity
_seeds = iter(range(int(os.environ.get("SLUICE_TEST_SEED", "1")), 2**31))


def capacity(port, requests, rates, first, step, seconds, seeds=_seeds, **settings):
    """The most requests that are answered well in a second, at a rate that rises from `first` by `step`
    until they are not. rates(total): {request: rate}. Half a second of each rate, or a third, is not judged."""
    most, begin = 0, min(0.5, seconds / 3)
    for number in itertools.count():
        rate = first * step**number
        phases = [("step", seconds, rates(rate))]
        report = generate(port, requests, phases, seed=next(seeds), **settings)
        good = sum(report.goodput(name, begin, seconds) for name in requests)
        most = max(most, good)
        print(f"{rate:.0f} requests a second: {good:.0f} good")
        if good < GOOD * rate:
            return most


def requests_of(token, sku, sought):
    """Of one buyer, who looks at and buys sku. A search for what is bought would find ever more orders, and be
    dearer each time."""
    return {
        "me": f"GET /v1/users/me token={token} unlisted",
        "product": f"GET /v1/products/{sku} token={token} unlisted",
        "search": f"GET /v1/search?q={sought} token={token} unlisted",
        "order": f"POST /v1/orders token={token} key "
        + 'body={"items": [{"sku": "%s", "quantity": 1}]}' % sku,
    }


class Flow(OpenLoad):
    """The requests of one buyer from begin to stop(); its figures are there afterwards."""

    def __init__(self, port, token, sku, sought=None, retries=6, rates=None, kinds=None):
        """rates: {kind: requests a second}; without, RATE of each, or of `kinds` alone."""
        self.seed = next(_seeds)
        self.orders = []  # ids, when it has stopped
        requests = requests_of(token, sku, sought or sku)
        requests = {kind: requests[kind] for kind in kinds or rates or requests}
        super().__init__(
            port,
            requests,
            [("all", 86400, rates or dict.fromkeys(requests, RATE))],
            connections=128,
            timeout=15000,
            retries=retries,
            backoff=50,
            seed=self.seed,
        )

    def stop(self):
        super().stop()
        self.kinds = self.phases["all"]
        self.orders = [
            row[7].rsplit("/", 1)[-1] for row in self.rows if row[3] == "201"
        ]

    def bad(self, kinds, what, good):
        """{kind: what ended otherwise}, of "outcomes" (of requests) or "attempts"."""
        odd = {
            kind: {end: n for end, n in self.kinds[kind][what].items() if end != good}
            for kind in kinds
        }
        return {kind: ends for kind, ends in odd.items() if ends}

    def slowest_ms(self, kinds):
        return max(self.kinds[kind]["good_latency"].get("max_ms", 0) for kind in kinds)

    def p99_ms(self, kinds):
        return max(self.kinds[kind]["good_latency"].get("p99_ms", 0) for kind in kinds)
