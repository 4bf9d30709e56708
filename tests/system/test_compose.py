# SPDX-License-Identifier: MIT
# deploy/docker-compose.yml with real containers, when a container engine answers; without one this
# is skipped, and the reason printed.
import functools
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from api import Client, new_key
from crew import Crew
from people import ADMIN_EMAIL, Person, add_product, register
from suite import PATIENCE, ROOT, SERVICES, free_port, wait_for

PROJECT = f"sluice-test-{os.getpid()}"
IMAGE = "sluice-test"
# Settings of traces, which compose hands on to every container.
OTEL = {
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.5",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=compose-test",
}


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


def free_ports(count):
    """So many free ports in a row; the first of them."""
    while True:
        ports = [free_port() for _ in range(count)]
        if ports[-1] - ports[0] == count - 1:
            return ports[0]


def docker(*arguments):
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


class Compose:
    """A project of deploy/docker-compose.yml; each gateway has one of PORTS ports."""

    PORTS = 4

    def __init__(self):
        first = free_ports(self.PORTS)
        self.ports = range(first, first + self.PORTS)
        self.env = {
            **os.environ,
            "SLUICE_IMAGE": IMAGE,
            "SLUICE_ENV": "staging",
            "SLUICE_PUBLISH": f"127.0.0.1:{first}-{self.ports[-1]}",
            **OTEL,
        }
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        self.command = [*program, "-f", str(ROOT / "deploy/docker-compose.yml"), "-p", PROJECT]

    @property
    def port(self):
        """Of a gateway that runs."""
        for container in self.containers("gateway"):
            for binding in container["NetworkSettings"]["Ports"]["8080/tcp"] or []:
                return int(binding["HostPort"])
        raise AssertionError("no gateway has a port")

    def gateway_ports(self, first):
        """Those of gateways that run, another one in front for another `first`; then the ports that none has, which
        one may get that starts again."""
        taken = [
            int(binding["HostPort"])
            for container in self.containers("gateway")
            for binding in container["NetworkSettings"]["Ports"]["8080/tcp"] or []
        ]
        first %= len(taken)
        return [*taken[first:], *taken[:first], *(port for port in self.ports if port not in taken)]

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
        return json.loads(docker("inspect", *ids)) if ids else []

    def healthy(self, service, count=1):
        found = self.containers(service)
        return len(found) == count and all(
            c["State"].get("Health", {}).get("Status") == "healthy" for c in found
        )

    def wait_healthy(self, **counts):
        for service, count in counts.items():
            wait_for(
                lambda: self.healthy(service, count), 60 * PATIENCE, f"{count} of {service} are healthy"
            )

    def shell(self, service, command):
        """What a command says in a container, as the container's user."""
        return self.run("exec", "-T", service, "bash", "-c", command)

    def events(self, *filters):
        shown = self.run("run", "--rm", "-T", "tap", "sluice-tap", "cat", *filters, "-o", "ndjson")
        return [json.loads(line) for line in shown.splitlines()]


def crash(container):
    """SIGKILL to the container's process. `docker kill` would count as a wish that it stays down."""
    pid = container["State"]["Pid"]
    if os.geteuid() == 0:
        os.kill(pid, 9)
    else:
        docker("run", "--rm", "--pid=host", "--user=0", IMAGE, "bash", "-c", f"kill -9 {pid}")


def metrics(container):
    """{'name{labels}': value}, from the container's own admin socket."""
    if os.geteuid() != 0:
        pytest.skip("only root reaches into a container's files")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10 * PATIENCE)
        home = f"/proc/{container['State']['Pid']}/root/var/lib/sluice"
        connection.connect(f"{home}/run/admin.sock")
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
        text = b""
        while chunk := connection.recv(65536):
            text += chunk
    lines = text.decode().partition("\r\n\r\n")[2].splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


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
        running.wait_healthy(**dict.fromkeys(SERVICES, 1))
        yield running
    finally:
        if os.environ.get("SLUICE_TEST_KEEP"):
            print(running.run("logs", "--no-color", check=False))
        running.run("down", "-v", "-t", "15", check=False)


