# SPDX-License-Identifier: MIT
# A client of the HTTP API, as thin as can be: one keep-alive connection, JSON in and out, no
# retries. A test that wants to see what a retry does makes it itself.
import http.client
import json
import secrets
import select
import urllib.parse

import msgpack

MERGE_PATCH = "application/merge-patch+json"
MSGPACK = "application/vnd.msgpack"
TIMEOUT_S = (
    30  # far above every deadline of the gateway: a client must never wait for longer than that
)


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def msgpack(self):
        return msgpack.unpackb(self.body)

    @property
    def etag(self):
        return self.headers["ETag"]

    @property
    def slug(self):
        """Which problem this is; None when it is none."""
        if self.headers.get_content_type() != "application/problem+json":
            return None
        return self.json()["type"].rsplit("/", 1)[-1]

    def __repr__(self):
        return f"{self.status} {self.body[:500]!r}"


class Client:
    def __init__(self, port, token=None, host="127.0.0.1"):
        self.host, self.port = host, port
        self.token = token
        self.connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

    def as_user(self, token):
        """Another client of the same gateway, with this token (None: nobody)."""
        return Client(self.port, token, self.host)

    def request(self, method, path, body=None, headers=None, query=None, **named):
        """body: None, bytes as they are, or what JSON can say. named: headers, if_match for If-Match."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        fields = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            fields["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        for name, value in {**(headers or {}), **named}.items():
            fields[name.replace("_", "-").title()] = value
        if self.connection.sock and select.select([self.connection.sock], [], [], 0)[0]:
            self.connection.close()  # the other side closed it while it was idle
        try:
            self.connection.request(
                method, path, body, {k: v for k, v in fields.items() if v is not None}
            )
            response = self.connection.getresponse()
            return Answer(response, response.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()  # the next request begins a new one
            raise

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.request("POST", path, body, **options)

    def patch(self, path, body, **options):
        return self.request("PATCH", path, body, **options)

    def delete(self, path, **options):
        return self.request("DELETE", path, **options)

    def close(self):
        self.connection.close()

    # --- What many tests do

    def order(self, items, key=None, **options):
        """POST /v1/orders; items is {sku: quantity}. A new key unless one is given."""
        body = {"items": [{"sku": sku, "quantity": quantity} for sku, quantity in items.items()]}
        return self.post("/v1/orders", body, idempotency_key=key or new_key(), **options)

    def pages(self, path, **query):
        """All items of a list, page by page."""
        seen = set()
        while True:
            answer = self.get(path, query=query)
            assert answer.status == 200, answer
            page = answer.json()
            yield from page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return
            assert cursor not in seen, "the cursor does not move"
            seen.add(cursor)
            query["cursor"] = cursor


def new_key():
    """A fresh Idempotency-Key, quoted as RFC 9651 wants a string."""
    return f'"{secrets.token_hex(12)}"'
