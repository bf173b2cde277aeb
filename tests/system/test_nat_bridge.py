"""`--bridge`: containers that hear each other on the bridge berth0, and can't be mistaken for each other there."""

import json
import socket
import struct
import subprocess
import sys
import time

import pytest

from berth.network.bridge import MAC as PHONE_MAC
from berth.network.datagrams import datagram
from tests import faults
from tests.house import GATEWAY, House
from tests.phone import INTERNET, INTERNET6, NAMED, SOON, WIFI, WIFI6, told, wait_for

pytestmark = pytest.mark.system

HEAR = """\
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 9999))
sock.settimeout(60)
print("ready", flush=True)
print(sock.recv(100).decode(), flush=True)
"""
SAY = """\
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
sock.sendto(b"who is there", ("172.28.255.255", 9999))
"""


def within(house: House, name: str, program: str, *arguments: str) -> list[str]:
    """Return the command that runs a Python program in the network of container `name`."""
    init = str(told(house.phone.berth, name)["pid"])
    return ["nsenter", "--target", init, "--net", sys.executable, "-c", program, *arguments]


def test_containers_on_the_bridge_have_all_that_others_have(house: House) -> None:
    phone, berth = house.phone, house.phone.berth
    first = house.start("net-a", "--bridge", "--port", "8080:80,9081-9082:81-82")
    second = house.start("net-b", "--bridge", "--port", "8081:80")
    routed = house.start("net-c")

    assert house.inside("net-a", "cat /at-first").count(f"inet {first}/16") == 1
    assert [house.fetch("net-a", INTERNET), house.fetch("net-a", INTERNET6)] == [f"wifi {WIFI}", f"wifi {WIFI6}"]
    assert [house.fetch("net-a", place) for place in (second, routed)] == ["net-b", "net-c"]
    assert [house.fetch("net-c", place) for place in (first, second)] == ["net-a", "net-b"]
    assert [phone.wifi.fetch(place, 8080) for place in (WIFI, WIFI6)] == ["net-a"] * 2
    assert [phone.wifi.fetch(WIFI, port) for port in (9082, 8081)] == ["net-a", "net-b"]
    assert [phone.fetch(place, 8080) for place in (WIFI, GATEWAY, "127.0.0.1", "::1")] == ["net-a"] * 4
    for name in ("net-a", "net-b", "net-c"):
        assert [house.fetch(name, place, 8080) for place in (GATEWAY, WIFI)] == ["net-a"] * 2
    assert f"Address: {second}" in house.inside("net-a", "nslookup net-b.berth")
    assert f"Address: {NAMED}" in house.inside("net-a", "nslookup -type=a example.org")
    six = house.inside("net-b", "ip -6 address show eth0 | sed -n 's|.*inet6 \\(fd[^/]*\\)/.*|\\1|p'")
    assert house.fetch("net-a", six) == "net-b"
    assert six not in house.inside("net-a", "ip -6 neigh"), "it goes by the phone, which did not tell it otherwise"
    member = json.loads(berth.succeed("net", "--json"))["members"][0]
    assert f"link: {member['link']} on the bridge berth0, gateway {GATEWAY}" in berth.succeed("net")
    assert "gateway: ok" in berth.succeed("net", "diagnose", "net-a")


def test_they_hear_each_others_broadcasts(house: House) -> None:
    house.start("net-a", "--bridge")
    house.start("net-b", "--bridge")
    with subprocess.Popen(within(house, "net-b", HEAR), stdout=subprocess.PIPE, text=True) as hears:
        assert hears.stdout is not None
        assert hears.stdout.readline() == "ready\n"
        subprocess.run(within(house, "net-a", SAY), check=True)
        assert hears.stdout.readline() == "who is there\n"


def test_a_dhcp_client_on_the_bridge_gets_its_own_address(house: House) -> None:
    addresses = [house.start(name, "--bridge", "--hostname", f"host-{name}") for name in ("net-a", "net-b")]
    for name, address in zip(("net-a", "net-b"), addresses, strict=True):
        house.inside(name, "printf '#!/bin/sh\\nenv\\n' > /tmp/lease; chmod +x /tmp/lease; ip address flush dev eth0")
        lease = house.inside(name, "udhcpc -f -q -n -t 20 -s /tmp/lease -i eth0").splitlines()
        wanted = {f"ip={address}", f"router={GATEWAY}", f"serverid={GATEWAY}", f"hostname=host-{name}"}
        assert wanted <= {*lease}, lease


