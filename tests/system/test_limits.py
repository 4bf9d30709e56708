# SPDX-License-Identifier: MIT
# Rate limits at the edge, attacked: many connections, pipelines, made-up addresses, other people's
# tokens. Windows are an hour, so that nothing refills while a test counts.
import base64
import concurrent.futures
import re
import secrets
import socket

import pytest
from api import Client
from people import PASSWORD, admitted, fresh, guesses
from suite import Suite, run, wait_for


@pytest.fixture(scope="module")
def limited():
    with Suite(
        SLUICE_TRUSTED_PROXIES="127.0.0.1",
        SLUICE_RATE_LIMIT_ADDRESS="100/h",
        SLUICE_RATE_LIMIT_PRINCIPAL="30/h",
        SLUICE_RATE_LIMIT_AUTH="12/h",
        SLUICE_RATE_LIMIT_KEY="8/h",
        SLUICE_RATE_LIMIT_READ="20/h",
        SLUICE_RATE_LIMIT_WRITE="5/h",
        SLUICE_RATE_LIMIT_BUCKETS="256",
    ) as running:
        yield running.up()


_addresses = (f"10.{a}.{b}.1" for a in range(1, 250) for b in range(1, 250))


@pytest.fixture
def address():
    return next(_addresses)


def client_at(suite, address, token=None):
    """A client that a trusted proxy says is at this address."""
    client = Client(suite.port, token)
    plain = client.request
    client.request = lambda method, path, body=None, headers=None, **named: plain(
        method, path, body, {"X-Forwarded-For": address, **(headers or {})}, **named
    )
    return client


def fields(answer):
    """{policy: its items} of RateLimit-Policy and RateLimit."""
    found = {}
    for name in ("RateLimit-Policy", "RateLimit"):
        for item in re.findall(r'"[^,]+', answer.headers[name] or ""):
            policy, *parameters = item.strip().split(";")
            found.setdefault(policy.strip('"'), {}).update(
                {key: int(value) for key, value in (p.split("=") for p in parameters)}
            )
    return found


def refused_total(suite, policy):
    return suite.metrics("gateway-1")[f'sluice_gateway_rate_limited_total{{policy="{policy}"}}']


def worker_requests(suite):
    samples = suite.metrics("orders-1")
    name = "sluice_worker_request_duration_seconds_count"
    return samples[f'{name}{{operation="listProducts"}}']


def test_the_burst_is_exact_over_many_connections(limited, address):
    def ask(n):
        client = client_at(limited, address)
        answers = [client.get("/v1/products").status for _ in range(n)]
        client.close()
        return answers

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = [s for answers in pool.map(ask, [4] * 16) for s in answers]
    assert sorted(statuses) == [200] * 20 + [429] * 44


