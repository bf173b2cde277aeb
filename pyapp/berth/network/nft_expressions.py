"""The firewall's rules as nftables has them: a table of Berth's own, replaced as a whole by one transaction.

Every rule is a row of expressions: some load a part of the packet into a register, some compare that, the last one is
what becomes of the packet.  Attributes and numbers are those of linux/netfilter/nf_tables.h.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Final

from berth.network.attributes import attribute
from berth.network.firewall import Chains, Line
from berth.network.model import Family

TABLE: Final = "berth"

NEW_RULE: Final = 6
_NEW_TABLE, _DEL_TABLE, _NEW_CHAIN, _GET_RULE, _NEW_SET = 0, 2, 3, 7, 9  # NFT_MSG_*
_DUMP, _CREATE, _APPEND = 0x300, 0x400, 0x800  # NLM_F_*
_NESTED: Final = 0x8000
_REGISTER: Final = 1  # NFT_REG_1: 16 bytes
_REGISTER_2: Final = 2
_HOOKS: Final = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_BASES: Final = {
    "crowd": ("prerouting", "filter", -150, "CROWD"),
    "mss": ("forward", "filter", -150, "MSS"),
    "forward": ("forward", "filter", 0, "FORWARD"),
    "input": ("input", "filter", 0, "INPUT"),
    "prerouting": ("prerouting", "nat", -100, "LOCAL"),
    "output": ("output", "nat", -100, "LOCAL"),
    "postrouting": ("postrouting", "nat", 100, "POSTROUTING"),
}
"""Chains that the kernel calls: hook, type, priority (as iptables has them), and whose rules they hold."""

_EQUAL, _NOT_EQUAL, _AT_LEAST, _AT_MOST = 0, 1, 5, 3  # NFT_CMP_*
_IIFNAME, _OIFNAME, _L4PROTO = 6, 7, 16  # NFT_META_*
_NETWORK, _TRANSPORT = 1, 2  # NFT_PAYLOAD_*_HEADER
_SOURCE_AT: Final[dict[Family, int]] = {4: 12, 6: 8}
_DESTINATION_AT: Final[dict[Family, int]] = {4: 16, 6: 24}
_CT_STATE, _CT_STATUS = 0, 2  # NFT_CT_*
_STATES: Final = {
    "new": (_CT_STATE, 1 << 3),
    "known": (_CT_STATE, 1 << 1 | 1 << 2),
    "translated": (_CT_STATUS, 1 << 5),  # IPS_DST_NAT
}
_PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_DROP, _ACCEPT, _JUMP, _RETURN = 0, 1, -3, -5
_RT_TCPMSS, _TCPOPT, _MAXSEG = 3, 1, 2
_COMMENT: Final = 0  # NFTNL_UDATA_RULE_COMMENT
_SOURCES: Final = "sources"
_EVAL: Final = 0x20  # NFT_SET_EVAL: rules add what they meet
_ADDRESS_TYPE: Final[dict[Family, int]] = {4: 7, 6: 8}  # nft(8) shows them by it
_ADDRESS_BYTES: Final[dict[Family, int]] = {4: 4, 6: 16}
_MOST_SOURCES: Final = 65536
_OVER: Final = 1  # NFT_CONNLIMIT_F_INV
_AF: Final[dict[Family, int]] = {4: socket.AF_INET, 6: socket.AF_INET6}

Message = tuple[int, int, bytes]
"""NFT_MSG_*, NLM_F_* and the body."""


def replacing(family: Family, chains: Chains, *, clamp: bool) -> list[Message]:
    """Return the transaction after which the table holds `chains` and nothing else.

    Without `clamp` the MSS is left as it is: before Linux 4.14 nftables can't change it.
    """
    messages = [*removing(family), _table(family), _chain(family, "ports")]
    if any(line.most and not line.together for line in chains["CROWD"]):
        messages.append(_sources(family))
    messages += [_chain(family, name) for name in _BASES]
    content = {"ports": "PORTS", **{name: base[3] for name, base in _BASES.items()}}
    for name, lines in content.items():
        messages += [_rule(family, name, line) for line in chains[lines] if clamp or line.verdict != "clamp"]
    return messages


def removing(family: Family) -> list[Message]:
    """Return the transaction after which there is no table; a missing one can't be removed, so it is made first."""
    return [_table(family), (_DEL_TABLE, 0, _header(family) + _text(1, TABLE))]


