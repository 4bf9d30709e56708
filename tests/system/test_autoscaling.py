# SPDX-License-Identifier: MIT
# The supervisor scales by rules: up under load and down again without a failed request, to nothing
# when nobody comes, and back for the first who does. And what is wrong with the rules is said.
import json
import threading
import time

import pytest
from api import Client
from crew import Crew
from open_load import OpenLoad
from people import PASSWORD, add_product, admin_of, register
from queue_client import Member
from suite import PATIENCE, Suite, run, wait_for

FIRST_ANSWER_S = 1  # about; what a loaded machine takes longer is no failure
FEW_CPU = 0.12  # of a core, for few logins: well under the rule's 35 %, and five times as much is well over
CALM_S, MANY_S = 4, 10  # of the load: how long there are few, and five times as many


def write_rules(suite, rules):
    path = suite.home / "scaling.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(rules))
    fresh.rename(path)


def rules_of(**services):
    return {"interval": "250ms", "services": services}


def ready(suite, service):
    """How many of its processes are."""
    return [e["state"] for e in suite.instances(service).values()].count("ready")


def wait_count(suite, service, count, timeout=10):
    """And no others, as those that drain."""
    wait_for(
        lambda: ready(suite, service) == len(suite.instances(service)) == count,
        timeout,
        f"there are {count} processes of {service}",
    )


def changes(suite, service):
    """[(from, to, reason)] of every decision about a service, from the log."""
    return [
        (record["from"], record["to"], record["reason"])
        for record in suite.records()
        if record.get("event.name") == "scaling" and record["service"] == service
    ]


def login_of(person):
    """The request of an open load that logs a person in."""
    body = json.dumps({"email": person.email, "password": PASSWORD})
    return f"POST /v1/sessions body={body}"


def assert_all(load, *statuses):
    """Every request of an open load, tried once, was answered so."""
    outcomes = load.total()
    assert sum(outcomes.values()) > 10 and set(outcomes) <= set(statuses), outcomes


def was_decided(suite, service, reason):
    """The log's last line of a change for this reason."""
    return [
        record
        for record in suite.records()
        if record.get("event.name") == "scaling"
        and (record["service"], record["reason"]) == (service, reason)
    ][-1]


def shown_status(suite):
    return run("sluice", "status", env=suite.env).stdout


def few_logins(suite, person):
    """How many a second take FEW_CPU of a core on this machine: by the CPU time of ten."""
    begin = suite.metrics("users-1")["process_cpu_seconds_total"]
    for _ in range(10):
        body = {"email": person.email, "password": PASSWORD}
        assert Client(suite.port).post("/v1/sessions", body).status == 201
    each_s = (suite.metrics("users-1")["process_cpu_seconds_total"] - begin) / 10
    return FEW_CPU / each_s


