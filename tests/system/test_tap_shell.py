# SPDX-License-Identifier: MIT
# What the tap, and the supervisor, give to the shell: completions, tried at the prompt of a real bash and a real zsh, the manual page, and
# colours, which are for terminals alone.
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest
from queue_client import new_event
from queue_daemon import Daemon
from suite import BUILD, CLEAN, PATIENCE, wait_for

PROMPT = "ready> "
DAEMONS = ["sluice-gateway", "sluice-orders", "sluice-queue", "sluice-search", "sluice-users"]
PROGRAMS = ["sluice", "sluice-tap", *DAEMONS]
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}


class Shell:
    """An interactive shell on a terminal, in which the programs are functions that print their arguments."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.child, self.master = pty.fork()
        if self.child == 0:
            os.chdir(folder)
            env = {**CLEAN, "TERM": "xterm", "PS1": PROMPT, "HOME": str(folder), "INPUTRC": "/dev/null",
                   "PATH": f"{BUILD}:{CLEAN['PATH']}"}
            os.execvpe(SHELLS[name][0], SHELLS[name], env)
        self.shown = ""
        self.until(PROMPT)

    def until(self, what):
        """Reads until it has been shown, and returns what stood before."""
        deadline = time.monotonic() + 20 * PATIENCE
        while what not in self.shown:
            assert time.monotonic() < deadline, f"{self.name} does not show {what!r} but {self.shown!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 65536).decode(errors="replace")
        before, _, self.shown = self.shown.partition(what)
        return before

    def do(self, line):
        """Runs a line that completes nothing, to its end."""
        os.write(self.master, f"{line}; echo do''ne\n".encode())
        self.until("done")
        self.until(PROMPT)

    def complete(self, typed, program="sluice-tap"):
        """The arguments with which it is called when Tab is pressed behind what is typed, and then Enter."""
        os.write(self.master, f"{program} {typed}\t\n".encode())
        self.until("called with <")
        return self.until(">")

    def close(self):
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        os.close(self.master)


@pytest.fixture(scope="module", params=["bash", "zsh: sourced", "zsh: from fpath"])
def shell(request, tmp_path_factory):
    name, _, how = request.param.partition(": ")
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("home")
    (folder / "queue-files").mkdir()
    (folder / "functions").mkdir()
    for program in PROGRAMS:
        script = subprocess.run([BUILD / program, "--completion", name], capture_output=True, text=True, check=True).stdout
        (folder / f"functions/_{program}").write_text(script)
    own = Shell(name, folder)
    if how == "from fpath":
        own.do("fpath=($PWD/functions $fpath)")
    if name == "zsh":
        own.do("autoload -U compinit; compinit -u -D")
    for program in PROGRAMS:
        if how != "from fpath":
            own.do(f"source functions/_{program}")
        own.do(f"{program}() {{ echo \"called with\" \"<$*>\"; }}")
    yield own
    own.close()


class TestCompletion:
    @pytest.mark.parametrize(
        "typed,completed",
        [
            ("paus", "pause"),  # a command
            ("requ", "requeue"),  # an alias
            ("dlq ret", "dlq retry"),  # its second word
            ("bench cons", "bench consume"),
            ("verify --dee", "verify --deep"),  # an option of the command
            ("dlq retry shipping --dry", "dlq retry shipping --dry-run"),
            ("requeue shipping --dry", "requeue shipping --dry-run"),
            ("consume --body", "consume --body-only"),
            ("tail -o ndj", "tail -o ndjson"),  # a value
            ("group set shipping --order non", "group set shipping --order none"),
            ("-o json dlq ret", "-o json dlq retry"),  # the value of an option is no command
            ("--queue ipc:///x verify --dee", "--queue ipc:///x verify --deep"),
            ("--vers", "--version"),
            ("--completion zs", "--completion zsh"),
            ("help paus", "help pause"),
            ("help dlq ret", "help dlq retry"),
            ("verify queue-f", "verify queue-files"),  # a file
            ("verify queue-files --archive queue-f", "verify queue-files --archive queue-files"),
            ("import queue-f", "import queue-files"),
            ("export --key k queue-f", "export --key k queue-files"),
            ("tail --output=ndj", "tail --output=ndjson"),
            ("--output=json verify --dee", "--output=json verify --deep"),
            ("tail --key pau", "tail --key pau"),  # anything may be there
            ("pause --dee", "pause --dee"),  # not an option of this one
        ],
    )
    def test_at_the_prompt(self, shell, typed, completed):
        assert shell.complete(typed).rstrip(" /") == completed

    @pytest.mark.parametrize(
        "typed,completed",
        [
            ("stat", "status"),
            ("--vers", "--version"),
            ("--completion zs", "--completion zsh"),
            ("up --det", "up --detach"),
            ("up --env stag", "up --env staging"),
            ("status -o js", "status -o json"),
            ("restart gat", "restart gateway"),
            ("keys rota", "keys rotate"),
            ("backup --with", "backup --with-secrets"),
            ("restore queue-f", "restore queue-files"),  # a file
            ("up --home queue-f", "up --home queue-files"),
            ("down --det", "down --det"),  # not an option of this one
        ],
    )
    def test_supervisor_at_the_prompt(self, shell, typed, completed):
        assert shell.complete(typed, "sluice").rstrip(" /") == completed

    @pytest.mark.parametrize("program", DAEMONS)
    @pytest.mark.parametrize(
        "typed,completed",
        [
            ("heal", "healthcheck"),
            ("--vers", "--version"),
            ("--completion zs", "--completion zsh"),
            ("healthcheck --vers", "healthcheck --vers"),  # nothing follows it
        ],
    )
    def test_daemon_at_the_prompt(self, shell, program, typed, completed):
        assert shell.complete(typed, program).rstrip(" /") == completed

    @pytest.mark.parametrize(
        "program,typed,completed",
        [
            ("sluice-gateway", "check", "check-config"),
            ("sluice-users", "rota", "rotate-key"),
            ("sluice-orders", "rota", "rota"),
            ("sluice-queue", "--str", "--strict"),
        ],
    )
    def test_what_a_daemon_has_of_its_own(self, shell, program, typed, completed):
        assert shell.complete(typed, program).rstrip(" /") == completed

    @pytest.mark.parametrize("program", PROGRAMS)
    def test_scripts_have_no_syntax_error(self, program):
        for name in SHELLS:
            if shutil.which(name):
                script = subprocess.run([BUILD / program, "--completion", name], capture_output=True).stdout
                done = subprocess.run([name, "-n"], input=script, capture_output=True)
                assert (done.returncode, done.stderr) == (0, b"")
        assert subprocess.run([BUILD / program, "--completion", "fish"], capture_output=True).returncode != 0


@pytest.mark.skipif(not shutil.which("groff"), reason="groff (package groff-base) is not installed")
class TestManual:
    def test_renders_without_a_warning(self):
        page = subprocess.run([BUILD / "sluice-tap", "--man"], capture_output=True, check=True).stdout
        done = subprocess.run(["groff", "-man", "-ww", "-Tutf8"], input=page, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        text = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout.decode())
        for part in ["NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "dlq retry", "--archive ARCHIVE", "'.data.total.amount > 1000'"]:
            assert part in text, part
        assert "\\" not in text.replace("\\\\n", "")


@pytest.fixture(scope="module")
def env():
    """The environment in which the tap finds a queue with one event."""
    own = Daemon()
    own.start()
    with own.client() as client:
        wait_for(client.info, 10, "the queue answers")
        client.publish([new_event("colours.shown", {"n": 1}, key="k")])
    yield {**{n: v for n, v in CLEAN.items() if n not in ("NO_COLOR", "TERM")}, "SLUICE_HOME": str(own.home)}
    own.stop()
    own.close()


def shown(env, *arguments, terminal=True, **more):
    """What a command writes to its standard output, a terminal or a pipe."""
    leader, follower = pty.openpty() if terminal else os.pipe()
    try:
        done = subprocess.run([BUILD / "sluice-tap", *arguments], env={**env, **more}, stdout=follower,
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20 * PATIENCE)
        assert (done.returncode, done.stderr) == (0, b"")
        os.close(follower)
        return os.read(leader, 1 << 16).decode()
    finally:
        os.close(leader)


class TestColours:
    def test_on_a_terminal(self, env):
        assert "\x1b[" in shown(env, "cat", TERM="xterm")
        assert "\x1b[" in shown(env, "cat", TERM="xterm", NO_COLOR="")  # empty is as if it were not there

    @pytest.mark.parametrize("arguments,more", [
        (["cat"], {"NO_COLOR": "1"}), (["cat"], {"NO_COLOR": "0"}), (["cat", "--no-color"], {}), (["cat"], {"TERM": "dumb"}),
        (["cat", "-o", "ndjson"], {}), (["cat", "-o", "fields"], {}), (["cat", "--body-only"], {}), (["ls"], {"NO_COLOR": "1"}), (["info"], {"NO_COLOR": "1"}),
    ])
    def test_unless_they_are_unwanted(self, env, arguments, more):
        text = shown(env, *arguments, **{"TERM": "xterm", **more})
        assert text and "\x1b" not in text

    @pytest.mark.parametrize("command", [["cat"], ["tail"], ["get", "1"], ["ls"], ["info"], ["top"], ["trace", "1"], ["cat", "-o", "json"]])
    def test_never_in_a_pipe(self, env, command):
        text = shown(env, *command, terminal=False, TERM="xterm")
        assert text and "\x1b" not in text and "\r" not in text

    def test_text_is_the_same_without_them(self, env):
        colours = re.sub(r"\x1b\[[0-9;]*m", "", shown(env, "cat", TERM="xterm"))
        assert colours.replace("\r\n", "\n") == shown(env, "cat", terminal=False)
