# SPDX-License-Identifier: MIT
# One process alone, of which one call fails while it starts: the n-th write, sync, open, allocation or mapping. It
# serves all the same, at once or after it said what it waits for; or it ends with a status after which systemd starts it
# again, and a line that says why. It never crashes or hangs, and the next start finds everything that was there before.
#
# Cases: in a `new` home, where the store or log is made, and in a `used` one, where all was killed in the middle of work.
# How much is tried, and which: fail_nth.py.
import concurrent.futures
import contextlib
import itertools
import json
import os
import random
import re
import selectors
import shutil
import signal
import socket
import sqlite3
import subprocess
import time

import pytest
from fail_nth import FAIL_NTH, FIRST, ONE, SECONDS, SEED, STRIDE, Control, combinations
from people import add_product, admin_of, register
from suite import BUILD, CLEAN, DIE_WITH_US, PATIENCE, REPORTS, SANITIZED, SERVICES, Suite, free_port, new_home, run

COMBINATIONS = combinations("new", "used")
AT_ONCE = min(4, os.cpu_count())  # starts; each waits more than it works
TRY_S = SECONDS / 2  # for each program: some dozens of starts
START_S = 25 * PATIENCE  # some things are tried again after 15 s; a start takes 50 ms
STORES = ("users", "orders", "search")
EXIT_FAILED = 1  # 64 and 78 say that another start changes nothing: common/process.h
BEYOND = 5  # so many n in a row beyond the last call end a whole run: a start has now more calls, now fewer
WHY = re.compile(r"emory|nput/output error|disk I/O|No space|is full|no room|Too many open files|unable to open|EMFILE")

pytestmark = [
    pytest.mark.skipif(not COMBINATIONS, reason="not asked for"),
    pytest.mark.skipif(SANITIZED, reason="a preloaded library and a sanitizer exclude each other"),
    pytest.mark.seconds(24 * 3600 if STRIDE else 120 + 3 * TRY_S),
]


# --- Homes to start in


def make_new():
    home = new_home()
    assert run("sluice", "init", env={**CLEAN, "SLUICE_HOME": str(home)}).returncode == 0
    return home


