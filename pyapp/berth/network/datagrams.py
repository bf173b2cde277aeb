"""Datagrams that go out by one port of a bridge and by no other, which the kernel's own sockets can't be told.

See packet(7), RFC 791, RFC 768.
"""

import socket
import struct
from ipaddress import IPv4Address
from typing import Final

_ETH_P_IP: Final = 0x0800
_IP: Final = struct.Struct("!BBHHHBBH4s4s")
_UDP: Final = struct.Struct("!HHHH")
_PSEUDO: Final = struct.Struct("!4s4sBBH")
_VERSION_AND_LENGTH: Final = 0x45
_HOPS: Final = 64


def send_by(link: str, mac: bytes, source: tuple[str, int], target: tuple[str, int], data: bytes) -> None:
    """Send a datagram to the one at the other end of `link` that has `mac`; raises OSError."""
    packet = datagram(source, target, data)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0) as sock:
        sock.sendto(packet, (link, _ETH_P_IP, 0, 0, mac))


def datagram(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bytes:
    """Return the IP packet in which `data` goes from address and port to address and port."""
    sender, receiver = IPv4Address(source[0]).packed, IPv4Address(target[0]).packed
    size = _UDP.size + len(data)
    pseudo = _PSEUDO.pack(sender, receiver, 0, socket.IPPROTO_UDP, size)
    checked = _sum(pseudo + _UDP.pack(source[1], target[1], size, 0) + data) or 0xFFFF  # 0 says that there is none
    head = [_VERSION_AND_LENGTH, 0, _IP.size + size, 0, 0, _HOPS, socket.IPPROTO_UDP, 0, sender, receiver]
    head[7] = _sum(_IP.pack(*head))
    return _IP.pack(*head) + _UDP.pack(source[1], target[1], size, checked) + data


def _sum(data: bytes) -> int:
    """The checksum of RFC 1071."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
