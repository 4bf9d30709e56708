# SPDX-License-Identifier: MIT
# Threads at work while a test does something else.
import threading


class Crew:
    """Runs its jobs, each in a thread, from the begin of the block on; they end when `ending` is set,
    at the block's end."""

    def __init__(self, *jobs):
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=job) for job in jobs]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.ending.set()
        for thread in self.threads:
            thread.join()
