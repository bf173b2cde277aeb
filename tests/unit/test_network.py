"""What the net process decides: addresses, uplinks, routes and their rules."""

import re
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.errors import BerthError
from berth.host import Lease
from berth.network import addresses
from berth.network.model import Facts, Init, Link, Member, Route, Rule, Uplink, Wish
from berth.network.tables import wanted_routes, wanted_rules
from berth.network.uplinks import (
    CLOSED,
    FROM_MEMBER,
    MEMBERS_TABLE,
    OTHER_SOURCE,
    OWN_SOURCE,
    TO_MEMBERS,
    choose_uplink,
)

SUBNET = "172.28.0.0/16"
PYAPP = Path(__file__).resolve().parents[2] / "pyapp"


# Addresses.


@given(st.text(min_size=1))
def test_an_address_is_always_one_that_a_container_may_have(name: str) -> None:
    address = addresses.address_of(name, SUBNET, ())

    assert IPv4Address(address) in IPv4Network(SUBNET)
    assert address != addresses.gateway_of(SUBNET)
    assert not address.endswith((".0", ".255"))
    assert address == addresses.address_of(name, SUBNET, ())
    assert address != addresses.address_of(name, SUBNET, {address})


def test_a_network_that_is_full_is_said_so() -> None:
    taken = {str(address) for address in IPv4Network("10.0.0.0/29")}

    with pytest.raises(BerthError, match=r"container x: every address of 10\.0\.0\.0/29 is taken"):
        addresses.address_of("x", "10.0.0.0/29", taken)


@pytest.mark.parametrize(
    ("kept", "routed", "chosen"),
    [
        (None, [], "172.28.0.0/16"),
        (None, ["172.16.0.0/12"], "10.213.0.0/16"),
        (None, ["172.28.5.0/24"], "172.29.0.0/16"),
        ("172.30.0.0/16", [], "172.30.0.0/16"),
        ("172.28.0.0/16", ["172.28.0.0/15"], "172.30.0.0/16"),
    ],
)
def test_a_subnet_that_the_phone_routes_is_passed_over(kept: str | None, routed: list[str], chosen: str) -> None:
    assert addresses.choose_subnet(kept, routed) == chosen


def test_where_everything_is_routed_there_is_no_subnet() -> None:
    with pytest.raises(BerthError, match="no network is free for containers"):
        addresses.choose_subnet(None, ["0.0.0.0/1", "128.0.0.0/1"])


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.0.0.1", r"is not in 172\.28\.0\.0/16"),
        ("172.28.0.0", "is not for a container"),
        ("172.28.0.1", "is not for a container"),
        ("172.28.255.255", "is not for a container"),
        ("172.28.0.9", "belongs to another container"),
    ],
)
def test_a_chosen_address_that_can_t_be_had_is_refused(address: str, why: str) -> None:
    with pytest.raises(BerthError, match=why):
        addresses.checked_address("x", address, SUBNET, {"172.28.0.9"})


def test_names_of_links_fit_the_kernel_and_macs_are_local_unicast() -> None:
    for name in ("a", "b" * 64):
        assert re.fullmatch("berth[0-9a-f]{8}", addresses.link_of(name))
        assert int(addresses.mac_of(name)[:2], 16) & 3 == 2
    assert addresses.address6_of("fd00:1:2:3::", "172.28.0.9") == "fd00:1:2:3::ac1c:9"


# Uplinks.

WLAN, MOBILE, TUN, CLAT = (Link(index=n, name=name, mtu=mtu, up=True) for n, name, mtu in [
    (3, "wlan0", 1500), (4, "rmnet_data0", 1428), (5, "tun0", 1400), (6, "v4-rmnet_data0", 1464),
])  # fmt: skip
TABLES = {WLAN: 1003, MOBILE: 1004, TUN: 1005, CLAT: 1006}


def default(link: Link, table: int | None = None, metric: int = 0) -> Route:
    return Route(table=table or TABLES[link], link=link.index, gateway="192.0.2.1", metric=metric)


def netd(*networks: Link, vpn: Rule | None = None) -> Facts:
    """What Android 13's netd makes: the first of `networks` is the default one."""
    rules = [
        Rule(priority=0, table=255),
        Rule(priority=10000, mark=0xC0000, mask=0xD0000, table=99),
        *(Rule(priority=16000, mark=0x10063 + n, mask=0x1FFFF, iif="lo", table=TABLES[link])
          for n, link in enumerate(networks)),
        *(Rule(priority=17000, iif="lo", oif=link.name, table=TABLES[link]) for link in networks),
        Rule(priority=18000, mask=0x10000, table=99),
        Rule(priority=19000, mask=0x10000, table=98),
        Rule(priority=20000, mask=0x10000, table=97),
        *(Rule(priority=31000, mask=0xFFFF, iif="lo", table=TABLES[link]) for link in networks[:1]),
        Rule(priority=32000, action=7),
        *([vpn] if vpn else []),
    ]  # fmt: skip
    routes = [default(link) for link in networks]
    routes += [Route(table=97, destination="192.0.2.0/24", link=WLAN.index)] if WLAN in networks else []
    return Facts(links=networks, routes=tuple(routes), rules=tuple(rules))


LINUX = (Rule(priority=0, table=255), Rule(priority=32766, table=254), Rule(priority=32767, table=253))


def test_on_android_the_tables_of_the_default_network_are_looked_up_in_netds_order() -> None:
    uplink = choose_uplink(netd(WLAN, MOBILE), ())

    assert (uplink.link, uplink.mtu, uplink.tables, uplink.closed) == ("wlan0", 1500, (97, 1003), False)
    assert choose_uplink(netd(MOBILE, WLAN), ()).link == "rmnet_data0"


