"""Whole messages between the monitor and the processes that it sets up: JSON, with descriptors beside it."""

import array
import contextlib
import json
import socket
from typing import Any, Self

_MOST_BYTES = 1 << 18
_MOST_DESCRIPTORS = 16
_ANCILLARY_BYTES = socket.CMSG_LEN(_MOST_DESCRIPTORS * array.array("i").itemsize)
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
_buffer = bytearray(_MOST_BYTES)  # one for all, since a new one for each message would be mapped and unmapped again


class Channel:
    """One end of a SOCK_SEQPACKET pair; every message is one JSON object."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Return both ends of a new channel, close-on-exec."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return the descriptor, for a selector and for `close_all_but`."""
        return self._end.fileno()

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Send one message; raises BrokenPipeError when the other end is gone."""
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self._end.sendmsg([json.dumps(message).encode()], beside)

    def receive(self) -> tuple[dict[str, Any] | None, list[int]]:
        """Wait for one message and its descriptors; (None, []) at the end."""
        try:
            size, ancillary, _, _ = self._receive()
        except ConnectionResetError:  # told once, of an end that left something unread; what it said still comes
            size, ancillary, _, _ = self._receive()
        descriptors = array.array("i")
        for _, _, numbers in ancillary:
            descriptors.frombytes(numbers)
        return (json.loads(_buffer[:size]) if size else None), descriptors.tolist()

    def _receive(self) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        return self._end.recvmsg_into([_buffer], _ANCILLARY_BYTES, _CLOSE_ON_EXEC)

    def end(self) -> None:
        """Send nothing more: whoever is at the other end receives that, and may still send."""
        with contextlib.suppress(OSError):  # the other end is gone
            self._end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end."""
        self._end.close()
