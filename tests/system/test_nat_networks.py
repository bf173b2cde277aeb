"""Networks that a phone may be on: a VPN with routes of its own, mobile networks of either family, a hotspot."""

from collections.abc import Iterator

import pytest

from tests.house import House
from tests.phone import INTERNET, INTERNET6, MOBILE, NAMED, SOON, WIFI, Place, wait_for

pytestmark = pytest.mark.system
OFFICE, TUNNEL = "10.8.0.1", "10.8.0.2"
CLAT, CLAT_ROUTER = "192.0.0.4", "192.0.0.1"
MOBILE6, MOBILE6_ROUTER = "2001:db8:2::2", "2001:db8:2::1"
GUESTS = {"ap0": "192.168.43", "rndis0": "192.168.42", "usb0": "192.168.44"}
"""What the phone's interfaces for a hotspot and for a tether by USB are called, and their networks."""
WEB = """\
import http.server
class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"office {self.client_address[0]}".encode())
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("", 80), Web)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture
def office(house: House) -> Iterator[Place]:
    """What is behind a VPN, tun0: one network, beside the internet as before."""
    made = Place(house.phone.berth.home, "python3", "-c", WEB)
    house.phone.shell(
        f"ip link add tun0 type veth peer name tun0 netns {made.pid}; ip address add {TUNNEL}/24 dev tun0;"
        "ip link set tun0 up"
    )
    made.shell(f"ip address add {OFFICE}/24 dev tun0; ip link set tun0 up; ip address add {INTERNET}/32 dev lo")
    yield made
    house.phone.berth("stop", "--all", "--timeout", "1")
    house.phone.shell("ip link del tun0 || true")
    made.end()
    house.phone.put_back()


def test_with_split_routes_only_what_is_behind_the_vpn_goes_by_it(house: House, office: Place) -> None:
    house.start("la-a")

    assert house.fetch("la-a", OFFICE) == f"office {TUNNEL}"
    assert house.fetch("la-a", INTERNET) == f"wifi {WIFI}"
    house.phone.ip("route", "add", "203.0.113.0/24", "via", OFFICE, "dev", "tun0")  # the VPN asks for more
    wait_for("that goes by it, too", lambda: house.fetch("la-a", INTERNET, seconds=SOON) == f"office {TUNNEL}")


def test_a_pinned_vpn_is_a_kill_switch(house: House, office: Place) -> None:
    way = ("route", "add", "default", "via", OFFICE, "dev", "tun0", "metric", "50")
    house.phone.ip(*way)
    house.start("la-a", "--upstream=tun*")
    assert house.fetch("la-a", INTERNET) == f"office {TUNNEL}"
    house.phone.ip("link", "set", "tun0", "down")

    wait_for("the way is closed", lambda: "office" not in house.fetch("la-a", INTERNET, seconds=SOON))
    asked = "nft list chain ip t i"
    house.phone.wifi.shell(
        "nft add table ip t; nft 'add chain ip t i { type filter hook input priority 0; }';"
        "nft add rule ip t i udp dport 53 counter"
    )
    assert "SERVFAIL" in house.inside("la-a", "nslookup -type=a example.org")
    assert "packets 0 " in house.phone.wifi.shell(asked), "not even the names are asked for by another way"
    house.start("la-b")
    assert f"Address: {NAMED}" in house.inside("la-b", "nslookup -type=a example.org")
    assert "packets 0 " not in house.phone.wifi.shell(asked)
    assert house.phone.fetch(INTERNET) == f"wifi {WIFI}"
    assert "wifi" not in house.fetch("la-a", INTERNET, seconds=SOON)
    assert "wifi" not in house.fetch("la-a", INTERNET6, seconds=SOON)
    said = house.phone.berth("net", "diagnose", "la-a").stdout
    assert "uplink: BROKEN, none of --upstream tun* is up with a default route" in " ".join(said.split())
    house.phone.ip("link", "set", "tun0", "up")
    house.phone.ip(*way)
    wait_for("it is open again", lambda: house.fetch("la-a", INTERNET, seconds=SOON) == f"office {TUNNEL}")


@pytest.mark.parametrize("flags", [(), ("--upstream=rmnet_data*,v4-rmnet_data*",)], ids=["as-the-phone", "pinned"])
def test_an_ipv6_only_mobile_network_with_clat_serves_both_families(house: House, flags: tuple[str, ...]) -> None:
    phone, mobile = house.phone, house.phone.mobile
    phone.shell(  # the phone's translator is an interface of its own, v4-rmnet_data0
        "ip route flush table main; ip -6 route flush table main; ip address flush dev rmnet_data0;"
        f"ip link set wlan0 down; ip -6 address add {MOBILE6}/64 dev rmnet_data0;"
        f"ip -6 route add default via {MOBILE6_ROUTER} dev rmnet_data0;"
        f"ip link add v4-rmnet_data0 mtu 1472 type veth peer name clat netns {mobile.pid};"
        f"ip address add {CLAT}/24 dev v4-rmnet_data0; ip link set v4-rmnet_data0 up;"
    )
    mobile.shell(f"ip -6 address add {MOBILE6_ROUTER}/64 dev out; ip address add {CLAT_ROUTER}/24 dev clat")
    mobile.shell("ip link set clat up")
    phone.ip("route", "add", "default", "via", CLAT_ROUTER, "dev", "v4-rmnet_data0")
    try:
        house.start("la-a", *flags)
        assert house.fetch("la-a", INTERNET) == f"mobile {CLAT}"
        assert house.fetch("la-a", INTERNET6) == f"mobile {MOBILE6}"
        assert house.inside("la-a", "cat /sys/class/net/eth0/mtu") == "1472"
        assert "uplink: v4-rmnet_data0" in phone.berth.succeed("net")
    finally:
        phone.berth("stop", "--all", "--timeout", "1")
        phone.shell("ip link del v4-rmnet_data0; ip -6 address flush dev rmnet_data0 scope global")
        phone.ip("address", "add", f"{MOBILE}/24", "dev", "rmnet_data0")
        phone.put_back()


def test_clients_of_the_phones_hotspot_and_usb_tether_reach_a_port(walled: tuple[str, House]) -> None:
    _, house = walled
    phone = house.phone
    guests = {link: Place(phone.berth.home) for link in GUESTS}
    try:
        for link, guest in guests.items():
            phone.shell(
                f"ip link add {link} type veth peer name eth0 netns {guest.pid};"
                f"ip address add {GUESTS[link]}.1/24 dev {link}; ip link set {link} up"
            )
            guest.shell(f"ip address add {GUESTS[link]}.7/24 dev eth0; ip link set eth0 up")
            guest.ip("route", "add", "default", "via", f"{GUESTS[link]}.1")
        address = house.start("la-a", "--port=8080:80")
        bridged = house.start("la-b", "--bridge", "--port=8081:80")

        for link, guest in guests.items():
            for place in (f"{GUESTS[link]}.1", WIFI):
                assert [guest.fetch(place, port) for port in (8080, 8081)] == ["la-a", "la-b"], link
            assert [guest.fetch(to, seconds=0.5) for to in (address, bridged)] == [None, None]
    finally:
        phone.berth("stop", "--all", "--timeout", "1")
        for link, guest in guests.items():
            phone.shell(f"ip link del {link} || true")
            guest.end()
