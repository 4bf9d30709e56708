# SPDX-License-Identifier: MIT
# Documents that are followed to the letter: every ```sh block that stands below the line
# <!-- test --> is run as it is written, all of a document in one shell. A block may be followed by
# a ```text block: its lines must then occur in the output, in this order ("..." stands for anything).
#
# The shell has a network of its own, in which port 8080 is free whatever else runs on the machine.
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from suite import BUILD, CLEAN, PATIENCE, ROOT

README = ROOT / "README.md"
BLOCK = re.compile(
    r"^<!-- test -->\n+```sh\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
)
# Brings up the loopback interface of a new network (ip(8) may not be installed) and becomes the
# shell.
ENTER = """
import fcntl, os, socket, struct, sys
name = b"lo".ljust(16, b"\\0")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    flags = struct.unpack("16sH14x", fcntl.ioctl(s, 0x8913, name + b"\\0" * 16))[1]
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", name, flags | 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def own_network():
    """The command that runs another one in a network of its own, or None."""
    command = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    command += [sys.executable, "-c", ENTER]
    works = (
        shutil.which("unshare")
        and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    )
    return command if works else None


def follow(page, home, timeout, **environment):
    """Runs the blocks of a document in home; stops what they left running there."""
    blocks = BLOCK.findall(page.read_text())
    assert blocks, f"{page} has no block marked <!-- test -->"
    network = own_network()
    if not network:
        pytest.skip("commands want port 8080 for themselves: unshare --net is not possible here")
    script = "set -e\n" + "".join(
        f"echo '== block {number}'\n{commands}\n" for number, (commands, _) in enumerate(blocks)
    )
    shell = subprocess.Popen(
        [*network, "bash", "-c", script],
        cwd=home,
        env={**CLEAN, "HOME": str(home), **environment},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = shell.communicate(timeout=timeout * PATIENCE)
    finally:
        stop(home)
    assert shell.returncode == 0, output[-4000:]
    for number, (_, expected) in enumerate(blocks):
        part = output.split(f"== block {number}\n")[1].split("== block ")[0]
        check_output(part, expected)


def check_output(output, expected):
    at = 0
    for line in filter(None, (line.strip() for line in expected.splitlines())):
        pattern = ".*?".join(re.escape(piece) for piece in line.split("..."))
        match = re.compile(pattern, re.DOTALL if line == "..." else 0).search(output, at)
        assert match, f"{line!r} is not in the output:\n{output[-4000:]}"
        at = match.end()


def stop(home):
    """Whatever the commands left running in this home."""
    for path in home.glob("**/run/supervisor.lock"):
        pid = path.read_text().strip()
        if pid and os.path.exists(f"/proc/{pid}/exe"):
            program = os.readlink(f"/proc/{pid}/exe")
            if program.startswith((str(home), str(BUILD))):
                os.kill(int(pid), signal.SIGTERM)
