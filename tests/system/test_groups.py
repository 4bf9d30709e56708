# SPDX-License-Identifier: MIT
# Groups of the event queue against PROTOCOL.md 3.8 and 3.9, with the real daemon and nothing else: who gets what, how
# often, in which order, and what is left of it after a kill -9.
import os
import random
import signal
import time

import pytest
from people import fresh
from queue_client import ACK, ENDED, EXTEND, JOIN, JOINED, NAK, TERM, Member, Queue, Refused, new_event
from queue_daemon import Daemon, daemon  # noqa: F401
from suite import PATIENCE, wait_for


@pytest.fixture(scope="module")
def shared():
    """A queue for the tests that do no harm; each has a group and a topic of its own."""
    own = Daemon()
    own.start()
    yield own
    own.close()


class Desk:
    """A topic, a group on it, and its members."""

    def __init__(self, own, **options):
        self.daemon = own
        self.name = fresh("g").lower()
        self.topic = f"t.{self.name}"
        self.queue = Queue(own.endpoint)
        self.members = []
        self.options = {"group": self.name, "filters": [self.topic], "from": "start", "backoff_ms": 50, **options}
        assert self.queue.call("group-set", self.options)["created"]

    def publish(self, count=1, keys=None, data=None):
        """Their sequences; keys is a list that is gone through in turn."""
        answer = self.queue.publish([new_event(self.topic, i if data is None else data, keys[i % len(keys)] if keys else "")
                                     for i in range(count)])
        return list(range(answer["first_seq"], answer["last_seq"] + 1))

    def join(self, window=100):
        member = Member(self.daemon.endpoint, self.name, window)
        self.members.append(member)
        return member

    def state(self):
        return self.queue.group(self.name)

    def close(self):
        for member in [*self.members, self.queue]:
            member.socket.close()


