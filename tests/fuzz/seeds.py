#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Writes the seeds of the fuzz drivers: one small right input of each kind, as NAME.seed in
# tests/fuzz/corpus/DRIVER. What fuzzing found stands beside them under the names that libFuzzer
# gives (tests/fuzz/run --minimise).
#
# The drivers put right checksums into the log's frames themselves (their modes say so).
import base64
import json
import pathlib
import re
import struct
import sys

import msgpack

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
sys.path.append(str(CORPUS.parents[1] / "system"))
import request_cases  # noqa: E402
DATA = {
    "id": "o1",
    "total": {"amount": 1500, "currency": "EUR"},
    "rate": 0.5,
    "big": 2**64 - 1,
    "low": -(2**63),
    "paid": True,
    "open": False,
    "none": None,
    "tags": ["new", "gift", 7, 2.5, None, [1]],
    "lines": [{"sku": "A-1", "n": 2}, {"sku": "B-2", "n": 1}],
    "odd name": {"a.b": 1, "": 2},
    "at": "2026-11-23T11:00:00+01:00",
    "raw": b"\0\1",
}

# --- The filter language: text, NUL, mode, data or event

FILTERS = [
    ".data.total.amount > 1000",
    '.data.total.amount > 1000 and (.topic starts "orders." or not exists .subject)',
    '.topic == "orders.order.placed" and .type != "x"',
    '.key in ["a", "k"] or .partitionkey ends "k"',
    '.time >= "2026-11-23T10:00:00Z" and .stored_at < "2026-11-23T12:00:00+01:00"',
    '.time == .data.at or .time in ["2026-11-23T10:00:00Z"]',
    '.data.tags contains "gift" and .data.tags contains 7.0',
    '.data.lines[1].sku == "B-2" and .data.lines[0].n <= 2',
    '.data."odd name"."a.b" == 1 and .data."\\u00fc\\ud83d\\ude00\\n" != 0',
    ".data.big == 18446744073709551615 and .data.low == -9223372036854775808",
    ".data.big < 18446744073709551616.0 and .data.rate >= 5e-1",
    ".data.paid and not .data.open and .data.none == null and .data.paid == true",
    "exists .data and exists .seq and .seq < 5 and exists .traceparent or exists .source",
    ".data[0] == 1 or .data[0][1].a == false or .id contains .data.id",
    "not not (((.data.a == .data.b)))",
    '.data.raw == "x" or .data.total == .data.tags',
    ".data.amount >",
    ".time > 5",
    '.key == "\\ud800"',
]


def event(data, topic="orders.order.placed", key="k", more=()):
    raw = None if data is None else msgpack.packb(data)
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    fields = ["01908c3e-7b2a-7c11-9d2e-0123456789ab", topic, key, "s", "/sluice/orders"]
    return msgpack.packb([*fields, 1795428000000, trace, raw, *more])


