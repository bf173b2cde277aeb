"""The network of containers: what it adds to a start, what it carries, what it costs while nothing happens."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from berth.kernel.namespaces import setns
from tests.bench.match import Contender, Failed, Row, Table, play
from tests.bench.resident import memory_of, wake_ups_of
from tests.bench.scene import QUICK_INIT, Scene, cleared
from tests.phone import ANDROID, INTERNET, Phone, Place, wait_for
from tests.program import Berth

HOST = "berth start, --net=host"
NAT = "berth start, --net=nat"
FIRST = "berth start, --net=nat, the first container of all"
LXC_HOST = "lxc-start, the host's network"
LXC = "lxc-start, its own bridge"
CARRIED = "berth, --net=nat"
BRIDGED = "a plain veth and bridge"
MEMORY = "berth net process"
WAKE_UPS = "berth net process, idle"
HAND_OVER = "berth, from the change of the default network until a connection goes by it"
_BRIDGE = "lxcbr0"
_SETTLING_SECONDS = 1.0
_SINK = """\
import socket, sys
listener = socket.create_server(("", 9000))
print("ready", flush=True)
room = bytearray(1 << 20)
while True:
    sock, _ = listener.accept()
    while sock.recv_into(room):
        pass
"""
_PUMP = """\
import socket, sys, time
sock = socket.create_connection((sys.argv[1], 9000))
block, sent, began = bytes(1 << 18), 0, time.perf_counter()
while (taken := time.perf_counter() - began) < 1:
    sent += sock.send(block)
print(sent / taken / 1e6)
"""
_ASK = """\
import socket, sys
def network():
    try:
        with socket.create_connection((sys.argv[1], 80), timeout=1) as sock:
            sock.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return sock.makefile().read().split()[-2]
    except (OSError, IndexError):
        return ""
while network() == sys.argv[2]:
    pass
print("ready", flush=True)
while network() != sys.argv[2]:
    pass
print("there", flush=True)
"""
_NETWORKS = {"wifi": "1003", "mobile": "1004"}


def matches(scene: Scene, rounds: int) -> Iterator[Table]:
    """Measure all of this module, on a phone and between networks that are made for it."""
    with _phone(scene) as (phone, bridged), scene.served.service():
        yield _starts(scene, phone, rounds)
        with _keeping(scene):
            yield _throughput(scene, phone, bridged, rounds)
            yield _hand_over(scene, phone, rounds)
            process = phone.net_process()
            assert process is not None
            yield Table("Memory of the net process", "Proportional set size (PSS).", (memory_of(MEMORY, [process]),))
            time.sleep(_SETTLING_SECONDS)
            idle = Row(WAKE_UPS, (wake_ups_of([process]),), unit="")
            yield Table("Wake-ups of the net process", "Context switches in 30 idle seconds.", (idle,))


@contextmanager
def _phone(scene: Scene) -> Iterator[tuple[Phone, Place]]:
    """Be in the network of a phone, which also has a bridge with a namespace on it.

    What this process starts is there too.
    """
    phone, bridged = Phone(Berth(scene.served.home), scene.folder), Place(scene.served.home)
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        phone.use_wifi()
        phone.shell(
            f"ip link add {_BRIDGE} type bridge; ip address add 10.9.0.1/16 dev {_BRIDGE}; ip link set {_BRIDGE} up;"
            "iptables -t nat -A POSTROUTING -s 10.9.0.0/16 -j MASQUERADE;"
            f"ip link add bridged type veth peer name eth0 netns {bridged.pid};"
            f"ip link set bridged master {_BRIDGE} up;"
            "mount --rbind /sys/fs/cgroup /mnt; mount -t sysfs sysfs /sys; mount --rbind /mnt /sys/fs/cgroup"  # for lxc
        )
        bridged.shell("ip address add 10.9.0.3/16 dev eth0; ip link set eth0 up; ip route add default via 10.9.0.1")
        there = os.open(f"/proc/{phone.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        setns(there, "network")
        os.close(there)
        yield phone, bridged
    finally:
        setns(own, "network")
        os.close(own)
        bridged.end()
        phone.end()


@contextmanager
def _keeping(scene: Scene) -> Iterator[None]:
    """Have a container on the network, and one of lxc's on its bridge."""
    rootfs = scene.busybox()
    scene.served.ask("start", "--name=keep", "--rootfs", rootfs, "--init", QUICK_INIT, "--net=nat")
    with cleared(lambda: scene.served.ask("stop", "keep", "--timeout", "0")):
        yield