def test_the_bridge_goes_with_the_last_and_survives_the_net_process(house: House) -> None:
    phone = house.phone
    before = phone.state()
    house.start("net-a", "--bridge")
    net = phone.net_process()
    assert net is not None
    faults.kill(net)
    wait_for("there is another one", lambda: phone.net_process() not in (None, net))
    address = house.start("net-b", "--bridge")
    assert house.fetch("net-a", address) == "net-b"
    init = told(phone.berth, "net-a")["pid"]
    house.inside("net-a", "rm /at-first; kill -HUP 1; busybox reboot -f")
    wait_for("it has come again", lambda: told(phone.berth, "net-a")["pid"] not in (init, None))
    wait_for("its network too", lambda: house.fetch("net-a", address, seconds=SOON) == "net-b")

    phone.berth.succeed("stop", "net-a")
    assert house.fetch("net-b", INTERNET) == f"wifi {WIFI}"
    info = told(phone.berth, "net-b")
    net = phone.net_process()
    assert net is not None
    for pid in (net, info["monitor_pid"], info["pid"]):
        faults.kill(pid)
    phone.berth.succeed("recover")
    assert phone.changes(before) == []


def test_the_mtu_of_all_on_the_bridge_is_the_least(house: House) -> None:
    phone = house.phone
    phone.ip("link", "set", "rmnet_data0", "mtu", "1400")
    phone.ip("route", "add", "default", "via", "198.51.100.1", "dev", "rmnet_data0", "metric", "900")
    house.start("net-a", "--bridge")
    house.start("net-b", "--bridge", "--upstream=rmnet*")
    house.start("net-c")

    assert [house.inside(f"net-{one}", "cat /sys/class/net/eth0/mtu") for one in "abc"] == ["1400", "1400", "1500"]
    phone.ip("link", "set", "rmnet_data0", "mtu", "1500")
    wait_for("it follows", lambda: house.inside("net-a", "cat /sys/class/net/eth0/mtu") == "1500")
    phone.berth.succeed("stop", "--all", "--timeout", "1")
    phone.put_back()


@pytest.mark.parametrize("others", ["--bridge", ""], ids=["bridged", "routed"])
def test_an_isolated_one_is_cut_off_from_the_others(house: House, others: str) -> None:
    closed = house.start("net-a", "--bridge", "--isolated")
    open_one = house.start("net-b", *([others] if others else []))

    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"
    assert house.fetch("net-a", open_one, seconds=SOON) != "net-b"
    assert house.fetch("net-b", closed, seconds=SOON) != "net-a"
    assert "NXDOMAIN" in house.inside("net-b", "nslookup net-a.berth")
    assert f"Address: {NAMED}" in house.inside("net-a", "nslookup -type=a example.org")


def test_a_limit_of_bandwidth_holds_on_the_bridge(house: House) -> None:
    house.start("net-a", "--bridge", "--bandwidth-up", "500K")
    house.inside("net-a", "head -c 1000000 /dev/zero > /tmp/www/big")
    address = told(house.phone.berth, "net-a")["address"]

    began = time.monotonic()
    house.phone.succeed("curl", "-s", "-o", "/dev/null", f"http://{address}/big")

    assert time.monotonic() - began > 0.8 * 1_000_000 / (500 << 10)


# What somebody on the bridge claims to be.

SEND = """\
import socket, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 0))
for line in sys.stdin:
    sock.send(bytes.fromhex(line))
"""
LISTEN = """\
import socket
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sock.bind(("eth0", 3))
sock.settimeout(60)
print("ready", flush=True)
while True:
    frame, whence = sock.recvfrom(3000)
    if b"FRAME " in frame and whence[2] != 4:  # not what leaves here
        name = frame[frame.index(b"FRAME ") + 6 :].split(b";")[0].decode()
        print(name, flush=True)
        if name == "end":
            break
"""
END = """\
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"FRAME end;", (sys.argv[1], 9))
"""
ALL, ALL6, ASKED6 = bytes([255] * 6), bytes.fromhex("333300000001"), bytes.fromhex("3333ff000001")


class Frames:
    """Frames that container net-a may try, each with its name in it."""

    def __init__(self, house: House) -> None:
        (self.mac, self.ip, self.six), (self.mac2, self.ip2, self.six2) = (self._who(house, n) for n in ("a", "b"))
        self.address, self.address2 = socket.inet_ntoa(self.ip), socket.inet_ntoa(self.ip2)
        self.phone = bytes.fromhex(PHONE_MAC.replace(":", ""))
        self.gateway = socket.inet_aton(GATEWAY)
        self.group6 = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:1")

    @staticmethod
    def _who(house: House, one: str) -> tuple[bytes, bytes, bytes]:
        lease = next(
            m for m in json.loads(house.phone.berth.succeed("net", "--json"))["members"] if m["name"][-1] == one
        )
        lease = lease["lease"]
        mac = bytes.fromhex(lease["mac"].replace(":", ""))
        return mac, socket.inet_aton(lease["address"]), socket.inet_pton(socket.AF_INET6, lease["address6"])

    def arp(self, name: str, *, sender: bytes, by: bytes, target: bytes = b"\0\0\0\0", to: bytes = ALL) -> str:
        """An ARP answer that says that `sender` is at `by`."""
        body = bytes.fromhex("0001080006040002") + by + sender + to + target
        return self._frame(name, to, 0x0806, body)

    def ip4(self, name: str, *, source: str, to: bytes = ALL, ports: tuple[int, int] = (9, 9), mac: bytes = b"") -> str:
        """A datagram to everybody; as a DHCP client's it would bear the sender's own MAC address."""
        data = bytes(28) + self.mac + f"FRAME {name};".encode()
        packet = datagram((source, ports[0]), ("255.255.255.255", ports[1]), data)
        return self._frame(name, to, 0x0800, packet, mac=mac)

    def ip6(self, name: str, *, source: bytes, to: bytes, target: bytes, kind: int = 135) -> str:
        """A message of ICMPv6."""
        data = struct.pack("!BBHI", kind, 0, 0, 0) + self.six + f"FRAME {name};".encode()
        return self._frame(name, to, 0x86DD, struct.pack("!IHBB", 6 << 28, len(data), 58, 255) + source + target + data)

    def _frame(self, name: str, to: bytes, kind: int, body: bytes, *, mac: bytes = b"") -> str:
        return (to + (mac or self.mac) + struct.pack("!H", kind) + body + f"FRAME {name};".encode()).hex()


