# SPDX-License-Identifier: MIT
# HTTP as bytes, for what no well-behaved client sends. Nothing here parses more than it must, and
# nothing waits for longer than TIMEOUT_S.
import socket

TIMEOUT_S = 15


class Wire:
    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read_answer(self, head_only=False):
        """(status, {name: value}, body) of the next answer; None when the connection ends."""
        while b"\r\n\r\n" not in self.rest:
            if not self._more():
                assert not self.rest, f"the connection ended inside an answer: {self.rest!r}"
                return None
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        status_line, *lines = head.decode("latin-1").split("\r\n")
        assert status_line.startswith("HTTP/1.1 "), status_line
        headers = {}
        for line in lines:
            name, value = line.split(":", 1)
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        status = int(status_line.split()[1])
        length = (
            0
            if head_only or status in (204, 304) or status < 200
            else int(headers["content-length"])
        )
        while len(self.rest) < length:
            assert self._more(), "the connection ended inside a body"
        body, self.rest = self.rest[:length], self.rest[length:]
        return status, headers, body

    def _more(self):
        try:
            chunk = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.rest += chunk
        return bool(chunk)

    def read_end(self):
        """Everything until the other side closes; TimeoutError when it does not."""
        self.socket.settimeout(TIMEOUT_S)
        while self._more():
            pass
        end, self.rest = self.rest, b""
        return end

    def is_open(self):
        """Whether another request is answered."""
        try:
            self.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = self.read_answer()
        except (BrokenPipeError, ConnectionResetError):
            return False
        return answer is not None and answer[0] == 200


def exchange(port, data):
    """Sends bytes on a new connection; returns all answers until the other side closes it."""
    answers = []
    with Wire(port) as wire:
        wire.send(data)
        while answer := wire.read_answer():
            answers.append(answer)
    return answers
