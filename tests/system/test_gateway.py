"""`--net=gateway`: a container whose LAN belongs to another container, as its user sees it."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from berth.network.datagrams import datagram
from demo.busybox import BUSYBOX
from tests import faults, quick
from tests.ears import Ear, Word, say
from tests.house import GATEWAY, TAKES_LEASES, House
from tests.phone import INTERNET, SOON, WIFI, told, wait_for
from tests.system.test_nat_bridge import LISTEN, SEND

pytestmark = pytest.mark.system
ROUTER = """\
#!/bin/sh
mkdir -p /var/lib/misc; touch /var/lib/misc/udhcpd.leases
printf '%s\\n' 'start 192.168.77.20' 'end 192.168.77.90' 'interface eth1' 'opt router 192.168.77.1' \\
    'opt subnet 255.255.255.0' 'opt dns 192.168.77.1' > /etc/udhcpd.conf
trap 'exit 0' TERM
while :; do
    if ip link show eth1 && ! ip address show eth1 | grep 192.168.77.1/; then
        ip address add 192.168.77.1/24 dev eth1; echo 1 > /proc/sys/net/ipv4/ip_forward
        killall udhcpd; udhcpd -S
    fi
    sleep 0.1
done >/dev/null 2>&1
"""
CLIENT = f"""\
{TAKES_LEASES}udhcpc -f -i eth0 -t 1000 -T 1 -s /tmp/lease >/tmp/udhcpc.log 2>&1 &
while :; do sleep 3600 & wait $!; done
"""


class Lan:
    """A house in which the container `la-router` is the router of others."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.berth = house.phone.berth

    def start_router(self) -> int:
        """Start it, have it translate what it forwards, and return its init's pid."""
        if "la-router" not in self.berth.succeed("list", "--names"):
            root = self.house.rootfs("busybox")
            quick.write_init(root, "/sbin/router", ROUTER)
            self.berth.succeed("start", "la-router", "--rootfs", root, "--init", "/sbin/router", "--net=nat")
        else:
            self.berth.succeed("start", "la-router")
        return self.translate()

    def translate(self) -> int:
        """Have the router give its clients its own address, as its firewall would, and return its init's pid."""
        pid = int(told(self.berth, "la-router")["pid"])
        rule = ["iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE"]
        subprocess.run(["nsenter", "--target", str(pid), "--net", *rule], check=True)
        return pid

    def start(self, name: str, *flags: str) -> str:
        """Start a client of it and return what the start said."""
        root = self.house.rootfs("busybox")
        quick.write_init(root, "/sbin/server", CLIENT)
        words: tuple[str | Path, ...] = (
            "--rootfs",
            root,
            "--init",
            "/sbin/server",
            "--net=gateway",
            "--gateway=la-router",
            *flags,
        )
        started = self.berth("start", name, *words)
        assert started.returncode == 0, started.stderr
        return started.stderr

    def address(self, name: str) -> str:
        """Wait until the router has given the client `name` an address, and return that."""
        held = "ip -4 address show eth0 | sed -n 's|.*inet \\(.*\\)/24.*|\\1|p'"
        wait_for("it has an address", lambda: self.house.inside(name, held))
        return self.house.inside(name, held)

    def wait_for_way_out(self, name: str) -> None:
        """Wait until the client `name` reaches the internet."""
        wait_for("it reaches the internet", lambda: self.house.fetch(name, INTERNET, seconds=SOON) == f"wifi {WIFI}")

    def plug(self, name: str) -> dict[str, Any]:
        """Return what `berth net` tells of the client `name`."""
        told_of = json.loads(self.berth.succeed("net", "--json"))
        found: dict[str, Any] = next(plug for plug in told_of["plugs"] if plug["name"] == name)
        return found


@pytest.fixture
def lan(house: House) -> Lan:
    return Lan(house)


def test_clients_have_the_lan_of_their_gateway_and_reach_out_through_it(lan: Lan) -> None:
    before = lan.house.phone.state()
    lan.start_router()
    assert lan.start("la-a") == ""
    lan.start("la-b")
    first, second = lan.address("la-a"), lan.address("la-b")
    lan.wait_for_way_out("la-a")

    assert first.startswith("192.168.77.")
    assert first != second
    assert lan.house.fetch("la-a", second) == "la-b"
    assert lan.house.phone.fetch(first, seconds=1) is None  # the phone has no part in it
    said = lan.berth.succeed("net")
    assert "gateway: LAN lan of la-router, at its eth1" in said
    assert told(lan.berth, "la-a")["network"] == "gateway"

    lan.berth.succeed("stop", "la-a", "la-b", "la-router", "--timeout", "1")
    assert lan.house.phone.changes(before) == []


