"""What a container is answered when it asks for a name: decided from the question and who is there.  See RFC 1035."""

import struct
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from msgspec import Struct

DOMAIN: Final = "berth"
_HEADER: Final = struct.Struct("!HHHHHH")
_A: Final = 1
_PTR: Final = 12
_AAAA: Final = 28
_ANY: Final = 255
_IN: Final = 1
_RESPONSE: Final = 0x8000
_AUTHORITATIVE: Final = 0x0400
_RECURSION_WANTED: Final = 0x0100
_RECURSION_THERE: Final = 0x0080
_OPCODE: Final = 0x7800
_SERVFAIL: Final = 2
_NXDOMAIN: Final = 3
_NOTIMP: Final = 4
_SECONDS: Final = 5  # a container that is started again may have been renamed
_ARPA: Final = ".in-addr.arpa"
_MOST_IN_LABEL: Final = 63


class Question(Struct, frozen=True):
    """A question: its `number`, the `name` in lower case without a dot at its end, and which kind of record."""

    number: int
    name: str
    kind: int
    flags: int
    end: int


class Hosts(Struct, frozen=True, kw_only=True):
    """The names of containers with their addresses; `network` is how addresses of theirs begin ("172.28.")."""

    addresses: Mapping[str, tuple[str, ...]]
    network: str


def read_question(data: bytes) -> Question | None:
    """Return the question in `data`; None for what is none, or more than one."""
    if len(data) < _HEADER.size:
        return None
    number, flags, questions, *_ = _HEADER.unpack_from(data)
    if flags & _RESPONSE or questions != 1:
        return None
    labels: list[str] = []
    offset = _HEADER.size
    while offset < len(data) and (length := data[offset]):
        label = data[offset + 1 : offset + 1 + length]
        if length > _MOST_IN_LABEL or len(label) < length:
            return None
        labels.append(label.decode("latin-1").lower())
        offset += 1 + length
    if offset + 5 > len(data):
        return None
    kind, _ = struct.unpack_from("!HH", data, offset + 1)
    return Question(number, ".".join(labels), kind, flags, offset + 5)


def own_answer(data: bytes, question: Question, hosts: Hosts) -> bytes | None:
    """Return the answer where the question is about containers; None where the phone's servers must be asked."""
    if question.flags & _OPCODE:
        return _answer(data, question, code=_NOTIMP)
    if question.name == DOMAIN or question.name.endswith(f".{DOMAIN}"):
        return _forward(data, question, hosts)
    if question.name.endswith(_ARPA):
        address = ".".join(reversed(question.name.removesuffix(_ARPA).split(".")))
        if address.startswith(hosts.network):
            return _backward(data, question, hosts, address)
    return None


def failure(data: bytes, question: Question) -> bytes:
    """Return the answer that nobody could be asked."""
    return _answer(data, question, code=_SERVFAIL)


def _forward(data: bytes, question: Question, hosts: Hosts) -> bytes:
    known = hosts.addresses.get(question.name.removesuffix(DOMAIN).rstrip("."))
    if known is None:
        return _answer(data, question, code=0 if question.name == DOMAIN else _NXDOMAIN)
    packed = [(_A if "." in address else _AAAA, ip_address(address).packed) for address in known]
    return _answer(data, question, [(kind, value) for kind, value in packed if question.kind in (kind, _ANY)])


def _backward(data: bytes, question: Question, hosts: Hosts, address: str) -> bytes:
    for name, known in hosts.addresses.items():
        labels = [*name.encode().split(b"."), DOMAIN.encode()]
        if address in known and all(0 < len(label) <= _MOST_IN_LABEL for label in labels):
            value = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
            return _answer(data, question, [(_PTR, value)] if question.kind in (_PTR, _ANY) else [])
    return _answer(data, question, code=_NXDOMAIN)


def _answer(data: bytes, question: Question, records: list[tuple[int, bytes]] | None = None, *, code: int = 0) -> bytes:
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION_THERE | question.flags & _RECURSION_WANTED | code
    header = _HEADER.pack(question.number, flags, 1, len(records or ()), 0, 0)
    body = data[_HEADER.size : question.end]
    for kind, value in records or ():
        body += struct.pack("!HHHIH", 0xC000 | _HEADER.size, kind, _IN, _SECONDS, len(value)) + value
    return header + body
