# SPDX-License-Identifier: MIT
# docs/add-a-service.md is followed to the letter: its program is taken out of the page, built with
# the page's own command, started beside a running suite, and used.
import os
import re
import signal
import sqlite3
import subprocess

import pytest
from api import Client
from people import register
from queue_client import Queue
from suite import BUILD, PATIENCE, ROOT, SANITIZED, Suite, run, wait_for

PAGE = (ROOT / "docs/add-a-service.md").read_text()


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no {language} block"
    return found


def test_program_is_short():
    lines = [
        line
        for line in blocks("c")[0].splitlines()
        if line.strip() and not line.lstrip().startswith("//")
    ]
    assert len(lines) < 80, f"{len(lines)} lines"


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """The program of the page, built."""
    folder = tmp_path_factory.mktemp("notes")
    if SANITIZED:
        pytest.skip("the page's command builds without sanitizers, this build has them")
    (folder / "notes.c").write_text(blocks("c")[0])
    tree = folder / "tree"  # the repository with this build as its build/
    tree.mkdir()
    for name, target in (("common", ROOT / "common"), ("proto", ROOT / "proto"), ("build", BUILD)):
        (tree / name).symlink_to(target)
    command = next(block for block in blocks("sh") if block.startswith("cc "))
    result = subprocess.run(
        ["sh", "-e", "-c", command],
        cwd=folder,
        env={**os.environ, "SLUICE": str(tree)},
        text=True,
        capture_output=True,
        timeout=60 * PATIENCE,
    )
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return folder / "sluice-notes"


def start(program, suite, instance):
    return subprocess.Popen(
        [program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "SLUICE_HOME": str(suite.home), "SLUICE_INSTANCE": instance},
    )


def test_service_works_beside_a_running_suite(notes):
    with Suite() as suite:
        suite.up()
        ada, bob = register(suite.port, "Ada"), register(suite.port, "Bob")
        first = start(notes, suite, "notes-1")
        second = None
        try:
            wait_for(
                lambda: Client(suite.port).get("/v1/notes/x").status == 401,
                5,
                "the routes are there",
            )
            made = wait_for(
                lambda: (a := ada.post("/v1/notes", {"text": "buy a lamp"})).status == 201 and a,
                5,
                "a writer",
            )
            note = made.json()
            path = made.headers["Location"]
            assert (note["text"], note["user_id"]) == ("buy a lamp", ada.id)
            assert ada.get(path).json() == note
            assert bob.get(path).status == 404
            assert Client(suite.port).get(path).status == 401
            assert ada.post("/v1/notes", {"text": ""}).json()["errors"][0]["pointer"] == "#/text"
            assert "/v1/notes/{id}" in ada.get("/openapi.json").json()["paths"]
            with Queue(suite.queue_endpoint) as queue:
                events = queue.wait(lambda found: found, "notes.note.created")
                assert [event["data"]["text"] for event in events] == ["buy a lamp"]

            # Its store is one of those that are backed up.
            copy = suite.home / "copy"
            result = run("sluice", "backup", copy, env=suite.env)
            assert result.returncode == 0, result.stderr
            with sqlite3.connect(copy / "db/notes/notes.db") as db:
                assert db.execute("SELECT text FROM notes").fetchall() == [("buy a lamp",)]

            # A second one takes over writing the moment the first is gone.
            second = start(notes, suite, "notes-2")
            wait_for(
                lambda: '"notes-2"' in suite.admin_page("gateway-1", "/topology")[1],
                5,
                "the second one is there",
            )
            first.send_signal(signal.SIGKILL)
            first.wait()
            wait_for(
                lambda: ada.post("/v1/notes", {"text": "and a cable"}).status == 201,
                5,
                "the second one writes",
            )
            assert ada.get(path).json() == note

            # What it hears: a deleted user's notes are deleted.
            assert ada.delete(f"/v1/users/{ada.id}", if_match="*").status == 204
            database = f"file:{suite.home}/db/notes/notes.db?mode=ro"

            def count():
                with sqlite3.connect(database, uri=True) as db:
                    return db.execute("SELECT count(*) FROM notes").fetchone()[0]

            wait_for(lambda: count() == 0, 5, "the notes are deleted")
            second.send_signal(signal.SIGTERM)
            assert second.wait(timeout=15) == 0
        finally:
            for process in (first, second):
                if process and process.poll() is None:
                    process.kill()
                    process.wait()


def test_help_lists_its_settings(notes):
    result = subprocess.run([notes, "--help"], capture_output=True, text=True)
    assert (
        result.returncode == 0
        and "SLUICE_HOME" in result.stdout
        and "SLUICE_CAPACITY" in result.stdout
    )
