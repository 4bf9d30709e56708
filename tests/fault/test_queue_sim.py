# SPDX-License-Identifier: MIT
# The log on a simulated disk that does everything a disk may do, one run for each seed: see queue_sim/. A seed that
# breaks a promise is printed, with the command that repeats it.
#
#   SLUICE_TEST_SEEDS   how many seeds (10000); tests/run fault --seeds N sets it
#   SLUICE_TEST_SEED    the first one (1)
import os
import re
import subprocess

import pytest
from suite import BUILD, PATIENCE

SEEDS = int(os.environ.get("SLUICE_TEST_SEEDS", "10000"))
FIRST = int(os.environ.get("SLUICE_TEST_SEED", "1"))
PROCESSES = 2
SECONDS_PER_SEED = 0.025  # the worst that is allowed; a seed takes a tenth of it


def simulate(seeds, first):
    return subprocess.Popen([BUILD / "queue_sim", "--seeds", str(seeds), "--from", str(first)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_every_promise_is_kept():
    share = -(-SEEDS // PROCESSES)
    parts = [(first, min(share, FIRST + SEEDS - first)) for first in range(FIRST, FIRST + SEEDS, share)]
    running = [simulate(seeds, first) for first, seeds in parts]
    counts = {}
    for process in running:
        out, err = process.communicate(timeout=(20 + SEEDS * SECONDS_PER_SEED) * PATIENCE)
        assert process.returncode == 0, err
        for number, what in re.findall(r"(\d+) ([a-z ]+?)(?:,|$)", out.strip()):
            counts[what] = counts.get(what, 0) + int(number)
    assert counts["seeds"] == SEEDS
    if SEEDS >= 1000:  # and every trouble came up
        for what in ("duplicates", "full", "failed", "deaths", "refused", "bits turned", "events lost", "segments removed",
                     "out of the middle", "dead letters"):
            assert counts[what] > 0, what


@pytest.mark.parametrize("seed", [500696])  # a seal that ends where a page does, in a file that was not cut yet
def test_seeds_that_once_failed(seed):
    process = simulate(1, seed)
    _, err = process.communicate(timeout=20 * PATIENCE)
    assert process.returncode == 0, err


@pytest.mark.parametrize("arguments", [["--seeds"], ["--seeds", "x"], ["--nothing"]])
def test_usage(arguments):
    result = subprocess.run([BUILD / "queue_sim", *arguments], capture_output=True, text=True)
    assert result.returncode == 64 and "allowed" in result.stderr
