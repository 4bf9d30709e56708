# SPDX-License-Identifier: MIT
# What is wrong with a configuration, a home or a store is said in one clear line, and the exit
# status is not 0.
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from api import Client
from loadgen import slow_service
from people import add_product, admin_of, register
from suite import BUILD, CLEAN, PATIENCE, REPORTS, SANITIZED, Suite, free_port, new_home, run, wait_for
from wire import Wire

FAILED, USAGE, CONFIG = 1, 64, 78
PROCESSES = ["sluice-queue", "sluice-users", "sluice-orders", "sluice-search", "sluice-gateway"]
PROGRAMS = ["sluice", *PROCESSES, "sluice-tap"]


@pytest.fixture
def home():
    """A home with its keys, and nothing running."""
    path = new_home()
    assert run("sluice", "init", env={**CLEAN, "SLUICE_HOME": str(path)}).returncode == 0
    yield path
    shutil.rmtree(path, ignore_errors=True)


def errors_in(text):
    """What lines in clear text and records of errors say."""
    said = []
    for line in text.splitlines():
        assert not REPORTS.search(line.encode()), line
        try:
            record = json.loads(line)
            if record["severity_text"] in ("ERROR", "FATAL"):
                said.append(record["body"])
        except (ValueError, KeyError):
            said.append(line)
    return said


def complaint(result):
    """The one line that says what is wrong."""
    assert result.returncode > 0, f"ended with {result.returncode}"
    said = errors_in(result.stderr + result.stdout)
    assert len(said) == 1, said
    return said[0]


def start(program, home, timeout=15, user=None, **environment):
    """Runs a process that is expected to give up."""
    env = {**CLEAN, "SLUICE_HOME": str(home), "SLUICE_LOG_FORMAT": "json", **environment}
    command = [BUILD / program] + (["up"] if program == "sluice" else [])
    try:
        return subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=user,
            timeout=timeout * PATIENCE,
        )
    except subprocess.TimeoutExpired as running:
        raise AssertionError(f"{program} goes on: {running.stderr}") from None