def test_a_phone_that_forwards_nothing_of_itself_lets_a_lan_be(lan: Lan) -> None:
    lan.house.phone.shell("iptables -P FORWARD DROP; sysctl -q net.bridge.bridge-nf-call-iptables=1")
    lan.start_router()
    lan.start("la-a")

    lan.wait_for_way_out("la-a")


def test_a_client_that_comes_first_is_plugged_in_when_its_gateway_starts(lan: Lan) -> None:
    lan.start_router()
    lan.berth.succeed("stop", "la-router", "--timeout", "1")

    said = lan.start("la-a")

    assert "its gateway la-router does not run; it has no network until that starts" in said
    assert not lan.plug("la-a")["connected"]
    broken = lan.berth("net", "diagnose", "la-a")
    assert (broken.returncode, "which does not run, so it has no network" in broken.stdout) == (1, True)
    assert lan.house.inside("la-a", "cat /sys/class/net/eth0/carrier") == "0"
    lan.start_router()
    assert lan.plug("la-a")["connected"]
    lan.wait_for_way_out("la-a")


@pytest.mark.parametrize("end", ["stop", "reboot", "kill", "kill all"])
def test_a_gateway_that_ends_is_told_and_its_clients_are_plugged_in_again(lan: Lan, end: str) -> None:
    pid = lan.start_router()
    lan.start("la-a")
    lan.wait_for_way_out("la-a")
    if end == "stop":
        lan.berth.succeed("stop", "la-router", "--timeout", "1")
    elif end == "reboot":
        lan.house.inside("la-router", "kill -HUP 1; busybox reboot -f")
        wait_for("it has come again", lambda: told(lan.berth, "la-router")["pid"] not in (pid, None))
        wait_for("it is a router again", lambda: lan.plug("la-a")["connected"])
        lan.translate()
        lan.wait_for_way_out("la-a")
        return
    elif end == "kill":
        os.kill(pid, signal.SIGKILL)
        wait_for("its end was seen", lambda: told(lan.berth, "la-router")["state"] == "stopped")
    else:
        net = lan.house.phone.net_process()
        assert net is not None
        for victim in (told(lan.berth, "la-router")["monitor_pid"], net, pid):
            faults.kill(victim)
        lan.berth.succeed("recover")

    assert not lan.plug("la-a")["connected"]
    wait_for("the cable is dead", lambda: lan.house.inside("la-a", "cat /sys/class/net/eth0/carrier") == "0")
    lan.start_router()
    lan.wait_for_way_out("la-a")


def test_lans_of_one_gateway_are_apart(lan: Lan) -> None:
    pid = lan.start_router()
    lan.start("la-a")
    lan.start("la-b", "--gateway-net=iot", "--gateway-iface=eth2")
    lan.address("la-a")

    assert "eth2" in lan.house.inside("la-router", "ls /sys/class/net")
    lan.house.inside("la-b", "ip address add 192.168.77.99/24 dev eth0")
    assert "1 packets received" not in lan.house.inside("la-b", "ping -c 1 -W 1 192.168.77.1")
    refusals = {
        ("la-c", "--gateway-net=iot"): "give each LAN an interface of its own with --gateway-iface",
        ("la-c", "--gateway-iface=eth7"): "la-router has its LAN lan at eth1",
        ("la-c", "--gateway-net=third", "--gateway-iface=eth2"): "la-router has its LAN iot at eth2, by container la-b",
        ("la-c", "--gateway-net=third", "--gateway-iface=eth0"): "la-router has an interface eth0 already",
    }
    for (name, *flags), sentence in refusals.items():
        words: tuple[str | Path, ...] = (
            "--rootfs",
            lan.house.rootfs("busybox"),
            "--net=gateway",
            "--gateway=la-router",
            *flags,
        )
        refused = lan.berth("start", name, *words)
        assert (refused.returncode, sentence in refused.stderr) == (1, True), refused.stderr
    assert told(lan.berth, "la-router")["pid"] == pid


