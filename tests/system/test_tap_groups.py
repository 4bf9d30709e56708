# SPDX-License-Identifier: MIT
# The tap's commands that see and change groups, dead letters and events, against a queue of the test's own. What
# changes something is tried with --dry-run first, and refused where nobody can be asked.
import json
import os
import pty
import select
import signal
import subprocess
import threading
import time

import pytest
from queue_client import ACK, NAK, TERM, Member, new_event
from queue_daemon import Daemon
from suite import BUILD, CLEAN, PATIENCE, wait_for


class Tap:
    def __init__(self, daemon):
        self.daemon = daemon
        self.env = {**CLEAN, "SLUICE_HOME": str(daemon.home)}

    def run(self, *arguments, stdin="", status=0):
        done = subprocess.run(
            [BUILD / "sluice-tap", *map(str, arguments)], env=self.env, input=stdin, capture_output=True, text=True,
            timeout=30,
        )
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stdout if status == 0 else done.stdout + done.stderr

    def lines(self, *arguments, **more):
        return [json.loads(line) for line in self.run(*arguments, "-o", "ndjson", **more).splitlines()]

    def on_a_terminal(self, *arguments, keys="", until=None, timeout_s=10):
        """Runs on a pseudo-terminal, types keys, and returns (status, what it printed)."""
        child, master = pty.fork()
        if child == 0:
            os.execve(BUILD / "sluice-tap", ["sluice-tap", *map(str, arguments)], {**self.env, "TERM": "xterm"})
        shown, typed, deadline = b"", False, time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if select.select([master], [], [], 0.05)[0]:
                try:
                    data = os.read(master, 65536)
                except OSError:
                    break
                if not data:
                    break
                shown += data
            if not typed and (until is None or until in shown):
                typed = True
                os.write(master, keys.encode())
        else:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(master)
        assert os.waitstatus_to_exitcode(status) != -signal.SIGKILL, f"it did not end; it showed {shown}"
        return os.waitstatus_to_exitcode(status), shown.decode()


@pytest.fixture(scope="module")
def daemon():
    own = Daemon()
    own.start()
    yield own
    own.stop()
    own.close()


@pytest.fixture(scope="module")
def tap(daemon):
    with daemon.client() as client:
        wait_for(client.info, 10, "the queue answers")
    return Tap(daemon)


@pytest.fixture
def work(daemon, tap, request):
    """A topic with 6 events, and a group that wants it."""
    name = request.node.name.replace("[", "-").replace("]", "").replace("_", "-")[:50].lower()
    with daemon.client() as client:
        tap.run("group", "set", name, "--topic", f"{name}.>", "--from", "start", "--max-deliveries", "2", "--backoff", "1ms")
        answer = client.publish([new_event(f"{name}.a", {"n": i}, key=f"k{i}", subject=f"s{i}") for i in range(6)])
        yield name, list(range(answer["first_seq"], answer["last_seq"] + 1)), client


def bury(daemon, name, count):
    with Member(daemon.endpoint, name, 10) as member:
        assert member.settle(member.take(count), TERM, error="broken") == (count, 0)
    with daemon.client() as client:
        wait_for(lambda: client.group(name)["dead"] == count, 5, "buried")


