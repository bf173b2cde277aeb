"""The addresses of a host by asking the phone's name servers: our C library finds no resolv.conf on Android.

A stub resolver over UDP, for the one download that the program makes itself.  See RFC 1035.
"""

import secrets
import socket
import struct
from collections.abc import Iterator

_HEADER = struct.Struct("!HHHHHH")
_A = 1
_IN = 1
_RECURSION_WANTED = 0x0100
_POINTER = 0xC0
_SECONDS = 3.0


def addresses_of(name: str, resolvers: tuple[str, ...], port: int = 53) -> tuple[str, ...]:
    """Return the IPv4 addresses of `name`; raises OSError when no resolver tells any."""
    for resolver in resolvers:
        number = secrets.randbelow(1 << 16)
        family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(_SECONDS)
                sock.connect((resolver, port))
                sock.send(question(name, number))
                if found := answers(sock.recv(4096), number):
                    return found
        except OSError:
            continue  # the next one may know
    raise OSError(f"{name}: no name server of the phone knows its address")


def question(name: str, number: int) -> bytes:
    """Return the question for the IPv4 addresses of `name`."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    return _HEADER.pack(number, _RECURSION_WANTED, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", _A, _IN)


def answers(data: bytes, number: int) -> tuple[str, ...]:
    """Return the IPv4 addresses in an answer to question `number`; () for another's, or one that is no answer."""
    try:
        return tuple(_addresses(data, number))
    except (IndexError, struct.error, OSError):
        return ()


def _addresses(data: bytes, number: int) -> Iterator[str]:
    told, _, questions, count, _, _ = _HEADER.unpack_from(data)
    if told != number:
        return
    offset = _HEADER.size
    for _ in range(questions):
        offset = _behind_name(data, offset) + 4
    for _ in range(count):
        offset = _behind_name(data, offset)
        kind, _, _, length = struct.unpack_from("!HHIH", data, offset)
        offset += 10
        if kind == _A and length == 4:
            yield socket.inet_ntoa(data[offset : offset + 4])
        offset += length


def _behind_name(data: bytes, offset: int) -> int:
    while length := data[offset]:
        if length >= _POINTER:
            return offset + 2
        offset += 1 + length
    return offset + 1
