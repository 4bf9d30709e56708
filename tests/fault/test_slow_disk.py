# SPDX-License-Identifier: MIT
# A disk whose syncs take long (slow_sync.c) is seen where it is: in the metrics of the process that
# syncs, and of those that wait for it.
import contextlib
import mmap
import pathlib
import struct
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from people import add_product, admin_of, register  # noqa: E402
from suite import BUILD, SANITIZED, Suite, wait_for  # noqa: E402
from test_hops import place  # noqa: E402

SLOW_SYNC = BUILD / "slow_sync.so"
DELAY_MS = 300

pytestmark = pytest.mark.skipif(
    SANITIZED, reason="a preloaded library and a sanitizer exclude each other"
)


class Control:
    """What slow_sync.c is told."""

    def __init__(self, path):
        path.write_bytes(struct.pack("=I", 0))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def delay(self, ms):
        self.memory[:4] = struct.pack("=I", ms)


@contextlib.contextmanager
def slow(program, path):
    control = Control(path)
    with Suite(LD_PRELOAD=SLOW_SYNC, SLOW_SYNC_PROGRAM=program, SLOW_SYNC_CONTROL=path) as suite:
        yield suite.up(), control


def slower(suite, instance, histogram):
    """How many observations took longer than 250 ms."""
    m = suite.metrics(instance)
    return m[f"{histogram}_count"] - m[f'{histogram}_bucket{{le="0.25"}}']


# Who is slow, and which histograms of which process tell of it.
PLACES = {
    "sluice-orders": [
        ("orders-1", "sluice_store_commit_seconds"),
        ("orders-1", "sluice_store_write_seconds"),
    ],
    "sluice-queue": [
        ("queue-1", "sluice_queue_fdatasync_duration_seconds"),
        ("queue-1", "sluice_queue_publish_seconds"),
        ("orders-1", "sluice_outbox_publish_seconds"),
    ],
}


@pytest.mark.parametrize("program", PLACES)
def test_slow_syncs_are_measured(program, tmp_path):
    with slow(program, tmp_path / "control") as (suite, control):
        product = add_product(admin_of(suite))
        ada = register(suite.port)
        place(ada, product)
        wait_for(lambda: suite.metrics("orders-1")["sluice_outbox_rows"] == 0, 5, "it is published")
        before = [slower(suite, *place_) for place_ in PLACES[program]]
        control.delay(DELAY_MS)
        place(ada, product)
        for known, (instance, histogram) in zip(before, PLACES[program]):
            wait_for(
                lambda: slower(suite, instance, histogram) > known, 10, f"{histogram} of {instance}"
            )
        control.delay(0)