# Debian's Prometheus and Alertmanager, for machines that cannot pull the images that the profile names.
WATCHERS = """
FROM debian:trixie-slim AS packages
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus prometheus-alertmanager promtool \\
 && install -d -o 65534 -g 65534 /prometheus /alertmanager
FROM packages AS prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
FROM packages AS alertmanager
ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]
"""


class Watchers:
    """Prometheus and Alertmanager of the profile `monitoring`."""

    def __init__(self, compose):
        self.compose = compose
        self.ports = {name: free_port() for name in ("prometheus", "alertmanager", "grafana")}
        for name, port in self.ports.items():
            compose.env[f"SLUICE_PUBLISH_{name.upper()}"] = f"127.0.0.1:{port}"

    def build(self, name):
        self.compose.env[f"SLUICE_{name.upper()}_IMAGE"] = f"{IMAGE}-{name}"
        build = subprocess.run(
            ["docker", "build", "--network", "host", "-q", "--target", name, "-t", f"{IMAGE}-{name}", "-"],
            input=WATCHERS,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
        )
        assert build.returncode == 0, build.stderr[-4000:]

    def get(self, name, path):
        """The JSON that it answers; None: not yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=10) as answer:
                return json.load(answer)
        except (OSError, http.client.HTTPException):
            return None

    def ask(self, expression):
        """{(job, instance): value} of what Prometheus has now."""
        answer = self.get("prometheus", f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        return {
            (sample["metric"].get("job"), sample["metric"].get("instance")): float(sample["value"][1])
            for sample in (answer or {"data": {"result": []}})["data"]["result"]
        }

    def firing(self):
        """Names of the alerts that the Alertmanager would tell of, each with its receivers."""
        return {
            alert["labels"]["alertname"]: [receiver["name"] for receiver in alert["receivers"]]
            for alert in self.get("alertmanager", "/api/v2/alerts?active=true") or []
        }


@pytest.fixture(scope="module")
def watchers(compose):
    running = Watchers(compose)
    profile = ("--profile", "monitoring")
    try:
        for name in ("prometheus", "alertmanager"):
            running.build(name)
        compose.run(*profile, "up", "-d", "--no-recreate", "prometheus", "alertmanager")
        compose.wait_healthy(prometheus=1)
        yield running
    finally:
        compose.run(*profile, "rm", "-sf", "prometheus", "alertmanager", check=False)


@pytest.fixture
def admin(compose):
    """Logged in anew for each test: a gateway that was started again may have another port."""
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
        assert ("admin-token" in names) == (service == "gateway"), service


def test_nobody_reads_anothers_secrets(compose):
    """Not in the volumes alone: nowhere in the container, whoever looks."""
    hidden = {
        name: compose.shell(name, f"cat /var/lib/sluice/secrets/curve/{name}.key_secret")
        for name in ("users", "gateway", "queue")
    }
    keys = {
        name: text.partition('secret-key = "')[2].partition('"')[0] for name, text in hidden.items()
    }
    assert all(len(key) == 40 for key in keys.values())
    for service in SERVICES:
        others = [key for name, key in keys.items() if name != service]
        look = " ".join(f"-e '{key}'" for key in others)
        found = compose.shell(
            service, f"grep -rlF {look} /var /tmp /export /run /etc /home /root 2>/dev/null || true"
        )
        assert found == "", f"{service} can read {found}"
        paths = compose.shell(
            service, "find / -name proc -prune -o -name '*.key_secret' -print 2>/dev/null || true"
        )
        assert paths.split() == [f"/var/lib/sluice/secrets/curve/{service}.key_secret"]
        mounts = {m["Name"].removeprefix(f"{PROJECT}_") for c in compose.containers(service) for m in c["Mounts"] if m["Type"] == "volume"}
        assert mounts == {f"secrets-{service}"} | ({service} if service != "gateway" else set())


def test_from_inside(compose):
    """What a shell in a container gets at: its process is confined, its files are not its own."""
    for service in SERVICES:
        status = dict(
            line.split(":\t", 1)
            for line in compose.shell(service, "cat /proc/1/status").splitlines()
            if ":\t" in line
        )
        assert status["Uid"].split() == ["65532"] * 4, service
        assert {int(status[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Inh", "Bnd", "Amb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), service
        for path in ("/made", "/usr/bin/made", "/etc/made", "/var/lib/sluice/secrets/made"):
            assert compose.shell(service, f": 2>/dev/null >{path} || echo refused") == "refused\n", path


def environment(container):
    """What is set in it, by name."""
    return dict(entry.split("=", 1) for entry in container["Config"]["Env"] if "=" in entry)


def test_sizes_are_those_of_the_environment(compose):
    """The same files as without containers; where a program listens is the compose file's."""
    lines = (ROOT / "deploy/env/staging.env").read_text().splitlines()
    sizes = dict(line.split("=", 1) for line in lines if line.startswith("SLUICE_"))
    del sizes["SLUICE_LISTEN"], sizes["SLUICE_LOG_LEVEL"]
    assert len(sizes) > 10
    for container in compose.containers("gateway") + compose.containers("orders"):
        has = environment(container)
        assert {name: has.get(name) for name in sizes} == sizes


