# SPDX-License-Identifier: MIT
# What holds for all tests: none waits for ever, and several may run at once.
import os
import pathlib
import signal

import pytest

# Files in which each test has all that it needs of its own: with `pytest -n` each test may go to
# another process. Of other files all tests go to the same one, which so starts what they share once.
APART = ["test_kill.py", "test_rotation.py"]

# These files begin, so that none of them is left alone at the end. Each takes 10 seconds or more.
LONGEST = [
    "test_rotation.py",
    "test_readme.py",
    "test_kill.py",
    "test_queue_kill.py",
    "test_queue_sim.py",
    "test_store_sim.py",
    "test_network.py",
    "test_netfilter.py",
    "test_nth_fault.py",
    "test_clock.py",
    "test_conservation.py",
    "test_deadlines.py",
    "test_sandbox.py",
    "test_startup.py",
    "test_inner_links.py",
    "test_queue_log.py",
    "test_scaling.py",
    "test_workers.py",
    "test_isolation.py",
    "test_limits.py",
    "test_access.py",
]

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    turns = {name: turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path.name, len(turns)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::")[0]
            return nodeid if path.rsplit("/")[-1] in APART else path

    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter):
    """For tests/run, which tries them once more: a line for each test that failed, as pytest takes it."""
    if path := os.environ.get("SLUICE_TEST_FAILED"):
        reports = terminalreporter.getreports("failed") + terminalreporter.getreports("error")
        names = dict.fromkeys(report.nodeid for report in reports)
        pathlib.Path(path).write_text("".join(f"tests/{name}\n" for name in names))
