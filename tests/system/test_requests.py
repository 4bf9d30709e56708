# SPDX-License-Identifier: MIT
# Requests that two readers could read differently, and other bytes that no client of good will
# sends, against the real gateway with real workers: each gets exactly one answer and a closed
# connection, and no worker ever hears of it. Behind each stands a second request, smuggled in,
# which must not be answered either. What only looks odd is served.
import pytest
import request_cases
from wire import Wire, exchange

GET = b"GET /v1/products HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /v1/search?q=smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def handled(suite):
    """Requests that reached workers, by the workers' own count."""
    total = 0
    for service in ("users", "orders", "search"):
        for instance in suite.instances(service):
            total += sum(
                value
                for name, value in suite.metrics(instance).items()
                if "request" in name and name.split("{")[0].endswith("_count")
            )
    return total


def is_head(data):
    return data.lstrip(b"\r\n").startswith(b"HEAD ")


def refusal_of(port, data):
    """The status of the only answer, or what was wrong."""
    with Wire(port) as wire:
        wire.send(data + SMUGGLED)
        answer = wire.read_answer(head_only=is_head(data))
        if answer is None:
            return "no answer"
        status, headers, body = answer
        if headers.get("connection") != "close":
            return f"{status} without Connection: close"
        if headers["content-type"] != "application/problem+json" or b"\r" in body:
            return f"{status} that is no problem: {body}"
        if headers.get("x-content-type-options") != "nosniff" or "server" in headers:
            return f"{status} with other fields than all answers: {headers}"
        rest = wire.read_end()
        return f"{status} and more: {rest}" if rest else status


def test_workers_count_requests(suite, api):
    """Else the tests below could not see that one reached a worker."""
    before = handled(suite)
    api.get("/v1/products")
    assert handled(suite) == before + 1


def test_malformed(suite):
    cases = request_cases.read("malformed")
    assert len(cases) >= 300
    before, wrong = handled(suite), {}
    for case in cases:
        outcome = refusal_of(suite.port, case.bytes)
        if outcome != case.status:
            wrong[case.name] = outcome
    assert not wrong, "\n".join(f"{name}: {outcome}" for name, outcome in wrong.items())
    assert handled(suite) == before, "something malformed reached a worker"


def outcome_of(port, case):
    """The status of the only answer, and whether the connection is kept after it."""
    with Wire(port) as wire:
        wire.send(case.bytes)
        answer = wire.read_answer(head_only=is_head(case.bytes))
        while answer and answer[0] == 100:
            answer = wire.read_answer()
        status, headers, _ = answer
        if headers.get("connection") == "close":
            rest = wire.read_end()
            return (status, False) if not rest else f"{status} and more: {rest}"
        return status, wire.is_open()


def test_wellformed(suite):
    cases = request_cases.read("wellformed")
    assert len(cases) >= 40
    wrong = {}
    for case in cases:
        outcome = outcome_of(suite.port, case)
        if outcome != (case.status, case.keep):
            wrong[case.name] = outcome
    assert not wrong, "\n".join(f"{name}: {outcome}" for name, outcome in wrong.items())


class TestPipelining:
    def test_a_bad_one_behind_a_good_one(self, suite):
        """For each kind: the good one is answered, the bad one is, the smuggled one is not."""
        cases = request_cases.read("malformed")[::7]
        wrong = {}
        for case in cases:
            if is_head(case.bytes) or case.bytes.startswith((b"\r", b"\n")):
                continue  # an empty line between two requests is fine
            answers = exchange(suite.port, GET + b"\r\n" + case.bytes + SMUGGLED)
            statuses = [answer[0] for answer in answers]
            if statuses != [200, case.status]:
                wrong[case.name] = statuses
        assert not wrong, wrong

    def test_good_ones_in_order(self, suite):
        cases = [case for case in request_cases.read("wellformed") if case.keep]
        cases = [case for case in cases if b"xpect" not in case.bytes]
        with Wire(suite.port) as wire:
            wire.send(b"".join(case.bytes for case in cases))
            for case in cases:
                answer = wire.read_answer(head_only=is_head(case.bytes))
                assert answer and answer[0] == case.status, (case.name, answer)
            assert wire.is_open()

    def test_byte_by_byte(self, suite):
        with Wire(suite.port) as wire:
            for byte in POST + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n":
                wire.send(bytes([byte]))
            assert wire.read_answer()[0] == 422
            assert wire.is_open()

    def test_nothing_is_answered_behind_close(self, suite):
        answers = exchange(suite.port, GET + b"Connection: close\r\n\r\n" + SMUGGLED)
        assert [answer[0] for answer in answers] == [200]