def test_pipelined_requests_count_each_and_keep_the_connection(limited, address):
    one = f"GET /v1/products HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n\r\n"
    last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", limited.port), 30) as connection:
        connection.sendall((one * 30 + last).encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    statuses = re.findall(rb"HTTP/1.1 (\d+)", answer)
    assert statuses == [b"200"] * 20 + [b"429"] * 10 + [b"200"]


def test_a_refusal_says_what_and_for_how_long(limited, address):
    client = client_at(limited, address)
    before, seen = refused_total(limited, "read"), worker_requests(limited)
    for left in range(19, -1, -1):
        answer = client.get("/v1/products")
        assert answer.status == 200
        assert fields(answer)["read"] == {"q": 20, "w": 3600, "r": left, "t": 180 * (20 - left)}
    for _ in range(3):
        answer = client.get("/v1/products")
        assert answer.status == 429 and answer.slug == "too-many-requests"
        wait = int(answer.headers["Retry-After"])
        assert 170 <= wait <= 180
        assert fields(answer)["read"] == {"q": 20, "w": 3600, "r": 0, "t": wait}
        assert "read" in answer.json()["detail"]
        assert answer.headers["Connection"] is None
    assert refused_total(limited, "read") == before + 3
    assert worker_requests(limited) == seen + 20  # what was refused reached nobody
    assert '"rate limit read refused a request of' in limited.log().replace('"body":"', '"')


def test_a_refused_body_is_thrown_away(limited, address):
    client = client_at(limited, address)
    statuses = [
        client.post("/v1/orders", {"note": "x" * 100000}, idempotency_key='"k"').status
        for _ in range(7)
    ]
    assert statuses == [401] * 5 + [429] * 2
    assert client.get("/livez").status == 200  # on the same connection


def test_wrong_tokens_and_wrong_paths_count(limited, address):
    client = client_at(limited, address, token="a.b.c")
    statuses = [client.get("/v1/users/me").status for _ in range(22)]
    assert statuses == [401] * 20 + [429] * 2
    other = client_at(limited, next(_addresses))
    assert [other.get("/nowhere").status for _ in range(22)] == [404] * 20 + [429] * 2


def test_class_auth(limited, address):
    client = client_at(limited, address)
    wrong = {"email": f"{fresh('x')}@example.com", "password": PASSWORD}
    statuses = []
    for path in ("/v1/sessions", "/v1/users", "/v1/sessions/refresh") * 5:
        statuses.append(client.post(path, wrong).status)
    assert statuses.count(429) == 3 and statuses[-3:] == [429] * 3
    assert client.get("/v1/products").status == 200  # other classes are apart
    assert fields(client.get("/v1/products")).keys() == {"address", "read"}


def test_an_account_is_limited_wherever_it_comes_from(limited, address):
    with_token = register_at(limited, address)
    statuses = []
    for _ in range(20):
        statuses.append(client_at(limited, next(_addresses), with_token).get("/v1/users/me").status)
    assert statuses == [200] * 20
    refused = client_at(limited, next(_addresses), with_token).get("/v1/users/me")
    assert refused.status == 429 and set(fields(refused)) == {"address", "principal", "read"}
    # 21 have counted for the account, although the last one was refused by its class: 9 are left.
    for status in [400] * 5 + [429] * 4:
        client = client_at(limited, next(_addresses), with_token)
        answer = client.post("/v1/orders", {"items": []})
        assert answer.status == status and set(fields(answer)) == {"address", "principal", "write"}
    answer = client_at(limited, next(_addresses), with_token).post("/v1/orders", {"items": []})
    assert answer.status == 429 and set(fields(answer)) == {"address", "principal"}
    # Nobody else is touched, at the same address or elsewhere.
    other = register_at(limited, next(_addresses))
    assert client_at(limited, next(_addresses), other).get("/v1/users/me").status == 200


def register_at(suite, address):
    client = client_at(suite, address)
    body = {"email": f"{fresh('x')}@example.com", "password": PASSWORD, "name": "Eve"}
    assert client.post("/v1/users", body).status == 201
    answer = client.post("/v1/sessions", {k: body[k] for k in ("email", "password")})
    assert answer.status == 201, answer
    return answer.json()["access_token"]


def keys_asked(suite):
    return suite.metrics("gateway-1")['sluice_gateway_api_keys_total{found="asked"}']


def made_up_key():
    return "sk_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def test_made_up_api_keys_soon_cost_no_worker_anything(limited, address):
    """In parallel, so that none knows yet what became of the others."""
    before = keys_asked(limited)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda _: client_at(limited, address, made_up_key()).get("/v1/users/me"), range(20))
        )
    assert sorted(a.status for a in answers) == [401] * 8 + [429] * 12
    assert keys_asked(limited) - before == 8
    late = [a for a in answers if a.status == 429]
    assert all('"key"' in a.json()["detail"] and a.headers["Retry-After"] for a in late)
    assert client_at(limited, next(_addresses), made_up_key()).get("/v1/users/me").status == 401


def make_keys(suite, token, number):
    """Good keys that no gateway has heard of yet."""
    body = {"name": "ci", "scope": "*"}
    answers = [client_at(suite, next(_addresses), token).post("/v1/api-keys", body) for _ in range(number)]
    assert [a.status for a in answers] == [201] * number, answers
    return [a.json()["key"] for a in answers]


