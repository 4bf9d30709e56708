# SPDX-License-Identifier: MIT
# The rules of rules.py over the sources of the repository. Every file list is asserted to have
# something in it, so that no rule passes because it looked at nothing.
import pathlib
import subprocess

import pytest
import rules

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = ["gateway", "services", "common", "proto", "deploy"]
PACKAGES = ["libuv", "libzmq", "libczmq", "sqlite3", "libsodium", "libseccomp", "libllhttp", "yyjson"]


def files(folders, *patterns):
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for pattern in patterns
        for path in (ROOT / folder).rglob(pattern)
        if path.is_file()
    ]
    found = sorted(name for name in set(found) if "__pycache__" not in name)
    assert found, f"no {patterns} in {folders}"
    return found


def scripts():
    """Shell scripts carry no ending: they are what begins with a shell's name."""
    found = []
    for path in files([".ci", "deploy", "tests"], "*"):
        if b"sh\n" in (ROOT / path).open("rb").readline()[:32]:
            found.append(path)
    assert found, "no shell scripts"
    return found


def sources():
    return files(CODE, "*.c", "*.h")


def all_sources():
    python = files(["tests"], "*.py")
    units = files(["tests"], "*.c", "*.h")
    return sources() + units + python + scripts() + ["meson.build"]


def modules():
    """The .c files that have a header of their own."""
    found = [path for path in files(CODE, "*.c") if (ROOT / path).with_suffix(".h").exists()]
    assert found
    return found


RULES = [
    (rules.includes, sources),
    (rules.license_line, all_sources),
    (rules.header_guard, lambda: files(CODE, "*.h")),
    (rules.file_name, all_sources),
    (rules.unsafe_calls, sources),
    (rules.text_of_anything, sources),
    (rules.file_calls, lambda: files(["services/queue"], "*.c")),
    (rules.function_length, lambda: files(CODE, "*.c")),
    (rules.unfinished, all_sources),
    (rules.white_space, all_sources),
    (rules.own_header_first, modules),
]


@pytest.mark.parametrize("rule,list_files", RULES, ids=lambda v: getattr(v, "__name__", None))
def test_sources_keep_the_rule(rule, list_files):
    wrong = []
    for path in list_files():
        if path.startswith("tests/lint/") and rule is rules.unfinished:
            continue  # the rules name the words
        wrong += rule(path, (ROOT / path).read_text())
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_folder_is_there():
    for folder in CODE + [
        "services/users",
        "services/orders",
        "services/search",
        "services/queue",
        "services/tap",
    ]:
        assert files([folder], "*.c"), folder


def test_every_source_is_built():
    listed = (ROOT / "meson.build").read_text()
    missing = [path for path in files(CODE, "*.c") if f"'{path}'" not in listed]
    assert not missing, f"not in meson.build: {missing}"


def test_every_unit_test_is_built():
    listed = (ROOT / "meson.build").read_text()
    missing = [
        path
        for path in files(["tests/unit"], "test_*.c")
        if f"'{path}'" not in listed and f"'{path[len('tests/unit/test_'):-2]}'" not in listed
    ]
    assert not missing, f"not in meson.build: {missing}"


@pytest.fixture(scope="session")
def compiler_flags():
    names = PACKAGES + [
        next(
            name
            for name in ["msgpack-c", "msgpack"]
            if subprocess.run(["pkg-config", "--exists", name]).returncode == 0
        )
    ]
    flags = subprocess.run(
        ["pkg-config", "--cflags"] + names, check=True, capture_output=True, text=True
    )
    return flags.stdout.split()


@pytest.mark.parametrize("header", files(CODE, "*.h"))
def test_header_compiles_alone(header, compiler_flags):
    result = subprocess.run(
        [
            "cc",
            "-std=gnu17",
            "-D_GNU_SOURCE",
            '-DSLUICE_VERSION="0"',
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-function",
            "-I.",
            *compiler_flags,
            "-fsyntax-only",
            "-include",
            header,
            "-x",
            "c",
            "/dev/null",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_environments_have_the_same_keys():
    keys = {
        path: rules.environment_keys((ROOT / path).read_text())
        for path in files(["deploy/env"], "*.env")
    }
    assert len(keys) >= 3
    every = set.union(*keys.values())
    assert every
    missing = {path: sorted(every - found) for path, found in keys.items() if every - found}
    assert not missing


@pytest.mark.parametrize("path", scripts())
def test_script_is_sound_shell(path):
    shell = (ROOT / path).open().readline().split("/")[-1].split()[-1]
    result = subprocess.run([shell, "-n", path], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
