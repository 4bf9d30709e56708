# SPDX-License-Identifier: MIT
# Every page is found from the index, and every link between pages leads somewhere.
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]+)?\)")
PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
)


def links(page):
    return [(page.parent / path).resolve() for path, _ in LINK.findall(page.read_text())]


def anchors(page):
    """Of its headings, as they are made of them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert [str(path) for path in links(page) if not path.exists()] == []
    for path, anchor in LINK.findall(page.read_text()):
        target = (page.parent / path).resolve()
        assert not anchor or anchor[1:] in anchors(target), path + anchor


def test_every_page_is_in_the_index():
    index = ROOT / "docs/README.md"
    assert set((ROOT / "docs").glob("*.md")) - set(links(index)) == {index}


TEST = re.compile(r"`(?:tests/(\w+)/)?((?:test|fuzz)_\w+\.(?:py|c))(?:::(\w+))?`")
NAMED = sorted(
    {(page.name, *found) for page in PAGES if page.name != "CHANGELOG.md" for found in TEST.findall(page.read_text())}
)


def test_pages_name_tests():
    assert len(NAMED) >= 40


@pytest.mark.parametrize("page,folder,name,test", NAMED)
def test_tests_that_pages_name_are_there(page, folder, name, test):
    found = list((ROOT / "tests").glob(f"{folder or '*'}/{name}"))
    assert found, f"{page} names a test that is not there"
    assert not test or any(re.search(rf"^\s*(?:def|class) {test}\b", path.read_text(), re.M) for path in found)


def test_each_of_the_ten_risks_has_its_tests():
    rows = re.findall(r"^\| (API\d+) .*\|(.*)\|$", (ROOT / "docs/security.md").read_text(), re.M)
    assert [risk for risk, _ in rows] == [f"API{n}" for n in range(1, 11)]
    for risk, shown_by in rows:
        assert TEST.search(shown_by), risk
