# SPDX-License-Identifier: MIT
# Tokens of other identity providers: keys made with openssl, tokens signed with it, and all the ways
# in which one issuer, key or algorithm could be taken for another.
import base64
import hashlib
import hmac
import json
import subprocess
import time

import pytest
from api import Client
from people import add_product, admin_of, register
from suite import Suite, run, wait_for

ISSUER = "https://id.example.com/realms/shop"


def pack(value):
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def openssl(*arguments, data=None):
    return subprocess.run(
        ["openssl", *map(str, arguments)], input=data, capture_output=True, check=True
    ).stdout


class Key:
    """A key pair of openssl, with the JWK of its public part."""

    def __init__(self, directory, kid, kind="RS256", bits=2048):
        self.kid, self.kind, self.path = kid, kind, directory / f"{kid}.pem"
        if kind == "RS256":
            openssl("genrsa", "-out", self.path, bits)
            text = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode()
            n = bytes.fromhex(text.strip().removeprefix("Modulus="))
            self.jwk = {"kty": "RSA", "n": pack(n), "e": "AQAB", "kid": kid}
        else:
            openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.path)
            point = openssl("ec", "-in", self.path, "-pubout", "-outform", "DER")[-64:]
            x, y = pack(point[:32]), pack(point[32:])
            self.jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid}

    def sign(self, data):
        signature = openssl("dgst", "-sha256", "-sign", self.path, data=data)
        return signature if self.kind == "RS256" else raw_ecdsa(signature)

    @property
    def public_pem(self):
        return openssl("pkey", "-in", self.path, "-pubout")


def raw_ecdsa(der):
    """r||s of a DER signature: SEQUENCE { INTEGER r, INTEGER s }."""
    r_size = der[3]
    r, s = der[4 : 4 + r_size], der[6 + r_size :]
    return b"".join(part.lstrip(b"\0").rjust(32, b"\0") for part in (r, s))


class Provider:
    """An identity provider: an entry of the file, and tokens."""

    def __init__(self, directory):
        self.directory = directory
        self.rsa = Key(directory, "rsa-1")
        self.ec = Key(directory, "ec-1", "ES256")
        self.issuers = [
            {
                "name": "corp",
                "issuer": ISSUER,
                "audience": "shop",
                "jwks": "corp.jwks.json",
                "algorithms": ["RS256", "ES256"],
                "roles": {"claim": "realm_access.roles", "map": {"boss": "admin", "buyer": "user"}},
            }
        ]
        self.write_keys(self.rsa, self.ec)

    @property
    def path(self):
        return self.directory / "issuers.json"

    def write(self, issuers=None):
        self.path.write_text(json.dumps(self.issuers if issuers is None else issuers))

    def write_keys(self, *keys, name="corp.jwks.json"):
        (self.directory / name).write_text(json.dumps({"keys": [key.jwk for key in keys]}))
        self.write()

    def token(self, key=None, header=None, roles=("buyer",), signature=None, **changes):
        key = key or self.rsa
        now = int(time.time())
        head = {"alg": key.kind, "typ": "at+jwt", "kid": key.kid, **(header or {})}
        claims = {
            "iss": ISSUER,
            "aud": ["account", "shop"],
            "sub": "f1c2-77",
            "exp": now + 600,
            "iat": now - 5,
            "jti": "t-1",
            "realm_access": {"roles": list(roles)},
            **changes,
        }
        head, claims = ({k: v for k, v in p.items() if v is not None} for p in (head, claims))
        signed = f"{pack(head)}.{pack(claims)}"
        made = signature(signed.encode()) if signature else key.sign(signed.encode())
        return f"{signed}.{pack(made)}"


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    return Provider(tmp_path_factory.mktemp("provider"))


@pytest.fixture(scope="module")
def shop(provider):
    with Suite(SLUICE_EXTERNAL_ISSUERS=str(provider.path)) as own:
        yield own.up()


def status(shop, token, path="/v1/orders"):
    return Client(shop.port, token).get(path).status


