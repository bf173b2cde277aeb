"""A container that begins connections without an end: how many of them the phone remembers."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import GATEWAY, Factory, House
from tests.phone import INTERNET, INTERNET6, WIFI, WIFI6, Phone, told

pytestmark = pytest.mark.system
TABLE = 400
MOST = TABLE // 2
"""What one container may have of it."""
CROWDS = 300

CROWD = """\
import socket, sys
for host in sys.argv[1:]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for port in range(20000, 20300):
            try:
                sock.sendto(b"x", (host, port))
            except OSError:
                pass
"""


def have_table(phone: Phone, folder: Path) -> None:
    """Have the phone's connections be remembered for long, and say that it can remember few."""
    phone.shell("sysctl -q net.netfilter.nf_conntrack_udp_timeout=600")
    size = folder / "size"
    size.write_text(f"{TABLE}\n")
    phone.succeed("mount", "--bind", size, "/proc/sys/net/netfilter/nf_conntrack_max")


def crowd(prefix: list[str], *hosts: str) -> None:
    """Begin 300 connections to each of these from the network that `prefix` leads to."""
    subprocess.run([*prefix, sys.executable, "-c", CROWD, *hosts], check=True, timeout=60)


def network_of(house: House, name: str) -> list[str]:
    return ["nsenter", "--target", str(told(house.phone.berth, name)["pid"]), "--net", "--"]


def remembered(phone: Phone, source: str) -> int:
    """Return how many of these connections the phone remembers that an address which begins with `source` began."""
    lines = phone.succeed("cat", "/proc/net/nf_conntrack").splitlines()
    return sum(" udp " in line and line[line.index("src=") :].startswith(f"src={source}") for line in lines)


def test_no_container_has_more_than_half_of_what_the_phone_can_remember(
    walled: tuple[str, House], scratch: Path
) -> None:
    _, house = walled
    phone = house.phone
    have_table(phone, scratch)
    for name, flags in (("net-a", ()), ("net-b", ("--bridge",))):
        address = house.start(name, *flags)
        crowd(network_of(house, name), INTERNET, GATEWAY)
        assert remembered(phone, address) == MOST, name
    crowd(network_of(house, "net-a"), INTERNET6)
    assert remembered(phone, "fd") == MOST

    crowd(phone.prefix, INTERNET)
    assert remembered(phone, WIFI) >= CROWDS


def test_a_kernel_that_can_t_count_connections_has_all_the_rest(phone: Phone, rootfs: Factory, scratch: Path) -> None:
    have_table(phone, scratch)
    tools = scratch / "tools"
    tools.mkdir()
    for name in ("iptables-restore", "ip6tables-restore"):
        (tools / name).write_text(
            f"#!/bin/sh\nrules=$(cat)\ncase $rules in *connlimit*) exit 2;; esac\n"
            f'printf "%s\\n" "$rules" | /usr/sbin/xtables-nft-multi {name} "$@"\n'
        )
        (tools / name).chmod(0o755)
    phone.succeed("mount", "-t", "overlay", "-o", f"lowerdir={tools}:/usr/sbin", "overlay", "/usr/sbin")
    house = House(phone, rootfs)

    address = house.start("net-a", "--port", "8080:80")

    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"
    assert house.fetch("net-a", INTERNET6) == f"wifi {WIFI6}"
    assert phone.wifi.fetch(WIFI, 8080) == "net-a"
    crowd(network_of(house, "net-a"), INTERNET)
    assert remembered(phone, address) >= CROWDS
