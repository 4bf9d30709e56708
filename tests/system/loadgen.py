# SPDX-License-Identifier: MIT
# Runs the open-loop load generator (tests/load) and reads its report, and starts the service whose
# capacity is known.
import contextlib
import json
import subprocess

from open_load import plan
from suite import BUILD, PATIENCE, wait_for


def generate(port, requests, phases, ledger=None, **settings):
    """As open_load.plan(), for its whole time."""
    whole = sum(seconds for _, seconds, _ in phases)
    result = subprocess.run(
        [BUILD / "loadgen", *(["--ledger", ledger] if ledger else [])],
        input=plan(port, requests, phases, settings),
        capture_output=True,
        text=True,
        timeout=(whole + 60) * PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    return Report(json.loads(result.stdout))


class Report:
    def __init__(self, report):
        self.phases = {phase["name"]: phase for phase in report["phases"]}
        self.timeline, self.slice_s = report["timeline"], report["slice_ms"] / 1000
        self.sent_late_ms = report["sent_late_ms"]
        assert report["unasked"] == 0, "a request was answered twice"

    def cell(self, phase, kind):
        return self.phases[phase]["requests"][kind]

    def share(self, phase, kind):
        """Of the requests, how many were answered 2xx in the end."""
        cell = self.cell(phase, kind)
        return cell["good"] / cell["planned"]

    def goodput(self, kind, begin_s, end_s):
        """2xx a second in a part of the run."""
        first, last = round(begin_s / self.slice_s), round(end_s / self.slice_s)
        slices = self.timeline[kind][first:last]
        return sum(good for _, good in slices) / (end_s - begin_s)


@contextlib.contextmanager
def slow_service(suite, count=1, **options):
    """Workers of the service `slow` (tests/load/slow_service.c) beside a running suite."""
    processes = []
    try:
        for number in range(1, count + 1):
            environment = {
                **suite.env,
                "SLUICE_INSTANCE": f"slow-{number}",
                **{name: str(value) for name, value in options.items()},
            }
            with open(suite.log_path, "ab") as log:
                processes.append(
                    subprocess.Popen([BUILD / "slow_service"], env=environment, stdout=log, stderr=log)
                )

        def serving():
            found = {s["service"]: s for s in suite.topology()["services"]}.get("slow")
            workers = found["workers"] if found else []
            return len(workers) == count and all(w["state"] == "serving" for w in workers) and any(
                w["role"] == "writer" for w in workers
            )

        wait_for(serving, 10, "the slow service is there")
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30 * PATIENCE)
