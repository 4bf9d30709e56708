# SPDX-License-Identifier: MIT
# The supervisor wakes somebody by itself: what is wrong is an alert, told to a webhook and a
# command, and so is its end. Nobody has to be there to be told, and nothing waits for him.
import http.server
import json
import os
import pathlib
import shutil
import signal
import threading
import time

import pytest
from api import Client
from people import register
from suite import BUILD, PATIENCE, SERVICES, Suite, firing, run, wait_for

QUICK = {"SLUICE_SURVEY_INTERVAL": "200ms", "SLUICE_ALERT_AFTER": "1s"}


class Hook:
    """A web server that is told of alerts, and refuses the first so many of them."""

    def __init__(self, refuse=0):
        self.told, self.refused = [], 0
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fine = hook.refused >= refuse
                hook.refused += not fine
                if fine:
                    hook.told.append((dict(self.headers), json.loads(body)))
                self.send_response(204 if fine else 500)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=secret-of-the-hook"
        threading.Thread(target=self.server.serve_forever).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def news(self, name):
        return [body for _, body in self.told if body["alert"] == name]


@pytest.fixture
def programs(tmp_path):
    """A directory with all programs, of which a test may spoil one."""
    shutil.copy2(BUILD / "sluice", tmp_path / "sluice")
    for name in ("gateway", "users", "orders", "search", "queue", "tap"):
        (tmp_path / f"sluice-{name}").symlink_to(BUILD / f"sluice-{name}")
    return tmp_path


def replace_link(path, target):
    new = pathlib.Path(f"{path}.new")
    new.symlink_to(target)
    os.rename(new, path)


def command_file(tmp_path, text):
    path = tmp_path / "command"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def test_a_worker_that_is_gone_for_good_raises_and_clears_its_alert(programs, tmp_path):
    told = tmp_path / "told"
    command = command_file(
        tmp_path,
        f'echo "$SLUICE_ALERT_STATUS $SLUICE_ALERT_NAME $SLUICE_ALERT_SUBJECT '
        f'$SLUICE_ALERT_SEVERITY $SLUICE_ALERT_RUNBOOK" >>{told}; cat >>{told}; echo >>{told}',
    )
    with Hook(refuse=2) as hook, Suite(
        SLUICE_ALERT_WEBHOOK=hook.url,
        SLUICE_ALERT_COMMAND=command,
        SLUICE_ALERT_RUNBOOK="https://ops.example/runbook",
        SLUICE_DEADLINE="200ms",
        **QUICK,
    ) as suite:
        suite.programs = programs
        suite.up()
        assert "SluiceCrashLoop" not in run("sluice", "alerts", env=suite.env).stdout
        suite.expect_death("search-1", times=100)
        replace_link(programs / "sluice-search", "/bin/false")
        suite.kill("search-1")
        expected = {
            ("SluiceCrashLoop", "search-1"),
            ("SluiceProcessNotReady", "search-1"),
            ("SluiceNoWorker", "search"),
        }
        wait_for(lambda: firing(suite) >= expected, 20, "the alerts fire")
        shown = run("sluice", "alerts", env=suite.env)
        assert shown.returncode == 1 and "search-1 does not stay up" in shown.stdout
        assert "https://ops.example/runbook#sluicecrashloop" in shown.stdout
        assert "alerts: see `sluice alerts`" in run("sluice", "status", env=suite.env).stdout

        client = Client(suite.port)
        for _ in range(25):  # more than ERROR_BUDGET_LEAST
            assert client.get("/v1/search?q=x").status in (503, 504)
        wait_for(
            lambda: ("SluiceErrorBudgetBurnFast", "gateway") in firing(suite), 10, "errors are seen"
        )

        replace_link(programs / "sluice-search", BUILD / "sluice-search")
        wait_for(lambda: not firing(suite) & expected, 60, "the alerts are resolved")
        wait_for(
            lambda: [n["status"] for n in hook.news("SluiceCrashLoop")] == ["firing", "resolved"],
            30,
            "the webhook is told of both",
        )
        headers, body = hook.told[0]
        assert hook.refused == 2 and headers["Content-Type"] == "application/json"
        assert body["status"] == "firing" and body["host"] and body["home"] == str(suite.home)
        first, last = hook.news("SluiceCrashLoop")
        assert first["severity"] == "page" and first["subject"] == "search-1"
        assert first["since"] == last["since"] and first["at"] < last["at"]
        assert first["summary"] == "search-1 does not stay up" and first["version"] == 1

        def lines():
            return told.read_text().splitlines() if told.exists() else []

        link = "https://ops.example/runbook#sluicecrashloop"
        for status in ("firing", "resolved"):
            line = f"{status} SluiceCrashLoop search-1 page {link}"
            wait_for(lambda line=line: line in lines(), 30, f"the command was told: {line}")
        # What is told of first differs: a sanitized build has no sandbox, which is an alert, too.
        assert json.loads(lines()[1])["alert"] == lines()[0].split()[1]
        metrics = suite.supervisor_metrics()
        delivered = metrics['sluice_supervisor_alert_deliveries_total{result="delivered"}']
        assert delivered >= 8  # two alerts, raised and cleared, to both
        assert "secret-of-the-hook" not in suite.log()
        assert not [
            path
            for path in pathlib.Path("/proc").glob("[0-9]*/environ")
            if can_read(path) and b"secret-of-the-hook" in can_read(path)
        ]


