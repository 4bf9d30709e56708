# SPDX-License-Identifier: MIT
# The log of `sluice up --detach`: whatever is going on (moves, compressions, a full disk, processes
# that are killed), each line is in exactly one file and whole, or it is counted as lost.
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time

import pytest
from suite import BUILD, CLEAN, SANITIZED, Suite, run, wait_for

LINES_OF_A_FILE = 65536 // 360  # what a line of the access log takes, about


class Detached(Suite):
    """A suite in the background, with the smallest log files."""

    def __init__(self, **environment):
        super().__init__(
            SLUICE_LOG_ROTATE_BYTES="64KiB",
            SLUICE_SURVEY_INTERVAL="100ms",
            SLUICE_ALERT_AFTER="0s",
            **environment,
        )
        self.log_path = self.home / "run/sluice.log"

    def up(self):
        result = run("sluice", "up", "--detach", env=self.env)
        assert result.returncode == 0, result.stderr
        return self

    def down(self):
        result = run("sluice", "down", env=self.env)
        assert result.returncode == 0, result.stderr

    def supervisor_pid(self):
        return self.status()["pid"]

    def writer_pid(self):
        """Of the log writer, which is the supervisor's child like the others."""
        supervisor = self.supervisor_pid()
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = path.read_text()
                name = text[text.index("(") + 1 : text.rindex(")")]
                if name == "sluice-log" and text.rpartition(")")[2].split()[1] == str(supervisor):
                    return int(path.parent.name)
        return None

    def archives(self):
        return sorted(self.home.glob("run/sluice.log.*"))

    def log(self):
        """All of it, the oldest first."""
        parts = []
        for path in [*self.archives(), self.log_path]:
            assert path.suffix != ".tmp", path
            content = path.read_bytes()
            if path.suffix == ".zst":
                content = subprocess.run(
                    ["zstd", "-dc"], input=content, capture_output=True, check=True
                ).stdout
            assert content.endswith(b"\n") or not content, path
            parts.append(content.decode())
        return "".join(parts)

    def requests(self):
        """The lines of the access log. Every line of the log must be JSON."""
        records = list(self.records())
        assert not [record for record in records if record.get("raw")]
        return [record for record in records if record.get("body") == "request"]

    def close(self):
        try:
            if self.supervisor_pid_or_none():
                super().close()
            else:
                self.check_log()
        finally:
            run("sluice", "down", env=self.env)
            shutil.rmtree(self.home, ignore_errors=True)

    def supervisor_pid_or_none(self):
        with contextlib.suppress(OSError):
            return self.supervisor_pid()


@pytest.fixture
def detached():
    with Detached() as own:
        yield own


def ask(suite, count, answered=None):
    """Asks that often, on one connection; returns how many were answered until it ended."""
    done = 0
    connection = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=20)
    try:
        for _ in range(count):
            connection.request("GET", "/v1/products?limit=1")
            response = connection.getresponse()
            response.read()
            assert response.status in (200, 503), response.status
            done += 1
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    if answered is not None:
        answered.append(done)
    return done