class TestGroups:
    def test_set_is_idempotent_and_ls_shows(self, tap, work):
        name, _, client = work
        assert client.group(name)["max_deliveries"] == 2
        tap.run("group", "set", name, "--ack-wait", "5s", "--order", "none")
        assert (client.group(name)["ack_wait_ms"], client.group(name)["order"]) == (5000, "none")
        assert name in tap.run("group", "ls")
        assert [g["group"] for g in tap.lines("group", "ls", name)] == [name]

    @pytest.mark.parametrize("wrong", [["Bad Name"], ["x", "--order", "some"], ["x", "--max-deliveries", "0"], ["x", "--ack-wait", "1ms"]])
    def test_wrong_settings_are_named(self, tap, wrong):
        assert "sluice-tap" in tap.run("group", "set", *wrong, status=2)

    def test_delete_asks(self, tap, work):
        name, _, client = work
        assert "--yes" in tap.run("group", "delete", name, status=2)
        assert client.group(name)
        tap.run("group", "delete", name, "--yes")
        assert name not in tap.run("group", "ls")

    def test_on_a_terminal_it_asks(self, tap, work):
        name, _, client = work
        status, shown = tap.on_a_terminal("group", "delete", name, keys="n\n", until=b"?")
        assert status != 0 and name in shown and client.group(name)
        assert tap.on_a_terminal("group", "delete", name, keys="y\n", until=b"?")[0] == 0
        assert name not in tap.run("group", "ls")

    def test_lag_and_pending(self, daemon, tap, work):
        name, seqs, _ = work
        with Member(daemon.endpoint, name, 10) as member:
            deliveries = member.take(6)
            member.settle(deliveries[:2], ACK)
            pending = tap.lines("pending", name)
            assert [e["seq"] for e in pending] == seqs[2:]
            assert {e["state"] for e in pending} == {"delivered"}
        lag = next(g for g in tap.lines("lag") if g["group"] == name)
        assert lag["lag"] >= 4
        assert name in tap.run("lag", name)
        for command in ["lag", "pending"]:
            assert "nobody" in tap.run(command, "nobody", status=2)

    def test_seek_pause_resume(self, tap, work):
        name, seqs, client = work
        tap.run("seek", name, "--to", "end", "--dry-run")
        assert client.group(name)["next_seq"] <= seqs[0]
        assert "--yes" in tap.run("seek", name, "--to", "end", status=2)
        tap.run("seek", name, "--to", seqs[3], "--yes")
        assert client.group(name)["floor_seq"] == seqs[3]
        tap.run("pause", name)
        assert client.group(name)["paused"]
        tap.run("resume", name)
        assert not client.group(name)["paused"]
        tap.run("seek", name, "--to", "nowhere", "--yes", status=2)


class TestDeadLetters:
    def test_ls_show_export(self, daemon, tap, work):
        name, seqs, client = work
        bury(daemon, name, 3)
        listed = tap.run("dlq", "ls", name)
        assert "broken" in listed and "terminated" in listed
        dead = [e["seq"] for e in client.call("dead", group=name)["entries"]]
        assert "broken" in tap.run("dlq", "show", name, dead[0])
        exported = tap.lines("dlq", "export", name)
        assert sorted(e["data"]["n"] for e in exported) == [0, 1, 2]
        assert client.group(name)["dead"] == 3  # looking changed nothing
        tap.run("dlq", "show", name, 10**9, status=1)

    def test_retry_and_drop(self, daemon, tap, work):
        name, _, client = work
        bury(daemon, name, 3)
        dead = [e["seq"] for e in client.call("dead", group=name)["entries"]]
        assert "--yes" in tap.run("dlq", "retry", name, "--all", status=2)
        tap.run("dlq", "retry", name, "--all", "--dry-run")
        assert client.group(name)["dead"] == 3
        tap.run("dlq", "retry", name, dead[0], "--yes")
        assert client.group(name)["dead"] == 2
        tap.run("dlq", "drop", name, "--all", "--limit", "1", "--yes")
        assert client.group(name)["dead"] == 1
        tap.run("requeue", name, "--all", "--yes")
        assert client.group(name)["dead"] == 0

    def test_retry_by_filter_to_a_topic(self, daemon, tap, work):
        name, _, client = work
        bury(daemon, name, 3)
        tap.run("dlq", "retry", name, "--where", ".data.event.data.n == 1", "--to", f"{name}.again", "--yes")
        assert [e["data"]["n"] for e in client.read(f"{name}.again")] == [1]


