# SPDX-License-Identifier: MIT
# Some workers are on another machine, as far as the network goes: in a network namespace of their own, at the other end
# of a pair of virtual devices, and linked by TCP with CURVE. The kernel's packet filter (nft) drops what passes, all or
# by chance, one way or both, refuses it with a reset, or lets no connection begin. What a proxy cannot show
# (test_network.py): there the kernel's own TCP is always well, here it has to send again, and to give up.
import contextlib
import os
import pathlib
import re
import subprocess
import time

import pytest
from flow import SAFE
from suite import PATIENCE, wait_for
from test_network import WORKERS, Shop, TcpSuite, direction, far_ones_serve, heals, worker
from test_processes import lost

ESTABLISHED = "01"  # in /proc/net/tcp
# common/zsocket.c: something may be sent just before probes would end it (PROBE_S + PROBES), and is sent again for
# UNACKNOWLEDGED_MS.
FOUND_S = 1 + 3 + 3
DIALLED_S = 2.25  # CONNECT_TIMEOUT_MS and RECONNECT_MAX_MS
PROCESS = os.getpid() % 100_000


def tell(*command, given=None):
    """Runs a command that needs rights and a kernel which not every machine has."""
    try:
        result = subprocess.run(list(map(str, command)), input=given, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"there is no {command[0]} here")
    assert "syntax error" not in result.stderr, result.stderr
    if result.returncode:
        pytest.skip(f"not possible here: {' '.join(map(str, command))}: {result.stderr.strip()}")
    return result.stdout


class Veth:
    """Another machine's network, and the way to it. What is filtered is so at its end."""

    def __init__(self):
        net = f"198.18.{PROCESS % 250}"  # for tests between networks (RFC 2544)
        self.near, self.far = f"{net}.1", f"{net}.2"
        self.device = f"sl{PROCESS}"  # of at most 15 bytes

    def __enter__(self):
        tell("unshare", "--net", "true")  # skips where it cannot be
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "86400"])
        own = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, 10, "it has a network of its own")
        self.launcher = ("nsenter", f"--target={self.holder.pid}", "--net")
        try:
            tell("ip", "link", "add", self.device, "type", "veth", "peer", "name", "far", "netns", self.holder.pid)
            tell("ip", "address", "add", f"{self.near}/30", "dev", self.device)
            tell("ip", "link", "set", self.device, "up")
            for command in (f"address add {self.far}/30 dev far", "link set far up", "link set lo up"):
                tell(*self.launcher, "ip", *command.split())
            self.heal()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        self.holder.kill()  # with its namespace go both ends
        self.holder.wait()
        wait_for(lambda: not pathlib.Path(f"/sys/class/net/{self.device}").exists(), 10, "the devices are gone")

    def filter(self, incoming="", outgoing=""):
        """Rules for what comes to the far side, and for what leaves it; whatever was there before is gone."""
        chains = "".join(
            f"chain {hook} {{\ntype filter hook {hook} priority 0\n{rule.replace('VERDICT', 'counter')}\n}}\n"
            for hook, rule in (("input", incoming), ("output", outgoing))
        )
        tell(*self.launcher, "nft", "-f", "-", given=f"flush ruleset\ntable inet sluice {{\n{chains}}}\n")

    def filtered(self):
        """Packets that met a rule since it was made."""
        said = tell(*self.launcher, "nft", "list", "ruleset")
        return sum(map(int, re.findall(r"counter packets (\d+)", said)))

    # --- What may happen, as faulty_net.Network has it

    def heal(self):
        self.filter()

    def part(self, to_target=True, to_client=True):
        self.filter(
            incoming="VERDICT drop" if to_client else "", outgoing="VERDICT drop" if to_target else ""
        )

    def lossy(self, percent):
        rule = f"numgen random mod 100 < {percent} VERDICT drop"
        self.filter(rule, rule)

    def refuse(self):
        """Whatever belongs to a connection is answered with a reset, on both sides."""
        rule = "tcp flags & rst != rst VERDICT reject with tcp reset"  # of a reset nothing would be left
        self.filter(rule, rule)

    def begin_none(self):
        """Connections that are there go on; none begins."""
        self.filter(outgoing="tcp flags & (fin|syn|rst|ack) == syn VERDICT drop")


def connections(pid, suite):
    """How many TCP connections with the suite's gateway or queue the network of a process has."""
    ports = {suite.backend, suite.log_port}
    found = 0
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, *ends, state = line.split()[:4]
        away = [end.split(":")[0] for end in ends]
        between = {int(end.split(":")[1], 16) for end in ends} & ports and away[0] != away[1]
        found += bool(between) and state == ESTABLISHED
    return found


