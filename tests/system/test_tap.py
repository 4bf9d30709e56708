# SPDX-License-Identifier: MIT
# sluice-tap: what it shows, in which form, and what its exit status says.
import json
import os
import signal
import subprocess

import pytest
from people import fresh
from suite import BUILD, CLEAN, run, wait_for

OK, NOTHING, USAGE, UNREACHABLE = 0, 1, 2, 3


@pytest.fixture
def tap(suite):
    """Runs the tap on the shared suite: tap("ls") -> (exit status, what it printed)."""

    def tap(*arguments, stdin=None):
        result = subprocess.run(
            [BUILD / "sluice-tap", *map(str, arguments)],
            env=suite.env,
            timeout=30,
            text=True,
            capture_output=True,
            input=stdin if stdin is not None else "",
        )
        assert "\x1b" not in result.stdout  # no colour without a terminal
        return result

    return tap


@pytest.fixture
def placed(ada, new_product, events):
    """Two orders that were paid, in the queue."""
    sku = new_product()["sku"]
    ids = []
    for _ in range(2):
        ids.append(ada.order({sku: 1}).json()["id"])
        assert ada.post(f"/v1/orders/{ids[-1]}/pay").status == 200
    events.wait(lambda f: ids[-1] in [e["subject"] for e in f], "orders.order.paid")
    return ids


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestLooking:
    def test_ls(self, tap, placed):
        result = tap("ls")
        assert result.returncode == OK
        for topic in (
            "users.user.created",
            "orders.product.created",
            "orders.order.placed",
            "orders.order.paid",
        ):
            assert topic in result.stdout
        listed = {entry["topic"]: entry["events"] for entry in lines(tap("ls", "-o", "ndjson"))}
        assert listed["orders.order.placed"] >= 2
        only = lines(tap("ls", "--topic", "orders.order.*", "-o", "ndjson"))
        assert only and all(entry["topic"].startswith("orders.order.") for entry in only)
        assert json.loads(tap("ls", "-o", "json").stdout)

    def test_info(self, tap, events):
        info = json.loads(tap("info", "-o", "json").stdout)
        assert info["uuid"] == events.info()["uuid"] and info["sync"] == "always"
        assert info["uuid"] in tap("info").stdout

    def test_tail_shows_the_last_ones(self, tap, placed):
        result = tap("tail", "-n", 2, "--topic", "orders.order.>")
        assert result.returncode == OK
        assert result.stdout.index("orders.order.placed") < result.stdout.index("orders.order.paid")
        events = lines(tap("tail", "-n", 2, "--topic", "orders.order.>", "-o", "ndjson"))
        assert [(e["type"], e["subject"]) for e in events] == [
            ("orders.order.placed", placed[1]),
            ("orders.order.paid", placed[1]),
        ]

    def test_cloudevents(self, tap, placed):
        event = lines(tap("tail", "-n", 1, "--topic", "orders.order.paid", "-o", "ndjson"))[0]
        assert event["specversion"] == "1.0" and event["type"] == "orders.order.paid"
        assert event["subject"] == event["partitionkey"] == placed[1] == event["data"]["id"]
        assert {
            "id",
            "source",
            "time",
            "sequence",
            "traceparent",
            "datacontenttype",
            "queue",
        } <= set(event)
        assert int(event["sequence"]) == event["queue"]["seq"]
        assert json.loads(
            tap("tail", "-n", 1, "--topic", "orders.order.paid", "-o", "json").stdout
        ) == [event]

    def test_key(self, tap, placed):
        events = lines(tap("cat", "--key", placed[0], "-o", "ndjson"))
        assert [e["type"] for e in events] == ["orders.order.placed", "orders.order.paid"]

    def test_range(self, tap, placed):
        last = lines(tap("tail", "-n", 1, "-o", "ndjson"))[0]["queue"]["seq"]
        assert [
            e["queue"]["seq"]
            for e in lines(tap("cat", "--range", f"{last - 2}:{last}", "-o", "ndjson"))
        ] == [last - 2, last - 1]
        assert len(lines(tap("cat", "--range", "-3:", "-o", "ndjson"))) == 3
        assert lines(tap("cat", "--range", "1:2", "-o", "ndjson"))[0]["queue"]["seq"] == 1
        assert len(lines(tap("cat", "--range", "@-1h:", "-o", "ndjson"))) >= last - 1
        assert tap("cat", "--range", "@-2h:@-1h").returncode == NOTHING
        assert (
            len(lines(tap("cat", "--since", "1h", "--topic", "orders.order.paid", "-o", "ndjson")))
            >= 2
        )

    def test_get(self, tap, placed):
        seq = lines(tap("tail", "-n", 1, "--key", placed[1], "-o", "ndjson"))[0]["queue"]["seq"]
        assert json.loads(tap("get", seq, "-o", "ndjson").stdout)["subject"] == placed[1]
        assert tap("get", 10**12).returncode == NOTHING

    def test_follow_shows_what_comes(self, suite, ada, new_product, events):
        order = ada.order({new_product()["sku"]: 1}).json()["id"]
        events.wait(lambda f: order in [e["subject"] for e in f], "orders.order.placed")
        readers = len(events.info()["subscriptions"])
        follower = subprocess.Popen(
            [BUILD / "sluice-tap", "tail", "-n", "0", "-f", "-o", "ndjson", "--key", order],
            env=suite.env,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for(lambda: len(events.info()["subscriptions"]) > readers, 5, "it follows")
            assert ada.post(f"/v1/orders/{order}/pay").status == 200
            assert json.loads(follower.stdout.readline())["type"] == "orders.order.paid"
            follower.send_signal(signal.SIGINT)
            assert follower.wait(timeout=5) in (OK, -signal.SIGINT, 130)
        finally:
            follower.kill()
            follower.wait()

    def test_reader_that_stops_reading(self, suite):
        """`sluice-tap cat | head -1` ends by itself and without a word."""
        result = subprocess.run(
            f"{BUILD}/sluice-tap cat -o ndjson | head -n 1",
            shell=True,
            env=suite.env,
            timeout=20,
            capture_output=True,
            text=True,
        )
        assert result.stdout.count("\n") == 1 and result.stderr == ""

    def test_looking_changes_nothing(self, tap, events, placed):
        before = events.info()
        for command in (["ls"], ["info"], ["tail"], ["cat"], ["get", 1]):
            assert tap(*command).returncode == OK
        after = events.info()
        for name in ("uuid", "first_seq", "producers"):
            assert before[name] == after[name]


class TestPublishing:
    def test_data_as_argument_or_from_stdin(self, tap):
        topic = f"test.{fresh('tap')}.added"
        assert (
            tap("pub", topic, '{"text": "ä", "n": [1, 2.5, null]}', "--key", "k1").returncode == OK
        )
        assert tap("pub", topic, "-", stdin='{"n": 2}').returncode == OK
        assert tap("pub", topic, "--lines", stdin='{"n": 3}\n{"n": 4}\n').returncode == OK
        events = lines(tap("cat", "--topic", topic, "-o", "ndjson"))
        assert [e["data"] for e in events] == [
            {"text": "ä", "n": [1, 2.5, None]},
            {"n": 2},
            {"n": 3},
            {"n": 4},
        ]
        assert events[0]["partitionkey"] == "k1"

    def test_no_data_is_an_event_without_data(self, tap):
        topic = f"test.{fresh('tap')}.added"
        assert tap("pub", topic, "").returncode == tap("pub", topic).returncode == OK
        assert [
            "data" in event for event in lines(tap("cat", "--topic", topic, "-o", "ndjson"))
        ] == [False, False]

    def test_broken_data_is_not_published(self, tap):
        topic = f"test.{fresh('tap')}.added"
        for data in ("{", "{'a': 1}", " "):
            result = tap("pub", topic, data)
            assert result.returncode == USAGE and result.stderr, data
        assert tap("tail", "--topic", topic).returncode == NOTHING

    def test_terminal_is_not_fooled(self, tap):
        topic = f"test.{fresh('tap')}.added"
        tap("pub", topic, '{"text": "\\u001b[31mred\\u0007\\u009b"}', "--key", "a\x1b[2Jb")
        shown = tap("cat", "--topic", topic).stdout  # the fixture asserts that no escape is in it
        assert "red" in shown and "\x07" not in shown and "\x9b" not in shown


class TestExitStatus:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nothing"],
            ["tial"],
            ["ls", "extra"],
            ["get"],
            ["get", "x"],
            ["get", "0"],
            ["tail", "-n", "x"],
            ["tail", "-n"],
            ["cat", "--range", "x:y"],
            ["cat", "--range", "9:5:1"],
            ["ls", "-o", "xml"],
            ["ls", "--nothing"],
            ["ls", "--range", "1:2"],
            ["tail", "--topic", "a..b"],
            ["tail", "--topic", ">.a"],
            ["pub"],
            ["pub", "Not.Valid", "{}"],
            ["tail", "--since", "soon"],
            ["ls", "--timeout", "5"],
        ],
    )
    def test_usage(self, tap, arguments):
        result = tap(*arguments)
        assert result.returncode == USAGE
        assert result.stdout == "" and result.stderr.startswith("sluice-tap") or not arguments

    def test_nothing_matched(self, tap):
        for command in ("tail", "cat", "ls"):
            assert tap(command, "--topic", "no.such.topic").returncode == NOTHING

    def test_unreachable(self, tmp_path):
        missing = run("sluice-tap", "ls", env={**CLEAN, "SLUICE_HOME": str(tmp_path / "none")})
        nobody = run(
            "sluice-tap", "ls", "--timeout", "200ms", env={**CLEAN, "SLUICE_HOME": str(tmp_path)}
        )
        for result in (missing, nobody):
            assert result.returncode == UNREACHABLE
            assert len(result.stderr.splitlines()) == 1 and str(tmp_path) in result.stderr

    def test_help_and_version(self):
        assert "Exit status" in run("sluice-tap", "--help").stdout
        assert run("sluice-tap", "--version").stdout.startswith("sluice-tap ")


def test_colour_on_a_terminal_only(suite):
    import pty

    def shown(**environment):
        leader, follower = pty.openpty()
        env = {**suite.env, "TERM": "xterm", **environment}
        subprocess.run(
            [BUILD / "sluice-tap", "tail", "-n", "1"],
            env=env,
            stdout=follower,
            stdin=subprocess.DEVNULL,
            timeout=20,
        )
        os.close(follower)
        text = os.read(leader, 65536).decode()
        os.close(leader)
        return text

    assert "\x1b[" in shown()
    assert "\x1b[" not in shown(NO_COLOR="1") and "\x1b[" not in shown(TERM="dumb")
