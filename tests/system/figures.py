# SPDX-License-Identifier: MIT
# Figures that tests measure, for tests/fault/report.
import json
import os


def note(figures):
    """Prints them, as a line of JSON that names in "what" what was measured, and adds it to the file
    SLUICE_TEST_FIGURES, if there is one."""
    line = json.dumps(figures)
    print(line)
    if path := os.environ.get("SLUICE_TEST_FIGURES"):
        with open(path, "a") as file:
            file.write(line + "\n")
