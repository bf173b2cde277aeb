"""DHCP clients that people have: each gets, renews and gives up the very lease that its container has already."""

import json
import subprocess
import sys

import pytest

from tests import quick
from tests.house import GATEWAY, House
from tests.phone import INTERNET, WIFI, told, wait_for

pytestmark = pytest.mark.system
IDLE = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 3600 & wait $!; done\n"


class Client:
    """A container whose network its DHCP client is to make anew."""

    def __init__(self, house: House, rootfs: str) -> None:
        self.house = house
        self.root = house.rootfs(rootfs)
        self.address = ""

    def start(self, *flags: str) -> None:
        """Start it and take away what it has of the network already."""
        self.house.phone.berth.succeed("start", "la-a", "--rootfs", self.root, "--net=nat", *flags)
        self.address = str(told(self.house.phone.berth, "la-a")["address"])

    def start_idle(self) -> None:
        """Start it with an init that does nothing of itself."""
        quick.write_init(self.root, "/sbin/idle", IDLE)
        self.start("--init", "/sbin/idle")
        self.house.inside("la-a", "ip -4 address flush dev eth0")

    def run(self, script: str) -> str:
        """Run a shell script inside and return what was said; it must end well."""
        done = self.house.phone.berth("run", "la-a", "--", "sh", "-c", script, seconds=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def wait_for_network(self) -> None:
        """Wait until it has its address and its way out again."""
        mine = f"ip -4 address show eth0 | grep -q 'inet {self.address}/16' && ip route | grep -q 'via {GATEWAY}'"
        berth = self.house.phone.berth
        wait_for("the lease is in force", lambda: berth("run", "la-a", "--", "sh", "-c", mine).returncode == 0)

    def reaches_out(self) -> bool:
        """Whether it reaches the internet."""
        ask = f"exec 3<>/dev/tcp/{INTERNET}/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        said = self.house.phone.berth("run", "la-a", "--", "bash", "-c", ask).stdout
        return f"wifi {WIFI}" in said


def test_udhcpc_requests_renews_and_releases(house: House) -> None:
    client = Client(house, "busybox")
    client.start_idle()
    have = '[ "$1" = deconfig ] && ip -4 address flush dev eth0 || ip address replace $ip/16 dev eth0'
    (client.root / "tmp/say").write_text(f'#!/bin/sh\n{have}\necho "$1 $ip" >> /tmp/said\n')
    (client.root / "tmp/say").chmod(0o755)
    house.inside("la-a", "(udhcpc -f -R -i eth0 -s /tmp/say -p /tmp/pid >/dev/null 2>&1 &)")
    said = client.root / "tmp/said"

    def happened(what: str) -> None:
        wait_for(what, lambda: said.exists() and f"{what} {client.address}\n" in said.read_text())

    happened("bound")
    client.run("kill -USR1 $(cat /tmp/pid)")
    happened("renew")
    client.run("kill -USR2 $(cat /tmp/pid)")
    wait_for("released", lambda: said.read_text().count("deconfig") == 2)
    client.run("kill -USR1 $(cat /tmp/pid)")  # after a release: from the beginning
    wait_for("bound again", lambda: said.read_text().count(f"bound {client.address}\n") == 2)


def test_dhclient_requests_renews_and_releases(house: House) -> None:
    client = Client(house, "debian-s6")
    client.start_idle()
    dhclient = "dhclient -v -1 -lf /tmp/leases -pf /tmp/pid eth0"

    first = client.run(dhclient)
    assert "DHCPDISCOVER on eth0 to 255.255.255.255 port 67" in first
    assert f"DHCPACK of {client.address} from {GATEWAY}" in first
    client.wait_for_network()
    assert client.reaches_out()
    again = client.run(f"kill $(cat /tmp/pid); {dhclient}")
    assert f"DHCPREQUEST for {client.address} on eth0" in again
    assert "DHCPDISCOVER" not in again
    released = client.run("dhclient -v -r -lf /tmp/leases -pf /tmp/pid eth0")
    assert f"DHCPRELEASE of {client.address} on eth0 to {GATEWAY}" in released
    assert f"DHCPACK of {client.address}" in client.run(dhclient)


def test_networkmanager_takes_the_lease(house: House) -> None:
    client = Client(house, "debian-s6")
    client.start_idle()

    client.run("mkdir -p /run/dbus; dbus-daemon --system; NetworkManager")
    client.run("nmcli connection add type ethernet con-name lease ifname eth0 ipv4.method auto ipv6.method ignore")
    assert "successfully activated" in client.run("nmcli --wait 30 connection up lease")
    client.wait_for_network()
    told_by_it = client.run("nmcli --get-values IP4.ADDRESS,IP4.GATEWAY,IP4.DNS,IP4.DOMAIN device show eth0").split()
    assert told_by_it == [f"{client.address}/16", GATEWAY, GATEWAY, "berth"]
    assert client.reaches_out()
    client.run("nmcli --wait 30 connection down lease; nmcli --wait 30 connection up lease")
    client.wait_for_network()


def test_systemd_networkd_takes_the_lease(house: House) -> None:
    client = Client(house, "debian-systemd")
    network = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n"
    (client.root / "etc/systemd/network/eth0.network").write_text(network)
    wants = client.root / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    wants.symlink_to("/lib/systemd/system/systemd-networkd.service")
    client.start()

    def status() -> str:
        return house.inside("la-a", "networkctl status eth0")

    wait_for("networkd has its lease", lambda: f"Address: {client.address} (DHCP4 via {GATEWAY})" in status())
    client.wait_for_network()
    client.run("networkctl renew eth0; networkctl reconfigure eth0")
    wait_for("it has it again", lambda: "routable (configured)" in status() and client.address in status())
    assert client.reaches_out()


CLIENT = """\
import asyncio, json, signal, sys
from pyroute2.dhcp.client import AsyncDHCPClient, ClientConfig
from pyroute2.dhcp.fsm import State
from pyroute2.dhcp.hooks import configure_ip
from pyroute2.dhcp.leases import JSONStdoutLease

async def main():
    config = ClientConfig(interface="eth0", lease_type=JSONStdoutLease, hooks=[configure_ip])
    async with AsyncDHCPClient(config) as client:
        await client.bootstrap()
        await client.wait_for_state(State.BOUND, timeout=20)
        first = client.lease.ip
        await client._renew()
        await client.wait_for_state(State.BOUND, timeout=20)
        print(json.dumps([first, client.lease.ip, client.lease.server_id]), file=sys.stderr)

asyncio.run(main())
"""


def test_pyroute2_s_own_client_requests_renews_and_releases(house: House) -> None:
    client = Client(house, "busybox")
    client.start_idle()
    init = str(told(house.phone.berth, "la-a")["pid"])

    asked = ["nsenter", "--target", init, "--net", sys.executable, "-c", CLIENT]
    done = subprocess.run(asked, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == [client.address, client.address, GATEWAY]


DECLINE = """\
import socket, struct, sys
mac = bytes.fromhex(sys.argv[3].replace(":", ""))
def message(kind, options):
    head = struct.pack("!BBBBIHH4s4s4s4s16s64s128s", 1, 1, 6, 0, 7, 0, 0x8000, b"", b"", b"", b"", mac, b"", b"")
    return head + b"\\x63\\x82\\x53\\x63" + bytes([53, 1, kind]) + options + b"\\xff"
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
sock.bind(("", 68))
sock.settimeout(30)
address, server = map(socket.inet_aton, sys.argv[1:3])
sock.sendto(message(4, bytes([50, 4]) + address + bytes([54, 4]) + server), ("255.255.255.255", 67))
sock.sendto(message(1, b""), ("255.255.255.255", 67))
answer = sock.recv(2000)
print(answer[242], socket.inet_ntoa(answer[16:20]))
"""


def test_an_address_that_a_client_declines_stays_its_own(house: House) -> None:
    client = Client(house, "busybox")
    client.start_idle()
    client.run(f"ip address add {client.address}/16 dev eth0")
    init = str(told(house.phone.berth, "la-a")["pid"])
    mac = house.inside("la-a", "cat /sys/class/net/eth0/address")

    asked = ["nsenter", "--target", init, "--net", sys.executable, "-c", DECLINE, client.address, GATEWAY, mac]
    done = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60)

    assert done.stdout.split() == ["2", client.address]
