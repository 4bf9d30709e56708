# SPDX-License-Identifier: MIT
# The manifests of deploy/kubernetes: each check takes all documents and says what is wrong, and is shown a violation.
# Whether a cluster takes them, only a cluster knows; kubectl, where it is there, puts them together.
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from kubernetes_fields import fields
from test_binaries import BUILD

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy/kubernetes/base"
KEDA = ROOT / "deploy/kubernetes/keda"
TRACES = ROOT / "deploy/kubernetes/traces"
SERVICES = ["queue", "users", "orders", "search", "gateway"]
WORKLOADS = ["Deployment", "StatefulSet"]
DRAIN_SECONDS = 10  # common/process.h


def read(*paths):
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def manifests(directory):
    listed = read(directory / "kustomization.yaml")[0]["resources"]
    return [directory / name for name in listed if name.endswith(".yaml")]


def of(documents, *kinds):
    return {d["metadata"]["name"]: d for d in documents if d["kind"] in kinds}


def pod(workload):
    return workload["spec"]["template"]["spec"]


def labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def containers(workload):
    return pod(workload).get("initContainers", []) + pod(workload)["containers"]


def selects(selector, found):
    """Whether a label selector takes these labels. An empty one takes all."""
    for key, value in selector.get("matchLabels", {}).items():
        if found.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if found.get(expression["key"]) not in expression["values"]:
            return False
    return True


def known_variables(program):
    command = [BUILD / program, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  (SLUICE_\w+)", shown, re.M)) | set(re.findall(r"\$(SLUICE_\w+)", shown))


# --- What must hold: each gives back a list of what is wrong


def selectors(documents):
    wrong = []
    workloads = of(documents, *WORKLOADS)
    for name, workload in workloads.items():
        if not selects(workload["spec"]["selector"], labels(workload)):
            wrong.append(f"{name} does not select its own pods")
    for name, service in of(documents, "Service").items():
        chosen = [w for w in workloads.values() if selects({"matchLabels": service["spec"]["selector"]}, labels(w))]
        if len(chosen) != 1:
            wrong.append(f"the Service {name} selects {len(chosen)} workloads")
        ports = {p["name"] for w in chosen for c in pod(w)["containers"] for p in c["ports"]}
        wrong += [
            f"the Service {name} leads to a port {p['targetPort']} that is not there"
            for p in service["spec"]["ports"]
            if p["targetPort"] not in ports
        ]
    for name, budget in of(documents, "PodDisruptionBudget").items():
        if [n for n, w in workloads.items() if selects(budget["spec"]["selector"], labels(w))] != [name]:
            wrong.append(f"the PodDisruptionBudget {name} is not its workload's")
        if budget["spec"].get("maxUnavailable") != 1:
            wrong.append(f"the PodDisruptionBudget {name} lets no node be drained, or too many pods go")
    missing = set(SERVICES) - set(of(documents, "PodDisruptionBudget"))
    return wrong + [f"{name} has no PodDisruptionBudget" for name in missing]


def scaling(documents):
    wrong = []
    workloads = of(documents, *WORKLOADS)
    scalers = of(documents, "HorizontalPodAutoscaler", "ScaledObject")
    for name, scaler in scalers.items():
        target = scaler["spec"]["scaleTargetRef"]
        workload = workloads.get(target["name"])
        if not workload or workload["kind"] != target["kind"] or target["name"] != name:
            wrong.append(f"{scaler['kind']} {name} scales nothing")
    if sorted(scalers) != ["gateway", "orders", "search", "users"]:
        wrong.append(f"scaled are {sorted(scalers)}")
    if workloads["queue"]["spec"]["replicas"] != 1:
        wrong.append("there is one queue")
    return wrong


def stores(documents):
    """One claim for all processes of a service, which stand on one node."""
    wrong = []
    claims = of(documents, "PersistentVolumeClaim")
    for name in ["queue", "users", "orders", "search"]:
        workload = of(documents, *WORKLOADS)[name]
        used = [v["persistentVolumeClaim"]["claimName"] for v in pod(workload)["volumes"] if "persistentVolumeClaim" in v]
        if workload["kind"] != "StatefulSet" or used != [name] or name not in claims:
            wrong.append(f"{name} does not keep its store in the claim {name}")
        if "volumeClaimTemplates" in workload["spec"]:
            wrong.append(f"{name} has a store for each pod")
        near = pod(workload).get("affinity", {}).get("podAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
        beside = [t for t in near if t["topologyKey"] == "kubernetes.io/hostname" and selects(t["labelSelector"], labels(workload))]
        if not beside and name != "queue":
            wrong.append(f"pods of {name} may be on nodes that do not have its store")
    return wrong


def variables(documents):
    wrong = []
    sizes = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "deploy/env/production.env").read_text(), re.M))
    for name, workload in of(documents, *WORKLOADS).items():
        for container in pod(workload)["containers"]:
            program = container["command"][0] if container["command"][0].startswith("sluice") else "sluice-tap"
            given = {e["name"]: e["value"] for e in container["env"]}
            known = known_variables(program)
            wrong += [f"{name}: {program} knows no {v}" for v in given if v not in known]
            if "envFrom" in container:
                if container["envFrom"] != [{"configMapRef": {"name": "sluice-sizes"}}]:
                    wrong.append(f"{name} does not have the sizes")
                # Addresses of one machine are wrong in a cluster.
                wrong += [
                    f"{name}: {v} is {sizes[v]}"
                    for v in known & set(sizes)
                    if "127.0.0.1" in given.get(v, sizes[v])
                ]
            elif name != "tap":
                wrong.append(f"{name} does not have the sizes")
    return wrong


