# SPDX-License-Identifier: MIT
# A worker in Python, written from proto/PROTOCOL.md section 2 and nothing else: a guest book with two
# routes, and one that says which fields of the request it was shown.
#
#     python_worker.py GATEWAY_ENDPOINT [INSTANCE]
import json
import signal
import sys
import time

import msgpack
import zmq

# fmt: off
(HELLO, WELCOME, REFUSED, READY, CREDIT, REQUEST, REPLY, CANCEL, RETURN, PING, PONG, ROLE, DRAINING,
 GOODBYE, PADDING) = range(1, 16)
CAPACITY, HEARTBEAT_MS = 32, 250
MAX_BODY = 200  # bytes of a guest
DRAIN_S = 0.5  # a gateway that does not answer DRAINING is not waited for


def route(method, pattern, auth, body, name, status, headers=(), max_body_bytes=0):
    operation = {"operationId": name, "summary": name, "tags": ["guests"],
                 "responses": {str(status): {"description": "Done"}}}
    return {"method": method, "pattern": pattern, "write": method != "GET", "keyed": False,
            "auth": auth, "body": body, "deadline_ms": 0, "max_body_bytes": max_body_bytes,
            "headers": list(headers),
            "operation": json.dumps(operation)}


ROUTES = [route("GET", "/v1/guests/{number}", 0, 0, "getGuest", 200),
          route("POST", "/v1/guests", 2, 1, "addGuest", 201, max_body_bytes=MAX_BODY),
          route("GET", "/v1/shown", 0, 0, "getShown", 200, ["x-lang", "x-secret", "x-tenant"])]
PROBLEM = {"slug": "no-such-guest", "status": 404, "title": "No such guest",
           "meaning": "Nobody signed there."}
guests = []


def handle(principal, index, params, headers, body, client):
    """(status, headers, body) of one request."""
    if index == 0:
        number = int(params[0]) if params[0].isdigit() else 0
        if not 1 <= number <= len(guests):
            return 404, [], {"slug": "no-such-guest", "detail": f"There are {len(guests)} guests."}
        return 200, [["etag", f'"{number}"']], guests[number - 1]
    if index == 2:
        return 200, [], dict(headers)
    guests.append({"name": body["name"], "by": principal[0], "role": principal[1],
                   "from": client})
    return 201, [["location", f"/v1/guests/{len(guests)}"]], {"number": len(guests)}


def main(endpoint, instance="guests-1"):
    dealer = zmq.Context.instance().socket(zmq.DEALER)
    dealer.connect(endpoint)
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    hello = {"protocol": 1, "service": "guests", "version": "1", "instance": instance, "role": 0,
             "capacity": CAPACITY, "heartbeat_ms": HEARTBEAT_MS, "schema": "guests-1",
             "routes": ROUTES, "problems": [PROBLEM], "schemas": {}}

    def send(*frame):
        dealer.send(msgpack.packb(list(frame)))

    send(HELLO, hello)
    silent_ms = 0
    leave_at = None
    while leave_at is None or time.monotonic() < leave_at:
        if stopped and leave_at is None:
            send(DRAINING)
            leave_at = time.monotonic() + DRAIN_S
        if not dealer.poll(100):
            silent_ms += 100
            if silent_ms >= 1000:  # not answered, or the gateway is gone
                send(HELLO, hello)
                silent_ms = 0
            continue
        silent_ms = 0
        frames = msgpack.Unpacker()
        frames.feed(dealer.recv())  # one or more frames
        for kind, *fields in frames:
            if kind == WELCOME:
                send(READY, CAPACITY)
            elif kind == REFUSED:
                print(f"refused: {fields}", file=sys.stderr, flush=True)
            elif kind == DRAINING:  # the last word: no request follows it
                leave_at = 0
            elif kind == PING:
                send(PONG, fields[0], 0, 0)
            elif kind == REQUEST:
                number, _, _, _, principal, index, params, _, headers, body, client = fields[:11]
                body = msgpack.unpackb(body) if body else None
                status, headers, answer = handle(principal, index, params, headers, body, client)
                send(REPLY, number, status, headers, 0, 0, 0, msgpack.packb(answer))
    send(GOODBYE)
    dealer.close(1000)


if __name__ == "__main__":
    main(*sys.argv[1:])
