# SPDX-License-Identifier: MIT
# Sums up what tests/run left in a directory and prints it as one line. Exit status 1 when anything
# failed.
#
# NAME.status  exit status of the step NAME
# NAME.xml     its results as JUnit XML; a step without any counts as one check
# NAME.json    meson's own log of it: names tests that died without a word; the XML has none of those
import json
import pathlib
import sys
import xml.etree.ElementTree


def cases_of(path):
    """(passed, failed, skipped) of the cases, and the names of test programs with a failed one."""
    passed = failed = skipped = 0
    blamed = set()
    for suite in xml.etree.ElementTree.parse(path).iter("testsuite"):
        for case in suite.findall("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
                blamed.add(suite.get("name", "").split(" / ")[-1])
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    return passed, failed, skipped, blamed


def silent_deaths(path, blamed):
    """Test programs that failed although none of their cases did: crashes, sanitizer reports."""
    deaths = 0
    for line in path.read_text().splitlines():
        test = json.loads(line)
        name = test["name"].split(" / ")[-1]
        if test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL") and name not in blamed:
            print(f"failed: the test program {name} ended with {test['result']}")
            deaths += 1
    return deaths


def step(status_file):
    status = int(status_file.read_text())
    results = status_file.with_suffix(".xml")
    log = status_file.with_suffix(".json")
    passed = failed = skipped = 0
    if results.exists():
        passed, failed, skipped, blamed = cases_of(results)
        if log.exists():
            failed += silent_deaths(log, blamed)
        if status == 0 and passed + failed + skipped == 0:
            print(f"failed: {status_file.stem} ran no test")
            failed = 1
    elif status == 0:
        passed = 1
    if status != 0 and failed == 0:
        print(f"failed: {status_file.stem} ended with status {status}")
        failed = 1
    return passed, failed, skipped


def main(directory):
    steps = [step(path) for path in sorted(pathlib.Path(directory).glob("*.status"))]
    passed, failed, skipped = (sum(column) for column in zip(*steps)) if steps else (0, 1, 0)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
