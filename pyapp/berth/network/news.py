"""Hears what changes in the phone's network, and tells what others did from what comes of Berth's own doing."""

import errno
import socket
import struct
from collections.abc import Collection
from typing import Final, NamedTuple

from berth.network.addresses import LINK_PREFIX

# RTMGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE; by their numbers 19, 24 and 25 IPV6_RULE,
# IPV4_NETCONF and IPV6_NETCONF
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18 | 1 << 23 | 1 << 24
_ROOM: Final = 1 << 18
_HEADER: Final = struct.Struct("=IHHII")
_NEW_LINK, _DEL_LINK = 16, 17  # RTM_*
_ADDRESS: Final = (20, 21)
_ROUTE: Final = (24, 25)
_NEW_NETCONF, _DEL_NETCONF = 80, 81
_IFINFOMSG, _RTMSG, _NETCONFMSG = 16, 12, 4  # sizes
_INDEX_AT: Final = 4  # in struct ifinfomsg and struct ifaddrmsg
_IFLA_IFNAME: Final = 3
_RTA_OIF: Final = 4
_NETCONFA_IFINDEX: Final = 1
_ALL_LINKS: Final = struct.pack("=i", -1)


class Heard(NamedTuple):
    """What was announced: that `others` changed links, addresses, routes or rules; that `forwarding` was switched."""

    others: bool
    forwarding: bool


class News:
    """A netlink socket that only listens; `fileno` is for a poll.  See rtnetlink(7)."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _GROUPS))
        self._own_links: set[int] = set()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def read(self, own: Collection[int]) -> Heard:
        """Read all that has been announced, but for what the netlink ports `own` asked for.

        What the kernel itself says of containers' links follows from that too.
        """
        others = forwarding = False
        while True:
            try:
                data = self._socket.recv(_ROOM)
            except BlockingIOError:
                return Heard(others, forwarding)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                others = forwarding = True  # some of it was lost
                continue
            offset = 0
            while offset < len(data):
                length, kind, _, _, port = _HEADER.unpack_from(data, offset)
                body = data[offset + _HEADER.size : offset + length]
                if kind in (_NEW_NETCONF, _DEL_NETCONF):
                    forwarding = forwarding or _attribute(body, _NETCONFMSG, _NETCONFA_IFINDEX) == _ALL_LINKS
                elif not self._is_about_own_link(kind, body) or port:
                    others = others or port not in own
                offset += (length + 3) & ~3

    def _is_about_own_link(self, kind: int, body: bytes) -> bool:
        if kind in (_NEW_LINK, _DEL_LINK):
            (index,) = struct.unpack_from("=i", body, _INDEX_AT)
            own = _attribute(body, _IFINFOMSG, _IFLA_IFNAME).startswith(LINK_PREFIX.encode())
            if own and kind == _NEW_LINK:
                self._own_links.add(index)
            else:
                self._own_links.discard(index)
            return own
        if kind in _ADDRESS:
            return struct.unpack_from("=I", body, _INDEX_AT)[0] in self._own_links
        if kind in _ROUTE:
            link = _attribute(body, _RTMSG, _RTA_OIF)
            return bool(link) and struct.unpack("=I", link)[0] in self._own_links
        return False


def _attribute(body: bytes, offset: int, wanted: int) -> bytes:
    """The content of the attribute `wanted`; empty where there is none."""
    while offset + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, offset)
        if size < 4:
            break
        if kind == wanted:
            return body[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    return b""