class TestTaken:
    def test_both_algorithms(self, shop, provider):
        for key in (provider.rsa, provider.ec):
            for _ in range(3):
                assert status(shop, provider.token(key)) == 200

    def test_orders_are_their_own(self, shop, provider):
        sku = add_product(admin_of(shop), stock=10)["sku"]
        buyer, other = (Client(shop.port, provider.token(sub=sub)) for sub in ("one", "two"))
        answer = buyer.order({sku: 1})
        assert answer.status == 201, answer
        order = answer.json()
        assert order["user_id"] == "corp:one"
        assert buyer.get(f"/v1/orders/{order['id']}").status == 200
        assert other.get(f"/v1/orders/{order['id']}").status == 404

    def test_roles_are_mapped(self, shop, provider):
        assert status(shop, provider.token(roles=["boss"]), "/v1/users") == 200
        assert status(shop, provider.token(roles=["buyer", "x", "boss"]), "/v1/users") == 200
        assert status(shop, provider.token(roles=["buyer"]), "/v1/users") == 403

    def test_sub_of_one_of_our_users_is_somebody_else(self, shop, provider):
        ada = register(shop.port)
        assert status(shop, provider.token(sub=ada.id), f"/v1/users/{ada.id}") == 404
        assert status(shop, provider.token(sub=ada.id), "/v1/users/me") == 404

    def test_ours_go_on(self, shop):
        assert register(shop.port).get("/v1/users/me").status == 200


def hs256(secret):
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


REFUSED = {
    "own roles do not count": lambda p, s: p.token(roles=["admin", "user"]),
    "no roles": lambda p, s: p.token(realm_access=None),
    "roles of another shape": lambda p, s: p.token(realm_access=["boss"]),
    "role claim of ours": lambda p, s: p.token(roles=[], role="admin", sid="s"),
    "other issuer": lambda p, s: p.token(iss="https://id.example.com/realms/other"),
    "issuer with a slash more": lambda p, s: p.token(iss=ISSUER + "/"),
    "our issuer": lambda p, s: p.token(iss="sluice", aud="sluice", role="admin", sid="s"),
    "other audience": lambda p, s: p.token(aud="other"),
    "our audience": lambda p, s: p.token(aud="sluice"),
    "no audience": lambda p, s: p.token(aud=None),
    "expired": lambda p, s: p.token(exp=int(time.time()) - 1),
    "no exp": lambda p, s: p.token(exp=None),
    "not yet": lambda p, s: p.token(nbf=int(time.time()) + 600),
    "no sub": lambda p, s: p.token(sub=None),
    "sub too long": lambda p, s: p.token(sub="x" * 60),
    "sub with a blank": lambda p, s: p.token(sub="a b"),
    "typ JWT": lambda p, s: p.token(header={"typ": "JWT"}),
    "no typ": lambda p, s: p.token(header={"typ": None}),
    "no kid": lambda p, s: p.token(header={"kid": None}),
    "unknown kid": lambda p, s: p.token(header={"kid": "rsa-9"}),
    "ES256 with an RSA kid": lambda p, s: p.token(p.ec, header={"kid": "rsa-1"}),
    "RS256 with an EC kid": lambda p, s: p.token(p.rsa, header={"kid": "ec-1"}),
    "alg RS256, but signed by EC": lambda p, s: p.token(p.ec, header={"alg": "RS256"}),
    "HS256 with the public PEM": lambda p, s: p.token(
        header={"alg": "HS256"}, signature=hs256(p.rsa.public_pem)
    ),
    "HS256 with the modulus": lambda p, s: p.token(
        header={"alg": "HS256"}, signature=hs256(p.rsa.jwk["n"].encode())
    ),
    "RS256 signed as HS256": lambda p, s: p.token(signature=hs256(p.rsa.public_pem)),
    "none": lambda p, s: p.token(header={"alg": "none"}, signature=lambda data: b""),
    "PS256": lambda p, s: p.token(header={"alg": "PS256"}),
    "EdDSA with an external kid": lambda p, s: p.token(
        header={"alg": "EdDSA"}, signature=lambda data: bytes(64)
    ),
    "DER instead of r||s": lambda p, s: p.token(
        p.ec, signature=lambda data: openssl("dgst", "-sha256", "-sign", p.ec.path, data=data)
    ),
    "our kid and key for their issuer": lambda p, s: p.token(
        header={"alg": "EdDSA", "kid": own_key(s)["kid"]}, signature=lambda d: own_sign(s, d)
    ),
    "key in the header": lambda p, s: p.token(header={"jwk": p.rsa.jwk}),
}


