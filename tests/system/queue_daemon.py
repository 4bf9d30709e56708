# SPDX-License-Identifier: MIT
# The event queue alone: a process in a home of its own, for tests that need nothing else of a Sluice.
import pathlib
import shutil
import subprocess

import pytest
from queue_client import Queue
from suite import BUILD, CLEAN, DIE_WITH_US, PATIENCE, REPORTS, new_home


class Daemon:
    """A sluice-queue of the test's own, with small segments."""

    def __init__(self):
        self.home = new_home()
        self.endpoint = f"ipc://{self.home}/run/queue.sock"
        self.log_path = pathlib.Path(f"{self.home}.log")
        self.log_path.touch()
        self.process = None

    def start(self, instance="queue-1", *arguments, **environment):
        env = {**CLEAN, "SLUICE_HOME": str(self.home), "SLUICE_INSTANCE": instance,
               "SLUICE_QUEUE_SEGMENT_BYTES": "1MiB", **environment}
        with open(self.log_path, "ab") as log:
            process = subprocess.Popen([*DIE_WITH_US, BUILD / "sluice-queue", *arguments], env=env,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.process = self.process or process
        return process

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        self.process.terminate()
        status = self.process.wait(20 * PATIENCE)
        self.process = None
        assert status == 0

    def client(self):
        return Queue(self.endpoint)

    def log(self):
        return self.log_path.read_text()

    def segments(self):
        return sorted((self.home / "queue").glob("*.seg"))

    def page(self, path):
        return subprocess.run(["curl", "-s", "--unix-socket", self.home / "run/queue-1.admin.sock", f"http://x{path}"],
                              capture_output=True, text=True, check=True).stdout

    def rss_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024

    def close(self):
        if self.process:
            self.kill()
        text = self.log_path.read_bytes()
        shutil.rmtree(self.home)
        self.log_path.unlink()
        assert not REPORTS.search(text), text.decode()


@pytest.fixture
def daemon():
    own = Daemon()
    yield own
    own.close()
