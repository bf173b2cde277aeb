"""What a DHCP client is answered: decided from its message and its container's lease alone.  See RFC 2131, RFC 2132.

There is one client at most on a container's link and one address for it, so nothing is ever offered for a while only:
an answer is the same today and after a restart.
"""

import struct
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from msgspec import Struct

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68

DISCOVER: Final = 1
OFFER: Final = 2
REQUEST: Final = 3
DECLINE: Final = 4
ACK: Final = 5
NAK: Final = 6
RELEASE: Final = 7
INFORM: Final = 8

_HEADER: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")  # up to the magic cookie
_COOKIE: Final = b"\x63\x82\x53\x63"
_BOOTREQUEST: Final = 1
_BOOTREPLY: Final = 2
_BROADCAST: Final = 0x8000
_LEAST: Final = 300  # bytes of a BOOTP message; some clients drop shorter ones
_NOWHERE: Final = "0.0.0.0"
_EVERYWHERE: Final = "255.255.255.255"

MASK: Final = 1
ROUTER: Final = 3
NAME_SERVERS: Final = 6
HOST_NAME: Final = 12
DOMAIN: Final = 15
MTU: Final = 26
REQUESTED: Final = 50
LEASE_TIME: Final = 51
KIND: Final = 53
SERVER: Final = 54
MESSAGE: Final = 56
RENEWAL: Final = 58
REBINDING: Final = 59
_PAD: Final = 0
_END: Final = 255


class Offer(Struct, frozen=True, kw_only=True):
    """What a container is told: its address in `subnet` (CIDR), and what goes with it; times are in seconds."""

    address: str
    subnet: str
    gateway: str
    servers: tuple[str, ...]
    hostname: str
    domain: str
    mtu: int
    seconds: int = 86_400


class Message(Struct, frozen=True, kw_only=True):
    """A message of a client; `options` are by number, one that came in parts put together (RFC 3396)."""

    xid: int
    flags: int
    client: str
    relay: str
    hardware: bytes
    hardware_kind: int
    options: dict[int, bytes]

    @property
    def kind(self) -> int:
        """DISCOVER, REQUEST, ...; 0 where it does not say."""
        found = self.options.get(KIND, b"")
        return found[0] if len(found) == 1 else 0


class Reply(Struct, frozen=True):
    """Bytes to send, and the address to send them to."""

    data: bytes
    address: str


def read_message(data: bytes) -> Message | None:
    """Return the message in `data`; None for what is none, or is no client's."""
    if len(data) < _HEADER.size + len(_COOKIE) or data[_HEADER.size : _HEADER.size + 4] != _COOKIE:
        return None
    op, kind, length, _, xid, _, flags, client, _, _, relay, hardware, _, _ = _HEADER.unpack_from(data)
    options = _read_options(data[_HEADER.size + 4 :])
    if op != _BOOTREQUEST or length > len(hardware) or options is None:
        return None
    return Message(
        xid=xid,
        flags=flags,
        client=str(IPv4Address(client)),
        relay=str(IPv4Address(relay)),
        hardware=hardware[:length],
        hardware_kind=kind,
        options=options,
    )


def answer(message: Message, offer: Offer) -> Reply | None:
    """Return what is to be answered; None for nothing: another server is meant, or nothing is asked."""
    if message.relay != _NOWHERE:
        return None  # nobody relays on a link with two ends
    match message.kind:
        case kind if kind == DISCOVER:
            return _reply(message, offer, OFFER)
        case kind if kind == REQUEST:
            return _answer_request(message, offer)
        case kind if kind == INFORM:
            return _reply(message, offer, ACK, leased=False)
    return None  # DECLINE, RELEASE: the address stays this container's


def _answer_request(message: Message, offer: Offer) -> Reply | None:
    server = message.options.get(SERVER)
    if server is not None and server != IPv4Address(offer.gateway).packed:
        return None  # it has chosen another server
    wanted = message.options.get(REQUESTED)
    if wanted is None:
        wanted = IPv4Address(message.client).packed  # renewing or rebinding
    if wanted != IPv4Address(offer.address).packed:
        return _refusal(message, offer)
    return _reply(message, offer, ACK)


def _reply(message: Message, offer: Offer, kind: int, *, leased: bool = True) -> Reply:
    network = IPv4Network(offer.subnet)
    options = {
        KIND: bytes([kind]),
        SERVER: IPv4Address(offer.gateway).packed,
        MASK: network.netmask.packed,
        ROUTER: IPv4Address(offer.gateway).packed,
        NAME_SERVERS: b"".join(IPv4Address(server).packed for server in offer.servers),
        HOST_NAME: offer.hostname.encode()[:255],
        DOMAIN: offer.domain.encode(),
        MTU: struct.pack("!H", offer.mtu),
    }
    if leased:
        options |= {
            LEASE_TIME: struct.pack("!I", offer.seconds),
            RENEWAL: struct.pack("!I", offer.seconds // 2),
            REBINDING: struct.pack("!I", offer.seconds * 7 // 8),
        }
    return _packed(message, offer, options, given=offer.address if leased else _NOWHERE)


def _refusal(message: Message, offer: Offer) -> Reply:
    options = {
        KIND: bytes([NAK]),
        SERVER: IPv4Address(offer.gateway).packed,
        MESSAGE: f"this container's address is {offer.address}".encode(),
    }
    return Reply(_packed(message, offer, options, given=_NOWHERE).data, _EVERYWHERE)


def _packed(message: Message, offer: Offer, options: dict[int, bytes], *, given: str) -> Reply:
    header = _HEADER.pack(
        _BOOTREPLY,
        message.hardware_kind,
        len(message.hardware),
        0,
        message.xid,
        0,
        message.flags,
        IPv4Address(message.client).packed,
        IPv4Address(given).packed,
        IPv4Address(offer.gateway).packed,
        bytes(4),
        message.hardware,
        b"",
        b"",
    )
    body = b"".join(bytes([number, len(value)]) + value for number, value in options.items() if value)
    data = header + _COOKIE + body + bytes([_END])
    knows = message.client != _NOWHERE and not message.flags & _BROADCAST
    return Reply(data.ljust(_LEAST, b"\0"), message.client if knows else _EVERYWHERE)


def _read_options(data: bytes) -> dict[int, bytes] | None:
    options: dict[int, bytes] = {}
    offset = 0
    while offset < len(data) and data[offset] != _END:
        if data[offset] == _PAD:
            offset += 1
            continue
        if offset + 2 > len(data):
            return None
        number, length = data[offset], data[offset + 1]
        value = data[offset + 2 : offset + 2 + length]
        if len(value) < length:
            return None
        options[number] = options.get(number, b"") + value
        offset += 2 + length
    return options
