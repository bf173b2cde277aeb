"""The same network by each of the firewalls that a phone may have."""

import json
from pathlib import Path

import pytest

from tests.house import GATEWAY, SUBNET, Factory, House
from tests.phone import INTERNET, INTERNET6, SECONDS, SOON, WIFI, WIFI6, Phone, wait_for

pytestmark = pytest.mark.system
_PROGRAMS = "/usr/sbin/xtables-nft-multi"
_FLUSH = {
    "iptables-legacy": "iptables -t nat -F POSTROUTING; iptables -F FORWARD; ip rule del priority 5100",
    "iptables-nft": "iptables -t nat -F POSTROUTING; iptables -F FORWARD; ip rule del priority 5100",
    "nftables": "nft flush ruleset",
}


def test_all_of_it_works_and_what_is_taken_away_is_put_back(walled: tuple[str, House]) -> None:
    kind, house = walled
    phone = house.phone
    address = house.start("net-a", "--port", "8080:80,9081-9082:81-82")
    house.start("net-b", "--port", "80-82:80-82")
    house.start("net-c", "--isolated")
    bridged = [
        house.start(name, "--bridge", "--port", port) for name, port in (("net-d", "8083:80"), ("net-e", "84:80"))
    ]
    assert '"firewall":"' + kind.partition("-")[0] in phone.berth.succeed("net", "--json").replace(" ", "")

    def works() -> bool:
        return house.fetch("net-a", INTERNET, seconds=SOON) == f"wifi {WIFI}"

    assert works()
    assert house.fetch("net-a", INTERNET6) == f"wifi {WIFI6}"
    assert [phone.wifi.fetch(place, 8080) for place in (WIFI, WIFI6)] == ["net-a"] * 2
    assert [phone.wifi.fetch(WIFI, number) for number in (9082, 82)] == ["net-a", "net-b"]
    assert [phone.fetch(place, 8080) for place in (WIFI, GATEWAY, "127.0.0.1")] == ["net-a"] * 3
    assert [house.fetch(name, GATEWAY, 8080) for name in ("net-a", "net-b")] == ["net-a"] * 2
    assert house.fetch("net-b", address) == "net-a"
    assert house.fetch("net-c", address, seconds=SOON) != "net-a"
    assert house.fetch("net-c", INTERNET) == f"wifi {WIFI}"
    assert [house.fetch(name, place) for name, place in zip(("net-d", "net-a"), reversed(bridged), strict=True)] == [
        "net-e",
        "net-d",
    ]
    assert [house.fetch(name, GATEWAY, 8083) for name in ("net-d", "net-e")] == ["net-d"] * 2
    assert [phone.wifi.fetch(WIFI, 8083), house.fetch("net-d", INTERNET)] == ["net-d", f"wifi {WIFI}"]
    phone.wifi.ip("route", "add", SUBNET, "via", WIFI)
    assert phone.wifi.fetch(address, seconds=1) is None

    phone.shell(_FLUSH[kind])
    wait_for("it is mended", works)
    wait_for("its ports too", lambda: phone.wifi.fetch(WIFI, 8080, seconds=SOON) == "net-a", SECONDS)
    assert phone.wifi.fetch(address, seconds=1) is None


def test_iptables_is_used_as_soon_as_it_works_and_nobody_is_on_the_network(phone: Phone, rootfs: Factory) -> None:
    house, berth = House(phone, rootfs), phone.berth

    def firewall() -> str:
        kind: str = json.loads(berth.succeed("net", "--json"))["firewall"]
        return kind

    phone.succeed("mount", "--bind", "/dev/null", _PROGRAMS)
    house.start("net-a")
    phone.succeed("umount", _PROGRAMS)
    house.start("net-b")
    assert firewall() == "nftables"
    assert house.fetch("net-b", INTERNET) == f"wifi {WIFI}"
    assert "forward rule: ok" in berth.succeed("net", "diagnose", "net-b")

    berth.succeed("stop", "--all", "--timeout", "1")
    wait_for("the net process has ended", lambda: phone.net_process() is None)
    house.start("net-a")
    assert firewall() == "iptables"
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"


def test_only_the_first_container_and_those_with_ports_run_iptables(
    phone: Phone, rootfs: Factory, scratch: Path
) -> None:
    tools, log = scratch / "tools", scratch / "log"
    tools.mkdir()
    for name in ("iptables-restore", "ip6tables-restore", "iptables-save", "ip6tables-save"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} >> {log}\nexec {_PROGRAMS} {name} "$@"\n')
        (tools / name).chmod(0o755)
    phone.succeed("mount", "-t", "overlay", "-o", f"lowerdir={tools}:/usr/sbin", "overlay", "/usr/sbin")
    house = House(phone, rootfs)

    def changes() -> list[str]:
        """Beside these it looks at what is there, whenever anybody on this machine has used iptables."""
        return [line for line in log.read_text().splitlines() if line.endswith("restore")]

    house.start("net-a")
    first = changes()
    house.start("net-b")
    assert changes() == first
    house.start("net-c", "--port", "8080:80")
    assert changes() == [*first, "iptables-restore", "ip6tables-restore"]


def test_a_flush_of_the_rules_alone_is_noticed(walled: tuple[str, House]) -> None:
    kind, house = walled
    house.start("net-a", "--port", "8080:80")
    works = {"iptables": "iptables -F FORWARD; iptables -t nat -F", "nftables": "nft flush ruleset"}
    empty = "iptables -F BERTH-FORWARD" if kind != "nftables" else "nft flush table ip berth"

    for flush in (works[kind.partition("-")[0]], empty):
        house.phone.shell(flush)
        wait_for("it is mended", lambda: house.phone.wifi.fetch(WIFI, 8080, seconds=1) == "net-a")
        wait_for("all of it is", lambda: house.fetch("net-a", INTERNET, seconds=SOON) == f"wifi {WIFI}")


def test_large_segments_are_clamped_to_the_way(walled: tuple[str, House]) -> None:
    _, house = walled
    with house.phone.mtu("wlan0", 1400):
        house.start("net-a", "--port", "8080:80")
        house.phone.wifi.succeed("nft", "add table ip t; add chain ip t i { type filter hook input priority 0; }")
        house.phone.wifi.succeed("nft", "add rule ip t i tcp option maxseg size 1360 counter comment fits")
        house.phone.wifi.succeed("nft", "add rule ip t i tcp option maxseg size > 1360 counter comment large")
        house.inside("net-a", "ip link set eth0 mtu 1500")

        assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"

        counted = house.phone.wifi.succeed("nft", "list chain ip t i")
        assert "size 1360 counter packets 0 " not in counted
        assert "size > 1360 counter packets 0 " in counted


def test_a_phone_that_drops_what_it_is_sent_still_serves_names_and_leases(walled: tuple[str, House]) -> None:
    kind, house = walled
    house.start("net-b")
    address = house.start("net-a", "--port", "8080:80")
    if kind != "nftables":  # there a drop of somebody else's table can't be lifted
        house.phone.shell("iptables -P INPUT DROP; ip6tables -P INPUT DROP")
    house.inside("net-a", "printf '#!/bin/sh\\nenv\\n' > /tmp/lease; chmod +x /tmp/lease; ip address flush dev eth0")

    lease = house.inside("net-a", "udhcpc -f -q -n -t 20 -s /tmp/lease -i eth0").splitlines()

    assert {f"ip={address}", f"serverid={GATEWAY}"} <= {*lease}
    assert "Address: 172.28." in house.inside("net-b", "nslookup net-a.berth")
