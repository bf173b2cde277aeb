"""What the net process decides: addresses, uplinks, rules, and what it answers to DHCP and for names."""

import re
import struct
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.errors import BerthError
from berth.host import Lease
from berth.network import addresses, dhcp, names
from berth.network.datagrams import datagram
from berth.network.firewall import ALL_LINKS, SEGMENTS, Ground, Guest, chains_of
from berth.network.firewall_news import Patience
from berth.network.iptables_text import JUMPS, emptied, missing_jumps, removal_text, rules_text
from berth.network.model import Facts, Init, Link, Member, Route, Rule, Uplink, Wish
from berth.network.nft_expressions import NEW_RULE, removing, replacing
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
from berth.spec import Port

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


# Firewall.

GUEST = Guest(name="web", link="berth0a0b0c0d", address="172.28.0.9", ports=(Port(8080, 80), Port(7, 7, 3, "udp")))


def ground(*guests: Guest) -> Ground:
    return Ground(subnet=SUBNET, gateway="172.28.0.1", addresses=("127.0.0.1", "192.0.2.2"), guests=guests)


def test_every_rule_is_in_a_chain_of_berths_and_about_containers_alone() -> None:
    text = rules_text(chains_of(ground(GUEST)))

    for line in text.splitlines():
        assert line.startswith(("*", ":BERTH-", "-A BERTH-", "COMMIT")), line
        if line.startswith("-A") and "-j BERTH-" not in line and "--to-destination" not in line:
            own = ("berth0a0b0c0d", ALL_LINKS, SUBNET, f"-i {SEGMENTS} -o {SEGMENTS}")
            assert any(part in line for part in own), line


def test_a_port_is_led_to_its_container_from_the_phones_own_addresses_only() -> None:
    lines = rules_text(chains_of(ground(GUEST))).splitlines()

    assert "-A BERTH-LOCAL -d 192.0.2.2 -j BERTH-PORTS" in lines
    assert "-A BERTH-LOCAL -d 172.28.0.1 -j BERTH-PORTS" in lines
    assert not any("-d 127.0.0.1" in line for line in lines)
    says = '-m comment --comment "web"'
    assert f"-A BERTH-PORTS -p tcp --dport 8080 {says} -j DNAT --to-destination 172.28.0.9:80" in lines
    assert f"-A BERTH-PORTS -p udp --dport 7:9 {says} -j DNAT --to-destination 172.28.0.9" in lines


@pytest.mark.parametrize(
    ("port", "rule"),
    [
        (Port(80, 80, bind="127.0.0.1"), None),
        (Port(80, 80, bind="::1"), None),
        (Port(80, 80, bind="2001:db8::1"), None),
        (Port(80, 80, bind="192.0.2.2"), "-d 192.0.2.2 -p tcp --dport 80"),
        (Port(80, 80, bind="0.0.0.0"), "-A BERTH-PORTS -p tcp --dport 80"),
        (Port(80, 90, 2), "-p tcp --dport 81"),
    ],
)
def test_where_a_port_is_bound_decides_its_rule(port: Port, rule: str | None) -> None:
    guest = Guest(name="web", link="berth0a0b0c0d", address="172.28.0.9", ports=(port,))
    made = [line for line in rules_text(chains_of(ground(guest))).splitlines() if "DNAT --to-destination" in line]

    assert (rule is None and not made) or any(rule is not None and rule in line for line in made)


def test_others_come_before_the_door_is_closed_behind_a_container() -> None:
    other = Guest(name="db", link="berth0a0b0c0e", address="172.28.0.10")
    lines = [line for line in rules_text(chains_of(ground(GUEST, other))).splitlines() if "BERTH-FORWARD " in line]

    admitted = [n for n, line in enumerate(lines) if "-o berth" in line and line.endswith("ACCEPT")]
    refused = [n for n, line in enumerate(lines) if f"-o {ALL_LINKS}" in line and line.endswith("DROP")]
    assert len(admitted) == 4  # other containers, answers, and two ports
    assert max(admitted) < min(refused)


def test_a_container_without_ports_changes_nothing_in_the_firewall() -> None:
    other = Guest(name="db", link="berth0a0b0c0e", address="172.28.0.10")

    assert chains_of(ground(GUEST, other)) == chains_of(ground(GUEST))


def test_nftables_gets_every_rule_and_is_replaced_as_a_whole() -> None:
    chains = chains_of(ground(GUEST))
    messages = replacing(4, chains, clamp=True)

    rules = [body for kind, _, body in messages if kind == NEW_RULE]
    assert len(rules) == sum(map(len, chains.values())) + len(chains["LOCAL"])  # which two hooks lead to
    assert len(rules) - len([m for m in replacing(4, chains, clamp=False) if m[0] == NEW_RULE]) == len(chains["MSS"])
    assert messages[: len(removing(4))] == removing(4)
    assert sum(b"web\0" in body for body in rules) == sum(bool(line.guest) for part in chains.values() for line in part)