def test_a_mobile_network_without_ipv4_is_reached_by_its_clat() -> None:
    uplink = choose_uplink(netd(CLAT), ())

    assert (uplink.link, uplink.mtu, uplink.tables) == ("v4-rmnet_data0", 1464, (1006,))


@pytest.mark.parametrize(("users", "link"), [((0, 99999), "tun0"), ((10123, 10123), "wlan0"), (None, "tun0")])
def test_a_vpn_for_everybody_is_followed_and_one_for_an_app_is_not(users: tuple[int, int] | None, link: str) -> None:
    vpn = Rule(priority=12000, mask=0x20000, iif="lo", users=users, table=1005)
    facts = netd(WLAN, vpn=vpn)
    facts = Facts(links=(WLAN, TUN), routes=(*facts.routes, default(TUN)), rules=facts.rules)

    assert choose_uplink(facts, ()).link == link


def test_a_vpn_of_some_routes_comes_before_the_default_network() -> None:
    facts = netd(WLAN, vpn=Rule(priority=12000, mask=0x20000, iif="lo", table=1005))
    split = Route(table=1005, destination="10.8.0.0/16", link=TUN.index)

    uplink = choose_uplink(Facts(links=(WLAN, TUN), routes=(*facts.routes, split), rules=facts.rules), ())

    assert (uplink.link, uplink.tables) == ("wlan0", (1005, 97, 1003))


def test_a_phone_without_network_has_no_uplink() -> None:
    uplink = choose_uplink(netd(), ())

    assert (uplink.link, uplink.tables, uplink.reason) == ("", (), "the phone has no default route")


def test_on_an_ordinary_machine_the_kernels_own_rules_do() -> None:
    routes = (default(WLAN, 254, metric=600), default(MOBILE, 254, metric=100))

    uplink = choose_uplink(Facts(links=(WLAN, MOBILE), routes=routes, rules=LINUX), ())

    assert (uplink.link, uplink.tables) == ("rmnet_data0", ())


def test_a_pinned_uplink_gets_a_copy_of_its_routes_and_closes_every_other_way() -> None:
    near = Route(table=254, destination="192.0.2.0/24", link=WLAN.index)
    routes = (default(MOBILE, 254), default(WLAN, 254, metric=600), near)

    uplink = choose_uplink(Facts(links=(WLAN, MOBILE), routes=routes, rules=LINUX), ("tun*", "wl?n*"))

    assert (uplink.link, uplink.closed) == ("wlan0", True)
    assert {(route.destination, route.link) for route in uplink.copied} == {("", 3), ("192.0.2.0/24", 3)}
    assert {route.table for route in uplink.copied} == {*uplink.tables}


def test_pinned_uplinks_are_tried_in_the_order_given_and_only_while_they_are_up() -> None:
    down = Link(index=5, name="tun0", mtu=1400, up=False)
    facts = netd(WLAN, MOBILE)
    facts = Facts(links=(down, WLAN, MOBILE), routes=(*facts.routes, default(TUN)), rules=facts.rules)

    assert choose_uplink(facts, ("tun0", "rmnet*", "wlan0")).link == "rmnet_data0"
    none = choose_uplink(facts, ("tun0",))
    assert (none.link, none.closed, none.tables) == ("", True, ())


# Routes and rules.


def member(name: str, address: str, index: int) -> Member:
    lease = Lease(address=address, subnet=SUBNET, gateway="172.28.0.1", mac="02:00:00:00:00:01")
    return Member(wish=Wish(name=name), lease=lease, link=addresses.link_of(name), init=Init(1, 1), index=index)


def test_each_container_has_a_route_and_the_way_to_its_uplink() -> None:
    members = [member("a", "172.28.0.9", 7), member("b", "172.28.0.10", 8)]
    uplinks = {"a": Uplink(tables=(97, 1003)), "b": Uplink(closed=True)}

    assert wanted_rules(members, uplinks, SUBNET, 4) == {
        Rule(priority=TO_MEMBERS, table=MEMBERS_TABLE, destination=SUBNET),
        Rule(priority=OWN_SOURCE, action=2, goto=TO_MEMBERS, iif=addresses.link_of("a"), source="172.28.0.9/32"),
        Rule(priority=OWN_SOURCE, action=2, goto=TO_MEMBERS, iif=addresses.link_of("b"), source="172.28.0.10/32"),
        Rule(priority=OTHER_SOURCE, action=6, iif=addresses.link_of("a")),
        Rule(priority=OTHER_SOURCE, action=6, iif=addresses.link_of("b")),
        Rule(priority=FROM_MEMBER, table=97, source="172.28.0.9/32"),
        Rule(priority=FROM_MEMBER + 1, table=1003, source="172.28.0.9/32"),
        Rule(priority=CLOSED, action=7, source="172.28.0.10/32"),
    }
    assert wanted_routes(members, uplinks, SUBNET, 4) == {
        Route(table=MEMBERS_TABLE, destination=SUBNET, kind=7),
        Route(table=MEMBERS_TABLE, destination="172.28.0.9/32", link=7, scope=253),
        Route(table=MEMBERS_TABLE, destination="172.28.0.10/32", link=8, scope=253),
    }


# The library.


def test_only_the_messages_of_pyroute2_are_imported() -> None:
    code = f"import sys; sys.path.append({str(PYAPP)!r}); import berth.network.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "pyroute2.netlink.rtnl.ifinfmsg" in loaded
    assert not {"asyncio", "ssl", "pyroute2.iproute", "pyroute2.ndb"} & {*loaded}
