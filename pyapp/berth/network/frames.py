"""Which frames a container may send, and which it may be given on the bridge: programs of classic BPF, one for a link.

Everybody on a bridge hears everybody, so what a container claims to be is looked at where its frames come in: its MAC
address, the sender of its ARP, the source of its packets.  It may not serve DHCP, and over IPv6, where routers and
neighbours announce themselves to all, it talks to the phone alone, which leads on to the others.

A load behind the end of a frame ends such a program as if it had passed, so lengths come first.
"""

import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from msgspec import Struct

from berth.kernel.classic_bpf import (
    AND,
    JUMP_EQUAL,
    JUMP_NOT_LESS,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_HALF_BEHIND,
    LOAD_INDEX,
    LOAD_LENGTH,
    LOAD_WORD,
    LOAD_WORD_BEHIND,
    RETURN,
    Code,
    Instruction,
    branch,
    packed,
)

_PASS: Final[Code] = (Instruction(RETURN, 0xFFFFFFFF),)  # TC_ACT_UNSPEC: as if there were no filter
_DROP: Final[Code] = (Instruction(RETURN, 2),)  # TC_ACT_SHOT

# linux/if_ether.h, linux/if_arp.h, linux/ip.h, linux/ipv6.h, linux/icmpv6.h: where things stand in a frame
_TO_MAC, _FROM_MAC, _KIND = 0, 6, 12
_ARP, _IP, _IPV6 = 0x0806, 0x0800, 0x86DD
_ARP_MAC, _ARP_SENDER, _ARP_TARGET, _ARP_BYTES = 22, 28, 38, 42
_IP_HEADER, _IP_FRAGMENT, _IP_PROTOCOL, _IP_SOURCE, _IP_BYTES = 14, 20, 23, 26, 34
_IPV6_PROTOCOL, _IPV6_HOPS, _IPV6_SOURCE, _IPV6_DESTINATION, _ICMPV6_KIND, _ICMPV6_BYTES = 20, 21, 22, 38, 54, 78
_FRAGMENT_OFFSET: Final = 0x1FFF
_ROUTER_ADVERTISEMENT: Final = 134
_NEIGHBOUR_SOLICITATION: Final = 135
_REDIRECT: Final = 137
_DESTINATION_PORT: Final = _IP_HEADER + 2  # both behind the IP header, whose length is in the index register
_CLIENT_MAC: Final = _IP_HEADER + 8 + 28
_DHCP_SERVER, _DHCP_CLIENT, _DHCPV6_CLIENT = 67, 68, 546
_UDPV6_PORT: Final = 56
_IPV6_BEHIND, _IPV6_FRAGMENT, _UDPV6_PORT_BEHIND = 54, 56, 64  # in and behind a header of eight bytes
_IPV6_FRAGMENT_OFFSET: Final = 0xFFF8
_BEFORE_OTHERS: Final = (
    socket.IPPROTO_HOPOPTS,
    socket.IPPROTO_ROUTING,
    socket.IPPROTO_FRAGMENT,
    socket.IPPROTO_DSTOPTS,
)
_TAGGED, _TAGGED_TWICE = 0x8100, 0x88A8
_OF_NEIGHBOURS: Final = 255  # hops that a message between neighbours must have left.  See RFC 4861, 6.1.2
_LINK_LOCAL, _LINK_LOCAL_MASK = 0xFE80, 0xFFC0
_VLAN_TAG_PRESENT: Final = 0xFFFFF000 + 48  # SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT, 3.8
_ANYBODY: Final = "0.0.0.0"
_EVERYBODY: Final = "ff:ff:ff:ff:ff:ff"


class Port(Struct, frozen=True, kw_only=True):
    """A container on the bridge: what it is, and what the phone is; `address6` and `gateway6` may be ""."""

    mac: str
    address: str
    address6: str
    gateway: str
    gateway6: str
    bridge: str
    isolated: bool


