"""What root in a container tries on the network, and does not get."""

import subprocess

import pytest

from tests.house import GATEWAY, SUBNET, House, house
from tests.phone import INTERNET, WIFI, phone

pytestmark = pytest.mark.system
__all__ = ["house", "phone"]


def test_nobody_can_send_from_the_address_of_another(house: House) -> None:
    house.start("net-a")
    other = house.start("net-b")

    house.inside("net-a", f"ip address add {other}/32 dev eth0")
    spoofed = house.inside("net-a", f"ping -c 1 -W 1 -I {other} {INTERNET}")

    assert "1 packets transmitted, 0 packets received" in spoofed
    assert house.fetch("net-b", INTERNET) == f"wifi {WIFI}"


def test_what_the_phone_has_on_localhost_is_out_of_reach(house: House) -> None:
    house.start("net-a")
    holder = "import socket\ns = socket.create_server(('127.0.0.1', 8765)); print(1, flush=True); s.accept()"
    with subprocess.Popen([*house.phone.prefix, "python3", "-c", holder], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        house.inside("net-a", f"ip route add 127.0.0.1 via {GATEWAY} table local 2>&1; ip route del 127.0.0.0/8")
        for place in (GATEWAY, WIFI, "127.0.0.1"):
            assert house.inside("net-a", f"nc -w 1 {place} 8765 </dev/null && echo reached") != "reached"
        program.kill()


def test_from_outside_only_published_ports_are_reached(house: House) -> None:
    address = house.start("net-a", "--port", "8080:81")
    house.phone.wifi.ip("route", "add", SUBNET, "via", WIFI)

    assert house.phone.wifi.fetch(address, seconds=1) is None
    assert house.phone.wifi.fetch(GATEWAY, 53, seconds=1) is None
    assert house.phone.wifi.fetch(WIFI, 8080) == "net-a"
