# SPDX-License-Identifier: MIT
# Hardening is verified on the programs themselves, not on the flags of the build.
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build")).resolve()
PROGRAMS = [
    "sluice",
    "sluice-gateway",
    "sluice-users",
    "sluice-orders",
    "sluice-search",
    "sluice-queue",
    "sluice-tap",
]


def readelf(program, *options):
    result = subprocess.run(
        ["readelf", "-W", *options, BUILD / program], check=True, capture_output=True, text=True
    )
    return result.stdout


def test_list_is_complete():
    built = sorted(
        path.name for path in BUILD.glob("sluice*") if path.is_file() and os.access(path, os.X_OK)
    )
    assert built == sorted(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
class TestHardening:
    def test_is_position_independent(self, program):
        assert re.search(r"Type:\s+DYN", readelf(program, "-h"))
        assert re.search(r"FLAGS_1.*\bPIE\b", readelf(program, "-d"))

    def test_tables_are_read_only_after_start(self, program):
        assert "GNU_RELRO" in readelf(program, "-l")
        assert re.search(
            r"\((FLAGS|BIND_NOW)\).*(BIND_NOW)|FLAGS_1.*\bNOW\b", readelf(program, "-d")
        )

    def test_stack_is_not_executable(self, program):
        flags = re.search(r"GNU_STACK(?:\s+0x\w+){5}\s+([RWE ]+?)\s+0x", readelf(program, "-l"))
        assert flags and "E" not in flags[1]

    def test_no_segment_is_writable_and_executable(self, program):
        assert not re.search(r"LOAD(?:\s+0x\w+){5}\s+RWE", readelf(program, "-l"))

    @pytest.mark.skipif(os.uname().machine != "x86_64", reason="control-flow protection of x86-64")
    def test_control_flow_is_protected(self, program):
        # The note on the whole file needs start files that have it too, which Debian 12's have not.
        code = subprocess.run(
            ["objdump", "-d", "--disassemble=main", BUILD / program],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert re.search(r"<main>:\n.*\bendbr64\b", code)

    def test_library_calls_are_checked(self, program):
        assert re.search(r"__\w+_chk\b", readelf(program, "--dyn-syms"))
        assert "__stack_chk_fail" in readelf(program, "--dyn-syms")

    def test_needs_no_search_path(self, program):
        assert not re.search(r"\((RPATH|RUNPATH)\)", readelf(program, "-d"))