def may_send(port: Port) -> bytes:
    """Return the program for what comes from the container of `port`."""
    kinds = branch(JUMP_EQUAL, _ARP, _arp(port), branch(JUMP_EQUAL, _IP, _ip(port), _ipv6(port)))
    code = (Instruction(LOAD_HALF, _KIND), *kinds)
    return packed(_where(LOAD_WORD, _VLAN_TAG_PRESENT, 0, _from_mac(_FROM_MAC, port.mac, code)))


def may_send_to_phone(mac: str, address: str, address6: str) -> bytes:
    """Return the program for what comes by a link at whose other end is the phone alone: sources are looked at.

    Of addresses that are good on the link only, the one made of `mac` will do: the phone remembers all neighbours of
    IPv6 in one table, and who had thousands of addresses would leave no room there for those of its other links.
    """
    asks = _udp(branch(JUMP_EQUAL, _DHCP_SERVER, _PASS, _DROP), other=_DROP)
    arp = _sources(_ARP_SENDER, _ARP_BYTES, address, _PASS)
    own6 = (address6, _link_local(mac)) if address6 else ()
    ipv6 = _at_least(_ICMPV6_KIND, _any_of(_IPV6_SOURCE, [IPv6Address(own).packed for own in own6]))
    others = _where(LOAD_HALF, _KIND, _IPV6, ipv6)
    kinds = branch(
        JUMP_EQUAL, _ARP, arp, branch(JUMP_EQUAL, _IP, _sources(_IP_SOURCE, _IP_BYTES, address, asks), others)
    )
    return packed((Instruction(LOAD_HALF, _KIND), *kinds))


def may_send_to_lan() -> bytes:
    """Return the program for what comes from a container on the LAN of another, which is its router.

    Addresses there are that router's business; who gives them out, and who is a router, is not for others to say.
    """
    ip = _udp(branch(JUMP_EQUAL, _DHCP_CLIENT, _DROP, _PASS), other=_PASS)
    tags = branch(
        JUMP_EQUAL, _TAGGED, _DROP, branch(JUMP_EQUAL, _TAGGED_TWICE, _DROP, _PASS)
    )  # one is taken off before
    kinds = branch(JUMP_EQUAL, _IP, ip, branch(JUMP_EQUAL, _IPV6, _ipv6_of_client(), tags))
    return packed((Instruction(LOAD_HALF, _KIND), *kinds))


def may_receive(port: Port) -> bytes:
    """Return the program for what the container of `port` is given.

    Of its own it gets what is meant for itself alone; an isolated one gets nothing else that is not from the phone.
    """
    reflected = _from_mac(_TO_MAC, port.mac, _PASS)
    others = _from_mac(_FROM_MAC, port.bridge, _PASS) if port.isolated else _PASS
    return packed(_mac(_FROM_MAC, port.mac, reflected, _but_redirects(others)))


def solicited(address: str) -> str:
    """Return the group by which the neighbour with that IPv6 address is asked for.  See RFC 4291, 2.7.1."""
    return str(IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(IPv6Address(address)) & 0xFFFFFF))


def _but_redirects(code: Code) -> Code:
    """Drop the phone's advice to go straight to another container, which may not answer to that, else go on.

    The kernel gives it whenever it sends an IPv6 packet back where it came from, and has no switch for that.
    """
    of_icmp = Instruction(LOAD_BYTE, _ICMPV6_KIND), *branch(JUMP_EQUAL, _REDIRECT, _DROP, code)
    of_ipv6 = Instruction(LOAD_BYTE, _IPV6_PROTOCOL), *branch(JUMP_EQUAL, socket.IPPROTO_ICMPV6, of_icmp, code)
    return Instruction(LOAD_HALF, _KIND), *branch(JUMP_EQUAL, _IPV6, of_ipv6, code)


def _arp(port: Port) -> Code:
    asks = _PASS
    if port.isolated:  # it may ask for the phone
        asks = (Instruction(LOAD_WORD, _ARP_TARGET), *branch(JUMP_EQUAL, _number(port.gateway), _PASS, _DROP))
    senders = branch(JUMP_EQUAL, _number(port.address), asks, branch(JUMP_EQUAL, 0, asks, _DROP))
    return _at_least(_ARP_BYTES, _from_mac(_ARP_MAC, port.mac, (Instruction(LOAD_WORD, _ARP_SENDER), *senders)))


