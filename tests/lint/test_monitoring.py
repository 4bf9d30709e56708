# SPDX-License-Identifier: MIT
# The compose file's profile `monitoring`, as far as it can be judged without an engine: what it mounts is there,
# Prometheus takes its configuration, and Grafana's files say where things really are.
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
MONITORING = DEPLOY / "monitoring"
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
WATCHERS = {name: s for name, s in COMPOSE["services"].items() if s.get("profiles") == ["monitoring"]}


def default(text):
    """With every ${NAME:-default} as it is when nothing is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service):
    """{path in the container: path here} of what is mounted from this directory."""
    pairs = [default(volume).split(":") for volume in WATCHERS[service]["volumes"]]
    return {inside: (DEPLOY / here).resolve() for here, inside, *_ in pairs if here.startswith(".")}


def test_all_three_are_there():
    assert set(WATCHERS) == {"prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", WATCHERS)
def test_pinned_confined_and_on_loopback(name):
    service = WATCHERS[name]
    assert re.search(r":v?\d+\.\d+\.\d+$", default(service["image"]))
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert all(default(port).startswith("127.0.0.1:") for port in service["ports"])
    assert all(path.exists() for path in mounts(name).values())
    assert all(volume.endswith(":ro") for volume in service["volumes"] if default(volume).startswith("."))


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_takes_its_configuration():
    result = subprocess.run(
        ["promtool", "check", "config", MONITORING / "prometheus.yml"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    rules = len(list((DEPLOY / "prometheus").glob("*.yml")))
    assert f"SUCCESS: {rules} rule files found" in result.stdout


def test_prometheus_finds_it_where_it_is_mounted():
    config = pathlib.PurePosixPath(
        next(a for a in WATCHERS["prometheus"]["command"] if a.startswith("--config.file=")).partition("=")[2]
    )
    inside = mounts("prometheus")
    assert inside[str(config)] == MONITORING / "prometheus.yml"
    (rules,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["rule_files"]
    assert inside[str(config.parents[1] / "prometheus")] == DEPLOY / "prometheus"
    assert rules == "../prometheus/*.yml"


def test_addresses_are_those_of_the_compose_file():
    services = COMPOSE["services"]
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    listener = services["gateway"]["environment"]["SLUICE_ADMIN"].rpartition(":")[2]
    assert target == f"gateway:{listener}"
    suite = dict(entry.split(":") for entry in services["gateway"]["environment"]["SLUICE_SUITE"].split(","))
    assert suite == dict.fromkeys(("queue", "users", "orders", "search", "gateway"), listener)
    assert {"backend"} < set(services["prometheus"]["networks"])
    (watcher,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert watcher.partition(":")[0] in services
    source = yaml.safe_load((MONITORING / "grafana/datasources/sluice.yml").read_text())["datasources"][0]
    assert source["url"].removeprefix("http://").partition(":")[0] in services and source["isDefault"]


def test_grafana_reads_the_dashboards():
    inside = mounts("grafana")
    assert inside["/etc/grafana/provisioning"] == MONITORING / "grafana"
    (provider,) = yaml.safe_load((MONITORING / "grafana/dashboards/sluice.yml").read_text())["providers"]
    assert provider["type"] == "file" and inside[provider["options"]["path"]] == DEPLOY / "grafana"
    assert len(list((DEPLOY / "grafana").glob("*.json"))) >= 3
    source = yaml.safe_load((MONITORING / "grafana/datasources/sluice.yml").read_text())["datasources"][0]
    interval = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