def test_a_worker_that_is_killed_raises_and_clears_its_alert(tmp_path):
    """It is back before anybody looks; that it happened is told all the same, and its end."""
    told = tmp_path / "told"
    command = command_file(
        tmp_path, f'echo "$SLUICE_ALERT_STATUS $SLUICE_ALERT_NAME $SLUICE_ALERT_SUBJECT" >>{told}'
    )
    count = 'sluice_supervisor_unexpected_exits_total{service="orders"}'
    with Hook() as hook, Suite(
        SLUICE_ALERT_WEBHOOK=hook.url,
        SLUICE_ALERT_COMMAND=command,
        SLUICE_ALERT_EXIT_AGE="3s",
        **QUICK,
    ) as suite:
        suite.up()
        # What is asked for is no accident.
        assert run("sluice", "restart", "orders", env=suite.env).returncode == 0
        assert suite.instances()["orders-1"]["restarts"] == 1
        rounds = suite.supervisor_metrics()["sluice_supervisor_surveys_total"]
        wait_for(
            lambda: suite.supervisor_metrics()["sluice_supervisor_surveys_total"] >= rounds + 2,
            5,
            "the supervisor has looked since",
        )
        assert suite.supervisor_metrics()[count] == 0
        assert not hook.news("SluiceUnexpectedExit")

        pid = suite.kill("orders-1")
        suite.wait_replaced("orders-1", pid)
        wait_for(
            lambda: [n["status"] for n in hook.news("SluiceUnexpectedExit")]
            == ["firing", "resolved"],
            20,
            "the webhook is told of both",
        )
        first, last = hook.news("SluiceUnexpectedExit")
        assert first["subject"] == last["subject"] == "orders-1"
        assert first["severity"] == "ticket" and first["value"] == 1
        assert first["since"] == last["since"] and first["at"] < last["at"]
        assert first["runbook"].endswith("#sluiceunexpectedexit")
        lines = [f"{status} SluiceUnexpectedExit orders-1" for status in ("firing", "resolved")]
        wait_for(
            lambda: told.exists()
            and [line for line in told.read_text().splitlines() if "UnexpectedExit" in line]
            == lines,
            20,
            "the command is told of both",
        )
        assert suite.supervisor_metrics()[count] == 1
        assert not {a for a in firing(suite) if a[0] == "SluiceUnexpectedExit"}


def can_read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_what_is_wrong_from_the_beginning(own_suite):
    suite = own_suite
    suite.environment.update(
        QUICK, SLUICE_SANDBOX="off", SLUICE_ALERT_DISK_FREE=100, SLUICE_ALERT_AFTER="0s"
    )
    suite.up()
    tap = {**suite.env}
    run("sluice-tap", "group", "set", "late", "--topic", "users.>", "--from", "start", env=tap)
    register(suite.port)
    wait_for(
        lambda: firing(suite)
        >= {
            ("SluiceSandboxMissing", "users-1"),
            ("SluiceDiskNearlyFull", str(suite.home)),
            ("SluiceQueueGroupWithoutMembers", "late"),
        },
        10,
        "the alerts fire",
    )
    metrics = suite.supervisor_metrics()
    assert metrics['sluice_supervisor_alerts_firing{severity="page"}'] >= 2
    assert metrics['sluice_supervisor_alerts_firing{severity="ticket"}'] >= 1
    assert 0 < metrics["sluice_supervisor_disk_free_bytes"]
    (suite.home / "scaling.json").write_text("{")
    wait_for(
        lambda: ("SluiceScalingRulesStale", "supervisor") in firing(suite), 10, "mistakes are seen"
    )
    (suite.home / "scaling.json").write_text("{}")
    wait_for(
        lambda: ("SluiceScalingRulesStale", "supervisor") not in firing(suite), 10, "it is resolved"
    )
    listed = json.loads(run("sluice", "alerts", "--json", env=suite.env).stdout)["alerts"]
    assert {a["alert"] for a in listed} >= {"SluiceSandboxMissing", "SluiceDiskNearlyFull"}
    events = [r for r in suite.records() if r.get("event.name") == "alert"]
    assert {"firing", "resolved"} == {r["status"] for r in events}