def _ip(port: Port) -> Code:
    own = _to_phone(port, _PASS)
    as_client = _from_mac(_CLIENT_MAC, port.mac, _PASS, behind=True)
    as_client = _mac(_TO_MAC, _EVERYBODY, as_client, _from_mac(_TO_MAC, port.bridge, as_client))
    named = branch(JUMP_EQUAL, _DHCP_CLIENT, _DROP, branch(JUMP_EQUAL, _DHCP_SERVER, as_client, own))
    nameless = branch(JUMP_EQUAL, _DHCP_SERVER, as_client, _DROP)
    sources = branch(
        JUMP_EQUAL,
        _number(port.address),
        _udp(named, other=own),
        branch(JUMP_EQUAL, _number(_ANYBODY), _udp(nameless, other=_DROP), _DROP),
    )
    return _at_least(_IP_BYTES, (Instruction(LOAD_WORD, _IP_SOURCE), *sources))


def _udp(code: Code, *, other: Code) -> Code:
    """Go on with `code` and the destination port where a UDP header is there to be read."""
    first = (
        Instruction(LOAD_HALF, _IP_FRAGMENT),
        Instruction(AND, _FRAGMENT_OFFSET),
        *branch(
            JUMP_EQUAL,
            0,
            (Instruction(LOAD_INDEX, _IP_HEADER), Instruction(LOAD_HALF_BEHIND, _DESTINATION_PORT), *code),
            other,
        ),
    )
    return Instruction(LOAD_BYTE, _IP_PROTOCOL), *branch(JUMP_EQUAL, socket.IPPROTO_UDP, first, other)


def _ipv6(port: Port) -> Code:
    if not port.address6:
        return _DROP
    source, group = IPv6Address(port.address6).packed, IPv6Address(solicited(port.gateway6)).packed
    asks = _where(LOAD_BYTE, _ICMPV6_KIND, _NEIGHBOUR_SOLICITATION, _PASS)
    asks = _where(LOAD_BYTE, _IPV6_PROTOCOL, socket.IPPROTO_ICMPV6, _bytes(_IPV6_DESTINATION, group, asks))
    to_phone = _mac(_TO_MAC, port.bridge, _PASS, _at_least(_ICMPV6_BYTES, asks))
    return _where(LOAD_HALF, _KIND, _IPV6, _at_least(_ICMPV6_KIND, _bytes(_IPV6_SOURCE, source, to_phone)))


def _ipv6_of_client() -> Code:
    """Pass what neither serves DHCP nor speaks for routers, or could hide that behind headers that are not followed."""
    icmp = branch(JUMP_EQUAL, _ROUTER_ADVERTISEMENT, _DROP, branch(JUMP_EQUAL, _REDIRECT, _DROP, _PASS))
    icmp = (Instruction(LOAD_BYTE, _ICMPV6_KIND), *icmp)
    udp = (Instruction(LOAD_HALF, _UDPV6_PORT), *branch(JUMP_EQUAL, _DHCPV6_CLIENT, _DROP, _PASS))
    target = Instruction(LOAD_HALF, _IPV6_DESTINATION), Instruction(AND, _LINK_LOCAL_MASK)
    hidden = (*target, *branch(JUMP_EQUAL, _LINK_LOCAL, _DROP, _behind_one_header()))
    hidden = _where(LOAD_BYTE, _IPV6_HOPS, _OF_NEIGHBOURS, _DROP, hidden)
    others = branch(JUMP_EQUAL, socket.IPPROTO_UDP, udp, branch(JUMP_EQUAL, socket.IPPROTO_TCP, _PASS, hidden))
    return Instruction(LOAD_BYTE, _IPV6_PROTOCOL), *branch(JUMP_EQUAL, socket.IPPROTO_ICMPV6, icmp, others)


