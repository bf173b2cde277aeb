"""`--net=lan`: a container with a place of its own on the LAN that the phone is on."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from demo.busybox import BUSYBOX
from tests import faults, quick
from tests.ears import Ear, Word, say
from tests.house import GATEWAY, SUBNET, TAKES_LEASES, House
from tests.phone import INTERNET, SOON, WIFI, WIFI_ROUTER, Phone, Place, told, wait_for
from tests.reused_pid import stranger
from tests.system.test_nat_attacks import ASK
from tests.system.test_nat_doors import LISTEN, reached

pytestmark = pytest.mark.system
NEIGHBOUR = "192.0.2.50"
DHCP = f"""\
start 192.0.2.100
end 192.0.2.150
interface lan
opt router {WIFI_ROUTER}
opt subnet 255.255.255.0
opt dns {INTERNET}
"""
SERVER = f"""\
{TAKES_LEASES}while :; do
    [ -e /static ] || ip address show eth0 | grep -q 192.0.2 || udhcpc -q -n -i eth0 -t 3 -T 1 -s /tmp/lease
    sleep 0.2
done >/dev/null 2>&1
"""


class Lan:
    """The phone's LAN: its Wi-Fi router, which has a DHCP server, and a neighbour."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.phone: Phone = house.phone
        self.berth = house.phone.berth
        router = self.phone.wifi
        self.neighbour = Place(self.berth.home)
        router.shell(
            f"ip link add lan type bridge; ip link add next type veth peer name eth0 netns {self.neighbour.pid};"
            f"ip link set next master lan up; ip link set lan up; ip address add {WIFI_ROUTER}/24 dev lan;"
            f"ip address del {WIFI_ROUTER}/24 dev out; ip link set out master lan"
        )
        self.neighbour.shell(f"ip address add {NEIGHBOUR}/24 dev eth0; ip link set eth0 up")
        config, leases = folder / "udhcpd.conf", folder / "leases"
        leases.touch()
        config.write_text(f"{DHCP}lease_file {leases}\npidfile {folder}/udhcpd.pid\n")
        self._server = subprocess.Popen([*router.prefix, BUSYBOX, "udhcpd", "-f", config], stderr=subprocess.DEVNULL)

    def start(self, name: str, *flags: str) -> str:
        """Start a container on the LAN and return what was said."""
        root = self.house.rootfs("busybox")
        quick.write_init(root, "/sbin/server", SERVER)
        if any(flag.startswith("--ip") for flag in flags):
            (root / "static").touch()
        started = self.berth("start", name, "--rootfs", root, "--init", "/sbin/server", "--lan", *flags)
        assert started.returncode == 0, started.stderr
        return " ".join(started.stderr.split())

    def address(self, name: str) -> str:
        """Wait until container `name` has an address, and return that."""
        held = "ip -4 address show eth0 | sed -n 's|.*inet \\(.*\\)/24.*|\\1|p'"
        wait_for("it has an address", lambda: self.house.inside(name, held))
        return self.house.inside(name, held)

    def plug(self, name: str) -> dict[str, Any]:
        """Return what `berth net` tells of container `name`."""
        found: dict[str, Any] = next(
            plug for plug in json.loads(self.berth.succeed("net", "--json"))["plugs"] if plug["name"] == name
        )
        return found

    def lose_wifi(self) -> None:
        """Take the phone's interface away, as some do when Wi-Fi is switched off."""
        self._mac = json.loads(self.phone.ip("-json", "link", "show", "wlan0"))[0]["address"]
        self.phone.ip("link", "del", "wlan0")

    def bring_wifi(self) -> None:
        """Have it come back, the same as before."""
        self.phone.shell(
            f"ip link add wlan0 address {self._mac} type veth peer name out netns {self.phone.wifi.pid};"
            f"ip address add {WIFI}/24 dev wlan0"
        )
        self.phone.wifi.shell("ip link set out master lan up")
        self.phone.ip("link", "set", "wlan0", "up")
        self.phone.put_back()

    def end(self) -> None:
        """End its DHCP server and the neighbour."""
        self._server.kill()
        self._server.wait()
        self.neighbour.end()


@pytest.fixture
def lan(house: House, scratch: Path) -> Iterator[Lan]:
    made = Lan(house, scratch)
    yield made
    made.berth("stop", "--all", "--timeout", "1")
    made.end()


def test_it_has_an_address_of_the_lan_and_everybody_there_reaches_it(lan: Lan) -> None:
    before = lan.phone.state()
    said = lan.start("la-a")
    address = lan.address("la-a")

    assert address.startswith("192.0.2.1")
    wait_for("the neighbour reaches it", lambda: lan.neighbour.fetch(address, seconds=SOON) == "la-a")
    assert lan.house.fetch("la-a", INTERNET) == f"wifi {address}"
    assert lan.phone.fetch(INTERNET) == f"wifi {WIFI}"
    caveat = "many Wi-Fi drivers and access points let only the phone's own address through"
    assert caveat in said
    for command in ("plan", "info"):
        assert caveat in " ".join(lan.berth.succeed(command, "la-a").split())
    plug = lan.plug("la-a")
    assert (plug["connected"], plug["told"]) == (True, "macvlan on wlan0")
    assert plug["mac"] == lan.house.inside("la-a", "cat /sys/class/net/eth0/address")
    assert told(lan.berth, "la-a")["network"] == "lan"

    lan.berth.succeed("restart", "la-a", "--timeout", "1")
    assert lan.address("la-a") == address  # its MAC is the same
    lan.berth.succeed("stop", "la-a", "--timeout", "1")
    assert lan.phone.changes(before) == []


