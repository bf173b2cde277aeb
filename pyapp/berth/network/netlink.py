"""A netlink socket that asks and waits for the answer, on pyroute2's messages.  See netlink(7), rtnetlink(7)."""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final, Self

from berth.kernel.call import KernelError
from berth.kernel.namespaces import setns
from berth.kernel.processes import start_time
from berth.network.codec import fibmsg, ifaddrmsg, ifinfmsg, ndmsg, nlmsg, rtmsg
from berth.network.model import Init

# linux/netlink.h, linux/rtnetlink.h
NLM_F_REQUEST: Final = 0x001
NLM_F_ACK: Final = 0x004
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_SETLINK: Final = 19
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RTM_NEWRULE: Final = 32
RTM_DELRULE: Final = 33
RTM_NEWQDISC: Final = 36
RTM_NEWTFILTER: Final = 44
RTM_GETRULE: Final = 34

_HEADER: Final = struct.Struct("=IHHII")
_CLASSES: Final[dict[int, type[nlmsg]]] = {
    **dict.fromkeys((RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK), ifinfmsg),
    **dict.fromkeys((RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR), ifaddrmsg),
    **dict.fromkeys((RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE), rtmsg),
    **dict.fromkeys((RTM_NEWNEIGH, RTM_DELNEIGH), ndmsg),
    **dict.fromkeys((RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE), fibmsg),
}
_ROOM: Final = 1 << 18

Fields = dict[str, Any]  # a message's fields: numbers, addresses as text, nested attributes as lists


class Netlink:
    """A route netlink socket in the network namespace in which it was opened."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._number = 0

    @property
    def port(self) -> int:
        """Its netlink address, which news of what it has changed carry."""
        return int(self._socket.getsockname()[0])

    def ask(self, kind: int, about: str, mode: int = 0, attrs: Fields | None = None, **fields: Any) -> None:
        """Send one request (NLM_F_* in `mode`) with header `fields` and attributes `attrs`, and wait for its end.

        Raises KernelError naming what it was `about`.
        """
        self._converse(kind, about, mode | NLM_F_ACK, attrs or {}, fields)

    def ask_packed(self, kind: int, about: str, mode: int, body: bytes) -> None:
        """Send one request whose `body` is packed already, as `ask` does."""
        self._number += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | mode, self._number, 0)
        self._exchange(header + body, about)

    def get(self, kind: int, about: str, **fields: Any) -> Fields:
        """Return one object as `dump` would; raises KernelError."""
        return _told(self._converse(kind, about, NLM_F_ACK, {}, fields)[0])

    def dump(self, kind: int, about: str, **fields: Any) -> list[Fields]:
        """Return every object of a kind, header fields and attributes in one dictionary; raises KernelError."""
        answers = self._converse(kind, about, NLM_F_DUMP, {}, fields)
        return [_told(answer) for answer in answers]

    def _converse(self, kind: int, about: str, mode: int, attrs: Fields, fields: Fields) -> list[Any]:
        message = _class_of(kind)()
        for key, value in fields.items():
            message[key] = value
        message["attrs"] = [[key, value] for key, value in attrs.items() if value is not None]
        self._number += 1
        message["header"]["type"] = kind
        message["header"]["flags"] = NLM_F_REQUEST | mode
        message["header"]["sequence_number"] = self._number
        message.encode()
        return self._exchange(bytes(message.data), about)

    def _exchange(self, message: bytes, about: str) -> list[Any]:
        self._socket.send(message)
        answers: list[Any] = []
        while self._receive(about, answers):
            pass
        return answers

    def _receive(self, about: str, answers: list[Any]) -> bool:
        """Add the messages of one packet to `answers`; False when that was the last."""
        data = self._socket.recv(_ROOM)
        offset = 0
        while offset < len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
            body = data[offset : offset + length]
            offset += (length + 3) & ~3
            if kind == _NLMSG_DONE:
                return False
            if kind == _NLMSG_ERROR:
                code = -struct.unpack_from("=i", body, _HEADER.size)[0]
                if code:
                    raise KernelError("netlink", code, about)
                return False
            answer = _class_of(kind)(body)
            answer.decode()
            answers.append(answer)
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _class_of(kind: int) -> type[nlmsg]:
    if kind not in _CLASSES:
        from pyroute2.netlink.rtnl.tcmsg import tcmsg  # as much as all the rest together, and seldom needed

        _CLASSES.update(dict.fromkeys((RTM_NEWQDISC, RTM_NEWTFILTER), tcmsg))
    return _CLASSES[kind]


def _told(answer: Any) -> Fields:
    header = {key: answer[key] for key, _ in answer.fields}
    return {**header, **{attribute[0]: attribute[1] for attribute in answer["attrs"]}}


def index_of(name: str) -> int | None:
    """Return the index of the link `name` in the caller's network namespace; None where there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


@contextlib.contextmanager
def inside(init: Init, own: int) -> Iterator[None]:
    """Be in the network namespace of `init` while the block lasts, and back in the one open at `own` after it.

    For single-threaded callers; a socket stays where it was opened.  Raises FileNotFoundError when `init` has ended.
    """
    namespace = open_namespace(init)
    try:
        setns(namespace, "network")
        try:
            yield
        finally:
            setns(own, "network")
    finally:
        os.close(namespace)


def open_namespace(init: Init) -> int:
    """Return a descriptor of the network namespace of `init`; raises FileNotFoundError when that has ended."""
    path = f"/proc/{init.pid}/ns/net"
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if start_time(init.pid) != init.started:  # after opening: what was opened belongs to this process
        os.close(namespace)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return namespace
