# SPDX-License-Identifier: MIT
# The companion of sluice-users, which hashes passwords where that holds up nobody (services/users/hasher.h): what it
# may do, what happens when it is slow, and that it lives and dies with its process.
import os
import pathlib
import signal
import time

import pytest
from people import Person, register
from suite import PATIENCE, SANITIZED, wait_for


def hashes(suite, by):
    return suite.metrics("users-1")[f'sluice_users_password_hashes_total{{by="{by}"}}']


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def lives(pid):
    try:
        return status_of(pid)["State"][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def users(own_suite):
    """A suite that no password holds up."""
    own_suite.environment["SLUICE_RATE_LIMIT_AUTH"] = "off"
    return own_suite.up()


def test_it_takes_what_nobody_wants(users):
    pid = users.companion("users-1")
    assert status_of(pid)["Name"] == "users-hasher"
    # Once it has begun; both its threads.
    wait_for(lambda: len(os.listdir(f"/proc/{pid}/task")) == 2, 5, "it has its threads")
    for thread in os.listdir(f"/proc/{pid}/task"):
        wait_for(lambda: os.sched_getscheduler(int(thread)) == os.SCHED_IDLE, 5, "the lowest class")


def test_it_has_its_links_and_nothing_else(users):
    pid = users.companion("users-1")
    wait_for(lambda: status_of(pid)["Seccomp"] == "2", 5, "it is in its sandbox")
    assert status_of(pid)["NoNewPrivs"] == "1"
    opened = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    beyond = [target for fd, target in opened.items() if fd > 2]
    assert len(beyond) == 2 and all(target.startswith("socket:") for target in beyond), opened


@pytest.mark.alone
@pytest.mark.skipif(SANITIZED, reason="there a hash takes longer than anybody waits")
def test_it_does_the_work(users):
    ada = register(users.port)
    before, cpu = hashes(users, "companion"), users.metrics("users-1")["process_cpu_seconds_total"]
    for _ in range(20):
        ada.log_in()
    assert hashes(users, "companion") - before >= 10
    # Its time counts as that of its process, by which services are scaled.
    assert users.metrics("users-1")["process_cpu_seconds_total"] - cpu > 20 * 0.004


@pytest.mark.alone
def test_when_it_gets_no_time_others_do_the_work(users):
    """Once in two seconds somebody waits to see whether it is there again."""
    ada, pid = register(users.port), users.companion("users-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        for _ in range(10):
            ada.log_in()
        assert time.monotonic() - begin < 5 * PATIENCE
        before = hashes(users, "companion")
        with pytest.raises(AssertionError):
            Person(users.port, ada.email, "a wrong password")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert hashes(users, "companion") == before

    def works_again():
        ada.log_in()
        return hashes(users, "companion") > before

    if not SANITIZED:  # where it may be late each time
        wait_for(works_again, 10, "it does the work again")
    with pytest.raises(AssertionError):  # and what it was late with is nobody's answer
        Person(users.port, ada.email, "a wrong password")


def test_when_it_dies_both_are_there_again(users):
    ada = register(users.port)
    pid, companion = users.pid("users-1"), users.companion("users-1")
    users.expect_death("users-1")
    os.kill(companion, signal.SIGKILL)
    users.wait_replaced("users-1", pid)
    ada.log_in()
    assert users.companion("users-1") != companion
    bodies = [record.get("body", "") for record in users.records()]
    assert "users-hasher ended (signal 9)" in bodies


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_process(users, how):
    pid, companion = users.pid("users-1"), users.companion("users-1")
    for ignored in (signal.SIGTERM, signal.SIGINT):  # which are for its process, as in a terminal
        os.kill(companion, ignored)
    register(users.port)
    assert lives(companion) and users.pid("users-1") == pid
    if how == signal.SIGKILL:
        users.kill("users-1")
        users.wait_replaced("users-1", pid)
    else:
        users.down()
    wait_for(lambda: not lives(companion), 5, "it is gone")
