# SPDX-License-Identifier: MIT
# deploy/docker-compose.yml with real containers, when a container engine answers; without one this
# is skipped, and the reason printed.
import json
import os
import shutil
import subprocess
import time

import pytest
from api import Client
from people import ADMIN_EMAIL, Person, add_product, register
from suite import PATIENCE, ROOT, SERVICES, free_port, wait_for

PROJECT = f"sluice-test-{os.getpid()}"
IMAGE = "sluice-test"


def engine():
    """Why there is none to use; empty when there is one."""
    if not shutil.which("docker"):
        return "docker is not installed"
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True)
    if answer.returncode:
        return (
            "the container engine does not answer: "
            + (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        )
    if (
        not shutil.which("docker-compose")
        and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        return "docker-compose is not installed"
    if (
        subprocess.run(
            ["docker", "image", "inspect", "debian:trixie-slim"], capture_output=True
        ).returncode
        and subprocess.run(
            ["docker", "pull", "-q", "debian:trixie-slim"], capture_output=True
        ).returncode
    ):
        return "debian:trixie-slim is not here and cannot be pulled (deploy/docker-base makes it)"
    return ""


pytestmark = [pytest.mark.skipif(bool(engine()), reason=engine() or "-"), pytest.mark.seconds(900)]


class Compose:
    def __init__(self):
        self.port = free_port()
        self.env = {**os.environ, "SLUICE_IMAGE": IMAGE, "SLUICE_PUBLISH": f"127.0.0.1:{self.port}"}
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        self.command = [*program, "-f", str(ROOT / "deploy/docker-compose.yml"), "-p", PROJECT]

    def run(self, *arguments, timeout=300, check=True):
        result = subprocess.run(
            [*self.command, *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def containers(self, service):
        ids = self.run("ps", "-q", service).split()
        return (
            json.loads(
                subprocess.run(["docker", "inspect", *ids], check=True, capture_output=True).stdout
            )
            if ids
            else []
        )

    def healthy(self, service, count=1):
        found = self.containers(service)
        return len(found) == count and all(
            c["State"].get("Health", {}).get("Status") == "healthy" for c in found
        )


@pytest.fixture(scope="module")
def compose():
    # The machine's own network, because containers may have no way to the mirror.
    build = subprocess.run(
        ["docker", "build", "--network", "host", "-q", "-f", "deploy/Dockerfile", "-t", IMAGE, "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=800,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    assert build.returncode == 0, build.stderr[-4000:]
    running = Compose()
    try:
        running.run("up", "-d")
        for service in SERVICES:
            wait_for(lambda: running.healthy(service), 60 * PATIENCE, f"{service} is healthy")
        yield running
    finally:
        if os.environ.get("SLUICE_TEST_KEEP"):
            print(running.run("logs", "--no-color", check=False))
        running.run("down", "-v", "-t", "15", check=False)


@pytest.fixture(scope="module")
def admin(compose):
    password = compose.run(
        "exec", "-T", "users", "cat", "/var/lib/sluice/secrets/admin-password"
    ).strip()
    wait_for(lambda: Client(compose.port).get("/v1/users/me").status == 401, 30, "users serves")
    return Person(compose.port, ADMIN_EMAIL, password)


def test_whole_path(compose, admin):
    ada = register(compose.port)
    product = add_product(admin, name="Lamp of containers")
    order = ada.order({product["sku"]: 1})
    assert order.status == 201
    assert ada.post(f"/v1/orders/{order.json()['id']}/pay").status == 200
    wait_for(
        lambda: product["sku"]
        in [hit["id"] for hit in ada.get("/v1/search?q=lamp").json()["items"]],
        2,
        "it is found",
    )
    shown = compose.run(
        "run",
        "--rm",
        "-T",
        "tap",
        "sluice-tap",
        "tail",
        "-n",
        "2",
        "--topic",
        "orders.order.>",
        "-o",
        "ndjson",
    )
    assert [json.loads(line)["type"] for line in shown.splitlines()] == [
        "orders.order.placed",
        "orders.order.paid",
    ]


def test_scale(compose, admin):
    sku = add_product(admin, stock=1000)["sku"]
    ada = register(compose.port)
    compose.run("up", "-d", "--scale", "orders=3")
    wait_for(lambda: compose.healthy("orders", 3), 60, "three of orders are healthy")
    for _ in range(20):
        assert ada.order({sku: 1}).status == 201
        assert ada.get(f"/v1/products/{sku}").status == 200
    compose.run("up", "-d", "--scale", "orders=1")
    assert ada.order({sku: 1}).status == 201


def test_containers_may_do_next_to_nothing(compose):
    published = []
    for service in SERVICES:
        for container in compose.containers(service):
            host = container["HostConfig"]
            assert (
                host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
            ), service
            assert any("no-new-privileges" in option for option in host["SecurityOpt"]), service
            assert container["Config"]["User"] not in ("", "root", "0", "0:0"), service
            assert container["Config"]["Healthcheck"]["Test"][1:] == [
                f"sluice-{service}",
                "healthcheck",
            ]
            ports = [p for p in container["NetworkSettings"]["Ports"].values() if p]
            published += [service] * len(ports)
    assert published == ["gateway"]


def test_containers_have_their_own_secrets_only(compose):
    for service in SERVICES:
        found = compose.run(
            "exec", "-T", service, "find", "/var/lib/sluice/secrets", "-type", "f"
        ).split()
        names = {path.removeprefix("/var/lib/sluice/secrets/") for path in found}
        assert {n for n in names if n.endswith("_secret")} == {f"curve/{service}.key_secret"}
        assert {"curve/public/gateway.key", "curve/public/queue.key"} <= names
        assert ("signing/token.key" in names) == (service == "users"), service
        assert ("cursor.key" in names) == (service in ("users", "orders", "search")), service
        assert ("admin-password" in names) == (service == "users"), service


def test_data_outlives_the_containers(compose, admin):
    sku = add_product(admin)["sku"]
    compose.run("down", "-t", "15")
    compose.run("up", "-d")
    client = Client(compose.port)

    def served():
        try:
            return client.get(f"/v1/products/{sku}").status == 200
        except OSError:
            time.sleep(0.2)
            return False

    wait_for(served, 60, "the product is still there")
