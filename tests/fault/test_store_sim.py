# SPDX-License-Identifier: MIT
# The stores of orders and users on a simulated disk that loses what was not synced when power goes, one run of several
# lives for each seed: see store_sim/. A seed that breaks a promise is printed, with the command that repeats it.
#
#   SLUICE_TEST_SEEDS   how many seeds of each (1000 of orders, 300 of users; under the sanitizers at most 100);
#                       tests/run fault --seeds N sets it
#   SLUICE_TEST_SEED    the first one (1)
import os
import re
import subprocess

import figures
import pytest
from suite import BUILD, PATIENCE, SANITIZED

FIRST = int(os.environ.get("SLUICE_TEST_SEED", "1"))
SERVICES = ("orders", "users")
SEEDS = {
    service: min(int(os.environ.get("SLUICE_TEST_SEEDS", seeds)), 100 if SANITIZED else 10**9)
    for service, seeds in zip(SERVICES, ("1000", "300"))
}
PROCESSES = 2
SECONDS_PER_SEED = 0.2  # the worst that is allowed; a seed takes a quarter of it


def simulate(service, seeds, first):
    return subprocess.Popen(
        [BUILD / f"store_sim_{service}", "--seeds", str(seeds), "--from", str(first)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.seconds(300)
@pytest.mark.parametrize("service", SERVICES)
def test_every_promise_survives_the_loss_of_power(service):
    asked = SEEDS[service]
    share = -(-asked // PROCESSES)
    parts = [
        (first, min(share, FIRST + asked - first))
        for first in range(FIRST, FIRST + asked, share)
    ]
    running = [simulate(service, seeds, first) for first, seeds in parts]
    counts = {}
    for process in running:
        out, err = process.communicate(timeout=(20 + asked * SECONDS_PER_SEED) * PATIENCE)
        assert process.returncode == 0, err
        for number, what in re.findall(r"(\d+) ([a-z ]+?)(?:,|$)", out.strip()):
            counts[what] = counts.get(what, 0) + int(number)
    figures.note({"what": f"loss of power, {service}", **counts})
    assert counts["seeds"] == asked
    if asked >= 100:  # and every trouble came up
        for what in ("closed", "killed", "power lost", "failed syncs", "sectors lost", "sectors torn", "checkpoints",
                     "repeated", "replayed", "unclear", "duplicates"):
            assert counts[what] > 0, what


@pytest.mark.parametrize("seed", [194])  # power went while the store was being made
def test_seeds_that_once_failed(seed):
    process = simulate("orders", 1, seed)
    _, err = process.communicate(timeout=20 * PATIENCE)
    assert process.returncode == 0, err


@pytest.mark.parametrize("service", SERVICES)
def test_the_same_seed_is_the_same_run(service):
    one, other = (
        subprocess.run(
            [BUILD / f"store_sim_{service}", "--seeds", "1", "--from", "11", "--trace"], capture_output=True, text=True
        )
        for _ in range(2)
    )
    assert one.returncode == 0 and one.stderr.count("\n") > 100
    assert (one.stdout, one.stderr) == (other.stdout, other.stderr)


@pytest.mark.parametrize("arguments", [["--seeds"], ["--seeds", "x"], ["--nothing"]])
def test_usage(arguments):
    result = subprocess.run([BUILD / "store_sim_orders", *arguments], capture_output=True, text=True)
    assert result.returncode == 64 and "allowed" in result.stderr
