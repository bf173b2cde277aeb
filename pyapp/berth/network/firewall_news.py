"""Hears that others have changed the firewall, by whichever means the kernel or the tools have to tell it.

nftables announces its changes by netlink, and so those of an iptables that is built on it.  The older iptables, which
is Android's, has no such thing; but whoever uses it opens its lock file first (Android 8 and later).
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final

from berth.kernel.call import KernelError
from berth.kernel.inotify import IN_CLOSE, Inotify
from berth.network.iptables import Iptables
from berth.network.iptables_text import JUMPS
from berth.network.nft_expressions import TABLE
from berth.network.nftables import Nftables, table_in

LOCKS: Final = ("/system/etc/xtables.lock", "/run/xtables.lock")
"""Where Android's iptables has its lock (external/iptables, XT_LOCK_NAME), and everybody else's."""

_NETLINK_NETFILTER: Final = 12
_GROUP: Final = 7  # NFNLGRP_NFTABLES
_HEADER: Final = struct.Struct("=IHHII")
_ROOM: Final = 1 << 18
_QUIET_SECONDS: Final = 10.0
_MOST_SECONDS: Final = 60.0


class NftablesNews:
    """Hears what is changed in the nftables `tables`; `fileno` is for a poll.

    `own` are the netlink addresses whose changes are no news.  Raises OSError where the kernel has no nftables.
    """

    def __init__(self, tables: tuple[str, ...], own: Callable[[], tuple[int, ...]]) -> None:
        self._tables = tables
        self._own = own
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 1 << _GROUP - 1))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def tells_of_others(self) -> bool:
        """Read all news; tell whether somebody else may have changed one of the tables."""
        found = False
        while True:
            try:
                data = self._socket.recv(_ROOM)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = True  # some of it was lost
                continue
            found = found or any(port not in self._own() for port in self._changers(data))

    def _changers(self, data: bytes) -> Iterator[int]:
        offset = 0
        while offset < len(data):
            length, _, _, _, port = _HEADER.unpack_from(data, offset)
            if table_in(data[offset + _HEADER.size : offset + length]) in self._tables:
                yield port
            offset += (length + 3) & ~3


class LockNews:
    """Hears that somebody has used iptables, this process's own calls included; `fileno` is for a poll."""

    def __init__(self, lock: str) -> None:
        """Raises KernelError where there is no such lock."""
        self._inotify = Inotify()
        try:
            self._inotify.watch_file(lock, IN_CLOSE)
        except KernelError:
            self._inotify.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._inotify.fileno()

    def tells_of_others(self) -> bool:
        """Read all news; tell whether there were any."""
        return bool(self._inotify.read())


FirewallNews = NftablesNews | LockNews


def listen_to(kind: str, own: Callable[[], tuple[int, ...]]) -> list[FirewallNews]:
    """Return all that tells of changes where the rules are kept by `kind`, once they are there.

    `own` returns the netlink addresses from which they are changed here.
    """
    found: list[FirewallNews] = []
    with contextlib.suppress(OSError):
        if kind == Nftables.kind:
            found.append(NftablesNews((TABLE,), own))
        elif kind == Iptables.kind:
            found.append(NftablesNews(tuple(JUMPS), tuple))
    if kind == Iptables.kind:
        for lock in LOCKS:
            with contextlib.suppress(KernelError):
                found.append(LockNews(lock))
    return found


class Patience:
    """How long to wait before putting back what somebody takes away, who may do so again and again."""

    def __init__(self, seconds: float) -> None:
        self._least = self._seconds = seconds
        self._mended = 0.0

    def seconds(self, now: float) -> float:
        """Return for how many seconds; `now` is a clock that only goes forward."""
        if now - self._mended > max(_QUIET_SECONDS, 2 * self._seconds):
            self._seconds = self._least
        return self._seconds

    def mended(self, now: float) -> None:
        """Know that something had to be put back."""
        self._seconds = min(2 * self._seconds, _MOST_SECONDS)
        self._mended = now