class TestEvents:
    def test_replay(self, daemon, tap, work):
        name, seqs, client = work
        with Member(daemon.endpoint, name, 10) as member:
            member.settle(member.take(6), ACK)
            assert "--yes" in tap.run("replay", "--range", f"{seqs[0]}:{seqs[2]}", "--to", name, status=2)
            tap.run("replay", "--range", f"{seqs[0]}:{seqs[2]}", "--to", name, "--yes")
            assert sorted(d.seq for d in member.take(2)) == seqs[:2]

    def test_export_and_import_go_around(self, tap, work, tmp_path):
        name, _, client = work
        file = tmp_path / "events.ndjson"
        tap.run("export", file, "--topic", f"{name}.a")
        first = [json.loads(line) for line in file.read_text().splitlines()]
        assert len(first) == 6
        tap.run("import", file, "--producer", name)
        tap.run("import", file, "--producer", name)  # stores nothing twice
        second = tap.lines("cat", f"{name}.a")[6:]
        assert len(second) == 6
        for a, b in zip(first, second):
            for event in [a, b]:
                event.pop("queue"), event.pop("sequence")
            assert a == b
        assert "line 2" in tap.run("import", "-", stdin=json.dumps(first[0]) + "\n{broken\n", status=2)

    def test_where_and_formats(self, tap, work):
        name, seqs, _ = work
        assert [e["data"]["n"] for e in tap.lines("cat", f"{name}.a", "--where", ".data.n >= 4")] == [4, 5]
        assert "byte" in tap.run("cat", "--where", ".data.n >=", status=2)
        assert tap.run("cat", f"{name}.a", "--format", "%s %t %k\\n", "--where", ".data.n == 0").strip() == f"{seqs[0]} {name}.a k0"
        assert ".data.n = 3" in tap.run("cat", f"{name}.a", "-o", "fields")
        assert tap.run("cat", f"{name}.a", "--body-only").splitlines()[2] == '{"n":2}'
        tap.run("cat", f"{name}.a", "-o", "hex"), tap.run("cat", f"{name}.a", "-t", "-d", "--no-body")
        tap.run("cat", "--format", "%Q", status=2)

    def test_trace(self, daemon, tap, work):
        name, seqs, client = work
        with Member(daemon.endpoint, name, 1) as member:
            member.settle(member.take(1), ACK)
            event = next(e for e in client.read(f"{name}.a"))
            shown = tap.run("trace", event["id"])
            assert name in shown and "settled" in shown
            assert "waiting" in tap.run("trace", "s5")  # the window is 1
            trace_id = event["traceparent"].split("-")[1]
            assert name in tap.run("trace", trace_id)
        tap.run("trace", "no-such-thing", status=1)

    def test_ops(self, daemon, tap, work):
        name, _, client = work
        stop = threading.Event()

        def publish():  # until it is seen
            with daemon.client() as other:
                while not stop.wait(0.02):
                    other.publish([new_event("other.topic", 1)])

        publishing = threading.Thread(target=publish)
        publishing.start()
        watching = subprocess.Popen([BUILD / "sluice-tap", "ops", "-f", "-o", "ndjson"], env=tap.env, stdout=subprocess.PIPE, text=True)
        try:
            while json.loads(watching.stdout.readline())["what"] != "publish":  # watches now
                pass
            with Member(daemon.endpoint, name, 10) as member:
                delivery = member.take(6)
                member.settle(delivery[:5], ACK)
                member.settle(delivery[5:], NAK, delay_ms=1)
                seen = set()
                deadline = time.monotonic() + 5 * PATIENCE
                while not {"deliver", "ack", "nak"} <= seen and time.monotonic() < deadline:
                    seen.add(json.loads(watching.stdout.readline())["what"])
            assert {"deliver", "ack", "nak"} <= seen
        finally:
            stop.set()
            publishing.join()
            watching.send_signal(signal.SIGINT)
            watching.wait(5)


