"""Whoever is killed while connections are under way: the phone forgets those of its containers, and no others."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests import faults
from tests.house import GATEWAY, House
from tests.phone import INTERNET, INTERNET6, WIFI, WIFI6, WIFI_ROUTER, Phone, told, wait_for
from tests.service import Service

pytestmark = pytest.mark.system

TALK = """\
import socket, sys, time
held, sends = [], []
for place in sys.argv[1:]:
    kind, host, port = place.split("|")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    sock.connect((host, int(port)))
    (held if kind == "tcp" else sends).append(sock)
print("ready", flush=True)
while True:
    for sock in sends:
        try:
            sock.send(b"x")
        except OSError:
            pass
    time.sleep(0.002)
"""
"""Holds a connection to each place (tcp|host|port), and sends to the others (udp|host|port) without a rest."""

INSIDE = f"""\
exec > /dev/null 2>&1
nc -u -l -p 90 -e cat &
sleep 1000 | nc {INTERNET} 7 &
sleep 1000 | nc {INTERNET6} 7 &
while :; do echo x; usleep 2000; done | nc -u {INTERNET} 9 &
while :; do nslookup a.example {GATEWAY}; done &
"""


@contextlib.contextmanager
def talking(prefix: list[str], *places: str) -> Iterator[None]:
    """Have somebody in the network that `prefix` leads to talk to these places."""
    with subprocess.Popen([*prefix, sys.executable, "-c", TALK, *places], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == b"ready\n"
            yield
        finally:
            program.kill()


def remembered(phone: Phone) -> list[str]:
    """Return the TCP connections that the phone knows to stand, without what changes with time."""
    lines = phone.succeed("cat", "/proc/net/nf_conntrack").splitlines()
    known = [line for line in lines if " tcp " in line and "[ASSURED]" in line]
    return sorted(line[line.index("src=") :].partition(" [")[0] for line in known)


def kill_at_once(phone: Phone, *roles: str) -> None:
    info, net = told(phone.berth, "net-a"), phone.net_process()
    assert net is not None
    service = Service(phone.berth).pid
    pids = {"init": info["pid"], "monitor": info["monitor_pid"], "net": net, "supervisor": service}
    for number in (signal.SIGSTOP, signal.SIGKILL):  # so that nobody can begin another one in between
        for role in roles:
            os.kill(pids[role], number)
    faults.wait_until(lambda: not any(faults.is_alive(pids[role]) for role in roles), "the killed have ended")


@contextlib.contextmanager
def busy(house: House) -> Iterator[None]:
    """Have a container with connections of all kinds, and each of those talk on when it has ended."""
    phone = house.phone
    address = house.start("net-a", "--port", "8080:80,9000:90/udp")
    house.inside("net-a", INSIDE)
    with (
        talking(phone.wifi.prefix, f"tcp|{WIFI}|8080", f"tcp|{WIFI6}|8080", f"udp|{WIFI}|9000"),
        talking(phone.prefix, "tcp|127.0.0.1|8080", "udp|127.0.0.1|9000", f"tcp|{address}|80"),
    ):
        wait_for("those of the container are there", lambda: len(kept(phone)) == 4)
        yield


def kept(phone: Phone) -> list[str]:
    """Return those of the remembered connections that no process of Berth's has a part in."""
    ends = ("src=172.28.", "src=fd", f"src={WIFI_ROUTER} ", "src=2001:0db8:0001:0000:0000:0000:0000:0001 ")
    return [
        line for line in remembered(phone) if line.startswith(ends) and (" dport=7 " in line or " dport=8080 " in line)
    ]


@pytest.fixture
def served(walled: tuple[str, House]) -> Iterator[House]:
    """A house whose phone has the service, and a firewall of its own that remembers connections."""
    _, house = walled
    house.phone.succeed("nft", "add table inet own; add chain inet own c { type filter hook input priority 0; }")
    house.phone.succeed("nft", "add rule inet own c ct state established accept")
    service = Service(house.phone.berth)
    service.start()
    yield house
    house.phone.berth("stop", "--all", "--timeout", "1")
    service.end()


def test_connections_under_way_outlive_whoever_is_killed_but_the_container_and_no_others_are_touched(
    served: House,
) -> None:
    phone = served.phone
    with talking(phone.prefix, f"tcp|{INTERNET}|7", f"tcp|{INTERNET6}|7"):
        wait_for("the phone's own are there", lambda: len(remembered(phone)) == 2)
        before, others = phone.state(), remembered(phone)
        with busy(served):
            under_way = kept(phone)
            kill_at_once(phone, "net", "monitor")
            phone.berth.succeed("recover")
            assert kept(phone) == under_way
            kill_at_once(phone, "init")
            wait_for("its new monitor has undone all of it", lambda: not phone.net_processes())
            assert phone.changes(before) == []
        with busy(served):
            kill_at_once(phone, "net", "monitor", "supervisor", "init")
            phone.berth.succeed("recover")
            wait_for("nobody is left", lambda: not phone.net_processes())
            assert phone.changes(before) == []
        assert [line for line in remembered(phone) if line in others] == others