def test_a_gateway_that_can_t_be_one_is_refused(lan: Lan) -> None:
    berth, root = lan.berth, lan.house.rootfs("busybox")
    berth.succeed("start", "la-h", "--rootfs", root, "--net=host")
    berth.succeed("stop", "la-h", "--timeout", "1")
    for gateway, sentence in (
        ("la-h", "--gateway la-h has --net=host, so it has no way out to share"),
        ("nobody", 'there is no container "nobody"'),
        ("la-x", "a container can't be its own router"),
    ):
        refused = berth("start", "la-x", "--rootfs", root, "--net=gateway", "--gateway", gateway)
        assert (refused.returncode != 0, sentence in refused.stderr) == (True, True), refused.stderr


def test_a_net_process_that_was_killed_knows_its_segments(lan: Lan) -> None:
    before = lan.house.phone.state()
    lan.start_router()
    lan.start("la-a")
    lan.wait_for_way_out("la-a")
    net = lan.house.phone.net_process()
    assert net is not None

    faults.kill(net)

    wait_for("there is another one", lambda: lan.house.phone.net_process() not in (None, net))
    wait_for("it knows", lambda: lan.plug("la-a")["connected"])
    assert lan.house.fetch("la-a", INTERNET) == f"wifi {WIFI}"
    lan.berth.succeed("stop", "--all", "--timeout", "1")
    assert lan.house.phone.changes(before) == []


# What a client, or the gateway, tries on that LAN.


def network_of(lan: Lan, name: str) -> list[str]:
    """Return what makes a program of this machine run in the network of container `name`."""
    return ["nsenter", "--target", str(told(lan.berth, name)["pid"]), "--net", "--"]


@pytest.mark.parametrize(("name", "link"), [("la-a", "eth0"), ("la-router", "eth1")])
def test_the_phone_is_nobody_there_whatever_it_is_sent(lan: Lan, name: str, link: str) -> None:
    phone = lan.house.phone
    lan.start_router()
    lan.start("la-a")
    own = {"la-a": lan.address("la-a"), "la-router": "192.168.77.1"}[name]
    victim = lan.house.start("la-n")
    bridge = next(told for told in json.loads(phone.ip("-json", "link")) if told["ifname"].startswith("bgw"))
    inside = network_of(lan, name)
    targets = (WIFI, GATEWAY, victim, INTERNET)
    for target in targets:
        subprocess.run(
            [*inside, "ip", "neigh", "replace", target, "lladdr", bridge["address"], "dev", link], check=True
        )
        subprocess.run([*inside, "ip", "route", "replace", target, "dev", link], check=True)

    anywhere = phone.setting("net.ipv4.conf.all.rp_filter", "0")
    ears = Ear(phone.prefix), Ear(network_of(lan, "la-n")), Ear(phone.wifi.prefix)
    with anywhere, ears[0] as here, ears[1] as there, ears[2] as outside:
        say(inside, *(Word(f"{source}>{target}", source, target) for source in (own, victim) for target in targets))
        assert [ear.heard() for ear in (here, there, outside)] == [[], [], []]
    for flags in (("-c", "1"), ("-D", "-c", "1")):
        arping = [*inside, BUSYBOX, "arping", *flags, "-w", "1", "-I", link, WIFI]
        asked = subprocess.run(arping, check=False, capture_output=True)
        assert b"Received 0 " in asked.stdout


# What a client says to the others, some of it by headers that hide it.

MAC = bytes.fromhex("020000000066")
ALL, ALL6, ONE6 = bytes([255] * 6), socket.inet_pton(socket.AF_INET6, "ff02::1"), bytes.fromhex("fe80") + bytes(14)


def said4(name: str, ports: tuple[int, int], *, tags: str = "") -> str:
    """Return the frame of a datagram to everybody, with its name in it."""
    packet = datagram(("192.168.77.66", ports[0]), ("255.255.255.255", ports[1]), f"FRAME {name};".encode())
    return (ALL + MAC + bytes.fromhex(tags) + b"\x08\0" + packet).hex()


def said6(name: str, head: str, *, header: int = 58, hops: int = 255, to: bytes = ALL6) -> str:
    """Return the frame of an IPv6 packet: `head` is how its body begins, `header` of which kind that is."""
    body = bytes.fromhex(head) + bytes(24) + f"FRAME {name};".encode()
    packet = struct.pack("!IHBB", 6 << 28, len(body), header, hops) + bytes.fromhex("fe80") + bytes(13) + b"\x66" + to
    return (ALL + MAC + b"\x86\xdd" + packet + body).hex()