@pytest.mark.alone
class TestLoad:
    def test_load_times_five_scales_up_and_down_and_nothing_fails(self):
        rule = {"max": 3, "cpu": 35, "cooldown_up": "1s", "cooldown_down": "2s"}
        with Suite() as suite:
            write_rules(suite, {"interval": "1s", "services": {"users": rule}})
            suite.up()
            person = register(suite.port)
            few = few_logins(suite, person)
            wait_count(suite, "users", 1, 30)  # whatever the ten did
            phases = [
                ("few", CALM_S, {"login": few}),
                ("many", MANY_S, {"login": 5 * few}),
                ("few-again", 600, {"login": few}),
            ]
            requests = {"login": login_of(person)}
            with OpenLoad(suite.port, requests, phases, connections=64, retries=0) as load:
                begin = time.monotonic()
                wait_for(lambda: ready(suite, "users") > 1, CALM_S + 20, "it scales up")
                up_s = time.monotonic() - begin - CALM_S
                wait_count(suite, "users", 1, MANY_S + 30)
                down_s = time.monotonic() - begin - CALM_S - MANY_S
            print(json.dumps({"up_s": round(up_s, 1), "down_s": round(down_s, 1)}))
            assert 0 < up_s < 10 * PATIENCE
            assert 0 < down_s
            assert_all(load, "201")
            made = changes(suite, "users")
            assert made[0][0] == 1 and made[0][2] == "cpu" and made[-1] == (2, 1, "calm")

    def test_latency(self):
        """What takes a login's 20 ms is too slow, what is only read is not."""
        rule = {"max": 2, "latency": "15ms", "cooldown_up": "1s", "cooldown_down": "2s"}
        with Suite() as suite:
            write_rules(suite, {"interval": "500ms", "services": {"users": rule}})
            suite.up()
            slow = {"login": login_of(register(suite.port))}
            with OpenLoad(suite.port, slow, [("all", 600, {"login": 10})], retries=0) as logins:
                wait_count(suite, "users", 2, 10)
            decided = was_decided(suite, "users", "latency")
            assert decided["value"] > decided["target"] == 15
            assert f"latency {decided['value']} ms (target 15)" in shown_status(suite)
            fast = {"me": f"GET /v1/users/me token={register(suite.port).token}"}
            with OpenLoad(suite.port, fast, [("all", 600, {"me": 50})], retries=0) as reads:
                wait_count(suite, "users", 1, 30)
            assert changes(suite, "users") == [(1, 2, "latency"), (2, 1, "calm")]
            assert_all(logins, "201")
            assert_all(reads, "200")

    def test_lag(self):
        """A group of the service falls behind and catches up; one of another service is no reason."""
        rule = {"max": 3, "lag": 100, "cooldown_up": "500ms", "cooldown_down": "1s"}
        with Suite() as suite:
            write_rules(suite, rules_of(orders=rule, search={**rule, "lag": 1000000}))
            suite.up()
            sku = add_product(admin_of(suite), stock=1000000)["sku"]
            for group in ("orders.shipping", "ordersextra"):
                topic = ("--topic", "orders.order.placed", "--from", "start")
                assert run("sluice-tap", "group", "set", group, *topic, env=suite.env).returncode == 0
            token, body = register(suite.port).token, {"items": [{"sku": sku, "quantity": 1}]}
            orders = {"order": f"POST /v1/orders token={token} key body={json.dumps(body)}"}
            with OpenLoad(suite.port, orders, [("all", 600, {"order": 100})], retries=0) as load:
                wait_count(suite, "orders", 3, 20)
            decided = was_decided(suite, "orders", "lag")
            assert decided["value"] > decided["target"] == 100
            wait_for(lambda: "at-maximum" in shown_status(suite), 5, "it would be more if it could")
            with Member(suite.queue_endpoint, "orders.shipping") as member:
                settled = 0
                while settled < load.total()["201"]:
                    some = member.take()
                    member.settle(some)
                    settled += len(some)
            wait_count(suite, "orders", 1, 30)  # although nobody works for the other group
            made = [(1, 2, "lag"), (2, 3, "lag"), (3, 2, "calm"), (2, 1, "calm")]
            assert changes(suite, "orders") == made and not changes(suite, "search")
            assert_all(load, "201")

    def test_more_clients_than_capacity(self):
        """Each of them waits for an answer, and then asks again."""
        with Suite(SLUICE_CAPACITY=8) as suite:
            suite.up()
            email = register(suite.port).email
            rule = {
                "max": 3,
                "utilisation": 60,
                "step": 2,
                "cooldown_up": "500ms",
                "cooldown_down": "1s",
            }
            with Logins(suite, email, 2) as few:
                write_rules(suite, rules_of(users=rule))
                wait_for(lambda: suite.status()["scaling"]["services"], 5, "the rules are in use")
                time.sleep(1)
                assert len(suite.instances("users")) == 1  # it has room for these
                with Logins(suite, email, 8) as more:
                    wait_count(suite, "users", 3, 10)
                wait_count(suite, "users", 1, 30)
            assert not few.failures + more.failures, (few.failures + more.failures)[:5]
            assert few.count + more.count > 50
            (entry,) = suite.status()["scaling"]["services"]
            assert entry["count"] == 1 and entry["last"]["reason"] == "calm"
            made = changes(suite, "users")
            assert made[0][0] == 1 and made[0][2] == "utilisation" and made[-1][1:] == (1, "calm")
            metrics = suite.supervisor_metrics()
            name = 'sluice_supervisor_scaling_decisions_total{service="users",reason="%s"}'
            for reason in ("calm", "utilisation"):
                assert metrics[name % reason] == len([c for c in made if c[2] == reason])
            assert "1..3" in shown_status(suite) and "calm" in shown_status(suite)


class Logins(Crew):
    """Clients that log in all the time: each keeps a worker busy for some 20 ms."""

    def __init__(self, suite, email, n):
        self.suite, self.email = suite, email
        self.failures, self.count = [], 0
        super().__init__(*[self.run] * n)

    def run(self):
        client = Client(self.suite.port)
        body = {"email": self.email, "password": PASSWORD}
        while not self.ending.is_set():
            try:
                answer = client.post("/v1/sessions", body)
                if answer.status != 201:
                    self.failures.append(repr(answer))
            except Exception as problem:
                self.failures.append(repr(problem))
            self.count += 1


@pytest.fixture(scope="class")
def idle():
    """A suite that has nothing to do, and so no workers."""
    with Suite() as suite:
        rule = {"min": 0, "max": 2, "utilisation": 60, "idle": "1s"}
        write_rules(suite, rules_of(users=rule, orders=rule, search=rule))
        suite.up()
        suite.boss = admin_of(suite)
        yield suite


def seconds(action):
    begin = time.monotonic()
    assert action().status == 200
    return time.monotonic() - begin


