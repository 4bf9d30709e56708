# SPDX-License-Identifier: MIT
# What a test tells hang.c, which is preloaded into a suite's processes: where a thread of one of them stops getting
# anywhere.
import mmap
import struct

from suite import BUILD

HANG = BUILD / "hang.so"
CONTROL = "=III"  # struct control in hang.c
PLACES = {"loop": 1, "statement": 2, "sync": 3}


class Control:
    def __init__(self, path):
        path.write_bytes(bytes(struct.calcsize(CONTROL)))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def arm(self, place, pid):
        """The next time the process comes there it hangs; one that hangs goes on until then."""
        self.memory[:4] = bytes(4)
        self.memory[4:] = struct.pack("=II", pid, 0)
        self.memory[:4] = struct.pack("=I", PLACES[place])

    def release(self):
        self.memory[:4] = bytes(4)
        self.memory[8:] = bytes(4)

    @property
    def hung(self):
        return bool(struct.unpack(CONTROL, self.memory[:])[2])
