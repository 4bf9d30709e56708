# SPDX-License-Identifier: MIT
# Open-loop load (tests/load) while something is done to the suite, and what its clients were told. A
# request's time runs from when it was planned, so what a stopped process keeps waiting is counted.
import collections
import json
import os
import signal
import subprocess
import tempfile

from suite import BUILD

SAFE = ("me", "product", "search")
RATE = float(os.environ.get("SLUICE_TEST_RATE", "50"))  # requests a second of each kind
_seeds = iter(range(int(os.environ.get("SLUICE_TEST_SEED", "1")), 2**31))


class Flow:
    """The requests of one buyer from begin to stop(); its figures are there afterwards."""

    def __init__(self, port, token, sku, retries=6, rate=RATE):
        self.seed = next(_seeds)
        self.plan = "\n".join(
            [
                f"port {port}",
                "connections 128",
                "timeout 15000",
                f"retries {retries}",
                "backoff 50",
                f"seed {self.seed}",
                f"request me GET /v1/users/me token={token}",
                f"request product GET /v1/products/{sku} token={token}",
                f"request search GET /v1/search?q={sku} token={token}",
                f"request order POST /v1/orders token={token} key "
                + 'body={"items": [{"sku": "%s", "quantity": 1}]}' % sku,
                f"phase all 86400 me={rate} product={rate} search={rate} order={rate}",
            ]
        )

    def __enter__(self):
        self.lines = tempfile.NamedTemporaryFile("r", prefix="sl-flow-")
        self.process = subprocess.Popen(
            [BUILD / "loadgen", "--ledger", self.lines.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process.stdin.write(self.plan + "\n")
        self.process.stdin.close()
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        report = self.process.stdout.read()
        self.process.stdout.close()
        assert self.process.wait() == 0
        with self.lines:
            rows = [line.split() for line in self.lines]
        if error[0]:
            return
        report = json.loads(report)
        self.kinds = report["phases"][0]["requests"]
        self.late_ms = report["sent_late_ms"]
        self.orders = [row[7].rsplit("/", 1)[-1] for row in rows if row[1] == "order" and row[3] == "201"]

    def bad(self, kinds, what, good):
        """{kind: what ended otherwise}, of "outcomes" (of requests) or "attempts"."""
        odd = {
            kind: {end: n for end, n in self.kinds[kind][what].items() if end != good}
            for kind in kinds
        }
        return {kind: ends for kind, ends in odd.items() if ends}

    def total(self, what="outcomes"):
        counts = collections.Counter()
        for kind in self.kinds.values():
            counts.update(kind[what])
        return counts

    def slowest_ms(self, kinds):
        return max(self.kinds[kind]["good_latency"].get("max_ms", 0) for kind in kinds)