def own_key(shop):
    return json.loads(shop.secret("signing/token.key"))


def own_sign(shop, data):
    import nacl.signing

    d = own_key(shop)["d"]
    seed = base64.urlsafe_b64decode(d + "=" * (-len(d) % 4))
    return nacl.signing.SigningKey(seed).sign(data).signature


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
def test_refused(shop, provider, make):
    answer = Client(shop.port, make(provider, shop)).get("/v1/orders")
    assert (answer.status, answer.slug) == (401, "unauthenticated"), answer


class TestLogout:
    """It ends the token that it is sent with, and nothing else."""

    def seen(self, shop, token):
        """What the gateways, which share a port, answer to new connections."""
        return {status(shop, token) for _ in range(20)}

    def test_the_token_is_refused_by_every_gateway(self, shop, provider):
        shop.scale(gateway=2)
        try:
            for key in (provider.rsa, provider.ec):
                token, other = (provider.token(key, jti=jti) for jti in ("one", "two"))
                assert self.seen(shop, token) == {200}
                answer = Client(shop.port, token).delete("/v1/sessions/current")
                assert (answer.status, answer.body) == (204, b"")
                wait_for(lambda: self.seen(shop, token) == {401}, 5, "it is refused")
                assert "revoked" in Client(shop.port, token).get("/v1/orders").json()["detail"]
                assert self.seen(shop, other) == {200}
        finally:
            shop.scale(gateway=1)
        # A gateway that starts learns of it before it serves.
        assert run("sluice", "restart", "gateway", env=shop.env, timeout=60).returncode == 0
        assert self.seen(shop, token) == {401} and self.seen(shop, other) == {200}

    def test_another_signature_of_it_is_refused_too(self, shop, provider):
        """With ECDSA, whoever has (r, s) has (r, n - s)."""
        token = provider.token(provider.ec, jti="twin")
        signed, _, signature = token.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        s = order - int.from_bytes(raw[32:], "big")
        twin = f"{signed}.{pack(raw[:32] + s.to_bytes(32, 'big'))}"
        assert status(shop, twin) == 200
        assert Client(shop.port, token).delete("/v1/sessions/current").status == 204
        wait_for(lambda: status(shop, token) == 401, 5, "the token is refused")
        assert status(shop, twin) == 401

    def test_others_with_the_same_sub_go_on(self, shop, provider):
        ada = register(shop.port)
        token = provider.token(sub=ada.id, sid=ada.id)
        assert Client(shop.port, token).delete("/v1/sessions/current").status == 204
        wait_for(lambda: status(shop, token) == 401, 5, "the token is refused")
        assert ada.get("/v1/users/me").status == 200
        assert status(shop, provider.token(sub=ada.id, sid=ada.id, jti="later")) == 200


class TestReload:
    def test_new_key_is_taken_at_once_and_a_removed_one_refused(self, shop, provider):
        fresh = Key(provider.directory, "rsa-2")
        old = provider.token()
        assert status(shop, old) == 200
        time.sleep(0.11)  # EXTERNALS_LOOK_MS: unknown keys make us look no more often
        try:
            provider.write_keys(provider.rsa, provider.ec, fresh)
            assert status(shop, provider.token(fresh)) == 200
            provider.write_keys(provider.ec, fresh)
            wait_for(lambda: status(shop, old) == 401, 5, "the token of the removed key is refused")
            assert status(shop, provider.token(fresh)) == 200
        finally:
            provider.write_keys(provider.rsa, provider.ec)
        wait_for(lambda: status(shop, old) == 200, 5, "the key is back")

    def test_mistake_keeps_what_was(self, shop, provider):
        name = 'sluice_gateway_token_key_failures_total{whose="external"}'
        before = shop.metrics("gateway-1")[name]
        token = provider.token()
        try:
            provider.write([{**provider.issuers[0], "algorithms": ["HS256"]}])
            wait_for(lambda: shop.metrics("gateway-1")[name] == before + 1, 5, "it is counted")
            assert status(shop, token) == 200
            assert 'algorithms has \\"HS256\\": allowed are RS256, ES256, EdDSA' in shop.log()
        finally:
            provider.write()
        keys = 'sluice_gateway_token_keys{whose="external"}'
        assert shop.metrics("gateway-1")[keys] == 2

    def test_options(self, shop, provider):
        """A directory of keys, `typ: JWT`, another claim, a default role."""
        (provider.directory / "keys").mkdir()
        provider.write_keys(provider.rsa, name="keys/a.json")
        provider.write_keys(provider.ec, name="keys/b.json")
        entry = {
            **provider.issuers[0],
            "jwks": "keys",
            "type": "JWT",
            "roles": {
                "claim": ["https://shop.example.com/roles"],
                "map": {"boss": "admin"},
                "default": "user",
            },
        }
        try:
            provider.write([entry])
            jwt = {"typ": "JWT"}
            wait_for(
                lambda: status(shop, provider.token(provider.ec, header=jwt)) == 200, 5, "typ JWT"
            )
            boss = {"https://shop.example.com/roles": "buyer boss"}
            assert status(shop, provider.token(header=jwt, **boss), "/v1/users") == 200
            assert status(shop, provider.token(header=jwt, realm_access=None)) == 200
            assert status(shop, provider.token(header={"typ": None})) == 401
        finally:
            provider.write()


