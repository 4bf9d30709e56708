# SPDX-License-Identifier: MIT
# README.md is followed to the letter (walkthrough.py), in a fresh copy of the repository.
import shutil
import subprocess

import pytest
from suite import ROOT, new_home
from walkthrough import README, follow

# The copy is built from nothing, but not optimised: that is half the time of the test.
QUICK = "-O0 -g0 -U_FORTIFY_SOURCE"


def copy_repository(target):
    """What a clone of the work tree would have: tracked files and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    for name in listed.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


@pytest.mark.seconds(600)
def test_commands_do_what_they_say():
    home = new_home()
    try:
        copy_repository(home)
        follow(README, home, 500, CFLAGS=QUICK)
    finally:
        shutil.rmtree(home, ignore_errors=True)
