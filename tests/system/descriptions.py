# SPDX-License-Identifier: MIT
# The tools that judge API documents: those of tests/npm, installed once for each build directory from
# the lock file (versions and hashes), without their install scripts. And a walk through the
# references of a document.
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import jsonschema
from suite import BUILD, CLEAN, PATIENCE, ROOT

PACKAGES = ROOT / "tests/npm"
NODE = [20, 19]  # what they run with


class Unavailable(Exception):
    """The tools cannot be had here; says why."""


def install():
    """The directory node_modules with the tools."""
    if not shutil.which("npm") or not shutil.which("node"):
        raise Unavailable("npm is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    if [int(part) for part in version[1:].split(".")[:2]] < NODE:
        raise Unavailable(f"node is {version}, and the tools want {NODE[0]}.{NODE[1]}")
    lock = (PACKAGES / "package-lock.json").read_bytes()
    home = BUILD / f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not home.exists():
        BUILD.mkdir(exist_ok=True)
        making = pathlib.Path(tempfile.mkdtemp(prefix="npm-", dir=BUILD))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PACKAGES / name, making)
        try:
            result = subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"],
                cwd=making, capture_output=True, text=True, timeout=60 * PATIENCE,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if result.returncode:
                raise Unavailable(f"npm ci failed: {result.stderr.strip()[-300:]}")
            making.rename(home)  # whole, or not at all
        except subprocess.TimeoutExpired:
            raise Unavailable("npm ci took too long") from None
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return home / "node_modules"


def redocly(modules, document, directory):
    """What `redocly lint` says of the document: (problems as text, exit status)."""
    path = pathlib.Path(directory) / "document.json"
    path.write_text(json.dumps(document))
    result = subprocess.run(
        ["node", modules / "@redocly/cli/bin/cli.js", "lint", "--extends=recommended-strict",
         "--format=json", "--max-problems=1000", path.name],
        cwd=directory, capture_output=True, text=True, timeout=60 * PATIENCE,
        stdin=subprocess.DEVNULL,
        env={**CLEAN, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
             "HOME": str(directory), "CI": os.environ.get("CI", "true")},
    )  # fmt: skip
    assert result.stdout.startswith("{"), result.stdout + result.stderr
    problems = json.loads(result.stdout)["problems"]
    return [
        f"{p['ruleId']} at {p['location'][0]['pointer']}: {p['message']}" for p in problems
    ], result.returncode


class Local(jsonschema.RefResolver):
    """References into the document itself, and nothing from anywhere else."""

    def resolve(self, ref):
        assert ref.startswith("#"), ref
        return ref, follow(self.referrer, ref)


def validator(schema, document=None):
    """A validator of JSON Schema draft 7; references lead into the document, or the schema itself."""
    return jsonschema.Draft7Validator(
        schema,
        resolver=Local("", document if document is not None else schema),
        format_checker=jsonschema.FormatChecker(),
    )


def follow(document, reference):
    """What a reference of the document leads to; KeyError when it leads nowhere."""
    place = document
    for part in reference[1:].split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        place = place[int(part) if isinstance(place, list) else part]
    return place


def references(value):
    """All references in the document."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "$ref":
                yield member
            else:
                yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)