def test_an_address_of_the_users_choice_is_there_when_init_starts(lan: Lan) -> None:
    lan.start("la-a", "--ip=192.0.2.77")

    wait_for("the neighbour reaches it", lambda: lan.neighbour.fetch("192.0.2.77", seconds=SOON) == "la-a")
    assert lan.house.fetch("la-a", INTERNET) == "wifi 192.0.2.77"
    assert lan.house.inside("la-a", "cat /etc/resolv.conf") == f"nameserver {INTERNET}"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--ip=10.1.2.3",), "--ip 10.1.2.3 is not on the LAN of wlan0 (192.0.2.0/24)"),
        ((f"--ip={WIFI}",), f"--ip {WIFI} is the phone's own address; choose another one"),
    ],
)
def test_an_address_that_can_t_be_had_is_refused(lan: Lan, flags: tuple[str, ...], sentence: str) -> None:
    refused = lan.berth("start", "la-a", "--rootfs", lan.house.rootfs("busybox"), "--lan", *flags)

    assert (refused.returncode, sentence in refused.stderr) == (1, True), refused.stderr
    assert "la-a" not in lan.berth.succeed("list", "--names")


def test_it_is_plugged_in_when_the_wifi_comes_and_again_when_it_comes_back(lan: Lan) -> None:
    lan.lose_wifi()
    said = lan.start("la-a", "--lan-iface=wl*")
    assert "no wl* is up now; the container has no network until one is there" in said
    assert lan.plug("la-a")["told"] == "waits for a LAN"
    assert lan.berth("net", "diagnose", "la-a").returncode == 1

    for _ in range(2):
        lan.bring_wifi()
        wait_for("it is plugged in", lambda: lan.plug("la-a")["connected"])
        address = lan.address("la-a")
        wait_for("the neighbour reaches it", partial(lan.neighbour.fetch, address, seconds=SOON))
        lan.lose_wifi()
        wait_for("that is told", lambda: not lan.plug("la-a")["connected"])
    lan.bring_wifi()


def test_a_net_process_that_was_killed_leaves_it_plugged_in(lan: Lan) -> None:
    lan.start("la-a", "--ip=192.0.2.77")
    net = lan.phone.net_process()
    assert net is not None

    faults.kill(net)

    wait_for("there is another one", lambda: lan.phone.net_process() not in (None, net))
    assert lan.plug("la-a")["connected"]
    assert lan.neighbour.fetch("192.0.2.77") == "la-a"


def test_where_the_lan_reflects_what_it_is_sent_a_container_is_to_the_phone_as_any_other_device_there(lan: Lan) -> None:
    """Many access points do; otherwise a container on the LAN reaches nothing of the phone, which shares its link."""
    phone = lan.phone
    address = lan.house.start("la-n", "--port", "8080:80")
    lan.start("la-a", "--ip=192.0.2.77")
    with subprocess.Popen([*phone.prefix, sys.executable, "-c", LISTEN], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        open_to_all, published = f"{WIFI}|8765", f"{WIFI}|8080"
        closed = [f"{place}|8765" for place in ("127.0.0.1", "::1")] + [f"{address}|80"]
        try:
            tries = (open_to_all, published, *closed)
            assert reached(lan.house, "la-a", *tries) == set()

            phone.wifi.shell("ip link set out type bridge_slave hairpin on")
            inside, other = (
                ["nsenter", "--target", str(told(lan.berth, name)["pid"]), "--net"] for name in ("la-a", "la-n")
            )
            subprocess.run([*inside, "ip", "route", "replace", SUBNET, "via", WIFI], check=True)
            assert reached(lan.house, "la-a", *tries) == {open_to_all, published}
            asked = subprocess.run([*inside, sys.executable, "-c", ASK, GATEWAY, "1"], capture_output=True, check=True)
            assert asked.stdout == b""
            with Ear(other) as ear:
                say(inside, *(Word(f"as-{source}", source, address) for source in ("192.0.2.77", WIFI, GATEWAY)))
                assert ear.heard() == []
        finally:
            program.kill()


def test_whoever_has_the_pid_of_a_container_that_was_killed_keeps_his_network(lan: Lan, scratch: Path) -> None:
    lan.start("la-a")
    killed = told(lan.berth, "la-a")
    faults.kill(killed["monitor_pid"])
    faults.kill(killed["pid"])
    make = "ip link add eth0 type veth && touch $0 && exec sleep 100"
    look = ("nsenter", f"--net=/proc/{killed['pid']}/ns/net", "ip", "link", "show", "eth0")
    made = scratch / "made"

    with stranger(killed["pid"], "unshare", "--net", "sh", "-c", make, str(made)):
        faults.wait_until(made.exists, "the stranger has a link of that name")
        assert "what its crash left is undone" in lan.berth.succeed("recover")

        subprocess.run(look, check=True, capture_output=True)
