# SPDX-License-Identifier: MIT
# kill -9 of the queue, again and again, while events are published and a group with key order works on them. A ledger at
# the client's side says afterwards what must be true: nothing that was acknowledged is lost, nothing is stored twice,
# every event was settled, in the order of its key, and what was confirmed as settled never came again.
import os
import pathlib
import random
import sys
import threading
import time

import zmq

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from queue_client import Member, Queue, Refused, new_event  # noqa: E402
from queue_daemon import daemon  # noqa: E402,F401
from suite import PATIENCE  # noqa: E402

KILLS = int(os.environ.get("SLUICE_TEST_KILLS", "20"))
KEYS = [f"k{i}" for i in range(12)]
BATCH = 20
TOPIC, GROUP = "kill.test", "kill"
ANSWER_S = 0.3  # without an answer for so long: a new connection, and again


class Producer(threading.Thread):
    """Publishes numbered events with producer sequences, each batch until it is acknowledged."""

    def __init__(self, endpoint, stop):
        super().__init__()
        self.endpoint, self.stop = endpoint, stop
        self.acknowledged = {}  # number: sequence; 0 when the answer was lost and a repeat was told of a duplicate
        self.error = None

    def run(self):
        try:
            number = 1
            while not self.stop.is_set():
                events = [new_event(TOPIC, number + i, KEYS[(number + i) % len(KEYS)]) for i in range(BATCH)]
                self.publish(events, number)
                number += BATCH
        except BaseException as error:
            self.error = error

    def publish(self, events, number):
        while True:
            try:
                with Queue(self.endpoint, ANSWER_S) as queue:
                    while True:
                        answer = queue.publish(events, "producer", number)
                        assert answer["durable"] and answer["stored"] + answer["duplicates"] == BATCH
                        assert answer["stored"] in (0, BATCH), "a batch is stored whole or not at all"
                        for i in range(BATCH):
                            self.acknowledged[number + i] = answer["first_seq"] and answer["first_seq"] + i
                        return
            except TimeoutError:
                time.sleep(0.01)
            except Refused as refusal:
                assert refusal.args[0] == "stopping", refusal.args


class Worker(threading.Thread):
    """A member that joins again whenever its connection is silent, and writes down what it did."""

    def __init__(self, endpoint, ledger, stop, seed):
        super().__init__()
        self.endpoint, self.ledger, self.stop = endpoint, ledger, stop
        self.dice = random.Random(seed)
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                try:
                    with Member(self.endpoint, GROUP, self.dice.choice([5, 50]), ANSWER_S) as member:
                        self.work(member)
                except TimeoutError:
                    pass
        except BaseException as error:
            self.error = error

    def work(self, member):
        silent_since = time.monotonic()
        while not self.stop.is_set():
            member.pump(0.005)
            batch, member.deliveries = member.deliveries, []
            if not batch and time.monotonic() - silent_since > ANSWER_S:
                member.info()  # TimeoutError: the queue is not there
                silent_since = time.monotonic()
            if not batch:
                continue
            silent_since = time.monotonic()
            self.ledger.delivered(batch)
            failed = [d for d in batch if self.dice.random() < 0.05]
            done = [d for d in batch if d not in failed]
            for d in failed:
                member.settle(d, 1, delay_ms=1)
            if done:
                self.ledger.settling(done)
                settled, stale = member.settle(done)
                assert settled + stale == len(done)
                if stale:
                    return  # the connection was lost and came back without its member
                self.ledger.confirmed(done)


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.data = {}  # seq: (key, number)
        self.sent = []  # seqs in the order in which a settlement was sent for the first time
        self.sent_set, self.settled = set(), set()
        self.again = []  # what must not have happened
        self.history = {}  # seq: what was done with it, for whoever has to find out

    def delivered(self, batch):
        with self.lock:
            for d in batch:
                self.note(d, "delivered")
                if d.seq in self.settled:
                    self.again.append(d)
                known = self.data.setdefault(d.seq, (d.key, d.data))
                assert known == (d.key, d.data), "an event changed"

    def settling(self, batch):
        with self.lock:
            for d in batch:
                self.note(d, "settling")
                if d.seq not in self.sent_set:
                    self.sent_set.add(d.seq)
                    self.sent.append(d.seq)

    def confirmed(self, batch):
        with self.lock:
            self.settled.update(d.seq for d in batch)
            for d in batch:
                self.note(d, "settled")

    def note(self, d, what):
        moment = f"{time.monotonic():.4f}"
        self.history.setdefault(d.seq, []).append((moment, threading.current_thread().name, what, d.attempt))

    def explain(self, d):
        """The history of a delivery, with the kills in between."""
        mine = self.history[d.seq]
        return "\n".join(map(str, sorted(mine + [k for k in self.history[0] if mine[0][0] < k[0] < mine[-1][0]])))

    def kills(self, what):
        with self.lock:
            self.history.setdefault(0, []).append((f"{time.monotonic():.4f}", what))