def test_settings_of_traces_reach_everybody(compose):
    for service in SERVICES:
        for container in compose.containers(service):
            has = environment(container)
            assert {name: has[name] for name in has if name.startswith("OTEL_")} == OTEL, service
        names = compose.shell(service, "env | grep ^OTEL_ | cut -d= -f1")
        assert set(names.split()) == set(OTEL), service  # what is not set there is not empty here, but not set


def test_secrets_are_in_files_only(compose):
    """Nobody who may ask the engine about a container, or look at its processes, sees one."""
    hidden = "find /var/lib/sluice/secrets -type f -not -path '*/public/*'"
    secrets = set()
    for service in SERVICES:
        modes = compose.shell(service, f"{hidden} -exec stat -c %a {{}} +")
        assert set(modes.split()) <= {"400", "600"}, (service, modes)
        words = compose.shell(service, f"{hidden} -exec cat {{}} +").replace('"', " ").split()
        secrets |= {word for word in words if len(word) >= 20}
    assert len(secrets) > len(SERVICES)
    for service in SERVICES:
        for container in compose.containers(service):
            shown = json.dumps(container)
            assert not [secret for secret in secrets if secret in shown], service
        seen = compose.shell(service, "env; cat /proc/1/environ /proc/1/cmdline 2>/dev/null | tr '\\0' '\\n'")
        assert "SLUICE_INSTANCE=" in seen and not [secret for secret in secrets if secret in seen]


def reached(shell, addresses):
    """Those of the addresses (HOST, PORT) that take a TCP connection from where the shell command is run."""
    tries = "".join(
        f"{{ timeout 2 bash -c ': </dev/tcp/{host}/{port}' 2>/dev/null && echo {host} {port}; }} & "
        for host, port in addresses
    )
    return {(host, int(port)) for host, port in (line.split() for line in shell(tries + "wait").splitlines())}


