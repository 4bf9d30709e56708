# SPDX-License-Identifier: MIT
# Checking a log that no queue has open, or that one has: what is wrong is found and located, what is right is
# left alone, and nothing is changed.
import hashlib
import json
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from queue_client import new_event  # noqa: E402
from queue_daemon import Daemon  # noqa: E402
from suite import BUILD  # noqa: E402


@pytest.fixture(scope="module")
def written():
    """A daemon that has stopped in good order, with a log of several segments."""
    own = Daemon()
    own.start()
    with own.client() as client:
        for _ in range(40):
            client.publish([new_event("fault.test", b"x" * 1000) for _ in range(100)])
    own.stop()
    yield own
    own.close()


@pytest.fixture
def log(written, tmp_path):
    copy = tmp_path / "log"
    copy.mkdir()
    for file in (written.home / "queue").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def verify(log, program="sluice-queue"):
    before = {f.name: hashlib.sha256(f.read_bytes()).digest() for f in log.iterdir()}
    command = {"sluice-queue": ["--verify", log], "sluice-tap": ["verify", log]}[program]
    done = subprocess.run([BUILD / program, *command], capture_output=True, text=True)
    assert {f.name: hashlib.sha256(f.read_bytes()).digest() for f in log.iterdir()} == before
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, lines


def segments(log):
    return sorted(log.glob("*.seg"))


def flip(path, offset, bit=0):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("program", ["sluice-queue", "sluice-tap"])
def test_a_clean_log(log, program):
    status, lines = verify(log, program)
    assert status == 0, lines
    assert lines[-1] == {"segments": len(segments(log)), "events": 4000, "lost_events": 0, "damages": 0}
    assert [line["seal"] for line in lines[:-1]] == ["valid"] * (len(lines) - 2) + ["none"]


def test_a_log_in_use(written):
    written.start()
    with written.client() as client:
        client.info()
        status, lines = verify(written.home / "queue")
        assert status == 0 and lines[-1]["lost_events"] == 0
    written.stop()


def test_every_flipped_bit_of_a_frame_is_located(log):
    path = segments(log)[1]
    for offset in [8192, 8192 + 20, 8192 + 47, 300_000, 500_001]:
        flip(path, offset, offset % 8)
        status, lines = verify(log)
        assert status == 4
        damage = [line for line in lines if "damage" in line]
        assert len(damage) == 1 and damage[0]["damage"] == path.name
        assert damage[0]["offset"] <= offset < damage[0]["offset"] + damage[0]["bytes"]
        lost = [line["lost"] for line in lines if "lost" in line]
        assert sum(b - a + 1 for a, b in lost) == lines[-1]["lost_events"] == 4000 - lines[-1]["events"]
        flip(path, offset, offset % 8)
    assert verify(log)[0] == 0


def test_a_flipped_bit_of_header_seal_and_trailer(log):
    path = segments(log)[0]
    for offset in [3, 4096 + 30, path.stat().st_size - 5, path.stat().st_size - 200]:
        flip(path, offset)
        status, lines = verify(log)
        assert status == 4 and lines[-1]["lost_events"] == 0, offset
        flip(path, offset)


def test_a_missing_segment(log):
    path = segments(log)[1]
    first, after = int(path.stem), int(segments(log)[2].stem)
    path.unlink()
    status, lines = verify(log)
    assert status == 4
    assert [line["lost"] for line in lines if "lost" in line] == [[first, after - 1]]


def test_an_unfinished_write_is_no_damage(log):
    path = segments(log)[-1]
    used = len(path.read_bytes().rstrip(b"\0"))
    with path.open("r+b") as file:
        file.seek((used + 7) // 8 * 8)
        file.write(b"SQF1 an unfinished write")
    status, lines = verify(log)
    assert status == 0 and lines[-2]["unfinished_write"] is True


def test_wrong_usage(tmp_path):
    assert verify_status(tmp_path / "none") == 3
    assert verify_status(tmp_path) == 3  # there is nothing: that is no clean log
    done = subprocess.run([BUILD / "sluice-queue", "--verify"], capture_output=True, text=True)
    assert done.returncode != 0 and "--verify" in done.stderr


def verify_status(path):
    return subprocess.run([BUILD / "sluice-queue", "--verify", path], capture_output=True).returncode