def kill_again_and_again(daemon, dice, ledger, threads):  # noqa: F811
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.01, 0.15))
        ledger.kills("kill")
        daemon.kill()
        ledger.kills("start")
        daemon.start()
        with daemon.client() as client:
            client.info()
        for thread in threads:
            assert not thread.error, thread.error


def wait_settled(daemon, ledger, total, threads):  # noqa: F811
    deadline = time.monotonic() + 60 * PATIENCE + KILLS  # what was published meanwhile waits for its keys
    while len(ledger.sent_set) < total:
        assert time.monotonic() < deadline, (len(ledger.sent_set), total)
        for thread in threads:
            assert not thread.error, thread.error
        time.sleep(0.05)
    with daemon.client() as client:
        while (state := client.group(GROUP))["floor_seq"] <= total:
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        assert state["dead"] == 0


def test_kill_under_load(daemon):  # noqa: F811
    seed = int(os.environ.get("SLUICE_TEST_SEED", random.randrange(10**6)))
    print("SLUICE_TEST_SEED", seed)
    zmq.Context.instance().set(zmq.MAX_SOCKETS, 8192)
    daemon.start()
    with daemon.client() as client:
        client.call("group-set", {"group": GROUP, "filters": [TOPIC], "from": "start"}, max_deliveries=1000,
                    backoff_ms=1, backoff_max_ms=5, ack_wait_ms=60000)
    no_more, stop, ledger = threading.Event(), threading.Event(), Ledger()
    producer = Producer(daemon.endpoint, no_more)
    workers = [Worker(daemon.endpoint, ledger, stop, seed + i) for i in range(3)]
    threads = [producer, *workers]
    try:
        for thread in threads:
            thread.start()
        kill_again_and_again(daemon, random.Random(seed), ledger, threads)
        no_more.set()
        producer.join()
        with daemon.client() as client:
            stored = client.read(TOPIC)
        wait_settled(daemon, ledger, len(stored), threads)
    finally:
        no_more.set()
        stop.set()
        for thread in threads:
            thread.join()
    for thread in threads:
        assert not thread.error, thread.error

    numbers = [e["data"] for e in stored]
    assert numbers == list(range(1, len(numbers) + 1)), "in order, none twice, none missing"
    seq_of = {e["data"]: e["seq"] for e in stored}
    assert set(producer.acknowledged) == set(numbers)
    assert all(seq in (0, seq_of[number]) for number, seq in producer.acknowledged.items())
    assert sorted(ledger.sent) == [e["seq"] for e in stored], "every event was settled"
    assert not ledger.again, f"settled, and delivered again: {ledger.again[:10]}\n{ledger.explain(ledger.again[0])}"
    for key in KEYS:
        mine = [seq for seq in ledger.sent if ledger.data[seq][0] == key]
        assert mine == sorted(mine), f"order of {key}"
    assert len(numbers) > KILLS * BATCH / 4, f"there was no load: {len(numbers)} events"
    print(f"{KILLS} kills, {len(numbers)} events")