def addresses(documents):
    """What they connect to is a Service with that port, whose container binds it."""
    wrong = []
    services = of(documents, "Service")
    for name, workload in of(documents, *WORKLOADS).items():
        for container in pod(workload)["containers"]:
            ports = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
            for variable in container["env"]:
                for host, port in re.findall(r"^tcp://([a-z]+):(\d+)$", variable["value"]):
                    found = [p["port"] for p in services[host]["spec"]["ports"]] if host in services else []
                    if int(port) not in found or services[host]["spec"].get("clusterIP") != "None":
                        wrong.append(f"{name}: {variable['name']} leads nowhere")
                for port in re.findall(r"0\.0\.0\.0:(\d+)$", variable["value"]):
                    if int(port) not in ports.values():
                        wrong.append(f"{name}: {variable['name']} is a port that is not listed")
            bound = {int(p) for v in container["env"] for p in re.findall(r"0\.0\.0\.0:(\d+)$", v["value"])}
            wrong += [f"{name}: nobody binds {p}" for p in ports.values() if p not in bound]
    return wrong


def probes(documents):
    wrong = []
    for name in SERVICES:
        container = pod(of(documents, *WORKLOADS)[name])["containers"][0]
        ports = {p["name"] for p in container["ports"]}
        for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
            asked = container.get(probe, {}).get("httpGet", {})
            if asked.get("path") != path or asked.get("port") != "admin" or "admin" not in ports:
                wrong.append(f"{name} has no {probe}")
    return wrong


def stopping(documents):
    wrong = []
    for name in SERVICES:
        spec = pod(of(documents, *WORKLOADS)[name])
        before = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])
        if spec["terminationGracePeriodSeconds"] < DRAIN_SECONDS + 5 + int(before[1]):
            wrong.append(f"{name} has no time to drain")
    return wrong


def rights(documents):
    """The Pod Security Standard `restricted`, and a root file system that cannot be written."""
    wrong = []
    namespace = of(documents, "Namespace")["sluice"]["metadata"]["labels"]
    if namespace.get("pod-security.kubernetes.io/enforce") != "restricted":
        wrong.append("the namespace takes any pod")
    for name, workload in of(documents, *WORKLOADS).items():
        spec = pod(workload)
        context = spec["securityContext"]
        if not context.get("runAsNonRoot") or context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            wrong.append(f"{name} may be root, or call anything")
        if spec.get("automountServiceAccountToken") is not False or spec.get("enableServiceLinks") is not False:
            wrong.append(f"{name} gets what it does not need")
        for volume in spec["volumes"]:
            if not set(volume) - {"name"} <= {"emptyDir", "persistentVolumeClaim", "secret"}:
                wrong.append(f"{name} mounts what is not its own")
        for container in containers(workload):
            expected = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            if container.get("securityContext") != expected:
                wrong.append(f"{name}: {container['name']} may do more than it needs")
            if "memory" not in container["resources"].get("limits", {}):
                wrong.append(f"{name}: {container['name']} may take all memory")
            if container["image"] != "sluice":
                wrong.append(f"{name}: the image is not the one of kustomization.yaml")
    return wrong