def rules_asked_for(family: Family) -> Message:
    """Return the request for all rules of the table; older kernels answer with those of every table."""
    return _GET_RULE, _DUMP, _header(family) + _text(1, TABLE)


def _header(family: Family) -> bytes:
    return struct.pack("!BBH", _AF[family], 0, 0)


def _table(family: Family) -> Message:
    return _NEW_TABLE, _CREATE, _header(family) + _text(1, TABLE)


def _chain(family: Family, name: str) -> Message:
    body = _header(family) + _text(1, TABLE) + _text(3, name)
    if name in _BASES:
        hook, kind, priority, _ = _BASES[name]
        body += _nest(4, _number(1, _HOOKS[hook]), attribute(2, struct.pack("!i", priority))) + _text(7, kind)
    return _NEW_CHAIN, _CREATE, body


def _sources(family: Family) -> Message:
    """A set of addresses, each with the connections that are counted for it."""
    body = _header(family) + _text(1, TABLE) + _text(2, _SOURCES) + _number(3, _EVAL)
    body += _number(4, _ADDRESS_TYPE[family]) + _number(5, _ADDRESS_BYTES[family])
    return _NEW_SET, _CREATE, body + _nest(9, _number(1, _MOST_SOURCES)) + _number(10, 1)


def _rule(family: Family, chain: str, line: Line) -> Message:
    expressions = b"".join(_nest(1, _text(1, name), _nest(2, data)) for name, data in _expressions(family, line))
    body = _header(family) + _text(1, TABLE) + _text(2, chain) + _nest(4, expressions)
    if line.guest:
        comment = line.guest.encode() + b"\0"
        body += attribute(7, bytes((_COMMENT, len(comment))) + comment)
    return NEW_RULE, _CREATE | _APPEND, body


def _expressions(family: Family, line: Line) -> Iterator[tuple[str, bytes]]:
    yield from _link(_IIFNAME, line.came_by)
    yield from _link(_OIFNAME, line.leaves_by)
    yield from _address(_SOURCE_AT[family], line.source)
    yield from _address(_DESTINATION_AT[family], line.destination)
    if line.protocol:
        yield "meta", _number(1, _REGISTER) + _number(2, _L4PROTO)
        yield _compare(bytes((_PROTOCOLS[line.protocol],)))
    if line.ports is not None:
        yield from _ports(*line.ports)
    if line.state:
        key, mask = _STATES[line.state]
        yield "ct", _number(1, _REGISTER) + _number(2, key)
        yield _masked(struct.pack("=I", mask))
        yield _compare(bytes(4), _NOT_EQUAL)
    if line.most:
        yield from _counted(family, line)
    yield from _outcome(family, line)


def _counted(family: Family, line: Line) -> Iterator[tuple[str, bytes]]:
    bound = _number(1, line.most) + _number(2, _OVER)
    if line.together:
        yield "connlimit", bound
        return
    yield _load(_NETWORK, _SOURCE_AT[family], _ADDRESS_BYTES[family])
    of_each = _nest(7, _text(1, "connlimit"), _nest(2, bound))
    yield "dynset", _text(1, _SOURCES) + _number(2, 1) + _number(3, 0) + _number(4, _REGISTER) + of_each