@pytest.fixture(scope="module")
def far():
    """A suite with one worker of each service on this machine, and one on the other."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(Veth())
        suite = stack.enter_context(TcpSuite(address=net.near))
        suite.up()
        for service in WORKERS:
            stack.enter_context(worker(suite, service, net.launcher))
        wait_for(lambda: far_ones_serve(suite), 15, "all workers serve")
        shop = Shop(suite)
        shop.net = net
        yield shop
        net.heal()


def far_workers(suite):
    """Those of the other machine that the gateway knows."""
    return [
        w["instance"]
        for entry in suite.topology()["services"]
        for w in entry["workers"]
        if w["instance"].endswith("-far")
    ]


def nobody_noticed(flow):
    assert not flow.bad(SAFE, "attempts", "200")
    assert not flow.bad(["order"], "attempts", "201")


@pytest.mark.parametrize("to_gateway, to_worker", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("seconds", [0.4, 3])
def test_a_partition(far, to_gateway, to_worker, seconds):
    with far.load(f"nft: {direction(to_gateway, to_worker)}, {seconds} s") as flow:
        time.sleep(0.2)
        far.net.part(to_target=to_gateway, to_client=to_worker)
        time.sleep(seconds)
        assert far.net.filtered()
        heals(far, within_s=10)
        time.sleep(0.3)
    nobody_noticed(flow)
    assert flow.slowest_ms(SAFE) < 5000, "later than the deadline"


@pytest.mark.alone  # it counts who is taken for dead: a machine that is busy for a second does as much
def test_packets_that_are_lost(far):
    """One in twenty, each way: TCP sends them again, and nobody is taken for dead."""
    before = lost(far.suite)
    with far.load("nft: drops 5 % for 3 s") as flow:
        far.net.lossy(5)
        time.sleep(3)
        assert far.net.filtered() > 10
        heals(far)
    nobody_noticed(flow)
    assert lost(far.suite) == before


def test_connections_that_are_refused(far):
    """Both ends hear of it; the workers are lost at once, and come back when they may."""
    before = lost(far.suite)
    with far.load("nft: resets for 1 s") as flow:
        time.sleep(0.2)
        far.net.refuse()
        time.sleep(1)
        assert far.net.filtered()
        assert not far_workers(far.suite)
        heals(far)
        time.sleep(0.3)
    nobody_noticed(flow)
    ended, silent = (now - then for now, then in zip(lost(far.suite), before))
    assert ended >= len(WORKERS) and silent == 0


@pytest.mark.parametrize("to_gateway, to_worker", [(True, True), (True, False), (False, True)])
def test_tcp_gives_up_a_connection_through_which_nothing_comes(far, to_gateway, to_worker):
    """On both sides, in the time that docs/reliability.md says; what waits for an answer is not sent again for
    minutes, as the kernel would by itself."""
    sides = {"near": os.getpid(), "far": far.net.holder.pid}

    def linked():  # with gateway and queue
        return all(connections(pid, far.suite) == 2 * len(WORKERS) for pid in sides.values())

    wait_for(linked, 10, "every worker has its connections")
    far.net.part(to_target=to_gateway, to_client=to_worker)
    begin, gone = time.monotonic(), {}

    def given_up():
        for side, pid in sides.items():
            if side not in gone and connections(pid, far.suite) == 0:
                gone[side] = round(time.monotonic() - begin, 2)
        return len(gone) == len(sides)

    try:
        wait_for(given_up, 3 * FOUND_S, "all are given up")
        print(f"given up after {gone} s")
        assert max(gone.values()) < FOUND_S
    finally:
        heals(far, within_s=10)


def test_connections_that_cannot_begin(far):
    """A dialled connection that gets no answer is given up and dialled again, so that a worker is there soon after
    it may be: the kernel alone would by then try once in eight seconds."""
    with far.load("nft: no connection begins for 8 s") as flow:
        far.net.refuse()
        wait_for(lambda: not far_workers(far.suite), 5, "they are lost")
        far.net.begin_none()
        time.sleep(8)
        assert far.net.filtered() and not far_workers(far.suite)
        begin = time.monotonic()
        heals(far, within_s=10)
        took_s = time.monotonic() - begin
    nobody_noticed(flow)
    assert took_s < DIALLED_S + 1 * PATIENCE


def test_everything_is_right_in_the_end(far):
    far.check()
