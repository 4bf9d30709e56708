# SPDX-License-Identifier: MIT
# sluice-tap verify DIR --archive ARCHIVE: a log whose sealed segments are archived is checked without its queue, and
# whatever is not there or not as it was is named, never passed over.
import json
import shutil
import subprocess

import pytest
from queue_client import new_event
from queue_daemon import Daemon
from suite import BUILD, CLEAN, wait_for


def write_log(archive, count):
    """A daemon that has stopped in good order, with all segments but the last in the archive."""
    own = Daemon()
    try:
        own.start(SLUICE_QUEUE_ARCHIVE=str(archive))
        with own.client() as client:
            for i in range(0, count, 100):
                client.publish([new_event("a.b", {"n": i + k, "text": "text " * 150}) for k in range(100)])
            wait_for(lambda: len(own.segments()) == 1 and archives(archive), 20, "all but one are archived")
        own.stop()
    except BaseException:
        own.close()
        raise
    return own


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    archive = tmp_path_factory.mktemp("archive")
    own = write_log(archive, 4000)
    yield own.home / "queue", archive
    own.close()


@pytest.fixture
def log(written, tmp_path):
    """(directory of the log, directory of its archive): copies that a test may spoil."""
    return shutil.copytree(written[0], tmp_path / "log"), shutil.copytree(written[1], tmp_path / "archive")


def verify(*arguments, program="sluice-tap"):
    """(exit status, records of the report, standard error)"""
    done = subprocess.run([BUILD / program, *map(str, arguments)], env=CLEAN, capture_output=True, text=True, timeout=60)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def lost(report):
    return [tuple(line["lost"]) for line in report if "lost" in line]


def archives(archive):
    return sorted(archive.glob("*.seg.zst"))


def first_seq(path):
    return int(path.name.split(".")[0])


def contents(*directories):
    return {path: path.read_bytes() for directory in directories for path in directory.iterdir()}


def test_clean_and_unchanged(log):
    before = contents(*log)
    status, report, error = verify("verify", log[0], "--archive", log[1])
    assert (status, error) == (0, "")
    assert report[-1] == {"segments": len(archives(log[1])) + 1, "events": 4000, "lost_events": 0, "damages": 0}
    assert contents(*log) == before
    assert (status, report, error) == verify("--verify", *log, program="sluice-queue")


def test_without_its_archive_the_last_segment_is_all(log):
    status, report, _ = verify("verify", log[0])
    assert status == 0 and report[-1]["segments"] == 1 and report[0]["first_seq"] > 1


@pytest.mark.parametrize("where", ["head", "middle"])
def test_flipped_byte(log, where):
    path = archives(log[1])[1]
    data = bytearray(path.read_bytes())
    data[{"head": 60, "middle": len(data) // 2}[where]] ^= 0x10
    path.write_bytes(data)
    status, report, _ = verify("verify", log[0], "--archive", log[1])
    assert status == 4 and report[-1]["damages"] > 0
    after = first_seq(archives(log[1])[2])
    damaged = {line["damage"] for line in report if "damage" in line} | {s["segment"] for s in report if s.get("damages") and "segment" in s}
    assert path.name.removesuffix(".zst") in damaged
    assert all(first_seq(path) <= a <= b < after for a, b in lost(report))
    assert sum(b - a + 1 for a, b in lost(report)) == report[-1]["lost_events"] == 4000 - report[-1]["events"]
    if where == "middle":
        assert lost(report)


def test_missing_segment(log):
    path, after = archives(log[1])[1:3]
    path.unlink()
    status, report, _ = verify("verify", log[0], "--archive", log[1])
    assert status == 4 and lost(report) == [(first_seq(path), first_seq(after) - 1)]


def test_wrong_directories(log, tmp_path):
    (tmp_path / "empty").mkdir()
    for directory, archive, named in [
        (log[0], tmp_path / "none", str(tmp_path / "none")),
        (tmp_path / "none", log[1], str(tmp_path / "none")),
        (tmp_path / "empty", log[1], "no segment"),
        (log[0], log[0] / "lease", "Not a directory"),
    ]:
        status, report, error = verify("verify", directory, "--archive", archive)
        assert (status, report) == (3, []) and named in error
    status, report, error = verify("verify", log[0], "--archive", tmp_path / "empty")
    assert status == 0 and "no archived segment" in error  # as after a start with a new archive


def test_archive_of_another_log(log, tmp_path):
    (tmp_path / "other").mkdir()
    write_log(tmp_path / "other", 2000).close()
    status, report, _ = verify("verify", log[0], "--archive", tmp_path / "other")
    assert status == 3
    assert any("another log" in line.get("error", "") for line in report)


def test_usage(written):
    status, _, error = verify("verify", "--archive", written[1])
    assert status == 2 and "DIR" in error
    status, _, error = verify("verify", written[0], "--archive")
    assert status == 2 and "value is missing" in error
    assert verify("ls", "--archive", written[1])[0] == 2


def test_is_in_help_manual_and_completion():
    for arguments in (["help", "verify"], ["--help"], ["--man"], ["--completion", "bash"], ["--completion", "zsh"]):
        text = subprocess.run([BUILD / "sluice-tap", *arguments], capture_output=True, text=True).stdout
        assert "archive" in text.replace("\\-", "-"), arguments