def heard(house: House, frames: list[str]) -> list[str]:
    """Have net-a send `frames`; return the names of those that net-b has heard when the phone says "end"."""
    address = str(told(house.phone.berth, "net-b")["address"])
    with subprocess.Popen(within(house, "net-b", LISTEN), stdout=subprocess.PIPE, text=True) as listens:
        assert listens.stdout is not None
        assert listens.stdout.readline() == "ready\n"
        sent = subprocess.run(within(house, "net-a", SEND), check=False, input="\n".join(frames), text=True)
        house.phone.succeed(sys.executable, "-c", END, address)
        names = listens.stdout.read().split()
    assert (sent.returncode, names[-1]) == (0, "end")
    return names[:-1]


def test_nobody_on_the_bridge_can_be_taken_for_another(house: House) -> None:
    house.start("net-a", "--bridge")
    house.start("net-b", "--bridge")
    of = Frames(house)
    all6 = socket.inet_pton(socket.AF_INET6, "ff02::1")
    link_local = socket.inet_pton(socket.AF_INET6, "fe80::1")
    tries = [
        of.arp("arp-as-the-phone", sender=of.gateway, by=of.mac),
        of.arp("arp-as-another", sender=of.ip2, by=of.mac),
        of.arp("arp-for-another", sender=of.ip, by=of.mac2),
        of.ip4("from-another", source=of.address2),
        of.ip4("from-nobody", source="0.0.0.0"),
        of.ip4("from-elsewhere", source=INTERNET),
        of.ip4("by-another-mac", source=of.address, mac=of.mac2),
        of.ip4("by-the-phones-mac", source=of.address, mac=of.phone),
        of.ip4("serves-dhcp", source=of.address, ports=(67, 68)),
        of.ip4("asks-dhcp-of-another-as-itself", source=of.address, to=of.mac2, ports=(68, 67)),
        of.ip4("asks-dhcp-of-another", source="0.0.0.0", to=of.mac2, ports=(68, 67)),
        of.ip6("announces-a-router", source=of.six, to=ALL6, target=all6, kind=134),
        of.ip6("announces-a-router-where-one-is-asked", source=of.six, to=ASKED6, target=all6, kind=134),
        of.ip6("is-a-neighbour", source=of.six, to=of.mac2, target=of.six2, kind=136),
        of.ip6("six-from-another", source=of.six2, to=ASKED6, target=of.group6),
        of.ip6("six-from-the-phone", source=link_local, to=ALL6, target=all6, kind=134),
        of._frame("another-protocol", ALL, 0x88CC, bytes(60)),
        of._frame("short-arp", ALL, 0x0806, b""),
    ]
    tagged = bytes.fromhex(of.ip4("tagged", source=of.address))
    tries.append((tagged[:12] + bytes.fromhex("81000007") + tagged[12:]).hex())

    assert heard(house, tries) == []
    control = [of.arp("arp", sender=of.ip, by=of.mac), of.ip4("to-one", source=of.address, to=of.mac2)]
    control.append(of.ip4("to-all", source=of.address))
    control.append(of.ip6("asks-for-the-phone", source=of.six, to=ASKED6, target=of.group6))
    assert heard(house, control) == ["arp", "to-one", "to-all", "asks-for-the-phone"]
    neighbours = house.phone.ip("neigh", "show", "dev", "berth0")
    assert neighbours.count("PERMANENT") == 4, neighbours


def test_frames_past_the_phone_reach_no_isolated_container_and_come_from_none(house: House) -> None:
    house.start("net-a", "--bridge")
    house.start("net-b", "--bridge", "--isolated")
    of = Frames(house)
    frames = [of.ip4("to-one", source=of.address, to=of.mac2), of.ip4("to-all", source=of.address)]
    assert heard(house, [*frames, of.arp("arp", sender=of.ip, by=of.mac)]) == []
    house.phone.berth.succeed("stop", "--all", "--timeout", "1")
    house.start("net-a", "--bridge", "--isolated")
    house.start("net-b", "--bridge")
    assert heard(house, [*frames, of.arp("arp", sender=of.ip, by=of.mac)]) == []
