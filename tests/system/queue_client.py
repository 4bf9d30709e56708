# SPDX-License-Identifier: MIT
# A publisher and a consumer of the event queue, written from proto/PROTOCOL.md section 3 and
# nothing else.
import math
import os
import time

import msgpack
import zmq

(
    PUBLISH,
    PUBLISHED,
    SUBSCRIBE,
    EVENTS,
    CAUGHT_UP,
    GRANT,
    UNSUBSCRIBE,
    ENDED,
    INFO,
    INFO_REPLY,
    REFUSED,
    PING,
    PONG,
    LOST,
    JOIN,
    JOINED,
    DELIVER,
    SETTLE,
    SETTLED,
    LEAVE,
    CALL,
    RESULT,
    WATCH,
    OPERATIONS,
) = range(32, 56)
ACK, NAK, EXTEND, TERM = range(4)
EVENT_FIELDS = ["id", "topic", "key", "subject", "source", "time_ms", "traceparent", "data"]


class Refused(Exception):
    """The queue said no: args are the reason and the detail."""


def uuid7():
    """A UUIDv7 as text (RFC 9562 section 5.7)."""
    digits = (
        f"{int(time.time() * 1000):012x}7{os.urandom(2).hex()[1:]}{0x80 | os.urandom(1)[0] & 0x3f:02x}"
        + os.urandom(7).hex()
    )
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def new_event(topic, data, key="", subject=""):
    """An event as PUBLISH carries it."""
    return msgpack.packb(
        [
            uuid7(),
            topic,
            key,
            subject,
            "/test",
            int(time.time() * 1000),
            f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01",
            msgpack.packb(data),
        ]
    )


class Queue:
    def __init__(self, endpoint, timeout_s=10):
        self.timeout_ms = int(timeout_s * 1000)
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self.socket.connect(endpoint)
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def send(self, *frame):
        self.socket.send(msgpack.packb(list(frame)))

    def receive(self, timeout_ms=None):
        """The next frame; TimeoutError when none comes."""
        deadline = time.monotonic() + (timeout_ms or self.timeout_ms) / 1000
        while (left_ms := math.ceil((deadline - time.monotonic()) * 1000)) > 0 and self.socket.poll(
            left_ms
        ):
            frame = msgpack.unpackb(self.socket.recv())
            if frame[0] == PING:
                self.send(PONG, frame[1], 0)
            elif frame[0] == REFUSED:
                raise Refused(frame[3], frame[4])
            elif frame[0] != PONG:
                return frame
        raise TimeoutError("the queue does not answer")

    def publish(self, events, producer=None, first_seq=1):
        """Publishes packed events as one batch; returns PUBLISHED's fields behind the request."""
        self.number += 1
        self.send(
            PUBLISH,
            self.number,
            producer,
            [[first_seq + i, event] for i, event in enumerate(events)],
        )
        while True:
            frame = self.receive()
            if frame[0] == PUBLISHED and frame[1] == self.number:
                names = ["first_seq", "last_seq", "producer_seq", "stored", "duplicates", "durable"]
                return dict(zip(names, frame[2:]))  # took_us is different each time

    def subscribe(self, credit=1000, **options):
        self.number += 1
        self.send(SUBSCRIBE, self.number, options, credit)
        return self.number

    def stream(self, *filters, **options):
        """The events that are stored now and match, one after the other, as dicts with their seq."""
        subscription = self.subscribe(filters=list(filters), **options)
        while True:
            frame = self.receive()
            if frame[1] != subscription:
                continue
            if frame[0] == EVENTS:
                yield from (decode(*entry) for entry in frame[2])
                self.send(GRANT, subscription, len(frame[2]))
            elif frame[0] == ENDED:
                return

    def read(self, *filters, **options):
        """All events that are stored now and match."""
        return list(self.stream(*filters, **options))

    def wait(self, condition, *filters, timeout_s=5):
        """Reads until condition(events) is true, and returns the events."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.read(*filters)
            if condition(found):
                return found
            assert (
                time.monotonic() < deadline
            ), f"not in the queue after {timeout_s} s: {filters}, of {len(found)}"
            time.sleep(0.02)

    def info(self):
        self.number += 1
        self.send(INFO, self.number, 0)
        while True:
            frame = self.receive()
            if frame[0] == INFO_REPLY and frame[1] == self.number:
                return frame[2]


    def call(self, method, arguments=None, **more):
        """RESULT of a CALL; raises Refused."""
        self.number += 1
        number = self.number
        self.send(CALL, number, method, {**(arguments or {}), **more})
        while True:
            frame = self.receive()
            if frame[0] == RESULT and frame[1] == number:
                return frame[2]

    def group(self, name):
        """What `groups` says of one."""
        return self.call("groups", group=name)["groups"][0]


class Delivery:
    def __init__(self, seq, stored_ms, attempt, event):
        self.attempt = attempt
        self.event = decode(seq, stored_ms, event)
        self.seq, self.key, self.data = seq, self.event["key"], self.event["data"]
        self.at = time.monotonic()

    def __repr__(self):
        return f"<{self.seq} attempt {self.attempt}>"


class Member(Queue):
    """A member of a group, on a connection of its own."""

    def __init__(self, endpoint, group, window=100, timeout_s=10):
        super().__init__(endpoint, timeout_s)
        self.deliveries = []  # that take() has yet to give
        self.lost = []
        self.ended = None
        self.number += 1
        self.member = self.number
        self.send(JOIN, self.member, group, window)
        self.until(JOINED)

    def until(self, frame_type):
        """The next frame of this type; deliveries that come before are kept."""
        while True:
            frame = self.receive()
            self.keep(frame)
            if frame[0] == frame_type:
                return frame

    def keep(self, frame):
        if frame[0] == DELIVER:
            assert frame[1] == self.member
            self.deliveries += [Delivery(*entry) for entry in frame[2]]
        elif frame[0] == LOST:
            self.lost.append((frame[2], frame[3]))
        elif frame[0] == ENDED:
            self.ended = frame[3]

    def pump(self, timeout_s=0.0):
        """Takes in what comes until nothing has come for so long."""
        try:
            while True:
                self.keep(self.receive(max(1, int(timeout_s * 1000))))
        except TimeoutError:
            pass

    def take(self, count=1, timeout_s=5):
        """The next deliveries; TimeoutError when they do not come."""
        deadline = time.monotonic() + timeout_s
        while len(self.deliveries) < count:
            self.keep(self.receive(max(1, int((deadline - time.monotonic()) * 1000))))
        taken, self.deliveries = self.deliveries[:count], self.deliveries[count:]
        return taken

    def none(self, during_s=0.15):
        """Asserts that nothing comes."""
        self.pump(during_s)
        assert self.deliveries == []

    def settle(self, deliveries, verdict=ACK, delay_ms=0, error=""):
        """(settled, stale) when it is on disk."""
        if isinstance(deliveries, Delivery):
            deliveries = [deliveries]
        self.number += 1
        ranges = [[d.seq, d.seq, d.attempt, 1] for d in deliveries]
        self.send(SETTLE, self.member, self.number, verdict, delay_ms, error, ranges)
        number = self.number
        while True:
            frame = self.until(SETTLED)
            if frame[2] == number:
                assert frame[1] == self.member
                return frame[3], frame[4]

    def leave(self):
        self.send(LEAVE, self.member, 0)


def decode(seq, stored_ms, event):
    fields = dict(zip(EVENT_FIELDS, msgpack.unpackb(event)))
    fields["data"] = msgpack.unpackb(fields["data"]) if fields["data"] is not None else None
    return {"seq": seq, "stored_ms": stored_ms, **fields}
