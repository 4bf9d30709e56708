# SPDX-License-Identifier: MIT
# The event queue alone, with everything that can happen to its process and its disk: kill -9 under load, a full disk,
# an fdatasync that fails, bits that change, files that vanish, readers that do not read. What was acknowledged is there,
# once; what is lost is named; nothing else stops.
import contextlib
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import time

import msgpack
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from queue_client import CAUGHT_UP, ENDED, EVENTS, GRANT, LOST, PING, PONG, PUBLISHED, REFUSED, Queue, Refused, new_event  # noqa: E402
from queue_daemon import daemon  # noqa: E402,F401
from suite import BUILD, CLEAN, PATIENCE, wait_for  # noqa: E402

KILLS = int(os.environ.get("SLUICE_TEST_KILLS", "15"))
MIB = 1024 * 1024


def fill(client, count, size=1000, topic="fault.test", per_frame=100):
    for _ in range(count // per_frame):
        client.publish([new_event(topic, b"x" * size) for _ in range(per_frame)])


def read_raw(client, **options):
    """Sequences read and the ranges told as lost, from the first event to the end."""
    subscription = client.subscribe(credit=1 << 30, **options)
    seqs, lost = [], []
    while True:
        frame = client.receive()
        if frame[0] == EVENTS and frame[1] == subscription:
            seqs += [entry[0] for entry in frame[2]]
        elif frame[0] == LOST:
            lost.append((frame[2], frame[3]))
        elif frame[0] == ENDED:
            return seqs, lost


class Publisher:
    """Keeps 20 batches in flight, and after a crash sends again what was not acknowledged, as an outbox does."""

    def __init__(self, name):
        self.name, self.seq, self.acknowledged = name, 0, 0
        self.waiting = []  # (request, entries), in order
        self.queue = None

    def connect(self, endpoint):
        self.queue = Queue(endpoint)
        for request, entries in self.waiting:
            self.queue.send(32, request, self.name, entries)

    def work(self, more):
        while more and len(self.waiting) < 20:
            entries = []
            for _ in range(random.choice([1, 1, 5, 50])):
                self.seq += 1
                event = [f"{self.name}:{self.seq}", "fault.test", "k", "", "/test", 0, "", b"x" * random.choice([0, 900])]
                entries.append([self.seq, msgpack.packb(event)])
            self.waiting.append((self.seq, entries))
            self.queue.send(32, self.seq, self.name, entries)
        while self.queue.socket.poll(0):
            frame = msgpack.unpackb(self.queue.socket.recv())
            assert frame[0] == PUBLISHED and frame[1] == self.waiting[0][0]
            assert frame[5] + frame[6] == len(self.waiting[0][1])
            self.acknowledged = self.waiting.pop(0)[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_under_load(daemon, seed):
    random.seed(seed)
    publishers = [Publisher(f"store-{i}") for i in range(3)]
    for _ in range(KILLS):
        daemon.start()
        for p in publishers:
            p.connect(daemon.endpoint)
        end = time.monotonic() + random.uniform(0.02, 0.4)
        while time.monotonic() < end:
            for p in publishers:
                p.work(True)
        daemon.kill()
        for p in publishers:
            p.queue.socket.poll(20)
            p.work(False)  # answers that were on their way
            p.queue.socket.close()
    daemon.start()
    for p in publishers:
        p.connect(daemon.endpoint)
        wait_for(lambda p=p: p.work(False) or not p.waiting, 20, "everything is acknowledged")
    with daemon.client() as client:
        assert client.info()["lost"] == []
        found = [event["id"].split(":") for event in raw_events(client)]
    for p in publishers:
        assert [int(seq) for name, seq in found if name == p.name] == list(range(1, p.seq + 1))
        p.queue.socket.close()
    daemon.stop()


def raw_events(client):
    subscription = client.subscribe(credit=1 << 30)
    found = []
    while True:
        frame = client.receive()
        if frame[0] == EVENTS and frame[1] == subscription:
            found += [{"seq": seq, "id": msgpack.unpackb(event)[0]} for seq, _, event in frame[2]]
        elif frame[0] == ENDED:
            assert [e["seq"] for e in found] == list(range(1, len(found) + 1))
            return found


def limit_files(process, limit):
    """From now on its files cannot grow over limit: to the queue that is a full disk."""
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, hard))