def test_jumps_that_are_missing_are_found_and_all_is_taken_back() -> None:
    saved = "*filter\n:INPUT ACCEPT [0:0]\n:BERTH-FORWARD - [0:0]\n-A FORWARD -j BERTH-FORWARD\n-A FORWARD -j tether\n"

    missing = missing_jumps(saved)

    assert ("filter", "FORWARD", "BERTH-FORWARD") not in missing
    assert ("nat", "OUTPUT", "BERTH-LOCAL") in missing
    assert len(missing) == sum(len(builtins) for chains in JUMPS.values() for builtins in chains.values()) - 1
    taken_back = "*filter\n-D FORWARD -j BERTH-FORWARD\n-F BERTH-FORWARD\n-X BERTH-FORWARD\nCOMMIT\n"
    assert removal_text(saved) == taken_back
    assert removal_text("*filter\n-A FORWARD -j tether\nCOMMIT\n") == ""


def test_a_chain_that_lost_its_rules_is_found() -> None:
    chains = chains_of(ground(GUEST))
    whole = "".join(f"-A BERTH-{chain} -j ACCEPT\n" for chain in chains)

    assert not emptied(whole, chains)
    assert emptied(whole.replace("-A BERTH-PORTS -j ACCEPT\n", ""), chains)


def test_what_is_broken_again_and_again_is_mended_less_and_less_often() -> None:
    patience, now, waited = Patience(0.03), 100.0, []
    for _ in range(14):
        waited.append(patience.seconds(now))
        patience.mended(now := now + waited[-1])

    assert waited[:3] == [0.03, 0.06, 0.12]
    assert waited[-1] == 60
    assert patience.seconds(now + 200) == 0.03


@given(st.binary(max_size=60))
def test_a_datagram_has_the_checksums_of_its_parts(data: bytes) -> None:
    packet = datagram(("172.28.0.1", 67), ("255.255.255.255", 68), data)
    head, rest = packet[:20], packet[20:]
    pseudo = head[12:20] + bytes((0, 17)) + struct.pack("!H", len(rest))

    def total(part: bytes) -> int:
        words: tuple[int, ...] = struct.unpack(f"!{(len(part) + 1) // 2}H", part + bytes(len(part) % 2))
        return sum(words) % 0xFFFF  # a right sum is a multiple of that (RFC 1071)

    assert (total(head), total(pseudo + rest)) == (0, 0)
    assert struct.unpack("!HHH", rest[:6]) == (67, 68, 8 + len(data))
    assert rest[8:] == data


# DHCP.

OFFER = dhcp.Offer(
    address="172.28.0.9",
    subnet=SUBNET,
    gateway="172.28.0.1",
    servers=("172.28.0.1",),
    hostname="web",
    domain="berth",
    mtu=1400,
)
HARDWARE = bytes.fromhex("0242ac110002")


def asked(kind: int, *, client: str = "0.0.0.0", flags: int = 0, **options: bytes) -> bytes:
    numbers = {"requested": dhcp.REQUESTED, "server": dhcp.SERVER}
    head = struct.pack("!BBBBIHH4s12s16s192s", 1, 1, 6, 0, 77, 0, flags, IPv4Address(client).packed, b"", HARDWARE, b"")
    body = bytes([dhcp.KIND, 1, kind])
    body += b"".join(bytes([numbers[key], len(value)]) + value for key, value in options.items())
    return head + b"\x63\x82\x53\x63\0" + body + b"\xff"


def answered(data: bytes) -> tuple[str, str, dict[int, bytes]] | None:
    """To whom the answer goes, which address it gives, its options; read as a client reads them."""
    message = dhcp.read_message(data)
    assert message is not None
    reply = dhcp.answer(message, OFFER)
    if reply is None:
        return None
    assert reply.data[0] == 2
    assert reply.data[4:8] == (77).to_bytes(4, "big")
    assert reply.data[28:34] == HARDWARE
    assert len(reply.data) >= 300
    read = dhcp.read_message(b"\1" + reply.data[1:])
    assert read is not None
    return reply.address, str(IPv4Address(reply.data[16:20])), read.options


def test_who_looks_for_a_server_is_offered_the_lease() -> None:
    found = answered(asked(dhcp.DISCOVER))

    assert found is not None
    address, given, options = found
    assert (address, given) == ("255.255.255.255", "172.28.0.9")
    gateway = IPv4Address("172.28.0.1").packed
    assert options == {
        dhcp.KIND: bytes([dhcp.OFFER]),
        dhcp.MASK: bytes([255, 255, 0, 0]),
        dhcp.ROUTER: gateway,
        dhcp.NAME_SERVERS: gateway,
        dhcp.HOST_NAME: b"web",
        dhcp.DOMAIN: b"berth",
        dhcp.MTU: (1400).to_bytes(2, "big"),
        dhcp.LEASE_TIME: (86400).to_bytes(4, "big"),
        dhcp.SERVER: gateway,
        dhcp.RENEWAL: (43200).to_bytes(4, "big"),
        dhcp.REBINDING: (75600).to_bytes(4, "big"),
    }