def test_good_api_keys_are_not_counted_as_made_up(limited, address):
    *in_use, late = make_keys(limited, register_at(limited, next(_addresses)), 10)

    def ask(key):
        return client_at(limited, address, key).get("/v1/users/me")

    # One more than may be made up.
    assert [ask(key).status for key in in_use] == [200] * 9
    # Whoever shares the address and makes up keys does them no harm: only one that is new here waits.
    assert [ask(made_up_key()).status for _ in range(9)] == [401] * 8 + [429]
    assert [ask(key).status for key in in_use[:2]] == [200] * 2
    refused = ask(late)
    assert refused.status == 429 and set(fields(refused)) == {"address", "key"}
    assert client_at(limited, next(_addresses), late).get("/v1/users/me").status == 200


def test_the_first_use_of_an_api_key_counts_for_its_account(limited, address):
    token = register_at(limited, next(_addresses))
    keys = make_keys(limited, token, 9)
    first = [client_at(limited, next(_addresses), key).get("/v1/users/me") for key in keys]
    assert [a.status for a in first] == [200] * 9
    assert all(set(fields(a)) == {"address", "key", "principal", "read"} for a in first)
    left = [fields(a)["principal"]["r"] for a in first]
    assert left == list(range(left[0], left[0] - 9, -1))


def test_health_checks_are_exempt(limited, address):
    client = client_at(limited, address)
    assert {client.get(path).status for path in ("/livez", "/readyz") * 150} == {200}
    assert client.get("/livez").headers["RateLimit"] is None
    documents = [client.get("/problems").status for _ in range(22)]
    assert documents == [200] * 20 + [429] * 2


def test_ipv6_clients_count_by_their_64(limited):
    statuses = [
        client_at(limited, f"2001:db8:1:1::{i:x}").get("/v1/products").status for i in range(1, 24)
    ]
    assert statuses == [200] * 20 + [429] * 3
    assert client_at(limited, "2001:db8:1:2::1").get("/v1/products").status == 200


def test_made_up_addresses_do_not_make_the_table_forget(limited, address):
    client = client_at(limited, address)
    for _ in range(20):
        client.get("/v1/products")
    assert client.get("/v1/products").status == 429
    flood = Client(limited.port)
    for _ in range(1000):  # four times what the table holds
        at = next(_addresses)
        assert flood.get("/v1/products", headers={"X-Forwarded-For": at}).status == 200
    assert client.get("/v1/products").status == 429
    samples = limited.metrics("gateway-1")
    assert samples["sluice_gateway_rate_limit_buckets"] == 256
    assert samples["sluice_gateway_rate_limit_forgotten_total"] > 0


def test_the_client_is_in_the_access_log(limited, address):
    client_at(limited, f"6.6.6.6, {address}").get("/v1/search?q=x")
    wait_for(
        lambda: any(record.get("client.address") == address for record in limited.records()),
        5,
        "the request is in the access log",
    )


def test_who_is_not_a_trusted_proxy_is_not_believed():
    with Suite(SLUICE_TRUSTED_PROXIES="10.0.0.0/8", SLUICE_RATE_LIMIT_READ="10/h") as suite:
        suite.up()
        statuses = [
            client_at(suite, next(_addresses)).get("/v1/products").status for _ in range(12)
        ]
        assert statuses == [200] * 10 + [429] * 2


def test_limits_refill():
    with Suite(SLUICE_RATE_LIMIT_READ="5/s,burst=10") as suite:
        client = Client(suite.up().port)
        statuses = [client.get("/nowhere").status for _ in range(10)]
        assert statuses == [404] * 10
        refused = 0
        while (answer := client.get("/nowhere")).status == 429:
            assert answer.headers["Retry-After"] == "1"
            refused += 1
        assert refused > 0 and answer.status == 404


def test_by_default_a_flood_of_logins_is_stopped():
    with Suite() as suite:
        del suite.environment["SLUICE_RATE_LIMIT_AUTH"]  # the default counts
        client = Client(suite.up().port)
        token = {"refresh_token": "A" * 43}
        statuses = [client.post("/v1/sessions/refresh", token).status for _ in range(700)]
        assert statuses[:300].count(429) == 0
        assert statuses.count(429) > 100
        assert client.get("/v1/products").status == 200
        assert client.get("/v1/products").headers["RateLimit"] is None


