# SPDX-License-Identifier: MIT
# The guides for users are followed to the letter (walkthrough.py), with the programs that are built.
import shutil

import pytest
from suite import BUILD, ROOT, new_home
from walkthrough import BLOCK, follow

PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if BLOCK.search(page.read_text())]


def test_there_are_guides():
    assert {"getting-started", "api-guide"} <= {page.stem for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_do_what_they_say(page):
    home = new_home()
    try:
        (home / "build").symlink_to(BUILD)
        (home / "deploy").symlink_to(ROOT / "deploy")
        follow(page, home, 60, SLUICE_BUILD_DIR=str(BUILD), SLUICE_HOME=str(home / "var"))
    finally:
        shutil.rmtree(home, ignore_errors=True)
