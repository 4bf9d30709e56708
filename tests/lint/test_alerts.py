# SPDX-License-Identifier: MIT
# The alerts of deploy/prometheus: rules that Prometheus takes, and that fire when they should (alerts.yml).
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "deploy/prometheus").glob("*.yml"))
TESTS = ROOT / "tests/lint/alerts.yml"

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (deploy/packages test)"
)


def promtool(*words):
    result = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


@needs_promtool
def test_rules_are_valid():
    assert RULES
    status, text = promtool("check", "rules", *RULES)
    assert status == 0, text


@needs_promtool
def test_rules_fire_when_they_should():
    status, text = promtool("test", "rules", TESTS)
    assert status == 0, text


def test_every_file_is_in_the_tests():
    listed = set(re.findall(r"deploy/prometheus/([\w-]+\.yml)", TESTS.read_text()))
    assert listed == {path.name for path in RULES}
