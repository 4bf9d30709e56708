# SPDX-License-Identifier: MIT
# Access tokens that are not ours: each must be refused with 401 and say so. Some are signed with
# the suite's own key, to see that a valid signature is not enough.
import base64
import json
import time

import nacl.signing
import pytest


def pack(value):
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unpack(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Forger:
    """Makes tokens of any shape, by default exactly what the suite would sign for this user."""

    def __init__(self, suite, person):
        key = json.loads(suite.secret("signing/token.key"))
        self.signer = nacl.signing.SigningKey(unpack(key["d"]))
        self.header = json.loads(unpack(person.token.split(".")[0]))
        self.claims = json.loads(unpack(person.token.split(".")[1]))

    def token(self, header=None, claims=None, signer=None, **changes):
        header = {**self.header, **(header or {})}
        claims = {**self.claims, **(claims or {}), **changes}
        head, body = ({k: v for k, v in part.items() if v is not None} for part in (header, claims))
        signed = f"{pack(head)}.{pack(body)}"
        return f"{signed}.{pack((signer or self.signer).sign(signed.encode()).signature)}"


@pytest.fixture(scope="module")
def forger(suite, ada):
    return Forger(suite, ada)


def refused(ada, token, scheme="Bearer "):
    answer = ada.as_user(None).get("/v1/users/me", headers={"Authorization": scheme + token})
    assert (answer.status, answer.slug) == (401, "unauthenticated"), answer
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    return answer


def test_our_own_token_is_taken(ada, forger):
    """Else all the tests below would pass for the wrong reason."""
    for scheme in ("Bearer ", "bearer ", "BEARER "):
        answer = ada.as_user(None).get(
            "/v1/users/me", headers={"Authorization": scheme + forger.token()}
        )
        assert answer.status == 200, answer


def test_a_list_where_a_string_is_expected(suite, ada, forger):
    """Of as many elements as the string has bytes."""
    pid = suite.instances()["gateway-1"]["pid"]
    for values in ([1] * n for n in (*range(1, 10), 36, 43)):
        for name in ("alg", "typ", "kid"):
            refused(ada, forger.token({name: values}))
            refused(ada, forger.token({name: dict.fromkeys(map(str, range(len(values))))}))
        for name in ("iss", "sub", "role", "sid", "jti"):
            refused(ada, forger.token(None, {name: values}))
    assert suite.instances()["gateway-1"]["pid"] == pid


OTHER_KEY = nacl.signing.SigningKey.generate()
NOW = int(time.time())
FORGED = {
    "other key": lambda f: f.token(signer=OTHER_KEY),
    "key in the header": lambda f: f.token(
        signer=OTHER_KEY,
        header={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": pack(bytes(OTHER_KEY.verify_key))}},
    ),
    "key by address": lambda f: f.token(header={"jku": "http://127.0.0.1/jwks.json"}),
    "certificate by address": lambda f: f.token(header={"x5u": "http://127.0.0.1/cert"}),
    "alg none": lambda f: f.token(header={"alg": "none"}),
    "alg HS256": lambda f: f.token(header={"alg": "HS256"}),
    "alg RS256": lambda f: f.token(header={"alg": "RS256"}),
    "alg missing": lambda f: f.token(header={"alg": None}),
    "kid unknown": lambda f: f.token(header={"kid": "other"}),
    "kid is a path": lambda f: f.token(header={"kid": "../../../../dev/null"}),
    "kid missing": lambda f: f.token(header={"kid": None}),
    "typ is another": lambda f: f.token(header={"typ": "JWT"}),
    "typ missing": lambda f: f.token(header={"typ": None}),
    "crit unknown": lambda f: f.token(header={"crit": ["x"], "x": 1}),
    "expired": lambda f: f.token(exp=NOW - 1, iat=NOW - 1000),
    "exp missing": lambda f: f.token(exp=None),
    "exp is text": lambda f: f.token(exp=str(NOW + 900)),
    "exp is negative": lambda f: f.token(exp=-1),
    "exp overflows": lambda f: f.token(exp=2**63),
    "not yet valid": lambda f: f.token(nbf=NOW + 3 * 3600),
    "issued in the future": lambda f: f.token(iat=NOW + 3 * 3600, exp=NOW + 4 * 3600),
    "other issuer": lambda f: f.token(iss="other"),
    "issuer missing": lambda f: f.token(iss=None),
    "other audience": lambda f: f.token(aud="other"),
    "audience missing": lambda f: f.token(aud=None),
    "subject missing": lambda f: f.token(sub=None),
    "subject empty": lambda f: f.token(sub=""),
    "subject with control characters": lambda f: f.token(sub="a\r\nb"),
    "role missing": lambda f: f.token(role=None),
    "session missing": lambda f: f.token(sid=None),
    "unsigned": lambda f: f.token().rsplit(".", 1)[0] + ".",
    "two parts": lambda f: f.token().rsplit(".", 1)[0],
    "four parts": lambda f: f.token() + ".x",
    "padded": lambda f: f.token() + "=",
    "claims are no JSON": lambda f: ".".join(
        [pack(f.header), pack(b"nothing"), f.token().split(".")[2]]
    ),
    "over the limit": lambda f: f.token(extra="x" * 5000),
    "empty": lambda f: "",
    "dots": lambda f: "..",
    "garbage": lambda f: "\x7f\x01garbage",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_forged_token_is_refused(ada, forger, forged):
    token = forged(forger)
    if token.isprintable():
        refused(ada, token)
    else:
        answer = ada.as_user(None).get("/v1/users/me", headers={"Authorization": "Bearer " + token})
        assert answer.status in (400, 401)


def test_duplicate_member_is_refused(ada, forger):
    header, claims, _ = forger.token().split(".")
    doubled = unpack(claims)[:-1] + b',"role":"admin"}'
    signed = f"{header}.{pack(doubled)}"
    refused(ada, f"{signed}.{pack(forger.signer.sign(signed.encode()).signature)}")


def test_every_changed_character_is_noticed(ada):
    """Flips one bit in each of the characters, some of them only in unused bits of the last one."""
    token = ada.token
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for at in range(0, len(token), 7):
        if token[at] != ".":
            changed = token[:at] + alphabet[alphabet.index(token[at]) ^ 1] + token[at + 1 :]
            refused(ada, changed)
    last = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    refused(ada, last)


def test_other_schemes_are_refused(ada):
    for scheme in ("Basic ", "Token ", "Bearer", "", "Bearer\t", "Digest "):
        refused(ada, ada.token, scheme)


def test_token_in_the_query_is_not_looked_at(ada):
    assert ada.as_user(None).get(f"/v1/users/me?access_token={ada.token}").status in (400, 401)


def test_optional_token_must_be_good_when_given(ada):
    answer = ada.as_user("bad").get("/v1/search?q=x")
    assert (answer.status, answer.slug) == (401, "unauthenticated")


def test_public_routes_do_not_look(ada):
    assert ada.as_user("bad").get("/v1/products").status == 200


def test_admin_by_signature_only(ada, forger):
    """Sanity of the model: who holds the key is who decides, so the key must be private."""
    as_admin = ada.as_user(forger.token(role="admin"))
    assert as_admin.get("/v1/users").status == 200
    assert ada.get("/v1/users").status == 403


def test_keys_are_private(suite):
    for name in ("signing/token.key", "admin-password", "admin-token", "cursor.key"):
        mode = (suite.home / "secrets" / name).stat().st_mode & 0o777
        assert mode == 0o600, name
    assert (suite.home / "secrets").stat().st_mode & 0o777 == 0o700
    assert (suite.home / "run").stat().st_mode & 0o077 == 0
    for path in (suite.home / "run").rglob("*.sock"):
        assert path.parent.stat().st_mode & 0o077 == 0, path