@pytest.fixture
def desk(shared):
    opened = []

    def make(own=shared, **options):
        opened.append(Desk(own, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def seqs(deliveries):
    return [d.seq for d in deliveries]


class TestGroupSet:
    def test_the_same_call_again_changes_nothing(self, desk):
        d = desk()
        assert d.queue.call("group-set", d.options) == {"group": d.name, "created": False, "changed": False}
        assert d.queue.call("group-set", group=d.name) == {"group": d.name, "created": False, "changed": False}
        assert d.queue.call("group-set", group=d.name, max_deliveries=3) == {"group": d.name, "created": False, "changed": True}
        state = d.state()
        assert (state["max_deliveries"], state["backoff_ms"], state["filters"]) == (3, 50, [d.topic])

    def test_defaults(self, shared):
        with Queue(shared.endpoint) as queue:
            name = fresh("g").lower()
            queue.call("group-set", group=name)
            state = queue.group(name)
            expected = {"order": "key", "ack_wait_ms": 30000, "max_deliveries": 10, "backoff_ms": 1000,
                        "backoff_max_ms": 60000, "max_pending": 16384, "filters": [], "paused": False, "members": []}
            assert {key: state[key] for key in expected} == expected
            assert queue.call("group-delete", group=name) == {"deleted": True}

    WRONG = [("group", ""), ("group", "A"), ("group", "a..b"), ("group", "a" * 65), ("group", 1), ("filters", "a"),
             ("filters", ["a*"]), ("filters", ["a"] * 17), ("from", "middle"), ("from", "last"), ("value", -1),
             ("order", "random"), ("ack_wait_ms", 99), ("ack_wait_ms", 86400001), ("max_deliveries", 0),
             ("max_deliveries", 1001), ("backoff_ms", 0), ("backoff_ms", 86400001), ("backoff_max_ms", 0),
             ("max_pending", 0), ("max_pending", 65537), ("max_delivery", 3)]

    @pytest.mark.parametrize("argument,value", WRONG, ids=[f"{a} {str(v)[:12]}" for a, v in WRONG])
    def test_a_wrong_argument_is_named(self, shared, argument, value):
        with Queue(shared.endpoint) as queue:
            name = fresh("g").lower()
            with pytest.raises(Refused) as refusal:
                queue.call("group-set", {"group": name, argument: value})
            assert refusal.value.args[0] == "invalid-argument" and argument in refusal.value.args[1]
            assert name not in [g["group"] for g in queue.call("groups")["groups"]]

    def test_what_does_not_exist(self, shared):
        with Queue(shared.endpoint) as queue:
            for method in ["pending", "dead", "group-pause", "group-resume"]:
                with pytest.raises(Refused) as refusal:
                    queue.call(method, group="nobody")
                assert refusal.value.args[0] == "no-such-group", method
            with pytest.raises(Refused) as refusal:
                queue.call("group-sett", group="a")
            assert refusal.value.args[0] == "no-such-method"
            with pytest.raises(Refused) as refusal:
                Member(shared.endpoint, "nobody")
            assert refusal.value.args[0] == "no-such-group"

    def test_where_it_begins(self, desk):
        d = desk()
        first = d.publish(3)
        for start, expected in [({"from": "end"}, []), ({"from": "start"}, first),
                                ({"from": "seq", "value": first[1]}, first[1:]), ({}, [])]:
            name = fresh("g").lower()
            d.queue.call("group-set", {"group": name, "filters": [d.topic], **start})
            with Member(d.daemon.endpoint, name) as member:
                assert seqs(member.take(len(expected))) == expected, start
                member.none(0.05)
            d.queue.call("group-delete", group=name)


class TestSettling:
    def test_ack_is_for_ever(self, desk):
        d = desk()
        published = d.publish(5)
        member = d.join()
        got = member.take(5)
        assert seqs(got) == published and {g.attempt for g in got} == {1}
        assert member.settle(got) == (5, 0)
        assert member.settle(got) == (0, 5)  # a second time it is stale
        member.socket.close()
        d.join().none()
        state = d.state()
        assert (state["acked"], state["stale"], state["delivered"], state["floor_seq"]) == (5, 5, 0, published[-1] + 1)

    def test_a_range_means_what_was_delivered(self, desk):
        d = desk()
        d.publish(3)
        Desk(d.daemon).publish(2)  # of somebody else, in between
        d.publish(3)
        member = d.join()
        got = member.take(6)
        member.number += 1
        member.send(49, member.member, member.number, ACK, 0, "", [[got[0].seq, got[-1].seq, 1, 6]])
        frame = member.until(50)
        assert frame[3:] == [6, 0, True]

    @pytest.mark.alone
    def test_nak_with_delay(self, desk):
        d = desk()
        d.publish()
        member = d.join()
        first = member.take()[0]
        assert member.settle(first, NAK, delay_ms=300, error="not now") == (1, 0)
        begin = time.monotonic()
        again = member.take()[0]
        assert 0.28 <= time.monotonic() - begin < 0.6 * PATIENCE
        assert (again.seq, again.attempt) == (first.seq, 2)
        assert member.settle(first) == (0, 1)  # the older attempt
        assert member.settle(again) == (1, 0)

    @pytest.mark.alone
    def test_back_off_doubles_to_its_limit(self, desk):
        d = desk(backoff_ms=60, backoff_max_ms=200)
        d.publish()
        member = d.join()
        waits = []
        delivery = member.take()[0]
        for _ in range(4):
            begin = time.monotonic()
            member.settle(delivery, NAK)
            delivery = member.take()[0]
            waits.append(time.monotonic() - begin)
        for wait, expected in zip(waits, [0.06, 0.12, 0.2, 0.2]):
            assert expected * 0.95 <= wait < expected + 0.1 * PATIENCE, waits

    @pytest.mark.alone
    def test_ack_wait_and_extend(self, desk):
        d = desk(ack_wait_ms=300, backoff_ms=1)
        d.publish(2)
        a, b = d.join(1), d.join(1)
        mine, other = a.take()[0], b.take()[0]
        begin = time.monotonic()
        while time.monotonic() - begin < 0.7:
            assert b.settle(other, EXTEND) == (1, 0)
            time.sleep(0.05)
        a.pump()
        assert [x.attempt for x in a.deliveries] != [] and seqs(a.deliveries)[0] == mine.seq
        assert a.settle(mine) == (0, 1)  # its time was over
        assert b.settle(other) == (1, 0)  # this one's never was
        assert d.state()["timed_out"] >= 1

    def test_nobody_settles_for_another(self, desk):
        d = desk()
        d.publish(2)
        a, b = d.join(1), d.join(1)
        mine, other = a.take()[0], b.take()[0]
        assert a.settle(other) == (0, 1)
        assert b.settle(mine, TERM) == (0, 1)
        assert a.settle(mine) == (1, 0)
        assert b.settle(other) == (1, 0)

    def test_the_window(self, desk):
        d = desk()
        d.publish(50)
        member = d.join(3)
        got = member.take(3)
        member.none()
        member.settle(got[0])
        assert len(member.take()) == 1
        member.none()
        member.send(JOIN, member.member, d.name, 0)  # no more for now
        member.until(JOINED)
        member.settle(got[1:])
        member.none()
        member.send(JOIN, member.member, d.name, 10)
        assert len(member.take(9)) == 9
        member.none()


class TestDeadLetters:
    def dead(self, d):
        return d.queue.call("dead", group=d.name)

    def test_after_max_deliveries(self, desk):
        d = desk(max_deliveries=3, backoff_ms=1)
        seq = d.publish(1, keys=["k"], data={"total": 5})[0]
        behind = d.publish(1, keys=["k"])[0]
        member = d.join()
        for attempt in [1, 2, 3]:
            delivery = member.take()[0]
            assert (delivery.seq, delivery.attempt) == (seq, attempt)
            member.settle(delivery, NAK, error=f"reason {attempt}")
        assert seqs(member.take()) == [behind]  # the key goes on
        letter = d.queue.wait(bool, f"$dead.{d.name}")[0]
        data = letter["data"]
        assert (data["group"], data["reason"], data["error"], data["attempts"]) == (d.name, "max-deliveries", "reason 3", 3)
        assert (data["seq"], data["topic"], data["retries"], letter["key"]) == (seq, d.topic, 0, "k")
        assert data["event"]["data"] == {"total": 5} and data["event"]["topic"] == d.topic
        entry = self.dead(d)["entries"][0]
        assert (entry["seq"], entry["origin_seq"], entry["attempts"]) == (letter["seq"], seq, 3)
        trace = d.queue.call("trace", seq=seq)["groups"]
        assert [g["state"] for g in trace if g["group"] == d.name] == ["dead"]

    def test_term_is_at_once(self, desk):
        d = desk()
        d.publish()
        member = d.join()
        assert member.settle(member.take(), TERM, error="never") == (1, 0)
        data = d.queue.wait(bool, f"$dead.{d.name}")[0]["data"]
        assert (data["reason"], data["error"], data["attempts"]) == ("terminated", "never", 1)
        assert d.state()["dead"] == 1

    def test_wildcards_do_not_see_them(self, desk):
        d = desk(filters=[])
        d.publish()
        member = d.join()
        wait_for(lambda: d.topic in [x.event["topic"] for x in member.deliveries] or member.pump(0.01), 5, "delivered")
        mine = [x for x in member.deliveries if x.event["topic"] == d.topic]
        member.settle(mine, TERM)
        letter = d.queue.wait(bool, f"$dead.{d.name}")[0]
        for filters in [[], [">"], ["*.>"], [f"*.{d.name}"]]:
            assert letter["seq"] not in [e["seq"] for e in d.queue.read(*filters)], filters
        member.pump(0.1)
        assert not [x for x in member.deliveries if x.event["topic"].startswith("$")]
        with pytest.raises(Refused):
            d.queue.publish([new_event(f"$dead.{d.name}", 1)])

    def test_retry_and_drop(self, desk):
        d = desk()
        published = d.publish(3)
        member = d.join()
        member.settle(member.take(3), TERM)
        wait_for(lambda: self.dead(d)["total"] == 3, 5, "three dead letters")
        letters = [entry["seq"] for entry in self.dead(d)["entries"]]
        dry = d.queue.call("dead-retry", group=d.name, seqs=letters, dry_run=True)
        assert dry == {"changed": 3, "missing": 0}
        member.none(0.05)
        assert d.queue.call("dead-retry", group=d.name, seqs=[letters[0], 10**9]) == {"changed": 1, "missing": 1}
        back = member.take()[0]
        assert (back.seq, back.attempt, back.event["topic"], back.data) == (letters[0], 1, d.topic, 0)
        assert d.queue.call("dead-drop", group=d.name, seqs=[letters[1]]) == {"changed": 1, "missing": 0}
        assert d.queue.call("dead-drop", group=d.name, seqs=[letters[1]]) == {"changed": 0, "missing": 1}
        member.none(0.05)
        member.settle(back, TERM, error="again")
        last = d.queue.wait(lambda found: len(found) == 4, f"$dead.{d.name}")[-1]["data"]
        assert (last["retries"], last["seq"]) == (1, published[0])
        assert self.dead(d)["total"] == 2


class TestOrder:
    @pytest.mark.alone
    def test_per_key(self, desk):
        d = desk()
        published = d.publish(6, keys=["a", "b", "a"])  # a b a a b a
        a, b = d.join(), d.join()
        time.sleep(0.1)
        a.pump(), b.pump()
        assert sorted(seqs(a.deliveries + b.deliveries)) == published[:2]
        member = a if published[0] in seqs(a.deliveries) else b
        first = next(x for x in member.deliveries if x.seq == published[0])
        member.settle(first, NAK, delay_ms=150)
        time.sleep(0.05)
        a.pump(), b.pump()
        assert published[2] not in seqs(a.deliveries + b.deliveries)  # a failed one blocks its key too
        assert d.state()["blocked"] >= 3

    def test_none(self, desk):
        d = desk(order="none")
        published = d.publish(4, keys=["a"])
        member = d.join()
        got = member.take(4)
        assert seqs(got) == published
        member.settle(got[0], NAK, delay_ms=200)
        later = d.publish(1, keys=["a"])
        assert seqs(member.take()) == later

    def test_all(self, desk):
        d = desk(order="all", backoff_ms=1)
        published = d.publish(5, keys=["a", "b"])
        first, second = d.join(), d.join()
        got = first.take(5)
        second.none()
        first.settle(got[0])
        first.settle(got[1], NAK)
        again = first.take(4)
        assert seqs(again) == published[1:]  # everything behind it, too
        assert first.settle(got[2]) == (0, 1)
        first.socket.close()
        assert seqs(second.take(4)) == published[1:]

    def test_parallel_members_with_failures_and_lost_connections(self, desk):
        seed = random.randrange(10**6)
        print("seed", seed)
        dice = random.Random(seed)
        d = desk(max_deliveries=1000, backoff_ms=1, backoff_max_ms=5)
        keys = [f"k{i}" for i in range(20)]
        published = d.publish(600, keys=keys)
        key_of = {seq: keys[i % len(keys)] for i, seq in enumerate(published)}
        members = [d.join(dice.choice([1, 5, 50])) for _ in range(6)]
        settled, attempts = [], {}
        deadline = time.monotonic() + 30
        while len(settled) < len(published):
            assert time.monotonic() < deadline, (len(settled), d.state())
            i = dice.randrange(len(members))
            if dice.random() < 0.03:
                members[i].socket.close()
                members[i] = d.join(dice.choice([1, 5, 50]))
            members[i].pump()
            batch, members[i].deliveries = members[i].deliveries, []
            dice.shuffle(batch)
            good = []
            for x in batch:
                assert x.attempt > attempts.get(x.seq, 0), "attempts grow"
                attempts[x.seq] = x.attempt
                if dice.random() < 0.2:
                    members[i].settle(x, NAK)
                else:
                    good.append(x)
            if good:
                assert members[i].settle(good) == (len(good), 0)
                settled += seqs(good)
        assert sorted(settled) == published
        for key in keys:
            mine = [seq for seq in settled if key_of[seq] == key]
            assert mine == sorted(mine), key
        for member in members:
            member.none(0.01)


class TestMembers:
    def test_a_lost_one_gives_back_at_once(self, desk):
        d = desk()
        published = d.publish(10)
        lost = d.join()
        got = lost.take(10)
        other = d.join()
        lost.socket.close()
        begin = time.monotonic()
        again = other.take(10)
        assert time.monotonic() - begin < 0.1 * PATIENCE
        assert seqs(again) == published and {x.attempt for x in again} == {2}
        assert d.state()["redeliveries"] == 10
        returned = d.join()
        assert returned.settle(got) == (0, 10)  # after a reconnect
        assert other.settle(again) == (10, 0)

    def test_leaving_is_no_failure(self, desk):
        d = desk(max_deliveries=2)
        d.publish()
        for _ in range(4):
            member = d.join()
            assert member.take()
            member.leave()
        last = d.join()
        assert last.take() and d.state()["dead"] == 0
        assert d.queue.call("pending", group=d.name)["entries"][0]["failures"] == 0

    def test_a_stopped_one_costs_the_others_nothing(self, desk):
        d = desk(ack_wait_ms=60000)
        stopped = d.join(5)  # never reads
        member = d.join(100)
        published = d.publish(1000)
        done = []
        deadline = time.monotonic() + 10
        while len(done) < 995:
            assert time.monotonic() < deadline, d.state()
            member.pump()
            batch, member.deliveries = member.deliveries, []
            if batch:
                member.settle(batch)
                done += seqs(batch)
        assert len(set(done)) == len(done)
        stopped.socket.close()
        rest = member.take(5)
        assert sorted(done + seqs(rest)) == published

    def test_deleted(self, desk):
        d = desk()
        member = d.join()
        assert d.queue.call("group-delete", group=d.name) == {"deleted": True}
        assert member.until(ENDED)[3] == "no-such-group"
        assert d.queue.call("group-delete", group=d.name) == {"deleted": False}


class TestActing:
    def test_pause_and_resume(self, desk):
        d = desk()
        d.publish()
        member = d.join()
        under_way = member.take()
        assert d.queue.call("group-pause", group=d.name) == {"changed": True}
        assert d.queue.call("group-pause", group=d.name) == {"changed": False}
        later = d.publish(2)
        member.none()
        assert member.settle(under_way) == (1, 0)
        assert d.state()["paused"]
        assert d.queue.call("group-resume", group=d.name) == {"changed": True}
        assert seqs(member.take(2)) == later

    def test_seek(self, desk):
        d = desk()
        published = d.publish(10)
        member = d.join()
        got = member.take(10)
        member.settle(got[:5])
        dry = d.queue.call("group-seek", group=d.name, to="seq", value=published[2], dry_run=True)
        assert (dry["to_seq"], dry["pending"]) == (published[2], 5)
        member.none(0.05)
        assert d.queue.call("group-seek", group=d.name, to="seq", value=published[2]) == dry
        again = member.take(8)
        assert seqs(again) == published[2:]
        assert member.settle(got[5:])[0] == 0 or {x.attempt for x in again} == {1}
        d.queue.call("group-seek", group=d.name, to="end")
        member.none()
        d.queue.call("group-seek", group=d.name, to="start")
        assert seqs(member.take(10)) == published

    def test_replay(self, desk):
        d = desk()
        published = d.publish(5)
        other = Desk(d.daemon)
        foreign = other.publish(1)
        other.close()
        member = d.join()
        got = member.take(5)
        member.settle(got[:4])
        wanted = [published[1], published[4], foreign[0], 10**9]
        dry = d.queue.call("group-replay", group=d.name, seqs=wanted, dry_run=True)
        assert dry == {"added": 2, "missing": 1, "pending": 1}
        member.none(0.05)
        assert d.queue.call("group-replay", group=d.name, seqs=wanted) == dry
        again = member.take(2)
        assert sorted(seqs(again)) == sorted([published[1], foreign[0]])
        assert member.settle(again) == (2, 0)

    def test_pending_and_trace(self, desk):
        d = desk()
        published = d.publish(3, keys=["k"])
        member = d.join()
        first = member.take()[0]
        answer = d.queue.call("pending", group=d.name)
        assert answer["total"] == 3
        assert [(e["seq"], e["state"], e["attempt"]) for e in answer["entries"]] == [
            (published[0], "delivered", 1), (published[1], "blocked", 0), (published[2], "blocked", 0)]
        page = d.queue.call("pending", group=d.name, after=published[0], limit=1)
        assert [e["seq"] for e in page["entries"]] == [published[1]]
        member.settle(first, NAK, delay_ms=5000, error="what went wrong")
        entry = d.queue.call("pending", group=d.name)["entries"][0]
        assert (entry["state"], entry["failures"], entry["error"]) == ("delayed", 1, "what went wrong")
        assert 4000 < entry["due_ms"] <= 5000
        mine = [g for g in d.queue.call("trace", seq=published[0])["groups"] if g["group"] == d.name]
        assert (mine[0]["state"], mine[0]["failures"], mine[0]["error"]) == ("delayed", 1, "what went wrong")
        for argument, value in [("limit", 1001), ("limit", 0), ("after", -1), ("many", 1)]:
            with pytest.raises(Refused) as refusal:
                d.queue.call("pending", {"group": d.name, argument: value})
            assert refusal.value.args[0] == "invalid-argument" and argument in refusal.value.args[1]

    def test_seqs_are_limited(self, desk):
        d = desk()
        for method in ["dead-retry", "dead-drop", "group-replay"]:
            with pytest.raises(Refused) as refusal:
                d.queue.call(method, group=d.name, seqs=list(range(1, 1002)))
            assert refusal.value.args[0] == "invalid-argument" and "seqs" in refusal.value.args[1]


class TestNobodyIsThere:
    """What a group does not want is not what it lags behind, nor kept for it, though no member looks at it."""

    def waits_at(self, d, seq):
        wait_for(lambda: d.state()["next_seq"] == seq, 5 * PATIENCE, f"the group waits at {seq}")

    def test_others_events_are_no_lag(self, desk):
        d, other = desk(), desk()
        for _ in range(3):
            last = other.publish(5)[-1]
            wait_for(lambda end=last: d.state()["next_seq"] > end and d.state()["lag"] == 0, 5 * PATIENCE, "no lag")
        both = [new_event(topic, i, "") for i, topic in enumerate([other.topic, d.topic, other.topic, d.topic])]
        first = d.queue.publish(both)["first_seq"]  # in one block
        self.waits_at(d, first + 1)
        assert d.state()["lag"] >= 3
        other.publish(5)
        assert d.state()["next_seq"] == first + 1
        member = d.join()
        got = member.take(2)
        assert seqs(got) == [first + 1, first + 3]
        assert member.settle(got) == (2, 0)
        member.none()
        assert other.join().take(20)[-1].seq > first + 3  # whose own it was

    def test_what_it_wants_changes(self, desk):
        d, other = desk(), desk()
        waits = d.publish()[0]
        self.waits_at(d, waits)
        theirs = other.publish(2)
        d.queue.call("group-set", group=d.name, filters=[other.topic])
        self.waits_at(d, theirs[0])
        d.queue.call("group-seek", group=d.name, to="start")
        self.waits_at(d, theirs[0])
        d.queue.call("group-set", group=d.name, filters=[d.topic, other.topic])
        d.queue.call("group-seek", group=d.name, to="start")
        self.waits_at(d, waits)
        assert seqs(d.join().take(3)) == [waits, *theirs]

    def test_who_left_comes_back(self, desk):
        d, other = desk(), desk()
        published = d.publish(4)
        member = d.join(window=2)
        got = member.take(2)
        assert member.settle(got[1]) == (1, 0)
        member.leave()
        other.publish(3)
        member = d.join()
        assert sorted(seqs(member.take(3))) == [published[0], *published[2:]]

    def test_a_long_log_is_passed_over(self, daemon, desk):  # noqa: F811
        """Of which nothing is in memory, and each block has an event that the group had."""
        daemon.start()
        d, other = desk(daemon), desk(daemon)
        member = d.join(window=1000)
        for n in range(40):
            own = new_event(d.topic, n, "")
            d.queue.publish([own, *(new_event(other.topic, "x" * 1000, "") for _ in range(99))])
            assert member.settle(member.take()) == (1, 0)
        member.leave()
        daemon.kill()
        daemon.start()
        wait_for(lambda: d.state()["lag"] == 0, 10 * PATIENCE, "it has passed over what it had")
        last = d.publish()[0]
        self.waits_at(d, last)
        other.queue.call("group-seek", group=other.name, to="start")
        d.queue.call("group-set", group=d.name, filters=["nobody.>"])
        d.queue.call("group-seek", group=d.name, to="start")
        wait_for(lambda: d.state()["lag"] == 0, 10 * PATIENCE, "nothing of it is wanted")
        assert len(daemon.segments()) > 2
        assert other.state()["lag"] > 3900


class TestRestart:
    def test_kill_9(self, daemon, desk):  # noqa: F811
        daemon.start()
        d = desk(daemon)
        published = d.publish(6)
        member = d.join()
        got = member.take(6)
        assert member.settle(got[:2]) == (2, 0)
        member.settle(got[2], NAK, delay_ms=1500, error="later")
        member.settle(got[3], NAK, delay_ms=1, error="soon")
        again = member.take()[0]
        assert (again.seq, again.attempt) == (published[3], 2)
        told = time.monotonic()
        daemon.kill()
        member.socket.close()
        daemon.start()
        member = d.join()
        back = member.take(3)
        assert sorted(seqs(back)) == published[3:]  # settled stays settled, and the rest comes again
        assert next(x.attempt for x in back if x.seq == published[3]) >= 2  # the failure is remembered
        delayed = member.take()[0]
        assert 1.2 < time.monotonic() - told < 3 * PATIENCE  # and so is the time of the delayed one
        assert (delayed.seq, delayed.attempt) == (published[2], 2)
        entries = {e["seq"]: e for e in d.queue.call("pending", group=d.name)["entries"]}
        assert entries[published[2]]["error"] == "later"
        assert member.settle([*back, delayed]) == (4, 0)
        daemon.kill()
        daemon.start()
        d.join().none()

    def test_a_stopped_queue_loses_no_settlement(self, daemon, desk):  # noqa: F811
        daemon.start()
        d = desk(daemon)
        d.publish(3)
        member = d.join()
        got = member.take(3)
        os.kill(daemon.process.pid, signal.SIGSTOP)
        member.number += 1
        member.send(49, member.member, member.number, ACK, 0, "", [[x.seq, x.seq, 1, 1] for x in got])
        os.kill(daemon.process.pid, signal.SIGCONT)
        assert member.until(50)[3:] == [3, 0, True]