@pytest.mark.parametrize(
    "name, value, allowed",
    [
        ("SLUICE_RATE_LIMIT_AUTH", "ten", "COUNT/s"),
        ("SLUICE_RATE_LIMIT_READ", "5/d", "COUNT/m"),
        ("SLUICE_TRUSTED_PROXIES", "127.0.0.1,10.0.0.1/8", "10.0.0.0/8"),
        ("SLUICE_CLIENT_FIELD", "x-real-ip", "x-forwarded-for"),
        ("SLUICE_RATE_LIMIT_BUCKETS", "3", "16"),
    ],
)
def test_wrong_options_are_named(limited, name, value, allowed):
    result = run("sluice-gateway", env={**limited.env, "SLUICE_INSTANCE": "another", name: value})
    assert result.returncode != 0
    said = result.stdout + result.stderr
    assert name in said and value.split(",")[-1] in said and allowed in said, said


# --- Guessing passwords (services/users/throttle.h)


@pytest.fixture(scope="module")
def guarded():
    with Suite(
        SLUICE_TRUSTED_PROXIES="127.0.0.1",
        SLUICE_RATE_LIMIT_AUTH="off",
        SLUICE_SIGNUPS_PER_ADDRESS="5",
    ) as running:
        yield running.up()


def make_account(suite, address):
    email = f"{fresh('x')}@example.com"
    body = {"email": email, "password": PASSWORD, "name": "Eve"}
    answer = client_at(suite, address).post("/v1/users", body)
    assert answer.status == 201, answer
    return email


def log_in(suite, address, email, password):
    client = client_at(suite, address)
    try:
        return client.post("/v1/sessions", {"email": email, "password": password})
    finally:
        client.close()


@pytest.mark.parametrize("exists", [True, False])
def test_parallel_guesses_get_no_more_checks(guarded, address, exists):
    email = make_account(guarded, address) if exists else f"{fresh('x')}@example.com"
    answers = []

    def guess(number):
        answer = log_in(guarded, address, email, f"guess {number}")
        answers.append(answer)
        return answer.status

    with concurrent.futures.ThreadPoolExecutor(50) as pool, guesses(20) as statuses:
        statuses += pool.map(lambda n: admitted(lambda: guess(n)), range(50))
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.slug == "too-many-requests" and 1 <= int(refused.headers["Retry-After"]) <= 60
    assert email not in refused.body.decode()


@pytest.mark.alone
def test_the_owner_gets_in_while_the_world_guesses(guarded, address):
    email = make_account(guarded, address)
    assert log_in(guarded, address, email, PASSWORD).status == 201
    bots = [next(_addresses) for _ in range(130)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = [a.status for a in pool.map(lambda b: log_in(guarded, b, email, "guess"), bots)]
    assert 100 <= statuses.count(401) <= 104  # one more for each second that the waits take
    assert log_in(guarded, next(_addresses), email, PASSWORD).status == 429
    assert log_in(guarded, address, email, PASSWORD).status == 201  # known: not held up
    pid = guarded.kill("users-1")
    guarded.wait_replaced("users-1", pid)
    assert log_in(guarded, address, email, PASSWORD).status == 201


def test_guesses_of_the_current_password_are_slowed(guarded, address):
    email = make_account(guarded, address)
    token = log_in(guarded, address, email, PASSWORD).json()["access_token"]
    user = client_at(guarded, address, token).get("/v1/users/me")

    def patch(number):
        client = client_at(guarded, next(_addresses), token)  # a thief who moves about
        change = {"password": "another password", "current_password": f"guess {number}"}
        for _ in range(100):
            status = client.patch(f"/v1/users/{user.json()['id']}", change, if_match=user.etag).status
            if status != 503:  # a machine that is short of CPU did not look at it
                break
        return status

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(patch, range(40)))
    assert sorted(statuses) == [422] * 20 + [429] * 20
    assert log_in(guarded, address, email, PASSWORD).status == 201


def test_new_accounts_of_one_address_are_limited(guarded, address):
    for _ in range(5):
        email = make_account(guarded, address)
    body = {"email": email, "password": PASSWORD, "name": "Eve"}
    answer = client_at(guarded, address).post("/v1/users", body)
    assert answer.status == 429 and int(answer.headers["Retry-After"]) > 60
    make_account(guarded, next(_addresses))
    name = 'sluice_users_throttled_total{by="signups"}'
    assert guarded.metrics("users-1")[name] >= 1
