# SPDX-License-Identifier: MIT
# deploy/scale-by-rule: what it asks Prometheus, by promtool on figures that are made up, and what it does with the
# answer. With real containers: tests/system/test_compose.py.
import json
import os
import pathlib
import subprocess

import pytest
import yaml
from test_alerts import is_exported, metrics_of, needs_promtool, promtool

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy/scale-by-rule"
ANSWER = '{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"%s"]}]}}'


@pytest.fixture
def scale(tmp_path):
    """Runs it with a curl that answers what is said and a docker-compose that does nothing: (result, the query, what
    docker-compose was told)."""

    def program(name, text):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\nfor a; do printf '%s\\0' \"$a\"; done >{tmp_path}/{name}.arguments\n{text}\n")
        path.chmod(0o755)

    def told(name):
        path = tmp_path / f"{name}.arguments"
        return path.read_text().split("\0")[:-1] if path.exists() else None

    def run(*arguments, answer=ANSWER % 3, status=0):
        program("curl", f"cat <<'END'\n{answer}\nEND\nexit {status}")
        program("docker-compose", "")
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        result = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, env=environment)
        asked = told("curl")
        return result, asked and asked[-1].removeprefix("query="), told("docker-compose")

    return run


def test_what_it_does(scale):
    result, _, compose = scale("orders", "1", "4", "--project-name", "shop")
    assert result.returncode == 0 and result.stdout == "orders: 3\n" and result.stderr == ""
    assert compose[:1] == ["-f"] and pathlib.Path(compose[1]).samefile(ROOT / "deploy/docker-compose.yml")
    assert compose[2:4] == ["--project-name", "shop"]
    assert compose[4:] == ["up", "-d", "--no-deps", "--no-recreate", "--scale", "orders=3", "orders"]


@pytest.mark.parametrize(
    "answer, status",
    [(ANSWER.replace('{"metric":{},"value":[1.5,"%s"]}', ""), 0), (ANSWER % "NaN", 0), ("", 0), ("", 22)],
    ids=["no-worker", "not-a-number", "nothing", "refused"],
)
def test_without_knowing_nothing_is_changed(scale, answer, status):
    result, _, compose = scale("orders", "1", "4", answer=answer, status=status)
    assert result.returncode != 0 and compose is None


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "SERVICE MIN MAX"),
        (["orders", "1"], "SERVICE MIN MAX"),
        (["queue", "1", "2"], "allowed are users, orders, search"),
        (["orders", "0", "2"], "1 <= MIN <= MAX"),
        (["orders", "3", "2"], "1 <= MIN <= MAX"),
        (["orders", "one", "2"], "whole numbers"),
        (["orders", "1", "-2"], "whole numbers"),
    ],
)
def test_mistakes_are_named(scale, arguments, said):
    result, query, compose = scale(*arguments)
    assert result.returncode == 1 and said in result.stderr and query is None and compose is None


def test_metrics_exist(scale):
    _, query, _ = scale("orders", "1", "4")
    asked = {name for name in metrics_of(query) if name.startswith("sluice_")}
    assert len(asked) == 3 and all(map(is_exported, asked))


def worker(number, in_flight, limit=100, kind="read", service="orders"):
    """Series of one worker for ten minutes; in_flight as promtool writes values."""
    labels = f'{{job="sluice-{service}",instance="{service}-{number}",class="{kind}"}}'
    return [
        {"series": f"sluice_worker_in_flight{labels}", "values": in_flight},
        {"series": f"sluice_worker_limit{labels}", "values": f"{limit}x60"},
    ]


def waiting(values):
    return [{"series": 'sluice_gateway_waiting{job="sluice-gateway",instance="gateway-1",service="orders"}', "values": values}]


@needs_promtool
@pytest.mark.parametrize(
    "series, wanted",
    [
        (worker(1, "0x60"), 1),
        (worker(1, "60x60"), 1),
        (worker(1, "61x60"), 2),
        (worker(1, "90x60") + worker(2, "90x60"), 3),
        (worker(1, "100x60") + worker(2, "100x60"), 4),
        (worker(1, "100x60") + worker(2, "100x60") + worker(3, "100x60"), 4),  # no more than there may be
        # The class that is busiest counts, not their sum.
        (worker(1, "10x60") + worker(1, "24x60", 25, "write"), 2),
        (worker(1, "10x60") + worker(1, "10x60", 25, "write"), 1),
        # Another service does not.
        (worker(1, "10x60") + worker(1, "100x60", service="users"), 1),
        # Those that wait are there because nobody has room for them.
        (worker(1, "50x60") + waiting("60x60"), 2),
        # What was used a minute ago counts, ten minutes ago not.
        (worker(1, "0x53 100x0 0x6"), 2),
        (worker(1, "100x20 0x40"), 1),
    ],
)
def test_how_many(scale, tmp_path, series, wanted):
    _, query, _ = scale("orders", "1", "4")
    rules = {"groups": [{"name": "g", "rules": [{"record": "wanted", "expr": query}]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    tests = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "10s",
        "tests": [
            {
                "interval": "10s",
                "input_series": series,
                "promql_expr_test": [
                    {"expr": "wanted", "eval_time": "10m", "exp_samples": [{"labels": "wanted", "value": wanted}]}
                ],
            }
        ],
    }
    (tmp_path / "tests.yml").write_text(json.dumps(tests))
    status, text = promtool("test", "rules", tmp_path / "tests.yml")
    assert status == 0, text
