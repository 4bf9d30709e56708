# SPDX-License-Identifier: MIT
# The alerts of deploy/prometheus: rules that Prometheus takes, that fire when they should and are quiet
# when they should (alerts/*.yml), and that ask for metrics which there are.
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "deploy/prometheus").glob("*.yml"))
TESTS = [ROOT / "tests/lint/alerts.yml", *sorted((ROOT / "tests/lint/alerts").glob("*.yml"))]
SOURCES = "\n".join(
    path.read_text()
    for folder in ("common", "gateway", "services", "deploy")
    for path in sorted((ROOT / folder).rglob("*.[ch]"))
)
BUDGET = (ROOT / "deploy/error_budget.h").read_text()

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
    status, text = promtool("test", "rules", *TESTS)
    assert status == 0, text


def rules(kind, paths=RULES):
    """All rules of a kind, `alert` or `record`."""
    groups = [g for path in paths for g in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


# --- What a rule asks for

WORDS = {"and", "or", "unless", "by", "on", "offset"}
GROUPING = r"\b(?:by|on)\s*\(([^)]*)\)"


def metrics_of(expr):
    """Names of the series that an expression reads."""
    bare = re.sub(GROUPING, "", re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", expr))
    return set(re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", bare)) - WORDS


def labels_of(rule):
    """Names of the labels that a rule selects by, groups by, or tells of."""
    found = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", rule["expr"]))
    for names in re.findall(GROUPING, rule["expr"]):
        found |= {name.strip() for name in names.split(",") if name.strip()}
    return found | set(re.findall(r"\$labels\.(\w+)", " ".join(rule.get("annotations", {}).values())))


def is_exported(metric):
    """Whether a source has the name, or the two parts that it is put together of."""
    family = re.sub(r"_(bucket|count|sum)$", "", metric)
    prefix = "sluice_queue_group_"
    names = {f'"{family}"', f'"{metric}"', f"{family} "}  # the last one: `# TYPE` of a literal text
    return any(name in SOURCES for name in names) or (
        family.startswith(prefix) and f'"{family.removeprefix(prefix)}"' in SOURCES
    )


def test_metrics_of_rules_exist():
    recorded = {rule["record"] for rule in rules("record")}
    asked = {m for kind in ("alert", "record") for rule in rules(kind) for m in metrics_of(rule["expr"])}
    of_others = {"up", "probe_success", "probe_ssl_earliest_cert_expiry"}  # Prometheus', the blackbox exporter's
    assert len(asked) > 70
    assert sorted(m for m in asked - recorded - of_others if not is_exported(m)) == []


def test_labels_of_rules_exist():
    asked = {name for kind in ("alert", "record") for rule in rules(kind) for name in labels_of(rule)}
    of_scrapes = {"job", "instance", "le"}
    assert len(asked) > 10
    assert sorted(name for name in asked - of_scrapes if f'{name}=\\"' not in SOURCES) == []


# --- Every alert is seen firing, and seen quiet


def cases_of_alerts():
    """{alert: [(what is expected, metrics that the test has)]}"""
    found = {}
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            series = {re.match(r"[\w:]+", entry["series"])[0] for entry in test["input_series"]}
            for case in test["alert_rule_test"]:
                found.setdefault(case["alertname"], []).append((case["exp_alerts"], series))
    return found


def read_by(alert):
    """Metrics that an alert's expression reads, those behind recorded ones included."""
    recorded = {rule["record"]: metrics_of(rule["expr"]) for rule in rules("record")}
    names = metrics_of(alert["expr"])
    while names & set(recorded):
        names = {m for name in names for m in recorded.get(name, {name})}
    return names


def test_every_alert_is_tested_firing_and_quiet():
    tests, missing = cases_of_alerts(), []
    for alert in rules("alert"):
        cases = tests.pop(alert["alert"], [])
        if not any(expected for expected, _ in cases):
            missing.append(f"{alert['alert']} never fires")
        # Without a series of its own it would be quiet whatever the rule says.
        if not any(not expected and series & read_by(alert) for expected, series in cases):
            missing.append(f"{alert['alert']} is never quiet")
    assert missing == []
    assert not tests, f"tests of alerts that there are not: {sorted(tests)}"


# --- The same as the supervisor's


def own_burn_rates():
    """{speed: (tenths, minutes of the short window, minutes of the long one)} of the supervisor's table."""
    minutes = {"MINUTE": 1, "HOUR": 60}
    window = r"(?:(\d+) \* )?ERROR_BUDGET_(MINUTE|HOUR)_MS"
    table = BUDGET.split("#define ERROR_BUDGET_BURNS(X)")[1]
    return {
        symbol.capitalize(): (int(tenths), int(n or 1) * minutes[unit], int(m or 1) * minutes[longer])
        for symbol, tenths, n, unit, m, longer in re.findall(rf"X\((\w+), (\d+), {window}, {window},", table)
    }


def burn_rates(budget, metric, share):
    """The same of the rules of one budget."""
    minutes = {"m": 1, "h": 60, "d": 24 * 60}
    least = re.search(r"ERROR_BUDGET_LEAST (\d+)", BUDGET)[1]
    found = {}
    for rule in rules("alert"):
        name = re.fullmatch(f"Sluice{budget}BudgetBurn(\\w+)", rule["alert"])
        if name:
            ratio = rf"job:{metric}:ratio_rate(\d+)([mhd]) > (\S+) \* {share}\n"
            (m, longer, rate), (n, unit, again) = re.findall(ratio, rule["expr"])
            short = int(n) * minutes[unit]
            assert again == rate
            assert f"job:http_server_requests:rate{n}{unit} * {60 * short} >= {least}\n" in rule["expr"]
            found[name[1]] = (round(10 * float(rate)), short, int(m) * minutes[longer])
    return found


def test_burn_rates_are_those_of_the_supervisor():
    own = own_burn_rates()
    assert len(own) == 4
    assert burn_rates("Error", "http_server_request_errors", "0.001") == own
    assert burn_rates("Latency", "http_server_request_slow", "0.01") == own


def test_every_file_is_in_the_tests():
    listed = {name for path in TESTS for name in re.findall(r"deploy/prometheus/([\w-]+\.yml)", path.read_text())}
    assert listed == {path.name for path in RULES}
