# SPDX-License-Identifier: MIT
# Every setting of every program is in the documentation, and what docs/tuning.md says of defaults and
# limits is what the programs say of themselves.
import re
import subprocess

import pytest
from test_binaries import BUILD, ROOT

HELPS = [["sluice", "up"], *(["sluice-" + name] for name in ("gateway", "users", "orders", "search", "queue"))]
ENTRY = re.compile(r"^  ((?:SLUICE|OTEL)_\w+).*\n((?:      .*\n)+)", re.M)
TUNING = (ROOT / "docs/tuning.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| (\S*) \| ([^|]*?) ?\| ", TUNING, re.M)


def settings(command):
    """{name: (default, limits)} as --help tells them; '' where there is none."""
    text = subprocess.run([BUILD / command[0], *command[1:], "--help"], capture_output=True, text=True, check=True).stdout
    found = {}
    for name, told in ENTRY.findall(text):
        kind = told.splitlines()[-1]  # as "an integer from 1 to 65536; default: 1024"
        limits = re.search(r" from (\S+ to [^\s;]+)", kind)
        default = re.search(r"; default: (\S+)$", kind)
        found[name] = (default[1] if default else "", limits[1] if limits else "")
    assert len(found) >= 10, command
    return found


SETTINGS = {}
for command in HELPS:
    for name, told in settings(command).items():
        SETTINGS.setdefault(name, []).append(told)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_is_documented(name):
    pages = [ROOT / "README.md", ROOT / "deploy/README.md", *(ROOT / "docs").glob("*.md")]
    assert any(re.search(rf"\b{name}\b", page.read_text()) for page in pages), f"no page in docs/ has {name}"


def test_tuning_has_rows():
    assert len(ROWS) >= 35


@pytest.mark.parametrize("name,default,limits", ROWS, ids=[row[0] for row in ROWS])
def test_tuning_says_what_the_programs_say(name, default, limits):
    assert name in SETTINGS, f"no program has {name}"
    for told in SETTINGS[name]:
        assert (default, limits) == told
