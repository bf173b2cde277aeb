"""Uevents: what the kernel says when a device comes or goes.  See netlink(7), NETLINK_KOBJECT_UEVENT.

From 4.18 on root of a network namespace can have the kernel repeat a message of its own making, so a uevent is
news to look into and never a fact to act upon.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

_NETLINK_KOBJECT_UEVENT: Final = 15
_FROM_KERNEL: Final = 1  # the multicast group; udevd repeats what it has dealt with to group 2
_LONGEST: Final = 8192  # a uevent is 2 KiB at most (UEVENT_BUFFER_SIZE) and its path
_SO_ATTACH_FILTER: Final = 26

# linux/filter.h: load a 32-bit word in network order, compare, end with the number of bytes that pass
_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06


class Uevent(Struct, frozen=True):
    """A device came ("add") or went ("remove"), or something else happened to it.

    `devpath` lies below /sys, `devname` below /dev; it is empty and the numbers are None for what has no node.
    """

    action: str
    devpath: str
    subsystem: str
    devname: str = ""
    major: int | None = None
    minor: int | None = None


def parse(message: bytes) -> Uevent | None:
    """Return what a message of the kernel says; None for one that is no uevent, or names a node outside /dev."""
    head, *lines = message.rstrip(b"\0").split(b"\0")
    action, at, devpath = head.decode("utf-8", "replace").partition("@")
    if not at or not action.isalpha() or not devpath.startswith("/"):
        return None  # udevd's own messages begin with "libudev"
    fields = dict(line.decode("utf-8", "replace").partition("=")[::2] for line in lines)
    devname = fields.get("DEVNAME", "").removeprefix("/dev/")
    if devname and not all(part not in ("", ".", "..") and part.isprintable() for part in devname.split("/")):
        return None
    return Uevent(
        action,
        devpath,
        fields.get("SUBSYSTEM", ""),
        devname,
        _number(fields.get("MAJOR", "")),
        _number(fields.get("MINOR", "")),
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None


class UeventSocket:
    """Hears of devices to which one of `actions` happens in the caller's network namespace, and of nothing else.

    On an idle machine the kernel's own objects (slab caches, modules) still come and go, and Android's battery and
    thermal drivers say of a "change" every few seconds: a filter in the kernel keeps the process asleep then.
    """

    def __init__(self, actions: tuple[str, ...] = ("add", "remove")) -> None:
        """Raises OSError where the process may not listen."""
        self._filter = filter_instructions(actions)
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_KOBJECT_UEVENT)
        try:
            self._attach_filter()
            self._socket.bind((0, _FROM_KERNEL))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the socket's descriptor, for a selector."""
        return self._socket.fileno()

    def read(self) -> list[Uevent]:
        """Return what has been said since the last time.

        Raises OSError with ENOBUFS when some of it was lost; the rest can be read by another call.
        """
        heard: list[Uevent] = []
        while True:
            try:
                message, (sender, _) = self._socket.recvfrom(_LONGEST)
            except BlockingIOError:
                return heard
            event = parse(message) if sender == 0 else None  # other senders are processes
            if event is not None:
                heard.append(event)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _attach_filter(self) -> None:
        program = b"".join(self._filter)
        code = ctypes.create_string_buffer(program, len(program))
        filter_program = struct.pack("HP", len(self._filter), ctypes.addressof(code))  # struct sock_fprog
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_program)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def filter_instructions(actions: Iterable[str]) -> list[bytes]:
    """Return the instructions, for SO_ATTACH_FILTER, that pass what is said of `actions` on devices; see socket(7)."""
    program = []
    for action in actions:
        beginning = f"{action}@/devices/".encode()
        words = sorted({*range(0, len(beginning) - 3, 4), len(beginning) - 4})  # the last one overlaps
        for index, at in enumerate(words):
            rest = 2 * (len(words) - index - 1) + 1  # to behind this beginning's return
            program.append(_instruction(_LOAD, at))
            program.append(_instruction(_JUMP_IF_EQUAL, int.from_bytes(beginning[at : at + 4], "big"), 0, rest))
        program.append(_instruction(_RETURN, _LONGEST))
    return [*program, _instruction(_RETURN, 0)]
