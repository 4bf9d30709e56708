# SPDX-License-Identifier: MIT
# `sluice config` shows what every process would be started with, where each value is from, and no
# secret.
import json

import pytest
from suite import CLEAN, ROOT, run

SERVICES = ["supervisor", "queue", "users", "orders", "search", "gateway"]


def config(*arguments, **environment):
    """{process: {name: its option}}"""
    result = run("sluice", "config", *arguments, "--json", env={**CLEAN, **environment})
    assert result.returncode == 0, result.stderr
    return {
        entry["process"]: {option["name"]: option for option in entry["options"]}
        for entry in json.loads(result.stdout)["processes"]
    }


def test_every_process_has_its_options_with_their_sources(tmp_path):
    path = tmp_path / "my.env"
    path.write_text(
        "SLUICE_CAPACITY=77\nSLUICE_SCALE_ORDERS=3\nSLUICE_DEADLINE=3s\nSLUICE_HOME=no\n"
    )
    found = config(
        "--env-file", path, "--port", "8123", "--home", tmp_path / "home", SLUICE_DEADLINE="2s"
    )
    assert list(found) == SERVICES

    def seen(process, name):
        return found[process][name]["value"], found[process][name]["source"]

    assert seen("users", "SLUICE_CAPACITY") == ("77", str(path))
    assert seen("supervisor", "SLUICE_SCALE_ORDERS") == ("3", str(path))
    assert seen("gateway", "SLUICE_DEADLINE") == ("2s", "environment")
    assert seen("gateway", "SLUICE_LISTEN") == ("127.0.0.1:8123", "--port")
    assert seen("search", "SLUICE_HOME") == (str(tmp_path / "home"), "--home")
    assert seen("gateway", "SLUICE_WAIT_QUEUE")[1] == "default"
    assert seen("orders", "SLUICE_INSTANCE") == ("orders-1", "supervisor")
    assert seen("orders", "SLUICE_ADMIN") == ("unix:orders-1.admin.sock", "supervisor")
    admin = "unix:gateway-1.admin.sock,127.0.0.1:9133"
    assert seen("gateway", "SLUICE_ADMIN") == (admin, "supervisor")
    assert seen("gateway", "SLUICE_EXPECT") == ("users,orders,search", "supervisor")
    assert seen("queue", "SLUICE_QUEUE_RETENTION_AGE") == ("7d", "default")
    assert seen("supervisor", "SLUICE_SCALING") == (None, "default")
    assert not (tmp_path / "home").exists()  # nothing was made


@pytest.mark.parametrize("name", ["development", "staging", "production"])
def test_an_environment_is_the_source_of_all_that_it_sets(name):
    text = (ROOT / f"deploy/env/{name}.env").read_text()
    values = dict(
        line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#")
    )
    options = {k: o for process in config("--env", name).values() for k, o in process.items()}
    for variable, value in values.items():
        assert variable in options, f"{variable} of {name}.env is no option of any process"
        if value:
            assert options[variable]["source"].endswith(f"/{name}.env"), variable


def test_secrets_are_not_shown(tmp_path):
    (tmp_path / "key").write_text("a-secret-of-a-file-of-32-bytes-or-more")
    secrets = {
        "SLUICE_ADMIN_PASSWORD": "a-secret-of-the-environment",
        "SLUICE_TOKEN_KEY_FILE": str(tmp_path / "key"),
        "SLUICE_ALERT_WEBHOOK": "https://example.com/a-secret-hook",
    }
    users = config("users", **secrets)["users"]
    assert users["SLUICE_ADMIN_PASSWORD"] == {
        "name": "SLUICE_ADMIN_PASSWORD",
        "secret": True,
        "set": True,
        "source": "environment",
    }
    assert users["SLUICE_TOKEN_KEY"]["source"] == "file" and users["SLUICE_TOKEN_KEY"]["set"]
    assert config("supervisor", **secrets)["supervisor"]["SLUICE_ALERT_WEBHOOK"]["set"]
    for options in (["--json"], []):
        result = run("sluice", "config", *options, env={**CLEAN, **secrets})
        assert result.returncode == 0 and "a-secret" not in result.stdout + result.stderr
    assert "(secret)" in result.stdout and "(not set)" in result.stdout
    assert not config("users")["users"]["SLUICE_TOKEN_KEY"]["set"]


def test_it_is_what_the_processes_got(own_suite):
    """The environments of running processes have what was said before."""
    suite = own_suite
    suite.environment.update(SLUICE_SCALE_SEARCH="0", SLUICE_CAPACITY="99")
    said = config(**{name: str(value) for name, value in suite.environment.items()})
    suite.up()
    for service, options in said.items():
        if service in ("supervisor", "search"):
            continue
        lines = open(f"/proc/{suite.pid(service + '-1')}/environ").read().split("\0")
        environment = dict(line.split("=", 1) for line in lines if "=" in line)
        for name, option in options.items():
            if option["source"] in ("supervisor", "environment") and not option.get("secret"):
                # An admin address that another suite of the machine has is left out.
                got = environment.get(name, "")
                assert got and option["value"].startswith(got), (service, name, got, option)
            else:
                assert name not in environment, (service, name)


def test_wrong_values_and_words():
    result = run("sluice", "config", "users", env={**CLEAN, "SLUICE_CAPACITY": "many"})
    assert result.returncode == 78 and "SLUICE_CAPACITY" in result.stderr
    assert run("sluice", "config", "cats", env=CLEAN).returncode == 64
    shown = run("sluice-gateway", "print-config", env=CLEAN)
    assert shown.returncode == 0 and {"name", "value", "source"} <= set(json.loads(shown.stdout)[0])