def secrets(documents):
    """Each mounts its own Secret, in the container that unpacks it alone."""
    wrong = []
    for name, workload in of(documents, *WORKLOADS).items():
        mounted = {v["name"]: v["secret"]["secretName"] for v in pod(workload)["volumes"] if "secret" in v}
        if mounted != {"keys": f"sluice-{name}"}:
            wrong.append(f"{name} has the secrets {mounted}")
        volumes = {v["name"] for v in pod(workload)["volumes"]}
        for container in containers(workload):
            mounts = {m["name"] for m in container["volumeMounts"]}
            wrong += [f"{name}: no volume {m}" for m in mounts - volumes]
            if ("keys" in mounts) != (container["name"] == "secrets"):
                wrong.append(f"{name}: {container['name']} sees the archive of the secrets")
    return wrong


def reachable(documents):
    """Who may connect to whom, by the network policies: {(from, to, port)}; `outside` is everybody else."""
    policies = of(documents, "NetworkPolicy").values()
    pods = {name: labels(w) for name, w in of(documents, *WORKLOADS).items()}
    ports = {
        name: [p["containerPort"] for c in pod(w)["containers"] for p in c.get("ports", [])]
        for name, w in of(documents, *WORKLOADS).items()
    }

    def allowed(direction, of_pod, peer, port):
        chosen = [
            p["spec"]
            for p in policies
            if direction.capitalize() in p["spec"]["policyTypes"] and selects(p["spec"]["podSelector"], pods[of_pod])
        ]
        if not chosen:
            return True
        peers = "from" if direction == "ingress" else "to"
        for rule in (rule for spec in chosen for rule in spec.get(direction, [])):
            if port not in [p["port"] for p in rule.get("ports", [{"port": port}])]:
                continue
            if peers not in rule:
                return True
            for selector in rule[peers]:
                if "namespaceSelector" not in selector and peer in pods and selects(selector["podSelector"], pods[peer]):
                    return True
        return False

    return {
        (source, target, port)
        for source in [*pods, "outside"]
        for target in pods
        for port in ports[target]
        if allowed("ingress", target, source, port)
        and (source == "outside" or allowed("egress", source, target, port))
    }


def network(documents):
    expected = {("outside", "gateway", 8080)}
    expected |= {(worker, "gateway", 7100) for worker in ["users", "orders", "search"]}
    expected |= {(client, "queue", 7200) for client in ["gateway", "users", "orders", "search", "tap"]}
    found = reachable(documents)
    return [f"may connect: {f}" for f in sorted(found - expected)] + [
        f"may not connect: {f}" for f in sorted(expected - found)
    ]


def exits(documents):
    """Where pods may connect to outside of their namespace: {(pod, namespace, port)}; None: anywhere."""
    found = set()
    pods = {name: labels(w) for name, w in of(documents, *WORKLOADS).items()}
    for policy in of(documents, "NetworkPolicy").values():
        chosen = [name for name, its in pods.items() if selects(policy["spec"]["podSelector"], its)]
        for rule in policy["spec"].get("egress", []):
            ports = [p["port"] for p in rule.get("ports", [])] or [None]
            for peer in rule.get("to", [{"namespaceSelector": {}}]):
                if "namespaceSelector" in peer:
                    there = peer["namespaceSelector"].get("matchLabels", {})
                    namespace = there.get("kubernetes.io/metadata.name")
                    found |= {(name, namespace, port) for name in chosen for port in ports}
    return found


def outward(documents):
    """Names are resolved; spans go to the collector that the settings name, and only if they name one."""
    expected = {(name, "kube-system", 53) for name in of(documents, *WORKLOADS)}
    for component in of(documents, "Component").values():
        (endpoint,) = [v for g in component["configMapGenerator"] for v in g["literals"]]
        _, namespace, port = re.fullmatch(
            r"OTEL_EXPORTER_OTLP_ENDPOINT=http://([\w-]+)\.([\w-]+):(\d+)", endpoint
        ).groups()
        expected |= {(name, namespace, int(port)) for name in SERVICES}
    found = exits(documents)
    return [f"may leave: {f}" for f in found - expected] + [f"may not leave: {f}" for f in expected - found]


CHECKS = [fields, selectors, scaling, stores, variables, addresses, probes, stopping, rights, secrets, network, outward]


@pytest.fixture
def documents():
    return read(*manifests(BASE))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_manifests(check, documents):
    assert len(documents) > 25
    assert check(documents) == []


def change(documents, kind, name, path, value):
    """Sets one value deep in a document; None takes it away."""
    here = of(documents, kind)[name]
    *way, last = path
    for step in way:
        here = here[step]
    if value is None:
        del here[last]
    else:
        here[last] = value


