# SPDX-License-Identifier: MIT
# Sums up what tests/run left in a directory and prints it as one line. Exit status 1 when anything
# failed.
#
# NAME.status  exit status of the step NAME
# NAME.xml     its results as JUnit XML; a step without any counts as one check
# NAME.json    meson's own log of it: names tests that died without a word; the XML has none of those
#
# NAME-again is the second try of the cases that failed in NAME: they count as it says, and those that passed are named.
import json
import pathlib
import sys
import xml.etree.ElementTree

AGAIN = "-again"


def each_case(path):
    """(test program, name, outcome) of every case."""
    for suite in xml.etree.ElementTree.parse(path).iter("testsuite"):
        for case in suite.findall("testcase"):
            outcome = "passed"
            if case.find("failure") is not None or case.find("error") is not None:
                outcome = "failed"
            elif case.find("skipped") is not None:
                outcome = "skipped"
            yield suite.get("name", "").split(" / ")[-1], f"{case.get('classname')}::{case.get('name')}", outcome


def count(cases, outcome):
    return sum(each == outcome for _, _, each in cases)


def with_second_try(cases, again):
    """The cases, each of those that failed with the outcome of its second try, if that passed."""
    passed = {name for _, name, outcome in each_case(again) if outcome == "passed"}
    for program, name, outcome in cases:
        if outcome == "failed" and name in passed:
            print(f"failed at first, passed when tried again: {name}")
            outcome = "passed"
        yield program, name, outcome


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
    name, status = status_file.stem, int(status_file.read_text())
    results, log, again = (status_file.with_name(name + end) for end in (".xml", ".json", AGAIN + ".xml"))
    passed = failed = skipped = 0
    if results.exists():
        cases = list(each_case(results))
        if again.exists():
            cases = list(with_second_try(cases, again))
            status = int(again.with_suffix(".status").read_text())
        passed, failed, skipped = (count(cases, outcome) for outcome in ("passed", "failed", "skipped"))
        if log.exists():
            failed += silent_deaths(log, {program for program, _, outcome in cases if outcome == "failed"})
        if status == 0 and not cases:
            print(f"failed: {name} ran no test")
            failed = 1
    elif status == 0:
        passed = 1
    if status != 0 and failed == 0:
        print(f"failed: {name} ended with status {status}")
        failed = 1
    return passed, failed, skipped


def main(directory):
    files = sorted(pathlib.Path(directory).glob("*.status"))
    steps = [step(path) for path in files if not path.stem.endswith(AGAIN)]
    passed, failed, skipped = (sum(column) for column in zip(*steps)) if steps else (0, 1, 0)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