def test_only_the_gateway_can_be_reached(compose):
    """A stranger on the gateway's outer network reaches it, and nobody behind it, by name or by address. Those behind
    it reach nothing on that network, which is the only one with a way out."""
    address = {
        (service, name.removeprefix(f"{PROJECT}_")): network["IPAddress"]
        for service in SERVICES
        for container in compose.containers(service)
        for name, network in container["NetworkSettings"]["Networks"].items()
    }
    ports = {"queue": (7200, 9090), "gateway": (7100, 8080, 9090)}
    behind = [(address[s, "backend"], port) for s in SERVICES for port in ports.get(s, (9090,))]
    named = [(service, port) for service in SERVICES if service != "gateway" for port in ports.get(service, (9090,))]
    outside = (address["gateway", "edge"], 8080)

    def stranger(command):
        return docker("run", "--rm", "--network", f"{PROJECT}_edge", IMAGE, "bash", "-c", command)

    assert reached(stranger, [outside, *behind, *named]) == {outside}
    assert reached(lambda command: compose.shell("users", command), behind) == set(behind)  # they do listen
    for service in SERVICES:
        found = reached(lambda command: compose.shell(service, command), [outside])
        assert found == ({outside} if service == "gateway" else set()), service


def test_networks(compose):
    """Everything is on a network without a way out; the gateway is on another one as well."""
    inner = f"{PROJECT}_backend"
    assert json.loads(docker("network", "inspect", inner))[0]["Internal"]
    for service in SERVICES:
        for container in compose.containers(service):
            joined = set(container["NetworkSettings"]["Networks"])
            assert joined == {inner} | ({f"{PROJECT}_edge"} if service == "gateway" else set())


def test_the_sandbox_is_in_force(compose):
    """The engine's own rules leave the programs what they need to confine themselves."""
    release = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
    wanted = {"files": (5, 13), "ports": (6, 7), "signals": (6, 12), "system-calls": (), "memory": ()}
    for service in SERVICES:
        begin = compose.run("logs", "--no-color", service).partition("sandbox: ")[2]
        said = set(begin.partition('"')[0].partition(";")[0].split())
        assert said == {part for part, since in wanted.items() if release >= since}, service
        for container in compose.containers(service):
            found = metrics(container)
            assert said == {
                part for part in wanted if found[f'sluice_sandbox{{part="{part}"}}'] == 1
            }