def test_full_disk(daemon):
    process = daemon.start()
    with daemon.client() as client:
        fill(client, 100)
        limit_files(process, MIB // 2)
        seq = 0
        with pytest.raises(Refused, match="disk-full"):
            while seq < 5000:
                client.publish([new_event("a.b", b"x" * 1000) for _ in range(50)], "p", first_seq=seq + 1)
                seq += 50
        assert seq < 1500  # the open segment is used to its end, no more
        refused = [new_event("a.b", b"x" * 1000) for _ in range(50)]
        with pytest.raises(Refused, match="disk-full"):
            client.publish(refused, "p", first_seq=seq + 51)
        assert len(read_raw(client)[0]) == 100 + seq  # reading goes on
        limit_files(process, resource.RLIM_INFINITY)
        time.sleep(1.1)  # the queue looks again after a second
        # What comes behind a refused event must not be stored before it: that one would then pass for a duplicate.
        with pytest.raises(Refused, match="disk-full"):
            client.publish(refused, "p", first_seq=seq + 51)
        assert client.publish(refused, "p", first_seq=seq + 1)["stored"] == 50
        assert client.publish(refused, "p", first_seq=seq + 51)["stored"] == 50
        assert read_raw(client) == (list(range(1, 100 + seq + 101)), [])
    assert "no room on the disk" in daemon.log() and "publishing works" in daemon.log()
    daemon.stop()


def test_failed_fdatasync_stops_the_queue(daemon):
    shim = BUILD / "fail_sync.so"
    program = (BUILD / "sluice-queue").read_bytes()
    if b"__asan_init" in program or b"__tsan_init" in program:
        pytest.skip("a preloaded library and a sanitizer exclude each other")
    process = daemon.start(LD_PRELOAD=str(shim), FAIL_SYNC_AT="6")
    with daemon.client() as client:
        stored = 0
        with pytest.raises(TimeoutError):
            client.timeout_ms = 2000
            for _ in range(20):
                stored += client.publish([new_event("a.b", 1)])["stored"]
        assert 0 < stored < 20
    assert process.wait(10) == 1  # not zero: the supervisor starts another
    assert "fdatasync: Input/output error" in daemon.log()
    daemon.process = None
    daemon.start()
    with daemon.client() as client:
        assert client.info()["last_seq"] >= stored
        assert client.publish([new_event("a.b", 1)])["durable"]
    daemon.stop()


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


class TestDamage:
    def test_in_a_running_queue(self, daemon):
        daemon.start()
        with daemon.client() as client:
            fill(client, 40_000, per_frame=500)  # more than is kept in memory
            flip(daemon.segments()[2], 500_000)
            seqs, lost = read_raw(client)
            assert len(lost) == 1 and len(seqs) == 40_000 - (lost[0][1] - lost[0][0] + 1)
            assert client.info()["lost"] == [list(lost[0])]
            count = lost[0][1] - lost[0][0] + 1
        assert f"sluice_queue_lost_records_total {count}" in daemon.page("/metrics")
        assert f"events {lost[0][0]} to {lost[0][1]} are lost" in daemon.log()
        daemon.stop()

    def test_is_found_before_anybody_reads(self, daemon):
        daemon.start()
        with daemon.client() as client:
            fill(client, 3000)
        daemon.stop()
        flip(daemon.segments()[0], 500_000)
        daemon.start()
        with daemon.client() as client:
            lost = wait_for(lambda: client.info()["lost"], 10, "the background pass finds the damage")
        assert len(lost) == 1
        daemon.stop()

    def test_of_a_whole_file(self, daemon):
        daemon.start()
        with daemon.client() as client:
            fill(client, 4000)
        daemon.stop()
        first = int(daemon.segments()[1].stem)
        after = int(daemon.segments()[2].stem)
        daemon.segments()[1].unlink()
        daemon.start()
        with daemon.client() as client:
            seqs, lost = read_raw(client)
            assert lost == [(first, after - 1)] and len(seqs) == 4000 - (after - first)
            assert client.publish([new_event("a.b", 1)])["first_seq"] == 4001
        daemon.stop()

    def test_before_a_stop_in_good_order_is_not_cut_off(self, daemon):
        daemon.start()
        with daemon.client() as client:
            client.publish([new_event("a.b", 1)])
            client.publish([new_event("a.b", 2)])
        daemon.stop()
        data = daemon.segments()[0].read_bytes().rstrip(b"\0")
        frames = [at for at in range(8192, len(data), 8) if data[at:at + 4] == b"SQF1"]
        assert len(frames) == 4  # checkpoint, two commits, checkpoint
        flip(daemon.segments()[0], frames[2] + 60)
        daemon.start()
        with daemon.client() as client:
            assert read_raw(client) == ([1], [(2, 2)])
            assert client.publish([new_event("a.b", 1)])["first_seq"] == 3  # no sequence is used twice
        daemon.stop()

    @pytest.mark.parametrize("arguments,environment", [(["--strict"], {}), ([], {"SLUICE_QUEUE_STRICT": "true"})])
    def test_a_strict_queue_does_not_start_on_it(self, daemon, arguments, environment):
        daemon.start("queue-1", *arguments, **environment)
        with daemon.client() as client:
            client.publish([new_event("a.b", 1)])
            client.publish([new_event("a.b", 2), new_event("a.b", 3)])
        daemon.kill()
        daemon.start("queue-1", *arguments, **environment)  # a process that was killed is no damage
        with daemon.client() as client:
            assert client.info()["events"] == 3
        daemon.stop()
        path = daemon.segments()[0]
        data = path.read_bytes()
        frames = [at for at in range(8192, len(data), 8) if data[at:at + 4] == b"SQF1"]
        flip(path, frames[2] + 60)
        before = {file.name: file.read_bytes() for file in (daemon.home / "queue").iterdir()}
        process = daemon.start("queue-1", *arguments, **environment)
        assert process.wait(10 * PATIENCE) == 1
        daemon.process = None
        assert "LOST 2..3" in daemon.log()
        assert before == {file.name: file.read_bytes() for file in (daemon.home / "queue").iterdir()}
        daemon.start()  # without it the rest is served
        with daemon.client() as client:
            assert read_raw(client) == ([1], [(2, 3)])
        daemon.stop()

    def test_unfinished_write_is_cut_and_kept(self, daemon):
        daemon.start()
        with daemon.client() as client:
            client.publish([new_event("a.b", 1)])
        daemon.kill()
        path = daemon.segments()[0]
        end = len(path.read_bytes().rstrip(b"\0")) + 7 & ~7
        with open(path, "r+b") as file:
            file.seek(end)
            file.write(b"SQF1 half a frame")
        daemon.start()
        with daemon.client() as client:
            assert read_raw(client) == ([1], [])
            assert client.publish([new_event("a.b", 1)])["first_seq"] == 2
        copies = list((daemon.home / "queue").glob("*.torn"))
        assert len(copies) == 1 and copies[0].read_bytes() == b"SQF1 half a frame"
        assert daemon.log().count("unfinished write") == 1
        daemon.stop()


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_standby_takes_over(daemon, end):
    daemon.start()
    with daemon.client() as client:
        client.publish([new_event("a.b", 1)], "p")
        standby = daemon.start("queue-2")
        health = [BUILD / "sluice-queue", "healthcheck"]
        env = {**CLEAN, "SLUICE_HOME": str(daemon.home), "SLUICE_INSTANCE": "queue-2"}
        wait_for(lambda: (daemon.home / "run/queue-2.admin.sock").exists(), 10, "the standby runs")
        assert subprocess.run(health, env=env, capture_output=True).returncode == 1  # not ready, serves nothing
        getattr(daemon, end)()
        daemon.process = standby
        client.send(32, 99, "p", [[1, new_event("a.b", 1)], [2, new_event("a.b", 2)]])
        while True:
            with contextlib.suppress(TimeoutError):
                frame = client.receive(200)
                break
            client.send(32, 99, "p", [[1, new_event("a.b", 1)], [2, new_event("a.b", 2)]])
        assert frame[0] == PUBLISHED and frame[4] == 2  # it knows what the first one had stored
        assert len(read_raw(client)[0]) == 2
    with daemon.client() as client:
        assert client.info()["events"] == 2  # its socket is still where new clients look for it
    daemon.stop()


def test_stop_under_load_answers_everything(daemon):
    daemon.start()
    with daemon.client() as client, daemon.client() as reader:
        client.publish([new_event("a.b", 0)])
        subscription = reader.subscribe(follow=True, **{"from": "end"})
        reader.receive()
        for number in range(300):
            client.send(32, 1000 + number, None, [[0, new_event("a.b", number)]] * 100)
        daemon.process.send_signal(signal.SIGTERM)
        answers = {PUBLISHED: 0, REFUSED: 0}
        while sum(answers.values()) < 300 and client.socket.poll(3000):
            frame = msgpack.unpackb(client.socket.recv())
            answers[frame[0]] = answers.get(frame[0], 0) + 1
            assert frame[0] != REFUSED or frame[3] == "stopping"
        while (frame := reader.receive())[0] != ENDED:
            pass
        assert frame[1] == subscription and frame[3] == "stopping"
        assert daemon.process.wait(20) == 0
        daemon.process = None
    daemon.start()
    with daemon.client() as client:
        assert client.info()["events"] >= 1 + 100 * answers[PUBLISHED]
    daemon.stop()


def test_readers_that_do_not_read(daemon):
    daemon.start()
    with daemon.client() as client:
        fill(client, 60_000, per_frame=500)
        dead = [daemon.client() for _ in range(50)]
        for reader in dead:
            reader.subscribe(credit=1 << 31)
        seqs, lost = read_raw(client)  # served all the same
        assert len(seqs) == 60_000 and not lost
        assert daemon.rss_mib() < 600  # 50 x 4 MiB on their way, 64 MiB of blocks
        frames = 0
        while dead[0].socket.poll(300):  # and when it reads at last, nothing is missing
            frame = msgpack.unpackb(dead[0].socket.recv())
            if frame[0] == PING:
                dead[0].send(PONG, frame[1], 0)
            frames += len(frame[2]) if frame[0] == EVENTS else 0
        assert frames == 60_000
        for reader in dead:
            reader.socket.close()
        wait_for(lambda: client.info()["subscriptions"] == [], 10, "who is gone is forgotten")
    daemon.stop()


def test_credit_by_small_steps_from_disk(daemon):
    daemon.start()
    with daemon.client() as client:
        fill(client, 40_000, per_frame=500)
        subscription = client.subscribe(credit=7, until_seq=5000)
        seqs = []
        while (frame := client.receive())[0] != ENDED:
            seqs += [entry[0] for entry in frame[2]]
            client.send(GRANT, subscription, len(frame[2]))
        assert seqs == list(range(1, 5001)) and frame[3] == "until"
    daemon.stop()


def test_an_end_needs_no_credit(daemon):
    daemon.start()
    with daemon.client() as client:
        client.publish([new_event("a.b", n, key="rare") for n in range(5)])
        fill(client, 3000)  # far more than is looked at in one step, and none of it matches
        subscription = client.subscribe(credit=5, key="rare")
        assert [entry[0] for entry in client.receive()[2]] == [1, 2, 3, 4, 5]
        assert client.receive()[:4] == [ENDED, subscription, 3006, "end"]
        subscription = client.subscribe(credit=0, key="rare", follow=True, **{"from": "seq", "value": 6})
        assert client.receive() == [CAUGHT_UP, subscription, 3006]
        subscription = client.subscribe(credit=2, key="rare", **{"from": "last", "value": 2})
        assert [entry[0] for entry in client.receive()[2]] == [4, 5]
        assert client.receive()[:4] == [ENDED, subscription, 3006, "end"]
    daemon.stop()


def test_retention_by_bytes(daemon):
    daemon.start(SLUICE_QUEUE_RETENTION_BYTES="4MiB")
    with daemon.client() as client:
        client.publish([new_event("old.topic", 1)], "old-store", first_seq=41)
        fill(client, 10_000)
        wait_for(lambda: client.info()["bytes"] <= 4 * MIB, 15, "old segments are removed")
        info = client.info()
        assert info["first_seq"] > 1 and info["last_seq"] == 10_001
        assert [t["topic"] for t in info["topics"]] == ["fault.test"]
        seqs, lost = read_raw(client)
        assert seqs == list(range(info["first_seq"], 10_002)) and not lost
        assert client.publish([new_event("a.b", 1)], "old-store", first_seq=41)["duplicates"] == 1
    daemon.stop()
    daemon.start()
    with daemon.client() as client:  # producers' sequences outlive the segments that they were stored in
        assert client.publish([new_event("a.b", 1)], "old-store", first_seq=41)["duplicates"] == 1
    daemon.stop()


def test_one_header_is_enough(daemon):
    daemon.start()
    with daemon.client() as client:
        client.publish([new_event("a.b", 1)])
    daemon.stop()
    flip(daemon.segments()[0], 9)
    daemon.start()
    with daemon.client() as client:
        assert read_raw(client) == ([1], [])
    assert "offset 0 are damaged; no event is lost" in daemon.log()
    daemon.stop()


def test_retention_by_topic(daemon):
    rules = "gone.>:count=1;kept.>:age=0,bytes=0"
    daemon.start(SLUICE_QUEUE_RETENTION_TOPICS=rules)
    with daemon.client() as client:
        for part in range(4):  # the first segments have both; then there are some of only one kind
            client.publish([new_event("kept.a", part)])
            fill(client, 3000, topic="gone.b")
            client.publish([new_event("kept.a", part)])
        fill(client, 3000, topic="kept.b")
        client.publish([new_event("gone.b", "the one that is kept")])
        wait_for(lambda: client.info()["holes"], 15, "segments in the middle are removed")
        wait_for(lambda: len(daemon.segments()) == client.info()["segments"], 15, "and their files deleted")
        info = client.info()
        assert info["first_seq"] == 1 and info["n_holes"] == len(info["holes"])
        assert info["retention_rules"][0] == {"filter": "gone.>", "age_ms": 7 * 24 * 3600 * 1000, "count": 1,
                                              "bytes": 8 << 30}
        events = client.read("kept.>")
        assert len(events) == 3008
        assert [e["data"] for e in client.read("gone.>")] == ["the one that is kept"]
        assert info["events"] == 3009 and {t["topic"]: t["events"] for t in info["topics"]}["gone.b"] == 1
        seqs, lost = read_raw(client)
        assert len(seqs) == 3009 and not lost
        assert [e["seq"] for e in client.read(**{"from": "last", "value": 3005})] == seqs[-3005:]
    assert 'sluice_queue_retention_segments_total{reason="count"}' in daemon.page("/metrics")
    for end in (daemon.kill, daemon.stop):
        end()
        daemon.start(SLUICE_QUEUE_RETENTION_TOPICS=rules)
        with daemon.client() as client:
            assert read_raw(client) == (seqs, [])  # from the first reader on
            info = client.info()
            assert info["holes"] and not info["lost"] and info["events"] == 3009
    assert "damage" not in daemon.log() and "lost" not in daemon.log()
    daemon.stop()


@pytest.mark.parametrize("rules,reason", [("orders.>:age=1", "age=1: it must be a duration"),
                                          ("Orders:age=1d", "does not begin with a topic")])
def test_wrong_rules_are_refused(daemon, rules, reason):
    process = daemon.start(SLUICE_QUEUE_RETENTION_TOPICS=rules)
    assert process.wait(10) == 78
    daemon.process = None
    assert "SLUICE_QUEUE_RETENTION_TOPICS: rule" in daemon.log() and reason in daemon.log()
