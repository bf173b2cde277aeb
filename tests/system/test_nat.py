"""`--net=nat`: the address, the route and the names of a container, as its user sees them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from berth.network.addresses import address_of
from tests import faults, quick
from tests.house import GATEWAY, SERVER, SUBNET, House
from tests.phone import INTERNET, INTERNET6, NAMED, SOON, WIFI, WIFI6, WIFI_ROUTER, told, wait_for

pytestmark = pytest.mark.system


def test_the_network_is_there_when_init_starts(house: House) -> None:
    address = house.start("net-a")

    at_first = house.inside("net-a", "cat /at-first")
    assert f"inet {address}/16" in at_first
    assert f"default via {GATEWAY} dev eth0" in at_first
    assert f"nameserver {GATEWAY}" in at_first


def test_the_address_comes_from_the_name_and_is_told(house: House) -> None:
    address = house.start("net-a")

    assert address == address_of("net-a", SUBNET, ())
    info = house.phone.berth.succeed("info", "net-a")
    assert f"address: {address}" in info
    assert "kind: nat" in info
    (shown,) = json.loads(house.phone.berth.succeed("show", "--json"))
    assert (shown["network"], shown["address"]) == ("nat", address)
    assert house.phone.berth.succeed("show").endswith(f" {address}\n")
    (listed,) = json.loads(house.phone.berth.succeed("api", "GET", "/api/v1/containers"))["body"]["containers"]
    assert (listed["network"], listed["address"]) == ("nat", address)


def test_address_and_link_survive_a_stop_and_a_reboot_inside(house: House) -> None:
    address = house.start("net-a", "--ip", "172.28.9.9")
    mac = house.inside("net-a", "cat /sys/class/net/eth0/address")
    assert address == "172.28.9.9"

    house.phone.berth.succeed("restart", "net-a")
    assert told(house.phone.berth, "net-a")["address"] == address
    init = told(house.phone.berth, "net-a")["pid"]
    house.inside("net-a", "rm /at-first; kill -HUP 1; busybox reboot -f")
    wait_for("it has come again", lambda: told(house.phone.berth, "net-a")["pid"] not in (init, None))

    wait_for("its network is as before", lambda: f"inet {address}/16" in house.inside("net-a", "cat /at-first"))
    assert house.inside("net-a", "cat /sys/class/net/eth0/address") == mac
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"


def test_it_reaches_the_internet_behind_the_address_of_the_phone(house: House) -> None:
    house.start("net-a")

    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"
    assert house.fetch("net-a", INTERNET6) == f"wifi {WIFI6}"


def test_without_ipv6_there_is_none(house: House) -> None:
    house.start("net-a", "--disable-ipv6")

    assert "inet6 fd" not in house.inside("net-a", "ip address show eth0")
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"


@pytest.mark.parametrize("flags", [(), ("--bridge",)], ids=["routed", "bridged"])
def test_one_without_ipv6_takes_it_from_no_other(house: House, flags: tuple[str, ...]) -> None:
    house.start("net-a", "--disable-ipv6", *flags)
    house.start("net-b", *flags)
    house.start("net-c", "--disable-ipv6", *flags)

    assert house.fetch("net-b", INTERNET6) == f"wifi {WIFI6}"


def test_where_the_phone_has_their_network_already_another_one_is_taken_kept_and_shown(house: House) -> None:
    phone = house.phone
    phone.ip("route", "add", "172.28.4.0/24", "via", WIFI_ROUTER)
    address = house.start("net-a")
    assert address.startswith("172.29.")
    assert "gateway 172.29.0.1, network 172.29.0.0/16" in phone.berth.succeed("net")

    phone.berth.succeed("stop", "net-a", "--timeout", "1")
    phone.ip("route", "del", "172.28.4.0/24")
    assert house.start("net-a") == address
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"


def test_their_network_is_what_the_user_says(house: House) -> None:
    berth = house.phone.berth
    assert "addresses in 10.9.0.0/16" in berth.succeed("net", "subnet", "10.9.0.0/16")
    address = house.start("net-a")
    assert address.startswith("10.9.")
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"

    refusals = {
        "10.8.0.0/16": "network 10.8.0.0/16: containers are in 10.9.0.0/16 now; stop those with --net=nat first",
        "10.8.0.0/24": "this must be a private network",
        "8.8.0.0/16": "this must be a private network",
        "10.8.0.1/16": "this must be a private network",
    }
    for network, sentence in refusals.items():
        refused = berth("net", "subnet", network)
        assert (refused.returncode != 0, sentence in refused.stderr) == (True, True), refused.stderr
    berth.succeed("stop", "net-a", "--timeout", "1")
    house.phone.ip("route", "add", "10.8.4.0/24", "via", WIFI_ROUTER)
    assert "this device has a route to 10.8.4.0/24 already" in berth("net", "subnet", "10.8.0.0/16").stderr
    house.phone.ip("route", "del", "10.8.4.0/24")
    assert house.start("net-a") == address


def test_names_of_containers_and_of_the_internet_are_resolved(house: House) -> None:
    house.start("net-a")
    address = house.start("net-B.1")

    assert f"Address: {address}" in house.inside("net-a", "nslookup net-B.1.berth")
    assert f"Address: {NAMED}" in house.inside("net-a", "nslookup -type=a example.org")
    assert "NXDOMAIN" in house.inside("net-a", "nslookup net-c.berth")


def test_what_a_container_receives_and_sends_is_counted_outside_of_it(house: House) -> None:
    address = house.start("net-a")
    house.start("net-b")
    house.inside("net-a", "head -c 3000000 /dev/zero > /tmp/www/big")
    before = told(house.phone.berth, "net-a")["traffic"]

    house.inside("net-b", f"wget -q -O /dev/null http://{address}/big")

    after, other = told(house.phone.berth, "net-a")["traffic"], told(house.phone.berth, "net-b")["traffic"]
    assert 3_000_000 < after["sent"] - before["sent"] < 3_500_000
    assert 3_000_000 < other["received"] < 3_500_000
    assert after["received"] - before["received"] < 500_000
    assert "traffic: 2.9M received" in house.phone.berth.succeed("info", "net-b")
    net = house.phone.net_process()
    assert net is not None
    faults.kill(net)
    wait_for("another net process", lambda: house.phone.net_process() not in (None, net))
    assert told(house.phone.berth, "net-a")["traffic"]["sent"] >= after["sent"]
    assert "2.9M sent" in house.phone.berth.succeed("net")


def test_an_isolated_container_reaches_the_internet_and_no_other_container(house: House) -> None:
    open_one = house.start("net-a")
    closed = house.start("net-b", "--isolated")

    assert house.fetch("net-b", INTERNET) == f"wifi {WIFI}"
    assert house.fetch("net-a", closed, seconds=SOON) != "net-b"
    assert house.fetch("net-b", open_one, seconds=SOON) != "net-a"
    assert "NXDOMAIN" in house.inside("net-a", "nslookup net-b.berth")


def test_a_dhcp_client_inside_gets_the_same_address(house: House) -> None:
    address = house.start("net-a", "--hostname", "harbour")
    script = "/tmp/lease"
    house.inside("net-a", f"printf '#!/bin/sh\\nenv\\n' > {script}; chmod +x {script}; ip address flush dev eth0")

    lease = house.inside("net-a", f"udhcpc -f -q -n -t 20 -s {script} -i eth0").splitlines()

    assert {f"ip={address}", f"router={GATEWAY}", "mask=16", f"dns={GATEWAY}", "domain=berth", "mtu=1500"} <= {*lease}
    assert {"hostname=harbour", f"serverid={GATEWAY}", "lease=86400"} <= {*lease}


def test_a_client_that_asks_for_another_address_is_refused_it(house: House) -> None:
    address = house.start("net-a")
    script = "/tmp/lease"
    house.inside("net-a", f"printf '#!/bin/sh\\nenv\\n' > {script}; chmod +x {script}")

    lease = house.inside("net-a", f"udhcpc -f -q -n -t 20 -r 172.28.7.7 -s {script} -i eth0")

    assert f"ip={address}" in lease.splitlines()


def test_fifty_that_start_at_once_can_all_talk(house: House) -> None:
    phone = house.phone
    root = house.rootfs("busybox")
    quick.write_init(root, "/sbin/server", SERVER)
    names = [f"many-{number}" for number in range(50)]
    phone.berth.succeed("serve", "--background")
    try:
        flags = ("--rootfs", root, "--volatile", "--init", "/sbin/server", "--net=nat")
        with ThreadPoolExecutor(len(names)) as callers:
            for done in callers.map(lambda name: phone.berth("start", name, *flags, seconds=200), names):
                assert done.returncode == 0, done.stderr

        members = json.loads(phone.berth.succeed("net", "--json"))["members"]
        found = {member["name"]: member["lease"]["address"] for member in members}
        assert sorted(found) == sorted(names)
        assert len({*found.values()}) == 50
        asked = "; ".join(f"curl -s --retry 20 --retry-connrefused --retry-delay 1 {found[name]}" for name in names)
        assert phone.shell(asked).split() == names
        asked_inside = [
            f"nsenter --net=/proc/{told(phone.berth, name)['pid']}/ns/net curl -s --max-time 10 {found[other]}"
            for name, other in zip(names, [*names[1:], names[0]], strict=True)
        ]
        assert phone.shell("; ".join(asked_inside)).split() == [*names[1:], names[0]]
    finally:
        phone.berth.succeed("stop", "--all", "--timeout", "0", seconds=200)
        faults.end_service(phone.berth)