ENTRY = {
    "name": "corp",
    "issuer": ISSUER,
    "audience": "shop",
    "jwks": "corp.jwks.json",
    "algorithms": ["RS256"],
    "roles": {"claim": "roles", "map": {"a": "user"}},
}
MISTAKES = {
    "no JSON": ("{", "no JSON at byte"),
    "no list": ({}, "must be a list of at most 8 issuers"),
    "no object": (["x"], "[0] must be an object with name, issuer"),
    "unknown member": ([{**ENTRY, "jwks_uri": "x"}], '[0] has "jwks_uri": allowed are name'),
    "name": ([{**ENTRY, "name": "A:b"}], "[0].name must be 1 to 16 of a-z"),
    "issuer": ([{**ENTRY, "issuer": 5}], "[0].issuer must be a string"),
    "our issuer": ([{**ENTRY, "issuer": "sluice"}], "[0].issuer is SLUICE_TOKEN_ISSUER"),
    "audience": ([{k: v for k, v in ENTRY.items() if k != "audience"}], "[0].audience must be"),
    "algorithm": ([{**ENTRY, "algorithms": ["none"]}], '[0].algorithms has "none": allowed are RS'),
    "type": ([{**ENTRY, "type": "id"}], '[0].type must be "at+jwt"'),
    "roles": ([{**ENTRY, "roles": {"claim": "x"}}], "[0].roles.map must be an object"),
    "claim": ([{**ENTRY, "roles": {"claim": "a..b", "map": {}}}], "[0].roles.claim must be a path"),
    "role": ([{**ENTRY, "roles": {"claim": "a", "map": {"x": "Y"}}}], "[0].roles.map must be a role"),
    "file": ([{**ENTRY, "jwks": "none.json"}], "none.json: No such file"),
    "no key": ([{**ENTRY, "algorithms": ["ES256"]}], "has no key for these algorithms"),
    "short key": ([{**ENTRY, "jwks": "short.json"}], "keys[0] cannot be used: allowed are RSA of 20"),
    "no set": ([{**ENTRY, "jwks": "issuers.json"}], "is no JWK set"),
    "twice": ([ENTRY, ENTRY], "[1] has the name or the issuer of [0]"),
}


@pytest.mark.parametrize("text, said", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_named(tmp_path_factory, provider, text, said):
    directory = tmp_path_factory.mktemp("wrong")
    (directory / "corp.jwks.json").write_text(json.dumps({"keys": [provider.rsa.jwk]}))
    if "short.json" in str(text):
        short = Key(directory, "short", bits=1024).jwk
        (directory / "short.json").write_text(json.dumps({"keys": [short]}))
    path = directory / "issuers.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with Suite() as own:
        assert run("sluice", "init", env=own.env).returncode == 0
        result = run("sluice-gateway", env={**own.env, "SLUICE_EXTERNAL_ISSUERS": str(path)})
        assert result.returncode == 78
        assert said in (result.stdout + result.stderr).replace('\\"', '"'), result
        assert "SLUICE_EXTERNAL_ISSUERS" in result.stdout + result.stderr
