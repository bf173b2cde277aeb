"""What a container on the network claims to be, told to the phone itself: nothing but the truth gets through."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.ears import Ear, Word, say
from tests.house import GATEWAY, House
from tests.phone import INTERNET, INTERNET6, WIFI, WIFI6, WIFI6_ROUTER, WIFI_ROUTER, Phone, told

pytestmark = pytest.mark.system


def lease_of(phone: Phone, name: str) -> dict[str, str]:
    """Return the addresses of container `name`, and the phone's end of its link as `link`."""
    members = json.loads(phone.berth.succeed("net", "--json"))["members"]
    found = next(member for member in members if member["name"] == name)
    return {**found["lease"], "link": found["link"]}


def network_of(house: House, name: str) -> list[str]:
    """Return what makes a program of this machine run in the network of container `name`."""
    return ["nsenter", "--target", str(told(house.phone.berth, name)["pid"]), "--net", "--"]


@pytest.fixture
def anywhere(phone: Phone) -> Iterator[None]:
    """Have the phone take any source that it has a route to, as some systems do, whatever a link's own setting is."""
    with phone.setting("net.ipv4.conf.all.rp_filter", "2"):
        yield


@pytest.mark.usefixtures("anywhere")
def test_what_claims_to_come_from_elsewhere_does_not_reach_the_phone(walled: tuple[str, House]) -> None:
    _, house = walled
    phone = house.phone
    for name in ("net-a", "net-b"):
        house.start(name)
    own, other = lease_of(phone, "net-a"), lease_of(phone, "net-b")
    inside = network_of(house, "net-a")

    def tries(*sources: str) -> list[Word]:
        targets = {4: (GATEWAY, WIFI), 6: (own["gateway6"], WIFI6)}
        return [
            Word(f"{source}>{target}", source, target)
            for source in sources
            for target in targets[6 if ":" in source else 4]
        ]

    outside = tries(INTERNET, WIFI_ROUTER, INTERNET6, WIFI6_ROUTER)
    true = tries(own["address"], own["address6"])
    with Ear(phone.prefix) as ear:
        say(inside, *true, *outside, *tries(other["address"], other["address6"]), *true)
        assert ear.heard() == [word.name for word in (*true, *true)]

    phone.shell(f"tc qdisc del dev {own['link']} ingress")  # a kernel that can't look at frames
    with Ear(phone.prefix) as ear:
        say(inside, *true, *outside, *true)
        assert ear.heard() == [word.name for word in (*true, *true)]


MANY = """\
import socket, struct, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 0))
mac, gateway, gateway6 = sock.getsockname()[4], socket.inet_aton(sys.argv[1]), sys.argv[2]
target, group = (socket.inet_pton(socket.AF_INET6, address) for address in (gateway6, "ff02::1:ff00:1"))
for number in range(2000):
    source, digits = bytes((0xfe, 0x80, *bytes(10))), struct.pack("!I", 77 << 16 | number)
    body = target + bytes((1, 1)) + mac
    size = struct.pack("!I", 8 + len(body))
    total = sum(struct.unpack("!36H", source + digits + group + size + struct.pack("!IHHI", 58, 135 << 8, 0, 0) + body))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    head = struct.pack("!IHBB", 6 << 28, 8 + len(body), 58, 255) + source + digits + group
    asks = struct.pack("!BBHI", 135, 0, ~total & 0xffff, 0) + body
    sock.send(bytes.fromhex("3333ff000001") + mac + b"\\x86\\xdd" + head + asks)
    asks = bytes.fromhex("0001080006040001") + mac + gateway[:2] + digits[2:] + bytes(6) + gateway
    sock.send(bytes([255] * 6) + mac + b"\\x08\\x06" + asks)
"""


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("flags", [(), ("--bridge",)], ids=["routed", "bridged"])
def test_one_with_thousands_of_addresses_takes_no_room_among_the_phones_neighbours(
    house: House, flags: tuple[str, ...]
) -> None:
    phone = house.phone
    house.start("net-a", *flags)
    own = lease_of(phone, "net-a")

    many = [*network_of(house, "net-a"), sys.executable, "-c", MANY, own["gateway"], own["gateway6"]]
    subprocess.run(many, check=True, timeout=60)

    assert len(phone.ip("neigh", "show").splitlines()) < 20
    assert phone.fetch(INTERNET6) == f"wifi {WIFI6}"
    assert house.fetch("net-a", INTERNET6) == f"wifi {WIFI6}"
