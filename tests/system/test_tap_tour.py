# SPDX-License-Identifier: MIT
# docs/tap.md is walked through: every command of its console blocks is run as it is written, in one shell, in
# which README's tour was followed before; what it prints must be what the page says.
import os
import re
import sys

import console
import pytest
from suite import BUILD, PATIENCE, ROOT, Suite, new_home
from walkthrough import BLOCK, README

PAGE = (ROOT / "docs/tap.md").read_text()
COMMANDS = console.commands(PAGE)


def try_it(port):
    """README's blocks that register Ada, fill the catalogue and order, for a gateway on this port."""
    blocks = [commands for commands, _ in BLOCK.findall(README.read_text()) if "$api/v1/users" in commands or "$api/v1/orders" in commands]
    assert len(blocks) == 2, "README's tour is another one"
    script = "".join(blocks).replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    # Events come behind the answers, and the page looks for all of them.
    told = "until sluice-tap ls --topic orders.order.paid 2> /dev/null; do sleep 0.02; done"
    return f"{{\n{script}{told}\n}} > /dev/null\n"


@pytest.fixture(scope="module")
def printed():
    """What each command of the page printed: [(status, output)]."""
    place = new_home()
    with Suite() as suite:
        suite.up()
        (place / "bin").mkdir()
        (place / "bin/python3").symlink_to(sys.executable)
        (place / "tests").symlink_to(ROOT / "tests")
        (place / "var").symlink_to(suite.home)
        env = {**suite.env, "PATH": f"{place}/bin:{BUILD}:{os.environ['PATH']}"}
        del env["SLUICE_HOME"]  # ./var, as in the page
        try:
            yield console.run(COMMANDS, place, env, try_it(suite.port), 120 * PATIENCE)
            left = {path.name for path in place.iterdir()} - {"bin", "tests", "var"}
            assert not left, f"the page leaves {left} behind"
        finally:
            for path in [place / "bin/python3", *(p for p in place.iterdir() if p.is_symlink() or p.is_file())]:
                path.unlink()
            (place / "bin").rmdir()
            place.rmdir()


@pytest.mark.seconds(120)
@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[f"line-{c.line}" for c in COMMANDS])
def test_command_prints_what_the_page_says(printed, number):
    command, (status, output) = COMMANDS[number], printed[number]
    assert status == 0 or command.may_fail, f"{command.text}status {status}: {output}"
    assert console.agrees(command.expected, output), (
        f"line {command.line}: {command.text}--- the page says\n{console.stable(command.expected)}\n"
        f"--- it printed\n{console.stable(output)}"
    )


def test_page_has_every_command():
    """Every command of --help but aliases is run by the page."""
    text = "".join(command.text for command in COMMANDS)
    table = (ROOT / "services/tap/commands.c").read_text()
    names = re.findall(r'^    \[TAP_\w+\] = \{ "([a-z0-9 ]+)"', table, re.MULTILINE)
    assert len(names) > 20
    assert [name for name in names if not re.search(rf"\bsluice-tap {name}\b", text)] == []


def test_comparison_can_fail():
    assert console.agrees("a 2026-01-01T00:00:00Z #5\n...\nend ... b\n", "a  2027-02-02T01:01:01.5Z  #77\nx\ny\nend of b")
    assert not console.agrees("a\n", "a\nb") and not console.agrees("a\n...\nc\n", "a\nb")
    assert not console.agrees("2 stored\n", "3 stored") and not console.agrees("", "a")
