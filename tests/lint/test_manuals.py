# SPDX-License-Identifier: MIT
# The manual pages, which the programs print themselves (--man), and the build writes into files.
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from test_binaries import BUILD, PROGRAMS

needs_groff = pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed (deploy/packages test)")


def said(program, *words):
    result = subprocess.run([BUILD / program, *words], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def render(page, width=200):
    result = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", f"-rLL={width}n"], input=page.encode(), capture_output=True
    )
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode().replace("−", "-").replace("‐", "-")


@pytest.mark.parametrize("program", PROGRAMS)
class TestManual:
    def test_build_writes_what_the_program_says(self, program):
        assert (BUILD / f"{program}.1").read_text() == said(program, "--man")

    @needs_groff
    def test_renders_without_a_warning(self, program):
        render(said(program, "--man"), 78)
        text = render(said(program, "--man"))
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "SEE ALSO"]:
            assert re.search(rf"^{part}$", text, re.M), part
        assert re.search(rf"^NAME\n +{program} - \S", text, re.M)
        assert "\\" not in text.replace("\\n", "")  # of --format of the tap

    @needs_groff
    def test_has_all_that_help_has(self, program):
        text = re.sub(r"\s+", " ", render(said(program, "--man")))
        helps = [said(program, "--help")]
        if program == "sluice":
            commands = re.findall(r"^  (\w+)  +\S", helps[0].split("Commands:")[1], re.M)
            assert len(commands) >= 9
            helps += [said(program, command, "--help") for command in commands]
        variables = options = 0
        for line in "\n".join(helps).splitlines():
            for variable in re.findall(r"^  (SLUICE_\w+)", line):
                variables += 1
                assert re.search(rf"{variable}\b", text), variable
            for option in re.findall(r"^  (?:-\w, |    )?(--[\w-]+)", line):
                options += 1
                assert re.search(rf"{option}\b", text), option
        assert variables >= 8 or (options >= 10 and program == "sluice-tap")

    @pytest.mark.skipif(not shutil.which("man"), reason="man-db is not installed")
    def test_man_shows_it(self, program):
        shown = subprocess.run(
            ["man", "--warnings", "-l", BUILD / f"{program}.1"],
            capture_output=True,
            text=True,
            env={**os.environ, "MANPAGER": "cat", "MAN_KEEP_FORMATTING": ""},
        )
        assert (shown.returncode, shown.stderr) == (0, "")
        assert program in shown.stdout


@needs_groff
def test_a_wrong_page_would_be_seen():
    with pytest.raises(AssertionError):
        render(".TH X 1\n.SH NAME\n\\fQx\n.if\n")


def test_pages_are_installed():
    listed = (pathlib.Path(__file__).resolve().parents[2] / "meson.build").read_text()
    programs = re.search(r"foreach program : \[(.*)\]\n", listed)[1]
    assert sorted(programs.replace("_", "-").split(", ")) == sorted(PROGRAMS)
