# SPDX-License-Identifier: MIT
# The units of deploy/systemd, as systemd itself reads them. That they start what they should is tried on a whole
# system in tests/package.
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build")).resolve()
SOURCE = ROOT / "deploy/systemd"
# What a program may still do, by systemd's own measure: 0 is nothing, 10 everything. A gateway is on the network.
EXPOSURE = {"sluice-gateway@1.service": 1.5}
EXPOSURE_OF_OTHERS = 0.7

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd is not installed (deploy/packages test)"
)


@pytest.fixture
def units(tmp_path):
    """The units as they are installed, but with the programs of the build."""
    for path in SOURCE.rglob("*"):
        name = path.relative_to(SOURCE)
        if path.suffix == ".in":
            name = name.with_suffix("")
            path = BUILD / name.name
        elif path.suffix not in (".service", ".socket", ".target", ".conf") or name.name == "sysusers.conf":
            continue
        elif name.parts[0] == "examples":  # for who wants them
            continue
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(re.sub(r"/\S*/bin/(?=sluice)", f"{BUILD}/", path.read_text()))
    return tmp_path


def names(units):
    """What can be started: of a template its first instance."""
    found = [p.name for p in units.iterdir() if p.is_file()]
    return sorted(name.replace("@.", "@1.") for name in found)


def services(units):
    return [name for name in names(units) if name.endswith(".service")]


def analyze(units, *words):
    result = subprocess.run(
        ["systemd-analyze", "--no-pager", *words],
        capture_output=True,
        text=True,
        cwd=units,
        # Without the colon it would not find sysinit.target and its like.
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:", "SYSTEMD_LOG_LEVEL": "warning"},
    )
    return result.returncode, result.stdout + result.stderr


def complaints(units):
    """What systemd has to say about our units; it looks at those of the machine, too."""
    _, text = analyze(units, "verify", "--man=no", *names(units))
    return [line for line in text.splitlines() if "sluice" in line]


def settings(units, name):
    """Of a unit with its drop-ins: {'Type': ['notify'], ...}."""
    template = re.sub(r"@\w+\.", "@.", name)
    files = [units / template, *units.glob(f"{name}.d/*.conf")]
    if name.endswith(".service"):
        files.insert(1, units / "sluice-.service.d/10-sluice.conf")
    found = {}
    for path in files:
        for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.M):
            found.setdefault(key, []).append(value)
    return found


def program_of(found):
    """The name of ours that a unit runs; none: it runs another."""
    commands = found.get("ExecStartPre", []) + found["ExecStart"]
    programs = [command.split()[0] for command in commands if command.startswith(f"{BUILD}/")]
    return pathlib.Path(programs[-1]).name if programs else None


def test_there_is_one_of_each_service(units):
    assert names(units) == [
        "sluice-drain.service",
        "sluice-gateway.socket",
        "sluice-gateway@1.service",
        "sluice-home.service",
        "sluice-orders@1.service",
        "sluice-port.service",
        "sluice-queue.service",
        "sluice-search@1.service",
        "sluice-users@1.service",
        "sluice.target",
    ]
    wanted = " ".join(settings(units, "sluice.target")["Wants"]).split()
    assert sorted([*wanted, "sluice-home.service", "sluice.target"]) == names(units)


@needs_systemd
def test_systemd_takes_them(units):
    assert complaints(units) == []


@needs_systemd
@pytest.mark.parametrize(
    "unit, right, wrong",
    [
        ("sluice-queue.service", "Type=notify", "Typo=notify"),
        ("sluice-queue.service", "bin/sluice-queue", "bin/sluice-qeue"),
        ("sluice-users@.service", "Requires=sluice-home", "Requires=sluice-hom"),
        ("sluice-.service.d/10-sluice.conf", "ProtectSystem=strict", "ProtectSystem=strikt"),
    ],
)
def test_systemd_would_complain(units, unit, right, wrong):
    path = units / unit
    text = path.read_text().replace(f"{BUILD}/", "/usr/bin/" if "bin/" in right else f"{BUILD}/")
    assert right in text
    path.write_text(text.replace(right, wrong))
    assert complaints(units)


