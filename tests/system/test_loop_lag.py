# SPDX-License-Identifier: MIT
# A loop that stands still is seen in sluice_loop_lag_seconds, of whichever process it is.
import os
import signal
import time

import pytest
from suite import Suite, wait_for

STALL_S = 1
COUNT = "sluice_loop_lag_seconds_count"
FAST = 'sluice_loop_lag_seconds_bucket{le="0.75"}'


@pytest.fixture(scope="module")
def suite():
    with Suite() as own:
        yield own.up()


def slow_ticks(suite, instance):
    samples = suite.metrics(instance)
    return samples[COUNT] - samples[FAST]


@pytest.mark.parametrize(
    "instance", ["gateway-1", "users-1", "orders-1", "search-1", "queue-1", "supervisor"]
)
def test_a_stall_is_seen(suite, instance):
    suite.wait_ready(timeout=20)
    pid = suite.supervisor.pid if instance == "supervisor" else suite.pid(instance)
    ticks = suite.metrics(instance)[COUNT]
    wait_for(lambda: suite.metrics(instance)[COUNT] > ticks, 5, "its loop turns")
    before = slow_ticks(suite, instance)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(STALL_S)  # the fault itself
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: slow_ticks(suite, instance) > before, 10, f"the stall of {instance} is seen")