def test_prometheus_has_all_metrics_and_rules(compose, watchers):
    jobs = {f"sluice-{service}" for service in SERVICES}
    wait_for(
        lambda: {job for (job, _), up in watchers.ask("sluice_suite_up").items() if up} == jobs,
        60,
        "every process is scraped",
    )
    names = {c["Config"]["Hostname"] for service in SERVICES for c in compose.containers(service)}
    assert {instance for _, instance in watchers.ask("sluice_ready == 1")} == names
    assert watchers.ask("up") == {("sluice", "gateway:9090"): 1}
    groups = watchers.get("prometheus", "/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    written = "".join(path.read_text() for path in (ROOT / "deploy/prometheus").glob("*.yml"))
    assert len(rules) == written.count("- alert:") + written.count("- record:") > 40
    wait_for(
        lambda: all(
            rule["health"] == "ok"
            for group in watchers.get("prometheus", "/api/v1/rules")["data"]["groups"]
            for rule in group["rules"]
        ),
        30,
        "every rule has been evaluated",
    )


def test_alert_of_a_killed_worker_comes_and_goes(compose, watchers):
    """Killed by hand, which the engine does not make good; the alert is that nobody serves the routes."""
    assert "SluiceNoWorker" not in watchers.firing()
    docker("kill", compose.containers("search")[0]["Id"])
    wait_for(lambda: watchers.firing().get("SluiceNoWorker") == ["pages"], 90, "somebody is woken")
    scale(compose, search=1)
    compose.wait_healthy(search=1)
    wait_for(lambda: "SluiceNoWorker" not in watchers.firing(), 90, "the alert has ended")


def test_scaled_by_rule(compose, watchers, admin):
    """deploy/scale-by-rule, as a timer would run it; others keep the containers that they have."""

    def look(least, most):
        prometheus = f"http://127.0.0.1:{watchers.ports['prometheus']}"
        done = subprocess.run(
            [ROOT / "deploy/scale-by-rule", "orders", str(least), str(most), "--project-name", PROJECT],
            env={**compose.env, "PROMETHEUS": prometheus},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    wait_for(lambda: "sluice-orders" in {job for job, _ in watchers.ask("sluice_worker_limit")}, 30, "it is known")
    compose.run("up", "-d", "--no-recreate", "--scale", "users=2", "users")
    assert look(2, 3) == "orders: 2\n"
    compose.wait_healthy(orders=2, users=2)
    product = add_product(admin)
    assert admin.get(f"/v1/products/{product['sku']}").status == 200
    assert look(1, 1) == "orders: 1\n"
    wait_for(lambda: compose.healthy("orders", 1), 30, "one is taken away")
    compose.wait_healthy(users=2)
    compose.run("up", "-d", "--no-recreate", "--scale", "users=1", "users")


def test_watchers_are_confined_as_well(compose, watchers):
    for name in ("prometheus", "alertmanager"):
        (container,) = compose.containers(name)
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"], name
        assert container["Config"]["User"] == "65534:65534", name
        published = [binding for ports in host["PortBindings"].values() for binding in ports]
        assert [binding["HostIp"] for binding in published] == ["127.0.0.1"], name


class Clients(Crew):
    """Readers and buyers that go to the next gateway when theirs is gone, as a client does that
    knows several addresses. They note what they were told, and what was no answer at all."""

    PATIENCE_S = 20 * PATIENCE

    def __init__(self, compose, admin, count=3):
        self.compose = compose
        self.sku = add_product(admin, stock=1_000_000)["sku"]
        self.people = [register(compose.port) for _ in range(count)]
        self.keys = {}  # Idempotency-Key: id of its order
        self.reads, self.retries, self.failures = 0, 0, []
        super().__init__(
            *(
                functools.partial(self.work, job, person)
                for person in self.people
                for job in (self.read, self.buy)
            )
        )

    def work(self, job, person):
        ports = self.compose.gateway_ports(first=self.people.index(person))
        clients = [Client(port, person.token) for port in ports]
        while not self.ending.is_set():
            try:
                job(clients)
            except Exception as problem:
                self.failures.append(repr(problem))
            time.sleep(0.002)

    def ask(self, clients, request, good):
        """Asks one gateway after the other until the answer is good; another one ends it, unless
        it says that nothing is known yet."""
        deadline = time.monotonic() + self.PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = request(clients[0])
            except (OSError, http.client.HTTPException):
                self.retries += 1
                clients.append(clients.pop(0))
                time.sleep(0.01)
                continue
            if answer.status == good:
                return answer
            if good == 200 or answer.status not in (409, 502, 503, 504):
                break
            time.sleep(0.01)
        raise AssertionError(f"no {good}: {answer!r}")

    def read(self, clients):
        path = ("/v1/users/me", f"/v1/products/{self.sku}", "/v1/search?q=x")[self.reads % 3]
        self.ask(clients, lambda client: client.get(path), 200)
        self.reads += 1

    def buy(self, clients):
        key = new_key()
        answer = self.ask(clients, lambda client: client.order({self.sku: 1}, key=key), 201)
        self.keys[key] = answer.json()["id"]

    def wait_for_work(self, reads=100, orders=50):
        wanted = self.reads + reads, len(self.keys) + orders
        wait_for(
            lambda: self.reads >= wanted[0] and len(self.keys) >= wanted[1],
            30,
            "clients are served",
        )

    def check(self):
        """Every order that was acknowledged is there, once, in store, stock and queue."""
        assert not self.failures, self.failures[:5]
        people = [Client(self.compose.port, person.token) for person in self.people]
        listed = [o["id"] for person in people for o in person.pages("/v1/orders", limit=100)]
        assert sorted(listed) == sorted(self.keys.values())
        assert len(set(listed)) == len(listed)
        assert people[0].get(f"/v1/products/{self.sku}").json()["stock"] == 1_000_000 - len(listed)

        def placed():
            events = self.compose.events("--topic", "orders.order.placed")
            return [
                e["data"]["id"]
                for e in events
                if self.sku in [item["sku"] for item in e["data"]["items"]]
            ]

        wait_for(lambda: len(placed()) >= len(listed), 20, "all events are in the queue")
        assert sorted(placed()) == sorted(listed)


def scale(compose, **counts):
    """Changes these services, and leaves the others as many as they are."""
    options = [f"--scale={name}={count}" for name, count in counts.items()]
    compose.run("up", "-d", "-t", "15", "--no-recreate", *options, *counts)


MANY = {"users": 3, "orders": 3, "search": 2, "gateway": 2}


@pytest.fixture(scope="module")
def many(compose):
    scale(compose, **MANY)
    compose.wait_healthy(**MANY)
    yield MANY
    scale(compose, **dict.fromkeys(MANY, 1))
    compose.wait_healthy(**dict.fromkeys(MANY, 1))


ANSWERED = {
    "gateway": "http_server_request_duration_seconds_count",
    **dict.fromkeys(("users", "orders", "search"), "sluice_worker_request_duration_seconds_count"),
}


def answered(compose):
    """{service: {container's name: requests that it has answered}}"""
    return {
        service: {
            container["Name"]: sum(
                value for name, value in metrics(container).items() if name.startswith(family)
            )
            for container in compose.containers(service)
        }
        for service, family in ANSWERED.items()
    }


def test_requests_are_spread(compose, admin, many):
    before = answered(compose)
    with Clients(compose, admin) as clients:
        clients.wait_for_work(reads=600, orders=200)
    clients.check()
    for service, counts in answered(compose).items():
        shares = [counts[name] - before[service][name] for name in counts]
        # Writes go to the one that has the store; what is read goes to all of them.
        assert len(shares) == many[service] and min(shares) >= sum(shares) / 20, (service, shares)


def test_killed_under_load(compose, admin, many):
    """Safe requests are answered, keyed writes happen once, and what died is there again."""
    with Clients(compose, admin) as clients:
        for service in ("orders", "users", "search", "gateway"):
            clients.wait_for_work()
            before = compose.containers(service)
            for container in before[:1]:
                crash(container)
            clients.wait_for_work()
            wait_for(
                lambda: {c["State"]["Pid"] for c in compose.containers(service)}.isdisjoint(
                    {before[0]["State"]["Pid"], 0}
                ),
                30,
                f"the engine starts {service} again",
            )
            compose.wait_healthy(**{service: many[service]})
        for service in ("orders", "gateway"):  # and by hand, which is not started again by itself
            docker("kill", compose.containers(service)[-1]["Id"])
            clients.wait_for_work()
            scale(compose, **{service: many[service]})
            compose.wait_healthy(**{service: many[service]})
    assert clients.retries > 0, "the gateway was not missed"
    clients.check()


def test_queue_restarts_under_load(compose, admin, many):
    with Clients(compose, admin) as clients:
        clients.wait_for_work()
        compose.run("restart", "-t", "15", "queue")
        clients.wait_for_work()
        crash(compose.containers("queue")[0])
        clients.wait_for_work()
    compose.wait_healthy(queue=1)
    clients.check()


def test_fewer_under_load(compose, admin, many):
    """What is taken away finishes what it began, and nobody notices."""
    try:
        with Clients(compose, admin) as clients:
            clients.wait_for_work()  # every one has found a gateway
            before = clients.retries
            for service, count in (("orders", 1), ("users", 1), ("search", 1)):
                clients.wait_for_work()
                scale(compose, **{service: count})
                assert len(compose.containers(service)) == count
            clients.wait_for_work()
        assert clients.retries == before
        clients.check()
    finally:
        scale(compose, **many)
        compose.wait_healthy(**many)


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
