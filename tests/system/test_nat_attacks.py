"""What root in a container tries on the network, and does not get."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import GATEWAY, SUBNET, House
from tests.phone import INTERNET, INTERNET6, NAMED, WIFI, told, wait_for

pytestmark = pytest.mark.system


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


ASK = """\
import socket, sys
query = bytes.fromhex("abcd01000001000000000000016107") + b"example" + bytes.fromhex("0000010001")
for kind, framed in ((socket.SOCK_DGRAM, query), (socket.SOCK_STREAM, len(query).to_bytes(2, "big") + query)):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(float(sys.argv[2]))
        try:
            sock.connect((sys.argv[1], 53))
            sock.send(framed)
            if b"\\xab\\xcd" in sock.recv(1000):
                print(kind.name)
        except OSError:
            pass
"""
"""Prints by what kinds of socket a name server answers within so many seconds."""


def test_from_outside_only_published_ports_are_reached(house: House) -> None:
    address = house.start("net-a", "--port", "8080:81")
    house.phone.wifi.ip("route", "add", SUBNET, "via", WIFI)
    inside = ["nsenter", "--target", str(told(house.phone.berth, "net-a")["pid"]), "--net"]

    assert house.phone.wifi.fetch(address, seconds=1) is None
    assert house.phone.wifi.succeed(sys.executable, "-c", ASK, GATEWAY, "1") == ""
    asked = subprocess.run([*inside, sys.executable, "-c", ASK, GATEWAY, "20"], capture_output=True, check=True)
    assert asked.stdout == b"SOCK_DGRAM\nSOCK_STREAM\n"
    assert house.phone.wifi.fetch(WIFI, 8080) == "net-a"


def test_ipv6_can_t_be_sent_from_the_address_of_another_either(house: House) -> None:
    house.start("net-a")
    house.start("net-b")
    other = house.inside("net-b", "ip -6 address show eth0 | sed -n 's|.*inet6 \\(fd[^/]*\\)/.*|\\1|p'")
    assert other.startswith("fd")
    house.phone.wifi.succeed("nft", "add table ip6 t; add chain ip6 t i { type filter hook input priority 0; }")
    house.phone.wifi.succeed("nft", "add rule ip6 t i icmpv6 type echo-request counter")

    house.inside("net-a", f"ip address add {other}/128 dev eth0; ping6 -c 2 -W 1 -I {other} {INTERNET6}")
    assert "counter packets 0 " in house.phone.wifi.succeed("nft", "list chain ip6 t i")

    house.inside("net-a", f"ip address del {other}/128 dev eth0; ping6 -c 2 -W 1 {INTERNET6}")
    assert "counter packets 0 " not in house.phone.wifi.succeed("nft", "list chain ip6 t i")


def test_a_rogue_dhcp_server_and_forged_arp_reach_nobody(house: House) -> None:
    house.start("net-a")
    other = house.start("net-b")
    config = "interface eth0\\nstart 172.28.66.6\\nend 172.28.66.9\\noption router 172.28.66.1\\n"
    house.inside("net-a", f"mkdir -p /var/lib/misc; touch /var/lib/misc/udhcpd.leases; printf '{config}' > /tmp/rogue")
    house.inside("net-a", "(udhcpd -f /tmp/rogue > /dev/null 2>&1 &)")
    house.inside("net-a", f"ip address add {other}/32 dev eth0; arping -U -c 2 -I eth0 -s {other} {GATEWAY}")
    house.inside("net-a", f"ip address add {GATEWAY}/32 dev eth0; arping -U -c 2 -I eth0 -s {GATEWAY} {other}")

    script = "/tmp/lease"
    house.inside("net-b", f"printf '#!/bin/sh\\nenv\\n' > {script}; chmod +x {script}")
    lease = house.inside("net-b", f"udhcpc -f -q -n -t 20 -s {script} -i eth0").splitlines()

    assert {f"serverid={GATEWAY}", f"ip={other}"} <= {*lease}
    assert house.phone.fetch(other) == "net-b"
    assert house.fetch("net-b", INTERNET) == f"wifi {WIFI}"


FLOOD = """\
import socket, struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("172.28.0.1", 53))
for number in range(20000):
    name = b"\\x08" + b"%08d" % number + b"\\0"
    try:
        sock.send(struct.pack("!6H", number & 0xffff, 0x100, 1, 0, 0, 0) + name + b"\\0\\1\\0\\1")
    except OSError:
        pass
"""


def test_one_that_floods_the_resolver_is_no_matter_to_others(house: House) -> None:
    house.start("net-a")
    house.start("net-b")
    init = str(told(house.phone.berth, "net-a")["pid"])
    with subprocess.Popen(["nsenter", "--target", init, "--net", sys.executable, "-c", FLOOD]) as flood:
        wait_for(
            "others are answered", lambda: f"Address: {NAMED}" in house.inside("net-b", "nslookup -type=a a.example")
        )
        flood.kill()

    process = house.phone.net_process()
    assert process is not None
    wait_for("what it opened is closed", lambda: len(list(Path(f"/proc/{process}/fd").iterdir())) < 40)