class TestOnDemand:
    def test_the_first_request_starts_what_it_needs(self, idle):
        for _ in range(3):
            wait_for(
                lambda: set(idle.instances()) == {"queue-1", "gateway-1"}, 10, "nothing else runs"
            )
            client = Client(idle.port)
            assert client.get("/readyz").status == 200
            assert seconds(lambda: client.get("/v1/search?q=x")) < 3 * FIRST_ANSWER_S * PATIENCE

    def test_the_gateway_tells_and_nobody_has_to_look(self, idle):
        wait_count(idle, "search", 0)
        rules = (idle.home / "scaling.json").read_text()
        loads = 'sluice_supervisor_scaling_loads_total{result="used"}'
        before = idle.supervisor_metrics()[loads]
        write_rules(idle, {**json.loads(rules), "interval": "60s"})
        wait_for(lambda: idle.supervisor_metrics()[loads] > before, 5, "the rules are in use")
        assert Client(idle.port).get("/v1/search?q=x").status == 200
        write_rules(idle, json.loads(rules))

    def test_those_who_come_at_once_are_all_answered(self, idle):
        wait_count(idle, "search", 0)
        answers = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(Client(idle.port).get("/v1/search?q=x").status)
            )
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200] * 20

    def test_who_is_asked_now_and_then_stays(self, idle):
        client = Client(idle.port)
        assert client.get("/v1/search?q=x").status == 200
        before = len(changes(idle, "search"))
        for _ in range(10):
            time.sleep(0.3)
            assert client.get("/v1/search?q=x").status == 200
        assert len(changes(idle, "search")) == before or PATIENCE > 1, changes(idle, "search")

    def test_a_new_gateway_knows_its_routes(self, idle):
        wait_count(idle, "search", 0)
        assert run("sluice", "restart", "gateway", env=idle.env).returncode == 0
        assert Client(idle.port).get("/v1/search?q=x").status == 200
        wait_count(idle, "search", 0)
        pid = idle.kill("gateway-1")
        idle.wait_replaced("gateway-1", pid)
        environment = open(f"/proc/{idle.pid('gateway-1')}/environ").read().split("\0")
        assert any(v.startswith("SLUICE_EXPECT=") and "search" in v for v in environment)
        assert Client(idle.port).get("/v1/search?q=x").status == 200

    def test_events_are_not_left_waiting(self, idle):
        wait_count(idle, "search", 0)
        sku = add_product(idle.boss)["sku"]
        wait_for(lambda: idle.instances("search"), 10, "search looks at the event")

        def found():
            answer = Client(idle.port).get("/v1/search", query={"q": sku}).json()
            return sku in [hit["id"] for hit in answer["items"]]

        wait_for(found, 10, "the product is found")

    def test_only_what_has_the_rule_is_waited_for(self, idle):
        """After a longer absence than a gateway waits for by itself (ABSENCE_GRACE_MS)."""
        wait_count(idle, "search", 0)
        rules = (idle.home / "scaling.json").read_text()
        mark = idle.home / "run/on-demand/search"
        time.sleep(5.2)
        write_rules(idle, {})
        wait_for(lambda: not mark.exists(), 5, "the rule is not in use")
        answer = Client(idle.port).get("/v1/search?q=x")
        assert answer.status == 503 and answer.slug == "unavailable", answer
        assert not idle.instances("search")
        write_rules(idle, json.loads(rules))
        wait_for(mark.exists, 5, "the rule is in use")
        assert Client(idle.port).get("/v1/search?q=x").status == 200


class TestFile:
    def test_a_suite_does_not_start_on_mistakes(self):
        with Suite() as suite:
            (suite.home / "scaling.json").write_text(
                '{\n  "services": {\n    "orders": { "maks": 3 },\n    "users": { "max": 65 }\n'
                "  }\n}\n"
            )
            for command in ("up", "check-config"):
                result = run("sluice", command, env=suite.env)
                assert result.returncode == 78
                first, second = result.stderr.splitlines()
                assert ":3:17: services.orders: unknown key" in first
                assert "allowed: min, max" in first
                assert ":4:23: services.users.max: 65 is no such number" in second

    def test_a_file_that_was_asked_for_must_be_there(self):
        with Suite(SLUICE_SCALING="/nonexistent/rules.json") as suite:
            result = run("sluice", "up", env=suite.env)
            assert result.returncode == 78 and "/nonexistent/rules.json:1:1:" in result.stderr

    def test_mistakes_leave_the_rules_in_use(self, own_suite):
        suite = own_suite
        assert "nothing scales" in run("sluice", "check-config", env=suite.env).stdout
        write_rules(suite, rules_of(orders={"min": 2, "max": 3, "cpu": 90}))
        assert "orders 2 to 3" in run("sluice", "check-config", env=suite.env).stdout
        suite.up()
        wait_count(suite, "orders", 2)
        write_rules(suite, rules_of(orders={"min": 3, "max": 2, "cpu": 90}))
        wait_for(lambda: suite.status()["scaling"]["stale"], 5, "the mistake is seen")
        assert suite.supervisor_metrics()["sluice_supervisor_scaling_stale"] == 1
        assert len(suite.instances("orders")) == 2
        assert "check-config" in run("sluice", "status", env=suite.env).stdout
        write_rules(suite, rules_of(orders={"min": 1, "max": 1, "cpu": 90}))
        wait_count(suite, "orders", 1)
        assert not suite.status()["scaling"]["stale"]
        assert changes(suite, "orders") == [(1, 2, "minimum"), (2, 1, "maximum")]