POD = ("spec", "template", "spec")
MAIN = (*POD, "containers", 0)


@pytest.mark.parametrize(
    "check, kind, name, path, value",
    [
        (fields, "Deployment", "gateway", (*POD, "terminationGracePeriodSecond"), 30),
        (fields, "Deployment", "gateway", (*MAIN, "livenessProbe", "httpGet", "ports"), "admin"),
        (fields, "Deployment", "gateway", (*MAIN, "env", 0, "value"), 5),
        (fields, "StatefulSet", "queue", ("spec", "serviceName"), None),
        (fields, "StatefulSet", "queue", (*MAIN, "securityContext", "readOnlyRootFilesystem"), "yes"),
        (fields, "StatefulSet", "queue", (*POD, "volumes"), {}),
        (fields, "HorizontalPodAutoscaler", "users", ("spec", "maxReplica"), 4),
        (fields, "HorizontalPodAutoscaler", "users", ("spec", "maxReplicas"), None),
        (fields, "NetworkPolicy", "gateway", ("spec", "podSelector", "matchLabel"), {}),
        (fields, "Namespace", "sluice", ("kind",), "Namespaces"),
        (selectors, "Service", "gateway", ("spec", "selector", "app.kubernetes.io/component"), "gatway"),
        (selectors, "Service", "sluice", ("spec", "ports", 0, "targetPort"), "htp"),
        (selectors, "PodDisruptionBudget", "queue", ("spec", "maxUnavailable"), 0),
        (selectors, "Deployment", "gateway", ("spec", "selector", "matchLabels", "app.kubernetes.io/name"), "x"),
        (scaling, "HorizontalPodAutoscaler", "users", ("spec", "scaleTargetRef", "kind"), "Deployment"),
        (scaling, "StatefulSet", "queue", ("spec", "replicas"), 2),
        (stores, "StatefulSet", "orders", (*POD, "affinity"), None),
        (stores, "StatefulSet", "users", (*POD, "volumes", 0, "persistentVolumeClaim", "claimName"), "orders"),
        (variables, "StatefulSet", "users", (*MAIN, "env", 0, "name"), "SLUICE_INSTANCES"),
        (variables, "Deployment", "gateway", (*MAIN, "envFrom"), None),
        (variables, "Deployment", "gateway", (*MAIN, "env", 2, "name"), "SLUICE_EXPECT"),
        (addresses, "StatefulSet", "search", (*MAIN, "env", 3, "value"), "tcp://queue:7201"),
        (addresses, "StatefulSet", "queue", (*MAIN, "env", 2, "value"), "tcp://0.0.0.0:7300"),
        (addresses, "Service", "gateway", ("spec", "clusterIP"), None),
        (probes, "StatefulSet", "queue", (*MAIN, "readinessProbe", "httpGet", "path"), "/livez"),
        (probes, "Deployment", "gateway", (*MAIN, "livenessProbe"), None),
        (stopping, "Deployment", "gateway", (*POD, "terminationGracePeriodSeconds"), 15),
        (rights, "StatefulSet", "users", (*POD, "securityContext", "runAsNonRoot"), None),
        (rights, "StatefulSet", "users", (*MAIN, "securityContext"), {}),
        (rights, "Deployment", "tap", (*MAIN, "image"), "sluice:latest"),
        (rights, "Namespace", "sluice", ("metadata", "labels"), {}),
        (secrets, "StatefulSet", "orders", (*POD, "volumes", -1, "secret", "secretName"), "sluice-users"),
        (secrets, "StatefulSet", "orders", (*MAIN, "volumeMounts", 0, "name"), "stor"),
        (network, "NetworkPolicy", "public", ("spec", "ingress", 0, "ports"), None),
        (network, "NetworkPolicy", "gateway", ("spec", "ingress", 0, "from"), None),
        (network, "NetworkPolicy", "queue", ("spec", "ingress", 0, "from"), None),
        (network, "NetworkPolicy", "workers", ("spec", "egress"), []),
        (outward, "NetworkPolicy", "names", ("spec", "egress", 0, "ports"), None),
        (outward, "NetworkPolicy", "queue", ("spec", "egress"), [{"ports": [{"port": 4318}]}]),
    ],
)
def test_checks_see(documents, check, kind, name, path, value):
    documents = yaml.safe_load(yaml.dump(documents, Dumper=NoAlias))  # anchors made parts the same object
    change(documents, kind, name, path, value)
    assert check(documents) != []


