# SPDX-License-Identifier: MIT
# A network that does what networks do, between a port of its own and another one: a proxy for TCP that delays, drops
# (what TCP sends again comes later, and all behind it), garbles, resets connections, and parts its ends, in one
# direction or both. What is sent to the other side of a partition is held, and so is the end of a connection: it comes
# when the partition ends, also to a connection that its sender has given up meanwhile.
import asyncio
import contextlib
import random
import socket
import struct
import threading

CHUNK = 65536
RESEND_S = 0.2  # TCP's least
HELD = 256  # chunks of one direction; then its sender has to wait
RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() a reset


class Direction:
    def __init__(self):
        self.open = asyncio.Event()
        self.open.set()


class Network:
    """Everything is clear until it is told otherwise. Its methods may be called from any thread."""

    def __init__(self, port, target, seed):
        self.port, self.target = port, target
        self.chance = random.Random(seed)
        self.delay_s, self.jitter_s = 0.0, 0.0
        self.loss, self.noise = 0.0, 0.0  # shares of the pieces
        self.dropped, self.garbled = 0, 0
        self.resets = 0
        self.pairs = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        self._do(self._begin())
        return self

    def __exit__(self, *error):
        self._do(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    # --- What may happen

    def slow(self, delay_s, jitter_s):
        self.delay_s, self.jitter_s = delay_s, jitter_s

    def lossy(self, share):
        """So many of the pieces have to be sent again."""
        self.loss = share

    def noisy(self, share):
        """So many of the pieces have a bit that is turned."""
        self.noise = share

    def part(self, to_target=True, to_client=True):
        async def work():
            for direction, parted in ((self.to_target, to_target), (self.to_client, to_client)):
                if parted:
                    direction.open.clear()

        self._do(work())

    def heal(self):
        self.slow(0, 0)
        self.lossy(0)
        self.noisy(0)

        async def work():
            self.to_target.open.set()
            self.to_client.open.set()

        self._do(work())

    def reset(self):
        """All connections at once."""

        async def work():
            for pair in list(self.pairs):
                self._abort(pair)

        self._do(work())

    def connections(self):
        return len(self.pairs)

    # --- Carrying

    async def _begin(self):
        self.to_target, self.to_client = Direction(), Direction()
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _end(self):
        self.server.close()
        for pair in list(self.pairs):
            self._abort(pair)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _abort(self, pair):
        self.pairs.discard(pair)
        self.resets += 1
        for writer in pair:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def _accept(self, reader, writer):
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, other_writer)
        self.pairs.add(pair)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(
                self._carry(reader, other_writer, self.to_target),
                self._carry(other_reader, writer, self.to_client),
            )
        if pair in self.pairs:
            self._abort(pair)
            self.resets -= 1  # it ended by itself

    async def _carry(self, reader, writer, direction):
        held = asyncio.Queue(HELD)
        sender = asyncio.ensure_future(self._send(held, writer, direction))
        try:
            while data := await reader.read(CHUNK):
                due = self.loop.time() + self.delay_s + self.chance.uniform(0, self.jitter_s)
                while self.loss and self.chance.random() < self.loss:
                    due += RESEND_S
                    self.dropped += 1
                if self.noise and self.chance.random() < self.noise:
                    data = bytearray(data)
                    data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
                    self.garbled += 1
                await held.put((due, data))
        finally:
            await held.put((0, None))
            await sender

    async def _send(self, held, writer, direction):
        while True:
            due, data = await held.get()
            if (wait_s := due - self.loop.time()) > 0:
                await asyncio.sleep(wait_s)
            await direction.open.wait()
            if data is None:
                writer.close()
                return
            writer.write(data)
            await writer.drain()
