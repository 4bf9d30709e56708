# SPDX-License-Identifier: MIT
# What holds for all tests: none waits for ever.
import os
import signal

import pytest

TEST_SECONDS = 120  # of one test; the slowest takes a third of that
PATIENCE = float(
    os.environ.get("SLUICE_TEST_PATIENCE", "1")
)  # more for slow builds, as in system/suite.py


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    marker = item.get_closest_marker("seconds")
    limit = marker.args[0] if marker else TEST_SECONDS

    def on_alarm(number, frame):
        raise TimeoutError(f"the test took longer than {limit} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, limit * PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