def _starts(scene: Scene, phone: Phone, rounds: int) -> Table:
    served, lxc, rootfs = scene.served, scene.lxc, scene.busybox()
    lxc.add("net-host", rootfs, "/sbin/init", "SIGUSR2")
    lxc.add("net-nat", rootfs, "/sbin/init", "SIGUSR2", bridge=_BRIDGE, address="10.9.0.2/16", gateway="10.9.0.1")

    def ours(name: str, net: str) -> float:
        taken = served.cold("start", "--name", name, "--rootfs", rootfs, f"--net={net}")
        served.ask("stop", name, "--timeout", "0")
        return taken

    def first() -> float:
        wait_for("the net process has ended", lambda: phone.net_process() is None)
        return ours("net-first", "nat")

    def theirs(name: str) -> float:
        taken = scene.programs.run(*phone.prefix, *lxc.command("lxc-start", name, "-d"))
        lxc.stop(name, kill=True)
        return taken

    with cleared(partial(lxc.stop, "net-host", kill=True), partial(lxc.stop, "net-nat", kill=True)):
        alone = play((Contender(FIRST, first),), rounds)
        with _keeping(scene):
            contenders = (
                Contender(HOST, lambda: ours("net-host", "host")),
                Contender(NAT, lambda: ours("net-nat", "nat")),
                Contender(LXC_HOST, lambda: theirs("net-host")),
                Contender(LXC, lambda: theirs("net-nat")),
            )
            rows = play(contenders, rounds)
    how = "BusyBox, with the service; but for the first one, another container is on the network already."
    return Table("Start with a network", how, (*rows, *alone))


def _throughput(scene: Scene, phone: Phone, bridged: Place, rounds: int) -> Table:
    keep = scene.served.pids("keep")[0]

    def pumped(pid: int) -> float:
        inside = ["nsenter", "--target", str(pid), "--net", sys.executable, "-c", _PUMP, INTERNET]
        done = subprocess.run(inside, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Failed(done.stderr.strip().splitlines()[-1])
        return float(done.stdout)

    sink = subprocess.Popen([*phone.wifi.prefix, sys.executable, "-c", _SINK], stdout=subprocess.PIPE)
    assert sink.stdout is not None
    sink.stdout.readline()
    contenders = (
        Contender(CARRIED, lambda: pumped(keep)),
        Contender(BRIDGED, lambda: pumped(bridged.pid)),
    )
    with cleared(partial(_end, sink)):
        rows = play(contenders, rounds)
    how = "One TCP connection through the phone's NAT to the next namespace, for a second."
    return Table("Throughput", how, tuple(row._replace(unit="MB/s") for row in rows))


def _hand_over(scene: Scene, phone: Phone, rounds: int) -> Table:
    pid = scene.served.pids("keep")[0]
    networks = ["wifi", "mobile"]
    rule = "priority 31000 fwmark 0x0/0xffff iif lo lookup"
    phone.shell(ANDROID)

    def handed_over() -> float:
        old, new = networks
        ask = ["nsenter", "--target", str(pid), "--net", sys.executable, "-c", _ASK, INTERNET, new]
        with subprocess.Popen(ask, stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            program.stdout.readline()
            began = time.perf_counter()
            phone.succeed(
                "ip", "-batch", "-", stdin=f"rule add {rule} {_NETWORKS[new]}\nrule del {rule} {_NETWORKS[old]}\n"
            )
            program.stdout.readline()
            taken = time.perf_counter() - began
            program.kill()
        networks.reverse()
        return taken * 1000

    with cleared(phone.put_back):
        rows = play((Contender(HAND_OVER, handed_over),), rounds)
    how = "A program that connects all the time, while netd's rules are led to another network."
    return Table("Hand-over", how, rows)


def _end(program: "subprocess.Popen[bytes]") -> None:
    program.send_signal(signal.SIGKILL)
    program.communicate()
