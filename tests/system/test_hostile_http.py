# SPDX-License-Identifier: MIT
# Requests that two readers could read differently, and other bytes that no client of good will
# sends. Each gets exactly one answer of 4xx or 5xx and a closed connection, and no worker ever
# hears of it: behind each stands a second request, smuggled in, which must not be answered either.
import pytest
from wire import TIMEOUT_S, Wire, drip, exchange

GET = b"GET /v1/products HTTP/1.1\r\n"
HOST = b"Host: x\r\n"
POST = b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /v1/search?q=smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
END = b"\r\n"


def chunked(body, coding=b"chunked", name=b"Transfer-Encoding"):
    return POST + name + b": " + coding + b"\r\n\r\n" + body


def length(value, body=b"{}"):
    return POST + b"Content-Length: " + value + b"\r\n\r\n" + body


CORPUS = {
    # Request line (RFC 9112 section 3)
    "no version": b"GET /v1/products\r\n" + HOST + END,
    "HTTP/0.9": b"GET /v1/products HTTP/0.9\r\n" + HOST + END,
    "HTTP/2.0": b"GET /v1/products HTTP/2.0\r\n" + HOST + END,
    "HTTP/1.2": b"GET /v1/products HTTP/1.2\r\n" + HOST + END,
    "HTTP/1.10": b"GET /v1/products HTTP/1.10\r\n" + HOST + END,
    "http/1.1": b"GET /v1/products http/1.1\r\n" + HOST + END,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "RTSP": b"GET /v1/products RTSP/1.0\r\n" + HOST + END,
    "two blanks after the method": b"GET  /v1/products HTTP/1.1\r\n" + HOST + END,
    "two blanks before the version": b"GET /v1/products  HTTP/1.1\r\n" + HOST + END,
    "blank in the target": b"GET /v1/pro ducts HTTP/1.1\r\n" + HOST + END,
    "tab instead of a blank": b"GET\t/v1/products\tHTTP/1.1\r\n" + HOST + END,
    "blank at the end of the line": b"GET /v1/products HTTP/1.1 \r\n" + HOST + END,
    "blank before the method": b" GET /v1/products HTTP/1.1\r\n" + HOST + END,
    "bare LF after the line": b"GET /v1/products HTTP/1.1\n" + HOST + END,
    "bare CR in the line": b"GET /v1/products\rX HTTP/1.1\r\n" + HOST + END,
    "NUL in the line": b"GET /v1/products\x00 HTTP/1.1\r\n" + HOST + END,
    "lower-case method": b"get /v1/products HTTP/1.1\r\n" + HOST + END,
    "asterisk with GET": b"GET * HTTP/1.1\r\n" + HOST + END,
    "target without a slash": b"GET v1/products HTTP/1.1\r\n" + HOST + END,
    "fragment": b"GET /v1/products#x HTTP/1.1\r\n" + HOST + END,
    "raw UTF-8 in the target": b"GET /v1/products/\xc3\xa4 HTTP/1.1\r\n" + HOST + END,
    "CONNECT": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
    "TRACE": b"TRACE /v1/products HTTP/1.1\r\n" + HOST + END,
    "TLS client hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100,
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "five blank lines": b"\r\n" * 5 + GET + HOST + END,
    # Host (section 3.2)
    "no Host": GET + END,
    "two Hosts": GET + b"Host: x\r\nHost: y\r\n\r\n",
    "two equal Hosts": GET + HOST + HOST + END,
    "Host with a comma": GET + b"Host: x, y\r\n\r\n",
    "Host with a path": GET + b"Host: x/y\r\n\r\n",
    "Host with user": GET + b"Host: user@x\r\n\r\n",
    "Host with a blank": GET + b"Host: x y\r\n\r\n",
    "Host with a bad port": GET + b"Host: x:port\r\n\r\n",
    "Host with a port too high": GET + b"Host: x:65536\r\n\r\n",
    "Host, half an IPv6": GET + b"Host: [::1\r\n\r\n",
    "Host with raw bytes": GET + b"Host: \xff\r\n\r\n",
    # Fields (section 5)
    "blank before the colon": GET + b"Host : x\r\n\r\n",
    "tab before the colon": GET + HOST + b"X-A\t: b\r\n\r\n",
    "blank before the first field": GET + b" Host: x\r\n\r\n",
    "folded field": GET + HOST + b"X-A: b\r\n c\r\n\r\n",
    "folded with a tab": GET + HOST + b"X-A: b\r\n\tc\r\n\r\n",
    "no name": GET + HOST + b": b\r\n\r\n",
    "no colon": GET + HOST + b"X-A\r\n\r\n",
    "blank in the name": GET + HOST + b"X A: b\r\n\r\n",
    "control character in the name": GET + HOST + b"X\x01A: b\r\n\r\n",
    "raw bytes in the name": GET + HOST + b"X\xc3\xa4: b\r\n\r\n",
    "NUL in a value": GET + HOST + b"X-A: b\x00c\r\n\r\n",
    "control character in a value": GET + HOST + b"X-A: b\x01c\r\n\r\n",
    "bare CR in a value": GET + HOST + b"X-A: b\rX-B: c\r\n\r\n",
    "bare LF after a field": GET + HOST + b"X-A: b\nX-B: c\r\n\r\n",
    "bare LF at the end of the head": GET + HOST + b"X-A: b\r\n\n",
    "CR CR LF": GET + HOST + b"X-A: b\r\r\n\r\n",
    "two Authorizations": GET
    + HOST
    + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "two Content-Types": POST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
    # Content-Length (section 6.2)
    "length negative": length(b"-1"),
    "length with a plus": length(b"+2"),
    "length in hexadecimal": length(b"0x2"),
    "length with a comma": length(b"2, 2"),
    "length with two values": length(b"2, 3"),
    "length with a blank inside": length(b"2 2"),
    "length empty": length(b""),
    "length with a letter": length(b"2a"),
    "length over 64 bits": length(b"18446744073709551618"),
    "length of a hundred digits": length(b"9" * 100),
    "length as a decimal": length(b"2.0"),
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two equal lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    # Transfer-Encoding (sections 6.1 and 7)
    "length and chunked": POST
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": chunked(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "coding twice": chunked(b"0\r\n\r\n", b"chunked\r\nTransfer-Encoding: chunked"),
    "chunked, chunked": chunked(b"0\r\n\r\n", b"chunked, chunked"),
    "coding unknown": chunked(b"0\r\n\r\n", b"xchunked"),
    "coding identity": chunked(b"{}", b"identity"),
    "gzip, chunked": chunked(b"0\r\n\r\n", b"gzip, chunked"),
    "chunked, gzip": chunked(b"0\r\n\r\n", b"chunked, gzip"),
    "coding empty": chunked(b"0\r\n\r\n", b""),
    "coding in quotes": chunked(b"0\r\n\r\n", b'"chunked"'),
    "coding with a vertical tab": chunked(b"0\r\n\r\n", b"\x0bchunked"),
    "coding with a parameter": chunked(b"0\r\n\r\n", b"chunked;x=1"),
    "coding folded": chunked(b"0\r\n\r\n", b"\r\n chunked"),
    "coding, blank before the colon": chunked(b"0\r\n\r\n", name=b"Transfer-Encoding "),
    "chunk size over 64 bits": chunked(b"10000000000000002\r\n{}\r\n0\r\n\r\n"),
    "chunk size of a hundred digits": chunked(b"f" * 100 + b"\r\n{}"),
    "chunk size negative": chunked(b"-2\r\n{}\r\n0\r\n\r\n"),
    "chunk size with a plus": chunked(b"+2\r\n{}\r\n0\r\n\r\n"),
    "chunk size with 0x": chunked(b"0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk size with a blank before": chunked(b" 2\r\n{}\r\n0\r\n\r\n"),
    "chunk size empty": chunked(b"\r\n{}\r\n0\r\n\r\n"),
    "chunk size with an underscore": chunked(b"1_0\r\n{}\r\n0\r\n\r\n"),
    "chunk size ended by LF": chunked(b"2\n{}\r\n0\r\n\r\n"),
    "chunk too short for its data": chunked(b"1\r\n{}\r\n0\r\n\r\n"),
    "chunk data without its end": chunked(b"2\r\n{}0\r\n\r\n"),
    "chunk data ended by LF": chunked(b"2\r\n{}\n0\r\n\r\n"),
    "chunk extension without end": chunked(b"2;" + b"x" * 4000 + b"\r\n{}\r\n0\r\n\r\n"),
    "chunk extension with LF": chunked(b"2;x\n{}\r\n0\r\n\r\n"),
    "trailer over the limit": chunked(b"2\r\n{}\r\n0\r\n" + b"X: " + b"y" * 5000 + b"\r\n\r\n"),
    "trailer folded": chunked(b"2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n"),
    "chunks of one byte without end": chunked(
        b"".join(b"1;" + b"x" * 200 + b"\r\n \r\n" for _ in range(200))
    ),
    # Limits
    "line of 9000 bytes": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + END,
    "line without end": b"GET /" + b"x" * 20000,
    "method without end": b"G" * 20000,
    "field of 20000 bytes": GET + HOST + b"X: " + b"y" * 20000 + b"\r\n\r\n",
    "fields without end": GET + HOST + b"X: y\r\n" * 4000,
    "500 fields": GET + HOST + b"".join(b"X-%d: y\r\n" % i for i in range(500)) + END,
}


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


def test_workers_count_requests(suite, api):
    """Else the test below could not see that one reached a worker."""
    before = handled(suite)
    api.get("/v1/products")
    assert handled(suite) == before + 1


@pytest.mark.parametrize("data", CORPUS.values(), ids=CORPUS.keys())
def test_one_refusal_and_the_end(suite, data):
    before = handled(suite)
    answers = exchange(suite.port, data + SMUGGLED)
    assert len(answers) == 1, [answer[0] for answer in answers]
    status, headers, body = answers[0]
    assert 400 <= status < 600 and status not in (500, 502, 504), (status, body)
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json" and b"\r" not in body
    assert handled(suite) == before


# What looks odd but is allowed: the other side of being strict.
ALLOWED = {
    "absolute form": b"GET http://x/v1/products HTTP/1.1\r\n" + HOST + END,
    "absolute form of another host": b"GET http://other.example:81/v1/products HTTP/1.1\r\n"
    + HOST
    + END,
    "Host empty": GET + b"Host: \r\n\r\n",
    "Host with a port": GET + b"Host: x.example:8080\r\n\r\n",
    "Host IPv6": GET + b"Host: [::1]:80\r\n\r\n",
    "one blank line before": b"\r\n" + GET + HOST + END,
    "tabs around a value": GET + b"Host:\tx\t\r\n\r\n",
    "no blank after the colon": GET + b"Host:x\r\n\r\n",
    "empty value": GET + HOST + b"X-A:\r\n\r\n",
    "Upgrade that is ignored": GET + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "raw bytes in a value": GET + HOST + b"X-A: \xc3\xa4\r\n\r\n",
    "length zero with GET": GET + HOST + b"Content-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("data", ALLOWED.values(), ids=ALLOWED.keys())
def test_odd_but_allowed(suite, data):
    with Wire(suite.port) as wire:
        wire.send(data)
        assert wire.read_answer()[0] in (200, 400)


CHUNKS = {
    "one": b"2\r\n{}\r\n0\r\n\r\n",
    "leading zeros": b"0002\r\n{}\r\n00\r\n\r\n",
    "many": b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    "extension": b"2;a=b\r\n{}\r\n0\r\n\r\n",
    "trailer": b"2\r\n{}\r\n0\r\nX: y\r\n\r\n",
    "capital digits": b"A\r\n{        }\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
def test_chunks_of_good_will(suite, body):
    with Wire(suite.port) as wire:
        wire.send(chunked(body))
        assert wire.read_answer()[0] == 422  # understood: {} lacks fields
        assert wire.is_open()


def test_trailers_are_not_fields(suite, ada):
    """An Authorization behind the body is not one."""
    with Wire(suite.port) as wire:
        wire.send(
            b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
            b"2\r\n{}\r\n0\r\nAuthorization: Bearer " + ada.token.encode() + b"\r\n\r\n"
        )
        assert wire.read_answer()[0] == 401


class TestSlowClients:
    def test_head_has_a_deadline(self, suite):
        with Wire(suite.port) as wire:
            wire.socket.settimeout(TIMEOUT_S)
            wire.send(GET + HOST)
            status, headers, _ = wire.read_answer()
            assert (status, headers["connection"]) == (408, "close")
            assert wire.read_end() == b""

    def test_dripping_does_not_extend_it(self, suite):
        """One byte now and then, for longer than the deadline: cut off, not served."""
        with Wire(suite.port) as wire:
            try:
                drip(wire, GET + HOST + b"X-Slow: " + b"y" * 100, 12)
                status = wire.read_answer()[0]
            except (BrokenPipeError, ConnectionResetError):
                status = 408
            assert status == 408

    def test_many_idle_connections_hinder_nobody(self, suite, ada):
        idle = [Wire(suite.port) for _ in range(200)]
        try:
            for wire in idle:
                wire.send(b"GET /v1")
            for _ in range(20):
                assert ada.get("/v1/users/me").status == 200
        finally:
            for wire in idle:
                wire.socket.close()

    def test_clients_that_vanish_hinder_nobody(self, suite, ada):
        for cut in range(1, 120, 7):
            request = (
                POST
                + b"Content-Length: 50\r\n\r\n"
                + b'{"email": "x@example.com", "password": "longenough"'
            )
            with Wire(suite.port) as wire:
                wire.send(request[:cut])
        for _ in range(30):
            with Wire(suite.port) as wire:
                wire.send(
                    b"GET /v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                    + ada.token.encode()
                    + b"\r\n\r\n"
                )
        assert ada.get("/v1/users/me").status == 200