def _link(key: int, name: str) -> Iterator[tuple[str, bytes]]:
    if name:
        wanted = name.removeprefix("!")
        data = wanted[:-1].encode() if wanted.endswith("+") else wanted.encode().ljust(16, b"\0")
        yield "meta", _number(1, _REGISTER) + _number(2, key)
        yield _compare(data, _NOT_EQUAL if name.startswith("!") else _EQUAL)


def _address(offset: int, wanted: str) -> Iterator[tuple[str, bytes]]:
    if wanted:
        network = ip_network(wanted.removeprefix("!"))
        yield _load(_NETWORK, offset, len(network.network_address.packed))
        if network.prefixlen != network.max_prefixlen:
            yield _masked(network.netmask.packed)
        yield _compare(network.network_address.packed, _NOT_EQUAL if wanted.startswith("!") else _EQUAL)


def _ports(first: int, last: int) -> Iterator[tuple[str, bytes]]:
    yield _load(_TRANSPORT, 2, 2)
    if first == last:
        yield _compare(struct.pack("!H", first))
    else:
        yield _compare(struct.pack("!H", first), _AT_LEAST)
        yield _compare(struct.pack("!H", last), _AT_MOST)


def _outcome(family: Family, line: Line) -> Iterator[tuple[str, bytes]]:
    match line.verdict:
        case "accept":
            yield _verdict(_ACCEPT)
        case "drop":
            yield _verdict(_DROP)
        case "return":
            yield _verdict(_RETURN)
        case "ports":
            yield _verdict(_JUMP, "ports")
        case "masquerade":
            yield "masq", b""
        case "translate":
            yield _immediate(_REGISTER, ip_address(line.target).packed)
            data = _number(1, 1) + _number(2, _AF[family]) + _number(3, _REGISTER)  # NFT_NAT_DNAT
            if line.target_port:
                yield _immediate(_REGISTER_2, struct.pack("!H", line.target_port))
                data += _number(5, _REGISTER_2)
            yield "nat", data
        case "clamp":
            yield from _clamped()


def _clamped() -> Iterator[tuple[str, bytes]]:
    """Of a SYN, with or without ACK, write the MSS that fits the route's MTU; the kernel never makes it larger."""
    yield _load(_TRANSPORT, 13, 1)
    yield _masked(b"\x06")  # SYN, RST
    yield _compare(b"\x02")
    yield "rt", _number(1, _REGISTER) + _number(2, _RT_TCPMSS)
    sizes = _number(4, 2) + _number(5, 2)
    yield "byteorder", _number(1, _REGISTER) + _number(2, _REGISTER) + _number(3, 1) + sizes  # NFT_BYTEORDER_HTON
    where = attribute(2, bytes((_MAXSEG,))) + _number(3, 2) + _number(4, 2)
    yield "exthdr", where + _number(6, _TCPOPT) + _number(7, _REGISTER)


def _load(base: int, offset: int, size: int) -> tuple[str, bytes]:
    return "payload", _number(1, _REGISTER) + _number(2, base) + _number(3, offset) + _number(4, size)


def _masked(mask: bytes) -> tuple[str, bytes]:
    registers = _number(1, _REGISTER) + _number(2, _REGISTER) + _number(3, len(mask))
    return "bitwise", registers + _nest(4, attribute(1, mask)) + _nest(5, attribute(1, bytes(len(mask))))


def _compare(data: bytes, how: int = _EQUAL) -> tuple[str, bytes]:
    return "cmp", _number(1, _REGISTER) + _number(2, how) + _nest(3, attribute(1, data))


def _immediate(register: int, data: bytes) -> tuple[str, bytes]:
    return "immediate", _number(1, register) + _nest(2, attribute(1, data))


def _verdict(code: int, chain: str = "") -> tuple[str, bytes]:
    parts = [attribute(1, struct.pack("!i", code)), *([_text(2, chain)] if chain else [])]
    return "immediate", _number(1, 0) + _nest(2, _nest(2, *parts))  # NFT_REG_VERDICT


def _nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")