class TestTrust:
    def test_verify(self, tap):
        tap.run("verify")
        assert "no damage" in tap.run("verify", "--deep")
        tap.run("verify", "/no/such/directory", status=3)

    @pytest.mark.parametrize("what", ["pub", "consume", "e2e"])
    def test_bench(self, tap, what):
        yes = [] if what == "consume" else ["--yes"]
        assert "p99" in tap.run("bench", what, "-n", "2000", *yes)
        header, *rows = tap.run("bench", what, "-n", "500", "-o", "csv", *yes).splitlines()
        assert rows and all(row.count(",") == header.count(",") for row in rows)

    @pytest.mark.alone
    def test_looking_changes_nothing(self, daemon, tap, work):
        name, seqs, _ = work
        bury(daemon, name, 1)
        files = {f: f.read_bytes() for f in (daemon.home / "queue").iterdir()}
        for command in [["ls"], ["info"], ["tail"], ["cat"], ["get", seqs[0]], ["lag"], ["pending", name], ["trace", "s1"],
                        ["dlq", "ls", name], ["dlq", "export", name], ["verify"], ["export"], ["top"], ["group", "ls"]]:
            tap.run(*command)
        assert {f: f.read_bytes() for f in (daemon.home / "queue").iterdir()} == files


class TestExit:
    def test_a_damaged_log_is_4(self, tmp_path):
        own = Daemon()
        try:
            own.start()
            with own.client() as client:
                for _ in range(40):
                    client.publish([new_event("a.b", b"x" * 1000) for _ in range(100)])
            own.stop()
            path = own.segments()[0]
            data = bytearray(path.read_bytes())
            data[300_000] ^= 1
            path.write_bytes(data)
            own.start()
            with own.client() as client:
                wait_for(lambda: client.info()["lost"], 10, "the damage is found")
                shown = Tap(own).run("verify", status=4)
                lost = client.info()["lost"][0]
                assert f"LOST {lost[0]}..{lost[1]}" in shown
                assert "LOST" in Tap(own).run("cat", status=4)
            own.stop()
        finally:
            own.close()

    def test_ctrl_c_leaves_no_trace(self, daemon, tap, work):
        name, _, client = work
        before = client.info()["n_subscriptions"]
        following = subprocess.Popen([BUILD / "sluice-tap", "tail", "-f", f"{name}.>"], env=tap.env, stdout=subprocess.PIPE)
        wait_for(lambda: client.info()["n_subscriptions"] == before + 1, 5, "it reads")
        following.send_signal(signal.SIGINT)
        following.wait(5)
        wait_for(lambda: client.info()["n_subscriptions"] == before, 5, "it is gone")
        assert client.group(name)["members"] == []


class TestScreen:
    def test_top_and_lag_refresh_in_place(self, tap, work):
        status, shown = tap.on_a_terminal("top", "--interval", "100ms", keys="q", until=work[0][:10].encode())
        assert status == 0 and "\x1b[" in shown
        status, shown = tap.on_a_terminal("lag", "-w", "--interval", "100ms", keys="\x03", until=work[0][:10].encode())
        assert "\x1b[" in shown

    def test_a_closed_pipe_is_quiet(self, tap):
        done = subprocess.run(f"{BUILD}/sluice-tap cat -o ndjson | head -n 1", shell=True, env=tap.env, capture_output=True, text=True)
        assert done.stdout.count("\n") == 1 and done.stderr == ""

    def test_manual_and_completions(self, tap, tmp_path):
        page = tmp_path / "sluice-tap.1"
        page.write_text(tap.run("--man"))
        assert "dlq" in page.read_text()
        script = tmp_path / "completion"
        script.write_text(tap.run("--completion", "bash"))
        typed = f'source {script}; COMP_WORDS=(sluice-tap pa); COMP_CWORD=1; COMP_LINE="sluice-tap pa"; COMP_POINT=13; '
        typed += '$(complete -p sluice-tap | sed "s/.*-F \\([^ ]*\\).*/\\1/"); echo "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", typed], env=tap.env | {"PATH": f"{BUILD}:/usr/bin:/bin"}, capture_output=True, text=True)
        assert "pause" in done.stdout, done
        tap.run("--completion", "fish", status=2)