# What reads one way to one who goes by the length, and another way to one who goes by the chunks.
PAIRS = {
    "length says more": (b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
    "length says less": (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", b"0\r\n\r\n"),
    "the second length": (b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n", b""),
    "the first length": (b"Content-Length: %d\r\nContent-Length: 0\r\n\r\n", b""),
    "hidden by a tab": (b"Content-Length: %d\r\nTransfer-Encoding\t: chunked\r\n\r\n", b"0\r\n\r\n"),
    "hidden by a line end": (b"Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
    "hidden by a fold": (b"Content-Length: 5\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
    "a size of 64 bits": (b"Transfer-Encoding: chunked\r\n\r\n", b"10000000000000000\r\n\r\n"),
    "an extension with a line end": (b"Transfer-Encoding: chunked\r\n\r\n", b"2;x\n{}\r\n0\r\n\r\n"),
    "a coding in HTTP/1.0": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
}


@pytest.mark.parametrize("fields,body", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_smuggling(suite, fields, body, version):
    before = handled(suite)
    head = POST.replace(b"HTTP/1.1", version) + fields.replace(b"%d", b"%d" % len(SMUGGLED))
    answers = exchange(suite.port, head + body + SMUGGLED)
    assert [answer[0] for answer in answers] == [400]
    assert answers[0][1]["connection"] == "close"
    assert handled(suite) == before


def test_request_in_a_body_is_a_body(suite):
    before = handled(suite)
    with Wire(suite.port) as wire:
        wire.send(GET + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED)
        assert wire.read_answer()[0] == 400  # this route takes none
        assert wire.is_open()
    assert handled(suite) == before


class TestExpect:
    def test_body_is_asked_for(self, suite):
        with Wire(suite.port) as wire:
            wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert wire.read_answer()[0] == 100
            wire.send(b"{}")
            assert wire.read_answer()[0] == 422
            assert wire.is_open()

    @pytest.mark.parametrize(
        "fields,status",
        [
            (b"Content-Length: 1048577\r\n", 413),
            (b"Content-Length: 2\r\nContent-Encoding: gzip\r\n", 415),
            (b"Content-Length: 2\r\nAccept: text/html\r\n", 406),
        ],
    )
    def test_body_is_not_asked_for(self, suite, fields, status):
        """One answer, and it is the last."""
        answers = exchange(suite.port, POST + b"Expect: 100-continue\r\n" + fields + b"\r\n")
        assert [answer[0] for answer in answers] == [status]
        assert answers[0][1]["connection"] == "close"


def test_trailers_are_not_fields(suite, ada):
    """An Authorization behind the body is not one."""
    with Wire(suite.port) as wire:
        wire.send(
            POST.replace(b"/v1/users", b"/v1/orders")
            + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
            + b"Authorization: Bearer "
            + ada.token.encode()
            + b"\r\n\r\n"
        )
        assert wire.read_answer()[0] == 401


class TestRepeatedFields:
    """Lines of one field are one list (RFC 9110 section 5.3)."""

    def answer(self, suite, fields, target=b"/v1/products"):
        with Wire(suite.port) as wire:
            wire.send(GET.replace(b"/v1/products", target) + fields + b"\r\n")
            return wire.read_answer()

    def test_accept(self, suite):
        lines = b"Accept: text/html\r\nAccept: application/vnd.msgpack\r\n"
        status, headers, _ = self.answer(suite, lines)
        assert (status, headers["content-type"]) == (200, "application/vnd.msgpack")

    def test_none_match_of_the_gateway(self, suite):
        """Its own documents: the second line counts."""
        etag = self.answer(suite, b"", b"/openapi.json")[1]["etag"].encode()
        lines = b'If-None-Match: "other"\r\nIf-None-Match: ' + etag + b"\r\n"
        assert self.answer(suite, lines, b"/openapi.json")[0] == 304

    def test_none_match_of_a_worker(self, suite, new_product):
        target = b"/v1/products/" + new_product()["sku"].encode()
        etag = self.answer(suite, b"", target)[1]["etag"].encode()
        lines = b'If-None-Match: "other"\r\nif-none-match: ' + etag + b"\r\n"
        assert self.answer(suite, lines, target)[0] == 304
        accept = b"Accept: application/vnd.msgpack\r\n"
        etag = self.answer(suite, accept, target)[1]["etag"].encode()
        lines = b'If-None-Match: "other"\r\nif-none-match: ' + etag + b"\r\n"
        assert self.answer(suite, accept + lines, target)[0] == 304

    def test_match_of_a_worker(self, suite, admin, new_product):
        sku = new_product()["sku"].encode()
        etag = self.answer(suite, b"", b"/v1/products/" + sku)[1]["etag"].encode()
        body = b'{"stock": 7}'
        head = (
            b"PATCH /v1/products/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (sku, len(body))
            + b"Content-Type: application/merge-patch+json\r\n"
            + b"Authorization: Bearer %s\r\n" % admin.token.encode()
        )
        for lines, status in [
            (b'If-Match: "a"\r\nIf-Match: "b"\r\n', 412),
            (b'If-Match: "a"\r\nIf-Match: %s\r\n' % etag, 200),
        ]:
            with Wire(suite.port) as wire:
                wire.send(head + lines + b"\r\n" + body)
                assert wire.read_answer()[0] == status
