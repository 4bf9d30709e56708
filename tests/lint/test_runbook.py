# SPDX-License-Identifier: MIT
# Alerts have one name each, the same in Prometheus' rules, in the supervisor and in the runbook.
import math
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = "\n".join(p.read_text() for p in sorted((ROOT / "deploy/prometheus").glob("*.yml")))
TABLE = (ROOT / "deploy/alerts.h").read_text()


def rules():
    """{alert: (severity, seconds that it must hold)}"""
    found = {}
    for name, body in re.findall(r"- alert: (\w+)\n(.*?)(?=\n      - |\Z)", RULES, re.DOTALL):
        hold = re.search(r"\n\s+for: (\d+)([smh])", body)
        seconds = int(hold[1]) * {"s": 1, "m": 60, "h": 3600}[hold[2]] if hold else 0
        found[name] = (re.search(r"severity: (\w+)", body)[1], seconds)
    return found


def own_alerts():
    """The same of the supervisor's table."""
    return {
        name: (severity, int(seconds))
        for name, severity, seconds in re.findall(
            r'X\(\w+, "(\w+)", "(\w+)", (\d+),', TABLE.replace("\\\n", " ")
        )
    }


def test_names_are_unique():
    names = re.findall(r"- alert: (\w+)", RULES)
    assert len(names) > 30
    assert sorted(names) == sorted(set(names))


def test_the_supervisor_knows_no_other_alerts():
    known, own = rules(), own_alerts()
    assert len(own) == TABLE.count("X(") - 2  # the list's head and its use
    differing = {
        name: (found, known.get(name)) for name, found in own.items() if known.get(name) != found
    }
    assert not differing, "supervisor's, Prometheus': " + repr(differing)


def test_a_lone_machine_wakes_somebody_for_the_same():
    """What pages by Prometheus pages without it, but for what the supervisor sees otherwise."""
    otherwise = {
        "SluiceProcessDown": "SluiceProcessNotReady",
        "SluiceGatewayAbsent": "SluiceProcessNotReady",
        "SluiceQueueAbsent": "SluiceProcessNotReady",
    }
    of_others = {"SluiceCertificateExpiresSoon", "SluicePublicAddressDown"}  # the proxy in front
    pages = {name for name, (severity, _) in rules().items() if severity == "page"}
    own = set(own_alerts())
    assert len(pages) > 20 and set(otherwise.values()) <= own
    assert pages - own == set(otherwise) | of_others


LIMITS = {  # of alert_watch.h: the alert, and what its rule says after the comparison (groups are numbers)
    "ALERT_OUTBOX_PERCENT": ("SluiceOutboxFills", r"> 0\.(\d)() \*"),
    "ALERT_OUTBOX_OLD_S": ("SluiceOutboxOld", r"> (\d+)()\n"),
    "ALERT_BACKUP_OLD_S": ("SluiceBackupOld", r"> (\d+) \* (\d+)\n"),
    "ALERT_BEHIND_S": ("SluiceSearchBehind", r"> (\d+)()\n"),
    "ALERT_REVOCATION_LAG_S": ("SluiceGatewayRevocationsMissing", r"> (\d+)()\n"),
    "ALERT_TOKEN_KEY_OLD_S": ("SluiceTokenKeyOld", r"> (\d+) \* (\d+)\n"),
    "ALERT_DESCRIPTORS_PERCENT": ("SluiceDescriptorsLow", r"> 0\.(\d)() \*"),
    "ALERT_MEMORY_BYTES": ("SluiceMemoryHigh", r"> (\d+) \* (1024 \* 1024)\n"),
    "ALERT_WAL_BYTES": ("SluiceStoreWalLarge", r"> (\d+) \* (1024 \* 1024)\n"),
    "ALERT_RISE_MS": ("SluiceConnectionsFull", r"\[(\d)(m)\]"),
    "ALERT_STUCK_MS": ("SluiceWorkerStuck", r"\[(\d+)(m)\]"),
}
UNITS = {"": 1, "m": 60_000, "3600": 3600, "86400": 86400, "1024 * 1024": 1024 * 1024}


def test_limits_are_those_of_the_rules():
    header = (ROOT / "deploy/alert_watch.h").read_text()
    defined = dict(re.findall(r"#define (ALERT_\w+) (\S.*?)(?: +//.*)?\n", header))
    assert set(defined) == set(LIMITS)
    for name, (alert, pattern) in LIMITS.items():
        n, unit = re.search(pattern, re.search(rf"- alert: {alert}\n(.*?)\n        labels", RULES, re.DOTALL)[1] + "\n").groups()
        limit = int(n) * UNITS[unit] * (10 if name.endswith("PERCENT") else 1)
        numbers = re.findall(r"\d+", defined[name].replace("INT64_C", ""))
        assert math.prod(map(int, numbers)) == limit, (name, alert)


def test_every_alert_has_a_section_and_every_section_an_alert():
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert len(sections) == len(set(sections))
    assert set(sections) == set(rules())


def test_every_section_says_what_to_do():
    text = (ROOT / "docs/runbook.md").read_text()
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        for word in ("**Means**: ", "**Look**: ", "**Do**: "):
            assert section.count(word) == 1, section


def test_the_document_lists_what_the_supervisor_looks_at():
    text = (ROOT / "docs/alerts.md").read_text()
    table = text[text.index("| alert |") : text.index("A condition has held")]
    assert set(re.findall(r"`(Sluice\w+)`", table)) == set(own_alerts())
