"""`berth net diagnose`: each piece of a container's way out is broken on purpose, named, and cured as it says."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house import GATEWAY, House
from tests.phone import INTERNET, WIFI, Phone, told, wait_for

pytestmark = pytest.mark.system
FORWARDING = "/proc/sys/net/ipv4/ip_forward"


def diagnosed(house: House, name: str = "la-a") -> tuple[str, str]:
    """Return the piece that is named as broken, "" for none, and all that was said."""
    done = house.phone.berth("net", "diagnose", name)
    broken = [line.partition(":")[0] for line in done.stdout.splitlines() if ": BROKEN" in line]
    assert done.returncode == bool(broken), done.stdout + done.stderr
    return (broken[0] if broken else "", done.stdout)


def test_a_way_that_is_whole_is_told_piece_by_piece(house: House) -> None:
    address = house.start("la-a")

    broken, said = diagnosed(house)

    assert broken == ""
    pieces = [line.partition(":")[0] for line in said.splitlines()]
    assert pieces == ["address", "route", "gateway", "forward rule", "uplink", "DNS"]
    assert f"address: ok, eth0 has {address}" in said


def drop(phone: Phone, chain: str = "FORWARD") -> None:
    phone.succeed("iptables", "-I", chain, "1", "-s", "172.28.0.0/16", "-j", "DROP")


def stop_forwarding_for_good(phone: Phone) -> None:
    """Switch forwarding off, and have Berth not be able to switch it on again, which it does at once otherwise."""
    phone.shell(f"mount --bind {FORWARDING} {FORWARDING}; mount -o remount,bind,ro {FORWARDING}")
    network = ["nsenter", "--target", str(phone.pid), "--net", "sysctl", "-q"]
    subprocess.run([*network, "net.ipv4.ip_forward=0"], check=True)


def flush_for_good(phone: Phone, folder: Path) -> None:
    """Flush a chain, and have Berth not be able to put back what was in it, which it does at once otherwise."""
    tools = folder / "tools"
    tools.mkdir()
    broken = tools / "iptables-restore"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    phone.succeed("mount", "-t", "overlay", "-o", f"lowerdir={tools}:/usr/sbin", "overlay", "/usr/sbin")
    phone.succeed("iptables", "-F", "FORWARD")


def test_each_piece_that_is_broken_is_named_with_a_cure_that_helps(house: House, scratch: Path) -> None:
    phone, berth = house.phone, house.phone.berth
    address = house.start("la-a")
    link = next(line.split()[1].rstrip(",") for line in berth.succeed("net").splitlines() if "link:" in line)

    def mend() -> str:
        return berth.succeed("recover")

    breaks: list[tuple[str, str, Callable[[], object], Callable[[], object]]] = [
        (
            "address",
            f"eth0 inside does not have {address}",
            lambda: house.inside("la-a", "ip address flush dev eth0"),
            lambda: berth.succeed("restart", "la-a", "--timeout", "1"),
        ),
        (
            "route",
            "the default route inside is missing",
            lambda: house.inside("la-a", "ip route del default"),
            lambda: house.inside("la-a", f"ip route replace default via {GATEWAY} dev eth0"),
        ),
        (
            "gateway",
            f"{link} has lost the address {GATEWAY}",
            lambda: phone.ip("address", "flush", "dev", link),
            lambda: berth.succeed("restart", "la-a", "--timeout", "1"),
        ),
        (
            "forward rule",
            "forwarding is switched off (net.ipv4.ip_forward is 0)",
            lambda: stop_forwarding_for_good(phone),
            lambda: phone.succeed("umount", FORWARDING) + mend(),
        ),
        (
            "forward rule",
            "the firewall lacks FORWARD -> BERTH-FORWARD (table filter)",
            lambda: flush_for_good(phone, scratch),
            lambda: phone.succeed("umount", "/usr/sbin") + mend(),
        ),
        (
            "forward rule",
            f"{INTERNET} answers the phone and not the container",
            lambda: drop(phone),
            lambda: phone.succeed("iptables", "-D", "FORWARD", "1"),
        ),
        (
            "uplink",
            f"the phone itself gets no answer from its name server {INTERNET} by wlan0",
            lambda: phone.wifi.ip("link", "set", "out", "down"),
            lambda: phone.wifi.ip("link", "set", "out", "up"),
        ),
        ("uplink", "the phone has no default route", lambda: phone.ip("route", "del", "default"), phone.put_back),
        (
            "DNS",
            "/etc/resolv.conf inside names no server",
            lambda: house.inside("la-a", ": > /etc/resolv.conf"),
            lambda: house.inside("la-a", f"echo nameserver {GATEWAY} > /etc/resolv.conf"),
        ),
        (
            "DNS",
            f"the phone's resolver at {GATEWAY} does not answer",
            lambda: drop(phone, "INPUT"),
            lambda: phone.succeed("iptables", "-D", "INPUT", "1"),
        ),
        (
            "DNS",
            "the phone's name servers do not answer",
            lambda: phone.shell("echo nameserver 127.0.0.53 > /etc/resolv.conf"),
            lambda: phone.shell(f"echo nameserver {INTERNET} > /etc/resolv.conf"),
        ),
    ]
    for piece, sentence, do, undo in breaks:
        do()
        broken, said = diagnosed(house)
        assert (broken, " ".join(said.split()).count(sentence)) == (piece, 1), said
        undo()
        wait_for(f"{piece} is whole again", lambda: diagnosed(house)[0] == "")
    assert house.fetch("la-a", INTERNET) == f"wifi {WIFI}"


def test_what_has_no_way_of_its_own_is_not_walked(house: House) -> None:
    berth = house.phone.berth
    root = house.rootfs("busybox")
    for net, sentence in (("host", "has the phone's own network"), ("none", "has no network")):
        berth.succeed("start", "la-b", "--rootfs", root, "--net", net)
        refused = berth("net", "diagnose", "la-b")
        assert (refused.returncode, sentence in refused.stderr) == (1, True), refused.stderr
        berth.succeed("stop", "la-b", "--timeout", "1")
    assert "is stopped" in berth("net", "diagnose", "la-b").stderr
    assert told(berth, "la-b")["state"] == "stopped"
