"""Carries rules out by netlink, on phones whose kernel has nftables and whose system has no iptables that works.

See linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h and netlink(7).
"""

import contextlib
import errno
import os
import socket
import struct
from typing import Final

from berth.errors import BerthError
from berth.network.firewall import Chains, Ground, chains_of, without_bounds
from berth.network.model import Family
from berth.network.nft_expressions import NEW_RULE, TABLE, Message, removing, replacing, rules_asked_for

_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_REQUEST, _ACK = 0x1, 0x4  # NLM_F_*
_ERROR, _DONE = 2, 3  # NLMSG_*
_HEADER: Final = struct.Struct("=IHHII")
_ROOM: Final = 1 << 18
_SO_SNDBUFFORCE: Final = 32
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
_GENMSG: Final = 4
_NOTHING: Final[Chains] = dict.fromkeys(("CROWD", "FORWARD", "INPUT", "LOCAL", "PORTS", "POSTROUTING", "MSS"), ())


class Nftables:
    """The firewall of one address family."""

    kind = "nftables"

    def __init__(self, family: Family) -> None:
        self._family: Family = family
        self._bounds, self._clamp = True, True
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._applied: Chains | None = None
        self._rules = 0

    @property
    def port(self) -> int:
        """Its netlink address, by which news of its own changes are known."""
        return int(self._socket.getsockname()[0])

    def apply(self, ground: Ground, *, check: bool) -> bool:
        """Make the rules those of `ground`; with `check`, put back what another program took away.

        All change at once, and between them no packet sees half of them.  Tells whether anything was done.  Raises
        BerthError.
        """
        chains = chains_of(ground)
        if chains == self._applied and not check:
            return False
        self._applied = None
        try:
            self._replace(chains)
        except OSError as error:
            raise BerthError(f"nftables: {os.strerror(error.errno or 0)}; the firewall was not changed") from error
        self._applied = chains
        return True

    def begin(self, ground: Ground) -> None:
        """Make the rules for the first time; raises BerthError."""
        self.apply(ground, check=True)

    def remove(self) -> None:
        """Take away all of Berth's; raises BerthError."""
        self._applied = None
        try:
            self._commit(removing(self._family))
        except OSError as error:
            raise BerthError(f"nftables: {os.strerror(error.errno or 0)}; its table remains") from error

    def missing(self) -> tuple[str, ...]:
        """Return, in words, that not all rules are there; raises BerthError."""
        try:
            there = self._count_rules()
        except OSError as error:
            raise BerthError(f"nftables: {os.strerror(error.errno or 0)}; its rules can't be read") from error
        lacking = self._rules - there
        return (f"{lacking} of {self._rules} rules (table {TABLE})",) if lacking > 0 else ()

    def has_nat(self) -> bool:
        """Tell whether the kernel has nftables, and can translate addresses of this family by it.

        What is made to find that out is taken back in the same transaction.
        """
        try:
            self._commit([*replacing(self._family, _NOTHING, clamp=False), *removing(self._family)[1:]])
        except OSError:
            return False
        return True

    def _replace(self, chains: Chains) -> None:
        """Make the rules, without what the kernel has not: bounds (4.18), then the MSS (4.14).  Raises OSError."""
        known = chains if self._bounds else without_bounds(chains)
        messages = replacing(self._family, known, clamp=self._clamp)
        try:
            self._commit(messages)
        except OSError as error:
            if not self._clamp or error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            self._bounds, self._clamp = False, self._bounds
            self._replace(chains)
            return
        self._rules = sum(kind == NEW_RULE for kind, _, _ in messages)

    def _count_rules(self) -> int:
        kind, flags, body = rules_asked_for(self._family)
        self._socket.send(_message(_SUBSYSTEM << 8 | kind, _REQUEST | flags, 0, body))
        found = 0
        while True:
            data = self._socket.recv(_ROOM)
            offset = 0
            while offset < len(data):
                length, answered, *_ = _HEADER.unpack_from(data, offset)
                if answered in (_ERROR, _DONE):
                    return found
                found += table_in(data[offset + _HEADER.size : offset + length]) == TABLE
                offset += (length + 3) & ~3

    def _commit(self, messages: list[Message]) -> None:
        """Carry out a transaction as a whole; raises OSError where one of `messages` is refused."""
        about = struct.pack("!BBH", 0, 0, _SUBSYSTEM)
        whole = [_message(_BEGIN, _REQUEST, 0, about)]
        for number, (kind, flags, body) in enumerate(messages, 1):
            asked = _ACK if number == len(messages) else 0
            whole.append(_message(_SUBSYSTEM << 8 | kind, _REQUEST | flags | asked, number, body))
        whole.append(_message(_END, _REQUEST, 0, about))
        data = b"".join(whole)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * len(data) + _ROOM)
        self._socket.send(data)
        refused = self._answers(len(messages))
        if refused:
            raise OSError(refused, os.strerror(refused))

    def _answers(self, last: int) -> int:
        """Read until the acknowledgement of message `last`, or all refusals; return the first error number, or 0.

        A transaction that is refused answers with every error it has found, and they are there when send() returns.
        """
        refused = 0
        data = self._socket.recv(_ROOM)
        while data:
            offset = 0
            while offset < len(data):
                length, kind, _, number, _ = _HEADER.unpack_from(data, offset)
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", data, offset + _HEADER.size)[0]
                    refused = refused or code
                    if number == last and not refused:
                        return 0
                offset += (length + 3) & ~3
            try:
                data = self._socket.recv(_ROOM, socket.MSG_DONTWAIT)
            except BlockingIOError:
                data = b""
        return refused


def table_in(body: bytes) -> str:
    """Return the name of the table, with which every message about tables, chains and rules begins; "" for others."""
    attributes = body[_GENMSG:]
    if len(attributes) < 4:
        return ""
    size, kind = struct.unpack_from("=HH", attributes)
    return attributes[4:size].rstrip(b"\0").decode(errors="replace") if kind == _TABLE_NAME else ""


def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0) + body