OWN, OTHER = IPv4Address("172.28.0.9").packed, IPv4Address("172.28.0.10").packed
THIS, THAT = IPv4Address("172.28.0.1").packed, IPv4Address("10.0.0.1").packed


@pytest.mark.parametrize(
    ("data", "kind", "address", "given"),
    [
        (asked(dhcp.REQUEST, requested=OWN, server=THIS), dhcp.ACK, "255.255.255.255", "172.28.0.9"),
        (asked(dhcp.REQUEST, requested=OWN), dhcp.ACK, "255.255.255.255", "172.28.0.9"),
        (asked(dhcp.REQUEST, client="172.28.0.9"), dhcp.ACK, "172.28.0.9", "172.28.0.9"),
        (asked(dhcp.REQUEST, client="172.28.0.9", flags=0x8000), dhcp.ACK, "255.255.255.255", "172.28.0.9"),
        (asked(dhcp.REQUEST, requested=OTHER, server=THIS), dhcp.NAK, "255.255.255.255", "0.0.0.0"),
        (asked(dhcp.REQUEST, client="10.0.0.7"), dhcp.NAK, "255.255.255.255", "0.0.0.0"),
        (asked(dhcp.INFORM, client="172.28.0.9"), dhcp.ACK, "172.28.0.9", "0.0.0.0"),
    ],
    ids=["select", "reboot", "renew", "broadcast", "another", "elsewhere", "inform"],
)
def test_a_request_is_granted_or_refused(data: bytes, kind: int, address: str, given: str) -> None:
    found = answered(data)

    assert found is not None
    assert (found[0], found[1], found[2][dhcp.KIND]) == (address, given, bytes([kind]))
    assert (dhcp.LEASE_TIME in found[2]) == (given != "0.0.0.0")


@pytest.mark.parametrize(
    "data",
    [
        asked(dhcp.REQUEST, requested=OWN, server=THAT),
        asked(dhcp.DECLINE, requested=OWN, server=THIS),
        asked(dhcp.RELEASE, client="172.28.0.9", server=THIS),
        asked(99),
    ],
    ids=["another-server", "decline", "release", "unknown"],
)
def test_what_asks_nothing_of_this_server_is_not_answered(data: bytes) -> None:
    assert answered(data) is None


@given(st.binary(max_size=600))
def test_no_bytes_break_the_server(noise: bytes) -> None:
    for data in (noise, asked(dhcp.DISCOVER)[:240] + noise):
        message = dhcp.read_message(data)
        if message is not None:
            dhcp.answer(message, OFFER)


# Names.

HOSTS = names.Hosts(addresses={"web.1": ("172.28.0.9", "fd00::9"), "db": ("172.28.0.10",)}, network="172.28.")
A, PTR, AAAA = 1, 12, 28


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 9, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def resolved(name: str, kind: int) -> tuple[int, list[bytes]] | None:
    """The code and the records' values of an answer."""
    data = query(name, kind)
    question = names.read_question(data)
    assert question is not None
    reply = names.own_answer(data, question, HOSTS)
    if reply is None:
        return None
    number, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", reply)
    assert (number, flags & 0x8000) == (9, 0x8000)
    assert reply[12 : len(data)] == data[12:]
    values, offset = [], len(data)
    for _ in range(count):
        length = struct.unpack_from("!H", reply, offset + 10)[0]
        values.append(reply[offset + 12 : offset + 12 + length])
        offset += 12 + length
    assert offset == len(reply)
    return flags & 15, values


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("web.1.berth", A, (0, [bytes([172, 28, 0, 9])])),
        ("WEB.1.Berth", AAAA, (0, [bytes([0xFD, *[0] * 14, 9])])),
        ("db.berth", AAAA, (0, [])),
        ("nobody.berth", A, (3, [])),
        ("berth", A, (0, [])),
        ("10.0.28.172.in-addr.arpa", PTR, (0, [b"\2db\5berth\0"])),
        ("11.0.28.172.in-addr.arpa", PTR, (3, [])),
        ("example.org", A, None),
        ("noberth", A, None),
        ("1.2.0.192.in-addr.arpa", PTR, None),
    ],
)
def test_names_of_containers_are_answered_and_others_passed_on(
    name: str, kind: int, answer: tuple[int, list[bytes]] | None
) -> None:
    assert resolved(name, kind) == answer


@given(st.binary(max_size=300))
def test_no_bytes_break_the_resolver(noise: bytes) -> None:
    for data in (noise, query("a.berth", A)[:12] + noise):
        question = names.read_question(data)
        if question is not None:
            names.own_answer(data, question, HOSTS)


# The library.


def test_only_the_messages_of_pyroute2_are_imported() -> None:
    code = f"import sys; sys.path.append({str(PYAPP)!r}); import berth.network.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "pyroute2.netlink.rtnl.ifinfmsg" in loaded
    assert not {"asyncio", "ssl", "pyroute2.iproute", "pyroute2.ndb"} & {*loaded}
