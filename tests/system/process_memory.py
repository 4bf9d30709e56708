# SPDX-License-Identifier: MIT
# Looks through the memory of running processes for what must not be there. They are not dumpable, so
# only root may.
import re

import pytest
from suite import SANITIZED

# AddressSanitizer keeps freed memory, and its map of terabytes would be made by reading it.
scans = pytest.mark.skipif(SANITIZED, reason="a sanitized build keeps what was freed")


def memory(pid):
    """Everything that the process can write, which is where data is."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not match or "[vvar]" in line:
                continue
            at, end = (int(n, 16) for n in match.groups())
            while at < end:
                try:
                    mem.seek(at)
                    yield mem.read(min(end - at, 1 << 24))
                except (OSError, ValueError, OverflowError):
                    pass
                at += 1 << 24


def count_in_memory(pid, text):
    """How often these bytes are there."""
    return sum(block.count(text) for block in memory(pid))
