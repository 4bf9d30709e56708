# SPDX-License-Identifier: MIT
# What the tap brings again, replays and dead letters, how fast and how much of it; what trace says of an event in each
# state that it can be in; and how much of an event is shown.
import json
import time

import pytest
from queue_client import ACK, NAK, TERM, Member, new_event
from suite import wait_for
from test_tap_groups import bury, daemon, tap, work  # noqa: F401  fixtures


def spread_ms(client, topic):
    """Between the first and the last event of a topic."""
    stored = [e["stored_ms"] for e in client.read(topic)]
    return max(stored) - min(stored)


class TestReplayToATopic:
    def test_copies_are_new_events_with_the_old_content(self, tap, work):
        name, seqs, client = work
        said = tap.run("replay", "--range", f"{seqs[1]}:{seqs[4]}", "--to", f"{name}.copy", "--yes")
        copies = client.read(f"{name}.copy")
        assert f"3 published, {copies[0]['seq']}..{copies[-1]['seq']}" in said
        originals = client.read(f"{name}.a")[1:4]
        for copy, original in zip(copies, originals, strict=True):
            assert copy["id"] != original["id"] and copy["time_ms"] >= original["time_ms"]
            for field in ["key", "subject", "source", "traceparent", "data"]:
                assert copy[field] == original[field], field

    def test_asks_and_can_be_tried(self, tap, work):
        name, seqs, client = work
        wanted = ["replay", "--topic", f"{name}.a", "--to", f"{name}.copy"]
        assert "--yes" in tap.run(*wanted, status=2)
        last = client.info()["last_seq"]
        tap.run(*wanted, "--dry-run")
        assert client.read(f"{name}.copy") == [] and client.info()["last_seq"] == last

    def test_limit_where_and_nothing(self, tap, work):
        name, _, client = work
        tap.run("replay", "--topic", f"{name}.a", "--where", ".data.n >= 2", "--limit", 2, "--to", f"{name}.copy", "--yes")
        assert [e["data"]["n"] for e in client.read(f"{name}.copy")] == [2, 3]
        tap.run("replay", "--topic", f"{name}.none", "--to", f"{name}.copy", "--yes", status=1)
        tap.run("replay", "--topic", f"{name}.a", "--to", f"{name}.>", "--yes", status=2)

    def test_copies_are_not_copied_again(self, tap, work):
        name, _, client = work
        tap.run("replay", "--topic", f"{name}.>", "--to", f"{name}.a", "--yes")
        assert [e["data"]["n"] for e in client.read(f"{name}.a")] == 2 * [0, 1, 2, 3, 4, 5]

    def test_report_for_programs(self, tap, work):
        name, _, client = work
        report = tap.lines("replay", "--topic", f"{name}.a", "--to", f"{name}.copy", "--yes")
        copies = client.read(f"{name}.copy")
        assert report == [{"topic": f"{name}.copy", "stored": 6, "first_seq": copies[0]["seq"], "last_seq": copies[-1]["seq"]}]

    def test_rate(self, tap, work):
        name, _, client = work
        tap.run("replay", "--topic", f"{name}.a", "--to", f"{name}.copy", "--rate", "10/s", "--yes")
        assert 400 <= spread_ms(client, f"{name}.copy") < 5000


class TestRetry:
    def dead(self, client, name):
        return [e["seq"] for e in client.call("dead", group=name)["entries"]]

    def test_limit_takes_the_oldest(self, daemon, tap, work):
        name, _, client = work
        bury(daemon, name, 6)
        dead = self.dead(client, name)
        assert "2 would be brought back" in tap.run("dlq", "retry", name, "--all", "--limit", 2, "--dry-run")
        assert "2 brought back" in tap.run("dlq", "retry", name, "--all", "--limit", 2, "--yes")
        assert self.dead(client, name) == dead[2:]
        tap.run("dlq", "retry", name, "--where", ".data.event.data.n >= 3", "--limit", 1, "--yes")
        assert self.dead(client, name) == [dead[2], *dead[4:]]
        tap.run("dlq", "retry", name, *dead[4:], "--limit", 1, "--yes")
        assert self.dead(client, name) == [dead[2], dead[5]]
        tap.run("dlq", "retry", name, "--all", "--limit", 0, "--yes", status=2)

    def test_rate(self, daemon, tap, work):
        name, _, client = work
        bury(daemon, name, 6)
        with Member(daemon.endpoint, name, 10) as member:
            began = time.monotonic()
            tap.run("dlq", "retry", name, "--all", "--rate", "10/s", "--yes")
            assert time.monotonic() - began > 0.45  # the sixth comes half a second after the first
            deliveries = member.take(6)
            # Before the member leaves: what it had would be dead again, with its deliveries used up.
            assert self.dead(client, name) == []
        assert [d.data["n"] for d in deliveries] == [0, 1, 2, 3, 4, 5]

    def test_rate_of_copies(self, daemon, tap, work):
        name, _, client = work
        bury(daemon, name, 6)
        tap.run("dlq", "retry", name, "--all", "--rate", "10/s", "--to", f"{name}.again", "--yes")
        assert 400 <= spread_ms(client, f"{name}.again") < 5000
        assert self.dead(client, name) == []

    def test_to_a_topic_says_so(self, daemon, tap, work):
        name, _, client = work
        bury(daemon, name, 2)
        assert f"2 published to {name}.again" in tap.run("dlq", "retry", name, "--all", "--to", f"{name}.again", "--yes")
        assert len(client.read(f"{name}.again")) == 2

    @pytest.mark.parametrize("rate", ["0", "x", "10/m", "-1", "100000000"])
    def test_wrong_rates(self, tap, rate):
        assert "--rate" in tap.run("dlq", "retry", "shipping", "--all", f"--rate={rate}", "--yes", status=2)