@pytest.mark.alone
def test_nobody_to_tell_stops_nothing(tmp_path):
    """A hook that nobody listens at, and a command that never ends: the suite serves and stops."""
    command = command_file(tmp_path, f"echo $$ >>{tmp_path}/pids; exec sleep 600")
    with Suite(
        SLUICE_ALERT_WEBHOOK="http://127.0.0.1:1/hook",
        SLUICE_ALERT_COMMAND=command,
        SLUICE_ALERT_DISK_FREE=100,
        **QUICK,
    ) as suite:
        suite.up()
        wait_for(lambda: "cannot tell of Sluice" in suite.log(), 10, "it was tried")
        assert Client(suite.port).get("/v1/products").status == 200
        suite.environment["SLUICE_ALERT_WEBHOOK"] = ""
        begin = time.monotonic()
        suite.down()
        assert time.monotonic() - begin < 10 * PATIENCE
        suite.up()  # now with the command alone
        wait_for((tmp_path / "pids").exists, 10, "the command runs")
        suite.down()
        assert "SLUICE_ALERT_COMMAND: lost, because the supervisor ends: Sluice" in suite.log()
    for pid in (tmp_path / "pids").read_text().split():
        wait_for(lambda pid=pid: not is_alive(pid), 5, "the command is gone")


def test_what_is_queued_at_the_end_is_told(tmp_path):
    told = tmp_path / "told"
    command = command_file(
        tmp_path, f'sleep 0.1; echo "$SLUICE_ALERT_STATUS $SLUICE_ALERT_SUBJECT" >>{told}'
    )
    with Suite(
        SLUICE_ALERT_COMMAND=command,
        SLUICE_SANDBOX="off",
        SLUICE_ALERT_AFTER="0s",
        SLUICE_SURVEY_INTERVAL="1s",
    ) as suite:
        suite.up()
        missing = {("SluiceSandboxMissing", f"{service}-1") for service in SERVICES}
        wait_for(lambda: firing(suite) >= missing, 10, "every process has its alert")
        suite.down()
        records = list(suite.records())
        news = [r for r in records if r.get("event.name") == "alert"]
        assert len([r for r in news if r["status"] == "firing"]) >= len(SERVICES)
        # In the order of the log; nothing is resolved because it is stopped.
        assert told.read_text().splitlines() == [f"{r['status']} {r['subject']}" for r in news]
        stopping = next(i for i, r in enumerate(records) if r["body"].startswith("stopping"))
        assert not [r for r in records[stopping:] if r.get("event.name") == "alert"]
        assert "lost" not in suite.log()


@pytest.mark.alone
def test_the_second_signal_does_not_wait_for_who_is_told(tmp_path):
    command = command_file(tmp_path, f"touch {tmp_path}/runs; exec sleep 600")
    with Suite(SLUICE_ALERT_COMMAND=command, SLUICE_ALERT_DISK_FREE=100, **QUICK) as suite:
        suite.up()
        wait_for((tmp_path / "runs").exists, 10, "the command runs")
        suite.supervisor.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopped" in [r["body"] for r in suite.records()], 10, "all has stopped")
        begin = time.monotonic()
        suite.down()
        assert time.monotonic() - begin < 3 * PATIENCE
        assert "lost, because the supervisor ends: SluiceDiskNearlyFull" in suite.log()


def is_alive(pid):
    """Whether it runs; one that nobody has reaped does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "name,value",
    [
        ("SLUICE_ALERT_WEBHOOK", "ftp://secret.example/"),
        ("SLUICE_ALERT_COMMAND", "echo"),
        ("SLUICE_ALERT_COMMAND", "/nonexistent"),
        ("SLUICE_ALERT_ERROR_BUDGET", "0"),
    ],
)
def test_wrong_options(name, value):
    with Suite(**{name: value}) as suite:
        for command in ("up", "check-config"):
            result = run("sluice", command, env=suite.env)
            assert result.returncode == 78 and name in result.stderr
            assert "allowed" in result.stderr and "secret.example" not in result.stderr
