# SPDX-License-Identifier: MIT
# The dashboards of deploy/grafana and the examples beside the rules: what they ask for exists, and Prometheus
# understands it.
import json
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from test_alerts import SOURCES, is_exported

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))
EXAMPLE = ROOT / "deploy/prometheus/example"
by_name = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


def expressions(path):
    return [t["expr"] for panel in json.loads(path.read_text())["panels"] for t in panel["targets"]]


def test_there_are_some():
    assert len(DASHBOARDS) >= 3


@by_name
def test_layout(path):
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem and board["tags"] == ["sluice"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}" and panel["fieldConfig"]["defaults"]["unit"]
        assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"])


def families(text):
    """The metrics that a text names, but for those of recording rules, which have colons."""
    names = set(re.findall(r"(?<![\w:])((?:sluice|http|process)_\w+)\b(?!:)", text))
    labels = {"http_request_method", "http_route", "http_response_status_code"}
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names - labels}


@by_name
def test_metrics_exist(path):
    found = families(" ".join(expressions(path)))
    assert len(found) > 10
    assert [name for name in found if not is_exported(name)] == []


def test_metrics_of_rules_and_pages_exist():
    pages = [*(ROOT / "deploy/prometheus").glob("*.yml"), *(ROOT / "docs").glob("*.md")]
    found = {
        (page.name, name)
        for page in pages
        for name in families(page.read_text())
        if name.startswith(("sluice_", "process_", "http_server_"))
    }
    assert len(found) > 200
    # Pages also have what names begin with.
    assert sorted((page, name) for page, name in found if name not in SOURCES and not is_exported(name)) == []


@needs_promtool
@by_name
def test_prometheus_understands_the_expressions(path, tmp_path):
    rules = [
        {"record": f"x:{n}", "expr": expr.replace("$__rate_interval", "1m").replace("$route", ".*")}
        for n, expr in enumerate(expressions(path))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": rules}]}))
    result = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_example_of_prometheus():
    result = subprocess.run(
        ["promtool", "check", "config", EXAMPLE / "prometheus.yml"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    rules = len(list(EXAMPLE.parent.glob("*.yml")))
    assert f"SUCCESS: {rules} rule files found" in result.stdout


@pytest.mark.skipif(not shutil.which("amtool"), reason="amtool is not installed (deploy/packages test)")
def test_alertmanager_takes_its_example():
    result = subprocess.run(
        ["amtool", "check-config", EXAMPLE / "alertmanager.yml"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " - 3 inhibit rules" in result.stdout and " - 2 receivers" in result.stdout


def routed_to(**labels):
    words = [f"{name}={value}" for name, value in labels.items()]
    return subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={EXAMPLE / 'alertmanager.yml'}", *words],
        capture_output=True, text=True,
    ).stdout.split()


@pytest.mark.skipif(not shutil.which("amtool"), reason="amtool is not installed (deploy/packages test)")
def test_pages_wake_somebody_and_tickets_do_not():
    assert routed_to(alertname="SluiceNoWorker", severity="page") == ["pages"]
    assert routed_to(alertname="SluiceBackupOld", severity="ticket") == ["tickets"]


def test_example_of_alertmanager():
    config = yaml.safe_load((EXAMPLE / "alertmanager.yml").read_text())
    receivers = {r["name"] for r in config["receivers"]}
    routes = [config["route"], *config["route"]["routes"]]
    assert {r["receiver"] for r in routes} == receivers
    rules = "\n".join(path.read_text() for path in EXAMPLE.parent.glob("*.yml"))
    named = set(re.findall(r"Sluice\w+", (EXAMPLE / "alertmanager.yml").read_text()))
    assert named and all(f"- alert: {name}\n" in rules for name in named)