class TestTrace:
    def states(self, tap, name, seq):
        """What trace says of an event in a group: (as JSON, as text)."""
        hop = tap.lines("trace", seq)[0]
        assert hop["queue"]["seq"] == seq
        return next(g for g in hop["groups"] if g["group"] == name), tap.run("trace", seq)

    def check(self, tap, name, seq, state, **more):
        found, text = self.states(tap, name, seq)
        assert found["state"] == state and {**found, **more} == found, found
        line = next((line.strip() for line in text.splitlines() if line.strip().startswith(f"{name}: ")), None)
        assert line is None if state == "unwanted" else line.startswith(f"{name}: {state}"), text
        return line

    def test_each_state(self, daemon, tap, work):
        name, _, client = work
        tap.run("group", "delete", name, "--yes")
        topic, key = f"{name}.states", "abcddef"
        tap.run("group", "set", name, "--topic", topic, "--backoff", "1m", "--max-deliveries", 5)
        first = client.publish([new_event(topic, i, key=k) for i, k in enumerate(key)])["first_seq"]
        other = client.publish([new_event(f"{name}.other", 1)])["first_seq"]
        self.check(tap, name, first, "waiting", attempt=0, failures=0)
        with Member(daemon.endpoint, name, 4) as member:
            settled, delayed, dead, delivered = member.take(4)
            member.settle(delayed, NAK, error="not yet")
            member.settle(dead, TERM, error="never")
            wait_for(lambda: client.group(name)["dead"] == 1, 5, "it is dead")
            self.check(tap, name, settled.seq, "delivered", attempt=1)
            member.settle(settled, ACK)
            member.take(2)  # the last two: it holds three, and would take one more
            self.check(tap, name, settled.seq, "settled")
            assert "failed 1 time, not yet" in self.check(tap, name, delayed.seq, "delayed", failures=1, error="not yet")
            self.check(tap, name, dead.seq, "dead")
            self.check(tap, name, delivered.seq, "delivered", attempt=1)
            self.check(tap, name, first + 4, "blocked")
            self.check(tap, name, other, "unwanted")
            letter = client.call("dead", group=name)["entries"][0]["seq"]
            self.check(tap, name, letter, "dead")
        wait_for(lambda: client.group(name)["members"] == [], 5, "it has left")
        self.check(tap, name, delivered.seq, "ready")
        self.check(tap, name, first + 4, "blocked")
        tap.run("dlq", "retry", name, letter, "--yes")
        self.check(tap, name, dead.seq, "settled")
        self.check(tap, name, letter, "ready")
        tap.run("dlq", "drop", name, "--all", "--yes", status=1)

    def test_a_dropped_letter(self, daemon, tap, work):
        name, seqs, client = work
        bury(daemon, name, 1)
        letter = client.call("dead", group=name)["entries"][0]["seq"]
        tap.run("dlq", "drop", name, letter, "--yes")
        self.check(tap, name, seqs[0], "settled")
        self.check(tap, name, letter, "unwanted")  # it never was of the group's topics


class TestHowMuchIsShown:
    @pytest.fixture
    def long(self, tap, work):
        topic = f"{work[0]}.long"
        tap.run("pub", topic, json.dumps({"text": "x" * 1000}))
        return topic

    def test_max_body(self, tap, long):
        shown = tap.run("cat", long, "--max-body", 20)
        assert '{"text":"xxxxxxxxxxx... (991 bytes more)' in shown
        assert "x" * 1000 in tap.run("cat", long, "--max-body", "4KiB")
        event = tap.lines("cat", long, "--max-body", 20)[0]
        assert "data" not in event and event["queue"]["hidden_data_bytes"] > 1000
        assert tap.lines("cat", long, "--max-body", "4KiB")[0]["data"] == {"text": "x" * 1000}
        tap.run("cat", long, "--max-body", "much", status=2)

    def test_no_body_and_body_only(self, tap, long):
        assert "xxx" not in tap.run("cat", long, "--no-body")
        assert tap.run("cat", long, "--body-only") == json.dumps({"text": "x" * 1000}, separators=(",", ":")) + "\n"
        tap.run("cat", long, "--no-body", "--body-only", status=2)

    def test_hex_is_the_stored_bytes(self, tap, long):
        seq, topic, data = tap.run("cat", long, "-o", "hex").split()
        assert topic == long and bytes.fromhex(data) == b"\x81\xa4text\xda\x03\xe8" + b"x" * 1000
        assert tap.run("cat", long, "-o", "hex", "--max-body", 4).split()[2].startswith("81a47465")