@needs_systemd
def test_little_is_left_to_them(units):
    for name in services(units):
        if name in ("sluice-drain.service", "sluice-port.service"):  # runs no program of ours
            continue
        limit = EXPOSURE.get(name, EXPOSURE_OF_OTHERS)
        status, text = analyze(
            units, "security", "--offline=yes", f"--threshold={limit * 10:.0f}", name
        )
        assert status == 0, text
        assert re.search(rf"exposure level for {re.escape(name)}: \d", text)


@needs_systemd
def test_the_limit_of_exposure_is_one(units):
    path = units / "sluice-.service.d/10-sluice.conf"
    text = path.read_text()
    for line in ("ProtectSystem=strict\n", "PrivateUsers=yes\n", "RestrictNamespaces=yes\n"):
        assert line in text
        text = text.replace(line, "")  # what each of them counts for depends on the version of systemd
    path.write_text(text)
    status, text = analyze(
        units, "security", "--offline=yes", f"--threshold={EXPOSURE_OF_OTHERS * 10:.0f}", "sluice-queue.service"
    )
    assert status != 0, text


def test_programs_say_when_they_are_ready_and_that_they_live(units):
    for name in services(units):
        found = settings(units, name)
        program = program_of(found)
        if name in ("sluice-drain.service", "sluice-home.service", "sluice-port.service"):
            continue
        assert program == re.match(r"[\w-]+", name)[0]
        assert found["Type"] == ["notify"] and found["WatchdogSec"] == ["10s"], name
        assert found["Restart"] == ["always"], name
        assert found["Requires"][0].startswith("sluice-home.service")
        assert f"man:{program}(1)" in found["Documentation"]


def test_they_set_what_programs_know(units):
    checked = 0
    for name in services(units):
        found = settings(units, name)
        program = program_of(found)
        if not program:
            continue
        command = [BUILD / program, *(["up"] if program == "sluice" else []), "--help"]
        known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for variable in re.findall(r"(SLUICE_\w+)=", " ".join(found["Environment"])):
            assert re.search(rf"^  {variable}\b", known, re.M), (name, variable)
            checked += 1
    assert checked >= 10


def test_socket_is_the_gateways(units):
    socket = settings(units, "sluice-gateway.socket")
    gateway = settings(units, "sluice-gateway@1.service")
    assert socket["Service"] == ["sluice-gateway@1.service"]
    assert gateway["Sockets"] == ["sluice-gateway.socket"]
    listen = re.search(r"^SLUICE_LISTEN=(.*)$", (ROOT / "deploy/env/production.env").read_text(), re.M)
    assert socket["ListenStream"] == [listen[1]]


# --- Examples

CLOSED = ["sluice-queue", "sluice-users@", "sluice-orders@", "sluice-search@"]
EXPOSURE_WITH_TRACES = 1.3  # with a way to the ports of this machine; a gateway has 1.5


@pytest.fixture
def traced(units):
    """The units with the drop-in that docs/traces.md has them get."""
    for name in CLOSED:
        assert settings(units, f"{name.replace('@', '@1')}.service")["PrivateNetwork"] == ["yes"]
        (units / f"{name}.service.d").mkdir()
        shutil.copy(SOURCE / "examples/traces.conf", units / f"{name}.service.d/traces.conf")
    return units


def test_the_example_of_traces_opens_one_way(traced):
    lines = (SOURCE / "examples/traces.conf").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "[Service]",
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_INET AF_INET6",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
    ]
    assert "examples/traces.conf" in (ROOT / "meson.build").read_text(), "it is installed"


@needs_systemd
def test_systemd_takes_the_example_of_traces(traced):
    assert complaints(traced) == []
    for name in CLOSED:
        status, text = analyze(
            traced,
            "security",
            "--offline=yes",
            f"--threshold={EXPOSURE_WITH_TRACES * 10:.0f}",
            f"{name.replace('@', '@1')}.service",
        )
        assert status == 0, text
        assert "PrivateNetwork=" in text and "IPAddressDeny=" in text
    conf = traced / "sluice-queue.service.d/traces.conf"
    conf.write_text(conf.read_text().replace("IPAddressAllow=localhost", "IPAddressAllow=locahost"))
    assert complaints(traced)