def ask_all(suite, count, threads=4):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: ask(suite, count // threads), range(threads)))


def test_no_line_is_lost_or_torn_when_files_change(detached):
    detached.up()
    assert ask_all(detached, 2400) == 2400
    wait_for(
        lambda: all(path.suffix == ".zst" for path in detached.archives()),
        10,
        "everything is compressed",
    )
    metrics = detached.supervisor_metrics()
    moves = metrics['sluice_supervisor_log_rotations_total{result="done"}']
    assert moves >= 2400 / LINES_OF_A_FILE / 2
    assert metrics['sluice_supervisor_log_rotations_total{result="failed"}'] == 0
    assert metrics["sluice_supervisor_log_lost_lines_total"] == 0
    assert detached.metrics("gateway-1")["sluice_log_lost_total"] == 0
    detached.down()
    assert len(detached.requests()) == 2400
    ids = {record["request.id"] for record in detached.requests()}
    assert len(ids) == 2400
    assert len(detached.archives()) >= moves
    for path in [*detached.archives(), detached.log_path]:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_size <= 65536
    # The last word is the supervisor's, which the writer waited for.
    assert json.loads(detached.log_path.read_text().splitlines()[-1])["body"] == "stopped"


def test_the_supervisor_is_killed_in_the_middle(detached):
    detached.up()
    answered = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(ask, detached, 100000, answered)
        wait_for(lambda: len(detached.archives()) >= 2, 20, "a file was moved away")
        os.kill(detached.supervisor_pid(), signal.SIGKILL)
    run("sluice", "down", env=detached.env)  # waits for the last of its processes
    # What was answered was logged, by processes that had nobody above them any more.
    logged = len(detached.requests())
    assert sum(answered) <= logged <= sum(answered) + 4
    stops = [record for record in detached.records() if "stopped with status" in record["body"]]
    assert {record["service.instance.id"] for record in stops} == {
        "queue-1",
        "users-1",
        "orders-1",
        "search-1",
        "gateway-1",
    }
    # And the next one goes on where it was.
    detached.up()
    assert ask(detached, 10) == 10
    detached.down()
    assert len(detached.requests()) == logged + 10


def test_the_writer_is_killed_in_the_middle(detached):
    """What it has read and not written is written by the next one: nothing is lost, torn, or there twice."""
    detached.up()
    answered = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(ask, detached, 1000, answered)
        # The first lines that another one reads are those of 200 ms, and it is killed at once.
        for kills in range(1, 6):
            os.kill(wait_for(detached.writer_pid, 5, "there is a writer"), signal.SIGKILL)
            wait_for(
                lambda n=kills: detached.supervisor_metrics()[
                    "sluice_supervisor_log_writer_restarts_total"
                ]
                == n,
                5,
                "another one was started",
            )
    detached.down()
    assert sum(answered) == 4000
    ids = [record["request.id"] for record in detached.requests()]
    assert len(ids) == 4000
    assert len(set(ids)) == 4000
    ends = [record for record in detached.records() if "the log writer ended" in record["body"]]
    assert len(ends) == 5
    assert "signal 9" in ends[0]["body"]


def test_only_so_many_are_kept(detached):
    detached.environment["SLUICE_LOG_KEEP_FILES"] = 2
    detached.up()
    ask_all(detached, 2000)
    wait_for(
        lambda: (
            detached.supervisor_metrics()["sluice_supervisor_log_archives_removed_total"] >= 3
            and len(detached.archives()) == 2
        ),
        10,
        "the oldest were removed",
    )
    assert detached.supervisor_metrics()["sluice_supervisor_log_archives"] == 2


def test_age(detached):
    detached.environment["SLUICE_LOG_ROTATE_AGE"] = "1s"
    detached.up()
    wait_for(
        lambda: [path for path in detached.archives() if path.suffix == ".zst"],
        10,
        "it was moved away for its age",
    )


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's own files are limited, too")
def test_a_full_disk(detached):
    """The limit on the size of files stands for it: a short write, then none at all."""
    detached.environment["SLUICE_LOG_ROTATE_BYTES"] = "1GiB"
    detached.up()
    assert ask(detached, 20) == 20
    writer = detached.writer_pid()
    wait_for(lambda: len(detached.requests()) == 20, 5, "they are written")
    size = detached.log_path.stat().st_size
    soft, hard = resource.prlimit(writer, resource.RLIMIT_FSIZE)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (size + 1000, hard))
    assert ask(detached, 100) == 100  # nobody is held up
    wait_for(
        lambda: detached.supervisor_metrics()["sluice_supervisor_log_trouble"] == 1, 5, "it is known"
    )
    # In these minutes the alert is the only one who can say it.
    wait_for(
        lambda: [
            alert
            for alert in detached.control({"command": "alerts"})["alerts"]
            if alert["alert"] == "SluiceLogLost" and alert["status"] == "firing"
        ],
        5,
        "it is told of",
    )
    assert detached.log_path.stat().st_size <= size + 1000
    assert detached.log_path.read_bytes().endswith(b"}\n")
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (soft, hard))
    assert ask(detached, 20) == 20
    wait_for(
        lambda: detached.supervisor_metrics()["sluice_supervisor_log_trouble"] == 0, 5, "it is over"
    )
    wait_for(
        lambda: not [
            alert
            for alert in detached.control({"command": "alerts"})["alerts"]
            if alert["alert"] == "SluiceLogLost"
        ],
        5,
        "that is told of, too",
    )
    lost = detached.supervisor_metrics()["sluice_supervisor_log_lost_lines_total"]
    detached.down()
    told = [r["body"] for r in detached.records() if "lines were lost here" in r["body"]]
    assert sum(int(body.split()[0]) for body in told) == lost > 0
    assert told[0].endswith("could not be written: File too large")
    assert len(detached.requests()) + lost >= 140


