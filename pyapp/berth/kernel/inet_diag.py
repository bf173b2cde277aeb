"""Whose socket is at the other end of a local TCP connection.  See sock_diag(7)."""

import os
import socket
import struct
from typing import Final, NamedTuple

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
_ESTABLISHED: Final = 1
_NO_COOKIE: Final = b"\xff" * 8
_ANSWER_BYTES: Final = 72  # struct inet_diag_msg
_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")

Address = tuple[str, int]


class Owner(NamedTuple):
    """The uid of a socket's owner, and its inode; 0 and 0 for one that was closed already."""

    uid: int
    inode: int


def owner_of(local: Address, remote: Address) -> Owner | None:
    """Return who owns the established IPv4 socket bound to `local` and connected to `remote`; None where there is none.

    Asks for exactly this one by netlink (Linux 3.3, CONFIG_INET_DIAG), else looks it up in /proc/net/tcp and tcp6: a
    socket of IPv6 may speak IPv4.  Only the caller's network namespace is seen.
    """
    try:
        return _ask(local, remote)
    except OSError:  # ENOENT is both a kernel without inet_diag and a socket that is not there
        return look_up(local, remote)


def _ask(local: Address, remote: Address) -> Owner | None:
    identity = struct.pack("!HH", local[1], remote[1])
    identity += socket.inet_aton(local[0]).ljust(16, b"\0") + socket.inet_aton(remote[0]).ljust(16, b"\0")
    identity += struct.pack("=I", 0) + _NO_COOKIE
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 1 << _ESTABLISHED) + identity
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as sock:
        sock.sendto(
            _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request, (0, 0)
        )
        answer = sock.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    body = answer[_HEADER.size :]
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", body)[0]
        raise OSError(number, os.strerror(number))
    if kind != _SOCK_DIAG_BY_FAMILY or len(body) < _ANSWER_BYTES or body[1] != _ESTABLISHED:
        return None
    if body[4:8] != identity[:4]:
        return None
    uid, inode = struct.unpack_from("=II", body, 64)
    return Owner(uid, inode)


def look_up(local: Address, remote: Address) -> Owner | None:
    """Do the same by /proc/net/tcp and tcp6, for kernels without CONFIG_INET_DIAG.  See proc_net_tcp(5)."""
    for path in _TABLES:
        wanted = (_shown(local, path), _shown(remote, path), f"{_ESTABLISHED:02X}")
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    fields = line.split()
                    if tuple(fields[1:4]) == wanted:
                        return Owner(int(fields[7]), int(fields[9]))
        except FileNotFoundError:
            continue
    return None


def _shown(address: Address, path: str) -> str:
    """An address as the table has it: each word of 32 bits in the machine's order."""
    word = f"{struct.unpack('=I', socket.inet_aton(address[0]))[0]:08X}"
    mapped = f"{'0' * 16}{struct.unpack('=I', bytes((0, 0, 255, 255)))[0]:08X}" if path.endswith("6") else ""
    return f"{mapped}{word}:{address[1]:04X}"
