# SPDX-License-Identifier: MIT
# What the tests share that let one call of one program fail (fail_nth.c): which call, and what became of it.
#
#   SLUICE_TEST_SEED            which n are tried (1)
#   SLUICE_TEST_FAULT_SECONDS   how long for each program (12; half of it where starts alone are tried); every fault is printed
#   SLUICE_TEST_FAULT_STRIDE    instead: all of n = FIRST, FIRST + STRIDE, ... up to the calls of a whole run
#   SLUICE_TEST_FAULT_FIRST     of those (1), to go on where another run ended
#   SLUICE_TEST_FAULT_KINDS     only these: "write,sync,open,memory,map"
#   SLUICE_TEST_FAULT_WHEN      only then: what a test calls its cases, as "start,run"
#   SLUICE_TEST_FAULT           instead: one, as printed: "start write ENOSPC 12"
import errno
import mmap
import os
import struct

from suite import BUILD

SEED = int(os.environ.get("SLUICE_TEST_SEED", "1"))
SECONDS = float(os.environ.get("SLUICE_TEST_FAULT_SECONDS", "12"))
STRIDE = int(os.environ.get("SLUICE_TEST_FAULT_STRIDE", "0"))
FIRST = int(os.environ.get("SLUICE_TEST_FAULT_FIRST", "1"))
ONE = os.environ.get("SLUICE_TEST_FAULT", "")

FAIL_NTH = BUILD / "fail_nth.so"
CONTROL = "=IIQ6QQQQ"  # struct control in fail_nth.c
CODES = {"short": 0, "killed": 0xFFFFFFFF}  # what is no errno
NUMBERS = {"write": 1, "sync": 2, "open": 3, "memory": 4, "map": 5}
ERRORS = {
    "write": ("EIO", "ENOSPC", "short"),
    "sync": ("EIO", "ENOSPC"),
    "open": ("EMFILE", "EIO"),
    "memory": ("ENOMEM",),
    "map": ("ENOMEM",),
}
KINDS = os.environ.get("SLUICE_TEST_FAULT_KINDS", ",".join(ERRORS)).split(",")


def combinations(*cases):
    """All (case, kind, error), or those that were asked for."""
    wanted = os.environ.get("SLUICE_TEST_FAULT_WHEN", ",".join(cases)).split(",")
    return [(c, kind, error) for c in cases if c in wanted for kind in KINDS for error in ERRORS[kind]]


class Control:
    """What fail_nth.c is told."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(struct.calcsize(CONTROL)))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def environment(self, program):
        return {"LD_PRELOAD": str(FAIL_NTH), "FAIL_PROGRAM": program, "FAIL_CONTROL": str(self.path)}

    def arm(self, kind, error, number):
        """Counts from now on; the call of this number fails, or kills the process. Number 0: none does."""
        self.disarm()
        code = CODES[error] if error in CODES else getattr(errno, error)
        self.memory[4:] = struct.pack(CONTROL, 0, code, number, *[0] * 9)[4:]
        self.memory[:4] = struct.pack("=I", NUMBERS[kind])

    def disarm(self):
        self.memory[:4] = bytes(4)

    @property
    def state(self):
        """(calls of each kind, whether one failed, its caller)"""
        *_, fired, which, where = fields = struct.unpack(CONTROL, self.memory[:])
        counts = {kind: fields[3 + number] for kind, number in NUMBERS.items()}
        return counts, bool(fired), f"{which}:{where:#x}"