def make_used():
    """A home whose processes were all killed at once, with logs that were not checkpointed."""
    suite = Suite(home=new_home(), SLUICE_QUEUE_SEGMENT_BYTES="1MiB")
    try:
        suite.up()
        sku = add_product(admin_of(suite), stock=100)["sku"]
        eve = register(suite.port)
        for _ in range(5):
            assert eve.order({sku: 1}).status == 201
        pids = [entry["pid"] for entry in suite.instances().values()]
        suite.supervisor.send_signal(signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    finally:
        suite.supervisor.kill()
        suite.supervisor.wait()
        suite.log_path.unlink()
    return suite.home


@pytest.fixture(scope="module")
def homes():
    made = {"new": make_new(), "used": make_used()}
    yield made
    for home in made.values():
        shutil.rmtree(home)


@contextlib.contextmanager
def copy_of(template):
    home = new_home()
    try:
        shutil.copytree(template, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run", "*.sock"))
        home.chmod(0o700)
        yield home
    finally:
        shutil.rmtree(home)


def contents(home, service, case):
    """What a process keeps; of a new home, where names and times differ each time, how much of it."""
    if service == "queue":
        result = run("sluice-queue", "--verify", home / "queue")
        assert result.returncode == 0, result.stdout + result.stderr
        end = json.loads(result.stdout.splitlines()[-1])
        return {name: end[name] for name in ("events", "lost_events", "damages")}
    if service not in STORES:
        return None
    with contextlib.closing(sqlite3.connect(home / f"db/{service}/{service}.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        tables = {name: sorted(db.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr) for name in names}
    return tables if case == "used" else {name: len(rows) for name, rows in tables.items()}


# --- Starting


class Start:
    """One process from its start until it has ended; it is told to end when it serves."""

    def __init__(self, home, service, control=None):
        self.home, self.service, self.control = home, service, control
        self.output = b""
        self.ready = self.told = False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify_path = home / "notify"
            notify.bind(str(notify_path))
            self.process = subprocess.Popen(
                [*DIE_WITH_US, BUILD / f"sluice-{service}"],
                env=self.environment(notify_path),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            try:
                self.watch(notify)
            finally:
                self.process.kill()
                self.status = self.process.wait()
                self.process.stdout.close()
                notify_path.unlink()
        self.text = self.output.decode(errors="replace")

    def environment(self, notify_path):
        own = {
            "SLUICE_HOME": str(self.home),
            "SLUICE_LOG_FORMAT": "json",
            "SLUICE_QUEUE_SEGMENT_BYTES": "1MiB",
            "NOTIFY_SOCKET": str(notify_path),
        }
        if self.service == "gateway":
            own |= {"SLUICE_LISTEN": f"127.0.0.1:{free_port()}", "SLUICE_REVOCATION_WAIT": "0s"}
        if self.control:
            own |= self.control.environment(f"sluice-{self.service}")
        return {**CLEAN, **own}

    def watch(self, notify):
        deadline = time.monotonic() + START_S
        with selectors.DefaultSelector() as both:
            both.register(notify, selectors.EVENT_READ)
            both.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                assert left > 0, f"it hangs {'while it ends' if self.told else 'while it starts'}:\n" + self.tail()
                for key, _ in both.select(left):
                    if key.fileobj is notify:
                        self.ready = self.ready or b"READY=1" in notify.recv(4096)
                        continue
                    more = os.read(self.process.stdout.fileno(), 65536)
                    if not more:
                        self.process.wait(5 * PATIENCE)
                        return
                    self.output += more
                self.tell()

    def tell(self):
        if self.serves and not self.told:
            self.told = True
            if self.control:
                self.control.disarm()
            self.process.terminate()

    @property
    def serves(self):
        writes = b'"writing to ' in self.output or b"no memory for a log line" in self.output
        return self.ready and (self.service not in STORES or writes)

    def tail(self):
        return self.output.decode(errors="replace")[-4000:]

    def said_why(self):
        """Whether a line that tells of an error names its cause."""
        for line in self.text.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                record = {"severity_text": "ERROR", "body": line}
            if record["severity_text"] in ("ERROR", "FATAL") and WHY.search(record["body"]):
                return True
        return False

    def check(self):
        """It did one of what it may do."""
        assert not REPORTS.search(self.output), self.text
        if self.serves:
            assert self.status == 0, f"it served, and ended with {self.status}:\n" + self.tail()
        else:
            assert self.status >= 0, f"signal {-self.status} ended it:\n" + self.tail()
            assert self.status == EXIT_FAILED, f"it ended with {self.status}:\n" + self.tail()
            assert self.said_why(), "it did not say why it ended:\n" + self.tail()


# --- Faults


class Trial:
    """Faults in the starts of one program."""

    def __init__(self, service, homes, folder):
        self.service, self.homes, self.folder = service, homes, folder
        self.numbers = itertools.count()
        self.tried = self.fired = self.ended = 0
        self.expected = {}
        for case in homes:
            with copy_of(homes[case]) as home:
                self.start_well(home)
                self.expected[case] = contents(home, service, case)

    def start_well(self, home):
        start = Start(home, self.service)
        start.check()
        assert start.serves, start.tail()

    def try_fault(self, fault):
        """Returns how many calls there were of each kind, and whether one failed."""
        case, kind, error, number = fault
        control = Control(self.folder / f"control-{next(self.numbers)}")
        control.arm(kind, error, number)
        try:
            with copy_of(self.homes[case]) as home:
                start = Start(home, self.service, control)
                counts, fired, where = control.state
                start.check()
                assert fired or start.serves, start.tail()
                self.start_well(home)
                assert contents(home, self.service, case) == self.expected[case]
        except AssertionError as error_found:
            *_, where = control.state
            raise AssertionError(f"{self.service}: {' '.join(map(str, fault))} at {where}\n{error_found}") from None
        finally:
            control.path.unlink()
        self.tried, self.fired = self.tried + 1, self.fired + fired
        self.ended += not start.serves
        if fired:
            print(f"{self.service}: {case} {kind} {error} {number} at {where}: {'' if start.serves else 'not '}served")
        return counts, fired

    def try_all(self, pool, faults):
        """A list of what try_fault() says, and of all that went wrong."""
        found, wrong = [], []
        for future in [pool.submit(self.try_fault, fault) for fault in faults]:
            try:
                found.append(future.result())
            except AssertionError as error:
                wrong.append(str(error))
        assert not wrong, f"{len(wrong)} of {len(faults)} went wrong\n\n" + "\n\n".join(wrong[:20])
        return found


def every(trial, pool):
    """All n of every combination from FIRST on, or each STRIDE-th."""
    for combination in COMBINATIONS:
        count = trial.try_fault((*combination, 0))[0][combination[1]]
        numbers = range(FIRST, count + 1, STRIDE)
        while numbers:
            found = trial.try_all(pool, [(*combination, n) for n in numbers])
            begin = numbers[-1] + STRIDE
            passed = not any(fired for _, fired in found[-BEYOND:])
            numbers = () if passed else range(begin, begin + STRIDE * BEYOND, STRIDE)
        print(f"{trial.service}: {' '.join(combination)}: {count} calls in a start")


def some(trial, pool):
    """By chance, until the time is over."""
    chance = random.Random(f"{SEED} {trial.service}")
    cases = {combination[0] for combination in COMBINATIONS}
    counts = {case: trial.try_fault((case, "sync", "EIO", 0))[0] for case in sorted(cases)}
    possible = [(*c, counts[c[0]][c[1]]) for c in COMBINATIONS if counts[c[0]][c[1]]]
    print(f"{trial.service}: calls in a start: {counts}")
    end = time.monotonic() + TRY_S
    while not trial.fired or time.monotonic() < end:
        picked = [chance.choice(possible) for _ in range(2 * AT_ONCE)]
        trial.try_all(pool, [(*fault, chance.randint(1, count)) for *fault, count in picked])


@pytest.mark.parametrize("service", SERVICES)
def test_start_with_a_fault(service, homes, tmp_path):
    assert FAIL_NTH.exists()
    trial = Trial(service, homes, tmp_path)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        if ONE:
            case, kind, error, number = ONE.split()
            trial.try_fault((case, kind, error, int(number)))
        elif STRIDE:
            every(trial, pool)
        else:
            some(trial, pool)
    print(f"{service}: {trial.tried} starts, {trial.fired} with a fault, of which {trial.ended} ended; seed {SEED}")
    assert trial.fired > 0
