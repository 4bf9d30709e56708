# SPDX-License-Identifier: MIT
# Sealed segments that are kept compressed: what was stored is read as before, `zstd -d` gives the very segment back, and
# neither a kill -9, flipped bits, a full disk nor a lost directory passes unnoticed.
import pathlib
import random
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from queue_client import ENDED, EVENTS, LOST, Member, new_event  # noqa: E402
from queue_daemon import Daemon  # noqa: E402
from suite import BUILD, wait_for  # noqa: E402


@pytest.fixture
def daemon(tmp_path):
    own = Daemon()
    own.archive = tmp_path / "archive"
    own.archive.mkdir()
    yield own
    own.close()


def start(daemon, **environment):
    daemon.start(SLUICE_QUEUE_ARCHIVE=str(daemon.archive), **environment)


def fill(client, count=4000):
    for i in range(count // 100):
        client.publish([new_event("a.b", {"n": i * 100 + k, "text": "text " * 150}, key=f"k{k}") for k in range(100)])


def archives(daemon):
    return sorted(daemon.archive.glob("*.seg.zst"))


def wait_archived(daemon):
    wait_for(lambda: len(daemon.segments()) == 1, 20, "all but the open segment are archived")


def read_all(client):
    """(sequences, ranges told as lost), whatever is in between."""
    subscription = client.subscribe(credit=1 << 30)
    seqs, lost = [], []
    while True:
        frame = client.receive()
        if frame[0] == EVENTS and frame[1] == subscription:
            seqs += [entry[0] for entry in frame[2]]
        elif frame[0] == LOST:
            lost.append((frame[2], frame[3]))
        elif frame[0] == ENDED:
            return seqs, lost


def test_read_through_and_the_very_bytes(daemon, tmp_path):
    daemon.start()
    with daemon.client() as client:
        fill(client)
    daemon.stop()
    before = {}
    for path in daemon.segments():
        before[path.name] = path.read_bytes()
    start(daemon)
    with daemon.client() as client:
        wait_archived(daemon)
        assert read_all(client) == (list(range(1, 4001)), [])
        assert client.read("a.b", **{"from": "seq", "value": 1234})[0]["data"]["n"] == 1233
        for path in archives(daemon):
            plain = tmp_path / path.stem
            subprocess.run(["zstd", "-q", "-d", path, "-o", plain], check=True)
            assert plain.read_bytes() == before[path.stem]
        packed = sum(path.stat().st_size for path in archives(daemon))
        assert packed < sum(map(len, before.values())) / 2
        assert f"sluice_queue_archived_segments {len(archives(daemon))}" in daemon.page("/metrics")
    daemon.stop()
    start(daemon)  # and after a restart
    with daemon.client() as client:
        assert read_all(client) == (list(range(1, 4001)), [])
        client.call("group-set", group="g", **{"from": "start"})
        with Member(daemon.endpoint, "g", 1000) as member:
            done = 0
            while done < 4000:
                deliveries = member.take(1)
                deliveries += member.take(len(member.deliveries))
                assert member.settle(deliveries) == (len(deliveries), 0)
                done += len(deliveries)
        assert client.publish([new_event("a.b", 1)])["first_seq"] == 4001
    daemon.stop()


@pytest.mark.parametrize("where", ["first", "middle", "table"])
def test_flipped_bits_are_named(daemon, where):
    start(daemon)
    with daemon.client() as client:
        fill(client)
        wait_archived(daemon)
    daemon.stop()
    path = archives(daemon)[1]
    data = bytearray(path.read_bytes())
    at = {"first": 40, "middle": len(data) // 2, "table": len(data) - 30}[where]
    data[at] ^= 4
    path.write_bytes(data)
    start(daemon)
    with daemon.client() as client:
        seqs, lost = read_all(client)
        assert sorted(seqs + [seq for a, b in lost for seq in range(a, b + 1)]) == list(range(1, 4001))
        if where == "middle":
            assert lost and client.info()["lost"] == [list(r) for r in lost]
        elif where == "table":
            assert not lost
    daemon.stop()


def test_kill_9_while_archiving(daemon):
    dice = random.Random(7)
    stored = 0
    for _ in range(12):
        start(daemon)
        with daemon.client() as client:
            client.info()
            fill(client, 600)
            stored += 600
            time.sleep(dice.uniform(0, 0.1))
            daemon.kill()
    start(daemon)
    with daemon.client() as client:
        assert read_all(client) == (list(range(1, stored + 1)), [])
        wait_archived(daemon)
        assert read_all(client) == (list(range(1, stored + 1)), [])
    assert not list(daemon.archive.glob("*.tmp"))
    daemon.stop()


def test_retention_reaches_archives(daemon):
    start(daemon)
    with daemon.client() as client:
        fill(client, 4000)
        wait_archived(daemon)
    daemon.stop()
    n = len(archives(daemon))
    start(daemon, SLUICE_QUEUE_RETENTION_COUNT="1")
    with daemon.client() as client:
        wait_for(lambda: len(archives(daemon)) < n - 2, 10, "archives are removed")
        wait_for(lambda: client.info()["first_seq"] > 2000, 10, "events are gone")
    daemon.stop()


def test_a_full_archive_stops_nothing(daemon):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", daemon.archive]).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        start(daemon)
        with daemon.client() as client:
            for _ in range(10):
                client.publish([new_event("a.b", random.randbytes(3000)) for _ in range(100)])
            wait_for(lambda: "cannot be archived" in daemon.log(), 10, "it is told")
            assert len(read_all(client)[0]) == 1000
            assert len(daemon.segments()) > 2
        daemon.stop()
    finally:
        subprocess.run(["umount", daemon.archive], check=True)


def test_a_lost_directory_is_an_error(daemon):
    start(daemon)
    with daemon.client() as client:
        fill(client, 1000)
    daemon.stop()
    shutil.rmtree(daemon.archive)
    start(daemon)
    assert daemon.process.wait(10) != 0
    daemon.process = None
    assert str(daemon.archive) in daemon.log()


def test_verify_looks_into_the_archive(daemon):
    start(daemon)
    with daemon.client() as client:
        fill(client)
        wait_archived(daemon)
    daemon.stop()
    verify = [BUILD / "sluice-queue", "--verify", daemon.home / "queue"]
    done = subprocess.run([*verify, daemon.archive], capture_output=True, text=True)
    assert done.returncode == 0 and '"events":4000,"lost_events":0' in done.stdout
    path = archives(daemon)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = subprocess.run([*verify, daemon.archive], capture_output=True, text=True)
    assert done.returncode == 4 and '"lost"' in done.stdout