def complaint_of_running(program, home, **environment):
    """Runs a process that is expected to stay, until it has said one line that is an error; then ends it."""
    env = {**CLEAN, "SLUICE_HOME": str(home), "SLUICE_LOG_FORMAT": "json", **environment}
    with open(home / "log", "w+") as log:
        process = subprocess.Popen(
            [BUILD / program], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            wait_for(lambda: errors_in((home / "log").read_text()), 15, f"{program} complains")
            process.terminate()
            assert process.wait(10 * PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
        said = errors_in((home / "log").read_text())
    assert len(said) == 1, said
    return said[0]


class TestCommandLine:
    @pytest.mark.parametrize("program", PROGRAMS)
    def test_help_and_version(self, program):
        text = run(program, "--help")
        assert (
            text.returncode == 0
            and program in text.stdout
            and len(text.stdout) > 200
            and text.stderr == ""
        )
        version = run(program, "--version")
        assert version.returncode == 0 and re.match(rf"^{program} \d+\.\d+\.\d+\n$", version.stdout)

    @pytest.mark.parametrize("program", PROCESSES)
    def test_help_lists_every_variable_with_default_and_limits(self, program):
        text = run(program, "--help").stdout
        for name in (
            "SLUICE_HOME",
            "SLUICE_INSTANCE",
            "SLUICE_LOG_LEVEL",
            "SLUICE_LOG_FORMAT",
            "SLUICE_ADMIN",
        ):
            assert name in text
        assert "debug|info|warn|error" in text or "debug, info, warn" in text

    @pytest.mark.parametrize("program", PROGRAMS)
    def test_unknown_option(self, program):
        result = run(program, "--nothing")
        assert result.returncode == (2 if program == "sluice-tap" else USAGE)
        assert len(result.stderr.splitlines()) == 1 and "nothing" in result.stderr

    @pytest.mark.parametrize("program", PROCESSES)
    def test_healthcheck_without_a_process(self, program, home):
        result = run(program, "healthcheck", env={**CLEAN, "SLUICE_HOME": str(home)})
        assert result.returncode == FAILED and len(result.stderr.splitlines()) == 1

    @pytest.mark.parametrize("service", ["queue", "users", "orders", "search", "gateway"])
    def test_healthcheck_of_a_process(self, suite, service):
        env = {**suite.env, "SLUICE_INSTANCE": f"{service}-1"}
        assert run(f"sluice-{service}", "healthcheck", env=env).returncode == 0


class TestEnvironment:
    WRONG = [
        ("sluice-users", "SLUICE_LOG_LEVEL", "loud", "debug"),
        ("sluice-users", "SLUICE_CAPACITY", "0", "1"),
        ("sluice-users", "SLUICE_CAPACITY", "many", "integer"),
        ("sluice-users", "SLUICE_INSTANCE", "a/b", "letters"),
        ("sluice-users", "SLUICE_TOKEN_TTL", "15", "duration"),
        ("sluice-users", "SLUICE_TOKEN_TTL", "1ms", "1s"),
        ("sluice-orders", "SLUICE_ORDERS_KEEP", "-1d", ""),
        ("sluice-orders", "SLUICE_QUEUE", "http://x", ""),
        ("sluice-orders", "SLUICE_GATEWAYS", "nowhere", ""),
        ("sluice-search", "SLUICE_LOG_FORMAT", "xml", "json"),
        ("sluice-gateway", "SLUICE_LISTEN", "nowhere", ""),
        ("sluice-gateway", "SLUICE_LISTEN", "127.0.0.1:99999", ""),
        ("sluice-gateway", "SLUICE_DEADLINE", "5", ""),
        ("sluice-gateway", "SLUICE_MAX_BODY", "2MiB", "1MiB"),
        ("sluice-gateway", "SLUICE_MAX_CONNECTIONS", "9999999999999999999", ""),
        ("sluice-gateway", "SLUICE_ADMIN", "nowhere", ""),
        ("sluice-queue", "SLUICE_QUEUE_BIND", "nowhere", ""),
        ("sluice", "SLUICE_SCALE_USERS", "65", "64"),
        ("sluice", "SLUICE_LISTEN", "nowhere", ""),
    ]

    @pytest.mark.parametrize("program,name,value,allowed", WRONG, ids=lambda v: str(v)[:24])
    def test_wrong_value_is_named_with_what_is_allowed(self, home, program, name, value, allowed):
        environment = {"SLUICE_LISTEN": f"127.0.0.1:{free_port()}", name: value}
        result = start(program, home, **environment)
        line = complaint(result)
        assert result.returncode == CONFIG, line
        assert name in line and value in line and allowed in line, line

    def test_secrets_are_not_shown(self, home):
        line = complaint(start("sluice-users", home, SLUICE_ADMIN_PASSWORD="hunter2"))
        assert "SLUICE_ADMIN_PASSWORD" in line or "admin@sluice.local" in line
        assert "hunter2" not in line

    def test_weak_first_password_is_refused(self, home):
        result = start("sluice-users", home, SLUICE_ADMIN_PASSWORD="administrator1")
        line = complaint(result)
        assert result.returncode == CONFIG, line
        assert "admin@sluice.local is guessed too early" in line and "strator" not in line

    def test_secret_from_a_file_that_is_not_there(self, home):
        line = complaint(start("sluice-users", home, SLUICE_TOKEN_KEY_FILE="/none/such"))
        assert "/none/such" in line

    def test_set_to_nothing_is_not_set(self, home):
        assert (
            start("sluice-users", home, SLUICE_LOG_LEVEL="", SLUICE_CAPACITY="x").returncode
            == CONFIG
        )


class TestHome:
    @pytest.mark.parametrize("program", [*PROCESSES, "sluice"])
    def test_is_a_file(self, tmp_path, program):
        (tmp_path / "file").write_text("")
        line = complaint(
            start(program, tmp_path / "file", SLUICE_LISTEN=f"127.0.0.1:{free_port()}")
        )
        assert str(tmp_path / "file") in line

    @pytest.mark.parametrize("program", [*PROCESSES, "sluice"])
    def test_is_unreadable(self, home, program):
        user = None
        if os.geteuid() == 0:  # to whom nothing is
            user = pwd.getpwnam("nobody").pw_uid
            try:
                subprocess.run([BUILD / program, "--version"], user=user, capture_output=True)
            except PermissionError:  # a repository below /root, say
                pytest.skip(f"nobody may not run {BUILD / program}")
        else:
            home.chmod(0)
        line = complaint(start(program, home, user=user, SLUICE_LISTEN=f"127.0.0.1:{free_port()}"))
        home.chmod(0o700)
        assert str(home) in line and "ermission" in line

    def test_name_is_too_long_for_sockets(self, tmp_path):
        long = tmp_path / ("x" * 100)
        line = complaint(start("sluice", long, SLUICE_LISTEN=f"127.0.0.1:{free_port()}"))
        assert "long" in line

    @pytest.mark.parametrize(
        "program,name",
        [
            ("sluice-users", "signing/token.key"),
            ("sluice-gateway", "public/jwks.json"),
            ("sluice-orders", "cursor.key"),
        ],
    )
    @pytest.mark.parametrize("content", [None, "", "{", "garbage" * 1000])
    def test_key_is_missing_or_broken(self, home, program, name, content):
        path = home / "secrets" / name
        path.unlink()
        if content is not None:
            path.write_text(content)
        line = complaint(start(program, home, SLUICE_LISTEN=f"127.0.0.1:{free_port()}"))
        assert path.name in line or str(path) in line or "key" in line, line

    def test_keys_are_made_once(self, home):
        before = {
            path.name: path.read_bytes() for path in (home / "secrets").rglob("*") if path.is_file()
        }
        assert len(before) >= 4
        assert run("sluice", "init", env={**CLEAN, "SLUICE_HOME": str(home)}).returncode == 0
        assert before == {
            path.name: path.read_bytes() for path in (home / "secrets").rglob("*") if path.is_file()
        }


class TestPort:
    def test_in_use(self, home):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for program in ("sluice", "sluice-gateway"):
                result = start(program, home, SLUICE_LISTEN=address)
                line = complaint(result)
                assert result.returncode == CONFIG and address in line and "in use" in line, line

    def test_not_ours(self, home):
        line = complaint(start("sluice-gateway", home, SLUICE_LISTEN="192.0.2.1:8080"))
        assert "192.0.2.1:8080" in line

    def test_detached_start_tells_the_terminal(self, home):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            result = run(
                "sluice",
                "up",
                "--detach",
                env={
                    **CLEAN,
                    "SLUICE_HOME": str(home),
                    "SLUICE_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}",
                },
            )
        assert result.returncode == CONFIG and "in use" in result.stderr


class TestSandbox:
    def test_what_cannot_be_had_is_named(self, home):
        """A sanitized build leaves a part out, so it stands for a kernel that lacks one."""
        if not SANITIZED:
            pytest.skip("this build and, it may be, this kernel lack nothing")
        for program in ("sluice", *PROCESSES):
            address = f"127.0.0.1:{free_port()}"
            result = start(program, home, SLUICE_SANDBOX="require", SLUICE_LISTEN=address)
            assert result.returncode == CONFIG, program
            said = result.stdout + result.stderr
            assert "SLUICE_SANDBOX" in said and "memory" in said, said
            assert "on, which does what it can, and off" in said


class TestStores:
    def damage(self, kind, path):
        if kind == "garbage":
            path.write_bytes(b"not a database, " * 1000)
        elif kind == "truncated":
            path.write_bytes(path.read_bytes()[:5000])
        elif kind == "flipped":
            content = bytearray(path.read_bytes())
            for at in range(4096, len(content), 512):
                content[at : at + 64] = b"\xa5" * 64
            path.write_bytes(content)
        elif kind == "directory":
            path.unlink()
            path.mkdir()

    @pytest.fixture(scope="class")
    def used(self):
        """A home in which a suite was at work and was stopped."""
        with Suite() as suite:
            suite.up()
            admin = admin_of(suite)
            ada = register(suite.port)
            for _ in range(20):
                ada.order({add_product(admin, description="x" * 2000)["sku"]: 1})
            suite.down()
            yield suite.home

    @pytest.fixture
    def used_home(self, used):
        """A suite, not running, in a copy of it."""
        with Suite() as suite:
            for part in ("db", "queue", "secrets"):
                shutil.copytree(used / part, suite.home / part)
            yield suite

    @pytest.mark.parametrize("kind", ["garbage", "truncated", "flipped", "directory"])
    @pytest.mark.parametrize("service", ["users", "orders"])
    def test_corrupt_store_is_not_served(self, used_home, service, kind):
        path = used_home.home / f"db/{service}/{service}.db"
        assert path.exists()
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        self.damage(kind, path)
        before = path.read_bytes() if path.is_file() else b""
        line = complaint_of_running(f"sluice-{service}", used_home.home)
        assert "cannot be used" in line and f"{service}.db" in line, line
        assert (
            not path.is_file() or path.read_bytes() == before
        ), "a store that is not understood must not be changed"

    @pytest.mark.parametrize("kind", ["garbage", "truncated", "flipped"])
    def test_corrupt_index_is_built_anew(self, used_home, kind):
        path = used_home.home / "db/search/search.db"
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        self.damage(kind, path)
        used_home.up()
        client = Client(used_home.port)
        wait_for(
            lambda: client.get("/v1/search?q=product").status == 200
            and len(client.get("/v1/search?q=product").json()["items"]) == 20,
            10,
            "the index is back",
        )

    def test_corrupt_store_does_not_stop_the_others(self, used_home):
        """`sluice up` says so and goes on trying; users are served meanwhile."""
        path = used_home.home / "db/orders/orders.db"
        self.damage("garbage", path)
        used_home.supervisor = subprocess.Popen(
            [BUILD / "sluice", "up"],
            env=used_home.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = Client(used_home.port)

        def served():
            try:
                return client.get("/v1/users/me").status == 401
            except OSError:
                return False

        try:
            wait_for(
                lambda: used_home.supervisor.poll() is not None or served(),
                10,
                "users are served, or it gave up",
            )
        finally:
            if used_home.supervisor.poll() is None:
                used_home.down()
            used_home.supervisor = None


class TestStopping:
    @pytest.mark.parametrize("program", PROCESSES)
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_ends_it_in_good_order(self, home, program, number):
        env = {**CLEAN, "SLUICE_HOME": str(home), "SLUICE_LISTEN": f"127.0.0.1:{free_port()}"}
        with open(home / "err", "wb") as stderr:
            process = subprocess.Popen(
                [BUILD / program], env=env, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
            )
        socket_path = home / f"run/{program.split('-')[1]}-1.admin.sock"
        wait_for(lambda: socket_path.exists() or process.poll() is not None, 10, "it runs")
        time.sleep(0.05)  # whatever it is doing now, it must end well
        process.send_signal(number)
        status = process.wait(timeout=15 * PATIENCE)
        text = (home / "err").read_bytes()
        assert status == 0 and not REPORTS.search(text), text.decode()[-2000:]

    @pytest.mark.alone
    def test_a_worker_that_cannot_finish_in_time(self):
        """It ends well within ten seconds, and leaves nobody without an answer, or with a wrong one."""
        with Suite(SLUICE_DEADLINE="20s") as suite:
            suite.up()
            with slow_service(suite, SLUICE_SLOW_COMPUTE="9300ms") as (process,), Wire(suite.port) as wire:
                wire.send(b"POST /slow/compute HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                metric = 'sluice_worker_in_flight{class="compute"}'
                wait_for(lambda: suite.metrics("slow-1")[metric] == 1, 5, "it is worked on")
                begin = time.monotonic()
                process.terminate()
                status, _, body = wire.read_answer()
                told_s = time.monotonic() - begin
                assert (status, b"/problems/outcome-unknown" in body) == (502, True), body
                assert process.wait(timeout=15 * PATIENCE) == 0
                assert 8.5 < told_s <= time.monotonic() - begin < 10
            said = suite.log()
            assert "not drained after 9000 ms: stopping anyway" in said
            assert "leaving 1 requests undone" in said

    def test_signal_right_after_the_start(self, home):
        """At no moment of its start may SIGTERM leave anything but a clean end."""
        for delay_ms in (0, 1, 2, 5, 10, 20, 40):
            env = {**CLEAN, "SLUICE_HOME": str(home), "SLUICE_LISTEN": f"127.0.0.1:{free_port()}"}
            process = subprocess.Popen(
                [BUILD / "sluice", "up"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(delay_ms / 1000)
            process.terminate()
            assert process.wait(timeout=20 * PATIENCE) in (0, -signal.SIGTERM), delay_ms