def where_seeds():
    for number, text in enumerate(FILTERS):
        yield f"data-{number}", text.encode() + b"\0\0" + msgpack.packb(DATA)
        yield f"event-{number}", text.encode() + b"\0\1" + event(DATA)
    text = b'.data.a[1] == 2 and .data[2].b == 1 or .data.a == "x"\0\0'
    values = [{"a": [1, 2]}, [0, 1, {"b": 1}], {"a": "x", 5: 6}, [[[[[[]]]]]], 1.5, None, {}]
    for number, value in enumerate(values):
        yield f"value-{number}", text + msgpack.packb(value)
    lists = {"a": [1, 2, 3, {"b": 4}]}
    for number, path in enumerate([".data.a[2] == 3", ".data.a[0] == 1", ".data.a[3].b == 4"]):
        yield f"index-{number}", path.encode() + b"\0\0" + msgpack.packb(lists)
    # Just within the limits, and over them.
    for number in (126, 127, 128, 136):
        yield f"list-{number}", b".key in [" + b",".join([b"1"] * number) + b"]"
        yield f"chain-{number}", b" or ".join([b".id"] * (number // 2))
        yield f"places-{number}", b" or ".join(b".data[%d]" % i for i in range(number // 2))
    for number in (16, 17):
        yield f"nested-{number}", b"(" * number + b".key" + b")" * number
        yield f"path-{number}", b".data" + b".a" * number
    yield "twice", text + b"\x82\xa1a\x91\x01\xa1a\x92\x01\x02"
    yield "cut", text + msgpack.packb(DATA)[:-9]


# --- The wire messages: mode, frame or event


def frame_seeds():
    one = event(DATA)
    options = {
        "filters": ["a.*", "x.>"],
        "key": "k",
        "where": ".seq > 1",
        "from": "seq",
        "value": 7,
        "until_seq": 9,
        "until_ms": 10,
        "follow": True,
        "later": [1],
    }
    frames = {
        "publish": [32, 1, "producer", [[1, one], [2, event(None)]]],
        "publish-alone": [32, 1, None, [[0, one]]],
        "publish-empty": [32, 1, "producer", []],
        "published": [33, 1, 2, 3, 4, 5, 6, True],
        "subscribe": [34, 1, options, 100],
        "subscribe-topics": [34, 1, {"filters": ["a.b.c", "*.b.c", "a.>", ">", "*"]}, 1],
        "subscribe-plain": [34, 1, {}, 1],
        "subscribe-most": [34, 1, {"filters": ["a"] * 16}, 1],
        "subscribe-too-many": [34, 1, {"filters": ["a"] * 17}, 1],
        "publish-too-many": [32, 1, None, [[0, b""]] * 1025],
        "events-too-many": [35, 1, [[5, 6, b""]] * 1025],
        "events": [35, 1, [[5, 1795428000000, one], [6, 1795428000001, event(None)]]],
        "events-empty": [35, 1, []],
        "caught-up": [36, 1, 7],
        "grant": [37, 1, 2**40],
        "unsubscribe": [38, 1, 0],
        "ended": [39, 1, 8, "until", ""],
        "info": [40, 1, 0],
        "info-reply": [41, 1, {"version": "1", "lost": [[1, 2]]}],
        "refused": [42, 1, 0, "malformed", "detail"],
        "ping": [43, 2**64 - 1, 0],
        "pong": [44, 7, 0],
        "lost": [45, 1, 2, 3],
        "longer": [36, 1, 7, "of", {"a": "newer"}, 1.5, b"peer"],
    }
    for name, frame in frames.items():
        yield name, b"\0" + msgpack.packb(frame)
    yield "event", b"\1" + one
    yield "event-bare", b"\1" + event(None, key="")
    yield "event-longer", b"\1" + event(1, more=["later", 2])


# --- The log: mode, salt, then a header, frames or a trailer (FORMAT.md)

STAMP, CHAIN, CHAINED, HEADER = 1, 2, 4, 8
SALT = b"salt"
EVENTS, CHECKPOINT, SEAL = 1, 2, 3


def record(kind, body):
    return struct.pack("<I", len(body) | kind << 24) + body


def frame(kind, first_seq, count, *records):
    payload = b"".join(records)
    length = (48 + len(payload) + 7) & ~7
    head = struct.pack(
        "<4sIIIIIqqII", b"SQF1", 0, 0, 0, length, len(payload), first_seq, 5, count, kind
    )
    return (head + payload).ljust(length, b"\0")


def header(first_seq):
    head = b"SLUICEQ1" + struct.pack("<II", 1, 8192) + bytes(range(16))
    return head + struct.pack("<QQI", first_seq, 5, 0) + SALT + bytes(8)


def log_seeds():
    producer = record(2, struct.pack("<QQ", 9, 5) + b"producer")
    checkpoint = frame(CHECKPOINT, 1, 0, producer)
    events = frame(EVENTS, 1, 2, record(1, b"one"), record(1, b"two"), producer)
    more = frame(EVENTS, 3, 1, record(1, event(1)))
    total = record(3, struct.pack("<QQQQQII", 1, 4, 3, 5, 5, 8300, 0))
    index = record(4, b"".join(struct.pack("<IIQQQ", 8192 + i, 0, 1, 5, 3) for i in (0, 64)))
    topic = record(5, struct.pack("<QQQ", 3, 3, 5) + b"a.b")
    lost = record(6, struct.pack("<QQ", 2, 2))
    seal = frame(SEAL, 4, 0, total, index, topic, lost)
    trailer = struct.pack("<Q4sI", 8300, b"SEAL", 0)
    whole = header(1) + checkpoint + events + more + seal + trailer
    chained = STAMP | CHAIN | CHAINED
    for name, mode, data in [
        ("whole", chained | HEADER, whole),
        ("frames", chained, checkpoint + events + more),
        ("open", chained, events + bytes(64)),
        ("torn", chained, events + more[:40] + bytes(64)),
        ("damage", STAMP, events + b"x" * 64 + more),
        ("damage-first", STAMP | CHAINED, b"x" * 16 + events + more),
        ("out-of-order", STAMP, more + events),
        ("inside", STAMP, frame(EVENTS, 1, 1, record(1, b"abcd" + events))),
        ("seal", STAMP, frame(SEAL, 1, 0, total, index, topic, lost)),
        ("header", STAMP | HEADER, header(1)),
        ("trailer", STAMP, trailer),
        ("unstamped", 0, whole[64:]),
        ("last", STAMP, frame(EVENTS, -1, 1, record(1, b"x"))),
    ]:
        yield name, bytes([mode]) + SALT + data


# --- Requests: mode, sizes of pieces, bytes

LARGEST_REQUEST = 1000  # what is about limits is too slow to fuzz
EVERY_MALFORMED = 8
SIZES = bytes([7, 1, 30])


def http_seeds():
    wellformed = request_cases.read("wellformed")
    malformed = request_cases.read("malformed")
    cases = wellformed + [
        case
        for number, case in enumerate(malformed)
        if number % EVERY_MALFORMED == 0 or "64 bits" in case.name
    ]
    for case in cases:
        if len(case.bytes) <= LARGEST_REQUEST:
            name = re.sub(r"[^a-z0-9]+", "-", case.name.lower()).strip("-")
            yield name, bytes([len(SIZES)]) + SIZES + case.bytes
    yield "pipelined", bytes([len(SIZES)]) + SIZES + b"".join(c.bytes for c in wellformed[:4])


# --- Bodies: mode, JSON or MessagePack

JSON = [
    '{"a":1,"b":[true,false,null],"c":{"d":"e"}}',
    '["\\u00fc\\ud83d\\ude00\\n\\"\\\\\\/", "ü😀"]',
    "[0,-0,-1,127,128,255,256,65535,65536,4294967296,18446744073709551615,18446744073709551616]",
    "[-32,-33,-128,-129,-32768,-32769,-9223372036854775808,-9223372036854775809]",
    "[0.5,-1.5e3,1e308,1E-5,1.0,0.0,-0.0,123456789012345678901234567890]",
    " \t\r\n[ ] ",
    '"text"',
    "17",
    "[" * 32 + "]" * 32,
    "[" * 33 + "]" * 33,
    '{"a":1,"a":2}',
    '{"a":1,}',
    "[1e999]",
    "[01]",
    '["\\ud800"]',
    "nul",
    "{} {}",
]


def body_seeds():
    for number, text in enumerate(JSON):
        yield f"json-{number}", b"\0" + text.encode()
    yield "json-bad-utf-8", b'\0["\xc3\x28"]'
    values = [DATA, [1, -1, 2**63, -(2**63)], {"a": {"b": [0.5, None, True]}}, "x" * 300, [[]] * 20]
    for number, value in enumerate(values):
        yield f"msgpack-{number}", b"\1" + msgpack.packb(value)
    yield "msgpack-not-finite", b"\1" + msgpack.packb([float("inf"), float("nan")])
    yield "msgpack-keys", b"\1\x81\x01\x02"
    yield "msgpack-extension", b"\1\xd4\x01\x00"
    yield "msgpack-cut", b"\1" + msgpack.packb(DATA)[:-3]


# --- Targets, and fields with lists: mode, text


def target_seeds():
    targets = [
        "/", "/v1/users/me", "/v1/orders?limit=5&cursor=a%2Bb", "/a%20b/%C3%BC?x=%F0%9F%A6%8A",
        "http://example.org:80/v1?q=1", "http://[::1]:8080/", "https://a%41.example/", "*",
        "/a/../b", "/a/%2e%2e/b", "/%00", "/%zz", "/a//b/", "/a?b#c", "/a\\b", "/?a&b=&=c&&d",
        "/" + "a/" * 20, "/?" + "&".join(f"q{i}={i}" for i in range(34)), "a.example:443", "//a/b",
    ]
    for number, text in enumerate(targets):
        yield f"target-{number}", b"\0" + text.encode()
    fields = [
        "application/json", "application/vnd.msgpack;q=0.9, */*;q=0.1", "text/html, application/*;q=0",
        'application/json; charset="utf-8"; a=b', '"1", W/"2-m", "3-m"', "*", "[2001:db8::1]:8080",
        "a.example", "127.0.0.1:65536", "application/msgpack ; q=1.000,application/json;q=0.001",
    ]
    for number, text in enumerate(fields):
        yield f"field-{number}", b"\1" + text.encode()


# --- Cursors: mode, text or what is sealed


def cursor_seeds():
    bound = bytes(16)
    positions = [
        [bound, "01908c3e-7b2a-7c11-9d2e-0123456789ab", 5, None, 0, None, 0],
        [bound, "a", -1, "b", 2**63 - 1, "", -(2**63)],
        [bound, "x" * 600, 1, None, 0, None, 0],
        [bytes(15), "a", 1, None, 0, None, 0],
        [bound, "a", 1, None, 0, None],
        [bound, 1, "a", None, 0, None, 0],
        [bound, "x" * 720, 1, None, 0, None, 0],
    ]
    for number, position in enumerate(positions):
        yield f"sealed-{number}", b"\1" + msgpack.packb(position)
        yield f"turned-{number}", bytes([40 * number + 3]) + msgpack.packb(position)
    for number, text in enumerate(["", "A" * 54, "A" * 80, "=" * 60, "A" * 1024]):
        yield f"text-{number}", b"\0" + text.encode()


# --- Gateway and workers: messages of frames


def worker_seeds():
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    route = {
        "method": "GET", "pattern": "/v1/things/{id}", "write": False, "keyed": False, "auth": 2,
        "body": 0, "deadline_ms": 0, "max_body_bytes": 0, "headers": ["if-none-match"],
        "operation": '{"operationId":"getThing"}', "sensitive": False, "internal": False,
    }
    problem = {"slug": "no-such", "status": 404, "title": "No such", "meaning": "It is not there."}
    hello = {
        "protocol": 1, "service": "things", "version": "1", "instance": "things-1", "role": 1,
        "capacity": 32, "heartbeat_ms": 250, "schema": "a1", "problems": [problem],
        "routes": [route, {**route, "method": "POST", "pattern": "/v1/things", "write": True, "body": 1}],
        "schemas": {"Thing": '{"type":"object"}'},
    }
    same = {**route, "pattern": "/v1/things/{other}"}
    errors = {"slug": "invalid-fields", "detail": "x", "errors": [{"pointer": "#/a", "detail": "y"}]}
    request = [6, 1, 1, 5000, trace, ["u", "user", "s"], 0, ["1"], [["q", "x"]], [["if-match", '"1"']], b"\x80"]
    frames = {
        "hello": [1, hello],
        "hello-newer": [1, {**hello, "later": [1]}, "more"],
        "hello-internal": [1, {**hello, "routes": [{**route, "internal": True}]}],
        "hello-twice": [1, {**hello, "routes": [route, same]}],
        "hello-bare": [1, {"protocol": 1, "service": "a", "instance": "b", "capacity": 1, "heartbeat_ms": 50}],
        "hello-bad-operation": [1, {**hello, "routes": [{**route, "operation": "{"}]}],
        "welcome": [2, "gateway-1", 250], "refused": [3, "malformed", "x"], "ready": [4, 32],
        "credit": [5, 0], "request": [*request, "127.0.0.1"], "request-older": request,
        "request-bare": [6, 1, 1, 0, "", None, 0, [], [], [], None],
        "reply": [7, 1, 200, [["etag", '"1"']], 1, 2, 3, msgpack.packb(DATA)],
        "reply-empty": [7, 1, 204, [], 0, 0, 0, None],
        "reply-problem": [7, 1, 422, [], 0, 0, 0, msgpack.packb(errors)],
        "cancel": [8, 1], "return": [9, 1, "draining"], "ping": [10, 2**64 - 1],
        "pong": [11, 1, 2, 3], "role": [12, 2], "draining": [13], "goodbye": [14],
    }
    for name, frame in frames.items():
        yield name, msgpack.packb(frame)
    yield "together", b"".join(msgpack.packb(frames[name]) for name in ("ping", "reply", "draining"))


# --- Access tokens: mode, then what the mode says (fuzz_token.c)

JOSE = {"alg": "EdDSA", "typ": "at+jwt", "kid": "k"}
TIMES = {"iat": 1799999990, "exp": 1800000900, "nbf": 1800000000, "jti": "j"}
OWN = {"iss": "sluice", "aud": "sluice", "sub": "u", "role": "user", "sid": "s", **TIMES}
THEIRS = {"iss": "https://id", "aud": ["a", "shop"], "sub": "x", **TIMES}
SECOND = "01a3185c-36f6-7abc-8def-0123456789ab"  # a UUIDv7 of 1799999993.590 s
X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # RFC 8037 appendix A.2


def token_seeds():
    def text(value):
        return value if isinstance(value, bytes) else json.dumps(value).encode()

    def part(value):
        return base64.urlsafe_b64encode(text(value)).rstrip(b"=")

    for name, header, claims in [
        ("own", JOSE, OWN),
        ("named", {**JOSE, "alg": "Ed25519", "typ": "application/at+jwt"}, OWN),
        ("issued", JOSE, {**OWN, "iat": 1799999993, "jti": SECOND}),
        ("audiences", JOSE, {**OWN, "aud": ["x", "sluice"]}),
        ("expired", JOSE, {**OWN, "exp": 1799999999}),
        ("float", JOSE, {**OWN, "exp": 1800000900.5}),
        ("critical", {**JOSE, "crit": ["b64"], "b64": False}, OWN),
        ("jwk", {**JOSE, "jwk": {"kty": "OKP"}}, OWN),
        ("list-alg", {**JOSE, "alg": [1] * 5}, {**OWN, "sub": ["u"]}),
        ("list-typ", {**JOSE, "typ": [1] * 6}, {**OWN, "iss": [1] * 6}),
        ("list-kid", {**JOSE, "kid": [1]}, {**OWN, "jti": [1] * 36}),
        ("none", {**JOSE, "alg": "none"}, OWN),
        ("kid", {**JOSE, "kid": "r"}, THEIRS),
        ("twice", JOSE, text(OWN)[:-1] + b', "role": "admin"}'),
        ("escaped", b'{"alg":"EdDSA","typ":"at+jwt","\\u006bid":"k"}', OWN),
        ("their-list", JOSE, {**THEIRS, "r": {"roles": ["x", "buyer", "boss"]}}),
        ("their-words", {**JOSE, "typ": "JWT"}, {**THEIRS, "r": {"roles": "x boss"}}),
        ("their-none", JOSE, {**THEIRS, "r": {"roles": [1, {}]}}),
        ("rs256", {**JOSE, "alg": "RS256", "kid": "r"}, {**THEIRS, "r": {"roles": "boss"}}),
        ("es256", {**JOSE, "alg": "ES256", "kid": "e"}, {**THEIRS, "r": {"roles": "boss"}}),
    ]:
        yield f"signed-{name}", b"\2" + text(header) + b"\0" + text(claims)
        signature = part(bytes(256 if name == "rs256" else 64))
        yield f"raw-{name}", b"\0" + b".".join([part(header), part(claims), signature])
    for good in range(4):
        yield f"edit-{good}", bytes([1, good]) + b"\0\5x" * good
    keys = [
        {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": X, "use": "sig", "exp": 2000000000},
        {"kty": "EC", "crv": "P-256", "kid": "b", "x": X, "y": X, "alg": "ES256"},
        {"kty": "RSA", "kid": "c", "e": "AQAB", "n": part(b"\xff" * 256).decode()},
    ]
    for number in range(1, 4):
        yield f"keys-{number}", b"\3" + text({"keys": keys[:number]})
    for member in ("kty", "crv", "kid", "x"):
        lists = {**keys[0], member: [1] * len(keys[0][member])}
        yield f"keys-list-{member}", b"\3" + text({"keys": [lists]})
    yield "keys-rsa", b"\3" + text({"keys": keys[2:]})


# --- Policy files: the documentation's example, and one mistake of each kind that the unit test has


def policy_seeds():
    page = (CORPUS.parents[2] / "docs/policy.md").read_text()
    yield "example", re.search(r"```json\n(.*?)```", page, re.DOTALL)[1].encode()
    yield "cors", b'{"cors":{"origins":["*"],"max_age":"10m","headers":["x-a"],"expose":["etag"]}}'
    yield "trace", b'{"trace":{"trust_inbound":true,"trust_request_id":["10.0.0.0/8","fd00::/8","1.2.3.4"]}}'
    yield "rewrite", b'{"rewrite":[{"from":"/api","to":"/"},{"from":"/api/v2","to":"/v1"}]}'
    edits = {"set": {"x-a": "b\u0009c"}, "remove": ["etag"], "rename": {"x-b": "x-c"}}
    rule = {"method": "POST", "path": "/v1/*", "request": {"headers": edits}, "response": {"headers": edits}}
    yield "edits", json.dumps({"routes": [rule]}).encode()
    mask = {"fields": ["a.b[].c", "email"], "unless_roles": ["admin", "staff"]}
    ends = {"deprecation": "2027-01-01", "sunset": "2027-07-01T12:00:00Z", "link": "https://a.example/x"}
    yield "mask", json.dumps({"routes": [{"path": "/", "mask": mask, "fields": True, **ends}]}).encode()
    cases = (CORPUS.parents[1] / "unit/test_policy_file.c").read_text()
    for number, text in enumerate(re.findall(r'^    \{ "((?:[^"\\]|\\.)*)",', cases, re.MULTILINE)):
        yield f"mistake-{number:02}", text.encode().decode("unicode_escape").encode("latin-1")


# --- The filter of members: paths, NUL, mode, value


def filter_seeds():
    page = {"items": [DATA, {"id": "o2"}], "next_cursor": "n"}
    data = {name: value for name, value in DATA.items() if name != "raw"}
    for name, paths, value in [
        ("plain", "id,total.amount", data),
        ("list", "lines[].sku,items.id", {**page, "items": [data]}),
        ("deep", "a.b.c.d.e.f.g.h,a.b", {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": 1}}}}}}}}),
        ("below", "tags.x,none.y,lines", data),
        ("none", "", data),
        ("no-paths", "a..b,[],x[,.", data),
        ("scalar", "a", 7),
        ("nested", "a", [[[{"a": 1, "b": 2}]]]),
    ]:
        yield name, paths.encode() + b"\0\0" + json.dumps(value).encode()
        yield f"{name}-packed", paths.encode() + b"\0\1" + msgpack.packb(value)
    yield "raw-packed", b"id,items.raw\0\1" + msgpack.packb(page)


def main():
    drivers = {
        "body": body_seeds,
        "filter": filter_seeds,
        "policy": policy_seeds,
        "target": target_seeds,
        "cursor": cursor_seeds,
        "worker": worker_seeds,
        "where": where_seeds,
        "frames": frame_seeds,
        "log": log_seeds,
        "http": http_seeds,
        "token": token_seeds,
    }
    for driver, seeds in drivers.items():
        folder = CORPUS / driver
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (folder / f"{name}.seed").write_bytes(data)


if __name__ == "__main__":
    main()
