# SPDX-License-Identifier: MIT
# The load generator (tests/load) sees what it is there to see: here, a server that answers a request twice.
import socketserver
import threading
import time

import pytest
from loadgen import generate

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server(socketserver.ThreadingTCPServer):
    """Answers each request `times` times, with so many seconds between."""

    daemon_threads = True

    def __init__(self, times, pause_s):
        server = self
        self.times, self.pause_s = times, pause_s

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while line := self.rfile.readline():
                    if line != b"\r\n":
                        continue
                    for number in range(server.times):
                        if number:
                            time.sleep(server.pause_s)
                        try:
                            self.wfile.write(ANSWER if server.pause_s else ANSWER * server.times)
                        except OSError:
                            return
                        if not server.pause_s:
                            break

        super().__init__(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.serve_forever).start()
        return super().__enter__()

    def __exit__(self, *error):
        self.shutdown()
        super().__exit__(*error)


def load(server):
    port = server.server_address[1]
    return generate(port, {"get": "GET / unlisted"}, [("all", 1, {"get": 20})], connections=20)


def test_one_answer_each():
    with Server(1, 0) as server:
        cell = load(server).cell("all", "get")
        assert cell["good"] == cell["planned"] > 0


@pytest.mark.parametrize("pause_s", [0, 0.05])
def test_a_second_answer_is_seen(pause_s):
    """At once behind the first, or later, on a connection that is used no more."""
    with Server(2, pause_s) as server, pytest.raises(AssertionError, match="answered twice"):
        load(server)
