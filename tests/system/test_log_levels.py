# SPDX-License-Identifier: MIT
# `sluice log-level`: the levels of running processes are shown and changed, and those of processes
# that come later are what was said of their service.
import json
import os
import signal
import urllib.request

import pytest
from suite import Suite, run, wait_for


@pytest.fixture(scope="module")
def suite():
    with Suite(SLUICE_SCALE_USERS=2) as own:
        yield own.up()


def command(suite, *words):
    return run("sluice", "log-level", *words, env=suite.env)


def levels(suite, *words):
    result = command(suite, *words, "--json")
    assert result.returncode == 0, result.stderr
    return {entry["instance"]: entry["level"] for entry in json.loads(result.stdout)["levels"]}


def level_of(suite, instance):
    return suite.admin_page(instance, "/log-level")[1].strip()


def test_levels_are_shown(suite):
    names = ["supervisor", "queue-1", "users-1", "users-2", "orders-1", "search-1", "gateway-1"]
    assert levels(suite) == dict.fromkeys(names, "info")
    assert levels(suite, "users") == {"users-1": "info", "users-2": "info"}
    assert command(suite, "supervisor").stdout.split() == ["supervisor", "info"]


def test_one_instance(suite):
    assert levels(suite, "users-2", "debug") == {"users-2": "debug"}
    assert levels(suite, "users") == {"users-1": "info", "users-2": "debug"}
    assert suite.metrics("users-2")['sluice_log_level{level="debug"}'] == 1
    assert suite.metrics("users-2")['sluice_log_level{level="info"}'] == 0
    changed = [
        record
        for record in suite.records()
        if record.get("event.name") == "log-level" and record["log.level"] == "debug"
    ]
    assert [record["service.instance.id"] for record in changed] == ["users-2"]
    levels(suite, "users", "info")


def test_processes_that_start_later_have_it(suite):
    assert levels(suite, "orders", "warn") == {"orders-1": "warn"}
    suite.scale(orders=2)
    assert levels(suite, "orders") == {"orders-1": "warn", "orders-2": "warn"}
    # One that is restarted, and one that dies.
    assert run("sluice", "restart", "orders", env=suite.env).returncode == 0
    pid = suite.kill("orders-2")
    suite.wait_replaced("orders-2", pid)
    assert levels(suite, "orders") == {"orders-1": "warn", "orders-2": "warn"}
    assert levels(suite, "search") == {"search-1": "info"}
    # Nothing runs of it now; what comes has what was said of the service.
    suite.scale(orders=0)
    assert levels(suite, "orders", "debug") == {}
    suite.scale(orders=1)
    assert levels(suite, "orders") == {"orders-1": "debug"}


def test_an_instance_of_its_own_and_then_its_service(suite):
    levels(suite, "users-1", "error")
    pid = suite.kill("users-1")
    suite.wait_replaced("users-1", pid)
    assert levels(suite, "users") == {"users-1": "error", "users-2": "info"}
    assert set(levels(suite, "users", "warn").values()) == {"warn"}
    pid = suite.kill("users-1")
    suite.wait_replaced("users-1", pid)
    assert level_of(suite, "users-1") == "warn"


def test_all_of_them_and_back(suite):
    assert set(levels(suite, "all", "debug").values()) == {"debug"}
    assert suite.metrics("supervisor")['sluice_log_level{level="debug"}'] == 1
    assert set(levels(suite, "all", "info").values()) == {"info"}
    assert len(levels(suite)) == 7


def test_a_process_that_is_starting_is_told_too(suite):
    suite.kill("search-1")  # it is away for a moment
    assert levels(suite, "search", "warn") in ({"search-1": "warn"}, {})
    suite.wait_ready()
    assert level_of(suite, "search-1") == "warn"
    levels(suite, "search", "info")


def test_a_process_that_does_not_answer_is_named(suite):
    pid = suite.pid("search-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        result = command(suite, "all")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert result.returncode == 1
    lines = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert lines["search-1"] == "does not answer: Connection timed out"
    assert lines["users-1"] == "info"


def test_wrong_words(suite):
    result = command(suite, "users", "loud")
    assert result.returncode == 64
    assert "loud: allowed are debug, info, warn and error" in result.stderr
    result = command(suite, "user", "debug")
    assert result.returncode == 1
    assert result.stderr == (
        'sluice: there is no service or instance "user"; there are all, supervisor, queue, users, '
        "orders, search, gateway, queue-1, users-1, users-2, orders-1, search-1, gateway-1\n"
    )
    assert command(suite, "users-3").returncode == 1
    assert command(suite, 'x"\n').returncode == 1
    assert command(suite, "x" * 5000).returncode == 64
    assert set(levels(suite).values()) == {"info"}


@pytest.mark.parametrize(
    "request_,error",
    [
        ({"of": 7}, '"of" and "level" are strings'),
        ({"level": ["debug"]}, '"of" and "level" are strings'),
        ({"level": "loud"}, '"loud" is no log level; allowed are debug, info, warn and error'),
    ],
)
def test_wrong_requests(suite, request_, error):
    answer = suite.control({"command": "log-level", **request_})
    assert answer == {"ok": False, "error": error}


def test_who_goes_away_while_asking_harms_nobody(suite):
    pid = suite.pid("search-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            suite.control({"command": "log-level"}, timeout=0.2)
        answer = suite.control({"command": "log-level"})
        assert "already" in answer["error"]
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(
        lambda: suite.control({"command": "log-level"})["ok"], 10, "the first question is over"
    )


def test_nothing_runs(tmp_path):
    result = run("sluice", "log-level", "--home", tmp_path)
    assert result.returncode == 3
    assert "nothing is running" in result.stderr


def test_it_is_stopped_while_it_asks(own_suite):
    own_suite.up()
    pid = own_suite.pid("search-1")
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        own_suite.control({"command": "log-level"}, timeout=0.2)
    own_suite.supervisor.send_signal(signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    assert own_suite.supervisor.wait(timeout=20) == 0
    own_suite.supervisor = None


def test_the_access_log_follows_the_level(own_suite):
    own_suite.environment["SLUICE_LOG_LEVEL"] = "warn"
    own_suite.up()

    def requests():
        with urllib.request.urlopen(own_suite.url + "/v1/products", timeout=10) as answer:
            answer.read()
        return [record for record in own_suite.records() if record.get("body") == "request"]

    assert requests() == []
    levels(own_suite, "gateway", "info")
    wait_for(requests, 5, "an answer is logged")
