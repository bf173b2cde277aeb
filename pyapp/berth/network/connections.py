"""Ends connections that can't survive a change of uplink, so that programs connect anew instead of waiting.

What the phone remembers of them (conntrack) would go on giving them the old uplink's address; what the container has
open would wait for an answer for minutes.  See sock_diag(7), linux/inet_diag.h, linux/netfilter/nfnetlink_conntrack.h.
"""

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Final

from berth.spec import Port

_NETLINK_SOCK_DIAG: Final = 4
_NETLINK_NETFILTER: Final = 12
_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_DUMP: Final = 0x300
_ENDS: Final = (2, 3)  # NLMSG_ERROR, NLMSG_DONE
_HEADER: Final = struct.Struct("=IHHII")
_ROOM: Final = 1 << 17

_SOCK_DIAG_BY_FAMILY: Final = 20
_SOCK_DESTROY: Final = 21  # 4.5, CONFIG_INET_DIAG_DESTROY
_REQUEST: Final = struct.Struct("=BBBxI48s")  # struct inet_diag_req_v2
_ID_AT: Final = 4  # struct inet_diag_sockid in struct inet_diag_msg
_ID_BYTES: Final = 48
_DESTINATION_AT: Final = 20  # in struct inet_diag_sockid
_LIVE_STATES: Final = 0xFFF & ~(1 << 10 | 1 << 6 | 1 << 7)  # not LISTEN, TIME_WAIT, CLOSE

_CT_GET: Final = 1 << 8 | 1
_CT_DELETE: Final = 1 << 8 | 2
_NFGENMSG: Final = 4
_CTA_TUPLE_ORIG: Final = 1
_CTA_TUPLE_REPLY: Final = 2
_CTA_TUPLE_IP: Final = 1
_CTA_TUPLE_PROTO: Final = 2
_CTA_PROTO_NUM: Final = 1
_CTA_PROTO_DST_PORT: Final = 3
_PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_SOURCES: Final = (1, 3)  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
_DESTINATIONS: Final = (2, 4)
_TYPE: Final = 0x3FFF

Address = IPv4Address | IPv6Address
_Tuple = dict[int, bytes]


def forget_outgoing(addresses: tuple[str, ...], subnet: str) -> None:
    """Have the phone forget what containers at `addresses` have begun with anybody outside `subnet`.

    A kernel that doesn't list its connections is left alone.
    """
    sources = {ip_address(address) for address in addresses}

    def leads_outside(original: _Tuple, _: _Tuple) -> bool:
        source, destination = _address(original, _SOURCES), _address(original, _DESTINATIONS)
        return source in sources and destination is not None and _is_outside(destination, subnet)

    _forget(leads_outside)


def forget_all(addresses: tuple[str, ...]) -> None:
    """Have the phone forget whatever containers that were at `addresses` had going on, with anybody."""
    own = {ip_address(address) for address in addresses}

    def is_theirs(original: _Tuple, reply: _Tuple) -> bool:
        ends = {_address(original, _SOURCES), _address(original, _DESTINATIONS), _address(reply, _SOURCES)}
        return bool(own & ends)

    _forget(is_theirs)


def forget_ports(ports: tuple[Port, ...], container: tuple[str, ...], phone: tuple[str, ...]) -> None:
    """Have the phone forget who talks to it at `ports`, and would go on past a port that was shown or hidden since.

    `container` and `phone` are their addresses: what others talk about by the same ports is left alone.
    """
    kinds = {(_PROTOCOLS[port.protocol], port.host + step) for port in ports for step in range(port.count)}
    answering, asked = ({ip_address(address) for address in addresses} for addresses in (container, phone))

    def is_meant(original: _Tuple, reply: _Tuple) -> bool:
        known = _address(reply, _SOURCES) in answering or _address(original, _DESTINATIONS) in asked
        return known and _aim(original) in kinds

    _forget(is_meant)


def _forget(is_meant: Callable[[_Tuple, _Tuple], bool]) -> None:
    """Have the phone forget the connections for whose tuples, of the first packet and of the answer, that holds."""
    with contextlib.suppress(OSError), _netlink(_NETLINK_NETFILTER) as sock:
        for family in (socket.AF_INET, socket.AF_INET6):
            about = struct.pack("!BBH", family, 0, 0)
            for message in list(_dump(sock, _CT_GET, about)):
                attributes = _attributes(message[_NFGENMSG:])
                original, reply = (attributes.get(kind, b"") for kind in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY))
                if is_meant(_attributes(original), _attributes(reply)):
                    tuple_of_it = struct.pack("=HH", 4 + len(original), 0x8000 | _CTA_TUPLE_ORIG) + original
                    _do(sock, _CT_DELETE, about + tuple_of_it)


def reset_connections(subnet: str) -> None:
    """Reset the TCP connections of the caller's network namespace that lead outside `subnet`.

    Their programs are told at once (ECONNABORTED).  A kernel that can't do that is left alone.
    """
    with contextlib.suppress(OSError), _netlink(_NETLINK_SOCK_DIAG) as sock:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _LIVE_STATES, b"")
            for message in list(_dump(sock, _SOCK_DIAG_BY_FAMILY, request)):
                which = message[_ID_AT : _ID_AT + _ID_BYTES]
                size = 4 if family == socket.AF_INET else 16
                destination = ip_address(which[_DESTINATION_AT : _DESTINATION_AT + size])
                if _is_outside(destination, subnet):
                    _do(sock, _SOCK_DESTROY, _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _LIVE_STATES, which))


def _is_outside(address: Address, subnet: str) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return False
    return isinstance(address, IPv6Address) or address not in IPv4Network(subnet)


def _address(ends: _Tuple, kinds: tuple[int, ...]) -> Address | None:
    found = _attributes(ends.get(_CTA_TUPLE_IP, b""))
    return next((ip_address(found[kind]) for kind in kinds if kind in found), None)


def _aim(ends: _Tuple) -> tuple[int, int]:
    """Protocol and port that it leads to."""
    found = _attributes(ends.get(_CTA_TUPLE_PROTO, b""))
    number, port = found.get(_CTA_PROTO_NUM, b"\0"), found.get(_CTA_PROTO_DST_PORT, b"\0\0")
    return number[0], int.from_bytes(port, "big")


def _netlink(protocol: int) -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)


def _dump(sock: socket.socket, kind: int, about: bytes) -> Iterator[bytes]:
    """Yield the bodies of all answers."""
    sock.send(_HEADER.pack(_HEADER.size + len(about), kind, _NLM_F_REQUEST | _NLM_F_DUMP, 0, 0) + about)
    while True:
        data = sock.recv(_ROOM)
        offset = 0
        while offset < len(data):
            length, found, *_ = _HEADER.unpack_from(data, offset)
            if found in _ENDS:
                return
            yield data[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3


def _do(sock: socket.socket, kind: int, about: bytes) -> None:
    """Ask for something whose failure is no matter: what was to end has ended."""
    sock.send(_HEADER.pack(_HEADER.size + len(about), kind, _NLM_F_REQUEST | _NLM_F_ACK, 0, 0) + about)
    sock.recv(_ROOM)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & _TYPE] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found