class NoAlias(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


@pytest.fixture
def traced(documents):
    """With the component that sends spans; it has no name, as kustomize wants none."""
    component = read(TRACES / "kustomization.yaml")[0]
    return [*documents, *read(*manifests(TRACES)), {**component, "metadata": {"name": "traces"}}]


def test_spans_may_leave_with_the_component_alone(documents, traced):
    assert outward(traced) == [] and network(traced) == []
    more = exits(traced) - exits(documents)
    assert more == {(name, "observability", 4318) for name in SERVICES}
    (policy,) = read(TRACES / "network.yaml")
    for rule in policy["spec"]["egress"]:
        assert all(peer["podSelector"]["matchLabels"] for peer in rule["to"]), "any pod is a collector"
    kept = yaml.safe_load(yaml.dump(traced, Dumper=NoAlias))
    change(kept, "NetworkPolicy", "traces", ("spec", "egress", 0, "ports", 0, "port"), 4317)
    assert outward(kept)
    change(kept, "NetworkPolicy", "traces", ("spec", "egress", 0, "to"), None)
    assert outward(kept)


def test_every_file_is_applied():
    for directory in [BASE, KEDA, TRACES]:
        there = sorted(path.name for path in directory.iterdir())
        assert there == sorted([path.name for path in manifests(directory)] + ["kustomization.yaml"])


def version():
    return re.search(r"^  version: '([\d.]+)',$", (ROOT / "meson.build").read_text(), re.M)[1]


def test_image_is_named_once_with_this_version():
    images = read(BASE / "kustomization.yaml")[0]["images"]
    assert [(i["name"], i["newTag"]) for i in images] == [("sluice", version())]


def test_sizes_are_an_environments():
    generator = read(ROOT / "deploy/env/kustomization.yaml")[0]["configMapGenerator"]
    assert generator == [{"name": "sluice-sizes", "envs": ["production.env"]}]
    assert "../../env" in read(BASE / "kustomization.yaml")[0]["resources"]


def test_keda_scales_what_the_cpu_did_by_metrics_that_exist(documents):
    scaled = read(*manifests(KEDA))
    away = read(KEDA / "kustomization.yaml")[0]["patches"]
    assert [p["target"] for p in away] == [{"kind": "HorizontalPodAutoscaler"}] and "$patch: delete" in away[0]["patch"]
    documents = [d for d in documents if d["kind"] != "HorizontalPodAutoscaler"] + scaled
    assert scaling(documents) == []
    sources = "".join(p.read_text() for d in ["common", "gateway"] for p in (ROOT / d).glob("*.c"))
    for name, scaler in of(scaled, "ScaledObject").items():
        assert scaler["spec"]["minReplicaCount"] >= 2
        for trigger in scaler["spec"]["triggers"]:
            metric = re.search(r"sluice_\w+", trigger["metadata"]["query"])[0]
            assert f'"{metric}"' in sources, metric
            assert trigger["type"] == "prometheus" and int(trigger["metadata"]["threshold"]) > 0
            assert name in trigger["metadata"]["query"] or name == "gateway"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("directory, scalers", [(BASE, "HorizontalPodAutoscaler"), (KEDA, "ScaledObject")], ids=["base", "keda"])
def test_kubectl_puts_them_together(directory, scalers):
    made = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    found = [d for d in yaml.safe_load_all(made.stdout)]
    assert len(of(found, scalers)) == 4
    assert len(of(found, "HorizontalPodAutoscaler", "ScaledObject")) == 4
    for workload in of(found, *WORKLOADS).values():
        assert workload["metadata"]["namespace"] == "sluice"
        assert {c["image"] for c in containers(workload)} == {f"registry.example/sluice:{version()}"}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("directory", [BASE, KEDA], ids=["base", "keda"])
def test_kubectl_adds_traces(directory, tmp_path):
    """As docs/traces.md says: every pod is told of the collector, and may connect to it."""
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources: [{os.path.relpath(directory, tmp_path)}]\n"
        f"components: [{os.path.relpath(TRACES, tmp_path)}]\n"
    )
    made = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    found = [d for d in yaml.safe_load_all(made.stdout)]
    (sizes,) = of(found, "ConfigMap").values()
    assert sizes["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(":4318")
    assert len(sizes["data"]) > 10  # beside the sizes
    for name in SERVICES:
        container = pod(of(found, *WORKLOADS)[name])["containers"][0]
        assert container["envFrom"] == [{"configMapRef": {"name": sizes["metadata"]["name"]}}]
    assert of(found, "NetworkPolicy")["traces"]["metadata"]["namespace"] == "sluice"
