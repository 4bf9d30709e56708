# SPDX-License-Identifier: MIT
# The C client and a queue that does not answer: whatever is published is taken or refused at once, never dropped; what was
# taken is stored once the queue goes on, and a group of the C client settles all of it, also over a kill -9.
import json
import pathlib
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from queue_daemon import daemon  # noqa: E402,F401
from suite import BUILD, wait_for  # noqa: E402

COUNT = 200_000


def start(daemon):  # noqa: F811
    return subprocess.Popen([BUILD / "queue_flood", daemon.endpoint, str(COUNT)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("killed", [False, True])
def test_a_stopped_queue_loses_nothing(daemon, killed):  # noqa: F811
    daemon.start(SLUICE_QUEUE_SEGMENT_BYTES="16MiB")
    with daemon.client() as client:
        client.info()
    daemon.process.send_signal(signal.SIGSTOP)
    flood = start(daemon)
    called = json.loads(flood.stdout.readline())  # without waiting for the queue
    assert called["taken"] + called["refused"] == COUNT
    assert called["taken"] > 0 and called["refused"] > 0
    if killed:
        daemon.kill()
        daemon.start(SLUICE_QUEUE_SEGMENT_BYTES="16MiB")
    else:
        daemon.process.send_signal(signal.SIGCONT)
    done = json.loads(flood.stdout.readline())
    assert flood.wait(30) == 0
    assert done["stored"] == called["taken"] and done["failed"] == 0 and done["in_order"]
    assert (done["settled"], done["stale"], done["rooms"]) == (called["taken"], 0, 1)
    with daemon.client() as client:
        assert client.info()["last_seq"] >= called["taken"]
        wait_for(lambda: client.group("flood")["lag"] == 0, 5, "all is settled")
    daemon.stop()