def _behind_one_header() -> Code:
    """Pass what is no other header than one of those that can stand before UDP, or has no UDP for clients behind it.

    Behind a fragment's that is looked at; who sends a datagram behind another, or a header behind a header, hides it.
    """
    port = (Instruction(LOAD_HALF, _UDPV6_PORT_BEHIND), *branch(JUMP_EQUAL, _DHCPV6_CLIENT, _DROP, _PASS))
    first = branch(JUMP_EQUAL, 0, port, _PASS)
    first = (Instruction(LOAD_HALF, _IPV6_FRAGMENT), Instruction(AND, _IPV6_FRAGMENT_OFFSET), *first)
    code = _PASS
    for header in _BEFORE_OTHERS:
        udp = first if header == socket.IPPROTO_FRAGMENT else _DROP
        inner = branch(JUMP_EQUAL, socket.IPPROTO_UDP, udp, _any_header(_DROP, _PASS))
        code = branch(JUMP_EQUAL, header, (Instruction(LOAD_BYTE, _IPV6_BEHIND), *inner), code)
    return Instruction(LOAD_BYTE, _IPV6_PROTOCOL), *code


def _any_header(code: Code, other: Code) -> Code:
    for header in _BEFORE_OTHERS:
        other = branch(JUMP_EQUAL, header, code, other)
    return other


def _sources(offset: int, least: int, address: str, nameless: Code) -> Code:
    """Pass what has `address` at `offset`, and go on with `nameless` where there is none."""
    known = branch(JUMP_EQUAL, _number(address), _PASS, branch(JUMP_EQUAL, _number(_ANYBODY), nameless, _DROP))
    return _at_least(least, (Instruction(LOAD_WORD, offset), *known))


def _any_of(offset: int, wanted: list[bytes]) -> Code:
    """Pass where one of `wanted`, which are 16 bytes each, stands at `offset`, else drop."""
    code = _DROP
    for data in wanted:
        code = _bytes(offset, data, _PASS, code)
    return code


def _link_local(mac: str) -> str:
    """Return the address that is made of a MAC address.  See RFC 4291, appendix A."""
    data = bytes.fromhex(mac.replace(":", ""))
    return str(IPv6Address(bytes((0xFE, 0x80, *bytes(6), data[0] ^ 2, *data[1:3], 0xFF, 0xFE, *data[3:]))))


def _to_phone(port: Port, code: Code) -> Code:
    return _from_mac(_TO_MAC, port.bridge, code) if port.isolated else code


def _from_mac(offset: int, mac: str, code: Code, *, behind: bool = False) -> Code:
    """Go on with `code` where that MAC address stands at `offset`, else drop."""
    return _mac(offset, mac, code, _DROP, behind=behind)


def _mac(offset: int, mac: str, code: Code, other: Code, *, behind: bool = False) -> Code:
    data = bytes.fromhex(mac.replace(":", ""))
    word, half = (LOAD_WORD_BEHIND, LOAD_HALF_BEHIND) if behind else (LOAD_WORD, LOAD_HALF)
    rest = (
        Instruction(half, offset + 4),
        *branch(JUMP_EQUAL, int.from_bytes(data[4:], "big"), code, other),
    )
    return Instruction(word, offset), *branch(JUMP_EQUAL, int.from_bytes(data[:4], "big"), rest, other)


def _bytes(offset: int, data: bytes, code: Code, other: Code = _DROP) -> Code:
    for place in reversed(range(0, len(data), 4)):
        code = _where(LOAD_WORD, offset + place, int.from_bytes(data[place : place + 4], "big"), code, other)
    return code


def _where(load: int, offset: int, value: int, code: Code, other: Code = _DROP) -> Code:
    return Instruction(load, offset), *branch(JUMP_EQUAL, value, code, other)


def _at_least(length: int, code: Code) -> Code:
    return Instruction(LOAD_LENGTH, 0), *branch(JUMP_NOT_LESS, length, code, _DROP)


def _number(address: str) -> int:
    return int(IPv4Address(address))