OPTIONS, TO_CLIENT6 = "3a00010400000000", "0223022200200000"
AS_A_ROUTER = (
    said4("serves-dhcp", (67, 68)),
    said4("serves-dhcp-by-a-tag", (67, 68), tags="81000000"),
    said4("serves-dhcp-by-two-tags", (67, 68), tags="8100000081000000"),
    said4("serves-dhcp-by-a-longer-tag", (67, 68), tags="8100000088a80000"),
    said6("announces-a-router", "86000000"),
    said6("announces-one-behind-options", f"{OPTIONS}86000000", header=60),
    said6("announces-one-in-a-fragment", f"3a00000100000007{'86000000'}", header=44),
    said6("redirects", "89000000"),
    said6("serves-dhcpv6", TO_CLIENT6, header=17, hops=64, to=ONE6),
    said6("serves-dhcpv6-behind-options", f"11{OPTIONS[2:]}{TO_CLIENT6}", header=60, hops=64, to=ONE6),
    said6("serves-dhcpv6-to-all-behind-options", f"11{OPTIONS[2:]}{TO_CLIENT6}", header=60, hops=64),
    said6("serves-dhcpv6-to-all-in-a-fragment", f"1100000100000007{TO_CLIENT6}", header=44, hops=64),
    said6("serves-dhcpv6-to-all-behind-other-options", f"11{OPTIONS[2:]}{TO_CLIENT6}", header=0, hops=64),
)
AS_ANYBODY = (
    said4("asks-dhcp", (68, 67)),
    said4("talks", (9, 9)),
    said4("talks-by-a-tag", (9, 9), tags="81000000"),
    said6("asks-for-a-neighbour", "87000000"),
    said6("answers-a-neighbour", "88000000"),
    said6("asks-for-a-router", "85000000"),
    said6("says-its-groups", "3a00050200000000" + "8f000000", header=0, hops=1),
    said6("multicasts-its-name", "14e914e900200000", header=17),
    said6("says-much-in-fragments", "1100000100000007" + "0009000900200000", header=44, hops=64),
    said6("goes-on-in-fragments", f"1100000900000007{TO_CLIENT6}", header=44, hops=64),
)


def names_of(frames: Sequence[str]) -> list[str]:
    return [bytes.fromhex(frame).partition(b"FRAME ")[2].removesuffix(b";").decode() for frame in frames]


def test_only_the_gateway_gives_out_addresses_and_speaks_for_routers(lan: Lan) -> None:
    lan.start_router()
    lan.start("la-a")
    lan.start("la-b")

    def heard(name: str, link: str, *frames: str) -> list[str]:
        """Have container `name` send these; return the names of those that la-b has heard."""
        listen, send = ([sys.executable, "-c", text] for text in (LISTEN, SEND.replace("eth0", link)))
        with subprocess.Popen([*network_of(lan, "la-b"), *listen], stdout=subprocess.PIPE, text=True) as listens:
            assert listens.stdout is not None
            assert listens.stdout.readline() == "ready\n"
            sent = "\n".join((*frames, said4("end", (9, 9))))
            subprocess.run([*network_of(lan, name), *send], check=True, input=sent, text=True)
            return listens.stdout.read().split()[:-1]

    assert heard("la-a", "eth0", *AS_A_ROUTER, *AS_ANYBODY) == names_of(AS_ANYBODY)
    assert heard("la-router", "eth1", *AS_A_ROUTER, *AS_ANYBODY) == names_of((*AS_A_ROUTER, *AS_ANYBODY))


NAMES = """\
import os, socket
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 0))
for _ in range(5000):
    sock.send(bytes([255] * 6) + b"\\2" + os.urandom(5) + b"\\x88\\xb5" + bytes(60))
"""


def test_one_with_thousands_of_mac_addresses_takes_no_room_in_the_phones_memory(lan: Lan) -> None:
    lan.start_router()
    lan.start("la-a")
    subprocess.run([*network_of(lan, "la-a"), sys.executable, "-c", NAMES], check=True)

    known = lan.house.phone.succeed("bridge", "fdb", "show").splitlines()
    assert len([line for line in known if "bgw" in line]) < 20
    lan.wait_for_way_out("la-a")