def test_a_writer_that_is_stopped_holds_nobody_up(detached):
    detached.up()
    writer = detached.writer_pid()
    os.kill(writer, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        assert ask_all(detached, 6000) == 6000  # more than the pipe takes
        lost = detached.metrics("gateway-1")["sluice_log_lost_total"]
        assert lost > 100
        assert detached.is_ready()
        wait_for(
            lambda: detached.supervisor_metrics()["sluice_supervisor_log_trouble"] == 1,
            15,
            "nobody writes the log, and that is known",
        )
    finally:
        os.kill(writer, signal.SIGCONT)
    assert time.monotonic() - begin < 60
    wait_for(
        lambda: detached.supervisor_metrics()["sluice_supervisor_log_trouble"] == 0, 5, "it is over"
    )
    assert ask(detached, 10) == 10
    lost = detached.metrics("gateway-1")["sluice_log_lost_total"]
    detached.down()
    # Among those of the gateway that are lost may be others.
    assert 6010 <= len(detached.requests()) + lost <= 6010 + 100


def test_down_waits_for_the_log(detached):
    """Who reads the log after `sluice down` reads all of it."""
    detached.up()
    supervisor = detached.supervisor_pid()
    pipe = os.open(f"/proc/{supervisor}/fd/1", os.O_WRONLY)
    down = subprocess.Popen(
        [BUILD / "sluice", "down"], env=detached.env, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: not pathlib.Path(f"/proc/{supervisor}").exists(), 20, "it has stopped")
    with pytest.raises(subprocess.TimeoutExpired):
        down.wait(timeout=0.3)
    os.write(pipe, b'{"body":"the last word, without a newline"}')
    os.close(pipe)
    assert down.wait(timeout=10) == 0
    last = detached.log_path.read_text().splitlines()[-1]
    assert json.loads(last)["body"] == "the last word, without a newline"


def test_somebody_moves_the_file(detached):
    detached.up()
    detached.log_path.rename(detached.home / "moved")
    wait_for(detached.log_path.exists, 5, "it was made anew")
    assert ask(detached, 10) == 10
    wait_for(lambda: len(detached.requests()) == 10, 5, "it is written to")
    assert "moved by somebody else" in detached.log()


def test_a_compression_that_was_cut_off_is_made_again(detached):
    detached.up()
    ask(detached, 400)
    wait_for(lambda: len(detached.archives()) >= 1, 5, "a file was moved away")
    detached.down()
    logged = len(detached.requests())
    first = detached.archives()[0]
    raw = first.with_suffix("") if first.suffix == ".zst" else first
    if first != raw:
        subprocess.run(["zstd", "-dq", "--rm", first], check=True)
    pathlib.Path(f"{raw}.zst.tmp").write_bytes(b"half")
    detached.up()
    wait_for(lambda: pathlib.Path(f"{raw}.zst").exists() and not raw.exists(), 10, "it is made")
    detached.down()
    assert len(detached.requests()) == logged


def test_a_start_that_fails_says_why(detached):
    detached.environment["SLUICE_CAPACITY"] = "many"
    result = run("sluice", "up", "--detach", env=detached.env)
    assert result.returncode == 78
    assert 'SLUICE_CAPACITY is "many"' in result.stderr
    for instance in ("users-1", "orders-1", "search-1"):
        detached.expect_death(instance, 100)  # it goes on trying until it is stopped


def test_a_link_is_refused(detached):
    (detached.home / "run").mkdir()
    detached.log_path.symlink_to(detached.home / "elsewhere")
    result = run("sluice", "up", "--detach", env=detached.env)
    assert result.returncode == 78
    assert "run/sluice.log: Too many levels of symbolic links" in result.stderr
    detached.log_path.unlink()
    detached.log_path.touch()


@pytest.mark.parametrize(
    "name,value",
    [
        ("SLUICE_LOG_ROTATE_BYTES", "1KiB"),
        ("SLUICE_LOG_ROTATE_BYTES", "much"),
        ("SLUICE_LOG_ROTATE_AGE", "24"),
        ("SLUICE_LOG_ROTATE_AGE", "1000d"),
        ("SLUICE_LOG_KEEP_FILES", "0"),
        ("SLUICE_LOG_KEEP_FILES", "10001"),
        ("SLUICE_LOG_KEEP_BYTES", "-1"),
    ],
)
def test_wrong_values(tmp_path, name, value):
    env = {**CLEAN, "SLUICE_HOME": str(tmp_path), name: value}
    result = run("sluice", "check-config", env=env)
    assert result.returncode == 78
    assert f'{name} is "{value}"' in result.stderr
