# SPDX-License-Identifier: MIT
# The open-loop load generator (tests/load) at work while a test does something else: requests come
# when they were planned, whatever became of those before.
import collections
import json
import signal
import subprocess
import tempfile

from suite import BUILD


def plan(port, requests, phases, settings):
    """What the generator reads. requests: {name: "METHOD PATH ..."}; phases: [(name, seconds, {request: rate})]."""
    lines = [f"port {port}"]
    lines += [f"{name} {value}" for name, value in settings.items()]
    lines += [f"request {name} {what}" for name, what in requests.items()]
    for name, seconds, rates in phases:
        rates = " ".join(f"{kind}={rate}" for kind, rate in rates.items())
        lines.append(f"phase {name} {seconds} {rates}")
    return "\n".join(lines) + "\n"


class OpenLoad:
    """Runs from the begin of the block to its end, or to stop(); its figures are there afterwards. As plan()."""

    def __init__(self, port, requests, phases, **settings):
        self.plan = plan(port, requests, phases, settings)
        self.phases = self.late_ms = self.process = None

    def __enter__(self):
        self.ledger = tempfile.NamedTemporaryFile("r", prefix="sl-load-")
        self.process = subprocess.Popen(
            [BUILD / "loadgen", "--ledger", self.ledger.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process.stdin.write(self.plan)
        self.process.stdin.close()
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """Ends it: what was begun is brought to its end."""
        if self.phases is None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            self.finish()

    def finish(self):
        """Waits until all that was planned is done."""
        report = self.process.stdout.read()
        self.process.stdout.close()
        status = self.process.wait()
        with self.ledger:
            self.read(self.ledger)
        assert status == 0, status
        report = json.loads(report)
        assert report["unasked"] == 0, "a request was answered twice"
        self.phases = {phase["name"]: phase["requests"] for phase in report["phases"]}
        self.late_ms = report["sent_late_ms"]
        self.timeline, self.slice_s = report["timeline"], report["slice_ms"] / 1000

    def read(self, lines):
        """Takes in the ledger; a long run may keep less of it."""
        self.rows = [line.split() for line in lines]

    def total(self, what="outcomes"):
        """How many requests ended how, of all phases and kinds; or "attempts" of them."""
        counts = collections.Counter()
        for kinds in self.phases.values():
            for kind in kinds.values():
                counts.update(kind[what])
        return counts
