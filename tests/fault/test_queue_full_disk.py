# SPDX-License-Identifier: MIT
# A disk without room, as a small file system that really has none: publishing is refused, while members of groups go on until
# everything is settled, and a kill -9 in the middle forgets none of it.
import pathlib
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from queue_client import TERM, Member, Refused, new_event  # noqa: E402
from queue_daemon import Daemon  # noqa: E402
from suite import wait_for  # noqa: E402


@pytest.fixture
def daemon():
    own = Daemon()
    disk = own.home / "queue"
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2500k,mode=700", "none", disk])
    if mounted.returncode:
        own.close()
        pytest.skip("mounting a small file system needs root")
    yield own
    if own.process:
        own.kill()
    subprocess.run(["umount", disk], check=True)
    own.close()


def fill_disk(client):
    """Publishes until there is no room; returns how many events are stored."""
    stored = 0
    with pytest.raises(Refused, match="disk-full"):
        while stored < 10_000:
            stored += client.publish(
                [new_event("a.b", b"x" * 1000, key=f"k{i % 7}") for i in range(50)]
            )["stored"]
    return stored


def settle_some(member, settled, until):
    """Settles what comes, a window at a time, until that many are."""
    while len(settled) < until:
        deliveries = member.take(1, timeout_s=10)
        member.pump(0.001)
        deliveries += member.take(len(member.deliveries))
        assert not settled & {d.seq for d in deliveries}  # what was settled never comes again
        assert member.settle(deliveries) == (len(deliveries), 0)
        settled |= {d.seq for d in deliveries}


@pytest.mark.parametrize("killed", [False, True])
def test_members_go_on(daemon, killed):
    daemon.start()
    with daemon.client() as client:
        client.call("group-set", group="g", max_deliveries=3)
        stored = fill_disk(client)
        settled = set()
        with Member(daemon.endpoint, "g", window=100) as member:
            settle_some(member, settled, stored // 2)
        with pytest.raises(Refused, match="disk-full"):
            client.publish([new_event("a.b", 1)])
        if killed:
            daemon.kill()
            daemon.start()
            wait_for(lambda: client.info(), 10, "the queue is back")
        with Member(daemon.endpoint, "g", window=100) as member:
            settle_some(member, settled, stored)
        assert client.group("g")["lag"] == 0
    assert "no room on the disk" in daemon.log()


def test_dead_letters_wait_for_room(daemon):
    daemon.start()
    with daemon.client() as client:
        client.call("group-set", group="g")
        fill_disk(client)
        with Member(daemon.endpoint, "g", window=10) as member:
            first = member.take(2)[0]
            assert member.settle(first, TERM, error="never") == (1, 0)
            entry = client.call("pending", group="g")["entries"][0]
            assert (entry["seq"], entry["state"], entry["error"]) == (first.seq, "dying", "never")
        daemon.kill()
        daemon.start()
        with Member(daemon.endpoint, "g", window=10) as member:
            # What was terminated does not come again: only the heads of the six other keys do, as they come back.
            assert {d.seq - first.seq for d in member.take(6)} == set(range(1, 7))
        subprocess.run(["mount", "-o", "remount,size=20m", daemon.home / "queue"], check=True)
        wait_for(lambda: client.call("dead", group="g")["total"] == 1, 10, "it is buried")
        dead = client.read("$dead.g")
        assert [(d["data"]["seq"], d["data"]["reason"], d["data"]["error"]) for d in dead] == [
            (first.seq, "terminated", "never")
        ]
    daemon.stop()


def test_room_that_comes_back_is_found(daemon):
    daemon.start()
    with daemon.client() as client:
        fill_disk(client)
        subprocess.run(["mount", "-o", "remount,size=20m", daemon.home / "queue"], check=True)
        time.sleep(1.1)  # the queue looks again after a second
        assert client.publish([new_event("a.b", 1)])["stored"] == 1
    wait_for(lambda: "publishing works" in daemon.log(), 10, "the queue says so")
    daemon.stop()
